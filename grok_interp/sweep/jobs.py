"""Runs that train together, as one job: settings and a path in, the path of a file out."""

from __future__ import annotations

import errno
import json
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grok_interp import ensemble, outcomes, runs, training
from grok_interp.config import SweepRun, TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.lockstep import UNSTACKED
from grok_interp.sweep.store import Store, failed, finished
from grok_interp.tasks import ModularTask, Split
from grok_interp.trajectory import Trajectory

MOST_TOGETHER = 16
"""Networks in a job, at most. Larger stacks are hardly faster, and a job is what a killed worker loses."""
CACHED_ELEMENTS = 1 << 18
"""Activations of a job's networks: 1 MB, of which processes that share a cache all want some."""
STACKED_TYPES = ("float32", "float64")


@dataclass(frozen=True)
class Job:
    """Runs of one shape.

    Attributes:
        runs: Their settings.
    """

    runs: tuple[SweepRun, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What its runs are known by."""
        return tuple(run.name for run in self.runs)

    @property
    def work(self) -> float:
        """Multiplications of its training, which say how long it takes beside others."""
        steps = max(run.train.steps for run in self.runs)
        return float(steps * len(self.runs) * _pairs(self.runs[0]) * _width(self.runs[0]))

    @property
    def alone(self) -> tuple[Job, ...]:
        """A job for each of its runs."""
        return tuple(Job((run,)) for run in self.runs)


def plan(sweep: Iterable[SweepRun], workers: int = 1) -> list[Job]:
    """Group runs of one shape into jobs, the longest first, so that no worker is left with one at the end.

    Args:
        sweep: Distinct runs.
        workers: How many jobs can run at a time; none has more runs than an even share of them.

    Returns:
        Jobs of nearly equal size; networks that would leave the cache together have one each.
    """
    alike: dict[tuple[object, ...], list[SweepRun]] = {}
    for run in sweep:
        alike.setdefault(_shape(run), []).append(run)
    share = -(-sum(map(len, alike.values())) // workers)
    jobs = [Job(tuple(part)) for members in alike.values() for part in _parts(members, share)]
    return sorted(jobs, key=lambda job: -job.work)


def most_together(pairs: int, p: int, d_mlp: int) -> int:
    """How many runs of one shape a job has at most; fewer where workers would have none.

    Args:
        pairs: Training pairs of a step.
        p: Modulus.
        d_mlp: Number of neurons.

    Returns:
        As many as stay in the cache together, at least 1 and at most :data:`MOST_TOGETHER`.
    """
    return min(MOST_TOGETHER, max(1, CACHED_ELEMENTS // (pairs * max(d_mlp, p))))


def _shape(run: SweepRun) -> tuple[object, ...]:
    """What runs that train together have in common, as ``lockstep.Job.shape``, before any model is made."""
    model = replace(run.model, seed=0, init="uniform", init_scale=1.0)
    defaults = TrainConfig()
    train = replace(run.train, **{name: getattr(defaults, name) for name in UNSTACKED})
    return model, train, run.split.train_fraction, run.split.symmetric


def _parts(members: Sequence[SweepRun], share: int) -> Iterator[Sequence[SweepRun]]:
    first = members[0]
    most = min(share, most_together(_pairs(first), first.model.p, first.model.d_mlp))
    most = most if first.model.dtype in STACKED_TYPES else 1
    count = -(-len(members) // most)
    for i in range(count):
        yield members[i * len(members) // count : (i + 1) * len(members) // count]


def _pairs(run: SweepRun) -> int:
    """Training pairs of a step."""
    pairs = max(1, int(run.split.train_fraction * run.task.p**2))
    return min(pairs, run.train.batch_size or pairs)


def _width(run: SweepRun) -> int:
    return run.model.d_mlp * run.model.p


def train_and_measure(job: Job, path: Path, attempt: str = "") -> Path:
    """Train the runs of a job, measure them, and write them down as one file.

    A run that goes wrong is written down as failed, with its reason: divergence, no memory, or anything else
    that it raises. What goes wrong in writing is raised, since then nothing is kept.

    Args:
        job: The runs.
        path: Directory of the sweep.
        attempt: Any text by which this call differs from others of the same job, which Dask would answer
            with the result of the first.

    Returns:
        The file with their rows; the folder if all were there.

    Raises:
        OSError: If the file cannot be written, as on a full disk.
    """
    store = Store(path)
    if store.has(job.names):  # this job ran before, and nobody heard of it
        return store.folder
    return store.write(_rows(job))


def _rows(job: Job) -> list[dict[str, Any]]:
    started = time.perf_counter()
    about = {"versions": json.dumps(runs.versions())}
    try:
        trained = _train(job.runs)
    except Exception as error:  # whatever it is, it is this job's alone
        _check_no_file_failed(error)
        if len(job.runs) > 1:  # together they may be too much, or one of them spoils it for all
            return [row for single in job.alone for row in _rows(single)]
        return [failed(job.runs[0], _reason(error), seconds=_since(started), **about)]
    rows = []
    training_seconds = _since(started) / len(job.runs)
    for run, result in zip(job.runs, trained, strict=True):
        begun = time.perf_counter()
        row = _measured(run, result)
        rows.append(row | {"seconds": training_seconds + _since(begun)} | about)
    return rows


def _train(members: Sequence[SweepRun]) -> list[Trajectory]:
    """Runs of one shape, trained; one that diverged says so in ``ended``."""
    models, splits = [HookedMLP(run.model) for run in members], [_split(run) for run in members]
    configs = [_stored(run) for run in members]
    if members[0].model.dtype not in STACKED_TYPES:
        return [training.train(*each) for each in zip(models, splits, configs, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of runs that diverge: their rows say so
        return ensemble.train(models, splits, configs)


def _split(run: SweepRun) -> Split:
    return ModularTask(run.task).split(run.split)


def _stored(run: SweepRun) -> TrainConfig:
    """How to train; only what is measured is stored."""
    return run.train if run.measure.along else replace(run.train, checkpoint_steps=())


def _measured(run: SweepRun, trajectory: Trajectory) -> dict[str, Any]:
    if trajectory.ended.startswith(training.FAILED):
        return failed(run, trajectory.ended.removeprefix(training.FAILED))
    try:
        return finished(run, outcomes.of(trajectory, run.measure), reason=trajectory.ended)
    except Exception as error:  # as above
        _check_no_file_failed(error)
        return failed(run, _reason(error))


def _check_no_file_failed(error: Exception) -> None:
    """Raise an error of a file or a disk again, which is no run's; what has no memory is."""
    if isinstance(error, OSError) and error.errno != errno.ENOMEM:
        raise error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    name = type(error).__name__
    if isinstance(error, FloatingPointError):
        return text
    memory = isinstance(error, MemoryError) or any(
        word in text.lower() for word in ("out of memory", "allocate memory", "not enough memory")
    )
    return f"{'out of memory: ' if memory else ''}{name}: {text}"


def _since(start: float) -> float:
    return time.perf_counter() - start
