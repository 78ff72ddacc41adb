"""Waves against exact fractions, their Fourier series, and fits of waves that were planted."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from grok_interp import fourier, waveforms

MODULI = [3, 4, 12, 17, 58, 59, 113]
few = settings(max_examples=40, deadline=None)


def sample(waveform, m, k, amplitude=1.0, phase=0.0, clip_at=None, **options) -> torch.Tensor:
    """One wave in float64, as a column ``[m, 1]``."""
    clip = None if clip_at is None else torch.tensor([clip_at], dtype=torch.float64)
    return waveforms.sample(
        waveform,
        m,
        torch.tensor([k]),
        torch.tensor([amplitude], dtype=torch.float64),
        torch.tensor([phase], dtype=torch.float64),
        clip,
        **options,
    )


def exact_turns(m: int, k: int, turn: Fraction) -> list[Fraction]:
    return [(Fraction(k * n, m) + turn + Fraction(1, 2)) % 1 - Fraction(1, 2) for n in range(m)]


fractions = st.builds(Fraction, st.integers(-48, 48), st.sampled_from([1, 4, 7, 24, 48, 59]))


# Sampling


@few
@given(st.sampled_from(MODULI), fractions, st.data())
def test_turns_are_those_of_exact_arithmetic(m, turn, data):
    k = data.draw(st.integers(1, m // 2))
    found = waveforms.turns(
        m, torch.tensor([k]), torch.tensor([2 * math.pi * float(turn)], dtype=torch.float64)
    )
    assert found.dtype == torch.float64
    assert bool(((found >= -0.5) & (found < 0.5)).all())
    off = (found[:, 0].numpy() - np.array([float(t) for t in exact_turns(m, k, turn)])) % 1
    assert_allclose(np.minimum(off, 1 - off), 0, atol=1e-12)


@few
@given(st.sampled_from(MODULI), fractions, st.floats(0.01, 10.0), st.data())
def test_square_wave_follows_the_rule_in_exact_arithmetic(m, turn, amplitude, data):
    """+1 iff -1/4 <= t < 1/4; many of these phases put points exactly on an edge."""
    k = data.draw(st.integers(1, m // 2))
    quarter = Fraction(1, 4)
    signs = [1 if -quarter <= t < quarter else -1 for t in exact_turns(m, k, turn)]
    found = sample("square", m, k, amplitude, 2 * math.pi * float(turn))
    assert_allclose(found[:, 0], math.pi / 4 * amplitude * np.array(signs))


def test_edges_of_the_square_wave():
    """m=4, k=1, phase 0: t = 0, 1/4, -1/2, -1/4."""
    found = sample("square", 4, 1)[:, 0] / (math.pi / 4)
    assert_allclose(found, [1, -1, -1, 1])


@pytest.mark.parametrize("nudge", [-1e-10, 1e-10])
def test_points_within_rounding_of_an_edge_count_as_on_it(nudge):
    nudged = sample("square", 4, 1, phase=2 * math.pi * nudge)
    assert torch.equal(nudged, sample("square", 4, 1))


def test_points_beyond_rounding_of_an_edge_do_not():
    shifted = sample("square", 4, 1, phase=2 * math.pi * 1e-7)
    assert_allclose(shifted[:, 0] / (math.pi / 4), [1, -1, -1, 1])
    shifted = sample("square", 4, 1, phase=-2 * math.pi * 1e-7)
    assert_allclose(shifted[:, 0] / (math.pi / 4), [1, 1, -1, -1])


@few
@given(st.sampled_from(MODULI), st.floats(0.01, 9.0), st.floats(-7.0, 7.0), st.data())
def test_cosine_is_the_cosine(m, amplitude, phase, data):
    k = data.draw(st.integers(1, m // 2))
    expected = [amplitude * math.cos(2 * math.pi * k * n / m + phase) for n in range(m)]
    assert_allclose(sample("cosine", m, k, amplitude, phase)[:, 0], expected, atol=1e-11)


@pytest.mark.parametrize("waveform", ["square", "cosine", "trapezoid"])
def test_frequency_zero_is_a_zero_wave_and_its_nan_phase_does_not_leak(waveform):
    found = waveforms.sample(
        waveform,
        12,
        torch.tensor([0, 2]),
        torch.tensor([3.0, 1.0]),
        torch.tensor([math.nan, 0.5]),
        torch.tensor([0.5, 0.5]),
    )
    assert found[:, 0].tolist() == [0.0] * 12
    clip = 0.5 if waveform == "trapezoid" else None
    assert_allclose(found[:, 1:], sample(waveform, 12, 2, 1.0, 0.5, clip), atol=1e-6)
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("waveform", "clip_at"),
    [("cosine", None), ("square", None)] + [("trapezoid", c) for c in (0.05, 0.3, 0.8, 1.0)],
)
def test_fundamental_of_a_finely_sampled_wave_has_the_amplitude_and_phase(waveform, clip_at):
    m, k, amplitude, phase = 20_001, 2, 1.7, 0.9
    found = sample(waveform, m, k, amplitude, phase, clip_at)[:, 0].numpy()
    X = np.fft.rfft(found)[k]
    assert 2 * abs(X) / m == pytest.approx(amplitude, rel=1e-3)
    assert np.angle(X) == pytest.approx(phase, abs=1e-3)


def test_third_harmonic_of_a_square_wave_is_a_third_at_three_phi_turned_by_pi():
    """sign(cos x) = 4/pi (cos x - cos(3x)/3 + ...)."""
    m, k, phase = 20_001, 2, 0.4
    X = np.fft.rfft(sample("square", m, k, 1.0, phase)[:, 0].numpy()) * 2 / m
    assert X[3 * k] == pytest.approx(-np.exp(3j * phase) / 3, abs=1e-3)
    assert abs(X[2 * k]) < 1e-3


def test_a_square_wave_of_four_points_a_period_is_eleven_percent_off():
    found = fourier.spectrum(sample("square", 12, 3)[:, 0]).amplitude[2].item()
    assert found == pytest.approx(math.pi / 4 * math.sqrt(2))  # 1.1107
    for m, k in [(12, 1), (59, 7), (113, 20), (58, 10)]:
        found = fourier.spectrum(sample("square", m, k)[:, 0]).amplitude[k - 1].item()
        assert found == pytest.approx(1, abs=0.05)


def test_trapezoid_clipped_at_one_is_the_cosine_and_at_zero_the_square():
    cosine, square = sample("cosine", 113, 5, 1.3, 0.2), sample("square", 113, 5, 1.3, 0.2)
    assert_allclose(sample("trapezoid", 113, 5, 1.3, 0.2, 1.0), cosine, atol=1e-12)
    steep = sample("trapezoid", 113, 5, 1.3, 0.2, 1e-6)
    assert_allclose(steep, square, atol=1e-9)


def test_trapezoid_is_a_clipped_cosine():
    found = sample("trapezoid", 59, 3, 1.0, 0.1, 0.4)[:, 0]
    cosine = sample("cosine", 59, 3, 1.0, 0.1)[:, 0]
    clipped = cosine.abs() >= 0.4
    top = found.max().item()
    assert_allclose(found[clipped], top * cosine[clipped].sign())
    assert_allclose(found[~clipped], top / 0.4 * cosine[~clipped])


def test_incidence_shows_each_point_the_sum_of_its_coordinates():
    wave = sample("square", 7, 2, 1.0, 0.3)
    incidence = torch.zeros(3, 7, dtype=torch.float64)
    incidence[0, 4] = incidence[1, 2] = incidence[1, 5] = 1
    found = sample("square", 7, 2, 1.0, 0.3, incidence=incidence)[:, 0].tolist()
    assert found == pytest.approx([wave[4].item(), wave[2].item() + wave[5].item(), 0.0])


def test_batch_axes_are_columns_by_themselves():
    frequency = torch.tensor([[1, 2], [3, 0]])
    amplitude = torch.tensor([[0.5, 1.0], [1.5, 2.0]], dtype=torch.float64)
    phase = torch.tensor([[0.1, -2.0], [3.0, 0.5]], dtype=torch.float64)
    found = waveforms.sample("square", 12, frequency, amplitude, phase)
    for i, j in [(0, 0), (0, 1), (1, 0)]:
        alone = sample(
            "square", 12, int(frequency[i, j]), amplitude[i, j].item(), phase[i, j].item()
        )
        assert_allclose(found[i, :, j], alone[:, 0])
    assert not found[1, :, 1].any()


def test_errors_name_the_choices():
    with pytest.raises(ValueError, match=r"'triangle'.*'square', 'cosine', 'trapezoid'"):
        sample("triangle", 5, 1)
    with pytest.raises(ValueError, match="clip_at"):
        sample("trapezoid", 5, 1)
    column = sample("cosine", 5, 1)
    with pytest.raises(ValueError, match=r"'best'.*'level', 'lstsq'"):
        waveforms.r_squared(column, column, fit="best")


# R squared


@pytest.mark.parametrize("waveform", ["square", "cosine"])
@pytest.mark.parametrize("fit", ["level", "lstsq"])
def test_a_wave_explains_itself_whatever_the_mean(waveform, fit):
    wave = sample(waveform, 59, 4, 0.7, 1.0)
    assert waveforms.r_squared(wave + 3.0, wave, fit=fit).item() == pytest.approx(1)
    opposite = waveforms.r_squared(-wave, wave, fit="level").item()
    assert opposite == pytest.approx(1 - 4)  # the residual is twice the column


def test_a_square_wave_has_r2_of_eight_over_pi_squared_to_its_cosine():
    square, cosine = sample("square", 10_001, 1), sample("cosine", 10_001, 1)
    for fit in ("level", "lstsq"):
        assert waveforms.r_squared(square, cosine, fit=fit).item() == pytest.approx(
            8 / math.pi**2, abs=1e-3
        )


@few
@given(st.sampled_from(MODULI), st.integers(0, 2**32 - 1))
def test_r2_against_numpy(m, seed):
    generator = np.random.default_rng(seed)
    column, wave = generator.normal(size=(2, m, 1))
    found = [
        waveforms.r_squared(torch.tensor(column), torch.tensor(wave), fit=fit).item()
        for fit in ("level", "lstsq")
    ]
    w, s = column[:, 0] - column.mean(), wave[:, 0] - wave.mean()
    assert found[0] == pytest.approx(1 - ((w - s) ** 2).sum() / (w**2).sum())
    assert found[1] == pytest.approx(np.corrcoef(column[:, 0], wave[:, 0])[0, 1] ** 2)


def test_only_covered_points_count():
    generator = np.random.default_rng(0)
    column, wave = (torch.tensor(x) for x in generator.normal(size=(2, 13, 2)))
    covered = torch.ones(13, 1, dtype=torch.bool)
    covered[[0, 5]] = False
    kept = covered[:, 0]
    spoilt = column.clone()
    spoilt[~kept] = 1e6
    for fit in ("level", "lstsq"):
        found = waveforms.r_squared(spoilt, wave, fit=fit, covered=covered)
        assert_allclose(found, waveforms.r_squared(column[kept], wave[kept], fit=fit))


@pytest.mark.parametrize("fit", ["level", "lstsq"])
@pytest.mark.parametrize("value", [0.0, 0.5, 0.1, 7.7])
def test_a_constant_column_has_no_r2(value, fit):
    """Also where its mean is off by a rounding error."""
    for dtype in (torch.float32, torch.float64):
        column = torch.full((59, 1), value, dtype=dtype)
        wave = sample("cosine", 59, 3).to(dtype)
        assert waveforms.r_squared(column, wave, fit=fit).isnan().all()


# The trapezoid fit


@pytest.mark.parametrize("clip_at", [0.05, 0.25, 0.5, 0.8, 1.0])
def test_a_planted_trapezoid_comes_back(clip_at):
    m, k, phase = 113, 3, 0.7
    column = sample("trapezoid", m, k, 1.4, phase, clip_at) + 0.3
    found, r2 = waveforms.fit_trapezoid(
        column,
        m,
        torch.tensor([k]),
        torch.tensor([1.4], dtype=torch.float64),
        torch.tensor([phase], dtype=torch.float64),
    )
    assert found.item() == pytest.approx(clip_at)
    assert r2.item() == pytest.approx(1)


def test_the_trapezoid_fit_is_the_best_candidate_for_each_column():
    generator = torch.Generator().manual_seed(0)
    m, frequency = 59, torch.tensor([2, 5, 9])
    column = torch.randn(m, 3, dtype=torch.float64, generator=generator)
    amplitude, phase = (
        torch.tensor([0.2, 0.1, 0.3]).double(),
        torch.tensor([0.1, 2.0, -3.0]).double(),
    )
    found, r2 = waveforms.fit_trapezoid(column, m, frequency, amplitude, phase)
    centred = column - column.mean(0)
    for j in range(3):
        candidates = {}
        for clip_at in (i / 20 for i in range(1, 21)):
            wave = sample(
                "trapezoid", m, int(frequency[j]), amplitude[j].item(), phase[j].item(), clip_at
            )[:, 0]
            residual = centred[:, j] - (wave - wave.mean())
            candidates[clip_at] = (
                1 - (residual.square().sum() / centred[:, j].square().sum()).item()
            )
        best = max(candidates, key=candidates.get)
        assert found[j].item() == pytest.approx(best)
        assert r2[j].item() == pytest.approx(candidates[best])


def test_a_constant_column_has_no_trapezoid():
    column = torch.full((12, 1), 0.5)
    zero = torch.tensor([0.0])
    _, r2 = waveforms.fit_trapezoid(column, 12, torch.tensor([0]), zero, torch.tensor([math.nan]))
    assert r2.isnan().all()


# Plateaus and what lies between


def test_plateau_share_of_known_waves():
    one = torch.tensor([1.0], dtype=torch.float64)
    cosine = waveforms.plateau_share(sample("cosine", 10_001, 1) + 5.0, one).item()
    lower, upper = math.pi / 4 * 0.75, math.pi / 4 * 1.25
    assert cosine == pytest.approx((math.acos(lower) - math.acos(upper)) * 2 / math.pi, abs=1e-3)
    assert cosine == pytest.approx(0.48, abs=0.005)
    # m even with an even number of points a period, so that the square wave has no mean
    assert waveforms.plateau_share(sample("square", 60, 3), one).item() == 1
    assert waveforms.plateau_share(2 * sample("square", 60, 3), one).item() == 0
    assert waveforms.plateau_share(sample("square", 60, 3), one * 0).isnan().all()


def test_plateau_share_counts_by_hand():
    level = math.pi / 4
    w = torch.tensor([[1.2], [-1.2], [0.8], [-0.8], [0.7], [-0.7], [0.1], [-0.1]]).double() * level
    one = torch.tensor([1.0], dtype=torch.float64)
    assert waveforms.plateau_share(w, one).item() == 4 / 8
    found = waveforms.intermediate_values(w, 8, torch.tensor([1]), one, one * 0)
    assert found.share.item() == 4 / 8


def intermediate(column: torch.Tensor, k: int, amplitude=1.0, phase=0.0):
    return waveforms.intermediate_values(
        column,
        column.shape[-2],
        torch.tensor([k]),
        torch.tensor([amplitude], dtype=torch.float64),
        torch.tensor([phase], dtype=torch.float64),
    )


def distance_by_loop(column: torch.Tensor, k: int, phase: float) -> tuple[float, float]:
    """Share below 3/4 of the level pi/4, and mean distance of those to t = 1/4 or -1/4."""
    m, found = len(column), []
    for n, w in enumerate((column[:, 0] - column[:, 0].mean()).tolist()):
        if abs(w) < 0.75 * math.pi / 4:
            t = k * n / m + phase / (2 * math.pi)
            found.append(min(abs((t - edge + 0.5) % 1 - 0.5) for edge in (0.25, 0.75)))
    return len(found) / m, sum(found) / len(found)


@pytest.mark.parametrize(("m", "k", "phase"), [(17, 3, 0.2), (59, 7, -2.0), (58, 10, 3.0)])
def test_intermediate_values_are_the_loops(m, k, phase):
    noise = torch.randn(m, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(m))
    found = intermediate(noise, k, 1.0, phase)
    expected = distance_by_loop(noise, k, phase)
    assert (found.share.item(), found.distance.item()) == pytest.approx(expected)
    expected = distance_by_loop(sample("cosine", m, k, 1.0, phase), k, phase)
    assert (found.cosine_share.item(), found.cosine_distance.item()) == pytest.approx(expected)


def test_a_cosines_intermediate_values_sit_as_its_own_null_says():
    found = intermediate(sample("cosine", 113, 5, 1.0, 0.4), 5, 1.0, 0.4)
    assert found.distance.item() == pytest.approx(found.cosine_distance.item())
    assert found.share.item() == pytest.approx(found.cosine_share.item())


def test_cosine_null_has_its_closed_form():
    """The cosine is below x = 3 pi / 16 within asin(x) / 2 pi turns of a sign change, evenly."""
    found = intermediate(sample("cosine", 10_007, 1), 1)
    reach = math.asin(3 * math.pi / 16) / (2 * math.pi)
    assert found.cosine_share.item() == pytest.approx(4 * reach, abs=1e-3)
    assert found.cosine_distance.item() == pytest.approx(reach / 2, abs=1e-3)


def test_a_steep_trapezoids_intermediate_values_sit_closer_than_the_cosines():
    m, k = 1009, 3
    found = intermediate(sample("trapezoid", m, k, 1.0, 0.1, 0.3), k, 1.0, 0.1)
    assert found.share.item() < 0.5 * found.cosine_share.item()
    assert found.distance.item() < 0.5 * found.cosine_distance.item()


def test_scattered_values_lie_an_eighth_of_a_turn_away():
    m, k = 1009, 3
    generator = torch.Generator().manual_seed(0)
    column = sample("square", m, k)
    column[torch.randperm(m, generator=generator)[:400]] = 0.0
    assert intermediate(column, k).distance.item() == pytest.approx(1 / 8, abs=0.01)


def test_a_square_wave_has_no_intermediate_value():
    found = intermediate(sample("square", 60, 3), 3)
    assert found.share.item() == 0
    assert found.distance.isnan().all()
