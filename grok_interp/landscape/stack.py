"""Copies of any network that train together on the same examples, as one stacked computation.

Copies of one architecture differ in their weights, learning rates and decays, and see the same batch at
each step. ``torch.func.vmap`` runs them as one where it can; networks that it cannot run (an LSTM, say) go
through one after another, with the same results.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from grok_interp import sphere
from grok_interp.config import TrainConfig
from grok_interp.lockstep import epoch_order
from grok_interp.optimizers import Optimizer
from grok_interp.problems import Data, Problem, Side, seeded

EXAMPLES_AT_ONCE = 1000
"""Examples that are evaluated at a time, which bounds the memory."""
DRAWS = 1_000_003
"""Keeps apart what networks of different seeds draw at different steps."""
MEASURED = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "weight_norm")
"""What an evaluation measures."""
NOT_HERE = {
    "trainable": "set requires_grad on its parameters",
    "loss": "the problem's own loss is trained on",
    "matmul_precision": "call torch.set_float32_matmul_precision yourself",
    "stop": "all steps are taken, since the networks of a stack step together",
    "stop_evaluations": "all steps are taken",
    "checkpoint_every": "no weights are stored",
    "checkpoint_steps": "no weights are stored",
}
"""Fields of TrainConfig that have no meaning here, and what to do or know instead."""
TRIED = 2
"""Examples on which it is tried whether the networks can be stacked."""


class ModuleStack:
    """Networks of one architecture and all that stepping them needs.

    Steps are taken in training mode, evaluations in evaluation mode, each network with buffers (running
    statistics, say) of its own; what it draws, dropout's masks, follows from the seed and the step.

    Args:
        networks: Of one architecture; they are copied.
        problem: What they learn.
        data: Examples.
        configs: How each is trained; they differ in learning rate and decay at most. The loss is the
            problem's, whatever a configuration says.

    Attributes:
        parameters: Trained parameters ``[networks, ...]`` by name.
        stacked: Whether vmap runs them.
        why_not: If it does not, the error that it raised.

    Raises:
        ValueError: If nothing requires gradients, outputs and targets do not fit the loss, or a field of
            :data:`NOT_HERE` is set.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        problem: Problem,
        data: Data,
        configs: Sequence[TrainConfig],
    ) -> None:
        self._problem, self._data, self._config = problem, data, configs[0]
        check_settings(self._config)
        learning = [name for name, each in networks[0].named_parameters() if each.requires_grad]
        if not learning:
            raise ValueError(f"no parameter of {type(networks[0]).__name__} requires gradients")
        parameters, buffers = stack_module_state(list(networks))
        self.parameters = {name: parameters[name].detach().contiguous() for name in learning}
        self._rest = {
            name: tensor.detach()
            for name, tensor in (parameters | buffers).items()
            if name not in learning
        }
        self._gradients = {name: torch.zeros_like(each) for name, each in self.parameters.items()}
        self._optimizer = Optimizer(self.parameters, self._gradients, configs)
        self._skeleton = copy.deepcopy(networks[0])
        size = self._config.batch_size
        self._size = None if size is None or size >= len(data.train) else size
        self._order: tuple[int, Tensor] | None = None
        self.stacked, self.why_not = True, ""
        before = {name: tensor.clone() for name, tensor in self._rest.items()}
        self._skeleton.train()  # as in a step: what draws must draw in the trial
        trial = data.train.rows(slice(TRIED))
        with torch.no_grad():
            try:
                seeded(0, lambda: self._outputs(trial))
            except Exception as error:  # vmap raises what the operation that it does not know does
                self.stacked, self.why_not = False, f"{type(error).__name__}: {error}"
            outputs = seeded(0, lambda: self._one(0, trial))
        problem.check(outputs, data)
        self._rest = before  # running statistics have not seen the trial

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def step(self, number: int) -> None:
        """Take step ``number``, counted from 0."""
        self._skeleton.train()
        batch = self._batch(number)
        # What a network draws (dropout, say) follows from the seed and the step, whoever is beside it.
        draws = self._config.seed + DRAWS * number
        if self.stacked:
            self._differentiate(
                lambda: seeded(draws, lambda: self._outputs(batch)), batch, slice(None)
            )
        else:  # one network's activations at a time
            for index in range(len(self)):
                self._differentiate(
                    lambda: seeded(draws, lambda: self._one(index, batch)[None]),  # noqa: B023
                    batch,
                    slice(index, index + 1),
                )
        self._optimizer.step(number)

    def _differentiate(self, outputs: Callable[[], Tensor], batch: Side, networks: slice) -> None:
        """Write the gradients of some of the networks' mean losses."""
        leaves = {name: tensor.requires_grad_() for name, tensor in self.parameters.items()}
        losses = self._problem.losses(outputs(), batch.targets).mean(-1)
        found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
            leaf.requires_grad_(False)
            into = self._gradients[name][networks]
            into.zero_() if gradient is None else into.copy_(gradient[networks])

    @torch.no_grad()
    def evaluate(self) -> list[dict[str, float]]:
        """Loss and accuracy on both sides, and the norm of the trained parameters, of each network."""
        self._skeleton.eval()
        columns: dict[str, Tensor] = {}
        for name, side in (("train", self._data.train), ("test", self._data.test)):
            device = next(iter(self.parameters.values())).device
            losses = torch.zeros(len(self), dtype=torch.float64, device=device)
            right = torch.zeros_like(losses)
            for start in range(0, len(side), EXAMPLES_AT_ONCE):
                part = side.rows(slice(start, start + EXAMPLES_AT_ONCE))
                outputs = self._outputs(part)
                losses += self._problem.losses(outputs, part.targets).double().sum(-1)
                right += self._problem.right(outputs, part.targets).sum(-1)
            columns |= {f"{name}_loss": losses / len(side), f"{name}_accuracy": right / len(side)}
        columns["weight_norm"] = sphere.norms(list(self.parameters.values()))
        table = torch.stack([columns[name].cpu() for name in MEASURED])
        return [dict(zip(MEASURED, row, strict=True)) for row in table.T.tolist()]

    def _outputs(self, side: Side) -> Tensor:
        """What the networks give, ``[networks, examples, ...]``."""
        tensors = self.parameters | self._rest

        def one(own: dict[str, Tensor]) -> Any:
            return functional_call(self._skeleton, own, side.inputs)

        if self.stacked:
            return vmap(one)(tensors)  # type: ignore[no-any-return]
        return torch.stack([self._one(index, side) for index in range(len(self))])

    def _one(self, index: int, side: Side) -> Any:
        """What one network gives."""
        tensors = self.parameters | self._rest
        own = {name: tensor[index] for name, tensor in tensors.items()}
        return functional_call(self._skeleton, own, side.inputs)

    def _batch(self, number: int) -> Side:
        """The examples of a step, known from the seed and the step alone."""
        train = self._data.train
        if self._size is None:
            return train
        epoch, place = divmod(number, math.ceil(len(train) / self._size))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order(self._config.seed, epoch, len(train))
        return train.rows(self._order[1][place * self._size : (place + 1) * self._size])


def check_settings(config: TrainConfig) -> None:
    """Raise ``ValueError`` if a field of :data:`NOT_HERE` is set."""
    for name, advice in NOT_HERE.items():
        value = getattr(config, name)
        if value != TrainConfig.__dataclass_fields__[name].default:
            raise ValueError(
                f"{name}={value!r} is for HookedMLPs; with any other network {advice}: leave it out"
            )
