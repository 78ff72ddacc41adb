"""Numbers about a model: accuracy, loss, margin, rank, norms, chance; and those of its mechanism.

A model is anything that maps tokens to logits: a HookedMLP (inside any scope), a user's function,
or :class:`~grok_interp.weights.MLPWeights` with batch axes, for which every number comes with those
axes. Pairs are worked through in chunks, so memory does not grow with ``p * p * d_mlp``.

Ties count as wrong: a model that gives all classes one logit has accuracy 0, not 1/p.

Measures of the mechanism come from :mod:`.mechanism`, :mod:`.leakage`, :mod:`.circuits` and
:mod:`.census`, phases of learning from corrupted labels from :mod:`.corruption`, and all are reached
from here.
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grok_interp.census import effective_frequencies as effective_frequencies
from grok_interp.census import frequency_census as frequency_census
from grok_interp.census import frequency_energy as frequency_energy
from grok_interp.circuits import circularity as circularity
from grok_interp.circuits import distance_irrelevance as distance_irrelevance
from grok_interp.circuits import gradient_symmetricity as gradient_symmetricity
from grok_interp.config import LossName, check_choice
from grok_interp.corruption import generalisation_phase as generalisation_phase
from grok_interp.lattice import functions_of_pairs as functions_of_pairs
from grok_interp.leakage import Leakage as Leakage
from grok_interp.leakage import activation_leakage as activation_leakage
from grok_interp.leakage import leakage as leakage
from grok_interp.leakage import leakage_totals as leakage_totals
from grok_interp.losses import pair_losses as pair_losses
from grok_interp.losses import pair_margins as pair_margins
from grok_interp.mechanism import excluded_loss as excluded_loss
from grok_interp.mechanism import key_frequencies as key_frequencies
from grok_interp.mechanism import logit_coefficients as logit_coefficients
from grok_interp.mechanism import logit_shares as logit_shares
from grok_interp.mechanism import margin_attribution as margin_attribution
from grok_interp.mechanism import restricted_loss as restricted_loss
from grok_interp.mechanism import sum_shares as sum_shares
from grok_interp.outputs import Model as Model
from grok_interp.outputs import logits as logits
from grok_interp.outputs import logits_in_chunks as logits_in_chunks
from grok_interp.outputs import over_pairs
from grok_interp.tasks import ModularTask, Pairs
from grok_interp.weights import MLPWeights, SupportsWeights


def chance(task: ModularTask) -> float:
    """Accuracy of guessing: ``1 / p``."""
    return 1 / task.p


def accuracy(
    model: Model,
    task: ModularTask | Pairs | None = None,
    *,
    tokens: Tensor | None = None,
    labels: Tensor | None = None,
) -> Float[Tensor, "*batch"]:
    """Share of pairs whose label has strictly the largest logit.

    Args:
        model: Maps int64 tokens ``[batch, 2]`` to logits ``[batch, p]``.
        task: A task, for all of its pairs; or ``split.test`` or ``split.train``; or give ``tokens``
            and ``labels``.
        tokens: Pairs, int64 ``[pairs, 2]``.
        labels: Classes, int64 ``[pairs]``.

    Returns:
        A tensor with the model's batch axes (none for one model); NaN for no pairs.

    Raises:
        TypeError: If tokens or labels are not int64 tensors.
        ValueError: If not exactly one of a task and tokens with labels is given, a whole split is, or tokens,
            labels and the model's classes do not fit each other.
    """
    return correct(model, task, tokens=tokens, labels=labels).double().mean(-1)


def correct(
    model: Model,
    task: ModularTask | Pairs | None = None,
    *,
    tokens: Tensor | None = None,
    labels: Tensor | None = None,
) -> Bool[Tensor, "*batch pairs"]:
    """Which pairs the model gets right, ties counting as wrong; arguments as for :func:`accuracy`."""
    return margin(model, task, tokens=tokens, labels=labels) > 0


def margin(
    model: Model,
    task: ModularTask | Pairs | None = None,
    *,
    tokens: Tensor | None = None,
    labels: Tensor | None = None,
) -> Float[Tensor, "*batch pairs"]:
    """Correct logit minus the largest other one, of each pair, in logits; arguments as :func:`accuracy`."""
    return over_pairs(model, task, tokens, labels, pair_margins)


def mean_rank(
    model: Model,
    task: ModularTask | Pairs | None = None,
    *,
    tokens: Tensor | None = None,
    labels: Tensor | None = None,
) -> Float[Tensor, "*batch"]:
    """Mean rank of the correct class, from 1 (best) to p; ties rank it last.

    Arguments and errors as for :func:`accuracy`.

    Returns:
        Ranks in 1..p with the model's batch axes, (p + 1)/2 by chance; NaN for no pairs.
    """

    def of(logits: Tensor, right: Tensor) -> Tensor:
        index = right.expand(logits.shape[:-1]).unsqueeze(-1)
        # Counted from below, so that NaN logits rank last and not first.
        return logits.shape[-1] - (logits < logits.gather(-1, index)).sum(-1)

    return over_pairs(model, task, tokens, labels, of).double().mean(-1)


def loss(
    model: Model,
    task: ModularTask | Pairs | None = None,
    *,
    tokens: Tensor | None = None,
    labels: Tensor | None = None,
    kind: LossName | str = "cross_entropy",
) -> Float[Tensor, "*batch"]:
    """Mean loss over pairs; arguments as for :func:`accuracy`.

    Args:
        model: As for :func:`accuracy`.
        task: As for :func:`accuracy`.
        tokens: As for :func:`accuracy`.
        labels: As for :func:`accuracy`.
        kind: A loss of :mod:`grok_interp.losses`; ``"mse"`` is a mean over all entries.

    Returns:
        In nats, or for ``"mse"`` in squared units of the logits; NaN for no pairs.

    Raises:
        ValueError: If the kind is unknown, or as for :func:`accuracy`.
    """
    check_choice("kind", kind, LossName)
    per_pair = functools.partial(pair_losses, kind=kind)
    return over_pairs(model, task, tokens, labels, per_pair).double().mean(-1)


def weight_norms(model: SupportsWeights | MLPWeights) -> dict[str, Float[Tensor, "*batch"]]:
    """L2 norm of each weight tensor and of all together, each parameter counted once.

    Operands that share an embedding count twice in MLPWeights, which hold it written out, and once
    for a HookedMLP.

    Args:
        model: A model, or weights with any batch axes.

    Returns:
        Norms by name (``"W_in"``, ``"W_out"``, ``"b_in"``, ``"b_out"`` where they exist) and ``"total"``, in
        float64 and the units of the weights.
    """
    if isinstance(model, torch.nn.Module):
        tensors = {name.split(".")[-1]: (tensor, 0) for name, tensor in model.named_parameters()}
    else:
        weights = model if isinstance(model, MLPWeights) else model.weights()
        batch = len(weights.batch_shape)
        named = {name: getattr(weights, name) for name in ("W_in", "W_out", "b_in", "b_out")}
        tensors = {name: (tensor, batch) for name, tensor in named.items() if tensor is not None}
    squares = {
        name: tensor.detach().double().square().flatten(start).sum(-1)
        for name, (tensor, start) in tensors.items()
    }
    squares["total"] = torch.stack(list(squares.values())).sum(0)
    return {name: square.sqrt() for name, square in squares.items()}
