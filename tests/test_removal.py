"""Waves taken out of a network: of one that is nothing else, of one that memorises, and the control."""

import math

import pytest
import torch

from grok_interp import analytic, controls, fourier, neurons, removal, tasks
from grok_interp.config import Recipe
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.weights import MLPWeights

COSINES = Recipe(input_waveform="cosine")


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply"])
def test_a_network_of_waves_is_nothing_without_them(operation: str) -> None:
    task = tasks.ModularTask(23, operation)
    split = task.split(0.5, seed=1)
    model = analytic.solution(task, d_mlp=400, seed=0)
    found = removal.waves(model, split, COSINES, draws=5)
    assert float(found.own.held_out) > 0.9
    # What is left is rounding, whose answers differ with the number of threads.
    assert float(found.without.held_out) < 0.2
    # The control leaves the waves where they are, and adds as much of something else.
    assert found.control.held_out.shape == (5,)
    assert float(found.control.held_out.min()) > 0.4
    assert found.use > 0.3


def test_what_is_subtracted_is_the_ideal_wave() -> None:
    task = tasks.ModularTask(11)
    model = HookedMLP(p=11, d_mlp=7, seed=2).double()
    table = neurons.extract(model, task)
    left = removal._without(table, COSINES)
    # No power is left at the neuron's own frequency, and all of it at the others.
    spectrum = fourier.sinusoids(11).fit(left.columns())
    before = fourier.sinusoids(11).fit(table.weights.columns())
    at_k = torch.nn.functional.one_hot(table.frequency - 1, 5).mT.bool()
    assert float(spectrum.power[at_k].max()) < 1e-10
    torch.testing.assert_close(spectrum.power[~at_k], before.power[~at_k])
    torch.testing.assert_close(spectrum.constant, before.constant)


@pytest.mark.parametrize("p", [5, 8, 23])
def test_the_control_takes_as_much_of_another_frequency(p: int) -> None:
    task = tasks.ModularTask(p)
    table = neurons.extract(HookedMLP(p=p, d_mlp=50, seed=0), task)
    others = removal._others(table, 6, seed=3)
    assert (others.frequency != table.frequency).all()
    assert int(others.frequency.min()) >= 1
    assert int(others.frequency.max()) == p // 2
    # As much energy: of a cosine m A^2 / 2, at Nyquist m A^2.
    energy = others.waves("cosine").square().sum(-2)
    taken = table.waves("cosine").square().sum(-2).expand_as(energy)
    nyquist = 2 * others.frequency == p
    torch.testing.assert_close(energy[~nyquist], taken[~nyquist])
    torch.testing.assert_close(energy[nyquist], taken[nyquist])
    assert not torch.equal(others.phase[0], others.phase[1])
    assert torch.isin(others.phase[nyquist], torch.tensor([0.0, math.pi])).all()


def test_a_network_that_memorises_loses_little_more_than_the_control() -> None:
    """Random labels on random input weights: what waves there are carry next to nothing."""
    split = tasks.ModularTask(23).split(0.5, label_noise=0.99, seed=0)
    weights = HookedMLP(p=23, d_mlp=1000, seed=0).weights().detach()
    memorising = controls.ridge_readout(weights, split.train_tokens, split.train_labels)
    found = removal.waves(memorising, split, draws=5)
    assert float(found.own.train) == 1.0
    assert float(found.without.train) > 0.85
    assert abs(found.use) < 0.06


def test_constant_neurons_have_no_waves_to_take() -> None:
    columns = torch.full((2, 7, 3), 0.5)
    weights = MLPWeights(columns, torch.ones(3, 7))
    split = tasks.ModularTask(7).split(1.0)
    found = removal.waves(weights, split, draws=2)
    assert torch.equal(found.own.train, found.without.train)
    assert found.own.held_out.isnan().all()


@pytest.mark.parametrize(
    ("p", "draws", "words"), [(3, 2, "m=3 has one frequency"), (7, 0, "draws=0")]
)
def test_what_cannot_be_compared_is_refused(p: int, draws: int, words: str) -> None:
    split = tasks.ModularTask(p).split(0.5)
    with pytest.raises(ValueError, match=words):
        removal.waves(HookedMLP(p=p, d_mlp=4, seed=0), split, draws=draws)


def test_the_seed_gives_the_draws() -> None:
    split = tasks.ModularTask(7).split(0.5)
    model = HookedMLP(p=7, d_mlp=30, seed=0)
    one, again, other = (
        removal.waves(model, split, draws=4, seed=seed).control.train for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_two_values_of_its_own_are_taken_as_a_square_wave() -> None:
    """They have no frequency that the control could change: it would take out the network's own."""
    split = tasks.ModularTask(11).split(0.5)
    model = HookedMLP(p=11, d_mlp=30, seed=0)
    sign, square = (
        removal.waves(model, split, Recipe(input_waveform=name), draws=3)
        for name in ("sign", "square")
    )
    assert torch.equal(sign.control.train, square.control.train)
    assert torch.equal(sign.without.train, square.without.train)
