"""Training runs of a HookedMLP on a split, in memory or in a directory that survives anything.

AdamW with betas (0.9, 0.98), learning rate 1e-3 and weight decay 1 on full-batch cross-entropy is
the setting in which grokking on modular addition is usually studied (Nanda et al., arXiv
2301.05217; arXiv 2603.23784).

A run is a function of its configuration: minibatches are drawn from the seed and the step, and
gradients do not depend on when metrics are measured. So a run that was killed and resumed ends with
the bits of one that was not, on one machine and with one number of threads.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from grok_interp.config import TrainConfig as TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.lockstep import Job, Lockstep, is_altered
from grok_interp.runs import History, InMemory, RunDirectory, State
from grok_interp.tasks import Split
from grok_interp.trajectory import Trajectory

ALL_STEPS = "all steps"
"""Why a run ended that took every step."""
FAILED = "failed: "
"""How the reason begins of a run whose numbers stopped being finite."""
SHOWN_EVERY = {True: 0.1, False: 30.0}
"""Seconds between updates of the bar on a terminal, and in a file."""


def train(
    model: HookedMLP,
    split: Split,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    **fields: Any,
) -> Trajectory:
    """Train ``model`` in place on the split's training pairs, noise included.

    Hooks that are attached take part in every forward pass, evaluations included; without any, a
    step costs little more than its matrix products (:mod:`.gradients`).

    Args:
        model: Its parameters are changed.
        split: Training pairs and labels; held-out pairs are only measured.
        config: How to train; or its fields as keywords, as in ``train(model, split, steps=500)``.
        out: Directory for the run, from which :func:`resume` goes on if the process is killed. None
            keeps checkpoints in memory.
        overwrite: Whether to replace a run that is in ``out``.
        **fields: Fields of :class:`.TrainConfig` that replace those of ``config``.

    Returns:
        The run. ``metrics`` has ``train_loss`` and ``train_accuracy`` on the labels trained on,
        ``clean_train_accuracy`` on the task's labels of the same pairs, ``test_loss`` and
        ``test_accuracy``; ``weight_norm`` (L2, all parameters) and ``gradient_norm`` (L2, of the
        loss over all training pairs, trained parameters), and both by parameter, such as
        ``weight_norm_W_in``.

    Raises:
        TypeError: If a keyword is not a field of :class:`.TrainConfig`.
        ValueError: If the split is of another modulus, a name in ``trainable`` is unknown, a value
            is out of range, or a directory is asked for a model with hooks or with a callable
            activation, which no file can hold.
        FileExistsError: If ``out`` is not empty.
        FloatingPointError: If the loss stops being finite.
        RuntimeError: If another process is training in ``out``.
    """
    job = make_job(model, split, replace(config or TrainConfig(), **fields))
    if out is None:
        history: History = InMemory()
    else:
        _check_storable(model)
        history = RunDirectory.create(Path(out), split, model.cfg, job.config, overwrite=overwrite)
    return _run_alone(job, history, None)


def resume(path: str | Path, *, progress: bool = True) -> Trajectory:
    """Go on with a run that was interrupted, from its last checkpoint, to its end.

    On the machine where it was started, with as many threads, the result is that of a run that was
    not interrupted, bit for bit. A run that has ended is returned as it is.

    Args:
        path: The run's directory.
        progress: Whether to show a progress bar.

    Returns:
        The run, as :func:`train` returns it.

    Raises:
        FileNotFoundError: If there is no run, or it was killed before its first checkpoint.
        ValueError: Naming the file that is damaged.
        RuntimeError: If another process is training there.
        FloatingPointError: If the run ended because its numbers stopped being finite.
    """
    run, state = RunDirectory.open_to_write(Path(path))
    try:
        if state.ended.startswith(FAILED):
            raise FloatingPointError(f"{path} cannot go on: {state.ended.removeprefix(FAILED)}")
        config = run.train_config
        stored = Trajectory(run.model_config, run.split, config, run.model_config.act_fn, run)
        if state.ended:
            return stored
        model = stored.at(state.step)
        run.continue_from(state)
        return _run_alone(Job(model, run.split, replace(config, progress=progress)), run, state)
    finally:
        run.close()


def _run_alone(job: Job, history: History, state: State | None) -> Trajectory:
    """Train one network; what goes wrong is raised."""
    try:
        member = Member(job, history, 0 if state is None else state.met)
        (ended,) = run_together([member], state)
    finally:
        if isinstance(history, RunDirectory):
            history.close()
    if isinstance(ended, FloatingPointError):
        raise ended
    return member.trajectory


def make_job(model: HookedMLP, split: Split, config: TrainConfig) -> Job:
    """A network and how to train it, checked, with ``trainable`` resolved to names.

    Args:
        model: The network.
        split: What it is trained on.
        config: How to train it.

    Returns:
        A job whose configuration names the trained parameters, in the model's order.

    Raises:
        ValueError: As for :func:`train`.
    """
    if split.task.p != model.cfg.p:
        raise ValueError(
            f"the model has p={model.cfg.p} and the split p={split.task.p}: make both with one p"
        )
    parameters = dict(model.mlp.named_parameters(recurse=False))
    for name in config.trainable or ():
        if name not in parameters:
            raise ValueError(
                f"trainable name {name!r} is unknown: this model has {', '.join(parameters)}"
            )
    learning = [name for name, parameter in parameters.items() if parameter.requires_grad]
    chosen = learning if config.trainable is None else config.trainable
    if not chosen:
        raise ValueError(
            f"nothing to train: trainable={config.trainable!r}, and this model has "
            f"{', '.join(parameters)}, of which {len(learning)} require gradients"
        )
    return Job(model, split, replace(config, trainable=tuple(n for n in parameters if n in chosen)))


def _check_storable(model: HookedMLP) -> None:
    if model.cfg.act_fn == "custom":
        raise ValueError(
            "act_fn='custom' stands for a callable, which a run directory cannot hold: train with "
            "out=None, or use a named activation"
        )
    if is_altered(model):
        raise ValueError(
            "the model has hooks or a forward of its own, which a run directory cannot hold, so the run "
            "could not be resumed: train with out=None, or remove them"
        )


# The loop ---------------------------------------------------------------------------------------


@dataclass
class Member:
    """One of the networks that train together.

    Attributes:
        job: The network and how to train it.
        history: Where its checkpoints and metrics go.
        met: Evaluations in a row that met its stop rule.
    """

    job: Job
    history: History
    met: int = 0

    @property
    def trajectory(self) -> Trajectory:
        """The run so far."""
        model = self.job.model
        return Trajectory(
            model.cfg, self.job.split, self.job.config, model.weights().act_fn, self.history
        )


def run_together(
    members: Sequence[Member], state: State | None = None
) -> list[str | FloatingPointError]:
    """Train networks of one shape to their ends; each leaves the stack when it has ended.

    Args:
        members: Networks of one :attr:`.Job.shape`; more than one only without hooks.
        state: Where to go on from, for a single network whose model holds the weights of then.

    Returns:
        Why each ended, which is all steps, its stop rule, or an error if its numbers stopped being finite.
    """
    config = members[0].job.config
    place = {id(member): i for i, member in enumerate(members)}
    reasons: list[str | FloatingPointError] = [""] * len(members)
    alive = list(members)
    step = 0 if state is None else state.step
    longest = max(member.job.config.steps for member in members)
    with (
        _precision(config.matmul_precision),
        _without_gradients([member.job.model for member in members]),
        tqdm(
            total=longest,
            initial=step,
            desc="train",
            unit="step",
            mininterval=SHOWN_EVERY[sys.stderr.isatty()],
            disable=not config.progress,
        ) as bar,
    ):
        stack = Lockstep(
            [member.job for member in alive], step, None if state is None else state.moments
        )
        fresh = state is None
        try:
            while True:
                # A resumed run has stored and measured this step before it was interrupted.
                if fresh:
                    ended = _look(alive, stack, step, bar)
                    for index in ended:
                        stack.write_back(index)
                        reasons[place[id(alive[index])]] = ended[index]
                    if ended:
                        keep = [i for i in range(len(alive)) if i not in ended]
                        alive = [alive[i] for i in keep]
                        if not alive:
                            return reasons
                        stack = stack.select(keep, step)
                stack.step(step)
                step += 1
                fresh = True
                bar.update()
        finally:
            for index in range(len(alive)):
                stack.write_back(index)


def _look(
    members: Sequence[Member], stack: Lockstep, step: int, bar: Any
) -> dict[int, str | FloatingPointError]:
    """Store and measure what is due at a step; say which networks have ended, and why."""
    ended: dict[int, str | FloatingPointError] = {}
    configs = [member.job.config for member in members]
    rows: Sequence[Mapping[str, float]] = [{}] * len(members)
    if any(config.evaluated_at(step) for config in configs):
        rows = stack.evaluate()
    for index, (member, config, row) in enumerate(zip(members, configs, rows, strict=True)):
        parameters = stack.of(stack.parameters, index)
        stored, measured = config.stored_at(step), config.evaluated_at(step)
        if not stored and not measured:
            continue
        error = _not_finite(parameters, row if measured else {}, step, config)
        if measured:
            member.met = member.met + 1 if _meets(config, row) else 0
            bar.set_postfix(_shown(row), refresh=False)
        if error is not None:
            ended[index] = error
        elif config.stop is not None and member.met >= config.stop_evaluations:
            ended[index] = f"stop rule: {config.stop}"
        elif step >= config.steps:
            ended[index] = ALL_STEPS
        if measured:
            member.history.record(step, row)
        if error is None and (stored or index in ended):
            member.history.checkpoint(step, parameters)
        if stored or index in ended:
            reason = ("" if error is None else FAILED) + str(ended.get(index, ""))
            moments = stack.of(stack.optimizer.state, index) if error is None else {}
            member.history.save(State(step, member.met, reason, moments))
    return ended


def _meets(config: TrainConfig, row: Mapping[str, float]) -> bool:
    rule = config.stop_rule
    return rule is not None and rule.met(row[rule.metric])


def _not_finite(
    parameters: Mapping[str, Tensor], row: Mapping[str, float], step: int, config: TrainConfig
) -> FloatingPointError | None:
    loss = row.get("train_loss", 0.0)
    if not math.isfinite(loss):
        what = f"the loss is {loss}"
    elif not all(bool(tensor.isfinite().all()) for tensor in parameters.values()):
        what = "weights are not finite"
    else:
        return None
    return FloatingPointError(f"{what} at step {step}: lower lr={config.lr}, or the initial scale")


def _shown(row: Mapping[str, float]) -> dict[str, str]:
    names = {"train_loss": "loss", "train_accuracy": "train", "test_accuracy": "test"}
    return {short: f"{row[name]:.3g}" for name, short in names.items()}


@contextmanager
def _precision(name: str) -> Iterator[None]:
    """PyTorch's float32 matrix products at this precision, for a while."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _without_gradients(models: Sequence[HookedMLP]) -> Iterator[None]:
    """Leave no ``.grad`` behind that a user's own loop would add to."""
    try:
        yield
    finally:
        for model in models:
            for parameter in model.parameters():
                parameter.grad = None
