"""Activation patching by neuron and by frequency: setters, ready runs, and their controls.

The model runs on corrupted pairs, and part of an activation x is set to what it is on clean pairs::

    by neuron:     x[:, S] -> clean[:, S]
    by frequency:  S are the neurons of frequency k, or
    by plane:      x -> x + (clean - x) B_k B_k^T,   B_k orthonormal, [features, 2]

where B_k spans what the activation does along ``cos`` and ``sin`` of 2 pi k (a + b) / m over all pairs
(:func:`.activation_planes`), or the two waves of frequency k among the logits
(:func:`.class_planes`). The effect is how much of the logit difference of the two answers comes back::

    recovered = (LD_patched - LD_corrupted) / (LD_clean - LD_corrupted),   LD = x_clean - x_corrupted

with the means over pairs of the logits of the clean and of the corrupted answer.

What is not evidence: that patching something moves the answer. Patching as many neurons of like norm,
or moving an activation as far in a random plane, may do the same, so both come with every run. A plane
fitted to the activations holds what varies with a + b in *any* network, trained or not.

Sources: Vig et al., arXiv 2004.12265, and Heimersheim and Nanda, arXiv 2404.15255, on patching and its
metrics; Geiger et al., arXiv 2303.02536, on interchange in subspaces.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp import _compat, grid
from grok_interp.config import check_choice
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.interchanges import evaluating
from grok_interp.interchanges import interchange as interchange
from grok_interp.neurons import NeuronTable
from grok_interp.orders import change_norms, check_draws, likeness, matched_sets
from grok_interp.planes import PlanePatch as PlanePatch
from grok_interp.planes import Planes as Planes
from grok_interp.planes import activation_planes as activation_planes
from grok_interp.planes import class_planes as class_planes
from grok_interp.setters import Setter, set_neurons
from grok_interp.setters import frequency_setter as frequency_setter
from grok_interp.setters import neuron_setter as neuron_setter
from grok_interp.setters import plane_setter as plane_setter
from grok_interp.tasks import Counterfactuals
from grok_interp.weights import OUT_HOOK, POST_HOOK, PRE_HOOK, neuron_mask

ROUNDING = 64
"""Units in the last place of the largest logit by which a logit difference is no difference."""
SHORT_NAMES = {PRE_HOOK: "pre", POST_HOOK: "post", OUT_HOOK: "mlp_out"}
"""What ``generic_activation_patch`` calls the hook points that can be patched."""


# Runs -------------------------------------------------------------------------------------------


def by_neuron(
    model: HookedMLP,
    pairs: Counterfactuals,
    neurons: Any = None,
    *,
    hook_name: str = POST_HOOK,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Patch neurons one at a time, each beside other neurons of like norm.

    Args:
        model: The network, in any scope.
        pairs: Of ``task.counterfactuals``.
        neurons: Which; None for all.
        hook_name: ``hook_pre`` or ``hook_post``.
        draws: Random other neurons to compare each with.
        seed: Seed of the draws.

    Returns:
        One row a neuron, with ``layer``, ``neuron``, ``logit_difference`` of the patched run, ``recovered``,
        and ``random_mean``, ``random_min``, ``random_max`` of what random neurons recover whose
        patch moves the logits about as far (:func:`.orders.matched_sets`). ``clean`` and
        ``corrupted`` are the logit differences of the unpatched runs, which ``recovered`` is
        measured in; where they hardly differ it means nothing, and is NaN within rounding.

    Raises:
        ValueError: If a neuron is out of range, there are no draws, or the hook point is another.
    """
    check_draws(draws)
    check_choice("hook_name", hook_name, (PRE_HOOK, POST_HOOK))
    width = model.cfg.d_mlp
    chosen = neuron_mask(neurons, width).nonzero().flatten()
    run = _Run.of(model, pairs, hook_name)
    seeds = _seeds(width, seed)
    alone = [matched_sets(one[None], run.norms, draws, seeds[int(one)]) for one in chosen]
    random = torch.cat(alone, 1) if alone else torch.empty(draws, 0, dtype=torch.int64)
    needed, place = torch.cat([chosen[None], random]).unique(return_inverse=True)
    found = run.patch(neuron_setter(), {"neuron": needed})
    return run.frame("neuron", chosen, found[place])


