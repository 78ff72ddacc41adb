"""Seconds and megabytes of the parts of a run, at sizes that vary one at a time.

Four parts, each as runs have it: a *training step* of networks stacked as many as a sweep has in a job;
*extraction* (:func:`grok_interp.neurons.extract`) of many networks, as of a run's checkpoints; *evaluation*
(ideal weights and their accuracy on all pairs) and *read-out* (the ridge fit of the frozen-input control)
of as many as that control has. Float32, ReLU, full batches, one thread.

*Seconds* are those of the thread's processor (``time.thread_time``), for one network: what a worker takes
that has a core of its own. What else the machine does can only lengthen them, so the least of some is taken.
*Megabytes* (10^6 bytes) are the peak of resident memory during a call above what was resident before it, with
the same number of networks at every size (in training one), so that they differ by the size alone. Free
memory is first given back (``malloc_trim``), then Linux' mark of the peak is set to the present (5 written to
``/proc/self/clear_refs``, the mark is VmHWM). That counts what libraries under torch take and leaves out
pages that are never written. Memory is measured before time, and meanwhile blocks are given back as soon as
they are freed (``mallopt``): what glibc would keep of them depends on what the process did before, can be
more than the call itself holds, and is not counted. Where there is no such mark (macOS, Windows) megabytes
are NaN.

What is not evidence: these are numbers of one machine. Their exponents carry over better than themselves.
"""

from __future__ import annotations

import ctypes
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from grok_interp import controls, idealize, measures, neurons
from grok_interp.config import MeasureConfig, TrainConfig
from grok_interp.config.checks import check_count, check_modulus
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.lockstep import Lockstep
from grok_interp.sweep.jobs import most_together
from grok_interp.tasks import ModularTask
from grok_interp.training import make_job

TRAINING, EXTRACTION, EVALUATION, READOUT = "training step", "extraction", "evaluation", "read-out"
PARTS = (TRAINING, EXTRACTION, EVALUATION, READOUT)
NOT_READING = (EXTRACTION, EVALUATION)
"""Parts that do not read the training pairs."""
START = "start"
"""The fifth thing measured: a process that imports the library, which every worker is."""
TOGETHER = {
    TRAINING: 1,
    EXTRACTION: 50,
    EVALUATION: MeasureConfig.draws,
    READOUT: MeasureConfig.draws,
}
"""Networks in a call whose memory is measured, which is the one that is timed too, except of training."""
CENTRE, CHECK, FLOOR = "centre", "check", "floor"
"""Arms of a design beside those that are named by the size that varies in them."""
LEAST_SECONDS = 0.02
"""A call is repeated until it takes so long, thousands of times the resolution of the clock."""


class Size(NamedTuple):
    """Sizes of a network and its training set.

    Attributes:
        p: Modulus.
        d_mlp: Number of neurons.
        pairs: N, the number of training pairs.
    """

    p: int
    d_mlp: int
    pairs: int


@dataclass(frozen=True)
class Design:
    """Which sizes to measure: one at a time about a centre, and others that fits do not see.

    Attributes:
        centre: In every arm.
        p: Moduli at the centre's other sizes.
        d_mlp: Widths at the centre's other sizes.
        pairs: Numbers of training pairs at the centre's other sizes.
        checks: Sizes to try predictions on.

    Raises:
        TypeError: If a modulus is not an int.
        ValueError: If a number is out of range, or there are fewer than p * p pairs to train on.
    """

    centre: Size
    p: tuple[int, ...]
    d_mlp: tuple[int, ...]
    pairs: tuple[int, ...]
    checks: tuple[Size, ...] = ()

    def __post_init__(self) -> None:
        for _, size in self.points:
            check_modulus(size.p)
            check_count("d_mlp", size.d_mlp, 1)
            check_count("pairs", size.pairs, 1)
            if size.pairs > size.p**2:
                raise ValueError(
                    f"pairs={size.pairs} are more than the {size.p**2} that p={size.p} has: take fewer, "
                    "or a larger p"
                )

    @property
    def points(self) -> list[tuple[str, Size]]:
        """Every size once, with the name of its arm."""
        found = {self.centre: CENTRE}
        for arm in Size._fields:
            for value in getattr(self, arm):
                found.setdefault(self.centre._replace(**{arm: value}), arm)
        for size in self.checks:
            found.setdefault(size, CHECK)
        return [(arm, size) for size, arm in found.items()]


