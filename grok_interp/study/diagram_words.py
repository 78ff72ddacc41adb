"""What the tables of the phase diagram show, in words made of their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from grok_interp.study.statistics import coverage
from grok_interp.verdict import SMALL_EXCESS

AXES = {"by_fraction": "train_fraction", "by_decay": "weight_decay"}
"""The two planes, and what they have beside label noise."""
NULL = 1.0
"""The label noise at which there is nothing to learn."""
NAMES = {
    "excess_per_matrix": "Excess over frozen_input, per_matrix mode",
    "excess_joint": "Excess over frozen_input, joint mode",
    "phase_excess": "Phase residual of frozen_input minus that of the network (radians)",
    "test_accuracy": "The network's own accuracy on held-out pairs",
}
"""What ends."""
MARKS = ("excess_per_matrix", "excess_joint", "phase_excess")
"""What is meant to tell the algorithm; a network's own accuracy is what it is told without."""
FEW_SEEDS = 20
"""With fewer than these a bootstrap interval's true coverage is said."""


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the numbers show and do not show, for each plane.

    Args:
        tables: Those of :func:`grok_interp.study.diagram.tables`.

    Returns:
        Plain text: paragraphs and lists, with a blank line between them.
    """
    said = [
        "An end is a range of label noise: up to its first number the 95% interval over seeds is above the "
        "level, from its second on it is below, and at what was measured between them it holds the level "
        f"(undecided). Noise {NULL:g} is the null: all labels are drawn anew and there is nothing to learn."
    ]
    for name, axis in AXES.items():
        said += _of_plane(tables["ends"], tables[name], axis)
    seeds = int(tables["ends"]["n"].min())
    if 1 < seeds < FEW_SEEDS:
        said.append(
            f"With {seeds} seeds a cell such an interval is too narrow: it holds the true mean of normal "
            f"numbers about {coverage(seeds):.0%} of the time, not 95%."
        )
    said.append(
        "Ends are known to the spacing of the label noises, and hold for one modulus, width and number of "
        "steps."
    )
    return "\n\n".join(said)


def _of_plane(ends: pd.DataFrame, cells: pd.DataFrame, axis: str) -> list[str]:
    (other,) = set(AXES.values()) - {axis}
    rows = ends[ends["axis"] == axis]
    least, most = cells["n"].min(), cells["n"].max()
    seeds = f"{least}" if least == most else f"{least} to {most}"
    items = [
        f"{name}, level {rows.loc[rows['what'] == what, 'level'].iloc[0]:g}: "
        f"{_where(rows[rows['what'] == what], axis)}."
        for what, name in NAMES.items()
    ]
    return [
        f"Label noise by {axis} ({other} {cells[other].iloc[0]:g}, {seeds} seeds a cell):",
        _listed(items),
        *_null(rows),
        _latent_only(cells[cells["label_noise"] < NULL]),
        *_not_latent(cells[cells["label_noise"] < NULL], rows[rows["what"] == "phase_excess"]),
    ]


def _listed(items: list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _where(rows: pd.DataFrame, axis: str) -> str:
    """From which to which noise it ends, the values of the axis of which that is the same together."""
    values: dict[str, list[str]] = {}
    for row in rows.to_dict("records"):
        values.setdefault(_end(row), []).append(f"{row['value']:g}")
    return "; ".join(f"{end} for {axis} {', '.join(at)}" for end, at in values.items())


def _end(row: Mapping[Any, Any]) -> str:
    """One end in words."""
    undecided = f" ({row['undecided']} undecided)" if row["undecided"] else ""
    gaps = f" (not at {row['gaps']} smaller)" if row["gaps"] else ""
    if row["last"] == row["largest"]:
        return f"above it up to {row['last']:g}, the largest measured{gaps}"
    if math.isnan(row["last"]):
        full = ", where the control leaves no room" if row["room"] <= row["level"] else ""
        if math.isnan(row["gone"]):
            return f"surely above it nowhere, and at {row['largest']:g} the interval holds it{full}"
        if not row["undecided"]:
            return f"below it throughout{full}"
        return f"surely above it nowhere, below it from {row['gone']:g}{undecided}{full}"
    if math.isnan(row["gone"]):
        return (
            f"above it up to {row['last']:g}{gaps}, and at {row['largest']:g} the interval holds it"
        )
    return f"between {row['last']:g} and {row['gone']:g}{undecided}{gaps}"


def _null(rows: pd.DataFrame) -> list[str]:
    """What the measures are where there is nothing to learn, and which thereby are no marks."""
    known = rows[rows["null"].notna()]
    if len(known) == 0:
        return [
            "What the measures are where there is nothing to learn is not known: no cell has noise 1."
        ]
    items = []
    for what in MARKS:
        of = known[known["what"] == what]
        level = of["level"].iloc[0]
        above = int((of["null_low"] > level).sum())
        text = f"{NAMES[what]}: {_decimals(of['null'].min())} to {_decimals(of['null'].max())}, "
        if above:
            text += (
                f"above {level:g} on {above} of {len(of)} lines, so to be above it is no mark of the "
                "algorithm"
            )
        else:
            text += f"above {level:g} on none of {len(of)} lines"
        items.append(f"{text}.")
    return ["At noise 1, where there is nothing to learn:", _listed(items)]


def _latent_only(cells: pd.DataFrame) -> str:
    """The cells with the algorithm in their weights and no accuracy to show for it."""
    latent = cells["excess_per_matrix_low"] > SMALL_EXCESS
    silent = latent & (cells["test_accuracy_high"] < SMALL_EXCESS)
    text = (
        f"{latent.sum()} of {len(cells)} cells with less noise have a per_matrix excess above "
        f"{SMALL_EXCESS:g}, and {silent.sum()} of these an own accuracy on held-out pairs below "
        f"{SMALL_EXCESS:g}"
    )
    return f"{text}: latent in the strict sense." if silent.any() else f"{text}."


def _not_latent(cells: pd.DataFrame, phases: pd.DataFrame) -> list[str]:
    """What the other measures say of cells in which the per_matrix excess is not shown."""
    without = cells[~(cells["excess_per_matrix_low"] > SMALL_EXCESS)]
    if len(without) == 0:
        return []
    joint = without["excess_joint_low"] > SMALL_EXCESS
    high = without.iloc[int(without["idealised_joint"].argmax())]
    where = ", ".join(f"{name} {high[name]:g}" for name in ("label_noise", *AXES.values()))
    there = "is" if high["excess_joint_low"] > SMALL_EXCESS else "is not"
    said = (
        f"Where the per_matrix excess is not surely above {SMALL_EXCESS:g}, the joint excess is in "
        f"{joint.sum()} of {len(without)} cells. The highest idealised accuracy of joint mode there is "
        f"{high['idealised_joint']:.2f} ({where}), beside {high['floor_joint']:.2f} of frozen_input: an "
        f"excess of {high['excess_joint']:.2f} [{high['excess_joint_low']:.2f}, "
        f"{high['excess_joint_high']:.2f}], which {there} surely above {SMALL_EXCESS:g}."
    )
    neither = without[~joint]
    lower = int((neither["phase_excess_low"] > 0).sum())
    if len(neither):
        said += (
            f" Where neither excess is, the phase residual is below that of frozen_input in {lower} of "
            f"{len(neither)} cells"
        )
        if lower and phases["null"].notna().any() and not (phases["null_low"] > 0).any():
            said += (
                ", though not where there is nothing to learn: so it tells that something is taken up from "
                "the labels. It does not tell by what, since one read-out is trained and the other fitted by "
                "ridge regression"
            )
        said += "."
    return [said]


def _decimals(value: float) -> str:
    """Two decimals, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"
