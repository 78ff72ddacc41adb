"""The generality study: the headline by variant, one panel a frequency mode."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import require
from grok_interp.figures.style import (
    CHANCE,
    HARD_CONTROL,
    NAMED,
    Series,
    explain,
    interval,
    styled,
)

MODES = ("per_matrix", "joint")
LOOKS = {
    "own": NAMED["own"],
    "trained": NAMED["idealised"],
    "frozen_input": NAMED["frozen_input"],
    "excess": Series(HARD_CONTROL, "solid", "diamond-open"),
}
"""Looks of a measure; own is the network as it is, on held-out pairs."""
WORDS = {"trained": "idealised", "own": "own, held out", "excess": "excess, paired"}


def study_generality(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Own and idealised accuracy, frozen_input and the excess, by variant.

    Args:
        tables: ``study.generality.tables``, as computed or read from its CSVs.

    Returns:
        A panel a frequency mode with a row for each variant: means over seeds and 95% intervals, and
        chance as a dashed line.

    Raises:
        ValueError: If a table or column is missing.
    """
    for name in ("generality", "seeds"):
        if name not in tables:
            raise ValueError(f"there is no table {name!r}: pass study.generality.tables(runs)")
    frame = tables["generality"]
    columns = ["variant", "setting", "frequency", "pairs", "measure", "mean", "low", "high", "n"]
    require(frame, columns, "study.generality.tables(runs)['generality']")
    require(tables["seeds"], ["variant", "chance"], "study.generality.tables(runs)['seeds']")
    held_out = (frame["frequency"] == "none") & (frame["pairs"] == "held out")
    own = frame[held_out & (frame["measure"] == "trained")].assign(measure="own")
    figure = make_subplots(
        rows=1, cols=len(MODES), subplot_titles=MODES, shared_yaxes=True, horizontal_spacing=0.04
    )
    for col, mode in enumerate(MODES, start=1):
        rows = frame[(frame["frequency"] == mode) & (frame["pairs"] == "all")]
        for measure, style in LOOKS.items():
            points = pd.concat([own, rows])
            points = points[points["measure"] == measure]
            figure.add_scatter(
                x=points["mean"],
                y=[name.replace(", ", ",<br>") for name in points["variant"]],
                name=WORDS.get(measure, measure),
                legendgroup=measure,
                showlegend=col == 1,
                mode="markers",
                error_x=interval(points) | {"color": style.colour},
                marker={"color": style.colour, "symbol": style.symbol, "size": 9},
                customdata=points[["low", "high", "n"]],
                hovertemplate="%{y}: %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}], "
                "%{customdata[2]} seeds",
                row=1,
                col=col,
            )
        figure.add_vline(x=0, line={"color": CHANCE, "width": 1}, row=1, col=col)
        for chance in tables["seeds"]["chance"].unique():
            line = {"color": CHANCE, "dash": "dash", "width": 1}
            figure.add_vline(x=chance, line=line, row=1, col=col)
    explain(figure, "line-ns-open", "dashed: chance")
    figure.update_xaxes(
        title="accuracy,<br>and its excess", title_font_size=11, tickvals=[0, 0.5, 1]
    )
    figure.update_xaxes(range=[min(-0.05, float(frame["low"].min()) - 0.02), 1.08])
    figure.update_yaxes(autorange="reversed", automargin=True, tickfont_size=10)
    figure.update_yaxes(title="changed from the reference", col=1)
    count = frame["variant"].nunique()
    return styled(figure, "The headline elsewhere", 200 + 48 * count)
