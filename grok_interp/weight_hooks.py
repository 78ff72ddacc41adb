"""Hooks that change columns of weights: some matrices, some neurons, out of place.

The matrices are W_a and W_b, the two operands of W_in ``[2, p, d_mlp]``, and W_out ``[d_mlp, p]``.
Idealizing, filtering by frequency and moving phases all act on columns of these, and differ only in
the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from grok_interp.config import check_choice
from grok_interp.weights import W_IN_HOOK, W_OUT_HOOK, neuron_mask

MATRICES = ("W_a", "W_b", "W_out")
"""Order of the matrix axis."""

WeightFunction = Callable[[Tensor], Tensor]
Hooks = list[tuple[str, Callable[..., Tensor | None]]]


def chosen_matrices(matrices: str | Sequence[str] | None) -> tuple[str, ...]:
    """Which matrices are meant, in the order of :data:`MATRICES`.

    Args:
        matrices: One or some of ``"W_a"``, ``"W_b"``, ``"W_out"``, and ``"W_in"`` for the first two; None for
            all.

    Returns:
        Some of :data:`MATRICES`, each once.

    Raises:
        ValueError: If a name is unknown.
    """
    named = (matrices,) if isinstance(matrices, str) else MATRICES if matrices is None else matrices
    for matrix in named:
        check_choice("matrices", matrix, (*MATRICES, "W_in"))
    return tuple(
        matrix for matrix in MATRICES if matrix in named or ("W_in" in named and matrix != "W_out")
    )


def on_weights(
    matrices: Sequence[str], neurons: Any, change_in: WeightFunction, change_out: WeightFunction
) -> Hooks:
    """Hooks that change the chosen columns and hand the others on bit for bit; none for no columns.

    Args:
        matrices: Some of :data:`MATRICES`.
        neurons: Indices or mask of the neurons to change; None for all.
        change_in: From W_in ``[2, p, d_mlp]`` to what takes its place.
        change_out: From W_out ``[d_mlp, p]`` to what takes its place.

    Returns:
        Pairs of a hook name and a function, as ``fwd_hooks()`` of an intervention gives them, at most
        one for W_in and one for W_out. A neuron that is out of range raises ``ValueError`` when the
        model runs.
    """
    given = None if neurons is None else torch.as_tensor(neurons)
    if given is not None and not bool(given.any() if given.dtype == torch.bool else given.numel()):
        return []
    hooks: Hooks = []
    operands = torch.tensor([name in matrices for name in MATRICES[:2]])[:, None, None]
    if bool(operands.any()):
        hooks.append((W_IN_HOOK, _change(change_in, operands, neurons, -1)))
    if "W_out" in matrices:
        hooks.append((W_OUT_HOOK, _change(change_out, torch.tensor(True), neurons, -2)))
    return hooks


def _change(
    function: WeightFunction, where: Tensor, neurons: Any, neuron_axis: int
) -> Callable[..., Tensor]:
    def hook_function(weight: Tensor, hook: Any) -> Tensor:
        mask = neuron_mask(neurons, weight.shape[neuron_axis])
        mask = mask if neuron_axis == -1 else mask[:, None]
        return torch.where((where & mask.cpu()).to(weight.device), function(weight), weight)

    return hook_function
