"""The table along a run against each number by itself, and onsets."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from grok_interp import controls, dynamics, idealize, measures, neurons, training
from grok_interp.config import Recipe, TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.trajectory import Trajectory

P, D, DRAWS = 13, 32, 3


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    split = ModularTask(P).split(0.6, label_noise=0.2, seed=1)
    config = TrainConfig(steps=120, lr=0.01, checkpoint_every=40, progress=False)
    return training.train(
        HookedMLP(p=P, d_mlp=D, seed=3), split, config, out=tmp_path_factory.mktemp("run") / "run"
    )


@pytest.fixture(scope="module")
def table(trajectory: Trajectory) -> pd.DataFrame:
    return dynamics.table(trajectory, draws=DRAWS)


@pytest.mark.parametrize("step", [0, 80, 120])
def test_each_column_is_that_number_of_that_checkpoint(
    trajectory: Trajectory, table: pd.DataFrame, step: int
) -> None:
    model, split = trajectory.at(step), trajectory.split
    row, task = table.loc[step], trajectory.split.task
    assert list(table.index) == [0, 40, 80, 120]
    assert set(table) == set(dynamics.DEFINITIONS)
    assert row["accuracy"] == pytest.approx(float(measures.accuracy(model, task)))
    assert row["test_accuracy"] == pytest.approx(float(measures.accuracy(model, split.test)))
    assert row["train_accuracy"] == pytest.approx(float(measures.accuracy(model, split.train)))
    for mode in ("joint", "input", "per_matrix"):
        read = neurons.extract(model, task, mode)
        with model.idealized(idealize.build(read)):
            assert row[f"idealised_{mode}"] == pytest.approx(float(measures.accuracy(model, task)))
        verdict = controls.evaluate(trajectory[-1], split, Recipe(frequency=mode), DRAWS)
        frozen = verdict.controls["frozen_input"].mean
        assert row[f"excess_{mode}"] == pytest.approx(row[f"idealised_{mode}"] - frozen)
    joint = neurons.extract(model, task)
    by_itself = neurons.extract(model, task, "per_matrix")
    assert row["ipr"] == pytest.approx(float(joint.ipr.mean()), rel=1e-5)
    quartiles = np.quantile(joint.ipr.mean(0), [0.25, 0.75])
    np.testing.assert_allclose(row[["ipr_lower", "ipr_upper"]].astype(float), quartiles, rtol=1e-5)
    assert row["phase_residual"] == pytest.approx(float(joint.median_abs_phase_residual), rel=1e-5)
    assert row["agreement"] == pytest.approx(float(by_itself.agrees.double().mean()))
    for i, name in enumerate(("a", "b", "out")):
        assert row[f"power_share_{name}"] == pytest.approx(float(by_itself.kept_power[i]), rel=1e-5)
    for name in ("r2_square", "r2_cosine", "plateau_share"):
        values = getattr(joint, name)[:2].flatten()
        assert row[name] == pytest.approx(float(values.nanmedian()), rel=1e-4)
    assert row["r2_cosine_out"] == pytest.approx(float(joint.r2_cosine[2].nanmedian()), rel=1e-4)
    W_in, start = (each.W_in.detach().double().flatten() for each in (model, trajectory[0]))
    assert row["feature_movement"] == pytest.approx(
        float(W_in @ start / W_in.norm() / start.norm())
    )
    assert row["weight_norm_W_in"] == pytest.approx(float(W_in.norm()), rel=1e-6)
    total = math.hypot(row["weight_norm_W_in"], row["weight_norm_W_out"])
    assert row["weight_norm"] == pytest.approx(total)


def test_chunks_change_nothing(
    trajectory: Trajectory, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamics, "CHUNK_ELEMENTS", 1)
    pd.testing.assert_frame_equal(dynamics.table(trajectory, draws=DRAWS), table, rtol=1e-5)


def test_weights_scaled_by_hand_start_the_control_where_the_run_did(trajectory: Trajectory) -> None:
    split = trajectory.split
    model = HookedMLP(p=P, d_mlp=D, seed=3)
    with torch.no_grad():
        model.W_in.mul_(5)
    run = training.train(model, split, steps=2, progress=False)
    assert dynamics.start_is_unknown(run)
    assert not dynamics.start_is_unknown(trajectory)
    scaled = training.train(
        HookedMLP(p=P, d_mlp=D, seed=3, init_scale=5.0), split, steps=2, progress=False
    )
    assert not dynamics.start_is_unknown(scaled)
    for one in (run, scaled):
        frozen = dynamics.frozen_input(one, 2)
        torch.testing.assert_close(frozen.W_in[0], one[0].W_in.detach())
        assert not torch.equal(frozen.W_in[1], frozen.W_in[0])


def test_a_start_without_learning_has_no_excess_that_counts(table: pd.DataFrame) -> None:
    assert table["feature_movement"].iloc[0] == pytest.approx(1)
    assert table["feature_movement"].is_monotonic_decreasing
    assert table.loc[0, "excess_joint"] < 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.95, 0.97, 1.0], (10, False)),
        ([0.95, 0.5, 0.95, 1.0], (20, False)),
        ([1.0, 1.0, 1.0, 1.0], (0, False)),
        ([0.1, 0.2, 0.95, 0.9], (30, True)),
        ([0.95, np.nan, 0.95, 0.95], (20, False)),
        ([np.nan] * 4, (30, True)),
    ],
)
def test_onset_is_the_first_step_from_which_on_the_level_is_exceeded(values, expected) -> None:
    metric = pd.Series(values, index=pd.Index([0, 10, 20, 30], name="step"))
    found = dynamics.onset(metric, 0.9)
    assert (found.step, found.censored) == expected
    assert ("not by step" in str(found)) == found.censored


def test_shared_operands_count_once_in_norms() -> None:
    model = HookedMLP(p=P, d_mlp=D, seed=3, tied_operands=True)
    split = ModularTask(P).split(0.6, seed=1)
    run = training.train(model, split, steps=4, eval_every=2, checkpoint_every=2, progress=False)
    table = dynamics.table(run, draws=2)
    for name in ("weight_norm", "weight_norm_W_in", "weight_norm_W_out"):
        np.testing.assert_allclose(table[name], run.metrics[name], rtol=1e-6)


def test_without_its_start_a_run_has_no_control(trajectory: Trajectory) -> None:
    history = training.InMemory()
    history.checkpoint(40, trajectory.history.read(40))
    with pytest.raises(ValueError, match="first readable checkpoint is of step 40"):
        dynamics.table(replace(trajectory, history=history))


def test_errors(trajectory: Trajectory) -> None:
    with pytest.raises(ValueError, match="has no values"):
        dynamics.onset(pd.Series([], dtype=float), 0.5)
    with pytest.raises(ValueError, match="draws=0"):
        dynamics.table(trajectory, draws=0)
    empty = replace(trajectory, history=training.InMemory())
    with pytest.raises(ValueError, match="no checkpoints"):
        dynamics.table(empty)


def test_a_directory_and_memory_give_one_table(trajectory: Trajectory, table: pd.DataFrame) -> None:
    again = Trajectory.load(Path(trajectory.path))
    pd.testing.assert_frame_equal(dynamics.table(again, draws=DRAWS), table)
