"""Configurations from nested mappings and TOML, and back."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from cattrs import Converter


def from_dict(cls: type[Any], values: Any, where: str, *, complete: bool = False) -> Any:
    """Make the dataclass ``cls``, with the dataclasses in it, from nested mappings.

    Args:
        cls: One of the dataclasses of :mod:`grok_interp.config`.
        values: Field names and values, as read from TOML or JSON.
        where: What the mapping came from, for the error.
        complete: Whether every field must be given, as in a file that a program wrote.

    Returns:
        An instance of ``cls``; fields that are not given have their defaults.

    Raises:
        ValueError: If a key is not a field of its class, one is missing from a complete mapping, or
            a value is out of range.
        TypeError: If ``p`` is not an int.
    """
    _check_keys(cls, values, where, complete)
    try:
        return _converter().structure(values, cls)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """The nested mapping, of values that JSON and TOML know, that :func:`from_dict` reads back."""
    values: dict[str, Any] = _converter().unstructure(config)
    return values


def read_toml(cls: type[Any], path: Path) -> Any:
    """Read ``cls`` from a TOML file, whose tables are the dataclasses in it.

    Args:
        cls: One of the dataclasses of :mod:`grok_interp.config`.
        path: The file.

    Returns:
        An instance of ``cls``; fields that the file does not give have their defaults.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming the file, and the line or the key that is wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: pass the path of a TOML file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    try:
        return from_dict(cls, values, str(path))
    except TypeError as error:  # in a file a value of another type is a wrong value like others
        raise ValueError(str(error)) from error


def _check_keys(cls: type[Any], values: Any, where: str, complete: bool) -> None:
    """Refuse unknown keys, and missing ones if ``complete``, here and in nested dataclasses."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {values!r} must be a table with the fields of {cls.__name__}")
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"{where}: unknown keys {', '.join(map(repr, unknown))} for {cls.__name__}; "
            f"known keys are {', '.join(sorted(known))}"
        )
    missing = sorted(known - set(values))
    if complete and missing:
        raise ValueError(
            f"{where}: keys {', '.join(map(repr, missing))} of {cls.__name__} are missing"
        )
    for name, hint in _hints(cls).items():  # type: ignore[arg-type]
        if name in values and dataclasses.is_dataclass(hint):
            _check_keys(hint, values[name], f"{where}: {name}", complete)  # type: ignore[arg-type]


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    """The types of a class's fields; a sweep asks thousands of times."""
    return get_type_hints(cls)


@cache
def _converter() -> Converter:
    """What makes dataclasses of mappings: nesting, tuples and paths are cattrs' part.

    Returns:
        A converter that hands plain values and tuples on as they are, where cattrs would make 59 of "59" and
        of 59.9: the dataclasses check them themselves.
    """
    from cattrs import Converter  # a tenth of a second that the command line's help can do without

    converter = Converter(detailed_validation=False)
    for kind in (int, str, bool):
        converter.register_structure_hook(kind, lambda value, _: value)
    converter.register_structure_hook(
        float, lambda value, _: float(value) if type(value) is int else value
    )
    converter.register_structure_hook_func(
        lambda hint: str(get_origin(hint)) == str(Literal), lambda value, _: value
    )
    converter.register_structure_hook_func(
        lambda hint: str(get_origin(hint)) == str(Mapping), lambda value, _: value
    )
    converter.register_structure_hook_func(
        _holds_tuple, lambda value, _: tuple(value) if isinstance(value, list) else value
    )
    return converter


def _holds_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(map(_holds_tuple, get_args(hint)))
