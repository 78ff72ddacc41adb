"""Finished parts of a landscape, in memory and on disk.

A directory holds ``config.json`` (what was trained and how) and, for each cell, ``curves/NAME.parquet`` and
with a modular problem ``latent/NAME.parquet``, each written aside and renamed. Seeds, sizes and rules are
not part of what must agree: more of them go into the same directory.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from grok_interp.landscape.stack import MEASURED, NOT_HERE
from grok_interp.problems import Data, ModularProblem, Problem

KEYS = ["alpha", "seed", "size", "lr_rule", "lr", "weight_decay"]
"""Columns that say which network a row is of."""
COLUMNS = [*KEYS, "step", *MEASURED, "constant_loss"]
"""All columns of an evaluation; the last is the train loss of the best answer that never changes."""
FORMAT = "grok_interp landscape"
KNOWN_BY = 2
"""Examples whose outputs a directory knows a network by."""
AGREE = 1e-4
"""Relative difference up to which such outputs are those of one network, on another machine too."""


@dataclass(frozen=True, eq=False)
class Curves:
    """What training came to.

    Attributes:
        table: A row for each evaluation; see :mod:`grok_interp.landscape.training`.
        latent: Of a modular problem, a row for each checkpoint: the columns of
            ``dynamics.DEFINITIONS`` (idealised accuracies, their excess over the frozen_input control, the
            phase residual, ...) beside those that say which network it is of. None of others, and without
            draws.
    """

    table: pd.DataFrame
    latent: pd.DataFrame | None


@dataclass(frozen=True)
class Cell:
    """Networks that train together, and are kept as one file.

    Attributes:
        seed: Of initial weights, data and minibatches.
        size: Training examples.
        lr_rule: How the learning rate depends on alpha.
        networks: Alpha and weight decay of each.
        first: Place of the first of them among all of that seed, size and rule.
    """

    seed: int
    size: int
    lr_rule: LrRule
    networks: tuple[tuple[float, float], ...]
    first: int = 0

    @property
    def name(self) -> str:
        """What its files are called."""
        last = self.first + len(self.networks) - 1
        return f"seed{self.seed}_size{self.size}_{self.lr_rule}_{self.first}-{last}"


class Store:
    """Finished cells in a directory.

    Args:
        path: The directory; made when it is claimed.
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
        there = _described(self.path)
        inside = {each.name for each in self.path.iterdir()} if self.path.is_dir() else set()
        inside = {name for name in inside if not files.is_temporary(name)} - {".lock"}
        if inside and there is None:
            some = ", ".join(sorted(inside)[:3])
            raise FileExistsError(
                f"{self.path} holds {some} and no landscape: choose another directory"
            )
        if there is None or not list((self.path / "curves").glob("*.parquet")):
            return True
        found, wanted = _flat(there), _flat(self._description)
        for name in [*wanted, *(name for name in found if name.startswith("problem."))]:
            if not _agree(name, found.get(name), wanted.get(name)):
                raise FileExistsError(
                    f"{self.path} holds a landscape with another {name} ({_short(found.get(name))}, not "
                    f"{_short(wanted.get(name))}): choose another directory, or remove that one"
                )
        return False

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
            for folder in (self.path, self.path / "curves", self.path / "latent"):
                files.clear_temporary(folder)
            if self._is_new():
                for left in (self.path / "latent").glob("*.parquet"):
                    left.unlink()  # of a cell that was never finished
                file = self.path / "config.json"
                files.write_json(file, self._description | {"versions": runs.versions()})
            yield
        finally:
            lock.release()

    def read(self, cell: Cell) -> Curves | None:
        """A finished cell; None if it is not. ``ValueError`` names a file that is damaged."""
        found = _read_cell(self.path, cell.name)
        return None if found is None or (self._has_latent and found.latent is None) else found

    def write(self, cell: Cell, found: Curves) -> None:
        """Keep a finished cell; the table comes last, so that where it is, all is."""
        for folder, frame in (("latent", found.latent), ("curves", found.table)):
            if frame is not None:
                with files.written_aside(self.path / folder / f"{cell.name}.parquet") as temporary:
                    frame.to_parquet(temporary)


