"""All that is measured of one run, and what it allows one to say, in words.

Four questions: does the network hold the algorithm in its weights, does it use it, since which
step, and what do the controls allow one to conclude? The answers are about one run. Seeds are the unit
of inference (:func:`grok_interp.verdict.pooled_excess`), so none of them speaks of training in general.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp import controls, dynamics, removal
from grok_interp.config import FrequencyMode, Recipe
from grok_interp.dynamics import Onset
from grok_interp.removal import Removal
from grok_interp.trajectory import Trajectory
from grok_interp.verdict import SMALL_EXCESS, Verdict

CONTROLLED: tuple[FrequencyMode, ...] = ("per_matrix", "joint")
"""Frequency modes in which every control is drawn."""
GENERALISED = 0.5
"""Held-out accuracy above which a network is said to have generalised."""
ONSETS = {
    "train_accuracy": 0.99,
    "test_accuracy": 0.99,
    "idealised_per_matrix": 0.9,
    "idealised_joint": 0.9,
    "excess_per_matrix": SMALL_EXCESS,
    "excess_joint": SMALL_EXCESS,
}
"""Levels above which a measure counts as having set in."""
QUESTIONS = (
    "Does it hold the algorithm?",
    "Does it use it?",
    "Since which step?",
    "What do the controls allow one to say?",
)
CONSTRUCTED = (
    "This recipe writes the answer into the weights (output_phase='phase_sum'): a construction, never "
    "evidence about the network. Use the network's own output phases."
)
PHASE_CONTROLS = ("permuted_output", "permuted_within_frequency", "random_phase")


@dataclass(frozen=True, eq=False)
class Findings:
    """One run, measured.

    Attributes:
        trajectory: The run.
        table: Every measure along it (:func:`grok_interp.dynamics.table`).
        verdicts: Effect and controls at the last checkpoint, by frequency mode.
        onsets: When each measure of :data:`ONSETS` came to stay above its level.
        removed: What the network does without its waves, at the last checkpoint, joint mode; None
            where m < 4, since the control needs a second frequency.
    """

    trajectory: Trajectory
    table: pd.DataFrame
    verdicts: Mapping[str, Verdict]
    onsets: Mapping[str, Onset]
    removed: Removal | None

    @property
    def answers(self) -> dict[str, str]:
        """The four questions with their answers."""
        holds, uses, since, allows = QUESTIONS
        if self.verdicts["joint"].recipe.output_phase == "phase_sum":
            return dict.fromkeys(QUESTIONS, CONSTRUCTED) | {uses: _uses(self.removed)}
        return {
            holds: _holds(self.verdicts),
            uses: _uses(self.removed),
            since: _since(self.onsets, self.table.index),
            allows: self.conclusion,
        }

    @property
    def conclusion(self) -> str:
        """What both frequency modes together, with their controls, allow one to say."""
        return in_words(float(self.table["test_accuracy"].iloc[-1]), self.verdicts)


def find(
    trajectory: Trajectory, recipe: Recipe | None = None, draws: int = 20, *, seed: int = 0
) -> Findings:
    """Measure a run: along all checkpoints, and at the last one beside every control.

    Args:
        trajectory: A run whose first checkpoint is its start.
        recipe: How to idealize; its frequency mode is replaced by each that is measured.
        draws: Draws of each random control.
        seed: Seed of the draws.

    Returns:
        The measurements; :attr:`Findings.answers` says them in words.

    Raises:
        ValueError: If the task has no coordinates, the run has no checkpoints, or ``draws < 1``.
    """
    recipe = Recipe() if recipe is None else recipe
    table = dynamics.table(trajectory, recipe, draws, seed=seed)
    model, start = trajectory[-1], trajectory.weights(trajectory.steps[:1])[0]
    initial = start if dynamics.start_is_unknown(trajectory) else None
    return Findings(
        trajectory=trajectory,
        table=table,
        verdicts={
            mode: controls.evaluate(
                model,
                trajectory.split,
                replace(recipe, frequency=mode),
                draws,
                initial=initial,
                seed=seed,
            )
            for mode in CONTROLLED
        },
        onsets={name: dynamics.onset(table[name], level) for name, level in ONSETS.items()},
        removed=_removed(trajectory, replace(recipe, frequency="joint"), draws, seed),
    )


def in_words(test_accuracy: float, verdicts: Mapping[str, Verdict]) -> str:
    """What a run's own held-out accuracy and its verdicts by frequency mode allow one to say."""
    chance = verdicts["joint"].chance
    if math.isnan(test_accuracy):
        own = "was trained on every pair, so whether it generalises cannot be told"
    elif test_accuracy < chance:
        own = "does not generalise (it is below chance)"
    elif test_accuracy < GENERALISED:
        own = "has not generalised"
    else:
        own = "has generalised"
    scored = f": {test_accuracy:.3f} on held-out pairs, chance {chance:.3f}"
    parts = [f"The network {own}{'' if math.isnan(test_accuracy) else scored}."]
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
            f"{effect:.3f}: that its accuracy needs the phase relation is not shown."
        )
    return " ".join(parts)


