"""Networks of one shape that train step by step together: gradients, updates, evaluations.

One network is a stack of one, so a run alone and a member of an ensemble are the same arithmetic.
Networks with hooks, and types that sparse products do not know, go through their own forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from grok_interp import outputs
from grok_interp.config import TrainConfig
from grok_interp.gradients import DTYPES, Batch, Stack, Tally
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.losses import pair_losses
from grok_interp.optimizers import PER_NETWORK, Optimizer
from grok_interp.tasks import Split

UNSTACKED = (
    *PER_NETWORK,
    *("steps", "stop", "stop_evaluations", "seed", "progress"),
    *("eval_every", "checkpoint_every", "checkpoint_steps"),
)
"""Fields of :class:`.TrainConfig` in which networks of one stack may differ."""


@dataclass(frozen=True)
class Job:
    """A network, what it is trained on, and how.

    Attributes:
        model: Its parameters are changed.
        split: Training pairs and labels.
        config: How to train; ``trainable`` is resolved to names.
    """

    model: HookedMLP
    split: Split
    config: TrainConfig

    @property
    def shape(self) -> tuple[object, ...]:
        """What jobs that train together have in common."""
        cfg, weights = self.model.cfg, self.model.weights()
        shared = replace(cfg, seed=None, init="uniform", init_scale=1.0)
        config = replace(self.config, **{name: _DEFAULTS[name] for name in UNSTACKED})
        return shared, weights.act_fn, config, len(self.split.train_index)


_DEFAULTS: dict[str, Any] = {
    name: TrainConfig.__dataclass_fields__[name].default for name in UNSTACKED
}


def can_stack(model: HookedMLP) -> bool:
    """Whether gradients by :mod:`.gradients` are those of the model's own forward pass."""
    return model.W_in.dtype in DTYPES and not is_altered(model)


def is_altered(model: HookedMLP) -> bool:
    """Whether a user's hooks, on modules or on parameters, or methods of a subclass take part."""
    overridden = type(model).forward is not HookedMLP.forward
    overridden |= type(model)._logits is not HookedMLP._logits
    on_modules = any(
        module._forward_hooks
        or module._backward_hooks
        or module._forward_pre_hooks
        or module._backward_pre_hooks
        for module in model.modules()
    )
    on_parameters = any(
        parameter._backward_hooks or parameter._post_accumulate_grad_hooks
        for parameter in model.parameters()
    )
    return overridden or on_modules or on_parameters


