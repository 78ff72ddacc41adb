"""The history of one training run, in memory or as a directory that survives anything.

A run directory holds::

    config.json                        schema, task, split, model, training, versions, threads
    split.safetensors                  which pairs are trained on, and their labels
    checkpoints/0000000100.safetensors parameters after 100 steps
    metrics/0000000100.parquet         evaluations since the checkpoint before
    state.safetensors                  the optimiser at the last checkpoint, and how the run ended
    wall_clock.json                    seconds spent; the one file that differs between equal runs

Every file is written beside its place and renamed. ``state.safetensors`` comes last at each
checkpoint, so a killed run goes on from the step that it names, and what was written after that is
made again. A lock that the operating system lets go of with the process keeps out a second writer.
"""

from __future__ import annotations

import platform
import shutil
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock
from torch import Tensor

from grok_interp import files
from grok_interp.config import (
    EXISTS,
    HookedMLPConfig,
    SplitConfig,
    TaskConfig,
    TrainConfig,
    check_choice,
    from_dict,
    to_dict,
)
from grok_interp.optimizers import state_like
from grok_interp.tasks import ModularTask, Split
from grok_interp.weights import parameter_shapes

SCHEMA = 1
"""Version of the format; a file of a later one is refused."""
FORMAT = "grok_interp run"
OnDamage = Literal["raise", "skip"]
ANALYSIS = ("analysis.json", "analysis.parquet")
PARTS = (
    *("config.json", "split.safetensors", "checkpoints", "metrics", "state.safetensors"),
    *("wall_clock.json", *ANALYSIS),
)
"""What overwriting a run removes; other files in its directory are left alone."""


@dataclass(frozen=True, eq=False)
class State:
    """Where a run stands beside its weights.

    Attributes:
        step: Optimiser steps done.
        met: Evaluations in a row that met the stop rule.
        ended: Why the run ended, or empty if it goes on.
        moments: State of the optimiser.
    """

    step: int
    met: int
    ended: str
    moments: Mapping[str, Tensor]


def as_table(rows: Mapping[int, Mapping[str, float]]) -> pd.DataFrame:
    """Evaluations by step as a dataframe."""
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="step", dtype="int64"))