def _removed(trajectory: Trajectory, recipe: Recipe, draws: int, seed: int) -> Removal | None:
    """Whether the last network uses its waves, where the task has frequencies enough to tell."""
    split = trajectory.split
    if split.task.require_coordinates("").modulus < removal.LEAST_MODULUS:
        return None
    return removal.waves(trajectory[-1], split, recipe, draws, seed=seed)


def _holds(verdicts: Mapping[str, Verdict]) -> str:
    """The evidence that joint mode cannot give: each matrix finds the frequency by itself."""
    verdict = verdicts["per_matrix"]
    excess, frozen = verdict.excess("frozen_input"), verdict.controls["frozen_input"]
    unseen = float(verdict.effect.held_out.mean())
    held_out = "" if math.isnan(unseen) else f" ({unseen:.0%} of the held-out pairs)"
    numbers = (
        f"With each matrix read by itself its ideal waves get {verdict.effect.mean:.0%} of all pairs "
        f"right{held_out}, those of random input weights with a fitted read-out {frozen.mean:.0%} "
        f"[{frozen.min:.0%}, {frozen.max:.0%}]; chance is {verdict.chance:.1%}."
    )
    if excess < SMALL_EXCESS or verdict.effect.mean <= frozen.max:
        return (
            f"Not shown: no more than the control, so nothing speaks for learned waves. {numbers}"
        )
    much = "Yes" if verdict.effect.mean >= ONSETS["idealised_per_matrix"] else "In part"
    return f"{much}: waves that add, beyond what the control has. {numbers}"


def _uses(removed: Removal | None) -> str:
    if removed is None:
        return (
            "Not measured: the control takes out waves of another frequency, and there is one here."
        )
    own, without, control = removed.own, removed.without, removed.control
    lost = float(own.train) - float(without.train)
    numbers = (
        f"Without its waves it gets {_share(without.train)} of the pairs trained on right (as it is, "
        f"{_share(own.train)}); without as large waves of other frequencies {_share(control.train)}."
    )
    if not torch.isnan(own.held_out).any():
        numbers += (
            f" Of held-out pairs {_share(without.held_out)} (as it is, {_share(own.held_out)}; "
            f"without as large others {_share(control.held_out)})."
        )
    if lost < SMALL_EXCESS:
        return f"Hardly: it gets nearly as many right without its waves. {numbers}"
    if removed.use >= SMALL_EXCESS and float(without.train) < float(control.train.min()):
        return f"Yes: it loses more with its waves than with as large others. {numbers}"
    return f"Not shown: as large waves of other frequencies cost it about as much. {numbers}"


def _share(accuracy: Float[Tensor, " draws"]) -> str:
    """A percentage; of several draws the mean and the range."""
    mean = f"{float(accuracy.mean()):.0%}"
    if len(accuracy) == 1:
        return mean
    return f"{mean} [{float(accuracy.min()):.0%}, {float(accuracy.max()):.0%}]"


def _since(onsets: Mapping[str, Onset], measured: pd.Index[Any]) -> str:
    level, solved = ONSETS["excess_per_matrix"], ONSETS["test_accuracy"]
    latent, generalised = (
        _when(onsets[name], measured) for name in ("excess_per_matrix", "test_accuracy")
    )
    return (
        f"{latent[0].upper()}{latent[1:]}, by the excess over the control in per_matrix mode, which has to "
        f"stay above {level}. Held-out accuracy, to stay above {solved}: {generalised}."
    )


def _when(onset: Onset, measured: pd.Index[Any]) -> str:
    """From which step on, and the last one at which it was not yet so."""
    if onset.censored:
        return f"not by step {onset.step}"
    before = measured[measured < onset.step]
    return f"from step {onset.step} on" + (f" (not yet at {before[-1]})" if len(before) else "")
