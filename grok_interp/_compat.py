"""The only module that imports transformer_lens; it hides where each version keeps its names.

``HookedRootModule`` is exported by ``transformer_lens.HookedRootModule`` from 3.3 on and lives in
``transformer_lens.hook_points`` before; the old path raises ``ImportError`` in 4.x. The choice is
made on the installed version, not with ``hasattr``, which would trip over that error.

Importing this module costs seconds, because transformer_lens brings ``transformers`` and
``datasets`` with it. Only :mod:`grok_interp.hooked_mlp` imports it when it is itself imported.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from transformer_lens import ActivationCache
from transformer_lens.hook_points import HookPoint

TRANSFORMER_LENS_VERSION = tuple(int(part) for part in version("transformer-lens").split(".")[:2])
"""Installed ``(major, minor)`` of transformer_lens."""

if TRANSFORMER_LENS_VERSION >= (3, 3):
    from transformer_lens import HookedRootModule
else:  # pragma: no cover  (run by installing the older version)
    from transformer_lens.hook_points import HookedRootModule  # type: ignore[no-redef]

FOURTH = (4, 0)
"""First version with ``boot_native`` and ``tools.analysis``."""


def generic_activation_patch() -> Any:
    """``transformer_lens.patching.generic_activation_patch``, which takes a while to import."""
    from transformer_lens.patching import generic_activation_patch

    return generic_activation_patch


def interchange() -> Any:
    """Import TransformerLens' tools for interchanging subspaces.

    Returns:
        The module ``transformer_lens.tools.analysis.interchange``.

    Raises:
        RuntimeError: Before transformer-lens 4.
    """
    _need_fourth("interchanges by tools.analysis")
    from transformer_lens.tools.analysis import interchange

    return interchange


def bridge_class() -> Any:
    """Import the class of one-layer transformers with hooks.

    Returns:
        ``transformer_lens.model_bridge.TransformerBridge``.

    Raises:
        RuntimeError: If the installed transformer-lens has no ``boot_native``, as before 4.
    """
    _need_fourth("one-layer transformers")
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge


def _need_fourth(what: str) -> None:
    if TRANSFORMER_LENS_VERSION < FOURTH:
        raise RuntimeError(
            f"transformer-lens {version('transformer-lens')} is installed, and {what} need version 4 or "
            "newer: pip install 'transformer-lens>=4,<5'"
        )


__all__ = [
    "TRANSFORMER_LENS_VERSION",
    "ActivationCache",
    "HookPoint",
    "HookedRootModule",
    "bridge_class",
    "generic_activation_patch",
    "interchange",
]
