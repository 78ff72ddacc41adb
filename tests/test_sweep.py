"""Sweeps: what the runs are, that each is measured as it would be alone, and that all are stored once."""

import dataclasses
import errno
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import hypothesis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_interp import cli, dynamics, idealize, neurons, outcomes, sweep, training
from grok_interp.config import (
    HookedMLPConfig,
    MeasureConfig,
    Recipe,
    SplitConfig,
    SweepConfig,
    SweepRun,
    TaskConfig,
    TrainConfig,
    read_toml,
)
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.sweep import executors, jobs
from grok_interp.sweep import store as stores
from grok_interp.tasks import ModularTask
from grok_interp.trajectory import Trajectory

P, D = 7, 8


def config(**fields: Any) -> SweepConfig:
    """A sweep of small runs."""
    settings: dict[str, Any] = {
        "task": TaskConfig(p=P),
        "split": SplitConfig(train_fraction=0.6, label_noise=0.2),
        "model": HookedMLPConfig(d_mlp=D),
        "train": TrainConfig(steps=10, eval_every=5, lr=1e-2),
        "measure": MeasureConfig(draws=2),
    }
    return SweepConfig(**(settings | fields))


def same_numbers(first: pd.DataFrame, second: pd.DataFrame, **tolerance: float) -> None:
    """Two stores hold the same runs with the same numbers, bit for bit; seconds and files may differ."""
    apart = ["seconds", "job", "versions"]
    pd.testing.assert_frame_equal(
        first.drop(columns=apart),
        second.drop(columns=apart),
        check_exact=not tolerance,
        **tolerance,
    )


REGROUPED = {"rtol": 1e-4, "atol": 1e-6}
"""Numbers of runs that trained in groups of other sizes, which changes rounding."""


