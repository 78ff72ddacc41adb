"""What the shell commands do: train, resume and analyze runs, and convert models of others."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from grok_interp import (
    controls,
    convert,
    dynamics,
    files,
    findings,
    measures,
    pretrained,
    report,
    runs,
    training,
)
from grok_interp.config import FormatName, Recipe, RunConfig
from grok_interp.dynamics import Onset
from grok_interp.findings import CONTROLLED, ONSETS
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.trajectory import Trajectory
from grok_interp.verdict import without_nan

MODEL_PARTS = {pretrained.CONFIG_FILE, pretrained.WEIGHTS_FILE, "README.md", "analysis.json"}
"""What may be in a directory that a converted model replaces."""
NO_RUN = (
    "A model without its run: which pairs were held out, and how it came to be, is not known. So there "
    "are no held-out accuracies and no onsets; controls start from the model's own weights, shuffled, "
    "unless its configuration has their seed; and read-outs are fitted to all pairs without noise."
)
"""What is said of a model that comes without a run."""


def train(config: RunConfig, *, overwrite: bool = False) -> Trajectory:
    """Train as ``config`` says, in a directory of its own, and print what came of it."""
    model, split = HookedMLP(config.model), ModularTask(config.task).split(config.split)
    with _interruptible(config.out):
        trajectory = training.train(model, split, config.train, out=config.out, overwrite=overwrite)
    _tell(trajectory)
    return trajectory


def resume(path: Path) -> Trajectory:
    """Go on with an interrupted run, and print what came of it."""
    before = Trajectory.load(path, on_damage="skip")
    total = before.train_config.steps
    if before.ended == "":
        print(f"from step {before.steps[-1] if len(before) else 0} of {total}", flush=True)
    else:
        print("nothing to do: the run has ended", flush=True)
    with _interruptible(path):
        trajectory = training.resume(path)
    _tell(trajectory)
    return trajectory


@contextmanager
def _interruptible(path: Path) -> Iterator[None]:
    """Add to Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if (path / "state.safetensors").exists():
            print(f"\ngo on from the last checkpoint with: grok-interp resume {path}")
        raise


def _tell(trajectory: Trajectory) -> None:
    last = trajectory.metrics.iloc[-1]
    print(f"{trajectory.path}: step {trajectory.metrics.index[-1]}, ended by {trajectory.ended}")
    for side, names in (
        ("train", ("train_loss", "train_accuracy")),
        ("test", ("test_loss", "test_accuracy")),
    ):
        print(f"  {side:<5} loss {last[names[0]]:.4g}, accuracy {last[names[1]]:.4f}")
    print(f"next: grok-interp analyze {trajectory.path}")


def convert_file(
    source: Path,
    out: Path,
    format: FormatName | None = None,
    act_fn: str | None = None,
    *,
    overwrite: bool = False,
) -> HookedMLP:
    """Read another project's file, write the library's own format, and print what was read.

    Args:
        source: The file, or a folder of text matrices.
        out: Directory of the model.
        format: The file's format; None recognises it.
        act_fn: The activation, which no file says; None takes that of the format's paper.
        overwrite: Replace a model that is there.

    Returns:
        The model that was written.

    Raises:
        FileExistsError: If something is at ``out``, and it is no model or not to be overwritten.
        ValueError: If the file is a transformer, or cannot be read (:func:`grok_interp.convert.read`).
    """
    inside = sorted(each.name for each in out.iterdir()) if out.is_dir() else []
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: choose another directory for the model")
    if inside and not (overwrite and set(inside) <= MODEL_PARTS):
        raise FileExistsError(
            f"{out} exists and holds {', '.join(inside[:3])}: choose another directory, or pass "
            "--overwrite if it holds a model and nothing else"
        )
    read = convert.read(source, format, act_fn)
    model = _mlp(read)
    model.save_pretrained(out)
    (out / "analysis.json").unlink(missing_ok=True)  # of the model that was there before
    task = ModularTask(model.cfg.p)
    print(
        f"read {source}: {_described(model, read.format)}; accuracy on addition "
        f"{float(measures.accuracy(model, task)):.4f}, chance {measures.chance(task):.4f}"
    )
    _tell_activation(read, model)
    print(f"next: grok-interp analyze {out}")
    return model


