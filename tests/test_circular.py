"""Angles against scipy.stats, repeated samples and loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from grok_interp import circular

few = settings(max_examples=40, deadline=None)
angles = st.floats(-20.0, 20.0)
samples = st.lists(angles, min_size=1, max_size=12).filter(
    # where the resultant vanishes, the direction is rounding error
    lambda found: abs(np.exp(1j * np.array(found)).mean()) > 1e-3
)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def same_direction(first: float, second: float) -> bool:
    return abs(np.exp(1j * first) - np.exp(1j * second)) < 1e-7


@few
@given(angles)
def test_wrap_keeps_the_direction_and_reduces_the_range(angle):
    wrapped = circular.wrap(tensor([angle])).item()
    assert -math.pi <= wrapped <= math.pi
    assert same_direction(wrapped, angle)
    turns = (angle - wrapped) / (2 * math.pi)
    assert turns == pytest.approx(round(turns), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wrap_sends_both_ends_to_plus_pi(dtype):
    ends = torch.tensor([math.pi, -math.pi], dtype=dtype)
    assert circular.wrap(ends).tolist() == [ends[0].item()] * 2
    odd = torch.tensor([3 * math.pi, -3 * math.pi], dtype=torch.float64)
    assert circular.wrap(odd).tolist() == [math.pi] * 2


def test_wrap_by_hand():
    found = circular.wrap(tensor([0.0, 1.0, 4.0, -4.0, 2 * math.pi, 7.0]))
    expected = [0, 1, 4 - 2 * math.pi, 2 * math.pi - 4, 0, 7 - 2 * math.pi]
    assert_allclose(found, expected, atol=1e-12)
    assert circular.wrap(tensor([math.nan])).isnan().all()


@few
@given(angles, angles)
def test_distance_is_the_shorter_arc(first, second):
    found = circular.distance(tensor([first]), tensor([second])).item()
    back = circular.distance(tensor([second]), tensor([first])).item()
    assert found == pytest.approx(back, abs=1e-12)
    # acos of the inner product of the unit vectors
    assert math.cos(found) == pytest.approx(math.cos(first - second), abs=1e-9)
    assert 0 <= found <= math.pi


def test_distance_across_the_cut_and_to_the_opposite():
    assert circular.distance(tensor([3.0]), tensor([-3.0])).item() == pytest.approx(2 * math.pi - 6)
    assert circular.distance(tensor([0.5]), tensor([0.5 + math.pi])).item() == pytest.approx(
        math.pi
    )


@few
@given(samples)
def test_mean_spread_and_concentration_are_scipys(values):
    found = tensor(values)
    assert same_direction(circular.mean(found).item(), stats.circmean(values))
    spread = stats.circstd(values)
    assert circular.spread(found).item() == pytest.approx(spread, abs=1e-6)
    assert circular.concentration(found).item() == pytest.approx(1 - stats.circvar(values))


@few
@given(samples, st.data())
def test_an_integer_weight_is_a_repeated_sample(values, data):
    weights = data.draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)))
    repeated = np.repeat(values, weights)
    if len(repeated) == 0 or abs(np.exp(1j * repeated).mean()) < 1e-3:
        return
    found, weight = tensor(values), tensor(weights)
    assert same_direction(circular.mean(found, weight).item(), stats.circmean(repeated))
    assert circular.concentration(found, weight).item() == pytest.approx(
        1 - stats.circvar(repeated)
    )
    assert circular.spread(found, weight).item() == pytest.approx(stats.circstd(repeated), abs=1e-6)


def test_angles_that_are_nan_carry_no_weight():
    values, weight = tensor([0.3, math.nan, 1.1]), tensor([1.0, 50.0, 3.0])
    kept, kept_weight = values[[0, 2]], weight[[0, 2]]
    for function in (circular.mean, circular.concentration, circular.spread):
        assert_allclose(function(values), function(kept))
        assert_allclose(function(values, weight), function(kept, kept_weight))


@pytest.mark.parametrize(
    ("values", "weight"), [([math.nan, math.nan], [1.0, 1.0]), ([0.1, 0.2], [0.0, 0.0])]
)
def test_nothing_to_average_is_nan(values, weight):
    for function in (circular.mean, circular.concentration, circular.spread):
        assert function(tensor(values), tensor(weight)).isnan()
    assert circular.weighted_median(tensor(values), tensor(weight)).isnan()


def test_one_direction_and_balanced_directions():
    agree = tensor([2.0, 2.0, 2.0 + 2 * math.pi])
    assert circular.concentration(agree).item() == pytest.approx(1)
    assert circular.spread(agree).item() == pytest.approx(0, abs=1e-6)
    balanced = tensor([0.0, math.pi / 2, math.pi, -math.pi / 2])
    assert circular.concentration(balanced).item() == pytest.approx(0, abs=1e-12)
    # across the cut the mean is pi, where the arithmetic mean is 0
    assert abs(circular.mean(tensor([3.0, -3.0])).item()) == pytest.approx(math.pi)


@pytest.mark.parametrize("dim", [0, 1, -1, -2])
def test_summaries_reduce_the_axis_they_are_told(dim):
    generator = np.random.default_rng(0)
    values, weight = generator.uniform(-1, 1, (4, 5)), generator.uniform(0.1, 1, (4, 5))
    resultant = (weight * np.exp(1j * values)).sum(dim) / weight.sum(dim)
    found = tensor(values)
    assert_allclose(circular.mean(found, tensor(weight), dim), np.angle(resultant))
    assert_allclose(circular.concentration(found, tensor(weight), dim), abs(resultant))
    expected = np.sqrt(-2 * np.log(abs(resultant)))
    assert_allclose(circular.spread(found, tensor(weight), dim), expected)


def median_by_loop(values: list[float], weights: list[float]) -> float:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if not math.isnan(v)]
    total = sum(w for _, w in known)
    for candidate in sorted(v for v, _ in known):
        if sum(w for v, w in known if v <= candidate) >= total / 2:
            return candidate
    return math.nan


@few
@given(st.data())
def test_weighted_median_is_the_loops(data):
    n = data.draw(st.integers(1, 9))
    value = st.one_of(st.integers(-3, 3).map(float), st.just(math.nan))
    values = data.draw(st.lists(value, min_size=n, max_size=n))
    weights = data.draw(st.lists(st.integers(0, 4).map(float), min_size=n, max_size=n))
    if sum(w for v, w in zip(values, weights, strict=True) if not math.isnan(v)) == 0:
        return
    found = circular.weighted_median(tensor(values), tensor(weights)).item()
    assert found == median_by_loop(values, weights)


def test_weighted_median_by_hand():
    values = tensor([[5.0, 1.0, 3.0], [5.0, 1.0, math.nan]])
    assert circular.weighted_median(values, torch.ones_like(values)).tolist() == [3.0, 1.0]
    assert circular.weighted_median(values, tensor([9.0, 1.0, 1.0])).tolist() == [5.0, 5.0]
    assert circular.weighted_median(values[:1].T, tensor([[1.0], [1.0], [9.0]]), 0).tolist() == [
        3.0
    ]
