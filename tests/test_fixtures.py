"""Weights that other people trained (facts.md, section G, says what each holds)."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from grok_interp import controls, convert, idealize, measures, neurons
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask


def read(file: Path) -> dict:
    return torch.load(file, weights_only=True, map_location="cpu")


def feature_learning(folder: Path, p: int, step: int) -> HookedMLP:
    """arXiv 2602.16849: ReLU, one embedding for both operands, stored as ``nn.Linear`` weights."""
    model = convert.load(folder / f"feature_learning_p{p}" / f"{step}.pth")
    assert (model.cfg.p, model.cfg.act_fn, model.cfg.tied_operands) == (p, "relu", True)
    return model


def idealised(model: HookedMLP, task: ModularTask, waveform: str) -> float:
    ideal = idealize.build(neurons.extract(model, task, "joint"), input_waveform=waveform)
    with model.idealized(ideal):
        return float(measures.accuracy(model, task))


@pytest.mark.parametrize(
    ("p", "step", "own", "square"), [(97, 4800, 1.0, 0.98), (23, 48000, 0.994, 0.94)]
)
def test_feature_learning_runs(
    fixtures: Path, p: int, step: int, own: float, square: float
) -> None:
    model, task = feature_learning(fixtures, p, step), ModularTask(p)
    assert float(measures.accuracy(model, task)) == pytest.approx(own, abs=5e-4)
    assert idealised(model, task, "square") >= square
    assert idealised(model, task, "cosine") >= 0.99
    # One embedding for both operands: phi_a = phi_b, so the relation is phi_out = 2 phi_a.
    table = neurons.extract(model, task)
    assert torch.equal(table.phase[0], table.phase[1])
    assert float(table.median_abs_phase_residual) < 0.1


@pytest.mark.parametrize(("p", "step", "most"), [(97, 4800, 0.03), (23, 48000, 0.13)])
def test_feature_learning_controls_are_low(fixtures: Path, p: int, step: int, most: float) -> None:
    model, task = feature_learning(fixtures, p, step), ModularTask(p)
    table = neurons.extract(model, task)
    generator = torch.Generator().manual_seed(0)
    # By hand, beside the library's own controls below: rows of W_out in another order.
    order = torch.randperm(model.cfg.d_mlp, generator=generator)
    permuted = HookedMLP.from_weights(
        model.W_in.detach(), model.W_out.detach()[order], tied_operands=True
    )
    assert idealised(permuted, task, "square") <= most
    if p == 23:
        verdict = controls.evaluate(model, task.split(0.7, seed=0), draws=2)
        for name in ("permuted_output", "permuted_within_frequency", "random_phase", "untrained"):
            assert verdict.controls[name].mean <= most, name
        assert verdict.effect.mean >= 0.94
    # Random output phases, drawn here.
    redrawn = 2 * torch.pi * torch.rand(table.d_mlp, generator=generator)
    n = torch.arange(p)[:, None]
    angle = 2 * torch.pi * table.frequency[2] * n / p + redrawn
    ideal = idealize.build(table).weights
    broken = HookedMLP.from_weights(ideal.W_in, (table.amplitude[2] * angle.cos()).T.contiguous())
    assert float(measures.accuracy(broken, task)) <= most


@pytest.mark.parametrize("step", [0, 1000, 5000, 20000, 48000])
def test_stored_accuracies_are_ours(fixtures: Path, step: int) -> None:
    folder = fixtures / "feature_learning_p23"
    stored = read(folder / f"{step}.pth")
    model = feature_learning(fixtures, 23, step)
    sizes = {}
    for side in ("train", "test"):
        tokens = model.to_tokens(read(folder / f"{side}_data.pth"))
        labels = tokens.sum(1) % 23
        sizes[side] = len(tokens)
        accuracy = float(measures.accuracy(model, tokens=tokens, labels=labels))
        loss = float(measures.loss(model, tokens=tokens, labels=labels))
        assert accuracy == pytest.approx(stored[f"{side}_accuracy"], abs=1e-9), side
        # Theirs was taken a step apart from the weights: .2% off while the loss still falls.
        assert loss == pytest.approx(stored[f"{side}_loss"], rel=5e-3), side
    assert sum(sizes.values()) == 23 * 23


def test_a_file_of_pairs_is_no_network(fixtures: Path) -> None:
    with pytest.raises(ValueError, match="holds a list, expected tensors by name"):
        convert.load(fixtures / "feature_learning_p23" / "train_data.pth")


def test_features_grow_over_the_published_run(fixtures: Path) -> None:
    """The phase relation and the power at one frequency come with training, not before it."""
    task = ModularTask(23)
    first, last = (
        neurons.extract(feature_learning(fixtures, 23, step), task) for step in (0, 48000)
    )
    assert float(first.median_abs_phase_residual) > 1
    assert float(last.median_abs_phase_residual) < 0.1
    assert float(last.kept_power.min()) > 0.8
    assert float(first.kept_power.max()) < 0.6


def test_gromovs_analytic_solution(fixtures: Path) -> None:
    """arXiv 2301.02679, as its authors computed it: quadratic, phases phi_a + phi_b = phi_out."""
    folder, p = fixtures / "gromov_analytic_p17", 17
    fc1, fc2 = (np.loadtxt(folder / f"{name}.csv", delimiter=",") for name in ("fc1", "fc2"))
    assert fc1.shape == (2 * p, 100)
    assert fc2.shape == (100, p)
    model, task = convert.load(folder), ModularTask(p)
    pairs = F.one_hot(task.tokens, p).flatten(1).double().numpy()
    np.testing.assert_allclose(model(task.tokens).detach().numpy(), (pairs @ fc1) ** 2 @ fc2)
    assert float(measures.accuracy(model, task)) == 1.0
    table = neurons.extract(model, task, "per_matrix")
    silent = (table.frequency == 0).all(0)
    # Told apart without the library: columns whose spread is nothing beside their size.
    columns = np.stack([fc1[:p], fc1[p:], fc2.T])
    constant = (np.ptp(columns, 1) < 1e-3 * np.abs(columns).max(1)).all(0)
    assert silent.tolist() == constant.tolist()
    assert 1 <= int(silent.sum()) < 20
    assert bool(table.agrees[~silent].all())
    assert float(table.phase_residual[~silent].abs().max()) < 1e-3
    assert float(table.power_share[:, ~silent].min()) > 1 - 1e-6
    ideal = idealize.build(table, input_waveform="cosine")
    with model.idealized(ideal):
        assert float(measures.accuracy(model, task)) == 1.0


def test_model_d_of_the_pizza_paper_folds_into_three_tensors(fixtures: Path) -> None:
    """arXiv 2306.17844: embeddings concatenated, a linear layer with bias, ReLU, unembedding."""
    p = 59
    stored = read(fixtures / "pizza_linear_p59" / "model_7r4zst7evs.pt")
    embed, l1 = stored["embed.weight"].double(), stored["l1.weight"].double()
    bias, unembed = stored["l1.bias"].double(), stored["unembed.weight"].double()
    task = ModularTask(p)

    def written_out(tokens: Tensor) -> Tensor:
        joined = torch.cat([embed[tokens[:, 0]], embed[tokens[:, 1]]], -1)
        return F.relu(F.linear(joined, l1, bias)) @ unembed.T

    model = convert.load(fixtures / "pizza_linear_p59" / "model_7r4zst7evs.pt")
    assert (model.cfg.p, model.cfg.d_mlp, model.cfg.bias_in) == (p, 256, True)
    expected = written_out(task.tokens)
    found = model(task.tokens).detach().double()
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    assert (
        float(measures.accuracy(model, task)) == float(measures.accuracy(written_out, task)) > 0.99
    )
