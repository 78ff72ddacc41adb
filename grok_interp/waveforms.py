"""Square, cosine and trapezoid waves on Z_m: sampling, fits, and where values sit in between.

A wave of frequency k and phase phi is read in turns, ``t = k n / m + phi / (2 pi)`` reduced to
[-1/2, 1/2). All three have a fundamental of amplitude A in the continuum::

    cosine     A cos(2 pi t)
    square     (pi/4) A s(t),  s = +1 iff -1/4 <= t < 1/4, else -1
    trapezoid  A / c1 * clip(cos(2 pi t) / clip_at, -1, 1),
               c1 = (2/pi) (arcsin(clip_at) / clip_at + sqrt(1 - clip_at^2))

The trapezoid is a clipped cosine: clip_at = 1 is the cosine, clip_at -> 0 the square wave.

Caveat: on a grid, a period of q = m / gcd(k, m) points gives a sampled square wave whose
fundamental is up to 11% off A (q = 4), and its phase can be known only to pi / q. A perfect square
wave has an R2 of .81 (8 / pi^2) to its own cosine, so a high R2 to one wave is no evidence against
the other: compare the two (arXiv 2603.23784 claims near-binary square waves).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from grok_interp.config import Waveform, check_choice
from grok_interp.fourier import rounding_energy

SQUARE_LEVEL = math.pi / 4
"""Level of the square wave whose fundamental has amplitude 1."""
EDGE = 1e-9
"""Turns within which a point counts as lying on an edge of the square wave."""
PLATEAU_TOLERANCE = 0.25
"""A weight is on its plateau when ``abs(abs(w) / level - 1)`` is below this."""
CLIPS = tuple(i / 20 for i in range(1, 21))
"""Clipping levels that the trapezoid fit tries; the last is the cosine."""


def turns(
    m: int, frequency: Int[Tensor, "*batch d"], phase: Float[Tensor, "*batch d"]
) -> Float64[Tensor, "*batch m d"]:
    """``t = k n / m + phi / (2 pi)`` in [-1/2, 1/2) for n = 0..m-1, one column a neuron.

    Args:
        m: Modulus.
        frequency: k, an integer.
        phase: phi in radians.

    Returns:
        ``[*batch, m, d]``, in float64 whatever the phase's type, so that :data:`EDGE` means the same for all.
    """
    n = torch.arange(m, device=frequency.device)[:, None]
    residue = (frequency.unsqueeze(-2) * n) % m
    t = residue.to(torch.float64) / m + (phase.to(torch.float64) / (2 * math.pi)).unsqueeze(-2)
    return t - torch.floor(t + 0.5)


def _shape(waveform: str, t: Tensor, clip_at: Tensor | None) -> Tensor:
    """The wave at ``t`` whose fundamental has amplitude 1."""
    if waveform == "cosine":
        return torch.cos(2 * math.pi * t)
    if waveform == "square":
        high = (t >= -0.25 - EDGE) & (t < 0.25 - EDGE)
        return torch.where(high, SQUARE_LEVEL, -SQUARE_LEVEL).to(t.dtype)
    if clip_at is None or not bool(((clip_at > 0) & (clip_at <= 1)).all()):
        raise ValueError(
            f"clip_at={clip_at!r}: a trapezoid needs it in (0, 1]; fit_trapezoid gives it for a column"
        )
    return _clipped(torch.cos(2 * math.pi * t), clip_at)


def _clipped(cosine: Tensor, clip_at: Tensor) -> Tensor:
    """A cosine clipped at a height, at the level at which its fundamental has amplitude 1."""
    clip = clip_at.to(cosine)
    fundamental = (2 / math.pi) * (
        torch.asin(clip) / clip + (1 - clip.square()).clamp(min=0).sqrt()
    )
    return (cosine / clip).clamp(-1, 1) / fundamental


def sample(
    waveform: Waveform | str,
    m: int,
    frequency: Int[Tensor, "*batch d"],
    amplitude: Float[Tensor, "*batch d"],
    phase: Float[Tensor, "*batch d"],
    clip_at: Float[Tensor, "*batch d"] | None = None,
    *,
    incidence: Float[Tensor, "*points n m"] | None = None,
) -> Float[Tensor, "*batch n d"]:
    """Waves on Z_m, one column for each neuron; zero where the frequency is 0.

    Args:
        waveform: ``"square"``, ``"cosine"`` or ``"trapezoid"``.
        m: Modulus.
        frequency: k, an integer; 0 stands for no wave.
        amplitude: A, the amplitude of the fundamental, in the units of the weight.
        phase: phi in radians; may be NaN where the frequency is 0.
        clip_at: For trapezoids, the height at which the cosine is clipped, in (0, 1].
        incidence: Which coordinates each of n points sees, as in :func:`.fourier.sinusoids`; None
            gives the wave on Z_m itself.

    Returns:
        Waves along dim -2, over the m coordinates or the n points, in the units of ``amplitude``.

    Raises:
        ValueError: If the waveform is unknown, or a trapezoid is asked for without ``clip_at``.
    """
    check_choice("waveform", waveform, Waveform)
    alive = frequency > 0
    t = turns(m, frequency, torch.where(alive, phase, 0))
    clip = clip_at if clip_at is None else clip_at.unsqueeze(-2)
    unit = _shape(waveform, t, clip).to(amplitude.dtype)
    wave = unit * torch.where(alive, amplitude, 0).unsqueeze(-2)
    return wave if incidence is None else incidence.to(wave) @ wave


def _centred(column: Tensor, covered: Tensor | None = None) -> Tensor:
    """The column about its mean over the covered points; 0 at the others."""
    if covered is None:
        return column - column.mean(-2, keepdim=True)
    mask = covered.to(column)
    return (column - (column * mask).sum(-2, keepdim=True) / mask.sum(-2, keepdim=True)) * mask


def r_squared(
    column: Float[Tensor, "*batch n d"],
    wave: Float[Tensor, "*batch n d"],
    *,
    fit: str = "level",
    covered: Bool[Tensor, "*points n 1"] | None = None,
) -> Float[Tensor, "*batch d"]:
    """Share of a column's variance that a wave explains: ``1 - |w - s|^2 / |w|^2``.

    Means over the points are removed from both.

    Args:
        column: Weights, along dim -2.
        wave: The sampled wave.
        fit: ``"level"`` takes the wave as it is, at the level its amplitude says; ``"lstsq"`` fits
            the level, which gives the squared correlation.
        covered: Points to count; None for all.

    Returns:
        1 if the wave is the column; below 0 with ``"level"`` if it is farther from it than the mean is;
        NaN for a constant column.

    Raises:
        ValueError: If ``fit`` is neither.
    """
    check_choice("fit", fit, ("level", "lstsq"))
    w, s = _centred(column, covered), _centred(wave, covered)
    energy = w.square().sum(-2)
    if fit == "level":
        explained = energy - (w - s).square().sum(-2)
    else:
        in_wave = s.square().sum(-2)
        explained = torch.where(in_wave > 0, (w * s).sum(-2).square() / in_wave, 0)
    varies = energy > rounding_energy(column, column.shape[-2]).squeeze(-2)
    return torch.where(varies, explained / energy, math.nan)


def fit_trapezoid(
    column: Float[Tensor, "*batch n d"],
    m: int,
    frequency: Int[Tensor, "*batch d"],
    amplitude: Float[Tensor, "*batch d"],
    phase: Float[Tensor, "*batch d"],
    *,
    incidence: Float[Tensor, "*points n m"] | None = None,
    covered: Bool[Tensor, "*points n 1"] | None = None,
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d"]]:
    """Fit the clipping level of a trapezoid to each column: the best of :data:`CLIPS`, by R2.

    The level follows from ``amplitude`` as for the other waves, so the clipping level is the one
    parameter that is fitted; the cosine is among the candidates. Arguments as for :func:`sample`
    and :func:`r_squared`.

    Returns:
        The clipping level, 1 for a cosine and small for a square wave, and the R2 that it reaches; 1 and NaN
        for a constant column.
    """
    best = torch.full_like(amplitude, -math.inf)
    clip_at = torch.full_like(amplitude, CLIPS[-1])
    alive = frequency > 0
    cosine = torch.cos(2 * math.pi * turns(m, frequency, torch.where(alive, phase, 0)))
    height = torch.where(alive, amplitude, 0).unsqueeze(-2)
    for level in CLIPS:
        candidate = torch.full_like(amplitude, level)
        wave = _clipped(cosine, candidate.unsqueeze(-2)).to(amplitude.dtype) * height
        wave = wave if incidence is None else incidence.to(wave) @ wave
        r2 = r_squared(column, wave, covered=covered)
        better = r2 > best
        best, clip_at = torch.where(better, r2, best), torch.where(better, candidate, clip_at)
    return clip_at, torch.where(best > -math.inf, best, math.nan)


def plateau_share(
    column: Float[Tensor, "*batch n d"],
    amplitude: Float[Tensor, "*batch d"],
    *,
    covered: Bool[Tensor, "*points n 1"] | None = None,
) -> Float[Tensor, "*batch d"]:
    """Share of weights near their neuron's plateau: ``abs(abs(w)/level - 1) < .25``.

    ``w`` is the column about its mean and ``level = pi/4 * amplitude``. A cosine scores .48 by itself, a
    square wave 1.

    Args:
        column: Weights, along dim -2.
        amplitude: A of each column's fundamental, in the units of the weights.
        covered: Points to count; None for all.

    Returns:
        In 0..1; NaN where the amplitude is 0.
    """
    level = SQUARE_LEVEL * amplitude.unsqueeze(-2)
    near = (_centred(column, covered).abs() / level - 1).abs() < PLATEAU_TOLERANCE
    counted = torch.ones_like(near) if covered is None else covered.to(near.device).expand_as(near)
    share = (near & counted).sum(-2) / counted.sum(-2)
    return torch.where(amplitude > 0, share, math.nan)


@dataclass(frozen=True, eq=False)
class IntermediateValues:
    """Weights well inside a neuron's two levels, and how far they lie from a sign change.

    Attributes:
        share (``[*batch, d]``): Share of weights with ``abs(w) < .75 level``, level = pi/4 A.
        distance (``[*batch, d]``): Their mean distance to the nearest sign change of the wave, in turns
            (0 to 1/4).
        cosine_share (``[*batch, d]``): The same share for the cosine of this frequency, amplitude and phase.
        cosine_distance (``[*batch, d]``): The same distance for that cosine: the null that "intermediate
            values sit only near sign changes" must beat, since a cosine's small values sit there too.
    """

    share: Float[Tensor, "*batch d"]
    distance: Float[Tensor, "*batch d"]
    cosine_share: Float[Tensor, "*batch d"]
    cosine_distance: Float[Tensor, "*batch d"]


def intermediate_values(
    column: Float[Tensor, "*batch n d"],
    m: int,
    frequency: Int[Tensor, "*batch d"],
    amplitude: Float[Tensor, "*batch d"],
    phase: Float[Tensor, "*batch d"],
    *,
    incidence: Float[Tensor, "*points n m"] | None = None,
    covered: Bool[Tensor, "*points n 1"] | None = None,
) -> IntermediateValues:
    """Where a column's intermediate values sit, beside its fitted cosine's.

    Values scattered at random over the period would lie 1/8 of a turn from a sign change on
    average. Arguments as for :func:`sample` and :func:`r_squared`.

    Returns:
        Shares and distances of the column and of its cosine; a distance is NaN where a column has no
        intermediate value.
    """
    t = turns(m, frequency, torch.where(frequency > 0, phase, 0))
    to_edge = (t.abs() - 0.25).abs().to(column.dtype)
    to_edge = to_edge if incidence is None else incidence.to(to_edge) @ to_edge
    level = SQUARE_LEVEL * amplitude.unsqueeze(-2)
    counted = torch.ones_like(to_edge) if covered is None else covered.to(to_edge)

    def where_they_sit(values: Tensor) -> tuple[Tensor, Tensor]:
        inside = (values.abs() < (1 - PLATEAU_TOLERANCE) * level).to(column.dtype) * counted
        share = inside.sum(-2) / counted.expand_as(inside).sum(-2)
        return share, (inside * to_edge).sum(-2) / inside.sum(-2)

    cosine = sample("cosine", m, frequency, amplitude, phase, incidence=incidence)
    return IntermediateValues(*where_they_sit(_centred(column, covered)), *where_they_sit(cosine))
