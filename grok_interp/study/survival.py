"""Times of events that some runs do not live to see: their medians, their order and their dependence.

A time is an event's step and whether it is right-censored: then the event had not happened by that step.
Steps are those of measurements, so all of this holds to their spacing.

A median needs no assumption about when censored runs would have got there: it is given with the
smallest and the largest value that it could have had (bounds as of Manski, Partial Identification of
Probability Distributions, 2003, section 1.2). A Kaplan-Meier median is the same where all runs
are censored at one step. Dependence of two times is Goodman and Kruskal's gamma over pairs of runs whose
order is certain in both, which without ties and censoring is Kendall's tau (Brown, Hollander and Korwar 1974;
Oakes, Biometrics 38, 1982).

What is not evidence: a rank correlation across settings. What makes one run of another width or decay
slow makes all its events late, so pairs are taken within a setting only.

lifelines and scikit-survival have a concordance index, in which only one of the two times may be
censored, and ``scipy.stats.kendalltau`` takes none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from grok_interp.verdict import INTERVAL

Numbers = NDArray[np.float64]


def order(x: ArrayLike, x_censored: ArrayLike, y: ArrayLike, y_censored: ArrayLike) -> Numbers:
    """Which of two events came first, where that is certain.

    An event that was seen at a step came before every event that had not happened by that step.

    Args:
        x: Steps of one event.
        x_censored: Whether it had not happened by then.
        y: Steps of the other; the four are broadcast.
        y_censored: Whether it had not happened by then.

    Returns:
        1 where x came first, -1 where y did, 0 where both were first seen at one step, and NaN where
        the order is not known.
    """
    low, high = lead(x, x_censored, y, y_censored)
    # A bound is strict where it comes from censoring: y - x > 0 is known from a bound of 0 on.
    first = np.where(np.isinf(high), low >= 0, low > 0)
    second = np.where(np.isinf(low), high <= 0, high < 0)
    found = np.where(first, 1.0, np.where(second, -1.0, np.nan))
    return np.where((low == 0) & (high == 0), 0.0, found)


def lead(
    x: ArrayLike, x_censored: ArrayLike, y: ArrayLike, y_censored: ArrayLike
) -> tuple[Numbers, Numbers]:
    """How long before one event another came, ``y - x``, as the bounds of what it can have been.

    Args:
        x: Steps of the event that may lead.
        x_censored: Whether it had not happened by then.
        y: Steps of the other; the four are broadcast.
        y_censored: Whether it had not happened by then.

    Returns:
        Lower and upper bounds in steps: equal where both happened, infinite above where y did not
        (right-censored), below where x did not (left-censored), and both where neither did.
    """
    difference = np.asarray(y, float) - np.asarray(x, float)
    return (
        np.where(x_censored, -np.inf, difference),
        np.where(y_censored, np.inf, difference),
    )


@dataclass(frozen=True)
class Median:
    """A median of values of which some are known by bounds only.

    Attributes:
        low: The least that the median of the sample can be.
        high: The most; equal to ``low`` where the bounds leave no doubt.
        interval_low: Lower end of a 95% interval for the population's median; NaN for fewer than six.
        interval_high: Its upper end.
        n: Number of values.
    """

    low: float
    high: float
    interval_low: float
    interval_high: float
    n: int


def median(low: ArrayLike, high: ArrayLike) -> Median:
    """Median of values between bounds, with the interval of the sign test.

    The interval is from the j-th smallest lower bound to the j-th largest upper bound, j the largest number
    with ``P(B < j) <= 2.5%`` for B binomial of n and 1/2 (Thompson 1936; David and Nagaraja, Order
    Statistics, 2003, section 7.1). It holds for every distribution, and is on the safe side where values
    are bounds or ties. A bootstrap of the median of a few seeds takes a handful of values and has no
    such guarantee.

    Args:
        low: Lower bounds; for a right-censored time its step.
        high: Upper bounds; for a right-censored time infinity.

    Returns:
        The median, its bounds and interval, in the units of the values.

    Raises:
        ValueError: If there are no values, or a lower bound is above its upper bound or NaN.
    """
    lows, highs = np.sort(np.ravel(low).astype(float)), np.sort(np.ravel(high).astype(float))
    n = len(lows)
    if n == 0 or n != len(highs) or not (np.ravel(low) <= np.ravel(high)).all():
        raise ValueError(
            f"{n} lower and {len(highs)} upper bounds, expected as many of both, one at least, and each "
            "lower bound at or below its upper bound"
        )
    interval = math.nan, math.nan
    outside = int(stats.binom.ppf((1 - INTERVAL) / 2, n, 0.5))
    if outside:
        interval = float(lows[outside - 1]), float(highs[n - outside])
    return Median(float(np.median(lows)), float(np.median(highs)), *interval, n)


@dataclass(frozen=True)
class RankCorrelation:
    """Dependence of two censored times over runs; see :func:`rank_correlation`.

    Attributes:
        gamma: -1 to 1; NaN if no pair can be compared.
        low: Lower end of the 95% bootstrap interval over runs; NaN as ``gamma``.
        high: Its upper end.
        comparable: Pairs whose order is certain in both times.
        pairs: All pairs within strata.
        n: Runs.
    """

    gamma: float
    low: float
    high: float
    comparable: int
    pairs: int
    n: int


def rank_correlation(
    x: ArrayLike,
    x_censored: ArrayLike,
    y: ArrayLike,
    y_censored: ArrayLike,
    strata: ArrayLike,
    *,
    units: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> RankCorrelation:
    """Goodman and Kruskal's gamma over pairs of runs of one stratum whose order is certain in both times.

    ``(concordant - discordant) / (concordant + discordant)``, counts added up over strata. Ties and
    pairs of unknown order are left out; without either it is Kendall's tau. Censored, it estimates the
    dependence of the pairs that can be ordered: 0 for independent times, the tau of all pairs where these
    are gamma frailties (Clayton), and in general something that depends on when runs end (Oakes,
    Biometrika 95, 2008).

    Args:
        x: One time of each run.
        x_censored: Whether it had not happened by then.
        y: The other time.
        y_censored: Whether it had not happened by then.
        strata: What is compared only with its like, one label a run.
        units: What is drawn together, one label a run: give the seeds where runs of several strata
            share them, since these share split and start as well. None draws the runs of each stratum.
        seed: Seed of the resampling.
        resamples: Bootstrap resamples; a run drawn twice is not compared with itself.

    Returns:
        Gamma, its percentile interval, and how many pairs speak for it. Where all comparable pairs agree,
        so does every resample: then the interval is one point, which says little if they are few.

    Raises:
        ValueError: If the lengths differ.
    """
    columns = _columns(x, x_censored, y, y_censored, strata, *([] if units is None else [units]))
    pairs = 0
    agreement, compared = np.zeros(1 + resamples), np.zeros(1 + resamples)
    for here, times in _resampled(columns[4], units, seed, resamples):
        x_here, xc_here, y_here, yc_here = (each[here] for each in columns[:4])
        signs = _orders(x_here, xc_here) * _orders(y_here, yc_here)
        agreement += _over_pairs(times, signs)
        compared += _over_pairs(times, np.abs(signs))
        pairs += len(signs) * (len(signs) - 1) // 2
    gamma = _ratio(agreement, compared)
    low, high = _percentiles(gamma[1:])
    return RankCorrelation(float(gamma[0]), low, high, round(compared[0]), pairs, len(columns[0]))


@dataclass(frozen=True)
class RankDifference:
    """Which of two times goes more closely with a third; see :func:`rank_difference`.

    Attributes:
        x: Gamma of the one time with the third; NaN if no pair can be compared.
        z: Gamma of the other with the third, over the same pairs.
        difference: ``|x| - |z|``; above 0 where x goes more closely with the third.
        low: Lower end of its 95% bootstrap interval over runs.
        high: Its upper end.
        comparable: Pairs whose order is certain in all three times.
        pairs: All pairs within strata.
    """

    x: float
    z: float
    difference: float
    low: float
    high: float
    comparable: int
    pairs: int


def rank_difference(
    x: ArrayLike,
    x_censored: ArrayLike,
    z: ArrayLike,
    z_censored: ArrayLike,
    y: ArrayLike,
    y_censored: ArrayLike,
    strata: ArrayLike,
    *,
    units: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> RankDifference:
    """How much more closely x goes with y than z does, either way: ``|gamma(x, y)| - |gamma(z, y)|``.

    Both gammas are of the same pairs, those whose order is certain in all three times, and of the same
    resamples, so what makes both high or low cancels. Absolute, since a time that foretells the opposite
    foretells as much. The absolute value of a gamma near 0 is too large on average, in the resamples more
    so: that pulls the difference towards what goes with nothing.

    Args:
        x: One time of each run.
        x_censored: Whether it had not happened by then.
        z: The time that it is compared with.
        z_censored: Whether it had not happened by then.
        y: The time that both may foretell.
        y_censored: Whether it had not happened by then.
        strata: As in :func:`rank_correlation`.
        units: As in :func:`rank_correlation`.
        seed: Seed of the resampling.
        resamples: Bootstrap resamples.

    Returns:
        Both gammas, their difference and its percentile interval, and how many pairs speak for it.

    Raises:
        ValueError: If the lengths differ.
    """
    events = (x, x_censored, z, z_censored, y, y_censored)
    columns = _columns(*events, strata, *([] if units is None else [units]))
    pairs = 0
    of_x, of_z, compared = np.zeros((3, 1 + resamples))
    for here, times in _resampled(columns[6], units, seed, resamples):
        one, other, third = (_orders(columns[i][here], columns[i + 1][here]) for i in (0, 2, 4))
        of_x += _over_pairs(times, one * third * np.abs(other))
        of_z += _over_pairs(times, other * third * np.abs(one))
        compared += _over_pairs(times, np.abs(one * other * third))
        pairs += len(third) * (len(third) - 1) // 2
    gamma_x, gamma_z = _ratio(of_x, compared), _ratio(of_z, compared)
    difference = np.abs(gamma_x) - np.abs(gamma_z)
    return RankDifference(
        float(gamma_x[0]),
        float(gamma_z[0]),
        float(difference[0]),
        *_percentiles(difference[1:]),
        round(compared[0]),
        pairs,
    )


def _columns(*given: ArrayLike) -> list[NDArray[Any]]:
    """Flat arrays of one length."""
    columns = [np.ravel(each) for each in given]
    if len({len(each) for each in columns}) > 1:
        raise ValueError(f"lengths {[len(each) for each in columns]}, expected one of each a run")
    return columns


def _resampled(
    strata: NDArray[Any], units: ArrayLike | None, seed: int, resamples: int
) -> Iterator[tuple[NDArray[Any], Numbers]]:
    """Each stratum's runs, with the draws of its runs, ``[1 + resamples, runs]``.

    The sample itself is the first of its resamples: each run once.

    Yields:
        Which rows are of the stratum, and how often each of them is drawn.
    """
    rng = np.random.default_rng(seed)
    if units is not None:
        _, unit = np.unique(np.ravel(units), return_inverse=True)
        n_units = int(unit.max()) + 1
        together = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=resamples)
    for label in np.unique(strata):
        here = strata == label
        n = int(here.sum())
        if units is None:
            drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
        else:
            drawn = together[:, unit[here]]
        yield here, np.vstack([np.ones(n), drawn])


def _over_pairs(times: Numbers, of_pair: Numbers) -> Numbers:
    """Sum over pairs of runs of a symmetric matrix of them, in each resample."""
    found: Numbers = ((times @ of_pair) * times).sum(-1) / 2
    return found


def _ratio(agreement: Numbers, compared: Numbers) -> Numbers:
    """Gamma of each resample; NaN where no pair can be compared."""
    return np.divide(agreement, compared, out=np.full_like(agreement, math.nan), where=compared > 0)


def _percentiles(resampled: Numbers) -> tuple[float, float]:
    known = resampled[np.isfinite(resampled)]
    if len(known) == 0:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)


def _orders(times: NDArray[Any], censored: NDArray[Any]) -> Numbers:
    """Order of each run's event and each other's, ``[runs, runs]``; 0 where equal or unknown."""
    return np.nan_to_num(order(times[:, None], censored[:, None], times, censored))
