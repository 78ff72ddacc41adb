"""Every dataclass that a user writes in TOML or on the command line. Imports no torch.

All are frozen, hold plain Python values, and check themselves when they are made: each error names
the value it got, what was expected, and what to do next.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from cattrs import Converter

NamedActivation = Literal["relu", "quadratic", "gelu", "identity"]
ActivationName = Literal[NamedActivation, "custom"]
InitName = Literal["uniform", "normal"]
DTypeName = Literal["float32", "float64", "float16", "bfloat16"]
FrequencyMode = Literal["joint", "per_matrix", "input"]
Waveform = Literal["square", "cosine", "trapezoid"]
InputWaveform = Literal["square", "cosine", "trapezoid", "sign"]
AmplitudeRule = Literal["extracted", "uniform"]
OutputPhase = Literal["own", "phase_sum"]
OptimizerName = Literal["adamw", "adam", "sgd"]
LossName = Literal["cross_entropy", "cross_entropy_float64", "mse", "stablemax"]
GradientRule = Literal["plain", "orthogonal", "grokfast"]
Constraint = Literal["none", "sphere", "per_layer"]
MatmulPrecision = Literal["highest", "high", "medium"]
FormatName = Literal[
    "feature_learning", "text_matrices", "pizza", "linear_pair", "two_embeddings", "transformer"
]
ReadoutFit = Literal["ridge", "train"]
LrRule = Literal["fixed", "proportional"]
ProblemName = Literal["modular", "teacher_student", "images", "language", "molecules"]

INF = float("inf")
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
EXISTS = (
    "{path} exists and is not empty: choose another directory, resume the run in it (grok-interp resume "
    "{path}), or pass overwrite=True (--overwrite) to replace it"
)
"""What is said of a directory that a run is not written to."""
ALPHAS = (0.1, 0.16, 0.25, 0.4, 0.63, 1.0, 1.6, 2.5, 4.0, 6.3, 10.0)
"""Five to a factor of ten, as in arXiv 2210.01117, rounded."""
LOG_SPACED_PER_DECADE = 10
"""Log-spaced checkpoints to a factor of ten in steps."""
NAMED_OPERATIONS = {"add": "a + b", "subtract": "a - b", "multiply": "a * b"}
"""Operations with a name of their own, and the polynomial that each one is."""


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices`` (a Literal type or a sequence)."""
    allowed = tuple(get_args(choices)) or tuple(choices)
    if value not in allowed:
        raise ValueError(
            f"{name}={value!r} is unknown: choose one of {', '.join(map(repr, allowed))}"
        )


def check_modulus(p: object) -> None:
    """Raise unless ``p`` is an integer of at least 3, the least modulus with a frequency."""
    if not isinstance(p, int) or isinstance(p, bool):
        raise TypeError(f"p={p!r} must be an int, the modulus of the task; pass for example p=59")
    if p < 3:
        raise ValueError(
            f"p={p} is too small: p >= 3 is needed to have a frequency; use for example p=59"
        )


def _check_count(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} must be an int of at least {least}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_range(name: str, value: Any, low: float, high: float, brackets: str, what: str) -> None:
    """Raise unless ``value`` is a number between ``low`` and ``high``; brackets as in "(0, 1]"."""
    inside = _is_number(value) and (
        (low < value if brackets[0] == "(" else low <= value)
        and (value < high if brackets[1] == ")" else value <= high)
    )
    if not inside:
        interval = f"{brackets[0]}{low:g}, {high:g}{brackets[1]}"
        raise ValueError(f"{name}={value!r} must be a number in {interval}, {what}")


