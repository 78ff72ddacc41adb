"""What lies at each frequency: neurons of a network, and the power of its logits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from torch import Tensor

from grok_interp.figures.checks import one_network
from grok_interp.figures.style import series_styles, styled
from grok_interp.neurons import NeuronTable


def frequency_census(tables: Mapping[str, NeuronTable], title: str) -> go.Figure:
    """Number of neurons whose three frequencies agree on k, for each k in 1..m//2.

    Pass tables that were read with ``frequency="per_matrix"``: in joint mode all neurons agree, by
    construction. An untrained network has hardly any then, about ``d_mlp / (m//2)**2`` in all, and
    these at any k.

    Args:
        tables: Tables of one network each, by what they are of; at most as many as there are styles
            (six).
        title: Title of the figure.

    Returns:
        A trace a table, of that name: bars for one table, else lines with markers.

    Raises:
        ValueError: If there is no table, one holds a batch, or there are more tables than styles.
    """
    counts = {}
    for name, table in tables.items():
        one_network(table)
        taken = table.frequency[0][table.agrees].cpu().numpy()
        counts[name] = np.bincount(taken, minlength=table.modulus // 2 + 1)[1:]
    figure = _by_frequency(counts, "k = %{x}: %{y} neurons")
    figure.update_yaxes(title="neurons (three frequencies agree)", rangemode="tozero")
    return styled(figure, title, 380)


def logit_frequencies(shares: Mapping[str, Tensor | pd.Series], title: str) -> go.Figure:
    """Share of the variance of the logits that ``cos(2 pi k (a + b - c) / m)`` explains, for each k.

    Draw the network beside its ideal weights and its controls: "own", "idealised", "untrained" and
    "frozen_input" keep their looks. Random logits have about ``1 / m**3`` at each k, but a table of half
    the labels, without any network, has .50 in all (:mod:`grok_interp.mechanism`).

    Args:
        shares: Shares at k = 1, 2, ..., m//2 by the name of a network, such as
            ``measures.logit_shares(model, task)``; at most as many networks as there are styles (six).
        title: Title of the figure.

    Returns:
        A trace a network, of that name: bars for one network, else lines with markers.

    Raises:
        ValueError: If there is no network, its shares have a batch axis, or there are more networks
            than styles.
    """
    values = {}
    for name, share in shares.items():
        values[name] = (
            share.detach().cpu().numpy() if isinstance(share, Tensor) else share.to_numpy()
        )
        if values[name].ndim != 1:
            raise ValueError(
                f"the shares of {name!r} have the shape {values[name].shape}, expected one number for "
                "each k: index the batch, as in measures.logit_shares(weights, task)[-1]"
            )
    figure = _by_frequency(values, "k = %{x}: %{y:.4f}")
    figure.update_yaxes(title="share of the logits' variance", rangemode="tozero")
    return styled(figure, title, 380)


def _by_frequency(values: Mapping[str, np.ndarray], hover: str) -> go.Figure:
    """Values at k = 1, 2, ...: bars of one series, lines with markers of several."""
    if not values:
        raise ValueError(
            "there is nothing to draw, expected at least one series: pass some by name"
        )
    figure = go.Figure()
    for name, style in series_styles(values).items():
        data = {"x": np.arange(1, len(values[name]) + 1), "y": values[name], "name": name}
        if len(values) == 1:
            figure.add_bar(**data, marker_color=style.colour, hovertemplate=hover, showlegend=True)
        else:
            figure.add_scatter(
                **data,
                hovertemplate=hover,
                mode="lines+markers",
                line={"color": style.colour, "dash": style.dash, "width": 1.5},
                marker={"symbol": style.symbol, "size": 6},
            )
    figure.update_xaxes(title="frequency k")
    return figure
