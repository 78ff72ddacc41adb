"""What a landscape is measured on: a network, its data, its loss, and when an answer is right.

A :class:`Problem` is any network on any data. :func:`teacher_student` is that of arXiv 2210.01117; images,
language and molecules are in :mod:`.realdata`. Modular addition with a HookedMLP is a
:class:`ModularProblem`, which trains by formula and keeps checkpoints that are models.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from grok_interp.config import HookedMLPConfig, SplitConfig, TaskConfig, TrainConfig, check_choice
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.losses import pair_losses, pair_margins
from grok_interp.tasks import ModularTask, Split

ProblemLoss = Literal["cross_entropy", "mse_one_hot", "mse", "binary"]
Built = TypeVar("Built")

HELD: dict[str, Any] = {"optimizer": "adam", "weight_decay": 0.0, "constraint": "sphere"}
"""How landscapes are trained but for lengths and rates; decay would only change what the sphere undoes."""
TEACHER_SHAPE = (5, 100, 100, 5)
TEACHER_EXAMPLES = 100
TEACHER_TOLERANCE = 1e-3
"""Mean squared error of an example below which it counts as right; it, and widths and examples on either
side above, are those of arXiv 2210.01117, section 3.1."""


@dataclass(frozen=True, eq=False)
class Side:
    """Examples of one side of a split.

    Attributes:
        inputs: What the network is called with, each ``[examples, ...]``.
        targets: Classes ``[examples]`` (int64), 0 or 1 ``[examples]``, or values ``[examples, outputs]``.

    Raises:
        TypeError: If inputs are no tuple, or targets no tensor.
        ValueError: If lengths differ or there is no example.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, tuple) or not isinstance(self.targets, Tensor):
            raise TypeError(
                f"inputs is a {type(self.inputs).__name__} and targets a {type(self.targets).__name__}, "
                "expected a tuple of tensors and a tensor: write Side((x,), y)"
            )
        lengths = [len(tensor) for tensor in (*self.inputs, self.targets)]
        if len(lengths) < 2 or len(set(lengths)) != 1 or lengths[0] == 0:
            raise ValueError(
                f"inputs and targets have {lengths} examples: pass at least one input tensor, and as many "
                "targets as examples, one or more"
            )

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, index: Int[Tensor, " examples"] | slice) -> Side:
        """Some of the examples, by index or slice."""
        return Side(tuple(tensor[index] for tensor in self.inputs), self.targets[index])


@dataclass(frozen=True, eq=False)
class Data:
    """Examples to train on, and others.

    Attributes:
        train: To train on.
        test: Held out.
    """

    train: Side
    test: Side


