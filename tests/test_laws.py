"""Times and laws from curves whose laws are known."""

import math

import numpy as np
import pandas as pd
import pytest

from grok_interp import landscape

KEYS = {"seed": 0, "size": 10, "lr_rule": "fixed"}


def run(
    train: list[float], test: list[float], norm: list[float], alpha: float = 2.0, **fields
) -> pd.DataFrame:
    """Evaluations every 10 steps."""
    return pd.DataFrame(
        {
            "alpha": alpha,
            **(KEYS | {"lr": 1e-3, "weight_decay": 1.0} | fields),
            "step": 10 * np.arange(len(train)),
            "train_accuracy": train,
            "test_accuracy": test,
            "weight_norm": norm,
        }
    )


def test_times_are_the_first_steps_from_which_on_an_accuracy_stays() -> None:
    table = pd.concat(
        [
            run([0, 1, 0.9, 0.9, 1], [0, 0.95, 0.1, 0.9, 0.9], [9, 8, 7, 6, 5]),
            run([0, 0.8, 0.8, 0.8, 0.8], [0, 0.1, 0.2, 0.2, 0.95], [9, 8, 7, 6, 5], alpha=4.0),
            run([1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [9, 9, 9, 9, 9], weight_decay=0.0),
        ]
    )
    found = landscape.times(table.sample(frac=1, random_state=1)).sort_values(
        ["alpha", "weight_decay"]
    )
    assert list(found["t_train"]) == [0, 10, 40]
    assert list(found["train_censored"]) == [False, False, True]
    assert list(found["t_generalise"]) == [40, 30, 40]
    assert list(found["generalise_censored"]) == [True, False, False]
    assert list(found["w_0"]) == [9, 9, 9]
    assert list(found["w_generalise"]) == [9, 6, 5]
    assert list(landscape.times(table, train_level=0.75)["t_train"])[1] == 10
    with pytest.raises(ValueError, match="time='test' is unknown"):
        landscape.generalisation_law(found, time="test")
    strict = landscape.times(table, test_level=0.95)
    assert list(strict["generalise_censored"]) == [True, False, True]


def exact(pressures, exponent: float, last: float, scatter: float = 0.0, seed: int = 0):
    """Times that follow t = 7 x^exponent, cut off at a last step."""
    x = 1 / np.repeat(pressures, 8)
    noise = scatter * np.random.default_rng(seed).standard_normal(len(x))
    t = 7 * x**exponent * np.exp(noise)
    return pd.DataFrame(
        {
            "alpha": 3.0,
            "seed": np.tile(np.arange(8), len(pressures)),
            "size": 10,
            "lr_rule": "fixed",
            "lr": 0.01,
            "weight_decay": 100 / x,
            "t_generalise": np.minimum(t, last),
            "generalise_censored": t > last,
            "t_train": 5.0,
            "train_censored": False,
        }
    )


def test_an_exact_law_comes_back() -> None:
    law = landscape.generalisation_law(exact([0.1, 0.01, 0.001], 0.8, math.inf))
    assert law.exponent == pytest.approx(0.8)
    assert law.coefficient == pytest.approx(7)
    assert (law.low, law.high) == (pytest.approx(0.8), pytest.approx(0.8))
    assert law.runs == 24
    assert law.censored == 0
    flat = landscape.generalisation_law(exact([0.1, 0.01], 0.8, math.inf), time="train")
    assert flat.exponent == pytest.approx(0)
    assert "x^0.80" in str(law)


def test_products_that_differ_by_rounding_are_one_place() -> None:
    assert 0.006 * 0.1 != 0.0006 * 1.0
    table = exact([0.1, 0.1], 1.0, math.inf)
    table = table.assign(lr=[0.006, 0.0006] * 8, weight_decay=[0.1, 1.0] * 8)
    with pytest.raises(ValueError, match="at 1 values of"):
        landscape.generalisation_law(table)


def test_censored_times_are_bounds_and_neither_dropped_nor_taken_as_they_are() -> None:
    pressures = [0.1, 0.03, 0.01, 0.003]
    table = exact(pressures, 1.0, 1500, scatter=0.6)
    share = table["generalise_censored"].mean()
    assert 0.1 < share < 0.5
    law = landscape.generalisation_law(table)
    dropped = landscape.generalisation_law(table[~table["generalise_censored"]])
    taken = landscape.generalisation_law(table.assign(generalise_censored=False))
    assert law.exponent == pytest.approx(1, abs=0.12)
    assert abs(law.exponent - 1) < min(abs(each.exponent - 1) for each in (dropped, taken)) / 2
    assert law.low < 1 < law.high
    assert law.scatter == pytest.approx(0.6, abs=0.15)
    assert law.censored == table["generalise_censored"].sum()
    assert dropped.exponent < law.exponent


def test_the_decay_of_norms_comes_back_before_and_after_memorising() -> None:
    step = 10 * np.arange(30)
    norm = 150 * np.exp(np.where(step < 50, -0.001 * (step - 50), -0.003 * (step - 50)))
    table = run(
        list(1.0 * (step >= 50)), list(0.9 * (step >= 200)), list(norm), lr=1e-3, weight_decay=2.0
    )
    (row,) = landscape.norm_decay(table.sample(frac=1, random_state=0)).to_dict("records")
    assert row["rate_memorising"] == pytest.approx(0.001)
    assert row["ratio_memorising"] == pytest.approx(0.5)
    assert row["rate_generalising"] == pytest.approx(0.003)
    assert row["ratio_generalising"] == pytest.approx(1.5)
    assert row["r2_memorising"] == row["r2_generalising"] == pytest.approx(1)
    none = landscape.norm_decay(run([0, 1, 1, 1], [0, 1, 1, 1], [4, 3, 2, 1])).iloc[0]
    assert math.isnan(none["rate_memorising"])
    assert math.isnan(none["rate_generalising"])
    free = landscape.norm_decay(table.assign(weight_decay=0.0)).iloc[0]
    assert math.isnan(free["ratio_generalising"])
    assert free["rate_generalising"] == pytest.approx(0.003)
    # A norm that grows has a negative rate, and one off the line an R2 below 1.
    wobbling = table.assign(weight_norm=norm[::-1] * (1 + 0.2 * (step % 20 == 0)))
    again = landscape.norm_decay(wobbling).iloc[0]
    assert again["rate_generalising"] < 0
    assert again["r2_generalising"] < 0.99


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(alpha=np.arange(len(t))), "alpha is .* each has a law of its own"),
        (lambda t: t.assign(size=np.arange(len(t))), "size is .* each has a law of its own"),
        (lambda t: t.assign(weight_decay=0.0), "leave out the runs without decay"),
        (lambda t: t.assign(generalise_censored=True), "0 of 24 runs got there, at 0 values"),
        (
            lambda t: t[t["weight_decay"] == t["weight_decay"].iloc[0]],
            "8 of 8 runs got there, at 1",
        ),
    ],
)
def test_what_has_no_law_is_refused(change, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        landscape.generalisation_law(change(exact([0.1, 0.01, 0.001], 1.0, math.inf)))


def test_bad_tables_are_named() -> None:
    table = run([0, 1], [0, 1], [1, 1])
    with pytest.raises(ValueError, match=r"no column .'weight_norm'"):
        landscape.times(table.drop(columns="weight_norm"))
    with pytest.raises(ValueError, match="give the problem a tolerance"):
        landscape.times(table.assign(test_accuracy=math.nan))
