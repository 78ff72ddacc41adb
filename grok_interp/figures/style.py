"""The palette, the layout, and what several figures draw."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from textwrap import wrap
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

TRAIN, TEST, IDEAL = "#0072B2", "#D55E00", "#009E73"
CONTROL, CHANCE, WEIGHT = "#6E6E6E", "#9A9A9A", "#222222"
HARD_CONTROL = "#CC79A7"
READOUT, COSINE = "#56B4E9", "#E69F00"
"""The weights of W_out beside those of W_in, which are WEIGHT; the cosine beside the square wave."""
MARGIN = {"l": 70, "r": 20, "t": 84, "b": 60}
"""Pixels around the plots; above them room for a title, a line of legend and a line of panel titles."""
LEGEND_GAP = 28
"""Pixels between the plots and the legend above them, room for a line of panel titles."""
TITLE_CHARACTERS, TITLE_SIZE, TITLE_LINE = 44, 17, 22
"""Characters of a title that fit into 400 pixels, the size of its font, and of its lines, in pixels."""
BLANK = "\u00a0"
CENSORED = "triangle-up-open"
"""A lower bound: what had not happened by the last step."""
FLOORED = "triangle-down-open"
"""A value of 0 on a log axis, which has no place for it: drawn at :func:`log_floor`."""


class Series(NamedTuple):
    """How one of several things of a kind is drawn; all three differ from the others'."""

    colour: str
    dash: str
    symbol: str


SERIES = (
    Series(IDEAL, "solid", "circle"),
    Series(CONTROL, "dash", "square"),
    Series(HARD_CONTROL, "dashdot", "diamond"),
    Series(READOUT, "longdash", "cross"),
    Series(COSINE, "longdashdot", "x"),
    Series(WEIGHT, "8px,2px,2px,2px", "star"),
)
"""Sky blue and orange complete the palette; dots are left to lines of reference."""
OWN = SERIES[5]
"""The network itself beside what was made of it."""
CONTROL_STYLES = {
    "untrained": SERIES[1],
    "frozen_input": SERIES[2],
    "refitted_readout": Series(CONTROL, "2px,4px", "triangle-down"),
    "permuted_output": Series(CONTROL, "4px,4px", "triangle-left"),
    "permuted_within_frequency": Series(CONTROL, "8px,4px", "triangle-right"),
    "random_phase": Series(CONTROL, "12px,4px", "hourglass"),
    "wrong_task": Series(CONTROL, "12px,4px,2px,4px", "pentagon"),
    "wrong_coordinates": Series(CONTROL, "16px,4px,8px,4px", "hexagram"),
}
"""The looks of controls (:mod:`grok_interp.controls`), the same in all figures: grey but for the hard one."""
NAMED = {"own": OWN, "idealised": SERIES[0]} | CONTROL_STYLES
"""The looks that a name has wherever it is drawn."""


def styled(
    figure: go.Figure,
    title: str,
    height: int,
    *,
    top: int = MARGIN["t"],
    gap: int = LEGEND_GAP,
    **layout: Any,
) -> go.Figure:
    """Template, title, and the legend above the plots.

    A long title is wrapped, and the figure grows by its lines. Where the legend needs several lines, in a
    narrow window, plotly makes room for it by itself.

    Args:
        figure: What to style, in place.
        title: Title of the figure.
        height: Height in pixels with a title of one line.
        top: Pixels above the plots, with one line of title and of legend.
        gap: Pixels between the legend and the plots, for titles of panels.
        **layout: More of plotly's layout.

    Returns:
        The figure.
    """
    lines = [line for part in title.split("<br>") for line in wrap(part, TITLE_CHARACTERS) or [""]]
    more = TITLE_LINE * (len(lines) - 1)
    height, top = height + more, top + more
    # Small numbers as powers of ten, not as 100u.
    figure.update_xaxes(exponentformat="power").update_yaxes(exponentformat="power")
    return figure.update_layout(
        template="plotly_white",
        title={"text": "<br>".join(lines), "font_size": TITLE_SIZE},
        height=height,
        title_y=1,
        title_yref="container",
        title_pad={"t": 15 + more // 2},  # plotly centres the lines where one would be
        title_yanchor="top",
        margin=MARGIN | {"t": top},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1 + gap / (height - top - MARGIN["b"]),
            "yanchor": "bottom",
            # Plotly moves the plots down to make room for a legend, but not for a title above it: blank
            # lines on top of the legend keep it clear of the figure's.
            "title": {
                "text": "<br>".join([BLANK] * len(lines)) if title else "",
                "side": "top",
                "font": {"size": TITLE_SIZE},
            },
        },
        **layout,
    )


def series_styles(names: Collection[str]) -> dict[str, Series]:
    """A style for each name: that of a control or of "own" and "idealised", else the next one free.

    Args:
        names: What is drawn, in order.

    Returns:
        Styles by name, no two the same.

    Raises:
        ValueError: If there are more names than styles.
    """
    known = {name: NAMED[name] for name in names if name in NAMED}
    free = [style for style in SERIES if style not in known.values()]
    if len(names) - len(known) > len(free):
        raise ValueError(
            f"{len(names)} series ({', '.join(names)}) cannot be told apart, there are {len(SERIES)} "
            "styles: draw them in several figures"
        )
    rest = iter(free)
    return {name: known[name] if name in known else next(rest) for name in names}