def _plain(value: Any) -> Any:
    """A number of numpy's as the Python number that it stands for; anything else as it is."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be true or false")


def _check_seed(seed: object) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"seed={seed!r} must be an int")


@dataclass(frozen=True)
class TaskConfig:
    """A modular task ``c = operation(a, b) mod p``.

    Attributes:
        p: Modulus and number of classes, at least 3; prime for multiplication to have coordinates.
        operation: ``"add"``, ``"subtract"``, ``"multiply"``, or a polynomial in ``a`` and ``b``
            with integer coefficients such as ``"a**2 + b**2"``.
    """

    p: int = 59
    operation: str = "add"

    def __post_init__(self) -> None:
        check_modulus(self.p)
        if not isinstance(self.operation, str):
            raise ValueError(
                f"operation={self.operation!r} must be text: 'add', or a polynomial such as 'a**2 + b'"
            )


@dataclass(frozen=True)
class SplitConfig:
    """How all ``p * p`` pairs are divided, and how training labels are spoilt.

    Attributes:
        train_fraction: Share of the pairs to train on, in (0, 1]; the number is rounded down.
        label_noise: Share of the training labels that are redrawn uniformly from all ``p``
            classes, in [0, 1]. A redrawn label is right by luck with probability ``1 / p``.
        seed: Seed of the split and of the noise; neither depends on the model. None where they were
            drawn from a generator, which alone can give them back.
        symmetric: Divide unordered pairs, so that (a, b) and (b, a) land on the same side.
    """

    train_fraction: float = 0.5
    label_noise: float = 0.0
    seed: int | None = 0
    symmetric: bool = False

    def __post_init__(self) -> None:
        _check_range(
            "train_fraction", self.train_fraction, 0, 1, "(]", "the share of pairs to train on"
        )
        _check_range(
            "label_noise", self.label_noise, 0, 1, "[]", "the share of train labels to redraw"
        )
        _check_flag("symmetric", self.symmetric)
        if self.seed is not None:
            _check_seed(self.seed)


@dataclass(frozen=True)
class HookedMLPConfig:
    """Shape and parametrisation of a two-layer MLP on one-hot pairs.

    Attributes:
        p: Modulus; tokens and classes are 0..p-1.
        d_mlp: Number of neurons.
        act_fn: Activation; ``"quadratic"`` is the square. ``"custom"`` marks a callable handed to
            ``from_weights`` or ``from_module``; such a model cannot be saved.
        bias_in: Whether the pre-activations have a bias ``b_in``.
        bias_out: Whether the logits have a bias ``b_out``.
        tied_operands: Whether both operands share one embedding, stored once as ``[1, p, d_mlp]``.
        output_scale: Factor on ``post @ W_out``.
        init: How initial weights are drawn: ``"uniform"`` in ``+-1/sqrt(fan_in)``, as ``nn.Linear`` does
            on concatenated one-hots, or ``"normal"``, standard normal, as in arXiv 2301.02679.
        init_scale: Factor on all initial weights, the alpha of Omnigrok (arXiv 2210.01117).
        seed: Seed of the initial weights; None for weights that were not drawn here.
        dtype: Floating-point type of the parameters.
        device: Device of the parameters; kept true by ``.to()``.
    """

    p: int = 59
    d_mlp: int = 512
    act_fn: ActivationName = "relu"
    bias_in: bool = False
    bias_out: bool = False
    tied_operands: bool = False
    output_scale: float = 1.0
    init: InitName = "uniform"
    init_scale: float = 1.0
    seed: int | None = 0
    dtype: DTypeName = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_modulus(self.p)
        _check_count("d_mlp", self.d_mlp, 1)
        check_choice("act_fn", self.act_fn, ActivationName)
        check_choice("dtype", self.dtype, DTypeName)
        check_choice("init", self.init, InitName)
        _check_range("output_scale", self.output_scale, -INF, INF, "()", "the factor on the logits")
        _check_range("init_scale", self.init_scale, 0, INF, "[)", "the factor on initial weights")
        for name in ("bias_in", "bias_out", "tied_operands"):
            _check_flag(name, getattr(self, name))
        if self.seed is not None:
            _check_seed(self.seed)


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
        _check_count("steps", self.steps, 0)
        _check_count("eval_every", self.eval_every, 1)
        _check_count("checkpoint_every", self.checkpoint_every, 1)
        _check_count("warmup_steps", self.warmup_steps, 0)
        _check_count("stop_evaluations", self.stop_evaluations, 1)
        if self.batch_size is not None:
            _check_count("batch_size", self.batch_size, 1)
        _check_seed(self.seed)
        _check_range("lr", self.lr, 0, INF, "[)", "the learning rate")
        _check_range("weight_decay", self.weight_decay, 0, INF, "[)", "the strength of the decay")
        _check_range("momentum", self.momentum, 0, 1, "[)", "the momentum of SGD")
        _check_range("grokfast_alpha", self.grokfast_alpha, 0, 1, "[)", "the decay of the average")
        _check_range("grokfast_lambda", self.grokfast_lambda, 0, INF, "[)", "the average's weight")
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ValueError(f"betas={self.betas!r} must be two numbers, as in (0.9, 0.98)")
        object.__setattr__(self, "betas", tuple(self.betas))
        for beta in self.betas:
            _check_range("betas", beta, 0, 1, "[)", "a moment decay rate")
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
                _check_count("a step of checkpoint_steps", step, 0)
        check_choice("optimizer", self.optimizer, OptimizerName)
        check_choice("loss", self.loss, LossName)
        check_choice("gradient", self.gradient, GradientRule)
        check_choice("constraint", self.constraint, Constraint)
        check_choice("matmul_precision", self.matmul_precision, MatmulPrecision)
        if self.stop is not None:
            StopRule.parse(self.stop)
        _check_flag("progress", self.progress)

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


@dataclass(frozen=True)
class Recipe:
    """How ideal weights are made from extracted frequencies, amplitudes and phases.

    Attributes:
        frequency: Which frequency a neuron gets: the maximum of power in each matrix by itself
            (``"per_matrix"``), in W_a and W_b together (``"input"``), or of the product of the
            three normalised power spectra (``"joint"``).
        input_waveform: Wave of the ideal W_in columns. ``"sign"`` is no wave but two values of
            the column's own: the means of what lies above and below its mean.
        output_waveform: Wave of the ideal W_out rows.
        amplitude: ``"extracted"`` keeps each column's own amplitude; ``"uniform"`` gives every
            live neuron the mean amplitude of its matrix.
        output_phase: ``"own"`` keeps the extracted output phase. ``"phase_sum"`` writes
            phi_a + phi_b instead, which is the answer: a construction, never evidence (an
            untrained network then scores near 1).
        keep_constant: Add each column's mean, which is dropped otherwise, to its wave. (A sampled
            square wave has a mean of its own, up to its level over the points of a period.)
    """

    frequency: FrequencyMode = "joint"
    input_waveform: InputWaveform = "square"
    output_waveform: Waveform = "cosine"
    amplitude: AmplitudeRule = "extracted"
    output_phase: OutputPhase = "own"
    keep_constant: bool = False

    def __post_init__(self) -> None:
        check_choice("frequency", self.frequency, FrequencyMode)
        check_choice("input_waveform", self.input_waveform, InputWaveform)
        check_choice("output_waveform", self.output_waveform, Waveform)
        check_choice("amplitude", self.amplitude, AmplitudeRule)
        check_choice("output_phase", self.output_phase, OutputPhase)
        _check_flag("keep_constant", self.keep_constant)


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
            values = tuple(_plain(value) for value in values)
            if not values and name not in ("sizes", "weight_decays"):
                raise ValueError(f"{name}={values!r} must hold at least one value")
            if len(set(values)) != len(values):
                raise ValueError(f"{name}={values!r} holds a value twice: give each once")
            object.__setattr__(self, name, values)
        for alpha in self.alphas:
            _check_range("alphas", alpha, 0, INF, "()", "a factor on all initial weights")
        if list(self.alphas) != sorted(self.alphas):
            raise ValueError(f"alphas={self.alphas!r} must ascend")
        for seed in self.seeds:
            _check_seed(seed)
        for size in self.sizes:
            _check_count("a size of sizes", size, 1)
        for rule in self.lr_rules:
            check_choice("lr_rules", rule, LrRule)
        for decay in self.weight_decays:
            _check_range("weight_decays", decay, 0, INF, "[)", "the strength of the decay")
        _check_count("draws", self.draws, 0)


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
    levels: tuple[float, float] = (0.9, 0.9)
    draws: int = 20
    source: str | None = None
    path: Path | None = None
    download: bool = False
    mixing: float | None = None
    p: int | None = None
    d_mlp: int | None = None
    operation: str | None = None
    label_noise: float | None = None

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


@dataclass(frozen=True)
class DemoConfig:
    """The main job as one command: train, extract, idealize, control, and say what it shows.

    Attributes:
        out: Directory for summary.json, report.html and the two models.
        p: Modulus.
        d_mlp: Number of neurons.
        seed: Seed of weights, split, noise and control draws.
        clean_steps: Training steps of the run without label noise.
        noisy_steps: Training steps of the run with label noise.
        draws: Draws of each random control.
    """

    out: Path = field(default_factory=lambda: Path("out/demo"))
    p: int = 59
    d_mlp: int = 512
    seed: int = 0
    clean_steps: int = 5000
    noisy_steps: int = 2000
    draws: int = 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        check_modulus(self.p)
        _check_seed(self.seed)
        _check_count("d_mlp", self.d_mlp, 1)
        _check_count("clean_steps", self.clean_steps, 1)
        _check_count("noisy_steps", self.noisy_steps, 1)
        _check_count("draws", self.draws, 1)


@dataclass(frozen=True)
class RunConfig:
    """One training run from the shell or a TOML file: task, split, model, training, and where to.

    Attributes:
        task: The task.
        split: Which pairs to train on, and label noise.
        model: The model; its p is the task's.
        train: How to train.
        out: Directory of the run.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: HookedMLPConfig = field(default_factory=HookedMLPConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    out: Path = field(default_factory=lambda: Path("runs/run"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        if self.model.p != self.task.p:
            if self.model.p != HookedMLPConfig.p:
                raise ValueError(
                    f"model.p={self.model.p} and task.p={self.task.p} differ: leave out model.p, which "
                    "follows the task"
                )
            object.__setattr__(self, "model", dataclasses.replace(self.model, p=self.task.p))
        if self.split.seed is None or self.model.seed is None:
            raise ValueError(
                "split.seed and model.seed must be ints, so that the run can be repeated"
            )


def from_dict(cls: type[Any], values: Any, where: str, *, complete: bool = False) -> Any:
    """Make the dataclass ``cls``, with the dataclasses in it, from nested mappings.

    Args:
        cls: One of the dataclasses above.
        values: Field names and values, as read from TOML or JSON.
        where: What the mapping came from, for the error.
        complete: Whether every field must be given, as in a file that a program wrote.

    Raises:
        ValueError: If a key is not a field of its class, one is missing from a complete mapping, or
            a value is out of range.
    """
    _check_keys(cls, values, where, complete)
    try:
        return _converter().structure(values, cls)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """The nested mapping, of values that JSON and TOML know, that :func:`from_dict` reads back."""
    values: dict[str, Any] = _converter().unstructure(config)
    return values


def read_toml(cls: type[Any], path: Path) -> Any:
    """Read ``cls`` from a TOML file, whose tables are the dataclasses in it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming the file, and the line or the key that is wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: pass the path of a TOML file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    return from_dict(cls, values, str(path))


def _check_keys(cls: type[Any], values: Any, where: str, complete: bool) -> None:
    """Refuse unknown keys, and missing ones if ``complete``, here and in nested dataclasses."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {values!r} must be a table with the fields of {cls.__name__}")
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"{where}: unknown keys {', '.join(map(repr, unknown))} for {cls.__name__}; "
            f"known keys are {', '.join(sorted(known))}"
        )
    missing = sorted(known - set(values))
    if complete and missing:
        raise ValueError(
            f"{where}: keys {', '.join(map(repr, missing))} of {cls.__name__} are missing"
        )
    for name, hint in get_type_hints(cls).items():
        if name in values and dataclasses.is_dataclass(hint):
            _check_keys(hint, values[name], f"{where}: {name}", complete)  # type: ignore[arg-type]


@cache
def _converter() -> Converter:
    """Nesting, tuples and paths are cattrs' part; values are checked by the dataclasses themselves.

    So plain values and tuples pass as they are, where cattrs would make 59 of "59" and of 59.9.
    """
    from cattrs import Converter  # a tenth of a second that the command line's help can do without

    converter = Converter(detailed_validation=False)
    for kind in (int, str, bool):
        converter.register_structure_hook(kind, lambda value, _: value)
    converter.register_structure_hook(
        float, lambda value, _: float(value) if type(value) is int else value
    )
    converter.register_structure_hook_func(
        lambda hint: str(get_origin(hint)) == str(Literal), lambda value, _: value
    )
    converter.register_structure_hook_func(
        _holds_tuple, lambda value, _: tuple(value) if isinstance(value, list) else value
    )
    return converter


def _holds_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(map(_holds_tuple, get_args(hint)))
