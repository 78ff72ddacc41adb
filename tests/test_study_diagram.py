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

NOISES, FRACTIONS, DECAYS = (0.0, 0.3, 0.6, 0.9), (0.3, 0.6, 0.9), (0.0, 1.0, 3.0)


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
    assert [bool(each["reached"]) for each in lasts] == [True, True, False]
    assert [each["gaps"] for each in lasts] == [0, 0, 0]
    assert math.isnan(end(tables, "weight_decay", 3.0, "excess_per_matrix")["last"])
    assert end(tables, "train_fraction", 0.6, "phase_excess")["last"] == 0.6
    assert end(tables, "train_fraction", 0.6, "test_accuracy")["last"] == 0.0
    joint = end(tables, "train_fraction", 0.6, "excess_joint")
    assert math.isnan(joint["last"])
    assert joint["room"] == pytest.approx(0.03)


def test_an_interval_that_reaches_below_the_level_is_no_end() -> None:
    # Means of .2 at all noises, but spread so that the lower end is at 0 for the larger two.
    runs = sweep()
    late = runs["split.label_noise"] > 0.3
    runs["excess_per_matrix"] = np.where(late, 0.4 * (runs.index % 2), 0.2)
    found = end(diagram.tables(runs, resamples=200), "train_fraction", 0.9, "excess_per_matrix")
    assert found["last"] == 0.3
    # A gap below the end is counted.
    runs["excess_per_matrix"] = np.where(runs["split.label_noise"] == 0.3, 0.0, 0.2)
    found = end(diagram.tables(runs, resamples=200), "train_fraction", 0.9, "excess_per_matrix")
    assert (found["last"], found["gaps"], found["reached"]) == (0.9, 1, False)


def test_words_follow_the_numbers(tables: dict[str, pd.DataFrame]) -> None:
    by_fraction, by_decay, caveat = diagram.in_words(tables).split("\n\n")
    assert "weight_decay 1, 4 seeds a cell" in by_fraction
    assert (
        "is above 0.1 with label noise up to 0.3 for train_fraction 0.3; up to 0.6 for train_fraction 0.6; "
        "up to 0.9, the largest measured, for train_fraction 0.9" in by_fraction
    )
    assert "of no size for train_fraction 0.6, where the control leaves no room" in by_fraction
    # Of 12 cells 9 have the excess, 3 of these without noise.
    assert "9 of 12 cells have an excess in per_matrix mode, and 6 of these" in by_fraction
    assert "joint mode still idealises to 0.96" in by_fraction
    assert "beside 0.97 of frozen_input" in by_fraction
    assert "of no size for weight_decay 3" in by_decay
    assert "few seeds" in caveat

    runs = sweep(joint_floor=0.4).assign(excess_per_matrix=0.9, test_accuracy=1.0)
    other = diagram.in_words(diagram.tables(runs, resamples=200))
    assert "no room" not in other
    assert "12 of 12 cells have an excess in per_matrix mode, and 0 of these" in other
    assert "still idealises" not in other


def test_tables_survive_csv_and_are_drawn_from_it(tables: dict[str, pd.DataFrame]) -> None:
    read = {
        name: pd.read_csv(io.StringIO(table.to_csv(index=False))) for name, table in tables.items()
    }
    assert diagram.in_words(read) == diagram.in_words(tables)
    drawn = study_diagram(read)
    assert len(drawn.data) == 8
    ideal, excess = drawn.data[:2]
    assert ideal.z - excess.z == pytest.approx(ideal.customdata[..., 3])  # frozen_input's own
    assert list(excess.x) == ["0.3", "0.6", "0.9"]
    assert list(excess.y) == ["0", "0.3", "0.6", "0.9"]
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
    assert (min(noises), max(noises)) == (0.0, 0.9)
