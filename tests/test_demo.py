"""The main job: every number of summary.json again from the saved weights.

By numpy where that says more than running the library again; the random draws of the controls come
back from their seed, and one of them by hand.
"""

import html
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from grok_interp import controls, demo, hooked_mlp, idealize, measures, neurons, tasks
from grok_interp.config import DemoConfig, Recipe

SMALL = {"p": 11, "d_mlp": 48, "clean_steps": 150, "noisy_steps": 60, "draws": 3}
CONTROLS = {
    "untrained",
    "frozen_input",
    "refitted_readout",
    "permuted_output",
    "permuted_within_frequency",
    "random_phase",
    "wrong_task",
    "wrong_coordinates",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    demo.run(DemoConfig(out=out, seed=4, **SMALL))
    return out


def dominant(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power [3, k, d], and X_k, of columns [3, p, d] by numpy's FFT, the constant left out."""
    transform = np.fft.rfft(columns, axis=1)[:, 1:]
    return np.abs(transform) ** 2, transform, columns - columns.mean(1, keepdims=True)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def frozen_input_by_hand(initial, split, task) -> float:
    """Joint-mode idealised accuracy of the run's own initial W_in with a ridge read-out, in numpy."""
    p, W_in = task.p, initial.W_in.detach().double().numpy()
    tokens, labels = split.train_tokens.numpy(), split.train_labels.numpy()
    H = np.maximum(W_in[0][tokens[:, 0]] + W_in[1][tokens[:, 1]], 0)
    gram = H.T @ H
    gram += 1e-3 * np.mean(np.diag(gram)) * np.eye(len(gram))
    W_out = np.linalg.solve(gram, H.T @ (np.eye(p)[labels] - 1 / p))
    columns = np.stack([W_in[0], W_in[1], W_out.T])
    power, transform, _ = dominant(columns)
    k = (power / power.sum(1, keepdims=True)).prod(0).argmax(0)
    at_k = transform[:, k, np.arange(len(k))]
    t = (k + 1) * np.arange(p)[:, None] / p + np.angle(at_k)[:, None] / (2 * np.pi)
    wave = np.cos(2 * np.pi * t) * (2 * np.abs(at_k) / p)[:, None]
    square = np.pi / 4 * np.sign(np.cos(2 * np.pi * t)) * (2 * np.abs(at_k) / p)[:, None]
    pairs = task.tokens.numpy()
    post = np.maximum(square[0][pairs[:, 0]] + square[1][pairs[:, 1]], 0)
    return float(np.mean((post @ wave[2].T).argmax(1) == task.labels.numpy()))


def recompute_and_compare(out: Path) -> dict:
    """Hold summary.json against numbers recomputed from the saved weights; return it."""
    summary = json.loads((out / "summary.json").read_text())
    config = summary["config"]
    p, seed, draws = config["p"], config["seed"], config["draws"]
    task = tasks.ModularTask(p)
    for name in ("clean", "noisy"):
        found = summary[name]
        model = hooked_mlp.HookedMLP.from_pretrained(out / name)
        split = task.split(config["train_fraction"], config["label_noise"][name], seed)

        # Own accuracy on dense one-hots.
        W_in, W_out = model.W_in.detach().double().numpy(), model.W_out.detach().double().numpy()
        one_hot = np.eye(p)

        def own(tokens, labels, W_in=W_in, W_out=W_out, one_hot=one_hot):
            pairs = np.concatenate([one_hot[tokens[:, 0]], one_hot[tokens[:, 1]]], 1)
            logits = np.maximum(pairs @ W_in.reshape(2 * p, -1), 0) @ W_out
            return np.mean(logits.argmax(1) == labels.numpy())

        assert found["test_accuracy"] == pytest.approx(
            own(split.test_tokens, split.test_labels), abs=2e-3
        )
        assert found["train_accuracy"] == pytest.approx(
            own(split.train_tokens, split.train_labels), abs=2e-3
        )

        # Idealised accuracy through the hooks, not through the ideal weights themselves.
        for mode in ("per_matrix", "input", "joint"):
            with model.idealized(idealize.build(neurons.extract(model, task, mode))):
                again = float(measures.accuracy(model, task))
            assert found["ideal_accuracy"][mode] == pytest.approx(again, abs=1e-9), mode

        assert set(found["controls"]) == CONTROLS
        for mode in ("per_matrix", "joint"):
            verdict = controls.evaluate(model, split, Recipe(frequency=mode), draws, seed=seed)
            for control, sample in verdict.controls.items():
                assert found["controls"][control][mode] == {
                    "mean": pytest.approx(float(np.mean(sample.accuracy.numpy()))),
                    "min": pytest.approx(float(np.min(sample.accuracy.numpy()))),
                    "max": pytest.approx(float(np.max(sample.accuracy.numpy()))),
                    "draws": 1 if control in ("refitted_readout", "wrong_task") else draws,
                }
            assert found["excess_over_frozen_input"][mode] == pytest.approx(
                found["ideal_accuracy"][mode] - found["controls"]["frozen_input"][mode]["mean"]
            )

        columns = np.stack([W_in[0], W_in[1], W_out.T])
        power, transform, centred = dominant(columns)
        share = power.max(1).sum(-1) / power.sum((1, 2))
        assert found["power_share"] == pytest.approx(share[:2].mean(), rel=1e-4)
        initial = hooked_mlp.HookedMLP(p=p, d_mlp=config["d_mlp"], seed=seed).weights()
        first = dominant(initial.columns().detach().double().numpy())[0]
        # One of the draws behind the mean is the run's own start; all are alike.
        own_share = (first.max(1).sum(-1) / first.sum((1, 2)))[:2].mean()
        untrained = found["structure_of_controls"]["untrained"]
        assert untrained["power_share"] == pytest.approx(own_share, abs=0.05)
        by_itself = power.argmax(1)
        agree = np.mean((by_itself[0] == by_itself[1]) & (by_itself[1] == by_itself[2]))
        assert found["agreement"] == pytest.approx(agree, abs=1e-6)

        # One draw of the frozen-input control by normal equations and numpy's FFT.
        accuracy = frozen_input_by_hand(initial, split, task)
        drawn = found["controls"]["frozen_input"]["joint"]
        assert drawn["min"] - 0.02 <= accuracy <= drawn["max"] + 0.02

        k = (power / power.sum(1, keepdims=True)).prod(0).argmax(0)
        at_k = transform[:, k, np.arange(len(k))]
        phase, amplitude = np.angle(at_k), 2 * np.abs(at_k) / p
        residual = np.angle(np.exp(1j * (phase[0] + phase[1] - phase[2])))
        assert found["median_abs_phase_residual"] == pytest.approx(
            weighted_median(np.abs(residual), np.exp(np.log(amplitude).mean(0))), abs=1e-3
        )

        t = ((k + 1) * np.arange(p)[:, None] / p)[None] + phase[:, None] / (2 * np.pi)
        cosine = np.cos(2 * np.pi * t)
        for key, wave in (("r2_cosine", cosine), ("r2_square", np.pi / 4 * np.sign(cosine))):
            wave = wave * amplitude[:, None]
            wave = wave - wave.mean(1, keepdims=True)
            r2 = 1 - ((centred - wave) ** 2).sum(1) / (centred**2).sum(1)
            medians = np.sort(r2[:2].ravel())
            assert found[key] == pytest.approx(medians[(len(medians) - 1) // 2], abs=2e-3)
        assert found["chance"] == 1 / p
    return summary


def test_summary_is_recomputed_from_saved_weights(small: Path) -> None:
    recompute_and_compare(small)


def test_report_answers_for_both_networks(small: Path) -> None:
    page = re.sub(r"</?abbr.*?>", "", (small / "report.html").read_text())
    summary = json.loads((small / "summary.json").read_text())
    for name, noise in (("clean", "0%"), ("noisy", "30%")):
        assert f"<h3>{name}: {noise} of the training labels redrawn</h3>" in page
        assert len(summary[name]["answers"]) == 4
        for answer in summary[name]["answers"].values():
            assert html.escape(answer) in page


def test_an_unusable_place_is_refused_before_training(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(demo, "_run", None)
    with pytest.raises(FileExistsError):
        demo.run(DemoConfig(out=tmp_path / "file", **SMALL))


def test_nothing_but_the_results_is_left(small: Path) -> None:
    assert {path.name for path in small.iterdir()} == {
        "summary.json",
        "report.html",
        "clean",
        "noisy",
    }


@pytest.mark.slow
def test_three_seeds_stay_within_the_bounds(tmp_path: Path) -> None:
    """What must be seen at p=59, d_mlp=512 (bounds around the measured values in each comment)."""
    noisy_ideal = set()
    for seed in (1, 2, 3):
        out = tmp_path / str(seed)
        demo.run(DemoConfig(out=out, seed=seed))
        summary = recompute_and_compare(out)
        clean, noisy = summary["clean"], summary["noisy"]
        assert clean["test_accuracy"] >= 0.99
        assert min(clean["ideal_accuracy"].values()) >= 0.99
        assert noisy["test_accuracy"] <= 0.02
        assert noisy["ideal_accuracy"]["joint"] >= 0.98
        assert noisy["ideal_accuracy"]["per_matrix"] >= 0.45
        for name in ("untrained", "permuted_output", "random_phase"):
            assert noisy["controls"][name]["joint"]["max"] <= 0.12, name
        frozen = noisy["controls"]["frozen_input"]
        assert 0.85 <= frozen["joint"]["mean"] <= 1
        assert frozen["per_matrix"]["mean"] <= 0.10
        assert noisy["excess_over_frozen_input"]["per_matrix"] > 0.35
        assert abs(noisy["excess_over_frozen_input"]["joint"]) < 0.1
        assert "too small to be evidence" in noisy["conclusion"].split("per_matrix")[0]
        assert "large" in noisy["conclusion"].split("per_matrix")[1]
        others = noisy["structure_of_controls"]
        assert noisy["power_share"] > others["untrained"]["power_share"] + 0.02
        assert noisy["median_abs_phase_residual"] < math.pi / 8
        residuals = [
            others[name]["median_abs_phase_residual"] for name in ("frozen_input", "untrained")
        ]
        assert noisy["median_abs_phase_residual"] < residuals[0] < residuals[1]
        noisy_ideal.add(noisy["ideal_accuracy"]["per_matrix"])
    assert len(noisy_ideal) == 3
