"""Modular tasks: all pairs and their labels, splits with label noise, pairs for patching.

A task is ``label = operation(a, b) mod p``. Analysis happens where it is addition: see
:mod:`.coordinates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from grok_interp import coordinates
from grok_interp.config import NAMED_OPERATIONS, check_choice
from grok_interp.config import SplitConfig as SplitConfig
from grok_interp.config import TaskConfig as TaskConfig
from grok_interp.coordinates import NO_COORDINATE as NO_COORDINATE
from grok_interp.coordinates import Coordinates as Coordinates
from grok_interp.coordinates import identity_coordinates as identity_coordinates
from grok_interp.polynomials import Polynomial

Change = Literal["a", "b", "sum"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Some pairs and their labels, as :mod:`grok_interp.measures` takes them.

    Attributes:
        tokens: Pairs (a, b).
        labels: One class a pair.
    """

    tokens: Int[Tensor, "pairs 2"]
    labels: Int[Tensor, " pairs"]


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """Pairs to patch from and into, row by row, with different answers.

    Attributes:
        clean: Pairs whose activations are patched in.
        corrupted: Pairs that the model runs on.
        change: What differs between them.
    """

    clean: Pairs
    corrupted: Pairs
    change: str

    def __len__(self) -> int:
        return len(self.clean.labels)


@dataclass(frozen=True, eq=False)
class Split:
    """Train and test pairs of a task, with the labels that training sees.

    Attributes:
        task: The task.
        config: How the split was made.
        train_index: Rows of ``task.tokens`` to train on.
        test_index: The other rows.
        train_labels: Labels to train on, after noise.
        resampled: Which training labels were redrawn.
    """

    task: ModularTask
    config: SplitConfig
    train_index: Int[Tensor, " train"]
    test_index: Int[Tensor, " test"]
    train_labels: Int[Tensor, " train"]
    resampled: Bool[Tensor, " train"]

    @property
    def train(self) -> Pairs:
        """Training pairs with the labels trained on."""
        return Pairs(self.train_tokens, self.train_labels)

    @property
    def test(self) -> Pairs:
        """Held-out pairs with the task's labels."""
        return Pairs(self.test_tokens, self.test_labels)

    @property
    def train_tokens(self) -> Int[Tensor, "train 2"]:
        """Pairs to train on."""
        return self.task.tokens[self.train_index]

    @property
    def clean_train_labels(self) -> Int[Tensor, " train"]:
        """What the task says of the training pairs."""
        return self.task.labels[self.train_index]

    @property
    def corrupted(self) -> Bool[Tensor, " train"]:
        """Which training labels differ from the task's; a redrawn label may be right by luck."""
        return self.train_labels != self.clean_train_labels

    @property
    def test_tokens(self) -> Int[Tensor, "test 2"]:
        """Held-out pairs."""
        return self.task.tokens[self.test_index]

    @property
    def test_labels(self) -> Int[Tensor, " test"]:
        """What the task says of the held-out pairs; never noisy."""
        return self.task.labels[self.test_index]

    def __repr__(self) -> str:
        return (
            f"Split(p={self.task.p}, {self.task.operation!r}, train={len(self.train_index)}, "
            f"test={len(self.test_index)}, resampled={int(self.resampled.sum())}, "
            f"corrupted={int(self.corrupted.sum())}, seed={self.config.seed})"
        )