def _tell_activation(source: convert.Source, model: HookedMLP) -> None:
    if source.act_fn is None:
        print(
            f"the file does not say its activation; {source.format}'s paper has {model.cfg.act_fn}, and "
            "--act-fn chooses another"
        )


def _mlp(source: convert.Source) -> HookedMLP:
    """The network of a file, which must be a HookedMLP."""
    if source.format == "transformer":
        raise ValueError(
            f"{source.path} is a one-layer transformer, and the library's own format and its controls "
            "are for two-layer MLPs: read it in Python with convert.load, and its neurons with "
            "neurons.extract(transformer.effective_weights(bridge))"
        )
    model: HookedMLP = source.model()
    return model


def _described(model: HookedMLP, format: str) -> str:
    cfg = model.cfg
    return f"format {format}, p={cfg.p}, d_mlp={cfg.d_mlp}, act_fn={cfg.act_fn}"


def analyze(
    path: Path,
    recipe: Recipe,
    draws: int,
    seed: int,
    command: Sequence[str] = (),
    operation: str | None = None,
    format: FormatName | None = None,
    act_fn: str | None = None,
) -> dict[str, Any]:
    """Measure a run, or a model without one, against its controls; write analysis.json.

    Args:
        path: A run directory; a directory that ``save_pretrained`` wrote; or another project's
            file.
        recipe: How to idealize, but for the frequency mode.
        draws: Draws of each random control.
        seed: Seed of the draws.
        command: What the user typed.
        operation: The task of a model without a run; None for addition. A run knows its own.
        format: The format of another project's file; None recognises it.
        act_fn: The activation of another project's network; None for that of the format's paper.

    Returns:
        What analysis.json holds.

    Raises:
        PermissionError: If the folder where the analysis belongs cannot be written.
        ValueError: If something is chosen that a run or a model directory knows, or the path cannot
            be read.
    """
    own = path.is_dir() and (path / pretrained.WEIGHTS_FILE).is_file()
    run = not own and (path / pretrained.CONFIG_FILE).is_file()
    known = {"format": format, "act_fn": act_fn} if own or run else {}
    for name, value in (known | ({"operation": operation} if run else {})).items():
        if value is not None:
            raise ValueError(
                f"{name}={value!r} cannot be chosen for {path}, a {'run' if run else 'model directory'} "
                "of this library, which says it itself: leave it out"
            )
    if run:
        return _analyze_run(path, recipe, draws, seed, command)
    if own:
        model, kind = HookedMLP.from_pretrained(path), "grok_interp"
    else:
        source = convert.read(path, format, act_fn)
        model, kind = _mlp(source), source.format
        _tell_activation(source, model)
    return _analyze_model(model, kind, path, operation or "add", recipe, draws, seed, command)


def _check_writable(file: Path, first: str) -> None:
    """Refuse a place that cannot be written before the minutes that the controls take."""
    if not os.access(file.parent, os.W_OK):
        raise PermissionError(
            f"{file} cannot be written, since the folder {file.parent} is read-only for you: first {first} "
            "to a folder of yours, then analyze that"
        )


def _analyze_model(
    model: HookedMLP,
    format: str,
    path: Path,
    operation: str,
    recipe: Recipe,
    draws: int,
    seed: int,
    command: Sequence[str],
) -> dict[str, Any]:
    """The verdicts on a model of which nothing but its weights is known.

    Which pairs it was trained on is not known, so read-outs of controls are fitted to all pairs, with
    the task's own labels: no less than the model saw, which makes them hard to exceed.

    Returns:
        What analysis.json holds.
    """
    beside = (
        path / "analysis.json" if path.is_dir() else path.with_name(f"{path.name}.analysis.json")
    )
    _check_writable(
        beside,
        f"copy {path}" if format == "grok_interp" else f"grok-interp convert {path}",
    )
    split = ModularTask(model.cfg.p, operation).split(train_fraction=1.0)
    verdicts = {
        mode: controls.evaluate(model, split, replace(recipe, frequency=mode), draws, seed=seed)
        for mode in CONTROLLED
    }
    print(f"{path}: {_described(model, format)}")
    for mode, verdict in verdicts.items():
        print(f"{mode}\n{verdict}\n")
    print(NO_RUN)
    found = {
        "command": " ".join(command),
        "versions": runs.versions(),
        "source": {"path": str(path), "format": format} | asdict(model.cfg),
        "without_a_run": NO_RUN,
        "verdicts": {mode: verdict.to_dict() for mode, verdict in verdicts.items()},
    }
    files.write_json(beside, without_nan(found))
    print(f"\nwrote {beside}")
    return found


