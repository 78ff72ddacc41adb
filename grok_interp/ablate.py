"""Which neurons matter: accuracy as more and more of them are ablated, in an order of one's choice.

The logits are a sum over neurons, so replacing the activations of neurons S changes them by::

    sum over n in S of (replacement_n - post_n) W_out[n]

What is not evidence: that accuracy falls when n neurons go. n others may do as much, above all if they
are as loud; so :func:`curve` reports every ablation beside random sets of as many neurons, matched in
norm (Doshi et al., arXiv 2310.13061, rank by IPR, without such a control).

The interventions themselves are reachable here: ``Neurons`` (described in :mod:`.neuron_ablation`);
``WeightFrequencies``, ``LogitFrequencies``, ``GridFrequencies``, ``TokenFrequencies``
(:mod:`.filters`); ``shift``, ``scramble`` and ``project`` for phases (:mod:`grok_interp.phases`). They print
nothing and compare with nothing; that is up to whoever uses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp.config import check_choice
from grok_interp.filters import GridFrequencies as GridFrequencies
from grok_interp.filters import LogitFrequencies as LogitFrequencies
from grok_interp.filters import TokenFrequencies as TokenFrequencies
from grok_interp.filters import WeightFrequencies as WeightFrequencies
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.losses import pair_losses, pair_margins
from grok_interp.neuron_ablation import Kind, other_rows
from grok_interp.neuron_ablation import Neurons as Neurons
from grok_interp.orders import change_norms as change_norms
from grok_interp.orders import check_draws, likeness
from grok_interp.orders import matched_sets as matched_sets
from grok_interp.orders import ranking as ranking
from grok_interp.outputs import looks_at_batches
from grok_interp.phases import project as project
from grok_interp.phases import scramble as scramble
from grok_interp.phases import shift as shift
from grok_interp.tasks import ModularTask, Pairs, Split
from grok_interp.weights import POST_HOOK, PRE_HOOK, MLPWeights, activation, neuron_mask

POINTS = 17
"""Sizes at which a curve is measured, from no neuron to all of them."""
CHUNK_ELEMENTS = 1 << 22
"""Changes of activations held at a time, counted over draws, pairs and neurons."""


def curve(
    model: HookedMLP | MLPWeights,
    order: Any,
    pairs: ModularTask | Split | Pairs | Mapping[str, Pairs],
    *,
    kind: Kind | str = "zero",
    hook_name: str = POST_HOOK,
    counts: Sequence[int] | None = None,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy and loss as neurons are ablated one after the other, beside norm-matched random sets.

    The logits are a sum over neurons, so an ablation of n neurons adds n changes to the logits and
    a whole curve with its controls costs little more than one forward pass a draw. With hooks of a
    user on activations (idealised and other weights are fine) the model is run once for each point.

    Args:
        model: A HookedMLP, in any scope, or the weights of one network.
        order: Neurons in the order of ablation, such as :func:`.orders.ranking` gives; or a set of neurons
            (indices or mask), with ``counts=[len(set)]``.
        pairs: What to measure on: all pairs of a task, both sides of a split (with label noise also
            its training pairs by whether their label is corrupted), or pairs by name.
        kind: As for :class:`.Neurons`; means and rows are those of the pairs measured on.
        hook_name: ``hook_post`` or ``hook_pre``.
        counts: Numbers of neurons to ablate; None for 17 from none to all.
        draws: Random orders to compare with.
        seed: Seed of orders and of resampled rows.

    Returns:
        One row for each set of pairs and count, with ``pairs``, ``n``, ``accuracy``, ``loss`` (mean
        cross-entropy in nats), and for both ``random_..._mean``, ``_min``, ``_max`` over draws of
        as many neurons, each like one of the ablated in how far its ablation moves the logits over
        these pairs (:func:`.change_norms`, :func:`.matched_sets`); ``random_overlap``, the mean share of
        the random neurons that are among the ablated ones, where the control says nothing; and
        ``random_norm``, the mean ratio of the sets' norms (roots of summed squares), which is 1 for a
        match.

    Raises:
        TypeError: If the pairs are of another kind.
        ValueError: If a neuron is out of range or listed twice, a count is larger than the order, or
            there are no draws.
    """
    check_choice("kind", kind, Kind)
    check_choice("hook_name", hook_name, (PRE_HOOK, POST_HOOK))
    weights = model if isinstance(model, MLPWeights) else model.effective_weights()
    if weights.batch_shape:
        raise ValueError(f"the weights hold a batch of shape {weights.batch_shape}: index it first")
    order = _check_order(order, weights.d_mlp)
    sizes = _check_counts(counts, len(order))
    check_draws(draws)
    run: _Additive | _Hooked
    if isinstance(model, HookedMLP) and looks_at_batches(model):
        run = _Hooked(model, str(kind), hook_name, seed)
    else:
        run = _Additive(weights.detach(), str(kind), hook_name, seed)
    rows = []
    with torch.no_grad():
        for name, side in _sides(pairs, weights.p).items():
            norms = change_norms(*run.ablated(side.tokens), weights.W_out)
            random = matched_sets(order, norms, draws, seed)
            accuracy, loss = run.measure(torch.cat([order[None], random]), sizes, side)
            for place, n in enumerate(sizes):
                row = {
                    "pairs": name,
                    "n": n,
                    "accuracy": accuracy[0, place],
                    "loss": loss[0, place],
                }
                for label, values in (("accuracy", accuracy[1:]), ("loss", loss[1:])):
                    for how, number in _spread(values[:, place]).items():
                        row[f"random_{label}_{how}"] = number
                row |= likeness(order[:n], random[:, :n], norms)
                rows.append(row)
    return pd.DataFrame(rows).astype({"accuracy": float, "loss": float})


