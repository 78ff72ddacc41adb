"""The lottery study: what initial spectra foretell, beside what chance and persistence do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import require
from grok_interp.figures.style import (
    CHANCE,
    CONTROL_STYLES,
    SERIES,
    explain,
    interval,
    styled,
)
from grok_interp.lottery import PREDICTORS

STYLES = {
    "clean": SERIES[0],
    "noisy": SERIES[4],
    "random labels": SERIES[1],
    "W_in frozen": CONTROL_STYLES["frozen_input"],
}
"""Looks of the kinds of networks; the last two are controls."""
PANEL = ["p", "d_mlp", "weight_decay"]
"""Settings that have a column of panels each."""
FOLLOWED = "joint"
"""The score that is followed along training: that of a network which does not move is 1."""
APART = 0.17
"""Between kinds at one predictor, in units of the distance between predictors."""


def study_lottery(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Share and rank of the final frequency by score at the last step, and share against movement.

    Args:
        tables: ``"lottery"`` and ``"networks"`` of the study, as made or as read from its CSV files.

    Returns:
        A column of panels for each size and weight decay. In the first two rows markers with 95%
        intervals over seeds, a grey dash at each for neurons that are paired at random; in the third a
        line a kind of network along its steps.

    Raises:
        ValueError: If a table is empty or lacks a column.
    """
    shares, networks = tables["lottery"], tables["networks"]
    numbers = ["kind", "steps", "measure", "mean", "low", "high"]
    require(shares, [*PANEL, *numbers, "predictor"], 'the study\'s table "lottery"')
    require(networks, [*PANEL, *numbers], 'the study\'s table "networks"')
    panels = shares.drop_duplicates(PANEL)[PANEL]
    figure = make_subplots(
        rows=3,
        cols=len(panels),
        shared_yaxes=True,
        vertical_spacing=0.11,
        column_titles=[_named(panel, panels) for _, panel in panels.iterrows()],
    )
    predictors = sorted(shares["predictor"].unique(), key=PREDICTORS.index)
    for col, (_, panel) in enumerate(panels.iterrows(), start=1):
        mine, moved = _of(shares, panel), _of(networks, panel)
        last = mine[mine["steps"] == mine["steps"].max()]
        for kind in _kinds(mine):
            where = {"col": col, "name": kind, "legendgroup": kind}
            for row, measure in enumerate(("share", "percentile"), start=1):
                rows = last[last["kind"] == kind]
                here = where | {"row": row, "showlegend": col == row == 1}
                _draw(figure, rows, measure, predictors, kind, **here)
            _follow(figure, mine, moved, kind, row=3, showlegend=False, **where)
    explain(figure, "line-ew-open", "neurons paired at random", marker_line_width=2)
    ticks = {"tickvals": list(range(len(predictors))), "ticktext": predictors, "tickangle": -60}
    figure.update_xaxes(range=[-0.5, len(predictors) - 0.5], **ticks, row=1)
    figure.update_xaxes(range=[-0.5, len(predictors) - 0.5], **ticks, row=2)
    figure.update_xaxes(title="W_in: cosine<br>with its start", range=[1.05, 0], row=3)
    figure.update_xaxes(title_font_size=11)
    figure.update_yaxes(title_font_size=11)
    figure.update_yaxes(range=[-0.03, 1.03])
    for row, title in enumerate(("share foretold", "mean rank", f"share, {FOLLOWED}"), start=1):
        figure.update_yaxes(title=title, row=row, col=1)
    figure.update_annotations(font_size=11)
    title = "Frequencies that initial spectra foretell: 95% intervals over seeds"
    return styled(figure, title, 820)


def _draw(
    figure: go.Figure,
    rows: pd.DataFrame,
    measure: str,
    predictors: list[str],
    kind: str,
    **where: Any,
) -> None:
    """One number of one kind by predictor, and what it is by chance."""
    kinds = list(STYLES)
    offset = APART * (kinds.index(kind) - (len(kinds) - 1) / 2)
    by_chance = "chance" if measure == "share" else f"{measure}_chance"
    shown = rows[rows["measure"] == measure]
    chance = rows[rows["measure"] == by_chance]
    style = STYLES[kind]
    figure.add_scatter(
        x=[predictors.index(name) + offset for name in shown["predictor"]],
        y=shown["mean"],
        error_y=interval(shown) | {"color": style.colour, "width": 2},
        mode="markers",
        marker={"color": style.colour, "symbol": style.symbol, "size": 7},
        hovertemplate=f"{kind}: %{{y:.3f}}",
        **where,
    )
    figure.add_scatter(
        x=[predictors.index(name) + offset for name in chance["predictor"]],
        y=chance["mean"],
        mode="markers",
        marker={"symbol": "line-ew-open", "color": CHANCE, "size": 8, "line_width": 2},
        hovertemplate=f"{kind}, paired at random: %{{y:.3f}}",
        **(where | {"showlegend": False}),
    )


def _follow(
    figure: go.Figure, shares: pd.DataFrame, networks: pd.DataFrame, kind: str, **where: Any
) -> None:
    """Share of one score against how far W_in has moved, a marker for each number of steps."""
    followed = (shares["predictor"] == FOLLOWED) & (shares["measure"] == "share")
    share = shares[followed & (shares["kind"] == kind)]
    moved = networks[(networks["kind"] == kind) & (networks["measure"] == "feature_movement")]
    both = share.merge(moved, on="steps", suffixes=("", "_moved")).sort_values("steps")
    style = STYLES[kind]
    figure.add_scatter(
        x=both["mean_moved"],
        y=both["mean"],
        customdata=both["steps"],
        mode="lines+markers",
        line={"color": style.colour, "dash": style.dash},
        marker={"symbol": style.symbol, "size": 7},
        hovertemplate=f"{kind}, %{{customdata}} steps: cosine %{{x:.2f}}, share %{{y:.3f}}",
        **where,
    )


def _kinds(rows: pd.DataFrame) -> list[str]:
    found = set(rows["kind"])
    return [kind for kind in STYLES if kind in found]


def _of(table: pd.DataFrame, panel: pd.Series[Any]) -> pd.DataFrame:
    return table[(table[PANEL] == panel).all(axis=1)]


def _named(panel: pd.Series[Any], panels: pd.DataFrame) -> str:
    """The settings of a panel that differ from others', and its decay."""
    words = {"p": "p=", "d_mlp": "neurons ", "weight_decay": "decay "}
    decay = "weight_decay"
    differ = [name for name in PANEL if name == decay or len(panels[name].unique()) > 1]
    return ", ".join(f"{words[name]}{panel[name]:g}" for name in differ)
