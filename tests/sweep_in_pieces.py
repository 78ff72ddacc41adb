"""What processes of test_sweep_cluster.py do otherwise than usual: a module that they run or preload.

Run as a program it is ``grok-interp``. Processes of a pool import it under another name, as they do any
program, and workers of Dask are told to: in these a job says that it begins, and may wait or kill its
process.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from grok_interp.sweep import jobs

LOG, KILLERS, BEFORE, AFTER = "SWEEP_LOG", "SWEEP_KILLERS", "SWEEP_BEFORE", "SWEEP_AFTER"
"""Environment: where jobs say that they begin; runs that kill; files while which exist jobs wait."""
PATIENCE = 300.0
"""Seconds that a job waits at most."""
original = getattr(jobs.train_and_measure, "in_one_piece", jobs.train_and_measure)
original_rows = getattr(jobs._rows, "in_one_piece", jobs._rows)
"""The functions themselves, also when Dask imports this module a second time."""


def train_and_measure(job: Any, path: Path, attempt: str = "") -> Path:
    """The same, in pieces."""
    with Path(os.environ[LOG]).open("a") as log:
        log.write(f"{os.getpid()} {' '.join(job.names)}\n")
    killers = os.environ.get(KILLERS, "").split()
    if killers[:1] and killers[0] in job.names:
        os.kill(os.getpid(), signal.SIGKILL)
    if any(name in job.names for name in killers[1:]):
        os._exit(3)
    file = original(job, path)
    wait(AFTER)
    return file


def rows(job: Any) -> Any:
    """The same; what was trained and measured may wait before it is stored."""
    found = original_rows(job)
    wait(BEFORE)
    return found


def wait(name: str) -> None:
    """Wait while the file that the environment names is there."""
    file, end = os.environ.get(name), time.monotonic() + PATIENCE
    while file and Path(file).exists() and time.monotonic() < end:
        time.sleep(0.05)


if __name__ == "__main__":
    from grok_interp import cli

    cli.main()
else:
    # In the main program too, a job could not be sent: pickle wants the function that the module has.
    train_and_measure.__module__ = jobs.__name__
    train_and_measure.in_one_piece = original  # type: ignore[attr-defined]
    jobs.train_and_measure = train_and_measure  # type: ignore[assignment]
    rows.in_one_piece = original_rows  # type: ignore[attr-defined]
    jobs._rows = rows  # type: ignore[assignment]
