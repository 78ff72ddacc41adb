"""The study of waveforms: which wave fits, when weights are binary, and whether it matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.all_neurons import COSINE_TO_SQUARE, SQUARE_TO_COSINE
from grok_interp.figures.checks import require
from grok_interp.figures.style import (
    CHANCE,
    CONTROL,
    HARD_CONTROL,
    SERIES,
    explain,
    interval,
    styled,
)
from grok_interp.study.cells import TRAINING as CELL

WAVES = {"square": SERIES[0], "trapezoid": SERIES[3], "cosine": SERIES[4]}
"""Looks of the waves."""
PLATEAU = SERIES[5]
COSINE_ON_PLATEAU = 0.48
"""Share of a cosine's values near the plateaus; see :func:`.waveforms.plateau_share`."""
NUMBERS = ["measure", "mean", "low", "high"]
BINARY = 0.9
"""As in :mod:`grok_interp.study.waves`, which a figure does not import, since it loads transformer_lens."""
APART = 0.22
"""Between waves in one row."""
ROW = 22
"""Pixels of a row."""
TRAINING = 210
"""Pixels of the panel along training."""
SHORT = {"cross_entropy": "CE", "cross_entropy_float64": "CE64", "stablemax": "smax"}
"""Names that would take the room of the panels."""


