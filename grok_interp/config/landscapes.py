"""Landscapes: which networks, and the same from the shell."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from grok_interp.config.checks import INF, check_choice, check_count, check_range, check_seed, plain
from grok_interp.config.choices import Constraint, LrRule, OptimizerName
from grok_interp.config.runs import TrainConfig

ALPHAS = (0.1, 0.16, 0.25, 0.4, 0.63, 1.0, 1.6, 2.5, 4.0, 6.3, 10.0)
"""Five to a factor of ten, as in arXiv 2210.01117, rounded."""
LEVEL = 0.9
"""Accuracy at which a network counts as having memorised or generalised."""


@dataclass(frozen=True)
class LandscapeConfig:
    """Which networks a landscape is made of (arXiv 2210.01117): one for each combination.

    Attributes:
        alphas: Factors on all initial weights, positive and ascending.
        seeds: Seeds of the initial weights, of the data and of the order of minibatches, all three.
        sizes: Numbers of training examples; none stands for the problem's own.
        lr_rules: ``"fixed"``, the learning rate as it is; ``"proportional"``, times alpha, so that steps
            turn networks of every norm through like angles. The right arm of the U must survive both.
        weight_decays: Weight decays; none stands for that of ``train``.
        train: How to train; None for the problem's own way.
        draws: Of a modular problem, draws of the frozen_input control that idealised accuracies are held
            against; 0 leaves out the table of them.

    Raises:
        ValueError: If a value is out of range, given twice or not in a sequence, or alphas do not
            ascend.
    """

    alphas: tuple[float, ...] = ALPHAS
    seeds: tuple[int, ...] = (0, 1, 2)
    sizes: tuple[int, ...] = ()
    lr_rules: tuple[LrRule, ...] = ("fixed", "proportional")
    weight_decays: tuple[float, ...] = ()
    train: TrainConfig | None = None
    draws: int = 20

    def __post_init__(self) -> None:
        for name in ("alphas", "seeds", "sizes", "lr_rules", "weight_decays"):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise ValueError(f"{name}={values!r} must be a sequence, as in ({values!r},)")
            # Ranges and numpy's numbers too; plain ones are kept.
            values = tuple(plain(value) for value in values)
            if not values and name not in ("sizes", "weight_decays"):
                raise ValueError(f"{name}={values!r} must hold at least one value")
            if len(set(values)) != len(values):
                raise ValueError(f"{name}={values!r} holds a value twice: give each once")
            object.__setattr__(self, name, values)
        for alpha in self.alphas:
            check_range("alphas", alpha, 0, INF, "()", "a factor on all initial weights")
        if list(self.alphas) != sorted(self.alphas):
            raise ValueError(f"alphas={self.alphas!r} must ascend")
        for seed in self.seeds:
            check_seed(seed)
        for size in self.sizes:
            check_count("a size of sizes", size, 1)
        for rule in self.lr_rules:
            check_choice("lr_rules", rule, LrRule)
        for decay in self.weight_decays:
            check_range("weight_decays", decay, 0, INF, "[)", "the strength of the decay")
        check_count("draws", self.draws, 0)


@dataclass(frozen=True)
class LandscapeRun:
    """A landscape from the shell. What is not given is the problem's own way.

    Attributes:
        out: Directory of the results; what is finished there is not trained again.
        alphas: Factors on all initial weights, ascending.
        seeds: Seeds of weights, data and minibatches.
        sizes: Numbers of training examples.
        lr_rules: Learning rate as it is (fixed) or times alpha (proportional).
        steps: Optimiser steps of each network.
        lr: Learning rate.
        weight_decays: Decoupled decays with adamw, L2 terms with adam and sgd.
        optimizer: adamw, adam or sgd; adamw for free training unless said.
        batch_size: Training examples a step; 0 for all of them.
        eval_every: Steps between evaluations.
        constraint: Norm held (sphere, per_layer), or free training (none).
        levels: Train and test accuracy at which free training counts as having memorised and generalised.
        draws: Draws of the frozen_input control of modular tasks; 0 leaves out the latent algorithm.
        source: Which data: digits or mnist, vader or imdb, nci or qm9.
        path: Folder of the data of mnist, imdb or qm9, as datasets.load_dataset reads it.
        download: Ask the dataset's hub for it. Nothing is downloaded unasked.
        mixing: Images: share of the image in m * image + (1 - m) * template of its label.
        p: Modular tasks: modulus.
        d_mlp: Modular tasks: neurons.
        operation: Modular tasks: the task.
        label_noise: Modular tasks: share of training labels redrawn.

    Raises:
        ValueError: If a level is not an accuracy in (0, 1].
    """

    out: Path = field(default_factory=lambda: Path("landscapes/run"))
    alphas: tuple[float, ...] | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    sizes: tuple[int, ...] = ()
    lr_rules: tuple[LrRule, ...] = ("fixed", "proportional")
    steps: int | None = None
    lr: float | None = None
    weight_decays: tuple[float, ...] = ()
    optimizer: OptimizerName | None = None
    batch_size: int | None = None
    eval_every: int | None = None
    constraint: Constraint | None = None
    levels: tuple[float, float] = (LEVEL, LEVEL)
    draws: int = 20
    source: str | None = None
    path: Path | None = None
    download: bool = False
    mixing: float | None = None
    p: int | None = None
    d_mlp: int | None = None
    operation: str | None = None
    label_noise: float | None = None

    def __post_init__(self) -> None:
        for level in self.levels:
            check_range("levels", level, 0, 1, "(]", "an accuracy to reach")

    def training(self, own: TrainConfig) -> TrainConfig:
        """How to train: a problem's own way, but for what is given."""
        names = ("steps", "lr", "optimizer", "eval_every", "constraint")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if given.get("constraint") == "none" and self.optimizer is None:
            given["optimizer"] = "adamw"  # the laws of free training are those of decoupled decay
        if self.batch_size is not None:
            given["batch_size"] = self.batch_size or None
        return dataclasses.replace(own, **given)

    def networks(self, train: TrainConfig, alphas: tuple[float, ...]) -> LandscapeConfig:
        """Which networks, with these alphas unless others are given."""
        return LandscapeConfig(
            self.alphas or alphas,
            self.seeds,
            self.sizes,
            self.lr_rules,
            self.weight_decays,
            train,
            self.draws,
        )
