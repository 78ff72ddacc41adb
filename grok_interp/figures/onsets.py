"""When the latent algorithm appears against when the network generalises, run by run.

arXiv 2603.23784 finds the algorithm in weights of networks that do not generalise. What is not evidence:
an onset of the idealised accuracy itself, which random input weights with a fitted read-out reach too.
Take the onset of its excess over that control, ``dynamics.table(run)["excess_per_matrix"]``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from grok_interp.figures.checks import require
from grok_interp.figures.style import CENSORED, CHANCE, explain, series_styles, styled

COLUMNS = ["seed", "series", "onset", "onset_censored", "grokked", "grokked_censored"]
NOT_BY_THE_END = {
    (False, True): (CENSORED, "no grokking by the last step"),
    (True, False): ("triangle-right-open", "no onset by the last step"),
    (True, True): ("triangle-ne-open", "neither by the last step"),
}
"""Symbols of bounds, by whether onset and grokking are censored: they point to where the point may be."""
BEYOND = 1.3
"""Factor by which the axes reach beyond the outermost points, room for their markers."""


def onset_against_grokking(frame: pd.DataFrame, title: str, *, log_steps: bool = True) -> go.Figure:
    """Step of grokking against the step of the onset of latent structure, a marker a run.

    Above the dotted line the latent algorithm came first. What had not happened by a run's last step is
    drawn at that step, as an open triangle that points to where the run may belong: up for grokking,
    right for the onset, up and right for both. Steps are known to the spacing of checkpoints, and that of
    the two may differ.

    Args:
        frame: A row a run: ``seed``, ``series`` (what kind of run, such as its weight decay), ``onset``
            and ``onset_censored`` as ``dynamics.onset(table["excess_per_matrix"], 0.1)`` gives them,
            ``grokked`` and ``grokked_censored`` as ``dynamics.milestones(run.metrics).grokked`` does.
        title: Title of the figure.
        log_steps: Whether both axes are logarithmic.

    Returns:
        A trace a series with its runs, the line, and what open triangles mean where there are any.

    Raises:
        ValueError: If a column is missing, there are more series than styles, or a step is not positive
            on log axes.
    """
    require(frame, COLUMNS, "a row for each run")
    steps = frame[["onset", "grokked"]].to_numpy(float)
    if log_steps and not (steps > 0).all():
        raise ValueError(
            f"a step is {steps[~(steps > 0)][0]:g}, expected positive steps, which have a place on log "
            "axes: pass log_steps=False, or leave these runs out"
        )
    figure = go.Figure()
    names = frame["series"].map(str)
    found = set()
    for name, style in series_styles(list(names.unique())).items():
        # The legend shows the first run's symbol, so one that has its own comes first.
        runs = frame[names == name].sort_values(
            ["onset_censored", "grokked_censored"], kind="stable"
        )
        censored = list(zip(runs["onset_censored"], runs["grokked_censored"], strict=True))
        found |= {(bool(early), bool(late)) for early, late in censored}
        figure.add_scatter(
            x=runs["onset"],
            y=runs["grokked"],
            customdata=runs["seed"],
            hovertemplate="seed %{customdata}: onset %{x}, grokked %{y}",
            name=name,
            mode="markers",
            marker={
                "color": style.colour,
                "size": 9,
                "symbol": [
                    NOT_BY_THE_END[bool(early), bool(late)][0] if early or late else style.symbol
                    for early, late in censored
                ],
            },
        )
    ends = [steps.min() / BEYOND if log_steps else 0, steps.max() * BEYOND]
    figure.add_scatter(
        x=ends,
        y=ends,
        name="at the same step",
        mode="lines",
        line={"color": CHANCE, "dash": "dot"},
    )
    for bound, (symbol, text) in NOT_BY_THE_END.items():
        if bound in found:
            explain(figure, symbol, text)
    limits = np.log10(ends).tolist() if log_steps else ends
    axes = {"type": "log" if log_steps else "linear", "range": limits}
    figure.update_xaxes(title="onset of the latent algorithm (step)", **axes)
    figure.update_yaxes(title="grokking (step)", **axes)
    return styled(figure, title, 480)
