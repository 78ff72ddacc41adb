"""Tasks, splits and networks."""

from __future__ import annotations

from dataclasses import dataclass

from grok_interp.config.checks import (
    INF,
    check_choice,
    check_count,
    check_flag,
    check_modulus,
    check_range,
    check_seed,
)
from grok_interp.config.choices import ActivationName, DTypeName, InitName

NAMED_OPERATIONS = {"add": "a + b", "subtract": "a - b", "multiply": "a * b"}
"""Operations with a name of their own, and the polynomial that each one is."""


@dataclass(frozen=True)
class TaskConfig:
    """A modular task ``c = operation(a, b) mod p``.

    Attributes:
        p: Modulus and number of classes, at least 3; prime for multiplication to have coordinates.
        operation: ``"add"``, ``"subtract"``, ``"multiply"``, or a polynomial in ``a`` and ``b``
            with integer coefficients such as ``"a**2 + b**2"``.

    Raises:
        TypeError: If ``p`` is not an int.
        ValueError: If ``p < 3``, or the operation is not text.
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

    Raises:
        ValueError: If a share is out of range, ``seed`` is not an int or ``symmetric`` not a bool.
    """

    train_fraction: float = 0.5
    label_noise: float = 0.0
    seed: int | None = 0
    symmetric: bool = False

    def __post_init__(self) -> None:
        check_range(
            "train_fraction", self.train_fraction, 0, 1, "(]", "the share of pairs to train on"
        )
        check_range(
            "label_noise", self.label_noise, 0, 1, "[]", "the share of train labels to redraw"
        )
        check_flag("symmetric", self.symmetric)
        if self.seed is not None:
            check_seed(self.seed)


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

    Raises:
        TypeError: If ``p`` is not an int.
        ValueError: If a value is out of range, or a name is unknown.
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
        check_count("d_mlp", self.d_mlp, 1)
        check_choice("act_fn", self.act_fn, ActivationName)
        check_choice("dtype", self.dtype, DTypeName)
        check_choice("init", self.init, InitName)
        check_range("output_scale", self.output_scale, -INF, INF, "()", "the factor on the logits")
        check_range("init_scale", self.init_scale, 0, INF, "[)", "the factor on initial weights")
        for name in ("bias_in", "bias_out", "tied_operands"):
            check_flag(name, getattr(self, name))
        if self.seed is not None:
            check_seed(self.seed)
