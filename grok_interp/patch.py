"""Activation patching by neuron and by frequency: setters, ready runs, and their controls.

The model runs on corrupted pairs, and part of an activation x is set to what it is on clean pairs::

    by neuron:     x[:, S] -> clean[:, S]
    by frequency:  S are the neurons of frequency k, or
    by plane:      x -> x + (clean - x) B_k B_k^T,   B_k orthonormal, [features, 2]

where B_k spans what the activation does along ``cos`` and ``sin`` of 2 pi k (a + b) / m over all pairs
(:func:`activation_planes`), or the two waves of frequency k among the logits
(:func:`class_planes`). The effect is how much of the logit difference of the two answers comes back::

    recovered = (LD_patched - LD_corrupted) / (LD_clean - LD_corrupted),   LD = x_clean - x_corrupted

with the means over pairs of the logits of the clean and of the corrupted answer.

What is not evidence: that patching something moves the answer. Patching as many neurons of like norm,
or moving an activation as far in a random plane, may do the same, so both come with every run. A plane
fitted to the activations holds what varies with a + b in *any* network, trained or not.

Sources: Vig et al., arXiv 2004.12265, and Heimersheim and Nanda, arXiv 2404.15255, on patching and its
metrics; Geiger et al., arXiv 2303.02536, on interchange in subspaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp import _compat, grid
from grok_interp.ablate import matched_orders
from grok_interp.config import check_choice
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.neurons import NeuronTable
from grok_interp.planes import PlanePatch as PlanePatch
from grok_interp.planes import Planes as Planes
from grok_interp.planes import activation_planes as activation_planes
from grok_interp.planes import class_planes as class_planes
from grok_interp.tasks import Counterfactuals
from grok_interp.weights import OUT_HOOK, POST_HOOK, PRE_HOOK, neuron_mask

Setter = Callable[[Tensor, Sequence[int], Tensor], Tensor]
"""What ``generic_activation_patch`` calls: (corrupted activation, index, clean activation)."""
SHORT_NAMES = {PRE_HOOK: "pre", POST_HOOK: "post", OUT_HOOK: "mlp_out"}
"""What ``generic_activation_patch`` calls the hook points that can be patched."""


# Setters ----------------------------------------------------------------------------------------


def neuron_setter(position: int | None = None) -> Setter:
    """For rows ``(layer, neuron)`` of an index: patch one neuron.

    Args:
        position: Which position of ``[batch, position, d_mlp]``; None for all.
    """

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        _, neuron = index
        return _set(corrupted, clean, neuron_mask([int(neuron)], corrupted.shape[-1]), position)

    return setter


def frequency_setter(table: NeuronTable, position: int | None = None) -> Setter:
    """For rows ``(layer, frequency)`` of an index: patch the neurons of that frequency.

    Args:
        table: The network's table; neurons whose three frequencies differ are never patched.
        position: Which position of ``[batch, position, d_mlp]``; None for all.
    """

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        _, frequency = index
        return _set(corrupted, clean, table.at(int(frequency)), position)

    return setter


def plane_setter(planes: Planes, position: int | None = None) -> Setter:
    """For rows ``(layer, frequency)`` of an index: patch the plane of that frequency.

    Args:
        planes: Of :func:`activation_planes` or :func:`class_planes`.
        position: Which position of ``[batch, position, features]``; None for all.
    """

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        _, frequency = index
        basis = planes.at(int(frequency)).to(corrupted)
        return _move(corrupted, lambda x, y: x + (y - x) @ basis @ basis.mT, clean, position)

    return setter


def _set(corrupted: Tensor, clean: Tensor, mask: Tensor, position: int | None) -> Tensor:
    return _move(corrupted, lambda x, y: torch.where(mask.to(x.device), y, x), clean, position)


def _move(
    corrupted: Tensor,
    function: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    position: int | None,
) -> Tensor:
    """``function(corrupted, clean)``, at one position if there is one; out of place."""
    if position is None:
        return function(corrupted, clean)
    changed = corrupted.clone()
    changed[:, position] = function(corrupted[:, position], clean[:, position])
    return changed


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
    """Patch neurons one at a time.

    Args:
        model: The network, in any scope.
        pairs: Of ``task.counterfactuals``.
        neurons: Which; None for all.
        hook_name: ``hook_pre`` or ``hook_post``.
        draws: Random neurons of like norm to compare each with.
        seed: Seed of the draws.

    Returns:
        One row a neuron: ``layer``, ``neuron``, ``logit_difference``, ``recovered``, and the mean,
        minimum and maximum of what random neurons recover that are matched in norm, as in
        :func:`grok_interp.ablate.curve`; it may be drawn itself.
    """
    width = model.cfg.d_mlp
    chosen = neuron_mask(neurons, width).nonzero().flatten()
    run = _Run.of(model, pairs, hook_name)
    controls = matched_orders(torch.arange(width), run.norms, draws, seed)[:, chosen]
    needed, place = torch.cat([chosen[None], controls]).unique(return_inverse=True)
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
    """Patch all neurons of a frequency, one frequency at a time, beside random neurons.

    Args:
        model: The network, in any scope.
        pairs: Of ``task.counterfactuals``.
        table: Says which neurons are of which frequency.
        frequencies: Which; None for all.
        hook_name: ``hook_pre`` or ``hook_post``.
        draws: Random sets of as many neurons matched in norm.
        seed: Seed of the draws.

    Returns:
        As :func:`by_neuron`, with columns ``frequency`` and ``neurons``, how many there are.
    """
    chosen = grid.frequency_index(frequencies, table.modulus)
    run = _Run.of(model, pairs, hook_name)
    every = torch.arange(table.d_mlp)
    orders = torch.cat([every[None], matched_orders(every, run.norms, draws, seed)])

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        _, draw, frequency = index
        own = table.at(int(frequency)).cpu()
        return _set(corrupted, clean, neuron_mask(orders[int(draw)][own], table.d_mlp), None)

    frame = run.frame("frequency", chosen, run.patch_draws(setter, draws, chosen))
    frame.insert(2, "neurons", [int(table.at(int(frequency)).sum()) for frequency in chosen])
    return frame


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

    Args:
        model: The network, in any scope.
        pairs: Of ``task.counterfactuals``.
        planes: In the space of the activation at ``hook_name``.
        frequencies: Which; None for all.
        hook_name: A hook point with a batch and a feature axis.
        draws: Random planes; along each the clean activation is approached, and every row is moved
            as far as in the plane of the frequency.
        seed: Seed of the draws.

    Returns:
        As :func:`by_neuron`, with a column ``frequency``.
    """
    chosen = grid.frequency_index(frequencies, planes.modulus)
    run = _Run.of(model, pairs, hook_name)
    features = planes.basis.shape[1]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, features, 2, generator=generator, dtype=torch.float64)
    random = torch.linalg.qr(noise).Q
    exact = plane_setter(planes)

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        layer, draw, frequency = index
        moved = exact(corrupted, [layer, frequency], clean)
        if draw == 0:
            return moved
        other = random[int(draw) - 1].to(clean)
        move: Tensor = (clean - corrupted) @ other @ other.mT
        length = move.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(move.dtype).tiny)
        placebo: Tensor = corrupted + move * (
            (moved - corrupted).norm(dim=-1, keepdim=True) / length
        )
        return placebo

    return run.frame("frequency", chosen, run.patch_draws(setter, draws, chosen))


