"""Hooked MLPs on modular arithmetic: Fourier features, idealized weights, and their controls.

Modules and the short names below are imported when first used, so that ``import grok_interp`` is
quick and the mathematics works without transformer_lens.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grok_interp import (
        ablate,
        analytic,
        census,
        circuits,
        circular,
        commands,
        config,
        controls,
        convert,
        coordinates,
        corruption,
        demo,
        dynamics,
        ensemble,
        figures,
        files,
        filters,
        findings,
        fourier,
        gradients,
        grid,
        hooked_mlp,
        idealize,
        interchanges,
        landscape,
        landscape_command,
        lattice,
        leakage,
        lockstep,
        losses,
        lottery,
        measures,
        mechanism,
        milestones,
        neuron_ablation,
        neuron_table,
        neurons,
        optimizers,
        orders,
        outcomes,
        outputs,
        patch,
        phases,
        planes,
        polynomials,
        presets,
        pretrained,
        problems,
        realdata,
        removal,
        report,
        runs,
        scopes,
        setters,
        sphere,
        study,
        study_command,
        sweep,
        sweep_command,
        tasks,
        training,
        trajectory,
        transformer,
        verdict,
        waveforms,
        weight_hooks,
        weights,
    )
    from grok_interp.controls import evaluate
    from grok_interp.hooked_mlp import HookedMLP
    from grok_interp.neurons import extract
    from grok_interp.tasks import ModularTask
    from grok_interp.training import train

_SHORT_NAMES = {
    "ModularTask": "tasks",
    "HookedMLP": "hooked_mlp",
    "train": "training",
    "extract": "neurons",
    "evaluate": "controls",
}

__all__ = [
    "HookedMLP",
    "ModularTask",
    "ablate",
    "analytic",
    "census",
    "circuits",
    "circular",
    "commands",
    "config",
    "controls",
    "convert",
    "coordinates",
    "corruption",
    "demo",
    "dynamics",
    "ensemble",
    "evaluate",
    "extract",
    "figures",
    "files",
    "filters",
    "findings",
    "fourier",
    "gradients",
    "grid",
    "hooked_mlp",
    "idealize",
    "interchanges",
    "landscape",
    "landscape_command",
    "lattice",
    "leakage",
    "lockstep",
    "losses",
    "lottery",
    "measures",
    "mechanism",
    "milestones",
    "neuron_ablation",
    "neuron_table",
    "neurons",
    "optimizers",
    "orders",
    "outcomes",
    "outputs",
    "patch",
    "phases",
    "planes",
    "polynomials",
    "presets",
    "pretrained",
    "problems",
    "realdata",
    "removal",
    "report",
    "runs",
    "scopes",
    "setters",
    "sphere",
    "study",
    "study_command",
    "sweep",
    "sweep_command",
    "tasks",
    "train",
    "training",
    "trajectory",
    "transformer",
    "verdict",
    "waveforms",
    "weight_hooks",
    "weights",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _SHORT_NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_SHORT_NAMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
