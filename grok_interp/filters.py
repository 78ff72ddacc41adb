"""Keep or remove frequencies: in weights, along a token axis, along directions, among the classes.

A column, an activation or the logits, as a function on Z_m, is its mean plus sinusoids::

    keep(K)   -> mean + sum over k in K of A_k cos(2 pi k n / m + phi_k)
    remove(K) -> the function minus that sum

Each filter is an intervention on one kind of tensor and runs inside ``model.intervened(...)`` or any
hooked model's ``hooks(fwd_hooks=filter.fwd_hooks())``. The constant is no frequency: it is kept either
way unless ``keep_constant=False``.

What is not evidence: that a network fails when a frequency is removed does not say that it computed
with it, and removing energy hurts by itself. Compare with other frequencies that carry as much, and
with the same filter on a network whose input weights are random (:mod:`grok_interp.controls`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from einops import reduce, repeat
from jaxtyping import Float
from torch import Tensor

from grok_interp import fourier, grid
from grok_interp.config import check_choice
from grok_interp.tasks import Coordinates, ModularTask, identity_coordinates
from grok_interp.weight_hooks import Hooks, chosen_matrices, on_weights
from grok_interp.weights import OUT_HOOK, POST_HOOK

Action = Literal["keep", "remove"]
RANGE = 1e-9
"""Singular values below this share of the largest span nothing."""


@dataclass(frozen=True, eq=False)
class WeightFrequencies:
    """Keep or remove frequencies in the columns of W_in and the rows of W_out.

    Assumes that tokens and classes stand for points of Z_m by the task's coordinates. Misleads where
    several frequencies are one function at these points (``a**2``): removing one removes the others.
    Tokens and classes without a coordinate keep their weights.

    Attributes:
        action: ``"keep"`` or ``"remove"``.
        frequencies: Whole numbers in 1..m//2.
        matrices: Some of ``"W_a"``, ``"W_b"``, ``"W_out"``, or ``"W_in"``; None for all.
        neurons: Indices or mask of the neurons to change; None for all.
        task: Gives the coordinates; None for addition in token order.
        keep_constant: Whether columns keep their mean.

    Raises:
        ValueError: If the action or a matrix is unknown; or, when the model runs, if a frequency is not
            in 1..m//2, a neuron is out of range, or the task does not fit.
    """

    action: Action | str
    frequencies: grid.Frequencies
    matrices: str | Sequence[str] | None = None
    neurons: Any = None
    task: ModularTask | None = None
    keep_constant: bool = True

    def __post_init__(self) -> None:
        check_choice("action", self.action, Action)
        chosen_matrices(self.matrices)

    def fwd_hooks(self) -> Hooks:
        """Hooks on the weights."""
        matrices = chosen_matrices(self.matrices)
        cache: dict[tuple[int, int], _Filter] = {}

        def filtered(columns: Tensor, row: int) -> Tensor:
            p = columns.shape[-2]
            if (row, p) not in cache:
                coordinates = coordinates_of(self.task, p)
                cache[row, p] = _Filter.at(coordinates, row, self.frequencies)
            return cache[row, p](columns, self.action, self.keep_constant)

        return on_weights(
            matrices,
            self.neurons,
            lambda W_in: torch.stack([filtered(W_in[0], 0), filtered(W_in[1], 1)]),
            lambda W_out: filtered(W_out.mT, 2).mT,
        )


@dataclass(frozen=True, eq=False)
class LogitFrequencies:
    """Keep or remove frequencies of the logits along the class axis.

    Assumes that the last axis is the classes of the task; entries past them (a transformer's "="
    token) and classes without a coordinate stay as they are. Misleads in one way: the constant over
    classes does not matter to a softmax, so keeping or dropping it changes no accuracy.

    Attributes:
        action: ``"keep"`` or ``"remove"``.
        frequencies: Whole numbers in 1..m//2.
        hook_name: A hook point whose last axis is the classes.
        position: Which position of ``[batch, position, classes]`` to change; None for all.
        keep_constant: Whether the mean over classes stays.
        task: Says how many classes there are, and their coordinates.

    Raises:
        ValueError: If the action is unknown; or, when the model runs, if a frequency is not in 1..m//2,
            or the hook point has fewer classes than the task.
    """

    action: Action | str
    frequencies: grid.Frequencies
    hook_name: str = OUT_HOOK
    position: int | None = None
    keep_constant: bool = True
    task: ModularTask = field(kw_only=True)

    def __post_init__(self) -> None:
        check_choice("action", self.action, Action)

    def fwd_hooks(self) -> Hooks:
        """The hook on the logits."""

        def change(logits: Tensor) -> Tensor:
            p = self.task.p
            if logits.shape[-1] < p:
                raise ValueError(
                    f"{self.hook_name} has {logits.shape[-1]} classes, fewer than the task's {p}: "
                    "pass the hook point of the logits"
                )
            one = _Filter.at(coordinates_of(self.task, p), 2, self.frequencies)
            classes = one(logits[..., :p].unsqueeze(-1), self.action, self.keep_constant)
            return torch.cat([classes.squeeze(-1), logits[..., p:]], -1)

        return [(self.hook_name, at_position(change, self.position))]


@dataclass(frozen=True, eq=False)
class GridFrequencies:
    """Keep or remove frequencies of activations along a direction of the grid of all pairs.

    ``"a+b"`` at k are the functions cos and sin of 2 pi k (a + b) / m, and so on (:mod:`.grid`).

    Assumes that the model runs on all pairs in the order of ``task.tokens``, which no hook can see: p*p
    other pairs are not noticed. Misleads if two directions are compared without the energy that
    each holds; and keeping the answer's direction *makes* the logits depend on a + b, so that even a
    look-up table of the training pairs then answers others.

    Attributes:
        action: ``"keep"`` (of all that varies, only this) or ``"remove"``.
        frequencies: Whole numbers in 1..m//2; None for the whole direction.
        direction: One or some of ``"a+b"``, ``"a-b"``, ``"a"`` and ``"b"``, in the task's coordinates;
            None for that of the answer, which is ``"a-b"`` for subtraction and else ``"a+b"``.
        hook_name: A hook point with one row for each pair.
        position: Which position of ``[batch, position, features]`` to change; None for all.
        keep_constant: Whether the mean over all pairs stays.
        task: Says which pairs there are, and their coordinates. Pairs without coordinates stay as
            they are.

    Raises:
        ValueError: If the action or a direction is unknown; or, when the model runs, if a frequency is
            not in 1..m//2, or the rows are not all pairs of the task.
    """

    action: Action | str
    frequencies: grid.Frequencies = None
    direction: str | Sequence[str] | None = None
    hook_name: str = POST_HOOK
    position: int | None = None
    keep_constant: bool = True
    task: ModularTask = field(kw_only=True)

    def __post_init__(self) -> None:
        check_choice("action", self.action, Action)
        for direction in self._directions():
            check_choice("direction", direction, tuple(grid.DIRECTIONS))

    def _directions(self) -> Sequence[str]:
        if self.direction is None:
            return (coordinates_of(self.task, self.task.p).direction,)
        return (self.direction,) if isinstance(self.direction, str) else self.direction

    def fwd_hooks(self) -> Hooks:
        """The hook on the activations."""

        def change(x: Tensor) -> Tensor:
            constant = x.mean(0, keepdim=True)
            rest = x - constant
            for direction in self._directions():
                # Of what is left: for even m two directions share the Nyquist frequency.
                rest = rest - grid.part(rest, direction, self.frequencies)
            part = x - constant - rest
            return _combine(self.action, x, constant, part, self.keep_constant)

        return [(self.hook_name, at_position(on_lattice(change, self.task), self.position))]


@dataclass(frozen=True, eq=False)
class TokenFrequencies:
    """Keep or remove frequencies of activations along the axis of one operand's token.

    All that varies with this operand at frequency k, whatever it does with the other: cos and sin of
    2 pi k a / m times any function of b.

    Assumes that the model runs on all pairs in the order of ``task.tokens``.

    Attributes:
        action: ``"keep"`` or ``"remove"``.
        frequencies: Whole numbers in 1..m//2.
        operand: ``"a"`` or ``"b"``.
        hook_name: A hook point with one row for each pair.
        position: Which position of ``[batch, position, features]`` to change; None for all.
        keep_constant: Whether the mean over this operand, a function of the other, stays.
        task: As for :class:`GridFrequencies`.

    Raises:
        ValueError: If the action or the operand is unknown; or, when the model runs, if a frequency is
            not in 1..m//2, or the rows are not all pairs of the task.
    """

    action: Action | str
    frequencies: grid.Frequencies
    operand: str = "a"
    hook_name: str = POST_HOOK
    position: int | None = None
    keep_constant: bool = True
    task: ModularTask = field(kw_only=True)

    def __post_init__(self) -> None:
        check_choice("action", self.action, Action)
        check_choice("operand", self.operand, grid.OPERANDS)

    def fwd_hooks(self) -> Hooks:
        """The hook on the activations."""

        def change(x: Tensor) -> Tensor:
            p = grid.side(len(x))
            part = grid.axis_part(x, self.operand, self.frequencies)
            other = "b" if self.operand == "a" else "a"
            mean = reduce(x, f"(a b) ... -> {other} ...", "mean", a=p)
            constant = repeat(mean, f"{other} ... -> (a b) ...", **{self.operand: p})
            return _combine(self.action, x, constant, part, self.keep_constant)

        return [(self.hook_name, at_position(on_lattice(change, self.task), self.position))]


def coordinates_of(task: ModularTask | None, p: int) -> Coordinates:
    """The task's coordinates; those of addition mod p without a task.

    Args:
        task: A task, or None.
        p: Number of tokens or classes of the tensor that is read in them.

    Returns:
        The coordinates.

    Raises:
        ValueError: If the task has none, or is of another modulus than p.
    """
    if task is None:
        return identity_coordinates(p)
    if task.p != p:
        raise ValueError(
            f"the task has p={task.p} and the tensor {p} tokens or classes: pass the model's task"
        )
    return task.require_coordinates("pass task=None for the frequencies of tokens as they stand")


def at_position(
    function: Callable[[Tensor], Tensor], position: int | None
) -> Callable[..., Tensor]:
    """Make a hook function that changes one position of ``[batch, position, features]``.

    Args:
        function: From an activation, without its position axis, to what takes its place.
        position: Which position; None for the whole tensor, whatever its axes after the first.

    Returns:
        A function of ``(activation, hook)``, out of place. It raises ``ValueError`` if there is no such
        position.
    """

    def hook_function(activation: Tensor, hook: Any) -> Tensor:
        if position is None:
            return function(activation)
        if activation.ndim != 3:
            raise ValueError(
                f"{hook.name} is {list(activation.shape)}, which has no position axis: leave "
                f"position={position} out"
            )
        if not -activation.shape[1] <= position < activation.shape[1]:
            raise ValueError(f"{hook.name} has {activation.shape[1]} positions, not {position}")
        changed = activation.clone()
        changed[:, position] = function(activation[:, position])
        return changed

    return hook_function


def on_lattice(
    function: Callable[[Tensor], Tensor], task: ModularTask
) -> Callable[[Tensor], Tensor]:
    """The function on the pairs in the order of their coordinates; other pairs stay as they are."""

    def change(x: Tensor) -> Tensor:
        rows = lattice_of(task, len(x)).lattice.to(x.device)
        return x.index_copy(0, rows, function(x[rows]))

    return change


def lattice_of(task: ModularTask, rows: int) -> Coordinates:
    """The task's coordinates, for an activation with a row for each pair.

    Args:
        task: The task.
        rows: How many rows the activation has.

    Returns:
        The coordinates; their ``lattice`` orders the rows.

    Raises:
        ValueError: If it has not one row for each pair, or the task has no coordinates.
    """
    if rows != len(task.tokens):
        raise ValueError(
            f"the activation has {rows} rows and the task {len(task.tokens)} pairs: run the model on all "
            "of task.tokens, in their order"
        )
    return coordinates_of(task, task.p)


def _combine(action: str, x: Tensor, constant: Tensor, part: Tensor, keep_constant: bool) -> Tensor:
    changed = part + constant if action == "keep" else x - part
    return changed if keep_constant else changed - constant


@dataclass(frozen=True, eq=False)
class _Filter:
    """Orthonormal functions that span some frequencies at the points that tokens or classes see.

    Attributes:
        span: One function a row, each about its mean over the covered points.
        covered: Which points have a coordinate.
    """

    span: Float[Tensor, "functions p"]
    covered: Float[Tensor, "p 1"]

    @classmethod
    def at(cls, coordinates: Coordinates, row: int, frequencies: grid.Frequencies) -> _Filter:
        """What tokens of a (row 0), of b (1) or classes (2) see of the frequencies."""
        m = coordinates.modulus
        wanted = torch.isin(fourier.row_frequencies(m), grid.frequency_index(frequencies, m)) & (
            torch.arange(m) > 0
        )
        covered = coordinates.covered[row].double()
        seen = coordinates.incidence[row] @ fourier.basis(m)[wanted].T
        seen = (seen - (seen * covered).sum(0) / covered.sum()) * covered
        left, values, _ = torch.linalg.svd(seen, full_matrices=False)
        rank = int((values > RANGE * max(1.0, float(values.amax()) if len(values) else 0.0)).sum())
        return cls(left[:, :rank].T, covered)

    def __call__(self, columns: Tensor, action: str, keep_constant: bool) -> Tensor:
        """Filter columns ``[..., p, d]``."""
        span, covered = self.span.to(columns), self.covered.to(columns)
        constant = (columns * covered).sum(-2, keepdim=True) / covered.sum()
        part = span.mT @ (span @ columns)
        changed = _combine(action, columns, constant, part, keep_constant)
        return torch.where(covered > 0, changed, columns)
