"""Interchange of subspaces through TransformerLens 4's ``tools.analysis.interchange``, and its placebo.

The model runs on corrupted pairs with ``x -> x + strength (clean - x) B B^T`` at one hook point, B
orthonormal; the effect is how often it then gives the answer of the clean pair.

What is not evidence: an accuracy without the placebo, a move as far in a random subspace of the same
rank; and the placebo alone does not make it evidence of learning, for which the same interchange has to
be run on a network with random input weights (:func:`grok_interp.controls.frozen_input`).

Source: Geiger et al., arXiv 2303.02536.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from grok_interp import _compat
from grok_interp.orders import check_draws
from grok_interp.tasks import Counterfactuals
from grok_interp.weights import POST_HOOK


def interchange(
    model: Any,
    pairs: Counterfactuals,
    bases: Mapping[str, Float[Tensor, "features rank"]],
    *,
    hook_name: str = POST_HOOK,
    strength: float = 1.0,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Interchange subspaces with TransformerLens' ``tools.analysis.interchange``, and its placebo.

    Accuracy is the share of corrupted pairs that the interchange makes the model answer as the clean
    pairs. Needs transformer-lens 4.

    Args:
        model: The network, in any scope.
        pairs: Of ``task.counterfactuals``.
        bases: Orthonormal bases by name, such as ``{"k=5": planes.at(5)}``.
        hook_name: A hook point with a batch and a feature axis.
        strength: 1 interchanges, 0 leaves the corrupted run.
        draws: Random bases of the same rank, in which ``NormMatchedPlacebo`` moves as far.
        seed: Seed of the draws.

    Returns:
        One row a basis, with ``basis``, ``rank``, ``accuracy``, ``corrupted_accuracy`` (the same share
        without interchange), ``clean_accuracy`` (of the model on the clean pairs, more than which
        no interchange of everything gives), and ``placebo_mean``, ``placebo_min``, ``placebo_max``.

    Raises:
        RuntimeError: With an older transformer-lens.
        ValueError: If a basis does not fit the activation or is not orthonormal, or there are no
            draws.
    """
    check_draws(draws)
    tools = _compat.interchange()
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.randint(2**31, (draws,), generator=generator)
    with evaluating(model), torch.no_grad():
        source = tools.collect_activations(model, hook_name, pairs.clean.tokens, model)

        def accuracy(intervention: Any) -> float:
            logits = tools.intervened_logits(
                model, hook_name, intervention, pairs.corrupted.tokens, source, model
            )
            return float((logits.argmax(-1) == pairs.clean.labels).double().mean())

        answers = model(pairs.clean.tokens).argmax(-1).cpu()
        clean = float((answers == pairs.clean.labels).double().mean())
        rows = []
        for name, given in bases.items():
            basis = _check_basis(name, given, source.shape[-1])
            exact = tools.SubspaceInterchange(basis, strength)
            placebos = torch.tensor(
                [
                    accuracy(
                        tools.NormMatchedPlacebo(exact, tools.random_basis(*basis.shape, each))
                    )
                    for each in seeds.tolist()
                ],
                dtype=torch.float64,
            )
            none = tools.SubspaceInterchange(basis, 0.0)
            row = {"basis": name, "rank": basis.shape[1], "accuracy": accuracy(exact)}
            row |= {"corrupted_accuracy": accuracy(none), "clean_accuracy": clean}
            row |= {"placebo_mean": float(placebos.mean())}
            row |= {"placebo_min": float(placebos.amin()), "placebo_max": float(placebos.amax())}
            rows.append(row)
    return pd.DataFrame(rows)


def _check_basis(name: str, basis: Tensor, features: int) -> Tensor:
    """The basis without zero columns, if what is left is orthonormal and fits."""
    if basis.ndim != 2 or basis.shape[0] != features:
        raise ValueError(
            f"basis {name!r} has shape {list(basis.shape)}, expected [{features}, rank]: one column "
            "for each direction of the activation"
        )
    kept = basis[:, basis.norm(dim=0) > 0]
    gram = kept.mT @ kept
    if kept.shape[1] == 0 or not torch.allclose(gram, torch.eye(len(gram)).to(gram), atol=1e-4):
        raise ValueError(
            f"basis {name!r} is not orthonormal: take planes.at(k), or torch.linalg.qr(basis).Q"
        )
    return kept


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, which patching tools insist on; modules go back to the mode they were in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
