"""Controls are ranked by their distance within runs, and slopes of selection come back from a known plane."""

import io
from functools import partial

import numpy as np
import pandas as pd
import pytest

from grok_interp.figures.breaks_study import study_breaks as draw
from grok_interp.study import breaks, pairing
from grok_interp.study.statistics import over_seeds

MEANS = dict.fromkeys(breaks.CONTROLS, 0.02) | {"refitted_readout": 0.95}
NEAR = {"joint": MEANS | {"frozen_input": 0.9, "permuted_output": 0.03}}
NEAR["per_matrix"] = MEANS | {"wrong_coordinates": 0.05}
MODULI, WIDTHS = (23, 59, 113), (64, 256, 1024)


@pytest.fixture(autouse=True, scope="module")
def _few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(breaks, "over_seeds", partial(over_seeds, resamples=50))
        yield


@pytest.fixture(scope="module")
def tables(_few_resamples):
    return breaks.tables(runs())


def record(seed, comparisons, **settings):
    column = dict.fromkeys(pairing.SHORT.values(), 0.5)
    column |= {"task.operation": "add", "split.seed": seed} | settings
    about = {"test_accuracy": 0.01, "phase_residual": 1.57, "phase_residual_frozen": 0.5}
    name = f"{column['train.steps']}-{column['task.p']}-{column['model.d_mlp']}-{seed}"
    return about | column | {"run": name, "comparisons": comparisons, "checkpoints": None}


def comparison(mode, network, mean, spread=0.0):
    way = {"frequency": mode, "input_waveform": "square", "output_waveform": "cosine"}
    values = {"mean": mean, "min": mean - spread, "max": mean + spread, "held_out": mean}
    return way | {"replaced": "all", "network": network, "draws": 20} | values


def trained(seed, near=NEAR):
    """The trained network is .96, and it and the controls move up together by seed."""
    made = []
    for mode, means in near.items():
        for network, mean in {"trained": 0.96, **means}.items():
            made.append(comparison(mode, network, mean + 0.01 * seed, spread=0.005 * seed))
    return record(seed, made, **{"task.p": 59, "model.d_mlp": 512, "train.steps": 2000})


def plane(p, d, slope_p, slope_d):
    """The accuracy at which the empirical logit, with its half pair, is on a plane."""
    odds = np.exp(-1 + slope_p * np.log(p / 59) + slope_d * np.log(d / 256))
    return (odds * (p**2 + 0.5) - 0.5) / (1 + odds) / p**2


def untrained(seed, slope_p=-0.5, slope_d=1.0, dip=0.0):
    rows = []
    for p in MODULI:
        for d in WIDTHS:
            frozen = plane(p, d, slope_p, slope_d)
            if 0.5 * p**2 < 2 * d:
                frozen *= 1 - dip
            made = [
                comparison("joint", "trained", 1 / p),
                comparison("joint", "frozen_input", frozen),
            ]
            rows.append(record(seed, made, **{"task.p": p, "model.d_mlp": d, "train.steps": 0}))
    return rows


def runs(**selection):
    seeds = range(3)
    return pd.DataFrame(
        [trained(s) for s in seeds] + [row for s in seeds for row in untrained(s, **selection)]
    )


def slope(tables, cells, network, of):
    trend = tables["trend"]
    where = (trend["cells"] == cells) & (trend["network"] == network)
    return trend[where & (trend["measure"] == f"slope_log_{of}")].iloc[0]


def test_controls_are_ranked_by_distance_and_the_refitted_one_is_no_null(tables) -> None:
    controls = tables["controls"]
    for mode, nearest, distance in (
        ("joint", "frozen_input", 0.06),
        ("per_matrix", "wrong_coordinates", 0.91),
    ):
        rows = controls[controls["frequency"] == mode].set_index("control")
        assert rows["rank"].idxmin() == nearest
        assert rows.loc[nearest, ["distance", "distance_low", "distance_high"]].tolist() == (
            pytest.approx([distance] * 3)
        )
        assert np.isnan(rows.loc["refitted_readout", "rank"])
        assert sorted(rows["rank"].dropna()) == list(range(1, 8))
        # The largest draw over seeds is that of the last seed.
        assert rows.loc[nearest, "max"] == pytest.approx(0.96 - distance + 0.02 + 0.01)


def test_slopes_come_back_from_a_plane(tables) -> None:
    for cells in breaks.CELLS:
        for of, wanted in (("p", -0.5), ("d_mlp", 1.0)):
            found = slope(tables, cells, "frozen_input", of)
            assert found[["mean", "low", "high"]].tolist() == pytest.approx([wanted] * 3)
            assert found["n"] == 3
    assert slope(tables, "all", "untrained", "p")["mean"] == pytest.approx(
        slope(tables, "all", "chance", "p")["mean"]
    )


def test_a_dip_where_read_outs_interpolate_leaves_the_ample_cells_alone() -> None:
    tables = breaks.tables(runs(slope_p=0.0, slope_d=1.0, dip=0.7))
    ample = list(breaks.CELLS)[1]
    assert slope(tables, ample, "frozen_input", "p")["mean"] == pytest.approx(0, abs=1e-9)
    assert slope(tables, "all", "frozen_input", "p")["mean"] > 0.3


