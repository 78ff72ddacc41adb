"""The phase diagram: label noise by train fraction and by weight decay, as heat maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import one_row_each, require
from grok_interp.figures.style import styled

PLANES = {"by_fraction": "train_fraction", "by_decay": "weight_decay"}
ROWS = {
    "idealised_per_matrix": "idealised accuracy, per_matrix",
    "excess_per_matrix": "excess over frozen_input, per_matrix",
    "excess_joint": "excess over frozen_input, joint",
    "test_accuracy": "own accuracy, held out",
    "phase_excess": "phase residual below frozen_input's (radians)",
}
"""What is drawn, and its name."""
BESIDE = {
    "idealised_per_matrix": {"frozen_input": "floor_per_matrix"},
    "excess_joint": {"idealised": "idealised_joint", "frozen_input": "floor_joint"},
    "phase_excess": {"network": "phase_residual", "frozen_input": "phase_residual_frozen"},
}
"""What the pointer shows beside the number drawn, where it is a part of a difference, or the other one."""
LIMITS = {"coloraxis": (0.0, 1.0), "coloraxis2": (0.0, math.pi / 4)}
"""Range of accuracies and of differences of residuals, half of pi / 2, which is no relation.

What is outside has the colour of the nearer end, and its number is written.
"""
GAP = 0.055
"""Between rows of maps, as a share of the height of all."""


def study_diagram(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Idealised accuracy, its excess over frozen_input, own accuracy and phase residual in each cell.

    Cells are means over seeds. Bright is high throughout, so all rows but that of the own accuracy are bright
    where a network has more of the algorithm than frozen_input. What each of them has of it is in the numbers
    that the pointer shows. Cividis alone is the scale: its lightness rises with the value, so it survives
    being printed in grey.

    Args:
        tables: ``by_fraction`` and ``by_decay`` of the study.

    Returns:
        Five rows of two heat maps.

    Raises:
        ValueError: If a column is missing or a cell has several rows.
    """
    figure = make_subplots(
        rows=len(ROWS),
        cols=len(PLANES),
        horizontal_spacing=0.13,
        vertical_spacing=GAP,
        # One title a row, above its first map: two would meet in a narrow window.
        subplot_titles=[title for name in ROWS.values() for title in (name, "")],
    )
    for col, (name, axis) in enumerate(PLANES.items(), start=1):
        cells = tables[name]
        require(
            cells,
            [
                "label_noise",
                axis,
                "n",
                *(each for columns in BESIDE.values() for each in columns.values()),
                *(f"{each}{end}" for each in ROWS for end in ("", "_low", "_high")),
            ],
            f'the table "{name}" of the study',
        )
        one_row_each(cells, ["label_noise", axis], "pass the study's own tables")
        for row, what in enumerate(ROWS, start=1):
            _heat_map(figure, cells, axis, what, row, col)
        figure.update_xaxes(title=axis.replace("_", " "), row=len(ROWS), col=col)
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category")
    figure.update_yaxes(title="label noise", col=1)
    figure.update_annotations(font_size=13, x=0, xanchor="left")
    # The bar of the accuracies stands beside all rows but the last, that of the residuals beside it.
    row_height = (1 - GAP * (len(ROWS) - 1)) / len(ROWS)
    above = row_height + GAP
    bars = {
        "coloraxis": ("accuracy, excess", above, 1.0),
        "coloraxis2": ("radians", 0.0, row_height),
    }
    colours: dict[str, Any] = {
        name: {
            "colorscale": "Cividis",
            "cmin": LIMITS[name][0],
            "cmax": LIMITS[name][1],
            "colorbar": {
                "title": {"text": title, "side": "right"},
                "y": (low + high) / 2,
                "len": high - low,
                "thickness": 8,
            },
        }
        for name, (title, low, high) in bars.items()
    }
    return styled(figure, "Where the latent algorithm ends", 1440, **colours)


def _heat_map(
    figure: go.Figure, cells: pd.DataFrame, axis: str, what: str, row: int, col: int
) -> None:
    """One map, noises up and the axis along, with means written in the cells."""
    wide = cells.pivot(index="label_noise", columns=axis)  # noqa: PD010
    values = wide[what].to_numpy(float)
    beside = [wide[name].to_numpy(float) for name in (f"{what}_low", f"{what}_high", "n")]
    parts = BESIDE.get(what, {})
    beside += [wide[name].to_numpy(float) for name in parts.values()]
    figure.add_heatmap(
        x=[f"{value:g}" for value in wide[what].columns],
        y=[f"{value:g}" for value in wide.index],
        z=values,
        text=[[_short(each) for each in line] for line in values],
        texttemplate="%{text}",
        textfont={"size": 9},
        customdata=np.stack(beside, axis=-1),
        hovertemplate=f"label noise %{{y}}, {axis} %{{x}}: %{{z:.3f}}, %{{customdata[0]:.3f}} to "
        "%{customdata[1]:.3f} over %{customdata[2]:.0f} seeds"
        + "".join(f"; {name} %{{customdata[{at}]:.3f}}" for at, name in enumerate(parts, start=3))
        + "<extra></extra>",
        name=what,
        coloraxis="coloraxis2" if what == "phase_excess" else "coloraxis",
        row=row,
        col=col,
    )


def _short(value: float) -> str:
    """Two decimals without the zero before them, which fit into a narrow cell."""
    if np.isnan(value):
        return ""
    return ("-" if value < 0 else "") + f"{abs(value):.2f}".removeprefix("0")
