"""The phase diagram of runs whose ends were put where they are."""

import io
import itertools
import math

import numpy as np
import pandas as pd
import pytest

from grok_interp import study
from grok_interp.figures import study_diagram
from grok_interp.study import diagram

NOISES, FRACTIONS, DECAYS = (0.0, 0.3, 0.6, 0.9, 1.0), (0.3, 0.6, 0.9), (0.0, 1.0, 3.0)


def sweep(seeds: int = 4, *, joint_floor: float = 0.97) -> pd.DataFrame:
    """The excess of per_matrix mode is .5 up to a label noise of the train fraction; decay 3 has none.

    The network itself generalises without noise only, and frozen_input has its residual at .4.
    """
    cells = {(f, 1.0) for f in FRACTIONS} | {(0.6, d) for d in DECAYS}
    rows = []
    for (fraction, decay), noise, seed in itertools.product(sorted(cells), NOISES, range(seeds)):
        latent = noise <= fraction and decay < 3
        excess = 0.5 + 0.01 * seed if latent else 0.02 * (seed - 1)
        rows.append(
            {
                "run": f"{fraction}-{decay}-{noise}-{seed}",
                "task.p": 31,
                "model.d_mlp": 128,
                "train.steps": 1000,
                "train.lr": 1e-3,
                "train.weight_decay": decay,
                "split.train_fraction": fraction,
                "split.label_noise": noise,
                "test_accuracy": 1.0 if noise == 0 else 0.01,
                "accuracy": 1.0 if noise == 0 else 0.1,
                "idealised_per_matrix": 0.05 + excess,
                "excess_per_matrix": excess,
                "idealised_joint": joint_floor - 0.01,
                "excess_joint": -0.01,
                "phase_residual": 0.2 if latent else 0.5,
                "phase_residual_frozen": 0.4 + 0.01 * seed,
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return diagram.tables(sweep(), resamples=200)


def end(tables: dict[str, pd.DataFrame], axis: str, value: float, what: str) -> pd.Series:
    ends = tables["ends"]
    found = ends[(ends["axis"] == axis) & (ends["value"] == value) & (ends["what"] == what)]
    assert len(found) == 1
    return found.iloc[0]


def test_cells_are_means_over_seeds_of_both_planes(tables: dict[str, pd.DataFrame]) -> None:
    assert list(tables) == ["ends", "by_fraction", "by_decay"]
    assert len(tables["by_fraction"]) == len(NOISES) * len(FRACTIONS)
    assert len(tables["by_decay"]) == len(NOISES) * len(DECAYS)
    # The line that both planes share is the same in both.
    shared = [
        plane[(plane["train_fraction"] == 0.6) & (plane["weight_decay"] == 1)].reset_index(
            drop=True
        )
        for plane in (tables["by_fraction"], tables["by_decay"])
    ]
    pd.testing.assert_frame_equal(*shared)
    cell = shared[0].iloc[0]
    assert cell["n"] == 4
    assert cell["excess_per_matrix"] == pytest.approx(0.515)
    assert 0.5 <= cell["excess_per_matrix_low"] < 0.515 < cell["excess_per_matrix_high"] <= 0.53
    assert cell["floor_per_matrix"] == pytest.approx(0.05)
    assert cell["phase_excess"] == pytest.approx(0.215)


def test_ends_are_where_they_were_put(tables: dict[str, pd.DataFrame]) -> None:
    lasts = [end(tables, "train_fraction", f, "excess_per_matrix") for f in FRACTIONS]
    assert [each["last"] for each in lasts] == [0.3, 0.6, 0.9]
    assert [each["gone"] for each in lasts] == [0.6, 0.9, 1.0]
    assert [each["undecided"] for each in lasts] == [0, 0, 0]
    assert [each["gaps"] for each in lasts] == [0, 0, 0]
    nowhere = end(tables, "weight_decay", 3.0, "excess_per_matrix")
    assert math.isnan(nowhere["last"])
    assert nowhere["gone"] == 0.0
    assert end(tables, "train_fraction", 0.6, "phase_excess")["last"] == 0.6
    assert end(tables, "train_fraction", 0.6, "test_accuracy")["last"] == 0.0
    joint = end(tables, "train_fraction", 0.6, "excess_joint")
    assert math.isnan(joint["last"])
    assert joint["room"] == pytest.approx(0.03)


def test_an_end_is_a_range_where_intervals_hold_the_level() -> None:
    # Means of .2 at noises up to .9, but spread so that the lower end is at 0 above .3; nothing at 1.
    runs = sweep()
    noise = runs["split.label_noise"]
    spread = np.where(noise > 0.3, 0.4 * (runs.index % 2), 0.2)
    runs["excess_per_matrix"] = np.where(noise == 1, 0.0, spread)
    found = diagram.tables(runs, resamples=200)
    ends = end(found, "train_fraction", 0.9, "excess_per_matrix")
    assert ends[["last", "gone", "undecided", "gaps"]].tolist() == [0.3, 1.0, 2, 0]
    assert "between 0.3 and 1 (2 undecided) for train_fraction 0.3, 0.6, 0.9" in diagram.in_words(
        found
    )
    # Held at the largest noise as well, it is not gone anywhere.
    runs["excess_per_matrix"] = spread
    found = diagram.tables(runs, resamples=200)
    ends = end(found, "train_fraction", 0.9, "excess_per_matrix")
    assert ends["last"] == 0.3
    assert math.isnan(ends["gone"])
    assert (
        "above it up to 0.3, and at 1 the interval holds it for train_fraction"
        in diagram.in_words(found)
    )
    # A gap below the end is counted.
    runs["excess_per_matrix"] = np.where(noise == 0.3, 0.0, 0.2)
    found = diagram.tables(runs, resamples=200)
    ends = end(found, "train_fraction", 0.9, "excess_per_matrix")
    assert (ends["last"], ends["gaps"]) == (1.0, 1)
    assert "up to 1, the largest measured (not at 1 smaller)" in diagram.in_words(found)


def test_what_a_measure_has_at_noise_1_is_no_mark_of_the_algorithm() -> None:
    no_mark = "no mark of the algorithm"
    runs = sweep()
    words = diagram.in_words(diagram.tables(runs, resamples=200))
    assert "per_matrix mode: 0.01 to 0.01, above 0.1 on none of 3 lines" in words
    assert no_mark not in words
    null = runs["split.label_noise"] == 1
    lower = runs.assign(phase_residual=np.where(null, 0.1, runs["phase_residual"]))
    tables = diagram.tables(lower, resamples=200)
    found = end(tables, "train_fraction", 0.6, "phase_excess")
    assert found["null"] == pytest.approx(0.315)
    assert found["null_low"] > 0.3
    words = diagram.in_words(tables)
    # Once for each plane, of this measure alone.
    assert words.count(no_mark) == 2
    assert f"(radians): 0.31 to 0.32, above 0 on 3 of 3 lines, so to be above it is {no_mark}" in (
        words.replace("0.32 to 0.32", "0.31 to 0.32").replace("0.31 to 0.31", "0.31 to 0.32")
    )
    # Lower where no excess is, it is something if it is not at noise 1.
    some = runs.assign(phase_residual=np.where(null, 0.415, 0.1))
    assert "something is taken up" in diagram.in_words(diagram.tables(some, resamples=200))
    every = runs.assign(phase_residual=0.1)
    assert "something is taken up" not in diagram.in_words(diagram.tables(every, resamples=200))
    without = diagram.in_words(diagram.tables(runs[~null], resamples=200))
    assert "no cell has noise 1" in without


def test_words_follow_the_numbers(tables: dict[str, pd.DataFrame]) -> None:
    words = diagram.in_words(tables)
    by_fraction, by_decay = words.split("Label noise by ")[1:]
    assert by_fraction.startswith("train_fraction (weight_decay 1, 4 seeds a cell):")
    assert (
        "level 0.1: between 0.3 and 0.6 for train_fraction 0.3; between 0.6 and 0.9 for train_fraction 0.6; "
        "between 0.9 and 1 for train_fraction 0.9." in by_fraction
    )
    assert "below it throughout, where the control leaves no room for train_fraction" in by_fraction
    # Of 12 cells with something to learn 9 have the excess, 3 of these without noise.
    assert (
        "9 of 12 cells with less noise have a per_matrix excess above 0.1, and 6 of these"
        in by_fraction
    )
    assert "below it throughout for weight_decay 3" in by_decay
    assert "4 seeds a cell such an interval is too narrow" in words
    assert "about 81% of the time" in words
    many = {**tables, "ends": tables["ends"].assign(n=20)}
    assert "too narrow" not in diagram.in_words(many)


def test_words_name_the_cell_in_which_joint_mode_still_idealises() -> None:
    runs = sweep(joint_floor=0.4)
    cell = (runs["split.label_noise"] == 0.6) & (runs["split.train_fraction"] == 0.3)
    joint = np.where(cell, 0.3, -0.01)
    runs = runs.assign(excess_joint=joint, idealised_joint=0.4 + joint)
    by_fraction = diagram.in_words(diagram.tables(runs, resamples=200)).split("Label noise by ")[1]
    assert "the joint excess is in 1 of 3 cells" in by_fraction
    assert (
        "0.70 (label_noise 0.6, train_fraction 0.3, weight_decay 1), beside 0.40 of frozen_input: an excess "
        "of 0.30 [0.30, 0.30], which is surely above 0.1" in by_fraction
    )
    # The others have the phase residual at .5, above that of frozen_input.
    assert "below that of frozen_input in 0 of 2 cells" in by_fraction

    runs = sweep(joint_floor=0.4)
    said = diagram.in_words(diagram.tables(runs, resamples=200)).split("Label noise by ")[1]
    assert "an excess of -0.01 [-0.01, -0.01], which is not surely above 0.1" in said
    everywhere = runs.assign(excess_per_matrix=0.9, test_accuracy=1.0)
    said = diagram.in_words(diagram.tables(everywhere, resamples=200))
    assert (
        "12 of 12 cells with less noise have a per_matrix excess above 0.1, and 0 of these" in said
    )
    assert "idealised accuracy of joint mode" not in said


def test_tables_survive_csv_and_are_drawn_from_it(tables: dict[str, pd.DataFrame]) -> None:
    read = {
        name: pd.read_csv(io.StringIO(table.to_csv(index=False))) for name, table in tables.items()
    }
    assert diagram.in_words(read) == diagram.in_words(tables)
    drawn = study_diagram(read)
    assert len(drawn.data) == 10
    by_name = {trace.name: trace for trace in drawn.data[:5]}
    ideal, excess = by_name["idealised_per_matrix"], by_name["excess_per_matrix"]
    assert ideal.z - excess.z == pytest.approx(ideal.customdata[..., 3])  # frozen_input's own
    for name, sign in (("excess_joint", 1), ("phase_excess", -1)):
        # The network's number and that of frozen_input are shown beside their difference.
        own, frozen = np.moveaxis(by_name[name].customdata[..., 3:], -1, 0)
        assert by_name[name].z == pytest.approx(sign * (own - frozen))
    assert list(excess.x) == ["0.3", "0.6", "0.9"]
    assert list(excess.y) == ["0", "0.3", "0.6", "0.9", "1"]
    # Rows are noises, columns fractions: at noise .9 only the last has it.
    assert excess.z[3] == pytest.approx([0.01, 0.01, 0.515])
    assert list(excess.text[3])[:2] == [".01", ".01"]
    with pytest.raises(ValueError, match="several rows"):
        study_diagram({**read, "by_decay": pd.concat([read["by_decay"]] * 2)})


def test_what_is_missing_is_named() -> None:
    runs = sweep(2)
    with pytest.raises(ValueError, match="excess_joint"):
        diagram.tables(runs.drop(columns="excess_joint"))
    with pytest.raises(ValueError, match="no plane"):
        diagram.tables(runs[runs["train.weight_decay"] == 1])
    mixed = runs.assign(**{"task.p": [31, 59] * (len(runs) // 2)})
    with pytest.raises(ValueError, match=r"p \[31, 59\]"):
        diagram.tables(mixed)


def test_small_setting_has_both_planes_and_trains_what_they_share_once() -> None:
    found = study.load("diagram")
    runs = found.runs("small")
    assert len(runs) < sum(len(each.expanded) for each in found.sweeps["small"])
    noises = {each.split.label_noise for each in runs}
    assert (min(noises), max(noises)) == (0.0, diagram.NULL)
