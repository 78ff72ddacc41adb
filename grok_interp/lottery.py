"""Does a neuron's initial spectrum foretell the frequency that it ends at?

With the sinusoids of a neuron's three columns at the start, ``A_k cos(2 pi k n / m + phi_k)``, four
scores of each frequency k are ranked within the neuron (squares and factors of a column do not
change the order)::

    input     A_a^2 + A_b^2             power of W_a and W_b
    output    A_out^2                   power of W_out
    joint     A_a^2 A_b^2 A_out^2       product of the three spectra, as joint extraction takes it
    aligned   A_a A_b A_out cos(phi_a + sign phi_b - phi_out)

arXiv 2602.16849 proves for gradient flow from small weights that frequencies compete within each
neuron, and that initial magnitude and phase alignment decide the winner; there all columns grow at
rates that the last score measures. Whether it holds of a network with decay and Adam is the question.

Two nulls are in the numbers. Some frequencies are popular, at the start and at the end; so each
number stands beside its expected value over all pairings of initial neurons with final ones. And
what did not move foretells itself: a network compared with its own start has a joint share of 1.
Read these numbers beside ``feature_movement`` of :mod:`grok_interp.dynamics`, the cosine between
W_in at the two times.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grok_interp import fourier, neurons
from grok_interp.fourier import Spectrum
from grok_interp.neurons import TIE, NeuronTable
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights

PREDICTORS = ("input", "output", "joint", "aligned")
"""Scores of an initial neuron's frequencies."""


def foretold(start: MLPWeights, end: MLPWeights, task: ModularTask) -> dict[str, float]:
    """How well initial spectra foretell the frequencies that neurons end at, beside chance.

    Final frequencies are those of joint extraction. Neurons count whose three columns vary at both
    times and which are not dead at the end.

    Args:
        start: Weights of one network before training.
        end: The same network's weights after it, neuron for neuron.
        task: The task, in whose coordinates both are read.

    Returns:
        ``lottery_live``, the number of neurons that count; and for each of :data:`PREDICTORS`:
        ``lottery_{predictor}_share``, the share of them whose final frequency is the one with the
        largest initial score; ``..._chance``, that share over all pairings of initial with final
        neurons, ``sum_k P_start(k) P_end(k)``; ``..._percentile``, the mean midrank of the final
        frequency among the neuron's initial scores, from 0 (lowest) to 1 (top);
        ``..._percentile_chance``, that mean over all pairings. NaN without a live neuron; percentiles
        for m = 3 too, which has one frequency, and ``aligned`` where a column's points cannot tell the
        phase (the classes of ``(a + b)**2``).

    Raises:
        ValueError: If there are batch axes, or the shapes differ or do not fit the task, or the task
            has no coordinates.
    """
    if start.batch_shape or start.W_in.shape != end.W_in.shape:
        raise ValueError(
            f"start has W_in {list(start.W_in.shape)} and end {list(end.W_in.shape)}, expected one network "
            "at two times, both [2, p, d_mlp]: index batch axes first, as in weights[-1]"
        )
    before, after = neurons.extract(start, task), neurons.extract(end, task)
    live = before.agrees & after.agrees & ~after.dead
    final = after.frequency[0, live] - 1
    found = {"lottery_live": float(live.sum())}
    for predictor, scores in _scores(before, live).items():
        chosen = _highest(scores)
        ranks = _midranks(scores)
        known = bool(scores.isfinite().all()) and len(final) > 0
        numbers = {
            "share": (chosen == final).double().mean(),
            "chance": (_frequencies(chosen, scores) * _frequencies(final, scores)).sum(),
            "percentile": ranks.gather(0, final[None]).mean(),
            "percentile_chance": (ranks.mean(1) * _frequencies(final, scores)).sum(),
        }
        found |= {
            f"lottery_{predictor}_{name}": float(value) if known else math.nan
            for name, value in numbers.items()
        }
    return found


def _scores(table: NeuronTable, live: Bool[Tensor, " d_mlp"]) -> dict[str, Float[Tensor, "k live"]]:
    """Scores of each frequency by predictor, for the live neurons."""
    m = table.modulus
    points = table.coordinates.points
    seen = [None] * 3 if points is None else points
    columns = table.columns[..., live].double().cpu()
    fits = [fourier.sinusoids(m, each) for each in seen]
    spectra = [fit.fit(column) for fit, column in zip(fits, columns, strict=True)]
    # As in extraction: powers that have decayed away would vanish in a product; shares do not.
    a, b, out = (each.power / each.power.sum(0) for each in spectra)
    told = all(bool(fit.identifiable.all()) for fit in fits)
    alignment = _alignment(spectra, table.coordinates.sign)
    return {
        "input": spectra[0].power + spectra[1].power,
        "output": out,
        "joint": a * b * out,
        "aligned": (a * b * out).sqrt() * (alignment if told else math.nan),
    }


def _alignment(spectra: list[Spectrum], sign: int) -> Float[Tensor, "k live"]:
    """Cosine of each frequency's phase residual."""
    phi_a, phi_b, phi_out = (each.phase for each in spectra)
    return torch.cos(phi_a + sign * phi_b - phi_out)


def _highest(scores: Float[Tensor, "k live"]) -> Int[Tensor, " live"]:
    """Index of the largest score, the lowest of equals."""
    largest = scores.amax(0)
    return (scores >= largest - TIE * largest.abs()).long().argmax(0)


def _midranks(scores: Float[Tensor, "k live"]) -> Float[Tensor, "k live"]:
    """Place of each score among its neuron's, from 0 (lowest) to 1; equals share their mean place."""
    values = scores.T.contiguous()
    ordered, room = values.sort(-1).values, TIE * values.abs()
    below = torch.searchsorted(ordered, values - room)
    not_above = torch.searchsorted(ordered, values + room, right=True)
    return ((below + not_above - 1).double() / (2 * (len(scores) - 1))).T


def _frequencies(k: Int[Tensor, " live"], scores: Float[Tensor, "k live"]) -> Float[Tensor, " k"]:
    """Share of the neurons at each frequency."""
    return torch.bincount(k, minlength=len(scores)).double() / max(1, len(k))
