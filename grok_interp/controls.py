"""An idealised accuracy beside everything that it must be compared with.

The *effect* is the accuracy of a network whose weights were replaced by ideal waves. Idealization
supplies the prior that logits depend on a + b, so the effect alone proves little. Every control runs
the same recipe - extraction included - on something that lacks what the effect is meant to show:

=========================  ==========================================================================
untrained                  initial weights of the same shape: selection effects
frozen_input               input weights at their initial values, read-out fitted to the same noisy
                           labels: **the hard one**. It reaches .95 and more in joint mode, without
                           any learned wave; only the excess over it speaks of learned structure
refitted_readout           trained input weights, read-out refitted: how much sits in W_in. Not a
                           null, and left out of the strongest control
permuted_output            rows of W_out permuted among all neurons: the pairing of frequencies
permuted_within_frequency  permuted among neurons of one frequency: the phase relation
random_phase               output phases redrawn after extraction: the phase relation
wrong_task                 scored against the opposite sign (a - b for addition): the prior
wrong_coordinates          tokens relabelled at random before extraction: the prior
=========================  ==========================================================================

What is not evidence: the spread over draws is that of the control, for one trained network. Seeds
are the unit of inference; :func:`pooled_excess` bootstraps over runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from grok_interp import idealize, measures, neurons, outputs, training
from grok_interp.config import ReadoutFit, Recipe, TrainConfig, check_choice
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.neurons import MATRICES, NeuronTable
from grok_interp.tasks import Coordinates, ModularTask, Split
from grok_interp.verdict import Sample as Sample
from grok_interp.verdict import Structure as Structure
from grok_interp.verdict import Verdict as Verdict
from grok_interp.verdict import pooled_excess as pooled_excess
from grok_interp.weights import MLPWeights, check_weights

RIDGE = 1e-3
"""Ridge penalty of fitted read-outs, in units of the mean squared activation over training pairs."""


def evaluate(
    model: HookedMLP,
    split: Split,
    recipe: Recipe | None = None,
    draws: int = 20,
    *,
    fit: ReadoutFit | str = "ridge",
    train_config: TrainConfig | None = None,
    initial: MLPWeights | None = None,
    seed: int = 0,
) -> Verdict:
    """Idealize a network and every control of it with one recipe.

    The untrained and frozen-input controls start from the run's own initial weights, which the seed
    in the model's configuration gives back, and draw fresh ones for the further draws. If you
    changed the weights between making and training the model (scaled them, say), the seed does not
    give them back: pass ``initial=trajectory[0].weights()``. For imported weights, which have no
    seed, and for the further draws from a given ``initial``, entries of each matrix are shuffled.

    Args:
        model: Its parameters are read; attached hooks play no part.
        split: What it was trained on, noise included.
        recipe: How to idealize; None for the default :class:`Recipe`.
        draws: Draws of each random control; use at least 20 for anything to be reported.
        fit: How read-outs are fitted to the noisy training labels: ``"ridge"`` regression on
            centred one-hots, or ``"train"``, training with W_in frozen as ``train_config`` says.
        train_config: For ``fit="train"``; None takes the defaults of :class:`TrainConfig`.
        initial: The run's initial weights, where the model's seed does not give them back.
        seed: Seed of all draws.

    Returns:
        Accuracies of the network, idealised and not, and of each control over its draws; prints as a
        small table.

    Raises:
        TypeError: If ``split`` is not what ``task.split`` gave.
        ValueError: If the split is of another modulus, the task has no coordinates, the fit is
            unknown, or ``draws < 1``.
    """
    if not isinstance(split, Split):
        raise TypeError(
            f"evaluate got a {type(split).__name__} as split: controls need the labels trained on, so "
            "pass the split that task.split(...) gave"
        )
    recipe = Recipe() if recipe is None else recipe
    check_choice("fit", fit, ReadoutFit)
    if draws < 1:
        raise ValueError(
            f"draws={draws} must be at least 1; use 20 or more for anything to be reported"
        )
    task, own = split.task, model.weights().detach().map(Tensor.cpu)
    table = neurons.extract(own, task, recipe.frequency)
    generator = torch.Generator().manual_seed(seed)
    untrained = _initial_weights(model, own, initial, draws, generator)

    def idealised(weights: MLPWeights) -> Sample:
        read = neurons.extract(weights, task, recipe.frequency)
        return score(idealize.build(read, recipe).weights, split)

    def refitted(weights: MLPWeights) -> MLPWeights:
        if fit == "ridge":
            return ridge_readout(weights, split.train_tokens, split.train_labels)
        start = untrained.W_out[: len(weights.W_in)]
        return _trained_readout(weights, start, split, train_config or TrainConfig())

    ideal = idealize.build(table, recipe).weights
    frozen = refitted(untrained)
    controls = {
        "untrained": idealised(untrained),
        "frozen_input": idealised(frozen),
        "refitted_readout": idealised(refitted(own.expand(1))),
        "permuted_output": idealised(_permuted(own, draws, generator, None)),
        "permuted_within_frequency": idealised(
            _permuted(own, draws, generator, table.frequency[2])
        ),
        "random_phase": score(
            idealize.build(_random_phases(table, draws, generator), recipe).weights, split
        ),
        "wrong_task": score(ideal.expand(1), split, _wrong_labels(task)),
        "wrong_coordinates": score(_relabelled_ideal(own, task, recipe, draws, generator), split),
    }
    return Verdict(
        task=task,
        recipe=recipe,
        own=score(own.expand(1), split),
        effect=score(ideal.expand(1), split),
        controls=controls,
        structure={
            name: _structure(weights, task, recipe)
            for name, weights in (
                ("own", own.expand(1)),
                ("untrained", untrained),
                ("frozen_input", frozen),
            )
        },
    )


def _structure(weights: MLPWeights, task: ModularTask, recipe: Recipe) -> Structure:
    """Means over draws of what extraction finds in the weights."""
    table = neurons.extract(weights, task, recipe.frequency)
    by_itself = neurons.extract(weights, task, "per_matrix")
    return Structure(
        power_share=dict(zip(MATRICES, table.kept_power.mean(0).tolist(), strict=True)),
        median_abs_phase_residual=float(table.median_abs_phase_residual.nanmean()),
        agreement=float(by_itself.agreement.mean()),
    )


def frozen_input(
    model: HookedMLP,
    split: Split,
    draws: int = 20,
    *,
    initial: MLPWeights | None = None,
    seed: int = 0,
) -> MLPWeights:
    """The networks of the frozen_input control: initial input weights, ridge read-outs.

    Arguments as for :func:`evaluate`, of which these are the draws with the same seed.

    Returns:
        Weights with the draw as their batch axis, the run's own initial input weights first.

    Raises:
        ValueError: If ``draws < 1``.
    """
    if draws < 1:
        raise ValueError(
            f"draws={draws} must be at least 1; use 20 or more for anything to be reported"
        )
    generator = torch.Generator().manual_seed(seed)
    own = model.weights().detach().map(Tensor.cpu)
    untrained = _initial_weights(model, own, initial, draws, generator)
    return ridge_readout(untrained, split.train_tokens, split.train_labels)


def ridge_readout(
    weights: MLPWeights,
    tokens: Int[Tensor, "pairs 2"],
    labels: Int[Tensor, " pairs"],
    ridge: float = RIDGE,
) -> MLPWeights:
    """The same input weights with a read-out fitted by ridge regression on centred one-hots.

    ``W_out = (H'H + ridge * mean(diag H'H) I)^-1 H'(Y - 1/p) / output_scale``, with H the activations
    on the pairs and Y one-hot labels; no output bias.

    Args:
        weights: Networks with any batch axes.
        tokens: Pairs to fit on.
        labels: Their labels, noise included.
        ridge: Penalty in units of the mean of ``diag H'H``.

    Returns:
        The networks with W_out ``[*batch, d_mlp, p]`` fitted and ``b_out`` None.

    Raises:
        ValueError: If ``ridge`` is not positive.
    """
    if not ridge > 0:
        raise ValueError(
            f"ridge={ridge!r} must be positive: with more neurons than pairs no fit is unique"
        )
    target = F.one_hot(labels, weights.p).double() - 1 / weights.p
    gram = torch.zeros(*weights.batch_shape, weights.d_mlp, weights.d_mlp, dtype=torch.float64)
    cross = torch.zeros(*weights.batch_shape, weights.d_mlp, weights.p, dtype=torch.float64)
    size = max(1, outputs.CHUNK_ELEMENTS // (weights.d_mlp * max(1, gram[..., 0, 0].numel())))
    for start in range(0, len(tokens), size):
        rows = slice(start, start + size)
        post = weights.post(tokens[rows])
        gram += (post.mT @ post).double()
        cross += post.mT.double() @ target[rows]
    penalty = ridge * gram.diagonal(dim1=-2, dim2=-1).mean(-1)
    # A network whose activations all vanish has nothing to fit: the unit penalty keeps W_out at 0.
    penalty = torch.where(penalty > 0, penalty, 1)
    regularised = gram + penalty[..., None, None] * torch.eye(weights.d_mlp, dtype=torch.float64)
    # Not torch.linalg.solve, which hangs on a batch after torch.set_num_threads (torch 2.15, MKL).
    W_out = torch.cholesky_solve(cross, torch.linalg.cholesky(regularised)) / weights.output_scale
    return replace(weights, W_out=W_out.to(weights.W_in), b_out=None)


def score(weights: MLPWeights, split: Split, labels: Int[Tensor, " pairs"] | None = None) -> Sample:
    """Accuracies of networks on all pairs, on those held out, and on those with coordinates.

    Args:
        weights: Networks with one batch axis.
        split: Which pairs are held out.
        labels: Right answers for all pairs; None for the task's.

    Returns:
        A number for each network and set of pairs; ties count as wrong.
    """
    labels = split.task.labels if labels is None else labels
    right: Bool[Tensor, "draws pairs"] = measures.correct(
        weights, tokens=split.task.tokens, labels=labels
    )
    right = right.double()
    covered = split.task.has_coordinates
    return Sample(right.mean(-1), right[:, split.test_index].mean(-1), right[:, covered].mean(-1))


def _trained_readout(
    weights: MLPWeights, start: Tensor, split: Split, config: TrainConfig
) -> MLPWeights:
    """The same input weights with read-outs trained from the initial ones, ``start``."""
    fitted = []
    for one, W_out in zip(map(weights.__getitem__, range(len(start))), start, strict=True):
        frozen = HookedMLP.from_weights(
            one.W_in, W_out, one.b_in, act_fn=one.act_fn, output_scale=one.output_scale
        )
        training.train(frozen, split, replace(config, trainable=("W_out",), progress=False))
        fitted.append(frozen.W_out.detach())
    return replace(weights, W_out=torch.stack(fitted), b_out=None)


def _initial_weights(
    model: HookedMLP,
    own: MLPWeights,
    initial: MLPWeights | None,
    draws: int,
    generator: torch.Generator,
) -> MLPWeights:
    """Initial weights: the run's own first where they are known, then fresh ones."""
    if initial is not None:
        known = check_weights(initial.detach().map(Tensor.cpu))
        if known.W_in.shape != own.W_in.shape or known.W_out.shape != own.W_out.shape:
            raise ValueError(
                f"initial has W_in {list(known.W_in.shape)}, the model {list(own.W_in.shape)}: pass "
                "the weights that this run started from, as in trajectory[0].weights()"
            )
        rest = [_shuffled(known, model.cfg.tied_operands, generator) for _ in range(draws - 1)]
        return _stack([known, *rest])
    if model.cfg.seed is None:
        return _stack([_shuffled(own, model.cfg.tied_operands, generator) for _ in range(draws)])
    fresh = torch.randint(2**31, (draws - 1,), generator=generator).tolist()
    drawn = HookedMLP(replace(model.cfg, act_fn="identity", device="cpu"))
    each = [drawn.weights().detach().map(Tensor.clone)]
    for seed in fresh:  # hook points take longer to make than weights to draw
        drawn.reset_parameters(torch.Generator().manual_seed(seed))
        each.append(drawn.weights().detach().map(Tensor.clone))
    return replace(_stack(each), act_fn=own.act_fn)


