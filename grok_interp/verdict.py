"""An effect, its controls, and what they allow one to say.

The spread over draws is that of the controls of one trained network. Seeds are the unit of
inference: :func:`pooled_excess` bootstraps over runs, each paired with its own controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp import measures
from grok_interp.config import Recipe, check_choice
from grok_interp.tasks import ModularTask

NOT_A_NULL = ("refitted_readout",)
"""Controls that keep learned structure, and so cannot be the strongest null."""
SMALL_EXCESS = 0.1
"""An excess below this is called small in words."""
INTERVAL = 0.95
"""Level of every interval."""


@dataclass(frozen=True)
class Sample:
    """Accuracies of one network, or of the draws of a control.

    Attributes:
        accuracy: Over all pairs.
        held_out: Over the pairs not trained on; NaN if there are none.
        covered: Over the pairs with coordinates (the nonzero ones for multiplication).
    """

    accuracy: Float[Tensor, " draws"]
    held_out: Float[Tensor, " draws"]
    covered: Float[Tensor, " draws"]

    @property
    def mean(self) -> float:
        """Mean accuracy over draws, on all pairs."""
        return float(self.accuracy.mean())

    @property
    def min(self) -> float:
        """Least accuracy over draws."""
        return float(self.accuracy.min())

    @property
    def max(self) -> float:
        """Largest accuracy over draws."""
        return float(self.accuracy.max())

    @property
    def draws(self) -> int:
        """Number of draws; 1 for what has no randomness."""
        return len(self.accuracy)

    def to_dict(self) -> dict[str, float | int]:
        """Mean, min, max and number of draws over all pairs; means over the other sets."""
        return {
            "mean": self.mean,
            "min": self.min,
            "max": self.max,
            "draws": self.draws,
            "held_out_mean": float(self.held_out.mean()),
            "covered_mean": float(self.covered.mean()),
        }


@dataclass(frozen=True)
class Verdict:
    """An effect, its controls, and what they allow one to say.

    Attributes:
        task: The task.
        recipe: The recipe that the effect and every control used.
        own: The network's own accuracies.
        effect: The idealised network's accuracies.
        controls: Accuracies of the controls by name.
        power_share: Share of each matrix's energy at its neurons' frequencies.
        untrained_power_share: The same for the untrained control, mean over draws.
        median_abs_phase_residual: Weighted by amplitude, in radians; pi/2 without a relation.
        agreement: Share of neurons whose three frequencies agree.
    """

    task: ModularTask
    recipe: Recipe
    own: Sample
    effect: Sample
    controls: dict[str, Sample]
    power_share: dict[str, float]
    untrained_power_share: dict[str, float]
    median_abs_phase_residual: float
    agreement: float

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return measures.chance(self.task)

    @property
    def strongest(self) -> str:
        """Name of the null control with the largest mean accuracy."""
        nulls = [name for name in self.controls if name not in NOT_A_NULL]
        return max(nulls, key=lambda name: self.controls[name].mean)

    def excess(self, control: str | None = None) -> float:
        """Effect minus the mean of a control; None takes the strongest."""
        return self.effect.mean - self._control(control).mean

    def excess_interval(self, control: str | None = None) -> tuple[float, float]:
        """Where 95% of the differences to single draws of the control lie: not an interval over seeds."""
        differences = self.effect.mean - self._control(control).accuracy.double().numpy()
        tail = (1 - INTERVAL) / 2
        low, high = np.quantile(differences, [tail, 1 - tail])
        return float(low), float(high)

    def _control(self, name: str | None) -> Sample:
        name = self.strongest if name is None else name
        check_choice("control", name, tuple(self.controls))
        return self.controls[name]

    def conclusion(self) -> str:
        """What the controls allow one to say, in words."""
        own, frozen = self.own, self.controls["frozen_input"]
        where = "held-out pairs" if bool(own.held_out.isfinite().all()) else "all pairs"
        accuracy = float(own.held_out.mean()) if where == "held-out pairs" else own.mean
        standing = "below chance" if accuracy < self.chance else f"chance is {self.chance:.3f}"
        parts = [
            f"The network itself scores {accuracy:.3f} on {where} ({standing}); idealised in "
            f"{self.recipe.frequency} mode it scores {self.effect.mean:.3f} on all pairs."
        ]
        if self.recipe.output_phase == "phase_sum":
            parts.append(
                "output_phase='phase_sum' writes the answer into the weights: this is a construction, "
                "never evidence about the network."
            )
            return " ".join(parts)
        excess, (low, high) = self.excess(), self.excess_interval()
        name = self.strongest
        if excess < SMALL_EXCESS or low <= 0:
            size = (
                "nil" if excess <= 0 else "small" if excess < SMALL_EXCESS else "within its spread"
            )
            parts.append(
                f"The excess over the strongest control, {name} ({self._control(None).mean:.3f}), is "
                f"{size}: {excess:+.3f} [{low:+.3f}, {high:+.3f}]. This number alone does not show "
                "that training made waves in the weights."
            )
            if name == "frozen_input":
                parts.append(
                    f"Random input weights with a fitted read-out reach {frozen.mean:.3f} without any "
                    "learned wave."
                )
        else:
            parts.append(
                f"The excess over the strongest control, {name} ({self._control(None).mean:.3f}), is "
                f"large: {excess:+.3f} [{low:+.3f}, {high:+.3f}]. Neither selection nor the form that "
                "idealization injects accounts for it."
            )
        kept, before = self.power_share["W_a"], self.untrained_power_share["W_a"]
        parts.append(
            f"The ideal waves keep {kept:.0%} of W_a's power (untrained {before:.0%}); the median "
            f"phase residual is {self.median_abs_phase_residual:.2f} rad (no relation: 1.57)."
        )
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        low, high = self.excess_interval()
        return {
            "task": asdict(self.task.config),
            "recipe": asdict(self.recipe),
            "chance": self.chance,
            "own": self.own.to_dict(),
            "effect": self.effect.to_dict(),
            "controls": {name: sample.to_dict() for name, sample in self.controls.items()},
            "strongest_control": self.strongest,
            "excess": self.excess(),
            "excess_interval": [low, high],
            "power_share": self.power_share,
            "untrained_power_share": self.untrained_power_share,
            "median_abs_phase_residual": self.median_abs_phase_residual,
            "agreement": self.agreement,
            "conclusion": self.conclusion(),
        }

    def __str__(self) -> str:
        recipe, covered = self.recipe, not torch.equal(self.own.accuracy, self.own.covered)
        lines = [
            f"{self.task.operation} mod {self.task.p}: {recipe.input_waveform} in, "
            f"{recipe.output_waveform} out, {recipe.output_phase} output phases, {recipe.frequency} "
            f"frequencies; chance {self.chance:.3f}",
            f"{'accuracy':<27}{'all pairs':>9} {'min':>6} {'max':>6} {'held out':>9}"
            + (f" {'nonzero':>8}" if covered else "")
            + f" {'draws':>6}",
        ]
        samples = {"own": self.own, "idealised": self.effect} | {
            f"  {name}": sample for name, sample in self.controls.items()
        }
        for name, sample in samples.items():
            spread = f" {sample.min:6.3f} {sample.max:6.3f}" if sample.draws > 1 else " " * 14
            lines.append(
                f"{name:<27}{sample.mean:9.3f}{spread} {float(sample.held_out.mean()):9.3f}"
                + (f" {float(sample.covered.mean()):8.3f}" if covered else "")
                + f" {sample.draws:6d}"
            )
        low, high = self.excess_interval()
        kept = ", ".join(
            f"{name} {share:.2f} ({self.untrained_power_share[name]:.2f})"
            for name, share in self.power_share.items()
        )
        lines += [
            f"excess over {self.strongest} {self.excess():+.3f} [{low:+.3f}, {high:+.3f}]; "
            f"frequencies agree in {self.agreement:.0%}",
            f"power kept (untrained): {kept}; "
            f"median |phase residual| {self.median_abs_phase_residual:.3f} rad",
        ]
        return "\n".join(lines)

    __repr__ = __str__


def pooled_excess(
    verdicts: Sequence[Verdict],
    control: str = "frozen_input",
    *,
    seed: int = 0,
    resamples: int = 10_000,
) -> tuple[float, float, float]:
    """Mean excess over a control across runs, with a 95% bootstrap interval over runs.

    Each run's effect is paired with the mean of its own control, so seed and split are shared
    within a pair (percentile bootstrap, Efron and Tibshirani 1993, chapter 13).

    Args:
        verdicts: One for each seed, of one recipe.
        control: Name of the control.
        seed: Seed of the resampling.
        resamples: Bootstrap resamples.

    Returns:
        Mean, lower and upper end.

    Raises:
        ValueError: If there are fewer than two verdicts, or their recipes differ.
    """
    if len(verdicts) < 2:
        raise ValueError(
            f"{len(verdicts)} verdicts: at least two runs are needed to bootstrap over seeds"
        )
    if len({verdict.recipe for verdict in verdicts}) > 1:
        raise ValueError("the verdicts come from different recipes: pool one recipe at a time")
    excess = np.array([verdict.excess(control) for verdict in verdicts])
    result = scipy.stats.bootstrap(
        (excess,),
        np.mean,
        n_resamples=resamples,
        confidence_level=INTERVAL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return float(excess.mean()), float(interval.low), float(interval.high)
