"""Directions and axes of the 2-D Fourier basis over all pairs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_interp import fourier, grid

MODULI = [3, 4, 7, 8, 12, 13]


def wave(p: int, i: int, j: int, k: int, phase: float) -> torch.Tensor:
    n = torch.arange(p, dtype=torch.float64)
    return torch.cos(2 * math.pi * k * (i * n[:, None] + j * n) / p + phase).reshape(-1, 1)


@given(p=st.sampled_from(MODULI), data=st.data())
def test_a_wave_lies_along_its_own_direction_and_frequency(p: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, (p - 1) // 2))
    name = data.draw(st.sampled_from(list(grid.DIRECTIONS)))
    i, j = grid.DIRECTIONS[name]
    x = wave(p, i, j, k, data.draw(st.floats(0.0, 6.0))) + 2
    assert torch.allclose(grid.part(x, name, k), x - 2)
    assert torch.allclose(grid.part(x, name), x - 2)
    others = [other for other in range(1, p // 2 + 1) if other != k]
    assert grid.part(x, name, others).abs().max() < 1e-12
    for other in grid.DIRECTIONS.keys() - {name}:
        assert grid.part(x, other).abs().max() < 1e-12


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("name", list(grid.DIRECTIONS))
def test_parts_are_orthogonal_projections_equal_to_a_sum_over_characters(p: int, name: str) -> None:
    x = torch.randn(p * p, 3, generator=torch.Generator().manual_seed(p), dtype=torch.float64)
    some = [1] if p < 5 else [1, 2]
    part = grid.part(x, name, some)
    assert torch.allclose(grid.part(part, name, some), part)
    assert torch.allclose((part * (x - part)).sum(0), torch.zeros(3, dtype=torch.float64))
    i, j = grid.DIRECTIONS[name]
    transform = torch.fft.fft2(x.reshape(p, p, 3), dim=(0, 1))
    mask = torch.zeros(p, p, 1, dtype=torch.bool)
    for k in some:
        mask[k * i % p, k * j % p] = mask[-k * i % p, -k * j % p] = True
    expected = torch.fft.ifft2(transform * mask, dim=(0, 1)).real.reshape(p * p, 3)
    assert torch.allclose(part, expected)


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("operand", ["a", "b"])
def test_the_axis_part_holds_all_characters_of_the_operands_frequency(p: int, operand: str) -> None:
    x = torch.randn(p * p, 2, generator=torch.Generator().manual_seed(p), dtype=torch.float64)
    transform = torch.fft.fft2(x.reshape(p, p, 2), dim=(0, 1))
    mask = torch.zeros(p, p, 1, dtype=torch.bool)
    for k in (1, p // 2):
        rows = mask if operand == "a" else mask.transpose(0, 1)
        rows[k] = rows[-k] = True
    expected = torch.fft.ifft2(transform * mask, dim=(0, 1)).real.reshape(p * p, 2)
    assert torch.allclose(grid.axis_part(x, operand, [1, p // 2]), expected)


def test_means_along_directions_are_means_over_pairs() -> None:
    x = torch.randn(49, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name, (i, j) in grid.DIRECTIONS.items():
        index = torch.tensor([(i * a + j * b) % 7 for a in range(7) for b in range(7)])
        assert torch.equal(grid.place(7, name), index)
        means = torch.stack([x[index == s].mean(0) for s in range(7)])
        assert torch.allclose(grid.along(x, name), means)


def test_a_plus_b_and_a_minus_b_share_the_nyquist_frequency() -> None:
    x = wave(8, 1, 1, 4, 0.0)
    assert torch.allclose(grid.part(x, "a-b", 4), x)


def test_the_grid_transform_has_the_energy_of_the_parts() -> None:
    x = torch.randn(49, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coefficients = fourier.transform_grid(x)[..., 0]
    both = coefficients[3:5, 3:5].square().sum()  # cos and sin of 2 a times cos and sin of 2 b
    parts = grid.part(x, "a+b", 2).square().sum() + grid.part(x, "a-b", 2).square().sum()
    assert torch.allclose(both, parts)


@pytest.mark.parametrize("bad", [0, 4, -1, [1, 9], 1.5, True, ["2"]])
def test_frequencies_out_of_range_are_named(bad: object) -> None:
    with pytest.raises(ValueError, match=r"is not a whole number in 1\.\.3 for modulus 7"):
        grid.frequency_index(bad, 7)


def test_frequencies_are_taken_in_any_form() -> None:
    for form in (2, [2, 2], {2}, torch.tensor([2]), torch.tensor(2), np.array([2])):
        assert grid.frequency_index(form, 7).tolist() == [2]
    assert grid.frequency_index(None, 8).tolist() == [1, 2, 3, 4]
    assert grid.frequency_index([], 8).tolist() == []


def test_what_is_no_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"8 rows.*task\.tokens"):
        grid.along(torch.zeros(8, 1), "a")
    with pytest.raises(ValueError, match=r"direction='2a'.*'a\+b'"):
        grid.part(torch.zeros(9, 1), "2a")
    with pytest.raises(ValueError, match="operand='c'"):
        grid.axis_part(torch.zeros(9, 1), "c")


@pytest.mark.parametrize("p", MODULI)
def test_power_stands_at_its_pair_of_frequencies(p: int) -> None:
    signed = grid.signed_frequencies(p).tolist()
    assert len(signed) == p
    for k in range(1, (p - 1) // 2 + 1):
        doubled = min(2 * k % p, -2 * k % p)
        for (i, j, frequency), place in {
            (1, 1, k): (k, k),
            (1, -1, k): (k, -k),
            (1, 0, 2 * k): (doubled, 0),
            (0, 1, 2 * k): (0, doubled),
            (1, 0, k): (k, 0),
            (0, 1, k): (0, k),
        }.items():
            x = wave(p, i, j, frequency, 0.4)
            power = grid.power_spectrum(x)[..., 0]
            assert power.shape == (p // 2 + 1, p)
            there = power[place[0], signed.index(place[1])]
            torch.testing.assert_close(there, x.square().sum())
            torch.testing.assert_close(power.sum(), there)


@pytest.mark.parametrize("p", MODULI)
def test_power_adds_up_and_agrees_with_the_real_basis(p: int) -> None:
    generator = torch.Generator().manual_seed(p)
    x = torch.randn(p * p, 2, generator=generator, dtype=torch.float64)
    power, signed = grid.power_spectrum(x), grid.signed_frequencies(p)
    torch.testing.assert_close(power.sum((0, 1)), x.square().sum(0))
    # Both signs together are the power of products of sines and cosines.
    real, rows = fourier.transform_grid(x).square(), fourier.row_frequencies(p)
    for k in range(p // 2 + 1):
        for j in range(p // 2 + 1):
            block = real[rows == k][:, rows == j].sum((0, 1))
            torch.testing.assert_close(power[k, signed.abs() == j].sum(0), block)
    # Along a + b it is the energy of the means over pairs that share the sum.
    along = fourier.spectrum(grid.along(x, "a+b"), 0).power * p
    for k in range(1, p // 2 + 1):
        torch.testing.assert_close(power[k, signed == k][0], along[k - 1])
    with pytest.raises(ValueError, match="not p \\* p"):
        grid.power_spectrum(x[1:])
