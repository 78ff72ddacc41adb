"""An effect, its controls, and what they allow one to say.

The spread over draws is that of the controls of one trained network. Seeds are the unit of
inference: :func:`pooled_excess` bootstraps over runs, each paired with its own controls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp import measures
from grok_interp.config import Recipe, check_choice
from grok_interp.neurons import MATRICES
from grok_interp.tasks import ModularTask

NOT_A_NULL = ("refitted_readout",)
"""Controls that keep learned structure, and so cannot be the strongest null."""
SMALL_EXCESS = 0.1
"""An excess below this is called small in words."""
INTERVAL = 0.95
"""Level of every interval."""


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class Structure:
    """What extraction finds in weights; means over draws for a control.

    Attributes:
        power_share: Share of each matrix's energy at its neurons' frequencies.
        median_abs_phase_residual: Weighted by amplitude, in radians; pi/2 without a relation. A
            read-out fitted to random input weights lowers it too: compare with frozen_input.
        agreement: Share of neurons whose three frequencies agree when each matrix is read by
            itself, whatever the recipe's mode.
    """

    power_share: dict[str, float]
    median_abs_phase_residual: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Verdict:
    """An effect, its controls, and what they allow one to say.

    Attributes:
        task: The task.
        recipe: The recipe that the effect and every control used.
        own: The network's own accuracies.
        effect: The idealised network's accuracies.
        controls: Accuracies of the controls by name.
        structure: What extraction finds in the network (``"own"``) and in the controls
            ``"untrained"`` and ``"frozen_input"``.
    """

    task: ModularTask
    recipe: Recipe
    own: Sample
    effect: Sample
    controls: dict[str, Sample]
    structure: dict[str, Structure]

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
        """Effect minus the mean of a control, in accuracy over all pairs.

        Args:
            control: Name of the control; None takes the strongest.

        Returns:
            A difference of accuracies, -1 to 1.

        Raises:
            ValueError: If there is no such control.
        """
        return self.effect.mean - self._control(control).mean

    def excess_interval(self, control: str | None = None) -> tuple[float, float]:
        """Where 95% of the differences to single draws of a control lie.

        A spread over draws, for one trained network: not a confidence interval over seeds.

        Args:
            control: Name of the control; None takes the strongest.

        Returns:
            Lower and upper end of effect minus control, in accuracy over all pairs.

        Raises:
            ValueError: If there is no such control.
        """
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
        # Both accuracies on held-out pairs where there are any.
        held_out = bool(self.own.held_out.isfinite().all())
        where = "held-out pairs" if held_out else "all pairs"
        own, ideal = (
            float((sample.held_out if held_out else sample.accuracy).mean())
            for sample in (self.own, self.effect)
        )
        standing = "below chance" if own < self.chance else f"chance is {self.chance:.3f}"
        parts = [
            f"On {where} the network itself scores {own:.3f} ({standing}), and {ideal:.3f} when idealised "
            f"in {self.recipe.frequency} mode."
        ]
        if self.recipe.output_phase == "phase_sum":
            parts.append(
                "output_phase='phase_sum' writes the answer into the weights: this is a construction, "
                "never evidence about the network."
            )
            return " ".join(parts)
        excess, (low, high) = self.excess(), self.excess_interval()
        name = self.strongest
        size = _size(excess, low)
        parts.append(
            f"Over all pairs the excess over the strongest control, {name} "
            f"({self._control(None).mean:.3f}), is {size}: {excess:+.3f}, {low:+.3f} to {high:+.3f} over "
            "its draws."
        )
        if size != "large" and name == "frozen_input":
            parts.append(
                "Random input weights with a fitted read-out reach that without any learned wave."
            )
        parts.append(
            "For this one run, neither selection nor the form that idealization injects accounts for it."
            if size == "large"
            else "This number alone does not show that training made waves in the weights."
        )
        parts.append(
            f"The ideal waves keep {self._beside('W_a')} of W_a's power; the median phase residual is "
            f"{self._beside('residual')} rad; frequencies read from each matrix by itself agree in "
            f"{self._beside('agreement')} of the neurons."
        )
        return " ".join(parts)

    def _beside(self, what: str) -> str:
        """A number of the network with those of the two controls in brackets."""

        def number(structure: Structure) -> str:
            if what == "residual":
                return f"{structure.median_abs_phase_residual:.2f}"
            if what == "agreement":
                return f"{structure.agreement:.0%}"
            if what == "power":
                return " ".join(f"{share:.0%}" for share in structure.power_share.values())
            return f"{structure.power_share[what]:.0%}"

        own, frozen, untrained = (
            number(self.structure[name]) for name in ("own", "frozen_input", "untrained")
        )
        return f"{own} (frozen_input {frozen}, untrained {untrained})"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON, with None for what is not a number."""
        low, high = self.excess_interval()
        values: dict[str, Any] = {
            "task": asdict(self.task.config),
            "recipe": asdict(self.recipe),
            "chance": self.chance,
            "own": self.own.to_dict(),
            "effect": self.effect.to_dict(),
            "controls": {name: sample.to_dict() for name, sample in self.controls.items()},
            "strongest_control": self.strongest,
            "excess": self.excess(),
            "excess_interval": [low, high],
            "structure": {name: asdict(structure) for name, structure in self.structure.items()},
            "conclusion": self.conclusion(),
        }
        plain: dict[str, Any] = without_nan(values)
        return plain

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
        lines.append(
            f"excess over {self.strongest} {self.excess():+.3f}, {low:+.3f} to {high:+.3f} over its draws"
        )
        lines.append(f"power kept in {', '.join(MATRICES)}: {self._beside('power')}")
        lines.append(f"median |phase residual| {self._beside('residual')} rad; no relation: 1.57")
        lines.append(
            f"each matrix by itself has the neuron's frequency: {self._beside('agreement')}"
        )
        return "\n".join(lines)

    __repr__ = __str__


