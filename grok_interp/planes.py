"""The plane of each frequency in the space of an activation, and patching it.

For activations x(a, b) on all pairs, frequency k moves x within the plane spanned by its loadings on
cos and sin of 2 pi k (a + b) / m::

    u_k = sum over a, b of x(a, b) cos(2 pi k (a + b) / m),   v_k = the same with sin

B_k is an orthonormal basis of it, ``[features, 2]``. The logits have planes that need no data: the two
waves of frequency k over the classes.

What is not evidence: a plane fitted to activations holds what varies with a + b in *any* network,
trained or not; and planes of different frequencies need not be orthogonal.

Source: arXiv 2301.05217, section 4.2, finds such directions in a transformer's MLP; Geiger et al., arXiv
2303.02536, interchange subspaces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp import fourier, grid
from grok_interp.filters import at_position, coordinates_of, lattice_of
from grok_interp.tasks import ModularTask
from grok_interp.weight_hooks import Hooks
from grok_interp.weights import POST_HOOK

SPANNED = 1e-6
"""A singular value of unit vectors below this is rounding."""
ROUNDING = 8
"""Units in the last place by which a sum over all pairs may miss its value, for entries of size 1."""


@dataclass(frozen=True, eq=False)
class Planes:
    """A plane for each frequency in the space of an activation.

    Assumes nothing of the network. Misleads if planes of different frequencies are taken for
    orthogonal: in general they are not, and patching all of them moves shared directions once each.

    Attributes:
        basis: Orthonormal columns by frequency 1..m//2; zero columns where an activation does not
            reach two dimensions (always one at Nyquist).
        modulus: m.
    """

    basis: Float[Tensor, "k features 2"]
    modulus: int

    def at(self, frequency: int) -> Float[Tensor, "features 2"]:
        """The plane of one frequency, as ``tools.analysis.interchange`` takes a basis.

        Args:
            frequency: k.

        Returns:
            Orthonormal columns, or zero ones where the activation does not reach two dimensions.

        Raises:
            ValueError: If the frequency is not in 1..m//2.
        """
        (index,) = grid.frequency_index(frequency, self.modulus).tolist()
        return self.basis[index - 1]


def activation_planes(
    activations: Float[Tensor, "pairs features"], task: ModularTask, direction: str | None = None
) -> Planes:
    """Where an activation moves with cos and sin of 2 pi k (a + b) / m, for each frequency k.

    Args:
        activations: On all pairs, in the order of ``task.tokens``: a row each.
        task: Gives the coordinates.
        direction: ``"a+b"``, ``"a-b"``, ``"a"`` or ``"b"``, in the task's coordinates; None for that of
            the answer, which is ``"a-b"`` for subtraction.

    Returns:
        ``[m//2, features, 2]``, B_k of the module for each k, in the type of the activations.

    Raises:
        ValueError: If the rows are not all pairs, the task has no coordinates or no 2-D Fourier basis in
            them, or the direction is unknown.
    """
    coordinates = lattice_of(task, len(activations))
    direction = coordinates.direction if direction is None else direction
    # About the mean and in double precision: what a constant is rounded to spans no plane.
    rows = activations.double()[coordinates.lattice]
    means = grid.along(rows - rows.mean(0), direction)
    size = float(activations.abs().amax()) * math.sqrt(len(means))
    rounding = ROUNDING * torch.finfo(activations.dtype).eps * size
    frames = _frames(fourier.coefficients(means, 0), rounding)
    return Planes(frames.to(activations.dtype), coordinates.modulus)


def class_planes(task: ModularTask) -> Planes:
    """The two waves of each frequency among the logits, seen through the task's read-out."""
    coordinates = coordinates_of(task, task.p)
    waves = coordinates.incidence[2] @ fourier.basis(coordinates.modulus).T
    return Planes(_frames(waves.T, SPANNED), coordinates.modulus)


@dataclass(frozen=True, eq=False)
class PlanePatch:
    """Set the planes of some frequencies to what they are on other pairs: ``x -> x + (clean - x) B B^T``.

    B is an orthonormal basis of the span of these planes.

    Assumes a batch whose rows pair with those of ``clean``. Misleads without the same move in a
    random plane (:func:`grok_interp.patch.by_plane`).

    Attributes:
        planes: Where.
        frequencies: Which; their planes are patched together, as the span of them all.
        clean: Activations to take the coordinates from, one row for each row of the batch.
        hook_name: A hook point of the planes' activation.
        position: Which position of ``[batch, position, features]``; None for all.

    Raises:
        ValueError: When hooks are made, if a frequency is not in 1..m//2; when the model runs, if the
            clean activations have another shape.
    """

    planes: Planes
    frequencies: grid.Frequencies
    clean: Float[Tensor, "batch ..."]
    hook_name: str = POST_HOOK
    position: int | None = None

    def fwd_hooks(self) -> Hooks:
        """The hook on the activation."""
        chosen = grid.frequency_index(self.frequencies, self.planes.modulus) - 1
        columns = self.planes.basis[chosen].movedim(0, -1).flatten(1)
        left, values, _ = torch.linalg.svd(columns.double(), full_matrices=False)
        span = left[:, values > SPANNED]
        clean = self.clean

        def change(x: Tensor) -> Tensor:
            if x.shape != clean.shape:
                raise ValueError(
                    f"{self.hook_name} is {list(x.shape)} and the clean activations {list(clean.shape)}: "
                    "run the model on as many pairs, and cache the same hook point and position"
                )
            basis = span.to(x)
            moved: Tensor = x + (clean.to(x) - x) @ basis @ basis.mT
            return moved

        return [(self.hook_name, at_position(change, self.position))]


def _frames(rows: Float[Tensor, "m features"], rounding: float) -> Float[Tensor, "k features 2"]:
    """Orthonormal bases of what the basis functions of each frequency span beyond rounding."""
    m = len(rows)
    pairs = (m - 1) // 2
    frames = rows[1 : 2 * pairs + 1].reshape(pairs, 2, -1)
    if m % 2 == 0:
        nyquist = torch.stack([rows[-1], torch.zeros_like(rows[-1])])[None]
        frames = torch.cat([frames, nyquist])
    _, values, right = torch.linalg.svd(frames, full_matrices=False)
    spanning: Tensor = right * (values > rounding).unsqueeze(-1)
    return spanning.mT
