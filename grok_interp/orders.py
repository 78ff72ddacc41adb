"""Neurons in an order, and random neurons that are like them: what an ablation is compared with.

Neurons are alike if their replacement moves the logits about as far::

    norm_n = |after_n - before_n| |W_out,n - mean over classes|,   the first over pairs
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp import fourier
from grok_interp.config import check_choice
from grok_interp.neurons import NeuronTable

Ranking = Literal["ipr", "ipr_with_constant", "amplitude", "frequency", "phase_residual", "random"]
NEAREST = 16
"""A random neuron in the place of another is one of this many that are nearest to it in norm."""
TIE = 1e-9
"""Differences of logarithms below this are ties, which are broken at random."""


def ranking(
    table: NeuronTable, by: Ranking | str, *, descending: bool = True, seed: int = 0
) -> Int[Tensor, " d_mlp"]:
    """Neurons in an order to ablate them in.

    Args:
        table: The network's table.
        by: ``"ipr"`` (mean of the three columns'); ``"ipr_with_constant"`` (the same with the
            constant as one more frequency, as arXiv 2310.13061 prunes, in token order: a column's mean
            lowers or raises it, and a constant column has 1); ``"amplitude"`` (geometric mean of the three);
            ``"frequency"`` (all neurons of one output frequency after the other, the frequency with
            the largest summed amplitude first, and the loudest neuron of each first);
            ``"phase_residual"`` (absolute value; neurons without one count as pi/2, no relation);
            or ``"random"``.
        descending: Largest first; False turns the order round.
        seed: For ``"random"``.

    Returns:
        Indices of all neurons, the first to be ablated first.

    Raises:
        ValueError: If the ranking is unknown, or the table holds a batch.
    """
    check_choice("by", by, Ranking)
    if table.weights.batch_shape:
        raise ValueError(
            f"the table holds a batch of shape {table.weights.batch_shape}: index it first, as in "
            "table[-1]"
        )
    amplitude = table.neuron_amplitude.nan_to_num()
    if by == "random":
        key = torch.rand(table.d_mlp, generator=torch.Generator().manual_seed(seed))
    elif by == "ipr":
        key = table.neuron_ipr
    elif by == "ipr_with_constant":
        key = fourier.ipr(table.weights.columns(), -2, include_constant=True).mean(-2)
    elif by == "amplitude":
        key = amplitude
    elif by == "phase_residual":
        key = table.phase_residual.abs().nan_to_num(nan=torch.pi / 2)
    else:
        frequency = table.frequency[2]
        total = amplitude.new_zeros(table.modulus // 2 + 1).index_add(0, frequency, amplitude)
        place = total.argsort(descending=True, stable=True).argsort()[frequency]
        # Frequencies by their place; within one, loudest first.
        key = -place + amplitude / (amplitude.amax() * 2).clamp(
            min=torch.finfo(amplitude.dtype).tiny
        )
    order = key.argsort(descending=True, stable=True)
    return order if descending else order.flip(0)


def change_norms(
    before: Float[Tensor, "pairs d_mlp"],
    after: Float[Tensor, "pairs d_mlp"],
    W_out: Float[Tensor, "d_mlp p"],
) -> Float[Tensor, " d_mlp"]:
    """How much replacing each neuron's activation moves the logits: what controls are matched in.

    Args:
        before: Activations.
        after: What takes their place.
        W_out: Output weights.

    Returns:
        ``norm_n`` of the module's equation, in the units of the logits over output_scale; the change of the
        activation over pairs, times the output weights about their mean over classes, which no softmax sees.
    """
    heard = W_out - W_out.mean(-1, keepdim=True)
    norms: Tensor = (after - before).norm(dim=0) * heard.norm(dim=-1)
    return norms


def matched_sets(
    neurons: Int[Tensor, " n"], norms: Float[Tensor, " d_mlp"], draws: int, seed: int
) -> Int[Tensor, "draws n"]:
    """For each of some neurons, in their order, a random other one of like norm; none twice in a draw.

    It is drawn from the :data:`NEAREST` in the logarithm of the norm among all neurons that the draw has
    not taken yet. Members of the list may stand for each other: draws from the rest alone would all
    be one set when the list is half of the network, and any set would look special beside them. So
    the less there is to choose from, the more a random set overlaps with the list
    (:func:`likeness`), and the less the comparison says.

    Args:
        neurons: Neurons in the order of ablation.
        norms: Of all neurons.
        draws: Number of random lists.
        seed: Seed of the draws.

    Returns:
        Indices of neurons; the one in column i is in the place of the i-th of ``neurons``.
    """
    generator = torch.Generator().manual_seed(seed)
    norms, neurons = norms.detach().double().cpu(), neurons.cpu()
    logarithm = norms.clamp(min=torch.finfo(norms.dtype).tiny).log()
    taken = torch.zeros(draws, len(norms), dtype=torch.bool)
    found = torch.empty(draws, len(neurons), dtype=torch.int64)
    chance = torch.rand(len(neurons), draws, generator=generator)
    for place, neuron in enumerate(neurons.tolist()):
        barred = taken.clone()
        barred[:, neuron] = True
        tie = TIE * torch.rand(barred.shape, generator=generator, dtype=torch.float64)
        distance = ((logarithm - logarithm[neuron]).abs() + tie).masked_fill(barred, torch.inf)
        near, which = distance.topk(min(NEAREST, len(norms)), largest=False)
        n_near = near.isfinite().sum(-1)
        pick = (chance[place] * n_near).long().unsqueeze(-1)
        drawn = which.gather(-1, pick).squeeze(-1)
        drawn = torch.where(n_near > 0, drawn, neuron)  # the only one that is left is itself
        found[:, place] = drawn
        taken.scatter_(1, drawn[:, None], True)
    return found


def likeness(
    chosen: Int[Tensor, " n"], random: Int[Tensor, "draws n"], norms: Float[Tensor, " d_mlp"]
) -> dict[str, float]:
    """How far random sets are other sets, and how far their norms are the same.

    Returns:
        ``random_overlap``, the mean share of the random neurons that are among the chosen; and
        ``random_norm``, the mean ratio of the sets' norms, roots of summed squares.
    """
    if len(chosen) == 0:
        return {"random_overlap": 0.0, "random_norm": 1.0}
    overlap = torch.isin(random, chosen.cpu()).double().mean()
    norms = norms.cpu().double()
    ratio = norms[random].norm(dim=-1) / norms[chosen.cpu()].norm()
    return {"random_overlap": float(overlap), "random_norm": float(ratio.mean())}


def check_draws(draws: int) -> None:
    """Raise ``ValueError`` for fewer than one draw: no effect is reported without its control."""
    if draws < 1:
        raise ValueError(f"draws={draws} must be at least 1: an effect means nothing alone")