SMALL = Design(
    centre=Size(113, 256, 3400),
    p=(59, 83, 157, 199),
    d_mlp=(64, 128, 512, 1024),
    pairs=(425, 850, 1700, 6800, 12700),
    checks=(
        Size(23, 128, 264),
        Size(113, 512, 5107),
        Size(251, 512, 18900),
        Size(499, 512, 99600),
    ),
)
"""From the size of small studies to beyond the papers'; three to six minutes on a core."""
REPEATS = 3
NOTHING = Size(3, 1, 4)
"""A call at this size does no work worth mentioning: its time is overhead."""


def measure(sizes: Design = SMALL, repeats: int = REPEATS) -> pd.DataFrame:
    """Measure every part at every size, in turns, so that what slows the machine slows all of them.

    PyTorch's number of threads is 1 meanwhile.

    Args:
        sizes: Where.
        repeats: Rounds, in each of which every part is measured at every size.

    Returns:
        A row for each part and size: ``what`` (one of :data:`PARTS`), ``arm``, ``p``, ``d_mlp``, ``pairs``;
        ``networks``, how many a timed call takes together; ``seconds`` for one of them, the least of the
        rounds; ``megabytes`` of a call on as many as :data:`TOGETHER` says; ``overhead`` and
        ``overhead_megabytes``, the shares of a call's seconds and megabytes that a call on nothing takes,
        which the rows of arm "floor" measure. The last row is the start of a process, with sizes 0: its
        seconds, and all that it keeps resident.

    Raises:
        ValueError: If ``repeats < 1``.
    """
    check_count("repeats", repeats, 1)
    with _one_thread():
        with _giving_back():
            calls = [
                _prepared(what, arm, size)
                for arm, size in [(FLOOR, NOTHING), *sizes.points]
                for what in PARTS
            ]
            megabytes = [peak_megabytes(call.whole) for call in calls]
        times = [call.times() for call in calls]
        seconds: list[list[float]] = [[] for _ in calls]
        for _ in range(repeats):
            for call, count, found in zip(calls, times, seconds, strict=True):
                found.append(_seconds(call.run, count))
        frame = pd.DataFrame(
            {
                "what": call.what,
                "arm": call.arm,
                **call.size._asdict(),
                "networks": call.networks,
                "seconds": min(found) / call.networks,
                "megabytes": held,
            }
            for call, found, held in zip(calls, seconds, megabytes, strict=True)
        )
    in_a_call = frame["seconds"] * frame["networks"]
    for name, values in (("overhead", in_a_call), ("overhead_megabytes", frame["megabytes"])):
        floor = values[frame["arm"] == FLOOR].set_axis(PARTS)
        frame[name] = frame["what"].map(floor) / values
    return pd.concat([frame, _start()], ignore_index=True)


def peak_megabytes(run: Callable[[], object]) -> float:
    """Peak of resident memory during a call above what is resident before it; see the module.

    Args:
        run: What to call, once to warm up and once to measure.

    Returns:
        Millions of bytes; NaN where the system does not tell.
    """
    with _giving_back() as trim:
        run()
        trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")
            before = _status("VmRSS")
        except OSError:
            return math.nan
        run()
        return max(0.0, _status("VmHWM") - before)


