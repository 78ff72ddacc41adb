"""Whether a network uses the waves in its weights: take them out, and see what it loses.

Idealised accuracy says what the waves could do alone. Whether the network itself relies on them is
another question: a network that memorises may hold waves beside what it memorises with. So each
neuron's ideal waves are subtracted from its weights (column means stay)::

    W - A wave(2 pi k n / m + phi)

and the accuracy that is left is compared with the control: as large waves of another frequency and
a random phase subtracted instead, which take nothing out but disturb the weights as much. What is
lost beyond the control is lost for want of the waves.

What is not evidence: the drop alone. On a network that has generalised any change of that size
costs most of its accuracy; the control says how much. A small use is not evidence either: read-outs
that were fitted to random labels on random input weights show .01 to .08 (p from 23 to 59). And a
use of nothing does not show that the waves are useless: they may be spare.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp import idealize, measures, neurons
from grok_interp.config import Recipe
from grok_interp.neurons import NeuronTable
from grok_interp.tasks import Split
from grok_interp.weights import MLPWeights, SupportsWeights

LEAST_MODULUS = 4
"""Below it there is one frequency, and the control needs another."""


@dataclass(frozen=True, eq=False)
class Accuracies:
    """Accuracies on the two sides of a split.

    Attributes:
        train: On the pairs trained on, with the labels trained on.
        held_out: On the other pairs; NaN if there are none.
    """

    train: Float[Tensor, " draws"]
    held_out: Float[Tensor, " draws"]


@dataclass(frozen=True, eq=False)
class Removal:
    """What a network does without its waves.

    Attributes:
        own: The network as it is.
        without: With its waves taken out.
        control: With as large waves of other frequencies and random phases taken out instead.
    """

    own: Accuracies
    without: Accuracies
    control: Accuracies

    @property
    def use(self) -> float:
        """Train accuracy that goes with the waves, beyond what the control loses on average."""
        return float(self.control.train.mean() - self.without.train.mean())


def waves(
    model: SupportsWeights | MLPWeights,
    split: Split,
    recipe: Recipe | None = None,
    draws: int = 20,
    *,
    seed: int = 0,
) -> Removal:
    """Accuracy without the waves that idealization would keep, beside its control.

    Args:
        model: Its parameters are read; attached hooks play no part.
        split: What it was trained on, noise included.
        recipe: Which waves: those that :func:`grok_interp.idealize.build` puts in; None for the default.
            Output phases are the network's own whatever it says, since a written one is not in the
            weights; and input columns as two values of their own (``"sign"``), which have no frequency
            to change for the control, are taken as square waves.
        draws: Draws of the control.
        seed: Seed of the draws.

    Returns:
        Accuracies on both sides of the split, of one network, of it without waves, and of each draw.

    Raises:
        ValueError: If the task has no coordinates, is of another modulus, has a single frequency
            (m < 4), so that there is no other, or ``draws < 1``.
    """
    recipe = replace(Recipe() if recipe is None else recipe, output_phase="own")
    if recipe.input_waveform == "sign":
        recipe = replace(recipe, input_waveform="square")
    if draws < 1:
        raise ValueError(f"draws={draws} must be at least 1; use 20 or more for anything reported")
    table = neurons.extract(model, split.task, recipe.frequency)
    if table.modulus < LEAST_MODULUS:
        raise ValueError(
            f"m={table.modulus} has one frequency, and the control needs another: use p of 5 or more"
        )
    alone = table.expand(1)
    return Removal(
        _accuracies(alone.weights, split),
        _accuracies(_without(alone, recipe), split),
        _accuracies(_without(_others(table, draws, seed), recipe), split),
    )


def _without(table: NeuronTable, recipe: Recipe) -> MLPWeights:
    """Weights minus the table's ideal waves; points without a coordinate stay what they are."""
    covered = table.coordinates.covered.to(table.weights.W_in.device)
    ideal = idealize.build(table, recipe, keep_constant=False).weights
    left = table.weights.columns() - torch.where(covered, ideal.columns(), 0)
    return replace(
        table.weights, W_in=left[..., :2, :, :], W_out=left[..., 2, :, :].mT.contiguous()
    )


def _others(table: NeuronTable, draws: int, seed: int) -> NeuronTable:
    """The table with another frequency for each neuron, the same in its matrices, and random phases."""
    generator = torch.Generator().manual_seed(seed)
    count, batch = table.modulus // 2, table.expand(draws)
    step = torch.randint(1, count, (draws, 1, table.d_mlp), generator=generator)
    phase = torch.pi * (2 * torch.rand(draws, 3, table.d_mlp, generator=generator) - 1)
    k = (batch.frequency.cpu() - 1 + step) % count + 1
    # The Nyquist frequency has no phase but 0 and pi, and twice the energy for its amplitude.
    was, becomes = 2 * batch.frequency == table.modulus, 2 * k == table.modulus
    phase = torch.where(becomes, torch.pi * (phase > 0), phase)
    scale = 2 ** (0.5 * (was.to(batch.amplitude) - becomes.to(batch.amplitude)))
    alive = batch.frequency > 0
    return replace(
        batch,
        amplitude=batch.amplitude * scale,
        frequency=torch.where(alive, k.to(batch.frequency), 0),
        phase=torch.where(alive, phase.to(batch.phase), torch.nan),
    )


def _accuracies(weights: MLPWeights, split: Split) -> Accuracies:
    task = split.task
    right = measures.correct(weights, tokens=task.tokens, labels=task.labels).double()
    trained = measures.correct(weights, split.train).double()
    return Accuracies(trained.mean(-1), right[:, split.test_index].mean(-1))
