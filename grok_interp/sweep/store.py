"""What finished runs came to: a Parquet dataset that any number of processes write to.

A directory holds ``runs/*.parquet``, a file for each job, written aside and renamed. Equal runs are stored
once, whatever job they come in and however often it ran: a writer holds a lock, looks which runs are there,
and adds the others. Other programs read it too, as DuckDB does::

    select "split.label_noise", avg(excess_per_matrix) from 'out/runs/*.parquet'
    where status = 'finished' group by all order by all
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from grok_interp import files, outcomes
from grok_interp.config import SweepRun, from_dict, to_dict

FINISHED = "finished"
FAILED = "failed"
FOLDER = "runs"
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
        inside = {each.name for each in self.path.iterdir()} if self.path.is_dir() else set()
        others = sorted(name for name in inside if not name.startswith("."))
        if others and FOLDER not in others:
            raise FileExistsError(
                f"{self.path} holds {', '.join(others[:3])} and no sweep: choose another directory"
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
        for file in self._files():
            about = file.stat()
            found |= _statuses(file, about.st_mtime_ns, about.st_size)
        return found

    def failures(self, names: Collection[str], file: Path | None = None) -> dict[str, str]:
        """Why runs failed, by name, of those among ``names`` that did.

        Args:
            names: Runs to look for.
            file: The file that holds them, where it is known; None, or the folder, looks everywhere.

        Returns:
            Reasons.
        """
        found = {}
        for each in self._files() if file is None or file.is_dir() else [file]:
            for row in _read(each, ["run", "status", "reason"]).to_pylist():
                if row["run"] in names and row["status"] == FAILED:
                    found[row["run"]] = row["reason"]
        return found

    def write(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Add those of the rows whose runs are not here yet, as one file.

        Args:
            rows: From :func:`finished` and :func:`failed`.

        Returns:
            The file; the folder if every run was here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.statuses()  # of thousands of files this takes seconds, for which nobody else should wait
        with self._writing():
            known = self.statuses()
            fresh = [row for row in rows if row["run"] not in known]
            return self._add(fresh) if fresh else self.folder

    def forget_failed(self, names: Collection[str]) -> None:
        """Take those of the runs out that failed, so that they run again; those of other sweeps stay."""
        chosen = pa.array(sorted(names), pa.string())
        with self._writing():
            for file in self._files():
                table = _read(file, None)
                here = pc.is_in(table["run"], chosen)
                keep = pc.invert(pc.and_(here, pc.equal(table["status"], FAILED)))
                if not pc.all(keep).as_py():
                    left = table.filter(keep)
                    if len(left):
                        with files.written_aside(file) as temporary:
                            pq.write_table(left, temporary)
                    else:
                        file.unlink()

    def _add(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        names = ",".join(row["run"] for row in rows)
        name = hashlib.sha256(names.encode()).hexdigest()[:16]
        columns = schema()
        table = pa.Table.from_pylist(
            [{column: row.get(column) for column in columns.names} | {"job": name} for row in rows],
            schema=columns,
        )
        file = self.folder / f"{name}.parquet"
        with files.written_aside(file) as temporary:
            pq.write_table(table, temporary)
        return file

    def _files(self) -> list[Path]:
        return sorted(
            file for file in self.folder.glob("*.parquet") if not file.name.startswith(".")
        )

    def _writing(self) -> FileLock:
        return FileLock(self.folder / ".lock")


def read(path: Path | str, *, failed: bool = False) -> pd.DataFrame:
    """The runs of a sweep, also while it is going on.

    Args:
        path: The sweep's directory.
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
    tables = [_fitted(_read(file, None), columns) for file in store._files()]
    table = pa.concat_tables(tables) if tables else columns.empty_table()
    kept = table.filter(pc.equal(table["status"], FAILED if failed else FINISHED))
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


@cache
def _statuses(file: Path, modified: int, size: int) -> dict[str, str]:
    """The runs of one file; each process reads it once, unless it has been written anew."""
    columns = _read(file, ["run", "status"])
    return dict(zip(columns["run"].to_pylist(), columns["status"].to_pylist(), strict=True))


def _read(file: Path, columns: list[str] | None) -> pa.Table:
    try:
        # Not read_table, which looks for a dataset and reads the folder's other files.
        with pq.ParquetFile(file) as opened:
            return opened.read(columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{file} is not a whole Parquet file ({error}): remove it, and its runs are trained again"
        ) from error
