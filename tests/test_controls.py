"""The controls recomputed by independent code, and verdicts that say what they may."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from grok_interp import controls, idealize, measures, neurons, outputs, training
from grok_interp.config import Recipe, TrainConfig
from grok_interp.controls import Sample, Structure, Verdict, evaluate, pooled_excess, ridge_readout
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.neurons import NeuronTable
from grok_interp.tasks import ModularTask, Split
from grok_interp.weights import MLPWeights

P, D, DRAWS = 23, 128, 4
NAMES = {
    "untrained",
    "frozen_input",
    "refitted_readout",
    "permuted_output",
    "permuted_within_frequency",
    "random_phase",
    "wrong_task",
    "wrong_coordinates",
}
DRAWN = NAMES - {"refitted_readout", "wrong_task"}


@pytest.fixture(scope="module")
def trained() -> tuple[HookedMLP, Split, training.Trajectory]:
    """Fitted to noisy labels for a few hundred steps; it does not generalise itself."""
    split = ModularTask(P).split(train_fraction=0.6, label_noise=0.2, seed=0)
    model = HookedMLP(p=P, d_mlp=D, seed=1)
    config = TrainConfig(steps=250, lr=3e-3, eval_every=250, checkpoint_every=250, progress=False)
    return model, split, training.train(model, split, config)


@pytest.fixture(scope="module")
def verdict(trained) -> Verdict:
    model, split, _ = trained
    return evaluate(model, split, draws=DRAWS)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[MLPWeights, NeuronTable]]:
    """Every network that is idealized, with its table, in order: what the controls are made of."""
    seen: list[tuple[MLPWeights, NeuronTable]] = []
    build = idealize.build

    def spy(table: NeuronTable, *args, **kwargs):
        seen.append((table.weights, table))
        return build(table, *args, **kwargs)

    monkeypatch.setattr(controls.idealize, "build", spy)
    return seen


def perfect(d_mlp: int = 600, seed: int = 0, p: int = P, sign: int = 1) -> HookedMLP:
    """A cosine network that adds: phi_out = phi_a + sign phi_b."""
    rng = np.random.default_rng(seed)
    k = rng.integers(1, p // 2 + 1, d_mlp)
    phi_a, phi_b = rng.uniform(-np.pi, np.pi, (2, d_mlp))
    n = np.arange(p)[:, None]
    W_a, W_b, W_out = (
        torch.tensor(np.cos(2 * np.pi * k * n / p + phi), dtype=torch.float32)
        for phi in (phi_a, phi_b, phi_a + sign * phi_b)
    )
    return HookedMLP.from_weights(torch.stack([W_a, W_b]), W_out.T.contiguous())


def share_right(weights: MLPWeights, tokens: Tensor, labels: Tensor) -> float:
    """Accuracy of one network by the equation, in numpy."""
    W_in, W_out = weights.W_in.double().numpy(), weights.W_out.double().numpy()
    a, b = tokens.numpy().T
    logits = np.maximum(W_in[0][a] + W_in[1][b], 0) @ W_out
    return float((logits.argmax(-1) == labels.numpy()).mean())


def ideal_of(weights: MLPWeights, task: ModularTask, recipe: Recipe) -> MLPWeights:
    return idealize.build(neurons.extract(weights, task, recipe.frequency), recipe).weights


# The numbers -------------------------------------------------------------------------------------


def test_every_control_is_there_with_its_draws(verdict: Verdict) -> None:
    assert set(verdict.controls) == NAMES
    for name, sample in verdict.controls.items():
        assert sample.draws == (DRAWS if name in DRAWN else 1), name
        assert sample.accuracy.shape == sample.held_out.shape == sample.covered.shape
        assert torch.equal(sample.accuracy, sample.covered), "addition covers every pair"


def test_own_and_effect_on_all_and_on_held_out_pairs(trained, verdict: Verdict) -> None:
    model, split, _ = trained
    own = model.weights().detach()
    ideal = ideal_of(own, split.task, Recipe())
    test = (split.test_tokens, split.test_labels)
    everything = (split.task.tokens, split.task.labels)
    assert verdict.own.mean == pytest.approx(share_right(own, *everything))
    assert float(verdict.own.held_out) == pytest.approx(share_right(own, *test))
    assert verdict.effect.mean == pytest.approx(share_right(ideal, *everything), abs=2e-3)
    assert float(verdict.effect.held_out) == pytest.approx(share_right(ideal, *test), abs=5e-3)
    assert verdict.chance == 1 / P
    table = neurons.extract(model, split.task)
    found = verdict.structure["own"]
    assert list(found.power_share.values()) == pytest.approx(table.kept_power.tolist())
    assert found.median_abs_phase_residual == pytest.approx(float(table.median_abs_phase_residual))
    by_itself = neurons.extract(model, split.task, "per_matrix")
    assert 0 < float(by_itself.agreement) < 1
    assert found.agreement == pytest.approx(float(by_itself.agreement))


def test_what_the_controls_are_made_of(trained, verdict: Verdict, scored) -> None:
    """Each control's networks, caught on their way into the idealization, by what they must be."""
    model, split, trajectory = trained
    task, own = split.task, model.weights().detach()
    again = evaluate(model, split, draws=DRAWS)
    assert again.to_dict() == verdict.to_dict()
    effect, untrained, frozen, refitted, permuted, within, phases, renamed = scored

    assert torch.equal(effect[0].W_in, own.W_in)

    # Untrained: the run's own initial weights first, then fresh ones of the same kind.
    initial = HookedMLP(model.cfg).weights().detach()
    assert torch.equal(initial.W_in, trajectory.tensors["W_in"][0])
    assert torch.equal(untrained[0].W_in[0], initial.W_in)
    assert torch.equal(untrained[0].W_out[0], initial.W_out)
    for draw in range(1, DRAWS):
        assert not torch.equal(untrained[0].W_in[draw], untrained[0].W_in[draw - 1])
        assert float(untrained[0].W_in[draw].abs().max()) <= (2 * P) ** -0.5

    # Frozen input: the same input weights, and another read-out, fitted to the noisy labels.
    assert torch.equal(frozen[0].W_in, untrained[0].W_in)
    fitted = share_right(frozen[0][0], split.train_tokens, split.train_labels)
    assert fitted > share_right(untrained[0][0], split.train_tokens, split.train_labels) + 0.2

    # Refitted read-out: the trained input weights.
    assert torch.equal(refitted[0].W_in[0], own.W_in)
    assert not torch.allclose(refitted[0].W_out[0], own.W_out)

    # Permuted output: each draw has W_out's rows in another order, and the input as it stands.
    rows = own.W_out.sort(0).values
    for weights, _ in (permuted, within):
        assert torch.equal(weights.W_in, own.W_in.expand(DRAWS, -1, -1, -1))
        for draw in range(DRAWS):
            order = (weights.W_out[draw][:, None] == own.W_out).all(-1).int().argmax(1)
            assert sorted(order.tolist()) == list(range(D))
            assert order.tolist() != list(range(D))
            assert torch.equal(weights.W_out[draw], own.W_out[order])
            assert torch.equal(weights.W_out[draw].sort(0).values, rows)
            if draw:
                assert not torch.equal(weights.W_out[draw], weights.W_out[draw - 1])
    k = effect[1].frequency[2]
    assert len(k.unique()) > 3
    for draw in range(DRAWS):
        order = (within[0].W_out[draw][:, None] == own.W_out).all(-1).int().argmax(1)
        assert torch.equal(k[order], k), "a row left its frequency"
        order = (permuted[0].W_out[draw][:, None] == own.W_out).all(-1).int().argmax(1)
        assert float((k[order] == k).double().mean()) < 0.6

    # Random phases: nothing but the output phases differs, and these are spread over the circle.
    for name in neurons.TENSORS:
        table = effect[1]
        drawn, stands = getattr(phases[1], name), getattr(table, name)
        if name == "phase":
            assert torch.equal(drawn[:, :2], stands[:2].expand(DRAWS, -1, -1))
            moved = drawn[:, 2] - stands[2]
            assert float(moved.cos().mean(-1).abs().max()) < 4 / math.sqrt(2 * D)
            assert float(drawn[:, 2].abs().max()) <= math.pi
            assert not torch.equal(drawn[0], drawn[1])
        else:
            assert torch.equal(drawn, stands.expand(DRAWS, *stands.shape)), name

    # Wrong coordinates: tokens and classes renamed alike before extraction.
    for draw in range(DRAWS):
        W_in, W_out = renamed[0].W_in[draw], renamed[0].W_out[draw]
        order = (W_in[0][:, None] == own.W_in[0]).all(-1).int().argmax(1)
        assert sorted(order.tolist()) == list(range(P))
        assert torch.equal(W_in, own.W_in[:, order])
        assert torch.equal(W_out, own.W_out[:, order])

    # And the accuracies are those of these networks, idealized one by one.
    for name, (weights, _) in {
        "untrained": untrained, "frozen_input": frozen, "permuted_output": permuted,
        "permuted_within_frequency": within,
    }.items():  # fmt: skip
        for draw in range(DRAWS):
            ideal = ideal_of(weights[draw], task, Recipe())
            alone = share_right(ideal, task.tokens, task.labels)
            found = float(verdict.controls[name].accuracy[draw])
            assert found == pytest.approx(alone, abs=4e-3), (name, draw)


