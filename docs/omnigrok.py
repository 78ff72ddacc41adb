"""Print the tables of docs/omnigrok.md: ``python docs/omnigrok.py NAME``; results are kept in out/omnigrok.

A second call of a command that was interrupted, or that has ended, goes on from what is there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from grok_interp import figures, landscape, realdata
from grok_interp.config import HookedMLPConfig, LandscapeConfig, TaskConfig, TrainConfig
from grok_interp.landscape_command import MODULAR_ALPHAS
from grok_interp.problems import ModularProblem, Problem, teacher_student

OUT = Path("out/omnigrok")
SEEDS = (0, 1, 2)
COARSE = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
GROKKING = TrainConfig(
    steps=4000,
    lr=6e-3,
    weight_decay=0.0,
    optimizer="adam",
    constraint="sphere",
    eval_every=20,
    checkpoint_every=10**6,
    progress=False,
)
TIMES = ["t_train", "train_censored", "t_generalise", "generalise_censored"]
LATENT = (
    *("idealised_per_matrix", "excess_per_matrix", "idealised_joint", "excess_joint"),
    "phase_residual",
)


def held(name: str, problem: Problem | ModularProblem, config: LandscapeConfig) -> pd.DataFrame:
    """A reduced landscape; prints its numbers."""
    frame = landscape.reduced(problem, config, out=OUT / name)
    print(f"{name}: {getattr(problem, 'about', '')}")
    show(means(frame))
    numbers = landscape.numbers(frame)
    chosen = numbers["number"].isin(
        [
            *("w_c", "w_c_left", "w_c_right", "zone_low", "zone_high", "left_arm", "right_arm"),
            *("u", "corner", "fitted_to", "l", "diverged"),
        ]
    )
    show(numbers[chosen])
    return frame


def means(frame: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Means over seeds by rule and alpha."""
    kept = ["train_loss", "test_loss", "best_test_loss", "train_accuracy", "test_accuracy"]
    return frame.groupby([*by, "lr_rule", "alpha"], sort=False)[kept].mean().reset_index()


def free(
    name: str,
    problem: Problem | ModularProblem,
    alphas: Sequence[float],
    decays: Sequence[float],
    how: TrainConfig,
    levels: tuple[float, float] = (landscape.LEVEL, landscape.LEVEL),
    seeds: tuple[int, ...] = SEEDS,
) -> pd.DataFrame:
    """Free training from each alpha with each decay; prints times, and the laws where there are any."""
    train = replace(how, constraint="none", optimizer="adamw")
    config = LandscapeConfig(alphas, seeds, (), ("fixed",), decays, train, draws=0)
    table = landscape.train(problem, config, out=OUT / name).table
    times = landscape.times(table, *levels)
    decay_of_norm = landscape.norm_decay(table, times)
    last = landscape.last_and_best(table)
    shown = times.assign(
        ratio_memorising=decay_of_norm["ratio_memorising"],
        ratio_generalising=decay_of_norm["ratio_generalising"],
        train_accuracy=last["train_accuracy"].to_numpy(),
        test_accuracy=last["test_accuracy"].to_numpy(),
    )
    show(shown.drop(columns=["size", "lr_rule", "lr"]))
    for alpha, mine in times[times["weight_decay"] > 0].groupby("alpha"):
        for kind in ("generalise", "train"):
            try:
                print(f"alpha {alpha:g}, t_{kind}: {landscape.generalisation_law(mine, time=kind)}")
            except ValueError as error:
                print(f"alpha {alpha:g}, t_{kind}: no law: {error}")
    return table


def modular() -> None:
    """The table of a HookedMLP on addition mod 59, and where on the U the latent algorithm sits."""
    problem = ModularProblem()
    config = LandscapeConfig(MODULAR_ALPHAS, SEEDS)
    held("modular", problem, config)
    found = landscape.train(problem, config, out=OUT / "modular")
    assert found.latent is not None
    last = found.latent[found.latent["step"] == problem.train.steps]
    show(last.groupby(["lr_rule", "alpha"], sort=False)[list(LATENT)].mean().reset_index())
    for step, rows in found.latent[found.latent["lr_rule"] == "fixed"].groupby("step"):
        excess = rows.groupby("alpha")["excess_per_matrix"].mean()
        print(f"step {step}: excess_per_matrix", " ".join(f"{x:.2f}" for x in excess))
    print("constrained: when accuracy came to stay at .9")
    times = landscape.times(found.table)
    show(times[times["lr_rule"] == "fixed"].groupby("alpha")[TIMES].mean().reset_index())