@dataclass(eq=False)
class InMemory:
    """A history that lives as long as the process.

    Attributes:
        ended: Why the run ended; empty while it goes on.
    """

    ended: str = ""
    _checkpoints: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    _rows: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def steps(self) -> Sequence[int]:
        """Steps at which weights are stored."""
        return tuple(self._checkpoints)

    @property
    def metrics(self) -> pd.DataFrame:
        """One row an evaluation."""
        return as_table(self._rows)

    def read(self, step: int, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """The parameters stored at a step, by name; ``KeyError`` if none are."""
        stored = self._checkpoints[step]
        return {name: stored[name] for name in (stored if names is None else names)}

    def checkpoint(self, step: int, parameters: Mapping[str, Tensor]) -> None:
        """Keep a copy."""
        self._checkpoints[step] = {
            name: tensor.detach().clone() for name, tensor in parameters.items()
        }

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add an evaluation."""
        self._rows[step] = dict(metrics)

    def save(self, state: State) -> None:
        """Remember how the run ended; there is nothing to resume from."""
        self.ended = state.ended


class RunDirectory:
    """A history on disk: make one with :meth:`create`, read one with :meth:`open`.

    Attributes:
        path: The directory.
        task: The task.
        split: What is trained on.
        model_config: Configuration of the model.
        train_config: How it is trained.
        ended: Why the run ended; empty while it goes on, or if it was cut off.
    """

    def __init__(
        self, path: Path, split: Split, model_config: HookedMLPConfig, train_config: TrainConfig
    ) -> None:
        self.path, self.split = path, split
        self.model_config, self.train_config = model_config, train_config
        self.ended = ""
        self._steps: list[int] = []
        self._parts: list[Path] = []
        self._pending: dict[int, dict[str, float]] = {}
        self._lock: FileLock | None = None
        self._seconds, self._since = 0.0, time.monotonic()
        dtype = getattr(torch, model_config.dtype)
        self._expected = {
            name: torch.empty(shape, dtype=dtype, device="meta")
            for name, shape in parameter_shapes(model_config).items()
        }

    @classmethod
    def create(
        cls,
        path: Path,
        split: Split,
        model_config: HookedMLPConfig,
        train_config: TrainConfig,
        *,
        overwrite: bool = False,
    ) -> RunDirectory:
        """Start a run in a new or empty directory, locked until :meth:`close`.

        Args:
            path: The directory; made if need be.
            split: What is trained on.
            model_config: Configuration of the model.
            train_config: How it is trained.
            overwrite: Whether to replace a run that is there; other files are left alone.

        Returns:
            The run, with its configuration and split written and nothing stored yet.

        Raises:
            FileExistsError: If something is there, and it is no run or is not to be overwritten.
            RuntimeError: If another process is writing there.
        """
        if path.exists() and not path.is_dir():
            raise FileExistsError(f"{path} is a file: choose another directory for the run")
        inside = [each for each in path.iterdir() if each.name != ".lock"] if path.is_dir() else []
        started = any(
            each.name not in PARTS and not files.is_temporary(each.name) for each in inside
        )
        started |= (path / "state.safetensors").exists()
        if started and not overwrite:
            raise FileExistsError(EXISTS.format(path=path))
        if started and not _is_run(path):
            raise FileExistsError(
                f"{path} holds files that are not a grok_interp run, which overwrite does not remove: "
                "choose another directory"
            )
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path, split, model_config, train_config)
        run._lock = files.lock(path)
        for name in PARTS:
            if (path / name).is_dir():
                shutil.rmtree(path / name)
            else:
                (path / name).unlink(missing_ok=True)
        files.clear_temporary(path)
        files.write_json(path / "config.json", run._description())
        index = {
            "train_index": split.train_index,
            "test_index": split.test_index,
            "train_labels": split.train_labels,
            "resampled": split.resampled,
        }
        files.write_tensors(path / "split.safetensors", index, _stamp())
        return run

    @classmethod
    def open(cls, path: Path, on_damage: OnDamage | str = "raise") -> RunDirectory:
        """Read what a run has stored so far; every file is looked at, and weights are read later.

        Args:
            path: The directory.
            on_damage: ``"raise"`` an error at a checkpoint or part of the metrics that cannot be
                read, or ``"skip"`` such files with a warning and use the rest.

        Returns:
            The run, to be read; nobody is kept from writing to it.

        Raises:
            FileNotFoundError: If there is no run.
            ValueError: Naming the file that is truncated, foreign or of a newer version.
        """
        check_choice("on_damage", on_damage, OnDamage)
        file = path / "config.json"
        values = files.read_json(file, f"pass the directory of a run, not {path}")
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(
                f"{file} does not describe a grok_interp run: pass the directory of one"
            )
        _check_schema(values.get("schema"), file)
        try:
            task_config, split_config, model_config, train_config = (
                from_dict(kind, values.get(name), f"{file}: {name}", complete=True)
                for name, kind in (
                    ("task", TaskConfig),
                    ("split", SplitConfig),
                    ("model", HookedMLPConfig),
                    ("train", TrainConfig),
                )
            )
        except TypeError as error:
            raise ValueError(str(error)) from error
        split = _read_split(path / "split.safetensors", ModularTask(task_config), split_config)
        run = cls(path, split, model_config, train_config)
        run._find(on_damage)
        if (path / "state.safetensors").exists():
            run.ended = run._state_metadata()["ended"]
        return run

    @property
    def steps(self) -> Sequence[int]:
        """Steps of the checkpoints, ascending."""
        return tuple(self._steps)

    @property
    def metrics(self) -> pd.DataFrame:
        """All evaluations that were made durable, and those of this process."""
        parts = [_read_part(part) for part in self._parts]
        if self._pending:
            parts.append(as_table(self._pending))
        return pd.concat(parts) if parts else as_table({})

    def read(self, step: int, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """The parameters stored at a step, by name, read as by :func:`.read_tensors`; only the named ones."""
        return files.read_tensors(self._checkpoint(step), self._expected, REST_ADVICE, names)

    def state(self) -> State:
        """Where the run stands.

        Returns:
            Steps done, evaluations in a row that met the stop rule, why the run ended, and the optimiser's
            state (empty for a run whose numbers stopped being finite).

        Raises:
            FileNotFoundError: If it was killed before its first checkpoint was whole.
            ValueError: If the file is damaged.
        """
        file = self.path / "state.safetensors"
        metadata = self._state_metadata()
        numbers = [metadata["step"], metadata["met"]]
        if not all(number.isdecimal() for number in numbers):
            raise ValueError(f"{file} says step and met are {numbers}; {STATE_ADVICE}")
        step, met = map(int, numbers)
        trained = self.train_config.trainable
        learning = {
            name: tensor
            for name, tensor in self._expected.items()
            if trained is None or name in trained
        }
        failed = metadata["ended"].startswith("failed")
        expected = {} if failed else state_like(self.train_config, learning)
        found = files.read_tensors(file, expected, STATE_ADVICE)
        if step not in self._steps and not metadata["ended"]:
            raise ValueError(
                f"{self._checkpoint(step)}, which the run would go on from, is missing or damaged; "
                f"{STATE_ADVICE}"
            )
        return State(step, met, metadata["ended"], found)

    # Writing ------------------------------------------------------------------------------------

    @classmethod
    def open_to_write(cls, path: Path) -> tuple[RunDirectory, State]:
        """Lock a run, then read it and where it stands; damaged files of other steps are left out.

        Args:
            path: The directory.

        Returns:
            The run, locked until :meth:`close`, and its state at the last checkpoint.

        Raises:
            RuntimeError: If another process is writing there.
            FileNotFoundError: If there is no run, or none that reached a checkpoint.
            ValueError: Naming the file that cannot be used.
        """
        locked = cls.open(path, "skip")
        locked._lock = files.lock(path)
        try:
            run = cls.open(path, "skip")
            state = run.state()
        except BaseException:
            locked.close()
            raise
        run._lock = locked._lock
        for folder in (path, path / "checkpoints", path / "metrics"):
            files.clear_temporary(folder)
        return run, state

    def continue_from(self, state: State) -> None:
        """Remove what was written after ``state``, and go on from there."""
        for name in ANALYSIS:  # of the run as it stood
            (self.path / name).unlink(missing_ok=True)
        for step in [step for step in self._steps if step > state.step]:
            self._checkpoint(step).unlink(missing_ok=True)
        for part in [part for part in self._parts if int(part.stem) > state.step]:
            part.unlink(missing_ok=True)
        self._steps = [step for step in self._steps if step <= state.step]
        self._parts = [part for part in self._parts if int(part.stem) <= state.step]
        clock = self.path / "wall_clock.json"
        try:
            self._seconds = float(files.read_json(clock, "")["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            self._seconds = 0.0  # what it tells is not worth stopping for
        threads = files.read_json(self.path / "config.json", "").get("threads")
        if threads != torch.get_num_threads():
            warnings.warn(
                f"{self.path} was trained with {threads} threads and goes on with "
                f"{torch.get_num_threads()}: results will differ in the last bits from a run that was "
                f"not interrupted; call torch.set_num_threads({threads}) first to avoid that",
                stacklevel=3,
            )

    def checkpoint(self, step: int, parameters: Mapping[str, Tensor]) -> None:
        """Store the parameters."""
        files.write_tensors(self._checkpoint(step), parameters, _stamp(step=step))
        self._steps.append(step)

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add an evaluation, durable from the next :meth:`save` on."""
        self._pending[step] = dict(metrics)

    def save(self, state: State) -> None:
        """Write pending evaluations, then the state, then the time spent."""
        if self._pending:
            part = self.path / "metrics" / f"{state.step:010d}.parquet"
            table = pa.Table.from_pandas(as_table(self._pending))
            stamp = {name.encode(): value.encode() for name, value in _stamp().items()}
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), **stamp})
            with files.written_aside(part) as temporary:
                pq.write_table(table, temporary)
            self._parts.append(part)
            self._pending = {}
        stamp = _stamp(step=state.step, met=state.met, ended=state.ended)  # type: ignore[assignment]
        files.write_tensors(self.path / "state.safetensors", state.moments, stamp)  # type: ignore[arg-type]
        self.ended = state.ended
        seconds = self._seconds + time.monotonic() - self._since
        files.write_json(self.path / "wall_clock.json", {"seconds": seconds})

    def close(self) -> None:
        """Let other processes write."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _description(self) -> dict[str, Any]:
        config = self.split.config
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "task": to_dict(self.split.task.config),
            "split": to_dict(config),
            "model": to_dict(self.model_config),
            "train": to_dict(self.train_config),
            "versions": versions(),
            "threads": torch.get_num_threads(),
        }

    # Reading ------------------------------------------------------------------------------------

    def _checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"{step:010d}.safetensors"

    def _state_metadata(self) -> dict[str, str]:
        file = self.path / "state.safetensors"
        metadata = files.read_metadata(file, STATE_ADVICE)
        _check_stamp(metadata, file)
        missing = {"step", "met", "ended"} - metadata.keys()
        if missing:
            raise ValueError(f"{file} does not say {', '.join(sorted(missing))}; {STATE_ADVICE}")
        return metadata

    def _find(self, on_damage: str) -> None:
        """List checkpoints and parts of the metrics, looking at each."""
        for file in sorted((self.path / "checkpoints").glob("*.safetensors")):
            with _damage(on_damage):
                metadata = files.read_metadata(file, REST_ADVICE)
                _check_stamp(metadata, file)
                if metadata.get("step") != str(_step_of(file)):
                    raise ValueError(
                        f"{file} holds step {metadata.get('step')}, not what its name says; {REST_ADVICE}"
                    )
                self._steps.append(_step_of(file))
        for file in sorted((self.path / "metrics").glob("*.parquet")):
            with _damage(on_damage):
                _step_of(file)
                _read_part(file)
                self._parts.append(file)


History = InMemory | RunDirectory
"""What a training loop writes and a trajectory reads."""
REST_ADVICE = "Trajectory.load(path, on_damage='skip') leaves it out and reads the rest of the run"
STATE_ADVICE = "the run cannot be resumed, but Trajectory.load reads what it has stored"


def versions() -> dict[str, str]:
    """What a result was made with."""
    packages = ("grok-interp", "torch", "transformer-lens", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _is_run(path: Path) -> bool:
    try:
        values = files.read_json(path / "config.json", "")
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get("format") == FORMAT


def _stamp(**values: int | str) -> dict[str, str]:
    """What every binary file of a run says of itself."""
    return {"format": FORMAT, "schema": str(SCHEMA)} | {k: str(v) for k, v in values.items()}


def _check_stamp(metadata: Mapping[str, str], file: Path) -> None:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{file} was not written by grok_interp; {REST_ADVICE}")
    _check_schema(metadata.get("schema"), file)


def _check_schema(found: object, file: Path) -> None:
    if not str(found).isdecimal() or int(str(found)) < 1:
        raise ValueError(
            f"{file}: schema={found!r} must be a whole number from 1; the file is foreign"
        )
    if int(str(found)) > SCHEMA:
        raise ValueError(
            f"{file} has schema {found}, which is newer than the {SCHEMA} that this version of "
            "grok_interp reads: upgrade grok_interp"
        )


def _step_of(file: Path) -> int:
    if not file.stem.isdecimal():
        raise ValueError(
            f"{file} is not named after a step, so it is not of this run; {REST_ADVICE}"
        )
    return int(file.stem)


@contextmanager
def _damage(on_damage: str) -> Iterator[None]:
    """Raise errors about a file, or turn them into warnings."""
    try:
        yield
    except ValueError as error:
        if on_damage == "raise":
            raise
        warnings.warn(f"left out: {error}", stacklevel=5)


def _read_part(file: Path) -> pd.DataFrame:
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file} is not a whole Parquet file ({error}); {REST_ADVICE}") from error
    metadata = table.schema.metadata or {}
    _check_stamp({name.decode(): value.decode() for name, value in metadata.items()}, file)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _read_split(file: Path, task: ModularTask, config: SplitConfig) -> Split:
    """The stored split, which must be one of the task's pairs."""
    advice = "the run cannot be read without it; copy the directory again, or start the run again"
    _check_stamp(files.read_metadata(file, advice), file)
    found = files.read_any_tensors(file, advice)
    kinds = {"train_index": torch.int64, "test_index": torch.int64, "train_labels": torch.int64}
    kinds["resampled"] = torch.bool
    if {name: tensor.dtype for name, tensor in found.items()} != kinds:
        raise ValueError(f"{file} holds {sorted(found)}, expected {sorted(kinds)}; {advice}")
    every = torch.cat([found["train_index"], found["test_index"]]).sort()[0]
    n_train = found["train_index"].shape
    whole = torch.equal(every, torch.arange(task.p**2))
    fits = found["train_labels"].shape == n_train == found["resampled"].shape
    if not whole or not fits:
        raise ValueError(f"{file} does not divide the {task.p**2} pairs of the task; {advice}")
    return Split(task, config, **found)
