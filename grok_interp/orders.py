"""Neurons in an order, and random neurons that are like them: what an ablation is compared with.

Neurons are alike if their replacement moves the logits about as far::

    norm_n = |after_n - before_n| |W_out,n - mean over classes|,   the first over pairs
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp.config import check_choice
from grok_interp.neurons import NeuronTable

Ranking = Literal["ipr", "amplitude", "frequency", "phase_residual", "random"]
NEAREST = 8
"""A random neuron in the place of another is one of this many that are nearest to it in norm."""


def ranking(
    table: NeuronTable, by: Ranking | str, *, descending: bool = True, seed: int = 0
) -> Int[Tensor, " d_mlp"]:
    """Neurons in an order to ablate them in.

    Args:
        table: The network's table.
        by: ``"ipr"`` (mean of the three columns'); ``"amplitude"`` (geometric mean of the three);
            ``"frequency"`` (all neurons of one output frequency after the other, the frequency with
            the largest summed amplitude first, and the loudest neuron of each first);
            ``"phase_residual"`` (absolute value; neurons without one count as pi/2, no relation);
            or ``"random"``.
        descending: Largest first; False turns the order round.
        seed: For ``"random"``.

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

    ``|after_n - before_n| |W_out,n - mean|``, the first over pairs, the second about its mean over
    classes, which no softmax sees.
    """
    heard = W_out - W_out.mean(-1, keepdim=True)
    norms: Tensor = (after - before).norm(dim=0) * heard.norm(dim=-1)
    return norms


def matched_sets(
    neurons: Int[Tensor, " n"], norms: Float[Tensor, " d_mlp"], draws: int, seed: int
) -> Int[Tensor, "draws n"]:
    """For each of some neurons, in their order, a random one of like norm; none twice in a draw.

    It is drawn from the :data:`NEAREST` in the logarithm of the norm among neurons that are not in
    the list, while there are any, and then among all others; so a list of all neurons has random
    orders of all neurons for control, whose first n overlap with its own first n. A list of the
    loudest neurons has no others as loud: :func:`curve` says how much sets overlap and how their norms
    compare.

    Args:
        neurons: Neurons in the order of ablation.
        norms: Of all neurons.
        draws: Number of random lists.
        seed: Seed of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    norms, neurons = norms.detach().double().cpu(), neurons.cpu()
    logarithm = norms.clamp(min=torch.finfo(norms.dtype).tiny).log()
    listed = torch.zeros(len(norms), dtype=torch.bool)
    listed[neurons] = True
    n_others = int((~listed).sum())
    taken = torch.zeros(draws, len(norms), dtype=torch.bool)
    found = torch.empty(draws, len(neurons), dtype=torch.int64)
    chance = torch.rand(len(neurons), draws, generator=generator)
    for place, neuron in enumerate(neurons.tolist()):
        barred = taken | listed if place < n_others else taken.clone()
        barred[:, neuron] = True
        distance = (logarithm - logarithm[neuron]).abs().masked_fill(barred, torch.inf)
        near, which = distance.topk(min(NEAREST, len(norms)), largest=False)
        n_near = near.isfinite().sum(-1)
        pick = (chance[place] * n_near).long().unsqueeze(-1)
        drawn = which.gather(-1, pick).squeeze(-1)
        drawn = torch.where(n_near > 0, drawn, neuron)  # the only one that is left is itself
        found[:, place] = drawn
        taken.scatter_(1, drawn[:, None], True)
    return found


def check_draws(draws: int) -> None:
    """Refuse to report an effect without its control."""
    if draws < 1:
        raise ValueError(f"draws={draws} must be at least 1: an effect means nothing alone")
