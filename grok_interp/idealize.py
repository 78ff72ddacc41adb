"""Ideal weights: each neuron's columns replaced by clean waves, and the intervention that uses them.

From a table of frequencies k, amplitudes A and phases phi::

    W_a[n]   -> wave(k n / m + phi_a / 2 pi)      at A_a, square by default
    W_b[n]   -> wave(k n / m + phi_b / 2 pi)      at A_b, square by default
    W_out[c] -> A_out cos(2 pi k c / m + phi_out)

as in arXiv 2603.23784, which reports that a network with .23% accuracy reaches 95.5% in this way.

What is not evidence: idealization injects the form of the answer, that logits depend on a + b. Random
input weights with a fitted read-out reach the same accuracy in joint mode, without any learned wave;
and ``output_phase="phase_sum"`` writes the answer in, so that an untrained network scores near 1.
Report an idealised accuracy only beside :func:`grok_interp.controls.evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grok_interp import circular, waveforms
from grok_interp.config import Recipe as Recipe
from grok_interp.neurons import MATRICES, NeuronTable
from grok_interp.weight_hooks import WeightFunction, chosen_matrices, on_weights
from grok_interp.weights import MLPWeights, neuron_mask


@dataclass(frozen=True, eq=False)
class IdealWeights:
    """Ideal weights and, as an intervention, where and how strongly to use them.

    Assumes that the model's weights are those the table was read from; on others it is a graft of
    one model's waves onto another. Misleads when read as evidence without controls (see the module).

    Attributes:
        weights: The ideal W_in and W_out; biases are the model's own.
        own: The weights that they were made from.
        recipe: How they were made.
        neurons: Which neurons the intervention replaces; None for all.
        strength: 0 leaves weights as they are, bit for bit; 1 uses the ideal ones.
        matrices: Which of W_a, W_b, W_out the intervention replaces.
    """

    weights: MLPWeights
    own: MLPWeights
    recipe: Recipe
    neurons: Bool[Tensor, " d_mlp"] | None = None
    strength: float = 1.0
    matrices: tuple[str, ...] = MATRICES

    @property
    def residual(self) -> MLPWeights:
        """Own minus ideal weights of the whole network, whatever is selected. Biases are zero."""
        return MLPWeights(
            self.own.W_in - self.weights.W_in,
            self.own.W_out - self.weights.W_out,
            None if self.own.b_in is None else torch.zeros_like(self.own.b_in),
            None if self.own.b_out is None else torch.zeros_like(self.own.b_out),
            self.own.act_fn,
            self.own.output_scale,
        )

    def select(
        self,
        neurons: Any = None,
        strength: float = 1.0,
        matrices: str | Sequence[str] | None = None,
    ) -> IdealWeights:
        """The same ideal weights, used on some neurons or matrices, or in part.

        Args:
            neurons: Indices, or a boolean mask ``[d_mlp]``; None for all, empty for none.
            strength: ``W + strength * (ideal - W)``.
            matrices: One or some of ``"W_a"``, ``"W_b"``, ``"W_out"``, and ``"W_in"`` for the first
                two; None for all.

        Returns:
            Ideal weights that, as an intervention, replace only what is chosen.

        Raises:
            ValueError: If a neuron is out of range, a matrix unknown, or the strength not finite.
        """
        if not abs(strength) < float("inf"):
            raise ValueError(
                f"strength={strength!r} must be a finite number, 0 for none and 1 for ideal"
            )
        chosen = chosen_matrices(matrices)
        mask = None if neurons is None else neuron_mask(neurons, self.weights.d_mlp)
        return replace(self, neurons=mask, strength=strength, matrices=chosen)

    @property
    def error_term(self) -> ErrorTerm:
        """The intervention that adds the residual where this one replaced weights.

        ``model.intervened(ideal, change, ideal.error_term)`` shows what ``change`` does to the ideal
        part while the rest of the weights stays what it was; without ``change`` it is the model.
        """
        return ErrorTerm(self)

    def fwd_hooks(self) -> list[tuple[str, Callable[..., Tensor | None]]]:
        """Hooks on the weights; none where the intervention changes nothing."""
        return on_weights(
            self.matrices if self.strength != 0 else (),
            self.neurons,
            self._approach(self.weights.W_in),
            self._approach(self.weights.W_out),
        )

    def _approach(self, ideal: Tensor) -> WeightFunction:
        def function(weight: Tensor) -> Tensor:
            target = _fitting(ideal, weight)
            return target if self.strength == 1 else weight + self.strength * (target - weight)

        return function


@dataclass(frozen=True, eq=False)
class ErrorTerm:
    """Own minus ideal weights, added where an idealization replaced them and as strongly.

    Assumes that it comes after the idealization. Misleads if what stands between them changes
    neurons that the idealization left alone.

    Attributes:
        ideal: The idealization.
    """

    ideal: IdealWeights

    def fwd_hooks(self) -> list[tuple[str, Callable[..., Tensor | None]]]:
        """Hooks on the weights; none where the idealization has none."""
        ideal, residual = self.ideal, self.ideal.residual
        return on_weights(
            ideal.matrices if ideal.strength != 0 else (),
            ideal.neurons,
            lambda weight: weight + ideal.strength * _fitting(residual.W_in, weight),
            lambda weight: weight + ideal.strength * _fitting(residual.W_out, weight),
        )


def _fitting(tensor: Tensor, weight: Tensor) -> Tensor:
    """The tensor on the weight's device and in its type, if it has its shape."""
    if weight.shape != tensor.shape:
        raise ValueError(
            f"the model holds weights {list(weight.shape)}, the ideal ones are "
            f"{list(tensor.shape)}: build them from a table of this model"
        )
    return tensor.to(weight)


