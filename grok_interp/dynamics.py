"""Measures of the mechanism along a run, and the step at which each sets in.

When does the latent algorithm appear, and how long before the network generalises? An idealised
accuracy at a checkpoint says little by itself: random input weights with a fitted read-out reach .95
and more in joint mode (:mod:`.controls`). So each stands beside its excess over that control, which
is made from this run's own initial input weights and noisy labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp import controls, idealize, measures, neurons
from grok_interp.config import FrequencyMode, Recipe
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.milestones import Milestones as Milestones
from grok_interp.milestones import Onset as Onset
from grok_interp.milestones import Regimes as Regimes
from grok_interp.milestones import milestones as milestones
from grok_interp.milestones import onset as onset
from grok_interp.milestones import regimes as regimes
from grok_interp.neurons import NeuronTable
from grok_interp.trajectory import Trajectory
from grok_interp.weights import MLPWeights

MODES: tuple[FrequencyMode, ...] = get_args(FrequencyMode)
CHUNK_ELEMENTS = 1 << 23
"""Weights and activations that are analysed at a time, which bounds the memory."""
DEFINITIONS = {
    "accuracy": "own accuracy over all pairs, on the task's labels; ties count as wrong",
    "train_accuracy": "own accuracy on training pairs, on the labels trained on",
    "clean_train_accuracy": "own accuracy on training pairs, on the task's labels",
    "test_accuracy": "own accuracy on held-out pairs",
    **{
        f"idealised_{mode}": f"accuracy over all pairs with ideal weights, {mode}" for mode in MODES
    },
    **{
        f"excess_{mode}": f"idealised_{mode} minus the mean of the frozen_input control's draws"
        for mode in MODES
    },
    "ipr": "mean over neurons of the mean IPR of their three columns",
    "ipr_lower": "lower quartile of the same over neurons",
    "ipr_upper": "upper quartile of the same over neurons",
    "phase_residual": "median absolute phase residual in radians, joint, weighted by amplitude",
    "agreement": "share of neurons whose three columns by themselves have one frequency",
    "power_share_a": "share of W_a's energy about its column means at its columns' own frequencies",
    "power_share_b": "the same of W_b",
    "power_share_out": "the same of W_out, over its rows",
    "r2_square": "median over the columns of W_in of R2 to their square wave, joint",
    "r2_cosine": "the same to their cosine, to which a perfect square wave has .81",
    "r2_cosine_out": "median over the rows of W_out of R2 to their cosine, joint",
    "plateau_share": "median over the columns of W_in of the share of weights near +-pi/4 A; a cosine: .48",
    "weight_norm": "L2 norm of all parameters",
    "weight_norm_W_in": "L2 norm of W_in",
    "weight_norm_W_out": "L2 norm of W_out",
    "feature_movement": "cosine between W_in and W_in at the first checkpoint: 1 if it only grew",
}
"""What each column of :func:`table` is."""


def table(
    trajectory: Trajectory,
    recipe: Recipe | None = None,
    draws: int = 20,
    *,
    seed: int = 0,
    steps: Sequence[int] | None = None,
    floor: Mapping[FrequencyMode, float] | None = None,
) -> pd.DataFrame:
    """Measure checkpoints of a run: accuracies, idealised accuracies and their excess, structure, norms.

    Args:
        trajectory: A run whose first checkpoint is its start.
        recipe: How to idealize; its frequency mode is replaced by each of the three.
        draws: Draws of the frozen_input control, the first from the run's own initial weights.
        seed: Seed of the draws.
        steps: Which checkpoints; None for all.
        floor: Mean accuracy of :func:`frozen_input` idealised in each mode, where it is at hand; None
            draws it.

    Returns:
        One row a checkpoint, indexed by step, with the columns of :data:`DEFINITIONS`, which says what each
        is; accuracies over no pairs are NaN.

    Raises:
        ValueError: If the task has no coordinates, the run has no checkpoints or not its first, or
            ``draws < 1``.
    """
    if len(trajectory) == 0:
        raise ValueError(f"{trajectory!r} has no checkpoints to measure: train it first")
    if trajectory.steps[0] != 0:
        raise ValueError(
            f"the first readable checkpoint is of step {trajectory.steps[0]}, and the controls need the "
            "weights at step 0: restore that file, or measure checkpoints with controls.evaluate"
        )
    recipe = Recipe() if recipe is None else recipe
    recipes = {mode: replace(recipe, frequency=mode) for mode in MODES}
    task = trajectory.split.task
    if floor is None:
        frozen = frozen_input(trajectory, draws, seed)
        floor = {
            mode: float(_idealised(frozen, trajectory, each)[1].mean())
            for mode, each in recipes.items()
        }
    steps = trajectory.steps if steps is None else steps
    start = trajectory.weights(trajectory.steps[:1])
    size = max(1, CHUNK_ELEMENTS // (3 * task.p * start.d_mlp))
    rows: list[pd.DataFrame] = []
    for first in range(0, len(steps), size):
        some = steps[first : first + size]
        columns = _measured(trajectory.weights(some), start, trajectory, recipes)
        columns |= {f"excess_{mode}": columns[f"idealised_{mode}"] - floor[mode] for mode in MODES}
        rows.append(
            pd.DataFrame(
                {name: columns[name].double().cpu().numpy() for name in DEFINITIONS},
                index=pd.Index(some, name="step"),
            )
        )
    return pd.concat(rows)


def frozen_input(trajectory: Trajectory, draws: int = 20, seed: int = 0) -> MLPWeights:
    """Networks with input weights as a run's were at its start, read-outs fitted to its noisy labels.

    Args:
        trajectory: A run with a checkpoint.
        draws: Number of networks, the first with the run's own initial weights.
        seed: Seed of the others' input weights.

    Returns:
        Weights ``[draws, ...]``; see :func:`grok_interp.controls.frozen_input`.
    """
    first = trajectory[0]
    initial = first.weights().detach() if start_is_unknown(trajectory) else None
    return controls.frozen_input(first, trajectory.split, draws, initial=initial, seed=seed)


def start_is_unknown(trajectory: Trajectory) -> bool:
    """Whether the model's seed does not give the first checkpoint back, as after scaling by hand."""
    first = trajectory[0]
    if first.cfg.seed is None:
        return True
    plain = replace(
        first.cfg, act_fn="identity", device="cpu"
    )  # a callable has no part in the draw
    return not torch.equal(HookedMLP(plain).W_in, first.W_in.cpu())