def _stack(each: Sequence[MLPWeights]) -> MLPWeights:
    def stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        return torch.stack(present) if present else None

    return replace(
        each[0],
        W_in=torch.stack([weights.W_in for weights in each]),
        W_out=torch.stack([weights.W_out for weights in each]),
        b_in=stacked([weights.b_in for weights in each]),
        b_out=stacked([weights.b_out for weights in each]),
    )


def _shuffled(weights: MLPWeights, tied: bool, generator: torch.Generator) -> MLPWeights:
    """Entries of each matrix and bias in random order; tied operands stay tied."""

    def shuffle(tensor: Tensor) -> Tensor:
        order = torch.randperm(tensor.numel(), generator=generator)
        return tensor.flatten()[order].reshape(tensor.shape)

    first, second = weights.W_in
    first = shuffle(first)
    W_in = torch.stack([first, first if tied else shuffle(second)])
    return replace(
        weights,
        W_in=W_in,
        W_out=shuffle(weights.W_out),
        b_in=None if weights.b_in is None else shuffle(weights.b_in),
        b_out=None if weights.b_out is None else shuffle(weights.b_out),
    )


def _permuted(
    weights: MLPWeights,
    draws: int,
    generator: torch.Generator,
    frequency: Int[Tensor, " d_mlp"] | None,
) -> MLPWeights:
    """W_out's rows in random order: among all neurons, or among those of one frequency."""
    order = torch.rand(draws, weights.d_mlp, generator=generator).argsort(-1)
    if frequency is not None:
        # Neurons sorted by frequency, once as they stand and once in random order within it.
        standing = frequency.argsort(dim=-1, stable=True).expand(draws, -1)
        shuffled = order.gather(-1, frequency[order].argsort(dim=-1, stable=True))
        order = torch.empty_like(order).scatter(-1, standing, shuffled)
    return replace(weights.expand(draws), W_out=weights.W_out[order])


