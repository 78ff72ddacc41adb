"""Finished parts of a landscape, in memory and on disk.

A directory holds ``config.json`` (what was trained and how) and, for each cell, ``curves/NAME.parquet`` and
with a modular problem ``latent/NAME.parquet``, each written aside and renamed. Seeds, sizes and rules are
not part of what must agree: more of them go into the same directory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor, nn

from grok_interp import files, runs
from grok_interp.config import LandscapeConfig, LrRule, to_dict
from grok_interp.problems import ModularProblem, Problem

KEYS = ["alpha", "seed", "size", "lr_rule", "lr", "weight_decay"]
"""Columns that say which network a row is of."""
MEASURED = ["train_loss", "test_loss", "train_accuracy", "test_accuracy", "weight_norm"]
FORMAT = "grok_interp landscape"


@dataclass(frozen=True, eq=False)
class Curves:
    """What training came to.

    Attributes:
        table: A row for each evaluation; see the module.
        latent: Of a modular problem, a row for each checkpoint: the columns of
            ``dynamics.DEFINITIONS`` (idealised accuracies, their excess over the frozen_input control, the
            phase residual, ...) beside those that say which network it is of. None of others, and without
            draws.
    """

    table: pd.DataFrame
    latent: pd.DataFrame | None


@dataclass(frozen=True)
class Cell:
    """Networks that differ in alpha alone.

    Attributes:
        seed: Of initial weights, data and minibatches.
        size: Training examples.
        lr_rule: How the learning rate depends on alpha.
    """

    seed: int
    size: int
    lr_rule: LrRule

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"seed{self.seed}_size{self.size}_{self.lr_rule}"


class Store:
    """Finished cells in a directory.

    Args:
        path: The directory; made if need be.
        problem: What is trained.
        config: Which networks.

    Raises:
        FileExistsError: If something else is there, or cells that were made in another way.
    """

    def __init__(
        self, path: Path, problem: Problem | ModularProblem, config: LandscapeConfig
    ) -> None:
        self.path = path
        self._has_latent = isinstance(problem, ModularProblem) and config.draws > 0
        self._description = _description(problem, config)
        self._is_new()

    def _is_new(self) -> bool:
        """Whether no cell is there yet; raises if what is there is another's."""
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(
                f"{self.path} is a file: choose another directory for the landscape"
            )
        file = self.path / "config.json"
        inside = {each.name for each in self.path.iterdir()} if self.path.is_dir() else set()
        there = files.read_json(file, "choose another directory") if file.exists() else {}
        ours = isinstance(there, dict) and there.get("format") == FORMAT
        if inside - {".lock"} and not ours:
            some = ", ".join(sorted(inside)[:3])
            raise FileExistsError(
                f"{self.path} holds {some} and no landscape: choose another directory"
            )
        if not list((self.path / "curves").glob("*.parquet")):
            return True
        there = _flat(there)
        for name, value in _flat(self._description).items():
            if there.get(name) != value:
                raise FileExistsError(
                    f"{self.path} holds a landscape with {name}={there.get(name)!r}, and this one has "
                    f"{value!r}: choose another directory, or remove that one"
                )
        return False

    def read(self, cell: Cell) -> Curves | None:
        """A finished cell; None if it is not."""
        return self._named(cell.name)

    def _named(self, name: str) -> Curves | None:
        table = self.path / "curves" / f"{name}.parquet"
        latent = self.path / "latent" / f"{name}.parquet"
        if not table.exists() or (self._has_latent and not latent.exists()):
            return None
        return Curves(_read(table), _read(latent) if latent.exists() else None)

    def write(self, cell: Cell, found: Curves) -> None:
        """Keep a finished cell; the table comes last, so that where it is, all is."""
        for folder, frame in (("latent", found.latent), ("curves", found.table)):
            if frame is not None:
                with files.written_aside(self.path / folder / f"{cell.name}.parquet") as temporary:
                    frame.to_parquet(temporary)

    def read_all(self) -> Curves:
        """Every finished cell, whoever asked for it."""
        names = sorted(file.stem for file in (self.path / "curves").glob("*.parquet"))
        parts = [self._named(name) for name in names]
        return joined([part for part in parts if part is not None])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Claim the directory: keep other processes from training into it, and clear up after killed ones.

        Raises:
            FileExistsError: If it has become another's.
            RuntimeError: If another process is training there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = files.lock(self.path)
        try:
            if self._is_new():
                file = self.path / "config.json"
                files.write_json(file, self._description | {"versions": runs.versions()})
            for folder in (self.path, self.path / "curves", self.path / "latent"):
                files.clear_temporary(folder)
            yield
        finally:
            lock.release()


def joined(parts: list[Curves]) -> Curves:
    """Cells as one.

    Raises:
        ValueError: If there are none.
    """
    if not parts:
        raise ValueError("there is no finished cell yet: train first")
    latent = [part.latent for part in parts if part.latent is not None]
    return Curves(
        pd.concat([part.table for part in parts], ignore_index=True),
        pd.concat(latent, ignore_index=True) if latent else None,
    )


def _read(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{file} is not a whole Parquet file ({error}): remove it, and its cell is trained again"
        ) from error


def _description(problem: Problem | ModularProblem, config: LandscapeConfig) -> dict[str, Any]:
    """All that the numbers of a cell depend on beside its seed, size and rule."""
    how = to_dict(config.train or problem.train)
    decay = how.pop("weight_decay")
    for name in ("progress", "seed"):
        del how[name]
    if isinstance(problem, ModularProblem):
        what = {
            "task": to_dict(problem.task),
            "model": to_dict(problem.model),
            "label_noise": problem.label_noise,
        }
    else:
        network = problem.network(0)
        data = problem.data(0, problem.size)
        what = {name: getattr(problem, name) for name in ("name", "loss", "tolerance", "about")}
        # What is learned by what has no other name than its numbers.
        what |= {
            "network": repr(network),
            "forward": _of_code(network),
            "weights": _fingerprint(network.state_dict().values()),
            "data": _fingerprint(
                tensor
                for side in (data.train, data.test)
                for tensor in (*side.inputs, side.targets)
            ),
        }
    found: dict[str, Any] = {
        "format": FORMAT,
        "problem": what,
        "alphas": config.alphas,
        "weight_decays": config.weight_decays or (decay,),
        "train": how,
    }
    if isinstance(problem, ModularProblem):
        found["draws"] = config.draws
    # As a file gives it back: tuples as lists.
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _fingerprint(tensors: Iterable[Tensor]) -> str:
    """Equal for equal tensors, and for others not."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def _of_code(network: nn.Module) -> str:
    """Equal for networks whose modules compute the same, which their names do not say."""
    digest = hashlib.sha256()
    for module in network.modules():
        code = getattr(type(module).forward, "__code__", None)
        if code is not None:
            digest.update(code.co_code + repr(code.co_names).encode())
    return digest.hexdigest()


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found
