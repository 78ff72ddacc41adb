"""The events of a run, read from its checkpoints: memorisation, grokking, and when measures pass a level.

All are of one resolution, the spacing of the checkpoints. A measure passes a level at the first
checkpoint from which on it stays above (:mod:`grok_interp.milestones`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from grok_interp import milestones
from grok_interp.outcomes import SOLVED
from grok_interp.verdict import SMALL_EXCESS

SETTING = {
    "task.p": "p",
    "split.train_fraction": "train_fraction",
    "split.label_noise": "label_noise",
    "model.d_mlp": "d_mlp",
    "train.lr": "lr",
    "train.weight_decay": "weight_decay",
}
"""What runs must share to be compared, and its names in tables."""
KEYS = list(SETTING.values())
LEVELS = (SMALL_EXCESS, 0.5)
"""Two levels of accuracy, so that no answer hangs on one."""
MODES = ("per_matrix", "joint")
TEST = "test_accuracy"
MEMORISED, GROKKED = ("train_accuracy", SOLVED), (TEST, SOLVED)
"""An event is a column of the checkpoints and its level; these two are at the level or above."""
LATENT = (*(("excess_per_matrix", level) for level in LEVELS), ("excess_joint", SMALL_EXCESS))
GENERALISING = tuple((TEST, level) for level in LEVELS)
EVENTS = (MEMORISED, GROKKED, *GENERALISING, *LATENT)
COMPARED = (
    *((event, GROKKED) for event in LATENT),
    *((event, (TEST, event[1])) for event in LATENT),
    *((event, MEMORISED) for event in LATENT),
    (MEMORISED, GROKKED),
)
"""Onsets against grokking, test accuracy at their own level, and memorisation; and this against grokking."""
FORETOLD = (GROKKED, GENERALISING[-1])
"""What onsets may foretell: the first hangs on a pair or two of those held out, the second on half.

The second was added after the first had turned out not to be ordered by any event, so it is exploratory.
"""


def label(event: str, level: float) -> str:
    """An event in words.

    Args:
        event: Column of the checkpoints.
        level: Accuracy or excess that it comes to stay above.

    Returns:
        "memorised", "grokked", or the measure and its level.
    """
    names = {MEMORISED: "memorised", GROKKED: "grokked"}
    return names.get((event, level), f"{event} > {level:g}")


def censored(event: str, level: float) -> str:
    """Name of the column that says whether an event had not happened by its step."""
    return f"{label(event, level)}, censored"


def of_run(run: pd.DataFrame) -> dict[str, Any]:
    """Settings of one run, its seed and last step, and for each event its step and whether it is censored.

    Args:
        run: Its checkpoints, a row each, with the names of :data:`SETTING` for its settings.

    Returns:
        A row of the table ``runs``.
    """
    along = run.set_index("step").sort_index()
    row: dict[str, Any] = {name: along[name].iloc[0] for name in KEYS}
    row |= {"seed": int(along["split.seed"].iloc[0]), "run": along["run"].iloc[0]}
    row |= {"last_step": int(along.index[-1])}
    for event, level in EVENTS:
        solved = (event, level) in (MEMORISED, GROKKED)
        when = milestones.reached if solved else milestones.onset
        happened = when(along[event], level)
        row[label(event, level)] = happened.step
        row[censored(event, level)] = happened.censored
    for mode in MODES:
        # The control is made of the run's start, so it is one number along the run.
        row[f"floor_{mode}"] = float((along[f"idealised_{mode}"] - along[f"excess_{mode}"]).iloc[0])
    return row


def times(group: pd.DataFrame, event: tuple[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Steps of an event and whether it is right-censored.

    Args:
        group: Rows as :func:`of_run` makes them.
        event: One of :data:`EVENTS`.

    Returns:
        Two arrays with an entry for each run.
    """
    return group[label(*event)].to_numpy(float), group[censored(*event)].to_numpy(bool)
