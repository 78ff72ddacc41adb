"""Gradients of stacked two-layer MLPs on pairs, at little more than the cost of the matrix products.

For B networks of one shape with parameters ``W_in [B, operands, p, d_mlp]``, ``W_out [B, d_mlp, p]``
and the mean loss over each network's own n pairs, with post, logits as in :mod:`.weights` and
``g = d(sum of losses) / d(logits)``::

    dW_out^T = output_scale / n * g^T post                    dpost = output_scale * g W_out^T
    dW_in    = 1/n * incidence^T (dpost * act'(pre))          pre   = incidence W_in + b_in

The *incidence* matrix has a 1 for each operand of each pair. It is sparse and sorted once, so looking
rows up and adding gradients to them are two sparse products. The pairs are walked through in chunks
whose activations stay in the cache, into buffers that are made once: on a CPU the passes over memory
between the products cost as much as a third of them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp.losses import logit_gradients, pair_losses, pair_margins
from grok_interp.weights import Activation, activation

CHUNK_ELEMENTS = 1 << 20
"""Activations held at a time, over networks, pairs and neurons; the fastest of 2^18 to 2^22 on cores
with 2 MiB of L2 cache each (benchmarks/train_step.py)."""
DTYPES = (torch.float32, torch.float64)
"""Types that sparse products know on a CPU."""


@dataclass(frozen=True, eq=False)
class Incidence:
    """Which rows of a table each pair adds up, as a sparse matrix and its transpose.

    Attributes:
        rows: ``[pairs, table]`` in compressed rows.
        columns: Its transpose, in compressed rows: the pairs of each row of the table, in order.
    """

    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, index: Int[Tensor, "pairs operands"], size: int, dtype: torch.dtype) -> Incidence:
        """Make the matrix of some pairs.

        Args:
            index: The distinct rows that each pair adds up.
            size: Rows of the table.
            dtype: Type of the table.

        Returns:
            The matrix and its transpose.
        """
        pairs, operands = index.shape
        flat = index.flatten()
        order = flat.argsort(stable=True)
        starts = torch.zeros(size + 1, dtype=torch.int64, device=index.device)
        starts[1:] = flat.bincount(minlength=size).cumsum(0)
        each = torch.arange(0, pairs * operands + 1, operands, device=index.device)
        return cls(
            _compressed(each, flat, (pairs, size), dtype),
            _compressed(starts, order // operands, (size, pairs), dtype),
        )


def _compressed(
    starts: Tensor, columns: Tensor, size: tuple[int, int], dtype: torch.dtype
) -> Tensor:
    """A sparse matrix of ones with int32 indices, which MKL takes as they are."""
    ones = torch.ones(len(columns), dtype=dtype, device=columns.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts.int(), columns.int(), ones, size=size, check_invariants=False
        )


class Lookup(torch.autograd.Function):
    """``incidence @ table``, whose gradient is the sparse product ``incidence^T @ gradient``.

    Equal to ``F.embedding`` of each operand, summed; several times faster backward.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, incidence: Incidence) -> Tensor:
        """Sum of the rows of each pair: ``[table, d]`` to ``[pairs, d]``."""
        ctx.incidence = incidence
        return incidence.rows @ table

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient of the table; the pairs have none."""
        return ctx.incidence.columns @ gradients[0].contiguous(), None


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some pairs of every network, ready to be looked up.

    Attributes:
        incidence: Which rows of W_in each pair adds up, all networks below one another.
        labels: Of these pairs.
        positions: Where the labels' logits are in the flattened logits.
        minus_one: -1 for each row, which :func:`.logit_gradients` adds there.
        pairs: Which of the batch's pairs these are.
    """

    incidence: Incidence
    labels: Int[Tensor, "networks pairs"]
    positions: Int[Tensor, " rows"]
    minus_one: Float[Tensor, " rows"]
    pairs: slice


