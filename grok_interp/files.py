"""Files that are never half written and never half read.

A file is written beside its place and renamed into it, so a reader sees the old one or the new one.
Our own tensors are read only from safetensors, which holds no code, and only if the file holds exactly
the tensors that are expected. Of other projects' files nothing but plain tensors and numbers is read.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

METADATA = "grok_interp"
"""The entry of a safetensors file's metadata that holds ours."""
DECIMAL = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")
"""A plain decimal number, as programs write them; float() reads more, such as 1_0 for ten."""

WHOLE_MODULE = (
    ". If it was made by torch.save(model), which pickles the module's class, tensors are needed: write "
    "them with torch.save(model.state_dict(), path)"
)
"""What may be wrong with a file that names a class."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes ``path``'s place when the block succeeds.

    The folder is created if need be; if the block raises, ``path`` stays as it was. A process that
    is killed in the block leaves a file ``.<name>.*.tmp``, which :func:`clear_temporary` removes.

    Yields:
        The temporary path, to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        # On the disk before it has the name, and the name before anything that relies on it.
        _flush(temporary, os.O_RDWR)
        os.replace(temporary, path)
        if os.name == "posix":
            _flush(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def lock(folder: Path) -> FileLock:
    """Keep other processes from training in a folder until the lock is released, or this process ends.

    Args:
        folder: An existing folder; the lock is its file ``.lock``.

    Returns:
        The lock, held; its ``release()`` lets others in.

    Raises:
        RuntimeError: If another process is training there.
    """
    found = FileLock(folder / ".lock")
    try:
        found.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"another process is training in {folder}: wait for it, stop it, or choose another directory"
        ) from None
    return found


def clear_temporary(folder: Path) -> None:
    """Remove what killed processes left behind in the folder; not while another writes there."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Whether a file has a name as :func:`written_aside` gives until it is whole."""
    return name.startswith(".") and name.endswith(".tmp")


def _flush(path: Path, mode: int) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's umask, which mkstemp does not follow and which can be read only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that ``path`` is never half written."""
    with written_aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: object) -> None:
    """Write JSON so that ``path`` is never half written; NaN, which JSON lacks, raises ``ValueError``."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def read_json(file: Path, advice: str) -> Any:
    """Read a JSON file.

    Args:
        file: The file.
        advice: What to do when it cannot be read, for the error.

    Returns:
        What it holds, as dicts, lists, text, numbers, booleans and None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming the file, if it is not whole JSON.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; {advice}")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not whole JSON ({error}); {advice}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file so that ``path`` is never half written.

    Equal contents make equal bytes, which several entries of metadata, in the random order that
    safetensors writes them in, would not; so all are one entry, as JSON.

    Args:
        path: The file.
        tensors: Tensors by name.
        metadata: Text by name, as :func:`read_metadata` gives it back.
    """
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    entry = {METADATA: json.dumps(dict(metadata), sort_keys=True)}
    with written_aside(path) as temporary:
        # Not save_file: it writes to a temporary file of its own, which a kill would leave behind
        # under a name that is not ours to remove.
        temporary.write_bytes(save(plain, entry))


def read_metadata(file: Path, advice: str) -> dict[str, str]:
    """Metadata of a whole safetensors file; its tensors are not read.

    Args:
        file: The file.
        advice: What to do when it cannot be read, for the error.

    Returns:
        Text by name, as :func:`write_tensors` wrote it; empty for a file without.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming the file, if it is not a whole safetensors file, or its metadata is not ours.
    """
    with _opened(file, advice) as opened:
        entry = (opened.metadata() or {}).get(METADATA, "{}")
    try:
        found = json.loads(entry)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{file} has metadata {entry!r}, which is not ours; {advice}")
    return {str(name): str(value) for name, value in found.items()}


def read_any_tensors(file: Path, advice: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file, whatever they are; errors as for :func:`read_metadata`."""
    with _opened(file, advice) as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


@contextmanager
def _opened(file: Path, advice: str) -> Iterator[Any]:
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; {advice}")
    if not file.is_file():
        raise ValueError(f"{file} is not a file; {advice}")
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            yield opened
    except SafetensorError as error:
        raise ValueError(f"{file} is not a whole safetensors file ({error}); {advice}") from error


