"""The headline study: idealised accuracy beside its controls, and its excess by waveform and side."""

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

MODES = ("per_matrix", "input", "joint")
NETWORKS = {
    "idealised": "sum: trained",
    "untrained": "idealised untrained weights: untrained",
    "random_phase": "idealised with phases at random: random_phase",
    "permuted_output": "idealised with neurons paired at random: permuted_output",
}
"""Rows of the upper panels that are parts of the decomposition, from the top but for frozen_input."""
EXCESS = Series(HARD_CONTROL, "solid", "diamond-open")
ROW_HEIGHT = 22
"""Pixels for a row of markers and its name."""


def study_headline(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Above, idealised accuracies beside their controls, all pairs; below, excess by way of idealising.

    Markers are means over seeds, bars 95% bootstrap intervals. Own accuracies are of held-out pairs, and
    so is the excess where one side alone is ideal.

    Args:
        tables: ``study.headline.tables``, as computed or read from its CSVs.

    Returns:
        A column of panels for each frequency mode, two rows of panels for each setting, the published
        pair as dotted lines, and chance as a dashed one.

    Raises:
        ValueError: If a table or column is missing.
    """
    for name in ("pair", "decomposition", "idealised"):
        if name not in tables:
            raise ValueError(f"there is no table {name!r}: pass study.headline.tables(runs)")
    pair, parts, idealised = (tables[name] for name in ("pair", "decomposition", "idealised"))
    require(pair, ["source", "setting", "frequency", "network", "own", "chance"], "table pair")
    require(
        parts, ["setting", "frequency", "pairs", "part", "mean", "low", "high"], "decomposition"
    )
    require(
        idealised, ["setting", "frequency", "replaced", "pairs", "measure", "mean"], "idealised"
    )
    measured = pair[pair["source"] == "measured"]
    settings = list(measured["setting"].unique())
    ways = {setting: _excesses(idealised, setting) for setting in settings}
    heights = [count for each in ways.values() for count in (7, max(1, each["way"].nunique()))]
    figure = make_subplots(
        rows=2 * len(settings),
        cols=len(MODES),
        shared_yaxes=True,
        row_heights=heights,
        vertical_spacing=0.35 / (2 * len(settings)),
        horizontal_spacing=0.03,
        column_titles=list(MODES),
    )
    published = pair[pair["source"] != "measured"].iloc[0]
    for index, setting in enumerate(settings):
        for col, mode in enumerate(MODES, start=1):
            where = {"row": 2 * index + 1, "col": col}
            _networks(figure, measured, parts, setting, mode, where)
            for value in (published["own"], published["idealised"]):
                figure.add_vline(x=value, line={"color": CHANCE, "dash": "dot"}, **where)
            chance = measured.loc[measured["setting"] == setting, "chance"].iloc[0]
            figure.add_vline(x=chance, line={"color": CHANCE, "dash": "dash", "width": 1}, **where)
            below = {"row": 2 * index + 2, "col": col}
            excess = ways[setting][ways[setting]["frequency"] == mode]
            _points(figure, excess.assign(y=excess["way"]), EXCESS, below)
            figure.add_vline(x=0, line={"color": CHANCE, "width": 1}, **below)
    explain(figure, "line-ns-open", "dotted: published result; dashed: chance")
    figure.update_xaxes(range=[-0.05, 1.08], title_font_size=11, tickvals=[0, 0.5, 1])
    for row in range(1, 2 * len(settings) + 1):
        title = "accuracy" if row % 2 else "excess over<br>frozen_input"
        figure.update_xaxes(title=title, row=row)
    figure.update_yaxes(autorange="reversed", automargin=True, tickfont_size=10)
    figure.update_annotations(font_size=12)
    title = "Idealised accuracy of networks that do not generalise"
    if len(settings) > 1:
        title += ": " + "; then ".join(settings)
    return styled(figure, title, 260 + ROW_HEIGHT * sum(heights) + 60 * len(settings))


def _networks(
    figure: go.Figure,
    measured: pd.DataFrame,
    parts: pd.DataFrame,
    setting: str,
    mode: str,
    where: dict[str, int],
) -> None:
    """One panel: own accuracies, and idealised ones of the network and its controls."""
    pair = measured[(measured["setting"] == setting) & (measured["frequency"] == mode)]
    found = parts[(parts["setting"] == setting) & (parts["frequency"] == mode)]
    found = found[found["pairs"] == "all"].set_index("part")
    trained, frozen = (
        pair[pair["network"] == network].iloc[0] for network in ("trained", "frozen_input")
    )
    rows = {
        "own": _of(trained, "own"),
        "idealised": found.loc[NETWORKS["idealised"]],
        "frozen_input": _of(frozen, "idealised"),
        "frozen_input, own": _of(frozen, "own"),
    }
    rows |= {name: found.loc[part] for name, part in NETWORKS.items() if name not in rows}
    for name, row in rows.items():
        style = NAMED.get(name, Series(HARD_CONTROL, "dash", "circle-open"))
        point = pd.DataFrame([row[["mean", "low", "high"]]]).assign(y=name)
        _points(figure, point, style, where)


def _of(row: pd.Series[float], name: str) -> pd.Series[float]:
    return pd.Series({"mean": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})


def _excesses(idealised: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Rows of excess with their way in words: all pairs, held-out ones where a side is the network's own."""
    rows = idealised[(idealised["setting"] == setting) & (idealised["measure"] == "excess")]
    all_ideal = rows["replaced"] == "all"
    rows = rows[(rows["pairs"] == "all") & all_ideal | (rows["pairs"] == "held out") & ~all_ideal]
    rows = rows[rows["replaced"] != "none"].sort_values(["replaced", "input_waveform"])
    words = {
        "all": lambda row: f"{row['input_waveform']} in, {row['output_waveform']} out",
        "W_in": lambda row: f"W_in alone, {row['input_waveform']}",
        "W_out": lambda row: f"W_out alone, {row['output_waveform']}",
    }
    way = [words[row["replaced"]](row) for row in rows.to_dict("records")]
    return rows.assign(way=pd.Series(way, index=rows.index, dtype=object))


def _points(figure: go.Figure, points: pd.DataFrame, style: Series, where: dict[str, int]) -> None:
    """Means with their intervals as horizontal bars."""
    figure.add_scatter(
        x=points["mean"],
        y=points["y"],
        mode="markers",
        error_x=interval(points) | {"color": style.colour},
        marker={"color": style.colour, "symbol": style.symbol, "size": 9},
        customdata=points[["low", "high"]],
        hovertemplate="%{y}: %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra></extra>",
        showlegend=False,
        **where,
    )
