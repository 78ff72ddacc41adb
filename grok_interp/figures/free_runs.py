"""Runs through time, and when they generalise (Omnigrok, arXiv 2210.01117).

Where the norm is free, decay shrinks it as w(t) = w0 exp(-lr weight_decay t). A run from a large norm
comes to w_c, where networks generalise, after t = ln(w0 / w_c) / (lr weight_decay) steps. It has fitted
its training set long before, at a time that does not depend on decay.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.figures.checks import one_row_each, one_value, require
from grok_interp.figures.landscapes import RUN, SIDES, ZERO
from grok_interp.figures.style import (
    CENSORED,
    FLOORED,
    WEIGHT,
    draw_times,
    explain,
    log_floor,
    series_styles,
    styled,
)
from grok_interp.milestones import pressures

DASHES = ("solid", "dash", "dashdot")
"""By alpha; dots are left to lines of reference."""
WIDTHS = {"train": 1.5, "test": 3, "weight": 2}
"""Pixels: the palette's blue and vermilion are much the same grey."""


def generalisation_times(
    times: pd.DataFrame, title: str, *, law: tuple[float | int, float | int] | None = None
) -> go.Figure:
    """Steps to generalise against 1 / (lr weight_decay), with steps to fit the training set.

    Lines go through means over seeds. Runs that did not get there count with their last step, so
    a mean that holds some is a lower bound: it is an open triangle pointing up, as are these runs.

    Args:
        times: A row a run: ``alpha``, ``seed``, ``size``, ``lr``, ``weight_decay``, ``t_train``,
            ``train_censored``, ``t_generalise`` and ``generalise_censored``.
        title: Title of the figure.
        law: Coefficient and exponent of a law t = coefficient x**exponent to draw over the series.

    Returns:
        A line an alpha through mean steps to generalise, a thin one through those to fit, a marker for
        each run, and the law.

    Raises:
        ValueError: If a column is missing, there are several sizes, a run is repeated, a run has no
            decay or a time that is not positive, or there are more alphas than styles.
    """
    settings = ["alpha", "seed", "size", "lr", "weight_decay"]
    events = {"t_train": "train_censored", "t_generalise": "generalise_censored"}
    require(times, [*settings, *events, *events.values()], "a row for each run")
    one_value(times, "size", "choose one")
    one_row_each(times, settings, "select one run for each setting and seed")
    for column in ("lr", "weight_decay", *events):
        wrong = times.loc[~(times[column] > 0), column]
        if len(wrong):
            raise ValueError(
                f"{column} is {wrong.iloc[0]} in {len(wrong)} of {len(times)} rows, expected positive "
                f"numbers, which have a place on log axes: leave the others out, times[times.{column} > 0]"
            )
    times = times.assign(place=1 / pressures(times))
    figure = go.Figure()
    alphas = sorted(times["alpha"].unique())
    styles = series_styles([f"alpha {alpha:g}" for alpha in alphas])
    for alpha, (name, style) in zip(alphas, styles.items(), strict=True):
        runs = times[times["alpha"] == alpha]
        for step, censored in events.items():
            light = step == "t_train"
            draw_times(
                figure, runs, name, style, x="place", step=step, censored=censored, light=light
            )
    explain(figure, "circle-open", "training set fitted (thin, open)", opacity=0.5)
    if times[list(events.values())].any(axis=None):
        explain(figure, CENSORED, "not by the last step (lower bound)")
    if law is not None:
        coefficient, exponent = law
        # A little beyond the points, and a line even where there is one decay.
        ends = np.array([times["place"].min() / 1.5, times["place"].max() * 1.5])
        figure.add_scatter(
            x=ends,
            y=coefficient * ends**exponent,
            name=f"t = {coefficient:.3g} x<sup>{exponent:.3g}</sup>",
            mode="lines",
            line={"color": WEIGHT, "dash": "dash"},
        )
    figure.update_xaxes(title="x = 1 / (learning rate * weight decay) (steps)", type="log")
    figure.update_yaxes(title="steps (mean over seeds)", type="log")
    return styled(figure, title, 510)


