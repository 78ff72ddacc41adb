"""From weights to a table with a row for each neuron: frequency, amplitude, phase, and fits.

Each neuron has three columns: W_a and W_b over the tokens of the two operands, and W_out (its row,
over classes). In the task's coordinates on Z_m each is read as::

    w[n] = constant + A cos(2 pi k n / m + phi) + rest

A network that adds with one frequency a neuron has phi_out = phi_a + phi_b (Gromov, arXiv
2301.02679, eq. 7; arXiv 2603.23784 for ReLU). The *phase residual* is how far a neuron is from it.

Caveat: taking the argmax of a spectrum finds a frequency in noise too. The power share at the
dominant frequency of a random column is about ``(ln(m/2) + .58) / (m/2)``, 14% at m = 59; compare
with an untrained network (:mod:`grok_interp.controls`) before reading anything into a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grok_interp import circular, fourier, grid, waveforms
from grok_interp.config import FrequencyMode, check_choice
from grok_interp.fourier import Sinusoids, Spectrum
from grok_interp.tasks import Coordinates, ModularTask, identity_coordinates
from grok_interp.waveforms import IntermediateValues
from grok_interp.weight_hooks import MATRICES as MATRICES
from grok_interp.weights import MLPWeights, SupportsWeights, check_weights

ROUNDING = 2e-4
"""A column whose largest deviation from its mean is below this share of its largest entry is
constant: above what float32 arithmetic leaves (1e-4 in published weights), far below any signal."""
REPR_ROWS = 8
CHUNK_ELEMENTS = 1 << 20
"""Weights that are read at a time: 4 MiB in float32, which mostly stays in the cache."""
TIE = 1e-5
"""Powers within this share of the largest are equal, and the lowest of their frequencies is taken:
at some points two frequencies are one function, and rounding must not choose between them."""
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
        frequency: k in 1..m//2 by matrix; 0 for a constant column.
        amplitude: A by matrix, in the units of the weights; 0 for a constant column.
        phase: phi in (-pi, pi] by matrix; NaN for a constant column.
        power_share: Share of a column's energy about its mean at its frequency.
        ipr: Inverse participation ratio of the column's power spectrum.
        constant: Mean of the column.
        third_harmonic_ratio: Amplitude at 3 k (folded) over that at k: 1/3 for a square wave in the
            continuum, 0 for a cosine; NaN where 3 k is a constant or k itself on Z_m.
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
        """m: frequencies are 1..m//2."""
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
        """Geometric mean of the three amplitudes: the weight of a neuron in summaries."""
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
        clip_at, r2 = waveforms.fit_trapezoid(
            self.columns,
            self.modulus,
            self.frequency,
            self.amplitude,
            self.phase,
            incidence=self.coordinates.points,
            covered=self.coordinates.covered,
        )
        return clip_at, torch.where(self.frequency > 0, r2, torch.nan)

    @property
    def clip_at(self) -> Float[Tensor, "*batch 3 d_mlp"]:
        """Fitted clipping level of the trapezoid: 1 is a cosine, small values a square wave."""
        return self._trapezoid[0]

    @property
    def r2_trapezoid(self) -> Float[Tensor, "*batch 3 d_mlp"]:
        """R2 of each column to its fitted trapezoid."""
        return self._trapezoid[1]

    @cached_property
    def intermediate_values(self) -> IntermediateValues:
        """Where weights off the plateau sit, beside the fitted cosine: see :mod:`.waveforms`.

        Means nothing for a class that several sums lead to.
        """
        return waveforms.intermediate_values(
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
        """Share of a column's weights near +-pi/4 A; see :func:`waveforms.plateau_share`.

        Means nothing for a class that several sums lead to, which sees several points of the wave.
        """
        covered = self.coordinates.covered
        return waveforms.plateau_share(self.columns, self.amplitude, covered=covered)

    def __getitem__(self, index: int | slice) -> NeuronTable:
        """Index the first batch axis."""
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
        """One row a neuron, columns such as ``frequency_a``, ``phase_out``, ``r2_square_b``.

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


def extract(
    model: SupportsWeights | MLPWeights,
    task: ModularTask | None = None,
    frequency: FrequencyMode | str = "joint",
) -> NeuronTable:
    """Read frequency, amplitude and phase of every neuron from the weights.

    Args:
        model: A model, whose parameters are read whatever hooks are attached; or weights with any
            batch axes, such as ``model.effective_weights()`` or all checkpoints of a run.
        task: The task whose coordinates to use; None reads weights in token order, as for addition.
        frequency: ``"joint"`` (argmax of the product of the three normalised power spectra),
            ``"input"`` (argmax of the power of W_a and W_b together; W_out takes the same), or
            ``"per_matrix"`` (each by itself). The constant is never a candidate.

    Returns:
        A table with ``[*batch, 3, d_mlp]`` tensors in the order W_a, W_b, W_out.

    Raises:
        ValueError: If the mode is unknown, weights are not finite or do not fit the task, or the
            task has no coordinates.
    """
    check_choice("frequency", frequency, FrequencyMode)
    weights = _read(model)
    coordinates = _coordinates(weights, task)
    batch = weights.batch_shape
    flat = weights.map(lambda tensor: tensor.flatten(0, len(batch) - 1) if batch else tensor[None])
    size = max(1, CHUNK_ELEMENTS // (3 * weights.p * weights.d_mlp))
    buffer = flat.W_in.new_empty(size, 3, 2 * (coordinates.modulus // 2) + 1, weights.d_mlp)
    parts = [
        _read_off(flat[start : start + size], coordinates, str(frequency), buffer)
        for start in range(0, len(flat.W_in), size)
    ]
    fields = {
        name: torch.cat([part[name] for part in parts]).unflatten(0, batch or (1,))
        for name in TENSORS
    }
    if not batch:
        fields = {name: tensor[0] for name, tensor in fields.items()}
    return NeuronTable(weights, coordinates, str(frequency), **fields)


def _read_off(
    weights: MLPWeights, coordinates: Coordinates, mode: str, buffer: Tensor
) -> dict[str, Tensor]:
    """The fields of a table for some networks, few enough that all mostly stays in the cache."""
    spectrum = _fit(coordinates, weights, buffer)
    constant_column = _is_constant(coordinates, weights, spectrum)
    # Squares of the power of a neuron that has decayed away would vanish; those of shares do not.
    shares = spectrum.power / spectrum.power.sum(-2, keepdim=True)
    k = _choose(spectrum.power, shares, constant_column, mode)

    third = fourier.harmonic(k, 3, coordinates.modulus)
    wanted = (torch.stack([k, third], -2) - 1).clamp(min=0)
    (cos, cos_third), (sin, sin_third) = (
        values.gather(-2, wanted).unbind(-2) for values in (spectrum.cos, spectrum.sin)
    )
    power = spectrum.power.gather(-2, wanted[..., :1, :]).squeeze(-2)
    alive = ~constant_column
    amplitude = torch.where(alive, torch.hypot(cos, sin), 0)
    return {
        "frequency": torch.where(alive, k, 0),
        "amplitude": amplitude,
        "phase": torch.where(alive, torch.atan2(0.0 - sin, cos), torch.nan),
        "power_share": torch.where(alive, power / spectrum.total.squeeze(-2), 0),
        "ipr": torch.where(alive, shares.square().sum(-2), 0),
        "constant": spectrum.constant,
        "third_harmonic_ratio": torch.where(
            alive & (third > 0) & (third != k),
            torch.hypot(cos_third, sin_third) / amplitude,
            torch.nan,
        ),
    }


def _read(model: SupportsWeights | MLPWeights) -> MLPWeights:
    """The weights, checked, in float32 at least; a copy of a model's, which training would change."""
    if not isinstance(model, SupportsWeights | MLPWeights):
        raise TypeError(
            f"cannot read weights from a {type(model).__name__}: wrap it with hooked_mlp.from_module, or "
            "pass HookedMLP.from_weights(W_in, W_out)"
        )
    weights = model if isinstance(model, MLPWeights) else model.weights()
    weights = check_weights(weights)
    exact = torch.promote_types(weights.W_in.dtype, torch.float32)
    # Values of their own are not copied; parameters, which require gradients, are.
    live = weights is not model or weights.W_in.requires_grad or weights.W_out.requires_grad
    return weights.map(lambda tensor: tensor.detach().to(exact, copy=live))


def _coordinates(weights: MLPWeights, task: ModularTask | None) -> Coordinates:
    if task is None:
        return identity_coordinates(weights.p)
    if task.p != weights.p:
        raise ValueError(
            f"the model has p={weights.p} and the task p={task.p}: pass the task that it was trained on"
        )
    return task.require_coordinates("pass task=None to read the weights in token order")


def _fit(coordinates: Coordinates, weights: MLPWeights, buffer: Tensor) -> Spectrum:
    """Spectra of the three columns, each at its own points; a transform goes into ``buffer``."""
    m, W_in = coordinates.modulus, weights.W_in
    sinusoids = partial(fourier.sinusoids, m, dtype=W_in.dtype, device=W_in.device)
    if coordinates.is_identity:
        # One product a matrix: it reads W_out transposed faster than W_out is transposed.
        fit = sinusoids()
        found = buffer[: len(W_in)]
        analysis = fit.analysis.expand(len(W_in), -1, -1)
        for matrix, column in enumerate((*W_in.unbind(1), weights.W_out.mT)):
            torch.bmm(analysis, column, out=found[:, matrix])
        return fit.read(found)
    fits = [sinusoids(incidence) for incidence in coordinates.incidence]
    covered = [fit.covered for fit in fits if fit.covered is not None]
    return Sinusoids(
        m,
        torch.stack([fit.analysis for fit in fits]),
        torch.stack([fit.gram for fit in fits], 1),
        torch.stack(covered),
    ).fit(weights.columns())


def _is_constant(
    coordinates: Coordinates, weights: MLPWeights, spectrum: Spectrum
) -> Bool[Tensor, "networks 3 d"]:
    mean = spectrum.constant
    # A column within ROUNDING of its mean has no more energy about it than this (with room for what
    # rounding adds); mostly there is none, and its entries need not be looked at.
    most = weights.p * (2 * ROUNDING * mean).square()
    if coordinates.is_identity and not bool((spectrum.total.squeeze(-2) <= most).any()):
        return torch.zeros_like(mean, dtype=torch.bool)
    columns = weights.columns()
    covered = coordinates.covered.to(columns.device)
    deviation = ((columns - mean.unsqueeze(-2)) * covered).abs().amax(-2)
    return deviation <= ROUNDING * (columns * covered).abs().amax(-2)


def _choose(
    power: Float[Tensor, "*batch 3 k d"],
    shares: Float[Tensor, "*batch 3 k d"],
    constant_column: Bool[Tensor, "*batch 3 d"],
    mode: str,
) -> Int[Tensor, "*batch 3 d"]:
    """Frequency of each column under ``mode``, ignoring constant columns of the same neuron."""
    if mode == "per_matrix":
        return _strongest(power)
    # A silent column takes no part: no power, and in a product the factor 1.
    silent = constant_column.unsqueeze(-2) if bool(constant_column.any()) else None
    if mode == "input":
        power = power if silent is None else torch.where(silent, 0, power)
        of_input = power[..., 0, :, :] + power[..., 1, :, :]
        if silent is not None:
            of_input = torch.where(silent[..., :2, :, :].all(-3), power[..., 2, :, :], of_input)
        return _strongest(of_input).unsqueeze(-2).expand(constant_column.shape)
    shares = shares if silent is None else torch.where(silent, 1, shares)
    product = shares[..., 0, :, :] * shares[..., 1, :, :] * shares[..., 2, :, :]
    return _strongest(product).unsqueeze(-2).expand(constant_column.shape)


def _strongest(power: Float[Tensor, "*batch k d"]) -> Int[Tensor, "*batch d"]:
    """The frequency with the most power, the lowest of equals."""
    largest = power.amax(-2, keepdim=True)
    count = power.shape[-2]
    # Not argmax, which is slow along any axis but the last, and in floats, of which many go at once.
    k = torch.arange(1, count + 1, dtype=power.dtype, device=power.device).unsqueeze(-1)
    lower = (power - (1 - TIE) * largest).sign_().clamp_(max=0)  # -1, or 0 for the largest
    return torch.addcmul(k, lower, lower, value=count).amin(-2).long()
