"""Print the tables of docs/gromov.md: ``python docs/gromov.py widths|rates|functions``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd

from grok_interp import analytic, ensemble, measures, presets, training
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

SEEDS = range(3)
WIDTHS = (20, 50, 97, 150, 200, 300, 500)
SIZES = ((23, 500, 0.7), (31, 300, 0.7), (47, 400, 0.6))
RATES = (4e-4, 1.6e-3, 6.4e-3, 1.28e-2)
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
    """Steps of gradient descent to 99% at three sizes, by learning rate over p^3 N."""

    def measured() -> Iterator[dict[str, object]]:
        for p, d_mlp, fraction in SIZES:
            cfg, split = presets.mean_field(p, d_mlp), ModularTask(p).split(fraction, seed=0)
            for rate in RATES:
                how = presets.gradient_descent(
                    cfg,
                    rate,
                    steps=round(3 / rate),
                    eval_every=25,
                    checkpoint_every=10**6,
                    stop="test_accuracy >= 0.99",
                    progress=False,
                )
                row = {
                    "p": p,
                    "N": d_mlp,
                    "fraction": fraction,
                    "rate": rate,
                    "lr": f"{how.lr:.3g}",
                }
                try:
                    metrics = training.train(HookedMLP(cfg), split, how).metrics
                except FloatingPointError as error:
                    yield row | {"train .99": str(error).split(":")[0]}
                    continue
                for side in ("train", "test"):
                    step = metrics.index[metrics[f"{side}_accuracy"] >= 0.99]
                    at = int(step[0]) if len(step) else None
                    row |= {f"{side} .99": at, f"{side}, rate x step": at and round(rate * at, 2)}
                yield row

    return pd.DataFrame(measured()).set_index("p")


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
