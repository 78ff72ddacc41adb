"""Published quadratic networks and how they were trained, by name.

Two parametrisations of ``f = W_out (W_in x)^2`` on one-hot pairs, the same functions of their weights
but for a factor:

- *mean-field* (Gromov, arXiv 2301.02679, section 2): ``f / (2 p N)``, standard normal weights;
- that of Doshi et al. (arXiv 2310.13061, appendix A): no factor, weights normal with standard
  deviation ``(16 N)^(-1/3)``.

Both are trained on all training pairs at once with mean squared error on one-hot labels, the mean taken
over classes as well.

The learning rate of gradient descent. In mean-field form W_in and W_out are of order 1 and must change
by as much. The gradient in an entry of W_out is ``2/p (f - y) h / (2 p N)`` averaged over pairs, of
which one in p has the label that the entry is for: of order ``1 / (p^3 N)``, and so is that in an entry
of W_in. Hence ::

    lr = rate p^3 N

This is an estimate at the start, and of the scale: over sizes whose ``p^3 N`` differ sixteenfold and more,
the largest rate that is stable differs threefold, and falls with p and N (docs/gromov.md). The
networks are homogeneous of degree 3, so weights s times as large under a factor ``s^-3`` take steps
``s^2`` times as large: without the factor, ``lr = rate p^3 N (2 p N)^(-2/3)``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from grok_interp.config import HookedMLPConfig, TrainConfig

RATE = 2e-3
"""Learning rate of gradient descent over ``p^3 N``, a third of the largest that was stable at the widest
network of docs/gromov.md."""

FUNCTIONS = (
    *("a + b", "a - b", "2*a + 3*b", "a**2 + b", "a**2 + b**2", "a**3 + b**2"),
    *("(a + b)**2", "(a + b)**3", "(a**2 + b)**2", "a*b", "a**2 * b", "a**2 * b**2", "(a*b)**2"),
    *("a**2 + a*b + b**2", "a**2 + a*b + b**2 + a", "a**3 + a*b", "a**3 + a*b**2 + b"),
)
"""Modular functions to learn, as in arXiv 2301.02679 and arXiv 2201.02177. Sums h(g1(a) + g2(b)) and
products of that form, which the papers' criterion calls learnable, then four that have none."""


def mean_field(p: int = 97, d_mlp: int = 500, seed: int = 0) -> HookedMLPConfig:
    """The network of arXiv 2301.02679, section 2: ``W_out (W_in x)^2 / (2 p N)``, weights N(0, 1).

    Args:
        p: Modulus.
        d_mlp: N, the number of neurons.
        seed: Seed of the initial weights.

    Returns:
        The configuration of a quadratic network with ``init="normal"`` and ``output_scale = 1 / (2 p N)``.
    """
    return HookedMLPConfig(
        p=p,
        d_mlp=d_mlp,
        act_fn="quadratic",
        output_scale=1 / (2 * p * d_mlp),
        init="normal",
        seed=seed,
    )


def doshi(p: int = 97, d_mlp: int = 500, seed: int = 0) -> HookedMLPConfig:
    """The network of arXiv 2310.13061, appendix A: ``W_out (W_in x)^2``.

    Args:
        p: Modulus.
        d_mlp: N, the number of neurons.
        seed: Seed of the initial weights.

    Returns:
        The configuration of a quadratic network with weights N(0, (16 N)^(-2/3)), by
        ``init_scale = (16 N)^(-1/3)``.
    """
    return HookedMLPConfig(
        p=p,
        d_mlp=d_mlp,
        act_fn="quadratic",
        init="normal",
        init_scale=(16 * d_mlp) ** (-1 / 3),
        seed=seed,
    )


def gradient_descent(cfg: HookedMLPConfig, rate: float = RATE, **fields: Any) -> TrainConfig:
    """Full-batch gradient descent on mean squared error, without regularisation.

    The learning rate is the module's rule, for whatever factor ``cfg`` has on the logits.

    Args:
        cfg: Configuration of a quadratic network.
        rate: Learning rate over ``p^3 N``, in mean-field form.
        **fields: Fields of :class:`.TrainConfig` that replace these, such as ``momentum=0.9`` (which
            makes each step ``1 / (1 - momentum)`` times as long in the end: lower the rate).

    Returns:
        A configuration with ``lr = rate p^3 N (2 p N output_scale)^(-2/3)``, full batches and no decay;
        the factor after N is 1 in mean-field form.

    Raises:
        TypeError: If ``cfg`` is not a configuration, or a keyword is not a field of :class:`.TrainConfig`.
        ValueError: If the network is not quadratic.
    """
    if not isinstance(cfg, HookedMLPConfig):
        raise TypeError(
            f"cfg is a {type(cfg).__name__}, expected a HookedMLPConfig: pass model.cfg"
        )
    if cfg.act_fn != "quadratic":
        raise ValueError(
            f"act_fn={cfg.act_fn!r}: the rule for the learning rate is derived for 'quadratic' networks; "
            "give TrainConfig an lr of your own"
        )
    size = cfg.p**3 * cfg.d_mlp
    factor = (2 * cfg.p * cfg.d_mlp * cfg.output_scale) ** (-2 / 3)
    config = TrainConfig(optimizer="sgd", loss="mse", lr=rate * size * factor, weight_decay=0.0)
    return dataclasses.replace(config, **fields)


def adamw(weight_decay: float = 5.0, **fields: Any) -> TrainConfig:
    """AdamW with learning rate .01 on mean squared error, as in arXiv 2310.13061.

    Its step does not scale with the gradient, so no rule is needed; its decay shrinks weights to
    zero that are of order 1, as those in mean-field form, and suits :func:`doshi`.

    Args:
        weight_decay: Decoupled decay, scaled by the learning rate; the paper has 0, 5, 15 and 20.
        **fields: Fields of :class:`.TrainConfig` that replace these.

    Returns:
        A configuration with ``lr=0.01``, full batches and 500 steps.

    Raises:
        TypeError: If a keyword is not a field of :class:`.TrainConfig`.
    """
    config = TrainConfig(
        optimizer="adamw", loss="mse", lr=1e-2, weight_decay=weight_decay, steps=500
    )
    return dataclasses.replace(config, **fields)