def by_frequency(
    model: HookedMLP,
    pairs: Counterfactuals,
    table: NeuronTable,
    frequencies: grid.Frequencies = None,
    *,
    hook_name: str = POST_HOOK,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Patch all neurons of a frequency, one frequency at a time, beside random sets of as many.

    Args:
        model: The network, in any scope.
        pairs: Of ``task.counterfactuals``.
        table: Says which neurons are of which frequency.
        frequencies: Which; None for all.
        hook_name: ``hook_pre`` or ``hook_post``.
        draws: Random sets of as many neurons of like norm.
        seed: Seed of the draws.

    Returns:
        As :func:`by_neuron`, with columns ``frequency``, ``neurons``, how many there are, and
        ``random_overlap`` and ``random_norm`` as in :func:`grok_interp.ablate.curve`: where the
        random sets are nearly the neurons themselves, the control says nothing.

    Raises:
        ValueError: If the table is of another network's shape, a frequency is unknown, there are no
            draws, or the hook point is another.
    """
    check_draws(draws)
    check_choice("hook_name", hook_name, (PRE_HOOK, POST_HOOK))
    own = (table.weights.p, table.d_mlp)
    if own != (model.cfg.p, model.cfg.d_mlp) or table.weights.batch_shape:
        raise ValueError(
            f"the table is of p={own[0]}, d_mlp={own[1]}, batch {table.weights.batch_shape}, the model of "
            f"p={model.cfg.p}, d_mlp={model.cfg.d_mlp}: extract a table of this model"
        )
    chosen = grid.frequency_index(frequencies, table.modulus)
    run = _Run.of(model, pairs, hook_name)
    sets, seeds = {}, _seeds(table.modulus, seed)
    for frequency in chosen.tolist():
        neurons = table.at(frequency).nonzero().flatten().cpu()
        random = matched_sets(neurons, run.norms, draws, seeds[frequency])
        sets[frequency] = torch.cat([neurons[None], random])

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        _, draw, frequency = index
        mask = neuron_mask(sets[int(frequency)][int(draw)], table.d_mlp)
        return set_neurons(corrupted, clean, mask, None)

    frame = run.frame("frequency", chosen, run.patch_draws(setter, draws, chosen))
    frame.insert(2, "neurons", [sets[frequency].shape[1] for frequency in chosen.tolist()])
    alike = [likeness(each[0], each[1:], run.norms) for each in sets.values()]
    return pd.concat([frame, pd.DataFrame(alike)], axis=1)


def by_plane(
    model: HookedMLP,
    pairs: Counterfactuals,
    planes: Planes,
    frequencies: grid.Frequencies = None,
    *,
    hook_name: str = POST_HOOK,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Patch one frequency's plane at a time, beside moves as far in random planes.

    A random plane of a wide activation is a weak control: planes fitted to what varies with a + b beat
    it in networks with random input weights too. Run those (:func:`grok_interp.controls.frozen_input`),
    and planes of other directions, beside the network.

    Args:
        model: The network, in any scope.
        pairs: Of ``task.counterfactuals``.
        planes: In the space of the activation at ``hook_name``.
        frequencies: Which; None for all.
        hook_name: ``hook_pre``, ``hook_post`` or ``hook_mlp_out``.
        draws: Random planes; along each the clean activation is approached, and every row is moved
            as far as in the plane of the frequency.
        seed: Seed of the draws.

    Returns:
        As :func:`by_neuron`, with a column ``frequency``.

    Raises:
        ValueError: If a frequency is unknown, there are no draws, or the hook point is another.
    """
    check_draws(draws)
    chosen = grid.frequency_index(frequencies, planes.modulus)
    run = _Run.of(model, pairs, hook_name)
    random = random_planes(planes.basis.shape[1], draws, seed)
    exact = plane_setter(planes)

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        layer, draw, frequency = index
        moved = exact(corrupted, [layer, frequency], clean)
        if draw == 0:
            return moved
        other = random[int(draw) - 1].to(clean)
        return as_far((clean - corrupted) @ other @ other.mT, corrupted, moved)

    return run.frame("frequency", chosen, run.patch_draws(setter, draws, chosen))


def _seeds(n: int, seed: int) -> list[int]:
    """A seed for each of n things, whichever of them are asked for; nearby seeds share none."""
    generator = torch.Generator().manual_seed(seed)
    seeds: list[int] = torch.randint(2**62, (n,), generator=generator).tolist()
    return seeds


def random_planes(features: int, draws: int, seed: int) -> Float[Tensor, "draws features 2"]:
    """Orthonormal bases of planes of uniformly random direction.

    Args:
        features: Dimension of the space.
        draws: Number of planes.
        seed: Seed of the draws.

    Returns:
        ``[draws, features, 2]``, in float64.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, features, 2, generator=generator, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(noise).Q
    return basis


def as_far(
    move: Float[Tensor, "batch features"],
    corrupted: Float[Tensor, "batch features"],
    moved: Float[Tensor, "batch features"],
) -> Float[Tensor, "batch features"]:
    """``corrupted`` moved along ``move``, row by row as far as ``moved`` is from it."""
    length = move.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(move.dtype).tiny)
    far = (moved - corrupted).norm(dim=-1, keepdim=True)
    result: Tensor = corrupted + move * (far / length)
    return result


@dataclass(frozen=True, eq=False)
class _Run:
    """A model on counterfactual pairs, with its clean activations and unpatched effects.

    Attributes:
        model: The model.
        pairs: The pairs.
        hook_name: Where it is patched.
        cache: Clean activations.
        norms: How far patching each neuron moves the logits; see :func:`.orders.change_norms`.
        clean: Mean logit difference on the clean pairs.
        corrupted: The same on the corrupted pairs.
    """

    model: HookedMLP
    pairs: Counterfactuals
    hook_name: str
    cache: Any
    norms: Float[Tensor, " d_mlp"]
    clean: float
    corrupted: float

    @classmethod
    def of(cls, model: HookedMLP, pairs: Counterfactuals, hook_name: str) -> _Run:
        check_choice("hook_name", hook_name, tuple(SHORT_NAMES))
        with torch.no_grad(), evaluating(model):
            names = list({hook_name, POST_HOOK})
            logits, cache = model.run_with_cache(pairs.clean.tokens, names_filter=names)
            corrupted, other = model.run_with_cache(pairs.corrupted.tokens, names_filter=POST_HOOK)
            W_out = model.effective_weights().W_out.detach()
        norms = change_norms(other[POST_HOOK], cache[POST_HOOK], W_out)
        clean, without = (float(logit_difference(each, pairs)) for each in (logits, corrupted))
        if abs(clean - without) <= ROUNDING * torch.finfo(logits.dtype).eps * float(
            logits.abs().amax()
        ):
            warnings.warn(
                f"the logit difference is {clean:.3g} on clean and {without:.3g} on corrupted pairs: the "
                "model does not tell them apart, so nothing can be recovered",
                stacklevel=3,
            )
            clean = without = math.nan
        return cls(model, pairs, hook_name, cache, norms, clean, without)

    def patch(self, setter: Setter, index: Mapping[str, Tensor]) -> Float[Tensor, " n"]:
        """The logit difference under the setter, for each row of an index."""
        rows = pd.DataFrame({"layer": 0} | {name: each.tolist() for name, each in index.items()})
        found: list[float] = []

        def metric(logits: Tensor) -> Tensor:
            difference = logit_difference(logits, self.pairs)
            found.append(float(difference))  # TransformerLens keeps float32
            return difference

        with torch.no_grad(), evaluating(self.model):
            _compat.generic_activation_patch()(
                self.model,
                self.pairs.corrupted.tokens,
                self.cache,
                metric,
                setter,
                SHORT_NAMES[self.hook_name],
                index_df=rows,
            )
        return torch.tensor(found, dtype=torch.float64)

    def patch_draws(
        self, setter: Setter, draws: int, frequencies: Int[Tensor, " n"]
    ) -> Float[Tensor, "rows n"]:
        """:meth:`patch` for index (layer, draw, frequency), where draw 0 is no random one."""
        grid_of_rows = torch.cartesian_prod(torch.arange(draws + 1), frequencies)
        index = {"draw": grid_of_rows[:, 0], "frequency": grid_of_rows[:, 1]}
        return self.patch(setter, index).reshape(draws + 1, -1)

    def frame(
        self, axis: str, values: Int[Tensor, " n"], difference: Float[Tensor, "rows n"]
    ) -> pd.DataFrame:
        """Results as a table; the first row of ``difference`` is the effect, the others controls."""
        recovered = (difference - self.corrupted) / (self.clean - self.corrupted)
        return pd.DataFrame(
            {
                "layer": 0,
                axis: values.tolist(),
                "logit_difference": difference[0].numpy(),
                "recovered": recovered[0].numpy(),
                "random_mean": recovered[1:].mean(0).numpy(),
                "random_min": recovered[1:].amin(0).numpy(),
                "random_max": recovered[1:].amax(0).numpy(),
                "clean": self.clean,
                "corrupted": self.corrupted,
            }
        )


def logit_difference(logits: Float[Tensor, "pairs p"], pairs: Counterfactuals) -> Float[Tensor, ""]:
    """Logit of the clean answer minus that of the corrupted one, mean over pairs.

    A ``patching_metric`` for ``generic_activation_patch``, as
    ``lambda logits: patch.logit_difference(logits, pairs)``.

    Args:
        logits: On either side of the pairs, in their order.
        pairs: Of ``task.counterfactuals``.

    Returns:
        A scalar, in the units of the logits.
    """
    answers = torch.stack([pairs.clean.labels, pairs.corrupted.labels], -1).to(logits.device)
    chosen = logits.gather(-1, answers)
    return (chosen[:, 0] - chosen[:, 1]).mean()
