"""What finished runs came to: a Parquet dataset that any number of processes write to.

A directory holds ``runs/*.parquet``, a file for each job, written aside and renamed. Equal runs are stored
once, whatever job they come in and however often it ran: a writer holds a lock, looks which runs are there,
and adds the others. A file changes only where failed runs are taken out of it, and ``runs/.rewritten`` with
it: so each process reads a file once, and its name alone after that. Other programs read it too, as DuckDB
does::

    select "split.label_noise", avg(excess_per_matrix) from 'out/runs/*.parquet'
    where status = 'finished' group by all order by all
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, get_type_hints
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from grok_interp import files, outcomes
from grok_interp.config import SweepConfig, SweepRun, from_dict, to_dict

FINISHED = "finished"
FAILED = "failed"
FOLDER, ENDING = "runs", ".parquet"
REWRITTEN = ".rewritten"
"""A file that changes when others are rewritten."""
NESTED = {"comparisons": outcomes.COMPARISON, "checkpoints": outcomes.CHECKPOINT}
"""Columns that are lists of records, and the fields of these."""
ABOUT = {
    "run": str,
    "status": str,
    "reason": str,
    "seconds": float,
    "job": str,
    "versions": str,
    "config": str,
}
"""Columns about a run as such: name, how and why it ended, its share of the job, settings as JSON."""


class Store:
    """Finished runs in a directory.

    Args:
        path: The directory; made when something is written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.folder = self.path / FOLDER

    def check(self) -> None:
        """Refuse a directory that holds something else; ``FileExistsError``."""
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file: choose another directory for the sweep")
        others = _visible(self.path)
        strange = [name for name in _visible(self.folder) if not name.endswith(ENDING)]
        if (others and FOLDER not in others) or strange:
            raise FileExistsError(
                f"{self.folder if strange else self.path} holds {', '.join((strange or others)[:3])} "
                "and no sweep: choose another directory"
            )

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other sweeps out, and clear up after processes that were killed.

        Raises:
            FileExistsError: If the directory holds something else.
            RuntimeError: If another sweep is running there.
        """
        self.check()
        self.folder.mkdir(parents=True, exist_ok=True)
        claim = files.lock(self.path)
        try:
            with self._writing():
                files.clear_temporary(self.folder)
            yield
        finally:
            claim.release()

    def statuses(self) -> dict[str, str]:
        """Whether each run that is here finished or failed.

        Returns:
            :data:`FINISHED` or :data:`FAILED` by the run's name.

        Raises:
            ValueError: Naming a file that is damaged.
        """
        found: dict[str, str] = {}
        for each in self._known().values():
            found |= each
        return found

    def has(self, names: Sequence[str]) -> bool:
        """Whether all these runs are here.

        Args:
            names: Runs that may have been written together, in their order.

        Returns:
            The answer, at once if a file of just these runs is here.

        Raises:
            ValueError: Naming a file that is damaged.
        """
        wanted = set(names)
        together = self._tables(["run"], [self._file(names).name])
        written = any(wanted.issubset(table["run"].to_pylist()) for _, table in together)
        return written or wanted.issubset(self.statuses())

    def failures(self, names: Collection[str], file: Path | None = None) -> dict[str, str]:
        """Why runs failed, by name, of those among ``names`` that did.

        Args:
            names: Runs to look for.
            file: The file that holds them, where it is known; None, or the folder, looks everywhere.

        Returns:
            Reasons.
        """
        found = {}
        places = self._names() if file is None or file.is_dir() else [file.name]
        for _, table in self._tables(["run", "status", "reason"], places):
            for row in table.to_pylist():
                if row["run"] in names and row["status"] == FAILED:
                    found[row["run"]] = row["reason"]
        return found

    def write(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Add those of the rows whose runs are not here yet, as one file.

        A run that failed and then finished, as one may whose worker was given up too early, has finished.

        Args:
            rows: From :func:`finished` and :func:`failed`.

        Returns:
            The file; the folder if every run was here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.statuses()  # of thousands of files this takes seconds, for which nobody else should wait
        finished = {row["run"] for row in rows if row["status"] == FINISHED}
        with self._writing():
            known = self.statuses()
            late = {name for name in finished if known.get(name) == FAILED}
            if late:
                self._take_out(late)
            fresh = [row for row in rows if row["run"] not in known or row["run"] in late]
            return self._add(fresh) if fresh else self.folder

    def forget_failed(self, names: Collection[str]) -> None:
        """Take those of the runs out that failed, so that they run again; those of other sweeps stay."""
        with self._writing():
            self._take_out({name for name in names if self.statuses().get(name) == FAILED})

    def _take_out(self, names: Collection[str]) -> None:
        chosen = pa.array(sorted(names), pa.string())
        places = [name for name, runs in self._known().items() if not runs.keys().isdisjoint(names)]
        self._mark_rewritten()  # before it as well, since a crash may come between
        for place, table in self._tables(None, places):
            left = table.filter(pc.invert(pc.is_in(table["run"], chosen)))
            if len(left):
                with files.written_aside(self.folder / place) as temporary:
                    pq.write_table(left, temporary)
            else:
                (self.folder / place).unlink()
        self._mark_rewritten()

    def _mark_rewritten(self) -> None:
        files.write_text(self.folder / REWRITTEN, uuid4().hex)

    def _known(self) -> dict[str, dict[str, str]]:
        """Runs and their statuses by file; each process reads a file once, unless some were rewritten."""
        mark = self.folder / REWRITTEN
        cache = _cache(self.folder.absolute(), mark.read_text() if mark.exists() else "")
        names = self._names()
        for name, table in self._tables(
            ["run", "status"], [each for each in names if each not in cache]
        ):
            runs = table.to_pydict()
            cache[name] = dict(zip(runs["run"], runs["status"], strict=True))
        return {name: cache[name] for name in names if name in cache}

    def _names(self) -> list[str]:
        return [name for name in _visible(self.folder) if name.endswith(ENDING)]

    def _tables(
        self, columns: list[str] | None, names: Iterable[str]
    ) -> Iterator[tuple[str, pa.Table]]:
        """Files by name; those of failed runs may be taken away meanwhile."""
        for name in names:
            with suppress(FileNotFoundError):
                yield name, _read(self.folder / name, columns)

    def _add(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        file = self._file([row["run"] for row in rows])
        columns, job = schema(), {"job": file.stem}
        table = pa.Table.from_pylist(
            [{column: row.get(column) for column in columns.names} | job for row in rows],
            schema=columns,
        )
        with files.written_aside(file) as temporary:
            pq.write_table(table, temporary)
        return file

    def _file(self, names: Sequence[str]) -> Path:
        digest = hashlib.sha256(",".join(names).encode()).hexdigest()
        return self.folder / f"{digest[:16]}{ENDING}"

    def _writing(self) -> FileLock:
        return FileLock(self.folder / ".lock")


def read(
    path: Path | str,
    sweep: SweepConfig | Iterable[SweepRun] | None = None,
    *,
    failed: bool = False,
) -> pd.DataFrame:
    """The runs of a sweep, also while it is going on.

    Args:
        path: The sweep's directory.
        sweep: Which runs, of a store that several sweeps share; None for all that are there.
        failed: Whether to give the runs that failed, with their reasons, and not those that finished.

    Returns:
        A row a run: the columns of :data:`ABOUT`, every setting under its dotted name, and the measures of
        ``outcomes.DEFINITIONS``, of which :func:`unnest` opens the lists.

    Raises:
        FileNotFoundError: If there is no sweep.
        ValueError: Naming a file that is damaged.
    """
    store = Store(path)
    if not store.folder.is_dir():
        raise FileNotFoundError(
            f"{path} holds no sweep: pass the directory that grok-interp sweep wrote to (--out)"
        )
    columns = schema()
    tables = [_fitted(table, columns) for _, table in store._tables(None, store._names())]
    table = pa.concat_tables(tables) if tables else columns.empty_table()
    kept = table.filter(pc.equal(table["status"], FAILED if failed else FINISHED))
    if sweep is not None:
        runs = sweep.expanded if isinstance(sweep, SweepConfig) else sweep
        kept = kept.filter(pc.is_in(kept["run"], pa.array([run.name for run in runs], pa.string())))
    frame: pd.DataFrame = kept.to_pandas()
    return frame.sort_values("run", kind="stable", ignore_index=True)


def unnest(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Open a list in each row: the records of ``column``, a row each, beside the other columns of their run.

    Args:
        runs: As :func:`read` gives them.
        column: ``"comparisons"`` or ``"checkpoints"``.

    Returns:
        A tidy table. A name that both have, such as ``step``, is the record's.

    Raises:
        ValueError: If there is no such column, or no run has such a list.
    """
    if column not in NESTED:
        raise ValueError(f"column={column!r} is no list: choose one of {', '.join(NESTED)}")
    having = runs[runs[column].notna()].reset_index(drop=True)
    if len(having) == 0:
        raise ValueError(
            f"no run has {column}: give measure.along = true to keep the measures at every checkpoint"
            if column == "checkpoints"
            else f"no run has {column}: pass runs that finished"
        )
    counts = [len(each) for each in having[column]]
    records = pd.DataFrame([record for each in having[column] for record in each])
    others = having.drop(columns=[*NESTED, *(name for name in records if name in having)])
    repeated = others.loc[others.index.repeat(counts)].reset_index(drop=True)
    return pd.concat([repeated, records], axis=1)


