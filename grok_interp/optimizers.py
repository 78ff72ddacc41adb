"""Optimisers for stacked networks, each with its own learning rate, decay and moments.

PyTorch's functional forms do the arithmetic, fused; what is here is their state, laid out with the
networks on the first axis so that it can be saved, resumed, and thinned out when a network leaves.
Neighbours with equal settings are updated in one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from grok_interp.config import TrainConfig

EPSILON = 1e-8
"""Added to the root of Adam's second moment, as PyTorch does by default."""
TINY = 1e-30
"""Added to squared norms before dividing by them."""
PER_NETWORK = ("lr", "weight_decay", "betas", "momentum", "warmup_steps")
"""Fields in which networks that are updated together may differ."""


class Optimizer:
    """Changes stacked parameters in place, given their gradients.

    Args:
        parameters: Tensors ``[networks, ...]`` by name, contiguous.
        gradients: Tensors like them, which hold the gradients when :meth:`step` is called.
        configs: How each network is trained; they differ in :data:`PER_NETWORK` at most.
        done: Steps already taken.
        state: What :attr:`state` was then; None to start afresh.

    Attributes:
        state: Moments ``[networks, ...]`` by names such as ``"exp_avg.W_in"``.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        configs: Sequence[TrainConfig],
        done: int = 0,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        config = configs[0]
        self._parameters, self._gradients, self._rule = parameters, gradients, config.gradient
        moments = ("exp_avg", "exp_avg_sq")
        if config.optimizer == "sgd":
            moments = ("momentum_buffer",) if any(each.momentum for each in configs) else ()  # type: ignore[assignment]
        kept = (*moments, "gradient_average") if config.gradient == "grokfast" else moments
        self.state = {
            f"{kind}.{name}": torch.zeros_like(parameter)
            for kind in kept
            for name, parameter in parameters.items()
        }
        for name, tensor in (state or {}).items():
            self.state[name].copy_(tensor)
        self._groups = [
            _Group(
                configs[run.start],
                [parameter[run] for parameter in parameters.values()],
                [gradients[name][run] for name in parameters],
                [[self.state[f"{kind}.{name}"][run] for name in parameters] for kind in moments],
                done,
            )
            for run in _runs(
                [tuple(getattr(each, name) for name in PER_NETWORK) for each in configs]
            )
        ]
        self._alpha, self._lambda = config.grokfast_alpha, config.grokfast_lambda

    def step(self, number: int) -> None:
        """Take step ``number``, counted from 0."""
        with torch.no_grad():
            if self._rule == "orthogonal":
                for name, parameter in self._parameters.items():
                    _orthogonalize(self._gradients[name], parameter)
            elif self._rule == "grokfast":
                for name, gradient in self._gradients.items():
                    average = self.state[f"gradient_average.{name}"]
                    average.lerp_(gradient, 1 if number == 0 else 1 - self._alpha)
                    gradient.add_(average, alpha=self._lambda)
            for group in self._groups:
                group.step(number)


class _Group:
    """Networks with equal settings; private, as the views must outlive no change of the stack."""

    def __init__(
        self,
        config: TrainConfig,
        parameters: list[Tensor],
        gradients: list[Tensor],
        moments: list[list[Tensor]],
        done: int,
    ) -> None:
        self.config, self.parameters, self.gradients, self.moments = (
            config,
            parameters,
            gradients,
            moments,
        )
        self.counts = [torch.tensor(float(done), device=each.device) for each in parameters]

    def step(self, number: int) -> None:
        config = self.config
        lr = config.lr
        if number < config.warmup_steps:
            lr *= (number + 1) / config.warmup_steps
        if config.optimizer == "sgd":
            buffers: list[Tensor | None] = [None] * len(self.parameters)
            if self.moments:
                buffers = list(self.moments[0])
            sgd(
                self.parameters,
                self.gradients,
                buffers,
                fused=True,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
                lr=lr,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        (adamw if config.optimizer == "adamw" else adam)(
            self.parameters,
            self.gradients,
            self.moments[0],
            self.moments[1],
            [],
            self.counts,
            fused=True,
            amsgrad=False,
            beta1=config.betas[0],
            beta2=config.betas[1],
            lr=lr,
            weight_decay=config.weight_decay,
            eps=EPSILON,
            maximize=False,
        )


def _runs(settings: Sequence[tuple[object, ...]]) -> list[slice]:
    """Slices of neighbours with equal settings."""
    starts = [i for i in range(len(settings)) if i == 0 or settings[i] != settings[i - 1]]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(settings)], strict=True)]


def _orthogonalize(gradient: Tensor, parameter: Tensor) -> None:
    """Take from each network's gradient its part along the parameter, then restore its length."""
    axes = tuple(range(1, gradient.ndim))
    length = gradient.square().sum(axes, keepdim=True).sqrt()
    along = (gradient * parameter).sum(axes, keepdim=True)
    along = along / (parameter.square().sum(axes, keepdim=True) + TINY)
    gradient.sub_(along * parameter)
    left = gradient.square().sum(axes, keepdim=True)
    gradient.mul_(length / (left + TINY).sqrt())
