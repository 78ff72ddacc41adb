"""The main job as one command: train, extract, idealize, control, and say what that shows.

Two networks on addition mod p, in the setting of arXiv 2603.23784: one on clean labels, which groks,
and one on labels of which 30% were redrawn, which never generalises. Both are idealised with square
waves in and cosines out, and every number stands beside its controls.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

from grok_interp import files, findings, neurons, report, training
from grok_interp.config import DemoConfig, TrainConfig
from grok_interp.dynamics import MODES
from grok_interp.findings import CONTROLLED, Findings
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.runs import versions
from grok_interp.tasks import ModularTask
from grok_interp.verdict import Verdict, without_nan

TRAIN_FRACTION = 0.5
LABEL_NOISE = {"clean": 0.0, "noisy": 0.3}

DEFINITIONS = {
    "test_accuracy": "own accuracy on held-out pairs, clean labels",
    "train_accuracy": "own accuracy on training pairs, on the labels trained on",
    "ideal_accuracy": "accuracy over all pairs with ideal weights, by frequency mode",
    "controls": "the same recipe on each control, over all pairs, for two frequency modes",
    "excess_over_frozen_input": "idealised accuracy minus the mean of the frozen_input control",
    "power_share": "share of W_in's energy about its column means at its columns' dominant "
    "frequencies, per_matrix, mean of W_a and W_b",
    "median_abs_phase_residual": "radians, joint mode, weighted by amplitude; pi/2 by chance",
    "agreement": "share of neurons in which each matrix by itself has the same frequency",
    "structure_of_controls": "power_share, median_abs_phase_residual and agreement of the untrained and "
    "frozen_input controls, means over draws",
    "intermediate_values": "medians over W_in columns, joint: share of weights below .75 of the level, their "
    "distance to the nearest sign change in turns, and both for the fitted cosine, the null",
    "r2_square": "median over neurons and operands of R2 of W_in columns to their square wave, joint",
    "r2_cosine": "the same to their cosine; a perfect square wave has .81",
    "answers": "what all of it allows one to say, question by question; conclusion is the last of them",
    "chance": "1 / p",
}


@dataclass(frozen=True, eq=False)
class Run:
    """One trained network with everything measured on it."""

    name: str
    model: HookedMLP
    found: Findings


def run(config: DemoConfig) -> dict[str, Any]:
    """Do the main job, write summary.json, report.html and the two models, and print the result.

    Args:
        config: Sizes, seed and where to write.

    Returns:
        What summary.json holds.
    """
    start = time.monotonic()
    config.out.mkdir(parents=True, exist_ok=True)  # an unusable place shows now, not in minutes
    command = (
        f"grok-interp demo --out {config.out} --p {config.p} --d-mlp {config.d_mlp} "
        f"--seed {config.seed}"
    )
    print(f"{command}\ntraining a clean and a noisy network; this takes some minutes", flush=True)
    task = ModularTask(config.p)
    steps = {"clean": config.clean_steps, "noisy": config.noisy_steps}
    runs = []
    for name in LABEL_NOISE:
        runs.append(_run(name, task, config, steps[name]))
        runs[-1].model.save_pretrained(config.out / name)
        print(
            f"{name}: {runs[-1].found.trajectory}, {time.monotonic() - start:.0f} s so far",
            flush=True,
        )
    summary: dict[str, Any] = {each.name: summarise(each) for each in runs}
    summary["definitions"] = DEFINITIONS
    summary["config"] = dataclasses.asdict(config) | {
        "out": str(config.out),
        "train_fraction": TRAIN_FRACTION,
        "label_noise": LABEL_NOISE,
    }
    summary["versions"] = versions()
    files.write_text(
        config.out / "summary.json",
        json.dumps(without_nan(summary), indent=2, allow_nan=False) + "\n",
    )
    page = report.to_html({_heading(each.name): each.found for each in runs}, command)
    files.write_text(config.out / "report.html", page)
    print(_table(runs))
    for each in runs:
        print(f"\n{each.name}")
        for question, answer in each.found.answers.items():
            print(f"  {question} {answer}")
    print(
        f"\nwrote {config.out}/summary.json, report.html and both models in "
        f"{time.monotonic() - start:.0f} s"
    )
    return summary


def _run(name: str, task: ModularTask, config: DemoConfig, steps: int) -> Run:
    split = task.split(TRAIN_FRACTION, LABEL_NOISE[name], config.seed)
    model = HookedMLP(p=config.p, d_mlp=config.d_mlp, seed=config.seed)
    print(f"{name}: {split}, {steps} steps", flush=True)
    trajectory = training.train(
        model, split, TrainConfig(steps=steps, progress=sys.stderr.isatty())
    )
    print(f"{name}: extracting, idealizing, {config.draws} draws of each control", flush=True)
    return Run(name, model, findings.find(trajectory, draws=config.draws, seed=config.seed))


def _heading(name: str) -> str:
    return f"{name}: {LABEL_NOISE[name]:.0%} of the training labels redrawn"


def summarise(run: Run) -> dict[str, Any]:
    """The numbers of one run, as ``DEFINITIONS`` says."""
    found = run.found
    joint, per_matrix = found.verdicts["joint"], found.verdicts["per_matrix"]
    trajectory, last = found.trajectory, found.trajectory.metrics.iloc[-1]
    names = ("mean", "min", "max", "draws")
    inputs = neurons.extract(run.model, trajectory.split.task, "joint")
    return {
        "test_accuracy": float(last["test_accuracy"]),
        "train_accuracy": float(last["train_accuracy"]),
        "ideal_accuracy": {mode: _ideal_accuracy(found, mode) for mode in MODES},
        "controls": {
            control: {
                mode: {name: getattr(verdict.controls[control], name) for name in names}
                for mode, verdict in found.verdicts.items()
            }
            for control in joint.controls
        },
        "excess_over_frozen_input": {
            mode: verdict.excess("frozen_input") for mode, verdict in found.verdicts.items()
        },
        **_structure(joint, per_matrix, "own"),
        "structure_of_controls": {
            name: _structure(joint, per_matrix, name) for name in ("untrained", "frozen_input")
        },
        "r2_square": float(inputs.r2_square[:2].nanmedian()),
        "r2_cosine": float(inputs.r2_cosine[:2].nanmedian()),
        "intermediate_values": {
            field.name: float(getattr(inputs.intermediate_values, field.name)[:2].nanmedian())
            for field in dataclasses.fields(inputs.intermediate_values)
        },
        "chance": joint.chance,
        "answers": found.answers,
        "conclusion": found.conclusion,
    }


def _structure(joint: Verdict, per_matrix: Verdict, name: str) -> dict[str, float]:
    share = per_matrix.structure[name].power_share
    return {
        "power_share": (share["W_a"] + share["W_b"]) / 2,
        "median_abs_phase_residual": joint.structure[name].median_abs_phase_residual,
        "agreement": joint.structure[name].agreement,
    }


def _ideal_accuracy(found: Findings, mode: str) -> float:
    return float(found.table[f"idealised_{mode}"].iloc[-1])


def _table(runs: list[Run]) -> str:
    """One small table: accuracies, ideal accuracies and controls of both runs."""
    width = 29
    lines = [f"{'':<{width}}" + "".join(f"{run.name:>24}" for run in runs)]

    def row(label: str, cells: list[str]) -> None:
        lines.append(f"{label:<{width}}" + "".join(f"{cell:>24}" for cell in cells))

    for name in ("train_accuracy", "test_accuracy"):
        row(
            f"own {name.replace('_', ' ')}",
            [f"{run.found.trajectory.metrics[name].iloc[-1]:.3f}" for run in runs],
        )
    for mode in MODES:
        row(f"idealised, {mode}", [f"{_ideal_accuracy(run.found, mode):.3f}" for run in runs])
    row("controls, mean [min, max]", ["joint" for _ in runs])
    for mode in reversed(CONTROLLED):
        if mode != "joint":
            row("", [mode for _ in runs])
        for control in runs[0].found.verdicts[mode].controls:
            samples = [run.found.verdicts[mode].controls[control] for run in runs]
            row(
                f"  {control}",
                [
                    f"{sample.mean:.3f} [{sample.min:.3f}, {sample.max:.3f}]"
                    if sample.draws > 1
                    else f"{sample.mean:.3f}" + " " * 15
                    for sample in samples
                ],
            )
        row(
            "  excess over frozen_input",
            [f"{run.found.verdicts[mode].excess('frozen_input'):+.3f}" + " " * 15 for run in runs],
        )
    row("structure", ["own (frozen, untrained)" for _ in runs])
    numbers = {"power_share": ".3f", "median_abs_phase_residual": ".3f", "agreement": ".3f"}
    for name, form in numbers.items():
        cells = []
        for run in runs:
            own, frozen, untrained = (
                _structure(run.found.verdicts["joint"], run.found.verdicts["per_matrix"], which)[
                    name
                ]
                for which in ("own", "frozen_input", "untrained")
            )
            cells.append(f"{own:{form}} ({frozen:{form}}, {untrained:{form}})")
        row(f"  {name}", cells)
    return "\n".join(lines)
