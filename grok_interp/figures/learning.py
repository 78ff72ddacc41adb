"""Quantities along a run, against the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.config import FrequencyMode, check_choice
from grok_interp.figures.checks import require
from grok_interp.figures.style import (
    HARD_CONTROL,
    IDEAL,
    READOUT,
    TEST,
    TRAIN,
    WEIGHT,
    mark_steps,
    reference,
    styled,
)
from grok_interp.verdict import Sample

IDEAL_DASH = {"joint": "solid", "input": "dashdot", "per_matrix": "dash"}
SIDES = {"train": (TRAIN, "solid"), "test": (TEST, "dash")}
CURVES = {f"{side}_accuracy": (side, *look) for side, look in SIDES.items()}
LAYERS = {"W_in": (WEIGHT, "solid"), "W_out": (READOUT, "dashdot")}


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

    Returns:
        Traces "train" and "test", one such as "idealised, joint" for each mode, and names of the bands.

    Raises:
        ValueError: If a column of the metrics is missing, or a frequency mode is none.
    """
    require(metrics, list(CURVES), "trajectory.metrics")
    for mode in (*idealized, *frozen_input):
        check_choice("mode", mode, FrequencyMode)
    figure = go.Figure()
    for mode, sample in frozen_input.items():
        figure.add_hrect(
            y0=sample.min,
            y1=sample.max,
            fillcolor="rgba(204, 121, 167, 0.3)",
            line=_edge(mode),
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
    for mode in frozen_input:  # named in the legend, where no curve runs through the name
        name = f"frozen_input, {mode} (range)"
        figure.add_scatter(x=[None], y=[None], name=name, mode="lines", line=_edge(mode))
    reference(figure, chance, "chance")
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="accuracy (share of pairs)", range=[-0.02, 1.02])
    return styled(figure, title, 420)


def _edge(mode: str) -> dict[str, Any]:
    """The border of the control's band, dashed as the curve of the same frequency mode."""
    return {"color": HARD_CONTROL, "dash": IDEAL_DASH[mode], "width": 1.5}


def training_summary(
    metrics: pd.DataFrame, milestones: Mapping[str, float | int], chance: float, title: str
) -> go.Figure:
    """Loss, accuracy, weight norms and gradient norms along a run (arXiv 2301.02679, figure 1).

    Args:
        metrics: A trajectory's metrics, indexed by step.
        milestones: Steps to mark, by name, such as ``dynamics.milestones(metrics).steps``.
        chance: Accuracy of guessing.
        title: Title of the figure.

    Returns:
        Four panels, each with two lines: train and test, or W_in and W_out.

    Raises:
        TypeError: If ``milestones`` are not steps by name.
        ValueError: If a column is missing.
    """
    panels = {
        "loss": {side: f"{side}_loss" for side in SIDES},
        "accuracy (share of pairs)": {side: f"{side}_accuracy" for side in SIDES},
        "L2 norm of weights": {layer: f"weight_norm_{layer}" for layer in LAYERS},
        "L2 norm of gradients": {layer: f"gradient_norm_{layer}" for layer in LAYERS},
    }
    if not isinstance(milestones, Mapping):
        raise TypeError(
            f"milestones is a {type(milestones).__name__}, expected steps by name: pass its .steps"
        )
    columns = [column for lines in panels.values() for column in lines.values()]
    require(metrics, columns, "trajectory.metrics")
    figure = make_subplots(
        rows=2, cols=2, shared_xaxes=True, vertical_spacing=0.08, horizontal_spacing=0.18
    )
    for panel, (axis, lines) in enumerate(panels.items()):
        row, col = panel // 2 + 1, panel % 2 + 1
        for name, column in lines.items():
            colour, dash = (SIDES | LAYERS)[name]
            figure.add_scatter(
                x=metrics.index,
                y=metrics[column],
                name=name,
                legendgroup=name,
                showlegend="accuracy" not in axis and "gradients" not in axis,
                mode="lines",
                line={"color": colour, "dash": dash},
                row=row,
                col=col,
            )
        log = {"type": "log"} if axis in ("loss", "L2 norm of gradients") else {}
        figure.update_yaxes(title=axis, row=row, col=col, **log)
    reference(figure, chance, "chance", row=1, col=2)
    mark_steps(figure, milestones, rows=2, cols=2)
    figure.update_xaxes(title="step", row=2)
    return styled(figure, title, 620)


def ipr_through_training(
    frame: pd.DataFrame,
    title: str,
    *,
    analytic: float | None = None,
    boundaries: Sequence[float | int] = (),
) -> go.Figure:
    """Mean IPR of the neurons along a run, accuracy below it (arXiv 2301.02679, figure 5).

    Args:
        frame: ``dynamics.table``: column ``ipr``, and ``train_accuracy`` and ``test_accuracy``, indexed by
            step; with ``ipr_lower`` and ``ipr_upper`` a band between the quartiles over neurons.
        title: Title of the figure.
        analytic: IPR of the analytic solution.
        boundaries: Steps between regimes, such as ``dynamics.regimes(frame["ipr"]).boundaries``.

    Returns:
        A panel of IPR above one of accuracies.

    Raises:
        ValueError: If a column is missing.
    """
    require(frame, ["ipr", *CURVES], "dynamics.table(trajectory)")
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    if {"ipr_lower", "ipr_upper"} <= set(frame):
        invisible = {"mode": "lines", "line": {"width": 0}, "row": 1, "col": 1}
        figure.add_scatter(x=frame.index, y=frame["ipr_lower"], showlegend=False, **invisible)
        figure.add_scatter(
            x=frame.index,
            y=frame["ipr_upper"],
            name="IPR, quartiles of neurons",
            fill="tonexty",
            fillcolor="rgba(34, 34, 34, 0.2)",
            **invisible,
        )
    line = {"color": WEIGHT}
    figure.add_scatter(
        x=frame.index, y=frame["ipr"], name="IPR, mean", mode="lines", line=line, row=1, col=1
    )
    if analytic is not None:
        figure.add_hline(
            y=analytic,
            line={"color": IDEAL, "dash": "dash"},
            annotation_text=f"analytic solution {analytic:.3f}",
            annotation_position="bottom left",
            row=1,
            col=1,
        )
    for column, (name, colour, dash) in CURVES.items():
        line = {"color": colour, "dash": dash}
        figure.add_scatter(
            x=frame.index, y=frame[column], name=name, mode="lines", line=line, row=2, col=1
        )
    mark_steps(figure, {f"regime {n}": x for n, x in enumerate(boundaries, start=2)}, 2, 1)
    figure.update_yaxes(title="IPR of a neuron<br>(1: one frequency)", range=[0, 1.05], row=1)
    figure.update_yaxes(title="accuracy<br>(share of pairs)", range=[-0.02, 1.02], row=2)
    figure.update_xaxes(title="step", row=2)
    return styled(figure, title, 560)