def settings(row: Mapping[str, Any] | pd.Series[Any]) -> SweepRun:
    """The settings of a row of :func:`read`, with which the run can be trained again.

    Args:
        row: A row of a sweep.

    Returns:
        The run's dataclasses.
    """
    found: SweepRun = from_dict(SweepRun, json.loads(row["config"]), f"run {row['run']}")
    return found


def finished(run: SweepRun, measured: Mapping[str, Any], **about: Any) -> dict[str, Any]:
    """The row of a run that ended as it should; ``about`` gives reason, seconds and versions."""
    return {"status": FINISHED, **_settings(run), **measured, **about}


def failed(run: SweepRun, reason: str, **about: Any) -> dict[str, Any]:
    """The row of a run that went wrong, and why."""
    return {"status": FAILED, **_settings(run), "reason": reason, **about}


@cache
def schema() -> pa.Schema:
    """Names and types of all columns."""
    columns = [(name, _arrow(kind)) for name, kind in ABOUT.items()]
    for part, cls in get_type_hints(SweepRun).items():
        columns += [(f"{part}.{name}", _arrow(kind)) for name, kind in get_type_hints(cls).items()]
    measured = {**outcomes.LAST, **outcomes.MILESTONES}
    columns += [(name, _arrow(kind)) for name, kind in measured.items()]
    for name, fields in NESTED.items():
        struct = pa.struct([(key, _arrow(kind)) for key, kind in fields.items()])
        columns.append((name, pa.list_(struct)))
    return pa.schema(columns)