@dataclass(frozen=True, eq=False)
class Problem:
    """A network on data.

    Attributes:
        name: Shown, and stored with results.
        network: Makes a fresh network, at its usual initialisation, from a seed; the same seed gives the
            same weights. :func:`seeded` does that without touching the global generator.
        data: Makes both sides from a seed and the number of training examples.
        loss: ``"cross_entropy"`` of classes; ``"mse_one_hot"``, squared error against one-hot classes,
            the mean taken over classes too; ``"mse"`` of values; ``"binary"``, cross-entropy of one logit.
        size: Training examples unless others are asked for.
        tolerance: With ``"mse"``, the mean squared error of an example below which it counts as right;
            None leaves accuracies NaN.
        train: How to train unless said otherwise.
        about: Where the data come from and what was done to them, for people.

    Raises:
        TypeError: If the network is one, and no function that makes one.
        ValueError: If the loss is unknown, or a tolerance does not belong to it.
    """

    name: str
    network: Callable[[int], nn.Module]
    data: Callable[[int, int], Data]
    loss: ProblemLoss | str
    size: int
    tolerance: float | None = None
    train: TrainConfig = field(default_factory=lambda: TrainConfig(**HELD))
    about: str = ""

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, ProblemLoss)
        if isinstance(self.network, nn.Module) or not callable(self.network):
            raise TypeError(
                f"network is a {type(self.network).__name__}, expected a function from a seed to a fresh "
                "network: write lambda seed: problems.seeded(seed, lambda: nn.Linear(2, 2)), or, for every "
                "seed to start from the same weights, lambda seed: model"
            )
        if self.tolerance is not None and self.loss != "mse":
            raise ValueError(
                f"tolerance={self.tolerance!r} is for loss='mse', and the loss is {self.loss!r}: leave it out"
            )

    def losses(self, outputs: Tensor, targets: Tensor) -> Float[Tensor, "*networks examples"]:
        """The loss of every example.

        Args:
            outputs: ``[*networks, examples, ...]`` as the networks give them.
            targets: ``[examples, ...]``, the same for all networks.

        Returns:
            Of every example; nats for cross-entropies, squared units of the targets for squared errors (a
            mean over outputs or classes).

        Raises:
            ValueError: If the shapes of outputs and values do not agree.
        """
        if self.loss == "cross_entropy":
            return pair_losses(outputs, targets)
        if self.loss == "mse_one_hot":
            return pair_losses(outputs, targets, "mse")
        if self.loss == "binary":
            logit = _one_logit(outputs, targets)
            wanted = targets.to(logit.dtype).expand(logit.shape)
            return F.binary_cross_entropy_with_logits(logit, wanted, reduction="none")
        return _squared_errors(outputs, targets)

    def check(self, outputs: object, data: Data) -> None:
        """Raise unless outputs and targets fit the loss.

        Args:
            outputs: What a network gives on the first of the training examples.
            data: Both sides.

        Raises:
            TypeError: If the outputs are no tensor.
            ValueError: If shapes do not fit, or a target has a value that the loss does not know.
        """
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"the network gives a {type(outputs).__name__}, expected a tensor with a row an example: "
                "wrap it in a module that returns that"
            )
        targets = data.train.targets[: len(outputs)] if outputs.ndim else data.train.targets
        found, wanted = list(outputs.shape), list(targets.shape)
        classes = self.loss in ("cross_entropy", "mse_one_hot")
        if classes:
            fits, expected = outputs.ndim == 2 and found[:1] == wanted, "[examples, classes]"
        elif self.loss == "binary":
            fits = found in (wanted, [*wanted, 1]) and targets.ndim == 1
            expected = "[examples] or [examples, 1]"
        else:
            fits, expected = found == wanted, "the shape of the targets"
        if not fits:
            raise ValueError(
                f"with loss={self.loss!r} the network gives {found} for targets {wanted}, expected "
                f"{expected}: change the network's last layer or the targets"
            )
        for name, side in (("train", data.train), ("test", data.test)):
            values = side.targets
            if classes:
                expected = f"int64 classes 0 to {found[1] - 1}, one for each output"
                wrong = (values < 0) | (values >= found[1]) | (values.dtype != torch.int64)
            elif self.loss == "binary":
                expected, wrong = "0 or 1", (values != 0) & (values != 1)
            else:
                expected, wrong = "finite numbers", ~torch.isfinite(values)
            if values.shape[1:] != targets.shape[1:]:
                raise ValueError(
                    f"{name} targets are {list(values.shape)}, and those of the training side "
                    f"[examples, {', '.join(map(str, targets.shape[1:]))}]: make both sides alike"
                )
            if wrong.any():
                value = values[wrong].flatten()[0].item()
                raise ValueError(
                    f"{int(wrong.sum())} {name} targets do not fit loss={self.loss!r}, the first is {value} "
                    f"({values.dtype}), expected {expected}: convert or leave out those examples"
                )

    def right(self, outputs: Tensor, targets: Tensor) -> Float[Tensor, "*networks examples"]:
        """Which answers are right, ties being wrong.

        Args:
            outputs: ``[*networks, examples, ...]`` as the networks give them.
            targets: ``[examples, ...]``, the same for all networks.

        Returns:
            1 for right and 0 for wrong; NaN for values without a tolerance, where nothing can be
            right or wrong.
        """
        right: Bool[Tensor, "..."]
        if self.loss in ("cross_entropy", "mse_one_hot"):
            right = pair_margins(outputs, targets) > 0
        elif self.loss == "binary":
            logit = _one_logit(outputs, targets)
            right = torch.where(targets > 0, logit > 0, logit < 0)
        elif self.tolerance is None:
            return torch.full_like(_squared_errors(outputs, targets), torch.nan)
        else:
            right = _squared_errors(outputs, targets) < self.tolerance
        return right.to(torch.float64)


def constant_loss(targets: Tensor, loss: ProblemLoss | str) -> float:
    """The least mean loss of an answer that is the same for every example, which learns nothing of them.

    The entropy of the classes for cross-entropies, ``sum f (1 - f) / classes`` of their shares f for squared
    error against one-hot classes, the variance of values.

    Args:
        targets: Of one side, as in :class:`Side`.
        loss: A loss of :class:`Problem`.

    Returns:
        In nats for cross-entropies, in squared units of the targets otherwise.
    """
    if loss == "mse":
        return float(targets.double().var(0, correction=0).mean())
    shares = targets.long().bincount().double() / len(targets)
    if loss == "mse_one_hot":
        return float((shares * (1 - shares)).mean())
    return float(torch.special.entr(shares).sum())


def _one_logit(outputs: Tensor, targets: Tensor) -> Tensor:
    """The logit of each example, whether or not the network leaves an axis of length 1."""
    return outputs.squeeze(-1) if outputs.shape[-2:] == (len(targets), 1) else outputs