def study_waves(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """R2 of both matrices, share of weights near two levels, and idealised accuracy, a row a setting.

    Args:
        tables: Of the study, as made or as read from its CSV files: ``"fits"``, ``"binary"``,
            ``"idealised"``, and ``"training"`` where runs were measured along.

    Returns:
        Four panels with means over seeds and 95% intervals, beside what perfect waves have; and the share
        near two levels along training, of settings that are binary at the end (if none is, of that with the
        largest share) and of the smallest weight decay beside each.

    Raises:
        ValueError: If a table is empty or lacks a column.
    """
    fits, binary, idealised = (tables[name] for name in ("fits", "binary", "idealised"))
    require(fits, [*CELL, *NUMBERS, "matrix"], 'the study\'s table "fits"')
    require(binary, [*CELL, *NUMBERS], 'the study\'s table "binary"')
    require(
        idealised,
        [*CELL, *NUMBERS, "input_waveform", "output_waveform"],
        'the study\'s table "idealised"',
    )
    cells = fits.drop_duplicates(CELL)[CELL].reset_index(drop=True)
    height = ROW * len(cells)
    figure = make_subplots(
        rows=3,
        cols=2,
        specs=[[{}, {}], [{}, {}], [{"colspan": 2}, None]],
        row_heights=[height, height, TRAINING],
        vertical_spacing=90 / (2 * height + TRAINING + 140),
        horizontal_spacing=0.06,
    )
    for col, matrix in enumerate(("W_in", "W_out"), start=1):
        mine = fits[fits["matrix"] == matrix]
        for wave, style in WAVES.items():
            looks = {"color": style.colour, "symbol": style.symbol}
            rows = mine[mine["measure"] == f"r2_{wave}"]
            here = {"name": wave, "legendgroup": wave, "row": 1, "col": col}
            _rows(figure, rows, cells, wave, looks, showlegend=col == 1, **here)
        _line(figure, SQUARE_TO_COSINE, WAVES["cosine"].colour, row=1, col=col)
        _line(figure, COSINE_TO_SQUARE, WAVES["square"].colour, row=1, col=col)
    looks = {"color": PLATEAU.colour, "symbol": PLATEAU.symbol}
    share = binary[binary["measure"] == "plateau_share"]
    _rows(figure, share, cells, "trapezoid", looks, name="W_in", showlegend=False, row=2, col=1)
    _line(figure, COSINE_ON_PLATEAU, CHANCE, row=2, col=1)
    _accuracies(figure, idealised[idealised["output_waveform"] == "cosine"], cells)
    if "training" in tables:
        _along(figure, tables["training"], share)
    _explanations(figure)
    lowest = min(
        0.65, float(fits.loc[fits["measure"].isin([f"r2_{w}" for w in WAVES]), "low"].min())
    )
    names = [_name(cell) for _, cell in cells.iterrows()]
    for row, col, title, limits in (
        (1, 1, "R2, W_in", [lowest - 0.05, 1.03]),
        (1, 2, "R2, W_out", [lowest - 0.05, 1.03]),
        (2, 1, "share near two levels,<br>median column of W_in", [-0.03, 1.03]),
        (2, 2, "per_matrix<br>accuracy", [-0.03, 1.05]),
    ):
        figure.update_xaxes(title=title, range=limits, row=row, col=col)
        figure.update_yaxes(
            tickvals=list(range(len(cells))),
            ticktext=names,
            tickfont_size=10,
            showticklabels=col == 1,
            range=[len(cells) - 0.5, -0.5],
            row=row,
            col=col,
        )
    figure.update_xaxes(title="step", row=3, col=1)
    figure.update_yaxes(
        title="share near two levels,<br>median column", range=[-0.03, 1.03], row=3, col=1
    )
    figure.update_xaxes(title_font_size=11).update_yaxes(title_font_size=11)
    title = "Square, trapezoid or cosine, by loss, optimiser and decay: 95% intervals over seeds"
    return styled(figure, title, 2 * height + TRAINING + 330)


def _rows(
    figure: go.Figure,
    rows: pd.DataFrame,
    cells: pd.DataFrame,
    wave: str,
    looks: dict[str, Any],
    **where: Any,
) -> None:
    """Means with intervals, each in the row of its setting, a little up or down by wave."""
    placed = rows.merge(cells.reset_index(names="place"), on=CELL)
    offset = APART * (list(WAVES).index(wave) - 1)
    figure.add_scatter(
        x=placed["mean"],
        y=placed["place"] + offset,
        error_x=interval(placed) | {"color": looks["color"], "width": 2},
        customdata=placed["n"],
        mode="markers",
        marker={"size": 7} | looks,
        hovertemplate=f"{wave}: %{{x:.3f}}, %{{customdata}} seeds",
        **where,
    )


def _accuracies(figure: go.Figure, idealised: pd.DataFrame, cells: pd.DataFrame) -> None:
    """Accuracy by input wave, of trained networks and of frozen_input."""
    for wave, style in WAVES.items():
        mine = idealised[idealised["input_waveform"] == wave]
        for network, looks in (
            ("frozen_input", {"color": HARD_CONTROL, "symbol": f"{style.symbol}-open"}),
            ("trained", {"color": style.colour, "symbol": style.symbol}),
        ):
            rows = mine[mine["measure"] == network]
            where = {"name": f"{wave}, {network}", "showlegend": False, "row": 2, "col": 2}
            _rows(figure, rows, cells, wave, looks, **where)


def _along(figure: go.Figure, training: pd.DataFrame, share: pd.DataFrame) -> None:
    """The share near two levels by step, of what ends binary, and in grey of the smallest decays."""
    binary = share[share["low"] > BINARY]
    # Where nothing is binary, what comes closest.
    ends = binary if len(binary) else share.nlargest(1, "mean")
    followed = ends.merge(_smallest_decays(share, ends), how="outer", on=CELL, indicator="which")
    mine = training[training["measure"] == "plateau_share"]
    for place, (_, cell) in enumerate(followed.iterrows()):
        rows = mine[(mine[CELL] == cell[CELL]).all(axis=1)].sort_values("step")
        style = SERIES[place % len(SERIES)]
        # Not colours by setting: they stand for waves here.
        colour = CONTROL if cell["which"] == "right_only" else PLATEAU.colour
        figure.add_scatter(
            x=rows["step"],
            y=rows["mean"],
            name=_name(cell),
            mode="lines+markers",
            line={"color": colour, "dash": style.dash},
            marker={"symbol": f"{style.symbol}-open", "size": 7},
            row=3,
            col=1,
        )
    figure.add_hline(y=COSINE_ON_PLATEAU, line={"color": CHANCE, "dash": "dot"}, row=3, col=1)


def _smallest_decays(share: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """The cells of the smallest decay among those that differ from one of ``ends`` in nothing else."""
    alike = [name for name in CELL if name != "weight_decay"]
    smallest = share.groupby(alike, as_index=False)["weight_decay"].min()
    found: pd.DataFrame = smallest.merge(ends[alike].drop_duplicates(), on=alike)[CELL]
    return found


def _name(cell: pd.Series[Any]) -> str:
    noise = f", {cell['label_noise']:.0%} noise" if cell["label_noise"] else ""
    loss = SHORT.get(cell["loss"], cell["loss"])
    return f"{loss} {cell['optimizer']} {cell['weight_decay']:g}{noise}"


def _line(figure: go.Figure, x: float, colour: str, **where: Any) -> None:
    figure.add_vline(x=x, line={"color": colour, "dash": "dot"}, **where)


def _explanations(figure: go.Figure) -> None:
    """What open markers and dotted lines mean."""
    explain(figure, "circle-open", "frozen_input, by wave", marker_color=HARD_CONTROL)
    for colour, text in (
        (WAVES["cosine"].colour, f"R2 of a square wave to its cosine, {SQUARE_TO_COSINE:.2f}"),
        (WAVES["square"].colour, f"R2 of a cosine to its square wave, {COSINE_TO_SQUARE:.2f}"),
        (CHANCE, f"a cosine's share near two levels, {COSINE_ON_PLATEAU}"),
    ):
        explain(figure, "circle", text, mode="lines", line={"color": colour, "dash": "dot"})
