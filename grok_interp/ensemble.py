"""Many networks of one shape trained as stacked computation, each with its own everything else.

The arithmetic is that of :func:`grok_interp.training.train`, with the networks on the first axis of
every tensor. What is saved is the overhead of small operations, so it pays where networks are small
(p = 23 and 128 neurons: two to three times); large ones leave the cache when they are stacked and
would get slower, so the stack is cut into blocks whose activations fill one chunk of
:mod:`.gradients`, down to single networks. benchmarks/ensemble.py measures both.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from grok_interp.config import TrainConfig
from grok_interp.gradients import CHUNK_ELEMENTS
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.lockstep import Job, can_stack
from grok_interp.runs import InMemory
from grok_interp.tasks import Split
from grok_interp.training import Member, make_job, run_together
from grok_interp.trajectory import Trajectory


def train(
    models: Sequence[HookedMLP],
    splits: Sequence[Split],
    train: TrainConfig | Sequence[TrainConfig] | None = None,
) -> list[Trajectory]:
    """Train each model in place on its split, many at a time.

    Models of one shape (p, width, activation, biases, type, number of training pairs) whose training
    differs only in learning rate, decay, seed, schedule and stop rule are stacked; others are trained
    in stacks of their own. A network that has met its stop rule leaves its stack, and its time is
    saved.

    Args:
        models: Distinct networks without hooks; their parameters are changed.
        splits: One for each model.
        train: How to train all of them, or one for each.

    Returns:
        One run for each model, in their order. A network whose numbers stop being finite ends there,
        with a warning and the reason in ``ended``; the others go on.

    Raises:
        ValueError: If the lengths differ, a model occurs twice or cannot be stacked, or as for
            :func:`grok_interp.training.train`.
    """
    configs = [train or TrainConfig()] * len(models) if not isinstance(train, Sequence) else train
    if not len(models) == len(splits) == len(configs):
        raise ValueError(
            f"{len(models)} models, {len(splits)} splits and {len(configs)} training configurations: "
            "pass one split for each model, and one configuration for all or for each"
        )
    if len({id(model) for model in models}) != len(models):
        raise ValueError("a model occurs twice: pass distinct models, as copy.deepcopy makes them")
    for index, model in enumerate(models):
        if not can_stack(model):
            raise ValueError(
                f"model {index} has hooks or is {model.cfg.dtype}: stacks take float32 and float64 "
                "without hooks; train it alone with training.train"
            )
    members = [
        Member(make_job(model, split, config), InMemory())
        for model, split, config in zip(models, splits, configs, strict=True)
    ]
    failed = []
    for block in blocks(members):
        for member, reason in zip(block, run_together(block), strict=True):
            if isinstance(reason, FloatingPointError):
                failed.append(f"model {members.index(member)}: {reason}")
    if failed:
        warnings.warn("; ".join(failed), RuntimeWarning, stacklevel=2)
    return [member.trajectory for member in members]


def blocks(members: Sequence[Member]) -> list[list[Member]]:
    """Members that train together, in blocks of nearly equal size that fit the cache."""
    shapes: dict[tuple[object, ...], list[Member]] = {}
    for member in members:
        shapes.setdefault(member.job.shape, []).append(member)
    found = []
    for alike in shapes.values():
        count = math.ceil(len(alike) / block_size(alike[0].job))
        size = math.ceil(len(alike) / count)
        found += [alike[start : start + size] for start in range(0, len(alike), size)]
    return found


def block_size(job: Job) -> int:
    """Networks of this shape to stack: as many as fill one chunk of :mod:`.gradients`."""
    pairs = min(len(job.split.train_index), job.config.batch_size or len(job.split.train_index))
    return max(1, CHUNK_ELEMENTS // (pairs * max(job.model.cfg.d_mlp, job.model.cfg.p)))
