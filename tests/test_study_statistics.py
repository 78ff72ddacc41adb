"""Statistics over seeds, on samples and dependences that are known."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from grok_interp.study import statistics, survival
from grok_interp.verdict import bootstrap_mean


def test_over_seeds_is_the_mean_and_interval_of_each_group() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(12)],
            "noise": [0.3, 0.0, 0.0] * 4,
            "accuracy": rng.random(12),
            "residual": [math.nan, 1.0, 2.0] * 4,
        }
    )
    found = statistics.over_seeds(frame, ["noise"], ["accuracy", "residual"], resamples=200)
    assert list(found) == ["noise", "measure", "mean", "low", "high", "n", "missing"]
    assert found["noise"].tolist() == [0.0, 0.0, 0.3, 0.3]
    clean = frame.loc[frame["noise"] == 0, "accuracy"]
    assert tuple(found.loc[0, ["mean", "low", "high"]]) == bootstrap_mean(list(clean), 0, 200)
    assert found.loc[1, ["mean", "n", "missing"]].tolist() == [1.5, 8, 0]
    # A group in which nothing is known has no mean, and says so.
    assert math.isnan(found.loc[3, "mean"])
    assert found.loc[3, ["n", "missing"]].tolist() == [0, 4]


def test_over_seeds_without_groups_and_with_one_run() -> None:
    frame = pd.DataFrame({"x": [1.0, 3.0]})
    (row,) = statistics.over_seeds(frame, [], ["x"]).to_dict("records")
    assert (row["mean"], row["low"], row["high"], row["n"]) == (2.0, 1.0, 3.0, 2)
    (row,) = statistics.over_seeds(frame[:1], [], ["x"]).to_dict("records")
    assert row["mean"] == 1.0
    assert math.isnan(row["low"])


def test_coverage_is_that_of_the_bootstrap_interval() -> None:
    # 400 samples of 5 normal values: the standard error of a share of .85 is .018.
    draws = np.random.default_rng(0).normal(size=(400, 5))
    ends = [bootstrap_mean(list(draw), 0, 500)[1:] for draw in draws]
    hits = np.mean([low <= 0 <= high for low, high in ends])
    assert statistics.coverage(5) == pytest.approx(hits, abs=0.04)
    assert statistics.coverage(5) == pytest.approx(0.846, abs=0.001)
    assert statistics.coverage(10) == pytest.approx(0.904, abs=0.001)
    assert math.isnan(statistics.coverage(1))


def test_over_seeds_refuses_rows_that_are_not_independent() -> None:
    frame = pd.DataFrame({"run": ["a", "a"], "mode": ["joint", "input"], "x": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"run 'a' has several rows in one group of \[\]"):
        statistics.over_seeds(frame, [], ["x"])
    assert len(statistics.over_seeds(frame, ["mode"], ["x"])) == 2
    with pytest.raises(ValueError, match=r"no column \['y'\]"):
        statistics.over_seeds(frame, ["mode"], ["y"])


def test_order_is_certain_only_where_censoring_allows() -> None:
    # Rows: x first, y first, together, y not by its end, x not by its end, x after y's end, neither.
    x, x_late = [1, 5, 3, 3, 9, 5, 9], [False, False, False, False, True, False, True]
    y, y_late = [2, 4, 3, 3, 9, 4, 9], [False, False, False, True, False, True, True]
    expected = [1, -1, 0, 1, -1, math.nan, math.nan]
    np.testing.assert_array_equal(survival.order(x, x_late, y, y_late), expected)
    low, high = survival.lead(x, x_late, y, y_late)
    inf = math.inf
    np.testing.assert_array_equal(low, [1, -1, 0, 0, -inf, -1, -inf])
    np.testing.assert_array_equal(high, [1, -1, 0, inf, 0, inf, inf])


def test_median_has_bounds_where_censoring_leaves_it_open() -> None:
    known = survival.median([5.0, 1, 3], [5.0, 1, 3])
    assert (known.low, known.high, known.n) == (3, 3, 3)
    assert math.isnan(known.interval_low)
    # Right-censored above the median does no harm; below, the median may be anything above 1.
    assert survival.median([1, 3, 5], [1, 3, math.inf]).high == 3
    open_ended = survival.median([1, 3, 5], [math.inf, 3, math.inf])
    assert (open_ended.low, open_ended.high) == (3, math.inf)
    assert survival.median([-math.inf, 2, 3], [9, 2, 3]).low == 2
    for wrong in ([], []), ([2.0], [1.0]), ([math.nan], [1.0]):
        with pytest.raises(ValueError, match="bounds"):
            survival.median(*wrong)


def test_median_is_kaplan_meiers_where_all_runs_end_together() -> None:
    rng = np.random.default_rng(1)
    end = 60
    for share in (0.3, 0.5, 0.9):
        times = rng.permutation(np.r_[rng.uniform(0, end, round(31 * share)), [end + 1.0] * 31])[
            :31
        ]
        late = times > end
        seen = np.where(late, end, times)
        found = survival.median(seen, np.where(late, math.inf, seen))
        curve = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(seen, late)).sf
        past = curve.quantiles[curve.probabilities <= 0.5]
        assert found.high == (past[0] if (~late).sum() >= 16 else math.inf)


def test_interval_of_the_median_is_that_of_the_sign_test() -> None:
    # Conover's table: of 8 values from the first to the last, of 20 from the 6th to the 15th.
    eight, twenty = np.arange(1.0, 9), np.arange(1.0, 21)
    found = survival.median(eight, eight)
    assert (found.interval_low, found.interval_high) == (1, 8)
    found = survival.median(twenty, twenty)
    assert (found.interval_low, found.interval_high) == (6, 15)
    assert math.isnan(survival.median(eight[:5], eight[:5]).interval_low)
    # It covers as often as it says, for a skewed distribution of few values.
    draws = np.random.default_rng(0).geometric(0.02, size=(200, 20))
    population = scipy.stats.geom.median(0.02)
    hits = 0
    for draw in draws:
        found = survival.median(draw, draw)
        hits += found.interval_low <= population <= found.interval_high
    assert hits / 200 > 0.93


def uncensored(x: object, y: object, strata: object = None) -> survival.RankCorrelation:
    never = np.zeros(len(x), bool)
    strata = np.zeros(len(x)) if strata is None else strata
    return survival.rank_correlation(x, never, y, never, strata, resamples=200)


def test_rank_correlation_is_kendalls_where_nothing_is_censored_or_tied() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    found = uncensored(x, y)
    assert found.gamma == pytest.approx(scipy.stats.kendalltau(x, y).statistic, abs=1e-12)
    assert (found.comparable, found.pairs, found.n) == (780, 780, 40)
    assert found.low < found.gamma < found.high
    assert uncensored(x, -y).gamma == pytest.approx(-found.gamma)
    # Ties are left out: two pairs remain of three, of opposite order.
    assert uncensored([1, 1, 2], [1, 3, 2]).gamma == 0
    assert uncensored([1, 1, 2], [1, 3, 2]).comparable == 2


def test_rank_correlation_compares_within_strata_only() -> None:
    # Falling within each setting, though both times are far later in the second.
    x, y = [1, 2, 3, 101, 102, 103], [3, 2, 1, 103, 102, 101]
    assert uncensored(x, y).gamma > 0
    within = uncensored(x, y, ["a", "a", "a", "b", "b", "b"])
    assert (within.gamma, within.low, within.high) == (-1, -1, -1)
    assert (within.comparable, within.pairs) == (6, 6)


def test_rank_correlation_uses_censored_pairs_whose_order_is_certain() -> None:
    # The last two are later in y than the others, but which of them came first is not known.
    found = survival.rank_correlation(
        [1, 2, 3, 4], [False] * 4, [5, 7, 9, 9], [False, False, True, True], [0] * 4, resamples=50
    )
    assert (found.gamma, found.comparable, found.pairs) == (1, 5, 6)
    nothing = survival.rank_correlation([1, 2], [False] * 2, [9, 9], [True] * 2, [0, 0])
    assert math.isnan(nothing.gamma)
    assert (nothing.comparable, nothing.pairs) == (0, 1)
    with pytest.raises(ValueError, match="lengths"):
        survival.rank_correlation([1], [False], [1, 2], [False] * 2, [0, 0])


def test_runs_that_share_a_seed_are_no_more_evidence_than_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    y = x + rng.normal(size=20)
    never, seeds = np.zeros(60, bool), np.arange(20)

    def interval(copies: int, *, by_seed: bool) -> float:
        strata, units = np.repeat(np.arange(copies), 20), np.tile(seeds, copies)
        late = never[: 20 * copies]
        found = survival.rank_correlation(
            np.tile(x, copies),
            late,
            np.tile(y, copies),
            late,
            strata,
            units=units if by_seed else None,
            resamples=1000,
        )
        assert found.gamma == pytest.approx(scipy.stats.kendalltau(x, y).statistic)
        return found.high - found.low

    one = interval(1, by_seed=True)
    assert interval(1, by_seed=False) == pytest.approx(one, rel=0.15)
    assert interval(3, by_seed=True) == pytest.approx(one, rel=1e-9)
    assert interval(3, by_seed=False) < 0.75 * one


@pytest.mark.parametrize(("shape", "tau"), [(0.5, 0.5), (2.0, 0.2), (math.inf, 0.0)])
def test_rank_correlation_finds_the_tau_of_gamma_frailties_through_heavy_censoring(
    shape: float, tau: float
) -> None:
    # Exponential times with a common gamma rate: tau = 1 / (1 + 2 shape), which Clayton's model keeps
    # under censoring. A third and a half are censored, which leaves about half of the pairs; tau of
    # one sample then has a standard error of about .07 (120 samples of 250 runs), their mean of .014.
    rng = np.random.default_rng(0)
    n, samples, compared = 250, [], []
    for _ in range(24):
        rate = np.ones(n) if math.isinf(shape) else rng.gamma(shape, 1 / shape, n)
        x, y = rng.exponential(1 / rate), rng.exponential(1 / rate)
        end_x, end_y = np.quantile(x, 0.67), rng.uniform(0, 2 * np.quantile(y, 0.5), n)
        found = survival.rank_correlation(
            np.minimum(x, end_x), x > end_x, np.minimum(y, end_y), y > end_y, [0] * n, resamples=0
        )
        samples.append(found.gamma)
        compared.append(found.comparable / found.pairs)
    assert max(compared) < 0.75
    assert np.mean(samples) == pytest.approx(tau, abs=0.042)


def test_the_interval_of_a_rank_correlation_covers() -> None:
    # A bivariate normal of correlation rho has tau = 2 arcsin(rho) / pi; six strata of ten runs.
    rho, hits = 0.6, 0
    tau = 2 * math.asin(rho) / math.pi
    never, strata = np.zeros(60, bool), np.arange(60) // 10
    rng = np.random.default_rng(0)
    for _ in range(40):
        x, z = rng.normal(size=(2, 60))
        y = rho * x + math.sqrt(1 - rho**2) * z
        found = survival.rank_correlation(x, never, y, never, strata, resamples=200)
        hits += found.low <= tau <= found.high
    # At .95 fewer than 35 of 40 happen once in seventy times.
    assert hits >= 35


def difference(x: object, z: object, y: object, late: object = None) -> survival.RankDifference:
    never = np.zeros(len(y), bool)
    late = never if late is None else late
    return survival.rank_difference(x, never, z, late, y, never, never, resamples=400)


def test_a_rank_difference_is_of_the_pairs_that_all_three_times_order() -> None:
    # z of the fourth may have come at any time.
    y, x, z = [1, 2, 3, 4], [1, 2, 3, 0], [1, 3, 2, 0]
    found = difference(x, z, y, [False, False, False, True])
    assert (found.comparable, found.pairs) == (3, 6)
    assert (found.x, found.z) == (1, pytest.approx(1 / 3))
    assert found.difference == pytest.approx(2 / 3)
    nothing = difference([1, 1], [1, 2], [1, 2])
    assert nothing.comparable == 0
    assert math.isnan(nothing.difference)
    assert math.isnan(nothing.low)
    with pytest.raises(ValueError, match="lengths"):
        difference([1], [1, 2], [1, 2])


def test_a_rank_difference_is_tighter_than_its_parts_and_blind_to_direction() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=40)
    x, noise = y + 0.3 * rng.normal(size=40), rng.normal(size=40)
    # The same time twice differs by nothing, in no resample, however wide the gamma's own interval.
    same = difference(x, x, y)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    better = difference(x, noise, y)
    assert better.x == pytest.approx(scipy.stats.kendalltau(x, y).statistic)
    assert better.low > 0
    opposite = difference(-x, noise, y)
    assert opposite.x == pytest.approx(-better.x)
    assert (opposite.difference, opposite.low) == (better.difference, better.low)
    assert difference(noise, x, y).high < 0
