"""Sweeps over several processes, of which some are killed: nothing is lost and nothing doubled."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from grok_interp import sweep
from grok_interp.config import SweepConfig, read_toml
from grok_interp.sweep import executors

HERE = Path(__file__).parent
PIECES = HERE / "sweep_in_pieces.py"
LOG, KILLERS, BEFORE, AFTER = "SWEEP_LOG", "SWEEP_KILLERS", "SWEEP_BEFORE", "SWEEP_AFTER"
"""As in sweep_in_pieces, which changes the process that imports it."""
TIMEOUT = 900.0
"""Seconds until a test gives up; on a busy machine a process takes a minute to begin."""
TOML = """
seeds = 2
[split]
train_fraction = 0.6
label_noise = 0.2
[model]
d_mlp = 8
[train]
steps = {steps}
eval_every = 10
[measure]
draws = 2
[grid]
task.p = [5, 7, 11, 13]
"""
RUNS, JOBS = 8, 4

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that are started: results are equal bit for bit only with as many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Place:
    """A directory with a sweep, and the processes that were started for it."""

    def __init__(self, path: Path) -> None:
        self.path, self.out = path, path / "out"
        self.file = path / "sweep.toml"
        self.started: list[subprocess.Popen[str]] = []
        self.write(30)

    def write(self, steps: int) -> None:
        self.file.write_text(TOML.format(steps=steps))

    @property
    def config(self) -> SweepConfig:
        return read_toml(SweepConfig, self.file)

    def start(
        self,
        *command: str | Path,
        about: dict[str, str] | None = None,
        largest_file: int | None = None,
    ) -> subprocess.Popen[str]:
        """Start a process in a group of its own that may write files up to a size."""

        def begin() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in the background ignores it
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(HERE),
            LOG: str(self.path / "log"),
            **(about or {}),
        }
        process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=begin,
        )
        self.started.append(process)
        return process

    def command(self, executor: str, **about: str) -> subprocess.Popen[str]:
        """Start ``grok-interp sweep``, whose workers act in pieces."""
        words = ["sweep", self.file, "--out", self.out, "--executor", executor]
        return self.start(sys.executable, PIECES, *words, about=about)

    def logged(self) -> list[tuple[int, tuple[str, ...]]]:
        """The process and the runs of each job that began."""
        log = self.path / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(pid), tuple(names)) for pid, *names in map(str.split, lines)]

    def stored(self) -> int:
        return len(list((self.out / "runs").glob("*.parquet")))

    def check(self, failed: tuple[str, ...] = ()) -> None:
        """The store holds what an undisturbed sweep comes to, each run once, and nothing besides."""
        undisturbed = self.path / "undisturbed"
        runs = [run for run in self.config.expanded if run.name not in failed]
        assert sweep.run(runs, undisturbed, progress=False).finished == len(runs)
        first, second = (
            sweep.read(path).drop(columns=["seconds", "job", "versions"])
            for path in (self.out, undisturbed)
        )
        assert first["run"].tolist() == sorted(run.name for run in runs)
        pd.testing.assert_frame_equal(first, second, check_exact=True)
        assert sorted(sweep.read(self.out, failed=True)["run"]) == sorted(failed)
        left = [each.name for each in (self.out / "runs").iterdir() if each.suffix != ".parquet"]
        assert left == [".lock"]

    def end(self) -> None:
        for process in self.started:
            if process.returncode is None:  # else its number may be another process's by now
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.end()


def wait_until(done: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """What ``done`` gives as soon as it is true; an error if time is up, or the process has ended."""
    end = time.monotonic() + TIMEOUT
    while not (found := done()):
        if process is not None and process.poll() is not None:
            raise AssertionError(process.communicate()[0])
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie that waits to be asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# A pool of processes -----------------------------------------------------------------------------


def test_a_run_that_kills_its_process_is_stored_as_failed_and_all_others_finish(
    place: Place,
) -> None:
    runs = place.config.expanded
    killers = (runs[1].name, runs[4].name)  # by kill -9, and by os._exit
    process = place.command("processes:2", **{KILLERS: " ".join(killers)})
    printed, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1, printed
    assert f"{RUNS - 2} finished, 2 failed, 0 skipped" in printed
    assert "failed, 2 runs: the process that ran it was killed" in printed
    broken = sweep.read(place.out, failed=True)
    assert broken["reason"].str.startswith("the process that ran it was killed").all()
    assert {pid for pid, names in place.logged()} != {process.pid}
    # The runs that shared a job with them were trained alone, which changes rounding.
    frame = sweep.read(place.out)
    assert frame["run"].tolist() == sorted({run.name for run in runs} - set(killers))
    sweep.run(place.config, place.path / "undisturbed", progress=False)
    whole = sweep.read(place.path / "undisturbed")
    whole = whole[~whole["run"].isin(killers)].reset_index(drop=True)
    numbers = ["run", "step", "train_loss", "weight_norm", "accuracy", "excess_per_matrix"]
    pd.testing.assert_frame_equal(frame[numbers], whole[numbers], rtol=1e-4, atol=1e-6)


def test_kill_9_of_the_sweep_ends_its_workers_and_the_same_command_goes_on(place: Place) -> None:
    hold = place.path / "hold"
    hold.touch()
    process = place.command("processes:2", **{AFTER: str(hold)})
    wait_until(lambda: place.stored() == 2, process)  # two jobs are stored, and wait to say so
    workers = {pid for pid, _ in place.logged()}
    assert len(workers) == 2
    assert all(map(alive, workers))
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, workers)))
    hold.unlink()
    again = sweep.run(place.config, place.out, progress=False)
    assert str(again) == f"{RUNS - 4} finished, 0 failed, 4 skipped"
    place.check()


@pytest.mark.parametrize("executor", ["local", "processes:2"])
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(
    place: Place, executor: str
) -> None:
    place.write(3000)
    process = place.command(executor)
    wait_until(lambda: place.stored() >= 1, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all processes of the command
    printed, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    assert "the same command goes on with the others" in printed
    kept = len(sweep.read(place.out))
    assert 0 < kept < RUNS
    process = place.command(executor)
    printed, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, printed
    assert f"{RUNS - kept} finished, 0 failed, {kept} skipped" in printed
    place.check()


def test_a_full_disk_ends_with_status_2_and_leaves_nothing_half_written(place: Place) -> None:
    process = place.start(
        *(sys.executable, PIECES, "sweep", place.file, "--out", place.out),
        largest_file=8192,
    )
    printed, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2, printed
    assert "File too large" in printed
    assert "Traceback" not in printed
    assert [each.name for each in (place.out / "runs").iterdir()] == [".lock"]
    assert sweep.run(place.config, place.out, progress=False).finished == RUNS
    place.check()


def test_a_script_that_lacks_the_guard_of_its_main_part_is_told_and_no_run_blamed(
    place: Place,
) -> None:
    script = place.path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom grok_interp import sweep\n"
        "from grok_interp.config import SweepConfig, read_toml\n"
        f"config = read_toml(SweepConfig, Path({str(place.file)!r}))\n"
        f"sweep.run(config, {str(place.out)!r}, 'processes:1')\n"
    )
    process = place.start(sys.executable, script)
    printed, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "RuntimeError: a worker process could not begin" in printed
    assert "if __name__ == '__main__'" in printed
    assert len(sweep.read(place.out, failed=True)) == 0


# Dask --------------------------------------------------------------------------------------------


def start_dask(place: Place, *options: str, **about: str) -> str:
    """Start a scheduler and two workers as processes, and wait for them.

    Returns:
        Host and port of the scheduler.
    """
    from distributed import Client

    dask = [sys.executable, "-m", "dask"]
    contact = place.path / "scheduler.json"
    common = ["--scheduler-file", contact, "--no-dashboard"]
    process = place.start(*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *common)
    wait_until(contact.exists, process)
    for number in range(2):
        folder = ["--local-directory", place.path / f"worker{number}", "--preload", PIECES]
        more = ["--nthreads", "1", "--death-timeout", "300", *folder, *options]
        place.start(*dask, "worker", *common, *more, about=about)
    with Client(scheduler_file=str(contact)) as client:
        client.wait_for_workers(2, timeout=TIMEOUT)
        return client.scheduler.address.removeprefix("tcp://")


@pytest.mark.parametrize(
    ("options", "moment"),
    [(["--no-nanny"], BEFORE), (["--no-nanny"], AFTER), ([], AFTER)],
    ids=[
        "before it stores",
        "when it has stored",
        "when it has stored, and a nanny starts another",
    ],
)
def test_a_worker_killed_in_the_middle_of_a_job_has_it_run_twice_and_stored_once(
    place: Place, options: list[str], moment: str
) -> None:
    from distributed import Client

    hold = place.path / "hold"
    hold.touch()
    address = start_dask(place, *options, **{moment: str(hold)})
    assert executors.workers(f"dask://{address}") == 2
    with ThreadPoolExecutor(1) as thread, Client(f"tcp://{address}") as client:
        going = thread.submit(
            sweep.run, place.config, place.out, f"dask://{address}", progress=False
        )
        try:
            wait_until(lambda: len(place.logged()) == 2 or going.done())
            if moment == AFTER:
                wait_until(lambda: place.stored() == 2 or going.done())
            if going.done():  # too early: it says why
                raise AssertionError(f"the sweep ended with {going.result()}")
            (victim, names), (_, others) = place.logged()
            assert place.stored() == (2 if moment == AFTER else 0)
            assert not set(names) & set(others)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: not alive(victim))
        finally:
            hold.unlink()
        tally = going.result(timeout=TIMEOUT)
        assert client.run_on_scheduler(blamed) >= 1
    assert str(tally) == f"{RUNS} finished, 0 failed, 0 skipped"
    ran = [pid for pid, each in place.logged() if each == names]
    assert len(ran) == 2  # the same job
    assert ran[0] == victim != ran[1]  # in two processes
    assert len(place.logged()) >= JOBS + 1
    assert place.stored() == JOBS
    place.check()


def blamed(dask_scheduler: Any) -> int:
    """How often a job of ours was given to a Dask worker that died; the scheduler imports this module."""
    return int(dask_scheduler.task_prefixes["train_and_measure"].suspicious)


@pytest.fixture
def quick_to_blame() -> Iterator[None]:
    """Dask that gives a job up at the first worker which dies of it, and whose workers act in pieces."""
    import dask

    with dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 0,
            "distributed.deploy.lost-worker-timeout": "300s",  # in place of 15 s, in which few begin
            "distributed.worker.preload": [str(PIECES)],
            "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 1,
        }
    ):
        yield


@pytest.mark.usefixtures("quick_to_blame")
def test_a_local_cluster_runs_a_sweep_and_finds_the_run_that_kills_its_workers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client, LocalCluster

    killer = place.config.expanded[0].name
    monkeypatch.setenv(LOG, str(place.path / "log"))
    monkeypatch.setenv(KILLERS, killer)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        tally = sweep.run(place.config, place.out, client.get_executor(), progress=False)
    assert tally.failed.keys() == {killer}
    assert tally.failed[killer].startswith("the process that ran it was killed")
    assert tally.finished == RUNS - 1
    assert sum(killer in names for _, names in place.logged()) == 2  # with another, and alone
    assert sweep.read(place.out, failed=True)["run"].tolist() == [killer]
    assert len(sweep.read(place.out)) == RUNS - 1


def test_a_scheduler_that_does_not_answer_is_an_error(place: Place) -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(OSError, match=r"127\.0\.0\.1:9"),
    ):
        sweep.run(place.config, place.out, "dask://127.0.0.1:9", progress=False)
    assert sweep.Store(place.out).statuses() == {}