# One call -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """One part at one size: ``run`` is timed, and memory is measured of ``whole``."""

    what: str
    arm: str
    size: Size
    networks: int
    run: Callable[[], object]
    whole: Callable[[], object]

    def times(self) -> int:
        """How often to call for :data:`LEAST_SECONDS`; these calls warm up."""
        seconds = _seconds(self.run, 1)
        if seconds < LEAST_SECONDS:  # most of which may have been the warming up
            seconds = _seconds(self.run, 1)
        return max(1, math.ceil(LEAST_SECONDS / max(seconds, 1e-6)))


def _prepared(what: str, arm: str, size: Size) -> _Call:
    p, d_mlp, pairs = size
    task = ModularTask(p)
    # The number of pairs is rounded down.
    split = task.split(train_fraction=min(1.0, (pairs + 0.5) / p**2))
    if what == TRAINING:
        together = 1 if arm == FLOOR else most_together(pairs, p, d_mlp)
        config = TrainConfig(progress=False)
        jobs = [
            make_job(HookedMLP(p=p, d_mlp=d_mlp, seed=seed), split, config)
            for seed in range(together)
        ]
        stack, done = Lockstep(jobs), 0

        def step() -> None:
            nonlocal done
            stack.step(done)
            done += 1

        def from_the_start() -> None:
            fresh = Lockstep(jobs[: TOGETHER[TRAINING]])
            fresh.evaluate()
            fresh.step(0)

        return _Call(what, arm, size, together, step, from_the_start)
    one = HookedMLP(p=p, d_mlp=d_mlp, seed=0).weights().detach()
    count = TOGETHER[what]
    weights = one.map(lambda tensor: tensor.expand(count, *tensor.shape).clone())
    if what == EXTRACTION:

        def run() -> object:
            return neurons.extract(weights, task)
    elif what == EVALUATION:
        table = neurons.extract(weights, task)

        def run() -> object:
            return measures.accuracy(idealize.build(table).weights, task)
    else:

        def run() -> object:
            return controls.ridge_readout(weights, split.train_tokens, split.train_labels)

    return _Call(what, arm, size, count, run, run)


def _seconds(run: Callable[[], object], times: int) -> float:
    start = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - start) / times


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Memory -------------------------------------------------------------------------------------------


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of two of glibc's settings: free bytes at which a heap shrinks, and bytes of a block outside it."""
LEAST_BLOCK, MOST_BLOCK = 1 << 17, 1 << 25
"""What glibc begins with as the second, and what it raises it to by itself as large blocks are freed."""


@contextmanager
def _giving_back() -> Iterator[Callable[[int], int]]:
    """Large blocks go to the system as they become free, the rest by what this yields; glibc's only."""
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (AttributeError, TypeError):  # TypeError: Windows has no library named None
        yield lambda _: 0
        return
    mallopt(M_MMAP_THRESHOLD, LEAST_BLOCK)
    try:
        yield trim
    finally:
        mallopt(M_MMAP_THRESHOLD, MOST_BLOCK)
        mallopt(M_TRIM_THRESHOLD, 2 * MOST_BLOCK)


def _status(name: str) -> float:
    """An entry of ``/proc/self/status``, which is in KiB, in megabytes."""
    found = re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}")
    return int(found[1]) * 1024 / 1e6


STARTED = """
import time
from grok_interp.study import cost_points
print(time.process_time(), cost_points._resident())
"""


def _start() -> pd.DataFrame:
    """What a process takes to import the library and keeps resident, most of it transformer_lens."""
    command = [sys.executable, "-c", STARTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, resident = map(float, done.stdout.split()[-2:])
    row = {"what": START, "arm": START, "p": 0, "d_mlp": 0, "pairs": 0, "networks": 1}
    row |= {"seconds": seconds, "megabytes": resident}
    return pd.DataFrame([row | {"overhead": 0.0, "overhead_megabytes": 0.0}])


def _resident() -> float:
    """Peak of resident memory of this process; NaN where the system does not tell."""
    # Not getrusage, which begins with the peak of the process that started this one.
    try:
        return _status("VmHWM")
    except OSError:
        return math.nan
