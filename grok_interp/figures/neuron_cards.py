"""One neuron on a card: its three weight columns as waves, their spectra, and its phases.

A neuron of a network that adds by waves (arXiv 2301.02679, eq. 7; arXiv 2603.23784 for ReLU) has one
frequency in all three spectra, and ``phi_a + phi_b = phi_out`` on the circle. A card shows one neuron,
and one can be found for every claim: see all of them
(:mod:`.all_neurons`, :mod:`grok_interp.figures.phases`).
"""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp import circular, fourier
from grok_interp.figures.checks import one_network
from grok_interp.figures.style import (
    BLANK,
    IDEAL,
    LEGEND_GAP,
    MARGIN,
    READOUT,
    WEIGHT,
    Series,
    styled,
)
from grok_interp.figures.waves import check_neuron, fits_in_words, wave_traces
from grok_interp.neurons import MATRICES, NeuronTable

PHASES = (
    Series(WEIGHT, "solid", "circle"),
    Series(WEIGHT, "dash", "square"),
    Series(READOUT, "dashdot", "diamond"),
    Series(IDEAL, "longdash", "x"),
)
"""Of W_a, W_b and W_out, and what the first two say of the third."""
POLAR_HEIGHT, ROW_HEIGHT, TITLES = 260, 180, 46
"""Pixels of the circle, of a row of panels, and of their titles of three lines."""


def neuron_card(table: NeuronTable, neuron: int, title: str) -> go.Figure:
    """The three columns of one neuron over a period, their spectra, and its phases on a circle.

    A spectrum is each frequency's share of the power of the column about its mean, the one that
    frequencies were read from (:func:`grok_interp.neurons.extract`): 1 at k for a pure cosine, about
    .81 at k and .09 at 3 k for a square wave. A random column has about ``(ln(m/2) + .58) / (m/2)``
    at its strongest frequency, 14% at m = 59.

    Args:
        table: A table of one network.
        neuron: Which neuron, 0..d_mlp-1.
        title: Title of the figure.

    Returns:
        For each matrix the traces "weight", "square wave", "cosine" (over places in turns; see
        :func:`grok_interp.figures.neuron_waves`) and "spectrum"; then "phi_a", "phi_b", "phi_out" and
        "phi_a + phi_b" ("phi_a - phi_b" for subtraction) in degrees. Waves and phases of a constant
        column are empty, and so is the last where the three frequencies differ, since phases of
        different frequencies do not add up.

    Raises:
        ValueError: If the table holds a batch.
        IndexError: If there is no such neuron.
    """
    one_network(table)
    check_neuron(table, neuron)
    figure = make_subplots(
        rows=4,
        cols=2,
        specs=[[{}, {}]] * 3 + [[{"type": "polar", "colspan": 2}, None]],
        row_heights=[ROW_HEIGHT] * 3 + [POLAR_HEIGHT],
        column_widths=[0.62, 0.38],
        horizontal_spacing=0.18,
        vertical_spacing=0.1,
        subplot_titles=_panel_titles(table, neuron),
    )
    for row in range(3):
        for trace in wave_traces(table, row, neuron):
            trace.update(legendgroup=trace.name, showlegend=row == 0)
            figure.add_trace(trace, row=row + 1, col=1)
        share = _spectrum(table, row, neuron)
        figure.add_bar(
            x=np.arange(1, len(share) + 1),
            y=share,
            name="spectrum",
            showlegend=False,
            marker_color=WEIGHT,
            hovertemplate="k = %{x}: %{y:.3f}",
            row=row + 1,
            col=2,
        )
    for name, degrees, style in zip(
        phase_names(table), _phases(table, neuron), PHASES, strict=True
    ):
        figure.add_scatterpolar(
            r=[] if math.isnan(degrees) else [0, 1],
            theta=[] if math.isnan(degrees) else [0, degrees],
            name=name,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash},
            marker={"symbol": style.symbol, "size": [0, 12]},
            hovertemplate="%{theta:.1f} degrees",
            row=4,
            col=1,
        )
    figure.update_xaxes(range=[-0.52, 0.52], col=1)
    figure.update_xaxes(range=[0, table.modulus // 2 + 1], col=2)
    figure.update_xaxes(title="place in the period (turns)", row=3, col=1)
    figure.update_xaxes(title="frequency k", row=3, col=2)
    figure.update_yaxes(title="weight about mean", col=1)
    figure.update_yaxes(title="share of power", range=[0, 1.02], col=2)
    figure.update_polars(
        radialaxis={"range": [0, 1.1], "showticklabels": False, "ticks": ""},
        angularaxis={"dtick": 45, "thetaunit": "degrees", "ticksuffix": "°"},
    )
    figure.update_annotations(font_size=11)
    height = 240 + 3 * ROW_HEIGHT + POLAR_HEIGHT
    return styled(figure, title, height, top=MARGIN["t"] + TITLES - LEGEND_GAP, gap=TITLES)


def phase_names(table: NeuronTable) -> tuple[str, str, str, str]:
    """Names of the three phases and of what the first two say of the third, by the task's sign."""
    return "phi_a", "phi_b", "phi_out", f"phi_a {'-' if table.coordinates.sign < 0 else '+'} phi_b"


def _panel_titles(table: NeuronTable, neuron: int) -> list[str]:
    titles = []
    for row, name in enumerate(MATRICES):
        amplitude = float(table.amplitude[row, neuron])
        share = float(table.power_share[row, neuron])
        titles.append(f"{name}, A={amplitude:.3g}, {fits_in_words(table, row, neuron)}")
        titles.append(f"power share<br>{share:.2f} at k={int(table.frequency[row, neuron])}")
    return [*titles, "phases (degrees)<br>" + BLANK]


def _spectrum(table: NeuronTable, row: int, neuron: int) -> np.ndarray:
    """Shares of the power of a column about its mean; 0 for a constant one, of which rounding is left."""
    column, points = table.columns[row, :, neuron : neuron + 1], table.coordinates.points
    if table.frequency[row, neuron] == 0:
        return np.zeros(table.modulus // 2)
    seen = None if points is None else points[row]
    fit = fourier.sinusoids(table.modulus, seen, dtype=column.dtype, device=column.device)
    power = fit.fit(column).power[:, 0]
    share: np.ndarray = (power / power.sum()).cpu().numpy()
    return share


def _phases(table: NeuronTable, neuron: int) -> list[float]:
    """phi_a, phi_b, phi_out and what the first two say of the third, in degrees in (-180, 180]."""
    phi_a, phi_b, phi_out = table.phase[:, neuron]
    total = circular.wrap(phi_a + table.coordinates.sign * phi_b)
    known = (phi_a, phi_b, phi_out, total if table.agrees[neuron] else total * math.nan)
    return [math.degrees(float(phase)) for phase in known]
