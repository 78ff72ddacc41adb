"""Run a sweep: what is there is skipped, the rest goes to an executor, and every run ends up in the store."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from tqdm import tqdm

from grok_interp.config import SweepConfig, SweepRun, TaskConfig
from grok_interp.sweep import executors
from grok_interp.sweep.jobs import Job, plan, train_and_measure
from grok_interp.sweep.store import FAILED, FINISHED, Store, failed
from grok_interp.tasks import ModularTask
from grok_interp.training import SHOWN_EVERY

KILLED = "the process that ran it was killed, perhaps for want of memory"
"""Why a run failed whose worker died of it."""
KILLED_BY_DASK = "KilledWorker"
"""What ``dask.distributed`` raises of a job whose workers died of it several times."""


@dataclass
class Tally:
    """What became of the runs of a sweep.

    Attributes:
        finished: Runs that finished now.
        failed: Why each run failed now, by its name.
        skipped: Runs that had finished before.
        failed_before: Runs that had failed before, and were not tried again.
    """

    finished: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    failed_before: int = 0

    def __str__(self) -> str:
        before = f", {self.failed_before} failed before" if self.failed_before else ""
        return (
            f"{self.finished} finished, {len(self.failed)} failed, {self.skipped} skipped{before}"
        )


def run(
    sweep: SweepConfig | Iterable[SweepRun],
    out: Path | str,
    executor: Executor | str = "local",
    *,
    workers: int | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Tally:
    """Train and measure every run of a sweep that is not in the store yet.

    A run that fails is stored with its reason, and the others go on. After Ctrl-C, a crash or a full disk the
    same call goes on with the runs that are not stored; a job that was cut off starts again.

    Args:
        sweep: The runs.
        out: Directory of the store; sweeps that share runs may share one.
        executor: Where jobs run: any ``concurrent.futures.Executor``, whose workers must see ``out`` under
            the same path, or text as for :func:`.executors.opened`. Of an executor made here, a process
            that a run kills is replaced, and the run is stored as failed.
        workers: How many jobs can run at a time, among whom few runs are shared out. None asks the executor
            if it is given as text, and takes 1 otherwise.
        retry_failed: Whether runs that failed before run again.
        progress: Whether to show a bar.

    Returns:
        How many runs finished, failed and were skipped.

    Raises:
        ValueError: If a task has no coordinates, so that nothing can be measured, or the executor is
            unknown.
        FileExistsError: If ``out`` holds something else.
        RuntimeError: If another sweep is running there, or the executor broke.
        OSError: If the store cannot be written.
    """
    runs = _distinct(sweep)
    if isinstance(executor, str):
        executors.check(executor)
    _check_tasks(runs)
    store = Store(Path(out).absolute())
    with store.claimed():
        if retry_failed:
            store.forget_failed({each.name for each in runs})
        there = store.statuses()
        if workers is None:
            workers = executors.workers(executor) if isinstance(executor, str) else 1
        jobs = remaining(runs, store.path, workers)
        tally = Tally(
            skipped=sum(there.get(each.name) == FINISHED for each in runs),
            failed_before=sum(there.get(each.name) == FAILED for each in runs),
        )
        with _Bar(len(runs), tally, progress) as bar:
            if isinstance(executor, str):
                _run_and_survive(jobs, store, executor, bar)
            else:
                lost = _run_jobs(jobs, store, executor, bar)
                if lost:
                    raise RuntimeError(
                        f"the executor broke with {sum(len(job.runs) for job in lost)} runs to go: make "
                        f"another one, and the same call goes on ({tally}); if a run breaks each of them, "
                        "executor='processes:1' finds it and stores it as failed"
                    )
    return tally


def remaining(
    sweep: SweepConfig | Iterable[SweepRun], out: Path | str, workers: int = 1
) -> list[Job]:
    """The jobs of a sweep whose runs are not in the store, for executors that are none of Python's.

    :func:`.jobs.train_and_measure` takes each with the store's path, wherever and in whatever order.

    Args:
        sweep: The runs.
        out: Directory of the store, which need not be there yet.
        workers: How many jobs can run at a time; none has more runs than an even share of them.

    Returns:
        Jobs, the longest first.

    Raises:
        ValueError: Naming a file of the store that is damaged.
    """
    there = Store(out).statuses()
    # Grouped as if nothing were there: how many train together changes rounding, and a sweep that was cut
    # off is to end with the numbers of one that was not.
    groups = (
        [each for each in job.runs if each.name not in there]
        for job in plan(_distinct(sweep), workers)
    )
    return [Job(tuple(group)) for group in groups if group]


def _distinct(sweep: SweepConfig | Iterable[SweepRun]) -> list[SweepRun]:
    runs = sweep.expanded if isinstance(sweep, SweepConfig) else sweep
    return list({each.name: each for each in runs}.values())


def _check_tasks(runs: Sequence[SweepRun]) -> None:
    tasks: dict[TaskConfig, None] = dict.fromkeys(each.task for each in runs)
    for task in tasks:
        ModularTask(task).require_coordinates("a sweep measures ideal weights")


class _Bar:
    """Counts runs as they end, and shows it: finished, failed, skipped, time left."""

    def __init__(self, total: int, tally: Tally, shown: bool) -> None:
        self.tally = tally
        self._bar = tqdm(
            total=total,
            initial=tally.skipped + tally.failed_before,
            desc="sweep",
            unit="run",
            mininterval=SHOWN_EVERY[sys.stderr.isatty()],
            disable=not shown,
        )

    def __enter__(self) -> _Bar:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def ended(self, job: Job, failures: dict[str, str]) -> None:
        self.tally.failed |= failures
        self.tally.finished += len(job.runs) - len(failures)
        self._show()
        self._bar.update(len(job.runs))

    def _show(self) -> None:
        tally = self.tally
        self._bar.set_postfix(
            finished=tally.finished,
            failed=len(tally.failed) + tally.failed_before,
            skipped=tally.skipped,
            refresh=False,
        )


def _run_and_survive(jobs: Sequence[Job], store: Store, specification: str, bar: _Bar) -> None:
    """Run jobs in executors of our own, and find the run that kills its process.

    A pool does not say which job a dead process had. It hands jobs out in their order, so it is one of the
    first that are left, as many as there are processes.
    """
    left = list(jobs)
    while left:
        with executors.opened(specification) as executor:
            lost = _run_jobs(left, store, executor, bar)
        left = _not_stored(lost, store, bar)
        if left:
            count = executors.workers(specification)
            suspects, left = left[:count], left[count:]
            _find_killers(suspects, store, bar)


def _find_killers(suspects: Sequence[Job], store: Store, bar: _Bar) -> None:
    """Run jobs one after another in one process: it dies of the first that is left.

    That job's runs are then tried by themselves. A process begins only when another has died, since to begin
    takes longer than most runs.
    """
    while suspects:
        with executors.opened("processes:1") as executor:
            lost = _not_stored(_run_jobs(suspects, store, executor, bar), store, bar)
        if lost and len(lost[0].runs) > 1:
            _find_killers(lost[0].alone, store, bar)
        elif lost:
            _store_as_killed(lost[0], store, bar)
        suspects = lost[1:]


def _not_stored(lost: Sequence[Job], store: Store, bar: _Bar) -> list[Job]:
    """Those of the jobs that were lost before their runs were written down."""
    there = store.statuses()
    left = []
    for job in lost:
        if any(each.name not in there for each in job.runs):
            left.append(job)
        else:
            bar.ended(job, store.failures(job.names))
    return left


def _run_jobs(jobs: Sequence[Job], store: Store, executor: Executor, bar: _Bar) -> list[Job]:
    """Run jobs to their ends.

    Returns:
        Those that were lost because the executor broke, in their order.
    """
    futures: dict[Future[Path], Job] = {}
    lost: list[Job] = []
    killers: list[Job] = []

    def take(future: Future[Path], job: Job) -> None:
        try:
            file = future.result()
        except BrokenExecutor:
            lost.append(job)
        except OSError:  # of the store, since a job keeps what its runs raise
            raise
        except (Exception, CancelledError) as error:
            if type(error).__name__ != KILLED_BY_DASK:
                raise RuntimeError(
                    f"the executor failed ({type(error).__name__}: {error}): the same call goes on with "
                    "the runs that are not stored"
                ) from error
            killers.append(job)
        else:
            if not file.exists():
                raise FileNotFoundError(
                    f"a worker wrote {file}, which is not here: workers must see the sweep's directory "
                    "under the same path as this process does"
                )
            bar.ended(job, store.failures(job.names, file))

    try:
        for index, job in enumerate(jobs):
            try:
                future = executor.submit(train_and_measure, job, store.path, uuid4().hex)
            except BrokenExecutor:
                lost += jobs[index:]
                break
            if future.done():  # in this process; the bar would stand still otherwise
                take(future, job)
            else:
                futures[future] = job
        for future in as_completed(futures):
            # Dask runs a job again whose result was on a worker that died, as long as somebody holds it.
            take(future, futures.pop(future))
    finally:
        for future in futures:
            future.cancel()
    order = {job: place for place, job in enumerate(jobs)}
    lost.sort(key=order.__getitem__)
    for job in killers:
        if len(jobs) == len(job.runs) == 1:
            _store_as_killed(job, store, bar)
        else:  # Dask blames all jobs that the worker had been given: by itself a run may do well
            for single in job.alone:
                lost += _run_jobs([single], store, executor, bar)
    return lost


def _store_as_killed(job: Job, store: Store, bar: _Bar) -> None:
    store.write([failed(each, KILLED) for each in job.runs])
    bar.ended(job, store.failures(job.names))
