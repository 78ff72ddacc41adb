"""Where the latent algorithm ends: label noise by train fraction, and by weight decay.

A cell is a setting, its numbers are means over seeds. Each measure stands beside that of
frozen_input, random input weights with a read-out fitted to the same labels, of the same seed and split::

    excess       = idealised accuracy - idealised accuracy of frozen_input
    phase_excess = phase residual of frozen_input - phase residual        (radians; positive: closer to 0)

Where a measure ends is a range. It is there up to the largest label noise at which the whole 95% interval
over seeds is above its level, a tenth for an excess; it is gone from the smallest noise on from which on all
intervals are below. At noises between these the interval holds the level, so other seeds may move the end
there. Noise 1 is the null: all labels are drawn anew, some right by chance, so there is nothing to learn, and
what a measure has there it has without the algorithm.

What is not evidence: a high idealised accuracy or a low phase residual by itself, both of which the
control has too; nor an excess of nil where the control leaves no room for one (``room``); nor by itself a
residual below that of frozen_input: the one's read-out is trained, the other's fitted by ridge regression,
and they may take up the same labels to different degrees.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from grok_interp.study.cells import require
from grok_interp.study.diagram_words import AXES, NULL
from grok_interp.study.diagram_words import in_words as in_words
from grok_interp.study.statistics import over_seeds
from grok_interp.verdict import SMALL_EXCESS

SETTING = {
    "task.p": "p",
    "model.d_mlp": "d_mlp",
    "train.steps": "steps",
    "train.lr": "lr",
    "split.label_noise": "label_noise",
    "split.train_fraction": "train_fraction",
    "train.weight_decay": "weight_decay",
}
PLANE = ["label_noise", "train_fraction", "weight_decay"]
"""What the cells differ in; the other settings are the same in all runs."""
MODES = ("per_matrix", "joint")
MEASURES = {
    "test_accuracy": "own accuracy on held-out pairs",
    "accuracy": "own accuracy on all pairs",
    "idealised_per_matrix": "idealised accuracy, per_matrix",
    "idealised_joint": "idealised accuracy, joint",
    "floor_per_matrix": "the same of frozen_input, per_matrix",
    "floor_joint": "the same of frozen_input, joint",
    "excess_per_matrix": "idealised accuracy above that of frozen_input, per_matrix",
    "excess_joint": "idealised accuracy above that of frozen_input, joint",
    "phase_residual": "median absolute phase residual in radians",
    "phase_residual_frozen": "the same of frozen_input",
    "phase_excess": "phase residual of frozen_input minus that of the network, in radians",
}
ENDS = {
    "excess_per_matrix": SMALL_EXCESS,
    "excess_joint": SMALL_EXCESS,
    "phase_excess": 0.0,
    "test_accuracy": SMALL_EXCESS,
}
"""What ends, and the level above or below which the whole interval must be."""
NEEDED = [
    "run",
    *SETTING,
    "test_accuracy",
    "accuracy",
    "phase_residual",
    "phase_residual_frozen",
    *(f"{kind}_{mode}" for kind in ("idealised", "excess") for mode in MODES),
]


def tables(runs: pd.DataFrame, *, resamples: int = 10_000) -> dict[str, pd.DataFrame]:
    """Cells of both planes, and where things end.

    Args:
        runs: As ``sweep.read`` gives them: a grid of label noise by train fraction, and one of label
            noise by weight decay, which may share cells.
        resamples: Bootstrap resamples.

    Returns:
        By name:

        - ``ends``: for each train fraction and each weight decay, and what ends (:data:`ENDS`): the
          largest label noise ``last`` at which its interval is above the level (NaN if at none), the
          smallest, ``gone``, from which on it is below (NaN if it is not at the ``largest``), and at
          how many between them it holds the level (``undecided``); at how many below ``last`` it is not
          above (``gaps``); ``room``, the largest excess that the control leaves at the least noise;
          ``null``, ``null_low`` and ``null_high``, what it is at noise 1 (NaN if not measured);
        - ``by_fraction``, ``by_decay``: a row a cell, with mean, ``_low`` and ``_high`` of each measure.

    Raises:
        ValueError: If there are no runs, a column is missing, other settings differ between runs, or either
            plane is not there.
    """
    require(runs, NEEDED)
    each = runs.rename(columns=SETTING)
    for name in set(SETTING.values()) - set(PLANE):
        if len(values := sorted(each[name].unique().tolist())) > 1:
            raise ValueError(f"the runs have {name} {values}, expected one: pass those of one")
    for mode in MODES:
        each[f"floor_{mode}"] = each[f"idealised_{mode}"] - each[f"excess_{mode}"]
    each["phase_excess"] = each["phase_residual_frozen"] - each["phase_residual"]
    planes = {name: _cells(_plane(each, axis), axis, resamples) for name, axis in AXES.items()}
    ends = [
        _end(line, axis, what)
        for name, axis in AXES.items()
        for _, line in planes[name].groupby(axis)
        for what in ENDS
    ]
    return {"ends": pd.DataFrame(ends), **planes}


def _plane(runs: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The runs that share the other axis at the value where this one varies most."""
    (other,) = set(AXES.values()) - {axis}
    varied = runs.groupby(other)[axis].nunique()
    if varied.max() < 2:
        raise ValueError(
            f"no two runs of one {other} differ in {axis}, so there is no plane of it and label noise: give "
            f"a grid of {axis} and split.label_noise"
        )
    return runs[runs[other] == varied.idxmax()]


def _cells(runs: pd.DataFrame, axis: str, resamples: int) -> pd.DataFrame:
    """A row a cell: n, and mean and interval of each measure."""
    found = over_seeds(runs, PLANE, list(MEASURES), resamples=resamples)
    counts = runs.groupby(PLANE, as_index=False).agg(n=("run", "size"))
    wide = found.pivot(index=PLANE, columns="measure", values=["mean", "low", "high"])  # noqa: PD010
    columns = {
        name if end == "mean" else f"{name}_{end}": wide[end, name]
        for name in MEASURES
        for end in ("mean", "low", "high")
    }
    cells = counts.merge(pd.DataFrame(columns).reset_index(), on=PLANE)
    return cells.sort_values([axis, "label_noise"], ignore_index=True)


def _end(line: pd.DataFrame, axis: str, what: str) -> dict[str, Any]:
    """From which to which label noise something ends, along one line of a plane."""
    line = line.sort_values("label_noise")
    above = line[f"{what}_low"] > ENDS[what]
    below = line[f"{what}_high"] < ENDS[what]
    noises = line["label_noise"]
    last = float(noises[above].max()) if above.any() else math.nan
    from_here_on = below[::-1].cummin()[::-1]
    gone = float(noises[from_here_on].min()) if from_here_on.any() else math.nan
    between = ~(noises <= last) & ~(noises >= gone)
    mode = what.removeprefix("excess_")
    room = 1 - float(line[f"floor_{mode}"].iloc[0]) if mode in MODES else math.nan
    null = line[noises == NULL]
    return {
        "axis": axis,
        "value": float(line[axis].iloc[0]),
        "what": what,
        "level": ENDS[what],
        "last": last,
        "gone": gone,
        "undecided": int(between.sum()),
        "largest": float(noises.max()),
        "gaps": int((~above & (noises < last)).sum()),
        "room": room,
        **{
            f"null{end}": float(null[f"{what}{end}"].iloc[0]) if len(null) else math.nan
            for end in ("", "_low", "_high")
        },
        "n": int(line["n"].min()),
    }