def test_wrong_coordinates_are_named_back(trained, scored) -> None:
    """Idealized under other names, then named back: the accuracy is on the true task's labels."""
    model, split, _ = trained
    verdict = evaluate(model, split, draws=2)
    renamed, own, task = scored[-1][0], model.weights().detach(), split.task
    for draw in range(2):
        order = (renamed.W_in[draw, 0][:, None] == own.W_in[0]).all(-1).int().argmax(1)
        ideal = ideal_of(renamed[draw], task, Recipe())
        # Under the new names, token t is called where order says t.
        name = order.argsort()
        alone = share_right(ideal, name[task.tokens], name[task.labels])
        found = float(verdict.controls["wrong_coordinates"].accuracy[draw])
        assert found == pytest.approx(alone, abs=4e-3)
        assert found < 0.2


@pytest.mark.parametrize("operation", ["add", "subtract"])
def test_a_perfect_network_and_every_null(operation: str) -> None:
    sign = 1 if operation == "add" else -1
    split = ModularTask(P, operation).split(0.7, seed=0)
    verdict = evaluate(perfect(sign=sign), split, draws=DRAWS)
    assert verdict.own.mean > 0.98
    assert verdict.effect.mean > 0.98
    for name in ("permuted_output", "permuted_within_frequency", "random_phase"):
        assert verdict.controls[name].max < 0.3, name
    # a - b = a + b mod p only for b = 0, so a network that adds gets 1/p of these right.
    assert verdict.controls["wrong_task"].mean < 2.5 / P
    assert verdict.controls["wrong_coordinates"].max < 0.2
    found = verdict.structure["own"]
    assert found.median_abs_phase_residual < 1e-3
    assert found.agreement == 1
    assert all(share == pytest.approx(1) for share in found.power_share.values())


