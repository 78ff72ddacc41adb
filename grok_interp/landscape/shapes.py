"""The L and the U as numbers: where the test loss is least, how far up its arms go, where it is low.

For each seed, of the train loss ``L(alpha)`` and the test loss ``U(alpha)`` of the networks of one size and
one rule of the learning rate, on logarithmic axes::

    w_c          vertex of the parabola through U's smallest value and its two neighbours
    fitted       alphas at which L is at most a tenth of the loss of the best constant answer, which learning
                 nothing reaches
    left_arm     log10 of U at the smallest alpha over U's minimum
    right_arm    the same at the largest alpha that is fitted: what is not learned cannot fail to generalise
    zone         the Goldilocks zone: alphas around the minimum where U is at most halfway up its lower arm,
                 as a logarithm, U^2 <= min U * min(U at the ends of the arms); interpolated
    corner       least alpha from which on all are fitted, where the smallest is not

and over seeds the mean (of alphas the geometric one) with a bootstrap interval. The interval is that of
seeds on one grid of alphas; how far the grid leaves w_c open, ``w_c_left`` to ``w_c_right`` say. The names
are those of arXiv 2210.01117; its figures show the curves, the definitions are this library's.

What is not evidence: a right arm at one learning rate only (see :mod:`.sphere`), or one that is there
only in the *last* values and not in the *best*; and a minimum at the edge of the alphas, which is
reported as such (``interior`` below 1).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from grok_interp.config import Which, check_choice
from grok_interp.verdict import bootstrap_mean

CORNER = 0.1
"""Share of the best constant answer's loss that the train loss must come down to."""
ARM = math.log10(2)
"""An arm of a U goes up at least twofold."""
TINY = 1e-12
"""Losses below this count as this, since float32 gives exact zeros, which have no logarithm."""
DEFINITIONS = {
    "w_c": "alpha at which the test loss is least",
    "w_c_left": "the alpha measured below the best one",
    "w_c_right": "the alpha measured above it",
    "weight_norm_c": "weight norm at w_c",
    "min_test_loss": "test loss of the best alpha (geometric mean over seeds)",
    "zone_low": "lower end of the Goldilocks zone: U halfway up its lower arm, as a logarithm",
    "zone_high": "its upper end",
    "left_arm": "log10 of the test loss at the smallest alpha over its minimum",
    "right_arm": "the same at the largest alpha whose train loss is fitted",
    "interior": "share of seeds whose minimum lies inside the alphas",
    "u": "share of seeds with a U: inside, both arms at least twofold",
    "corner": "least alpha from which on the train loss is a tenth of a constant answer's",
    "fitted_to": "largest alpha at which it is",
    "l": "share of seeds with an L: the train loss comes down to that and stays there",
    "diverged": "share of alphas whose losses are not finite",
    "peak_accuracy": "largest test accuracy over alphas",
    "alpha_of_peak": "alpha at which it is reached",
}
"""What each number of :func:`numbers` is."""
GEOMETRIC = (
    *("w_c", "w_c_left", "w_c_right", "weight_norm_c", "min_test_loss", "zone_low", "zone_high"),
    *("corner", "fitted_to", "alpha_of_peak"),
)


def numbers(frame: pd.DataFrame, which: Which | str = "last") -> pd.DataFrame:
    """The L and the U of each size and rule of the learning rate.

    Args:
        frame: ``landscape.reduced``: a row for each network.
        which: ``"last"`` or ``"best"`` losses and accuracies.

    Returns:
        Columns ``size``, ``lr_rule``, ``number`` (of :data:`DEFINITIONS`), ``value``, ``low``, ``high`` (95%
        over seeds, NaN for one seed) and ``seeds``, those in which the number exists. A zone or corner
        that the alphas do not reach does not exist.

    Raises:
        ValueError: If a column is missing, a network occurs twice, seeds have different alphas, or
            there are fewer than three of them.
    """
    check_choice("which", which, Which)
    prefix = "best_" if which == "best" else ""
    columns = [
        f"{prefix}{side}_{kind}" for side in ("train", "test") for kind in ("loss", "accuracy")
    ]
    missing = {"alpha", "seed", "size", "lr_rule", "weight_norm", "constant_loss", *columns} - set(
        frame
    )
    if missing:
        raise ValueError(f"the frame has no column {sorted(missing)}: pass landscape.reduced(...)")
    rows = []
    for (size, rule), group in frame.groupby(["size", "lr_rule"], sort=False):
        if group.duplicated(["alpha", "seed"]).any():
            raise ValueError(
                f"networks of size {size}, {rule} lr, occur twice at one alpha and seed: pass a row "
                "each, of one weight decay"
            )
        seeds = [one.sort_values("alpha") for _, one in group.groupby("seed")]
        if any(list(one["alpha"]) != list(seeds[0]["alpha"]) for one in seeds):
            raise ValueError(
                f"seeds of size {size}, {rule} lr, have different alphas: pass the same for all"
            )
        each = [_of_seed(one, prefix) for one in seeds]
        for name in DEFINITIONS:
            values = np.array([seed[name] for seed in each])
            exist = values[np.isfinite(values)]
            logarithmic = name in GEOMETRIC
            found = bootstrap_mean(np.log(exist).tolist() if logarithmic else exist.tolist())
            value, low, high = np.exp(found) if logarithmic else found
            rows.append((size, rule, name, value, low, high, len(exist)))
    return pd.DataFrame(
        rows, columns=["size", "lr_rule", "number", "value", "low", "high", "seeds"]
    )