class ModularTask:
    """A modular task over all ``p * p`` pairs.

    Args:
        p: Modulus, at least 3; or a :class:`.TaskConfig`.
        operation: ``"add"``, ``"subtract"``, ``"multiply"``, or a polynomial in ``a`` and ``b``.

    Attributes:
        p: Modulus and number of classes.
        operation: The operation as given.
        tokens: All pairs, int64 ``[p * p, 2]``, in the order (0, 0), (0, 1), ...
        labels: Their labels, int64 ``[p * p]``.

    Raises:
        ValueError: If ``p < 3``, or the operation is neither a known name nor a polynomial.
        TypeError: If ``p`` is not an int.
    """

    def __init__(self, p: int | TaskConfig = 59, operation: str = "add") -> None:
        if isinstance(p, TaskConfig) and operation != "add":
            raise ValueError(
                f"ModularTask got a config and also operation={operation!r}: give one of them"
            )
        self.config = p if isinstance(p, TaskConfig) else TaskConfig(p, operation)
        self.p = self.config.p
        self.operation = self.config.operation
        text = NAMED_OPERATIONS.get(self.operation, self.operation)
        if text == self.operation and text.isidentifier() and text not in ("a", "b"):
            raise ValueError(
                f"operation={text!r} is unknown: use one of {', '.join(map(repr, NAMED_OPERATIONS))}, "
                "or a polynomial such as 'a**2 + b**2'"
            )
        self._polynomial = Polynomial(text, self.p)
        grid = torch.arange(self.p)
        self.tokens: Int[Tensor, "pairs 2"] = torch.cartesian_prod(grid, grid)
        self.labels: Int[Tensor, " pairs"] = self._polynomial.table(self._polynomial.tree).reshape(
            -1
        )

    def __repr__(self) -> str:
        return f"ModularTask(p={self.p}, operation={self.operation!r})"

    @cached_property
    def coordinates(self) -> Coordinates | None:
        """Coordinates in which the task is addition, or None when no such form was found."""
        return coordinates.find(self._polynomial, self.labels.reshape(self.p, self.p))

    def require_coordinates(self, instead: str) -> Coordinates:
        """:attr:`coordinates`, for what has no meaning without them.

        Args:
            instead: What to do otherwise, for the error.

        Returns:
            The coordinates in which the task is addition.

        Raises:
            ValueError: If there are none.
        """
        if self.coordinates is None:
            raise ValueError(
                f"no coordinates were found in which {self.operation!r} mod {self.p} is addition (tried "
                f"F(f(a) + g(b)), and F(f(a) * g(b)) for primes from 5): {instead}"
            )
        return self.coordinates

    @cached_property
    def has_coordinates(self) -> Bool[Tensor, " pairs"]:
        """Which pairs have coordinates; all for addition, the nonzero ones for multiplication."""
        if self.coordinates is None:
            return torch.zeros(len(self.labels), dtype=torch.bool)
        covered = self.coordinates.covered[:2, :, 0]
        return covered[0][self.tokens[:, 0]] & covered[1][self.tokens[:, 1]]

    def split(
        self,
        train_fraction: float | SplitConfig = 0.5,
        label_noise: float = 0.0,
        seed: int | torch.Generator = 0,
        *,
        symmetric: bool = False,
    ) -> Split:
        """Divide the pairs at random into train and test, and redraw a share of the train labels.

        Args:
            train_fraction: Share of the pairs to train on, in (0, 1], rounded down; or a
                :class:`.SplitConfig`.
            label_noise: Share of the training labels to redraw uniformly from all p classes.
            seed: A seed, or a generator to draw from (the split's config then has seed None).
            symmetric: Divide unordered pairs, so that (a, b) and (b, a) land on the same side.

        Returns:
            Rows to train on and all others as the test side, with the labels that training sees.

        Raises:
            ValueError: If a share is out of range, or no pair would be left to train on.
        """
        generator = seed if isinstance(seed, torch.Generator) else None
        if isinstance(train_fraction, SplitConfig):
            config = train_fraction
            if label_noise != 0 or symmetric or (generator is None and seed != 0):
                raise ValueError(
                    "split got a config and also label_noise, seed or symmetric: give one of them, for "
                    "example dataclasses.replace(config, seed=7)"
                )
        else:
            kept = None if isinstance(seed, torch.Generator) else seed
            config = SplitConfig(train_fraction, label_noise, kept, symmetric)
        if generator is None:
            if config.seed is None:
                raise ValueError(
                    "the config has seed=None: pass the generator to draw from as seed"
                )
            generator = torch.Generator().manual_seed(config.seed)
        order = self._shuffle(generator, symmetric=config.symmetric)
        n_train = int(config.train_fraction * len(order) + 1e-9)
        if n_train == 0:
            raise ValueError(
                f"train_fraction={config.train_fraction} of {len(order)} "
                f"{'unordered ' if config.symmetric else ''}pairs leaves none to train "
                f"on: use at least {1 / len(order):.2g}"
            )
        train, test = order[:n_train].flatten(), order[n_train:].flatten()
        train, test = train[train >= 0], test[test >= 0]
        labels = self.labels[train].clone()
        resampled = torch.zeros(len(train), dtype=torch.bool)
        chosen = torch.randperm(len(train), generator=generator)[
            : round(config.label_noise * len(train))
        ]
        resampled[chosen] = True
        labels[chosen] = torch.randint(self.p, (len(chosen),), generator=generator)
        return Split(self, config, train, test, labels, resampled)

    def counterfactuals(
        self, change: Change | str = "a", n: int | None = None, seed: int | torch.Generator = 0
    ) -> Counterfactuals:
        """Clean pairs, each with a corrupted one that has another answer, for patching.

        Args:
            change: ``"a"`` or ``"b"``: another value of that operand. ``"sum"``: both operands move
                by t in the task's coordinates, so that u(a) + sign v(b), which decides the answer,
                changes and u(a) - sign v(b) does not.
            n: How many clean pairs, drawn without repetition; None for all that can be corrupted.
            seed: A seed or a generator.

        Returns:
            n clean pairs and as many corrupted ones, row by row with different labels.

        Raises:
            ValueError: If the change is unknown, n is out of range, or the task has no coordinates
                to change the sum in.
        """
        check_choice("change", change, Change)
        generator = (
            seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
        )
        if change == "sum":
            clean, others = self._moved()
        else:
            clean = torch.arange(self.p**2)
            a, b = self.tokens.unbind(1)
            every = torch.arange(self.p)
            others = every * self.p + b[:, None] if change == "a" else a[:, None] * self.p + every
        allowed = self.labels[others] != self.labels[clean, None]
        possible = allowed.any(1)
        clean, others, allowed = clean[possible], others[possible], allowed[possible]
        size = len(clean) if n is None else n
        if not 1 <= size <= len(clean):
            raise ValueError(f"n={n} must be in 1..{len(clean)}, the pairs that can be corrupted")
        chosen = torch.randperm(len(clean), generator=generator)[:size]
        picked = torch.multinomial(allowed[chosen].double(), 1, generator=generator)
        rows = others[chosen].gather(1, picked).squeeze(1)
        return Counterfactuals(
            Pairs(self.tokens[clean[chosen]], self.labels[clean[chosen]]),
            Pairs(self.tokens[rows], self.labels[rows]),
            str(change),
        )

    def _moved(self) -> tuple[Int[Tensor, " pairs"], Int[Tensor, "pairs m"]]:
        """Rows with coordinates (i, j), and for each the rows of (i + t, j + sign t) for all t."""
        found = self.require_coordinates("it has no sum to change, so use change='a' or 'b'")
        m, rows = found.modulus, found.lattice
        i, j = torch.cartesian_prod(torch.arange(m), torch.arange(m)).unbind(1)
        t = torch.arange(m)
        moved = (i[:, None] + t) % m * m + (j[:, None] + found.sign * t) % m
        return rows, rows[moved]

    def _shuffle(
        self, generator: torch.Generator, *, symmetric: bool
    ) -> Int[Tensor, "groups pair"]:
        """Rows of ``tokens`` in random order, in groups that must stay together (-1 fills up)."""
        if not symmetric:
            return torch.randperm(self.p**2, generator=generator)[:, None]
        a, b = torch.triu_indices(self.p, self.p)
        mirrored = torch.where(a == b, -1, b * self.p + a)
        groups = torch.stack([a * self.p + b, mirrored], -1)
        return groups[torch.randperm(len(groups), generator=generator)]