def quick(trajectory: Trajectory, measure: MeasureConfig) -> dict[str, Any]:
    """What takes no time to measure, and tells runs apart."""
    W_in = float(trajectory[-1].W_in.detach().double().sum())
    record = {name: kind() for name, kind in outcomes.COMPARISON.items()} | {"mean": W_in}
    return {"step": trajectory.steps[-1], "weight_norm_W_in": W_in, "comparisons": [record]}


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what becomes of numbers, whatever they are."""
    monkeypatch.setattr(outcomes, "of", quick)


def files_in(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())


# What the runs are -------------------------------------------------------------------------------


def test_a_sweep_is_the_product_of_runs_grid_and_seeds_the_last_moving_fastest() -> None:
    found = config(
        runs=({"task.p": 5}, {"task.p": 11, "model.d_mlp": 4}),
        grid={"split.label_noise": [0.0, 0.5], "train": {"weight_decay": np.array([1, 2])}},
        seeds=2,
    ).expanded
    expected = [
        (p, width, noise, decay, seed)
        for p, width in ((5, D), (11, 4))
        for noise in (0.0, 0.5)
        for decay in (1, 2)
        for seed in (0, 1)
    ]
    assert [
        (r.task.p, r.model.d_mlp, r.split.label_noise, r.train.weight_decay, r.model.seed)
        for r in found
    ] == expected
    assert all(run.model.p == run.task.p for run in found)
    assert all(run.split.seed == run.model.seed == run.train.seed for run in found)
    assert all(run.split.train_fraction == 0.6 and run.train.lr == 1e-2 for run in found)
    assert not any(run.train.progress for run in found)


def test_equal_runs_are_one() -> None:
    assert len(config(grid={"train.weight_decay": [1, 1.0, 2]}).expanded) == 2
    assert len(config(runs=({"task.p": P}, {})).expanded) == 1
    assert len(config().expanded) == 1


OTHER: dict[str, dict[str, Any]] = {
    "task": {"p": 11, "operation": "subtract"},
    "split": {"train_fraction": 0.5, "label_noise": 0.3, "seed": 1, "symmetric": True},
    "model": {
        "d_mlp": 9,
        "act_fn": "gelu",
        "bias_in": True,
        "bias_out": True,
        "tied_operands": True,
        "output_scale": 2.0,
        "init": "normal",
        "init_scale": 2.0,
        "seed": 1,
        "dtype": "float64",
        "device": "cuda",
    },
    "train": {
        "steps": 11,
        "lr": 2e-2,
        "weight_decay": 2.0,
        "optimizer": "sgd",
        "betas": (0.9, 0.99),
        "momentum": 0.5,
        "loss": "mse",
        "gradient": "grokfast",
        "grokfast_alpha": 0.5,
        "grokfast_lambda": 1.0,
        "constraint": "sphere",
        "warmup_steps": 3,
        "batch_size": 9,
        "seed": 1,
        "matmul_precision": "high",
        "trainable": ("W_out",),
        "eval_every": 6,
        "checkpoint_every": 5,
        "checkpoint_steps": "log",
        "stop": "test_accuracy > 1",
        "stop_evaluations": 2,
    },
    "measure": {
        "frequencies": ("joint",),
        "input_waveforms": ("cosine",),
        "output_waveforms": ("square",),
        "replaced": ("W_in",),
        "draws": 3,
        "all_controls": True,
        "along": True,
    },
}
"""Another value of every setting; model.p follows the task, and no result depends on the bar."""


def changed(run: SweepRun, **parts: dict[str, Any]) -> SweepRun:
    settings = {
        part: dataclasses.replace(getattr(run, part), **values) for part, values in parts.items()
    }
    if "p" in parts.get("task", {}):
        settings["model"] = dataclasses.replace(run.model, p=parts["task"]["p"])
    return dataclasses.replace(run, **settings)


def test_a_run_has_another_name_if_any_setting_is_another() -> None:
    (run,) = config().expanded
    left_out = {("model", "p"), ("train", "progress")}
    fields = {
        (part.name, field.name)
        for part in dataclasses.fields(SweepRun)
        for field in dataclasses.fields(getattr(run, part.name))
    }
    assert fields - left_out == {(part, name) for part in OTHER for name in OTHER[part]}
    names = {
        changed(run, **{part: {name: value}}).name
        for part in OTHER
        for name, value in OTHER[part].items()
    }
    assert len(names | {run.name}) == len(fields) - len(left_out) + 1
    assert changed(run, train={"progress": True}).name == run.name


@hypothesis.settings(max_examples=25)
@given(st.sampled_from(["lr", "weight_decay", "grokfast_lambda"]), st.integers(0, 2**40))
def test_a_number_names_a_run_whether_it_is_an_int_or_a_float(name: str, value: int) -> None:
    (run,) = config().expanded
    whole, decimal = (changed(run, train={name: each}) for each in (value, float(value)))
    assert whole.name == decimal.name
    assert changed(run, train={name: np.nextafter(float(value), np.inf)}).name != whole.name


def test_a_toml_file_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(
        """
        seeds = 2
        [task]
        p = 7
        [split]
        train_fraction = 0.6
        label_noise = 0.2
        [model]
        d_mlp = 8
        [train]
        steps = 10
        eval_every = 5
        lr = 0.01
        [measure]
        draws = 2
        [grid]
        measure.replaced = [["all"], ["W_in", "W_out"]]
        train.betas = [[0.9, 0.98], [0.5, 0.9]]
        train.checkpoint_steps = [[1, 2], "log"]
        [[runs]]
        task.operation = "subtract"
        [[runs]]
        """
    )
    grid = {
        "measure.replaced": [("all",), ("W_in", "W_out")],
        "train.betas": [(0.9, 0.98), (0.5, 0.9)],
        "train.checkpoint_steps": [(1, 2), "log"],
    }
    expected = config(seeds=2, grid=grid, runs=({"task.operation": "subtract"}, {}))
    assert read_toml(SweepConfig, file).expanded == expected.expanded
    assert len(expected.expanded) == 32


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"grid": {"foo.bar": [1]}}, ["'foo.bar' is unknown", "measure, model, split, task"]),
        ({"grid": {"task.q": [1]}}, ["'task.q' is unknown", "task has operation, p"]),
        ({"grid": {"split": [1]}}, ["'split' is unknown", "split has label_noise"]),
        ({"grid": {"task.p": []}}, ["task.p=[]", "one or more values"]),
        ({"grid": {"task.p": 5}}, ["task.p=5", "list of one or more values"]),
        ({"grid": {"task.operation": "add"}}, ["task.operation='add'", "list"]),
        ({"grid": 3}, ["grid=3", "by setting"]),
        ({"runs": 3}, ["runs=3", "list of tables"]),
        ({"runs": (3,)}, ["runs=(3,)", "list of tables"]),
        ({"seeds": 0}, ["seeds=0", "at least 1"]),
        ({"seeds": True}, ["seeds=True", "int"]),
        ({"grid": {"task.p": [5]}, "runs": ({"task.p": 5},)}, ["task.p is set twice", "leave"]),
        ({"grid": {"model.seed": [1]}, "seeds": 2}, ["model.seed is set twice", "leave"]),
        ({"runs": ({"train.seed": 1},), "seeds": 2}, ["train.seed is set twice", "leave"]),
        (
            {"grid": {"task.p": [5], "task": {"p": [7]}}},
            ["task.p is set twice", "leave one of them out"],
        ),
        ({"grid": {"split.label_noise": [0, 1.5]}}, ["run with split.label_noise=1.5", "[0, 1]"]),
        ({"grid": {"train.betas": [0.9]}}, ["run with train.betas=0.9", "two numbers"]),
        ({"grid": {"model.p": [5]}}, ["model.p=5 and task.p=7 differ", "leave out model.p"]),
        ({"model": HookedMLPConfig(p=11)}, ["model.p=11 and task.p=7 differ", "leave out"]),
        ({"grid": {"model.act_fn": ["custom"]}}, ["act_fn='custom'", "use a named activation"]),
        ({"grid": {"model.seed": [2**63]}}, [f"model.seed={2**63}", "64 bits"]),
        ({"grid": {"train.eval_every": [10**20]}}, [f"train.eval_every={10**20}", "64 bits"]),
        ({"runs": ({"task.p": 5, "task": {"p": 7}},)}, ["task.p is set twice", "leave"]),
        ({"split": SplitConfig(seed=None)}, ["split.seed", "must be ints", "repeated"]),
    ],
)
def test_a_sweep_that_cannot_be_says_what_and_why(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        config(**fields)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frequencies": "joint"}, ["frequencies='joint'", "a list", "'per_matrix'"]),
        ({"frequencies": ()}, ["frequencies=()", "one or more"]),
        ({"input_waveforms": ("saw",)}, ["input_waveforms='saw'", "'trapezoid'"]),
        ({"output_waveforms": ("sign",)}, ["output_waveforms='sign'", "'cosine'"]),
        ({"replaced": ("W_a",)}, ["replaced='W_a'", "'W_in'"]),
        ({"replaced": ("all", "W_in", "all")}, ["replaced=['all'", "'all' twice", "leave"]),
        ({"draws": 0}, ["draws=0", "at least 1"]),
        ({"along": 1}, ["along=1", "true or false"]),
        ({"all_controls": "yes"}, ["all_controls='yes'", "true or false"]),
    ],
)
def test_what_is_measured_is_checked(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        MeasureConfig(**fields)
    for word in words:
        assert word in str(error.value)


# Runs as jobs ------------------------------------------------------------------------------------


def test_jobs_hold_every_run_once_in_equal_parts_of_one_shape() -> None:
    runs = config(
        grid={
            "task.p": [5, 7],
            "model.act_fn": ["relu", "gelu"],
            "split.label_noise": [0.0, 0.5],
            "train.lr": [1e-2, 1e-3],
        },
        seeds=9,
    ).expanded
    planned = sweep.plan(runs)
    assert sorted(each.name for job in planned for each in job.runs) == sorted(r.name for r in runs)
    for job in planned:
        shapes = {(r.task.p, r.model.act_fn) for r in job.runs}
        assert len(shapes) == 1
        some = job.runs[::5]
        splits = [ModularTask(r.task).split(r.split) for r in some]
        models = [HookedMLP(r.model) for r in some]
        members = [
            training.make_job(m, s, r.train) for m, s, r in zip(models, splits, some, strict=True)
        ]
        assert len({member.shape for member in members}) == 1
    sizes = [len(job.runs) for job in planned]
    assert sizes == [12] * 12  # 36 of each of 4 shapes, at most 16 together
    assert [job.work for job in planned] == sorted((job.work for job in planned), reverse=True)
    assert planned[0].runs[0].task.p == 7


@hypothesis.settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 9))
def test_parts_differ_by_one_and_none_is_more_than_a_workers_share(
    count: int, workers: int
) -> None:
    (run,) = config().expanded
    runs = [changed(run, model={"seed": seed}) for seed in range(count)]
    sizes = [len(job.runs) for job in sweep.plan(runs, workers)]
    assert sum(sizes) == count
    assert max(sizes) <= jobs.MOST_TOGETHER
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= -(-count // workers)


def test_wide_networks_and_short_types_train_alone() -> None:
    wide = config(task=TaskConfig(p=59), model=HookedMLPConfig(d_mlp=512), seeds=3).expanded
    short = config(model=HookedMLPConfig(d_mlp=D, dtype="bfloat16"), seeds=3).expanded
    for runs in (wide, short):
        assert [len(job.runs) for job in sweep.plan(runs)] == [1, 1, 1]


VARIED = (
    {"split.train_fraction": 1.0},
    {"model.tied_operands": True, "train.stop": "train_accuracy >= 0.15"},
    {"split.label_noise": 0.0, "train.lr": 1e-3, "train.stop": "train_accuracy > 1"},
)
"""A run that holds nothing out, one that stops early, and one that goes another way."""


def test_a_run_in_a_job_is_the_same_run_trained_and_measured_alone(tmp_path: Path) -> None:
    double = HookedMLPConfig(d_mlp=D, dtype="float64")
    runs = config(runs=VARIED, seeds=2, model=double).expanded
    assert [len(job.runs) for job in sweep.plan(runs)] == [2, 2, 2]
    tally = sweep.run(runs, tmp_path, progress=False)
    assert (tally.finished, tally.failed, tally.skipped) == (6, {}, 0)
    frame = sweep.read(tmp_path).set_index("run")
    ended = {}
    for run in runs[1::2]:
        split = ModularTask(run.task).split(run.split)
        alone = training.train(HookedMLP(run.model), split, run.train)
        row, expected = frame.loc[run.name], outcomes.of(alone, run.measure)
        for name in {**outcomes.LAST, **outcomes.MILESTONES}:
            # Not bit for bit: how many train together changes rounding.
            assert row[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), name
        np.testing.assert_equal(list(row["comparisons"]), expected["comparisons"])
        assert row["reason"] == alone.ended
        ended[row["reason"]] = row["step"]
    assert ended.pop("all steps") == 10
    assert list(ended) == ["stop rule: train_accuracy >= 0.15"]


# What is measured --------------------------------------------------------------------------------


def trained(measure: MeasureConfig, **fields: Any) -> tuple[SweepRun, Any, pd.DataFrame]:
    """A run, trained, and its comparisons."""
    settings: dict[str, Any] = {
        "task": TaskConfig(p=11),
        "model": HookedMLPConfig(d_mlp=48),
        "train": TrainConfig(steps=60, eval_every=20, lr=2e-2),
        "measure": measure,
    }
    (run,) = config(**(settings | fields)).expanded
    split = ModularTask(run.task).split(run.split)
    trajectory = training.train(HookedMLP(run.model), split, run.train)
    return run, trajectory, pd.DataFrame(outcomes.of(trajectory, measure)["comparisons"])


def by_numpy(W_in: np.ndarray, W_out: np.ndarray) -> np.ndarray:
    """Whether relu(W_a[a] + W_b[b]) W_out is largest at a + b, for all pairs in order."""
    p = W_in.shape[1]
    a, b = np.divmod(np.arange(p * p), p)
    logits = np.maximum(W_in[0][a] + W_in[1][b], 0) @ W_out
    right = logits[np.arange(p * p), (a + b) % p][:, None] > logits
    return right.sum(1) == p - 1  # strictly above all others


def test_idealised_accuracies_are_those_of_waves_by_numpy() -> None:
    measure = MeasureConfig(frequencies=("per_matrix",), replaced=("all", "W_in", "W_out"), draws=1)
    _, trajectory, compared = trained(measure)
    own = trajectory[-1].weights()
    read = neurons.extract(own, trajectory.split.task, "per_matrix")
    k, phase, size = (x.detach().numpy() for x in (read.frequency, read.phase, read.amplitude))
    t = np.arange(11)
    waves = size[:, None] * np.cos(
        2 * np.pi * k[:, None] * t[:, None] / 11 + phase[:, None]
    )  # [matrix, p, neuron]
    square = np.pi / 4 * size[:2, None] * np.sign(waves[:2])
    W_in, W_out = own.W_in.detach().numpy(), own.W_out.detach().numpy()
    held_out = trajectory.split.test_index.numpy()
    expected = {
        "none": by_numpy(W_in, W_out),
        "all": by_numpy(square, waves[2].T),
        "W_in": by_numpy(square, W_out),
        "W_out": by_numpy(W_in, waves[2].T),
    }
    found = compared[compared["network"] == "trained"].set_index("replaced")
    assert sorted(found.index) == sorted(expected)
    for replaced, right in expected.items():
        assert found.loc[replaced, "mean"] == pytest.approx(right.mean(), abs=1e-12)
        assert found.loc[replaced, "held_out"] == pytest.approx(right[held_out].mean(), abs=1e-12)
    assert len({right.mean() for right in expected.values()}) == 4  # so no two can be mistaken


def test_idealised_accuracies_are_those_of_the_model_with_hooks() -> None:
    waves = ("square", "cosine")
    measure = MeasureConfig(
        input_waveforms=waves, output_waveforms=waves, replaced=("all", "W_in", "W_out"), draws=1
    )
    _, trajectory, compared = trained(measure)
    model, task = trajectory[-1], trajectory.split.task
    places = ["network", "frequency", "input_waveform", "output_waveform", "replaced"]
    found = compared.set_index(places)["mean"]
    assert len(found) == 2 * (1 + 2 * 4 * 3)
    assert found.index.is_unique
    for mode in ("per_matrix", "joint"):
        table = neurons.extract(model, task, mode)
        for first in waves:
            for second in waves:
                recipe = Recipe(frequency=mode, input_waveform=first, output_waveform=second)
                ideal = idealize.build(table, recipe)
                for part in measure.replaced:
                    chosen = ideal.select(matrices=None if part == "all" else part)
                    with model.intervened(chosen), torch.no_grad():
                        logits = model(task.tokens)
                    right = (logits.argmax(-1) == task.labels).double().mean()
                    key = ("trained", mode, first, second, part)
                    assert found.loc[key] == pytest.approx(float(right), abs=1e-12)


def test_the_frozen_input_control_has_the_runs_own_start_and_noisy_labels() -> None:
    measure = MeasureConfig(frequencies=("per_matrix",), draws=1)
    run, trajectory, compared = trained(measure, seeds=None)
    initial, split = HookedMLP(run.model).weights(), trajectory.split
    W_in = initial.W_in.detach().numpy()
    (frozen,) = dynamics.frozen_input(trajectory, 1).W_in.numpy()
    np.testing.assert_array_equal(frozen, W_in)
    # The read-out by numpy: ridge on centred one-hots of the labels trained on, which are noisy.
    a, b = split.train_tokens.numpy().T
    hidden = np.maximum(W_in[0][a] + W_in[1][b], 0).astype(float)
    target = np.eye(11)[split.train_labels.numpy()] - 1 / 11
    gram = hidden.T @ hidden
    W_out = np.linalg.solve(gram + 1e-3 * np.diag(gram).mean() * np.eye(48), hidden.T @ target)
    assert (split.train_labels != split.clean_train_labels).any()
    plain = compared[(compared["replaced"] == "none") & (compared["network"] == "frozen_input")]
    assert plain["mean"].item() == pytest.approx(by_numpy(W_in, W_out).mean(), abs=1e-12)
    assert plain["draws"].item() == 1


ALL_NETWORKS = (
    *("trained", "frozen_input", "untrained", "refitted_readout", "permuted_output"),
    *("permuted_within_frequency", "random_phase", "wrong_task", "wrong_coordinates"),
)


def test_controls_and_checkpoints_are_there_when_asked_for() -> None:
    measure = MeasureConfig(draws=3, all_controls=True, along=True)
    train = TrainConfig(steps=20, eval_every=10, checkpoint_every=5)
    run, trajectory, compared = trained(measure, train=train)
    sizes = compared.groupby(["network", "frequency"])["draws"].first()
    for mode in ("per_matrix", "joint"):
        drawn = {network: sizes[network, mode] for network in ALL_NETWORKS}
        once = ("trained", "refitted_readout", "wrong_task")
        assert drawn == {network: 1 if network in once else 3 for network in ALL_NETWORKS}
    assert len(sizes) == 2 + 2 * len(ALL_NETWORKS)
    assert not compared.duplicated(["network", "frequency"]).any()
    along = pd.DataFrame(outcomes.of(trajectory, measure)["checkpoints"])
    assert along["step"].tolist() == [0, 5, 10, 15, 20]
    table = dynamics.table(trajectory, None, 3, seed=run.model.seed or 0).reset_index()
    pd.testing.assert_frame_equal(along, table)
    assert outcomes.of(trajectory)["checkpoints"] is None


def test_every_entry_of_a_record_is_defined_and_typed() -> None:
    _, trajectory, _ = trained(MeasureConfig(draws=1))
    record = outcomes.of(trajectory, MeasureConfig(draws=1, along=True))
    assert set(record) == set(outcomes.DEFINITIONS)
    typed = {**outcomes.LAST, **outcomes.MILESTONES}
    assert set(typed) == set(record) - set(stores.NESTED)
    for name, kind in typed.items():
        assert type(record[name]) is kind, name
    for name, fields in stores.NESTED.items():
        for each in record[name]:
            assert {key: type(value) for key, value in each.items()} == fields


# The store ---------------------------------------------------------------------------------------


def row(run: SweepRun, **values: Any) -> dict[str, Any]:
    comparison = {name: kind() for name, kind in outcomes.COMPARISON.items()}
    measured = {"step": 10, "accuracy": 0.5, "comparisons": [comparison | {"mean": 0.25}] * 2}
    return stores.finished(run, measured | values, reason="all steps", seconds=1.0)


def test_every_setting_comes_back(tmp_path: Path) -> None:
    (run,) = config().expanded
    runs = [
        changed(run, **{part: {name: value}})
        for part in OTHER
        for name, value in OTHER[part].items()
    ]
    runs.append(changed(run, train={"checkpoint_steps": (1, 3)}))
    sweep.Store(tmp_path).write([row(each) for each in runs])
    frame = sweep.read(tmp_path)
    assert len(frame) == len(runs)
    by_name = {each.name: each for each in runs}
    for _, each in frame.iterrows():
        found = sweep.settings(each)
        assert found == by_name[each["run"]]
        assert found.name == each["run"]
        for part in ("task", "split", "model", "train", "measure"):
            for field in dataclasses.fields(getattr(found, part)):
                value, column = getattr(getattr(found, part), field.name), f"{part}.{field.name}"
                if isinstance(value, tuple):
                    assert json.loads(each[column]) == list(value)
                elif value is None:
                    assert pd.isna(each[column])
                else:
                    assert each[column] == value


def test_lists_open_into_tidy_tables(tmp_path: Path) -> None:
    runs = config(seeds=2, measure=MeasureConfig(draws=2, along=True)).expanded
    sweep.run(runs, tmp_path, progress=False)
    frame = sweep.read(tmp_path)
    compared = sweep.unnest(frame, "comparisons")
    assert len(compared) == sum(map(len, frame["comparisons"]))
    assert {"split.seed", "accuracy", "network", "mean"} < set(compared)
    assert not {"comparisons", "checkpoints"} & set(compared)
    plain = compared[(compared["replaced"] == "none") & (compared["network"] == "trained")]
    assert plain["mean"].tolist() == plain["accuracy"].tolist() == frame["accuracy"].tolist()
    along = sweep.unnest(frame, "checkpoints")
    assert along.groupby("run")["step"].apply(list).tolist() == [[0, 10]] * 2  # the record's
    last = along[along["step"] == 10]
    assert last["weight_norm"].tolist() == frame["weight_norm"].tolist()
    with pytest.raises(ValueError, match=r"column='task\.p' is no list: choose one of comparisons"):
        sweep.unnest(frame, "task.p")
    with pytest.raises(ValueError, match=r"no run has checkpoints: give measure\.along = true"):
        sweep.unnest(frame.assign(checkpoints=None), "checkpoints")
    with pytest.raises(ValueError, match="no run has comparisons: pass runs that finished"):
        sweep.unnest(sweep.read(tmp_path, failed=True), "comparisons")


@pytest.mark.usefixtures("quickly")
def test_duckdb_reads_what_pandas_reads(tmp_path: Path) -> None:
    grid = {"split.label_noise": [0.0, 0.5], "train.lr": [1e-2, 1e300], "train.optimizer": ["sgd"]}
    sweep.run(config(grid=grid, seeds=2), tmp_path, progress=False)
    frame, broken = sweep.read(tmp_path), sweep.read(tmp_path, failed=True)
    assert len(frame) == len(broken) == 4
    place = f"'{tmp_path}/runs/*.parquet'"
    found = duckdb.sql(
        f'select "split.label_noise" as noise, avg(weight_norm_W_in) as mean, count(*) as n from {place} '
        "where status = 'finished' group by all order by all"
    ).df()
    expected = frame.groupby("split.label_noise")["weight_norm_W_in"].agg(["mean", "count"])
    assert found["noise"].tolist() == expected.index.tolist()
    assert found["mean"].tolist() == pytest.approx(expected["mean"].tolist(), abs=1e-15)
    assert found["n"].tolist() == expected["count"].tolist()
    opened = duckdb.sql(
        f"select run, c.network, c.mean from (select run, unnest(comparisons) as c from {place}) "
        "order by all"
    ).fetchall()
    tidy = sweep.unnest(frame, "comparisons")[["run", "network", "mean"]]
    assert opened == sorted(map(tuple, tidy.to_numpy().tolist()))
    reasons = duckdb.sql(f"select run, reason from {place} where status = 'failed'").fetchall()
    assert sorted(reasons) == sorted(zip(broken["run"], broken["reason"], strict=True))


def test_runs_that_many_write_in_other_groups_are_stored_once(tmp_path: Path) -> None:
    runs = config(seeds=12).expanded
    groups = [[runs[i::step] for i in range(step)] for step in (1, 2, 3, 4, 6, 12)]
    together = threading.Barrier(len(groups))

    def write(parts: list[list[SweepRun]]) -> None:
        together.wait()
        for part in parts:
            sweep.Store(tmp_path).write([row(each) for each in part])

    with ThreadPoolExecutor(len(groups)) as pool:
        list(pool.map(write, groups))
    frame = sweep.read(tmp_path)
    assert frame["run"].tolist() == sorted(each.name for each in runs)
    assert {file.suffix for file in (tmp_path / "runs").iterdir()} == {".parquet", ""}
    assert sweep.Store(tmp_path).statuses() == dict.fromkeys(frame["run"], "finished")


def test_a_run_that_finishes_after_it_was_given_up_has_finished(tmp_path: Path) -> None:
    first, second = config(seeds=2).expanded
    store = sweep.Store(tmp_path)
    store.write([stores.failed(run, "killed") for run in (first, second)])
    late = store.write([row(first)])
    assert store.statuses() == {first.name: "finished", second.name: "failed"}
    assert store.write([row(first), stores.failed(first, "killed")]) == store.folder
    assert sweep.read(tmp_path)["run"].tolist() == [first.name]
    assert sweep.read(tmp_path, failed=True)["run"].tolist() == [second.name]
    store.forget_failed([first.name, second.name])  # one of them has finished, and stays
    assert store.statuses() == {first.name: "finished"}
    assert late.exists()


def test_runs_are_here_only_while_their_rows_are(tmp_path: Path) -> None:
    first, second = config(seeds=2).expanded
    names, store = [first.name, second.name], sweep.Store(tmp_path)
    store.write([row(first), stores.failed(second, "killed")])
    assert store.has(names)
    store.forget_failed(names)  # the file of both has the first alone now
    assert not store.has(names)
    assert store.has([first.name])


def test_a_process_reads_each_file_once_until_some_are_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = config(seeds=6).expanded
    store, opened, read = sweep.Store(tmp_path), [], stores._read
    monkeypatch.setattr(
        stores, "_read", lambda file, names: opened.append(file) or read(file, names)
    )
    for run in runs[:5]:
        store.write([row(run)])
    store.write([stores.failed(runs[5], "killed")])
    store.statuses()
    assert len(opened) == len(set(opened)) == 6
    store.forget_failed([runs[5].name])
    opened.clear()
    assert store.statuses() == {run.name: "finished" for run in runs[:5]}
    assert len(opened) == len(set(opened)) == 5


def test_of_a_store_that_sweeps_share_one_reads_its_own(tmp_path: Path) -> None:
    mine, others = config(seeds=2), config(seeds=4).expanded
    sweep.Store(tmp_path).write([row(run) for run in others])
    assert len(sweep.read(tmp_path)) == 4
    names = sorted(run.name for run in mine.expanded)
    assert sweep.read(tmp_path, mine)["run"].tolist() == names
    assert sweep.read(tmp_path, mine.expanded[:1])["run"].tolist() == [mine.expanded[0].name]


@pytest.mark.usefixtures("quickly")
def test_a_damaged_file_is_named_and_its_runs_train_again(tmp_path: Path) -> None:
    sweep.run(config(seeds=2), tmp_path, progress=False)
    whole = sweep.read(tmp_path)
    (file,) = (tmp_path / "runs").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-100])
    stores._cache.cache_clear()  # as a new process, which has read nothing yet
    for reading in (sweep.read, lambda path: sweep.run(config(seeds=2), path, progress=False)):
        with pytest.raises(ValueError, match=f"{file.name} is not a whole Parquet file.*remove it"):
            reading(tmp_path)
    file.unlink()
    assert sweep.run(config(seeds=2), tmp_path, progress=False).finished == 2
    same_numbers(sweep.read(tmp_path), whole)


def test_files_of_other_versions_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    old, new = config(seeds=2).expanded
    store = sweep.Store(tmp_path)
    file = store.write([row(old)])
    table = pq.read_table(file)
    comparisons = [
        [{k: v for k, v in each.items() if k != "held_out"} for each in listed]
        for listed in table["comparisons"].to_pylist()
    ]
    table = table.drop_columns(["train.grokfast_alpha", "accuracy", "comparisons"])
    settings = json.loads(table["config"][0].as_py())
    del settings["train"]["grokfast_alpha"]
    at = table.schema.get_field_index("config")
    table = table.set_column(at, "config", pa.array([json.dumps(settings)]))
    table = table.append_column("comparisons", pa.array(comparisons))
    pq.write_table(table.append_column("of_later", pa.array([1])), file)
    store.write([row(new)])
    frame = sweep.read(tmp_path).set_index("run")
    assert list(frame.reset_index()) == stores.schema().names
    assert np.isnan(frame.loc[old.name, "accuracy"])
    assert frame.loc[new.name, "accuracy"] == 0.5
    assert sweep.settings(frame.reset_index().set_index("run", drop=False).loc[old.name]) == old
    compared = sweep.unnest(frame.reset_index(), "comparisons")
    assert compared["mean"].tolist() == [0.25] * 4
    assert compared[compared["run"] == old.name]["held_out"].isna().all()
    assert sweep.remaining([old, new], tmp_path) == []


def test_an_empty_sweep_reads_as_a_table_and_none_as_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no sweep: pass the directory .*--out"):
        sweep.read(tmp_path)
    sweep.run([], tmp_path, progress=False)
    frame = sweep.read(tmp_path)
    assert len(frame) == 0
    assert list(frame) == stores.schema().names


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match=r"thesis\.tex and no sweep: choose another"):
        sweep.run(config(), tmp_path, progress=False)
    with pytest.raises(FileExistsError, match="is a file: choose another directory"):
        sweep.run(config(), tmp_path / "thesis.tex", progress=False)
    assert files_in(tmp_path) == ["thesis.tex"]
    (tmp_path / "runs" / "run").mkdir(parents=True)  # of grok-interp train
    with pytest.raises(FileExistsError, match=r"runs holds run and no sweep"):
        sweep.run(config(), tmp_path, progress=False)


# Running -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quickly")
def test_what_is_stored_is_skipped_and_the_rest_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = []
    train = jobs._train
    monkeypatch.setattr(jobs, "_train", lambda runs: count.append(len(runs)) or train(runs))
    some, more = config(seeds=3), config(seeds=5)
    assert str(sweep.run(some, tmp_path, progress=False)) == "3 finished, 0 failed, 0 skipped"
    assert str(sweep.run(some, tmp_path, progress=False)) == "0 finished, 0 failed, 3 skipped"
    assert str(sweep.run(more, tmp_path, progress=False)) == "2 finished, 0 failed, 3 skipped"
    assert count == [3, 2]
    sweep.run(more, tmp_path / "at once", progress=False)
    same_numbers(sweep.read(tmp_path), sweep.read(tmp_path / "at once"), **REGROUPED)


def test_a_sweep_that_goes_on_groups_its_runs_as_before(tmp_path: Path) -> None:
    runs = config(seeds=40).expanded  # parts of 13, 13 and 14
    first, second, third = sweep.plan(runs)
    assert sweep.remaining(runs, tmp_path) == [first, second, third]
    sweep.Store(tmp_path).write([row(each) for each in second.runs])
    sweep.Store(tmp_path).write([row(third.runs[0])])
    assert sweep.remaining(runs, tmp_path) == [first, sweep.Job(third.runs[1:])]
    assert sweep.remaining(second.runs, tmp_path) == []


@pytest.mark.usefixtures("quickly")
def test_a_run_that_diverges_is_stored_with_its_reason_and_runs_again_when_asked(
    tmp_path: Path,
) -> None:
    wild = config(grid={"train.lr": [1e-2, 1e300], "train.optimizer": ["sgd"]}, seeds=2)
    others = config(grid={"train.lr": [1e300], "train.optimizer": ["sgd"], "task.p": [5]})
    bad = {run.name for run in wild.expanded if run.train.lr > 1}
    tally = sweep.run(wild, tmp_path, progress=False)
    assert tally.finished == 2
    assert tally.failed.keys() == bad
    sweep.run(others, tmp_path, progress=False)
    broken = sweep.read(tmp_path, failed=True)
    assert set(broken["run"]) == bad | {others.expanded[0].name}
    for reason in broken["reason"]:
        assert "step" in reason
        assert "lower lr=1e+300" in reason
    assert set(sweep.read(tmp_path)["run"]) == {r.name for r in wild.expanded} - bad
    assert sweep.read(tmp_path)["reason"].tolist() == ["all steps"] * 2
    again = sweep.run(wild, tmp_path, progress=False)
    assert str(again) == "0 finished, 0 failed, 2 skipped, 2 failed before"
    tried = sweep.run(wild, tmp_path, progress=False, retry_failed=True)
    assert str(tried) == "0 finished, 2 failed, 2 skipped"
    # Those of another sweep in the same store stay as they are.
    assert set(sweep.read(tmp_path, failed=True)["run"]) == set(broken["run"])
    assert not sweep.read(tmp_path, failed=True)["run"].duplicated().any()


@pytest.mark.usefixtures("quickly")
def test_only_the_run_that_has_no_memory_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = config(seeds=5).expanded
    original, sizes = jobs.ensemble.train, []

    def short_of_memory(models: list[HookedMLP], *others: Any) -> Any:
        sizes.append(len(models))
        if any(model.cfg.seed == 3 for model in models):
            raise MemoryError("12 GB asked for")
        return original(models, *others)

    with monkeypatch.context() as patched:
        patched.setattr(jobs.ensemble, "train", short_of_memory)
        tally = sweep.run(runs, tmp_path, progress=False)
    assert sizes == [5, 1, 1, 1, 1, 1]
    assert tally.failed == {runs[3].name: "out of memory: MemoryError: 12 GB asked for"}
    assert tally.finished == 4
    again = sweep.run(runs, tmp_path, retry_failed=True, progress=False)
    assert str(again) == "1 finished, 0 failed, 4 skipped"
    sweep.run(runs, tmp_path / "undisturbed", progress=False)
    same_numbers(sweep.read(tmp_path), sweep.read(tmp_path / "undisturbed"), **REGROUPED)


def test_a_run_that_cannot_be_measured_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = config(seeds=3).expanded

    def of(trajectory: Any, measure: MeasureConfig) -> Any:
        if trajectory.model_config.seed == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory:\n you tried")
        if trajectory.model_config.seed == 2:  # an OSError that is none of the store
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return quick(trajectory, measure)

    monkeypatch.setattr(outcomes, "of", of)
    tally = sweep.run(runs, tmp_path, progress=False)
    assert list(tally.failed.values()) == [
        "out of memory: RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried",
        "out of memory: OSError: [Errno 12] Cannot allocate memory",
    ]
    assert tally.finished == 1


def test_a_job_that_ran_before_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = sweep.plan(config(seeds=3).expanded)
    store = sweep.Store(tmp_path)
    store.write([row(run) for run in job.runs[:2]])
    train, trained_again = jobs._train, []
    monkeypatch.setattr(outcomes, "of", quick)
    monkeypatch.setattr(jobs, "_train", lambda runs: trained_again.append(runs) or train(runs))
    file = sweep.train_and_measure(job, tmp_path)
    assert file.suffix == ".parquet"
    assert sweep.train_and_measure(job, tmp_path) == store.folder
    assert trained_again == [job.runs]
    assert sweep.read(tmp_path)["run"].tolist() == sorted(job.names)


@pytest.mark.usefixtures("quickly")
def test_a_setting_that_only_training_refuses_is_a_failed_run(tmp_path: Path) -> None:
    tally = sweep.run(
        config(grid={"train.trainable": [["W_out"], ["W_x"]]}), tmp_path, progress=False
    )
    assert tally.finished == 1
    (reason,) = tally.failed.values()
    assert reason.startswith("ValueError: trainable name 'W_x' is unknown")


@pytest.mark.usefixtures("quickly")
def test_a_full_disk_stops_the_sweep_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = config(grid={"task.p": [5, 7]}, seeds=2).expanded
    original, written = pq.write_table, []

    def write(table: pa.Table, file: Path) -> None:
        if written:
            Path(file).write_bytes(b"PAR1 half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(file)
        original(table, file)

    with monkeypatch.context() as full:
        full.setattr(pq, "write_table", write)
        with pytest.raises(OSError, match="No space left"):
            sweep.run(runs, tmp_path, progress=False)
    assert len(sweep.read(tmp_path)) == 2
    assert len([file for file in files_in(tmp_path) if not file.endswith(".lock")]) == 1
    assert str(sweep.run(runs, tmp_path, progress=False)) == "2 finished, 0 failed, 2 skipped"
    sweep.run(runs, tmp_path / "undisturbed", progress=False)
    same_numbers(sweep.read(tmp_path), sweep.read(tmp_path / "undisturbed"))


@pytest.mark.usefixtures("quickly")
def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    sweep.run(config(), tmp_path, progress=False)
    left = tmp_path / "runs" / ".abc.parquet.x.tmp"
    left.write_bytes(b"PAR1")
    assert len(sweep.read(tmp_path)) == 1
    sweep.run(config(seeds=2), tmp_path, progress=False)
    assert not left.exists()


@pytest.mark.usefixtures("quickly")
def test_a_second_sweep_in_a_directory_is_refused_while_one_runs(tmp_path: Path) -> None:
    link = tmp_path.with_name("link")
    link.symlink_to(tmp_path)
    with sweep.Store(tmp_path).claimed():
        with pytest.raises(RuntimeError, match=r"another process is training in .*wait for it"):
            sweep.run(config(), tmp_path, progress=False)
        with pytest.raises(RuntimeError, match="another process"):
            sweep.run(config(), link, progress=False)
    assert sweep.run(config(), tmp_path, progress=False).finished == 1
    assert sweep.run(config(), link, progress=False).skipped == 1


def test_a_task_without_coordinates_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a sweep measures ideal weights"):
        sweep.run(config(grid={"task.operation": ["add", "a**2*b + a"]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("quickly")
def test_the_bar_counts_what_became_of_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.run(config(seeds=2), tmp_path, progress=False)
    assert capsys.readouterr().err == ""
    grid = {"train.lr": [1e-2, 1e300], "train.optimizer": ["sgd"]}
    sweep.run([*config(seeds=2).expanded, *config(grid=grid).expanded], tmp_path)
    last = capsys.readouterr().err.strip().split("\r")[-1]
    assert "100%" in last
    assert "4/4" in last
    for counted in ("finished=1", "failed=1", "skipped=2", "<00:00"):
        assert counted in last


# Executors ---------------------------------------------------------------------------------------


class InTurn(Executor):
    """Runs ``before(job)`` and then each job at once."""

    def __init__(self, before: Callable[..., Any]) -> None:
        self.before = before
        self.calls: list[tuple[Any, ...]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append(args)
        try:
            self.before(*args[:2])
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.mark.usefixtures("quickly")
def test_any_executor_of_python_will_do(tmp_path: Path) -> None:
    sweep_config = config(grid={"task.p": [5, 7], "model.d_mlp": [4, 8]}, seeds=2)
    with ThreadPoolExecutor(3) as pool:
        assert sweep.run(sweep_config, tmp_path / "threads", pool, progress=False).finished == 8
    sweep.run(sweep_config, tmp_path / "here", progress=False)
    same_numbers(sweep.read(tmp_path / "threads"), sweep.read(tmp_path / "here"))


@pytest.mark.usefixtures("quickly")
def test_a_relative_path_means_the_same_to_workers_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    moved = InTurn(lambda *_: os.chdir(tmp_path / "elsewhere"))
    sweep.run(config(), "out", moved, progress=False)
    assert len(sweep.read(tmp_path / "out")) == 1
    assert files_in(tmp_path / "elsewhere") == []


def test_a_worker_that_writes_elsewhere_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="under the same path"):
        sweep.run(config(), tmp_path / "out", Lying(tmp_path), progress=False)


class Lying(Executor):
    """Says that it wrote a file which nobody else can see."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(self.path / "out" / "runs" / "unseen.parquet")
        return future


