"""Functions of all pairs as images, and their power over pairs of frequencies."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from einops import rearrange
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from grok_interp import grid
from grok_interp.figures.style import styled
from grok_interp.fourier import ROUNDING_STEPS

GAP = 0.14
"""Share of the figure between columns, room for a colour bar."""
BAR = {"thickness": 8, "tickfont": {"size": 9}, "xpad": 2}


def preactivation_images(
    functions: Mapping[str, Mapping[str, Float[Tensor, " pairs"]]],
    title: str,
    *,
    captions: Mapping[str, str] | None = None,
) -> go.Figure:
    """Functions of (a, b) as images, each above its power by frequency (arXiv 2301.02679, figure 2).

    Power is :func:`grid.power_spectrum` as a share of the variance, so without the constant: k (a + b)
    is at (k, k), k (a - b) at (k, -k), doubled frequencies of one operand on the axes. Lightness
    rises with the value in both images, each of which has a scale of its own.

    Args:
        functions: For each network, a column, the functions by name, two rows each: a neuron's
            pre-activation and activation and a logit, say (:func:`measures.functions_of_pairs`),
            one value for each pair in the order of coordinates.
        title: Title of the figure.
        captions: A line under each network's name, such as its row of ``measures.leakage_totals``.

    Returns:
        A column of heat maps a network, each function above its power.

    Raises:
        ValueError: If the networks have different functions or none, or values are not a grid.
    """
    names = [list(each) for each in functions.values()]
    if not names or not names[0] or any(each != names[0] for each in names):
        raise ValueError(
            f"the networks have the functions {names}: give each the same ones, at least one"
        )
    captions = {} if captions is None else captions
    columns, rows = list(functions), 2 * len(names[0])
    titles = [
        f"<b>{network}</b><br>{captions.get(network, '')}<br>{names[0][0]}" for network in columns
    ]
    for place, function in enumerate(names[0]):
        titles += ([function] * len(columns) if place else []) + ["power"] * len(columns)
    figure = make_subplots(
        rows=rows,
        cols=len(columns),
        horizontal_spacing=GAP,
        vertical_spacing=0.3 / rows,
        subplot_titles=titles,
    )
    for col, network in enumerate(columns, start=1):
        for place, (name, values) in enumerate(functions[network].items()):
            p = grid.side(len(values))
            image = rearrange(values.detach().cpu().double(), "(a b) -> a b", a=p)
            power = grid.power_spectrum(image.reshape(-1))
            constant = (0, grid.signed_frequencies(p) == 0)
            rounding = (ROUNDING_STEPS * torch.finfo(values.dtype).eps) ** 2 * power[constant]
            power[constant] = 0
            # Of a constant nothing is left but rounding, which is no structure.
            share = power / power.sum() if power.sum() > rounding else 0 * power
            drawn = (
                (image, list(range(p)), list(range(p)), "Cividis", f"{name}, {network}"),
                (
                    share,
                    grid.signed_frequencies(p).tolist(),
                    list(range(p // 2 + 1)),
                    "Greys_r",
                    f"power of {name}, {network}",
                ),
            )
            for step, (z, x, y, scale, label) in enumerate(drawn):
                row = 2 * place + step + 1
                panel = figure.get_subplot(row, col)
                figure.add_heatmap(
                    z=z.float().numpy(),  # enough to look at, in half the file
                    x=x,
                    y=y,
                    name=label,
                    colorscale=scale,
                    colorbar=BAR
                    | {
                        "x": panel.xaxis.domain[1],
                        "y": sum(panel.yaxis.domain) / 2,
                        "len": panel.yaxis.domain[1] - panel.yaxis.domain[0],
                    },
                    row=row,
                    col=col,
                )
                axes = ("frequency of b", "frequency of a") if step else ("b", "a")
                figure.update_xaxes(title=axes[0], title_standoff=2, row=row, col=col)
                if col == 1:  # further on it would stand in the colour bar before it
                    figure.update_yaxes(title=axes[1], title_standoff=2, row=row, col=col)
    figure.update_annotations(font_size=11)
    height = 140 + 260 * rows
    # Titles of the columns have three lines; nothing is in the legend.
    return styled(figure, title, height, top=130).update_layout(margin={"r": 50})
