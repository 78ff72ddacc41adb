"""Run directories: what is in them, what damages them, and going on from them."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from grok_interp import training
from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.trajectory import Trajectory

P, D = 11, 16
CONFIG = TrainConfig(steps=60, checkpoint_every=20, eval_every=7, lr=0.01, progress=False)


def start(out: Path | None = None, config: TrainConfig = CONFIG, **fields) -> Trajectory:
    split = ModularTask(P).split(0.6, label_noise=0.3, seed=1)
    return training.train(HookedMLP(p=P, d_mlp=D, seed=2), split, config, out=out, **fields)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    start(tmp_path / "run")
    return tmp_path / "run"


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a run but the clock and the lock."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in ("wall_clock.json", ".lock")
    }


def test_a_directory_and_memory_hold_the_same_run(run: Path) -> None:
    memory, stored = start(), Trajectory.load(run)
    assert stored.path == run
    assert memory.path is None
    assert stored.steps == memory.steps == (0, 20, 40, 60)
    assert stored.metrics.equals(memory.metrics)
    assert stored.metrics.index.equals(memory.metrics.index)
    assert stored.ended == memory.ended == "all steps"
    assert (stored.model_config, stored.train_config) == (memory.model_config, memory.train_config)
    for name in ("train_index", "test_index", "train_labels", "resampled"):
        assert torch.equal(getattr(stored.split, name), getattr(memory.split, name))
    for name, tensor in memory.tensors.items():
        assert torch.equal(stored.tensors[name], tensor)
    assert torch.equal(stored.at(40).W_in, memory.at(40).W_in)
    config = json.loads((run / "config.json").read_text())
    assert config["schema"] == 1
    assert config["model"]["seed"] == 2
    assert set(config["versions"]) == {
        *("python", "grok-interp", "torch", "transformer-lens", "numpy")
    }


def test_only_what_is_asked_for_is_read(run: Path) -> None:
    shutil.copy(run / "config.json", run / "checkpoints" / "0000000020.safetensors")  # damage it
    with pytest.warns(UserWarning, match="left out"):
        trajectory = Trajectory.load(run, on_damage="skip")
    trajectory.history._steps.insert(1, 20)
    W_in = trajectory.weights([0, 60]).W_in
    assert W_in.shape == (2, 2, P, D)
    assert torch.equal(W_in[1], load_file(run / "checkpoints" / "0000000060.safetensors")["W_in"])
    with pytest.raises(ValueError, match=r"0000000020\.safetensors"):
        trajectory.weights()
    with pytest.raises(KeyError, match="no checkpoint at step 33; the nearest is at"):
        trajectory.weights([33])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"batch_size": 16, "gradient": "grokfast"},
        {"optimizer": "sgd", "momentum": 0.9, "warmup_steps": 30},
        {"optimizer": "sgd", "weight_decay": 0.0},
        {"stop": "train_loss < 100", "stop_evaluations": 7},
        {"checkpoint_steps": "log", "loss": "stablemax"},
        {"optimizer": "adam", "constraint": "sphere"},
        {"weight_decay": 0.5, "constraint": "per_layer"},
    ],
)
@pytest.mark.parametrize("kill_at", [1, 25, 41])
def test_an_interrupted_run_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict, kill_at: int
) -> None:
    config = TrainConfig(
        steps=60, lr=0.01, progress=False, **({"checkpoint_every": 20, "eval_every": 7} | fields)
    )
    start(tmp_path / "whole", config)
    original = training.Lockstep.step

    def killed(self, number: int) -> None:
        if number == kill_at:
            raise KeyboardInterrupt
        original(self, number)

    monkeypatch.setattr(training.Lockstep, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "cut", config)
    monkeypatch.setattr(training.Lockstep, "step", original)
    assert not Trajectory.load(tmp_path / "cut").ended
    (tmp_path / "cut" / "checkpoints" / ".0000000033.safetensors.x.tmp").write_bytes(b"half")
    found = training.resume(tmp_path / "cut", progress=False)
    assert found.ended
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert found.metrics.equals(Trajectory.load(tmp_path / "whole").metrics)
    before = contents(tmp_path / "cut")
    assert training.resume(tmp_path / "cut").ended == found.ended
    assert contents(tmp_path / "cut") == before


def test_what_was_written_after_the_state_is_made_again(tmp_path: Path) -> None:
    """Killed between a checkpoint and its state, so that files of a later step are there."""
    start(tmp_path / "whole")
    start(tmp_path / "cut", TrainConfig(**(vars(CONFIG) | {"steps": 40})))
    whole = tmp_path / "whole"
    shutil.copy(whole / "config.json", tmp_path / "cut" / "config.json")
    earlier = tmp_path / "earlier"
    start(earlier, TrainConfig(**(vars(CONFIG) | {"steps": 20})))
    state = training.RunDirectory.open(earlier).state()
    cut = training.RunDirectory.open(tmp_path / "cut")
    cut.save(training.State(20, 0, "", state.moments))
    training.resume(tmp_path / "cut", progress=False)
    names = set(contents(whole))
    assert set(contents(tmp_path / "cut")) == names
    for name in names:
        assert contents(tmp_path / "cut")[name] == contents(whole)[name], name


def test_nothing_is_overwritten_unasked(run: Path, tmp_path: Path) -> None:
    (run / "notes.txt").write_text("mine")
    before = contents(run)
    with pytest.raises(FileExistsError, match=r"exists and is not empty.*--overwrite"):
        start(run)
    assert contents(run) == before
    assert start(run, overwrite=True).ended
    assert (run / "notes.txt").read_text() == "mine"
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("mine")
    with pytest.raises(FileExistsError, match="not a grok_interp run"):
        start(other, overwrite=True)
    assert (other / "chapter.tex").read_text() == "mine"
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file"):
        start(tmp_path / "file")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def newer(file: Path) -> None:
    data = file.read_bytes()
    old, new = (rb"\"schema\": \"%d\"" % number for number in (1, 2))
    assert data.count(old) == 1
    file.write_bytes(data.replace(old, new))


def newer_part(file: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | {b"schema": b"2"}), file)


def foreign_part(file: Path) -> None:
    pd.DataFrame({"x": [1]}).to_parquet(file)


def foreign(file: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, file)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("checkpoints/0000000020.safetensors", truncate, "is not a whole safetensors file"),
        ("checkpoints/0000000020.safetensors", foreign, "was not written by grok_interp"),
        ("checkpoints/0000000020.safetensors", newer, r"has schema 2.*upgrade grok_interp"),
        ("metrics/0000000020.parquet", truncate, "is not a whole Parquet file"),
        ("metrics/0000000020.parquet", foreign_part, "was not written by grok_interp"),
        ("metrics/0000000020.parquet", newer_part, r"has schema 2.*upgrade grok_interp"),
    ],
)
def test_a_damaged_part_is_named_and_the_rest_stays_usable(
    run: Path, name: str, damage, message: str
) -> None:
    whole = Trajectory.load(run)
    metrics, weights = whole.metrics, whole.weights([60]).W_in
    damage(run / name)
    with pytest.raises(ValueError, match=message) as error:
        Trajectory.load(run)
    assert str(run / name) in str(error.value)
    with pytest.warns(UserWarning, match=message):
        rest = Trajectory.load(run, on_damage="skip")
    assert torch.equal(rest.weights([60]).W_in, weights)
    if name.startswith("metrics"):
        assert rest.steps == (0, 20, 40, 60)
        kept = [step for step in metrics.index if not 0 < step <= 20]
        assert rest.metrics.equals(metrics.loc[kept])
    else:
        assert rest.steps == (0, 40, 60)
        assert rest.metrics.equals(metrics)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", truncate, "is not whole JSON"),
        ("split.safetensors", truncate, "is not a whole safetensors file"),
        ("split.safetensors", foreign, "was not written by grok_interp"),
    ],
)
def test_without_its_description_a_run_is_refused(
    run: Path, name: str, damage, message: str
) -> None:
    damage(run / name)
    with pytest.raises(ValueError, match=message) as error:
        Trajectory.load(run)
    assert str(run / name) in str(error.value)


def test_a_description_that_does_not_fit_is_refused(run: Path) -> None:
    file = run / "config.json"
    whole = json.loads(file.read_text())

    def changed(**values) -> None:
        file.write_text(json.dumps(whole | values))

    changed(schema=2)
    with pytest.raises(ValueError, match=r"config\.json has schema 2, which is newer than the 1"):
        Trajectory.load(run)
    changed(format="something else")
    with pytest.raises(ValueError, match="does not describe a grok_interp run"):
        Trajectory.load(run)
    changed(train=whole["train"] | {"speed": 3})
    with pytest.raises(ValueError, match="unknown keys 'speed'"):
        Trajectory.load(run)
    changed(task={"p": 7, "operation": "add"})
    with pytest.raises(ValueError, match="does not divide the 49 pairs"):
        Trajectory.load(run)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json does not exist"):
        Trajectory.load(run)


def test_a_damaged_state_stops_resuming_but_not_reading(run: Path) -> None:
    truncate(run / "state.safetensors")
    with pytest.raises(ValueError, match=r"state\.safetensors is not a whole safetensors file"):
        training.resume(run)
    (run / "state.safetensors").unlink()
    assert len(Trajectory.load(run)) == 4
    with pytest.raises(FileNotFoundError, match="cannot be resumed"):
        training.resume(run)


def test_an_optimiser_state_that_does_not_fit_is_refused(run: Path) -> None:
    """Moments must not be broadcast or restarted in silence."""
    directory = training.RunDirectory.open(run)
    moments = dict(directory.state().moments)
    assert len(moments) == 4

    def resumed_with(**changes) -> None:
        kept = {name: tensor for name, tensor in (moments | changes).items() if tensor is not None}
        directory.save(training.State(20, 0, "", kept))
        training.resume(run, progress=False)

    for changes, message in (
        ({"exp_avg.W_in": torch.zeros(1)}, r"state\.safetensors: tensor exp_avg\.W_in is"),
        ({"exp_avg.W_out": None}, r"state\.safetensors: tensor exp_avg\.W_out is missing"),
        ({"foo": torch.zeros(1)}, r"state\.safetensors: tensor foo is not expected"),
        ({"exp_avg.W_in": moments["exp_avg.W_in"] * torch.nan}, r"exp_avg\.W_in holds NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            resumed_with(**changes)
    resumed_with()


def test_resuming_needs_the_last_checkpoint_only(run: Path) -> None:
    directory = training.RunDirectory.open(run)
    directory.save(training.State(40, 0, "", directory.state().moments))
    truncate(run / "checkpoints" / "0000000020.safetensors")
    with pytest.warns(UserWarning, match=r"left out: .*0000000020"):
        assert training.resume(run, progress=False).steps == (0, 40, 60)
    directory.save(training.State(40, 0, "", directory.state().moments))
    (run / "checkpoints" / "0000000040.safetensors").unlink()
    with (
        pytest.raises(ValueError, match=r"0000000040\.safetensors, which the run would go on from"),
        pytest.warns(UserWarning, match="left out"),
    ):
        training.resume(run, progress=False)


def test_a_run_stopped_before_its_first_checkpoint_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self, step: int, parameters: dict) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training.RunDirectory, "checkpoint", stopped)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / "run")
    assert (tmp_path / "run" / "config.json").exists()
    (tmp_path / "run" / ".config.json.abc.tmp").write_text("half")
    (tmp_path / "run" / "config.json").unlink()  # killed while it was overwritten
    assert start(tmp_path / "run").ended == "all steps"
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_full_batches_of_a_wide_network_resume_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a size where products are divided among threads and pairs among chunks."""
    split = ModularTask(59).split(0.8, seed=1)
    config = TrainConfig(steps=6, checkpoint_every=2, eval_every=3, progress=False)
    model = HookedMLP(p=59, d_mlp=512, seed=2)
    training.train(model, split, config, out=tmp_path / "whole")
    original = training.Lockstep.step

    def killed(self, number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt
        original(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(training.Lockstep, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            training.train(HookedMLP(p=59, d_mlp=512, seed=2), split, config, out=tmp_path / "cut")
    training.resume(tmp_path / "cut", progress=False)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_two_processes_do_not_write_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In threads, whose locks are as separate as those of processes."""
    original, inside, go_on = training.Lockstep.step, threading.Event(), threading.Event()

    def waiting(self, number: int) -> None:
        inside.set()
        assert go_on.wait(30)
        original(self, number)

    monkeypatch.setattr(training.Lockstep, "step", waiting)
    first = threading.Thread(target=start, args=(tmp_path / "run",))
    first.start()
    try:
        assert inside.wait(30)
        with pytest.raises(RuntimeError, match="another process is training in"):
            training.resume(tmp_path / "run")
        with pytest.raises(RuntimeError, match="another process is training in"):
            start(tmp_path / "run", overwrite=True)
    finally:
        go_on.set()
        first.join()
    assert Trajectory.load(tmp_path / "run").ended == "all steps"


def test_going_on_with_other_threads_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "run", TrainConfig(**(vars(CONFIG) | {"steps": 20})))
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    config["train"]["steps"], config["threads"] = 60, 77
    file.write_text(json.dumps(config))
    run = training.RunDirectory.open(tmp_path / "run")
    run.save(training.State(20, 0, "", run.state().moments))
    with pytest.warns(UserWarning, match=r"trained with 77 threads.*torch\.set_num_threads\(77\)"):
        assert training.resume(tmp_path / "run", progress=False).steps[-1] == 60


def test_what_no_file_can_hold_is_refused_before_training(tmp_path: Path) -> None:
    split = ModularTask(P).split(0.5)
    model = HookedMLP(p=P, d_mlp=D)
    custom = HookedMLP.from_weights(model.W_in.detach(), model.W_out.detach(), act_fn=torch.tanh)
    with pytest.raises(ValueError, match="act_fn='custom' stands for a callable"):
        training.train(custom, split, CONFIG, out=tmp_path / "a")
    half = HookedMLP(p=P, d_mlp=D, dtype="bfloat16")
    masked = HookedMLP(p=P, d_mlp=D)
    masked.W_in.register_hook(lambda gradient: 0 * gradient)
    for hooked in (model, half):
        hooked.add_hook("blocks.0.mlp.hook_post", lambda post, hook: post)
    for hooked in (model, half, masked):
        with pytest.raises(ValueError, match="the model has hooks"):
            training.train(hooked, split, CONFIG, out=tmp_path / "b")
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_frozen_parameter_stays_frozen_after_resuming(tmp_path: Path) -> None:
    """Which parameters learn is part of the stored configuration."""
    model = HookedMLP(p=P, d_mlp=D)
    model.W_in.requires_grad_(False)
    trajectory = training.train(model, ModularTask(P).split(0.5), CONFIG, out=tmp_path / "run")
    assert trajectory.train_config.trainable == ("W_out",)
    assert Trajectory.load(tmp_path / "run").train_config.trainable == ("W_out",)


def test_a_diverging_run_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    config = TrainConfig(
        steps=60, checkpoint_every=10, lr=1e30, optimizer="sgd", loss="mse", progress=False
    )
    with pytest.raises(FloatingPointError, match="at step 10: lower lr"):
        start(tmp_path / "run", config)
    stored = Trajectory.load(tmp_path / "run")
    assert stored.ended.startswith("failed: ")
    assert "at step 10" in stored.ended
    with pytest.raises(FloatingPointError, match=r"run cannot go on: .* at step 10"):
        training.resume(tmp_path / "run")
    assert stored.steps == (0,)
    assert np.isfinite(stored.metrics["train_loss"].iloc[0])