def test_the_recipe_is_used_throughout(trained) -> None:
    model, split, _ = trained
    recipe = Recipe(frequency="per_matrix", input_waveform="cosine", amplitude="uniform")
    verdict = evaluate(model, split, recipe, draws=2)
    assert verdict.recipe == recipe
    ideal = ideal_of(model.weights().detach(), split.task, recipe)
    everything = (split.task.tokens, split.task.labels)
    assert verdict.effect.mean == pytest.approx(share_right(ideal, *everything), abs=2e-3)
    first = ideal_of(HookedMLP(model.cfg).weights().detach(), split.task, recipe)
    found = float(verdict.controls["untrained"].accuracy[0])
    assert found == pytest.approx(share_right(first, *everything), abs=4e-3)


def test_imported_weights_are_shuffled(scored) -> None:
    """Without a seed the untrained network has the same entries in another order, by matrix."""
    model, split = perfect(d_mlp=40), ModularTask(P).split(0.7)
    evaluate(model, split, draws=3)
    untrained = scored[1][0]
    own = model.weights().detach()
    for draw in range(3):
        for found, entries in (
            (untrained.W_in[draw, 0], own.W_in[0]),
            (untrained.W_in[draw, 1], own.W_in[1]),
            (untrained.W_out[draw], own.W_out),
        ):
            assert torch.equal(found.flatten().sort().values, entries.flatten().sort().values)
            assert float((found == entries).double().mean()) < 0.05
    assert not torch.equal(untrained.W_in[0], untrained.W_in[1])
    assert torch.equal(scored[2][0].W_in, untrained.W_in)


def test_shuffled_tied_operands_stay_tied(scored) -> None:
    W = torch.randn(P, 20, generator=torch.Generator().manual_seed(0))
    model = HookedMLP.from_weights(W, W.T.contiguous(), tied_operands=True)
    evaluate(model, ModularTask(P).split(0.7), draws=2)
    untrained = scored[1][0].W_in
    assert torch.equal(untrained[:, 0], untrained[:, 1])
    assert not torch.equal(untrained[0, 0], W)