def grokking() -> None:
    """Addition mod 31: free from the usual norm and from far above w_c, and held, at one learning rate."""
    problem = ModularProblem(
        TaskConfig(31), HookedMLPConfig(p=31, d_mlp=128), train_fraction=0.8, train=GROKKING
    )
    free("grokking_free", problem, (1.0, 20.0), (0.1, 0.2, 0.5, 1.0, 2.0), GROKKING)
    config = LandscapeConfig((2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 14.0, 20.0), SEEDS, draws=0)
    held("grokking_held", problem, config)
    times = landscape.times(landscape.train(problem, config, out=OUT / "grokking_held").table)
    show(times.groupby(["lr_rule", "alpha"], sort=False)[TIMES].mean().reset_index())


def teacher() -> None:
    """Teacher and student: the landscape, and large alpha with and without decay."""
    problem = teacher_student()
    held("teacher", problem, LandscapeConfig(train=replace(problem.train, steps=3000)))
    how = replace(problem.train, steps=10_000, lr=1e-3, eval_every=200)
    free("teacher_free", problem, (1.0, 2.0), (0.0, 0.3, 1.0), how)


def images() -> None:
    """scikit-learn's digits: the landscape by data size, and large alpha against the usual."""
    problem = realdata.images("digits")
    held("images", problem, LandscapeConfig())
    how = replace(problem.train, steps=10_000, eval_every=100, batch_size=None)
    free("images_free", problem, (1.0, 6.0), (0.0, 0.3, 0.5, 1.0), how, (0.99, 0.85))


def sizes() -> None:
    """Digits: train and test over data size and alpha."""
    problem = realdata.images("digits")
    config = LandscapeConfig(COARSE, SEEDS, (50, 200, 1000), ("fixed",))
    frame = landscape.reduced(problem, config, out=OUT / "sizes")
    show(frame.pivot_table("test_accuracy", "size", "alpha"))
    show(landscape.numbers(frame).pivot_table("value", "size", "number"))


def language() -> None:
    """The lexicon in vaderSentiment: the landscape, and large alpha against the usual."""
    problem = realdata.language("vader")
    config = LandscapeConfig(COARSE, (0, 1))
    held("language", problem, config)
    how = replace(problem.train, eval_every=20)
    free("language_free", problem, (1.0, 6.0), (0.0, 1.0), how, (0.9, 0.7), (0,))


def molecules() -> None:
    """Polar surface areas: the landscape, and large alpha against the usual."""
    problem = realdata.molecules("nci")
    held("molecules", problem, LandscapeConfig())
    train = replace(problem.train, constraint="none", optimizer="adamw", eval_every=100)
    config = LandscapeConfig((1.0, 3.0), SEEDS, (), ("fixed",), (0.0, 1.0), train)
    table = landscape.train(problem, config, out=OUT / "molecules_free").table
    show(
        table.groupby(["weight_decay", "alpha", "step"])[["train_loss", "test_loss", "weight_norm"]]
        .mean()
        .reset_index()
    )


def mixing() -> None:
    """Digits mixed with templates of their labels: m by alpha."""
    parts = []
    for m in (0.0, 0.25, 0.5, 0.75, 1.0):
        problem = realdata.images("digits", mixing=m)
        train = replace(problem.train, steps=1000)
        config = LandscapeConfig(COARSE, SEEDS, (), ("fixed",), (), train)
        frame = landscape.reduced(problem, config, out=OUT / f"mixing_{m:g}")
        parts.append(frame.assign(mixing=m))
    frame = pd.concat(parts)
    for column in ("test_loss", "test_accuracy"):
        print(column)
        show(frame.pivot_table(column, "mixing", "alpha"))
    drawn = figures.mixing_map(frame, "Digits mixed with templates of their labels")
    drawn.write_html(OUT / "mixing.html")
    for m, part in frame.groupby("mixing"):
        numbers = landscape.numbers(part).set_index("number")["value"]
        print(f"m = {m:g}: w_c {numbers['w_c']:.2f}, zone to {numbers['zone_high']:.2f}")


def show(frame: pd.DataFrame) -> None:
    """Print a table."""
    print(frame.to_string(index=frame.index.name is not None, float_format=lambda x: f"{x:.4g}"))


COMMANDS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (modular, grokking, teacher, images, sizes, language, molecules, mixing)
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: python docs/omnigrok.py {'|'.join(COMMANDS)}")
    COMMANDS[sys.argv[1]]()