def _squared_errors(outputs: Tensor, targets: Tensor) -> Float[Tensor, "*networks examples"]:
    if outputs.shape[-targets.ndim :] != targets.shape:
        raise ValueError(
            f"the network gives {list(outputs.shape)} and the targets are {list(targets.shape)}: their last "
            "axes must agree, or they would be broadcast against each other"
        )
    errors = (outputs - targets).square()
    return errors.flatten(outputs.ndim - targets.ndim + 1).mean(-1) if targets.ndim > 1 else errors


@dataclass(frozen=True)
class ModularProblem:
    """A modular task with a HookedMLP.

    Attributes:
        task: The task.
        model: The network; seed and initial scale are set by the landscape.
        train: How to train unless said otherwise.
        train_fraction: Share of the pairs to train on unless sizes are asked for.
        label_noise: Share of the training labels that are redrawn.

    Raises:
        ValueError: If the model's p is not the task's.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    model: HookedMLPConfig = field(default_factory=lambda: HookedMLPConfig(d_mlp=256))
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=4000, checkpoint_every=1000, **HELD)
    )
    train_fraction: float = 0.5
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.model.p != self.task.p:
            raise ValueError(
                f"model.p={self.model.p} and task.p={self.task.p} differ: make both with one p"
            )

    @property
    def name(self) -> str:
        """What the task is called."""
        return f"{self.task.operation} mod {self.task.p}"

    @property
    def size(self) -> int:
        """Training pairs."""
        return int(self.train_fraction * self.task.p**2)

    def split(self, seed: int, size: int) -> Split:
        """The split of a seed with ``size`` training pairs.

        Args:
            seed: Seed of the split and of the noise.
            size: Training pairs.

        Returns:
            The split; all other pairs are held out.

        Raises:
            ValueError: If there are not so many pairs.
        """
        if not 1 <= size <= self.task.p**2:
            raise ValueError(
                f"{size} training pairs were asked for, and p={self.task.p} has {self.task.p**2}: choose a "
                "size from 1 up to that"
            )
        # Half a pair more, so that rounding down gives the number asked for.
        fraction = min(1.0, (size + 0.5) / self.task.p**2)
        return ModularTask(self.task).split(SplitConfig(fraction, self.label_noise, seed))

    def network(self, seed: int, alpha: float) -> HookedMLP:
        """The network of a seed, its initial weights scaled by alpha."""
        return HookedMLP(dataclasses.replace(self.model, seed=seed, init_scale=alpha))


def teacher_student(examples: int = TEACHER_EXAMPLES) -> Problem:
    """A student that learns the outputs of a random teacher of its own shape, on Gaussian inputs.

    Section 3.1 of arXiv 2210.01117: both are 5-100-100-5 with tanh, the loss is the mean squared error, an
    example is right if its error is below .001. The teacher and the inputs follow from the data's seed.

    Args:
        examples: Training examples.

    Returns:
        The problem, trained on the sphere with Adam (learning rate 3e-4, 10,000 steps) unless told
        otherwise.
    """

    def data(seed: int, size: int) -> Data:
        generator = torch.Generator().manual_seed(seed)
        teacher_seed = int(torch.randint(2**62, (), generator=generator))
        teacher = _tanh_network(teacher_seed)
        # The held-out examples first, so that every size is tested on the same ones.
        sides = []
        for examples in (TEACHER_EXAMPLES, size):
            inputs = torch.randn(examples, TEACHER_SHAPE[0], generator=generator)
            with torch.no_grad():
                sides.append(Side((inputs,), teacher(inputs)))
        return Data(train=sides[1], test=sides[0])

    return Problem(
        name="teacher-student",
        network=_tanh_network,
        data=data,
        loss="mse",
        size=examples,
        tolerance=TEACHER_TOLERANCE,
        train=TrainConfig(
            steps=10_000,
            lr=3e-4,
            betas=(0.9, 0.999),
            **HELD,
        ),
        about=f"{TEACHER_EXAMPLES} held-out examples; teacher and inputs are drawn from the seed",
    )


def _tanh_network(seed: int) -> nn.Module:
    return perceptron(TEACHER_SHAPE, nn.Tanh, seed)


def perceptron(
    widths: tuple[int, ...], activation: Callable[[], nn.Module], seed: int
) -> nn.Sequential:
    """Linear layers of these widths with an activation between them.

    Args:
        widths: Of the input, of each hidden layer, and of the output.
        activation: Makes a module.
        seed: Seed of the weights, drawn as ``nn.Linear`` does; the global generator is left as it was.

    Returns:
        A network from ``[examples, inputs]`` to ``[examples, outputs]``.
    """

    def build() -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), activation()]
        return nn.Sequential(*layers[:-1])

    return seeded(seed, build)


def seeded(seed: int, build: Callable[[], Built]) -> Built:
    """Call a function with PyTorch's default generator at a seed, and leave the generator as it was.

    Args:
        seed: The seed.
        build: Makes something that draws, such as a network.

    Returns:
        What ``build`` returns.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