def test_given_initial_weights_come_first(trained, scored) -> None:
    _, split, trajectory = trained
    initial = trajectory[0].weights()
    imported = HookedMLP.from_weights(trajectory[-1].W_in.detach(), trajectory[-1].W_out.detach())
    evaluate(imported, split, draws=2, initial=initial)
    untrained = scored[1][0]
    assert torch.equal(untrained.W_in[0], initial.W_in)
    expected = initial.W_in.detach().flatten(1).sort().values
    assert torch.equal(untrained.W_in[1].flatten(1).sort().values, expected)
    assert not torch.equal(untrained.W_in[1], initial.W_in)


def test_draws_follow_the_seed(trained, verdict: Verdict) -> None:
    model, split, _ = trained
    other = evaluate(model, split, draws=DRAWS, seed=1)
    for name in DRAWN:
        same = torch.equal(other.controls[name].accuracy, verdict.controls[name].accuracy)
        assert not same, f"{name} does not depend on the seed"
    assert other.effect.mean == verdict.effect.mean
    torch.manual_seed(0)
    before = torch.get_rng_state()
    evaluate(model, split, draws=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_hooks_play_no_part(trained, verdict: Verdict) -> None:
    model, split, _ = trained
    ideal = idealize.build(neurons.extract(model, split.task), output_phase="phase_sum")
    with model.idealized(ideal):
        inside = evaluate(model, split, draws=DRAWS)
    assert inside.to_dict() == verdict.to_dict()


# Read-outs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_ridge_readout_solves_the_normal_equations(trained, ridge: float, scale: float) -> None:
    """As least squares on the data with sqrt(penalty) I appended, by numpy in float64."""
    _, split, _ = trained
    weights = HookedMLP(p=P, d_mlp=40, bias_in=True, bias_out=True, dtype="float64").weights()
    weights = replace(weights.detach(), output_scale=scale)
    a, b = split.train_tokens.numpy().T
    W_in = weights.W_in.numpy()
    H = np.maximum(W_in[0][a] + W_in[1][b] + weights.b_in.numpy(), 0)
    Y = np.eye(P)[split.train_labels.numpy()] - 1 / P
    penalty = ridge * (H**2).sum(0).mean()
    stacked = np.concatenate([H, math.sqrt(penalty) * np.eye(40)])
    expected = np.linalg.lstsq(stacked, np.concatenate([Y, np.zeros((40, P))]), rcond=None)[0]
    found = ridge_readout(weights, split.train_tokens, split.train_labels, ridge)
    np.testing.assert_allclose(found.W_out.numpy() * scale, expected, atol=1e-9)
    assert found.b_out is None
    assert torch.equal(found.W_in, weights.W_in)
    assert torch.equal(found.b_in, weights.b_in)


def test_ridge_readout_does_not_depend_on_chunks_or_batches(
    trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, split, _ = trained
    each = [HookedMLP(p=P, d_mlp=30, seed=seed).double().weights().detach() for seed in (0, 1)]
    batch = MLPWeights(
        torch.stack([one.W_in for one in each]), torch.stack([one.W_out for one in each])
    )
    data = (split.train_tokens, split.train_labels)
    whole = ridge_readout(batch, *data).W_out
    for index, one in enumerate(each):
        torch.testing.assert_close(ridge_readout(one, *data).W_out, whole[index])
    for size in (1, 30 * 2 * 7, 30 * 2 * 100):
        monkeypatch.setattr(outputs, "CHUNK_ELEMENTS", size)
        torch.testing.assert_close(ridge_readout(batch, *data).W_out, whole)


def test_a_dead_network_gets_a_zero_readout() -> None:
    task = ModularTask(5)
    dead = MLPWeights(-torch.ones(2, 5, 4), torch.ones(4, 5))
    assert torch.equal(ridge_readout(dead, task.tokens, task.labels).W_out, torch.zeros(4, 5))


def test_trained_readouts_train_only_the_readout(trained, scored) -> None:
    model, split, _ = trained
    config = TrainConfig(steps=15, lr=1e-2, progress=False)
    evaluate(model, split, draws=2, fit="train", train_config=config)
    untrained, frozen = scored[1][0], scored[2][0]
    assert torch.equal(frozen.W_in, untrained.W_in)
    # The first draw starts from the run's own initial weights: the same run by hand.
    again = HookedMLP(model.cfg)
    training.train(again, split, replace(config, trainable=("W_out",)))
    torch.testing.assert_close(frozen.W_out[0], again.W_out.detach())
    assert not torch.equal(frozen.W_out[1], frozen.W_out[0])


# Verdicts ----------------------------------------------------------------------------------------


def sample(*values: float) -> Sample:
    accuracy = torch.tensor(values, dtype=torch.float64)
    return Sample(accuracy, accuracy, accuracy)


def verdict_of(
    effect: float, own: float = 0.5, recipe: Recipe | None = None, **nulls: Sample
) -> Verdict:
    low = {name: sample(0.03, 0.05) for name in NAMES}
    kept = dict.fromkeys(neurons.MATRICES, 0.2)
    found = {
        name: Structure(kept, residual, 0.5)
        for name, residual in (("own", 0.4), ("frozen_input", 0.6), ("untrained", 1.6))
    }
    return Verdict(
        ModularTask(P), recipe or Recipe(), sample(own), sample(effect), low | nulls, found
    )


def test_excess_interval_and_strongest_by_hand(verdict: Verdict) -> None:
    means = {
        name: float(np.mean(control.accuracy.numpy()))
        for name, control in verdict.controls.items()
        if name != "refitted_readout"
    }
    strongest = max(means, key=means.get)
    assert verdict.strongest == strongest
    assert verdict.excess() == pytest.approx(verdict.effect.mean - means[strongest])
    for name in DRAWN:
        differences = verdict.effect.mean - verdict.controls[name].accuracy.numpy()
        expected = np.percentile(differences, [2.5, 97.5])
        assert verdict.excess_interval(name) == pytest.approx(tuple(expected))
        assert verdict.excess(name) == pytest.approx(float(differences.mean()))
    with pytest.raises(ValueError, match="control='frozen' is unknown"):
        verdict.excess("frozen")


def test_the_interval_says_which_way_round() -> None:
    built = verdict_of(0.9, frozen_input=sample(0.5, 0.6, 0.7))
    assert built.excess() == pytest.approx(0.3)
    low, high = built.excess_interval()
    assert low == pytest.approx(0.205)
    assert high == pytest.approx(0.395)


def test_the_refitted_readout_is_never_the_null() -> None:
    built = verdict_of(0.9, refitted_readout=sample(0.99), frozen_input=sample(0.4))
    assert built.strongest == "frozen_input"
    assert built.excess() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("built", "said", "unsaid"),
    [
        (
            verdict_of(0.99, own=0.003, frozen_input=sample(0.95, 0.97)),
            [
                "below chance",
                "frozen_input (0.960), is small: +0.030, +0.02",
                "without any learned wave",
                "residual is 0.40 (frozen_input 0.60, untrained 1.60) rad",
            ],
            ["large"],
        ),
        (
            verdict_of(0.8, frozen_input=sample(0.85)),
            ["chance is 0.043", "is nil: -0.050", "does not show"],
            ["large", "small", "below chance"],
        ),
        (
            verdict_of(0.6, frozen_input=sample(0.9)),
            ["is negative: -0.300", "does not show"],
            ["large", "small", "nil"],
        ),
        (
            verdict_of(0.6, frozen_input=sample(0.1, 0.2, 0.9)),
            ["is within the spread of the control: +0.200", "does not show"],
            ["large", "small", "nil"],
        ),
        (
            verdict_of(0.99, frozen_input=sample(0.2, 0.3)),
            ["is large: +0.740", "chance is 0.043"],
            ["small", "below chance", "does not show"],
        ),
        (
            verdict_of(0.5, untrained=sample(0.45)),
            ["untrained (0.450), is small: +0.050"],
            ["without any learned wave"],
        ),
        (
            verdict_of(1.0, recipe=Recipe(output_phase="phase_sum")),
            ["this is a construction", "never evidence"],
            ["large", "small", "excess"],
        ),
    ],
    ids=["small", "nil", "negative", "spread", "large", "other-null", "phase-sum"],
)
def test_conclusions(built: Verdict, said: list[str], unsaid: list[str]) -> None:
    text = built.conclusion()
    for words in said:
        assert words in text
    for words in unsaid:
        assert words not in text


def test_below_chance_is_judged_on_held_out_pairs_or_on_all_if_there_are_none() -> None:
    built = verdict_of(0.99)
    own = Sample(torch.tensor([0.7]), torch.tensor([0.001]), torch.tensor([0.7]))
    effect = Sample(torch.tensor([0.9]), torch.tensor([0.8]), torch.tensor([0.9]))
    text = replace(built, own=own, effect=effect).conclusion()
    assert "On held-out pairs the network itself scores 0.001 (below chance), and 0.800" in text
    own = replace(own, held_out=torch.tensor([math.nan]))
    text = replace(built, own=own, effect=effect).conclusion()
    assert "On all pairs the network itself scores 0.700 (chance is 0.043), and 0.900" in text
    assert replace(built, own=own).to_dict()["own"]["held_out_mean"] is None


def test_to_dict_is_json_and_the_same_numbers(verdict: Verdict) -> None:
    read = json.loads(json.dumps(verdict.to_dict()))
    assert read["task"] == {"p": P, "operation": "add"}
    assert read["recipe"]["frequency"] == "joint"
    assert read["effect"]["mean"] == verdict.effect.mean
    assert read["chance"] == 1 / P
    assert read["strongest_control"] == verdict.strongest
    assert read["excess"] == verdict.excess()
    assert read["excess_interval"] == list(verdict.excess_interval())
    assert read["conclusion"] == verdict.conclusion()
    for name, control in verdict.controls.items():
        accuracy = control.accuracy.numpy()
        found = read["controls"][name]
        assert found["mean"] == pytest.approx(accuracy.mean())
        assert (found["min"], found["max"]) == (accuracy.min(), accuracy.max())
        assert found["draws"] == len(accuracy)
        assert found["held_out_mean"] == pytest.approx(float(control.held_out.mean()))


def test_the_table_shows_every_row(verdict: Verdict) -> None:
    lines = str(verdict).splitlines()
    assert len(lines) <= 16
    for name, control in {
        "own": verdict.own,
        "idealised": verdict.effect,
        **verdict.controls,
    }.items():
        row = next(line for line in lines if line.split()[0] == name)
        assert f"{control.mean:.3f}" in row
    assert "nonzero" not in lines[1]
    assert f"{verdict.excess():+.3f}" in str(verdict)


def test_multiplication_has_its_covered_accuracy_apart() -> None:
    task = ModularTask(11, "multiply")
    model = HookedMLP(p=11, d_mlp=32, seed=0)
    verdict = evaluate(model, task.split(0.7), draws=2)
    ideal = ideal_of(model.weights().detach(), task, Recipe())
    nonzero = (task.tokens > 0).all(1)
    assert int(nonzero.sum()) == 100
    found = share_right(ideal, task.tokens[nonzero], task.labels[nonzero])
    assert float(verdict.effect.covered) == pytest.approx(found, abs=0.011)
    assert verdict.effect.mean == pytest.approx(
        share_right(ideal, task.tokens, task.labels), abs=0.01
    )
    assert "nonzero" in str(verdict).splitlines()[1]
    assert verdict.to_dict()["effect"]["covered_mean"] == float(verdict.effect.covered)


def test_pooled_excess_is_the_mean_over_runs_with_its_bootstrap() -> None:
    effects = np.array([0.9, 0.95, 0.7, 0.99, 0.85])
    frozen = [(0.5, 0.7), (0.6, 0.6), (0.5, 0.5), (0.2, 0.4), (0.55, 0.65)]
    runs = [
        verdict_of(float(effect), frozen_input=sample(*values))
        for effect, values in zip(effects, frozen, strict=True)
    ]
    excess = effects - np.mean(frozen, axis=1)
    mean, low, high = pooled_excess(runs)
    assert mean == pytest.approx(excess.mean())
    assert excess.min() < low < mean < high < excess.max()
    # The percentile bootstrap written out.
    rng = np.random.default_rng(1)
    means = excess[rng.integers(5, size=(20_000, 5))].mean(1)
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.02)
    assert pooled_excess(runs, seed=3) == pooled_excess(runs, seed=3)
    other, *_ = pooled_excess(runs, "random_phase")
    assert other == pytest.approx(effects.mean() - 0.04)
    with pytest.raises(ValueError, match="1 verdicts: at least two"):
        pooled_excess(runs[:1])
    with pytest.raises(ValueError, match="different recipes"):
        pooled_excess([runs[0], verdict_of(0.9, recipe=Recipe(input_waveform="cosine"))])


