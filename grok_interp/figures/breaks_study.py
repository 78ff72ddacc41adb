"""What breaks it: distances of the controls, and joint-mode selection by p and d_mlp."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import require
from grok_interp.figures.style import (
    CHANCE,
    CONTROL,
    NAMED,
    SERIES,
    Series,
    explain,
    interval,
    styled,
)
from grok_interp.study.cells import PUBLISHED

MODES = ("per_matrix", "input", "joint")
SIZES = (
    *SERIES,
    Series(CONTROL, "2px,4px", "triangle-down"),
    Series(CONTROL, "4px,4px", "hexagram"),
)
"""Looks of the moduli: no more than eight in one figure."""


def study_breaks(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Above, every control by mode; below, frozen_input and untrained networks by width and modulus.

    Args:
        tables: ``study.breaks.tables``, as computed or read from its CSVs.

    Returns:
        Two rows of panels: mean accuracies with 95% intervals and, open, the largest draw; then
        frozen_input's joint accuracy (lines and filled markers), the untrained one (open), and
        frozen_input's phase residual, a line a modulus. Chance is a dashed line, and below a band, from
        that of the largest modulus to that of the smallest.

    Raises:
        ValueError: If a table or column is missing, or there are more than eight moduli.
    """
    for name in ("controls", "selection"):
        if name not in tables:
            raise ValueError(f"there is no table {name!r}: pass study.breaks.tables(runs)")
    controls, selection = tables["controls"], tables["selection"]
    require(
        controls,
        ["frequency", "control", "mean", "low", "high", "max", "distance", "chance"],
        "controls",
    )
    require(selection, ["p", "d_mlp", "measure", "mean", "low", "high"], "selection")
    moduli = sorted(selection["p"].unique())
    if len(moduli) > len(SIZES):
        raise ValueError(
            f"{len(moduli)} moduli cannot be told apart, there are {len(SIZES)} styles: draw fewer"
        )
    modes = [mode for mode in MODES if mode in set(controls["frequency"])]
    widths = len(modes) * 2
    halves = widths // 2
    figure = make_subplots(
        rows=2,
        cols=widths,
        specs=[
            [{"colspan": 2}, None] * len(modes),
            [{"colspan": halves}, *[None] * (halves - 1)] * 2,
        ],
        row_heights=[0.5, 0.5],
        vertical_spacing=0.17,
        horizontal_spacing=0.05,
        subplot_titles=[*modes, "selection, joint", "its phase residual"],
    )
    order = list(controls[controls["frequency"] == modes[-1]]["control"])
    for index, mode in enumerate(modes):
        _controls(figure, controls[controls["frequency"] == mode], order, 2 * index + 1)
        if index:
            figure.update_yaxes(showticklabels=False, row=1, col=2 * index + 1)
    for style, p in zip(SIZES, moduli, strict=False):
        rows = selection[selection["p"] == p]
        for measure, opened in (("frozen_input", False), ("untrained", True)):
            _line(figure, rows[rows["measure"] == measure], style, f"p={p}", 1, light=opened)
        residual = rows[rows["measure"] == "phase_residual_frozen"]
        _line(figure, residual, style, f"p={p}", halves + 1, light=False, showlegend=False)
    figure.add_hline(
        y=PUBLISHED["idealised"],
        line={"color": CHANCE, "dash": "dot"},
        annotation_text=f"published {PUBLISHED['idealised']}",
        annotation_position="bottom left",
        row=2,
        col=1,
    )
    chance = {"line_width": 0, "fillcolor": CHANCE, "opacity": 0.4}
    figure.add_hrect(y0=1 / max(moduli), y1=1 / min(moduli), row=2, col=1, **chance)
    explain(figure, "line-ns-open", "largest draw (above)")
    explain(figure, "square", "chance (below; above dashed)")
    figure.update_xaxes(title="d_mlp", type="log", row=2)
    figure.update_xaxes(tickvals=sorted(selection["d_mlp"].unique()), tickangle=-45, row=2)
    figure.update_yaxes(title="accuracy; untrained open", range=[-0.02, 1.04], row=2, col=1)
    figure.update_yaxes(title="|residual| (rad)", rangemode="tozero", row=2, col=halves + 1)
    figure.update_annotations(font_size=12)
    return styled(figure, "What breaks an idealised accuracy", 760)


def _controls(figure: go.Figure, rows: pd.DataFrame, order: list[str], col: int) -> None:
    """One panel: the trained network and each control, nearest first."""
    trained = rows.iloc[0]
    each = {"idealised": _whole(trained)} | {
        name: rows[rows["control"] == name].iloc[0] for name in order
    }
    for name, row in each.items():
        style = NAMED[name]
        figure.add_scatter(
            x=[row["mean"], row["max"]],
            y=[name, name],
            mode="markers",
            error_x={
                "array": [row["high"] - row["mean"], 0],
                "arrayminus": [row["mean"] - row["low"], 0],
                "color": style.colour,
            },
            marker={
                "color": style.colour,
                "symbol": [style.symbol, "line-ns-open"],
                "size": [9, 12],
            },
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
            showlegend=False,
            row=1,
            col=col,
        )
    for chance in rows["chance"].unique():
        line = {"color": CHANCE, "dash": "dash", "width": 1}
        figure.add_vline(x=chance, line=line, row=1, col=col)
    figure.update_xaxes(title="accuracy", range=[-0.05, 1.08], tickvals=[0, 0.5, 1], row=1, col=col)
    figure.update_yaxes(autorange="reversed", automargin=True, tickfont_size=10, row=1, col=col)


def _whole(row: pd.Series[float]) -> pd.Series[float]:
    """The trained network's mean, which is a control's and its distance; its interval is not in the table."""
    mean = row["mean"] + row["distance"]
    return pd.Series({"mean": mean, "low": mean, "high": mean, "max": mean})


def _line(
    figure: go.Figure,
    rows: pd.DataFrame,
    style: Series,
    name: str,
    col: int,
    *,
    light: bool,
    showlegend: bool = True,
) -> None:
    rows = rows.sort_values("d_mlp")
    figure.add_scatter(
        x=rows["d_mlp"],
        y=rows["mean"],
        error_y=interval(rows) | {"thickness": 1},
        name=name,
        legendgroup=name,
        showlegend=showlegend and not light,
        mode="markers" if light else "lines+markers",
        line={"color": style.colour, "dash": style.dash},
        marker={"symbol": f"{style.symbol}-open" if light else style.symbol, "size": 7},
        row=2,
        col=col,
    )
