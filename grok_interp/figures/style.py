"""The palette, the layout, and what several figures draw."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

TRAIN, TEST, IDEAL = "#0072B2", "#D55E00", "#009E73"
CONTROL, CHANCE, WEIGHT = "#6E6E6E", "#9A9A9A", "#222222"
HARD_CONTROL = "#CC79A7"
MARGIN = {"l": 70, "r": 20, "t": 100, "b": 60}
"""Pixels around the plots."""
LEGEND_GAP = 28
"""Pixels between the plots and the legend above them, room for a line of panel titles."""


class Series(NamedTuple):
    """How one of several things of a kind is drawn; all three differ from the others'."""

    colour: str
    dash: str
    symbol: str


SERIES = (
    Series(IDEAL, "solid", "circle"),
    Series(CONTROL, "dash", "square"),
    Series(HARD_CONTROL, "dashdot", "diamond"),
    Series("#56B4E9", "longdash", "cross"),
    Series("#E69F00", "longdashdot", "x"),
    Series(WEIGHT, "8px,2px,2px,2px", "star"),
)
"""Sky blue and orange complete the palette; dots are left to lines of reference."""


def styled(figure: go.Figure, title: str, height: int, **layout: Any) -> go.Figure:
    """Template, title, and the legend above the plots."""
    return figure.update_layout(
        template="plotly_white",
        title=title,
        height=height,
        title_y=1,
        title_yref="container",
        title_pad={"t": 15},
        title_yanchor="top",
        margin=MARGIN,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1 + LEGEND_GAP / (height - MARGIN["t"] - MARGIN["b"]),
            "yanchor": "bottom",
        },
        **layout,
    )


def series_styles(names: Collection[str]) -> dict[str, Series]:
    """A style for each name, in order.

    Raises:
        ValueError: If there are more names than styles.
    """
    if len(names) > len(SERIES):
        raise ValueError(
            f"{len(names)} series ({', '.join(names)}) cannot be told apart, there are {len(SERIES)} "
            "styles: draw them in several figures"
        )
    return dict(zip(names, SERIES, strict=False))


def require(frame: pd.DataFrame, columns: Collection[str], source: str) -> None:
    """Raise a ValueError that names ``source`` if a frame is empty or lacks a column."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"got a {type(frame).__name__}, expected a pandas DataFrame: pass {source}")
    missing = [name for name in columns if name not in frame]
    if missing or len(frame) == 0:
        raise ValueError(
            f"the frame has {len(frame)} rows and no column {missing}, expected {list(columns)}: "
            f"pass {source}"
        )


def reference(figure: go.Figure, y: float, text: str, **where: Any) -> None:
    """A dotted horizontal line with its value written on it."""
    figure.add_hline(
        y=y,
        line={"color": CHANCE, "dash": "dot"},
        annotation_text=f"{text} {y:.3f}",
        annotation_position="top left",
        **where,
    )


def mark_steps(figure: go.Figure, steps: Mapping[str, float | int], rows: int, cols: int) -> None:
    """Thin vertical lines in every panel, named in the first row."""
    for place, (name, step) in enumerate(steps.items()):
        for row in range(1, rows + 1):
            for col in range(1, cols + 1):
                # Names of events close to each other stand below each other.
                text = {"annotation_text": name, "annotation_yshift": -12 * place}
                figure.add_vline(
                    x=step,
                    line={"color": CONTROL, "dash": "dot", "width": 1},
                    row=row,
                    col=col,
                    **(text | {"annotation_font_size": 10} if row == 1 else {}),
                )
