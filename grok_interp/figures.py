"""Figures: data in, plotly figure out. Nothing is computed here that a table does not hold.

One colour per meaning throughout, from the palette of Okabe and Ito, which colour-blind readers can
tell apart; dashes and symbols differ as well, so that figures survive being printed in grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp import waveforms
from grok_interp.neurons import MATRICES, NeuronTable
from grok_interp.tasks import NO_COORDINATE
from grok_interp.verdict import Sample, Verdict

TRAIN, TEST, IDEAL = "#0072B2", "#D55E00", "#009E73"
CONTROL, CHANCE, WEIGHT = "#6E6E6E", "#9A9A9A", "#222222"
HARD_CONTROL = "#CC79A7"
IDEAL_DASH = {"joint": "solid", "input": "dashdot", "per_matrix": "dash"}
CURVES = {
    "train_accuracy": ("train", TRAIN, "solid"),
    "test_accuracy": ("test", TEST, "solid"),
}
RESIDUAL_BINS = 60
MARGIN = {"l": 70, "r": 20, "t": 100, "b": 60}
"""Pixels around the plots."""
LEGEND_GAP = 28
"""Pixels between the plots and the legend above them, room for a line of panel titles."""


def _styled(figure: go.Figure, title: str, height: int, **layout: Any) -> go.Figure:
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


def learning_curves(
    metrics: pd.DataFrame,
    idealized: Mapping[str, pd.Series],
    frozen_input: Mapping[str, Sample],
    chance: float,
    title: str,
) -> go.Figure:
    """Accuracy along a run: train (on the labels trained on), held out, and idealised by mode.

    The bands are what the frozen-input control, idealised in the same mode, reaches over its draws.

    Args:
        metrics: A trajectory's metrics, indexed by step.
        idealized: Idealised accuracy over all pairs by frequency mode, indexed by step.
        frozen_input: The frozen-input control by frequency mode.
        chance: Accuracy of guessing.
        title: Title of the figure.
    """
    figure = go.Figure()
    for mode, sample in frozen_input.items():
        figure.add_hrect(
            y0=sample.min,
            y1=sample.max,
            fillcolor=HARD_CONTROL,
            opacity=0.3,
            line_width=0,
            annotation_text=f"frozen_input, {mode}",
            annotation_position="bottom right" if sample.mean > 0.5 else "top right",
        )
    for column, (name, colour, dash) in CURVES.items():
        line = {"color": colour, "dash": dash}
        figure.add_scatter(x=metrics.index, y=metrics[column], name=name, line=line, mode="lines")
    for mode, series in idealized.items():
        figure.add_scatter(
            x=series.index,
            y=series,
            name=f"idealised, {mode}",
            mode="lines+markers",
            marker={"size": 4},
            line={"color": IDEAL, "dash": IDEAL_DASH[mode]},
        )
    figure.add_hline(
        y=chance,
        line={"color": CHANCE, "dash": "dot"},
        annotation_text=f"chance {chance:.3f}",
        annotation_position="top left",
    )
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="accuracy (share of pairs)", range=[-0.02, 1.02])
    return _styled(figure, title, 420)


def neuron_waves(table: NeuronTable, neurons: Sequence[int], title: str) -> go.Figure:
    """Three weight columns of some neurons over one period, with their square wave and cosine.

    Weights stand at their place in the neuron's period, ``t = k n / m + phi / 2 pi`` in turns, so a
    square wave is high for ``-1/4 <= t < 1/4`` whatever its frequency and phase.

    Args:
        table: A table of one network.
        neurons: Which neurons, one row each; those without a frequency stay empty.
        title: Title of the figure.
    """
    figure = make_subplots(
        rows=len(neurons),
        cols=3,
        shared_xaxes=True,
        horizontal_spacing=0.06,
        vertical_spacing=0.25 / max(1, len(neurons)),
        subplot_titles=[
            f"neuron {neuron}, {name}: k={int(table.frequency[row, neuron])}, "
            f"R2 square {float(table.r2_square[row, neuron]):.2f}, "
            f"cosine {float(table.r2_cosine[row, neuron]):.2f}"
            for neuron in neurons
            for row, name in enumerate(MATRICES)
        ],
    )
    turns = waveforms.turns(table.modulus, table.frequency, table.phase.nan_to_num())
    columns, square, cosine = table.columns, table.waves("square"), table.waves("cosine")
    for row in range(3):
        where, points = _points(table, row)
        for line, neuron in enumerate(neurons):
            t = turns[row, where, neuron].cpu().numpy()
            order = np.argsort(t, kind="stable")
            for name, values, style in (
                ("weight", columns, {"mode": "markers", "marker": {"color": WEIGHT, "size": 4}}),
                (
                    "square wave",
                    square,
                    {"mode": "lines", "line": {"color": IDEAL, "shape": "hvh"}},
                ),
                ("cosine", cosine, {"mode": "lines", "line": {"color": TEST, "dash": "dot"}}),
            ):
                figure.add_scatter(
                    x=t[order],
                    y=values[row, points, neuron].cpu().numpy()[order],
                    name=name,
                    legendgroup=name,
                    showlegend=line == 0 and row == 0,
                    row=line + 1,
                    col=row + 1,
                    **style,
                )
    figure.update_xaxes(title="place in the period (turns)", row=len(neurons))
    figure.update_yaxes(title="weight about mean", title_font_size=11, col=1)
    figure.update_annotations(font_size=11)
    return _styled(figure, title, 140 + 150 * len(neurons))


def _points(table: NeuronTable, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates that tokens or classes have, and which token or class each is."""
    coordinates = table.coordinates
    if row < 2:
        values = (coordinates.a, coordinates.b)[row].numpy()
        points = np.flatnonzero(values != NO_COORDINATE)
        return values[points], points
    where = np.flatnonzero(coordinates.readout.numpy() != NO_COORDINATE)
    return where, coordinates.readout.numpy()[where]


