"""The numbers of a report: packed arrays, and what the page needs to read them.

Parameters of every neuron are there at every checkpoint, weights and spectra at a few. At each
checkpoint an array is stored in ``bits`` bits between its own minimum and maximum::

    value = low + code (high - low) / (2^bits - 2),   code 2^bits - 1 is NaN

so a value is off by at most ``(high - low) / (2^(bits + 1) - 4)``: for phases 5e-5 radians. One scale for
all checkpoints would make those before a run blew up all alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from grok_interp import fourier, neurons
from grok_interp.dynamics import CHUNK_ELEMENTS, Onset
from grok_interp.figures.waves import known_points
from grok_interp.findings import Findings
from grok_interp.neurons import NeuronTable
from grok_interp.trajectory import Trajectory

CHOSEN = 5
"""Checkpoints, besides the last, of which the weights are in the page."""
EVENTS = ("train_accuracy", "excess_per_matrix", "test_accuracy")
"""Onsets whose checkpoints are among them: memorising, the latent algorithm, generalising."""
FIELDS = ("amplitude", "phase", "power_share", "r2_square", "r2_cosine")
"""Numbers by matrix that are there at every checkpoint, joint mode."""
BITS = 16
SPECTRUM_BITS = 8
"""Spectra are there to be looked at: shares of the power, to .002."""


@dataclass
class Blob:
    """Arrays one after another in one string of bytes, with where and how each is stored."""

    data: bytearray = field(default_factory=bytearray)

    def add(self, values: np.ndarray, bits: int = BITS) -> dict[str, Any]:
        """Append an array; integers are kept as they are, floats are rounded to ``bits`` bits.

        Returns:
            Its header: ``offset`` in bytes, ``shape``, ``bits``, and ``low`` and ``high`` for each entry of
            the first axis.
        """
        levels, rows = (1 << bits) - 2, values.reshape(len(values), -1).astype(np.float64)
        known = np.isfinite(rows)
        if np.issubdtype(values.dtype, np.integer):
            low, high = np.zeros(len(rows)), np.full(len(rows), float(levels))
        else:
            low, high = (
                np.where(known.any(1), found, 0.0).astype(float)
                for found in (
                    np.where(known, rows, np.inf).min(1),
                    np.where(known, rows, -np.inf).max(1),
                )
            )
        scale = np.where(high > low, high - low, 1.0)
        scaled = (np.where(known, rows, low[:, None]) - low[:, None]) / scale[:, None] * levels
        codes = np.where(known, np.rint(scaled), levels + 1).astype(f"<u{bits // 8}")
        self.data += bytes(-len(self.data) % 2)  # 16-bit arrays start at even places
        header = {
            "offset": len(self.data),
            "shape": list(values.shape),
            "bits": bits,
            "low": low.tolist(),
            "high": high.tolist(),
        }
        self.data += codes.tobytes()
        return header


def chosen_steps(steps: Sequence[int], onsets: Mapping[str, Onset]) -> list[int]:
    """The checkpoints of which the weights are in the page: the last and five others, ascending.

    The first one, those at which the network memorised, came to exceed the control and generalised,
    as far as it did, and then as many as are left at even distances among the checkpoints.

    Args:
        steps: Of all checkpoints.
        onsets: When each measure of :data:`EVENTS` set in, if it did.

    Returns:
        Six steps, or all if there are fewer.
    """
    events = [onsets[name] for name in EVENTS]
    wanted = [steps[0], *(each.step for each in events if not each.censored)]
    wanted += [steps[round(i * (len(steps) - 1) / CHOSEN)] for i in range(1, CHOSEN)]
    chosen = [step for step in dict.fromkeys(wanted) if step in steps and step != steps[-1]]
    return sorted([*chosen[:CHOSEN], steps[-1]])


def run_payload(name: str, found: Findings, blob: Blob) -> dict[str, Any]:
    """What the page knows of a run; its arrays go into ``blob``."""
    trajectory = found.trajectory
    stored = chosen_steps(trajectory.steps, found.onsets)
    split = trajectory.split
    table = neurons.extract(trajectory.weights(stored), split.task)
    coordinates = table.coordinates
    steps = list(trajectory.steps)
    return {
        "name": name,
        "neurons": table.d_mlp,
        "modulus": table.modulus,
        "sign": coordinates.sign,
        "points": [[part.tolist() for part in known_points(table, row)] for row in range(3)],
        "steps": steps,
        "stored": [steps.index(step) for step in stored],
        "measures": {
            str(column): found.table[column].astype(float).tolist() for column in found.table
        },
        "arrays": {
            key: blob.add(values) for key, values in _along_the_run(trajectory, steps).items()
        }
        | {
            "weights": blob.add(table.columns.cpu().numpy()),
            "spectra": blob.add(_spectra(table), SPECTRUM_BITS),
        },
    }


def _along_the_run(trajectory: Trajectory, steps: Sequence[int]) -> dict[str, np.ndarray]:
    """Parameters of every neuron at every checkpoint, with the checkpoint as first axis."""
    task = trajectory.split.task
    size = max(1, CHUNK_ELEMENTS // (3 * task.p * trajectory.model_config.d_mlp))
    parts: list[dict[str, torch.Tensor]] = []
    for first in range(0, len(steps), size):
        weights = trajectory.weights(steps[first : first + size])
        joint = neurons.extract(weights, task, "joint")
        parts.append(
            {
                "frequency": joint.frequency,
                "own_frequency": neurons.extract(weights, task, "per_matrix").frequency,
                "ipr": joint.neuron_ipr,
                "residual": joint.phase_residual,
                "dead": joint.dead.int(),
                **{name: getattr(joint, name) for name in FIELDS},
            }
        )
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}


def _spectra(table: NeuronTable) -> Float[np.ndarray, "*batch 3 k d_mlp"]:
    """Each frequency's share of the power of each column about its mean; 0 for a constant one."""
    points, shares = table.coordinates.points, []
    for row in range(3):
        column = table.columns[..., row, :, :]
        seen = None if points is None else points[row]
        power = fourier.sinusoids(table.modulus, seen, dtype=column.dtype).fit(column).power
        alive = table.frequency[..., row, None, :] > 0
        shares.append(torch.where(alive, power / power.sum(-2, keepdim=True), 0))
    return torch.stack(shares, -3).cpu().numpy()