def read(path: Path | str) -> Curves:
    """Read every finished cell of a directory that landscapes are trained into, while they train too.

    Args:
        path: The ``out`` of :func:`grok_interp.landscape.training.train`.

    Returns:
        The cells as one, in the order of seed, size, rule, decay, alpha and step.

    Raises:
        FileNotFoundError: If there is no landscape.
        ValueError: If no cell is finished, or a file is damaged.
    """
    path = Path(path)
    if _described(path) is None:
        raise FileNotFoundError(
            f"{path} holds no landscape: pass a directory that landscape.train(..., out=) wrote to"
        )
    names = sorted(file.stem for file in (path / "curves").glob("*.parquet"))
    return joined([part for name in names if (part := _read_cell(path, name)) is not None])


def joined(parts: Sequence[Curves]) -> Curves:
    """Join cells.

    Args:
        parts: Cells of one problem.

    Returns:
        The cells as one, in the order of seed, size, rule, decay, alpha and step.

    Raises:
        ValueError: If there are none.
    """
    if not parts:
        raise ValueError("there is no finished cell yet: train first")
    order = ["seed", "size", "lr_rule", "weight_decay", "alpha", "step"]

    def one(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(frames).sort_values(order, kind="stable", ignore_index=True)

    latent = [part.latent for part in parts if part.latent is not None]
    return Curves(one([part.table for part in parts]), one(latent) if latent else None)


def _read_cell(path: Path, name: str) -> Curves | None:
    table, latent = (path / folder / f"{name}.parquet" for folder in ("curves", "latent"))
    if not table.exists():
        return None
    return Curves(_read_frame(table), _read_frame(latent) if latent.exists() else None)


def _read_frame(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{file} is not a whole Parquet file ({error}): remove it, and its cell is trained again"
        ) from error


# What a directory is known by -------------------------------------------------------------------


def _described(path: Path) -> dict[str, Any] | None:
    """What a directory's landscape is; None if it holds none."""
    file = path / "config.json"
    there = files.read_json(file, "choose another directory") if file.exists() else None
    return there if isinstance(there, dict) and there.get("format") == FORMAT else None


def _description(problem: Problem | ModularProblem, config: LandscapeConfig) -> dict[str, Any]:
    """All that the numbers of a cell depend on beside its seed, size and rule."""
    how = to_dict(config.train or problem.train)
    decay = how.pop("weight_decay")
    for name in ("progress", "seed"):
        del how[name]
    if isinstance(problem, ModularProblem):
        what: dict[str, Any] = {
            "task": to_dict(problem.task),
            "model": to_dict(problem.model),
            "label_noise": problem.label_noise,
            "draws": config.draws,
        }
    else:
        how = {name: value for name, value in how.items() if name not in NOT_HERE}
        what = {name: getattr(problem, name) for name in ("name", "loss", "tolerance", "about")}
        # What is learned by what has no other name than its numbers.
        network, data = problem.network(0), problem.data(0, problem.size)
        what |= {
            "network": repr(network),
            "weights": _fingerprint(network.state_dict().values()),
            "data": _fingerprint(
                tensor
                for side in (data.train, data.test)
                for tensor in (*side.inputs, side.targets)
            ),
            "outputs": _outputs(network, data),
        }
    found = {
        "format": FORMAT,
        "problem": what,
        "alphas": config.alphas,
        "weight_decays": config.weight_decays or (decay,),
        "train": how,
    }
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


def _outputs(network: nn.Module, data: Data) -> list[float | None]:
    """What a fresh network gives on the first examples; its code has no other name than that."""
    was_training = network.training
    with torch.no_grad():
        outputs = network.eval()(*data.train.rows(slice(KNOWN_BY)).inputs)
    network.train(was_training)
    numbers = outputs.double().flatten().tolist() if isinstance(outputs, Tensor) else []
    return [number if math.isfinite(number) else None for number in numbers]


def _agree(name: str, found: Any, wanted: Any) -> bool:
    """Whether a field of two descriptions is one; outputs may differ by rounding."""
    if name != "problem.outputs" or not (found and wanted and len(found) == len(wanted)):
        return bool(found == wanted)
    pairs = zip(found, wanted, strict=True)
    return all(
        one == other
        if one is None or other is None
        else math.isclose(one, other, rel_tol=AGREE, abs_tol=AGREE)
        for one, other in pairs
    )


def _short(value: object) -> str:
    """A value on one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found
