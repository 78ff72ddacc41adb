"""Optimisers for stacked networks, each with its own learning rate, decay and moments.

PyTorch's functional forms do the arithmetic, fused; what is here is their state, laid out with the
networks on the first axis so that it can be saved, resumed, and thinned out when a network leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from grok_interp import sphere
from grok_interp.config import TrainConfig

EPSILON = 1e-8
"""Added to the root of Adam's second moment, as PyTorch does by default."""
TINY = 1e-30
"""Added to norms, in float64, before dividing by them."""
RADIUS = "radius"
"""First part of the names under which the state keeps the norms of a constraint."""
PER_NETWORK = ("lr", "weight_decay")
"""Fields in which networks that are updated together may differ."""


def state_like(config: TrainConfig, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the state of one network holds, by name, as tensors of the right shapes and types.

    Args:
        config: How it is trained.
        parameters: The trained parameters, or tensors like them.

    Returns:
        Moments by names such as ``"exp_avg.W_in"``, like their parameters, and scalars such as
        ``"radius.all"``; see :class:`Optimizer`.
    """
    kept = {
        f"{kind}.{name}": tensor for kind in moments(config) for name, tensor in parameters.items()
    }
    groups = sphere.groups(parameters, config.constraint)
    radius = torch.empty((), dtype=torch.float64, device="meta")
    return kept | {f"{RADIUS}.{group}": radius for group in groups}


def moments(config: TrainConfig) -> tuple[str, ...]:
    """Kinds of moments that training as ``config`` says keeps for each parameter."""
    kinds: tuple[str, ...] = ("exp_avg", "exp_avg_sq")
    if config.optimizer == "sgd":
        kinds = ("momentum_buffer",) if config.momentum else ()
    return (*kinds, "gradient_average") if config.gradient == "grokfast" else kinds


class Optimizer:
    """Changes stacked parameters in place, given their gradients; rules as in :class:`.TrainConfig`.

    Args:
        parameters: Tensors ``[networks, ...]`` by name, contiguous.
        gradients: Tensors like them, which hold the gradients when :meth:`step` is called, and are
            overwritten.
        configs: How each network is trained; they differ in :data:`PER_NETWORK` at most.
        done: Steps already taken.
        state: What ``state`` was then; None to start afresh.

    Attributes:
        state: Moments ``[networks, ...]`` by names such as ``"exp_avg.W_in"``, and the norms ``[networks]``
            that parameters are held at, such as ``"radius.all"``.

    Raises:
        ValueError: If parameters are to be held at a norm that is 0 or not finite.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        configs: Sequence[TrainConfig],
        done: int = 0,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._config = config = configs[0]
        self._parameters = list(parameters.values())
        self._gradients = [gradients[name] for name in parameters]
        self._moments = {
            kind: [torch.zeros_like(tensor) for tensor in self._parameters]
            for kind in moments(config)
        }
        self._named = dict(parameters)
        self._groups = sphere.groups(parameters, config.constraint)
        self._radius = {
            group: sphere.norms([parameters[name] for name in names])
            for group, names in self._groups.items()
        }
        for group, radii in self._radius.items():
            for radius in radii.tolist():
                sphere.check_radius(group, radius)
        self.state = {
            f"{kind}.{name}": tensor
            for kind, tensors in self._moments.items()
            for name, tensor in zip(parameters, tensors, strict=True)
        }
        self.state |= {f"{RADIUS}.{group}": radius for group, radius in self._radius.items()}
        for name, tensor in (state or {}).items():
            self.state[name].copy_(tensor)
        self._counts = [torch.tensor(float(done), device=each.device) for each in self._parameters]
        self._lr = self._decay = None
        if any(_settings(each) != _settings(config) for each in configs):
            self._lr = self._per_network([each.lr for each in configs])
            self._decay = self._per_network([each.weight_decay for each in configs])
            self._updates = [torch.zeros_like(each) for each in self._parameters]

    def step(self, number: int) -> None:
        """Take step ``number``, counted from 0."""
        config = self._config
        warm = min(1.0, (number + 1) / max(1, config.warmup_steps))
        with torch.no_grad():
            if config.gradient == "orthogonal":
                for gradient, parameter in zip(self._gradients, self._parameters, strict=True):
                    _orthogonalize(gradient, parameter)
            elif config.gradient == "grokfast":
                forget = 1 if number == 0 else 1 - config.grokfast_alpha
                for gradient, average in zip(
                    self._gradients, self._moments["gradient_average"], strict=True
                ):
                    average.lerp_(gradient, forget)
                    gradient.add_(average, alpha=config.grokfast_lambda)
            if self._lr is None or self._decay is None:
                self._update(self._parameters, warm * config.lr, config.weight_decay)
            else:
                self._update_each(self._lr, self._decay, warm)
            sphere.project_stack(self._named, self._groups, self._radius)

    def _update(self, tensors: list[Tensor], lr: float, weight_decay: float) -> None:
        """PyTorch's update of ``tensors`` with one learning rate and decay for all."""
        config = self._config
        if config.optimizer == "sgd":
            buffers: list[Tensor | None] = [None] * len(tensors)
            sgd(
                tensors,
                self._gradients,
                list(self._moments.get("momentum_buffer", buffers)),
                fused=True,
                weight_decay=weight_decay,
                momentum=config.momentum,
                lr=lr,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        (adamw if config.optimizer == "adamw" else adam)(
            tensors,
            self._gradients,
            self._moments["exp_avg"],
            self._moments["exp_avg_sq"],
            [],
            self._counts,
            fused=True,
            amsgrad=False,
            beta1=config.betas[0],
            beta2=config.betas[1],
            lr=lr,
            weight_decay=weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def _update_each(self, lr: list[Tensor], decay: list[Tensor], warm: float) -> None:
        """The same with one for each network: all three optimisers move along ``lr`` times a step.

        One call with learning rate 1 and no decay finds the steps; one call a network would cost
        half of what stacking small networks gains.
        """
        decoupled = self._config.optimizer == "adamw"
        each = zip(self._parameters, self._gradients, self._updates, decay, strict=True)
        for parameter, gradient, update, strength in each:
            update.zero_()
            if not decoupled:
                gradient.addcmul_(strength, parameter)
        self._update(self._updates, 1.0, 0.0)
        for parameter, update, rate, strength in zip(
            self._parameters, self._updates, lr, decay, strict=True
        ):
            if decoupled:
                parameter.mul_(1 - warm * rate * strength)
            parameter.addcmul_(rate, update, value=warm)

    def _per_network(self, values: Sequence[float]) -> list[Tensor]:
        """One value a network, to be broadcast against each parameter."""
        return [
            torch.tensor(values, dtype=each.dtype, device=each.device).view(
                -1, *[1] * (each.ndim - 1)
            )
            for each in self._parameters
        ]


def _settings(config: TrainConfig) -> tuple[object, ...]:
    return tuple(getattr(config, name) for name in PER_NETWORK)


def _orthogonalize(gradient: Tensor, parameter: Tensor) -> None:
    """Take from each network's gradient its part along the parameter, then restore its length."""
    # In float64, since squares of the small gradients that this is for vanish in float32.
    axes = tuple(range(1, gradient.ndim))
    g, w = gradient.double(), parameter.double()
    along = (g * w).sum(axes, keepdim=True) / (w.square().sum(axes, keepdim=True) + TINY)
    left = g - along * w
    length, left_length = (each.square().sum(axes, keepdim=True).sqrt() for each in (g, left))
    gradient.copy_(left * (length / (left_length + TINY)))
