"""A table with a row for each neuron: frequency, amplitude, phase, and the fits to waves.

See :mod:`.neurons` for how it comes from weights, and for what it does not show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grok_interp import circular, fourier, grid, waveforms
from grok_interp.tasks import Coordinates
from grok_interp.waveforms import IntermediateValues
from grok_interp.weight_hooks import MATRICES as MATRICES
from grok_interp.weights import MLPWeights

Fit = TypeVar("Fit")
REPR_ROWS = 8
"""Neurons that a printed table shows."""
TENSORS = (
    "frequency",
    "amplitude",
    "phase",
    "power_share",
    "ipr",
    "constant",
    "third_harmonic_ratio",
)
"""Fields of a table that carry the batch and matrix axes."""


@dataclass(frozen=True, eq=False)
class NeuronTable:
    """What the columns of each neuron look like; ``*batch`` are the batch axes of the weights.

    The fits to waves are computed when first asked for.

    Attributes:
        weights: The weights that were read.
        coordinates: Where the task is addition.
        mode: How frequencies were chosen.
        frequency (``[*batch, 3, d_mlp]``): k in 1..m//2 by matrix; 0 for a constant column.
        amplitude (``[*batch, 3, d_mlp]``): A by matrix, in the units of the weights; 0 for a constant column.
        phase (``[*batch, 3, d_mlp]``): phi in (-pi, pi] by matrix; NaN for a constant column.
        power_share (``[*batch, 3, d_mlp]``): Share of a column's energy about its mean at its
            frequency, in 0..1; 0 for a constant column.
        ipr (``[*batch, 3, d_mlp]``): Inverse participation ratio of the column's power spectrum
            (:func:`.fourier.ipr`), in 0..1; 0 for a constant column.
        constant (``[*batch, 3, d_mlp]``): Mean of the column over points with a coordinate, in the units
            of the weights.
        third_harmonic_ratio (``[*batch, 3, d_mlp]``): Amplitude at 3 k (folded) over that at k: 1/3 for
            a square wave in the continuum, 0 for a cosine; NaN where 3 k is a constant or k itself on Z_m.
    """

    weights: MLPWeights
    coordinates: Coordinates
    mode: str
    frequency: Int[Tensor, "*batch 3 d_mlp"]
    amplitude: Float[Tensor, "*batch 3 d_mlp"]
    phase: Float[Tensor, "*batch 3 d_mlp"]
    power_share: Float[Tensor, "*batch 3 d_mlp"]
    ipr: Float[Tensor, "*batch 3 d_mlp"]
    constant: Float[Tensor, "*batch 3 d_mlp"]
    third_harmonic_ratio: Float[Tensor, "*batch 3 d_mlp"]

    @property
    def modulus(self) -> int:
        """The modulus m, of which frequencies are 1..m//2."""
        return self.coordinates.modulus

    @property
    def d_mlp(self) -> int:
        """Number of neurons."""
        return self.weights.d_mlp

    @property
    def agrees(self) -> Bool[Tensor, "*batch d_mlp"]:
        """Whether a neuron's three frequencies are one and not 0."""
        f_a, f_b, f_out = self.frequency.unbind(-2)
        return (f_a == f_b) & (f_b == f_out) & (f_a > 0)

    def at(self, frequencies: grid.Frequencies) -> Bool[Tensor, "*batch d_mlp"]:
        """Neurons whose three frequencies agree on one of those given.

        Args:
            frequencies: A whole number, or any iterable of them; None for all of 1..m//2.

        Returns:
            A mask, as every intervention takes it for ``neurons``.

        Raises:
            ValueError: If a frequency is not in 1..m//2.
        """
        wanted = grid.frequency_index(frequencies, self.modulus).to(self.frequency.device)
        return self.agrees & torch.isin(self.frequency[..., 0, :], wanted)

    @property
    def agreement(self) -> Float[Tensor, "*batch"]:
        """Share of the neurons whose three frequencies agree."""
        return self.agrees.to(self.amplitude.dtype).mean(-1)

    @property
    def phase_residual(self) -> Float[Tensor, "*batch d_mlp"]:
        """``wrap(phi_a + sign phi_b - phi_out)`` in (-pi, pi]; NaN where frequencies differ.

        NaN too where a column's points cannot tell the phase, as the classes of ``(a + b)**2``.
        ``sign`` is -1 for subtraction. Judge it by cosine or absolute value, never by sine, which
        calls a neuron that is anti-aligned (residual pi) perfect.
        """
        phi_a, phi_b, phi_out = self.phase.unbind(-2)
        residual = circular.wrap(phi_a + self.coordinates.sign * phi_b - phi_out)
        return torch.where(self.agrees & self._phases_known, residual, torch.nan)

    @cached_property
    def _phases_known(self) -> Bool[Tensor, "*batch d_mlp"]:
        """Whether the points of all three columns can tell the phase at the neuron's frequency."""
        if self.coordinates.is_identity:
            return torch.ones_like(self.agrees)
        fits = [fourier.sinusoids(self.modulus, seen) for seen in self.coordinates.incidence]
        known = torch.stack([fit.identifiable for fit in fits]).to(self.frequency.device)
        matrix = torch.arange(3, device=known.device)[:, None].expand(self.frequency.shape)
        return known[matrix, (self.frequency - 1).clamp(min=0)].all(-2)

    @property
    def neuron_amplitude(self) -> Float[Tensor, "*batch d_mlp"]:
        """Geometric mean of the three amplitudes, a neuron's weight in summaries; 0 if one of them is."""
        return self.amplitude.log().mean(-2).exp()

    @property
    def median_abs_phase_residual(self) -> Float[Tensor, "*batch"]:
        """Median of the absolute phase residual, weighted by :attr:`neuron_amplitude`; radians.

        pi/2 for phases without relation. NaN if no neuron has one frequency.
        """
        return circular.weighted_median(self.phase_residual.abs(), self.neuron_amplitude)

    @property
    def kept_power(self) -> Float[Tensor, "*batch 3"]:
        """Share of each matrix's energy about its column means at its neurons' frequencies.

        What keeping one sinusoid a column keeps of the weights. By chance about
        ``(ln(m/2) + .58) / (m/2)`` in per_matrix mode: 14% at m = 59, 8% at m = 113.
        """
        energy = self.columns.square().sum(-2)
        return (self.power_share * energy).sum(-1) / energy.sum(-1)

    @property
    def neuron_ipr(self) -> Float[Tensor, "*batch d_mlp"]:
        """Mean of the three columns' IPR."""
        return self.ipr.mean(-2)

    @cached_property
    def dead(self) -> Bool[Tensor, "*batch d_mlp"]:
        """Neurons that no input reaches or no class hears.

        A ReLU that is never positive on any pair, two constant input columns, or a constant output
        row.
        """
        constant = self.frequency == 0
        dead = (constant[..., 0, :] & constant[..., 1, :]) | constant[..., 2, :]
        if self.weights.act_fn == "relu":
            largest = self.weights.W_in.amax(-2).sum(-2)
            if self.weights.b_in is not None:
                largest = largest + self.weights.b_in
            dead = dead | (largest <= 0)
        return dead

    @cached_property
    def columns(self) -> Float[Tensor, "*batch 3 p d_mlp"]:
        """W_a, W_b and the transpose of W_out about their means over points with coordinates.

        Entries of points without a coordinate are 0.
        """
        covered = self.coordinates.covered.to(self.constant.device)
        return (self.weights.columns() - self.constant.unsqueeze(-2)) * covered

    def waves(
        self, waveform: str, clip_at: Float[Tensor, "*batch 3 d_mlp"] | None = None
    ) -> Float[Tensor, "*batch 3 p d_mlp"]:
        """The neurons' ideal columns: waves with the table's frequency, amplitude and phase.

        Args:
            waveform: ``"square"``, ``"cosine"`` or ``"trapezoid"``.
            clip_at: Clipping levels of trapezoids; None takes the fitted ones.

        Returns:
            Waves over tokens or classes, in the order W_a, W_b, W_out and in the units of the weights; 0
            for constant columns and points without a coordinate.

        Raises:
            ValueError: If the waveform is unknown.
        """
        if waveform == "trapezoid" and clip_at is None:
            clip_at = self.clip_at
        return waveforms.sample(
            waveform,
            self.modulus,
            self.frequency,
            self.amplitude,
            self.phase,
            clip_at,
            incidence=self.coordinates.points,
        )

    def _r2(self, waveform: str) -> Float[Tensor, "*batch 3 d_mlp"]:
        covered = self.coordinates.covered
        r2 = waveforms.r_squared(self.columns, self.waves(waveform), covered=covered)
        return torch.where(self.frequency > 0, r2, torch.nan)

    @cached_property
    def r2_square(self) -> Float[Tensor, "*batch 3 d_mlp"]:
        """R2 of each column to its square wave at level pi/4 A; NaN for a constant column."""
        return self._r2("square")

    @cached_property
    def r2_cosine(self) -> Float[Tensor, "*batch 3 d_mlp"]:
        """R2 of each column to its cosine; a perfect square wave scores .81."""
        return self._r2("cosine")

    @cached_property
    def _trapezoid(self) -> tuple[Tensor, Tensor]:
        clip_at, r2 = self._held_against(waveforms.fit_trapezoid)
        return clip_at, torch.where(self.frequency > 0, r2, torch.nan)

    @property
    def clip_at(self) -> Float[Tensor, "*batch 3 d_mlp"]:
        """Fitted clipping level of the trapezoid; 1 is a cosine, small values a square wave."""
        return self._trapezoid[0]

    @property
    def r2_trapezoid(self) -> Float[Tensor, "*batch 3 d_mlp"]:
        """R2 of each column to its fitted trapezoid."""
        return self._trapezoid[1]

    @cached_property
    def intermediate_values(self) -> IntermediateValues:
        """Where weights off the plateau sit, beside the fitted cosine; see :mod:`.waveforms`.

        Means nothing for a class that several sums lead to.
        """
        return self._held_against(waveforms.intermediate_values)

    def _held_against(self, fit: Callable[..., Fit]) -> Fit:
        """What a function of :mod:`.waveforms` says of the columns beside their own sinusoids."""
        return fit(
            self.columns,
            self.modulus,
            self.frequency,
            self.amplitude,
            self.phase,
            incidence=self.coordinates.points,
            covered=self.coordinates.covered,
        )

    @cached_property
    def plateau_share(self) -> Float[Tensor, "*batch 3 d_mlp"]:
        """Share of a column's weights near +-pi/4 A; see :func:`.waveforms.plateau_share`.

        Means nothing for a class that several sums lead to, which sees several points of the wave.
        """
        covered = self.coordinates.covered
        return waveforms.plateau_share(self.columns, self.amplitude, covered=covered)

    def __getitem__(self, index: int | slice) -> NeuronTable:
        """The table of part of the batch: index the first batch axis."""
        return self._map(self.weights[index], lambda tensor: tensor[index])

    def expand(self, *batch: int) -> NeuronTable:
        """The same table under new leading batch axes, without copying."""
        return self._map(
            self.weights.expand(*batch), lambda tensor: tensor.expand(*batch, *tensor.shape)
        )

    def _map(self, weights: MLPWeights, function: Callable[[Tensor], Tensor]) -> NeuronTable:
        fields = {name: function(getattr(self, name)) for name in TENSORS}
        return NeuronTable(weights, self.coordinates, self.mode, **fields)

    def to_dataframe(self) -> pd.DataFrame:
        """The table and its fits as a dataframe.

        Returns:
            One row a neuron, with the fields of the table, R2 to the three waves and the plateau share by
            matrix, as ``frequency_a``, ``phase_out`` or ``r2_square_b``; and ``phase_residual``, ``agrees``,
            ``dead``, ``neuron_ipr`` and ``neuron_amplitude``.

        Raises:
            ValueError: If the table holds a batch; index it first.
        """
        if self.weights.batch_shape:
            raise ValueError(
                f"the table holds a batch of shape {self.weights.batch_shape}: index it first, as in "
                "table[-1].to_dataframe()"
            )
        names = (*TENSORS, "r2_square", "r2_cosine", "r2_trapezoid", "plateau_share")
        frame = {
            f"{name}_{matrix}": getattr(self, name)[row].cpu().numpy()
            for name in names
            for row, matrix in enumerate(("a", "b", "out"))
        }
        for name in ("phase_residual", "agrees", "dead", "neuron_ipr", "neuron_amplitude"):
            frame[name] = getattr(self, name).cpu().numpy()
        return pd.DataFrame(frame).rename_axis("neuron")

    @property
    def _read_as(self) -> str:
        """What the weights were read for, since reading them for another task misleads."""
        if self.coordinates.is_identity:
            return "read as a - b" if self.coordinates.sign < 0 else "read as a + b"
        return "read in the task's coordinates"

    def __repr__(self) -> str:
        batch = self.weights.batch_shape
        head = (
            f"NeuronTable(d_mlp={self.d_mlp}, m={self.modulus}, {self._read_as}, "
            f"frequency={self.mode!r}" + (f", batch={batch})" if batch else ")")
        )
        if batch:
            return head
        share, r2s, r2c = (
            values.nanmedian(-1)[0].tolist()
            for values in (self.power_share, self.r2_square, self.r2_cosine)
        )
        lines = [
            head,
            f"  frequencies agree in {float(self.agreement):.0%} of neurons"
            + ("; " if self.mode == "per_matrix" else f" ({self.mode} mode makes them); ")
            + f"{int((self.frequency.sum(-2) == 0).sum())} have none, {int(self.dead.sum())} are dead",
            f"  median |phase residual| {float(self.median_abs_phase_residual):.3f} rad "
            "(no relation: 1.571)",
            "  median          " + "".join(f"{name:>8}" for name in MATRICES),
            *(
                f"  {label:<16}" + "".join(f"{value:8.3f}" for value in values)
                for label, values in (
                    ("power share", share),
                    ("R2 to square", r2s),
                    ("R2 to cosine", r2c),
                )
            ),
        ]
        loudest = self.neuron_amplitude.nan_to_num().argsort(descending=True)[:REPR_ROWS].cpu()
        columns = ["frequency_a", "frequency_b", "frequency_out", "amplitude_a", "amplitude_out"]
        columns += ["phase_residual", "neuron_ipr", "r2_square_a", "r2_cosine_a"]
        shown = self.to_dataframe().iloc[loudest.tolist()][columns]
        body = shown.to_string(float_format=lambda value: f"{value:.3f}")
        return "\n".join(
            [*lines, "  loudest neurons:", *("  " + line for line in body.splitlines())]
        )
