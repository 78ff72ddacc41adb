"""Effects of interventions beside their controls."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import require
from grok_interp.figures.style import (
    CHANCE,
    CONTROL,
    NAMED,
    WEIGHT,
    Series,
    reference,
    styled,
)
from grok_interp.verdict import Verdict


def effect_beside_controls(verdicts: Mapping[str, Verdict], title: str) -> go.Figure:
    """Idealised accuracy beside every control, mean and range over draws, one panel a mode.

    Args:
        verdicts: Verdicts by frequency mode.
        title: Title of the figure.

    Returns:
        A panel a mode with a marker for each row: the network, its ideal weights, the controls, in the
        looks of :data:`grok_interp.figures.CONTROL_STYLES`.

    Raises:
        ValueError: If there is no verdict.
    """
    if not verdicts:
        raise ValueError("there is no verdict, expected one for each mode: pass {'joint': verdict}")
    figure = make_subplots(
        rows=1, cols=len(verdicts), subplot_titles=list(verdicts), shared_yaxes=True
    )
    for column, verdict in enumerate(verdicts.values(), start=1):
        samples = {"own": verdict.own, "idealised": verdict.effect} | verdict.controls
        for name, sample in samples.items():
            style = NAMED.get(name, Series(CONTROL, "dash", "circle-open"))
            figure.add_scatter(
                x=[sample.mean],
                y=[name],
                mode="markers",
                error_x={
                    "array": [sample.max - sample.mean],
                    "arrayminus": [sample.mean - sample.min],
                    "color": style.colour,
                },
                marker={"color": style.colour, "symbol": style.symbol, "size": 10},
                hovertemplate=f"{name}: %{{x:.3f}} [{sample.min:.3f}, {sample.max:.3f}], "
                f"{sample.draws} draws<extra></extra>",
                showlegend=False,
                row=1,
                col=column,
            )
        figure.add_vline(x=verdict.chance, line={"color": CHANCE, "dash": "dot"}, row=1, col=column)
        figure.update_xaxes(
            title="accuracy,<br>all pairs",
            title_font_size=11,
            range=[-0.03, 1.05],
            row=1,
            col=column,
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_yaxes(title="network", col=1)
    return styled(figure, title, 420)


RANDOM = [f"random_accuracy_{how}" for how in ("mean", "min", "max")]


def ablation_curves(
    curves: pd.DataFrame | Mapping[str, pd.DataFrame],
    d_mlp: int,
    title: str,
    *,
    chance: float | None = None,
) -> go.Figure:
    """Accuracy as neurons are ablated, beside matched random sets, one row a set of pairs.

    The solid line is the order asked for; the dashed one the mean over as many random neurons of
    like norm, in a band from their minimum to their maximum (after arXiv 2310.13061, which has no
    such control).

    Args:
        curves: What ``ablate.curve`` returns; or several by the name of their order, such as "lowest
            IPR first", for a column of panels each.
        d_mlp: Number of neurons in the network, of which shares are taken.
        title: Title of the figure.
        chance: Accuracy of guessing.

    Returns:
        A panel for each set of pairs and order, with the traces "this order", "random, mean" and
        "random, range".

    Raises:
        ValueError: If a column is missing, the curves are of different sets of pairs, or more
            neurons are ablated than there are.
    """
    by_order = {"": curves} if isinstance(curves, pd.DataFrame) else dict(curves)
    for frame in by_order.values():
        require(frame, ["pairs", "n", "accuracy", *RANDOM], "ablate.curve(model, order, pairs)")
    sets = [list(dict.fromkeys(frame["pairs"])) for frame in by_order.values()]
    if not sets or any(each != sets[0] for each in sets):
        raise ValueError(f"the curves are of the pairs {sets}: pass one or more of the same pairs")
    largest = max(int(frame["n"].max()) for frame in by_order.values())
    if largest > d_mlp:
        raise ValueError(
            f"{largest} neurons are ablated of d_mlp={d_mlp}: pass the network's d_mlp"
        )
    figure = make_subplots(
        rows=len(sets[0]),
        cols=len(by_order),
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.25 / (1 + len(sets[0])),
        subplot_titles=[", ".join(filter(None, (s, o))) for s in sets[0] for o in by_order],
    )
    for row, pairs in enumerate(sets[0], start=1):
        for col, frame in enumerate(by_order.values(), start=1):
            points = frame[frame["pairs"] == pairs].sort_values("n")
            x = points["n"] / d_mlp
            where = {"x": x, "row": row, "col": col, "mode": "lines"}
            where["showlegend"] = row == col == 1
            hidden = where | {"line": {"width": 0}, "showlegend": False}
            figure.add_scatter(y=points["random_accuracy_min"], name="random, minimum", **hidden)
            figure.add_scatter(
                y=points["random_accuracy_max"],
                name="random, range",
                legendgroup="random, range",
                fill="tonexty",
                fillcolor="rgba(110, 110, 110, 0.3)",
                **(hidden | {"showlegend": where["showlegend"]}),
            )
            for name, column, line in (
                ("random, mean", RANDOM[0], {"color": CONTROL, "dash": "dash"}),
                ("this order", "accuracy", {"color": WEIGHT, "dash": "solid"}),
            ):
                figure.add_scatter(
                    y=points[column], name=name, legendgroup=name, line=line, **where
                )
            if chance is not None:
                reference(figure, chance, "chance", row=row, col=col)
    figure.update_annotations(font_size=12)  # two titles side by side in 400 pixels
    figure.update_xaxes(title="share of neurons ablated", title_font_size=11, row=len(sets[0]))
    figure.update_xaxes(range=[0, largest / d_mlp])
    figure.update_yaxes(title="accuracy", col=1)
    figure.update_yaxes(range=[-0.02, 1.02])
    return styled(figure, title, 160 + 200 * len(sets[0]))
