"""When things happen along a run: onsets, peaks, growth, and regimes of constant slope.

What is not evidence: that a fit with more segments is closer, which it always is. :class:`Regimes`
holds R2 for every number of segments, and what the last segment adds is for the reader to weigh.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

MARGIN = 0.01
"""Share by which a peak must exceed both ends, and a norm its start, to be more than a wobble."""
RISE = 0.1
"""Share of a norm's whole rise after which it counts as growing."""
EXACT = 1e-12
"""Share of the total sum of squares below which a residual is rounding."""
NORM = "weight_norm_"


@dataclass(frozen=True)
class Onset:
    """When a metric came to stay above a level.

    Attributes:
        step: The first step from which on it is above at every measurement; if ``censored``, the
            last step measured.
        censored: Whether it does not stay above the level within the run (right-censored).
    """

    step: int
    censored: bool

    def __str__(self) -> str:
        return f"not by step {self.step}" if self.censored else f"step {self.step}"


def onset(metric: pd.Series[Any], level: float) -> Onset:
    """First step at which ``metric`` is above ``level`` and stays there to the end.

    Args:
        metric: Values by step, as a column of ``dynamics.table`` or of ``trajectory.metrics``; NaN is
            not above anything.
        level: The level.

    Returns:
        The step, or that the metric does not stay above the level within the run.

    Raises:
        ValueError: If nothing was measured.
    """
    return _from_then_on(metric, metric > level)


def reached(metric: pd.Series[Any], level: float) -> Onset:
    """First step at which ``metric`` is at ``level`` or above, and stays so to the end.

    Args:
        metric: Values by step, as for :func:`onset`.
        level: The level.

    Returns:
        The step, or that the metric does not stay there within the run.

    Raises:
        ValueError: If nothing was measured.
    """
    return _from_then_on(metric, metric >= level)


def _from_then_on(metric: pd.Series[Any], holds: pd.Series[bool]) -> Onset:
    """The first step from which on something holds at every measurement."""
    if len(metric) == 0:
        raise ValueError("the metric has no values: pass a column of dynamics.table(trajectory)")
    fails = (~holds.to_numpy()).nonzero()[0]
    first = 0 if len(fails) == 0 else int(fails[-1]) + 1
    if first == len(metric):
        return Onset(int(metric.index[-1]), censored=True)
    return Onset(int(metric.index[first]), censored=False)


def pressures(found: pd.DataFrame) -> np.ndarray:
    """``lr wd`` of each row of a table of runs; products that differ by rounding alone are one number."""
    products = (found["lr"] * found["weight_decay"]).to_numpy(float)
    return np.array([float(f"{product:.9g}") for product in products])


@dataclass(frozen=True)
class Peak:
    """The largest value of a loss along a run.

    Attributes:
        step: The first step at which it is reached.
        height: The value; NaN if none is finite.
        interior: Whether it exceeds both the first and the last value by the share :data:`MARGIN`,
            so that the loss really rose and fell.
    """

    step: int
    height: float
    interior: bool

    def __str__(self) -> str:
        found = f"{self.height:.4g} at step {self.step}"
        return found if self.interior else f"none (largest value {found}, not above both ends)"


@dataclass(frozen=True)
class Milestones:
    """The order of events in figure 1 of arXiv 2301.02679, as steps; see :func:`milestones`.

    Attributes:
        level: The accuracy that counts as solved.
        memorised: When train accuracy (on the labels trained on) came to stay at the level or above.
        grokked: The same of test accuracy.
        test_loss_peak: The largest test loss.
        growth: For each parameter the first step from which on its norm stays above its start plus
            a tenth (:data:`RISE`) of its whole rise, first to last value; None where the last value
            is not above the first by :data:`MARGIN`, as under weight decay.
    """

    level: float
    memorised: Onset
    grokked: Onset
    test_loss_peak: Peak
    growth: Mapping[str, int | None]

    @property
    def steps(self) -> dict[str, int]:
        """The events that happened, by name, for lines in a figure."""
        found = {}
        for name, when in (("memorised", self.memorised), ("grokked", self.grokked)):
            if not when.censored:
                found[name] = when.step
        if self.test_loss_peak.interior:
            found["test loss peak"] = self.test_loss_peak.step
        grown = {f"{name} grows": step for name, step in self.growth.items() if step is not None}
        return found | grown

    def __str__(self) -> str:
        lines = [
            f"train accuracy >= {self.level}: {self.memorised}",
            f"test accuracy >= {self.level}: {self.grokked}",
            f"peak of the test loss: {self.test_loss_peak}",
        ]
        for name, step in self.growth.items():
            lines.append(f"norm of {name} grows: {'no' if step is None else f'from step {step}'}")
        return "\n".join(lines)


def milestones(metrics: pd.DataFrame, level: float = 0.99) -> Milestones:
    """Memorisation, generalisation, the peak of the test loss, and the growth of the weights.

    Steps are those of measurements: nothing is known between two of them, so ``eval_every`` is
    the resolution.

    Args:
        metrics: ``trajectory.metrics``: columns ``train_accuracy``, ``test_accuracy``, ``test_loss``
            and one ``weight_norm_...`` for each parameter, indexed by step.
        level: The accuracy that counts as solved.

    Returns:
        When each happened, in steps, or that it did not.

    Raises:
        ValueError: If a column is missing or nothing was measured.
    """
    missing = {"train_accuracy", "test_accuracy", "test_loss"} - set(metrics)
    if not any(str(name).startswith(NORM) for name in metrics):
        missing |= {f"{NORM}..."}
    if missing:
        raise ValueError(f"metrics has no column {sorted(missing)}: pass trajectory.metrics")
    growth = {
        str(name).removeprefix(NORM): _growth(metrics[name])
        for name in metrics
        if str(name).startswith(NORM)
    }
    return Milestones(
        level,
        reached(metrics["train_accuracy"], level),
        reached(metrics["test_accuracy"], level),
        _peak(metrics["test_loss"]),
        growth,
    )


