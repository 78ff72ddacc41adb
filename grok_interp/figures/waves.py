"""Neurons as waves: their weights over one period, with the square wave and the cosine of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp import waveforms
from grok_interp.figures.checks import one_network
from grok_interp.figures.style import COSINE, IDEAL, LEGEND_GAP, MARGIN, WEIGHT, styled
from grok_interp.neurons import MATRICES, NeuronTable
from grok_interp.tasks import NO_COORDINATE

ROW_HEIGHT, BETWEEN_ROWS, TITLES = 190, 85, 56
"""Pixels from row to row, of which between plots, of which titles of four lines."""


def neuron_waves(table: NeuronTable, neurons: Sequence[int], title: str) -> go.Figure:
    """Three weight columns of some neurons over one period, with their square wave and cosine.

    Weights stand at their place in the neuron's period, ``t = k n / m + phi / 2 pi`` in turns, so a
    square wave is high for ``-1/4 <= t < 1/4`` whatever its frequency and phase.

    Args:
        table: A table of one network.
        neurons: Which neurons, one row each; columns without a frequency stay empty.
        title: Title of the figure.

    Returns:
        Three panels a neuron, each with the traces "weight", "square wave" and "cosine".

    Raises:
        ValueError: If the table holds a batch, or no neuron is asked for.
        IndexError: If there is no such neuron.
    """
    one_network(table)
    if len(neurons) == 0:
        raise ValueError("no neuron to draw, expected at least one index: pass neurons=[0], say")
    for neuron in neurons:
        check_neuron(table, neuron)
    height = 100 + ROW_HEIGHT * len(neurons)
    figure = make_subplots(
        rows=len(neurons),
        cols=3,
        shared_xaxes=True,
        horizontal_spacing=0.08,
        vertical_spacing=BETWEEN_ROWS / height if len(neurons) > 1 else 0,
        subplot_titles=[
            f"neuron {neuron}<br>{name}, {fits_in_words(table, row, neuron)}"
            for neuron in neurons
            for row, name in enumerate(MATRICES)
        ],
    )
    for row in range(3):
        for line, neuron in enumerate(neurons):
            for trace in wave_traces(table, row, neuron):
                trace.update(legendgroup=trace.name, showlegend=line == row == 0)
                figure.add_trace(trace, row=line + 1, col=row + 1)
    # Short enough for three panels side by side in 400 pixels.
    figure.update_xaxes(title="period<br>(turns)", row=len(neurons))
    figure.update_yaxes(title="weight about mean", title_font_size=11, col=1)
    figure.update_annotations(font_size=10)
    return styled(figure, title, height, top=MARGIN["t"] + TITLES - LEGEND_GAP, gap=TITLES)


def check_neuron(table: NeuronTable, neuron: int) -> None:
    """Raise an IndexError if the network has no such neuron."""
    if not 0 <= neuron < table.d_mlp:
        raise IndexError(
            f"neuron {neuron} is not in 0..{table.d_mlp - 1}: pass one of the table's {table.d_mlp}, "
            "such as int(table.neuron_amplitude.nan_to_num().argmax())"
        )


def fits_in_words(table: NeuronTable, row: int, neuron: int) -> str:
    """Frequency of a column and its R2 to both waves, in three lines."""
    k = int(table.frequency[row, neuron])
    if k == 0:
        return "constant"
    square, cosine = float(table.r2_square[row, neuron]), float(table.r2_cosine[row, neuron])
    return f"k={k}<br>R2 square {square:.2f}<br>R2 cosine {cosine:.2f}"


def wave_traces(table: NeuronTable, row: int, neuron: int) -> tuple[go.Scatter, ...]:
    """A column over its period, its square wave and its cosine; empty without a frequency.

    Args:
        table: A table of one network.
        row: Which matrix: 0, 1 or 2 for W_a, W_b, W_out.
        neuron: Which neuron.

    Returns:
        Three traces, "weight", "square wave" and "cosine", sorted by place in the period (turns).
    """
    where, points = known_points(table, row)
    m, one = table.modulus, slice(neuron, neuron + 1)
    frequency, amplitude, phase = (
        values[row, one] for values in (table.frequency, table.amplitude, table.phase)
    )
    seen = None if table.coordinates.points is None else table.coordinates.points[row]
    square, cosine = (
        waveforms.sample(waveform, m, frequency, amplitude, phase, incidence=seen)
        for waveform in ("square", "cosine")
    )
    t = waveforms.turns(m, frequency, phase.nan_to_num())[where, 0].cpu().numpy()
    order = np.argsort(t, kind="stable") if frequency > 0 else np.empty(0, dtype=int)
    weight = table.columns[row, :, one]
    drawn = (
        ("weight", weight, {"mode": "markers", "marker": {"color": WEIGHT, "size": 4}}),
        ("square wave", square, _line(IDEAL, "solid") | {"line_shape": "hvh"}),
        ("cosine", cosine, _line(COSINE, "dash")),
    )
    return tuple(
        go.Scatter(
            x=t[order],
            y=values[points, 0].cpu().numpy()[order],
            name=name,
            hovertemplate="%{x:.3f} turns: %{y:.3g}",
            **style,
        )
        for name, values, style in drawn
    )


def known_points(table: NeuronTable, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates that tokens or classes have, and which token or class each is.

    Args:
        table: A table of any batch shape.
        row: Which matrix: 0, 1 or 2 for W_a, W_b, W_out.

    Returns:
        Points of Z_m, and the token (of W_a, W_b) or class (of W_out) that each is; those without a
        coordinate are left out.
    """
    coordinates = table.coordinates
    if row < 2:
        values = (coordinates.a, coordinates.b)[row].numpy()
        points = np.flatnonzero(values != NO_COORDINATE)
        return values[points], points
    where = np.flatnonzero(coordinates.readout.numpy() != NO_COORDINATE)
    return where, coordinates.readout.numpy()[where]


def _line(colour: str, dash: str) -> dict[str, str]:
    return {"mode": "lines", "line_color": colour, "line_dash": dash}
