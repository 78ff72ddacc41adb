"""Numbers about a model: accuracy, loss, margin, rank, norms, chance.

A model is anything that maps tokens to logits: a HookedMLP (inside any scope), a user's function,
or :class:`~grok_interp.weights.MLPWeights` with batch axes, for which every number comes with those
axes. Pairs are worked through in chunks, so memory does not grow with ``p * p * d_mlp``.

Ties count as wrong: a model that gives all classes one logit has accuracy 0, not 1/p.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grok_interp.config import LossName, check_choice
from grok_interp.losses import pair_losses as pair_losses
from grok_interp.losses import pair_margins as pair_margins
from grok_interp.tasks import ModularTask, Pairs, Split
from grok_interp.weights import MLPWeights, SupportsWeights, check_labels

CHUNK_ELEMENTS = 1 << 22
"""Activations held at a time, counted over batch, pairs and neurons: 16 MiB in float32."""
CHUNK_PAIRS = 1 << 13
"""Pairs at a time for a model whose width is not known."""

Model = Callable[[Tensor], Tensor] | MLPWeights


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
        ValueError: If neither a task nor both tokens and labels are given.
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
    """Correct logit minus the largest other one, for each pair; arguments as for :func:`accuracy`."""
    return _over_pairs(model, task, tokens, labels, pair_margins)


def mean_rank(
    model: Model,
    task: ModularTask | Pairs | None = None,
    *,
    tokens: Tensor | None = None,
    labels: Tensor | None = None,
) -> Float[Tensor, "*batch"]:
    """Mean rank of the correct class, from 1 (best) to p; ties rank it last. (p + 1)/2 by chance."""

    def of(logits: Tensor, right: Tensor) -> Tensor:
        index = right.expand(logits.shape[:-1]).unsqueeze(-1)
        # Counted from below, so that NaN logits rank last and not first.
        return logits.shape[-1] - (logits < logits.gather(-1, index)).sum(-1)

    return _over_pairs(model, task, tokens, labels, of).double().mean(-1)


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

    Raises:
        ValueError: If the kind is unknown, or pairs are missing.
    """
    check_choice("kind", kind, LossName)
    per_pair = functools.partial(pair_losses, kind=kind)
    return _over_pairs(model, task, tokens, labels, per_pair).double().mean(-1)


def logits(model: Model, tokens: Tensor) -> Float[Tensor, "*batch pairs p"]:
    """All logits on ``tokens``, computed in chunks and without gradients."""
    with torch.no_grad():
        return torch.cat([chunk for _, chunk in logits_in_chunks(model, tokens)], -2)


def weight_norms(model: SupportsWeights | MLPWeights) -> dict[str, Float[Tensor, "*batch"]]:
    """L2 norm of each weight tensor and of all together (``"total"``), each parameter counted once.

    Operands that share an embedding count twice in MLPWeights, which hold it written out, and once
    for a HookedMLP.
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


def _pairs(
    task: ModularTask | Pairs | None, tokens: Tensor | None, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The pairs meant, not yet checked."""
    if isinstance(task, Split):
        raise ValueError("a split has two sides: pass split.test or split.train")
    if task is not None and tokens is None and labels is None:
        return task.tokens, task.labels
    if task is None and tokens is not None and labels is not None:
        return tokens, labels
    raise ValueError(
        "pass a task, split.test, split.train, or tokens= and labels= together: which pairs to measure on"
    )


def _over_pairs(
    model: Model,
    task: ModularTask | Pairs | None,
    tokens: Tensor | None,
    labels: Tensor | None,
    of: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """``of(logits, labels)`` for every pair, in chunks and without gradients."""
    tokens, labels = _pairs(task, tokens, labels)
    with torch.no_grad():
        parts = [
            of(logits, check_labels(labels, len(tokens), logits.shape[-1])[rows].to(logits.device))
            for rows, logits in logits_in_chunks(model, tokens)
        ]
    return torch.cat(parts, -1)


def logits_in_chunks(model: Model, tokens: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of ``tokens`` and the model's logits on them, some pairs at a time."""
    size, run = CHUNK_PAIRS, model
    if isinstance(model, MLPWeights):
        width = max(model.d_mlp, model.p) * math.prod(model.batch_shape)
        size, run = CHUNK_ELEMENTS // width, model.logits
        tokens = tokens.to(model.W_in.device)
    elif isinstance(model, SupportsWeights):
        weights = model.weights()
        size = CHUNK_ELEMENTS // max(weights.d_mlp, weights.p)
        tokens = tokens.to(weights.W_in.device)
    size = max(1, size)
    for start in range(0, max(1, len(tokens)), size):
        rows = slice(start, start + size)
        yield rows, run(tokens[rows])  # type: ignore[operator]
