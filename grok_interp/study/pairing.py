"""A network and its controls side by side: a row a run and way of idealising it.

The effect of training is what a network's idealised accuracy is above that of ``frozen_input``: random input
weights with a read-out fitted to the same noisy labels on the same pairs. Both are of one run, so their
difference is taken within it, and the spread over runs is that of seeds and splits
(:mod:`grok_interp.controls`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from grok_interp import sweep
from grok_interp.study.cells import check_seeds, require
from grok_interp.verdict import SMALL_EXCESS

TRAINED, FROZEN, UNTRAINED = "trained", "frozen_input", "untrained"
CHANCE = "chance"
"""The column of 1/p, the accuracy of guessing."""
NOT_GENERALISED = 0.05
"""Held-out accuracy below which a network did not generalise, beyond what :func:`zero_share` gives it."""
OWN = "own"
"""In place of a waveform: these weights are the network's."""
NONE = "none"
"""In place of a frequency mode, and of what is replaced: the network as it is. (pandas reads "" and "None"
from a CSV as not a number.)"""
ROUNDING = 1e-9
"""What means of equal accuracies differ by at most."""
WAY = ["frequency", "input_waveform", "output_waveform", "replaced"]
"""Columns that tell ways of idealising apart."""
STANDARD = {"input_waveform": "square", "output_waveform": "cosine", "replaced": "all"}
"""The published recipe: squares in, cosines out, in all weights (arXiv 2603.23784)."""
SHORT = {
    "p": "task.p",
    "operation": "task.operation",
    "d_mlp": "model.d_mlp",
    "train_fraction": "split.train_fraction",
    "label_noise": "split.label_noise",
    "weight_decay": "train.weight_decay",
    "steps": "train.steps",
    "act_fn": "model.act_fn",
    "tied_operands": "model.tied_operands",
    "init_scale": "model.init_scale",
    "seed": "split.seed",
}
"""Settings that tables name, and their columns in a sweep."""
IN_WORDS = ("p", "d_mlp", "train_fraction", "label_noise", "weight_decay", "steps")
"""Those that :func:`in_short` writes out."""


def side_by_side(runs: pd.DataFrame, cell: Sequence[str] = ("setting",)) -> pd.DataFrame:
    """Accuracies of each run's network and controls, by way of idealising.

    Args:
        runs: As ``sweep.read`` gives them.
        cell: What the study tells runs of one seed apart by: ``setting``, or names of :data:`SHORT`.

    Returns:
        A row for each run, way of idealising (:data:`WAY`) and set of ``pairs`` ("all" or "held out"):
        ``run``, ``setting`` in words, the settings of :data:`SHORT`, ``generalised``, ``chance``, and a
        column for the mean over draws of each network that was measured, with NaN where it was not.
        Weights that are not replaced have the waveform "own".

    Raises:
        ValueError: If there are no runs, a column is missing, two runs of a cell have one seed, or no run
            was compared.
    """
    require(runs, ["run", "test_accuracy", "comparisons", *SHORT.values()])
    named = runs.assign(generalised=_generalised(runs))
    named = named.rename(columns={column: name for name, column in SHORT.items()})
    named["setting"] = in_short(named)
    check_seeds(named, cell)
    each = sweep.unnest(named, "comparisons")
    each["frequency"] = each["frequency"].replace("", NONE)
    # Replacing one side, the other's waveform is the network's own, whatever the recipe says of it.
    each.loc[each["replaced"].isin(["W_out", NONE]), "input_waveform"] = OWN
    each.loc[each["replaced"].isin(["W_in", NONE]), "output_waveform"] = OWN
    key = ["run", "setting", *SHORT, "generalised", *WAY]
    each = each.drop_duplicates([*key, "network"])
    sets = []
    for pairs, column in (("all", "mean"), ("held out", "held_out")):
        wide = each.pivot(index=key, columns="network", values=column)  # noqa: PD010
        sets.append(wide.reset_index().rename_axis(columns=None).assign(pairs=pairs))
    both = pd.concat(sets, ignore_index=True)
    return both.assign(**{CHANCE: 1 / both["p"]})


def standard(compared: pd.DataFrame) -> pd.DataFrame:
    """Rows of the published recipe, whatever the frequency mode.

    Args:
        compared: :func:`side_by_side`.

    Returns:
        The rows of all weights replaced, squares in, cosines out.

    Raises:
        ValueError: If there are none.
    """
    rows = compared
    for name, value in STANDARD.items():
        rows = rows[rows[name] == value]
    if len(rows) == 0:
        raise ValueError(
            f"no run was idealised with {STANDARD}: give measure.input_waveforms, measure.output_waveforms "
            "and measure.replaced that hold these"
        )
    return rows


