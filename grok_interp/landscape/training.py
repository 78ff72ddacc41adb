"""Networks of many norms trained, and what was measured of each along the way, as one table.

A row is an evaluation of one network: ``alpha``, ``seed``, ``size`` (training examples), ``lr_rule``, ``lr``,
``weight_decay``, ``step``, ``train_loss``, ``test_loss``, ``train_accuracy``, ``test_accuracy`` and
``weight_norm``, and ``constant_loss``, the train loss of the best answer that is the same for every example.
Networks of one seed, size and rule, one for each alpha and weight decay, share their initial weights but for
alpha, their data and their minibatches. Those that train as one stack are a *cell*.
"""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from grok_interp import dynamics, ensemble, sphere
from grok_interp.config import LandscapeConfig, TrainConfig
from grok_interp.landscape.cells import COLUMNS, KEYS, Cell, Curves, Store, joined
from grok_interp.landscape.stack import MEASURED, ModuleStack, check_settings
from grok_interp.lockstep import Job
from grok_interp.problems import Data, ModularProblem, Problem, constant_loss
from grok_interp.tasks import ModularTask, Split
from grok_interp.training import SHOWN_EVERY


def train(
    problem: Problem | ModularProblem,
    config: LandscapeConfig | None = None,
    *,
    out: Path | str | None = None,
    progress: bool = True,
) -> Curves:
    """Train a network for each alpha, seed, size, rule of the learning rate and weight decay.

    Args:
        problem: What to train on what.
        config: Which networks, and how they are trained.
        out: A directory. Every finished cell is a Parquet file in it, written aside and renamed, and
            training that was interrupted goes on after the last one: the result is the same. A cell is
            two to ten HookedMLPs as their size has it, all networks of a seed, size and rule that vmap
            runs, or one that it does not. :func:`.cells.read` gives what a directory holds.
        progress: Whether to show a progress bar.

    Returns:
        Evaluations of all networks as one table; of a modular problem also measures of its checkpoints.

    Raises:
        FileExistsError: If the directory holds something else, or cells made in another way.
        ValueError: If a size does not fit the data, a modular task has no coordinates and draws are asked
            for, a seed does not give the same network twice, or outputs, targets or a setting do not fit
            the network (:class:`.stack.ModuleStack`).
        RuntimeError: If another process is writing there.
    """
    config = config or LandscapeConfig()
    how = config.train or problem.train
    _check(problem, config, how)
    sides = [(seed, size) for seed in config.seeds for size in config.sizes or (problem.size,)]
    data: dict[tuple[int, int], Any] = {
        (seed, size): problem.split(seed, size)
        if isinstance(problem, ModularProblem)
        else problem.data(seed, size)
        for seed, size in sides
    }
    networks = tuple(
        (alpha, decay)
        for decay in config.weight_decays or (how.weight_decay,)
        for alpha in config.alphas
    )
    together = _together(problem, how, data[sides[0]], len(networks))
    cells = [
        Cell(seed, size, rule, networks[first : first + together], first)
        for seed, size in sides
        for rule in config.lr_rules
        for first in range(0, len(networks), together)
    ]
    found: list[Curves] = []
    store = None if out is None else Store(Path(out), problem, config)
    with (
        nullcontext() if store is None else store.locked(),
        tqdm(
            total=sum(len(cell.networks) for cell in cells) * how.steps,
            desc=problem.name,
            unit="step",
            unit_scale=True,
            mininterval=SHOWN_EVERY[sys.stderr.isatty()],
            disable=not progress,
        ) as bar,
    ):
        for cell in cells:
            done = None if store is None else store.read(cell)
            if done is None:
                done = _train_cell(problem, config, how, cell, data[cell.seed, cell.size], bar)
                if store is not None:
                    store.write(cell, done)
            else:
                bar.update(len(cell.networks) * how.steps)
            found.append(done)
            bar.set_postfix_str(cell.name)
    _warn_of_failures(found)
    return joined(found)


