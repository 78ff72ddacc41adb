"""When networks of many norms memorise and generalise, and the laws that this should follow.

With decoupled weight decay (AdamW's; Adam's L2 term is another thing) and a gradient that vanishes once the
train loss does, the norm shrinks as ``w(t) = w_0 exp(-lr wd t)``, and a network that starts above the norm
``w_c`` at which the test loss is least generalises when it gets there (arXiv 2210.01117, section 4)::

    t_generalise ~ ln(w_0 / w_c) / (lr wd),        t_train independent of wd

A network that has not generalised by its last step is *right-censored*: its time is at least that step.
Leaving such networks out would make generalisation look faster than it is, so the fits here keep them.

What is not evidence: an exponent near 1 from two values of ``lr wd``, or from times that are mostly censored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import norm as normal

from grok_interp.config import LEVEL, check_choice
from grok_interp.landscape.cells import KEYS
from grok_interp.milestones import pressures, reached

RESAMPLES = 200
LEAST_SPREAD = 1e-3
"""Least standard deviation of log times that a fit may find; runs of one setting differ by more."""


def times(
    table: pd.DataFrame, train_level: float = LEVEL, test_level: float = LEVEL
) -> pd.DataFrame:
    """When each network came to stay at an accuracy, one row for each.

    Args:
        table: ``landscape.train(...).table``.
        train_level: Train accuracy from which on a network has memorised.
        test_level: Test accuracy from which on it has generalised.

    Returns:
        Columns ``alpha``, ``seed``, ``size``, ``lr_rule``, ``lr``, ``weight_decay``; ``t_train`` and
        ``t_generalise``, the first step from which on the accuracy is at its level at every evaluation, and
        ``train_censored`` and ``generalise_censored``, whether that was not so by the last step, which then
        stands for the time; and ``w_0`` and ``w_generalise``, the weight norms at the start and then.

    Raises:
        ValueError: If a column is missing or accuracies are not measured.
    """
    missing = {*KEYS, "step", "train_accuracy", "test_accuracy", "weight_norm"} - set(table)
    if missing:
        raise ValueError(
            f"the table has no column {sorted(missing)}: pass landscape.train(...).table"
        )
    rows = []
    for _, run in table.groupby(KEYS, sort=False):
        run = run.sort_values("step")
        if run["test_accuracy"].isna().all():
            raise ValueError(
                "accuracies are NaN, as of a regression without tolerance: there is no time to find; give "
                "the problem a tolerance"
            )
        by_step = run.set_index("step")
        row = {name: run[name].iloc[0] for name in KEYS}
        for name, short, level in (
            ("train", "train", train_level),
            ("test", "generalise", test_level),
        ):
            when = reached(by_step[f"{name}_accuracy"], level)
            row |= {f"t_{short}": when.step, f"{short}_censored": when.censored}
        row["w_0"] = run["weight_norm"].iloc[0]
        row["w_generalise"] = by_step["weight_norm"].loc[row["t_generalise"]]
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class PowerLaw:
    """``t = coefficient * x ** exponent`` with scatter of log t, fitted to times of which some are bounds.

    Attributes:
        coefficient: Steps at x = 1.
        exponent: 1 if t_generalise goes as 1 / (lr wd).
        low: Lower end of the exponent's 95% bootstrap interval over seeds (over runs, of one seed); NaN
            where it has none.
        high: Its upper end.
        scatter: Standard deviation of ln t about the law.
        runs: How many there are.
        censored: How many of them are bounds.
    """

    coefficient: float
    exponent: float
    low: float
    high: float
    scatter: float
    runs: int
    censored: int

    def __str__(self) -> str:
        return (
            f"t = {self.coefficient:.3g} x^{self.exponent:.2f} [{self.low:.2f}, {self.high:.2f}], scatter "
            f"{self.scatter:.2f}; {self.runs} runs, {self.censored} of them not by their last step"
        )


def generalisation_law(found: pd.DataFrame, *, time: str = "generalise", seed: int = 0) -> PowerLaw:
    """Fit how the time depends on ``x = 1 / (lr wd)``, by maximum likelihood with right-censoring.

    ``ln t`` is normal about ``ln coefficient + exponent ln x`` (Tobin 1958): a network that got there adds
    the density of its time, one that did not the probability of a later one.

    Args:
        found: :func:`times` of networks of one alpha.
        time: ``"generalise"`` or ``"train"``; the latter should not depend on x.
        seed: Seed of the bootstrap.

    Returns:
        Coefficient, exponent and scatter, with the exponent's interval and how many times are bounds.

    Raises:
        ValueError: If alphas, sizes or rules differ, decays or times are 0, or fewer than two values of x
            have runs that got there.
    """
    check_choice("time", time, ("generalise", "train"))
    for name in ("alpha", "size", "lr_rule"):
        values = sorted(set(found[name]))
        if len(values) != 1:
            raise ValueError(
                f"{name} is {values}, and each has a law of its own: pass the times of one"
            )
    pressure = pressures(found)
    steps = found[f"t_{time}"].to_numpy(float)
    if not (pressure > 0).all() or not (steps > 0).all():
        raise ValueError(
            "the law is of times and of lr * weight_decay above 0: leave out the runs without decay, and "
            "those that were there at step 0"
        )
    x, y = -np.log(pressure), np.log(steps)
    censored = found[f"{time}_censored"].to_numpy(bool)
    places = len(np.unique(x[~censored]))
    if places < 2:
        raise ValueError(
            f"{int((~censored).sum())} of {len(x)} runs got there, at {places} values of "
            "lr * weight_decay: two values or more are needed; train for longer, or with more decay"
        )
    intercept, exponent, scatter = _tobit(x, y, censored)
    generator = np.random.default_rng(seed)
    groups = list(found.groupby("seed", sort=False).indices.values())
    if len(groups) == 1:  # one seed: runs are all that there is to draw from
        groups = [np.array([row]) for row in range(len(x))]
    slopes = []
    for _ in range(RESAMPLES):
        rows = np.concatenate(
            [groups[i] for i in generator.integers(len(groups), size=len(groups))]
        )
        if len(np.unique(x[rows][~censored[rows]])) > 1:
            slopes.append(_tobit(x[rows], y[rows], censored[rows])[1])
    low, high = (
        np.quantile(slopes, [0.025, 0.975]) if len(slopes) > RESAMPLES / 2 else (np.nan,) * 2
    )
    return PowerLaw(
        math.exp(intercept), exponent, float(low), float(high), scatter, len(x), int(censored.sum())
    )


def _tobit(x: np.ndarray, y: np.ndarray, censored: np.ndarray) -> tuple[float, float, float]:
    """Intercept, slope and standard deviation of a line through y, some of which are lower bounds."""
    centre = x.mean()
    slope, level = np.polyfit(x[~censored] - centre, y[~censored], 1)
    left = y[~censored] - level - slope * (x[~censored] - centre)
    spread = max(LEAST_SPREAD, float(np.sqrt(np.square(left).mean())))
    if censored.any():

        def surprise(parameters: np.ndarray) -> float:
            level, slope, log_spread = parameters
            scale = LEAST_SPREAD + math.exp(log_spread)
            off = (y - level - slope * (x - centre)) / scale
            there = normal.logpdf(off[~censored]).sum() - (~censored).sum() * math.log(scale)
            return -float(there + normal.logsf(off[censored]).sum())

        start = np.array([level, slope, math.log(spread)])
        level, slope, log_spread = minimize(surprise, start, method="Nelder-Mead").x
        spread = LEAST_SPREAD + math.exp(log_spread)
    return float(level - slope * centre), float(slope), float(spread)


def norm_decay(table: pd.DataFrame, found: pd.DataFrame | None = None) -> pd.DataFrame:
    """How fast each network's norm shrinks, over ``lr wd``, before and after it has memorised.

    A line is fitted to ``ln w`` by least squares from step 0 to ``t_train`` (*memorising*), and from there to
    ``t_generalise`` (*generalising*), where the gradient should hardly matter. Where a time is censored
    the last step stands for it.

    Args:
        table: ``landscape.train(...).table``, of runs with decay and without constraint.
        found: Their :func:`times`; None makes them.

    Returns:
        Columns ``alpha``, ``seed``, ``size``, ``lr_rule``, ``lr``, ``weight_decay``; and for both phases, as
        in ``rate_memorising``, the ``rate``, minus the slope a step; ``ratio``, the rate over ``lr wd``, 1
        if the law holds; and ``r2`` of the line. NaN with fewer than three evaluations in the phase.

    Raises:
        ValueError: As for :func:`times`.
    """
    found = times(table) if found is None else found
    rows = []
    for run in found.to_dict("records"):
        mine = table[np.logical_and.reduce([table[name] == run[name] for name in KEYS])]
        row = {name: run[name] for name in KEYS}
        pressure = run["lr"] * run["weight_decay"]
        for phase, first, last in (
            ("memorising", 0, run["t_train"]),
            ("generalising", run["t_train"], run["t_generalise"]),
        ):
            rate, r2 = _shrinking(mine[mine["step"].between(first, last)])
            ratio = rate / pressure if pressure > 0 else math.nan
            row |= {f"rate_{phase}": rate, f"ratio_{phase}": ratio, f"r2_{phase}": r2}
        rows.append(row)
    return pd.DataFrame(rows)


def _shrinking(run: pd.DataFrame) -> tuple[float, float]:
    """Minus the slope of ln w a step, and R2 of the line; NaN with fewer than three evaluations."""
    if len(run) < 3:
        return math.nan, math.nan
    x, y = run["step"].to_numpy(float), np.log(run["weight_norm"].to_numpy(float))
    slope, level = np.polyfit(x - x.mean(), y, 1)
    total = float(np.square(y - y.mean()).sum())
    left = float(np.square(y - level - slope * (x - x.mean())).sum())
    return -float(slope), 1 - left / total if total > 0 else math.nan
