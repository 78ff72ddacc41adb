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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from grok_interp import controls, figures, files, idealize, measures, neurons, report, training
from grok_interp.config import DemoConfig, FrequencyMode, Recipe, TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.neurons import NeuronTable
from grok_interp.runs import versions
from grok_interp.tasks import ModularTask, Split
from grok_interp.trajectory import Trajectory
from grok_interp.verdict import SMALL_EXCESS, Verdict, without_nan

MODES: tuple[FrequencyMode, ...] = ("per_matrix", "input", "joint")
CONTROLLED: tuple[FrequencyMode, ...] = ("per_matrix", "joint")
TRAIN_FRACTION = 0.5
LABEL_NOISE = {"clean": 0.0, "noisy": 0.3}
SHOWN_NEURONS = 6
GENERALISED = 0.5
"""Held-out accuracy above which a network is said to have generalised."""
PHASE_CONTROLS = ("permuted_output", "permuted_within_frequency", "random_phase")

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
    "intermediate_values": "medians over W_in columns, joint: share of weights off the plateau, their "
    "distance to the nearest sign change in turns, and both for the fitted cosine, the null",
    "r2_square": "median over neurons and operands of R2 of W_in columns to their square wave, joint",
    "r2_cosine": "the same to their cosine; a perfect square wave has .81",
    "chance": "1 / p",
}


@dataclass(frozen=True, eq=False)
class Run:
    """One trained network with everything measured on it."""

    name: str
    trajectory: Trajectory
    split: Split
    model: HookedMLP
    tables: Mapping[str, NeuronTable]
    verdicts: Mapping[str, Verdict]
    ideal_accuracy: Mapping[str, float]
    ideal_curves: Mapping[str, pd.Series]


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
        print(f"{name}: {runs[-1].trajectory}, {time.monotonic() - start:.0f} s so far", flush=True)
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
    files.write_text(config.out / "report.html", _html(runs, command, summary["versions"]))
    print(_table(runs))
    for each in runs:
        print(f"\n{each.name}: {conclusion(each)}")
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
    tables: dict[str, NeuronTable] = {mode: neurons.extract(model, task, mode) for mode in MODES}
    return Run(
        name=name,
        trajectory=trajectory,
        split=split,
        model=model,
        tables=tables,
        verdicts={
            mode: controls.evaluate(
                model, split, Recipe(frequency=mode), config.draws, seed=config.seed
            )
            for mode in CONTROLLED
        },
        ideal_accuracy={
            mode: float(measures.accuracy(idealize.build(table).weights, task))
            for mode, table in tables.items()
        },
        ideal_curves={mode: _ideal_curve(trajectory, task, mode) for mode in CONTROLLED},
    )


def _ideal_curve(trajectory: Trajectory, task: ModularTask, mode: str) -> pd.Series:
    """Idealised accuracy over all pairs at every checkpoint."""
    ideal = idealize.build(neurons.extract(trajectory.weights(), task, mode))
    accuracy = measures.accuracy(ideal.weights, task)
    return pd.Series(accuracy.tolist(), index=list(trajectory.steps))