def reduced(
    problem: Problem | ModularProblem,
    config: LandscapeConfig | None = None,
    *,
    out: Path | str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train and test loss and accuracy against alpha, with the weight norm held fixed.

    Args:
        problem: A network on data.
        config: Alphas, seeds, sizes, rules of the learning rate, and how to train.
        out: A directory that finished parts are kept in; see :func:`train`.
        progress: Whether to show a progress bar.

    Returns:
        A row for each network, with ``alpha``, ``seed``, ``size``, ``lr_rule``, ``lr``, ``weight_decay``,
        ``steps``, ``weight_norm``; last ``train_loss``, ``test_loss``, ``train_accuracy``,
        ``test_accuracy``; and the best of each along the way as ``best_...``.

    Raises:
        ValueError: If the norm would not be held: ``constraint`` is ``"none"``; and as for :func:`train`.
    """
    config = config or LandscapeConfig()
    if out is None:
        config = replace(config, draws=0)  # of which nothing would be returned
    how = config.train or problem.train
    if how.constraint == "none":
        raise ValueError(
            "constraint='none' lets the norm go, and a reduced landscape holds it: train with "
            "constraint='sphere' or 'per_layer', or call landscape.train for free training"
        )
    return last_and_best(train(problem, config, out=out, progress=progress).table)


def last_and_best(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each network: its last losses and accuracies, and the best along the way, kept apart.

    ``train_loss`` and the like are of the last evaluation; ``best_train_loss`` and the like the smallest loss
    or largest accuracy of all evaluations, each by itself, NaN if none is finite. The best of the test
    side is chosen by looking at it, so it is an optimistic number.

    Args:
        table: ``train(...).table``.

    Returns:
        Columns as of :func:`reduced`.

    Raises:
        ValueError: If a network occurs twice at one step.
    """
    twice = table.duplicated([*KEYS, "step"])
    if twice.any():
        first = table.loc[twice, [*KEYS, "step"]].iloc[0].to_dict()
        raise ValueError(f"a network has two rows at one step ({first}): pass each run once")
    ordered = table.replace(math.inf, math.nan).sort_values("step", kind="stable")
    grouped = ordered.groupby(KEYS, sort=False)
    best = {
        **{f"best_{side}_loss": grouped[f"{side}_loss"].min() for side in ("train", "test")},
        **{
            f"best_{side}_accuracy": grouped[f"{side}_accuracy"].max() for side in ("train", "test")
        },
    }
    last = ordered.drop_duplicates(KEYS, keep="last").set_index(KEYS)[
        ["step", *MEASURED, "constant_loss"]
    ]
    frame = pd.DataFrame(best).join(last)
    return frame.rename(columns={"step": "steps"}).reset_index()[
        [*KEYS, "steps", *MEASURED, *best, "constant_loss"]
    ]


def _check(problem: Problem | ModularProblem, config: LandscapeConfig, how: TrainConfig) -> None:
    """Raise before anything is trained what would be raised after it, or never."""
    if how.seed != TrainConfig.seed:
        raise ValueError(
            f"seed={how.seed!r} of the training configuration: the order of minibatches follows from seeds= "
            "of the landscape; leave it out"
        )
    if isinstance(problem, ModularProblem):
        if config.draws and ModularTask(problem.task).coordinates is None:
            raise ValueError(
                f"{problem.name} has no coordinates in which it is addition, so there is no latent "
                "algorithm to idealise: pass draws=0 (--draws 0)"
            )
        return
    check_settings(how)
    seed = config.seeds[0]
    first, second = (problem.network(seed).state_dict().values() for _ in range(2))
    if not all(torch.equal(one, other) for one, other in zip(first, second, strict=True)):
        raise ValueError(
            f"network({seed}) gives other weights each time, so networks of two alphas would differ in more "
            "than alpha: draw them from the seed, as problems.seeded(seed, lambda: nn.Linear(2, 2)) does"
        )


def _together(problem: Problem | ModularProblem, how: TrainConfig, data: Any, networks: int) -> int:
    """How many networks train as one, and are stored as one.

    Returns:
        For HookedMLPs the size of the blocks in which they train; for other networks all of them, or 1 where
        vmap does not know them.
    """
    if isinstance(problem, ModularProblem):
        return min(networks, ensemble.block_size(Job(problem.network(0, 1.0), data, how)))
    trial = ModuleStack([problem.network(0)], problem, data, [how])
    if trial.stacked:
        return networks
    warnings.warn(
        f"{problem.name}: networks train one after another, since vmap does not run them ({trial.why_not})",
        stacklevel=3,
    )
    return 1


# One cell ---------------------------------------------------------------------------------------


def _train_cell(
    problem: Problem | ModularProblem,
    config: LandscapeConfig,
    how: TrainConfig,
    cell: Cell,
    data: Any,
    bar: Any,
) -> Curves:
    configs = [
        replace(
            how,
            lr=how.lr * alpha if cell.lr_rule == "proportional" else how.lr,
            weight_decay=decay,
            seed=cell.seed,
            progress=False,
        )
        for alpha, decay in cell.networks
    ]
    if isinstance(problem, ModularProblem):
        return _modular(problem, configs, cell, data, config.draws, bar)
    return Curves(_modules(problem, configs, cell, data, bar), None)


def _modules(
    problem: Problem, configs: Sequence[TrainConfig], cell: Cell, data: Data, bar: Any
) -> pd.DataFrame:
    modules = []
    for alpha, _ in cell.networks:
        modules.append(copy.deepcopy(problem.network(cell.seed)))
        sphere.scale(modules[-1], alpha)
    stack = ModuleStack(modules, problem, data, configs)
    floor = constant_loss(data.train.targets, problem.loss)
    how, rows, shown = configs[0], [], 0
    for step in range(how.steps + 1):
        if how.evaluated_at(step):
            for (alpha, _), config, row in zip(
                cell.networks, configs, stack.evaluate(), strict=True
            ):
                rows.append(_labelled(cell, alpha, config, floor) | {"step": step} | row)
            bar.update(len(modules) * (step - shown))
            shown = step
        if step < how.steps:
            stack.step(step)
    return pd.DataFrame(rows)[COLUMNS]


def _modular(
    problem: ModularProblem,
    configs: Sequence[TrainConfig],
    cell: Cell,
    split: Split,
    draws: int,
    bar: Any,
) -> Curves:
    models = [problem.network(cell.seed, alpha) for alpha, _ in cell.networks]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"model \d+: ", RuntimeWarning)  # told once, at the end
        histories = ensemble.train(models, [split] * len(models), configs)
    bar.update(len(models) * configs[0].steps)
    kind = "mse_one_hot" if configs[0].loss == "mse" else "cross_entropy"
    floor = constant_loss(split.train_labels, kind)
    tables, latent = [], []
    for (alpha, _), config, run in zip(cell.networks, configs, histories, strict=True):
        labels = _labelled(cell, alpha, config, floor)
        tables.append(run.metrics[[*MEASURED]].reset_index().assign(**labels))
        if draws:
            measured = dynamics.table(run, draws=draws, seed=cell.seed)
            latent.append(measured.reset_index().assign(**labels))
    table = pd.concat(tables, ignore_index=True)[COLUMNS]
    if not latent:
        return Curves(table, None)
    beside = pd.concat(latent, ignore_index=True)
    return Curves(table, beside[[*KEYS, "step", *dynamics.DEFINITIONS]])


def _labelled(cell: Cell, alpha: float, config: TrainConfig, floor: float) -> dict[str, Any]:
    """Columns that say which network a row is of, and how it was trained."""
    return {
        "alpha": alpha,
        "seed": cell.seed,
        "size": cell.size,
        "lr_rule": cell.lr_rule,
        "lr": config.lr,
        "weight_decay": config.weight_decay,
        "constant_loss": floor,
    }


def _warn_of_failures(found: Sequence[Curves]) -> None:
    """Say once which networks have stopped being finite."""
    last = pd.concat([last_and_best(each.table) for each in found])
    failed = [
        f"alpha {row['alpha']:g}, seed {row['seed']}, {row['lr_rule']} lr"
        for row in last.to_dict("records")
        if not math.isfinite(row["train_loss"])
    ]
    if failed:
        warnings.warn(
            f"the loss of {len(failed)} networks stopped being finite ({'; '.join(failed[:5])}): their last "
            "values are NaN; lower lr, or leave out these alphas",
            RuntimeWarning,
            stacklevel=3,
        )
