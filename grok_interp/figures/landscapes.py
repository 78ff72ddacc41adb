"""Losses against alpha = w / w0, and what lies along them (Omnigrok, arXiv 2210.01117).

w0 is the L2 norm of a network's initial weights; training is held at alpha times it. The train loss
against alpha is then an "L", the test loss a "U". Points are means over seeds and error bars go from
the least seed to the greatest. At one learning rate a larger alpha takes smaller angular steps, which
alone could raise the U's right arm, so runs with a rate proportional to alpha stand beside the others.

A loss of 0 has no place on a log axis. It is an open triangle pointing down, a tenth of the smallest
positive mean high, and its hover text says 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from grok_interp.config import Which, check_choice
from grok_interp.figures.checks import one_row_each, one_value, require
from grok_interp.figures.learning import IDEAL_DASH
from grok_interp.figures.style import (
    FLOORED,
    HARD_CONTROL,
    IDEAL,
    TEST,
    TRAIN,
    WEIGHT,
    Series,
    explain,
    log_floor,
    mark_steps,
    reference,
    styled,
)

SIDES = {"train": Series(TRAIN, "solid", "circle"), "test": Series(TEST, "dash", "diamond")}
RULES = {"fixed": "lr fixed", "proportional": "lr proportional to alpha"}
ALPHA = "alpha = w / w0"
ZERO = "0, below the log axis"
LATENT_SYMBOLS = {"per_matrix": "square", "joint": "cross"}
RUN = ["alpha", "seed", "size", "lr_rule"]
"""Columns that tell runs apart."""


def lu_curves(
    frame: pd.DataFrame,
    title: str,
    *,
    which: Which = "last",
    marks: Mapping[str, float | int] | None = None,
) -> go.Figure:
    """The "L" of the train loss and the "U" of the test loss (arXiv 2210.01117), above accuracy.

    A column of panels for each rule of the learning rate. Without accuracies, as in regression, the
    losses stand alone.

    Args:
        frame: A row for each trained network: ``alpha``, ``seed``, ``size``, ``lr_rule`` ("fixed" or
            "proportional"), ``train_loss``, ``test_loss``, ``train_accuracy`` and ``test_accuracy``; the
            last four as ``best_train_loss`` and so on where ``which`` is "best".
        title: Title of the figure.
        which: Draw values at the last step or the best along the run.
        marks: Alphas to mark by a thin line, by name, such as the edges of the zone that generalises.

    Returns:
        Traces "train" and "test" in each panel: losses above accuracies, a column for each rule.

    Raises:
        ValueError: If a column is missing, there are several sizes or an unknown rule, a network has
            several rows, no loss is positive, or ``which`` is neither of the two.
    """
    columns = value_columns(which)
    require(frame, [*RUN, *columns.values()], "a row for each trained network")
    one_value(frame, "size", "choose one, or draw them all with data_size_map")
    one_row_each(frame, RUN, "select one network for each alpha, seed and lr_rule")
    present = frame["lr_rule"].unique()
    if not set(present) <= set(RULES):
        raise ValueError(
            f"lr_rule is {list(present)}, expected some of {list(RULES)}: name the rules so"
        )
    rules = [rule for rule in RULES if rule in present]
    known = frame[[columns["train", "accuracy"], columns["test", "accuracy"]]].notna()
    kinds = ["loss", "accuracy"] if known.any(axis=None) else ["loss"]
    losses = [columns[side, "loss"] for side in SIDES]
    floor = log_floor(_finite(frame, losses).groupby([frame["lr_rule"], frame["alpha"]]).mean())
    figure = make_subplots(
        rows=len(kinds),
        cols=len(rules),
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.06,
        horizontal_spacing=0.04,
        column_titles=[RULES[rule] for rule in rules],
    )
    figure.update_annotations(font_size=12)  # two titles side by side in 400 pixels
    for col, rule in enumerate(rules, start=1):
        for row, kind in enumerate(kinds, start=1):
            for side, style in SIDES.items():
                _over_seeds(
                    figure,
                    frame[frame["lr_rule"] == rule],
                    columns[side, kind],
                    side,
                    style,
                    (row, col),
                    floor=floor if kind == "loss" else None,
                    showlegend=row == col == 1,
                )
    best = "best " if which == "best" else ""
    for row, kind in enumerate(kinds, start=1):
        axis = {"type": "log"} if kind == "loss" else {"range": [-0.02, 1.02]}
        figure.update_yaxes(row=row, **axis)
        figure.update_yaxes(title=f"{best}{kind} (range over seeds)", row=row, col=1)
    _against_alpha(figure, len(kinds), len(rules), marks or {})
    return styled(figure, title, 160 + 220 * len(kinds))


def latent_on_the_u(reduced: pd.DataFrame, latent: pd.DataFrame, title: str) -> go.Figure:
    """The U of the test loss above idealised accuracy and phase residual, by alpha.

    Idealised accuracies are green; what they are above the mean of the frozen_input control has the
    colour of that control, the same dash, and the same symbol left open. Only the excess is evidence of
    structure that training made. Each run counts with its last checkpoint.

    Args:
        reduced: A row for each trained network, as for :func:`lu_curves`.
        latent: A row for each checkpoint of runs on modular addition: ``alpha``, ``seed``, ``size``,
            ``lr_rule``, ``step``, ``test_accuracy``, ``idealised_per_matrix``, ``idealised_joint``,
            ``excess_per_matrix``, ``excess_joint``, and ``phase_residual`` (median of absolute values,
            in radians).
        title: Title of the figure.

    Returns:
        Three panels, one below the other: losses; accuracies and their excess; the phase residual.

    Raises:
        ValueError: If a column is missing, the frames are not both of one and the same size and rule
            of the learning rate, a row is repeated, or no loss is positive.
    """
    kinds = {"idealised": (IDEAL, ""), "excess": (HARD_CONTROL, "-open")}
    lines = {
        f"{kind}_{mode}": (f"{kind}, {mode}", Series(colour, IDEAL_DASH[mode], symbol + filling))
        for kind, (colour, filling) in kinds.items()
        for mode, symbol in LATENT_SYMBOLS.items()
    }
    losses = [f"{side}_loss" for side in SIDES]
    require(reduced, [*RUN, *losses], "a row for each trained network")
    measures = ["test_accuracy", *lines, "phase_residual"]
    require(latent, [*RUN, "step", *measures], "a row for each checkpoint")
    for column in ("size", "lr_rule"):
        advice = f"select one {column}, the same in both frames"
        one_value(pd.concat([reduced[[column]], latent[[column]]]), column, advice)
    one_row_each(reduced, RUN, "select one network for each alpha and seed")
    one_row_each(latent, [*RUN, "step"], "select one run for each alpha and seed")
    last = latent.sort_values("step").drop_duplicates(["alpha", "seed"], keep="last")
    floor = log_floor(_finite(reduced, losses).groupby(reduced["alpha"]).mean())
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.05)
    for (side, style), column in zip(SIDES.items(), losses, strict=True):
        _over_seeds(figure, reduced, column, side, style, (1, 1), floor=floor)
    own = {"test_accuracy": ("test", SIDES["test"])}
    for column, (name, style) in (own | lines).items():
        _over_seeds(figure, last, column, name, style, (2, 1), showlegend=name != "test")
    residual = Series(WEIGHT, "solid", "circle")
    name = "phase residual"
    _over_seeds(figure, last, "phase_residual", name, residual, (3, 1), showlegend=False)
    reference(figure, np.pi / 2, "no relation", row=3, col=1)
    lowest = min(0.0, float(last[list(lines)].min().min()))
    highest = max(np.pi / 2, float(last["phase_residual"].max()))
    figure.update_yaxes(title="loss (range over seeds)", type="log", row=1)
    figure.update_yaxes(title="accuracy, and excess", range=[lowest - 0.02, 1.02], row=2)
    # Room above the reference for the text on it.
    figure.update_yaxes(title="|phase residual| (rad)", range=[0, 1.2 * highest], row=3)
    _against_alpha(figure, 3, 1, {})
    return styled(figure, title, 870)


def value_columns(which: str) -> dict[tuple[str, str], str]:
    """The column of each side's loss and accuracy, by (side, kind).

    Args:
        which: "last" or "best".

    Returns:
        Names of columns by side ("train", "test") and kind ("loss", "accuracy").

    Raises:
        ValueError: If ``which`` is neither "last" nor "best".
    """
    check_choice("which", which, Which)
    prefix = "best_" if which == "best" else ""
    return {
        (side, kind): f"{prefix}{side}_{kind}" for side in SIDES for kind in ("loss", "accuracy")
    }


def _finite(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Columns with NaN for what is infinite, so that a run that diverged leaves the mean alone."""
    return frame[columns].replace([np.inf, -np.inf], np.nan)


