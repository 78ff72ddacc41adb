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
    "excess_per_matrix": "excess, per_matrix",
    "test_accuracy": "own accuracy, held out",
    "phase_residual": "phase residual (radians)",
}
"""What is drawn, and its name."""
FROZEN = {
    "idealised_per_matrix": "floor_per_matrix",
    "phase_residual": "phase_residual_frozen",
}
"""What frozen_input has of it, where the number drawn is not a difference already."""
LIMITS = {"coloraxis": (0.0, 1.0), "coloraxis2": (0.0, math.pi / 2)}
"""Range of accuracies and of residuals; an excess below 0 has the colour of 0, and its number is written."""


def study_diagram(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Idealised accuracy, its excess over frozen_input, own accuracy and phase residual in each cell.

    Cells are means over seeds. Bright is high throughout, so where a network has the algorithm the first
    rows are bright and the last is dark: residuals run from 0 to pi / 2, which is no relation. What
    frozen_input has of it is in the number that the pointer shows. Cividis alone is the scale: its
    lightness rises with the value, so it survives being printed in grey.

    Args:
        tables: ``by_fraction`` and ``by_decay`` of the study.

    Returns:
        Four rows of two heat maps.

    Raises:
        ValueError: If a column is missing or a cell has several rows.
    """
    figure = make_subplots(
        rows=len(ROWS),
        cols=len(PLANES),
        horizontal_spacing=0.13,
        vertical_spacing=0.07,
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
                *FROZEN.values(),
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
    bars = {"coloraxis": ("accuracy, excess", 0.63), "coloraxis2": ("residual", 0.1)}
    colours: dict[str, Any] = {
        name: {
            "colorscale": "Cividis",
            "cmin": LIMITS[name][0],
            "cmax": LIMITS[name][1],
            "colorbar": {
                "title": {"text": title, "side": "right"},
                "y": y,
                "len": 0.74 if name == "coloraxis" else 0.2,
                "thickness": 8,
            },
        }
        for name, (title, y) in bars.items()
    }
    return styled(figure, "Where the latent algorithm ends", 1180, **colours)


def _heat_map(
    figure: go.Figure, cells: pd.DataFrame, axis: str, what: str, row: int, col: int
) -> None:
    """One map, noises up and the axis along, with means written in the cells."""
    wide = cells.pivot(index="label_noise", columns=axis)  # noqa: PD010
    values = wide[what].to_numpy(float)
    beside = [wide[name].to_numpy(float) for name in (f"{what}_low", f"{what}_high", "n")]
    frozen = wide[FROZEN.get(what, what)].to_numpy(float)
    figure.add_heatmap(
        x=[f"{value:g}" for value in wide[what].columns],
        y=[f"{value:g}" for value in wide.index],
        z=values,
        text=[[_short(each) for each in line] for line in values],
        texttemplate="%{text}",
        textfont={"size": 9},
        customdata=np.stack([*beside, frozen], axis=-1),
        hovertemplate=f"label noise %{{y}}, {axis} %{{x}}: %{{z:.3f}}, %{{customdata[0]:.3f}} to "
        "%{customdata[1]:.3f} over %{customdata[2]:.0f} seeds"
        + ("; frozen_input %{customdata[3]:.3f}" if what in FROZEN else "")
        + "<extra></extra>",
        name=what,
        coloraxis="coloraxis2" if what == "phase_residual" else "coloraxis",
        row=row,
        col=col,
    )


def _short(value: float) -> str:
    """Two decimals without the zero before them, which fit into a narrow cell."""
    if np.isnan(value):
        return ""
    return ("-" if value < 0 else "") + f"{abs(value):.2f}".removeprefix("0")
