"""Setters for TransformerLens' ``generic_activation_patch``: by neuron, by frequency, by plane.

A setter gets the corrupted activation, a row of the index whose first entry is the layer, and the clean
activation, and returns a new tensor. Each acts on ``[batch, features]``, or on one position of
``[batch, position, features]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from grok_interp.neurons import NeuronTable
from grok_interp.planes import Planes
from grok_interp.weights import neuron_mask

Setter = Callable[[Tensor, Sequence[int], Tensor], Tensor]
"""What ``generic_activation_patch`` calls, with (corrupted activation, index, clean activation)."""


def neuron_setter(position: int | None = None) -> Setter:
    """For rows ``(layer, neuron)`` of an index: patch one neuron.

    Args:
        position: Which position of ``[batch, position, d_mlp]``; None for all.

    Returns:
        A setter; a neuron that is out of range raises ``ValueError`` when it is called.
    """

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        _, neuron = index
        return set_neurons(
            corrupted, clean, neuron_mask([int(neuron)], corrupted.shape[-1]), position
        )

    return setter


def frequency_setter(table: NeuronTable, position: int | None = None) -> Setter:
    """For rows ``(layer, frequency)`` of an index: patch the neurons of that frequency.

    Args:
        table: The network's table; neurons whose three frequencies differ are never patched.
        position: Which position of ``[batch, position, d_mlp]``; None for all.

    Returns:
        A setter; a frequency that is not in 1..m//2 raises ``ValueError`` when it is called.
    """

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        _, frequency = index
        return set_neurons(corrupted, clean, table.at(int(frequency)), position)

    return setter


def plane_setter(planes: Planes, position: int | None = None) -> Setter:
    """For rows ``(layer, frequency)`` of an index: patch the plane of that frequency.

    Args:
        planes: Of :func:`.activation_planes` or :func:`.class_planes`.
        position: Which position of ``[batch, position, features]``; None for all.

    Returns:
        A setter, ``x + (clean - x) B B^T`` with the plane's basis B.
    """

    def setter(corrupted: Tensor, index: Sequence[int], clean: Tensor) -> Tensor:
        _, frequency = index
        basis = planes.at(int(frequency)).to(corrupted)
        return _at(corrupted, lambda x, y: x + (y - x) @ basis @ basis.mT, clean, position)

    return setter


def set_neurons(corrupted: Tensor, clean: Tensor, mask: Tensor, position: int | None) -> Tensor:
    """The corrupted activation with some neurons as they are in the clean one.

    Args:
        corrupted: ``[batch, d_mlp]`` or ``[batch, position, d_mlp]``.
        clean: Of the same shape.
        mask: Which neurons, boolean ``[d_mlp]``.
        position: Which position; None for all.

    Returns:
        A new tensor of the same shape.
    """
    return _at(corrupted, lambda x, y: torch.where(mask.to(x.device), y, x), clean, position)


def _at(
    corrupted: Tensor,
    function: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    position: int | None,
) -> Tensor:
    """``function(corrupted, clean)``, at one position if there is one; out of place."""
    if position is None:
        return function(corrupted, clean)
    changed = corrupted.clone()
    changed[:, position] = function(corrupted[:, position], clean[:, position])
    return changed