def test_words_follow_the_numbers() -> None:
    said = breaks.in_words(breaks.tables(runs(slope_p=0.0, slope_d=1.0)))
    assert "- joint: frozen_input comes closest, at 0.910" in said
    assert "trained minus that 0.060 [0.060, 0.060], small" in said
    # The nearest of what is at chance, 1/59, is no finding.
    assert "- per_matrix: no null control is above chance by more than 0.043 (wrong_coord" in said
    assert "trained minus that 0.910 [0.910, 0.910], large" in said
    assert "- twice the d_mlp by 2.00 [2.00, 2.00] (cells: all), 2.00" in said
    assert "d_mlp): rising\n- twice the p by 1.00 [1.00, 1.00] (cells: all), 1.00" in said
    assert "d_mlp): no trend\n" in said
    assert "off the plane by a factor of 1.00 (cells: all) and 1.00" in said
    assert "grows with p^2, from 264 to 6384" in said
    assert "untrained is 0.000 [0.000, 0.000] above chance, not to be told from nil" in said
    assert "what selection does it does with a fitted read-out" in said
    assert "a small residual is no sign of training either" in said
    other = runs(slope_p=0.0, slope_d=-5.0)
    other["phase_residual_frozen"] = 1.5
    for row in other["comparisons"]:
        for each in row:
            # In three of nine sizes, by a lot.
            here = each["network"] == "trained" and len(row) == 2 and each["mean"] > 1 / 50
            each["mean"] += 0.24 * here
    said = breaks.in_words(breaks.tables(other))
    assert "d_mlp): falling\n- twice the p by" in said
    assert "is 0.080 [0.080, 0.080] above chance, small: selection by itself is seen" in said
    assert "is up to 1.50 rad" in said


def test_no_direction_is_said_that_cells_do_not_share() -> None:
    tables = breaks.tables(runs(slope_p=-0.1, slope_d=3.0, dip=0.5))
    said = breaks.in_words(tables)
    assert "d_mlp): rising\n- twice the p by" in said
    assert "no direction, as the two sets of cells disagree" in said
    trend = tables["trend"]
    trend.loc[trend["measure"] == "scatter", "mean"] = 3.0 * np.log(2) + 1
    said = breaks.in_words(tables)
    assert "rising\n" not in said
    assert "no direction, as cells are off the plane by more than that\n" in said
    assert "off the plane by a factor of 21.75 (cells: all)" in said


def test_words_tell_widths_and_moduli_one_by_one(tables) -> None:
    def said(at, p=None, d_mlp=None):
        found = tables["selection"].copy()
        for size, mean in at.items():
            where = (found["p"] == (p or size)) & (found["d_mlp"] == (d_mlp or size))
            where &= found["measure"] == "frozen_input"
            found.loc[where, ["mean", "low", "high"]] = [mean, mean - 0.01, mean + 0.01]
        return breaks.in_words(tables | {"selection": found})

    # The width from which on all reach it is not the first that does.
    assert "\n- p=59: d_mlp=1024\n" in said({64: 0.97, 256: 0.5, 1024: 0.99}, p=59)
    assert "\n- p=59: d_mlp=64\n" in said({64: 0.97, 256: 0.96, 1024: 0.99}, p=59)
    none = "\n- p=59: none; the largest, d_mlp=1024, has 0.900, and d_mlp=64 has most, 0.970\n"
    assert none in said({64: 0.97, 256: 0.5, 1024: 0.9}, p=59)
    dip = said({23: 0.6, 59: 0.3, 113: 0.5}, d_mlp=1024)
    assert "- d_mlp=1024: 0.600 (p=23) falls to 0.500 (p=113), least 0.300 (p=59)\n" in dip
    assert "at d_mlp=1024, p=59 (1.7 training pairs a neuron): with about as many pairs" in dip
    dip = said({23: 0.6, 59: 0.3, 113: 0.605}, d_mlp=64)
    assert "- d_mlp=64: 0.600 (p=23) cannot be told from 0.605 (p=113), least" in dip
    assert "at d_mlp=64, p=59 (27.2 training pairs a neuron)." in dip


def test_a_seed_of_a_size_counts_once() -> None:
    every = runs()
    for column, value in (("train.lr", 0.01), ("split.label_noise", 0.1)):
        more = every[every["train.steps"] == 0].assign(**{column: value})
        both = pd.concat([every, more], ignore_index=True)
        with pytest.raises(ValueError, match=r"several runs are of .*'seed': 0.*by these alone"):
            breaks.tables(both.assign(run=both.index.astype(str)))


def test_what_was_not_measured_is_named() -> None:
    every = runs()
    with pytest.raises(ValueError, match=r"runs with train.steps = 0 and there are none"):
        breaks.tables(every[every["train.steps"] > 0])
    with pytest.raises(ValueError, match=r"runs with train.steps above 0 and there are none"):
        breaks.tables(every[every["train.steps"] == 0])
    with pytest.raises(ValueError, match=r"do not determine slopes.*vary task.p"):
        breaks.tables(every[(every["train.steps"] > 0) | (every["task.p"] == 59)])
    few = every.copy()
    few["comparisons"] = [
        [each for each in row if each["network"] != "random_phase"] for row in every["comparisons"]
    ]
    with pytest.raises(ValueError, match=r"'random_phase'.*all_controls = true"):
        breaks.tables(few)


def test_the_figure_draws_the_tables_and_survives_a_csv(tables) -> None:
    read = {
        name: pd.read_csv(io.StringIO(each.to_csv(index=False))) for name, each in tables.items()
    }
    assert breaks.in_words(read) == breaks.in_words(tables)
    figure = draw(read)
    joint = {t.y[0]: t.x for t in figure.data if t.xaxis == "x2" and t.y[0] is not None}
    assert joint["frozen_input"] == pytest.approx((0.91, 0.93))
    assert joint["idealised"][0] == pytest.approx(0.97)
    (line,) = (
        t for t in figure.data if t.name == "p=59" and t.xaxis == "x3" and t.mode == "lines+markers"
    )
    assert list(line.x) == list(WIDTHS)
    assert list(line.y) == pytest.approx([plane(59, d, -0.5, 1.0) for d in WIDTHS])
    with pytest.raises(ValueError, match=r"no table 'controls'"):
        draw({})
