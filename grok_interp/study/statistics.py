"""Means over seeds with their intervals. Seeds are the unit of inference: one row is one run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from grok_interp.verdict import INTERVAL, bootstrap_mean

RUN = "run"
"""The column that names a run, in a table of runs (``sweep.read``)."""


def over_seeds(
    frame: pd.DataFrame,
    by: Sequence[str],
    values: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 10_000,
) -> pd.DataFrame:
    """Mean of each column over the runs of each group, with a 95% bootstrap interval over runs.

    With few runs the interval is too narrow: it covers about 85% with 5, 90% with 10 and 93% with 20
    (:func:`coverage`).

    Args:
        frame: A row a run, or a row a run and group: where there is a column ``run``, a run may occur
            only once in a group, since rows of one run are not independent.
        by: Columns whose values make a group; none for one group of all rows.
        values: Columns of numbers. What is not finite is left out of its mean, and counted.
        seed: Seed of the resampling.
        resamples: Bootstrap resamples (:func:`grok_interp.verdict.bootstrap_mean`).

    Returns:
        A row for each group, in sorted order, and column of ``values``, in theirs: the columns ``by``;
        ``measure``, the column's name; ``mean``, ``low`` and ``high``, in the units of the column; ``n``,
        how many runs; ``missing``, how many were left out. The ends are NaN where ``n`` is less than 2.

    Raises:
        ValueError: If a column is missing or a run occurs twice in a group.
    """
    by, values = list(by), list(values)
    missing = [name for name in [*by, *values] if name not in frame]
    if missing:
        raise ValueError(
            f"the table has no column {missing}: pass sweep.read(path) or a table made from it"
        )
    key = [*by, RUN]
    if RUN in frame and frame.duplicated(key).any():
        twice = frame.loc[frame.duplicated(key), RUN].iloc[0]
        raise ValueError(
            f"run {twice!r} has several rows in one group of {by}, expected one: add to `by` what tells "
            "them apart, since rows of one run are not independent"
        )
    groups = frame.groupby(by, dropna=False, observed=True) if by else [((), frame)]
    rows = []
    for group, found in groups:
        for name in values:
            numbers = found[name].to_numpy(float)
            finite = numbers[np.isfinite(numbers)]
            mean, low, high = bootstrap_mean(finite.tolist(), seed, resamples)
            rows.append((*group, name, mean, low, high, len(finite), len(numbers) - len(finite)))
    columns = [*by, "measure", "mean", "low", "high", "n", "missing"]
    return pd.DataFrame(rows, columns=columns)


def coverage(n: int) -> float:
    """How often a 95% percentile bootstrap interval of the mean of n normal values holds the true mean.

    Its half-width is about ``z sqrt((n - 1) / n) s / sqrt(n)``, since resamples vary as the sample does about
    its own mean, where Student's, which is exact, has ``t s / sqrt(n)``. So it covers what Student's t of
    n - 1 degrees of freedom has within ``z sqrt((n - 1) / n)``.

    Args:
        n: Number of values.

    Returns:
        A probability; NaN for fewer than two.
    """
    if n < 2:
        return math.nan
    z = stats.norm.ppf((1 + INTERVAL) / 2)
    return float(1 - 2 * stats.t.sf(z * math.sqrt((n - 1) / n), n - 1))
