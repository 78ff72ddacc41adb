"""What a study costs: hours by part, hours on some workers, memory of a worker.

A *worker* is one process with one thread on a core of its own, a *job* the runs that a sweep trains together.
Jobs do not depend on each other and one worker does each::

    hours = start + ceil(jobs / workers) * hours of a job,    memory = start + max over parts

A law is a straight line through something that bends: products take over from passes over memory as p grows,
and in memory what grows with N p or d_mlp^2 takes over from buffers of constant size. Given the measurements,
a bill begins at the nearest of them, in logs, and takes from the law only the way from there to its own size,
for the hours and the memory of each part.

What is not evidence: a bill beyond the sizes that were measured, which says of which part and which sizes,
and one for a machine on which nothing was. Memory can be twice too high there. Not counted are
evaluations along training (about 1% of it at one in 100 steps), measures other than those of the three parts,
memory that the allocator keeps of what was freed, waiting for the queue of a cluster, and what workers on one
machine take from each other's caches and memory bus.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from grok_interp.config import MeasureConfig
from grok_interp.config.checks import check_count
from grok_interp.dynamics import MODES
from grok_interp.study.cost_points import (
    EVALUATION,
    EXTRACTION,
    FLOOR,
    NOT_READING,
    PARTS,
    READOUT,
    START,
    TOGETHER,
    TRAINING,
    Size,
)
from grok_interp.sweep.jobs import most_together

SECONDS, MEGABYTES = "seconds", "megabytes"
HOUR = 3600


@dataclass(frozen=True)
class Bill:
    """What some runs of one shape cost.

    Attributes:
        size: Of the networks and their training sets.
        steps: Training steps of a run.
        runs: How many.
        workers: Processes with a thread each.
        jobs: Jobs that the runs make for so many workers, of nearly equal size.
        start: Hours until a worker has imported the library.
        training: Core-hours of all runs' training.
        extraction: Core-hours of reading neurons.
        evaluation: Core-hours of idealising, and of accuracies on all pairs.
        readout: Core-hours of fitting the control's read-outs.
        gigabytes: Memory of a worker at its peak (10^9 bytes), the library included; NaN if not measured.
        peak: The part that needs most memory; empty if not measured.
        beyond: Parts whose seconds were measured at no such size, and which sizes those are; empty if none.
        beyond_memory: The same of the memory of the part that needs most.
    """

    size: Size
    steps: int
    runs: int
    workers: int
    jobs: int
    start: float
    training: float
    extraction: float
    evaluation: float
    readout: float
    gigabytes: float
    peak: str
    beyond: str
    beyond_memory: str

    @property
    def core_hours(self) -> float:
        """Hours of all parts of all runs."""
        return self.training + self.extraction + self.evaluation + self.readout

    @property
    def together(self) -> int:
        """Runs in the largest job."""
        return math.ceil(self.runs / self.jobs)

    @property
    def busy(self) -> int:
        """Workers that ever have something to do."""
        return min(self.workers, self.jobs)

    @property
    def job_hours(self) -> float:
        """Hours of the largest job."""
        return self.core_hours / self.runs * self.together

    @property
    def hours(self) -> float:
        """Hours until the last job is done."""
        return self.start + math.ceil(self.jobs / self.workers) * self.job_hours

    def __str__(self) -> str:
        p, d_mlp, pairs = self.size
        lines = [
            f"{self.runs:,} runs of {self.steps:,} steps at p={p}, d_mlp={d_mlp}, {pairs:,} training pairs",
            f"  {self.core_hours:.3g} core-hours: training {self.training:.3g}, "
            f"evaluation {self.evaluation:.3g}, read-outs {self.readout:.3g}, "
            f"extraction {self.extraction:.3g}",
            f"  {self.hours:.3g} hours on {self.workers:,} workers, {self.busy:,} of them busy; "
            f"{self.jobs:,} jobs of {self.together}",
            f"  {self.gigabytes:.3g} GB a worker, {self.gigabytes * self.busy:.3g} GB in all",
        ]
        for what, beyond in (("hours", self.beyond), ("memory", self.beyond_memory)):
            if beyond:
                lines.append(f"  {what} by extrapolation: {beyond}")
        return "\n".join(lines)


def predict(
    fits: pd.DataFrame,
    p: int,
    d_mlp: int,
    pairs: int,
    steps: int,
    runs: int,
    workers: int,
    *,
    measured: pd.DataFrame | None = None,
    measure: MeasureConfig | None = None,
    checkpoints: int = 1,
) -> Bill:
    """Bill some runs of one shape, full batches, from fitted laws.

    Memory of more networks than a measured call held is taken to grow in proportion, an upper bound. Where
    there are so many workers that jobs are smaller than they could be, a network is taken to need no longer.

    Args:
        fits: What :func:`grok_interp.study.costs.fit` found.
        p: Modulus.
        d_mlp: Number of neurons.
        pairs: Number of training pairs.
        steps: Training steps of a run.
        runs: How many runs.
        workers: Processes with a thread each.
        measured: What the fits were made of, to begin at the nearest size; None takes the laws alone.
        measure: What is measured of each run.
        checkpoints: Stored weights of each run that are measured.

    Returns:
        The bill.

    Raises:
        ValueError: If a number is out of range, or a part has no fit.
    """
    size = Size(p, d_mlp, pairs)
    named = size._asdict() | {"steps": steps, "runs": runs, "workers": workers}
    for name, value in (named | {"checkpoints": checkpoints}).items():
        check_count(name, value, 1)
    measure = MeasureConfig() if measure is None else measure
    networks, laws = networks_measured(measure, checkpoints), laws_of(fits)
    jobs = math.ceil(runs / min(most_together(pairs, p, d_mlp), math.ceil(runs / workers)))
    begin = {} if measured is None else _nearest(measured, size)
    seconds, megabytes = (
        {part: expected(laws, part, of, size) * _off(laws, part, of, begin) for part in PARTS}
        for of in (SECONDS, MEGABYTES)
    )
    most = max(measure.draws, checkpoints)
    together = {TRAINING: math.ceil(runs / jobs), READOUT: measure.draws}
    for part in PARTS:
        megabytes[part] *= max(1.0, together.get(part, most) / TOGETHER[part])
    held = float(np.max(list(megabytes.values())))
    peak = "" if math.isnan(held) else max(megabytes, key=lambda part: megabytes[part])
    return Bill(
        size=size,
        steps=steps,
        runs=runs,
        workers=workers,
        jobs=jobs,
        start=expected(laws, START, SECONDS, size) / HOUR,
        training=runs * steps * seconds[TRAINING] / HOUR,
        extraction=runs * networks[EXTRACTION] * seconds[EXTRACTION] / HOUR,
        evaluation=runs * networks[EVALUATION] * seconds[EVALUATION] / HOUR,
        readout=runs * networks[READOUT] * seconds[READOUT] / HOUR,
        gigabytes=(expected(laws, START, MEGABYTES, size) + held) / 1e3,
        peak=peak,
        beyond=_beyond(laws, PARTS, SECONDS, size, begin),
        beyond_memory=_beyond(laws, (peak,), MEGABYTES, size, begin) if peak else "",
    )


def networks_measured(measure: MeasureConfig, checkpoints: int = 1) -> dict[str, int]:
    """How many networks :func:`grok_interp.outcomes.of` extracts, evaluates and fits for one run.

    The network at each checkpoint and the draws of its controls are counted alike.

    Args:
        measure: What is measured.
        checkpoints: Stored weights that are measured.

    Returns:
        Networks by part.
    """
    draws, modes = measure.draws, len(measure.frequencies)
    waves = len(measure.input_waveforms) * len(measure.output_waveforms)
    # dynamics.table reads each checkpoint in three modes, outcomes.of the last and the draws; the lottery two
    # networks more.
    extracted = len(MODES) * (checkpoints + 1 + draws) + 2
    evaluated = len(MODES) * (draws + checkpoints) + checkpoints
    evaluated += (1 + draws) * (1 + modes * waves * len(measure.replaced))
    fitted = draws
    if measure.all_controls:  # one controls.evaluate for each mode
        extracted += modes * (9 * draws + 4)
        evaluated += modes * (6 * draws + 4)
        fitted += modes * (draws + 1)
    return {EXTRACTION: extracted, EVALUATION: evaluated, READOUT: fitted}


Laws = Mapping[tuple[str, str], Mapping[Any, Any]]
"""Fitted laws by part and "seconds" or "megabytes"."""


def laws_of(fits: pd.DataFrame) -> Laws:
    """The rows of what :func:`grok_interp.study.costs.fit` found, by part and what they are a law of."""
    return {(law["what"], law["of"]): law for law in fits.to_dict("records")}


def expected(laws: Laws, what: str, of: str, size: Size) -> float:
    """The fitted law of one part at a size: ``exp(log_constant) p^a d_mlp^b N^g``.

    Args:
        laws: As from :func:`laws_of`.
        what: The part.
        of: ``"seconds"`` of one network or ``"megabytes"`` of a call on :data:`.cost_points.TOGETHER`.
        size: Where.

    Returns:
        Seconds or megabytes.

    Raises:
        ValueError: If the part has no law.
    """
    if (what, of) not in laws:
        raise ValueError(
            f"the fits have no row for {of} of {what!r}: pass what costs.fit made of costs.measure"
        )
    law = laws[what, of]
    logs = sum(law[name] * math.log(value) for name, value in size._asdict().items())
    return math.exp(law["log_constant"] + logs)


Begin = Mapping[tuple[str, str], tuple[Size, float]]
"""Sizes by part and "seconds" or "megabytes", and what was measured there."""


def _nearest(measured: pd.DataFrame, size: Size) -> Begin:
    """The measured size nearest to one, in logs, of each part."""
    found: dict[tuple[str, str], tuple[float, Size, float]] = {}
    for row in measured.to_dict("records"):
        if row["arm"] in (FLOOR, START):
            continue
        here = Size(*(int(row[name]) for name in Size._fields))
        far = sum(math.log(a / b) ** 2 for a, b in zip(here, size, strict=True))
        for of in (SECONDS, MEGABYTES):
            law = row["what"], of
            if row[of] > 0 and (law not in found or far < found[law][0]):
                found[law] = far, here, float(row[of])
    return {law: (here, value) for law, (_, here, value) in found.items()}


def _off(laws: Laws, what: str, of: str, begin: Begin) -> float:
    """Measured over expected where a bill begins."""
    if (what, of) not in begin:
        return 1.0
    size, value = begin[what, of]
    return value / expected(laws, what, of, size)


def _beyond(laws: Laws, parts: Sequence[str], of: str, size: Size, begin: Begin) -> str:
    """Parts, and which of their sizes are outside those that were measured; parts alike in one."""
    found: dict[str, list[str]] = {}
    for what in parts:
        law, outside = laws[what, of], []
        for name, value in size._asdict().items():
            if name == "pairs" and what in NOT_READING:
                continue
            least, most = int(law[f"{name}_from"]), int(law[f"{name}_to"])
            if (what, of) in begin:
                near = getattr(begin[what, of][0], name)
                least, most = min(least, near), max(most, near)
            if not least <= value <= most:
                outside.append(f"{name}={value:,} (measured {least:,} to {most:,})")
        if outside:
            found.setdefault(", ".join(outside), []).append(what)
    return "; ".join(
        f"{'all parts' if tuple(alike) == PARTS else ', '.join(alike)} at {outside}"
        for outside, alike in found.items()
    )
