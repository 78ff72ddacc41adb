"""Events on curves whose events are known, and cuts of curves whose segments are known."""

import math

import numpy as np
import pandas as pd
import pytest

from grok_interp import dynamics, milestones, presets, training
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

STEPS = pd.Index(range(0, 100, 10), name="step")


def constructed(**columns: list[float]) -> pd.DataFrame:
    usual = {
        "train_accuracy": [0, 0.5, 0.99, 1, 1, 1, 1, 1, 1, 1],
        "test_accuracy": [0, 0, 0, 0.995, 0.9, 0.98, 0.99, 1, 1, 1],
        "test_loss": [1.0, 1.2, 2.0, 1.5, 1.0, 0.5, 0.2, 0.1, 0.1, 0.1],
        "weight_norm_W_in": [10, 10, 10.9, 11, 14, 17, 18, 19, 20, 20],
        "weight_norm_W_out": [10, 9, 8, 7, 6, 5, 4, 3, 3, 3],
    }
    return pd.DataFrame(usual | columns, index=STEPS)


def test_events_are_found_where_they_were_put() -> None:
    found = milestones.milestones(constructed())
    # The level itself counts, and an accuracy that falls back below it has not come to stay.
    assert found.memorised == milestones.Onset(20, censored=False)
    assert found.grokked == milestones.Onset(60, censored=False)
    assert found.test_loss_peak == milestones.Peak(20, 2.0, interior=True)
    # A tenth of the rise from 10 to 20 is passed strictly only at 14; W_out decays.
    assert found.growth == {"W_in": 40, "W_out": None}
    assert found.steps == {"memorised": 20, "grokked": 60, "test loss peak": 20, "W_in grows": 40}
    assert str(found).splitlines() == [
        "train accuracy >= 0.99: step 20",
        "test accuracy >= 0.99: step 60",
        "peak of the test loss: 2 at step 20",
        "norm of W_in grows: from step 40",
        "norm of W_out grows: no",
    ]
    assert milestones.milestones(constructed(), level=0.9).grokked.step == 30


@pytest.mark.parametrize(
    "loss",
    [
        np.linspace(2, 0.1, 10),  # falls
        np.linspace(1, 3, 10),  # rises: the largest is the last
        [1, 1.005, *[0.5] * 8],  # a wobble of less than the margin
        [1, 2, *[math.nan] * 8],  # diverged: nothing is known of its end
        [math.nan] * 10,
    ],
)
def test_what_is_no_peak_and_what_is_censored(loss: list[float]) -> None:
    found = milestones.milestones(constructed(test_loss=list(loss), test_accuracy=[0.5] * 10))
    assert not found.test_loss_peak.interior
    assert "peak of the test loss: none" in str(found)
    assert found.grokked == milestones.Onset(90, censored=True)
    assert "test accuracy >= 0.99: not by step 90" in str(found)
    assert set(found.steps) == {"memorised", "W_in grows"}


def test_growth_is_a_tenth_of_the_whole_rise() -> None:
    ramp = pd.DataFrame(
        {
            "train_accuracy": 0.0,
            "test_accuracy": 0.0,
            "test_loss": 1.0,
            "weight_norm_W_in": np.linspace(5, 7, 101),
        },
        index=range(101),
    )
    assert milestones.milestones(ramp).growth == {"W_in": 11}  # the first above 5 + .2
    with pytest.raises(ValueError, match=r"weight_norm_\.\.\."):
        milestones.milestones(ramp.drop(columns="weight_norm_W_in"))


@pytest.mark.slow
def test_a_real_run_without_decay_and_one_with() -> None:
    """arXiv 2301.02679, figure 1, in small: p = 23, 500 neurons."""
    model, split = presets.mean_field(23, 500, 0), ModularTask(23).split(0.7, seed=0)
    config = presets.gradient_descent(model, rate=3.2e-3, steps=1200, eval_every=25, progress=False)
    found = milestones.milestones(training.train(HookedMLP(model), split, config).metrics)
    assert 150 <= found.memorised.step <= 350
    assert 600 <= found.grokked.step <= 1100
    assert found.test_loss_peak.interior
    assert found.test_loss_peak.step < found.grokked.step
    assert all(step is not None and step < found.memorised.step for step in found.growth.values())
    small = presets.doshi(23, 100, 0)
    config = presets.adamw(20.0, steps=200, eval_every=10, progress=False)
    decayed = milestones.milestones(training.train(HookedMLP(small), split, config).metrics)
    assert decayed.growth == {"W_in": None, "W_out": None}


