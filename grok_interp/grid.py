"""Functions on the grid of all pairs: their parts along directions and axes of the 2-D Fourier basis.

A function f(a, b) on Z_p x Z_p is a sum of characters ``exp(2 pi i (u a + v b) / p)``. Along a
*direction* (i, j), written ``a+b``, ``a-b``, ``a`` or ``b``, lie those with (u, v) = k (i, j): the
functions of the one number ``i a + j b``. The part of f along a direction is therefore the mean of f
over the pairs that share that number, and its part at frequency k is that mean filtered::

    f_dir(s) = mean of f over i a + j b = s,      part = sum_k A_k cos(2 pi k s / p + phi_k)

All these projections are sums over characters, so they commute, and parts of other directions are
orthogonal, but for the constant, which every direction holds and which is left out here, and, for
even p, the Nyquist frequency, where a + b and a - b are one function.

Source: arXiv 2301.05217, section 4, reads activations in this basis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp import fourier
from grok_interp.config import check_choice

Frequencies = Any
"""A whole number, or any iterable of whole numbers (a tensor, a set); None for all of 1..p//2."""
DIRECTIONS = {"a+b": (1, 1), "a-b": (1, -1), "a": (1, 0), "b": (0, 1)}
"""Coefficients (i, j) of each direction."""
OPERANDS = ("a", "b")


def side(rows: int) -> int:
    """The modulus p of a grid with ``p * p`` rows.

    Returns:
        p, at least 3.

    Raises:
        ValueError: If the number of rows is not ``p * p`` for any p of at least 3.
    """
    p = math.isqrt(rows)
    if p * p != rows or p < 3:
        raise ValueError(
            f"activations have {rows} rows, which is not p * p for any p >= 3: run the model on "
            "task.tokens, all pairs in their order"
        )
    return p


