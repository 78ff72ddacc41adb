"""Logits over all pairs, read in Fourier bases: what a network computes, whatever its weights are.

In the task's coordinates on Z_m, where the answer is a + b, logits of a network that adds by waves
(arXiv 2301.05217, section 4; arXiv 2301.02679, section 3) are::

    L(a, b, c) = sum_k A_k cos(2 pi k (a + b - c) / m)

The functions here say how much of L has this form (:func:`logit_shares`), which frequencies carry
it (:func:`key_frequencies`), what they and the rest are worth (:func:`restricted_loss`,
:func:`excluded_loss`), and what each frequency adds to the margin (:func:`margin_attribution`);
where else energy sits is told by :mod:`.leakage`.

What is not evidence: keeping the part along a + b supplies the prior that the answer depends on
a + b. Random input weights that were never trained, with a read-out fitted to half the clean pairs
(p = 59, d_mlp = 512, ReLU; logits times 20, so that they fit), get .6% of the held-out pairs right,
and their restricted loss by direction is 1.9, with ln p = 4.1 for nothing. A table of the training
labels, with no network at all (logit 20 at the label of half the pairs, 0 on the others; p = 59), has
a held-out accuracy of 0 and a test loss of 4.1; but a mean over pairs that share a + b copies labels
from training pairs to held-out ones, so its restricted loss on these is .007 to .010 (three splits)
and its logit shares add up to .50. Its excluded loss on the train split is .006 to .008, where a
network that only adds has ln p. So give both losses, for such controls and for an untrained network.

A model is what :func:`grok_interp.measures.accuracy` takes, and batch axes come first in every
result. For subtraction read a - b for a + b. Pairs and classes without coordinates (zero under
multiplication) are left out. All logits are held at once, ``batch * m * m * p`` numbers, 1.2 GB for
200 checkpoints at p = 113: index a batch that is larger.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp import fourier, grid
from grok_interp.grid import Frequencies
from grok_interp.lattice import (
    centred,
    checked_logits,
    class_order,
    coordinates_of,
    energy_along,
    on_lattice,
    variance_share,
)
from grok_interp.losses import pair_losses
from grok_interp.outputs import Model, chosen_pairs, logits_in_chunks
from grok_interp.tasks import NO_COORDINATE, Coordinates, ModularTask, Pairs, Split
from grok_interp.weights import check_labels, check_tokens

KEY_SHARE = 0.05
"""Share of the variance along a + b above which a frequency is key, so that at most 19 are. The
published linear model D of arXiv 2306.17844 (p = 59) has eight frequencies with 6% to 25% each, and
.2% in all others together."""


def logit_coefficients(model: Model, task: ModularTask) -> Float[Tensor, "*batch k"]:
    """``A_k`` of the least-squares fit ``L = sum_k A_k cos(2 pi k (a + b - c) / m)``.

    The functions are orthogonal over all pairs and classes, so each A_k is a regression by itself.

    Args:
        model: Maps tokens to logits; see :mod:`.mechanism`.
        task: The task, whose coordinates give a, b and the places c of the classes.

    Returns:
        One coefficient for each k in 1..m//2, in the units of the logits; of the sign that makes the
        right class large if positive.

    Raises:
        ValueError: If the task has no coordinates, pairs have no 2-D Fourier basis in them, several
            coordinates share a class, or the model has another number of classes.
    """
    coordinates = coordinates_of(task)
    values = centred(model, task, coordinates, class_order(coordinates))
    return _cosines(values, coordinates)


def logit_shares(model: Model, task: ModularTask) -> Float[Tensor, "*batch k"]:
    """Share of the variance of the logits that ``cos(2 pi k (a + b - c) / m)`` explains, for each k.

    The variance is that over all pairs and classes after each pair's mean over classes, which no
    softmax sees, is removed. With logits that are wholly of this form the shares add up to 1; of
    random logits each function explains about ``1 / m**3``. Logits with phases of their own,
    ``cos(2 pi k (a + b - c) / m + phi)``, count by the square of ``cos phi``.

    arXiv 2301.05217, section 4, fits such cosines and gives the share of variance that its key
    frequencies explain together; one share for each k, of the variance without each pair's mean, is
    this library's. A table of half the labels has .50 in all: see :mod:`.mechanism`.

    Args:
        model: Maps tokens to logits; see :mod:`.mechanism`.
        task: The task.

    Returns:
        Shares in 0..1 for k in 1..m//2; NaN for logits that do not vary.

    Raises:
        ValueError: As for :func:`logit_coefficients`.
    """
    coordinates = coordinates_of(task)
    values = centred(model, task, coordinates, class_order(coordinates))
    energy = _cosines(values, coordinates).square() / 2
    if coordinates.modulus % 2 == 0:
        energy[..., -1] *= 2  # the mean square of the Nyquist cosine is 1
    return variance_share(energy, values.square().mean((0, -1)), values)


def sum_shares(model: Model, task: ModularTask) -> Float[Tensor, "*batch k"]:
    """Share of the variance *along a + b* that lies at each frequency, whatever its phase.

    ``v_k / sum_j v_j``, with v_k the energy at frequency k of the logits' mean over the pairs that
    share a + b, summed over classes. Unlike :func:`logit_shares` this asks for no relation to the
    class, and says nothing of the variance in other directions. By chance each frequency has about
    ``1 / (m//2)``. The definition is this library's.

    Args:
        model: Maps tokens to logits; see :mod:`.mechanism`.
        task: The task.

    Returns:
        Shares for k in 1..m//2, which add up to 1; NaN for logits that do not vary along a + b.

    Raises:
        ValueError: If the task has no coordinates, pairs have no 2-D Fourier basis in them, or the
            model has another number of classes.
    """
    coordinates = coordinates_of(task)
    values = centred(model, task, coordinates)
    energy = energy_along(values, coordinates.direction)
    return variance_share(energy, energy.sum(-1), values)


def key_frequencies(
    model: Model, task: ModularTask, threshold: float = KEY_SHARE
) -> Int[Tensor, " keys"]:
    """The frequencies of which :func:`sum_shares` exceeds a threshold, in rising order.

    arXiv 2301.05217 finds five in its transformer at p = 113, section 4, and follows their losses
    through training, section 5.1. Fix them at the *final* checkpoint and use the same ones
    throughout: chosen anew at each, they follow what the measure should tell. That paper reads them
    off norms in the embedding; here it is the logits' variance, which any model has.

    Consequence of the threshold: these MLPs may use nearly all frequencies, and then none is key and
    luck decides which exceed it. One that grokked at p = 59 (d_mlp = 512, ReLU, AdamW with decay 1) has
    2% to 6% at each of 29, as an untrained one has; restricted to the three above 5% its loss is 2.6, by
    direction alone .0001. So look at :func:`sum_shares` first, and for such a network use the
    direction-only form of the losses, ``frequencies=None``. For m below 42 an even spread reaches 5%:
    raise the threshold.

    Args:
        model: One network; maps tokens to logits, see :mod:`.mechanism`.
        task: The task.
        threshold: Share of the variance along a + b, in [0, 1).

    Returns:
        Whole numbers in 1..m//2, ascending, on the CPU; none if no share exceeds the threshold.

    Raises:
        ValueError: As for :func:`sum_shares`, or if the threshold is not in [0, 1), the model is a
            batch, or its logits do not vary along a + b.
    """
    if not 0 <= threshold < 1:
        raise ValueError(
            f"threshold={threshold!r} is not a share in [0, 1): a frequency is key if it has more of "
            f"the variance along a + b than that; the default is {KEY_SHARE}"
        )
    shares = sum_shares(model, task)
    if shares.ndim > 1:
        raise ValueError(
            f"the model is a batch of shape {list(shares.shape[:-1])}: key frequencies are fixed at one "
            "checkpoint, so index it, as in weights[-1]; sum_shares takes a batch"
        )
    if bool(shares.isnan().any()):
        raise ValueError(
            "the logits do not vary along a + b, or hold NaN: there are no frequencies to choose from"
        )
    return (shares > threshold).nonzero().flatten().cpu() + 1


def restricted_loss(
    model: Model,
    task: ModularTask,
    frequencies: Frequencies = None,
    pairs: Pairs | None = None,
) -> Float[Tensor, "*batch"]:
    """Cross-entropy of the logits' constant and their part along a + b at some frequencies.

    ``L'(a, b, c) = mean over all pairs of L(., ., c) + sum over keys k of the k-th wave in a + b``.
    Falls before the test loss does where the network has learned to add but also remembers
    (arXiv 2301.05217, section 5.1). The part is found over all pairs, held-out ones too.

    A low value is by itself no sign of adding: a table of the training labels that is wrong on every
    held-out pair (:mod:`.mechanism`; p = 59, half the pairs) has .007 to .010 on ``split.test``, where
    its test loss is 4.1. :func:`excluded_loss` tells it: .006 to .008 for the table, ln p = 4.1 for
    logits that are a function of a + b.

    Args:
        model: Maps tokens to logits; see :mod:`.mechanism`.
        task: The task.
        frequencies: Key frequencies of the final checkpoint; None for all, which keeps the direction
            and asks nothing of frequencies.
        pairs: ``split.test`` or ``split.train``; None for all pairs of the task. Those without
            coordinates are left out.

    Returns:
        The mean loss, in nats; NaN for no pairs. ``ln p`` for uniform logits.

    Raises:
        ValueError: As for :func:`sum_shares`, or if a frequency is not in 1..m//2.
    """
    coordinates = coordinates_of(task)
    values, means, kept = _split_along_answer(model, task, coordinates, frequencies)
    rows, labels = _rows(task, coordinates, task if pairs is None else pairs)
    along = (means.mean(0) + kept)[_place(coordinates)[rows]]
    return _loss(along, labels.to(values.device))


def excluded_loss(
    model: Model, split: Split, frequencies: Frequencies = None
) -> Float[Tensor, "*batch"]:
    """Cross-entropy on the train split, with its labels as trained, without the part that adds.

    ``L'(a, b, c) = L(a, b, c) - sum over keys k of the k-th wave in a + b``. Low while a network
    remembers its training pairs by other means, rising as it comes to rely on the waves
    (arXiv 2301.05217, section 5.1). The part is found over all pairs.

    Args:
        model: Maps tokens to logits; see :mod:`.mechanism`.
        split: The split trained on. Pairs without coordinates are left out.
        frequencies: Key frequencies of the final checkpoint; None for all of 1..m//2.

    Returns:
        The mean loss, in nats; NaN for no pairs.

    Raises:
        ValueError: As for :func:`restricted_loss`.
    """
    coordinates = coordinates_of(split.task)
    values, _, kept = _split_along_answer(model, split.task, coordinates, frequencies)
    rows, labels = _rows(split.task, coordinates, split.train)
    return _loss(values[rows] - kept[_place(coordinates)[rows]], labels.to(values.device))


def margin_attribution(
    model: Model, task: ModularTask, pairs: Pairs | None = None
) -> Float[Tensor, "*batch k"]:
    """What each frequency of the logits *along the class axis* adds to the margin, mean over pairs.

    With y the right class and r the largest other one, chosen on the whole logits::

        L(y) - L(r) = sum_k [L_k(y) - L_k(r)],   L_k the part of L at frequency k in the class c

    The constant cancels. Where every class has a coordinate the parts add up to the mean of
    :func:`grok_interp.measures.margin`; under multiplication, where zero has none, to the mean over
    nonzero answers of the margin among nonzero classes. For logits
    ``sum_k A_k cos(2 pi k (a + b - c) / m)`` a part is A_k times one minus the cosine of how far r is
    from y, never negative for positive A_k. The definition is this library's.

    Args:
        model: Maps tokens to logits; see :mod:`.mechanism`.
        task: The task.
        pairs: ``split.test``, ``split.train`` or a few pairs of one's own; None for all. The model runs
            on all pairs of the task whichever are meant. Pairs whose right class has no coordinate are
            left out, and classes without one are no rivals.

    Returns:
        Parts for k in 1..m//2, in the units of the logits; NaN for no pairs.

    Raises:
        ValueError: If the task has no coordinates, several of them share a class, pairs do not fit, or
            the model has another number of classes.
    """
    coordinates = coordinates_of(task)
    classes = class_order(coordinates)
    tokens, labels = _checked(task, task if pairs is None else pairs)
    position = torch.full((task.p,), NO_COORDINATE)
    position[classes] = torch.arange(len(classes))
    known = position[labels] != NO_COORDINATE
    rows, right = _row(task, tokens[known]), position[labels[known]]
    sums = []
    with torch.no_grad():
        # On all pairs in the task's order, which interventions on the batch rely on.
        for chunk, logits in logits_in_chunks(model, task.tokens):
            here = (rows >= chunk.start) & (rows < chunk.stop)
            values = checked_logits(logits[..., rows[here] - chunk.start, :], task)
            values = values[..., classes.to(values.device)]
            basis = fourier.basis(len(classes), dtype=values.dtype, device=values.device)
            index = right[here].to(values.device).expand(values.shape[:-1])
            rival = values.scatter(-1, index.unsqueeze(-1), -torch.inf).argmax(-1)
            gap = basis.T[index] - basis.T[rival]
            sums.append(((values @ basis.T) * gap).sum(-2).double())
    parts = torch.stack(sums).sum(0) / len(rows)
    frequency = fourier.row_frequencies(len(classes)).to(parts.device)
    found = parts.new_zeros(*parts.shape[:-1], len(classes) // 2 + 1)
    return found.index_add_(-1, frequency, parts)[..., 1:]


def _place(coordinates: Coordinates) -> Int[Tensor, " pairs"]:
    """The coordinate of the answer of each pair of the lattice."""
    return grid.place(coordinates.modulus, coordinates.direction)


def _cosines(
    values: Float[Tensor, "pairs *batch m"], coordinates: Coordinates
) -> Float[Tensor, "*batch k"]:
    """``A_k``: the mean over all (a, b, c) that share ``a + b - c`` is a function on Z_m."""
    by_answer = grid.along(values, coordinates.direction).movedim(-1, 1)
    by_error = grid.along(by_answer.flatten(0, 1), "a-b")
    return fourier.spectrum(by_error, 0).cos.movedim(0, -1)


def _split_along_answer(
    model: Model, task: ModularTask, coordinates: Coordinates, frequencies: Frequencies
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits on the lattice, their means along the answer's direction, and these at frequencies."""
    index = grid.frequency_index(frequencies, coordinates.modulus)
    values = on_lattice(model, task, coordinates)
    means = grid.along(values, coordinates.direction)
    return values, means, grid.keep(means, index)


def _checked(task: ModularTask, pairs: ModularTask | Pairs) -> tuple[Tensor, Tensor]:
    tokens, labels = chosen_pairs(pairs, None, None)
    tokens = check_tokens(tokens, task.p).cpu()
    return tokens, check_labels(labels, len(tokens), task.p).cpu()


def _row(task: ModularTask, tokens: Int[Tensor, "pairs 2"]) -> Int[Tensor, " pairs"]:
    """Where pairs are in ``task.tokens``."""
    return tokens[:, 0] * task.p + tokens[:, 1]


def _rows(
    task: ModularTask, coordinates: Coordinates, pairs: ModularTask | Pairs
) -> tuple[Int[Tensor, " known"], Int[Tensor, " known"]]:
    """Where pairs lie on the lattice, and their labels; without those that have no coordinates."""
    tokens, labels = _checked(task, pairs)
    place = torch.full((task.p**2,), NO_COORDINATE)
    place[coordinates.lattice] = torch.arange(len(coordinates.lattice))
    rows = place[_row(task, tokens)]
    known = rows != NO_COORDINATE
    return rows[known], labels[known]


def _loss(
    values: Float[Tensor, "pairs *batch p"], labels: Int[Tensor, " pairs"]
) -> Float[Tensor, "*batch"]:
    return pair_losses(values.movedim(0, -2), labels).double().mean(-1)