@pytest.mark.usefixtures("quickly")
def test_an_executor_that_breaks_is_told_and_what_ended_is_kept(tmp_path: Path) -> None:
    runs = config(grid={"task.p": [5, 7, 11]}, seeds=2).expanded
    done = []

    def before(*_: Any) -> None:
        if done:
            raise BrokenExecutor("gone")
        done.append(1)

    with pytest.raises(RuntimeError, match=r"broke with 4 runs to go.*same call goes on \(2 fin"):
        sweep.run(runs, tmp_path, InTurn(before), progress=False)
    assert len(sweep.read(tmp_path)) == 2
    assert str(sweep.run(runs, tmp_path, progress=False)) == "4 finished, 0 failed, 2 skipped"

    def unpickled(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'grok_interp'")

    with pytest.raises(RuntimeError, match="ModuleNotFoundError: No module named 'grok_interp'"):
        sweep.run(runs, tmp_path / "other", InTurn(unpickled), progress=False)
    assert len(sweep.read(tmp_path / "other", failed=True)) == 0


class KilledWorker(Exception):  # noqa: N818
    """As dask.distributed names it."""


@pytest.mark.usefixtures("quickly")
def test_of_jobs_that_dask_blames_only_the_run_that_kills_alone_is_stored(tmp_path: Path) -> None:
    runs = config(grid={"task.p": [5, 7]}, seeds=3).expanded
    killer = runs[1]
    alone = []

    def before(job: sweep.Job, path: Path) -> None:
        if killer in job.runs:
            if job.runs == (killer,):
                alone.append(len(blamed))
            raise KilledWorker
        if job.runs[0].name in blamed:  # innocent, but it had been given to the same worker
            blamed.remove(job.runs[0].name)
            raise KilledWorker

    blamed = [runs[3].name]
    executor = InTurn(before)
    tally = sweep.run(runs, tmp_path, executor, progress=False)
    assert tally.failed.keys() == {killer.name}
    assert "was killed" in tally.failed[killer.name]
    assert tally.finished == 5
    assert len(alone) == 1  # one by one, so that nobody else is lost with it again
    # Dask answers a call that equals an earlier one with its result.
    assert len(set(executor.calls)) == len(executor.calls) > 3
    assert sweep.read(tmp_path, failed=True)["run"].tolist() == [killer.name]
    assert len(sweep.read(tmp_path)) == 5


@pytest.mark.parametrize(
    "text", ["", "processes", "processes:0", "processes:-1", "dask://", "dask://host", "slurm"]
)
def test_an_unknown_executor_is_refused_before_anything_is_made(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"executor='{text}' is unknown: choose 'local', 'proc"):
        sweep.run(config(), tmp_path / "out", text)
    assert not (tmp_path / "out").exists()


def test_executors_that_are_known() -> None:
    executors.check("dask://some.host:8786")
    for text, workers in {"local": 1, "processes:3": 3}.items():
        assert executors.workers(text) == workers


@pytest.mark.usefixtures("quickly")
def test_few_runs_are_shared_out_among_the_workers_of_an_executor(tmp_path: Path) -> None:
    sizes: list[int] = []
    executor = InTurn(lambda job, _: sizes.append(len(job.runs)))
    sweep.run(config(seeds=8), tmp_path / "one", executor, progress=False)
    sweep.run(config(seeds=8), tmp_path / "four", executor, workers=4, progress=False)
    assert sizes == [8, 2, 2, 2, 2]


def test_without_dask_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ImportError, match=r"pip install 'grok-interp\[cluster\]'"),
        sweep.opened("dask://nowhere:1"),
    ):
        pass


