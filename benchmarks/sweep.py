"""A sweep of 64 runs against 64 single trainings, and one worker process against two.

    python benchmarks/sweep.py [--rounds 3]

The runs are of p=23 with 128 neurons, 1,000 steps each. Alone, each is trained by ``training.train`` and
nothing else, with one thread and with as many as there are, of which the faster counts; the sweep trains the
same, measures each run with its controls, and stores it. Pools are warm: that a process takes seconds to
import everything is no part of either. Exits with status 1 if the better of a sweep in this process and one
on two processes takes more than 1/2.5 of the time of single runs.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from timing import finish, interleaved

from grok_interp import outcomes, sweep, training
from grok_interp.config import (
    HookedMLPConfig,
    MeasureConfig,
    SplitConfig,
    SweepConfig,
    TaskConfig,
    TrainConfig,
)
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.sweep import jobs
from grok_interp.tasks import ModularTask

RUNS, STEPS = 64, 1000
LEAST = 2.5
"""Times as fast as single runs that the sweep has to be on two cores."""
CONFIG = SweepConfig(
    task=TaskConfig(p=23),
    split=SplitConfig(label_noise=0.3),
    model=HookedMLPConfig(d_mlp=128),
    train=TrainConfig(steps=STEPS),
    seeds=RUNS,
)


def single_runs() -> None:
    for run in CONFIG.expanded:
        split = ModularTask(run.task).split(run.split)
        config = replace(
            run.train, checkpoint_steps=()
        )  # as a sweep has it, which keeps no weights
        training.train(HookedMLP(run.model), split, config)


def single_runs_with_one_thread() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        single_runs()
    finally:
        torch.set_num_threads(threads)


def sweeping(folder: Path, executor: Executor | str) -> Callable[[], None]:
    """A sweep into a new directory each time."""
    number = itertools.count()

    def run() -> None:
        tally = sweep.run(CONFIG, folder / str(next(number)), executor, progress=False)
        if tally.finished != RUNS:
            raise RuntimeError(f"{tally}: {tally.failed}")

    return run


@contextmanager
def warm(specification: str) -> Iterator[Executor]:
    """A pool whose processes have imported everything and hold one thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(int(specification.removeprefix("processes:")))
    try:
        with sweep.opened(specification) as pool:
            torch.set_num_threads(threads)
            yield pool
    finally:
        torch.set_num_threads(threads)


def parts() -> str:
    """Where the time of one job goes, in this process."""
    job = sweep.plan(CONFIG.expanded)[0]
    with tempfile.TemporaryDirectory() as folder:
        moments = [time.perf_counter()]
        trained = jobs._train(job.runs)
        moments.append(time.perf_counter())
        measured = [outcomes.of(each, MeasureConfig()) for each in trained]
        moments.append(time.perf_counter())
        rows = [
            sweep.store.finished(run, each) for run, each in zip(job.runs, measured, strict=True)
        ]
        sweep.Store(folder).write(rows)
        moments.append(time.perf_counter())
    seconds = [after - before for before, after in itertools.pairwise(moments)]
    shares = [
        f"{name} {each / sum(seconds):.0%}" for name, each in zip(PARTS, seconds, strict=True)
    ]
    return f"a job of {len(job.runs)} runs here: {', '.join(shares)}"


PARTS = ("training", "measuring", "storing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(
        f"{RUNS} runs, p={CONFIG.task.p}, d_mlp={CONFIG.model.d_mlp}, {STEPS:,} steps; "
        f"{torch.get_num_threads()} threads here, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}"
    )
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        things: dict[str, Callable[[], object]] = {
            "single runs": single_runs,
            "with one thread": single_runs_with_one_thread,
        }
        things["here"] = sweeping(folder / "here", "local")
        for name in ("processes:1", "processes:2"):
            things[name] = sweeping(folder / name[-1], opened.enter_context(warm(name)))
        seconds = interleaved(things, rounds, 0)
    threads = seconds["with one thread"] / seconds["single runs"]
    print(
        f"  single runs with one thread take {threads:.2f} of their time with all; the less counts"
    )
    single = min(seconds["single runs"], seconds["with one thread"])
    for name in ("here", "processes:1", "processes:2"):
        print(f"  sweep, {name:<12} {single / seconds[name]:5.2f} times as fast")
    both = seconds["processes:1"] / seconds["processes:2"]
    print(f"  two processes against one: {both:.2f} times as fast")
    print(f"  {parts()}")
    best = max(single / seconds[name] for name in ("here", "processes:2"))
    missed = [f"{best:.2f} times as fast as single runs, at least {LEAST:g}"]
    finish(missed if best < LEAST else [])


if __name__ == "__main__":
    main()
