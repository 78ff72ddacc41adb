"""Heat maps over alpha = w / w0 (Omnigrok, arXiv 2210.01117): by data size, by mixing, by step.

Rows and columns are categories, evenly spaced whatever their values. Cells are means over seeds.
Cividis alone is the scale: its lightness rises with the value, so it survives being printed in grey.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.config import Which, check_choice
from grok_interp.figures.checks import one_row_each, one_value, require
from grok_interp.figures.landscapes import ALPHA, RUN, SIDES, value_columns
from grok_interp.figures.style import log_floor, styled

Metric = Literal["accuracy", "loss"]


def data_size_map(
    frame: pd.DataFrame, title: str, *, metric: Metric = "accuracy", which: Which = "last"
) -> go.Figure:
    """Train and test accuracy or loss by number of training examples and alpha (arXiv 2210.01117).

    Losses are coloured by their decimal logarithm. A loss of 0 has the colour of a tenth of the
    smallest positive mean, and the cell says 0.

    Args:
        frame: A row for each trained network: ``alpha``, ``seed``, ``size``, ``lr_rule``, and
            ``train_loss`` and so on, as for :func:`grok_interp.figures.lu_curves`.
        title: Title of the figure.
        metric: Draw "accuracy" or "loss".
        which: Draw values at the last step or the best along the run.

    Returns:
        A heat map of the train side beside one of the test side, on one scale of colours.

    Raises:
        ValueError: If a column is missing, there are several rules of the learning rate, a network has
            several rows, there is nothing to draw, or an option is none of those above.
    """
    return _maps(frame, title, "size", "training examples", metric, which)


def mixing_map(
    frame: pd.DataFrame, title: str, *, metric: Metric = "accuracy", which: Which = "last"
) -> go.Figure:
    """Train and test accuracy or loss by alpha and by how much of an input is image (arXiv 2210.01117).

    An input is m times the image plus 1 - m times a template of its label: at m = 0 the
    representation is given, at m = 1 it has to be learned.

    Args:
        frame: As for :func:`data_size_map`, of one size, with ``mixing`` for m.
        title: Title of the figure.
        metric: Draw "accuracy" or "loss".
        which: Draw values at the last step or the best along the run.

    Returns:
        A heat map of the train side beside one of the test side, on one scale of colours.

    Raises:
        ValueError: As for :func:`data_size_map`, or if there are several sizes.
    """
    require(frame, [*RUN, "mixing"], "a row for each trained network")
    one_value(frame, "size", "choose one")
    return _maps(frame, title, "mixing", "mixing m (share of image)", metric, which)


def latent_through_training(
    latent: pd.DataFrame, title: str, *, measure: str = "excess_per_matrix"
) -> go.Figure:
    """A measure of latent structure by alpha and step.

    Accuracies and their excess are coloured from 0 to 1 (an excess below 0 extends the scale), a phase
    residual from 0 to pi / 2, which is no relation; other measures by their own range.

    Args:
        latent: A row for each checkpoint: ``alpha``, ``seed``, ``size``, ``lr_rule``, ``step`` and the
            measure.
        title: Title of the figure.
        measure: Which column to draw.

    Returns:
        One heat map, alphas down and steps along.

    Raises:
        ValueError: If a column is missing, there are several sizes or rules of the learning rate, or
            a checkpoint has several rows.
    """
    require(latent, [*RUN, "step", measure], "a row for each checkpoint")
    for column in ("size", "lr_rule"):
        one_value(latent, column, "choose one")
    one_row_each(latent, [*RUN, "step"], "select one run for each alpha and seed")
    cells = _cells(latent, "alpha", "step", measure)
    limits = None
    if measure.endswith("accuracy") or measure.startswith(("idealised_", "excess_")):
        limits = min(0.0, float(cells.min().min())), 1.0
    elif measure == "phase_residual":
        limits = 0.0, np.pi / 2
    figure = go.Figure()
    _heat_map(figure, cells, _text(cells, ".3g"), "step %{x}, alpha %{y}: ")
    figure.update_xaxes(title="step", type="category")
    figure.update_yaxes(title=ALPHA, type="category")
    return _coloured(figure, title, measure.replace("_", " "), limits, 200 + 30 * len(cells))


def _maps(
    frame: pd.DataFrame, title: str, rows: str, rows_title: str, metric: str, which: str
) -> go.Figure:
    """Maps of the train and test side of a metric: ``rows`` down, alphas along."""
    check_choice("metric", metric, Metric)
    columns = [value_columns(which)[side, metric] for side in SIDES]
    require(frame, [*RUN, *columns], "a row for each trained network")
    one_value(frame, "lr_rule", "choose one, and draw the other in a figure of its own")
    one_row_each(frame, [*RUN, rows], "select one network for each alpha, seed and row of the map")
    if metric == "accuracy" and frame[columns].isna().all(axis=None):
        raise ValueError(f"{columns} are NaN, expected numbers: pass metric='loss' for regression")
    sides = [_cells(frame, rows, "alpha", column) for column in columns]
    floor = log_floor(pd.concat(sides)) if metric == "loss" else None
    figure = make_subplots(
        rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=list(SIDES)
    )
    for col, cells in enumerate(sides, start=1):
        shown = cells if floor is None else cells.clip(lower=floor).apply(np.log10)
        text = _text(cells, ".2f" if floor is None else ".3g")
        where = f"alpha %{{x}}, {rows} %{{y}}: "
        _heat_map(figure, shown, text, where, texttemplate="%{text}", row=1, col=col)
    figure.update_xaxes(title=ALPHA, type="category")
    figure.update_yaxes(type="category")
    figure.update_yaxes(title=rows_title, col=1)
    best = "best " if which == "best" else ""
    scale = f"{best}accuracy" if floor is None else f"log10 of {best}loss"
    limits = (0.0, 1.0) if floor is None else None
    return _coloured(figure, title, scale, limits, 200 + 40 * len(sides[0]))


def _cells(frame: pd.DataFrame, rows: str, columns: str, values: str) -> pd.DataFrame:
    """Means over seeds of what is finite; NaN where there is nothing."""
    finite = frame.assign(**{values: frame[values].replace([np.inf, -np.inf], np.nan)})
    return finite.pivot_table(index=rows, columns=columns, values=values, dropna=False)


def _labels(values: pd.Index[Any]) -> list[str]:
    """Names of rows or columns: integers in full, others to three digits where these differ."""
    short = [f"{value:.0f}" if value % 1 == 0 else f"{value:.3g}" for value in values]
    return short if len(set(short)) == len(short) else [f"{value:.9g}" for value in values]


def _text(cells: pd.DataFrame, form: str) -> list[list[str]]:
    """What is written in cells: their values, and nothing where there is none."""
    return [
        ["" if np.isnan(value) else f"{value:{form}}" for value in row] for row in cells.to_numpy()
    ]


def _heat_map(
    figure: go.Figure, cells: pd.DataFrame, text: list[list[str]], where: str, **trace: Any
) -> None:
    """One map with its rows and columns as categories, coloured by the figure's one scale."""
    figure.add_heatmap(
        x=_labels(cells.columns),
        y=_labels(cells.index),
        z=cells.to_numpy(),
        text=text,
        hovertemplate=where + "%{text}<extra></extra>",
        coloraxis="coloraxis",
        **trace,
    )


def _coloured(
    figure: go.Figure, title: str, scale: str, limits: tuple[float, float] | None, height: int
) -> go.Figure:
    """The one colour scale of a figure, by the range of what is drawn if there are no limits."""
    low, high = limits or (None, None)
    bar = {"title": {"text": scale, "side": "right"}}
    colours = {"colorscale": "Cividis", "cmin": low, "cmax": high, "colorbar": bar}
    return styled(figure, title, height, coloraxis=colours)
