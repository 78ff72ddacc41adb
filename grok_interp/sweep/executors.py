"""Executors by name: this process, a pool of processes, or a Dask cluster.

Each is a ``concurrent.futures.Executor``; what moves between processes is settings and a path.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

SPECIFICATIONS = "'local', 'processes:2' or 'dask://HOST:PORT'"
DASK = "dask://"


class InThisProcess(Executor):
    """Runs each job when it is submitted, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function.

        Returns:
            A future that is done.
        """
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # the future's to tell
            future.set_exception(error)
        return future


def check(specification: str) -> None:
    """Raise ``ValueError`` unless the text names an executor."""
    dask = re.fullmatch(re.escape(DASK) + r"[^\s/:]+:\d+", specification)
    if not (specification == "local" or dask or _processes(specification)):
        raise ValueError(f"executor={specification!r} is unknown: choose {SPECIFICATIONS}")


def workers(specification: str) -> int:
    """Jobs that can run at a time; of a Dask cluster the threads that it has now.

    Args:
        specification: As for :func:`opened`.

    Returns:
        Their number, at least 1.

    Raises:
        ValueError: If the specification is unknown.
        ImportError: If ``dask.distributed`` is asked for and not installed.
        OSError: If the scheduler does not answer.
    """
    check(specification)
    if not specification.startswith(DASK):
        return _processes(specification) or 1
    with _client(specification) as client:
        threads: int = sum(client.ncores().values())
    return max(1, threads)


@contextmanager
def opened(specification: str) -> Iterator[Executor]:
    """An executor, closed at the end of the block; jobs that have not begun are then given up.

    Args:
        specification: ``"local"`` runs jobs in this process, one after another; ``"processes:N"`` in N
            processes that share this one's threads evenly; ``"dask://HOST:PORT"`` on the workers of a Dask
            scheduler, which must see the sweep's directory under the same path.

    Yields:
        The executor.

    Raises:
        ValueError: If the specification is none of these.
        ImportError: If ``dask.distributed`` is asked for and not installed.
        OSError: If the scheduler does not answer.
        RuntimeError: If a process cannot begin.
    """
    check(specification)
    if specification == "local":
        yield InThisProcess()
    elif (processes := _processes(specification)) is not None:
        with _pool(processes) as pool:
            yield pool
    else:
        with _client(specification) as client:
            yield client.get_executor()


def _processes(specification: str) -> int | None:
    found = re.fullmatch(r"processes:([1-9]\d{0,3})", specification)
    return None if found is None else int(found[1])


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Processes that are started anew: a fork of a process in which torch has threads may hang."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        _begin,
        (max(1, torch.get_num_threads() // workers),),
    )
    try:
        _check_begun(pool, workers)
        yield pool
    except BaseException:
        # Not to wait for jobs that are running: their runs are not stored, and run again next time.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _check_begun(pool: Executor, workers: int) -> None:
    """Refuse a pool in which nothing runs at all, before its death is put down to a run."""
    try:
        for future in [pool.submit(os.getpid) for _ in range(workers)]:
            future.result()
    except BrokenExecutor:
        raise RuntimeError(
            "a worker process could not begin, for the reason that it printed: in a script of your own, call "
            "this under if __name__ == '__main__', since each worker imports the script"
        ) from None


def _begin(threads: int) -> None:
    """What a worker does first: take its share of the threads, and see to it that it ends.

    Ctrl-C ends it quietly. A parent that is killed cannot tell its workers, which would wait forever.
    """
    torch.set_num_threads(threads)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _client(specification: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise ImportError(
            "dask.distributed is not installed: pip install 'grok-interp[cluster]'"
        ) from None
    address = f"tcp://{specification.removeprefix(DASK)}"
    client = Client(address, set_as_default=False)  # OSError if nobody answers in its time
    try:
        yield client
    finally:
        client.close()