def read_tensors(
    file: Path,
    expected: Mapping[str, Tensor],
    advice: str,
    names: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Read a safetensors file that must hold exactly the expected tensors, all finite.

    Args:
        file: The file.
        expected: A tensor of the right shape and dtype for each name.
        advice: What to do when the file does not fit, for the error.
        names: Which of the tensors to read; None for all.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming the file and the tensor that is missing, extra, of another shape or
            dtype, or not finite; or if it is not a whole safetensors file.
    """
    with _opened(file, advice) as opened:
        held = set(opened.keys())
        for name in sorted(expected.keys() - held):
            raise ValueError(f"{file}: tensor {name} is missing; {advice}")
        for name in sorted(held - expected.keys()):
            raise ValueError(f"{file}: tensor {name} is not expected; {advice}")
        found = {name: opened.get_tensor(name) for name in (expected if names is None else names)}
    for name, tensor in found.items():
        want = expected[name]
        if tensor.shape != want.shape or tensor.dtype != want.dtype:
            raise ValueError(
                f"{file}: tensor {name} is {tensor.dtype} {list(tensor.shape)}, expected "
                f"{want.dtype} {list(want.shape)}; {advice}"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{file}: tensor {name} holds NaN or infinity: use an earlier checkpoint"
            )
    return found


def read_torch_tensors(path: Path, advice: str) -> dict[str, Tensor]:
    """Tensors by name from what ``torch.save`` wrote, without running anything that it holds.

    They may be under the key ``"model"``, beside which other plain values may stand.

    Args:
        path: The file.
        advice: What to do when it cannot be read, for the error.

    Returns:
        The tensors by name, detached and on the CPU.

    Raises:
        ValueError: Naming the file, if it asks to run code, is damaged, or holds anything else.
    """
    try:
        with warnings.catch_warnings():
            # Of old storages and archives, which concern whoever wrote the file.
            warnings.simplefilter("ignore")
            held = torch.load(path, weights_only=True, map_location="cpu")
    # The bytes of a damaged or hostile pickle may raise anything.
    except Exception as error:
        # torch hides what it met behind advice to trust the file.
        reason = str(error.__context__ or error).strip().split("\n")[0].split(". ")[0]
        raise ValueError(
            f"{path} is not a whole file of plain tensors, or it asks to run code, which is refused "
            f"({type(error).__name__}: {reason}); {advice}"
            + WHOLE_MODULE
            * any(each in reason for each in ("GLOBAL", "TorchScript"))
        ) from error
    tensors = held.get("model", held) if isinstance(held, dict) else held
    if not isinstance(tensors, dict) or not tensors:
        raise ValueError(
            f"{path} holds a {type(tensors).__name__}, expected tensors by name, possibly under "
            "'model': save model.state_dict()"
        )
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(
                f"{path}: {name!r} is a {type(tensor).__name__}, expected tensors by name, possibly "
                "under 'model': save model.state_dict()"
            )
    return {name: tensor.detach() for name, tensor in tensors.items()}


def read_matrix(file: Path, advice: str) -> Tensor:
    """A matrix of comma-separated decimals, a row a line.

    Args:
        file: A text file.
        advice: What to do when it cannot be read, for the error.

    Returns:
        ``[lines, entries]``, in float64.

    Raises:
        ValueError: Naming the file and the line, if it is anything else.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text ({error}); {advice}") from error
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        entries = line.split(",")
        for entry in entries:
            if DECIMAL.fullmatch(entry) is None:
                raise ValueError(
                    f"{file}, line {number}: {entry!r} is no plain decimal number; expected such as "
                    f"-1.5e-3 between commas, without NaN or infinity; {advice}"
                )
        row = [float(entry) for entry in entries]
        if rows and len(row) != len(rows[0]):
            raise ValueError(
                f"{file}, line {number} has {len(row)} numbers, expected {len(rows[0])} as in line 1; "
                f"{advice}"
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{file} is empty; {advice}")
    return torch.tensor(rows, dtype=torch.float64)