def test_errors(trained) -> None:
    model, split, _ = trained
    with pytest.raises(ValueError, match="draws=0 must be at least 1"):
        evaluate(model, split, draws=0)
    with pytest.raises(ValueError, match="fit='lasso' is unknown"):
        evaluate(model, split, fit="lasso")
    with pytest.raises(ValueError, match="the model has p=23 and the task p=11"):
        evaluate(model, ModularTask(11).split())
    with pytest.raises(ValueError, match="no coordinates"):
        evaluate(model, ModularTask(P, "a**2 + a*b + b**2").split())
    with pytest.raises(ValueError, match=r"initial has W_in \[2, 23, 64\]"):
        evaluate(model, split, draws=1, initial=HookedMLP(p=P, d_mlp=64).weights())


@pytest.mark.slow
def test_frozen_input_by_ridge_and_by_training_agree(scored) -> None:
    """The hard control does not hang on how its read-out is fitted (p=59, d=512, 30% noise).

    Measured, means over two draws: joint .953 by ridge, .905 by training; per_matrix .020, .019.
    """
    task = ModularTask(59)
    split = task.split(0.5, label_noise=0.3, seed=0)
    model = HookedMLP(p=59, d_mlp=512, seed=0)  # frozen inputs are its initial ones: no training
    config = TrainConfig(steps=2000, eval_every=2000, checkpoint_every=2000, progress=False)
    joint, per_matrix = {}, {}
    for fit in ("ridge", "train"):
        scored.clear()
        verdict = evaluate(model, split, draws=2, fit=fit, train_config=config)
        joint[fit] = verdict.controls["frozen_input"].mean
        ideal = ideal_of(scored[2][0], task, Recipe(frequency="per_matrix"))
        per_matrix[fit] = float(measures.accuracy(ideal, task).mean())
    assert joint["ridge"] == pytest.approx(joint["train"], abs=0.1)
    assert min(joint.values()) > 0.8
    assert max(per_matrix.values()) <= 0.1