def residual_histogram(tables: Mapping[str, NeuronTable], title: str) -> go.Figure:
    """Phase residuals of neurons with one frequency, weighted by amplitude.

    Phases without relation are uniform: the dotted line.

    Args:
        tables: Tables by what they are of: trained, untrained and frozen-input, say; at most three.
        title: Title of the figure.
    """
    figure = go.Figure()
    edges = np.linspace(-np.pi, np.pi, RESIDUAL_BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    for (name, table), (colour, dash) in zip(
        tables.items(),
        ((IDEAL, "solid"), (CONTROL, "dash"), (HARD_CONTROL, "dashdot")),
        strict=False,
    ):
        residual = table.phase_residual.cpu().numpy()
        known = ~np.isnan(residual)
        weight = table.neuron_amplitude.cpu().numpy()[known]
        height, _ = np.histogram(residual[known], edges, weights=weight / max(weight.sum(), 1e-30))
        line = {"color": colour, "shape": "hvh", "dash": dash}
        figure.add_scatter(x=centres, y=height, name=name, mode="lines", line=line)
    figure.add_hline(
        y=1 / RESIDUAL_BINS, line={"color": CHANCE, "dash": "dot"}, annotation_text="no relation"
    )
    sign = "-" if any(table.coordinates.sign < 0 for table in tables.values()) else "+"
    axis = f"phase residual phi_a {sign} phi_b - phi_out (rad)"
    figure.update_xaxes(title=axis, range=[-np.pi, np.pi])
    figure.update_yaxes(title="share of neurons, by amplitude", rangemode="tozero")
    return _styled(figure, title, 380)


def effect_beside_controls(verdicts: Mapping[str, Verdict], title: str) -> go.Figure:
    """Idealised accuracy beside every control, mean and range over draws, one panel a mode.

    Args:
        verdicts: Verdicts by frequency mode.
        title: Title of the figure.
    """
    figure = make_subplots(
        rows=1, cols=len(verdicts), subplot_titles=list(verdicts), shared_yaxes=True
    )
    for column, verdict in enumerate(verdicts.values(), start=1):
        samples = {"own": verdict.own, "idealised": verdict.effect} | verdict.controls
        for name, sample in samples.items():
            colour, symbol = {
                "own": (TEST, "square"),
                "idealised": (IDEAL, "diamond"),
                "frozen_input": (HARD_CONTROL, "triangle-up"),
            }.get(name, (CONTROL, "circle"))
            figure.add_scatter(
                x=[sample.mean],
                y=[name],
                error_x={
                    "array": [sample.max - sample.mean],
                    "arrayminus": [sample.mean - sample.min],
                    "color": colour,
                },
                marker={"color": colour, "symbol": symbol, "size": 10},
                hovertemplate=f"{name}: %{{x:.3f}} [{sample.min:.3f}, {sample.max:.3f}], "
                f"{sample.draws} draws<extra></extra>",
                showlegend=False,
                row=1,
                col=column,
            )
        figure.add_vline(x=verdict.chance, line={"color": CHANCE, "dash": "dot"}, row=1, col=column)
        figure.update_xaxes(
            title="accuracy, all pairs (range over draws)", range=[-0.03, 1.05], row=1, col=column
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    return _styled(figure, title, 420)
