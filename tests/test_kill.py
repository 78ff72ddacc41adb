"""kill -9 at random moments, again and again, and the run ends as if nothing had happened."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import killed_run
import pytest

from grok_interp import files
from grok_interp.trajectory import Trajectory

KILLS = 24
Start = Callable[..., BaseProcess]


def contents(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("wall_clock.json", ".lock")
    }


def step_of(path: Path) -> int:
    """Steps that the run would go on from; -1 before the first checkpoint."""
    if not (path / "state.safetensors").exists():
        return -1
    return int(files.read_metadata(path / "state.safetensors", "")["step"])


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a child process, forked from a server that has imported everything."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # before Python 3.12 the only way
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_run"])

    def start(path: Path, target: Callable[[Path], None] = killed_run.go) -> BaseProcess:
        process = context.Process(target=target, args=(path,))
        process.start()
        return process

    return start


@pytest.mark.slow
def test_a_write_killed_at_random_moments_leaves_only_what_can_be_cleared(
    tmp_path: Path, start: Start
) -> None:
    moments, left = random.Random(0), 0
    for _ in range(40):
        process = start(tmp_path / "x.safetensors", killed_run.write_again_and_again)
        while not any(tmp_path.iterdir()):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.join()
        left += len([file for file in tmp_path.iterdir() if file.name != "x.safetensors"])
        files.clear_temporary(tmp_path)
        assert {file.name for file in tmp_path.iterdir()} <= {"x.safetensors"}
        (tmp_path / "x.safetensors").unlink(missing_ok=True)
    assert left > 10


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(
    tmp_path: Path, start: Start
) -> None:

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    undisturbed = start(whole)
    undisturbed.join()
    assert undisturbed.exitcode == 0

    moments, killed_at = random.Random(0), []
    for _ in range(KILLS):
        before = step_of(cut)
        process = start(cut)
        while step_of(cut) == before and process.is_alive():  # until its own first checkpoint
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.3))
        alive = process.is_alive()
        with contextlib.suppress(ProcessLookupError):  # it may have come to its end by itself
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        if alive and process.exitcode == -signal.SIGKILL and step_of(cut) < killed_run.STEPS:
            killed_at.append(step_of(cut))
        Trajectory.load(cut)  # whatever the moment, what is there can be read
    assert len(killed_at) >= 15, killed_at
    assert len(set(killed_at)) >= 5, killed_at
    assert killed_at == sorted(killed_at)
    last = start(cut)
    last.join()
    assert last.exitcode == 0

    first, second = contents(cut), contents(whole)
    assert first.keys() - second.keys() == second.keys() - first.keys() == set()
    assert [name for name in first if first[name] != second[name]] == []
    one, other = Trajectory.load(cut), Trajectory.load(whole)
    assert one.ended == "all steps"
    assert one.metrics.equals(other.metrics)
    assert len(one) == killed_run.STEPS // killed_run.EVERY + 1
    assert json.loads((cut / "wall_clock.json").read_text())["seconds"] > 0
    print(f"killed {len(killed_at)} times mid-training, after steps {sorted(set(killed_at))}")
