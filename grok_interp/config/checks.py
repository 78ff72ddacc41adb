"""Checks of single values: each error names the value, what was expected, and what to do next."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, get_args

INF = float("inf")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices`` (a Literal type or a sequence)."""
    allowed = tuple(get_args(choices)) or tuple(choices)
    if value not in allowed:
        raise ValueError(
            f"{name}={value!r} is unknown: choose one of {', '.join(map(repr, allowed))}"
        )


def check_modulus(p: object) -> None:
    """Raise ``TypeError`` unless ``p`` is an int, ``ValueError`` below 3, the least p with a frequency."""
    if not isinstance(p, int) or isinstance(p, bool):
        raise TypeError(f"p={p!r} must be an int, the modulus of the task; pass for example p=59")
    if p < 3:
        raise ValueError(
            f"p={p} is too small: p >= 3 is needed to have a frequency; use for example p=59"
        )


def check_count(name: str, value: object, least: int) -> None:
    """Raise ``ValueError`` unless ``value`` is an int of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} must be an int of at least {least}")


def is_number(value: object) -> bool:
    """Whether it is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_range(name: str, value: Any, low: float, high: float, brackets: str, what: str) -> None:
    """Raise ``ValueError`` unless ``value`` is a number from ``low`` to ``high``; brackets as in "(0, 1]"."""
    inside = is_number(value) and (
        (low < value if brackets[0] == "(" else low <= value)
        and (value < high if brackets[1] == ")" else value <= high)
    )
    if not inside:
        interval = f"{brackets[0]}{low:g}, {high:g}{brackets[1]}"
        raise ValueError(f"{name}={value!r} must be a number in {interval}, {what}")


def plain(value: Any) -> Any:
    """A number of numpy's as the Python number that it stands for; anything else as it is."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value


def check_flag(name: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be true or false")


def check_seed(seed: object) -> None:
    """Raise ``ValueError`` unless ``seed`` is an int."""
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"seed={seed!r} must be an int")