def pieces(n: list[int], slopes: list[float], jumps: list[float]) -> pd.Series:
    """Straight pieces of ``n`` points each, at steps 5 apart; each starts ``jump`` off the last."""
    values, level = [], 0.0
    for points, slope, jump in zip(n, slopes, jumps, strict=True):
        level += jump
        values.append(level + slope * 5 * np.arange(points))
        level += slope * 5 * points
    return pd.Series(np.concatenate(values), index=5 * np.arange(sum(n)))


@pytest.mark.parametrize("jumps", [[0, 0, 0, 0], [3, -0.5, 0.25, 0]])
def test_piecewise_lines_come_back(jumps: list[float]) -> None:
    slopes = [0.01, 0.2, 0.05, 0.0]
    curve = pieces([20, 8, 30, 12], slopes, jumps)
    found = milestones.regimes(curve, 4)
    assert found.segments["start"].tolist() == [0, 100, 140, 290]
    assert found.segments["end"].tolist() == [95, 135, 285, 345]
    assert found.segments["points"].tolist() == [20, 8, 30, 12]
    assert found.boundaries == [100, 140, 290]
    np.testing.assert_allclose(found.segments["slope"], slopes, atol=1e-12)
    np.testing.assert_allclose(
        found.segments["value"], curve.loc[found.segments["start"]], atol=1e-12
    )
    assert found.r2.index.tolist() == [1, 2, 3, 4]
    assert found.r2[4] == 1
    assert (found.r2.diff().dropna() > 0).all()


def test_the_best_cut_is_that_of_trying_them_all() -> None:
    rng = np.random.default_rng(0)
    x = np.sort(rng.choice(1000, 17, replace=False)).astype(float)
    y = rng.standard_normal(17)

    def left(i: int, j: int) -> float:
        residual = y[i:j] - np.polyval(np.polyfit(x[i:j], y[i:j], 1), x[i:j])
        return float(residual @ residual)

    best = min(
        (left(0, i) + left(i, j) + left(j, 17), i, j)
        for i in range(3, 12)
        for j in range(i + 3, 15)
    )
    found = milestones.regimes(pd.Series(y, index=x), 3)
    assert found.boundaries == [x[best[1]], x[best[2]]]
    total = float(np.square(y - y.mean()).sum())
    assert found.r2[3] == pytest.approx(1 - best[0] / total)
    assert found.r2[1] == pytest.approx(1 - left(0, 17) / total)
    again = milestones.regimes(pd.Series(1e6 + 1e-3 * y, index=1e6 + x), 3)
    assert again.boundaries == [1e6 + x[best[1]], 1e6 + x[best[2]]]


def test_a_constant_has_no_r2() -> None:
    found = milestones.regimes(pd.Series([0.1] * 12), 4)
    assert found.r2.isna().all()
    np.testing.assert_allclose(found.segments["slope"], 0, atol=1e-12)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"no column \['test_loss'\]: pass traj"):
        milestones.milestones(constructed().drop(columns="test_loss"))
    with pytest.raises(ValueError, match="4 segments of 3 points or more do not fit 11 points"):
        milestones.regimes(pd.Series(np.arange(11.0)), 4)
    for bad in (
        pd.Series([1.0, math.nan, 2, 3, 4, 5]),
        pd.Series(np.arange(6.0), index=[0, 1, 1, 2, 3, 4]),
    ):
        with pytest.raises(ValueError, match="finite values at increasing steps"):
            milestones.regimes(bad, 1)


def test_dynamics_hands_the_names_on() -> None:
    assert dynamics.onset is milestones.onset
    assert dynamics.regimes is milestones.regimes
    assert dynamics.milestones is milestones.milestones