def _arrow(kind: Any) -> pa.DataType:
    """The column type of a field; what is no plain number or flag is text, lists as JSON."""
    for plain, arrow in ((bool, pa.bool_()), (int, pa.int64()), (float, pa.float64())):
        if kind in (plain, plain | None):
            return arrow
    return pa.string()


def _settings(run: SweepRun) -> dict[str, Any]:
    config = to_dict(run)
    found: dict[str, Any] = {"run": run.name, "config": json.dumps(config)}
    for part, values in config.items():
        for name, value in values.items():
            listed = isinstance(value, list | tuple)
            found[f"{part}.{name}"] = json.dumps(value) if listed else value
    return found


def _fitted(table: pa.Table, columns: pa.Schema) -> pa.Table:
    """A table of another version of the library in this one's columns; what it lacks is null."""
    if table.schema.equals(columns):
        return table
    rows = [{name: row.get(name) for name in columns.names} for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=columns)


@lru_cache(maxsize=16)
def _cache(folder: Path, rewritten: str) -> dict[str, dict[str, str]]:
    """What this process has read of a store, until files of it are rewritten."""
    return {}


def _visible(folder: Path) -> list[str]:
    """Names in a folder but for hidden ones, in order; none of what is no folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(name for name in names if not name.startswith("."))


def _read(file: Path, columns: list[str] | None) -> pa.Table:
    try:
        # Not read_table, which looks for a dataset and reads the folder's other files.
        with pq.ParquetFile(file) as opened:
            return opened.read(columns)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{file} is not a whole Parquet file ({error}): remove it, and its runs are trained again"
        ) from error
