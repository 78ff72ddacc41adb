"""What ``grok-interp study`` does: run a study's sweeps, and write tables, figure and words."""

from __future__ import annotations

import io
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from grok_interp import figures, files, report, runs, study, sweep
from grok_interp.study import Result, Study
from grok_interp.sweep import executors

DIGITS = 6
"""Significant digits in CSV files: float32 has about seven, and the last moves with the machine."""
CUT_OFF = "\nthe runs that finished are kept; the same command goes on with the others"


def run(names: Sequence[str], out: Path, size: str, executor: str, command: Sequence[str]) -> int:
    """Run studies one after another; each has a folder of its own with what it found.

    A folder holds ``runs/`` (the sweep's store), a CSV file a table, ``words.txt``, ``about.json`` (command,
    seconds of all calls that trained these runs, machine, versions) and ``study.html``.

    Args:
        names: Which studies.
        out: Directory with a folder for each.
        size: ``"small"`` or ``"full"``.
        executor: Where jobs run, as for :func:`grok_interp.sweep.run`.
        command: What the user typed.

    Returns:
        Exit status: 0 if every run has finished and every study has an answer, 1 if not.

    Raises:
        ValueError: If the executor is unknown.
        KeyboardInterrupt: As it came.
    """
    executors.check(executor)
    status = 0
    for name in names:
        try:
            status |= _run_one(study.load(name), out / name, size, executor, command)
        except ValueError as error:  # of runs that give no answer; the other studies may
            print(f"{name}: {error}", file=sys.stderr)
            status = 1
        except KeyboardInterrupt:
            print(CUT_OFF)
            raise
    return status


def _run_one(what: Study, out: Path, size: str, executor: str, command: Sequence[str]) -> int:
    print(f"\n{what.title}. {what.question}", flush=True)
    start = time.perf_counter()
    status = 0
    counts: dict[str, Any] = {}
    if what.sweeps[size]:
        wanted = what.runs(size)
        tally = sweep.run(wanted, out, executor)
        print(f"{out}: {tally}")
        for reason, count in Counter(tally.failed.values()).most_common():
            print(f"  failed, {count}: {reason}")
        status = 1 if tally.failed or tally.failed_before else 0
        mine = sweep.read(out, wanted)
        counts = {
            "runs": len(mine),
            "failed": len(wanted) - len(mine),
            "trained": tally.finished,
            "job_seconds": round(float(mine["seconds"].sum()), 1),
        }
        result = study.analyse(what.name, mine)
    else:
        result = study.analyse(what.name)
    result = _as_written(what.name, result)
    before = _before(out, size, counts)
    if before:
        counts["trained"] += before["trained"]
    about = {
        "command": shlex.join(command),
        "study": what.name,
        "size": size,
        "executor": executor,
        "cores": os.cpu_count(),
        "seconds": round(before.get("seconds", 0) + time.perf_counter() - start, 1),
        **counts,
        "tables": list(result.tables),
        "versions": runs.versions(),
    }
    _write(what, out, result, about)
    written = ", ".join(f"{each}.csv" for each in result.tables)
    print(
        f"{result.words}{_without(counts.get('failed', 0))}\n\nwrote {written} and study.html in {out}"
    )
    return status


def _write(what: Study, out: Path, result: Result, about: Mapping[str, Any]) -> None:
    for name, table in result.tables.items():
        files.write_text(out / f"{name}.csv", as_csv(table))
    files.write_text(out / "words.txt", result.words + "\n")
    files.write_json(out / "about.json", about)
    figure: go.Figure = getattr(figures, f"study_{what.name}")(result.tables)
    sections = [
        report.Section(
            "What was found",
            result.words + _without(about.get("failed", 0)),
            [f"{name}\n{table.to_string(index=False)}" for name, table in result.tables.items()],
            [figure],
        )
    ]
    made_by = f"{about['command']}; " + ", ".join(
        f"{package} {version}" for package, version in about["versions"].items()
    )
    page = report.of_sections(what.title, what.question, sections, made_by)
    files.write_text(out / "study.html", page)


def _without(failed: int) -> str:
    """That some runs are in no number."""
    return f"\n\nRuns that failed, and are in no number here: {failed}." if failed else ""


def _before(out: Path, size: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    """What calls before this one took and trained, if the runs that are here are theirs and its own."""
    file = out / "about.json"
    if not file.exists() or "trained" not in counts:
        return {}
    about = files.read_json(file, "remove it: the runs are kept")
    same = about.get("size") == size
    trained = about.get("trained", 0) + counts["trained"]
    return dict(about) if same and trained == counts["runs"] else {}


def _as_written(name: str, result: Result) -> Result:
    """The tables as a reader of the files has them, and the words that they come to."""
    tables = {
        each: study.read_table(io.StringIO(as_csv(table))) for each, table in result.tables.items()
    }
    return Result(tables, study.in_words(name, tables))


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV text, with as many digits as mean something."""
    text: str = table.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
    return text
