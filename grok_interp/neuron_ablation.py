"""Take neurons out of a running model: zero, mean or resample ablation.

At an activation x of neurons S, over the rows of a batch::

    zero:      x[:, S] -> 0
    mean:      x[:, S] -> mean of x[:, S] over rows
    resample:  x[i, S] -> x[j, S] for another row j, one j for all of S

Zero is a value that an activation may never have; mean and resample keep it in its range (Wang et al.,
arXiv 2211.00593). What an ablation does means nothing without the
control of :func:`grok_interp.ablate.curve`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp.config import check_choice
from grok_interp.filters import at_position
from grok_interp.weight_hooks import Hooks
from grok_interp.weights import POST_HOOK, neuron_mask

Kind = Literal["zero", "mean", "resample"]


@dataclass(frozen=True, eq=False)
class Neurons:
    """Ablate neurons at ``hook_pre`` or ``hook_post``, or at that of another model's MLP.

    Assumes that neurons are the last axis. Misleads without the control of :func:`.ablate.curve`;
    and ``"mean"`` and ``"resample"`` without a reference take the rows of the batch at hand, so a batch
    of a few pairs stands for itself only.

    Attributes:
        neurons: Indices or mask.
        kind: ``"zero"``, ``"mean"`` or ``"resample"``.
        hook_name: Where.
        position: Which position of ``[batch, position, d_mlp]``; None for all.
        reference: Activations ``[rows, ..., d_mlp]`` to take the mean of, or to draw from; None for
            the batch. With a position, that position's.
        seed: Seed of the rows that are drawn.

    Raises:
        ValueError: If the kind is unknown; or, when the model runs, if a neuron is out of range, the
            reference does not fit, or there is no other row to resample from.
    """

    neurons: Any
    kind: Kind | str = "zero"
    hook_name: str = POST_HOOK
    position: int | None = None
    reference: Float[Tensor, "rows ..."] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, Kind)

    def fwd_hooks(self) -> Hooks:
        """The hook on the activations."""

        def change(x: Tensor) -> Tensor:
            mask = neuron_mask(self.neurons, x.shape[-1]).to(x.device)
            return torch.where(mask, self._replacement(x), x)

        return [(self.hook_name, at_position(change, self.position))]

    def _replacement(self, x: Tensor) -> Tensor:
        if self.kind == "zero":
            return torch.zeros_like(x)
        source = x if self.reference is None else self.reference.to(x)
        if source.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"reference has shape {list(source.shape)}, expected [rows, "
                f"{', '.join(map(str, x.shape[1:]))}] as at {self.hook_name}"
            )
        if self.kind == "mean":
            return source.mean(0, keepdim=True).expand_as(x)
        own = self.reference is None
        return source[other_rows(len(x), None if own else len(source), self.seed).to(x.device)]


def other_rows(n: int, n_reference: int | None, seed: int) -> Int[Tensor, " n"]:
    """For each of n rows, another one of them; or one of ``n_reference`` rows.

    Among the n rows themselves the choice is one cycle through all of them in random order, so none
    stands for itself.

    Args:
        n: Number of rows.
        n_reference: Rows to choose from; None for the n themselves.
        seed: Seed of the choice.

    Returns:
        An index for each row.

    Raises:
        ValueError: If a single row is to be replaced by another one.
    """
    generator = torch.Generator().manual_seed(seed)
    if n_reference is not None:
        return torch.randint(n_reference, (n,), generator=generator)
    if n < 2:
        raise ValueError(
            f"resampling from a batch of {n} has no other row to draw: pass a reference, or more pairs"
        )
    order = torch.randperm(n, generator=generator)
    rows = torch.empty_like(order)
    rows[order] = order.roll(1)
    return rows
