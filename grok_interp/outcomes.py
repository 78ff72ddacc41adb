"""What a sweep keeps of a run: one flat record, with a list of comparisons inside it.

An idealised accuracy never stands alone. Each is beside that of ``frozen_input``, random input weights with a
read-out fitted to the same noisy labels, made by the same recipe; its first draw has the run's own
initial input weights, so effect and control are paired by seed and split
(:mod:`grok_interp.controls` says why that control is the hard one).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from torch import Tensor

from grok_interp import controls, dynamics, idealize, lottery, measures, neurons
from grok_interp.config import FrequencyMode, MeasureConfig, Recipe
from grok_interp.neurons import NeuronTable
from grok_interp.trajectory import Trajectory
from grok_interp.verdict import Sample
from grok_interp.weights import MLPWeights

SOLVED = 0.99
"""Accuracy at which training pairs count as memorised, and held-out pairs as grokked."""
COMPARISON = {
    "frequency": str,
    "input_waveform": str,
    "output_waveform": str,
    "replaced": str,
    "network": str,
    "draws": int,
    "mean": float,
    "min": float,
    "max": float,
    "held_out": float,
}
"""Fields of a comparison and their types; see :func:`of`."""
FORETOLD = {
    "share": "share of neurons whose final frequency is the one with the largest initial score",
    "chance": "that share over all pairings of initial with final neurons",
    "percentile": "mean midrank of the final frequency among the neuron's initial scores, 0 to 1",
    "percentile_chance": "that midrank over all pairings",
}
LOTTERY = {
    "lottery_live": "neurons that the lottery is about",
    **{
        f"lottery_{predictor}_{what}": f"{meaning}; score: {predictor}"
        for predictor in lottery.PREDICTORS
        for what, meaning in FORETOLD.items()
    },
}
"""What :func:`grok_interp.lottery.foretold` returns."""
CHECKPOINT = {"step": int, **dict.fromkeys(dynamics.DEFINITIONS, float)}
"""Fields of a checkpoint and their types."""
MILESTONES = {
    "memorised_step": int,
    "memorised_censored": bool,
    "grokked_step": int,
    "grokked_censored": bool,
}
"""When train and test accuracy came to stay at :data:`SOLVED`, and their types."""
LAST = {
    "step": int,
    "train_loss": float,
    "test_loss": float,
    **dict.fromkeys(dynamics.DEFINITIONS, float),
    "phase_residual_frozen": float,
    "agreement_frozen": float,
    "r2_trapezoid": float,
    "r2_square_out": float,
    "r2_trapezoid_out": float,
    **dict.fromkeys(LOTTERY, float),
}
"""What is measured at the last checkpoint, and the types."""
DEFINITIONS = {
    "step": "the last step",
    "train_loss": "loss on the pairs and labels trained on",
    "test_loss": "loss on held-out pairs",
    **dynamics.DEFINITIONS,
    "phase_residual_frozen": "mean of phase_residual over the draws of frozen_input",
    "agreement_frozen": "mean of agreement over the draws of frozen_input",
    "r2_trapezoid": "median over the columns of W_in of R2 to their trapezoid, which has a parameter more",
    "r2_square_out": "median over the rows of W_out of R2 to their square wave",
    "r2_trapezoid_out": "the same to their trapezoid",
    **LOTTERY,
    "memorised_step": f"step from which train accuracy stays at {SOLVED} or above, by eval_every",
    "memorised_censored": "whether it does not by the last step, which then is memorised_step",
    "grokked_step": f"step from which test accuracy stays at {SOLVED} or above, by eval_every",
    "grokked_censored": "whether it does not by the last step, which then is grokked_step",
    "comparisons": "the network and its controls, idealised in several ways: a list",
    "checkpoints": "dynamics.DEFINITIONS at each checkpoint, if measured along: a list",
}
"""What each entry of a record is."""
UNCHANGED = "none"
"""Of a comparison, which weights were replaced where none were."""


def of(trajectory: Trajectory, measure: MeasureConfig | None = None) -> dict[str, Any]:
    """Measure a run that has ended.

    Args:
        trajectory: A run whose first checkpoint is its start.
        measure: What to measure.

    Returns:
        The entries of :data:`DEFINITIONS`. A comparison says whose accuracy it is (``network``:
        ``"trained"`` or a control), what was replaced by which waves, and the mean, minimum and maximum
        over draws of the accuracy over all pairs, with the mean over held-out pairs (NaN without any);
        where ``replaced`` is ``"none"`` the network is scored as it is.

    Raises:
        ValueError: If the task has no coordinates, or the run no checkpoints.
    """
    measure = MeasureConfig() if measure is None else measure
    seed = trajectory.model_config.seed or 0
    frozen = dynamics.frozen_input(trajectory, measure.draws, seed)
    start, end = (trajectory.weights([trajectory.steps[i]])[0] for i in (0, -1))
    metrics, task = trajectory.metrics, trajectory.split.task
    networks = {"trained": end.expand(1), "frozen_input": frozen}

    @cache
    def tables(mode: FrequencyMode) -> dict[str, NeuronTable]:
        """Of each network; several measures ask for the same."""
        return {name: neurons.extract(each, task, mode) for name, each in networks.items()}

    floor = {
        mode: float(
            measures.accuracy(
                idealize.build(tables(mode)["frozen_input"], Recipe(frequency=mode)).weights, task
            ).mean()
        )
        for mode in dynamics.MODES
    }
    steps = None if measure.along else trajectory.steps[-1:]
    table = dynamics.table(trajectory, steps=steps, floor=floor)
    last = table.iloc[-1]
    read, read_frozen = tables("joint")["trained"][0], tables("joint")["frozen_input"]
    by_itself_frozen = tables("per_matrix")["frozen_input"]
    happened = dynamics.milestones(metrics, SOLVED)
    return {
        "step": int(table.index[-1]),
        "train_loss": float(metrics["train_loss"].iloc[-1]),
        "test_loss": float(metrics["test_loss"].iloc[-1]),
        **{name: float(last[name]) for name in dynamics.DEFINITIONS},
        "phase_residual_frozen": float(read_frozen.median_abs_phase_residual.nanmean()),
        "agreement_frozen": float(by_itself_frozen.agreement.nanmean()),
        "r2_trapezoid": _median(read.r2_trapezoid[:2]),
        "r2_square_out": _median(read.r2_square[2:]),
        "r2_trapezoid_out": _median(read.r2_trapezoid[2:]),
        **{name: float(value) for name, value in lottery.foretold(start, end, task).items()},
        "memorised_step": happened.memorised.step,
        "memorised_censored": happened.memorised.censored,
        "grokked_step": happened.grokked.step,
        "grokked_censored": happened.grokked.censored,
        "comparisons": list(_comparisons(trajectory, networks, tables, measure, seed)),
        "checkpoints": _checkpoints(table) if measure.along else None,
    }


def _median(values: Tensor) -> float:
    return float(values.flatten().nanmedian())


def _checkpoints(table: Any) -> list[dict[str, Any]]:
    return [
        {"step": int(step), **{name: float(row[name]) for name in dynamics.DEFINITIONS}}
        for step, row in table.iterrows()
    ]


def _comparisons(
    trajectory: Trajectory,
    networks: Mapping[str, MLPWeights],
    tables: Callable[[FrequencyMode], Mapping[str, NeuronTable]],
    measure: MeasureConfig,
    seed: int,
) -> Iterator[dict[str, Any]]:
    split = trajectory.split
    for name, weights in networks.items():
        yield _comparison("", "", "", UNCHANGED, name, controls.score(weights, split))
    for mode in measure.frequencies:
        for index, waves in enumerate(
            itertools.product(measure.input_waveforms, measure.output_waveforms)
        ):
            recipe = Recipe(frequency=mode, input_waveform=waves[0], output_waveform=waves[1])
            for name, table in tables(mode).items():
                for part, weights in _replaced(table, recipe, measure.replaced):
                    yield _comparison(mode, *waves, part, name, controls.score(weights, split))
            if measure.all_controls and index == 0:
                yield from _others(trajectory, recipe, measure.draws, seed)


def _replaced(
    table: NeuronTable, recipe: Recipe, parts: Sequence[str]
) -> Iterator[tuple[str, MLPWeights]]:
    ideal = idealize.build(table, recipe).weights
    own = table.weights
    for part in parts:
        W_in = own.W_in if part == "W_out" else ideal.W_in
        W_out = own.W_out if part == "W_in" else ideal.W_out
        yield part, replace(own, W_in=W_in, W_out=W_out)


def _others(
    trajectory: Trajectory, recipe: Recipe, draws: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Every control but frozen_input, which the caller has."""
    verdict = controls.evaluate(trajectory[-1], trajectory.split, recipe, draws, seed=seed)
    mode: FrequencyMode = recipe.frequency
    for name, sample in verdict.controls.items():
        if name != "frozen_input":
            yield _comparison(
                mode, recipe.input_waveform, recipe.output_waveform, "all", name, sample
            )


def _comparison(
    frequency: str,
    input_waveform: str,
    output_waveform: str,
    replaced: str,
    network: str,
    sample: Sample,
) -> dict[str, Any]:
    return {
        "frequency": frequency,
        "input_waveform": input_waveform,
        "output_waveform": output_waveform,
        "replaced": replaced,
        "network": network,
        "draws": sample.draws,
        "mean": sample.mean,
        "min": sample.min,
        "max": sample.max,
        "held_out": float(sample.held_out.mean()),
    }
