"""What is drawn is the data: y-values, ranges and places in the period."""

import numpy as np
import pandas as pd
import pytest
import torch

from grok_interp import ablate, figures, neurons, tasks
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
    named = traces(figure, "frozen_input, joint (range)")[0]
    assert named.line.dash == figure.layout.shapes[0].line.dash
    assert named.line.color == figure.layout.shapes[0].line.color
    assert figure.layout.shapes[1].y0 == 1 / P
    with pytest.raises(ValueError, match=r"no column \['test_accuracy'\].*trajectory.metrics"):
        figures.learning_curves(metrics[["train_accuracy"]], ideal, frozen, 1 / P, "t")
    with pytest.raises(ValueError, match=r"mode='both' is unknown"):
        figures.learning_curves(metrics, {"both": ideal["joint"]}, frozen, 1 / P, "t")


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
    # Phases without relation fill all bins alike.
    assert figure.layout.shapes[0].y0 == pytest.approx(1 / len(heights))


def test_controls_are_drawn_with_their_range() -> None:
    def sample(*values: float) -> Sample:
        accuracy = torch.tensor(values, dtype=torch.float64)
        return Sample(accuracy, accuracy, accuracy)

    verdict = Verdict(
        task=tasks.ModularTask(P),
        recipe=Recipe(),
        own=sample(0.2),
        effect=sample(0.9),
        controls={"untrained": sample(0.1, 0.2), "frozen_input": sample(0.4, 0.8, 0.9)},
        structure={},
    )
    figure = figures.effect_beside_controls({"joint": verdict, "per_matrix": verdict}, "t")
    drawn = {trace.y[0]: trace for trace in figure.data[:4]}
    assert list(drawn) == ["own", "idealised", "untrained", "frozen_input"]
    frozen = drawn["frozen_input"]
    assert frozen.x[0] == pytest.approx(0.7)
    assert frozen.error_x.array[0] == pytest.approx(0.2)
    assert frozen.error_x.arrayminus[0] == pytest.approx(0.3)
    assert [shape.x0 for shape in figure.layout.shapes] == [1 / P, 1 / P]  # chance, in each panel
    assert frozen.marker.color == figures.CONTROL_STYLES["frozen_input"].colour
    with pytest.raises(ValueError, match="there is no verdict"):
        figures.effect_beside_controls({}, "t")


RUN = pd.DataFrame(
    {
        "train_loss": [1.0, 0.1],
        "test_loss": [1.0, 2.0],
        "train_accuracy": [0.1, 0.9],
        "test_accuracy": [0.0, 0.2],
        "weight_norm_W_in": [3.0, 4.0],
        "weight_norm_W_out": [5.0, 6.0],
        "gradient_norm_W_in": [0.7, 0.8],
        "gradient_norm_W_out": [0.9, 0.6],
        "ipr": [0.2, 0.6],
        "ipr_lower": [0.1, 0.5],
        "ipr_upper": [0.3, 0.7],
    },
    index=[0, 50],
)


def axis_titles(figure) -> list[tuple[str, str]]:
    """Titles of x and y axis of every panel, in order."""
    found = figure.select_xaxes(), figure.select_yaxes()
    return [(x.title.text, y.title.text) for x, y in zip(*found, strict=True)]


def test_training_summary_draws_each_column_in_its_panel() -> None:
    figure = figures.training_summary(RUN, {"memorised": 20, "grokked": 40}, 1 / P, "t")
    drawn = {(trace.yaxis, trace.name): list(trace.y) for trace in figure.data}
    for axis, kind in (("y", "loss"), ("y2", "accuracy")):
        for side in ("train", "test"):
            assert drawn[axis, side] == RUN[f"{side}_{kind}"].tolist()
    for axis, kind in (("y3", "weight_norm"), ("y4", "gradient_norm")):
        for layer in ("W_in", "W_out"):
            assert drawn[axis, layer] == RUN[f"{kind}_{layer}"].tolist()
    assert len(drawn) == 8
    assert [axis.type for axis in figure.select_yaxes()] == ["log", None, None, "log"]
    assert axis_titles(figure) == [
        (None, "loss"),
        (None, "accuracy (share of pairs)"),
        ("step", "L2 norm of weights"),
        ("step", "L2 norm of gradients"),
    ]
    lines = [shape for shape in figure.layout.shapes if shape.x0 == shape.x1]
    assert sorted(line.x0 for line in lines) == [20] * 4 + [40] * 4
    assert {line.xref for line in lines} == {"x", "x2", "x3", "x4"}
    (chance,) = [shape for shape in figure.layout.shapes if shape.y0 == 1 / P]
    assert chance.yref == "y2"
    names = [note.text for note in figure.layout.annotations]
    assert names.count("memorised") == names.count("grokked") == 2
    # The two lines of a panel differ in dash as well as in colour.
    assert {trace.line.dash for trace in figure.data[:2]} == {"solid", "dash"}
    with pytest.raises(ValueError, match=r"no column \['gradient_norm_W_in'\].*trajectory.metrics"):
        figures.training_summary(RUN.drop(columns="gradient_norm_W_in"), {}, 0.1, "t")