def build(
    table: NeuronTable,
    recipe: Recipe | None = None,
    *,
    input_waveform: str | None = None,
    output_waveform: str | None = None,
    amplitude: str | None = None,
    output_phase: str | None = None,
    keep_constant: bool | None = None,
) -> IdealWeights:
    """Ideal weights from a table, for each network of its batch.

    Columns without a frequency become zero waves; points without a coordinate (zero under
    multiplication) keep the model's own weights; biases are kept.

    Args:
        table: What :func:`grok_interp.neurons.extract` found; its frequency mode is the recipe's.
        recipe: A :class:`.Recipe`; the keywords below replace its fields. Defaults: square waves
            in, cosines out, extracted amplitudes, own output phases.
        input_waveform: ``"square"``, ``"cosine"``, ``"trapezoid"``, or ``"sign"``: two values of
            the column's own, as :func:`binarise` has them, whatever the amplitude rule.
        output_waveform: The same for W_out, without ``"sign"``.
        amplitude: ``"extracted"`` or ``"uniform"``.
        output_phase: ``"own"``, or ``"phase_sum"``, which writes in the answer.
        keep_constant: Whether to keep the column means.

    Returns:
        Ideal weights, which as an intervention replace all neurons in all matrices;
        :meth:`IdealWeights.select` chooses some.

    Raises:
        ValueError: If a name is unknown, or the recipe asks for another frequency mode than the
            table has.
    """
    given: dict[str, Any] = {
        "input_waveform": input_waveform,
        "output_waveform": output_waveform,
        "amplitude": amplitude,
        "output_phase": output_phase,
        "keep_constant": keep_constant,
    }
    if recipe is not None and recipe.frequency != table.mode:
        raise ValueError(
            f"the recipe asks for frequency={recipe.frequency!r} and the table was extracted with "
            f"{table.mode!r}: extract(model, task, frequency={recipe.frequency!r})"
        )
    base = Recipe(frequency=table.mode) if recipe is None else recipe  # type: ignore[arg-type]
    recipe = replace(base, **{name: value for name, value in given.items() if value is not None})

    table_amplitude, phase = _amplitude(table, recipe), _phase(table, recipe)
    waves = torch.cat(
        [
            _waves(table, recipe.input_waveform, table_amplitude, phase, slice(0, 2)),
            _waves(table, recipe.output_waveform, table_amplitude, phase, slice(2, 3)),
        ],
        -3,
    )
    if recipe.keep_constant:
        waves = waves + table.constant.unsqueeze(-2)
    covered = table.coordinates.covered.to(waves.device)
    columns = torch.where(covered, waves, table.weights.columns())
    ideal = replace(
        table.weights, W_in=columns[..., :2, :, :], W_out=columns[..., 2, :, :].mT.contiguous()
    )
    return IdealWeights(ideal, table.weights, recipe)