def _analyze_run(
    path: Path, recipe: Recipe, draws: int, seed: int, command: Sequence[str]
) -> dict[str, Any]:
    """The verdicts on a run's last checkpoint, every measure along it, and when each set in."""
    _check_writable(path / "analysis.json", f"copy {path}")
    trajectory = Trajectory.load(path, on_damage="skip")
    if len(trajectory) == 0:
        raise ValueError(f"{path} has no checkpoint yet: wait for the run, or start it again")
    if trajectory.ended == "":
        print(f"unfinished: step {trajectory.steps[-1]} of {trajectory.train_config.steps}")
    found = findings.find(trajectory, recipe, draws, seed=seed)
    for mode, verdict in found.verdicts.items():
        print(f"{mode}, after step {trajectory.steps[-1]}\n{verdict}\n")
    for question, answer in list(found.answers.items())[:2]:
        print(f"{question} {answer}")
    print("first step from which on a measure stays above a level:")
    for name, when in found.onsets.items():
        print(f"  {name:<21} > {ONSETS[name]:<4}  {when}")
    written: dict[str, Any] = {
        "command": " ".join(command),
        "versions": runs.versions(),
        "step": trajectory.steps[-1],
        "ended": trajectory.ended,
        "answers": found.answers,
        "verdicts": {mode: verdict.to_dict() for mode, verdict in found.verdicts.items()},
        "onset": {name: _onset(when, ONSETS[name]) for name, when in found.onsets.items()},
        "definitions": dynamics.DEFINITIONS,
    }
    files.write_json(path / "analysis.json", without_nan(written))
    with files.written_aside(path / "analysis.parquet") as temporary:
        found.table.to_parquet(temporary)
    print(
        f"\nwrote {path}/analysis.json and {path}/analysis.parquet ({len(found.table)} checkpoints)"
    )
    return written


def report_runs(
    paths: Sequence[Path], out: Path, recipe: Recipe, draws: int, seed: int, command: Sequence[str]
) -> None:
    """Measure runs as :func:`analyze` does, and write one HTML file about them.

    Args:
        paths: Run directories.
        out: The file.
        recipe: How to idealize, but for the frequency mode.
        draws: Draws of each random control.
        seed: Seed of the draws.
        command: What the user typed.

    Raises:
        FileNotFoundError: If there is no folder to write into.
        PermissionError: If it is read-only.
        ValueError: If a path is given twice, is not a run, or has no checkpoint to measure.
    """
    if len(set(paths)) < len(paths):
        raise ValueError(f"{', '.join(map(str, paths))}: name each run once")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} is not a folder: make it, or choose another --out")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise PermissionError(
            f"{out} cannot be written ({'a folder' if out.is_dir() else 'read-only'}): choose another --out"
        )
    for path in paths:
        if (path / pretrained.WEIGHTS_FILE).is_file():
            raise ValueError(
                f"{path} is a model without its run, and a report is about checkpoints: grok-interp "
                "analyze measures it"
            )
    found = {}
    for path in paths:
        trajectory = Trajectory.load(path, on_damage="skip")
        print(f"measuring {trajectory}, ended by: {trajectory.ended or 'unfinished'}", flush=True)
        found[str(path)] = findings.find(trajectory, recipe, draws, seed=seed)
    files.write_text(out, report.to_html(found, shlex.join(command)))
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB): open it in a browser")


def _onset(when: Onset, level: float) -> dict[str, Any]:
    return {"level": level, "step": when.step, "censored": when.censored}
