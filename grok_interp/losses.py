"""Losses of logits on labels, each with its gradient in the logits.

For logits x, label y and p classes::

    cross_entropy          -log softmax(x)_y
    cross_entropy_float64  the same, with the softmax in double precision
    mse                    mean over classes of (x_j - [j = y])^2
    stablemax              -log (s(x_y) / sum_j s(x_j)),  s(x) = x + 1 if x >= 0, else 1 / (1 - x)

In float32 the softmax of a confident network rounds to exactly 1 and its gradient to 0, which stops
learning; the second and fourth are remedies (Prieto et al., arXiv 2501.04697, sections 3 and 4).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def pair_losses(
    logits: Float[Tensor, "*batch pairs p"],
    labels: Int[Tensor, "*#batch pairs"],
    kind: str = "cross_entropy",
) -> Float[Tensor, "*batch pairs"]:
    """The loss of each pair, by the module's equations.

    Args:
        logits: Finite numbers.
        labels: Classes in 0..p-1.
        kind: ``"cross_entropy"``, ``"cross_entropy_float64"``, ``"mse"`` or ``"stablemax"``.

    Returns:
        In nats, or for ``"mse"`` in squared units of the logits.
    """
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    if kind == "mse":
        # |x - e_y|^2 without the one-hot, but not as |x|^2 - 2 x_y + 1, which cancels near 0.
        right = logits.gather(-1, index)
        others = logits.scatter(-1, index, 0).square().sum(-1, keepdim=True)
        return ((others + (right - 1).square()) / logits.shape[-1]).squeeze(-1)
    if kind == "stablemax":
        scores = _stablemax(logits)
        return (scores.sum(-1, keepdim=True).log() - scores.gather(-1, index).log()).squeeze(-1)
    exact = logits.double() if kind == "cross_entropy_float64" else logits
    return -exact.log_softmax(-1).gather(-1, index).squeeze(-1).to(logits.dtype)


def pair_margins(
    logits: Float[Tensor, "*batch pairs p"], labels: Int[Tensor, "*#batch pairs"]
) -> Float[Tensor, "*batch pairs"]:
    """Correct logit minus the largest other one, in the units of the logits; a pair is right if above 0."""
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    others = logits.scatter(-1, index, -math.inf).amax(-1)
    return logits.gather(-1, index).squeeze(-1) - others


def logit_gradients(
    logits: Float[Tensor, "*batch p"],
    positions: Int[Tensor, " rows"],
    minus_one: Float[Tensor, " rows"],
    kind: str,
    out: Float[Tensor, "*batch p"],
) -> Float[Tensor, "*batch p"]:
    """Gradient of the *sum* of all losses in the logits, written to ``out``.

    Training spends its time here, so nothing is allocated for ``"cross_entropy"``.

    Args:
        logits: Contiguous.
        positions: Where the labels' logits are in ``logits.flatten()``, one a row.
        minus_one: -1 for each row.
        kind: The loss, as for :func:`pair_losses`.
        out: Of the shape of ``logits``, contiguous.

    Returns:
        ``out``; a mean over rows is this divided by their number.
    """
    if kind == "cross_entropy":
        torch.softmax(logits, -1, out=out)
        out.view(-1).index_add_(0, positions, minus_one)
    elif kind == "cross_entropy_float64":
        exact = logits.double().softmax(-1)
        exact.view(-1).index_add_(0, positions, minus_one.double())
        out.copy_(exact)
    elif kind == "mse":
        out.copy_(logits)
        out.view(-1).index_add_(0, positions, minus_one)
        out.mul_(2 / logits.shape[-1])
    else:
        scores = _stablemax(logits)
        slope = torch.where(logits >= 0, 1, scores.square())
        torch.div(slope, scores.sum(-1, keepdim=True), out=out)
        at_label = slope.view(-1)[positions] / scores.view(-1)[positions]
        out.view(-1).index_add_(0, positions, -at_label)
    return out


def _stablemax(logits: Tensor) -> Tensor:
    """``s(x)``: ``x + 1`` for ``x >= 0``, ``1 / (1 - x)`` below.

    The clamps keep the branch not taken finite, and lie away from 0, where the slope is 1.

    Returns:
        Positive numbers of the shape of ``logits``.
    """
    return torch.where(logits >= 0, logits.clamp(min=-0.5) + 1, 1 / (1 - logits.clamp(max=0)))
