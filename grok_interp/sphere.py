"""Weights at a fixed L2 norm: scaled by alpha at the start, rescaled after every optimiser step.

With ``w_0`` the norm of a network's initial parameters, ``alpha = w / w_0`` and, after each step,::

    theta <- theta * w / ||theta||,    ||theta||^2 = sum over all trained parameters of their squares

biases included and each parameter counted once, however many modules share it (arXiv 2210.01117, section 2,
the reduced landscape). *Per layer*, each layer keeps the norm that it started with.

What is not evidence: at a fixed learning rate a network of large alpha turns through smaller angles in each
step, so it may look as if it could not generalise when it has only not had the time. The learning rate
proportional to alpha is the control; :mod:`.landscape` runs both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grok_interp.config import Constraint, check_choice

MATRICES = ("W", "b")
"""First parts of names such as W_in and b_in, which belong to one layer by their second part."""


class Sphere:
    """Holds a module's trained parameters at a norm; call :meth:`project` after each optimiser step.

    Args:
        module: Any module; parameters that do not require gradients are neither counted nor changed.
        constraint: ``"sphere"`` rescales all parameters together, ``"per_layer"`` those of each layer.

    Attributes:
        radius: The norm of each group of parameters when the sphere was made, by name.

    Raises:
        ValueError: If the constraint is unknown, nothing requires gradients, or a norm is 0 or not
            finite.
    """

    def __init__(self, module: nn.Module, constraint: Constraint | str = "sphere") -> None:
        check_choice("constraint", constraint, ("sphere", "per_layer"))
        self._parameters = {
            name: parameter
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        if not self._parameters:
            raise ValueError(
                f"{type(module).__name__} has no parameter that requires gradients: there is no norm to hold"
            )
        self._groups = groups(self._parameters, constraint)
        self._norms = {
            group: norms([self._stacked()[name] for name in names])
            for group, names in self._groups.items()
        }
        self.radius = {group: float(norm) for group, norm in self._norms.items()}
        for group, radius in self.radius.items():
            check_radius(group, radius)

    def project(self) -> None:
        """Rescale the parameters to the norm that they had."""
        project_stack(self._stacked(), self._groups, self._norms)

    def _stacked(self) -> dict[str, Tensor]:
        """The parameters as a stack of one network, in the same memory."""
        return {name: parameter.detach()[None] for name, parameter in self._parameters.items()}


def check_radius(group: str, radius: float) -> None:
    """Raise ``ValueError`` unless parameters can be held at this norm, positive and finite."""
    if not 0 < radius < float("inf"):
        raise ValueError(
            f"the norm of {group!r} is {radius}, expected a positive number: a vector of norm 0 has no "
            "direction to rescale; initialise the weights first, or use constraint='sphere' where one layer "
            "starts at 0"
        )


def norm(module: nn.Module) -> float:
    """L2 norm of all parameters of a module, each counted once, summed in float64."""
    return float(norms([parameter.detach()[None] for parameter in module.parameters()]))


@torch.no_grad()
def scale(module: nn.Module, alpha: float) -> None:
    """Multiply every parameter of a module by alpha, in place and each once.

    Args:
        module: Any module.
        alpha: The factor, positive.

    Raises:
        ValueError: If alpha is not positive and finite.
    """
    if not 0 < alpha < float("inf"):
        raise ValueError(
            f"alpha={alpha!r} must be a positive number, the factor on all initial weights; 1 leaves them"
        )
    for parameter in module.parameters():
        parameter.mul_(alpha)


def groups(names: Collection[str], constraint: Constraint | str) -> dict[str, list[str]]:
    """Names of parameters by the sphere that they are on: one for all, or one for each layer.

    A layer is the module that owns the parameters (of a stacked ``nn.LSTM`` all its layers), but for
    names as TransformerLens has them: ``W_in`` and ``b_in`` of one module are a layer, ``W_out`` and
    ``b_out`` another.

    Args:
        names: Names of parameters, with dots, as ``named_parameters`` gives them.
        constraint: ``"none"``, ``"sphere"`` or ``"per_layer"``.

    Returns:
        Names by sphere; none, or all as ``"all"``, or those of each layer by its name, such as
        ``"blocks.0.mlp.in"``.
    """
    if constraint == "none":
        return {}
    if constraint == "sphere":
        return {"all": list(names)}
    found: dict[str, list[str]] = {}
    for name in names:
        owner, _, own = name.rpartition(".")
        matrix, _, place = own.partition("_")
        layer = ".".join(part for part in (owner, place if matrix in MATRICES else "") if part)
        found.setdefault(layer or "all", []).append(name)
    return found


def norms(tensors: Sequence[Tensor]) -> Float[Tensor, " networks"]:
    """L2 norm by network of stacked parameters ``[networks, ...]`` together, in float64."""
    each = [
        torch.linalg.vector_norm(tensor.flatten(1), dim=1, dtype=torch.float64)
        for tensor in tensors
    ]
    total: Tensor = torch.linalg.vector_norm(torch.stack(each), dim=0)
    return total


@torch.no_grad()
def project_stack(
    tensors: Mapping[str, Tensor],
    members: Mapping[str, Sequence[str]],
    radius: Mapping[str, Float[Tensor, " networks"]],
) -> None:
    """Rescale stacked parameters in place, each network to its norm: ``theta <- theta radius / ||theta||``.

    Args:
        tensors: Parameters ``[networks, ...]`` by name.
        members: Names of the parameters of each group, as :func:`groups` gives them.
        radius: Norm of each network's parameters in each group.
    """
    for group, names in members.items():
        chosen = [tensors[name] for name in names]
        factor = radius[group] / norms(chosen)
        for tensor in chosen:
            tensor.mul_(factor.to(tensor.dtype).view(-1, *[1] * (tensor.ndim - 1)))
