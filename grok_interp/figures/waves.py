"""Neurons as waves: their weights over one period, and the relation of their phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp import waveforms
from grok_interp.figures.style import CHANCE, IDEAL, TEST, WEIGHT, series_styles, styled
from grok_interp.neurons import MATRICES, NeuronTable
from grok_interp.tasks import NO_COORDINATE

RESIDUAL_BINS = 60


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
    return styled(figure, title, 140 + 150 * len(neurons))


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
        tables: Tables by what they are of: trained, untrained and frozen-input, or one for each
            optimiser; at most as many as there are styles (six).
        title: Title of the figure.

    Raises:
        ValueError: If there are more tables than styles.
    """
    figure = go.Figure()
    edges = np.linspace(-np.pi, np.pi, RESIDUAL_BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    for name, style in series_styles(tables).items():
        table = tables[name]
        residual = table.phase_residual.cpu().numpy()
        known = ~np.isnan(residual)
        weight = table.neuron_amplitude.cpu().numpy()[known]
        height, _ = np.histogram(residual[known], edges, weights=weight / max(weight.sum(), 1e-30))
        line = {"color": style.colour, "shape": "hvh", "dash": style.dash}
        figure.add_scatter(x=centres, y=height, name=name, mode="lines", line=line)
    figure.add_hline(
        y=1 / RESIDUAL_BINS, line={"color": CHANCE, "dash": "dot"}, annotation_text="no relation"
    )
    signs = sorted({"-" if table.coordinates.sign < 0 else "+" for table in tables.values()})
    axis = f"phase residual phi_a {'/'.join(signs)} phi_b - phi_out (rad)"
    figure.update_xaxes(title=axis, range=[-np.pi, np.pi])
    figure.update_yaxes(title="share of neurons, by amplitude", rangemode="tozero")
    return styled(figure, title, 380)
