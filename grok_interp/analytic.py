"""Networks that solve a modular task by construction, after Gromov's analytic solution.

For a task ``label = F(u(a) + s v(b))`` with coordinates u, v on Z_m, a sign s and a read-out F, neuron
n of N has a frequency k and phases phi_a, phi_b, phi_out = phi_a + phi_b::

    W_in[0, a, n] = A wave(2 pi k u(a) / m + phi_a)
    W_in[1, b, n] = A wave(2 pi k s v(b) / m + phi_b)
    W_out[n, c]   = A sum over t with F(t) = c of cos(2 pi k t / m + phi_out)

With the square as activation a neuron's output holds ``A^2 cos(2 pi k (u + s v) / m + phi_out)``, and
the read-out adds ``A^3 / 2`` times ``cos(2 pi k (u + s v - t) / m)`` of each neuron to the logit of t:
a peak at t = u + s v, once frequencies are spread over 1..(m-1)//2. The rest, at 2u, 2v and u - s v,
carries random phases and cancels as ``1/sqrt(N)`` does (:mod:`.leakage`).

Source: Gromov, arXiv 2301.02679, section 3, for sums with quadratic activations. ReLU, square waves,
products and read-outs F that are not one-to-one go beyond it.

- ReLU holds the same wave, ``8 / (3 pi^2) A cos(..)`` of cosines and ``A / pi cos(..)`` of square waves,
  beside harmonics that the read-out does not hear, so it needs more neurons.
- Building the read-out forward, class F(t) adding up the waves of t, needs no inverse of F, which
  ``(a + b)**2`` does not have.
- A product has coordinates only where it is not zero. Pairs that it sends to zero get a neuron of their
  own, which is positive for the tokens without a coordinate and speaks for the class of zero.

What it is not: evidence of what training finds. It is what extraction, idealization and ablation are
tested on, and what trained networks are held against.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from grok_interp import circular, waveforms
from grok_interp.config import check_choice
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import Coordinates, ModularTask

SolvingActivation = Literal["quadratic", "relu"]
SolvingWaveform = Literal["cosine", "square"]
SUM_COEFFICIENT: dict[tuple[str, str], float] = {
    ("quadratic", "cosine"): 1.0,
    ("quadratic", "square"): 1.0,
    ("relu", "cosine"): 8 / (3 * math.pi**2),
    ("relu", "square"): 1 / math.pi,
}
"""Amplitude of ``cos(alpha + beta)`` in ``act(wave(alpha) + wave(beta))`` at A = 1, in the continuum.
``(cos alpha + cos beta)^2`` holds it once; ``|cos((alpha + beta) / 2)|`` is ``2/pi (1 + 2/3 cos(alpha +
beta) + ..)``; and square waves of level pi/4 multiply to ``(pi/4)^2 (4/pi)^2 cos alpha cos beta + ..``."""
DEGREE = {"quadratic": 3, "relu": 2}
"""Degree of the logits in the amplitude of all weights."""


def solution(
    task: ModularTask,
    d_mlp: int = 512,
    seed: int | torch.Generator = 0,
    *,
    act_fn: SolvingActivation | str = "quadratic",
    input_waveform: SolvingWaveform | str = "cosine",
    output_scale: float = 1.0,
) -> HookedMLP:
    """A network that solves ``task`` by construction; see the module for its weights.

    Frequencies 1..(m-1)//2 are given out in turn (the Nyquist frequency of even m is left out: its
    neurons' share depends on their phases), phi_a and phi_b are uniform, and A is such that the
    correct logit is 1 in the mean over phases (for square waves, but for what sampling them on m points
    changes); the other logits then are ``-1/(m-1)``, for odd m and a one-to-one read-out. For quadratic
    activations and odd m, ``A = (2 / N)^(1/3)``, and ``(4 p)^(1/3)`` with
    ``output_scale = 1 / (2 p N)``. Phases are random, so few neurons solve the task
    in part: docs/gromov.md has accuracy by width. ReLU needs more, and so do classes that many sums
    lead to, which add up what does not cancel; ``measures.accuracy`` tells.

    Args:
        task: A task with coordinates: sums ``f(a) + g(b)``, products ``f(a) * g(b)`` for prime p, or
            a function of one of them.
        d_mlp: Number of neurons, the one for zero included.
        seed: Seed of the phases, or a generator.
        act_fn: ``"quadratic"`` or ``"relu"``.
        input_waveform: ``"cosine"``, or ``"square"`` at the level whose fundamental is A.
        output_scale: Factor on ``post @ W_out``, as in :class:`.HookedMLPConfig`; A makes up for it.

    Returns:
        A model of float32 weights without biases, and with seed None.

    Raises:
        ValueError: If no coordinates were found (it says what was tried), a name is unknown,
            ``output_scale`` is not positive, or there is no neuron for the waves.
    """
    check_choice("act_fn", act_fn, SolvingActivation)
    check_choice("input_waveform", input_waveform, SolvingWaveform)
    if not 0 < output_scale < math.inf:
        raise ValueError(f"output_scale={output_scale!r} must be a positive, finite number")
    found = task.require_coordinates("so no network is known that solves it by construction")
    has_zero = not bool(task.has_coordinates.all())
    n_waves = d_mlp - has_zero
    if n_waves < 1:
        raise ValueError(
            f"d_mlp={d_mlp} leaves no neuron for the waves: use at least {1 + has_zero}"
            + (", one of them for pairs without coordinates" if has_zero else "")
        )
    amplitude = (
        2 / (SUM_COEFFICIENT[str(act_fn), str(input_waveform)] * n_waves * output_scale)
    ) ** (1 / DEGREE[act_fn])
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    phase = torch.pi * (2 * torch.rand(2, n_waves, generator=generator, dtype=torch.float64) - 1)
    frequency = 1 + torch.arange(n_waves) % ((found.modulus - 1) // 2)
    made = columns(found, frequency, phase, amplitude, input_waveform=input_waveform)
    if has_zero:
        made = torch.cat([made, _zero_neuron(task, str(act_fn), output_scale)], -1)
    W_a, W_b, W_out = made.float().unbind(0)
    return HookedMLP.from_weights(
        torch.stack([W_a, W_b]), W_out.T, act_fn=str(act_fn), output_scale=output_scale
    )


def columns(
    coordinates: Coordinates,
    frequency: Int[Tensor, " n"],
    phase: Float64[Tensor, "2 n"],
    amplitude: float,
    *,
    input_waveform: SolvingWaveform | str = "cosine",
) -> Float64[Tensor, "3 p n"]:
    """W_a, W_b and the transpose of W_out of neurons with given frequencies and input phases.

    Args:
        coordinates: Where the task is addition; tokens without a coordinate get 0.
        frequency: k of each neuron, in 1..m//2.
        phase: phi_a and phi_b in radians; for a difference, of the wave in ``-v(b)``.
        amplitude: A, in the units of the weights.
        input_waveform: ``"cosine"`` or ``"square"``.

    Returns:
        ``[3, p, n]`` in the units of ``amplitude``, waves over the tokens of a, over those of b, and
        over classes.
    """
    # A wave in -v with phase phi_b is one in v with phase -phi_b.
    own = torch.stack([phase[0], coordinates.sign * phase[1], circular.wrap(phase.sum(0))])
    level = torch.full(frequency.shape, amplitude, dtype=torch.float64)
    waves = [
        waveforms.sample(waveform, coordinates.modulus, frequency, level, phi, incidence=seen)
        for waveform, phi, seen in zip(
            (input_waveform, input_waveform, "cosine"), own, coordinates.incidence, strict=True
        )
    ]
    return torch.stack(waves)


def _zero_neuron(task: ModularTask, act_fn: str, output_scale: float) -> Float64[Tensor, "3 p 1"]:
    """A neuron for the class of pairs without coordinates: its logit is 1 if one operand has none.

    If both have none it is 4 for quadratic activations and 2 for ReLU.

    Returns:
        Its columns of W_a, W_b and the transpose of W_out.
    """
    assert task.coordinates is not None
    column = torch.zeros(3, task.p, 1, dtype=torch.float64)
    column[:2] = (~task.coordinates.covered[:2]).double()
    (label,) = task.labels[~task.has_coordinates].unique()
    column[2, label] = 1
    # Both activations are 1 at 1, so the logit is the cube, or the square, of the factor.
    return column * math.pow(output_scale, -1 / DEGREE[act_fn])
