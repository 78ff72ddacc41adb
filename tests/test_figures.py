"""What is drawn is the data: y-values, ranges and places in the period."""

import numpy as np
import pandas as pd
import pytest
import torch

from grok_interp import figures, neurons, report, tasks
from grok_interp.config import Recipe
from grok_interp.verdict import Sample, Verdict
from grok_interp.weights import MLPWeights

P, D = 11, 3


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


@pytest.fixture
def table() -> neurons.NeuronTable:
    n, k = np.arange(P)[:, None], np.array([1, 3, 5])
    phase = np.array([0.3, -1.0, 2.0])
    square = np.where(np.cos(2 * np.pi * k * n / P + phase) >= 0, 1.0, -1.0)
    column = torch.tensor(square * [1.0, 2.0, 3.0] + 0.25)
    return neurons.extract(MLPWeights(torch.stack([column, column]), column.T.contiguous()))


def test_learning_curves_draw_the_metrics() -> None:
    metrics = pd.DataFrame(
        {"train_accuracy": [0.1, 0.9], "test_accuracy": [0.0, 0.2]}, index=[0, 50]
    )
    ideal = {"joint": pd.Series([0.01, 0.8], index=[0, 50])}
    band = torch.tensor([0.4, 0.5, 0.9])
    frozen = {"joint": Sample(band, band, band)}
    figure = figures.learning_curves(metrics, ideal, frozen, 1 / P, "t")
    assert list(traces(figure, "train")[0].y) == [0.1, 0.9]
    assert list(traces(figure, "test")[0].y) == [0.0, 0.2]
    assert list(traces(figure, "idealised, joint")[0].y) == [0.01, 0.8]
    assert list(traces(figure, "idealised, joint")[0].x) == [0, 50]
    assert [figure.layout.shapes[0].y0, figure.layout.shapes[0].y1] == pytest.approx([0.4, 0.9])
    assert figure.layout.shapes[1].y0 == 1 / P


def test_weights_stand_at_their_place_in_the_period(table: neurons.NeuronTable) -> None:
    figure = figures.neuron_waves(table, [2, 0], "t")
    weights, squares = traces(figure, "weight"), traces(figure, "square wave")
    assert len(weights) == len(squares) == 6
    for trace in weights:
        t, y = np.array(trace.x), np.array(trace.y)
        assert (np.diff(t) >= 0).all()
        # Far from its edges a square wave is high in the middle of the period, whatever k and phi.
        assert (y[np.abs(t) < 0.25 - 0.5 / P] > 0).all()
        assert (y[np.abs(t) > 0.25 + 0.5 / P] < 0).all()
    for drawn, column in zip(weights[:2], table.columns[:1, :, [2, 0]].squeeze(0).T, strict=True):
        np.testing.assert_allclose(np.sort(drawn.y), np.sort(column.numpy()))


def test_points_without_a_coordinate_are_not_drawn() -> None:
    task = tasks.ModularTask(P, "multiply")
    generator = torch.Generator().manual_seed(0)
    weights = MLPWeights(
        torch.randn(2, P, D, generator=generator), torch.randn(D, P, generator=generator)
    )
    figure = figures.neuron_waves(neurons.extract(weights, task), [0], "t")
    assert [len(trace.x) for trace in traces(figure, "weight")] == [P - 1] * 3


def test_residuals_are_weighted_by_amplitude(table: neurons.NeuronTable) -> None:
    figure = figures.residual_histogram({"trained": table}, "t")
    heights = np.array(traces(figure, "trained")[0].y)
    assert heights.sum() == pytest.approx(1)
    residual, amplitude = table.phase_residual.numpy(), table.neuron_amplitude.numpy()
    centres = np.array(traces(figure, "trained")[0].x)
    expected = np.zeros_like(heights)
    for angle, weight in zip(residual, amplitude, strict=True):
        expected[np.abs(centres - angle).argmin()] += weight / amplitude.sum()
    np.testing.assert_allclose(heights, expected)


def test_controls_are_drawn_with_their_range() -> None:
    def sample(*values: float) -> Sample:
        accuracy = torch.tensor(values, dtype=torch.float64)
        return Sample(accuracy, accuracy, accuracy)

    verdict = Verdict(
        task=tasks.ModularTask(P),
        recipe=Recipe(),
        own=sample(0.2),
        effect=sample(0.9),
        controls={"untrained": sample(0.1, 0.2), "frozen_input": sample(0.5, 0.7, 0.9)},
        structure={},
    )
    figure = figures.effect_beside_controls({"joint": verdict, "per_matrix": verdict}, "t")
    drawn = {trace.y[0]: trace for trace in figure.data[:4]}
    assert list(drawn) == ["own", "idealised", "untrained", "frozen_input"]
    frozen = drawn["frozen_input"]
    assert frozen.x[0] == pytest.approx(0.7)
    assert frozen.error_x.array[0] == pytest.approx(0.2)
    assert frozen.error_x.arrayminus[0] == pytest.approx(0.2)


def test_report_escapes_text_and_carries_plotly_once(table: neurons.NeuronTable) -> None:
    figure = figures.residual_histogram({"trained": table}, "t")
    section = report.Section("<b>run</b>", "a < b & c", ["1 < 2"], [figure, figure])
    page = report.to_html("<script>alert(1)</script>", "hello", [section], "made <by>")
    assert "<script>alert(1)" not in page
    assert "&lt;b&gt;run&lt;/b&gt;" in page
    assert "a &lt; b &amp; c" in page
    assert page.count("Plotly.newPlot(") == 2
    assert 4_000_000 < len(page) < 6_000_000