def summarise(run: Run) -> dict[str, Any]:
    """The numbers of one run, as :data:`DEFINITIONS` says."""
    joint, per_matrix = run.verdicts["joint"], run.verdicts["per_matrix"]
    last = run.trajectory.metrics.iloc[-1]
    names = ("mean", "min", "max", "draws")
    inputs = run.tables["joint"]
    return {
        "test_accuracy": float(last["test_accuracy"]),
        "train_accuracy": float(last["train_accuracy"]),
        "ideal_accuracy": dict(run.ideal_accuracy),
        "controls": {
            control: {
                mode: {name: getattr(verdict.controls[control], name) for name in names}
                for mode, verdict in run.verdicts.items()
            }
            for control in joint.controls
        },
        "excess_over_frozen_input": {
            mode: verdict.excess("frozen_input") for mode, verdict in run.verdicts.items()
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
        "conclusion": conclusion(run),
    }


def _structure(joint: Verdict, per_matrix: Verdict, name: str) -> dict[str, float]:
    share = per_matrix.structure[name].power_share
    return {
        "power_share": (share["W_a"] + share["W_b"]) / 2,
        "median_abs_phase_residual": joint.structure[name].median_abs_phase_residual,
        "agreement": joint.structure[name].agreement,
    }


def conclusion(run: Run) -> str:
    """What both frequency modes together, with their controls, allow one to say of a run."""
    test = float(run.trajectory.metrics["test_accuracy"].iloc[-1])
    return in_words(test, run.verdicts)


def in_words(test_accuracy: float, verdicts: Mapping[str, Verdict]) -> str:
    """The same from a run's own held-out accuracy and its verdicts by frequency mode."""
    chance = verdicts["joint"].chance
    if test_accuracy < chance:
        own = "does not generalise (it is below chance)"
    elif test_accuracy < GENERALISED:
        own = "has not generalised"
    else:
        own = "has generalised"
    parts = [f"The network {own}: {test_accuracy:.3f} on held-out pairs, chance {chance:.3f}."]
    for mode in reversed(CONTROLLED):
        verdict = verdicts[mode]
        excess, frozen = verdict.excess("frozen_input"), verdict.controls["frozen_input"]
        if excess <= -SMALL_EXCESS:
            says = "negative: random input weights with a fitted read-out do better"
        elif excess < SMALL_EXCESS:
            says = (
                "too small to be evidence of learned waves: random input weights with a fitted read-out "
                "do about as well"
            )
        else:
            says = (
                "large: training put waves into the weights that random input weights do not have"
            )
        parts.append(
            f"In {mode} mode its ideal weights score {verdict.effect.mean:.3f}, the frozen-input control "
            f"{frozen.mean:.3f} [{frozen.min:.3f}, {frozen.max:.3f}]; the excess of {excess:+.3f} is "
            f"{says}."
        )
    effect = verdicts["joint"].effect.mean
    shuffled = max(verdicts["joint"].controls[name].max for name in PHASE_CONTROLS)
    if effect - shuffled >= SMALL_EXCESS:
        parts.append(
            f"With output rows or phases shuffled no draw exceeds {shuffled:.3f} in joint mode, so its "
            "accuracy needs the relation of output to input phases (the frozen-input control has that "
            "relation too, from its fitted read-out)."
        )
    else:
        parts.append(
            f"With output rows or phases shuffled a draw reaches {shuffled:.3f} in joint mode, against "
            f"{effect:.3f}: there is no accuracy to attribute to the phase relation."
        )
    return " ".join(parts)


def _table(runs: list[Run]) -> str:
    """One small table: accuracies, ideal accuracies and controls of both runs."""
    width = 29
    lines = [f"{'':<{width}}" + "".join(f"{run.name:>24}" for run in runs)]

    def row(label: str, cells: list[str]) -> None:
        lines.append(f"{label:<{width}}" + "".join(f"{cell:>24}" for cell in cells))

    for name in ("train_accuracy", "test_accuracy"):
        row(
            f"own {name.replace('_', ' ')}",
            [f"{run.trajectory.metrics[name].iloc[-1]:.3f}" for run in runs],
        )
    for mode in MODES:
        row(f"idealised, {mode}", [f"{run.ideal_accuracy[mode]:.3f}" for run in runs])
    row("controls, mean [min, max]", ["joint" for _ in runs])
    for mode in reversed(CONTROLLED):
        if mode != "joint":
            row("", [mode for _ in runs])
        for control in runs[0].verdicts[mode].controls:
            samples = [run.verdicts[mode].controls[control] for run in runs]
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
            [f"{run.verdicts[mode].excess('frozen_input'):+.3f}" + " " * 15 for run in runs],
        )
    row("structure", ["own (frozen, untrained)" for _ in runs])
    numbers = {"power_share": ".3f", "median_abs_phase_residual": ".3f", "agreement": ".3f"}
    for name, form in numbers.items():
        cells = []
        for run in runs:
            own, frozen, untrained = (
                _structure(run.verdicts["joint"], run.verdicts["per_matrix"], which)[name]
                for which in ("own", "frozen_input", "untrained")
            )
            cells.append(f"{own:{form}} ({frozen:{form}}, {untrained:{form}})")
        row(f"  {name}", cells)
    return "\n".join(lines)


def _html(runs: list[Run], command: str, versions: Mapping[str, str]) -> str:
    introduction = (
        "Do these networks hold the addition algorithm in their weights? Weights are replaced by ideal "
        "square waves (inputs) and cosines (outputs) with each neuron's own frequency, amplitude and "
        "phases. Every accuracy stands beside controls made with the same recipe."
    )
    sections = [_section(each) for each in runs]
    made_by = f"{command} ({', '.join(f'{name} {number}' for name, number in versions.items())})"
    return report.to_html("The latent algorithm, with controls", introduction, sections, made_by)


def _section(run: Run) -> report.Section:
    table = run.tables["joint"]
    loudest = table.neuron_amplitude.nan_to_num().argsort(descending=True)[:SHOWN_NEURONS].tolist()
    initial = run.trajectory[0].weights()
    frozen = controls.ridge_readout(initial, run.split.train_tokens, run.split.train_labels)
    untrained, frozen_input = (
        neurons.extract(weights, run.split.task, "joint") for weights in (initial, frozen)
    )
    noise = LABEL_NOISE[run.name]
    return report.Section(
        title=f"{run.name}: {noise:.0%} of the training labels redrawn",
        answer=conclusion(run),
        tables=[str(verdict) for verdict in run.verdicts.values()],
        figures=[
            figures.learning_curves(
                run.trajectory.metrics,
                run.ideal_curves,
                {mode: verdict.controls["frozen_input"] for mode, verdict in run.verdicts.items()},
                measures.chance(run.split.task),
                f"Learning curves, {run.name}",
            ),
            figures.effect_beside_controls(run.verdicts, f"Effect beside its controls, {run.name}"),
            figures.residual_histogram(
                {"trained": table, "untrained": untrained, "frozen_input": frozen_input},
                f"Phase residual, {run.name}, joint mode",
            ),
            figures.neuron_waves(
                table, loudest, f"The {len(loudest)} loudest neurons and their waves, {run.name}"
            ),
        ],
    )