def _peak(loss: pd.Series[Any]) -> Peak:
    values = loss.to_numpy(float)
    if not np.isfinite(values).any():
        return Peak(int(loss.index[0]), math.nan, interior=False)
    top = int(np.where(np.isfinite(values), values, -np.inf).argmax())
    interior = bool((values[top] > (1 + MARGIN) * values[[0, -1]]).all())
    return Peak(int(loss.index[top]), float(values[top]), interior)


def _growth(norm: pd.Series[Any]) -> int | None:
    start, end = float(norm.iloc[0]), float(norm.iloc[-1])
    if not end > (1 + MARGIN) * start:
        return None
    return onset(norm, start + RISE * (end - start)).step


@dataclass(frozen=True, eq=False)
class Regimes:
    """The closest fit of a curve by straight segments, which need not meet; see :func:`regimes`.

    Attributes:
        segments: One row for each segment in order: ``start`` and ``end``, the steps of its first and
            last point, ``slope`` per step, ``value`` of the line at its start, and ``points``.
        r2: R2 of the best fit with 1, 2, .. segments, indexed by their number; NaN for a constant.
            It never falls; see the module.
    """

    segments: pd.DataFrame
    r2: pd.Series[float]

    @property
    def boundaries(self) -> list[float]:
        """Steps at which a new segment starts."""
        return [float(step) for step in self.segments["start"].iloc[1:]]

    def __str__(self) -> str:
        fits = ", ".join(f"{n} segments {value:.4f}" for n, value in self.r2.items())
        return f"{self.segments.to_string(index=False)}\nR2: {fits}"


def regimes(series: pd.Series[Any], n: int = 4, *, min_points: int = 3) -> Regimes:
    """Cut a curve into ``n`` segments so that a line through each leaves the least squares.

    The cost of points i..j is that of their own least-squares line, and the best cuts follow by
    dynamic programming, ``C_s(j) = min over i of C_(s-1)(i - 1) + cost(i, j)``: the global minimum,
    in time and memory of the square of the number of points. Where two lines meet in a point, it
    starts the second. Four regimes of the IPR (slow growth, faster at grokking, fast after, saturation)
    are a claim of arXiv 2301.02679.

    Args:
        series: Values by step, at most a few thousand; an ``ipr`` of ``dynamics.table``, say.
        n: Number of segments.
        min_points: Points in each segment at least; two always lie on a line.

    Returns:
        The segments, and R2 for every number of segments up to ``n``.

    Raises:
        ValueError: If values are missing, steps do not increase, or there are too few points.
    """
    x, y = series.index.to_numpy(float), series.to_numpy(float)
    if n < 1 or min_points < 2 or len(x) < n * min_points:
        raise ValueError(
            f"{n} segments of {min_points} points or more do not fit {len(x)} points: measure more "
            "often, or ask for fewer segments (n >= 1) of fewer points (min_points >= 2)"
        )
    if not np.isfinite(y).all() or not (np.diff(x) > 0).all():
        raise ValueError(
            "the series needs finite values at increasing steps: drop the others first"
        )
    total = float(np.square(y - y.mean()).sum())
    cost = _line_costs(x, y, min_points)
    # What is left by rounding must not choose between fits that are exact.
    cost[cost < EXACT * total] = 0
    best = cost[0].copy()  # of the first s segments ending at each point
    starts: list[np.ndarray] = []
    costs = [best[-1]]
    for _ in range(n - 1):
        before = np.concatenate([[np.inf], best[:-1]])[:, None] + cost
        starts.append(before.argmin(0))
        best = before.min(0)
        costs.append(best[-1])
    end, spans = len(x) - 1, []
    for start in reversed(starts):
        spans.append((int(start[end]), end))
        end = int(start[end]) - 1
    spans.append((0, end))
    rows = [_line(x[i : j + 1], y[i : j + 1]) for i, j in reversed(spans)]
    constant = total <= EXACT * float(np.square(y).sum())
    r2 = [math.nan if constant else 1 - each / total for each in costs]
    return Regimes(
        pd.DataFrame(rows), pd.Series(r2, index=pd.RangeIndex(1, n + 1, name="segments"))
    )


def _line_costs(x: np.ndarray, y: np.ndarray, min_points: int) -> np.ndarray:
    """Squares left by the line through points i..j at ``[i, j]``; infinite for too few points."""
    # Sums run from each i in coordinates about point i, which keeps short segments far out exact.
    dx, dy = np.triu(x - x[:, None]), np.triu(y - y[:, None])
    count = np.triu(np.arange(len(x)) - np.arange(len(x))[:, None] + 1)
    safe = np.maximum(count, 1)
    sum_x, sum_y = dx.cumsum(1), dy.cumsum(1)
    xx = (dx * dx).cumsum(1) - sum_x * sum_x / safe
    xy = (dx * dy).cumsum(1) - sum_x * sum_y / safe
    yy = (dy * dy).cumsum(1) - sum_y * sum_y / safe
    cost = np.maximum(yy - xy * xy / np.where(count >= 2, xx, 1), 0)
    return np.where(count >= min_points, cost, np.inf)


def _line(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    return {
        "start": float(x[0]),
        "end": float(x[-1]),
        "slope": slope,
        "value": float(y.mean() + slope * centred[0]),
        "points": len(x),
    }
