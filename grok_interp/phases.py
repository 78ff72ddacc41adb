"""Move the phases of neurons: shift, scramble, or project onto the phase relation.

A column is its constant, one sinusoid at the neuron's frequency, and a rest. Only the sinusoid's phase
is changed, by an angle delta::

    w[n]  ->  w[n] + A cos(2 pi k n / m + phi + delta) - A cos(2 pi k n / m + phi)

so a shift by 2 pi, or scrambling and then projecting what was projected before, changes nothing.

What is not evidence: :func:`project` writes ``phi_out = phi_a + phi_b`` into the network, which is the
answer; accuracy after it says nothing about what training found. Scrambling a network that uses the
relation destroys it, and so it does for random input weights with a fitted read-out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grok_interp import circular, waveforms
from grok_interp.neurons import NeuronTable
from grok_interp.weight_hooks import MATRICES, Hooks, chosen_matrices, on_weights
from grok_interp.weights import neuron_mask

WHOLE = 1e-6
"""How far, in half turns and relative to their number, an angle may be from a whole number of them."""


@dataclass(frozen=True, eq=False)
class PhaseChange:
    """Give the sinusoids of a table new phases, in the weights of a running model.

    Assumes that the running model's columns hold the table's sinusoids: the model that the table was
    read from, or one idealised by it. Misleads for square waves: their harmonics stay where they
    were, so a column whose fundamental is moved is no square wave.

    Attributes:
        table: Frequencies, amplitudes and phases as they are.
        phase: New phases by matrix and neuron, radians.
        neurons: Mask of the neurons to change; None for all.

    Raises:
        ValueError: When the model runs, if its weights have another shape than the table's.
    """

    table: NeuronTable
    phase: Float[Tensor, "3 d_mlp"]
    neurons: Bool[Tensor, " d_mlp"] | None = None

    def fwd_hooks(self) -> Hooks:
        """Hooks on the weights of the matrices whose phases change."""
        old = self.table.phase.nan_to_num()
        new = torch.where(self.phase.isnan(), old, self.phase)
        moved = [name for row, name in enumerate(MATRICES) if not torch.equal(new[row], old[row])]
        difference = self._wave(new) - self._wave(old)

        def change(weight: Tensor, by: Tensor) -> Tensor:
            if weight.shape != by.shape:
                raise ValueError(
                    f"the model holds weights {list(weight.shape)}, the table's are {list(by.shape)}: "
                    "extract a table of this model"
                )
            return weight + by.to(weight)

        return on_weights(
            moved,
            self.neurons,
            lambda W_in: change(W_in, difference[:2]),
            lambda W_out: change(W_out, difference[2].mT),
        )

    def _wave(self, phase: Tensor) -> Float[Tensor, "3 p d_mlp"]:
        table = self.table
        return waveforms.sample(
            "cosine",
            table.modulus,
            table.frequency,
            table.amplitude,
            phase,
            incidence=table.coordinates.points,
        )


def shift(
    table: NeuronTable,
    by: float | Float[Tensor, " d_mlp"],
    matrices: str | Sequence[str] | None = "W_out",
    neurons: Any = None,
) -> PhaseChange:
    """Add an angle to the phases.

    Args:
        table: The network's table.
        by: Radians, one for all neurons or one each.
        matrices: As for :meth:`grok_interp.idealize.IdealWeights.select`.
        neurons: Indices or mask; None for all.

    Returns:
        An intervention on the weights; columns without a frequency stay as they are.

    Raises:
        ValueError: If the table holds a batch, the angles are not finite or not one a neuron, a
            matrix or neuron is unknown, or a neuron at the Nyquist frequency would be turned by
            other than a multiple of pi.
    """
    _check_single(table)
    angle = torch.as_tensor(by, dtype=table.phase.dtype, device=table.phase.device)
    if angle.shape not in ((), (table.d_mlp,)) or not bool(angle.isfinite().all()):
        raise ValueError(
            f"by has shape {list(angle.shape)}, expected one finite angle or [{table.d_mlp}] of them"
        )
    chosen = chosen_matrices(matrices)
    rows = torch.tensor([name in chosen for name in MATRICES], device=angle.device)
    mask = neuron_mask(neurons, table.d_mlp).to(angle.device)
    nyquist = (2 * table.frequency == table.modulus) & rows[:, None] & mask
    halves = torch.as_tensor(by, dtype=torch.float64, device=angle.device) / math.pi
    fraction = ((halves - halves.round()).abs() / halves.abs().clamp(min=1)).expand(table.d_mlp)
    if bool((nyquist & (fraction > WHOLE)).any()):
        raise ValueError(
            f"{int((nyquist & (fraction > WHOLE)).any(0).sum())} neurons are at the Nyquist frequency "
            f"{table.modulus // 2}, where a phase is 0 or pi and turns by whole multiples of pi only: leave "
            f"them out with neurons=(table.frequency != {table.modulus // 2}).all(0)"
        )
    phase = _turned(table.phase, torch.where(rows[:, None], angle, 0.0))
    return PhaseChange(table, phase, _mask(table, neurons))


def scramble(
    table: NeuronTable,
    seed: int | torch.Generator,
    matrices: str | Sequence[str] | None = "W_out",
    neurons: Any = None,
) -> PhaseChange:
    """Draw the phases afresh, uniformly and each by itself; at Nyquist from 0 and pi.

    Args:
        table: The network's table.
        seed: A seed or a generator.
        matrices: As for :func:`shift`.
        neurons: As for :func:`shift`.

    Returns:
        An intervention on the weights; columns without a frequency stay as they are.

    Raises:
        ValueError: As for :func:`shift`.
    """
    _check_single(table)
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    turns = torch.rand(table.phase.shape, generator=generator, dtype=torch.float64)
    turns = turns.to(table.phase)
    nyquist = 2 * table.frequency == table.modulus
    drawn = circular.wrap(2 * math.pi * torch.where(nyquist, (2 * turns).floor() / 2, turns))
    chosen = chosen_matrices(matrices)
    rows = torch.tensor([name in chosen for name in MATRICES], device=drawn.device)
    phase = torch.where(rows[:, None] & (table.frequency > 0), drawn, table.phase)
    return PhaseChange(table, phase, _mask(table, neurons))


def project(table: NeuronTable, neurons: Any = None) -> PhaseChange:
    """Set phi_out to ``phi_a + sign phi_b`` for the neurons whose three frequencies agree.

    This writes the answer in: a construction, never evidence.

    Args:
        table: The network's table.
        neurons: As for :func:`shift`.

    Returns:
        An intervention on W_out; neurons without a phase residual stay as they are.

    Raises:
        ValueError: As for :func:`shift`.
    """
    _check_single(table)
    residual = table.phase_residual.nan_to_num()  # NaN where there is no relation to be on
    phi_a, phi_b, phi_out = table.phase.unbind(0)
    return PhaseChange(
        table,
        torch.stack([phi_a, phi_b, _turned(phi_out, residual)]),
        _mask(table, neurons),
    )


def _turned(phase: Tensor, by: Tensor) -> Tensor:
    """The phases turned by angles, and bit for bit themselves where the angle is 0."""
    return torch.where(by == 0, phase, circular.wrap(phase + by))


def _mask(table: NeuronTable, neurons: Any) -> Bool[Tensor, " d_mlp"] | None:
    return None if neurons is None else neuron_mask(neurons, table.d_mlp)


def _check_single(table: NeuronTable) -> None:
    if table.weights.batch_shape:
        raise ValueError(
            f"the table holds a batch of shape {table.weights.batch_shape}: index it first, as in "
            "table[-1]"
        )
