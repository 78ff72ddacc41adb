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

from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grok_interp import fourier
from grok_interp.config import FrequencyMode, check_choice
from grok_interp.fourier import Sinusoids, Spectrum
from grok_interp.neuron_table import TENSORS as TENSORS
from grok_interp.neuron_table import NeuronTable as NeuronTable
from grok_interp.tasks import Coordinates, ModularTask, identity_coordinates
from grok_interp.weight_hooks import MATRICES as MATRICES
from grok_interp.weights import MLPWeights, SupportsWeights, check_weights

ROUNDING = 2e-4
"""A column whose largest deviation from its mean is below this share of its largest entry is
constant: above what float32 arithmetic leaves (1e-4 in published weights), far below any signal."""
CHUNK_ELEMENTS = 1 << 20
"""Weights that are read at a time, 4 MiB in float32, which mostly stays in the cache."""
TIE = 1e-5
"""Powers within this share of the largest are equal, and the lowest of their frequencies is taken;
at some points two frequencies are one function, and rounding must not choose between them."""


def extract(
    model: SupportsWeights | MLPWeights,
    task: ModularTask | None = None,
    frequency: FrequencyMode | str = "joint",
) -> NeuronTable:
    """Read frequency, amplitude and phase of every neuron from the weights.

    Each column is read as ``w[n] = constant + A cos(2 pi k n / m + phi) + rest``, in the task's coordinates.

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
        TypeError: If the model has no weights to read.
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