class Batch:
    """The pairs that each of some networks is trained or measured on, sorted once.

    Args:
        tokens: Pairs of each network.
        labels: Their labels.
        p: Modulus.
        d_mlp: Number of neurons, which with the number of networks decides the chunks.
        dtype: Type of the parameters.
        sort: Whether to make the chunks, which only a :class:`Stack` needs.

    Attributes:
        pairs: Number of pairs of each network.
        chunks: The pairs in chunks of at most :data:`CHUNK_ELEMENTS` activations; empty unless sorted.
    """

    def __init__(
        self,
        tokens: Int[Tensor, "networks pairs 2"],
        labels: Int[Tensor, "networks pairs"],
        p: int,
        d_mlp: int,
        dtype: torch.dtype,
        *,
        sort: bool = True,
    ) -> None:
        self.tokens, self.labels = tokens, labels
        networks, self.pairs = labels.shape
        self.chunks: list[Chunk] = []
        if not sort:
            return
        first_row = 2 * p * torch.arange(networks, device=tokens.device)[:, None, None]
        rows = tokens + first_row + torch.tensor([0, p], device=tokens.device)
        chunks = max(1, math.ceil(networks * self.pairs * max(d_mlp, p) / CHUNK_ELEMENTS))
        size = max(1, math.ceil(self.pairs / chunks))
        for start in range(0, self.pairs, size):
            pairs = slice(start, start + size)
            right = labels[:, pairs].contiguous()
            every = torch.arange(right.numel(), device=tokens.device)
            self.chunks.append(
                Chunk(
                    Incidence.of(rows[:, pairs].reshape(-1, 2), 2 * p * networks, dtype),
                    right,
                    every * p + right.flatten(),
                    -torch.ones(right.numel(), dtype=dtype, device=tokens.device),
                    pairs,
                )
            )


class Tally:
    """Loss and right answers of each network, added up over chunks.

    Args:
        kind: The loss.
        answers: Sets of labels ``[networks, pairs]`` to count right answers against, by name.
    """

    def __init__(self, kind: str, answers: Mapping[str, Int[Tensor, "networks pairs"]]) -> None:
        self._kind, self._answers = kind, answers
        first = next(iter(answers.values()))
        self._losses = torch.zeros(len(first), dtype=torch.float64, device=first.device)
        self._right = {name: torch.zeros_like(self._losses) for name in answers}

    def add(
        self,
        logits: Float[Tensor, "networks pairs p"],
        labels: Int[Tensor, "networks pairs"],
        pairs: slice,
    ) -> None:
        """Count the pairs of one chunk, which are ``pairs`` of the answers."""
        self._losses += pair_losses(logits, labels, self._kind).double().sum(-1)
        for name, answers in self._answers.items():
            # Ties count as wrong.
            self._right[name] += (pair_margins(logits, answers[:, pairs]) > 0).sum(-1)

    def loss(self, pairs: int) -> Float[Tensor, " networks"]:
        """Mean loss over ``pairs``; NaN for none."""
        return self._losses / pairs if pairs else self._losses * math.nan

    def accuracy(self, name: str, pairs: int) -> Float[Tensor, " networks"]:
        """Share of right answers; NaN for no pairs."""
        return self._right[name] / pairs if pairs else self._losses * math.nan


