"""Logits on the lattice of all pairs, in the coordinates where a task is addition.

Pairs are ordered by coordinates (0, 0), (0, 1), ... and stand first, as :mod:`.grid` takes functions
on all pairs; then come batch axes, then classes or other features. In these coordinates the answer
depends on a + b, or for subtraction on a - b.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp import fourier, grid
from grok_interp.fourier import ROUNDING_STEPS as ROUNDING
from grok_interp.outputs import Model, logits
from grok_interp.tasks import NO_COORDINATE, Coordinates, ModularTask
from grok_interp.weights import MLPWeights, SupportsWeights


def coordinates_of(task: ModularTask) -> Coordinates:
    """Where the task is addition, for measures that have no meaning otherwise.

    Args:
        task: The task.

    Returns:
        Its coordinates.

    Raises:
        ValueError: If the task has no coordinates.
    """
    return task.require_coordinates(
        "its logits have no direction a + b; accuracy, loss and margin need none"
    )


def class_order(coordinates: Coordinates) -> Int[Tensor, " m"]:
    """The class at each coordinate of the sum.

    Args:
        coordinates: Where the task is addition.

    Returns:
        m different classes.

    Raises:
        ValueError: If several coordinates lead to one class, or one leads to none.
    """
    classes = coordinates.readout
    if len(classes.unique()) < len(classes) or bool((classes == NO_COORDINATE).any()):
        raise ValueError(
            f"the {coordinates.modulus} coordinates of the sum lead to {len(classes.unique())} classes, "
            "so cos(2 pi k (a + b - c) / m) has no c: use sum_shares or leakage, which need no order of "
            "the classes"
        )
    return classes


def checked_logits(values: Tensor, task: ModularTask) -> Tensor:
    """Logits in float32 at least, if they have the task's classes.

    Args:
        values: Logits ``[..., p]``.
        task: The task.

    Returns:
        The same logits; those in half precision as float32.

    Raises:
        ValueError: If the last axis is not the task's p classes.
    """
    if values.shape[-1] != task.p:
        raise ValueError(
            f"the model gives {values.shape[-1]} classes and the task has p={task.p}: pass the task that "
            "it was trained on, and cut off logits of tokens that are no class"
        )
    return values.to(torch.promote_types(values.dtype, torch.float32))


def on_lattice(
    model: Model, task: ModularTask, coordinates: Coordinates
) -> Float[Tensor, "pairs *batch p"]:
    """All logits on the lattice, computed without gradients.

    The model runs on all pairs in the task's order, which interventions on the grid rely on.

    Args:
        model: Maps tokens to logits; see :mod:`.outputs`.
        task: The task.
        coordinates: Its coordinates.

    Returns:
        ``[m * m, *batch, p]``, pairs in the order of their coordinates.

    Raises:
        ValueError: If pairs have no lattice in the coordinates, or the model has another number of classes.
    """
    rows = coordinates.lattice
    return checked_logits(logits(model, task.tokens)[..., rows, :], task).movedim(-2, 0)


def centred(
    model: Model,
    task: ModularTask,
    coordinates: Coordinates,
    classes: Int[Tensor, " m"] | None = None,
) -> Float[Tensor, "pairs *batch classes"]:
    """Logits on the lattice less each pair's mean over classes, which no softmax sees.

    Args:
        model: Maps tokens to logits; see :mod:`.outputs`.
        task: The task.
        coordinates: Its coordinates.
        classes: Classes to take, in an order, as :func:`class_order` gives them; None for all as they are.

    Returns:
        ``[m * m, *batch, classes]``; exactly 0 where a pair's logits are equal but for rounding.

    Raises:
        ValueError: As for :func:`on_lattice`.
    """
    values = on_lattice(model, task, coordinates)
    if classes is not None:
        values = values[..., classes.to(values.device)]
    deviation = values - values.mean(-1, keepdim=True)
    rounding = ROUNDING * torch.finfo(values.dtype).eps * values.abs().amax(-1, keepdim=True)
    return torch.where(deviation.abs().amax(-1, keepdim=True) > rounding, deviation, 0)


def energy_along(
    values: Float[Tensor, "pairs *batch features"], direction: str
) -> Float[Tensor, "*batch k"]:
    """Energy along a direction of the grid of pairs, at each frequency.

    Args:
        values: Functions of pairs, in the order of their coordinates.
        direction: ``"a+b"``, ``"a-b"``, ``"a"`` or ``"b"``.

    Returns:
        Mean over pairs and features of the squared part along the direction at k = 1..m//2, in squared units
        of the values.
    """
    means = grid.along(values, direction)
    return fourier.spectrum(means, 0).power.movedim(0, -1).mean(-2) / len(means)


def variance_share(
    part: Float[Tensor, "*batch k"],
    total: Float[Tensor, "*batch"],
    values: Float[Tensor, "pairs *batch features"],
) -> Float[Tensor, "*batch k"]:
    """Shares of a variance.

    Args:
        part: Mean squares of parts.
        total: Mean squares of the whole.
        values: What they were taken of, which says what rounding can leave of a total.

    Returns:
        ``part / total``; NaN where rounding alone can leave the total.
    """
    step = ROUNDING * torch.finfo(values.dtype).eps * values.abs().amax((0, -1))
    total = torch.where(total > step.square(), total, torch.nan)
    return part / total.unsqueeze(-1)


def functions_of_pairs(
    model: SupportsWeights | MLPWeights, task: ModularTask, neuron: int, label: int
) -> dict[str, Float[Tensor, " pairs"]]:
    """One neuron's pre-activation and activation and one logit on all pairs, for figures.

    Args:
        model: A HookedMLP or the weights of one network.
        task: The task, in whose coordinates pairs are ordered: (0, 0), (0, 1), ...
        neuron: Which neuron.
        label: Which class.

    Returns:
        ``[m * m]`` numbers by what they are, such as ``"logit of class 3"``, in the units of the
        network.

    Raises:
        ValueError: If the task has no coordinates, the weights hold a batch, or there is no such
            neuron or class.
    """
    weights = (model if isinstance(model, MLPWeights) else model.weights()).detach()
    if weights.batch_shape:
        raise ValueError(f"the weights hold a batch of shape {weights.batch_shape}: index it first")
    if not 0 <= neuron < weights.d_mlp or not 0 <= label < weights.p:
        raise ValueError(
            f"neuron {neuron} and class {label} must be in 0..{weights.d_mlp - 1} and 0..{weights.p - 1}"
        )
    tokens = task.tokens[coordinates_of(task).lattice].to(weights.W_in.device)
    return {
        f"pre-activation of neuron {neuron}": weights.pre(tokens)[:, neuron],
        f"activation of neuron {neuron}": weights.post(tokens)[:, neuron],
        f"logit of class {label}": logits(weights, tokens)[:, label],
    }
