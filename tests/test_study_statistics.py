"""Statistics over seeds, on samples and dependences that are known."""

import math

import numpy as np
import pandas as pd
import pytest

from grok_interp.study import statistics
from grok_interp.verdict import bootstrap_mean


def test_over_seeds_is_the_mean_and_interval_of_each_group() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(12)],
            "noise": [0.3, 0.0, 0.0] * 4,
            "accuracy": rng.random(12),
            "residual": [math.nan, 1.0, 2.0] * 4,
        }
    )
    found = statistics.over_seeds(frame, ["noise"], ["accuracy", "residual"], resamples=200)
    assert list(found) == ["noise", "measure", "mean", "low", "high", "n", "missing"]
    assert found["noise"].tolist() == [0.0, 0.0, 0.3, 0.3]
    clean = frame.loc[frame["noise"] == 0, "accuracy"]
    assert tuple(found.loc[0, ["mean", "low", "high"]]) == bootstrap_mean(list(clean), 0, 200)
    assert found.loc[1, ["mean", "n", "missing"]].tolist() == [1.5, 8, 0]
    # A group in which nothing is known has no mean, and says so.
    assert math.isnan(found.loc[3, "mean"])
    assert found.loc[3, ["n", "missing"]].tolist() == [0, 4]


def test_over_seeds_without_groups_and_with_one_run() -> None:
    frame = pd.DataFrame({"x": [1.0, 3.0]})
    (row,) = statistics.over_seeds(frame, [], ["x"]).to_dict("records")
    assert (row["mean"], row["low"], row["high"], row["n"]) == (2.0, 1.0, 3.0, 2)
    (row,) = statistics.over_seeds(frame[:1], [], ["x"]).to_dict("records")
    assert row["mean"] == 1.0
    assert math.isnan(row["low"])


def test_over_seeds_refuses_rows_that_are_not_independent() -> None:
    frame = pd.DataFrame({"run": ["a", "a"], "mode": ["joint", "input"], "x": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"run 'a' has several rows in one group of \[\]"):
        statistics.over_seeds(frame, [], ["x"])
    assert len(statistics.over_seeds(frame, ["mode"], ["x"])) == 2
    with pytest.raises(ValueError, match=r"no column \['y'\]"):
        statistics.over_seeds(frame, ["mode"], ["y"])
