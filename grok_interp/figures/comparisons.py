"""Many runs side by side: by width, by share of data, by noise and decay."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from grok_interp.figures.checks import one_row_each, require
from grok_interp.figures.style import (
    CENSORED,
    draw_times,
    explain,
    reference,
    series_styles,
    styled,
)


def accuracy_by_width(frame: pd.DataFrame, title: str, chance: float) -> go.Figure:
    """Accuracy against the number of neurons: mean and range over seeds (arXiv 2301.02679, figure 4).

    Args:
        frame: A row a run: ``width``, ``series`` (what kind of network), ``seed``, ``accuracy``.
        title: Title of the figure.
        chance: Accuracy of guessing.

    Returns:
        A line a series through means, with error bars from the least seed to the greatest.

    Raises:
        ValueError: If a column is missing or there are more series than styles.
    """
    require(frame, ["width", "series", "seed", "accuracy"], "a row for each run")
    figure = go.Figure()
    for name, style in series_styles(list(frame["series"].unique())).items():
        runs = frame[frame["series"] == name].groupby("width")["accuracy"]
        mean = runs.mean()
        figure.add_scatter(
            x=mean.index,
            y=mean,
            error_y={"array": runs.max() - mean, "arrayminus": mean - runs.min()},
            customdata=runs.count(),
            hovertemplate="width %{x}: %{y:.3f}, %{customdata} seeds",
            name=name,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash},
            marker={"symbol": style.symbol, "size": 8},
        )
    reference(figure, chance, "chance")
    figure.update_xaxes(title="number of neurons", type="log")
    figure.update_yaxes(title="accuracy (mean, range over seeds)", range=[-0.02, 1.02])
    return styled(figure, title, 420)


def grokking_time(frame: pd.DataFrame, title: str) -> go.Figure:
    """Steps until the test accuracy stays at 99%, by share of data (arXiv 2301.02679, figure 4).

    Lines go through means over seeds. Runs that did not get there count with their last step, so
    a mean that holds some is a lower bound: it is an open triangle pointing up, as are these runs.

    Args:
        frame: A row a run: ``train_fraction``, ``series``, ``seed``, ``step`` and ``censored``, as
            ``dynamics.milestones(run.metrics).grokked`` gives them.
        title: Title of the figure.

    Returns:
        A line a series through means, and a marker for each run.

    Raises:
        ValueError: If a column is missing or there are more series than styles.
    """
    columns = ["train_fraction", "series", "seed", "step", "censored"]
    require(frame, columns, "a row for each run")
    figure = go.Figure()
    for name, style in series_styles(list(frame["series"].unique())).items():
        runs = frame[frame["series"] == name]
        draw_times(figure, runs, name, style, x="train_fraction", step="step", censored="censored")
    if frame["censored"].any():
        explain(figure, CENSORED, "not by the last step (lower bound)")
    figure.update_xaxes(title="share of pairs trained on")
    figure.update_yaxes(title="steps to 99% test accuracy (mean over seeds)", type="log")
    return styled(figure, title, 420)


def phase_diagram(
    frame: pd.DataFrame, title: str, *, x: str = "weight_decay", y: str = "label_noise"
) -> go.Figure:
    """Final accuracies and phases by two settings (arXiv 2310.13061); colour: test accuracy.

    Args:
        frame: A row a cell: the two settings, ``train_accuracy``, ``test_accuracy``, ``phase``.
        title: Title of the figure.
        x: Column of the setting on the horizontal axis.
        y: Column of the setting on the vertical axis.

    Returns:
        One heat map, with the phase and both accuracies written into its cells.

    Raises:
        ValueError: If a column is missing or a cell has several rows.
    """
    require(frame, [x, y, "train_accuracy", "test_accuracy", "phase"], "a row for each cell")
    one_row_each(frame, [x, y], "pass one seed, or average accuracies and name the phases anew")
    text = [
        f"{row.phase}<br>train {row.train_accuracy:.2f}<br>test {row.test_accuracy:.2f}"
        for row in frame.itertuples()
    ]
    wide = frame.assign(text=text).pivot(index=y, columns=x)  # noqa: PD010
    figure = go.Figure()
    figure.add_heatmap(
        x=[f"{value:g}" for value in wide["test_accuracy"].columns],
        y=[f"{value:g}" for value in wide["test_accuracy"].index],
        z=wide["test_accuracy"].to_numpy(),
        text=wide["text"].fillna("").to_numpy(),
        texttemplate="%{text}",
        colorscale="Cividis",
        zmin=0,
        zmax=1,
        colorbar={"title": "test accuracy"},
    )
    figure.update_xaxes(title=x.replace("_", " "), type="category")
    figure.update_yaxes(title=y.replace("_", " "), type="category")
    return styled(figure, title, 200 + 90 * len(wide))