def _measured(
    weights: MLPWeights,
    start: MLPWeights,
    trajectory: Trajectory,
    recipes: dict[FrequencyMode, Recipe],
) -> dict[str, Tensor]:
    split, task = trajectory.split, trajectory.split.task
    right = measures.correct(weights, task).double()
    trained = measures.correct(weights, split.train)
    found = {mode: _idealised(weights, trajectory, recipe) for mode, recipe in recipes.items()}
    joint, by_itself = found["joint"][0], found["per_matrix"][0]
    norms = measures.weight_norms(weights)
    if trajectory.model_config.tied_operands:  # written out twice in the weights
        once = norms["W_in"] / math.sqrt(2)
        norms |= {"W_in": once, "total": (norms["total"].square() - once.square()).sqrt()}
    columns = {
        "accuracy": right.mean(-1),
        "train_accuracy": trained.double().mean(-1),
        "clean_train_accuracy": right[:, split.train_index].mean(-1),
        "test_accuracy": right[:, split.test_index].mean(-1),
        **{f"idealised_{mode}": accuracy for mode, (_, accuracy) in found.items()},
        "ipr": joint.neuron_ipr.mean(-1),
        "ipr_lower": joint.neuron_ipr.quantile(0.25, -1),
        "ipr_upper": joint.neuron_ipr.quantile(0.75, -1),
        "phase_residual": joint.median_abs_phase_residual,
        "agreement": by_itself.agreement,
        "r2_square": _median(joint.r2_square[:, :2]),
        "r2_cosine": _median(joint.r2_cosine[:, :2]),
        "r2_cosine_out": _median(joint.r2_cosine[:, 2:]),
        "plateau_share": _median(joint.plateau_share[:, :2]),
        "weight_norm": norms["total"],
        "weight_norm_W_in": norms["W_in"],
        "weight_norm_W_out": norms["W_out"],
        "feature_movement": torch.cosine_similarity(
            weights.W_in.flatten(1), start.W_in.flatten(1), dim=1
        ),
    }
    shares = by_itself.kept_power
    return columns | {
        f"power_share_{name}": shares[:, i] for i, name in enumerate(("a", "b", "out"))
    }


def _idealised(
    weights: MLPWeights, trajectory: Trajectory, recipe: Recipe
) -> tuple[NeuronTable, Float[Tensor, " networks"]]:
    task = trajectory.split.task
    read = neurons.extract(weights, task, recipe.frequency)
    return read, measures.accuracy(idealize.build(read, recipe).weights, task)


def _median(values: Float[Tensor, "networks matrices d_mlp"]) -> Float[Tensor, " networks"]:
    return values.flatten(1).nanmedian(-1)[0]
