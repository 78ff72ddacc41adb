"""Counts and energies of constructed networks, and of random ones."""

import math

import pytest
import torch

from grok_interp import measures, neurons
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights


def network(p: int, k: torch.Tensor, amplitude: torch.Tensor) -> MLPWeights:
    """Neurons with frequencies and amplitudes ``[3, d_mlp]`` in W_a, W_b and W_out; 0 is constant."""
    n = torch.arange(p, dtype=torch.float64)[:, None]
    waves = amplitude[:, None] * torch.cos(2 * math.pi * k[:, None] * n / p + 0.3)
    return MLPWeights(waves[:2], waves[2].T)


@pytest.mark.parametrize("p", [7, 8, 9, 13])
def test_the_census_counts_neurons_and_weighs_them_by_amplitude(p: int) -> None:
    k = torch.tensor([[1, 1, 3, 2, 0, 2], [1, 1, 3, 3, 2, 2], [1, 1, 3, 3, 2, 2]])
    amplitude = torch.ones(3, 6, dtype=torch.float64)
    amplitude[:, 1], amplitude[0, 2], amplitude[1, 5] = 3.0, 8.0, 27.0
    table = neurons.extract(network(p, k, amplitude), ModularTask(p), "per_matrix")
    census = measures.frequency_census(table)
    some = census.loc[:3]
    assert census.index.tolist() == list(range(1, p // 2 + 1))
    assert census.index.name == "frequency"
    assert some["neurons"].tolist() == [2, 1, 1]
    assert some["W_a"].tolist() == [2, 2, 1]
    assert some["W_b"].tolist() == [2, 2, 2]
    assert some["W_out"].tolist() == [2, 2, 2]
    assert (census.loc[4:, ["neurons", "W_a", "W_b", "W_out"]] == 0).all(axis=None)
    assert census["expected"].tolist() == [6 / (p // 2)] * (p // 2)
    # Squares of geometric means: 1 + 9 at k = 1, 27^(2/3) = 9 at k = 2, 8^(2/3) = 4 at k = 3.
    energy = torch.zeros(p // 2, dtype=torch.float64)
    energy[:3] = torch.tensor([10.0, 9.0, 4.0])
    torch.testing.assert_close(measures.frequency_energy(table), energy)
    assert census["energy_share"].tolist() == pytest.approx((energy / 23).tolist())


def test_effective_frequencies_count_equal_ones_and_weigh_others() -> None:
    def number(*energy: float) -> float:
        return float(measures.effective_frequencies(torch.tensor(energy, dtype=torch.float64)))

    assert number(0.0, 5.0, 0.0) == pytest.approx(1)
    assert number(2.0, 2.0, 2.0, 0.0) == pytest.approx(3)
    assert number(3.0, 1.0) == pytest.approx(16 / 10)
    assert math.isnan(number(0.0, 0.0))


def test_random_weights_spread_as_the_docstring_says() -> None:
    model, task = HookedMLP(p=59, d_mlp=512, seed=0), ModularTask(59)
    table = neurons.extract(model, task, "joint")
    census = measures.frequency_census(table)
    assert census["neurons"].sum() == 512
    # Deviations of a multinomial draw: chi-squared with 28 degrees of freedom, five deviations wide.
    chi = float(((census["neurons"] - census["expected"]) ** 2 / census["expected"]).sum())
    assert chi == pytest.approx(28, abs=5 * math.sqrt(56))
    found = float(measures.effective_frequencies(measures.frequency_energy(table)))
    assert found == pytest.approx(29 * 512 / (512 + 29 - 1), rel=0.03)


def test_energies_of_a_batch_are_those_of_its_networks_and_a_census_wants_one() -> None:
    draws = [torch.Generator().manual_seed(seed) for seed in range(3)]
    each = [
        MLPWeights(torch.randn(2, 11, 20, generator=g), torch.randn(20, 11, generator=g))
        for g in draws
    ]
    batch = MLPWeights(
        torch.stack([one.W_in for one in each]), torch.stack([one.W_out for one in each])
    )
    table = neurons.extract(batch, ModularTask(11))
    energy = measures.frequency_energy(table)
    assert energy.shape == (3, 5)
    for i, one in enumerate(each):
        wanted = measures.frequency_energy(neurons.extract(one, ModularTask(11)))
        torch.testing.assert_close(energy[i], wanted)
        torch.testing.assert_close(
            measures.effective_frequencies(energy)[i], measures.effective_frequencies(wanted)
        )
    with pytest.raises(ValueError, match=r"batch of shape \(3,\): index it first"):
        measures.frequency_census(table)
    assert measures.frequency_census(table[1])["neurons"].sum() == 20


def test_products_are_counted_on_their_own_modulus() -> None:
    task = ModularTask(11, "multiply")
    model = MLPWeights(torch.eye(11)[None].expand(2, 11, 11).clone(), torch.eye(11))
    census = measures.frequency_census(neurons.extract(model, task))
    assert census.index.tolist() == [1, 2, 3, 4, 5]  # Z_10


def test_a_network_whose_neurons_never_agree_has_no_energy() -> None:
    k = torch.tensor([[1], [2], [3]])
    table = neurons.extract(
        network(7, k, torch.ones(3, 1, dtype=torch.float64)), ModularTask(7), "per_matrix"
    )
    assert measures.frequency_census(table)["energy_share"].isna().all()
    assert measures.effective_frequencies(measures.frequency_energy(table)).isnan()
