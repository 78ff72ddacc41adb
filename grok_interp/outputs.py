"""What a model says of pairs: its logits, in chunks, and any number computed from them pair by pair.

A model is anything that maps tokens to logits: a HookedMLP (inside any scope), a user's function,
or :class:`~grok_interp.weights.MLPWeights` with batch axes, which come first in every result.

Weights, and models without hooks on activations, run on a chunk of the pairs at a time, so memory does
not grow with ``p * p * d_mlp``. A hook on activations may look at the whole batch, as a mean ablation
does; so a model with one, and a function, of which nothing is known, run once on all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp.tasks import ModularTask, Pairs, Split
from grok_interp.weights import W_IN_HOOK, W_OUT_HOOK, MLPWeights, SupportsWeights, check_labels

CHUNK_ELEMENTS = 1 << 22
"""Activations held at a time, counted over batch, pairs and neurons; 16 MiB in float32."""

Model = Callable[[Tensor], Tensor] | MLPWeights


def logits(model: Model, tokens: Tensor) -> Float[Tensor, "*batch pairs p"]:
    """All logits on some pairs, computed in chunks and without gradients.

    Args:
        model: Maps tokens to logits; see the module.
        tokens: Pairs, int64 ``[pairs, 2]``.

    Returns:
        ``[*batch, pairs, p]``, with the batch axes of weights that have any.
    """
    with torch.no_grad():
        return torch.cat([chunk for _, chunk in logits_in_chunks(model, tokens)], -2)


def logits_in_chunks(model: Model, tokens: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Logits on some pairs, a chunk at a time; see the module for how many.

    Args:
        model: Maps tokens to logits; see the module.
        tokens: Pairs, int64 ``[pairs, 2]``.

    Yields:
        Rows of ``tokens``, as a slice, and the logits ``[*batch, rows, p]`` on them, with gradients.
    """
    size, run = len(tokens), model
    if isinstance(model, MLPWeights):
        width = max(model.d_mlp, model.p) * math.prod(model.batch_shape)
        size, run = CHUNK_ELEMENTS // width, model.logits
        tokens = tokens.to(model.W_in.device)
    elif isinstance(model, SupportsWeights):
        weights = model.weights()
        if not looks_at_batches(model):
            size = CHUNK_ELEMENTS // max(weights.d_mlp, weights.p)
        tokens = tokens.to(weights.W_in.device)
    size = max(1, size)
    for start in range(0, max(1, len(tokens)), size):
        rows = slice(start, start + size)
        yield rows, run(tokens[rows])  # type: ignore[operator]


def looks_at_batches(model: object) -> bool:
    """Whether hooks are attached other than on weights, which have no batch axis."""
    if not isinstance(model, torch.nn.Module):
        return False
    return any(
        module._forward_hooks or module._forward_pre_hooks
        for name, module in model.named_modules()
        if name not in (W_IN_HOOK, W_OUT_HOOK)
    )


def over_pairs(
    model: Model,
    task: ModularTask | Pairs | None,
    tokens: Tensor | None,
    labels: Tensor | None,
    of: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """A number for every pair, computed from its logits in chunks and without gradients.

    Args:
        model: Maps tokens to logits; see the module.
        task: A task or pairs; or None, with ``tokens`` and ``labels``.
        tokens: Pairs, int64 ``[pairs, 2]``.
        labels: Classes, int64 ``[pairs]``.
        of: From logits ``[*batch, rows, p]`` and labels ``[rows]`` to ``[*batch, rows]``.

    Returns:
        ``[*batch, pairs]``.

    Raises:
        ValueError: If not exactly one of a task and tokens with labels is given, a whole split is, or the
            model's classes are not the task's.
    """
    tokens, labels = chosen_pairs(task, tokens, labels)
    parts = []
    with torch.no_grad():
        for rows, logits in logits_in_chunks(model, tokens):
            p = logits.shape[-1]
            if isinstance(task, ModularTask) and task.p != p:
                raise ValueError(
                    f"the model gives {p} classes and the task has p={task.p}: pass the task that it was "
                    "trained on, and cut off logits of tokens that are no class"
                )
            labels = check_labels(labels, len(tokens), p)
            parts.append(of(logits, labels[rows].to(logits.device)))
    return torch.cat(parts, -1)


def chosen_pairs(
    task: ModularTask | Pairs | None, tokens: Tensor | None, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The pairs meant by a task, ``split.test``, ``split.train``, or tokens and labels; not yet checked.

    Returns:
        Tokens and labels.

    Raises:
        ValueError: If not exactly one of them is given, or a whole split is.
    """
    if isinstance(task, Split):
        raise ValueError("a split has two sides: pass split.test or split.train")
    if task is not None and tokens is None and labels is None:
        return task.tokens, task.labels
    if task is None and tokens is not None and labels is not None:
        return tokens, labels
    raise ValueError(
        "pass a task, split.test, split.train, or tokens= and labels= together: which pairs to measure on"
    )