def _over_seeds(
    figure: go.Figure,
    runs: pd.DataFrame,
    column: str,
    name: str,
    style: Series,
    panel: tuple[int, int],
    *,
    floor: float | None = None,
    showlegend: bool = True,
) -> None:
    """Mean and range over seeds by alpha; with a floor, on a log axis, where 0 stands at it."""
    by_alpha = _finite(runs, [column])[column].groupby(runs["alpha"])
    mean, low, high = by_alpha.mean(), by_alpha.min(), by_alpha.max()
    zero = (mean <= 0) & (floor is not None)
    shown = mean.mask(zero, floor)
    low = low.mask((low <= 0) & (floor is not None), floor)
    finite, seeds = by_alpha.count(), by_alpha.size()
    figure.add_scatter(
        x=mean.index,
        y=shown,
        error_y={
            "array": (high - shown).clip(lower=0),
            "arrayminus": shown - low,
            "thickness": 1,
        },
        customdata=[
            (ZERO if none else f"{value:.3g}")
            + (f", {n} seeds" if n == all_n else f", {n} of {all_n} seeds, others not finite")
            for value, none, n, all_n in zip(mean, zero, finite, seeds, strict=True)
        ],
        hovertemplate="alpha %{x:.3g}: %{customdata}",
        name=name,
        legendgroup=name,
        showlegend=showlegend,
        mode="lines+markers",
        line={"color": style.colour, "dash": style.dash},
        marker={"symbol": [FLOORED if none else style.symbol for none in zero], "size": 7},
        row=panel[0],
        col=panel[1],
    )


def _against_alpha(
    figure: go.Figure, rows: int, cols: int, marks: Mapping[str, float | int]
) -> None:
    """Log axes of alpha, marks on them, and the sign for a loss of 0 if there is any."""
    figure.update_xaxes(type="log")
    figure.update_xaxes(title=ALPHA, row=rows)
    mark_steps(figure, marks, rows, cols, log=True)
    if any(FLOORED in trace.marker.symbol for trace in figure.data):
        explain(figure, FLOORED, ZERO)