class Lockstep:
    """Stacked networks and all that stepping them needs.

    Args:
        jobs: Of one :attr:`Job.shape`; one alone if it has hooks.
        done: Steps taken so far.
        state: The optimiser's state then; None at the start.
        parameters: Stacked parameters, if they are already; None stacks the models'. A single
            model's parameters are changed where they are.

    Attributes:
        parameters: ``[networks, ...]`` by name.
        optimizer: Holds moments ``[networks, ...]``.

    Raises:
        AssertionError: If several networks are given and the first has hooks.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        done: int = 0,
        state: Mapping[str, Tensor] | None = None,
        parameters: dict[str, Tensor] | None = None,
    ) -> None:
        self.jobs = list(jobs)
        first = self.jobs[0]
        self._config = first.config
        self._hooked = None if can_stack(first.model) else first.model
        if self._hooked is not None and len(jobs) > 1:
            raise AssertionError("networks with hooks train alone")
        self.parameters = _stacked(self.jobs) if parameters is None else parameters
        trained = {name: self.parameters[name] for name in first.config.trainable or ()}
        self.gradients = {name: torch.zeros_like(tensor) for name, tensor in trained.items()}
        configs = [job.config for job in jobs]
        self.optimizer = Optimizer(trained, self.gradients, configs, done, state)
        cfg, weights = first.model.cfg, first.model.weights()
        self._stack = Stack(
            len(jobs), cfg.p, cfg.d_mlp, weights.act_fn, cfg.output_scale, first.config.loss
        )
        self._tokens = self._side(lambda job: job.split.train_tokens)
        self._labels = self._side(lambda job: job.split.train_labels)
        self._answers = {
            "train": self._labels,
            "clean_train": self._side(lambda job: job.split.clean_train_labels),
        }
        self._train = self._batch(self._tokens, self._labels)
        self._test: tuple[Batch, Tensor] | None = None
        size = first.config.batch_size
        self._minibatch = None if size is None or size >= self._train.pairs else size
        self._order: tuple[int, Tensor] | None = None
        self._fresh = False

    def __len__(self) -> int:
        return len(self.jobs)

    def of(self, tensors: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
        """One network's part of stacked tensors."""
        return {name: tensor[index] for name, tensor in tensors.items()}

    def step(self, number: int) -> None:
        """Take step ``number``, counted from 0, with the gradient that an evaluation may have left."""
        if self._minibatch is not None:
            self._differentiate(self._draw(number, self._minibatch))
        elif not self._fresh:
            self._differentiate(self._train)
        self._fresh = False
        self.optimizer.step(number)

    def evaluate(self) -> list[dict[str, float]]:
        """Measure loss, accuracy and norms of each network.

        With full batches the gradient found on the way is the next step's.

        Returns:
            Metrics by name for each network, as :func:`grok_interp.training.train` lists them.
        """
        train = Tally(self._config.loss, self._answers)
        self._differentiate(self._train, train)
        self._fresh = self._minibatch is None
        if self._test is None:
            labels = self._side(lambda job: job.split.test_labels)
            tokens = self._side(lambda job: job.split.test_tokens)
            self._test = self._batch(tokens, labels), labels
        batch, labels = self._test
        test = Tally(self._config.loss, {"test": labels})
        if self._hooked is None:
            self._stack.measure(self.parameters, batch, test)
        else:
            for rows, logits in outputs.logits_in_chunks(self._hooked, batch.tokens[0]):
                test.add(logits.detach()[None], labels[:, rows], rows)
        n_train, n_test = self._train.pairs, batch.pairs
        columns = {
            "train_loss": train.loss(n_train),
            "test_loss": test.loss(n_test),
            "train_accuracy": train.accuracy("train", n_train),
            "clean_train_accuracy": train.accuracy("clean_train", n_train),
            "test_accuracy": test.accuracy("test", n_test),
            **_norms("weight_norm", self.parameters),
            **_norms("gradient_norm", self.gradients),
        }
        table = torch.stack(
            [column.expand(len(self)).double().cpu() for column in columns.values()]
        )
        return [dict(zip(columns, row, strict=True)) for row in table.T.tolist()]

    def select(self, keep: Sequence[int], done: int) -> Lockstep:
        """The same with only the networks ``keep``, after ``done`` steps."""
        index = torch.tensor(keep, device=self._labels.device)
        rest = Lockstep(
            [self.jobs[i] for i in keep],
            done,
            {name: tensor[index] for name, tensor in self.optimizer.state.items()},
            {name: tensor[index] for name, tensor in self.parameters.items()},
        )
        for name, gradient in rest.gradients.items():
            gradient.copy_(self.gradients[name][index])
        rest._fresh = self._fresh
        return rest

    def write_back(self, index: int) -> None:
        """Copy one network's parameters into its model, where they are not the model's own."""
        with torch.no_grad():
            for name, parameter in self.jobs[index].model.mlp.named_parameters(recurse=False):
                stacked = self.parameters[name][index]
                if stacked.data_ptr() != parameter.data_ptr():
                    parameter.copy_(stacked)

    # Gradients ----------------------------------------------------------------------------------

    def _differentiate(self, batch: Batch, tally: Tally | None = None) -> None:
        if self._hooked is None:
            self._stack.gradients(self.parameters, batch, self.gradients, tally)
            return
        model, labels = self._hooked, batch.labels[0]
        logits = model(batch.tokens[0])
        loss = pair_losses(logits, labels, self._config.loss).mean()
        named = dict(model.mlp.named_parameters(recurse=False))
        leaves = [named[name] for name in self.gradients]
        for name, found in zip(
            self.gradients, torch.autograd.grad(loss, leaves, allow_unused=True), strict=True
        ):
            self.gradients[name].zero_()
            if found is not None:
                self.gradients[name].copy_(found)
        if tally is not None:
            tally.add(logits.detach()[None], batch.labels, slice(None))

    def _draw(self, number: int, size: int) -> Batch:
        """The minibatch of a step, known from the seed and the step alone."""
        per_epoch = math.ceil(self._train.pairs / size)
        epoch, place = divmod(number, per_epoch)
        if self._order is None or self._order[0] != epoch:
            orders = [epoch_order(job.config.seed, epoch, self._train.pairs) for job in self.jobs]
            self._order = epoch, torch.stack(orders).to(self._labels.device)
        rows = self._order[1][:, place * size : (place + 1) * size]
        tokens = self._tokens.gather(1, rows.unsqueeze(-1).expand(-1, -1, 2))
        return self._batch(tokens, self._labels.gather(1, rows))

    def _batch(self, tokens: Tensor, labels: Tensor) -> Batch:
        W_in = self.parameters["W_in"]
        stacked = self._hooked is None
        p, d_mlp = W_in.shape[-2:]
        return Batch(tokens, labels, p, d_mlp, W_in.dtype, sort=stacked)

    def _side(self, of: Callable[[Job], Tensor]) -> Tensor:
        return torch.stack([of(job) for job in self.jobs]).to(self.parameters["W_in"].device)


def _stacked(jobs: Sequence[Job]) -> dict[str, Tensor]:
    """All parameters with the networks on a new first axis; a view for one network."""
    each = [dict(job.model.mlp.named_parameters(recurse=False)) for job in jobs]
    if len(each) == 1:
        return {name: tensor.detach().unsqueeze(0) for name, tensor in each[0].items()}
    return {name: torch.stack([tensors[name].detach() for tensors in each]) for name in each[0]}


def epoch_order(seed: int, epoch: int, pairs: int) -> Int[Tensor, " pairs"]:
    """A random order of the pairs that depends on the seed and the epoch only.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        pairs: How many there are.

    Returns:
        Indices of all pairs.
    """
    mixed = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(mixed) % 2**63)
    return torch.randperm(pairs, generator=generator)


def _norms(label: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """L2 norm by network of all tensors together, and of each."""
    squares = {
        name: tensor.double().square().flatten(1).sum(-1) for name, tensor in tensors.items()
    }
    total = torch.stack(list(squares.values())).sum(0).sqrt()
    return {label: total} | {f"{label}_{name}": square.sqrt() for name, square in squares.items()}