class Stack:
    """Loss and gradients of B networks of one shape and activation.

    Args:
        networks: B.
        p: Modulus.
        d_mlp: Number of neurons.
        act_fn: Name of the activation, or a callable.
        output_scale: Factor on ``post @ W_out``.
        loss: Kind of loss.
    """

    def __init__(
        self,
        networks: int,
        p: int,
        d_mlp: int,
        act_fn: str | Activation,
        output_scale: float,
        loss: str,
    ) -> None:
        self.networks, self.p, self.d_mlp = networks, p, d_mlp
        self.act_fn, self.output_scale, self.loss = act_fn, output_scale, loss
        self._formula = FORMULAS.get(act_fn) if isinstance(act_fn, str) else None
        self._workspaces: dict[int, _Workspace] = {}
        self._buffers: list[Tensor] = []
        self._sums: dict[str, Tensor] = {}

    def measure(self, parameters: Mapping[str, Tensor], batch: Batch, tally: Tally) -> Tally:
        """Add loss and right answers on the batch to ``tally``, without gradients."""
        with torch.no_grad():
            table = self._table(parameters)
            for chunk in batch.chunks:
                pre = self._pre(parameters, table, chunk)
                post = self._formula.apply(pre) if self._formula else activation(self.act_fn)(pre)
                logits = self._logits(parameters, post, self._workspace(chunk, table).logits)
                tally.add(logits, chunk.labels, chunk.pairs)
        return tally

    def gradients(
        self,
        parameters: Mapping[str, Tensor],
        batch: Batch,
        into: Mapping[str, Tensor],
        tally: Tally | None = None,
    ) -> None:
        """Write the gradient of each network's mean loss to ``into``.

        Args:
            parameters: ``W_in [B, operands, p, d_mlp]``, ``W_out [B, d_mlp, p]``, and ``b_in``,
                ``b_out`` where the networks have them; contiguous.
            batch: Pairs and labels.
            into: For each parameter whose gradient is wanted, a contiguous tensor like it.
            tally: Counts losses and right answers from the same forward pass.
        """
        with torch.no_grad():
            table = self._table(parameters)
            sums = {name: self._sum(name, like) for name, like in into.items()}
            add = self._by_formula if self._formula else self._by_autograd
            for chunk in batch.chunks:
                logits = add(parameters, table, chunk, sums)
                if tally is not None:
                    tally.add(logits, chunk.labels, chunk.pairs)
            for name, total in sums.items():
                if name == "W_in":
                    total = total.view(self.networks, 2, self.p, self.d_mlp)
                    shared = into[name].shape[1] == 1
                    total = total.sum(1, keepdim=True) if shared else total
                elif name == "W_out":
                    total = total.mT
                torch.mul(total, 1 / batch.pairs, out=into[name])

    def _by_formula(
        self,
        parameters: Mapping[str, Tensor],
        table: Tensor,
        chunk: Chunk,
        sums: Mapping[str, Tensor],
    ) -> Tensor:
        """Add the chunk's gradients to ``sums``; return its logits."""
        assert self._formula is not None
        work = self._workspace(chunk, table)
        pre = self._pre(parameters, table, chunk)
        post = self._formula.apply(pre)
        logits = self._logits(parameters, post, work.logits)
        g = logit_gradients(logits, chunk.positions, chunk.minus_one, self.loss, work.g)
        if "b_out" in sums:
            sums["b_out"].add_(g.sum(1))
        if "W_out" in sums:
            sums["W_out"].baddbmm_(g.mT, post, alpha=self.output_scale)
        if "W_in" in sums or "b_in" in sums:
            back = work.back.baddbmm_(g, parameters["W_out"].mT, alpha=self.output_scale, beta=0)
            self._formula.back(back, pre, post)
            if "b_in" in sums:
                sums["b_in"].add_(back.sum(1))
            if "W_in" in sums:
                sums["W_in"].addmm_(chunk.incidence.columns, work.back_rows)
        return logits

    def _by_autograd(
        self,
        parameters: Mapping[str, Tensor],
        table: Tensor,
        chunk: Chunk,
        sums: Mapping[str, Tensor],
    ) -> Tensor:
        """The same for activations whose derivative only autograd knows."""
        given = dict(parameters) | {"W_in": table}
        leaves = {name: given[name].detach().requires_grad_() for name in sums}
        with torch.enable_grad():
            given |= leaves
            pre = Lookup.apply(given["W_in"], chunk.incidence)
            pre = pre.view(self.networks, -1, self.d_mlp)
            if "b_in" in given:
                pre = pre + given["b_in"].unsqueeze(1)
            logits = self.output_scale * (activation(self.act_fn)(pre) @ given["W_out"])
            if "b_out" in given:
                logits = logits + given["b_out"].unsqueeze(1)
        found = logits.detach()
        g = logit_gradients(
            found, chunk.positions, chunk.minus_one, self.loss, torch.empty_like(found)
        )
        for name, gradient in zip(
            leaves, torch.autograd.grad(logits, list(leaves.values()), g), strict=True
        ):
            sums[name].add_(gradient.mT if name == "W_out" else gradient)
        return found

    # Parts ------------------------------------------------------------------------------------

    def _table(self, parameters: Mapping[str, Tensor]) -> Float[Tensor, "rows d_mlp"]:
        """All rows of W_in below one another, written out where operands share them."""
        return parameters["W_in"].expand(-1, 2, -1, -1).reshape(-1, self.d_mlp)

    def _pre(
        self, parameters: Mapping[str, Tensor], table: Tensor, chunk: Chunk
    ) -> Float[Tensor, "networks pairs d_mlp"]:
        work = self._workspace(chunk, table)
        work.pre_rows.addmm_(chunk.incidence.rows, table, beta=0)
        return work.pre.add_(parameters["b_in"].unsqueeze(1)) if "b_in" in parameters else work.pre

    def _logits(
        self, parameters: Mapping[str, Tensor], post: Tensor, out: Tensor
    ) -> Float[Tensor, "networks pairs p"]:
        out.baddbmm_(post, parameters["W_out"], alpha=self.output_scale, beta=0)
        return out.add_(parameters["b_out"].unsqueeze(1)) if "b_out" in parameters else out

    def _sum(self, name: str, like: Tensor) -> Tensor:
        """Zeros to add the gradients of chunks to: W_in as a table, W_out transposed."""
        if name not in self._sums:
            shapes = {
                "W_in": (2 * self.networks * self.p, self.d_mlp),
                "W_out": (self.networks, self.p, self.d_mlp),
            }
            self._sums[name] = like.new_zeros(shapes.get(name, like.shape))
        return self._sums[name].zero_()

    def _workspace(self, chunk: Chunk, like: Tensor) -> _Workspace:
        """Buffers for a chunk, shared by all of its size."""
        networks, pairs = chunk.labels.shape
        if pairs not in self._workspaces:
            if not self._buffers or len(self._buffers[0]) < networks * pairs:
                widths = (self.d_mlp, self.d_mlp, self.p, self.p)
                self._buffers = [like.new_zeros(networks * pairs, width) for width in widths]
                self._workspaces.clear()
            buffers = self._buffers
            self._workspaces[pairs] = _Workspace.of(networks, pairs, buffers[:2], buffers[2:])
        return self._workspaces[pairs]