def _random_phases(table: NeuronTable, draws: int, generator: torch.Generator) -> NeuronTable:
    """The table with output phases drawn uniformly; at Nyquist, where the phase is a sign, a sign."""
    k, m = table.frequency[2], table.modulus
    drawn = torch.pi * (2 * torch.rand(draws, table.d_mlp, generator=generator) - 1)
    signs = torch.pi * torch.randint(2, drawn.shape, generator=generator)
    drawn = torch.where(2 * k == m, signs, drawn).to(table.phase)

    expanded = table.expand(draws)
    redrawn = torch.where(k > 0, drawn, torch.nan)[:, None]
    return replace(expanded, phase=torch.cat([expanded.phase[:, :2], redrawn], 1))


def _wrong_labels(task: ModularTask) -> Int[Tensor, " pairs"]:
    """Labels with the sign of b's coordinate turned (a - b for a + b); those without one stay."""
    coordinates = _coordinates(task)
    a, b = task.tokens.unbind(-1)
    total = (coordinates.a[a] - coordinates.sign * coordinates.b[b]) % coordinates.modulus
    wrong = coordinates.readout[total]
    return torch.where(task.has_coordinates & (wrong >= 0), wrong, task.labels)


def _coordinates(task: ModularTask) -> Coordinates:
    coordinates = task.coordinates
    assert coordinates is not None, "extraction has already refused a task without coordinates"
    return coordinates


def _relabelled_ideal(
    weights: MLPWeights, task: ModularTask, recipe: Recipe, draws: int, generator: torch.Generator
) -> MLPWeights:
    """Ideal weights read off after tokens and classes were given random names, named back again."""
    order = torch.rand(draws, weights.p, generator=generator).argsort(-1)
    back = order.argsort(-1)

    def rename(networks: MLPWeights, names: Tensor) -> MLPWeights:
        shape = networks.W_in.shape
        rows = names[:, None, :, None].expand(shape)
        columns = names[:, None, :].expand(networks.W_out.shape)
        b_out = None if networks.b_out is None else networks.b_out.gather(-1, names)
        W_in, W_out = networks.W_in.gather(-2, rows), networks.W_out.gather(-1, columns)
        return replace(networks, W_in=W_in, W_out=W_out, b_out=b_out)

    renamed = rename(weights.expand(draws), order)
    ideal = idealize.build(neurons.extract(renamed, task, recipe.frequency), recipe)
    return rename(ideal.weights, back)