def binarise(table: NeuronTable, strength: float = 1.0, neurons: Any = None) -> IdealWeights:
    """Move input columns towards two values of their own: the means of what is above and below the mean.

    No frequency or phase is read. Of all columns that take one value where a column is above its mean
    and one where it is below, this is the nearest (least squares); a column of two values, such as a
    square wave, stays what it is, and so does every column's mean.

    Args:
        table: The network's table.
        strength: 0 leaves the weights, 1 makes them binary.
        neurons: As for :meth:`IdealWeights.select`.

    Returns:
        An intervention on W_in alone.

    Raises:
        ValueError: As for :meth:`IdealWeights.select`.
    """
    ideal = build(table, input_waveform="sign", keep_constant=True)
    return ideal.select(neurons, strength, "W_in")


def smooth(table: NeuronTable, strength: float = 1.0, neurons: Any = None) -> IdealWeights:
    """Move input columns towards their mean and the one sinusoid at their frequency.

    Args:
        table: The network's table.
        strength: 0 leaves the weights, 1 makes them sinusoids.
        neurons: As for :meth:`IdealWeights.select`.

    Returns:
        An intervention on W_in alone.

    Raises:
        ValueError: As for :meth:`IdealWeights.select`.
    """
    ideal = build(table, input_waveform="cosine", keep_constant=True)
    return ideal.select(neurons, strength, "W_in")


def _waves(
    table: NeuronTable, waveform: str, amplitude: Tensor, phase: Tensor, rows: slice
) -> Float[Tensor, "*batch matrices p d_mlp"]:
    points = table.coordinates.points
    if waveform == "sign":
        return _own_signs(table, rows)
    return waveforms.sample(
        waveform,
        table.modulus,
        table.frequency[..., rows, :],
        amplitude[..., rows, :],
        phase[..., rows, :],
        table.clip_at[..., rows, :] if waveform == "trapezoid" else None,
        incidence=None if points is None else points[rows],
    )


def _own_signs(table: NeuronTable, rows: slice) -> Float[Tensor, "*batch matrices p d_mlp"]:
    """Columns with the mean of their entries above their mean, and of those below, in their place."""
    columns = table.columns[..., rows, :, :]
    covered = table.coordinates.covered[rows].to(columns.device)
    wave = torch.zeros_like(columns)
    for side in ((columns >= 0) & covered, (columns < 0) & covered):
        mean = (columns * side).sum(-2, keepdim=True) / side.sum(-2, keepdim=True).clamp(min=1)
        wave = torch.where(side, mean, wave)
    alive = table.frequency[..., rows, :] > 0
    return wave * alive.unsqueeze(-2)


def _amplitude(table: NeuronTable, recipe: Recipe) -> Float[Tensor, "*batch 3 d_mlp"]:
    if recipe.amplitude == "extracted":
        return table.amplitude
    alive = table.frequency > 0
    mean = table.amplitude.sum(-1, keepdim=True) / alive.sum(-1, keepdim=True).clamp(min=1)
    return mean.expand_as(table.amplitude) * alive


def _phase(table: NeuronTable, recipe: Recipe) -> Float[Tensor, "*batch 3 d_mlp"]:
    if recipe.output_phase == "own":
        return table.phase
    phi_a, phi_b, _ = table.phase.unbind(-2)
    written = circular.wrap(phi_a + table.coordinates.sign * phi_b).nan_to_num()
    return torch.stack([phi_a, phi_b, written], -2)