def demand(compared: pd.DataFrame, networks: list[str], modes: list[str]) -> None:
    """Raise a ValueError, with the setting to give, if a network or frequency mode was not measured."""
    rows = standard(compared)
    absent = [name for name in networks if name not in rows or rows[name].isna().all()]
    if absent:
        raise ValueError(
            f"the runs were not compared with {absent}: set measure.all_controls = true"
        )
    unread = [mode for mode in modes if mode not in set(rows["frequency"])]
    if unread:
        raise ValueError(
            f"the runs were not idealised in {unread} mode: add it to measure.frequencies"
        )


def in_short(settings: pd.DataFrame) -> pd.Series[str]:
    """The setting of each row in words, seeds left out.

    Args:
        settings: The columns :data:`IN_WORDS`.

    Returns:
        Text such as ``p=59, d_mlp=512, train_fraction=0.5, label_noise=0.3, weight_decay=1, steps=2000``.
    """
    words = [
        ", ".join(f"{name}={value:g}" for name, value in zip(IN_WORDS, row, strict=True))
        for row in settings[list(IN_WORDS)].itertuples(index=False)
    ]
    return pd.Series(words, index=settings.index, dtype=object)


def zero_share(operation: str, p: int) -> float:
    """Share of the pairs that hold a zero, whose product any network learns: (2p - 1) / p^2.

    Args:
        operation: The task's operation.
        p: The modulus.

    Returns:
        A share of all pairs; 0 unless the operation is ``"multiply"``.
    """
    return (2 * p - 1) / p**2 if operation == "multiply" else 0.0


def verdict_on(mean: float, low: float, high: float) -> str:
    """What to call a difference of accuracies with its interval over seeds.

    Args:
        mean: The difference.
        low: Lower end of its interval; NaN of one seed.
        high: Upper end.

    Returns:
        "large" if all of the interval is above :data:`~grok_interp.verdict.SMALL_EXCESS`, "small" if it is
        below that and above 0, "positive, of unclear size" if it holds that; "not to be told from nil",
        "negative", or "of one seed".
    """
    if math.isnan(low):
        return "of one seed"
    if low <= 0 <= high:
        return "not to be told from nil"
    if mean < 0:
        return "negative"
    if low > SMALL_EXCESS:
        return "large"
    return "small" if high < SMALL_EXCESS else "positive, of unclear size"


def beside_chance(row: pd.Series[float], chance: float) -> str:
    """On which side of guessing an accuracy is, by its interval over seeds.

    Args:
        row: ``mean``, ``low`` and ``high``; the ends are NaN of one seed.
        chance: 1/p.

    Returns:
        "above chance", "below chance", or "not to be told from chance"; of one seed by its value.
    """
    low, high = (row["mean"] if math.isnan(row[end]) else row[end] for end in ("low", "high"))
    # Means of shares that are all 1/p are so within rounding.
    if low > chance + ROUNDING:
        return "above chance"
    return "below chance" if high < chance - ROUNDING else "not to be told from chance"


def figures(row: Mapping[Any, float] | pd.Series[float]) -> str:
    """A mean and its interval as text.

    Args:
        row: ``mean``, ``low`` and ``high``.

    Returns:
        Text such as ``0.640 [0.610, 0.668]``.
    """
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def listed(items: Sequence[str]) -> str:
    """Items as a list of lines, each with its mark."""
    return "\n".join(f"- {item}" for item in items)


def one_row(table: pd.DataFrame, **where: str) -> pd.Series[float]:
    """The one row of a table that has these values.

    Args:
        table: A study's table.
        **where: Values by column.

    Returns:
        The row.

    Raises:
        ValueError: If there is none, or several.
    """
    (found,) = np.nonzero(np.all([table[name] == value for name, value in where.items()], axis=0))
    if len(found) != 1:
        raise ValueError(
            f"{len(found)} rows have {where}, expected one: pass the tables that the study made"
        )
    row: pd.Series[float] = table.iloc[found[0]]
    return row


def _generalised(runs: pd.DataFrame) -> pd.Series[bool]:
    """Whether the accuracy on held-out pairs is above what does not count as generalising."""
    held_out = runs["test_accuracy"].astype(float)
    if held_out.isna().any():
        raise ValueError(
            "some runs have no held-out pairs, by which to tell whether a network generalised: give "
            "split.train_fraction below 1"
        )
    floor = [zero_share(*of) for of in zip(runs["task.operation"], runs["task.p"], strict=True)]
    return held_out >= NOT_GENERALISED + pd.Series(floor, index=runs.index)