@dataclass(frozen=True, eq=False)
class _Additive:
    """Curves by adding up the neurons' changes to the logits."""

    weights: MLPWeights
    kind: str
    hook_name: str
    seed: int

    def ablated(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Activations ``[pairs, d_mlp]`` as they are, and with every neuron ablated."""
        tokens = tokens.to(self.weights.W_in.device)
        post = self.weights.post(tokens)
        return post, self.replacement(tokens).expand_as(post)

    def replacement(self, tokens: Tensor) -> Float[Tensor, "rows d_mlp"]:
        """What takes the place of ``post``, one row for all pairs or one a pair."""
        weights = self.weights
        act = activation(weights.act_fn)
        if self.kind == "zero":
            zero = weights.W_out.new_zeros(1, weights.d_mlp)
            return act(zero) if self.hook_name == PRE_HOOK else zero
        if self.kind == "resample":
            return weights.post(tokens[other_rows(len(tokens), None, self.seed)])
        if self.hook_name == PRE_HOOK:
            return act(weights.pre(tokens).mean(0, keepdim=True))
        return weights.post(tokens).mean(0, keepdim=True)

    def measure(
        self, orders: Int[Tensor, "orders n"], sizes: Sequence[int], side: Pairs
    ) -> tuple[Tensor, Tensor]:
        weights = self.weights
        device = weights.W_in.device
        tokens, labels = side.tokens.to(device), side.labels.to(device)
        orders = orders.to(device)
        replacement = self.replacement(tokens)
        n_right = torch.zeros(len(orders), len(sizes), dtype=torch.float64)
        total = torch.zeros_like(n_right)
        others = _complements(orders, weights.d_mlp)
        step = max(1, CHUNK_ELEMENTS // (len(orders) * max(weights.d_mlp, weights.p)))
        for start in range(0, len(tokens), step):
            rows = slice(start, start + step)
            post = weights.post(tokens[rows])
            instead = (replacement if len(replacement) == 1 else replacement[rows]).expand_as(post)
            # From all of them ablated back to none, so that what is left when nearly everything is
            # gone is a sum of a few terms and not a rounded difference of two large ones: neurons
            # that say nothing then leave exact ties.
            logits = self._heard(instead, orders) + self._heard(post, others)
            if weights.b_out is not None:
                logits += weights.b_out
            left = orders.shape[1]
            for place in reversed(range(len(sizes))):
                segment = orders[:, sizes[place] : left]
                logits += self._heard(post - instead, segment)
                left = sizes[place]
                n_right[:, place] += (pair_margins(logits, labels[rows]) > 0).sum(-1).cpu()
                total[:, place] += pair_losses(logits, labels[rows]).sum(-1).double().cpu()
        return n_right / len(tokens), total / len(tokens)

    def _heard(
        self, activations: Float[Tensor, "pairs d_mlp"], neurons: Int[Tensor, "orders n"]
    ) -> Float[Tensor, "orders pairs p"]:
        """What some neurons add to the logits."""
        by_neuron = activations.T[neurons].mT
        return self.weights.output_scale * (by_neuron @ self.weights.W_out[neurons])


def _complements(orders: Int[Tensor, "orders n"], d_mlp: int) -> Int[Tensor, "orders rest"]:
    """The neurons that an order leaves out, for each order."""
    absent = torch.ones(len(orders), d_mlp, dtype=torch.bool, device=orders.device)
    absent = absent.scatter(1, orders, torch.zeros_like(orders, dtype=torch.bool))
    return absent.nonzero()[:, 1].reshape(len(orders), -1)


@dataclass(frozen=True, eq=False)
class _Hooked:
    """Curves by running the model once for each point, with whatever hooks it has."""

    model: HookedMLP
    kind: str
    hook_name: str
    seed: int

    def ablated(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Activations ``[pairs, d_mlp]`` as they are, and with every neuron ablated."""

        def post() -> Tensor:
            found: Tensor = self.model.run_with_cache(tokens, names_filter=POST_HOOK)[1][POST_HOOK]
            return found

        every = Neurons(range(self.model.cfg.d_mlp), self.kind, self.hook_name, seed=self.seed)
        with self.model.intervened(every):
            after = post()
        return post(), after

    def measure(
        self, orders: Int[Tensor, "orders n"], sizes: Sequence[int], side: Pairs
    ) -> tuple[Tensor, Tensor]:
        accuracy = torch.zeros(len(orders), len(sizes), dtype=torch.float64)
        loss = torch.zeros_like(accuracy)
        for row, order in enumerate(orders):
            for place, n in enumerate(sizes):
                ablation = Neurons(order[:n], self.kind, self.hook_name, seed=self.seed)
                with self.model.intervened(ablation):
                    logits = self.model(side.tokens)
                labels = side.labels.to(logits.device)
                accuracy[row, place] = (pair_margins(logits, labels) > 0).double().mean()
                loss[row, place] = pair_losses(logits, labels).double().mean()
        return accuracy, loss


def _check_order(order: Any, d_mlp: int) -> Int[Tensor, " n"]:
    index = torch.as_tensor(order)
    if index.dtype == torch.bool:
        return neuron_mask(index, d_mlp).nonzero().flatten()
    if int(neuron_mask(index, d_mlp).sum()) != index.numel() or index.ndim != 1:
        raise ValueError(
            f"order has shape {list(index.shape)} and {len(index.unique())} different neurons: "
            "list each neuron once"
        )
    return index.cpu().long()


def _check_counts(counts: Sequence[int] | None, n: int) -> list[int]:
    if counts is None:
        evenly: list[int] = torch.linspace(0, n, min(POINTS, n + 1)).round().int().unique().tolist()
        return evenly
    sizes = sorted({int(count) for count in counts})
    if not sizes or sizes[0] < 0 or sizes[-1] > n:
        raise ValueError(f"counts={list(counts)!r} must be whole numbers in 0..{n}, at least one")
    return sizes


def _sides(pairs: object, p: int) -> dict[str, Pairs]:
    """Pairs to measure on, by name; sides without a pair are left out."""
    task = pairs if isinstance(pairs, ModularTask) else getattr(pairs, "task", None)
    if isinstance(task, ModularTask) and task.p != p:
        raise ValueError(f"the model has p={p} and the task p={task.p}: pass the model's task")
    if isinstance(pairs, ModularTask):
        return {"all": Pairs(pairs.tokens, pairs.labels)}
    if isinstance(pairs, Pairs):
        return {"pairs": pairs}
    if isinstance(pairs, Split):
        return {name: side for name, side in _of_split(pairs) if len(side.labels)}
    if not isinstance(pairs, Mapping):
        raise TypeError(
            f"pairs is a {type(pairs).__name__}, expected a task, a split, split.test, or a dict of "
            "Pairs by name"
        )
    return dict(pairs)


def _of_split(split: Split) -> Iterator[tuple[str, Pairs]]:
    """Both sides, and with noise the training pairs with and without a wrong label."""
    yield "train", split.train
    yield "test", split.test
    if bool(split.corrupted.any()):
        for name, chosen in (("corrupted", split.corrupted), ("uncorrupted", ~split.corrupted)):
            yield name, Pairs(split.train_tokens[chosen], split.train_labels[chosen])


def _spread(values: Float[Tensor, " draws"]) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "min": float(values.amin()),
        "max": float(values.amax()),
    }
