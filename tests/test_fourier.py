"""The Fourier basis and spectra against numpy.fft, scipy.stats and sums written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from grok_interp import fourier

MODULI = [3, 4, 12, 17, 58, 59, 113]
TINY = 1e-10

moduli = st.sampled_from(MODULI)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def wave(m: int, k: int, amplitude: float, phase: float) -> torch.Tensor:
    return torch.tensor(
        [amplitude * math.cos(2 * math.pi * k * n / m + phase) for n in range(m)],
        dtype=torch.float64,
    )


# The basis


@pytest.mark.parametrize("m", MODULI)
def test_basis_is_orthonormal(m):
    matrix = fourier.basis(m)
    assert_allclose(matrix @ matrix.T, np.eye(m), atol=1e-12)


@pytest.mark.parametrize("m", MODULI)
def test_rows_are_constant_then_cosine_and_sine_of_each_frequency(m):
    matrix = fourier.basis(m)
    rows = [[1 / math.sqrt(m)] * m]
    for k in range(1, (m - 1) // 2 + 1):
        for function in (math.cos, math.sin):
            rows.append([math.sqrt(2 / m) * function(2 * math.pi * k * n / m) for n in range(m)])
    if m % 2 == 0:
        rows.append([(-1) ** n / math.sqrt(m) for n in range(m)])
    assert_allclose(matrix, rows, atol=1e-12)


@pytest.mark.parametrize("m", MODULI)
def test_row_frequencies_are_where_numpy_finds_each_row(m):
    energy = np.abs(np.fft.rfft(fourier.basis(m).numpy())) ** 2
    assert fourier.row_frequencies(m).tolist() == energy.argmax(1).tolist()
    assert_allclose(np.sort(energy, 1)[:, :-1], 0, atol=1e-10)


def test_basis_and_fits_are_made_once_for_each_type():
    assert fourier.basis(17) is fourier.basis(17)
    assert fourier.basis(17, dtype=torch.float32).dtype == torch.float32
    assert fourier.basis(17).dtype == torch.float64
    assert fourier.sinusoids(17) is fourier.sinusoids(17)


@pytest.mark.parametrize("m", [2, 0, -5])
def test_a_modulus_without_a_frequency_is_refused(m):
    for make in (fourier.basis, fourier.sinusoids):
        with pytest.raises(ValueError, match=f"p={m} .*p >= 3"):
            make(m)
    with pytest.raises(ValueError, match="p=2 "):
        fourier.spectrum(normal(5, 2))


# Coefficients


@pytest.mark.parametrize("m", MODULI)
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_coefficients_and_synthesize_are_inverse_along_any_axis(m, dim):
    shape = [2, 3, 4]
    shape[dim] = m
    x = normal(*shape)
    found = fourier.coefficients(x, dim)
    assert_allclose(
        found,
        np.moveaxis(np.moveaxis(x.numpy(), dim, -1) @ fourier.basis(m).numpy().T, -1, dim),
        atol=1e-12,
    )
    assert_allclose(fourier.synthesize(found, dim), x, atol=1e-12)
    assert found.square().sum().item() == pytest.approx(x.square().sum().item())


@few
@given(moduli, seeds)
def test_transform_is_the_real_fft(m, seed):
    x = normal(2, m, 3, seed=seed)
    assert_allclose(fourier.transform(x, 1), torch.fft.rfft(x, dim=1), atol=1e-9)
    assert_allclose(fourier.transform(x.mT), np.fft.rfft(x.mT.numpy()), atol=1e-9)
    assert_allclose(fourier.transform(x[0], -2), np.fft.rfft(x[0].numpy(), axis=0), atol=1e-9)


@few
@given(moduli, seeds)
def test_float32_spectrum_is_as_accurate_as_float32(m, seed):
    x = normal(4, m, seed=seed)
    assert fourier.transform(x.float()).dtype == torch.complex64
    assert_allclose(fourier.transform(x.float()), np.fft.rfft(x.numpy()), atol=1e-4)


# Spectra


@few
@given(
    moduli,
    st.floats(0.01, 100.0),
    st.floats(-math.pi, math.pi),
    st.floats(-10.0, 10.0),
    st.data(),
)
def test_spectrum_of_one_cosine_has_its_amplitude_phase_and_mean(m, amplitude, phase, mean, data):
    k = data.draw(st.integers(1, (m - 1) // 2))
    found = fourier.spectrum(wave(m, k, amplitude, phase) + mean)
    expected = np.zeros(m // 2)
    expected[k - 1] = amplitude
    assert_allclose(found.amplitude, expected, atol=TINY * (1 + amplitude + abs(mean)))
    difference = found.phase[k - 1].item() - phase
    assert math.cos(difference) == pytest.approx(1)
    assert abs(math.sin(difference)) < 1e-9
    assert found.constant.item() == pytest.approx(mean, abs=1e-9 * (1 + amplitude))
    # a cos(x + phi) = a cos(phi) cos(x) - a sin(phi) sin(x)
    assert found.cos[k - 1].item() == pytest.approx(
        amplitude * math.cos(phase), abs=1e-9 * (1 + amplitude)
    )
    assert found.sin[k - 1].item() == pytest.approx(
        -amplitude * math.sin(phase), abs=1e-9 * (1 + amplitude)
    )


@pytest.mark.parametrize("m", [4, 12, 58])
@pytest.mark.parametrize(("sign", "phase"), [(1, 0.0), (-1, math.pi)])
def test_nyquist_has_full_amplitude_and_phase_zero_or_pi(m, sign, phase):
    x = torch.tensor([sign * 0.7 * (-1.0) ** n for n in range(m)], dtype=torch.float64)
    found = fourier.spectrum(x)
    assert found.amplitude[-1].item() == pytest.approx(0.7)
    assert found.amplitude[-1].item() == pytest.approx(abs(np.fft.rfft(x.numpy())[-1]) / m)
    assert found.phase[-1].item() == phase
    assert_allclose(found.amplitude[:-1], 0, atol=1e-12)


@few
@given(st.sampled_from([4, 12, 58]), seeds)
def test_nyquist_phase_of_any_function_is_exactly_zero_or_pi(m, seed):
    found = fourier.spectrum(normal(m, 5, seed=seed), 0).phase[-1]
    assert set(found.tolist()) <= {0.0, math.pi}


@few
@given(moduli, seeds)
def test_amplitude_and_phase_are_those_of_the_fft(m, seed):
    x = normal(m, 2, seed=seed)
    X = np.fft.rfft(x.numpy(), axis=0)[1:]
    scale = np.full((m // 2, 1), 2 / m)
    if m % 2 == 0:
        scale[-1] = 1 / m
    found = fourier.spectrum(x, 0)
    assert_allclose(found.amplitude, scale * np.abs(X), atol=1e-11)
    assert_allclose(np.exp(1j * found.phase.numpy()), X / np.abs(X), atol=1e-7)
    assert_allclose(found.constant, x.mean(0), atol=1e-12)


@few
@given(moduli, seeds)
def test_power_is_energy(m, seed):
    """Parseval: one-sided energies, each of k and -k together, add up to the variance."""
    x = normal(3, m, seed=seed)
    found = fourier.spectrum(x)
    two_sided = np.abs(np.fft.fft(x.numpy())) ** 2 / m
    expected = [
        two_sided[:, k] + (two_sided[:, m - k] if m - k != k else 0) for k in range(1, m // 2 + 1)
    ]
    assert_allclose(found.power, np.stack(expected, 1), atol=1e-9)
    assert_allclose(found.total[:, 0], ((x - x.mean(1, keepdim=True)) ** 2).sum(1), atol=1e-9)
    assert_allclose(found.power.sum(1) + m * found.constant**2, x.square().sum(1), atol=1e-9)


@few
@given(moduli, seeds, st.floats(-100.0, 100.0))
def test_power_shares_add_up_to_one_and_do_not_see_the_constant(m, seed, constant):
    x = normal(m, seed=seed)
    shares = fourier.spectrum(x).power_shares
    assert shares.sum().item() == pytest.approx(1)
    assert_allclose(fourier.spectrum(x + constant).power_shares, shares, atol=1e-9)


def test_frequency_axis_stands_where_the_function_axis_stood():
    x = normal(2, 12, 5)
    for dim in (1, -2):
        found = fourier.spectrum(x, dim)
        assert found.dim == -2
        assert found.amplitude.shape == (2, 6, 5)
        assert found.constant.shape == (2, 5)
        assert found.total.shape == (2, 1, 5)


# Participation and Gini


@few
@given(moduli, st.floats(-math.pi, math.pi), st.floats(-5.0, 5.0), st.data())
def test_ipr_of_a_pure_cosine_is_one_whatever_its_mean(m, phase, mean, data):
    x = wave(m, data.draw(st.integers(1, (m - 1) // 2)), 1.3, phase)
    assert fourier.ipr(x + mean).item() == pytest.approx(1)


@few
@given(moduli, seeds, st.floats(-5.0, 5.0))
def test_ipr_is_sum_of_squared_shares_without_the_constant(m, seed, constant):
    x = normal(3, m, seed=seed)
    energy = np.abs(np.fft.rfft(x.numpy())[:, 1:]) ** 2
    if m % 2 == 0:
        energy[:, -1] /= 2  # k and m - k are one
    expected = ((energy / energy.sum(1, keepdims=True)) ** 2).sum(1)
    assert_allclose(fourier.ipr(x), expected, rtol=1e-9)
    assert_allclose(fourier.ipr(x.T + constant, 0), expected, rtol=1e-7)


@few
@given(moduli, seeds)
def test_published_ipr_takes_one_sided_power_with_the_constant(m, seed):
    x = normal(m, seed=seed) + 0.5
    energy = np.abs(np.fft.rfft(x.numpy())) ** 2
    expected = ((energy / energy.sum()) ** 2).sum()
    assert fourier.ipr(x, include_constant=True).item() == pytest.approx(expected)
    assert fourier.ipr(torch.ones(m) * 2, include_constant=True).item() == pytest.approx(1)


def test_two_equal_cosines_have_ipr_one_half_and_an_impulse_an_even_spectrum():
    assert fourier.ipr(wave(17, 2, 1.0, 0.3) + wave(17, 5, 1.0, -2.0)).item() == pytest.approx(0.5)
    impulse = torch.zeros(17, dtype=torch.float64)
    impulse[3] = 1
    assert fourier.ipr(impulse).item() == pytest.approx(1 / 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [12, 17, 59])
@pytest.mark.parametrize("value", [0.0, 0.1, 7.7])
def test_a_constant_has_no_power_shares_and_no_ipr(m, value, dtype):
    """Also where its mean is off by a rounding error, which leaves a residue of 1e-16."""
    constant = torch.full((m,), value, dtype=dtype)
    assert_allclose(fourier.spectrum(constant).power_shares, 0, atol=1e-5)
    assert fourier.ipr(constant).item() == 0


def test_inverse_participation_by_hand():
    power = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert fourier.inverse_participation(power).tolist() == [1.0, 0.5, 0.625, 0.0]
    assert fourier.inverse_participation(power.T, 0).tolist() == [1.0, 0.5, 0.625, 0.0]


@few
@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=12).filter(lambda v: sum(v) > 1e-3))
def test_gini_is_half_the_relative_mean_absolute_difference(values):
    n = len(values)
    expected = sum(abs(x - y) for x in values for y in values) / (2 * n * sum(values))
    power = torch.tensor(values, dtype=torch.float64)
    assert fourier.gini(power).item() == pytest.approx(expected, abs=1e-9)
    assert_allclose(fourier.gini(torch.stack([power, power * 3], 1), 0), [expected] * 2, atol=1e-9)


def test_gini_of_equal_single_and_no_values():
    power = torch.tensor([[2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert_allclose(fourier.gini(power), [0, 3 / 4, 0], atol=1e-7)


# Harmonics


@pytest.mark.parametrize("m", [3, 4, 12, 17])
def test_harmonics_fold_to_where_the_sampled_cosine_peaks(m):
    for order in range(1, 8):
        for k in range(1, m // 2 + 1):
            sampled = [math.cos(2 * math.pi * order * k * n / m) for n in range(m)]
            peak = int(np.abs(np.fft.rfft(sampled)).argmax())
            assert fourier.harmonic(torch.tensor([k]), order, m).tolist() == [peak]


# The grid of pairs


@pytest.mark.parametrize("p", [3, 4, 12, 17])
@pytest.mark.parametrize("phase", [0.0, 0.7, -2.1])
def test_a_wave_of_the_sum_lands_on_four_coefficients(p, phase):
    k = (p - 1) // 2
    a, b = torch.cartesian_prod(torch.arange(p), torch.arange(p)).double().T
    found = fourier.transform_grid(torch.cos(2 * math.pi * k * (a + b) / p + phase))
    cos, sin = 2 * k - 1, 2 * k
    expected = np.zeros((p, p))
    expected[cos, cos] = p / 2 * math.cos(phase)
    expected[sin, sin] = -p / 2 * math.cos(phase)
    expected[cos, sin] = expected[sin, cos] = -p / 2 * math.sin(phase)
    assert_allclose(found, expected, atol=1e-10)


def test_grid_axes_are_a_then_b_and_energy_is_kept():
    p = 5
    activations = normal(p * p, 2, 3)
    found = fourier.transform_grid(activations)
    assert found.shape == (p, p, 2, 3)
    assert_allclose(found.square().sum((0, 1)), activations.square().sum(0), rtol=1e-10)
    a = torch.arange(p).repeat_interleave(p).double()  # tokens run through b first
    of_a = fourier.transform_grid(torch.sin(2 * math.pi * 2 * a / p))
    expected = np.zeros((p, p))
    expected[4, 0] = p / math.sqrt(2)
    assert_allclose(of_a, expected, atol=1e-12)


def test_activations_that_are_not_on_a_grid_are_refused():
    with pytest.raises(ValueError, match=r"8 rows.*not p \* p"):
        fourier.transform_grid(normal(8, 2))


# Least squares where tokens are not their own coordinates


def incidence_of(coordinates: list[int], m: int) -> torch.Tensor:
    """Row i holds a 1 at the coordinate of point i; -1 stands for none."""
    matrix = torch.zeros(len(coordinates), m, dtype=torch.float64)
    for point, coordinate in enumerate(coordinates):
        if coordinate >= 0:
            matrix[point, coordinate] = 1
    return matrix


@pytest.mark.parametrize("m", MODULI)
def test_identity_incidence_is_the_fourier_transform(m):
    x = normal(2, m, 3)
    direct = fourier.sinusoids(m).fit(x)
    fitted = fourier.sinusoids(m, torch.eye(m, dtype=torch.float64)).fit(x)
    for name in ("constant", "cos", "sin", "power", "total"):
        assert_allclose(getattr(fitted, name), getattr(direct, name), atol=1e-9)


@few
@given(st.sampled_from([4, 12, 17, 58]), seeds)
def test_permuted_coordinates_give_the_spectrum_of_the_unpermuted_function(m, seed):
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    x = normal(m, 2, seed=seed)
    found = fourier.sinusoids(m, incidence_of(order.tolist(), m)).fit(x[order])
    expected = fourier.spectrum(x, 0)
    assert_allclose(found.cos, expected.cos, atol=1e-9)
    assert_allclose(found.sin, expected.sin, atol=1e-9)
    assert_allclose(found.power, expected.power, atol=1e-8)


@few
@given(
    st.sampled_from([7, 11, 17, 59]), st.floats(0.1, 9.0), st.floats(-math.pi, math.pi), st.data()
)
def test_a_sinusoid_planted_through_squares_is_recovered(p, amplitude, phase, data):
    k = data.draw(st.integers(1, p // 2))
    squares = [a * a % p for a in range(p)]
    x = torch.tensor(
        [amplitude * math.cos(2 * math.pi * k * c / p + phase) + 0.4 for c in squares],
        dtype=torch.float64,
    )
    found = fourier.sinusoids(p, incidence_of(squares, p)).fit(x[:, None])
    assert found.amplitude[k - 1, 0].item() == pytest.approx(amplitude)
    assert math.cos(found.phase[k - 1, 0].item() - phase) == pytest.approx(1)
    assert found.power_shares[k - 1, 0].item() == pytest.approx(1)
    assert found.power_shares.max().item() <= 1 + 1e-9


def test_the_fit_of_each_frequency_is_numpys_least_squares():
    m, coordinates = 12, [0, 1, 3, 3, 7, -1, 8, 11, 5, 5]
    x = normal(len(coordinates), 2)
    found = fourier.sinusoids(m, incidence_of(coordinates, m)).fit(x)
    covered = [point for point, coordinate in enumerate(coordinates) if coordinate >= 0]
    n, y = np.array([coordinates[point] for point in covered]), x.numpy()[covered]
    for k in range(1, m // 2):
        angle = 2 * math.pi * k * n / m
        design = np.stack([np.ones(len(n)), np.cos(angle), np.sin(angle)], 1)
        solution = np.linalg.lstsq(design, y, rcond=None)[0]
        explained = ((design @ solution - y.mean(0)) ** 2).sum(0)
        assert_allclose(found.cos[k - 1], solution[1], atol=1e-9)
        assert_allclose(found.sin[k - 1], solution[2], atol=1e-9)
        assert_allclose(found.power[k - 1], explained, atol=1e-9)
    assert_allclose(found.constant, y.mean(0), atol=1e-12)
    assert_allclose(found.total[0], ((y - y.mean(0)) ** 2).sum(0), atol=1e-9)


def test_classes_that_collect_several_coordinates_see_the_sum_of_the_wave():
    """The read-out of (a + b)**2 mod 7: classes 0, 1, 2, 4 collect 1, 2, 2, 2 coordinates."""
    p, k, phase = 7, 2, 0.0
    incidence = torch.zeros(p, p, dtype=torch.float64)
    for t in range(p):
        incidence[t * t % p, t] = 1
    x = incidence @ wave(p, k, 1.5, phase)
    found = fourier.sinusoids(p, incidence).fit(x[:, None])
    assert found.cos[k - 1, 0].item() == pytest.approx(1.5)
    assert found.power_shares[k - 1, 0].item() == pytest.approx(1)


def test_points_without_a_coordinate_do_not_matter():
    m, coordinates = 12, [-1, 0, 1, 8, 2, 4, 9, 7, 3, 6, 5, 11, 10]  # as multiplication mod 13
    x = normal(13, 3)
    other = x.clone()
    other[0] = 1e3
    fit = fourier.sinusoids(m, incidence_of(coordinates, m))
    first, second = fit.fit(x), fit.fit(other)
    for name in ("constant", "cos", "sin", "power", "total"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert_allclose(first.power_shares.sum(0), 1, atol=1e-9)


def test_bases_cached_in_inference_mode_serve_autograd():
    with torch.inference_mode():
        fourier.coefficients(torch.ones(31))
        fourier.spectrum(torch.ones(31))
    x = torch.ones(31, requires_grad=True)
    (fourier.coefficients(x).square().sum() + fourier.spectrum(x).cos.sum()).backward()
    assert x.grad is not None
