"""All neurons of a network at a glance: their weights, sorted by frequency, and their fits to waves."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import one_network
from grok_interp.figures.style import CHANCE, IDEAL, READOUT, WEIGHT, styled
from grok_interp.figures.waves import known_points
from grok_interp.neurons import MATRICES, NeuronTable

CLIP = 2.0
"""Root mean squares at which the colours of weights end."""
BETWEEN_TICKS = 0.035
"""Share of the map's height between two frequencies that are written beside it, at the least."""
SQUARE_TO_COSINE, COSINE_TO_SQUARE = 8 / math.pi**2, 2 - math.pi**2 / 8
"""R2 of a perfect square wave to its cosine, .81, and of a perfect cosine to its square wave, .77: the
level of that wave is pi/4 of the amplitude, so that its fundamental is the cosine."""
LOWEST_R2 = -0.25
"""Where the axis of R2 to the square wave begins: a wave that fits worse than the mean scores below 0,
but no lower than -.24 where it has the column's own amplitude at its frequency."""


def neuron_order(table: NeuronTable) -> list[int]:
    """Neurons by the frequency of W_a, then by its phase; those without a frequency come last.

    Args:
        table: A table of one network.

    Returns:
        The indices of all neurons; equal ones keep their order.

    Raises:
        ValueError: If the table holds a batch.
    """
    one_network(table)
    k, phase = table.frequency[0].cpu().numpy(), table.phase[0].nan_to_num().cpu().numpy()
    order: list[int] = np.lexsort((phase, k, k == 0)).tolist()
    return order


def weight_maps(table: NeuronTable, title: str) -> go.Figure:
    """The weights of all neurons, one row each, sorted by frequency and phase of W_a.

    Each row is the neuron's column of the matrix about its mean, divided by its own root mean square,
    so rows compare; +-1 throughout is a square wave. Points without a coordinate are left out. Sorting
    makes stripes of its own in W_a, in noise too: look whether W_b and W_out follow, and at what an
    untrained network shows.

    Args:
        table: A table of one network.
        title: Title of the figure.

    Returns:
        The heat maps "W_a", "W_b" and "W_out": over points of Z_m in their order (places in that
        order where several tokens share a point), rows as :func:`neuron_order` says.

    Raises:
        ValueError: If the table holds a batch.
    """
    order = neuron_order(table)
    frequency = table.frequency[0].tolist()
    labels = [f"neuron {neuron}, k={frequency[neuron]}" for neuron in order]
    figure = make_subplots(
        rows=1, cols=3, shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=MATRICES
    )
    for row, name in enumerate(MATRICES):
        points, tokens = known_points(table, row)
        along = np.argsort(points, kind="stable")
        values = table.columns[row].cpu().numpy()[tokens[along]][:, order].T
        scale = np.sqrt(np.square(values).mean(1, keepdims=True))
        alive = table.frequency[row].cpu().numpy()[order, None] > 0
        drawn = np.divide(values, scale, out=np.zeros_like(values), where=alive)
        distinct = len(np.unique(points)) == len(points)
        figure.add_heatmap(
            x=points[along] if distinct else np.arange(len(points)),
            y=labels,
            z=drawn.astype(np.float32),  # enough to look at, in half the file
            name=name,
            hovertemplate=f"%{{y}}, {name} at %{{x}}: %{{z:.2f}}<extra></extra>",
            coloraxis="coloraxis",
            row=1,
            col=row + 1,
        )
    ticks = _first_rows([frequency[neuron] for neuron in order])
    figure.update_yaxes(
        type="category",
        autorange="reversed",
        tickvals=list(ticks),
        ticktext=[f"k={k}" if k else "none" for k in ticks.values()],
        tickfont_size=9,
    )
    figure.update_xaxes(title="point of Z_m", title_font_size=11)
    figure.update_yaxes(title="neurons, by frequency", col=1)
    bar = {"title": {"text": "weight / its root mean square", "side": "right"}, "thickness": 12}
    colours = {"colorscale": "Cividis", "cmin": -CLIP, "cmax": CLIP, "colorbar": bar}
    return styled(figure, title, 560, coloraxis=colours)


def wave_fits(table: NeuronTable, title: str) -> go.Figure:
    """R2 of each neuron's weights to its square wave against R2 to its cosine.

    Both waves have the column's own frequency, amplitude and phase. A perfect square wave has .81 to its
    cosine and a perfect cosine .77 to its square wave, so neither number alone tells them apart: what
    lies above the dotted line is closer to a square wave (arXiv 2603.23784). Noise is near the origin.

    Args:
        table: A table of one network.
        title: Title of the figure.

    Returns:
        The traces "W_in" (means over both operands) and "W_out", with the neurons' indices as
        customdata and without neurons of which a column is constant, and what they are compared with.

    Raises:
        ValueError: If the table holds a batch.
    """
    one_network(table)
    square, cosine = table.r2_square.cpu().numpy(), table.r2_cosine.cpu().numpy()
    layers = (
        ("W_in", cosine[:2].mean(0), square[:2].mean(0), WEIGHT, "circle"),
        ("W_out", cosine[2], square[2], READOUT, "diamond"),
    )
    figure = go.Figure()
    for name, x, y, colour, symbol in layers:
        drawn = np.flatnonzero(~np.isnan(x + y))
        figure.add_scatter(
            x=x[drawn],
            y=y[drawn],
            customdata=drawn.tolist(),
            hovertemplate="neuron %{customdata}: R2 cosine %{x:.3f}, square %{y:.3f}",
            name=name,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.6},
        )
    figure.add_scatter(
        x=[0, 1.05],
        y=[0, 1.05],
        name="equally well",
        mode="lines",
        line={"color": CHANCE, "dash": "dot"},
    )
    figure.add_scatter(
        x=[SQUARE_TO_COSINE, 1],
        y=[1, COSINE_TO_SQUARE],
        text=["perfect<br>square wave", "perfect<br>cosine"],
        textposition=["middle left", "bottom center"],
        name="perfect waves",
        mode="markers+text",
        marker={"color": IDEAL, "symbol": "star", "size": 13},
        cliponaxis=False,
    )
    lowest = min([LOWEST_R2, *(trace.y.min() - 0.05 for trace in figure.data[:2] if len(trace.y))])
    figure.update_xaxes(title="R2 to cosine", range=[-0.03, 1.05])
    figure.update_yaxes(title="R2 to square wave", range=[lowest, 1.05])
    return styled(figure, title, 520)


def _first_rows(frequencies: list[int]) -> dict[int, int]:
    """The row at which each frequency begins, without those too close to the one before."""
    found: dict[int, int] = {}
    for row, k in enumerate(frequencies):
        begins = row == 0 or k != frequencies[row - 1]
        if begins and (not found or row - max(found) >= BETWEEN_TICKS * len(frequencies)):
            found[row] = k
    return found
