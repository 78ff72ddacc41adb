"""What the tables of the phase diagram show, in words made of their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from grok_interp.verdict import SMALL_EXCESS

AXES = {"by_fraction": "train_fraction", "by_decay": "weight_decay"}
"""The two planes, and what they have beside label noise."""


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the numbers show and do not show, a paragraph for each plane.

    Args:
        tables: Those of :func:`grok_interp.study.diagram.tables`.

    Returns:
        Plain text.
    """
    said = [_in_words(tables["ends"], tables[name], axis) for name, axis in AXES.items()]
    said.append(
        "Above means that the lower end of the 95% interval over seeds is above the level; with few seeds "
        "such an interval is hardly more than their range. Ends are known to the spacing of the label "
        "noises, and hold for one modulus, width and number of steps."
    )
    return "\n\n".join(said)


def _in_words(ends: pd.DataFrame, cells: pd.DataFrame, axis: str) -> str:
    (other,) = set(AXES.values()) - {axis}
    rows = ends[ends["axis"] == axis]
    least, most = cells["n"].min(), cells["n"].max()
    said = [
        f"Label noise by {axis} ({other} {cells[other].iloc[0]:g}, "
        f"{least if least == most else f'{least} to {most}'} seeds a cell)."
    ]
    for what, name in (
        ("excess_per_matrix", "The excess over frozen_input in per_matrix mode"),
        ("excess_joint", "The excess in joint mode"),
        ("phase_excess", "What the phase residual is below that of frozen_input (radians)"),
        ("test_accuracy", "The network's own accuracy on held-out pairs"),
    ):
        said.append(f"{name} {_where(rows[rows['what'] == what], axis)}.")
    said.append(_latent_only(cells))
    return " ".join(said)


def _where(rows: pd.DataFrame, axis: str) -> str:
    """Up to which noise, at each value of the axis."""
    parts = []
    for row in rows.to_dict("records"):
        at = f"{axis} {row['value']:g}"
        if math.isnan(row["last"]):
            full = row["room"] <= row["level"]
            parts.append(
                f"of no size for {at}" + (", where the control leaves no room" if full else "")
            )
        elif not row["reached"]:
            parts.append(f"up to {row['largest']:g}, the largest measured, for {at}")
        else:
            parts.append(f"up to {row['last']:g} for {at}")
        if row["gaps"]:
            parts[-1] += f" (not at {row['gaps']} smaller)"
    return f"is above {rows['level'].iloc[0]:g} with label noise {'; '.join(parts)}"


def _latent_only(cells: pd.DataFrame) -> str:
    """The cells with the algorithm in their weights and no accuracy to show for it."""
    latent = cells["excess_per_matrix_low"] > SMALL_EXCESS
    silent = latent & (cells["test_accuracy_high"] < SMALL_EXCESS)
    gone = cells[~latent]
    text = (
        f"{latent.sum()} of {len(cells)} cells have an excess in per_matrix mode, and {silent.sum()} of "
        f"these an own accuracy below {SMALL_EXCESS:g}"
    )
    if silent.any():
        text += ": latent in the strict sense"
    if len(gone) and (gone["idealised_joint"] > 0.5).any():
        high = gone.sort_values("idealised_joint").iloc[-1]
        text += (
            f". Where it is gone, joint mode still idealises to {high['idealised_joint']:.2f} (label noise "
            f"{high['label_noise']:g}), beside {high['floor_joint']:.2f} of frozen_input"
        )
    return f"{text}."
