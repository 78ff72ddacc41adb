"""Clock or pizza: which algorithm adds, after Zhong et al., arXiv 2306.17844, section 4 and appendix.

A *clock* multiplies waves of a and b into waves of a + b, whatever a - b is. A *pizza* adds the two
embeddings first and takes an absolute value, so its correct logit shrinks where ``cos(pi k (a - b) / m)``
does. Three measures, in the task's coordinates on Z_m::

    distance irrelevance    mean over d of std(L_d) / std(L),   L_d the correct logits with a - b = d
    gradient symmetricity   mean over (a, b, c) of cos(dL_c/dx_a, dL_c/dx_b)
    circularity             mean over four principal components of the share at their best frequency

Caveat: none of them says that a network adds. Random logits do not depend on a - b either, so an
untrained network has the distance irrelevance of a clock, .99; its gradient symmetricity is 0 and its
circularity 14% (p = 59, d_mlp = 512, ReLU; with one shared embedding gradients are equal by
construction). The paper's published linear model D, which solves the task, has .96, 0 and 99.7%; a
ReLU network of this package that grokked at p = 59 has .99, .07 and 30%. Read them for networks that
solve the task, beside the untrained one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp import fourier
from grok_interp.lattice import coordinates_of
from grok_interp.outputs import Model, over_pairs
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights, SupportsWeights, activation

COMPONENTS = 4
"""Principal components that circularity looks at, as in the paper."""
SAMPLES = 100
"""Triples (a, b, c) that gradient symmetricity is measured on, as in the paper."""


def distance_irrelevance(model: Model, task: ModularTask) -> Float[Tensor, "*batch"]:
    """How little the correct logit depends on a - b: 1 for a clock, near 0 for a pizza.

    ``mean over d of std(L_d) / std(L)``, where L_d holds the logits of the right class of the m pairs
    with a - b = d, as they vary with a + b, and L those of all pairs; standard deviations without
    Bessel's correction. If the logit depends on a - b alone each L_d is constant: 0. The paper gives .85
    for its clock and .17 for its pizza (arXiv 2306.17844, section 4, definition 4.2).

    Untrained networks score .99: see the module's caveat. The plain logit is taken, as in the paper,
    so a number that a network adds to all classes of a pair counts.

    Args:
        model: Maps tokens to logits, as for :func:`grok_interp.measures.accuracy`.
        task: The task.

    Returns:
        A number in 0..1 for each network; NaN where all correct logits are equal.

    Raises:
        ValueError: If the task has no coordinates, or pairs have no lattice in them.
    """
    coordinates = coordinates_of(task)
    m, lattice = coordinates.modulus, coordinates.lattice

    def right(logits: Tensor, labels: Tensor) -> Tensor:
        return logits.gather(-1, labels.expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)

    # On all pairs in the task's order, which interventions on the batch rely on.
    found = over_pairs(model, task, None, None, right)[..., lattice]
    u = torch.arange(m)[:, None]
    v = coordinates.sign * (u - torch.arange(m)) % m  # u - sign v is the difference
    logit = found[..., (u * m + v).to(found.device)].double()
    spread = logit.std((-2, -1), correction=0)
    rounding = fourier.ROUNDING_STEPS * torch.finfo(found.dtype).eps * logit.abs().amax((-2, -1))
    ratio = logit.std(-2, correction=0).mean(-1) / spread
    return torch.where(spread > rounding, ratio, torch.nan)


def gradient_symmetricity(
    model: SupportsWeights | MLPWeights,
    task: ModularTask,
    samples: int = SAMPLES,
    seed: int | torch.Generator = 0,
) -> Float[Tensor, "*batch"]:
    """Mean cosine between the gradients of a logit in the two operands: 1 if they enter alike.

    arXiv 2306.17844, section 4, definition 4.1, takes the gradients in the two embeddings, for triples
    (a, b, c) drawn at random, c any class. Here hook_embed's two rows are added, so those are always
    equal; the gradients are therefore taken in the one-hot inputs, over tokens in the order of their
    coordinates (of -b for subtraction)::

        g = d logit_c / d pre,   cos(W_in[0] @ g, W_in[1] @ g)

    For operands with one embedding this is 1 by construction, whatever was learned. The paper gives .99
    for its pizza and .33 for its clock, in its own gradients.

    Independent random weights score 0, within ``1 / sqrt(m)`` for a single triple.

    Args:
        model: A model, whose parameters are read whatever hooks are attached; or weights, such as
            ``model.effective_weights()``.
        task: The task.
        samples: Number of triples, the same ones for all networks of a batch.
        seed: A seed, or a generator to draw triples with.

    Returns:
        A number in -1..1 for each network. Triples without a gradient (all neurons of a ReLU off) are
        left out; NaN if all are.

    Raises:
        TypeError: If the model has no weights to read.
        ValueError: If ``samples < 1``, the weights do not fit the task, or the task has no
            coordinates, or tokens do not take each once.
    """
    if samples < 1:
        raise ValueError(
            f"samples={samples!r} leaves no triple: use 1 or more, {SAMPLES} by default"
        )
    weights, inputs = _inputs(model, task)
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    coordinates = coordinates_of(task)
    drawn = torch.randint(len(coordinates.lattice), (samples,), generator=generator)
    classes = torch.randint(task.p, (samples,), generator=generator).to(inputs.device)
    pre = weights.pre(task.tokens[coordinates.lattice[drawn]].to(inputs.device)).requires_grad_()
    with torch.enable_grad():
        # One logit a triple: output_scale and b_out do not turn a gradient.
        logit = activation(weights.act_fn)(pre) * weights.W_out.mT[..., classes, :]
        (gradient,) = torch.autograd.grad(logit.sum(), pre)
    in_a, in_b = (gradient.unsqueeze(-3) @ inputs.mT).unbind(-3)
    norms = in_a.norm(dim=-1) * in_b.norm(dim=-1)
    cosine: Tensor = (in_a * in_b).sum(-1) / norms
    return cosine.double().nanmean(-1)


def circularity(
    model: SupportsWeights | MLPWeights, task: ModularTask
) -> Float[Tensor, "*batch 2"]:
    """How far the leading principal components of each operand's embedding are waves: 1 for circles.

    Of each of the first four principal components of ``W_in[i]`` over tokens, in the order of their
    coordinates, the largest share of energy at one frequency; their mean (arXiv 2306.17844, appendix
    on circularity, where both operands share one embedding). Components without variance, as the
    third and fourth of a single circle, are left out.

    It can miss circles: where two have one radius the components are any mixture of their waves.
    Random weights score ``(ln(m/2) + .58) / (m/2)``, 14% at m = 59.

    Args:
        model: As for :func:`gradient_symmetricity`.
        task: The task.

    Returns:
        A number in 0..1 for the first and the second operand; NaN for an embedding that is constant.

    Raises:
        TypeError: If the model has no weights to read.
        ValueError: As for :func:`gradient_symmetricity`.
    """
    _, inputs = _inputs(model, task)
    inputs = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    scores, scale, _ = torch.linalg.svd(inputs - inputs.mean(-2, keepdim=True), full_matrices=False)
    share = fourier.spectrum(scores[..., :COMPONENTS], -2).power_shares.amax(-2)
    rounding = max(inputs.shape[-2:]) * torch.finfo(inputs.dtype).eps
    known = scale[..., :COMPONENTS] > rounding * inputs.norm(dim=(-2, -1)).unsqueeze(-1)
    return torch.where(known, share, torch.nan).nanmean(-1)


def _inputs(
    model: SupportsWeights | MLPWeights, task: ModularTask
) -> tuple[MLPWeights, Float[Tensor, "*batch 2 m d_mlp"]]:
    """The weights, and W_in's rows by coordinate: of each operand's share in the answer."""
    if not isinstance(model, SupportsWeights | MLPWeights):
        raise TypeError(
            f"cannot read weights from a {type(model).__name__}: wrap it with hooked_mlp.from_module, or "
            "pass HookedMLP.from_weights(W_in, W_out); distance_irrelevance takes any function"
        )
    weights = (model if isinstance(model, MLPWeights) else model.weights()).map(Tensor.detach)
    if weights.p != task.p:
        raise ValueError(
            f"the model has p={weights.p} and the task p={task.p}: pass the task that it was trained on"
        )
    coordinates = coordinates_of(task)
    m = coordinates.modulus
    pairs = task.tokens[coordinates.lattice].reshape(m, m, 2)
    tokens_a = pairs[:, 0, 0]
    tokens_b = pairs[0, coordinates.sign * torch.arange(m) % m, 1]
    ordered = [
        weights.W_in[..., operand, tokens.to(weights.W_in.device), :]
        for operand, tokens in enumerate((tokens_a, tokens_b))
    ]
    return weights, torch.stack(ordered, -3)
