"""The study of waveforms on made-up runs whose fits and accuracies are known."""

import io
import itertools
from functools import cache

import pandas as pd
import pytest

from grok_interp import study
from grok_interp.figures.waves_study import study_waves as figure_of
from grok_interp.study import waves as analysis

SEEDS = 5
SETTINGS = {
    # loss, optimizer, decay: R2 of W_in to square, trapezoid, cosine; plateau share
    ("cross_entropy", "adamw", 0.3): (0.75, 0.88, 0.85, 0.77),
    ("cross_entropy", "adamw", 3.0): (0.91, 0.95, 0.84, 0.94),
    ("mse", "adamw", 1.0): (0.73, 0.99, 0.99, 0.39),
}
ACCURACY = {"square": 0.7, "trapezoid": 0.8, "cosine": 0.9}


def comparison(wave: str, out: str, network: str, mode: str, accuracy: float) -> dict:
    return {
        "frequency": mode,
        "input_waveform": wave,
        "output_waveform": out,
        "replaced": "all",
        "network": network,
        "draws": 3,
        "mean": accuracy,
        "min": accuracy,
        "max": accuracy,
        "held_out": accuracy,
    }


def runs(
    settings: dict = SETTINGS, accuracy: dict = ACCURACY, *, along: bool = True, by: float = 0.02
) -> pd.DataFrame:
    """Runs whose R2 and accuracies are spread by +-``by`` over seeds, alike in all waves."""
    rows = []
    for ((loss, optimizer, decay), fits), seed in itertools.product(settings.items(), range(SEEDS)):
        spread = by * (2 * seed / (SEEDS - 1) - 1)
        row = {
            "run": f"{loss}-{optimizer}-{decay}-{seed}",
            "train.loss": loss,
            "train.optimizer": optimizer,
            "train.weight_decay": decay,
            "train.lr": 1e-3,
            "train.steps": 400,
            "task.p": 31,
            "model.d_mlp": 256,
            "split.train_fraction": 0.8,
            "split.label_noise": 0.3 if loss == "mse" else 0.0,
            "split.seed": seed,
            "step": 400,
            "test_accuracy": 0.99,
            "plateau_share": fits[3] + spread,
            "r2_square_out": 0.7,
            "r2_trapezoid_out": 0.95,
            "r2_cosine_out": 0.95,
            "checkpoints": None,
        }
        row |= {
            f"r2_{wave}": r2 + spread for wave, r2 in zip(analysis.WAVES, fits[:3], strict=True)
        }
        if along:
            early = {"r2_square": 0.1, "r2_cosine": 0.2, "plateau_share": 0.1, "test_accuracy": 0.0}
            end = {name: row[name] for name in early}
            # Binary at step 200, and right at step 100.
            middle = early | {"test_accuracy": 0.95}
            at = zip((0, 100, 200, 400), (early, middle, end, end), strict=True)
            row["checkpoints"] = [{"step": step, **values} for step, values in at]
        row["comparisons"] = [
            comparison("", "", "trained", "", 1.0),
            *(
                comparison(wave, out, network, mode, level + spread)
                for wave, out, mode in itertools.product(
                    accuracy, ("cosine", "square"), ("per_matrix", "joint")
                )
                for network, level in (
                    ("trained", accuracy[wave] + 0.05 * (mode == "joint")),
                    ("frozen_input", 0.03),
                )
            ),
        ]
        rows.append(row)
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)


@cache
def made() -> dict[str, pd.DataFrame]:
    return analysis.tables(runs())


