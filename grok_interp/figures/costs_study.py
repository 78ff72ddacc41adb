"""Seconds of the parts of a run against p, width and training pairs, with the laws fitted to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import require
from grok_interp.figures.style import SERIES, explain, styled

AXES = {"p": "p", "d_mlp": "d_mlp", "pairs": "training pairs N"}
CENTRE = "centre"
"""The arm of the sizes that all panels share."""
MEASURED = ["what", "arm", *AXES, "seconds", "fitted"]
FITTED = ["what", "of", "log_constant", *AXES]
MOST_TICKS = 6
"""Sizes written below an axis; more would run into each other in 400 pixels."""


def study_costs(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Measured seconds with one size varying and the others at the centre of the design, on logarithmic axes.

    Lines are the fitted laws, each over the sizes that it was fitted on; open markers are points that the fit
    left out, since more of the time is overhead than work.

    Args:
        tables: ``measured`` and ``exponents``, as from ``study.costs.tables`` or read back from CSV.

    Returns:
        Three panels below one another, for p, d_mlp and N, with a trace of points and one of the law for each
        part of a run.

    Raises:
        ValueError: If a table or column is missing, or no row is of the centre.
    """
    for name, columns in (("measured", MEASURED), ("exponents", FITTED)):
        if name not in tables:
            raise ValueError(f"there are tables {list(tables)}: pass those of study.costs.tables")
        require(tables[name], columns, f"the table {name!r} of study.costs.tables")
    measured, fits = tables["measured"], tables["exponents"]
    centres = measured[measured["arm"] == CENTRE]
    if centres.empty:
        raise ValueError(
            f"arms are {sorted(set(measured['arm']))}, and no row is of {CENTRE!r}, which the panels share: "
            "pass the table 'measured' of study.costs.tables"
        )
    centre = centres.iloc[0]
    figure = make_subplots(rows=len(AXES), cols=1, vertical_spacing=0.1)
    laws = {law["what"]: law for law in fits[fits["of"] == "seconds"].to_dict("records")}
    for what, style in zip(centres["what"], SERIES, strict=False):
        for row, arm in enumerate(AXES, start=1):
            points = measured[
                (measured["what"] == what) & measured["arm"].isin([arm, CENTRE])
            ].sort_values(arm)
            drawn = {"legendgroup": what, "row": row, "col": 1}
            fitted = points["fitted"].astype(bool)
            figure.add_scatter(
                x=points[arm],
                y=points["seconds"],
                name=what,
                mode="markers",
                showlegend=row == 1,
                marker={
                    "color": style.colour,
                    "size": 8,
                    "symbol": [style.symbol + ("" if seen else "-open") for seen in fitted],
                },
                **drawn,
            )
            ends = np.geomspace(points[arm][fitted].min(), points[arm][fitted].max(), 2)
            figure.add_scatter(
                x=ends,
                y=_law(laws[what], centre, arm, ends),
                name=f"{what}, law",
                mode="lines",
                showlegend=False,
                line={"color": style.colour, "dash": style.dash},
                hovertemplate=f"{arm}^{laws[what][arm]:.2f}",
                **drawn,
            )
    for row, (arm, title) in enumerate(AXES.items(), start=1):
        others = ", ".join(f"{name}={centre[name]:,}" for name in AXES if name != arm)
        ticks = sorted(set(measured.loc[measured["arm"].isin([arm, CENTRE]), arm]))[-MOST_TICKS:]
        figure.update_xaxes(
            title=f"{title} ({others})", type="log", tickvals=ticks, ticktext=ticks, row=row
        )
    figure.update_yaxes(title="seconds a network", type="log", dtick=1)
    if any("open" in str(trace.marker.symbol) for trace in figure.data):
        explain(figure, "circle-open", "mostly overhead, not fitted")
    return styled(figure, "Time of the parts of a run, one thread", 900)


def _law(law: Mapping[Any, Any], centre: pd.Series[Any], arm: str, x: np.ndarray) -> np.ndarray:
    """The law's seconds as one size varies, in a straight line on these axes."""
    sizes = {name: x if name == arm else np.full_like(x, centre[name]) for name in AXES}
    logs = sum(law[name] * np.log(values) for name, values in sizes.items())
    return np.asarray(np.exp(law["log_constant"] + logs))