# The command -------------------------------------------------------------------------------------

TOML = """
[task]
p = 7
[model]
d_mlp = 8
[measure]
draws = 2
[train]
steps = 10
optimizer = "sgd"
[grid]
train.lr = {rates}
"""


def grok(file: Path, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of ``grok-interp sweep``."""
    monkeypatch.setattr(sys, "argv", ["grok-interp", "sweep", str(file), *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "sweep.toml"
    path.write_text(TOML.format(rates="[0.01, 0.02]"))
    return path


@pytest.mark.usefixtures("quickly")
def test_the_command_trains_and_tells(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = file.parent / "out"
    assert grok(file, "--out", str(out), monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "2 runs in" in printed
    assert "2 finished, 0 failed, 0 skipped" in printed
    assert f"grok_interp.sweep.read({str(out)!r})" in printed
    assert sorted(sweep.read(out)["train.lr"]) == [0.01, 0.02]
    file.write_text(TOML.format(rates="[0.01, 1e300]"))
    assert grok(file, "--out", str(out), monkeypatch=monkeypatch) == 1
    printed = capsys.readouterr().out
    assert "0 finished, 1 failed, 1 skipped" in printed
    assert "failed, 1 run: " in printed
    assert "lower lr=1e+300" in printed
    # What failed before is a failure of this sweep too.
    assert grok(file, "--out", str(out), monkeypatch=monkeypatch) == 1
    assert "--retry-failed" in capsys.readouterr().out
    assert grok(file, "--out", str(out), "--retry-failed", monkeypatch=monkeypatch) == 1
    assert "0 finished, 1 failed, 1 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("[grid]\ntask.q = [1]", [], ["sweep.toml", "'task.q' is unknown"]),
        ("[task]\np = 2", [], ["p=2 is too small"]),
        ("[grid]\ntask.p = [5.5]", [], ["sweep.toml", "p=5.5 must be an int"]),
        ("seeds = [1]", [], ["seeds=", "int of at least 1"]),
        ("nonsense", [], ["sweep.toml is not TOML"]),
        ("", ["--executor", "slurm"], ["executor='slurm' is unknown", "processes:2"]),
        ("[task]\np = 5\noperation = 'a*a*b + a'", [], ["measures ideal weights"]),
    ],
)
def test_bad_values_end_with_status_2(
    text: str,
    arguments: list[str],
    words: list[str],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file.write_text(text)
    out = file.parent / "out"
    assert grok(file, "--out", str(out), *arguments, monkeypatch=monkeypatch) == 2
    printed = " ".join(capsys.readouterr().err.split())
    for word in words:
        assert word in printed
    assert "Traceback" not in printed
    assert not out.exists()


@pytest.mark.usefixtures("quickly")
def test_ctrl_c_ends_with_status_130_and_says_how_to_go_on(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(TOML.format(rates="[0.01]") + "task.p = [5, 7, 11]\n")
    out, train, done = file.parent / "out", jobs._train, []

    def interrupted(runs: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return train(runs)

    monkeypatch.setattr(jobs, "_train", interrupted)
    assert grok(file, "--out", str(out), monkeypatch=monkeypatch) == 130
    assert "1 of 3 runs are in" in capsys.readouterr().out
    monkeypatch.setattr(jobs, "_train", train)
    assert grok(file, "--out", str(out), monkeypatch=monkeypatch) == 0
    assert "2 finished, 0 failed, 1 skipped" in capsys.readouterr().out
