"""The study of onsets: the latent algorithm against grokking, run by run, and what goes with grokking."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import require
from grok_interp.figures.onsets import onset_against_grokking
from grok_interp.figures.style import CHANCE, SERIES, interval, styled

ONSET, GROKKED = "excess_per_matrix > 0.1", "grokked"
RUNS = [
    "seed",
    "d_mlp",
    "label_noise",
    *(f"{each}{end}" for each in (ONSET, GROKKED) for end in ("", ", censored")),
]
APART = 0.25
"""Distance of the correlations of one event, where two events' steps make 1."""
PREDICTION = ["label_noise", "event", "against", "gamma", "low", "high", "comparable"]


def study_onset(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Above, the step of grokking against the onset of the excess; below, rank correlations with grokking.

    Above the dotted line the latent algorithm came first; open triangles are bounds, as in
    :func:`grok_interp.figures.onset_against_grokking`. Below are Goodman and Kruskal's gamma within settings
    and 95% intervals over seeds, of the onsets and of what they must be compared with; an event that no two
    comparable runs have at different steps is left out.

    Args:
        tables: ``runs`` and ``prediction`` of the study.

    Returns:
        Two panels, one above the other.

    Raises:
        ValueError: If a column is missing or there are more kinds of runs than styles.
    """
    runs, prediction = tables["runs"], tables["prediction"]
    require(runs, RUNS, 'the table "runs" of the study')
    require(prediction, PREDICTION, 'the table "prediction" of the study')
    kinds = [
        f"d_mlp {d_mlp}, noise {noise:g}"
        for d_mlp, noise in zip(runs["d_mlp"], runs["label_noise"], strict=True)
    ]
    points = onset_against_grokking(
        pd.DataFrame(
            {
                "seed": runs["seed"],
                "series": kinds,
                "onset": runs[ONSET],
                "onset_censored": runs[f"{ONSET}, censored"],
                "grokked": runs[GROKKED],
                "grokked_censored": runs[f"{GROKKED}, censored"],
            }
        ),
        "",
        log_steps=bool((runs[[ONSET, GROKKED]] > 0).all(axis=None)),
    )
    figure = make_subplots(rows=2, cols=1, row_heights=[0.6, 0.4], vertical_spacing=0.16)
    for trace in points.data:
        figure.add_trace(trace, row=1, col=1)
    for axis, name in ((points.layout.xaxis, "x"), (points.layout.yaxis, "y")):
        update = figure.update_xaxes if name == "x" else figure.update_yaxes
        update(title=axis.title.text, type=axis.type, range=axis.range, row=1, col=1)
    known = prediction[prediction["comparable"] > 0]
    several = len(known.groupby("label_noise")) > 1
    events = {event: place for place, event in enumerate(known["event"].unique())}
    gamma_of = known[["label_noise", "against"]].drop_duplicates().itertuples(index=False)
    for index, (noise, against) in enumerate(gamma_of):
        rows = known[(known["label_noise"] == noise) & (known["against"] == against)]
        style = SERIES[-1 - index]
        figure.add_scatter(
            x=rows["gamma"],
            y=rows["event"].map(events) + APART * index,
            error_x=interval(rows, "gamma") | {"color": style.colour},
            customdata=rows[["event", "low", "high", "comparable"]],
            hovertemplate="%{customdata[0]}: %{x:.2f}, %{customdata[1]:.2f} to %{customdata[2]:.2f}, "
            "%{customdata[3]} pairs",
            name=f"gamma with {against}" + (f", noise {noise:g}" if several else ""),
            mode="markers",
            marker={"color": style.colour, "symbol": style.symbol, "size": 9},
            row=2,
            col=1,
        )
    figure.add_vline(x=0, line={"color": CHANCE, "dash": "dot"}, row=2, col=1)
    figure.update_xaxes(
        title="Goodman and Kruskal's gamma within settings", range=[-1.05, 1.05], row=2, col=1
    )
    figure.update_yaxes(
        autorange="reversed",
        automargin=True,
        tickvals=list(events.values()),
        # In two lines, which leaves the plots room in a narrow window.
        ticktext=[event.replace(" > ", "<br>> ") for event in events],
        row=2,
        col=1,
    )
    return styled(figure, "Onset of the latent algorithm and grokking", 800)
