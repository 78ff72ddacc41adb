"""Models stored along a run, with the numbers measured on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp.config import HookedMLPConfig, TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import Split
from grok_interp.weights import Activation, MLPWeights


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Checkpoints and metrics of one training run.

    Attributes:
        model_config: Configuration of the model, its seed included.
        split: What it was trained on.
        train_config: How it was trained.
        steps: Optimiser steps done at each checkpoint, ascending from 0.
        tensors: Stacked parameters by name (``W_in``, ``W_out``, ...), one row a checkpoint.
        metrics: One row an evaluation, indexed by step.
        act_fn: Name of the activation, or the callable.
    """

    model_config: HookedMLPConfig
    split: Split
    train_config: TrainConfig
    steps: Sequence[int]
    tensors: Mapping[str, Float[Tensor, "checkpoint ..."]]
    metrics: pd.DataFrame
    act_fn: str | Activation

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> HookedMLP:
        """The model of a checkpoint, by position: 0 is the first, -1 the last.

        Raises:
            IndexError: If there is no such checkpoint.
        """
        if not isinstance(index, int):
            raise TypeError(
                f"index {index!r} must be an int: take traj[-1], traj.at(step), or weights() for all"
            )
        if not -len(self) <= index < len(self):
            raise IndexError(f"checkpoint {index} of {len(self)}: positions are 0..{len(self) - 1}")
        tensors = {name: stack[index] for name, stack in self.tensors.items()}
        return HookedMLP.from_tensors(self.model_config, tensors, self.act_fn)

    def at(self, step: int) -> HookedMLP:
        """The model after ``step`` optimiser steps.

        Raises:
            KeyError: If no checkpoint was stored at that step.
        """
        if step not in self.steps:
            nearest = min(self.steps, key=lambda stored: abs(stored - step))
            raise KeyError(f"no checkpoint at step {step}; the nearest is at {nearest}: see .steps")
        return self[list(self.steps).index(step)]

    def weights(self) -> MLPWeights:
        """All checkpoints as one value, with the checkpoint as its batch axis."""
        W_in = self.tensors["W_in"]
        if W_in.shape[1] == 1:
            W_in = W_in.expand(-1, 2, -1, -1)
        return MLPWeights(
            W_in,
            self.tensors["W_out"],
            self.tensors.get("b_in"),
            self.tensors.get("b_out"),
            self.act_fn,
            self.model_config.output_scale,
        )

    def __repr__(self) -> str:
        last = self.metrics.iloc[-1]
        numbers = ", ".join(f"{name}={value:.4g}" for name, value in last.items())
        return f"Trajectory({len(self)} checkpoints to step {self.steps[-1]}: {numbers})"


def stack(checkpoints: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Parameters by name, stacked over checkpoints."""
    return {name: torch.stack([each[name] for each in checkpoints]) for name in checkpoints[0]}
