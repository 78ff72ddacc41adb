"""Landscapes over alpha: what is drawn is the means, ranges and zeros of the frames."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from grok_interp import figures
from grok_interp.figures.style import LEGEND_GAP, SERIES

FLOORED, CENSORED = "triangle-down-open", "triangle-up-open"
ALPHAS = [0.1, 1.0, 10.0]


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def on(figure, axis, name):
    """The one trace of a name in a panel."""
    (trace,) = [trace for trace in traces(figure, name) if trace.yaxis == axis]
    return trace


def titles(figure) -> list[tuple[str, str]]:
    found = figure.select_xaxes(), figure.select_yaxes()
    return [(x.title.text, y.title.text) for x, y in zip(*found, strict=True)]


def across(figure) -> list[tuple[float, str]]:
    """Vertical lines: where, and in the panel of which axis."""
    return sorted((s.x0, s.xref) for s in figure.layout.shapes if s.x0 == s.x1)


def landscape(sizes=(100,), rules=("fixed",), seeds=(0, 1)) -> pd.DataFrame:
    """Values that say which network they are of: seed s adds s, a size adds itself, best halves."""
    rows = []
    for alpha, seed, size, rule in product(ALPHAS, seeds, sizes, rules):
        values = {
            "train_loss": alpha + seed,
            "test_loss": 2 * alpha + 3 * seed + size + (1000 if rule == "proportional" else 0),
            "train_accuracy": 0.9 - 0.2 * seed,
            "test_accuracy": 0.5 / (1 + alpha) + size / 1000,
            "weight_norm": 7 * alpha,
        }
        best = {f"best_{name}": value / 2 for name, value in values.items()}
        cell = {"alpha": alpha, "seed": seed, "size": size, "lr_rule": rule}
        rows.append(cell | values | best)
    return pd.DataFrame(rows)


def test_the_l_and_the_u_are_means_with_ranges_over_seeds() -> None:
    figure = figures.lu_curves(landscape(), "t")
    train, test = on(figure, "y", "train"), on(figure, "y", "test")
    assert list(train.x) == ALPHAS
    np.testing.assert_allclose(train.y, np.array(ALPHAS) + 0.5)
    np.testing.assert_allclose(test.y, 2 * np.array(ALPHAS) + 101.5)
    np.testing.assert_allclose(test.error_y.array, 1.5)
    np.testing.assert_allclose(test.error_y.arrayminus, 1.5)
    assert test.customdata[0] == "102, 2 seeds"
    np.testing.assert_allclose(on(figure, "y2", "train").y, 0.8)
    np.testing.assert_allclose(on(figure, "y2", "train").error_y.array, 0.1)
    assert [train.line.color, test.line.color] == [figures.TRAIN, figures.TEST]
    assert train.line.dash != test.line.dash
    assert train.marker.symbol != test.marker.symbol
    assert {axis.type for axis in figure.select_xaxes()} == {"log"}
    assert [axis.type for axis in figure.select_yaxes()] == ["log", None]
    assert figure.layout.xaxis.matches == "x2"
    assert titles(figure) == [
        (None, "loss (range over seeds)"),
        ("alpha = w / w0", "accuracy (range over seeds)"),
    ]
    best = figures.lu_curves(landscape(), "t", which="best")
    np.testing.assert_allclose(on(best, "y", "test").y, np.array(test.y) / 2)
    assert best.layout.yaxis.title.text == "best loss (range over seeds)"


def test_ranges_are_not_symmetric_where_seeds_are_not() -> None:
    figure = figures.lu_curves(landscape(seeds=(0, 1, 5)), "t")
    train = on(figure, "y", "train")
    np.testing.assert_allclose(train.y, np.array(ALPHAS) + 2)
    np.testing.assert_allclose(train.error_y.array, 3)
    np.testing.assert_allclose(train.error_y.arrayminus, 2)


def test_each_rule_of_the_learning_rate_has_its_column() -> None:
    frame = landscape(rules=("proportional", "fixed"))
    figure = figures.lu_curves(frame, "t", marks={"w_c": 1, "edge": 10.0})
    notes = [note.text for note in figure.layout.annotations]
    assert notes[:2] == ["lr fixed", "lr proportional to alpha"]
    left, right = on(figure, "y", "test"), on(figure, "y2", "test")
    np.testing.assert_allclose(np.array(right.y) - np.array(left.y), 1000)
    assert [t.showlegend for t in traces(figure, "test")].count(True) == 1
    # Lines by their value, names by its logarithm: plotly's two ways on one log axis.
    axes = ["x", "x2", "x3", "x4"]
    assert across(figure) == [(1, axis) for axis in axes] + [(10, axis) for axis in axes]
    names = [(n.text, n.x, n.xref) for n in figure.layout.annotations[2:]]
    assert names == [("w_c", 0, "x"), ("w_c", 0, "x2"), ("edge", 1, "x"), ("edge", 1, "x2")]
    with pytest.raises(ValueError, match=r"'w_c' is at 0, expected a positive place on a log axis"):
        figures.lu_curves(frame, "t", marks={"w_c": 0})
    (alone,) = figures.lu_curves(landscape(rules=("proportional",)), "t").layout.annotations
    assert alone.text == "lr proportional to alpha"


def test_a_loss_of_zero_is_drawn_below_all_others_and_says_so() -> None:
    frame = landscape()
    frame.loc[frame["alpha"] == 0.1, "train_loss"] = 0.0
    frame.loc[(frame["alpha"] == 1.0) & (frame["seed"] == 0), "train_loss"] = 0.0
    figure = figures.lu_curves(frame, "t")
    train = on(figure, "y", "train")
    # The least positive mean is that of alpha = 1: (0 + 2) / 2.
    np.testing.assert_allclose(train.y, [0.1, 1.0, 10.5])
    np.testing.assert_allclose(train.error_y.array, [0, 1, 0.5])
    np.testing.assert_allclose(train.error_y.arrayminus, [0, 0.9, 0.5])  # down to the floor
    assert list(train.marker.symbol) == [FLOORED, "circle", "circle"]
    assert train.customdata[0] == "0, below the log axis, 2 seeds"
    assert traces(figure, "0, below the log axis")[0].marker.symbol == FLOORED
    assert not traces(figures.lu_curves(landscape(), "t"), "0, below the log axis")
    # An accuracy of 0 has its place.
    frame["test_accuracy"] = 0.0
    assert list(on(figures.lu_curves(frame, "t"), "y2", "test").y) == [0, 0, 0]
    with pytest.raises(ValueError, match=r"none of \['train_loss', 'test_loss'\] is positive"):
        figures.lu_curves(frame.assign(train_loss=0.0, test_loss=np.nan), "t")


def test_a_diverged_run_leaves_the_mean_and_is_counted() -> None:
    frame = landscape()
    frame.loc[(frame["alpha"] == 10.0) & (frame["seed"] == 1), "test_loss"] = np.inf
    frame.loc[frame["alpha"] == 0.1, "test_loss"] = np.nan
    test = on(figures.lu_curves(frame, "t"), "y", "test")
    np.testing.assert_allclose(test.y, [np.nan, 103.5, 120])
    assert test.customdata[2] == "120, 1 of 2 seeds, others not finite"
    assert "0 of 2 seeds" in test.customdata[0]


def test_without_accuracies_losses_stand_alone() -> None:
    frame = landscape().assign(train_accuracy=np.nan, test_accuracy=np.nan)
    figure = figures.lu_curves(frame, "t")
    assert [trace.name for trace in figure.data] == ["train", "test"]
    assert titles(figure) == [("alpha = w / w0", "loss (range over seeds)")]
    # Half of them is not none of them.
    frame["train_accuracy"] = 1.0
    assert len(figures.lu_curves(frame, "t").data) == 4


@pytest.mark.usefixtures("unchecked")
def test_lu_curves_refuse_what_one_line_cannot_show() -> None:
    with pytest.raises(ValueError, match=r"size \[100, 200\], expected one: .*data_size_map"):
        figures.lu_curves(landscape(sizes=(100, 200)), "t")
    with pytest.raises(
        ValueError, match=r"several rows are of the cell \{'alpha': 0.1.*select one"
    ):
        figures.lu_curves(pd.concat([landscape(), landscape()]), "t")
    with pytest.raises(ValueError, match=r"lr_rule is \['cosine'\], expected .*'proportional'"):
        figures.lu_curves(landscape(rules=("cosine",)), "t")
    with pytest.raises(ValueError, match=r"which='final' is unknown: choose one of 'last', 'best'"):
        figures.lu_curves(landscape(), "t", which="final")
    with pytest.raises(ValueError, match=r"no column \['best_test_loss'\].*trained network"):
        figures.lu_curves(landscape().drop(columns="best_test_loss"), "t", which="best")


def test_maps_have_sizes_down_and_alphas_along() -> None:
    frame = landscape(sizes=(100, 60_000))
    figure = figures.data_size_map(frame, "t")
    train, test = figure.data
    assert list(test.y) == ["100", "60000"]
    assert list(test.x) == ["0.1", "1", "10"]
    np.testing.assert_allclose(train.z, 0.8)
    np.testing.assert_allclose(test.z[0], 0.5 / (1 + np.array(ALPHAS)) + 0.1)
    assert test.text[0] == ["0.55", "0.35", "0.15"]
    assert [note.text for note in figure.layout.annotations] == ["train", "test"]
    assert train.coloraxis == test.coloraxis == "coloraxis"
    colours = figure.layout.coloraxis
    assert (colours.cmin, colours.cmax, colours.colorbar.title.text) == (0, 1, "accuracy")
    assert {axis.type for axis in figure.select_xaxes()} == {"category"}
    assert titles(figure) == [("alpha = w / w0", "training examples"), ("alpha = w / w0", None)]
    best = figures.data_size_map(frame, "t", which="best")
    np.testing.assert_allclose(best.data[1].z, np.array(test.z) / 2)
    assert best.layout.coloraxis.colorbar.title.text == "best accuracy"


def test_maps_of_losses_are_coloured_by_their_logarithm() -> None:
    frame = landscape(sizes=(100, 200))
    frame.loc[(frame["alpha"] == 0.1) & (frame["size"] == 200), "train_loss"] = 0.0
    figure = figures.data_size_map(frame, "t", metric="loss")
    train, test = figure.data
    np.testing.assert_allclose(train.z, np.log10([[0.6, 1.5, 10.5], [0.06, 1.5, 10.5]]))
    assert list(train.text) == [["0.6", "1.5", "10.5"], ["0", "1.5", "10.5"]]
    np.testing.assert_allclose(test.z[1], np.log10(2 * np.array(ALPHAS) + 201.5))
    assert figure.layout.coloraxis.cmin is None
    assert figure.layout.coloraxis.colorbar.title.text == "log10 of loss"


def test_both_maps_keep_cells_without_a_number() -> None:
    frame = landscape(sizes=(100, 200))
    frame.loc[(frame["alpha"] == 1.0), "test_accuracy"] = np.nan
    frame.loc[(frame["size"] == 200), "train_accuracy"] = np.nan
    train, test = figures.data_size_map(frame, "t").data
    assert train.x == test.x
    assert train.y == test.y
    assert np.isnan(test.z[:, 1]).all()
    assert np.isnan(train.z).tolist() == [[False] * 3, [True] * 3]
    assert test.text[0][1] == ""


def test_close_alphas_keep_columns_of_their_own() -> None:
    frame = landscape().replace({"alpha": {0.1: 1.0001}})
    assert list(figures.data_size_map(frame, "t").data[0].x) == ["1", "1.0001", "10"]


def test_mixing_takes_the_place_of_size() -> None:
    frame = pd.concat(
        [landscape().assign(mixing=m, test_accuracy=m) for m in (0.5, 0.0, 1.0)], ignore_index=True
    )
    figure = figures.mixing_map(frame, "t")
    assert list(figure.data[1].y) == ["0", "0.5", "1"]
    np.testing.assert_allclose(figure.data[1].z, [[0] * 3, [0.5] * 3, [1] * 3])
    assert figure.layout.yaxis.title.text == "mixing m (share of image)"
    with pytest.raises(ValueError, match="several rows are of the cell"):
        figures.data_size_map(frame, "t")
    several = pd.concat([frame, frame.assign(size=7)])
    with pytest.raises(ValueError, match=r"size \[100, 7\], expected one: choose one"):
        figures.mixing_map(several, "t")
    with pytest.raises(ValueError, match=r"no column \['mixing'\]"):
        figures.mixing_map(landscape(), "t")


@pytest.mark.usefixtures("unchecked")
def test_maps_refuse_what_one_map_cannot_show() -> None:
    with pytest.raises(ValueError, match=r"lr_rule \['fixed', 'proportional'\], expected one"):
        figures.data_size_map(landscape(rules=("fixed", "proportional")), "t")
    with pytest.raises(
        ValueError, match=r"metric='error' is unknown: choose one of 'accuracy', 'loss'"
    ):
        figures.data_size_map(landscape(), "t", metric="error")
    regression = landscape().assign(train_accuracy=np.nan, test_accuracy=np.nan)
    with pytest.raises(ValueError, match=r"are NaN.*pass metric='loss'"):
        figures.data_size_map(regression, "t")
    assert len(figures.data_size_map(regression, "t", metric="loss").data) == 2


def times(decays=(0.1, 1.0)) -> pd.DataFrame:
    """Free runs at lr 0.01 that follow t = 2 alpha / (lr weight_decay), seed 1 half as much again."""
    rows = [
        (
            alpha,
            seed,
            100,
            0.01,
            decay,
            50.0 + seed,
            False,
            2 * alpha * 100 / decay * (1 + seed / 2),
        )
        for alpha, seed, decay in product((2.0, 4.0), (0, 1), decays)
    ]
    columns = ["alpha", "seed", "size", "lr", "weight_decay", "t_train", "train_censored"]
    return pd.DataFrame(rows, columns=[*columns, "t_generalise"]).assign(generalise_censored=False)


def test_times_to_generalise_stand_against_the_inverse_decay() -> None:
    frame = times()
    late = (frame["alpha"] == 4) & (frame["weight_decay"] == 0.1) & (frame["seed"] == 1)
    frame.loc[late, ["t_generalise", "generalise_censored"]] = 9_000, True
    figure = figures.generalisation_times(frame, "t", law=(2.5, 1.1))
    (two,), (four,) = traces(figure, "alpha 2"), traces(figure, "alpha 4")
    assert list(two.x) == [100, 1000]
    assert list(two.y) == [500, 5000]  # a quarter more than seed 0 alone
    assert list(four.y) == [1000, 8500]
    assert list(four.marker.symbol) == [SERIES[1].symbol, CENSORED]
    assert four.customdata[1] == "1 of 2 not by their last step"
    (runs,) = traces(figure, "alpha 4, runs")
    assert sorted(zip(runs.x, runs.y, runs.marker.symbol, strict=True))[-1] == (
        1000,
        9000,
        CENSORED,
    )
    assert two.line.color != four.line.color
    assert two.line.dash != four.line.dash
    (train,) = traces(figure, "alpha 4, t_train")
    assert list(train.y) == [50.5, 50.5]
    assert train.line.color == four.line.color
    assert train.opacity < four.opacity
    assert list(train.marker.symbol) == [f"{SERIES[1].symbol}-open"] * 2
    (law,) = [trace for trace in figure.data if trace.name.startswith("t = ")]
    assert law.name == "t = 2.5 x<sup>1.1</sup>"
    assert law.line.dash == "dash"
    np.testing.assert_allclose(law.y, 2.5 * np.array(law.x) ** 1.1)
    assert law.x[0] < 100 < 1000 < law.x[1]
    assert {figure.layout.xaxis.type, figure.layout.yaxis.type} == {"log"}
    assert "weight decay" in figure.layout.xaxis.title.text
    lower_bound = "not by the last step (lower bound)"
    assert len(traces(figure, lower_bound)) == 1
    assert not traces(figures.generalisation_times(times(), "t"), lower_bound)


def test_equal_products_of_rate_and_decay_are_one_place() -> None:
    assert 1 / (0.1 * 0.1) != 1 / (0.01 * 1.0)
    frame = times(decays=(1.0,))
    other = frame.assign(lr=0.1, weight_decay=0.1, t_generalise=0.5 * frame["t_generalise"])
    figure = figures.generalisation_times(pd.concat([frame, other]), "t")
    assert len(traces(figure, "alpha 2")[0].x) == 1
    assert list(traces(figure, "alpha 2")[0].y) == [375]


def test_times_without_a_place_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"weight_decay is 0.0 in 4 of 8 rows.*leave the others out"
    ):
        figures.generalisation_times(times().replace({"weight_decay": {0.1: 0.0}}), "t")
    with pytest.raises(ValueError, match=r"t_train is 0.0 in 8 of 8 rows"):
        figures.generalisation_times(times().assign(t_train=0.0), "t")
    several = pd.concat([times(), times().assign(size=7)])
    with pytest.raises(ValueError, match=r"size \[100, 7\], expected one"):
        figures.generalisation_times(several, "t")
    with pytest.raises(ValueError, match="several rows are of the cell"):
        figures.generalisation_times(pd.concat([times(), times()]), "t")


STEPS = [0, 10, 100]


def curves(alphas=(1.0, 8.0)) -> pd.DataFrame:
    rows = [
        (
            alpha,
            0,
            100,
            "fixed",
            step,
            alpha / (1 + step),
            alpha + step,
            step / 100,
            step / 200,
            alpha,
        )
        for alpha, step in product(alphas, STEPS)
    ]
    columns = ["alpha", "seed", "size", "lr_rule", "step", "train_loss", "test_loss"]
    columns += ["train_accuracy", "test_accuracy", "weight_norm"]
    return pd.DataFrame(rows, columns=columns)


def test_norm_dynamics_draw_each_column_in_its_panel() -> None:
    frame = curves()
    figure = figures.norm_dynamics(frame[::-1], "t", log_steps=False)
    for alpha in (1, 8):
        run = frame[frame["alpha"] == alpha]
        for axis, side, column in (
            ("y", "train", "train_loss"),
            ("y", "test", "test_loss"),
            ("y2", "train", "train_accuracy"),
            ("y2", "test", "test_accuracy"),
            ("y3", "weight", "weight_norm"),
        ):
            trace = on(figure, axis, f"alpha {alpha}, {side}")
            assert list(trace.x) == STEPS
            np.testing.assert_allclose(trace.y, run[column])
    looks = {trace.name: trace.line for trace in figure.data}
    assert {looks[f"alpha {a}, {'train'}"].color for a in (1, 8)} == {figures.TRAIN}
    assert {looks[f"alpha {a}, {'test'}"].color for a in (1, 8)} == {figures.TEST}
    assert {looks[f"alpha {a}, {'weight'}"].color for a in (1, 8)} == {figures.WEIGHT}
    for a in (1, 8):
        assert len({looks[f"alpha {a}, {name}"].dash for name in ("train", "test", "weight")}) == 1
        assert looks[f"alpha {a}, train"].width < looks[f"alpha {a}, test"].width
    assert looks["alpha 1, test"].dash != looks["alpha 8, test"].dash
    assert [axis.type for axis in figure.select_yaxes()] == ["log", None, None]
    assert titles(figure) == [(None, "loss"), (None, "accuracy"), ("step", "L2 norm of weights")]
    assert {axis.type for axis in figure.select_xaxes()} == {None}


def test_step_zero_has_a_place_on_a_log_axis_and_the_axis_says_so() -> None:
    figure = figures.norm_dynamics(curves(), "t")
    assert list(on(figure, "y", "alpha 1, test").x) == [5, 10, 100]
    assert on(figure, "y", "alpha 1, test").customdata[0] == "step 0: 1"
    assert {axis.type for axis in figure.select_xaxes()} == {"log"}
    assert figure.layout.xaxis3.title.text == "step (log, step 0 drawn at 5)"
    later = curves().query("step > 0")
    assert figures.norm_dynamics(later, "t").layout.xaxis3.title.text == "step"


def test_zero_losses_and_missing_accuracies_along_a_run() -> None:
    frame = curves().assign(train_accuracy=np.nan, test_accuracy=np.nan)
    frame.loc[frame["step"] == 100, "train_loss"] = 0.0
    figure = figures.norm_dynamics(frame, "t")
    assert [y for _, y in titles(figure)] == ["loss", "L2 norm of weights"]
    train = on(figure, "y", "alpha 1, train")
    assert list(train.y) == pytest.approx([1, 1 / 11, 1 / 110])
    assert list(train.marker.size) == [0, 0, 7]
    assert train.customdata[2] == "step 100: 0, below the log axis"
    assert on(figure, "y", "alpha 1, test").mode == "lines"
    assert len(traces(figure, "0, below the log axis")) == 1


def test_norm_dynamics_say_what_to_select() -> None:
    with pytest.raises(ValueError, match=r"4 alphas \[1.0, 2.0, .*at most 3: select some"):
        figures.norm_dynamics(curves(alphas=(1.0, 2.0, 3.0, 4.0)), "t")
    for other in ({"seed": 1}, {"size": 7}, {"lr_rule": "proportional"}):
        with pytest.raises(ValueError, match=r"cell \{'alpha': 1.0\}: select one seed, size"):
            figures.norm_dynamics(pd.concat([curves(), curves().assign(**other)]), "t")
    # Each alpha may have a rule of its own.
    mixed = pd.concat([curves((1.0,)), curves((8.0,)).assign(lr_rule="proportional")])
    assert len(figures.norm_dynamics(mixed, "t").data) == 10


MODES = {"per_matrix": 0.9, "joint": 0.8}


def latent() -> pd.DataFrame:
    """Checkpoints of three alphas and two seeds; values grow with the step and fall with the seed."""
    rows = []
    for alpha, seed, step in product(ALPHAS, (0, 1), (0, 50, 100)):
        done = step / 100
        row = {"alpha": alpha, "seed": seed, "size": 100, "lr_rule": "fixed", "step": step}
        row |= {"accuracy": done, "test_accuracy": 0.6 * done - 0.2 * seed * done}
        row |= {f"idealised_{mode}": top * done for mode, top in MODES.items()}
        row |= {f"excess_{mode}": top * done - 0.5 for mode, top in MODES.items()}
        rows.append(row | {"phase_residual": np.pi / 2 - done * alpha / 10})
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_latent_structure_stands_below_the_u_at_the_last_step() -> None:
    figure = figures.latent_on_the_u(landscape(), latent(), "t")
    np.testing.assert_allclose(on(figure, "y", "test").y, 2 * np.array(ALPHAS) + 101.5)
    np.testing.assert_allclose(on(figure, "y", "train").y, np.array(ALPHAS) + 0.5)
    own = on(figure, "y2", "test")
    np.testing.assert_allclose(own.y, 0.5)
    np.testing.assert_allclose(own.error_y.array, 0.1)
    for mode, top in MODES.items():
        ideal, excess = on(figure, "y2", f"idealised, {mode}"), on(figure, "y2", f"excess, {mode}")
        np.testing.assert_allclose(ideal.y, top)
        np.testing.assert_allclose(excess.y, top - 0.5)
        assert (ideal.line.color, excess.line.color) == (figures.IDEAL, figures.HARD_CONTROL)
        assert ideal.line.dash == excess.line.dash
        assert excess.marker.symbol[0] == f"{ideal.marker.symbol[0]}-open"
    dashes = {traces(figure, f"idealised, {mode}")[0].line.dash for mode in MODES}
    assert len(dashes) == 2
    residual = on(figure, "y3", "phase residual")
    np.testing.assert_allclose(residual.y, np.pi / 2 - np.array(ALPHAS) / 10)
    (line,) = [shape for shape in figure.layout.shapes if shape.yref == "y3"]
    assert line.y0 == line.y1 == pytest.approx(np.pi / 2)
    assert figure.layout.annotations[-1].text == "no relation 1.571"
    assert figure.layout.yaxis3.range[1] > np.pi / 2
    assert {axis.type for axis in figure.select_xaxes()} == {"log"}
    assert [axis.type for axis in figure.select_yaxes()] == ["log", None, None]
    assert titles(figure)[2] == ("alpha = w / w0", "|phase residual| (rad)")
    assert len([t for t in figure.data if t.showlegend]) == 6


def test_an_excess_below_zero_is_within_its_panel() -> None:
    frame = latent().query("step == 0")
    assert figures.latent_on_the_u(landscape(), frame, "t").layout.yaxis2.range[0] < -0.5


def test_the_u_and_its_structure_are_of_one_kind_of_run() -> None:
    for column, other, shown in (("size", 7, r"\[100, 7\]"), ("lr_rule", "proportional", "fixed")):
        with pytest.raises(ValueError, match=rf"{column} .*{shown}.*the same in both frames"):
            figures.latent_on_the_u(landscape(), latent().assign(**{column: other}), "t")
    with pytest.raises(ValueError, match=r"several rows are of the cell .*'step'"):
        figures.latent_on_the_u(landscape(), pd.concat([latent(), latent()]), "t")
    with pytest.raises(ValueError, match=r"no column \['excess_joint'\].*each checkpoint"):
        figures.latent_on_the_u(landscape(), latent().drop(columns="excess_joint"), "t")


def test_latent_structure_by_alpha_and_step() -> None:
    figure = figures.latent_through_training(latent(), "t")
    (cells,) = figure.data
    assert list(cells.y) == ["0.1", "1", "10"]
    assert list(cells.x) == ["0", "50", "100"]
    np.testing.assert_allclose(cells.z, np.tile([-0.5, -0.05, 0.4], (3, 1)))
    colours = figure.layout.coloraxis
    assert (colours.cmin, colours.cmax) == (-0.5, 1)
    assert colours.colorscale == figures.data_size_map(landscape(), "t").layout.coloraxis.colorscale
    assert colours.colorbar.title.text == "excess per matrix"
    assert titles(figure) == [("step", "alpha = w / w0")]
    own = figures.latent_through_training(latent(), "t", measure="test_accuracy")
    np.testing.assert_allclose(own.data[0].z, np.tile([0, 0.25, 0.5], (3, 1)))
    assert own.layout.coloraxis.cmin == 0
    phases = figures.latent_through_training(latent(), "t", measure="phase_residual")
    assert phases.layout.coloraxis.cmax == pytest.approx(np.pi / 2)
    with pytest.raises(ValueError, match=r"no column \['ipr'\]"):
        figures.latent_through_training(latent(), "t", measure="ipr")
    other = latent().assign(lr_rule="proportional")
    with pytest.raises(ValueError, match=r"lr_rule .*expected one: choose one"):
        figures.latent_through_training(pd.concat([latent(), other]), "t")


def test_figures_take_the_width_they_are_given_and_are_valid_json() -> None:
    frame = landscape()
    frame.loc[0, "test_loss"] = np.inf
    for figure in (
        figures.lu_curves(frame, "t"),
        figures.data_size_map(frame, "t", metric="loss"),
        figures.mixing_map(frame.assign(mixing=0.5), "t"),
        figures.generalisation_times(times(), "t"),
        figures.norm_dynamics(curves(), "t"),
        figures.latent_on_the_u(frame, latent(), "t"),
        figures.latent_through_training(latent(), "t"),
    ):
        drawn = json.loads(figure.to_json())
        assert "width" not in drawn["layout"]
        assert drawn["layout"]["title"]["text"] == "t"
        # The legend keeps its distance, in pixels, whatever room there is above it.
        room = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
        assert (figure.layout.legend.y - 1) * room == pytest.approx(LEGEND_GAP)
