"""Models stored along a run, with the numbers measured on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from grok_interp.config import HookedMLPConfig, TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.runs import History, RunDirectory
from grok_interp.tasks import Split
from grok_interp.weights import Activation, MLPWeights, parameter_shapes


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Checkpoints and metrics of one training run, in memory or in a run directory.

    Of a directory only what is asked for is read: ``trajectory[-1]`` opens one checkpoint,
    ``trajectory.tensors["W_in"]`` reads no other parameter.

    Attributes:
        model_config: Configuration of the model, its seed included.
        split: What it was trained on.
        train_config: How it was trained.
        act_fn: Name of the activation, or the callable.
        history: Where checkpoints and metrics are.
    """

    model_config: HookedMLPConfig
    split: Split
    train_config: TrainConfig
    act_fn: str | Activation
    history: History

    @classmethod
    def load(cls, path: str | Path, *, on_damage: str = "raise") -> Trajectory:
        """Read a run directory, finished or not.

        Args:
            path: The directory.
            on_damage: ``"raise"`` at a checkpoint or part of the metrics that is truncated, foreign
                or of a newer version; ``"skip"`` leaves such files out with a warning.

        Returns:
            The run; checkpoints are read when they are asked for.

        Raises:
            FileNotFoundError: If there is no run.
            ValueError: Naming the file that cannot be used, and what is wrong with it.
        """
        run = RunDirectory.open(Path(path), on_damage)
        return cls(run.model_config, run.split, run.train_config, run.model_config.act_fn, run)

    @property
    def path(self) -> Path | None:
        """The run directory; None for a run in memory."""
        return self.history.path if isinstance(self.history, RunDirectory) else None

    @property
    def steps(self) -> Sequence[int]:
        """Optimiser steps done at each checkpoint, ascending from 0."""
        return self.history.steps

    @property
    def metrics(self) -> pd.DataFrame:
        """One row an evaluation, indexed by step; :func:`grok_interp.training.train` lists the columns."""
        return self.history.metrics

    @property
    def ended(self) -> str:
        """Why the run ended (all steps, the stop rule, or what went wrong); empty if it did not."""
        return self.history.ended

    @property
    def tensors(self) -> Mapping[str, Float[Tensor, "checkpoint ..."]]:
        """Parameters by name, stacked over checkpoints when one is asked for."""
        return _Stacked(self)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> HookedMLP:
        """The model of a checkpoint, by position: 0 is the first, -1 the last.

        Returns:
            A new model with the stored weights.

        Raises:
            IndexError: If there is no such checkpoint.
            TypeError: If the position is not an int.
        """
        if not isinstance(index, int):
            raise TypeError(
                f"index {index!r} must be an int: take traj[-1], traj.at(step), or weights() for all"
            )
        if not -len(self) <= index < len(self):
            raise IndexError(f"checkpoint {index} of {len(self)}: positions are 0..{len(self) - 1}")
        tensors = self.history.read(self.steps[index])
        return HookedMLP.from_tensors(self.model_config, tensors, self.act_fn)

    def at(self, step: int) -> HookedMLP:
        """The model of a checkpoint, by step.

        Args:
            step: Optimiser steps done; one of :attr:`steps`.

        Returns:
            A new model with the stored weights.

        Raises:
            KeyError: If no checkpoint was stored at that step.
        """
        self._check_step(step)
        return self[list(self.steps).index(step)]

    def weights(self, steps: Sequence[int] | None = None) -> MLPWeights:
        """Checkpoints as one value, with the checkpoint as its batch axis.

        Args:
            steps: Which checkpoints to read, by step; None for all.

        Returns:
            Weights ``[checkpoints, ...]`` in the order of the steps, tied operands written out.

        Raises:
            KeyError: If no checkpoint was stored at one of the steps.
        """
        for step in () if steps is None else steps:
            self._check_step(step)
        read = [self.history.read(step) for step in (self.steps if steps is None else steps)]
        tensors = stack(read)
        W_in = tensors["W_in"]
        if W_in.shape[1] == 1:
            W_in = W_in.expand(-1, 2, -1, -1)
        return MLPWeights(
            W_in,
            tensors["W_out"],
            tensors.get("b_in"),
            tensors.get("b_out"),
            self.act_fn,
            self.model_config.output_scale,
        )

    def _check_step(self, step: int) -> None:
        if step not in self.steps:
            nearest = min(self.steps, key=lambda stored: abs(stored - step), default=None)
            raise KeyError(f"no checkpoint at step {step}; the nearest is at {nearest}: see .steps")

    def __repr__(self) -> str:
        where = "" if self.path is None else f"{str(self.path)!r}, "
        metrics = self.metrics
        if len(metrics) == 0 or len(self) == 0:
            return f"Trajectory({where}{len(self)} checkpoints, {len(metrics)} evaluations)"
        shown = [name for name in metrics if "_norm_" not in str(name)]
        numbers = ", ".join(f"{name}={metrics[name].iloc[-1]:.4g}" for name in shown)
        return f"Trajectory({where}{len(self)} checkpoints to step {self.steps[-1]}: {numbers})"


class _Stacked(Mapping[str, Tensor]):
    """Parameters that are read and stacked when they are asked for."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory
        self._names = tuple(parameter_shapes(trajectory.model_config))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(f"{name!r}: this model has {', '.join(self._names)}")
        history = self._trajectory.history
        return torch.stack([history.read(step, [name])[name] for step in history.steps])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def stack(checkpoints: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Parameters by name, stacked over checkpoints on a new first axis."""
    return {name: torch.stack([each[name] for each in checkpoints]) for name in checkpoints[0]}
