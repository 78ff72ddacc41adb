"""The phase relation over all neurons, ``phi_out = phi_a + phi_b``: point by point, and how far off.

Gromov, arXiv 2301.02679, eq. 7; arXiv 2603.23784 for ReLU. Only neurons whose three frequencies are one
have these phases. What is not evidence: a read-out that was fitted to random input weights has the
relation too, if less closely, so draw the frozen_input control beside the network.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from grok_interp import circular
from grok_interp.figures.checks import one_network
from grok_interp.figures.neuron_cards import phase_names
from grok_interp.figures.style import CHANCE, WEIGHT, series_styles, styled
from grok_interp.neurons import NeuronTable

RESIDUAL_BINS = 60
SIZES = 3, 9
"""Pixels of the marker of a silent neuron, and what the loudest has beyond them."""


def phase_sum(table: NeuronTable, title: str) -> go.Figure:
    """Output phase against the sum of the input phases, a marker a neuron.

    ``x = wrap(phi_a + sign phi_b)`` and ``y = phi_out``, both in (-pi, pi]; ``sign`` is -1 for
    subtraction. Neurons that add lie on the dotted line, or in the corners that it comes to on the
    circle. Louder neurons are larger. Phases without relation fill the square.

    Args:
        table: A table of one network.
        title: Title of the figure.

    Returns:
        The trace "neurons", in ascending order of index and with that as customdata, of the neurons
        that have a phase residual; and the dotted line.

    Raises:
        ValueError: If the table holds a batch.
    """
    one_network(table)
    residual = table.phase_residual.cpu().numpy()
    drawn = np.flatnonzero(~np.isnan(residual))
    phi_a, phi_b, phi_out = table.phase
    total = circular.wrap(phi_a + table.coordinates.sign * phi_b).cpu().numpy()
    amplitude = table.neuron_amplitude.cpu().numpy()[drawn]
    least, more = SIZES
    name = phase_names(table)[-1]
    figure = go.Figure()
    figure.add_scatter(
        x=total[drawn],
        y=phi_out.cpu().numpy()[drawn],
        customdata=drawn.tolist(),
        hovertemplate="neuron %{customdata}: " + name + " = %{x:.2f}, phi_out = %{y:.2f}",
        name="neurons",
        mode="markers",
        marker={
            "color": WEIGHT,
            "size": least + more * amplitude / amplitude.max(initial=1e-30),
            "opacity": 0.6,
        },
    )
    figure.add_scatter(
        x=[-np.pi, np.pi],
        y=[-np.pi, np.pi],
        name=f"phi_out = {name}",
        mode="lines",
        line={"color": CHANCE, "dash": "dot"},
    )
    figure.update_xaxes(title=f"{name} (rad)", range=[-np.pi, np.pi])
    figure.update_yaxes(title="phi_out (rad)", range=[-np.pi, np.pi])
    return styled(figure, title, 520)


def residual_histogram(tables: Mapping[str, NeuronTable], title: str) -> go.Figure:
    """Phase residuals of neurons with one frequency, weighted by amplitude.

    Phases without relation are uniform: the dotted line.

    Args:
        tables: Tables by what they are of: trained, untrained and frozen-input, or one for each
            optimiser; at most as many as there are styles (six).
        title: Title of the figure.

    Returns:
        A line a table: the share of its neurons, by amplitude, in each of 60 bins.

    Raises:
        ValueError: If a table holds a batch, or there are more tables than styles.
    """
    figure = go.Figure()
    edges = np.linspace(-np.pi, np.pi, RESIDUAL_BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    for name, style in series_styles(tables).items():
        table = tables[name]
        one_network(table)
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
