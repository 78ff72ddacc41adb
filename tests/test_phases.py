"""Phases move by the angle asked for, and nothing else does."""

import math

import pytest
import torch

from grok_interp import circular, idealize, measures, neurons, phases
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

D = 12


def model_of(p: int, operation: str = "add", seed: int = 0) -> tuple[HookedMLP, ModularTask]:
    model = HookedMLP(p=p, d_mlp=D, seed=seed, dtype="float64")
    return model, ModularTask(p, operation)


def read(model: HookedMLP, task: ModularTask, *interventions) -> neurons.NeuronTable:
    with model.intervened(*interventions):
        return neurons.extract(model.effective_weights(), task)


@pytest.mark.parametrize(
    ("p", "operation"), [(13, "add"), (12, "add"), (9, "subtract"), (11, "multiply")]
)
@pytest.mark.parametrize("matrix", ["W_a", "W_b", "W_out"])
def test_a_shift_moves_the_phase_and_keeps_amplitude_and_rest(
    p: int, operation: str, matrix: str
) -> None:
    model, task = model_of(p, operation)
    table = neurons.extract(model, task)
    free = 2 * table.frequency[0] < table.modulus  # at Nyquist a phase is 0 or pi
    by = torch.linspace(-2, 2, D, dtype=torch.float64)
    after = read(model, task, phases.shift(table, by, matrix, neurons=free))
    row = ("W_a", "W_b", "W_out").index(matrix)
    moved = circular.wrap(after.phase - table.phase)
    assert torch.allclose(moved[row][free], by[free])
    assert torch.allclose(after.amplitude[row][free], table.amplitude[row][free])
    rest = [r for r in range(3) if r != row]
    assert torch.equal(after.columns[rest], table.columns[rest])
    wave, old = after.waves("cosine")[row], table.waves("cosine")[row]
    assert torch.allclose((after.columns[row] - wave)[:, free], (table.columns[row] - old)[:, free])


def test_a_shift_of_two_neurons_leaves_the_others_bit_for_bit() -> None:
    model, task = model_of(13)
    table = neurons.extract(model, task)
    after = read(model, task, phases.shift(table, 1.0, ["W_a", "W_out"], neurons=[3, 5]))
    changed = (after.weights.columns() != model.weights().columns()).any(-2)
    assert changed[0].nonzero().flatten().tolist() == [3, 5]
    assert not changed[1].any()
    assert changed[2].nonzero().flatten().tolist() == [3, 5]


def test_opposite_shifts_and_a_whole_turn_change_nothing() -> None:
    model, task = model_of(13)
    table, own = neurons.extract(model, task), model.weights()
    with model.intervened(phases.shift(table, 0.7)):
        back = phases.shift(neurons.extract(model.effective_weights(), task), -0.7)
        with model.intervened(back):
            assert torch.allclose(model.effective_weights().W_out, own.W_out)
    with model.intervened(phases.shift(table, 2 * math.pi)):
        assert torch.allclose(model.effective_weights().W_out, own.W_out)
    with model.intervened(phases.shift(table, 0.0)):
        assert torch.equal(model.effective_weights().W_out, own.W_out)


@pytest.mark.parametrize(("p", "operation"), [(13, "add"), (12, "subtract"), (11, "multiply")])
def test_projecting_puts_every_neuron_on_the_phase_relation(p: int, operation: str) -> None:
    model, task = model_of(p, operation)
    table = neurons.extract(model, task)
    assert table.median_abs_phase_residual > 0.3  # random weights are not on it
    after = read(model, task, phases.project(table))
    assert after.phase_residual.abs().max() < 1e-9
    assert torch.equal(after.frequency, table.frequency)
    twice = read(model, task, phases.project(table), phases.project(after))
    assert torch.allclose(twice.columns, after.columns)


def test_projecting_writes_the_answer_into_an_untrained_network() -> None:
    task = ModularTask(23)
    model = HookedMLP(p=23, d_mlp=512, seed=0)
    table = neurons.extract(model, task)
    ideal = idealize.build(table, input_waveform="cosine")
    with model.idealized(ideal):
        assert measures.accuracy(model, task) < 0.2
    with model.intervened(ideal, phases.project(table)):
        written = measures.accuracy(model, task)
    other = idealize.build(table, input_waveform="cosine", output_phase="phase_sum")
    with model.idealized(other):
        assert measures.accuracy(model, task) == written
    assert written > 0.9


def test_projection_leaves_neurons_whose_frequencies_differ() -> None:
    model, task = model_of(13)
    table = neurons.extract(model, task, frequency="per_matrix")
    assert 0 < table.agrees.sum() < D
    with model.intervened(phases.project(table)):
        changed = (model.effective_weights().W_out != model.W_out).any(-1)
    assert torch.equal(changed, table.agrees)