def log_floor(values: pd.DataFrame) -> float:
    """A tenth of the smallest positive value shown: where 0 stands on a log axis.

    Returns:
        A positive number, in the units of the values.

    Raises:
        ValueError: If no value is positive.
    """
    smallest = float(values.where(values > 0).min().min())
    if math.isnan(smallest):
        raise ValueError(
            f"none of {list(values)} is positive, expected some value for a log axis: "
            "pass runs whose losses are finite and not all 0"
        )
    return smallest / 10


def reference(figure: go.Figure, y: float, text: str, **where: Any) -> None:
    """A dotted horizontal line with its value written on it."""
    figure.add_hline(
        y=y,
        line={"color": CHANCE, "dash": "dot"},
        annotation_text=f"{text} {y:.3f}",
        annotation_position="top left",
        **where,
    )


def mark_steps(
    figure: go.Figure,
    steps: Mapping[str, float | int],
    rows: int,
    cols: int,
    *,
    log: bool = False,
) -> None:
    """Thin vertical lines in every panel, named in the first row.

    Args:
        figure: A figure with traces in its panels.
        steps: Where on the horizontal axes, by name.
        rows: Rows of panels.
        cols: Columns of panels.
        log: Whether the horizontal axes are logarithmic: there plotly takes a line's place by its
            value, and its name's place by the value's decimal logarithm.

    Raises:
        ValueError: If ``log`` and a place is not positive.
    """
    for place, (name, step) in enumerate(steps.items()):
        if log and step <= 0:
            raise ValueError(
                f"the mark {name!r} is at {step}, expected a positive place on a log axis: leave it out"
            )
        # Names of events close to each other stand below each other.
        text = {"annotation_text": name, "annotation_yshift": -12 * place}
        text |= {"annotation_x": math.log10(step) if log else step, "annotation_font_size": 10}
        for row in range(1, rows + 1):
            for col in range(1, cols + 1):
                figure.add_vline(
                    x=step,
                    line={"color": CONTROL, "dash": "dot", "width": 1},
                    row=row,
                    col=col,
                    **(text if row == 1 else {}),
                )


def draw_times(
    figure: go.Figure,
    runs: pd.DataFrame,
    name: str,
    style: Series,
    *,
    x: str,
    step: str,
    censored: str,
    light: bool = False,
) -> None:
    """A line through means over seeds of the time until an event, and a marker for each run.

    Runs that did not get there count with their last step, so a mean that holds some is a lower
    bound: it is an open triangle pointing up, as are these runs.

    Args:
        figure: Where to draw.
        runs: A row a run: ``seed`` and the three columns below.
        name: Name of the series, and of its group in the legend.
        style: How it is drawn.
        x: Column of the horizontal axis.
        step: Column of the times.
        censored: Column that says whether the event had not happened by the last step.
        light: Thin, pale, with open markers and out of the legend: a second event of the series.
    """
    by_x = runs.groupby(x)
    mean, missed = by_x[step].mean(), by_x[censored].sum()
    symbol = f"{style.symbol}-open" if light else style.symbol
    group = {"legendgroup": name, "opacity": 0.5 if light else 1}
    event = f"{name}, {step}" if light else name
    figure.add_scatter(
        x=mean.index,
        y=mean,
        customdata=[
            f"{late} of {count} not by their last step"
            for late, count in zip(missed, by_x.size(), strict=True)
        ],
        hovertemplate="%{x}: %{y:.0f} steps, %{customdata}",
        name=event,
        showlegend=not light,
        mode="lines+markers",
        line={"color": style.colour, "dash": style.dash, "width": 1 if light else 2},
        marker={
            "symbol": [CENSORED if late else symbol for late in missed],
            "size": 7 if light else 11,
        },
        **group,
    )
    figure.add_scatter(
        x=runs[x],
        y=runs[step],
        text=[f"seed {seed}" for seed in runs["seed"]],
        name=f"{event}, runs",
        showlegend=False,
        mode="markers",
        marker={
            "color": style.colour,
            "size": 5,
            "symbol": [CENSORED if late else symbol for late in runs[censored]],
        },
        **group,
    )


def interval(rows: pd.DataFrame, middle: str = "mean") -> dict[str, Any]:
    """Error bars from ``low`` to ``high`` around a column; none where there is no interval."""
    return {
        "array": (rows["high"] - rows[middle]).fillna(0),
        "arrayminus": (rows[middle] - rows["low"]).fillna(0),
    }


def explain(figure: go.Figure, symbol: str, text: str, **trace: Any) -> None:
    """An entry of the legend that says what a symbol means, drawn nowhere."""
    figure.add_scatter(
        x=[None],
        y=[None],
        name=text,
        marker={"symbol": symbol, "color": CHANCE, "size": 11},
        **({"mode": "markers"} | trace),
    )
