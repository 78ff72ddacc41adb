"""Studies by name: their questions and sweeps from TOML, and what their analyses make of the runs."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from grok_interp import files
from grok_interp.config import StudyName, StudySize, SweepConfig, SweepRun, check_choice, from_dict

NAMES = tuple(name for name in get_args(StudyName) if name != "all")
"""All studies, in the order in which they are best read."""
SIZES: tuple[str, ...] = get_args(StudySize)
KEYS = {"title", "question", *SIZES}
"""What a study's TOML file may hold."""


@dataclass(frozen=True)
class Study:
    """A question and the runs that answer it.

    Attributes:
        name: One of :data:`NAMES`.
        title: What it is about, in a few words.
        question: What it asks.
        sweeps: Its sweeps by size; none of a study that measures the library itself.
    """

    name: str
    title: str
    question: str
    sweeps: Mapping[str, tuple[SweepConfig, ...]]

    def runs(self, size: str = "small") -> list[SweepRun]:
        """Every run of a size once.

        Args:
            size: ``"small"`` or ``"full"``.

        Returns:
            The runs of all its sweeps.

        Raises:
            ValueError: If there is no such size.
        """
        check_choice("size", size, SIZES)
        each = {run.name: run for sweep in self.sweeps[size] for run in sweep.expanded}
        return list(each.values())


@dataclass(frozen=True)
class Result:
    """What a study found.

    Attributes:
        tables: Small tables by name, the main one first.
        words: What they show, and what they do not.
    """

    tables: Mapping[str, pd.DataFrame]
    words: str


def load(name: str) -> Study:
    """Read a study.

    Args:
        name: One of :data:`NAMES`.

    Returns:
        Its question and sweeps.

    Raises:
        ValueError: If there is no such study.
    """
    check_choice("study", name, NAMES)
    file = f"{name}.toml"
    values = tomllib.loads((resources.files(__package__) / file).read_text(encoding="utf-8"))
    unknown = sorted(set(values) - KEYS)
    if unknown:
        raise ValueError(f"{file}: unknown keys {', '.join(unknown)}: it has {', '.join(KEYS)}")
    sweeps = {
        size: tuple(
            from_dict(SweepConfig, table, f"{file}: {size}") for table in values.get(size, ())
        )
        for size in SIZES
    }
    return Study(name, values["title"], values["question"], sweeps)


def analyse(name: str, runs: pd.DataFrame | None = None) -> Result:
    """What the runs of a study come to.

    Args:
        name: One of :data:`NAMES`.
        runs: Its runs, as :func:`grok_interp.sweep.read` gives them: those that finished. None for
            ``"costs"``, which has no sweeps and measures this machine now.

    Returns:
        Tables and words.

    Raises:
        ValueError: If there is no such study, or the runs lack what it needs.
    """
    module = _analysis(name)
    tables = module.tables() if runs is None else module.tables(runs)
    return Result(tables, in_words(name, tables))


def in_words(name: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """What the tables of a study show, from their numbers alone.

    Args:
        name: One of :data:`NAMES`.
        tables: Its tables, as :func:`analyse` made them or as read back from CSV.

    Returns:
        A few paragraphs.

    Raises:
        ValueError: If there is no such study.
    """
    words: str = _analysis(name).in_words(tables)
    return words


def read(folder: Path | str) -> Result:
    """The result of a study from the folder that ``grok-interp study`` wrote.

    Args:
        folder: ``OUT/NAME``.

    Returns:
        Its tables, and what they show.

    Raises:
        FileNotFoundError: If there is no result.
        ValueError: If ``about.json`` is not whole.
    """
    folder = Path(folder)
    advice = "pass a folder OUT/NAME that grok-interp study NAME --out OUT wrote"
    about = files.read_json(folder / "about.json", advice)
    tables = {name: read_table(folder / f"{name}.csv") for name in about["tables"]}
    return Result(tables, in_words(about["study"], tables))


def read_table(file: Any) -> pd.DataFrame:
    """A table from CSV, in which nothing but an empty field is missing: ``none`` and ``nan`` are words."""
    table: pd.DataFrame = pd.read_csv(file, keep_default_na=False, na_values=[""])
    return table


def _analysis(name: str) -> Any:
    """The module of a study, imported when it is asked for."""
    check_choice("study", name, NAMES)
    return importlib.import_module(f"{__package__}.{name}")