def test_ipr_stands_above_accuracy_with_its_regimes() -> None:
    figure = figures.ipr_through_training(RUN, "t", analytic=0.95, boundaries=[10.0, 30.0])
    drawn = {trace.name: (trace.yaxis, list(trace.y)) for trace in figure.data if trace.name}
    assert drawn["IPR, mean"] == ("y", [0.2, 0.6])
    assert drawn["IPR, quartiles of neurons"] == ("y", [0.3, 0.7])
    assert drawn["test"] == ("y2", [0.0, 0.2])
    upper = [trace for trace in figure.data if trace.fill == "tonexty"]
    before = figure.data[figure.data.index(upper[0]) - 1]
    assert list(before.y) == [0.1, 0.5]  # what the band is filled down to
    heights = {(shape.yref, shape.y0) for shape in figure.layout.shapes if shape.y0 == shape.y1}
    assert heights == {("y", 0.95)}
    across = [(shape.x0, shape.xref) for shape in figure.layout.shapes if shape.x0 == shape.x1]
    assert sorted(across) == [(10.0, "x"), (10.0, "x2"), (30.0, "x"), (30.0, "x2")]
    assert [x for x, _ in axis_titles(figure)] == [None, "step"]
    without = figures.ipr_through_training(RUN.drop(columns=["ipr_lower"]), "t")
    assert len(without.data) == len(figure.data) - 2
    with pytest.raises(ValueError, match=r"no column \['ipr'\].*dynamics.table"):
        figures.ipr_through_training(RUN.drop(columns="ipr"), "t")


