"""Print the tables of docs/gromov.md: ``python docs/gromov.py widths|rates|functions``."""

from __future__ import annotations

import math
import sys

import numpy as np
import pandas as pd

from grok_interp import analytic, ensemble, measures, presets, training
from grok_interp.config import HookedMLPConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

SEEDS = range(3)
WIDTHS = (20, 50, 97, 150, 200, 300, 500)
SIZES = (
    *((31, 100), (31, 200), (31, 400), (31, 800), (31, 1600)),
    *((17, 300), (23, 300), (31, 300), (43, 300), (59, 300)),
)
RATE = 1.6e-3
LIMITS = (3.2e-3, 2.56e-2)
"""Rates that are stable and that are not at every size."""
PRECISION = 1.15
"""How well the largest stable rate is found, as a ratio."""
FRACTIONS = (0.5, 0.7, 0.95)


def widths() -> pd.DataFrame:
    """Accuracy of constructed networks at p = 97, three seeds each."""
    task = ModularTask(97)
    rows = {}
    for width in WIDTHS:
        for act in ("quadratic", "relu"):
            for wave in ("cosine", "square"):
                found = [
                    float(
                        measures.accuracy(
                            analytic.solution(task, width, seed, act_fn=act, input_waveform=wave),
                            task,
                        )
                    )
                    for seed in SEEDS
                ]
                rows.setdefault(width, {})[f"{act}, {wave}"] = " ".join(f"{x:.4g}" for x in found)
    return pd.DataFrame(rows).T.rename_axis("width")


def rates() -> pd.DataFrame:
    """Gradient descent at sizes that differ in p or N alone, in units of lr / (p^3 N)."""

    def metrics(cfg: HookedMLPConfig, rate: float, steps: int, stop: str | None) -> pd.DataFrame:
        how = presets.gradient_descent(
            cfg,
            rate,
            steps=steps,
            eval_every=10,
            checkpoint_every=10**6,
            stop=stop,
            progress=False,
        )
        return training.train(HookedMLP(cfg), ModularTask(cfg.p).split(0.7, seed=0), how).metrics

    def is_stable(cfg: HookedMLPConfig, rate: float) -> bool:
        try:
            metrics(cfg, rate, 600, None)
        except FloatingPointError:
            return False
        return True

    rows = []
    for p, d_mlp in SIZES:
        cfg = presets.mean_field(p, d_mlp)
        run = metrics(cfg, RATE, 2500, "test_accuracy >= 0.99")
        low, high = LIMITS
        while high / low > PRECISION:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if is_stable(cfg, middle) else (low, middle)
        row = {"p": p, "N": d_mlp, "largest stable rate": low}
        for side in ("train", "test"):
            step = run.index[run[f"{side}_accuracy"] >= 0.99]
            row[f"rate x step to 99% of {side}"] = RATE * step[0] if len(step) else math.nan
        rows.append(row)
    frame = pd.DataFrame(rows)
    for name, fixed, value in (("N", "p", 31), ("p", "N", 300)):
        chosen = frame[frame[fixed] == value]
        for column in frame.columns[2:4]:
            slope = np.polyfit(np.log(chosen[name]), np.log(chosen[column]), 1)[0]
            print(f"{column} goes as {name}^{slope:.2f} at {fixed} = {value}")
    return frame.set_index(["p", "N"])


def functions(p: int = 23, d_mlp: int = 300) -> pd.DataFrame:
    """Held-out accuracy of published functions beside the criterion, AdamW with decay 5."""
    tasks = {name: ModularTask(p, name) for name in presets.FUNCTIONS}
    frame = pd.DataFrame(index=pd.Index(list(tasks), name="function"))
    frame["form found"] = [task.coordinates is not None for task in tasks.values()]
    frame["commonest class"] = [
        float(task.labels.bincount().max() / len(task.labels)) for task in tasks.values()
    ]
    for fraction in FRACTIONS:
        splits = [task.split(fraction, seed=seed) for task in tasks.values() for seed in SEEDS]
        models = [HookedMLP(presets.doshi(p, d_mlp, seed)) for _ in tasks for seed in SEEDS]
        runs = ensemble.train(
            models, splits, presets.adamw(5.0, steps=400, eval_every=400, progress=False)
        )
        ends = [float(run.metrics.test_accuracy.iloc[-1]) for run in runs]
        frame[f"{fraction:g} of pairs"] = [
            " ".join(f"{x:.3f}" for x in ends[i : i + len(SEEDS)])
            for i in range(0, len(ends), len(SEEDS))
        ]
    return frame


if __name__ == "__main__":
    tables = {"widths": widths, "rates": rates, "functions": functions}
    if len(sys.argv) != 2 or sys.argv[1] not in tables:
        sys.exit(f"usage: python docs/gromov.py {'|'.join(tables)}")
    with pd.option_context("display.width", 160, "display.max_columns", 20):
        print(tables[sys.argv[1]]())
