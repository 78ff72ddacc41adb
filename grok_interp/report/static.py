"""Style, script and frame of the pages, which lie beside this file."""

from __future__ import annotations

from importlib import resources


def static(name: str) -> str:
    """The text of a file that ships with the package."""
    return (resources.files("grok_interp.report") / name).read_text(encoding="utf-8")
