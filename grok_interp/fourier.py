"""The real Fourier basis on Z_m, and spectra by one matrix product with it.

A real function ``w`` on Z_m is a constant plus one sinusoid for each frequency ``k`` in 1..m//2::

    w[n] = mean(w) + sum_k A_k cos(2 pi k n / m + phi_k)
    X_k  = sum_n w[n] exp(-2 pi i k n / m),   A_k = 2 |X_k| / m,   phi_k = arg X_k

For even m the Nyquist frequency k = m/2 has ``A = |X|/m`` and phase 0 or pi only. Power is energy:
``power_k`` is the part of ``sum_n w[n]^2`` that frequency k carries (Parseval), so powers and the
constant's energy add up to it.

The bases are made once in float64 and cached. A product with the cached basis is used instead of an
FFT because m is usually prime, where FFTs are slow.

Where a task's tokens are not their own coordinates (multiplication, squares), :func:`sinusoids`
fits cosine and sine by least squares at the points that the tokens take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from grok_interp.config import check_modulus

SINGULAR = 1e-6
"""Share of its largest possible value below which a 2 x 2 determinant counts as zero."""
ROUNDING_STEPS = 8
"""Units in the last place by which the mean of equal numbers may miss them."""


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a cached tensor must serve autograd whoever made it
def _basis(m: int, dtype: torch.dtype, device: str) -> Float[Tensor, "m m"]:
    cos, sin = _cos_sin(m)
    rows = torch.empty(m, m, dtype=torch.float64)
    rows[0] = 1 / math.sqrt(m)
    pairs = (m - 1) // 2
    rows[1 : 2 * pairs + 1 : 2] = math.sqrt(2 / m) * cos[:pairs]
    rows[2 : 2 * pairs + 1 : 2] = math.sqrt(2 / m) * sin[:pairs]
    if m % 2 == 0:
        rows[-1] = cos[-1] / math.sqrt(m)
    return rows.to(device=device, dtype=dtype)


def _cos_sin(m: int) -> tuple[Float[Tensor, "k m"], Float[Tensor, "k m"]]:
    """Cosine and sine of ``2 pi k n / m`` for k = 1..m//2, exactly zero where they vanish.

    The residue ``k n mod m`` is taken in integers, so no accuracy is lost for large k n, and the
    sine at Nyquist is 0 and not 1e-14, which a least-squares fit would take for a direction.

    Returns:
        Both ``[m//2, m]``, in float64.
    """
    residue = torch.outer(torch.arange(1, m // 2 + 1), torch.arange(m)) % m
    angle = 2 * math.pi * torch.arange(m, dtype=torch.float64) / m
    sin = angle.sin()
    sin[0] = 0
    if m % 2 == 0:
        sin[m // 2] = 0
    return angle.cos()[residue], sin[residue]


def basis(
    m: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "m m"]:
    """Orthonormal real Fourier basis of functions on Z_m, one function a row; do not modify it.

    Rows: constant, then cos and sin for k = 1, 2, ..., and for even m the Nyquist cosine last.

    Args:
        m: Modulus, at least 3.
        dtype: Floating-point type of the result.
        device: Device of the result.

    Returns:
        Functions by row and points by column; the tensor is cached and shared by all callers.

    Raises:
        TypeError: If ``m`` is not an int.
        ValueError: If ``m < 3``.
    """
    check_modulus(m)
    return _basis(m, dtype, str(device))


def row_frequencies(m: int) -> Int[Tensor, " m"]:
    """Frequency of each row of :func:`basis`: 0, 1, 1, 2, 2, ..."""
    return (torch.arange(m) + 1) // 2


def rounding_energy(x: Float[Tensor, "*batch n d"], n: Tensor | int) -> Float[Tensor, "*batch 1 d"]:
    """Energy about the mean, along dim -2, that rounding alone can leave in a constant column.

    A mean is off by a few units in the last place, so each of n points deviates by
    ``8 eps max|x|`` at the most.

    Args:
        x: Columns along dim -2.
        n: Number of points in a column.

    Returns:
        ``n (8 eps max|x|)^2`` for each column, in squared units of ``x``.
    """
    low, high = x.aminmax(dim=-2, keepdim=True)
    step = ROUNDING_STEPS * torch.finfo(x.dtype).eps * torch.maximum(-low, high)
    return n * step.square()


def coefficients(x: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """Coordinates of functions on Z_m in :func:`basis`; the inverse is :func:`synthesize`.

    Args:
        x: Real function values; the length of ``dim`` is the modulus m, at least 3.
        dim: The axis of the function.

    Returns:
        Of the shape and in the units of ``x``, with basis functions where points were on ``dim``.
    """
    matrix = basis(x.shape[dim], dtype=x.dtype, device=x.device)
    return (x.movedim(dim, -1) @ matrix.T).movedim(-1, dim)


def synthesize(coefficients: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """Functions on Z_m from their coordinates in :func:`basis`: the inverse of :func:`coefficients`.

    Args:
        coefficients: Coordinates; the length of ``dim`` is the modulus m, at least 3.
        dim: The axis of the basis functions.

    Returns:
        Of the same shape and units, with points where basis functions were on ``dim``.
    """
    matrix = basis(coefficients.shape[dim], dtype=coefficients.dtype, device=coefficients.device)
    return (coefficients.movedim(dim, -1) @ matrix).movedim(-1, dim)


def transform_grid(activations: Float[Tensor, "pairs *features"]) -> Float[Tensor, "p p *features"]:
    """2-D Fourier transform of activations over the p x p grid of pairs.

    Entry ``[i, j]`` is the coefficient on basis function i of a times basis function j of b, as in
    arXiv 2301.05217, section 4. The basis is orthonormal, so squares add up to the total energy.

    Args:
        activations: One row for each pair in the order of ``task.tokens``: (0, 0), (0, 1), ...

    Returns:
        ``[p, p, *features]`` with both axes in the order of :func:`basis`, constant, cos 1, sin 1, cos
        2, ... In the units of the activations; a constant c is ``c p`` at ``[0, 0]``.

    Raises:
        ValueError: If the number of rows is not ``p * p`` for any p of at least 3.
    """
    p = math.isqrt(activations.shape[0])
    if p * p != activations.shape[0]:
        raise ValueError(
            f"activations have {activations.shape[0]} rows, which is not p * p for any p: "
            "pass the activations on all pairs, in the order of task.tokens"
        )
    lattice = rearrange(activations, "(a b) ... -> a b ...", a=p)
    return coefficients(coefficients(lattice, 0), 1)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Sinusoids of a function on Z_m; the frequency axis stands where the function's axis stood.

    Attributes:
        modulus: The modulus m.
        dim: The frequency axis, negative; index 0 is k = 1.
        constant: Mean over the axis (which is gone from its shape), in the units of the function.
        cos: Amplitude of ``cos(2 pi k n / m)``.
        sin: Amplitude of ``sin(2 pi k n / m)``.
        power: Energy of each frequency; under a least-squares fit at points that are not all of
            Z_m, the energy that this frequency explains by itself (these then overlap).
        total: Energy about the mean, with a frequency axis of length 1; exactly 0 for a constant.
    """

    modulus: int
    dim: int
    constant: Float[Tensor, "..."]
    cos: Float[Tensor, "..."]
    sin: Float[Tensor, "..."]
    power: Float[Tensor, "..."]
    total: Float[Tensor, "..."]

    @property
    def amplitude(self) -> Float[Tensor, "..."]:
        """``A_k``, in the units of the function."""
        return torch.hypot(self.cos, self.sin)

    @property
    def phase(self) -> Float[Tensor, "..."]:
        """``phi_k`` in (-pi, pi]."""
        # + 0.0 turns -0.0 into 0.0, which would make the phase of a Nyquist sinusoid -pi.
        return torch.atan2(0.0 - self.sin, self.cos)

    @property
    def power_shares(self) -> Float[Tensor, "..."]:
        """Share of the energy about the mean that each frequency explains; 0 for a constant."""
        return torch.where(self.total > 0, self.power / self.total, 0)


@dataclass(frozen=True, eq=False)
class Sinusoids:
    """Least-squares fits of one sinusoid at a time, for every frequency, by one matrix product.

    Attributes:
        modulus: The modulus m.
        analysis: ``analysis @ x`` gives the amplitudes of all cosines, then of all sines; under the
            Fourier transform the mean before them.
        gram: Inner products (cos, cos), (cos, sin), (sin, sin) about the mean.
        covered: Weight 1 for the points that have a coordinate, 0 for those left out of the fit;
            None if point i is coordinate i, and the fit is the Fourier transform.
    """

    modulus: int
    analysis: Float[Tensor, "... two_k n"]
    gram: Float[Tensor, "3 ... k 1"]
    covered: Float[Tensor, "... n 1"] | None

    @property
    def identifiable(self) -> Bool[Tensor, "... k"]:
        """Frequencies whose phase the points can tell.

        Not where cosine and sine are one function up to a factor at these points, as for classes
        that sums t and -t both lead to. At Nyquist a phase is 0 or pi, which is all there is.
        """
        cos_cos, cos_sin, sin_sin = self.gram.squeeze(-1)
        determinant = cos_cos * sin_sin - cos_sin.square()
        known: Tensor = determinant > SINGULAR * (cos_cos + sin_sin).square()
        if self.modulus % 2 == 0:
            known[..., -1] = True
        return known

    def fit(self, x: Float[Tensor, "*batch n d"]) -> Spectrum:
        """Spectrum along dim -2 of ``x``, over the covered points."""
        if self.covered is None:
            return self.read(self.analysis @ x)
        known = x * self.covered
        n_covered = self.covered.sum(-2, keepdim=True)
        mean = known.sum(-2, keepdim=True) / n_covered
        centred = (known - mean) * self.covered
        cos, sin = (self.analysis @ centred).chunk(2, dim=-2)
        cos_cos, cos_sin, sin_sin = self.gram
        power = cos_cos * cos.square() + 2 * cos_sin * cos * sin + sin_sin * sin.square()
        total = centred.square().sum(-2, keepdim=True)
        total = torch.where(total > rounding_energy(known, n_covered), total, 0)
        return Spectrum(self.modulus, -2, mean.squeeze(-2), cos, sin, power, total)

    def read(self, found: Float[Tensor, "*batch rows d"]) -> Spectrum:
        """The spectrum that ``analysis @ x`` shows, for the Fourier transform."""
        m, pairs = self.modulus, self.modulus // 2
        mean, cos, sin = found[..., 0, :], found[..., 1 : 1 + pairs, :], found[..., 1 + pairs :, :]
        # Energies are m/2 times squared amplitudes; at Nyquist m times, where the sine is zero.
        power = cos.square().addcmul_(sin, sin).mul_(m / 2)
        if m % 2 == 0:
            power[..., -1, :].mul_(2)
        total = power.sum(-2, keepdim=True)
        # The largest entry of a column that is constant but for rounding is its mean.
        rounding = ROUNDING_STEPS * torch.finfo(found.dtype).eps * mean.unsqueeze(-2)
        total = torch.where(total > m * rounding.square(), total, 0)
        return Spectrum(m, -2, mean, cos, sin, power, total)


def sinusoids(
    m: int,
    incidence: Float[Tensor, "n m"] | None = None,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Sinusoids:
    """Fits of sinusoids on Z_m to functions known at n points.

    Point i sees the wave ``sum_t incidence[i, t] wave[t]``: one entry of 1 for a token with
    coordinate t, several for a class that collects several coordinates, none for a point without
    a coordinate, which the fit leaves out.

    Args:
        m: Modulus.
        incidence: None when point i is coordinate i; the fit is then the Fourier transform.
        dtype: Floating-point type.
        device: Device.

    Returns:
        The fits; :meth:`Sinusoids.fit` applies them to columns of functions.

    Raises:
        TypeError: If ``m`` is not an int.
        ValueError: If ``m < 3``.
    """
    check_modulus(m)
    if incidence is None:
        return _identity_sinusoids(m, dtype, str(device))
    cos, sin = _cos_sin(m)
    matrix = incidence.to("cpu", torch.float64)
    covered = (matrix.abs().sum(1, keepdim=True) > 0).to(torch.float64)
    design = torch.stack([matrix @ cos.T, matrix @ sin.T], -1).movedim(1, 0)  # [k, n, 2]
    design = (design - (design * covered).sum(1, keepdim=True) / covered.sum()) * covered
    gram = design.mT @ design
    analysis = torch.linalg.pinv(design, rtol=1e-9)  # [k, 2, n]
    return Sinusoids(
        m,
        analysis.movedim(1, 0).flatten(0, 1).to(device=device, dtype=dtype),
        torch.stack([gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1]])[..., None].to(
            device=device, dtype=dtype
        ),
        covered.to(device=device, dtype=dtype),
    )


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _identity_sinusoids(m: int, dtype: torch.dtype, device: str) -> Sinusoids:
    cos, sin = _cos_sin(m)
    norm = cos.square().sum(1, keepdim=True)  # m/2, and m at Nyquist, where the sine is zero
    gram = torch.stack([norm, torch.zeros_like(norm), sin.square().sum(1, keepdim=True)])
    mean = torch.full((1, m), 1 / m, dtype=torch.float64)
    return Sinusoids(
        m,
        torch.cat([mean, cos / norm, sin / norm]).to(device=device, dtype=dtype),
        gram.to(device=device, dtype=dtype),
        None,
    )


def spectrum(x: Float[Tensor, "..."], dim: int = -1) -> Spectrum:
    """Spectrum of ``x`` along ``dim``, for every frequency k = 1..m//2.

    Args:
        x: Real function values; the length of ``dim`` is the modulus m.
        dim: The axis, which the frequency axis replaces.

    Returns:
        Amplitudes, phases and powers of k = 1..m//2 along ``dim``, the mean, and the energy about it.

    Raises:
        ValueError: If the axis is shorter than 3.
    """
    dim = dim % x.ndim - x.ndim
    last = x.movedim(dim, -1).unsqueeze(-1)
    fitted = sinusoids(x.shape[dim], dtype=x.dtype, device=x.device).fit(last)

    def place(values: Tensor) -> Tensor:
        return values.squeeze(-1).movedim(-1, dim)

    return Spectrum(
        fitted.modulus,
        dim,
        fitted.constant.squeeze(-1),
        place(fitted.cos),
        place(fitted.sin),
        place(fitted.power),
        place(fitted.total),
    )


def transform(x: Float[Tensor, "..."], dim: int = -1) -> Complex[Tensor, "..."]:
    """``X_k = sum_n x[n] exp(-2 pi i k n / m)`` for k = 0..m//2, as ``torch.fft.rfft`` gives it.

    Args:
        x: Real function values; the length of ``dim`` is the modulus m, at least 3.
        dim: The axis of the function.

    Returns:
        Complex, in the units of ``x``, with k on ``dim``.
    """
    found = spectrum(x, dim)
    m = found.modulus
    scale = torch.full((m // 2,), m / 2, dtype=x.dtype, device=x.device)
    if m % 2 == 0:
        scale[-1] = m
    scale = scale.reshape(-1, *[1] * (-1 - found.dim))
    sinusoidal = torch.complex(found.cos * scale, -found.sin * scale)
    constant = (found.constant * m).unsqueeze(found.dim if found.dim != -1 else -1)
    return torch.cat([constant.to(sinusoidal.dtype), sinusoidal], found.dim)


def ipr(
    x: Float[Tensor, "..."], dim: int = -1, *, include_constant: bool = False
) -> Float[Tensor, "..."]:
    """Inverse participation ratio of the spectrum along ``dim``: ``sum_k s_k^2`` of power shares s.

    Args:
        x: Real function values; the length of ``dim`` is the modulus m.
        dim: The axis of the function.
        include_constant: Take the shares of ``|X_k|^2`` over k = 0..m//2, one-sided, the variant of
            arXiv 2310.13061, in which a constant counts as a frequency of doubled energy.

    Returns:
        A number for each function, 1 for a pure sinusoid, 1/(m//2) for power spread evenly over frequencies,
        0 for a constant function (with ``include_constant``, 1 for a constant and 0 for zero).

    Raises:
        ValueError: If the axis is shorter than 3.
    """
    if include_constant:
        return inverse_participation(transform(x, dim).abs().square(), dim)
    found = spectrum(x, dim)
    return inverse_participation(torch.where(found.total > 0, found.power, 0), found.dim)


def inverse_participation(power: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """``sum_k p_k^2 / (sum_k p_k)^2`` along ``dim``; 0 where there is no power."""
    total = power.sum(dim, keepdim=True)
    return torch.where(total > 0, power / total, 0).square().sum(dim)


def gini(power: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """Gini coefficient along ``dim`` of nonnegative values: 0 if equal, 1 - 1/n if one holds all.

    ``G = sum_i (2 i - n - 1) x_(i) / (n sum_i x_(i))`` with x sorted upwards and i from 1; used on
    Fourier power in arXiv 2301.05217, section 5.

    Args:
        power: Nonnegative values, such as the power of a :class:`Spectrum`.
        dim: The axis of the n values.

    Returns:
        In 0..1 - 1/n; 0 where all values are zero.
    """
    n = power.shape[dim]
    ordered = power.movedim(dim, -1).sort(-1).values
    rank = 2 * torch.arange(1, n + 1, dtype=power.dtype, device=power.device) - n - 1
    total = ordered.sum(-1)
    return torch.where(total > 0, (ordered * rank).sum(-1) / (n * total), 0)


def harmonic(k: Int[Tensor, "*shape"], order: int, m: int) -> Int[Tensor, "*shape"]:
    """Frequency in 1..m//2 at which the ``order``-th harmonic of ``k`` appears on Z_m.

    On m points ``order * k`` and ``m - order * k`` are one frequency.

    Args:
        k: Frequencies.
        order: Which harmonic; 1 is the frequency itself.
        m: Modulus.

    Returns:
        ``min(order k mod m, -order k mod m)``; 0 where the harmonic is a constant (a multiple of m).
    """
    residue = k * order % m
    return torch.minimum(residue, m - residue)