def interchange(
    model: Any,
    pairs: Counterfactuals,
    bases: Mapping[str, Float[Tensor, "features rank"]],
    *,
    hook_name: str = POST_HOOK,
    strength: float = 1.0,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Interchange subspaces with TransformerLens' ``tools.analysis.interchange``, and its placebo.

    Accuracy is the share of corrupted pairs that the interchange makes the model answer as the clean
    pairs. Needs transformer-lens 4.

    Args:
        model: The network, in any scope.
        pairs: Of ``task.counterfactuals``.
        bases: Orthonormal bases by name, such as ``{"k=5": planes.at(5)}``.
        hook_name: A hook point with a batch and a feature axis.
        strength: 1 interchanges, 0 leaves the corrupted run.
        draws: Random bases of the same rank, in which ``NormMatchedPlacebo`` moves as far.
        seed: Seed of the draws.

    Returns:
        One row a basis: ``basis``, ``rank``, ``accuracy``, ``corrupted_accuracy`` (the same share
        without interchange), and ``placebo_mean``, ``placebo_min``, ``placebo_max``.

    Raises:
        RuntimeError: With an older transformer-lens.
        ValueError: If a basis does not fit the activation or is not orthonormal.
    """
    tools = _compat.interchange()
    with _evaluating(model), torch.no_grad():
        source = tools.collect_activations(model, hook_name, pairs.clean.tokens, model)

        def accuracy(intervention: Any) -> float:
            logits = tools.intervened_logits(
                model, hook_name, intervention, pairs.corrupted.tokens, source, model
            )
            return float((logits.argmax(-1) == pairs.clean.labels).double().mean())

        rows = []
        for name, given in bases.items():
            basis = _check_basis(name, given, source.shape[-1])
            exact = tools.SubspaceInterchange(basis, strength)
            placebos = torch.tensor(
                [
                    accuracy(
                        tools.NormMatchedPlacebo(exact, tools.random_basis(*basis.shape, each))
                    )
                    for each in range(seed, seed + draws)
                ],
                dtype=torch.float64,
            )
            none = tools.SubspaceInterchange(basis, 0.0)
            row = {"basis": name, "rank": basis.shape[1], "accuracy": accuracy(exact)}
            row |= {"corrupted_accuracy": accuracy(none)}
            row |= {"placebo_mean": float(placebos.mean())}
            row |= {"placebo_min": float(placebos.amin()), "placebo_max": float(placebos.amax())}
            rows.append(row)
    return pd.DataFrame(rows)


def _check_basis(name: str, basis: Tensor, features: int) -> Tensor:
    """The basis without zero columns, if what is left is orthonormal and fits."""
    if basis.ndim != 2 or basis.shape[0] != features:
        raise ValueError(
            f"basis {name!r} has shape {list(basis.shape)}, expected [{features}, rank]: one column "
            "for each direction of the activation"
        )
    kept = basis[:, basis.norm(dim=0) > 0]
    gram = kept.mT @ kept
    if kept.shape[1] == 0 or not torch.allclose(gram, torch.eye(len(gram)).to(gram), atol=1e-4):
        raise ValueError(
            f"basis {name!r} is not orthonormal: take planes.at(k), or torch.linalg.qr(basis).Q"
        )
    return kept


@dataclass(frozen=True, eq=False)
class _Run:
    """A model on counterfactual pairs, with its clean activations and unpatched effects.

    Attributes:
        model: The model.
        pairs: The pairs.
        hook_name: Where it is patched.
        cache: Clean activations.
        norms: ``|post_n| |W_out,n|`` over the clean pairs.
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
        with torch.no_grad(), _evaluating(model):
            names = list({hook_name, POST_HOOK})
            logits, cache = model.run_with_cache(pairs.clean.tokens, names_filter=names)
            corrupted = model(pairs.corrupted.tokens)
        norms = cache[POST_HOOK].norm(dim=0) * model.effective_weights().W_out.detach().norm(dim=-1)
        return cls(
            model,
            pairs,
            hook_name,
            cache,
            norms,
            float(logit_difference(logits, pairs)),
            float(logit_difference(corrupted, pairs)),
        )

    def patch(self, setter: Setter, index: Mapping[str, Tensor]) -> Float[Tensor, " n"]:
        """The logit difference under the setter, for each row of an index."""
        rows = pd.DataFrame({"layer": 0} | {name: each.tolist() for name, each in index.items()})
        with torch.no_grad(), _evaluating(self.model):
            found: Tensor = _compat.generic_activation_patch()(
                self.model,
                self.pairs.corrupted.tokens,
                self.cache,
                lambda logits: logit_difference(logits, self.pairs),
                setter,
                SHORT_NAMES[self.hook_name],
                index_df=rows,
            )
        return found.double().cpu()

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
            }
        )


@contextmanager
def _evaluating(model: HookedMLP) -> Iterator[None]:
    """Evaluation mode, which patching tools insist on; modules go back to the mode they were in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def logit_difference(logits: Float[Tensor, "pairs p"], pairs: Counterfactuals) -> Float[Tensor, ""]:
    """Logit of the clean answer minus that of the corrupted one, mean over pairs.

    A ``patching_metric`` for ``generic_activation_patch``, as
    ``lambda logits: patch.logit_difference(logits, pairs)``.
    """
    answers = torch.stack([pairs.clean.labels, pairs.corrupted.labels], -1).to(logits.device)
    chosen = logits.gather(-1, answers)
    return (chosen[:, 0] - chosen[:, 1]).mean()