def frequency_index(frequencies: Frequencies, p: int) -> Int[Tensor, " k"]:
    """Frequencies as a sorted tensor without repetitions.

    Args:
        frequencies: A whole number, or any iterable of them; None for all of 1..p//2.
        p: Modulus.

    Returns:
        Whole numbers, ascending, on the CPU.

    Raises:
        ValueError: If one is not a whole number in 1..p//2.
    """
    if frequencies is None:
        return torch.arange(1, p // 2 + 1)
    if isinstance(frequencies, Tensor | np.ndarray):
        frequencies = frequencies.tolist()
    values = list(frequencies) if isinstance(frequencies, Iterable) else [frequencies]
    for value in values:
        if type(value) is not int or not 1 <= value <= p // 2:
            raise ValueError(
                f"frequency {value!r} is not a whole number in 1..{p // 2} for modulus {p}; the constant "
                "is no frequency, see keep_constant"
            )
    return torch.tensor(sorted(set(values)), dtype=torch.int64)


def place(p: int, direction: str) -> Int[Tensor, " pairs"]:
    """``i a + j b mod p``, (i, j) of :data:`DIRECTIONS`, for each pair in the order (0, 0), (0, 1), ..."""
    check_choice("direction", direction, tuple(DIRECTIONS))
    i, j = DIRECTIONS[direction]
    n = torch.arange(p)
    return ((i * n[:, None] + j * n) % p).reshape(-1)


def along(
    activations: Float[Tensor, "pairs *features"], direction: str
) -> Float[Tensor, "p *features"]:
    """Means of activations over the pairs that share ``i a + j b``.

    Args:
        activations: One row for each pair, in the order of ``task.tokens``.
        direction: ``"a+b"``, ``"a-b"``, ``"a"`` or ``"b"``.

    Returns:
        Entry s is the mean over the pairs with ``i a + j b = s`` mod p, in the units of the
        activations.

    Raises:
        ValueError: If the direction is unknown, or the rows are not a grid.
    """
    p = side(len(activations))
    index = place(p, direction).to(activations.device)
    total = activations.new_zeros(p, *activations.shape[1:])
    return total.index_add(0, index, activations) / p


def keep(
    x: Float[Tensor, "p *features"], frequencies: Int[Tensor, " k"]
) -> Float[Tensor, "p *features"]:
    """The part of a function on Z_p, along its first axis, at some frequencies; no constant."""
    p = len(x)
    rows = torch.isin(fourier.row_frequencies(p), frequencies.cpu())
    basis = fourier.basis(p, dtype=x.dtype, device=x.device)[rows.to(x.device)]
    flat = x.reshape(p, -1)
    return (basis.T @ (basis @ flat)).reshape(x.shape)


def part(
    activations: Float[Tensor, "pairs *features"],
    direction: str,
    frequencies: Frequencies = None,
) -> Float[Tensor, "pairs *features"]:
    """The part of activations along a direction, at some frequencies; the constant is left out.

    Args:
        activations: One row for each pair, in the order of ``task.tokens``.
        direction: ``"a+b"``, ``"a-b"``, ``"a"`` or ``"b"``.
        frequencies: Which of 1..p//2; None for all.

    Returns:
        ``part`` of the module's equation at each pair, in the units of the activations.

    Raises:
        ValueError: If the direction or a frequency is unknown, or the rows are not a grid.
    """
    means = along(activations, direction)
    kept = keep(means, frequency_index(frequencies, len(means)))
    return kept[place(len(means), direction).to(kept.device)]


def axis_part(
    activations: Float[Tensor, "pairs *features"],
    operand: str,
    frequencies: Frequencies = None,
) -> Float[Tensor, "pairs *features"]:
    """The part of activations that varies with one operand at some frequencies, whatever the other does.

    All characters (u, v) with ``|u|`` (for ``operand="a"``) among the frequencies: sums and
    differences, and the operand by itself.

    Args:
        activations: One row for each pair, in the order of ``task.tokens``.
        operand: ``"a"`` or ``"b"``.
        frequencies: Which of 1..p//2; None for all.

    Returns:
        The part at each pair, in the units of the activations; its mean over the operand is 0.

    Raises:
        ValueError: If the operand or a frequency is unknown, or the rows are not a grid.
    """
    check_choice("operand", operand, OPERANDS)
    p = side(len(activations))
    # The operand's axis first, as keep() takes it.
    axes = {"a": "a b ...", "b": "b a ..."}[operand]
    lattice = rearrange(activations, f"(a b) ... -> {axes}", a=p)
    return rearrange(keep(lattice, frequency_index(frequencies, p)), f"{axes} -> (a b) ...")


def signed_frequencies(p: int) -> Int[Tensor, " p"]:
    """Frequencies of b in :func:`power_spectrum`, ``-((p - 1)//2) .. p//2``."""
    return torch.arange(-((p - 1) // 2), p // 2 + 1)


def power_spectrum(
    activations: Float[Tensor, "pairs *features"],
) -> Float[Tensor, "k_a p *features"]:
    """Energy at each pair of frequencies (k_a, k_b), signs told apart; all entries add up to sum f^2.

    ``|F(k_a, k_b)|^2 / p^2`` with ``F(u, v) = sum f(a, b) exp(-2 pi i (u a + v b) / p)``. A real f has
    as much at (-u, -v), so rows are k_a = 0..p//2 and columns :func:`signed_frequencies`, and each
    entry holds both. ``cos(k (a + b) + phi)`` is at (k, k), ``cos(k (a - b) + phi)`` at (k, -k),
    functions of a at (k, 0), of b at (0, k), and the constant at (0, 0). Where k_a is its own
    negative (0, and p/2 for even p) entries of negative k_b are 0. (arXiv 2301.02679, figure 2.)

    Args:
        activations: One row for each pair, in the order of ``task.tokens``.

    Returns:
        Rows k_a = 0..p//2 and columns :func:`signed_frequencies`, in squared units of the activations.

    Raises:
        ValueError: If the rows are not a grid.
    """
    p = side(len(activations))
    square = rearrange(activations, "(a b) ... -> a b ...", a=p)
    columns = signed_frequencies(p)
    every: Tensor = torch.fft.fft2(square, dim=(0, 1)).abs().square() / p**2
    power = every[: p // 2 + 1, columns % p]
    # How many of (u, v) and (-u, -v) each entry stands for: where u = -u only v >= 0 is kept.
    itself = (columns == 0) | (2 * columns == p)
    stands_for = torch.full((p // 2 + 1, p), 2.0)
    for row in {0, p // 2} if p % 2 == 0 else {0}:
        stands_for[row] = torch.where(columns < 0, 0.0, torch.where(itself, 1.0, 2.0))
    weight = stands_for.to(power).reshape(*stands_for.shape, *[1] * (power.ndim - 2))
    return power * weight