def norm_dynamics(curves: pd.DataFrame, title: str, *, log_steps: bool = True) -> go.Figure:
    """Loss, accuracy and weight norm along a run for each of up to three alphas.

    Colours tell train from test, and so do widths (test is the thicker); dashes tell alphas. Without
    accuracies, as in regression, their panel is left out. On a log axis step 0 is drawn at half the
    first positive step, and the axis says so.

    Args:
        curves: A row for each evaluation: ``alpha``, ``seed``, ``size``, ``lr_rule``, ``step``,
            ``train_loss``, ``test_loss``, ``train_accuracy``, ``test_accuracy`` and ``weight_norm``.
        title: Title of the figure.
        log_steps: Whether the axis of steps is logarithmic.

    Returns:
        Panels of loss, accuracy and norm against the step, with traces such as "alpha 1, test".

    Raises:
        ValueError: If a column is missing, there are more than three alphas, an alpha has several runs,
            or an evaluation is repeated.
    """
    panels = {
        "loss": {side: f"{side}_loss" for side in SIDES},
        "accuracy": {side: f"{side}_accuracy" for side in SIDES},
        "L2 norm of weights": {"weight": "weight_norm"},
    }
    columns = [column for lines in panels.values() for column in lines.values()]
    require(curves, [*RUN, "step", *columns], "a row for each evaluation")
    alphas = sorted(curves["alpha"].unique().tolist())
    if len(alphas) > len(DASHES):
        raise ValueError(
            f"{len(alphas)} alphas {alphas} cannot be told apart, expected at most {len(DASHES)}: "
            "select some"
        )
    advice = "select one seed, size and lr_rule for each alpha"
    one_row_each(curves[RUN].drop_duplicates(), ["alpha"], advice)
    one_row_each(curves, [*RUN, "step"], "select one weight decay, and drop repeated evaluations")
    if curves[list(panels["accuracy"].values())].isna().all(axis=None):
        del panels["accuracy"]
    floor = log_floor(curves[list(panels["loss"].values())])
    steps = curves["step"]
    log_steps = log_steps and bool((steps > 0).any())
    start = steps[steps > 0].min() / 2 if log_steps else 0
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.05)
    for alpha, dash in zip(alphas, DASHES, strict=False):
        run = curves[curves["alpha"] == alpha].sort_values("step")
        for row, (axis, lines) in enumerate(panels.items(), start=1):
            for name, column in lines.items():
                zero = (run[column] <= 0) & (axis == "loss")
                figure.add_scatter(
                    x=run["step"].where(run["step"] > 0, start),
                    y=run[column].mask(zero, floor),
                    customdata=[
                        f"step {step}: {ZERO if none else f'{value:.3g}'}"
                        for step, value, none in zip(run["step"], run[column], zero, strict=True)
                    ],
                    hovertemplate="%{customdata}",
                    name=f"alpha {alpha:g}, {name}",
                    legendgroup=f"alpha {alpha:g}, {name}",
                    showlegend=axis == "loss",
                    mode="lines+markers" if zero.any() else "lines",
                    marker={"symbol": FLOORED, "size": [7 if none else 0 for none in zero]},
                    line={
                        "color": SIDES[name].colour if name in SIDES else WEIGHT,
                        "dash": dash,
                        "width": WIDTHS[name],
                    },
                    row=row,
                    col=1,
                )
    if any(trace.mode == "lines+markers" for trace in figure.data):
        explain(figure, FLOORED, ZERO)
    for row, axis in enumerate(panels, start=1):
        figure.update_yaxes(title=axis, row=row, rangemode="tozero")
        if axis == "loss":
            figure.update_yaxes(type="log", row=row)
        elif axis == "accuracy":
            figure.update_yaxes(range=[-0.02, 1.02], row=row)
    if log_steps:
        figure.update_xaxes(type="log")
    moved = f" (log, step 0 drawn at {start:g})" if log_steps and (steps <= 0).any() else ""
    figure.update_xaxes(title=f"step{moved}", row=len(panels))
    return styled(figure, title, 210 + 200 * len(panels))