def _of_seed(frame: pd.DataFrame, prefix: str) -> dict[str, float]:
    """The numbers of one seed, its rows in the order of alpha."""
    x = np.log(frame["alpha"].to_numpy(float))
    if len(x) < 3:
        raise ValueError(f"{len(x)} alphas make no landscape: at least three are needed")
    test = _logarithm(frame[f"{prefix}test_loss"])
    train = _logarithm(frame[f"{prefix}train_loss"])
    accuracy = frame[f"{prefix}test_accuracy"].to_numpy(float)
    finite = np.isfinite(test) & np.isfinite(train)
    found = dict.fromkeys(DEFINITIONS, math.nan)
    found |= {"interior": 0.0, "u": 0.0, "l": 0.0, "diverged": float(1 - finite.mean())}
    if np.isfinite(accuracy).any():
        best = int(np.nanargmax(accuracy))
        found |= {"peak_accuracy": float(accuracy[best]), "alpha_of_peak": math.exp(x[best])}
    if not finite[0]:
        return found  # nothing to compare with
    level = math.log(CORNER * float(frame["constant_loss"].iloc[0]))
    fitted = finite & (train <= level)
    place, end = int(test.argmin()), int(np.flatnonzero(fitted)[-1]) if fitted.any() else 0
    interior = 0 < place < int(np.flatnonzero(finite)[-1])
    vertex = _vertex(x, test, place) if interior else float(x[place])
    found |= {
        "w_c": math.exp(vertex),
        # The norm is alpha times that of the start, whatever the grid.
        "weight_norm_c": float(frame["weight_norm"].iloc[place]) * math.exp(vertex - x[place]),
        "min_test_loss": math.exp(test[place]),
        "left_arm": float((test[0] - test[place]) / math.log(10)),
        "interior": float(interior),
    }
    if end > place:
        found["right_arm"] = float((test[end] - test[place]) / math.log(10))
    if interior:
        halfway = (test[place] + (min(test[0], test[end]) if end > place else test[0])) / 2
        found |= {
            "w_c_left": math.exp(x[place - 1]),
            "w_c_right": math.exp(x[place + 1]),
            "zone_low": _edge(x[place::-1], test[place::-1], halfway),
            "zone_high": _edge(x[place:], test[place:], halfway),
            "u": float(found["left_arm"] >= ARM and found["right_arm"] >= ARM),
        }
    if fitted.any():
        found["fitted_to"] = math.exp(x[end])
    unfitted = np.flatnonzero(~fitted)
    if not fitted[0] and fitted[-1]:
        corner = _crossing(x, train, int(unfitted[-1]), level)
        found |= {"corner": math.exp(corner), "l": 1.0}
    return found


def _logarithm(losses: pd.Series[float]) -> np.ndarray:
    """Logarithms of losses; one that is not finite is above all others."""
    values = losses.to_numpy(float)
    return np.where(np.isfinite(values), np.log(np.maximum(values, TINY)), np.inf)


def _vertex(x: np.ndarray, y: np.ndarray, place: int) -> float:
    """Where the parabola through a smallest value and its neighbours is least; between those."""
    near = slice(place - 1, place + 2)
    if not np.isfinite(y[near]).all():
        return float(x[place])
    square, slope, _ = np.polyfit(x[near] - x[place], y[near], 2)
    return float(x[place] - slope / (2 * square)) if square > 0 else float(x[place])


def _edge(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Alpha at which a loss that starts at its minimum first passes a level; NaN if never."""
    above = y > level
    if not above.any():
        return math.nan
    return math.exp(_crossing(x, y, int(above.argmax()) - 1, level))


def _crossing(x: np.ndarray, y: np.ndarray, before: int, level: float) -> float:
    """Where the line from one point to the next passes a level."""
    first, second = y[before], y[before + 1]
    share = (
        (level - first) / (second - first)
        if math.isfinite(second) and math.isfinite(first)
        else 1.0
    )
    return float(x[before] + share * (x[before + 1] - x[before]))
