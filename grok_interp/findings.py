"""All that is measured of one run, and what it allows one to say, in words.

Four questions: does the network hold the algorithm in its weights, does it use it, since which
step, and what do the controls allow one to conclude? The answers are about one run. Seeds are the unit
of inference (:func:`grok_interp.verdict.pooled_excess`), so none of them speaks of training in general.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

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
        return {
            "Does it hold the algorithm?": _holds(self.verdicts),
            "Does it use it?": _uses(self.removed),
            "Since which step?": _since(self.onsets),
            "What do the controls allow one to say?": self.conclusion,
        }

    @property
    def conclusion(self) -> str:
        """What both frequency modes together, with their controls, allow one to say."""
        return in_words(float(self.trajectory.metrics["test_accuracy"].iloc[-1]), self.verdicts)


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
    numbers = (
        f"With each matrix read by itself its ideal waves get {verdict.effect.mean:.0%} of all pairs "
        f"right, those of random input weights with a fitted read-out {frozen.mean:.0%} "
        f"[{frozen.min:.0%}, {frozen.max:.0%}]; chance is {verdict.chance:.1%}."
    )
    if excess < SMALL_EXCESS:
        return f"No more than the control: training is not shown to have made waves that add. {numbers}"
    much = "Yes" if verdict.effect.mean >= ONSETS["idealised_per_matrix"] else "In part"
    return f"{much}: waves that add, which the control does not have. {numbers}"


def _uses(removed: Removal | None) -> str:
    if removed is None:
        return (
            "Not measured: the control takes out waves of another frequency, and there is one here."
        )
    own, without, control = (each.train for each in (removed.own, removed.without, removed.control))
    numbers = (
        f"Without its waves it gets {float(without):.0%} of the pairs trained on right (as it is, "
        f"{float(own):.0%}); without as large waves of other frequencies {float(control.mean()):.0%} "
        f"[{float(control.min()):.0%}, {float(control.max()):.0%}]."
    )
    if removed.use >= SMALL_EXCESS:
        return f"Yes: it loses more with its waves than with as large others. {numbers}"
    return f"Hardly: what it gets right does not need the waves. {numbers}"


def _since(onsets: Mapping[str, Onset]) -> str:
    level = ONSETS["excess_per_matrix"]
    latent, solved = onsets["excess_per_matrix"], onsets["test_accuracy"]
    when = {
        name: f"not by step {each.step}" if each.censored else f"from step {each.step} on"
        for name, each in (("latent", latent), ("solved", solved))
    }
    return (
        f"The excess over the control in per_matrix mode stays above {level}: {when['latent']}. "
        f"Held-out accuracy stays above {ONSETS['test_accuracy']}: {when['solved']}."
    )