@dataclass(frozen=True, eq=False)
class _Workspace:
    """Buffers for one size of chunk, flat for sparse products and stacked for dense ones.

    Memory fresh from the system costs more than some of the products, and a view made anew each step
    costs as much as a small one.
    """

    pre_rows: Tensor
    pre: Tensor
    logits: Tensor
    g: Tensor
    back_rows: Tensor
    back: Tensor

    @classmethod
    def of(
        cls, networks: int, pairs: int, wide: Sequence[Tensor], narrow: Sequence[Tensor]
    ) -> _Workspace:
        """Views of the first rows of two wide buffers and two narrow ones."""
        pre, back = (buffer[: networks * pairs] for buffer in wide)
        logits, g = (buffer[: networks * pairs].view(networks, pairs, -1) for buffer in narrow)
        return cls(
            pre, pre.view(networks, pairs, -1), logits, g, back, back.view(networks, pairs, -1)
        )


@dataclass(frozen=True)
class Formula:
    """An activation and its derivative, both in place where they can be.

    Attributes:
        apply: From pre-activations to activations.
        back: ``(gradient, pre, post)``: multiplies the gradient by the derivative; ``post``, and
            ``pre`` if it is the same tensor, may be overwritten.
    """

    apply: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, Tensor, Tensor], object]


FORMULAS = {
    # A sign and a product pass over memory once less than a comparison and a choice.
    "relu": Formula(torch.relu_, lambda gradient, _, post: gradient.mul_(post.sign_())),
    "quadratic": Formula(torch.square, lambda gradient, pre, _: gradient.mul_(pre).mul_(2)),
    "identity": Formula(lambda pre: pre, lambda gradient, *_: gradient),
}
"""Activations whose derivative is written out; of others autograd finds it."""
