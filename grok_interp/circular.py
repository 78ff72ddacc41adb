"""Angles: wrapping, weighted circular mean and spread, distance. All in radians.

The weighted resultant of angles ``phi_j`` with weights ``w_j`` is ``R exp(i mu) =
sum_j w_j exp(i phi_j) / sum_j w_j``: its direction ``mu`` is the circular mean, its length ``R`` in
[0, 1] the concentration (Mardia and Jupp, Directional Statistics, section 2.2). Angles that are NaN
carry no weight.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def wrap(angle: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Reduce angles to (-pi, pi]."""
    return math.pi - torch.remainder(math.pi - angle, 2 * math.pi)


def distance(
    first: Float[Tensor, "*shape"], second: Float[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    """Length of the shorter arc between two angles, in [0, pi]."""
    return wrap(first - second).abs()


def _resultant(angle: Tensor, weight: Tensor | None, dim: int) -> tuple[Tensor, Tensor]:
    """Components of the mean resultant vector, over the angles that are not NaN."""
    weight = torch.ones_like(angle) if weight is None else weight.expand_as(angle)
    known: Bool[Tensor, ...] = ~angle.isnan()
    weight = torch.where(known, weight, 0)
    angle = torch.where(known, angle, 0)
    total = weight.sum(dim)
    x = (weight * angle.cos()).sum(dim) / total
    y = (weight * angle.sin()).sum(dim) / total
    return x, y


def mean(
    angle: Float[Tensor, "..."], weight: Tensor | None = None, dim: int = -1
) -> Float[Tensor, "..."]:
    """Weighted circular mean ``mu`` along ``dim``.

    Args:
        angle: Radians; NaN has no weight.
        weight: Nonnegative, broadcast to ``angle``; None for equal weights.
        dim: The axis that is averaged over.

    Returns:
        Radians in (-pi, pi]; NaN where every angle is NaN or the weights sum to zero.
    """
    x, y = _resultant(angle, weight, dim)
    return torch.atan2(y, x)


def concentration(
    angle: Float[Tensor, "..."], weight: Tensor | None = None, dim: int = -1
) -> Float[Tensor, "..."]:
    """Weighted mean resultant length ``R`` along ``dim``; arguments as for :func:`mean`.

    Returns:
        1 if all angles agree, 0 if they are balanced; NaN where no weight is left.
    """
    x, y = _resultant(angle, weight, dim)
    return torch.hypot(x, y)


def spread(
    angle: Float[Tensor, "..."], weight: Tensor | None = None, dim: int = -1
) -> Float[Tensor, "..."]:
    """Weighted circular standard deviation ``sqrt(-2 ln R)`` along ``dim``; arguments as for :func:`mean`.

    Returns:
        Radians, 0 if all angles agree, without bound as R goes to 0; NaN where no weight is left.
    """
    return (-2 * concentration(angle, weight, dim).clamp(max=1).log()).abs().sqrt()


def weighted_median(
    value: Float[Tensor, "..."], weight: Float[Tensor, "..."], dim: int = -1
) -> Float[Tensor, "..."]:
    """Least value with at least half of the weight at or below it; NaN values carry no weight.

    Meant for ``residual.abs()`` weighted by amplitude, so that neurons that hardly speak do not vote.

    Args:
        value: Numbers; NaN for those that do not count.
        weight: Nonnegative, broadcast to ``value``.
        dim: The axis of which the median is taken.

    Returns:
        In the units of ``value``; NaN where no weight is left.
    """
    known = ~value.isnan()
    weight = torch.where(known, weight.expand_as(value), 0)
    ordered, order = torch.where(known, value, math.inf).sort(dim)
    cumulative = weight.gather(dim, order).cumsum(dim)
    total = cumulative.select(dim, -1).unsqueeze(dim)
    first = (cumulative >= total / 2).to(torch.int8).argmax(dim, keepdim=True)
    median = ordered.gather(dim, first)
    return torch.where(total > 0, median, math.nan).squeeze(dim)