def one(table: pd.DataFrame, **where: object) -> pd.Series:
    found = table[(table[list(where)] == pd.Series(where)).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


def test_tables_give_the_fits_that_went_in():
    binary = {"loss": "cross_entropy", "weight_decay": 3.0}
    row = one(made()["fits"], matrix="W_in", measure="r2_square", **binary)
    assert (row["mean"], row["n"]) == (pytest.approx(0.91), SEEDS)
    assert row["low"] < 0.905 < 0.915 < row["high"]
    assert one(made()["fits"], matrix="W_out", measure="r2_cosine", **binary)["mean"] == 0.95
    # Within a run the spread over seeds falls out.
    shape = one(made()["fits"], matrix="W_in", measure="shape", **binary)
    assert [shape["mean"], shape["low"], shape["high"]] == pytest.approx(
        [0.07 / 0.95] * 3, abs=1e-3
    )
    more = one(made()["fits"], matrix="W_in", measure="trapezoid_over_both", **binary)
    assert more["mean"] == pytest.approx(0.04)


def test_largest_and_smallest_decay_are_paired_by_seed():
    row = one(made()["decay"], measure="shape")
    assert (row["loss"], row["smallest"], row["largest"]) == ("cross_entropy", 0.3, 3.0)
    expected = 0.07 / 0.95 + 0.1 / 0.88
    assert [row["mean"], row["low"], row["high"]] == pytest.approx([expected] * 3, abs=5e-3)
    assert one(made()["decay"], measure="plateau_share")["mean"] == pytest.approx(0.17)


def test_accuracies_are_those_of_per_matrix_mode_beside_the_control():
    where = {"loss": "mse", "input_waveform": "square", "output_waveform": "cosine"}
    assert one(made()["idealised"], measure="trained", **where)["mean"] == pytest.approx(0.7)
    assert one(made()["idealised"], measure="frozen_input", **where)["mean"] == pytest.approx(0.03)
    excess = one(made()["idealised"], measure="excess", **where)
    assert [excess["low"], excess["high"]] == pytest.approx([0.67] * 2)
    care = one(made()["care"], loss="mse", output_waveform="cosine", one="square", other="cosine")
    assert [care["mean"], care["low"], care["high"]] == pytest.approx([-0.2] * 3)


def test_shape_does_not_turn_with_how_much_of_a_column_is_a_wave():
    # One shape under three times as much noise: by the difference of R2 alone it would be squarer.
    same = {
        ("mse", "adamw", 0.3): (0.24, 0.3, 0.28, 0.1),
        ("mse", "adamw", 1.0): (0.72, 0.9, 0.84, 0.1),
    }
    frame = runs(same, along=False, by=0.0)
    tables = analysis.tables(frame)
    shapes = tables["fits"][(tables["fits"]["measure"] == "shape")]
    shapes = shapes.loc[shapes["matrix"] == "W_in", "mean"]
    assert shapes.to_list() == pytest.approx([-0.04 / 0.3] * 2)
    words = analysis.in_words(tables)
    assert (
        "- closer to a cosine: 1 of 2 settings: mse adamw 1 with 30% label noise (0.72 / 0.84, -0.13)"
        in words
    )
    assert (
        "- neither fits: 1 of 2 settings: mse adamw 0.3 with 30% label noise (0.24 / 0.28)\n"
        in words
    )
    assert "0.3 to 1: at one of the two at least neither wave fits" in words
    assert "square, +" not in words


def test_words_tell_the_shapes_apart():
    words = study.in_words("waves", made())
    W_in, W_out = words.split("W_out, R2")
    assert (
        "- closer to a square wave: 1 of 3 settings: cross_entropy adamw 3 (0.91 / 0.84, +0.07)\n"
        in W_in
    )
    assert (
        "- closer to a cosine: 2 of 3 settings: cross_entropy adamw 0.3 (0.75 / 0.85, -0.11)"
        in W_in
    )
    assert "- closer to a cosine: 3 of 3 settings" in W_out
    assert "Before training W_in has R2 0.10 / 0.20" in words
    assert "+0.000 to +0.040" in words
    assert "Binary: 1 of 3 settings:\n\n- cross_entropy adamw 3: 0.940 [" in words
    assert "weights before training 0.10. The share of a column moves in steps of 1/31," in words
    assert "- cross_entropy adamw, 0.3 to 3: squarer, +0.18" in words
    assert "from -0.114 to +0.074 (R2 to the trapezoid 0.88 and 0.95)" in words
    assert "above 90% first at step 200, held-out accuracy above 90% first at step 100\n" in words
    assert "in 6 of 6 settings" in words
    assert "square less cosine under" in words
    assert "frozen_input 0.030 to 0.030" in words
    # Intervals of five cover 85%.
    assert "0.9 of 6 shapes, 0.2 of 1 changes of shape, 2.8 of 18 differences" in words


def test_words_turn_with_the_numbers():
    other = {
        ("cross_entropy", "adamw", 0.3): (0.91, 0.95, 0.84, 0.94),
        ("cross_entropy", "adamw", 3.0): (0.80, 0.90, 0.85, 0.70),
    }
    indifferent = dict.fromkeys(ACCURACY, 0.9)
    words = analysis.in_words(analysis.tables(runs(other, indifferent, along=False)))
    assert "Binary: 1 of 2 settings:\n\n- cross_entropy adamw 0.3: 0.940 [0.928, 0.952]\n" in words
    assert "- cross_entropy adamw, 0.3 to 3: less square, -0.12" in words
    assert "before training" not in words.lower()
    assert "in 0 of 4 settings" in words
    assert "In 0 of the 4 every wave reaches 0.99" in words
    assert "does not tell which wave it was" in words
    at_most = analysis.in_words(analysis.tables(runs(other, dict.fromkeys(ACCURACY, 1.02))))
    assert "In 4 of the 4 every wave reaches 0.99, where none could show." in at_most
    assert "does not tell" not in at_most
    alone = {("mse", "adamw", 1.0): (0.8, 0.9, 0.8, 0.5)}
    words = analysis.in_words(analysis.tables(runs(alone, along=False)))
    assert "- not to be told apart by these seeds: 1 of 1" in words
    assert "Binary: 0 of 1 settings.\n" in words
    assert "smallest decay" not in words


def test_tables_read_back_from_csv_say_the_same():
    back = {
        name: pd.read_csv(io.StringIO(table.to_csv(index=False))) for name, table in made().items()
    }
    assert analysis.in_words(back) == analysis.in_words(made())


def test_what_is_missing_is_named():
    frame = runs()
    with pytest.raises(ValueError, match=r"without the columns \['r2_trapezoid'\]"):
        analysis.tables(frame.drop(columns="r2_trapezoid"))
    with pytest.raises(ValueError, match="leave other settings as one value"):
        analysis.tables(pd.concat([frame, frame.assign(run=frame["run"] + "b")]))
    lacking = runs(accuracy={"square": 0.7, "cosine": 0.9})
    with pytest.raises(ValueError, match=r"idealised with \['trapezoid'\] .*input_waveforms"):
        analysis.tables(lacking)


@pytest.mark.parametrize("size", study.SIZES)
def test_every_run_of_the_sweep_is_idealised_by_every_wave(size):
    found = study.load("waves").runs(size)
    assert {set(run.measure.input_waveforms) == set(analysis.WAVES) for run in found} == {True}
    assert {"per_matrix" in run.measure.frequencies for run in found} == {True}
    assert {run.train.optimizer for run in found} == {"adamw", "adam", "sgd"}
    assert {run.train.loss for run in found} >= {"cross_entropy", "mse"}


def trace(figure, name, panel):
    return next(each for each in figure.data if each.name == name and each.xaxis == panel)


def test_the_figure_puts_each_setting_in_its_row():
    figure = figure_of(made())
    rows = list(figure.layout.yaxis.ticktext)
    assert rows == ["CE adamw 0.3", "CE adamw 3", "mse adamw 1, 30% noise"]
    drawn = trace(figure, "square", "x")
    by_row = dict(zip([rows[round(y)] for y in drawn.y], drawn.x, strict=True))
    assert by_row == pytest.approx(
        {"CE adamw 0.3": 0.75, "CE adamw 3": 0.91, "mse adamw 1, 30% noise": 0.73}
    )
    share = trace(figure, "W_in", "x3")
    assert sorted(share.x) == pytest.approx([0.39, 0.77, 0.94])
    assert trace(figure, "cosine, frozen_input", "x4").marker.color == "#CC79A7"


def test_the_figure_needs_no_checkpoints_and_names_a_missing_column():
    tables = {name: table for name, table in made().items() if name != "training"}
    assert not any(each.xaxis == "x5" and each.x[0] is not None for each in figure_of(tables).data)
    with pytest.raises(ValueError, match="fits"):
        figure_of(tables | {"fits": tables["fits"].drop(columns="matrix")})


def test_the_figure_follows_what_ends_binary_and_the_smallest_decay_beside_it():
    first = {("cross_entropy", "adam", decay): (0.75, 0.88, 0.85, 0.7) for decay in (1e-5, 1e-3)}
    middle = {("cross_entropy", "adamw", 1.0): (0.75, 0.88, 0.85, 0.8)}
    figure = figure_of(analysis.tables(runs(first | middle | SETTINGS)))
    drawn = {each.name: each for each in figure.data if each.xaxis == "x5"}
    assert list(drawn) == ["CE adamw 0.3", "CE adamw 3"]
    assert list(drawn["CE adamw 3"].x) == [0, 100, 200, 400]
    assert drawn["CE adamw 3"].y[-1] == pytest.approx(0.94)
    assert drawn["CE adamw 3"].line.color != drawn["CE adamw 0.3"].line.color
    # Nothing ends binary: the largest share stands for it.
    figure = figure_of(analysis.tables(runs(first | middle)))
    assert [each.name for each in figure.data if each.xaxis == "x5"] == ["CE adamw 1"]
