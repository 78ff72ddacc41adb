"""Files that are never half written and never half read.

A file is written beside its place and renamed into it, so a reader sees the old one or the new one.
Tensors are read only from safetensors, which holds no code, and only if the file holds exactly the
tensors that are expected.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes ``path``'s place when the block succeeds.

    The folder is created if need be; if the block raises, ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask, which mkstemp does not follow and which can be read only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that ``path`` is never half written."""
    with written_aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_tensors(file: Path, expected: Mapping[str, Tensor], advice: str) -> dict[str, Tensor]:
    """Read a safetensors file that must hold exactly the expected tensors, all finite.

    Args:
        file: The file.
        expected: A tensor of the right shape and dtype for each name.
        advice: What to do when the file does not fit, for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming the file and the tensor that is missing, extra, of another shape or
            dtype, or not finite; or if it is not a whole safetensors file.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; {advice}")
    if not file.is_file():
        raise ValueError(f"{file} is not a file; {advice}")
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is not a whole safetensors file ({error}); {advice}") from error
    for name in sorted(expected.keys() - found.keys()):
        raise ValueError(f"{file}: tensor {name} is missing; {advice}")
    for name in sorted(found.keys() - expected.keys()):
        raise ValueError(f"{file}: tensor {name} is not expected; {advice}")
    for name, tensor in found.items():
        want = expected[name]
        if tensor.shape != want.shape or tensor.dtype != want.dtype:
            raise ValueError(
                f"{file}: tensor {name} is {tensor.dtype} {list(tensor.shape)}, expected "
                f"{want.dtype} {list(want.shape)}; {advice}"
            )
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{file}: tensor {name} holds NaN or infinity: use an earlier checkpoint"
            )
    return found
