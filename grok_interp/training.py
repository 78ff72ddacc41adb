"""One full-batch training run of a HookedMLP on a split.

AdamW with betas (0.9, 0.98), learning rate 1e-3 and weight decay 1 on full-batch cross-entropy is
the setting in which grokking on modular addition is usually studied (Nanda et al., arXiv
2301.05217; arXiv 2603.23784).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from grok_interp import measures
from grok_interp.config import TrainConfig as TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import Split
from grok_interp.trajectory import Trajectory, stack


def train(
    model: HookedMLP, split: Split, config: TrainConfig | None = None, **fields: Any
) -> Trajectory:
    """Train ``model`` in place on the split's training pairs, noise included.

    Hooks that are attached take part in every forward pass, evaluations included.

    Args:
        model: Its parameters are changed.
        split: Training pairs and labels; held-out pairs are only measured.
        config: How to train; or its fields as keywords, as in ``train(model, split, steps=500)``.
        **fields: Fields of :class:`TrainConfig` that replace those of ``config``.

    Returns:
        The run. ``metrics`` has ``train_loss`` and ``train_accuracy`` on the labels trained on,
        ``clean_train_accuracy`` on the task's labels of the same pairs, ``test_loss`` and
        ``test_accuracy``, and ``weight_norm`` (L2, all parameters).

    Raises:
        TypeError: If a keyword is not a field of :class:`TrainConfig`.
        ValueError: If the split is of another modulus, a name in ``trainable`` is unknown, or a
            value is out of range.
        FloatingPointError: If the loss stops being finite.
    """
    config = replace(config or TrainConfig(), **fields)
    if split.task.p != model.cfg.p:
        raise ValueError(
            f"the model has p={model.cfg.p} and the split p={split.task.p}: make both with one p"
        )
    device = model.W_in.device
    tokens, labels = split.train_tokens.to(device), split.train_labels.to(device)
    parameters = dict(model.mlp.named_parameters(recurse=False))
    checkpoints: list[dict[str, Tensor]] = []
    steps: list[int] = []
    evaluated: list[int] = []
    rows: list[dict[str, float]] = []

    with _trainable(parameters, config.trainable) as trained, _bar(config) as bar:
        optimizer = _optimizer(trained, config)
        for step in range(config.steps + 1):
            last = step == config.steps
            if last or step % config.checkpoint_every == 0:
                steps.append(step)
                checkpoints.append(
                    {name: tensor.detach().clone() for name, tensor in parameters.items()}
                )
            if last or step % config.eval_every == 0:
                evaluated.append(step)
                rows.append(_evaluate(model, split, config))
                _check_finite(rows[-1]["train_loss"], step, config)
                bar.set_postfix(_shown(rows[-1]), refresh=False)
            if last:
                break
            optimizer.zero_grad(set_to_none=True)
            loss = measures.pair_losses(model(tokens), labels, config.loss).mean()
            _check_finite(float(loss.detach()), step, config)
            loss.backward()
            optimizer.step()
            bar.update()

    return Trajectory(
        model_config=model.cfg,
        split=split,
        train_config=config,
        steps=tuple(steps),
        tensors=stack(checkpoints),
        metrics=pd.DataFrame(rows, index=pd.Index(evaluated, name="step")),
        act_fn=model.weights().act_fn,
    )


def _check_finite(loss: float, step: int, config: TrainConfig) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} at step {step}: lower lr={config.lr}, or the initial scale"
        )


def _evaluate(model: HookedMLP, split: Split, config: TrainConfig) -> dict[str, float]:
    """Every metric from one forward pass over each side."""
    train = measures.logits(model, split.train_tokens).cpu()
    test = measures.logits(model, split.test_tokens).cpu()

    def loss(logits: Tensor, labels: Tensor) -> float:
        return float(measures.pair_losses(logits, labels, config.loss).double().mean())

    def accuracy(logits: Tensor, labels: Tensor) -> float:
        return float((measures.pair_margins(logits, labels) > 0).double().mean())

    return {
        "train_loss": loss(train, split.train_labels),
        "test_loss": loss(test, split.test_labels),
        "train_accuracy": accuracy(train, split.train_labels),
        "clean_train_accuracy": accuracy(train, split.clean_train_labels),
        "test_accuracy": accuracy(test, split.test_labels),
        "weight_norm": float(measures.weight_norms(model)["total"]),
    }


def _shown(row: dict[str, float]) -> dict[str, str]:
    names = {"train_loss": "loss", "train_accuracy": "train", "test_accuracy": "test"}
    return {short: f"{row[name]:.3g}" for name, short in names.items()}


def _bar(config: TrainConfig) -> Any:
    return tqdm(total=config.steps, desc="train", unit="step", disable=not config.progress)


@contextmanager
def _trainable(
    parameters: dict[str, nn.Parameter], names: tuple[str, ...] | None
) -> Iterator[list[nn.Parameter]]:
    """Freeze all but the named parameters (None: but those that require gradients), for a while."""
    for name in names or ():
        if name not in parameters:
            raise ValueError(
                f"trainable name {name!r} is unknown: this model has {', '.join(parameters)}"
            )
    before = {name: parameter.requires_grad for name, parameter in parameters.items()}
    chosen = [name for name in parameters if (before[name] if names is None else name in names)]
    if not chosen:
        raise ValueError(
            f"nothing to train: trainable={names!r}, and this model has {', '.join(parameters)}, of which "
            f"{sum(before.values())} require gradients"
        )
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in chosen)
        yield [parameters[name] for name in chosen]
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])
            parameter.grad = None


def _optimizer(parameters: list[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    settings: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **settings)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, betas=config.betas, **settings)
