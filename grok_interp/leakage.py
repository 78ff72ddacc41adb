"""Where else than on the answer the variance of logits and activations sits: at 2a, 2b and a - b.

One neuron of frequency k with a quadratic activation has, for phases phi and psi::

    (cos(ka + phi) + cos(kb + psi))^2 = 1 + cos(k(a+b) + ..) + cos(k(a-b) + ..)
                                          + cos(2ka + ..) / 2 + cos(2kb + ..) / 2

(angles in units of 2 pi / m; arXiv 2301.02679, section 3), so .4, .4, .1 and .1 of its variance. Only
the first solves the task: over many neurons with random phases the read-out adds up the first and
cancels the others. What is left of them says how exact the cancellation is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp import fourier, grid
from grok_interp.lattice import centred, coordinates_of, energy_along, variance_share
from grok_interp.outputs import Model
from grok_interp.tasks import Coordinates, ModularTask


@dataclass(frozen=True, eq=False)
class Leakage:
    """Where the variance over pairs sits, as shares of all of it, by the frequency k of neurons.

    Frequencies above m/4 fold back: 2k stands for m - 2k. For even m, k and m/2 - k fold to one
    frequency, whose share is then given for both; at k = m/2 the doubled frequency is a constant
    (share 0), and a + b and a - b are one function.

    Attributes:
        sum (``[*batch, k]``): Share along a + b, on which the answer depends, at k.
        difference (``[*batch, k]``): Share along a - b at k; for subtraction these two change places.
        a (``[*batch, k]``): Share at frequency 2k of a alone.
        b (``[*batch, k]``): Share at frequency 2k of b alone.
        modulus: m, which tells the two m with as many frequencies apart.
    """

    sum: Float[Tensor, "*batch k"]
    difference: Float[Tensor, "*batch k"]
    a: Float[Tensor, "*batch k"]
    b: Float[Tensor, "*batch k"]
    modulus: int

    @property
    def totals(self) -> dict[str, Float[Tensor, "*batch"]]:
        """Shares over all frequencies, as ``sum``, ``difference``, ``a alone`` and ``b alone``.

        For odd m every frequency is the double of one, so the last two are all that varies with one
        operand: what leaks at 2k, and what the constant of a column adds at k, which :meth:`at`
        tells apart. For even m only even ones are: each is counted once here, though two k fold to
        it; and k = m/2, where a + b and a - b are one function, is in both of the first two.
        """
        doubles = self.modulus // 4 if self.modulus % 2 == 0 else self.modulus // 2
        return {
            "sum": self.sum.sum(-1),
            "difference": self.difference.sum(-1),
            "a alone": self.a[..., :doubles].sum(-1),
            "b alone": self.b[..., :doubles].sum(-1),
        }

    def at(self, frequency: Int[Tensor, "*batch"]) -> dict[str, Float[Tensor, "*batch"]]:
        """Shares at one k for each network or neuron: ``sum``, ``difference``, ``2a`` and ``2b``.

        With one neuron a feature, ``activation_leakage(post.mT.unsqueeze(-1), task)``, and its own
        frequency: .4, .4, .1, .1 for pure cosines squared.

        Args:
            frequency: k in 1..m//2; 0 (a neuron without one) gives NaN.

        Returns:
            Shares of the variance in 0..1 by where they are; NaN where the frequency is 0.

        Raises:
            ValueError: If there is not one for each, or one is above m//2.
        """
        if frequency.shape != self.sum.shape[:-1]:
            raise ValueError(
                f"frequency has shape {list(frequency.shape)}, expected {list(self.sum.shape[:-1])}: "
                "one for each network or neuron"
            )
        low, high = (int(extreme) for extreme in frequency.aminmax())
        if low < 0 or high > self.modulus // 2:
            raise ValueError(f"frequencies {low}..{high} must lie in 0..{self.modulus // 2}")
        index = (frequency - 1).clamp(min=0).unsqueeze(-1)
        parts = {"sum": self.sum, "difference": self.difference, "2a": self.a, "2b": self.b}
        return {
            name: torch.where(frequency > 0, share.gather(-1, index).squeeze(-1), torch.nan)
            for name, share in parts.items()
        }


def leakage_totals(networks: Mapping[str, Leakage]) -> pd.DataFrame:
    """:attr:`Leakage.totals` of several networks, one row each, for a table or a figure's titles.

    Args:
        networks: :class:`Leakage` without batch axes, of logits or of activations, by what it is of ("at
            init", "trained", "analytic").

    Returns:
        A row for each, with columns ``sum``, ``difference``, ``a alone`` and ``b alone``.
    """
    rows = {
        name: {part: float(share) for part, share in found.totals.items()}
        for name, found in networks.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def leakage(model: Model, task: ModularTask) -> Leakage:
    """:class:`Leakage` of the logits, after each pair's mean over classes is removed.

    Independent random logits have about ``2 / m**2`` in each share. An untrained network is not that:
    its logits are nearly a function of a plus one of b, and 40% of the variance lies along each alone
    (p = 59, d_mlp = 512, ReLU).

    Args:
        model: Maps tokens to logits; see :mod:`.mechanism`.
        task: The task.

    Returns:
        Shares of the variance over pairs about each class's mean; NaN for logits that do not vary.

    Raises:
        ValueError: If the task has no coordinates, pairs have no 2-D Fourier basis in them, or the
            model has another number of classes.
    """
    coordinates = coordinates_of(task)
    return _leakage(centred(model, task, coordinates), coordinates)


def activation_leakage(
    activations: Float[Tensor, "*batch pairs features"], task: ModularTask
) -> Leakage:
    """:class:`Leakage` of activations, such as ``weights.post(task.tokens)`` or a cached hook's.

    Args:
        activations: One row for each of ``task.tokens``, in their order.
        task: The task.

    Returns:
        Shares of the variance over pairs about each feature's mean, over all features together.

    Raises:
        ValueError: If the task has no coordinates or no 2-D Fourier basis in them, or the rows are
            not all pairs of the task.
    """
    coordinates = coordinates_of(task)
    if activations.shape[-2] != len(task.tokens):
        raise ValueError(
            f"activations have {activations.shape[-2]} rows, expected {len(task.tokens)}: run the model "
            "on task.tokens, all pairs in their order"
        )
    lattice = coordinates.lattice.to(activations.device)
    return _leakage(activations.index_select(-2, lattice).movedim(-2, 0), coordinates)


def _leakage(values: Float[Tensor, "pairs *batch features"], coordinates: Coordinates) -> Leakage:
    m = coordinates.modulus
    total = (values - values.mean(0)).square().mean((0, -1))
    shares = {
        direction: variance_share(energy_along(values, direction), total, values)
        for direction in grid.DIRECTIONS
    }
    doubled = fourier.harmonic(torch.arange(1, m // 2 + 1), 2, m).to(total.device)
    alone = {
        # Frequency 0, a constant, has no share of the variance.
        operand: F.pad(shares[operand], (1, 0))[..., doubled]
        for operand in grid.OPERANDS
    }
    (other,) = {"a+b", "a-b"} - {coordinates.direction}
    return Leakage(shares[coordinates.direction], shares[other], alone["a"], alone["b"], m)
