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
    assert "the control that comes closest is frozen_input, at 0.910" in said
    assert "0.060 [0.060, 0.060] above it, which is small" in said
    assert "the control that comes closest is wrong_coordinates, at 0.060" in said
    assert "0.910 [0.910, 0.910] above it, which is large" in said
    assert (
        "frozen_input (cells: all): twice the d_mlp multiplies the odds of a right answer by 2.00"
        in said
    )
    assert "(rising), twice the p by 1.00 [1.00, 1.00] (no trend)" in said
    assert "p=59, at no width measured" in said
    assert "in 0 of 9 sizes, so selection needs the fitted read-out" in said
    assert "a small residual is no sign of training either" in said
    other = runs(slope_p=0.0, slope_d=-5.0)
    other["phase_residual_frozen"] = 1.5
    for row in other["comparisons"]:
        for each in row:
            each["mean"] += 0.2 * (each["network"] == "trained" and len(row) == 2)
    said = breaks.in_words(breaks.tables(other))
    assert "(falling), twice the p by 1.00 [1.00, 1.00] (no trend)" in said
    assert "p=59, d_mlp=64" in said
    assert "in 9 of 9 sizes, so selection by itself is seen" in said
    assert "goes up to 1.50 rad" in said


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