def _size(excess: float, low: float) -> str:
    """What to call an excess whose draws begin at ``low``."""
    if excess <= -SMALL_EXCESS:
        return "negative"
    if excess <= 0:
        return "nil"
    if excess < SMALL_EXCESS:
        return "small"
    return "large" if low > 0 else "within the spread of the control"


def without_nan(value: Any) -> Any:
    """The same nested values with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


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
        Mean, lower and upper end, in accuracy over all pairs.

    Raises:
        ValueError: If there are fewer than two verdicts, their recipes differ, or there is no such control.
    """
    if len(verdicts) < 2:
        raise ValueError(
            f"{len(verdicts)} verdicts: at least two runs are needed to bootstrap over seeds"
        )
    if len({verdict.recipe for verdict in verdicts}) > 1:
        raise ValueError("the verdicts come from different recipes: pool one recipe at a time")
    return bootstrap_mean([verdict.excess(control) for verdict in verdicts], seed, resamples)


def bootstrap_mean(
    values: Sequence[float], seed: int = 0, resamples: int = 10_000
) -> tuple[float, float, float]:
    """Mean over runs, with a 95% interval (percentile bootstrap, Efron and Tibshirani 1993, chapter 13).

    Of three runs the interval is hardly more than their range.

    Args:
        values: One for each run.
        seed: Seed of the resampling.
        resamples: Bootstrap resamples.

    Returns:
        Mean, lower and upper end, in the units of the values; ends are NaN for fewer than two values or one
        that is not finite.
    """
    found = np.asarray(values, dtype=float)
    if len(found) < 2 or not np.isfinite(found).all():
        return (float(found.mean()) if len(found) else math.nan), math.nan, math.nan
    order = np.random.default_rng(seed).integers(len(found), size=(resamples, len(found)))
    low, high = np.quantile(found[order].mean(-1), [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(found.mean()), float(low), float(high)