def test_scrambled_phases_are_uniform_and_come_from_the_seed() -> None:
    task = ModularTask(23)
    model = HookedMLP(p=23, d_mlp=2000, seed=0)
    table = neurons.extract(model, task)
    one, same, other = (phases.scramble(table, seed) for seed in (1, 1, 2))
    assert torch.equal(one.phase, same.phase)
    assert not torch.equal(one.phase, other.phase)
    assert torch.equal(one.phase[:2], table.phase[:2])
    counts = torch.histc(one.phase[2], 8, -math.pi, math.pi)
    assert (counts - 250).abs().max() < 60  # 4 standard deviations of 14.8
    after = read(model, task, one)
    assert torch.allclose(after.phase[2], one.phase[2], atol=1e-3)
    correlation = torch.cos(one.phase[2] - table.phase[2]).mean()
    assert abs(correlation) < 0.07  # 4 standard deviations of 1 / sqrt(2 * 2000)


def test_at_nyquist_phases_are_drawn_from_zero_and_pi() -> None:
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    columns = wave[:, None].expand(4, 400)
    model = HookedMLP.from_weights(torch.stack([columns, columns]), columns.T)
    table = neurons.extract(model, ModularTask(4))
    drawn = phases.scramble(table, 0).phase[2]
    assert torch.allclose(drawn.abs() * (drawn.abs() - math.pi), torch.zeros(400).double())
    assert 150 < (drawn.abs() > 1).sum() < 250


def test_a_network_that_uses_the_relation_loses_its_answers_when_scrambled() -> None:
    p, d = 23, 300
    generator = torch.Generator().manual_seed(0)
    k = torch.randint(1, 12, (d,), generator=generator).double()
    phi = 2 * math.pi * torch.rand(2, d, generator=generator, dtype=torch.float64)
    n = torch.arange(p, dtype=torch.float64)[:, None]
    angle = 2 * math.pi * k * n / p
    W_in = torch.stack([torch.cos(angle + phi[0]), torch.cos(angle + phi[1])])
    W_out = torch.cos(angle + phi.sum(0)).T.contiguous()
    model, task = HookedMLP.from_weights(W_in, W_out, act_fn="quadratic"), ModularTask(p)
    assert measures.accuracy(model, task) == 1
    table = neurons.extract(model, task)
    with model.intervened(phases.scramble(table, 0)):
        assert measures.accuracy(model, task) < 0.2
    with model.intervened(phases.shift(table, math.pi)):
        assert measures.accuracy(model, task) == 0  # every logit turned round
    with model.intervened(phases.shift(table, 0.5, "W_a"), phases.shift(table, 0.5)):
        assert measures.accuracy(model, task) == 1  # still on the relation


def test_at_nyquist_a_phase_turns_by_half_turns_only() -> None:
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)[:, None]
    model = HookedMLP.from_weights(torch.stack([wave, wave]), wave.T.contiguous())
    table = neurons.extract(model, ModularTask(4))
    with model.intervened(phases.shift(table, math.pi)):
        assert torch.allclose(model.effective_weights().W_out, -wave.T)
    single = HookedMLP.from_weights(*(each.float() for each in (model.W_in, model.W_out)))
    for halves in range(-40, 40):  # also where float32 rounds the angle
        phases.shift(neurons.extract(single, ModularTask(4)), halves * math.pi)
    with pytest.raises(ValueError, match="1 neurons are at the Nyquist frequency 2"):
        phases.shift(table, math.pi / 2)
    assert phases.shift(table, math.pi / 2, neurons=[]).fwd_hooks() == []


def test_errors() -> None:
    model, task = model_of(13)
    table = neurons.extract(model, task)
    with pytest.raises(
        ValueError, match=r"by has shape \[3\], expected one finite angle or \[12\]"
    ):
        phases.shift(table, torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        phases.shift(table, math.inf)
    with pytest.raises(ValueError, match="W_x"):
        phases.shift(table, 1.0, "W_x")
    with pytest.raises(ValueError, match=r"integers in 0\.\.11"):
        phases.scramble(table, 0, neurons=[12])
    batch = neurons.extract(model.weights().expand(2), task)
    for make in (
        lambda: phases.shift(batch, 1.0),
        lambda: phases.scramble(batch, 0),
        lambda: phases.project(batch),
    ):
        with pytest.raises(ValueError, match=r"batch of shape \(2,\)"):
            make()
    small = HookedMLP(p=13, d_mlp=5, seed=0, dtype="float64")
    with (
        small.intervened(phases.shift(table, 1.0)),
        pytest.raises(ValueError, match="extract a table of this model"),
    ):
        small(task.tokens)