def test_images_show_each_function_and_where_its_power_is() -> None:
    n = torch.arange(P, dtype=torch.float64)
    angle = 2 * torch.pi * 2 / P
    total = torch.cos(angle * (n[:, None] + n) + 0.3) + 5
    difference = torch.cos(angle * (n[:, None] - n) + 0.3)
    networks = {
        "trained": {"pre": total.flatten(), "logit": difference.flatten()},
        "analytic": {"pre": difference.flatten(), "logit": total.flatten()},
    }
    figure = figures.preactivation_images(networks, "t", captions={"trained": "sum 0.90"})
    assert len(figure.data) == 8
    assert [trace.name for trace in figure.data[:4]] == [
        "pre, trained",
        "power of pre, trained",
        "logit, trained",
        "power of logit, trained",
    ]
    np.testing.assert_allclose(traces(figure, "pre, trained")[0].z, total)
    for name, place in (("pre, trained", (2, 2)), ("logit, trained", (2, -2))):
        (power,) = traces(figure, f"power of {name}")
        z = np.array(power.z)
        assert z.shape == (P // 2 + 1, P)
        row, column = np.unravel_index(z.argmax(), z.shape)
        assert (power.y[row], power.x[column]) == place
        assert z.max() == pytest.approx(1)  # the share of the variance, the constant left out
        assert z.sum() == pytest.approx(1)
    titles = [note.text for note in figure.layout.annotations]
    assert titles[:4] == [
        "<b>trained</b><br>sum 0.90<br>pre",
        "<b>analytic</b><br><br>pre",
        "power",
        "power",
    ]
    assert titles[4:] == ["logit", "logit", "power", "power"]
    assert axis_titles(figure)[0] == ("b", "a")
    assert axis_titles(figure)[2] == ("frequency of b", "frequency of a")
    constant = {"n": {"f": torch.ones(P * P, dtype=torch.float64)}}
    assert not np.array(figures.preactivation_images(constant, "t").data[1].z).any()
    for bad in ({}, {"n": {}}, {"n": networks["trained"], "m": {"pre": total.flatten()}}):
        with pytest.raises(ValueError, match="give each the same ones, at least one"):
            figures.preactivation_images(bad, "t")


def test_residuals_of_as_many_tables_as_can_be_told_apart(table: neurons.NeuronTable) -> None:
    figure = figures.residual_histogram({str(n): table for n in range(6)}, "t")
    lines = [(trace.line.color, trace.line.dash) for trace in figure.data]
    assert len(lines) == 6
    assert lines[:3] == [
        (figures.IDEAL, "solid"),
        (figures.CONTROL, "dash"),
        (figures.HARD_CONTROL, "dashdot"),
    ]
    assert len({colour for colour, _ in lines}) == len({dash for _, dash in lines}) == 6
    with pytest.raises(ValueError, match=r"7 series .* cannot be told apart, there are 6 styles"):
        figures.residual_histogram({str(n): table for n in range(7)}, "t")


def test_accuracy_by_width_has_the_mean_and_range_over_seeds() -> None:
    rows = [
        (10, "analytic", 0, 0.2),
        (10, "analytic", 1, 0.6),
        (100, "analytic", 0, 1.0),
        (10, "AdamW", 0, 0.5),
    ]
    frame = pd.DataFrame(rows, columns=["width", "series", "seed", "accuracy"])
    figure = figures.accuracy_by_width(frame, "t", 1 / P)
    (analytic,), (adamw,) = traces(figure, "analytic"), traces(figure, "AdamW")
    assert list(analytic.x) == [10, 100]
    assert list(analytic.y) == pytest.approx([0.4, 1.0])
    assert list(analytic.error_y.array) == pytest.approx([0.2, 0])
    assert list(analytic.error_y.arrayminus) == pytest.approx([0.2, 0])
    assert list(analytic.customdata) == [2, 1]
    assert list(adamw.y) == [0.5]
    assert analytic.marker.symbol != adamw.marker.symbol
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.shapes[0].y0 == 1 / P
    with pytest.raises(ValueError, match="no column \\['seed'\\]"):
        figures.accuracy_by_width(frame.drop(columns="seed"), "t", 0.1)


def test_runs_that_never_grok_are_drawn_as_such() -> None:
    rows = [
        (0.3, "AdamW", 0, 500, False),
        (0.3, "AdamW", 1, 1000, True),
        (0.5, "AdamW", 0, 200, False),
        (0.5, "AdamW", 1, 100, False),
    ]
    columns = ["train_fraction", "series", "seed", "step", "censored"]
    frame = pd.DataFrame(rows, columns=columns)
    figure = figures.grokking_time(frame, "t")
    (mean,), (runs,) = traces(figure, "AdamW"), traces(figure, "AdamW, runs")
    assert list(mean.x) == [0.3, 0.5]
    assert list(mean.y) == [750, 150]
    assert list(mean.marker.symbol) == ["triangle-up-open", "circle"]
    assert mean.customdata[0] == "1 of 2 not by their last step"
    assert list(runs.y) == [500, 1000, 200, 100]
    assert list(runs.marker.symbol) == ["circle", "triangle-up-open", "circle", "circle"]
    assert len(traces(figure, "not by the last step (lower bound)")) == 1
    assert len(figures.grokking_time(frame[frame["train_fraction"] > 0.4], "t").data) == 2
    with pytest.raises(ValueError, match="0 rows"):
        figures.grokking_time(frame[:0], "t")


def ablation(accuracy: list[float], pairs: str) -> pd.DataFrame:
    """What ``ablate.curve`` returns of one set of pairs, 0, 4 and 8 neurons ablated."""
    accuracies = np.array(accuracy)
    spread = {"mean": accuracies / 2, "min": accuracies / 4, "max": accuracies * 0.75}
    return pd.DataFrame(
        {"pairs": pairs, "n": [0, 4, 8], "accuracy": accuracies}
        | {f"random_accuracy_{how}": values for how, values in spread.items()}
    )


def test_ablations_stand_beside_random_ones_of_their_own_order() -> None:
    high = pd.concat([ablation([1, 0.4, 0.0], "train"), ablation([0.8, 0.2, 0.0], "test")])
    low = pd.concat([ablation([1, 0.9, 0.1], "train"), ablation([0.8, 0.7, 0.1], "test")])
    orders = {"highest IPR first": high, "lowest IPR first": low}
    figure = figures.ablation_curves(orders, 16, "t", chance=1 / P)
    panels = {"y": (high, "train"), "y2": (low, "train"), "y3": (high, "test"), "y4": (low, "test")}
    for axis, (frame, pairs) in panels.items():
        drawn = {trace.name: trace for trace in figure.data if trace.yaxis == axis}
        points = frame[frame["pairs"] == pairs]
        for name, column in {
            "this order": "accuracy",
            "random, mean": "random_accuracy_mean",
            "random, minimum": "random_accuracy_min",
            "random, range": "random_accuracy_max",
        }.items():
            np.testing.assert_allclose(drawn[name].y, points[column])
            np.testing.assert_allclose(drawn[name].x, [0, 0.25, 0.5])
        assert drawn["random, range"].fill == "tonexty"
        assert drawn["random, mean"].line.dash == "dash"
    titles = [note.text for note in figure.layout.annotations[:4]]
    assert titles == [f"{pairs}, {order}" for pairs in ("train", "test") for order in orders]
    assert [shape.yref for shape in figure.layout.shapes] == ["y", "y2", "y3", "y4"]
    alone = figures.ablation_curves(high, 8, "t")
    assert [note.text for note in alone.layout.annotations] == ["train", "test"]
    assert list(traces(alone, "this order")[0].x) == [0, 0.5, 1]
    with pytest.raises(ValueError, match="8 neurons are ablated of d_mlp=7"):
        figures.ablation_curves(high, 7, "t")
    with pytest.raises(ValueError, match="of the same pairs"):
        figures.ablation_curves({"a": high, "b": ablation([1, 1, 1], "train")}, 8, "t")
    with pytest.raises(ValueError, match="no column \\['random_accuracy_min'\\]"):
        figures.ablation_curves(high.drop(columns="random_accuracy_min"), 8, "t")


def test_ablation_curves_take_what_curve_returns() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = MLPWeights(
        torch.randn(2, P, 8, generator=generator), torch.randn(8, P, generator=generator)
    )
    split = tasks.ModularTask(P).split(0.5, label_noise=0.5, seed=0)
    curve = ablate.curve(weights, range(8), split, draws=2)
    figure = figures.ablation_curves(curve, 8, "t")
    titles = [note.text for note in figure.layout.annotations]
    assert titles == ["train", "test", "corrupted", "uncorrupted"]
    np.testing.assert_allclose(
        traces(figure, "this order")[2].y, curve.loc[curve["pairs"] == "corrupted", "accuracy"]
    )


def test_phases_are_written_into_their_cells() -> None:
    rows = [(0.35, 5, 0.79, 1.0, "partial inversion"), (0.0, 20, 0.01, 0.02, "forgetting")]
    columns = ["label_noise", "weight_decay", "train_accuracy", "test_accuracy", "phase"]
    frame = pd.DataFrame(rows, columns=columns)
    (cells,) = figures.phase_diagram(frame, "t").data
    assert list(cells.x) == ["5", "20"]
    assert list(cells.y) == ["0", "0.35"]
    np.testing.assert_array_equal(cells.z, [[np.nan, 0.02], [1.0, np.nan]])
    assert cells.text[1][0] == "partial inversion<br>train 0.79<br>test 1.00"
    assert cells.text[0][0] == ""
    turned = figures.phase_diagram(frame, "t", x="label_noise", y="weight_decay")
    np.testing.assert_array_equal(turned.data[0].z, np.transpose(cells.z))
    assert turned.layout.xaxis.title.text == "label noise"
    with pytest.raises(ValueError, match=r"of the cell \{'weight_decay': 5.*pass one seed"):
        figures.phase_diagram(pd.concat([frame, frame[:1]]), "t")


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_table_is_refused_with_what_to_pass() -> None:
    with pytest.raises(TypeError, match=r"list.*DataFrame.*a row for each run"):
        figures.accuracy_by_width([{"width": 3}], "t", 0.1)
    with pytest.raises(TypeError, match=r"object.*pass its \.steps"):
        figures.training_summary(pd.DataFrame(), object(), 0.1, "t")
