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

__all__ = [
    "TRANSFORMER_LENS_VERSION",
    "ActivationCache",
    "HookPoint",
    "HookedRootModule",
    "bridge_class",
]

NATIVE_BRIDGES = (4, 0)
"""First version whose ``TransformerBridge`` builds models of its own (``boot_native``)."""


def bridge_class() -> Any:
    """The class ``TransformerBridge``.

    Raises:
        RuntimeError: If the installed transformer-lens has no ``boot_native``.
    """
    if TRANSFORMER_LENS_VERSION < NATIVE_BRIDGES:
        raise RuntimeError(
            f"transformer-lens {version('transformer-lens')} is installed, and one-layer transformers "
            "need version 4 or newer: pip install 'transformer-lens>=4,<5'"
        )
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge
