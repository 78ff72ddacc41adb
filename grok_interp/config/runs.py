"""How to train, when to stop, and one run as a whole."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from grok_interp.config.checks import (
    INF,
    check_choice,
    check_count,
    check_flag,
    check_range,
    check_seed,
)
from grok_interp.config.choices import (
    Constraint,
    GradientRule,
    LossName,
    MatmulPrecision,
    OptimizerName,
)
from grok_interp.config.networks import HookedMLPConfig, SplitConfig, TaskConfig

METRICS = (
    "train_loss",
    "test_loss",
    "train_accuracy",
    "clean_train_accuracy",
    "test_accuracy",
    "weight_norm",
    "gradient_norm",
)
"""What every evaluation during training measures, and what a stop rule may refer to."""
LOG_SPACED_PER_DECADE = 10
"""Log-spaced checkpoints to a factor of ten in steps."""

EXISTS = (
    "{path} exists and is not empty: choose another directory, resume the run in it (grok-interp resume "
    "{path}), or pass overwrite=True (--overwrite) to replace it"
)
"""What is said of a directory that a run is not written to."""


@dataclass(frozen=True)
class StopRule:
    """A condition on one metric, such as ``test_accuracy >= 0.99``.

    Attributes:
        metric: One of :data:`METRICS`.
        sign: ``">"``, ``">="``, ``"<"`` or ``"<="``.
        level: What the metric is compared with.
    """

    metric: str
    sign: str
    level: float

    @classmethod
    def parse(cls, text: object) -> StopRule:
        """Read ``"<metric> <sign> <number>"``.

        Args:
            text: Such as ``"test_accuracy >= 0.99"``.

        Returns:
            The rule, its number as a float.

        Raises:
            ValueError: If the text is not of that form, or the metric is unknown.
        """
        match = (
            re.fullmatch(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\S+)\s*", text)
            if isinstance(text, str)
            else None
        )
        try:
            level = float(match[3]) if match else math.nan
        except ValueError:
            level = math.nan
        if match is None or math.isnan(level):
            raise ValueError(
                f"stop={text!r} must be a metric, one of > >= < <=, and a number, as in "
                "'test_accuracy >= 0.99'"
            )
        check_choice("the metric of stop", match[1], METRICS)
        return cls(match[1], match[2], level)

    def met(self, value: float) -> bool:
        """Whether ``value`` meets the condition; NaN never does."""
        compare = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
        return bool(compare[self.sign](value, self.level))


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        steps: Number of optimiser steps, unless ``stop`` ends the run before.
        lr: Learning rate.
        weight_decay: Decoupled decay for AdamW (Loshchilov and Hutter, arXiv 1711.05101), scaled by
            the learning rate as in PyTorch; an L2 term in the gradient for Adam and SGD.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        betas: Moment decay rates of Adam and AdamW; (0.9, 0.98) as in arXiv 2301.05217.
        momentum: Momentum of SGD.
        loss: ``"cross_entropy"``; ``"cross_entropy_float64"``, whose softmax is taken in double
            precision, against the collapse of float32 softmax (arXiv 2501.04697, section 3); ``"mse"``
            against one-hot labels (mean over all entries); or ``"stablemax"``, cross-entropy with
            ``s(x) = x + 1`` for ``x >= 0`` and ``1 / (1 - x)`` below in place of the exponential
            (the same paper, section 4).
        gradient: ``"plain"``; ``"orthogonal"``, each parameter's gradient without its part along the
            parameter, at its old length (arXiv 2501.04697, section 5); or ``"grokfast"``, the gradient
            plus ``grokfast_lambda`` times its moving average (arXiv 2405.20233, Grokfast-EMA).
        grokfast_alpha: Decay rate of that average, which starts at the first gradient.
        grokfast_lambda: Its weight.
        constraint: ``"none"``; ``"sphere"``, all trained parameters rescaled together after each step to the
            L2 norm that they started with (arXiv 2210.01117, section 2); or ``"per_layer"``, those of
            each layer to its own.
        warmup_steps: Steps in which the learning rate rises linearly to ``lr``; step t takes
            ``lr * min(1, (t + 1) / warmup_steps)``.
        batch_size: Training pairs a step, in an order redrawn every epoch; the last batch of an
            epoch may be smaller. None for all of them.
        seed: Seed of the order of minibatches; full-batch training draws nothing.
        matmul_precision: ``"highest"`` multiplies matrices in full float32. ``"high"`` and
            ``"medium"`` allow PyTorch reduced precision (``torch.set_float32_matmul_precision``),
            which changes results; docs/performance.md has what it gains and what it costs.
        trainable: Names of the parameters to train, such as ``("W_out",)``; None trains those that
            require gradients.
        eval_every: Steps between evaluations; step 0 and the last step are always evaluated.
        checkpoint_every: Steps between stored weights; step 0 and the last are always stored. A
            killed run resumes from its last checkpoint.
        checkpoint_steps: In place of ``checkpoint_every``, the steps to store weights at; or
            ``"log"`` for ten a factor of ten: 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, ...
        stop: Condition on a metric that ends the run, such as ``"test_accuracy >= 0.99"``; the
            metrics are those of :data:`METRICS`. None runs all steps.
        stop_evaluations: Evaluations in a row that must meet it.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If a value is out of range, a name is unknown, or ``stop`` is not a condition.
    """

    steps: int = 2000
    lr: float = 1e-3
    weight_decay: float = 1.0
    optimizer: OptimizerName = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    momentum: float = 0.0
    loss: LossName = "cross_entropy"
    gradient: GradientRule = "plain"
    grokfast_alpha: float = 0.98
    grokfast_lambda: float = 2.0
    constraint: Constraint = "none"
    warmup_steps: int = 0
    batch_size: int | None = None
    seed: int = 0
    matmul_precision: MatmulPrecision = "highest"
    trainable: tuple[str, ...] | None = None
    eval_every: int = 100
    checkpoint_every: int = 100
    checkpoint_steps: Literal["log"] | tuple[int, ...] | None = None
    stop: str | None = None
    stop_evaluations: int = 1
    progress: bool = True

    def __post_init__(self) -> None:
        check_count("steps", self.steps, 0)
        check_count("eval_every", self.eval_every, 1)
        check_count("checkpoint_every", self.checkpoint_every, 1)
        check_count("warmup_steps", self.warmup_steps, 0)
        check_count("stop_evaluations", self.stop_evaluations, 1)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size, 1)
        check_seed(self.seed)
        check_range("lr", self.lr, 0, INF, "[)", "the learning rate")
        check_range("weight_decay", self.weight_decay, 0, INF, "[)", "the strength of the decay")
        check_range("momentum", self.momentum, 0, 1, "[)", "the momentum of SGD")
        check_range("grokfast_alpha", self.grokfast_alpha, 0, 1, "[)", "the decay of the average")
        check_range("grokfast_lambda", self.grokfast_lambda, 0, INF, "[)", "the average's weight")
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ValueError(f"betas={self.betas!r} must be two numbers, as in (0.9, 0.98)")
        object.__setattr__(self, "betas", tuple(self.betas))
        for beta in self.betas:
            check_range("betas", beta, 0, 1, "[)", "a moment decay rate")
        if self.trainable is not None:
            if isinstance(self.trainable, str):
                raise ValueError(
                    f"trainable={self.trainable!r} must be a sequence of names, as in ({self.trainable!r},)"
                )
            object.__setattr__(self, "trainable", tuple(self.trainable))
        if self.checkpoint_steps not in (None, "log"):
            if isinstance(self.checkpoint_steps, str | int):
                raise ValueError(
                    f"checkpoint_steps={self.checkpoint_steps!r} must be 'log' or a sequence of steps"
                )
            object.__setattr__(self, "checkpoint_steps", tuple(self.checkpoint_steps))
            for step in self.checkpoint_steps:
                check_count("a step of checkpoint_steps", step, 0)
        check_choice("optimizer", self.optimizer, OptimizerName)
        check_choice("loss", self.loss, LossName)
        check_choice("gradient", self.gradient, GradientRule)
        check_choice("constraint", self.constraint, Constraint)
        check_choice("matmul_precision", self.matmul_precision, MatmulPrecision)
        if self.stop is not None:
            StopRule.parse(self.stop)
        check_flag("progress", self.progress)

    @property
    def stop_rule(self) -> StopRule | None:
        """The condition in ``stop``, read."""
        return None if self.stop is None else StopRule.parse(self.stop)

    def evaluated_at(self, step: int) -> bool:
        """Whether metrics are measured after ``step`` steps."""
        return step % self.eval_every == 0 or step == self.steps

    def stored_at(self, step: int) -> bool:
        """Whether weights are stored after ``step`` steps."""
        if step in (0, self.steps):
            return True
        if self.checkpoint_steps is None:
            return step % self.checkpoint_every == 0
        if self.checkpoint_steps == "log":
            decades = round(LOG_SPACED_PER_DECADE * math.log10(step)) / LOG_SPACED_PER_DECADE
            return step == round(10**decades)
        return step in self.checkpoint_steps


def check_parts(task: TaskConfig, split: SplitConfig, model: HookedMLPConfig) -> None:
    """Raise ``ValueError`` unless these make one run that can be repeated."""
    if model.p != task.p:
        raise ValueError(
            f"model.p={model.p} and task.p={task.p} differ: leave out model.p, which follows the task"
        )
    if split.seed is None or model.seed is None:
        raise ValueError("split.seed and model.seed must be ints, so that the run can be repeated")


@dataclass(frozen=True)
class RunConfig:
    """One training run from the shell or a TOML file: task, split, model, training, and where to.

    Attributes:
        task: The task.
        split: Which pairs to train on, and label noise.
        model: The model; its p is the task's.
        train: How to train.
        out: Directory of the run.

    Raises:
        ValueError: If the model's p is not the task's, or a seed of split or model is None.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: HookedMLPConfig = field(default_factory=HookedMLPConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    out: Path = field(default_factory=lambda: Path("runs/run"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        if self.model.p == HookedMLPConfig.p:
            object.__setattr__(self, "model", dataclasses.replace(self.model, p=self.task.p))
        check_parts(self.task, self.split, self.model)