@pytest.mark.slow
def test_readouts_are_fitted_whatever_the_thread_count():
    """Batched LU hangs after set_num_threads with some torch builds, so this runs in a child."""
    program = (
        "import torch\nfrom grok_interp import controls, tasks\n"
        "from grok_interp.weights import MLPWeights\n"
        "torch.set_num_threads(2)\n"
        "task = tasks.ModularTask(23)\n"
        "weights = MLPWeights(torch.randn(3, 2, 23, 512), torch.randn(3, 512, 23))\n"
        "fitted = controls.ridge_readout(weights, task.tokens, task.labels)\n"
        "assert bool(fitted.W_out.isfinite().all())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_readouts_are_fitted_to_the_noisy_labels(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    model, split, _ = trained
    noisy = replace(split, train_labels=(split.train_labels + 1) % P)
    seen = []

    def spy(weights: MLPWeights, tokens: Tensor, labels: Tensor, ridge: float = 1e-3) -> MLPWeights:
        seen.append((tokens, labels))
        return ridge_readout(weights, tokens, labels, ridge)

    monkeypatch.setattr(controls, "ridge_readout", spy)
    evaluate(model, noisy, draws=1)
    assert len(seen) == 2
    for tokens, labels in seen:
        assert torch.equal(tokens, split.train_tokens)
        assert torch.equal(labels, noisy.train_labels)
    with pytest.raises(ValueError, match=r"ridge=0\.0 must be positive"):
        ridge_readout(model.weights(), split.train_tokens, split.train_labels, 0.0)


def test_structure_stands_beside_its_controls(trained, verdict: Verdict) -> None:
    model, split, _ = trained
    frozen = ridge_readout(HookedMLP(model.cfg).weights(), split.train_tokens, split.train_labels)
    own, fitted = verdict.structure["own"], verdict.structure["frozen_input"]
    start = neurons.extract(frozen, split.task).median_abs_phase_residual
    assert fitted.median_abs_phase_residual == pytest.approx(float(start), abs=0.25)
    assert own.median_abs_phase_residual < fitted.median_abs_phase_residual
    assert (
        fitted.median_abs_phase_residual < verdict.structure["untrained"].median_abs_phase_residual
    )
