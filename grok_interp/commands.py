"""What the shell commands do: train, resume and analyze runs in directories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from grok_interp import controls, dynamics, files, runs, training
from grok_interp.config import FrequencyMode, Recipe, RunConfig
from grok_interp.dynamics import Onset
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.trajectory import Trajectory
from grok_interp.verdict import without_nan

CONTROLLED: tuple[FrequencyMode, ...] = ("per_matrix", "joint")
ONSETS = {
    "train_accuracy": 0.99,
    "test_accuracy": 0.99,
    "idealised_per_matrix": 0.9,
    "idealised_joint": 0.9,
    "excess_per_matrix": 0.1,
    "excess_joint": 0.1,
}
"""Levels above which a measure counts as having set in."""


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


def analyze(
    path: Path, recipe: Recipe, draws: int, seed: int, command: Sequence[str] = ()
) -> dict[str, Any]:
    """Measure a run against its controls; write analysis.json and analysis.parquet into it.

    Returns:
        What analysis.json holds.
    """
    trajectory = Trajectory.load(path, on_damage="skip")
    if len(trajectory) == 0:
        raise ValueError(f"{path} has no checkpoint yet: wait for the run, or start it again")
    if trajectory.ended == "":
        print(f"unfinished: step {trajectory.steps[-1]} of {trajectory.train_config.steps}")
    table = dynamics.table(trajectory, recipe, draws, seed=seed)
    model, start = trajectory[-1], trajectory.weights(trajectory.steps[:1])[0]
    verdicts = {
        mode: controls.evaluate(
            model,
            trajectory.split,
            replace(recipe, frequency=mode),
            draws,
            initial=start if dynamics.start_is_unknown(trajectory) else None,
            seed=seed,
        )
        for mode in CONTROLLED
    }
    onsets = {name: dynamics.onset(table[name], level) for name, level in ONSETS.items()}
    for mode, verdict in verdicts.items():
        print(f"{mode}, after step {trajectory.steps[-1]}\n{verdict}\n")
    print("first step from which on a measure stays above a level:")
    for name, when in onsets.items():
        print(f"  {name:<21} > {ONSETS[name]:<4}  {when}")
    found: dict[str, Any] = {
        "command": " ".join(command),
        "versions": runs.versions(),
        "step": trajectory.steps[-1],
        "ended": trajectory.ended,
        "verdicts": {mode: verdict.to_dict() for mode, verdict in verdicts.items()},
        "onset": {name: _onset(when, ONSETS[name]) for name, when in onsets.items()},
        "definitions": dynamics.DEFINITIONS,
    }
    files.write_json(path / "analysis.json", without_nan(found))
    with files.written_aside(path / "analysis.parquet") as temporary:
        table.to_parquet(temporary)
    print(f"\nwrote {path}/analysis.json and {path}/analysis.parquet ({len(table)} checkpoints)")
    return found


def _onset(when: Onset, level: float) -> dict[str, Any]:
    return {"level": level, "step": when.step, "censored": when.censored}
