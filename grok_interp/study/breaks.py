"""What breaks an idealised accuracy: which control comes closest, and what selection alone reaches.

Every null control takes something away from the trained network: its training, the phases of its read-out,
the pairing of its neurons, the names of its tokens. The one that stays nearest to the trained network bounds
what the idealised accuracy shows.

In joint mode that one is ``frozen_input``. Its input weights are random, but each neuron is given the
frequency at which all three of its columns happen to be strong, and a fitted read-out makes them so together:
a selection effect. Its size is measured on networks without any training, by p and d_mlp, and summarised
for each seed by a plane::

    logit(accuracy) = c + slope_p log p + slope_d log d_mlp

fitted by least squares to all cells, and to those with at least twice as many training pairs as neurons:
near ``pairs = d_mlp`` a fitted read-out interpolates the noise, and its accuracy dips. At a fixed train
fraction the number of pairs goes with p^2, so ``slope_p`` holds both.

What is not evidence: a slope as a law. Accuracies are no plane: cells are off it by ``scatter``, which the
interval over seeds does not hold, accuracy may fall with p at one width and rise at another, and it flattens
near 1. A direction is said only where it is that of both sets of cells, and more than the scatter. Nor is the
nearest of several controls that are all at chance.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from grok_interp import sweep
from grok_interp.study import pairing
from grok_interp.study.cells import PUBLISHED, check_seeds
from grok_interp.study.pairing import (
    CHANCE,
    FROZEN,
    STANDARD,
    TRAINED,
    UNTRAINED,
    figures,
    verdict_on,
)
from grok_interp.study.statistics import over_seeds
from grok_interp.verdict import NOT_A_NULL, SMALL_EXCESS

CONTROLS = [
    UNTRAINED,
    FROZEN,
    "refitted_readout",
    "permuted_output",
    "permuted_within_frequency",
    "random_phase",
    "wrong_task",
    "wrong_coordinates",
]
AMPLE = 2
"""Training pairs for each neuron from which on a fitted read-out is away from interpolation."""
LEVEL_SLOPE = 0.01
"""A slope of less changes the odds by under 1% at twice the size."""
CELLS = {"all": 0, f"pairs >= {AMPLE} d_mlp": AMPLE}
"""Cells that a trend is fitted to, and the pairs a neuron that they have at least."""
ABOVE_CHANCE = "above_chance"


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Controls of trained networks, and selection in networks that were not trained (``steps`` 0).

    Args:
        runs: As ``sweep.read`` gives them: some trained, with ``measure.all_controls``, and some of 0 steps.

    Returns:
        By name:

        - ``controls``: for each frequency mode and control the mean over seeds, ``max`` over draws and
          seeds, ``distance`` (trained minus control, paired within runs), ``rank`` by distance among
          null controls, 1 for the nearest, NaN for what is not a null, and chance;
        - ``selection``: joint mode by p and d_mlp: idealised accuracy of ``untrained`` and
          ``frozen_input``, their median absolute phase residuals in radians, and chance, 1/p;
        - ``trend``: the slopes, the scatter (root mean square of what cells are off the plane, in logits)
          and ``above_chance``, accuracy minus 1/p in the mean of the cells; means over seeds.

    Raises:
        ValueError: If there are no trained runs or none of 0 steps, a control or the joint mode is missing,
            the sizes do not vary, or two runs of a setting, or of p and d_mlp untrained, have one seed.
    """
    compared = pairing.side_by_side(runs)
    selection, trained = compared[compared["steps"] == 0], compared[compared["steps"] > 0]
    for rows, advice in ((selection, "train.steps = 0"), (trained, "train.steps above 0")):
        if len(rows) == 0:
            raise ValueError(f"the study needs runs with {advice} and there are none: add them")
    pairing.demand(trained, [TRAINED, *CONTROLS], [])
    pairing.demand(selection, [TRAINED, FROZEN], ["joint"])
    by_seed = _selection(selection, runs)
    check_seeds(by_seed, ["p", "d_mlp"])
    return {
        "controls": _controls(trained, runs),
        "selection": over_seeds(
            by_seed,
            ["p", "d_mlp", "pairs"],
            [UNTRAINED, FROZEN, "phase_residual", "phase_residual_frozen", CHANCE],
        ).drop(columns="missing"),
        "trend": _trend(by_seed),
    }


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """The nearest control of each mode, and how selection scales.

    Args:
        tables: :func:`tables`.

    Returns:
        Paragraphs and lists, with a blank line between.
    """
    said = []
    for setting, rows in tables["controls"].groupby("setting", sort=False):
        items = [_of_mode(mode, each) for mode, each in rows.groupby("frequency", sort=False)]
        said.append(
            f"Trained networks and their controls, idealised ({setting}; chance {rows[CHANCE].iloc[0]:.3f}; "
            f"means over seeds with 95% bootstrap intervals):\n\n{pairing.listed(items)}"
        )
    return "\n\n".join([*said, *_selection_in_words(tables["selection"], tables["trend"])])


def _of_mode(mode: object, rows: pd.DataFrame) -> str:
    """Which null control is nearest, how far the trained network is from it, and what the others reach."""
    nearest = rows[rows["rank"] == 1].iloc[0]
    distance = _interval(nearest, "distance")
    apart = (
        f"{figures(distance)}, {verdict_on(distance['mean'], distance['low'], distance['high'])}"
    )
    rest = rows[rows["rank"] > 1].sort_values("mean").iloc[-1]
    if nearest["mean"] - nearest[CHANCE] < SMALL_EXCESS:
        text = (
            f"{mode}: no null control is above chance by more than {_above_chance(nearest)} "
            f"({nearest['control']}, {figures(nearest)}); trained minus that {apart}"
        )
    else:
        text = (
            f"{mode}: {nearest['control']} comes closest, at {figures(nearest)}; trained minus that {apart}; "
            f"of the other nulls none is above chance by more than {_above_chance(rest)} ({rest['control']}, "
            f"{rest['mean']:.3f})"
        )
    for row in rows[rows["rank"].isna()].to_dict("records"):
        text += f"; {row['control']}, which keeps the trained W_in and is no null, is at {row['mean']:.3f}"
    return text


def _above_chance(row: pd.Series[float]) -> str:
    return f"{max(0.0, row['mean'] - row[CHANCE]):.3f}"


def _selection_in_words(selection: pd.DataFrame, trend: pd.DataFrame) -> list[str]:
    frozen = selection[selection["measure"] == FROZEN]
    chance = selection.loc[selection["measure"] == CHANCE, "mean"]
    low, high = (frozen.sort_values("mean").iloc[end] for end in (0, -1))
    by_p = [_level_reached(p, rows.sort_values("d_mlp")) for p, rows in frozen.groupby("p")]
    by_width = [_along_p(d, rows.sort_values("p")) for d, rows in frozen.groupby("d_mlp")]
    share = frozen["pairs"] / frozen["p"] ** 2
    return [
        f"Without any training, joint mode gives frozen_input {low['mean']:.3f} (p={low['p']}, "
        f"d_mlp={low['d_mlp']}) to {high['mean']:.3f} (p={high['p']}, d_mlp={high['d_mlp']}), where chance, "
        f"1/p, is {chance.min():.3f} to {chance.max():.3f}. In the mean over seeds all widths measured from "
        f"this one on reach the published {PUBLISHED['idealised']}:",
        pairing.listed(by_p),
        "With the modulus, at each width:",
        pairing.listed(by_width),
        (
            f"The number of training pairs grows with p^2, from {frozen['pairs'].min()} to "
            f"{frozen['pairs'].max()}, so what is said of p is said of the pairs as well. "
            if share.max() < 1.05 * share.min()
            else ""
        )
        + _dips(frozen),
        *_of_plane(trend[trend["network"] == FROZEN]),
        _untrained(trend[trend["network"] == UNTRAINED]),
        _residual(selection[selection["measure"] == "phase_residual_frozen"]["mean"]),
    ]


def _level_reached(p: object, rows: pd.DataFrame) -> str:
    """From which width on all widths reach the published accuracy; rows by width."""
    reached = (rows["mean"] >= PUBLISHED["idealised"]).to_numpy()
    last, best = rows.iloc[-1], rows.iloc[int(rows["mean"].argmax())]
    if reached[-1]:
        # As many of the largest as come before the first that does not, counted from the end.
        return f"p={p}: d_mlp={rows['d_mlp'].iloc[len(rows) - int(reached[::-1].cumprod().sum())]}"
    text = f"p={p}: none; the largest, d_mlp={last['d_mlp']}, has {last['mean']:.3f}"
    if best["d_mlp"] != last["d_mlp"]:
        text += f", and d_mlp={best['d_mlp']} has most, {best['mean']:.3f}"
    return text


def _along_p(d_mlp: object, rows: pd.DataFrame) -> str:
    """How accuracy goes from the smallest modulus to the largest at one width; rows by modulus."""
    first, last = rows.iloc[0], rows.iloc[-1]
    verb = "cannot be told from"
    if first["high"] < last["low"]:
        verb = "rises to"
    elif last["high"] < first["low"]:
        verb = "falls to"
    text = f"d_mlp={d_mlp}: {first['mean']:.3f} (p={first['p']}) {verb} {last['mean']:.3f} (p={last['p']})"
    for name, place in (("least", rows["mean"].argmin()), ("most", rows["mean"].argmax())):
        row = rows.iloc[int(place)]
        if row["p"] not in (first["p"], last["p"]):
            text += f", {name} {row['mean']:.3f} (p={row['p']})"
    return text


def _dips(frozen: pd.DataFrame) -> str:
    """Where accuracy is lower than at the next smaller and larger modulus, and the pairs a neuron there."""
    found = []
    for d_mlp, rows in frozen.sort_values("p").groupby("d_mlp"):
        sides = zip(
            rows["low"].shift(1), rows["low"].shift(-1), rows.to_dict("records"), strict=True
        )
        found += [
            (f"d_mlp={d_mlp}, p={row['p']}", row["pairs"] / d_mlp)
            for before, after, row in sides
            if row["high"] < before and row["high"] < after
        ]
    if not found:
        return "At no width is accuracy lower than at both neighbouring moduli."
    where = "; ".join(f"{place} ({ratio:.1f} training pairs a neuron)" for place, ratio in found)
    text = f"Accuracy is lower than at both neighbouring moduli at {where}"
    if all(1 / AMPLE < ratio < AMPLE for _, ratio in found):
        text += ": with about as many pairs as neurons a fitted read-out interpolates the noise"
    return f"{text}."


def _of_plane(slopes: pd.DataFrame) -> list[str]:
    """What twice the size does to the odds of frozen_input, and how far cells are off the plane."""
    fits = [
        (cells, slopes[slopes["cells"] == cells])
        for cells in CELLS
        if cells in set(slopes["cells"])
    ]
    items = []
    for of in ("d_mlp", "p"):
        each = [pairing.one_row(rows, measure=f"slope_log_{of}") for _, rows in fits]
        odds = [
            f"{' '.join(_twice(slope))} (cells: {cells})"
            for (cells, _), slope in zip(fits, each, strict=True)
        ]
        scatter = [float(pairing.one_row(rows, measure="scatter")["mean"]) for _, rows in fits]
        items.append(f"twice the {of} by {', '.join(odds)}: {_direction(each, scatter)}")
    off = " and ".join(
        f"{np.exp(pairing.one_row(rows, measure='scatter')['mean']):.2f} (cells: {cells})"
        for cells, rows in fits
    )
    return [
        "By a plane in log p and log d_mlp the odds of a right answer are multiplied for",
        pairing.listed(items),
        f"Cells are off the plane by a factor of {off} in the odds (root mean square), which these "
        "intervals, of seeds alone, do not hold.",
    ]


def _twice(slope: pd.Series[float]) -> tuple[str, str]:
    """What a slope of the logit does to the odds at twice the size, 2 ** slope, with its interval."""
    mean, low, high = (2 ** float(slope[end]) for end in ("mean", "low", "high"))
    return f"{mean:.2f}", f"[{low:.2f}, {high:.2f}]"


def _direction(slopes: list[pd.Series[float]], scatter: list[float]) -> str:
    """Rising or falling, where all fits say so by their intervals and by more than their scatter."""
    if any(np.isnan(slope["low"]) for slope in slopes):
        return "of one seed"
    if any(
        slope["low"] <= 0 <= slope["high"] or abs(slope["mean"]) < LEVEL_SLOPE for slope in slopes
    ):
        return "no trend"
    if len({slope["mean"] > 0 for slope in slopes}) > 1:
        return "no direction, as the two sets of cells disagree"
    if any(
        abs(slope["mean"]) * np.log(2) < off for slope, off in zip(slopes, scatter, strict=True)
    ):
        return "no direction, as cells are off the plane by more than that"
    return "rising" if slopes[0]["mean"] > 0 else "falling"


def _untrained(rows: pd.DataFrame) -> str:
    """Whether initial weights are above chance, in the mean of all sizes."""
    above = pairing.one_row(rows, cells="all", measure=ABOVE_CHANCE)
    size = verdict_on(above["mean"], above["low"], above["high"])
    text = f"In the mean of all sizes, untrained is {figures(above)} above chance, {size}"
    if above["low"] > 0:
        return f"{text}: selection by itself is seen."
    return f"{text}: what selection does it does with a fitted read-out."


def _residual(residual: pd.Series[float]) -> str:
    none = f"{np.pi / 2:.2f} is no relation"
    if residual.max() < np.pi / 4:
        return (
            f"The phase residual of frozen_input is {residual.min():.2f} to {residual.max():.2f} rad, where "
            f"{none}: a small residual is no sign of training either."
        )
    return f"The phase residual of frozen_input is up to {residual.max():.2f} rad, where {none}."


def _interval(row: pd.Series[float], name: str) -> pd.Series[float]:
    """The mean and ends of a column beside the table's first."""
    return pd.Series({"mean": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})


def _controls(trained: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    ideal = pairing.standard(trained)
    ideal = ideal[ideal["pairs"] == "all"]
    largest = _largest(ideal, runs)
    found = []
    for control in CONTROLS:
        values = ideal.assign(control=control, accuracy=ideal[control])
        values["distance"] = values[TRAINED] - values[control]
        found.append(
            over_seeds(values, ["setting", "frequency", "control"], ["accuracy", "distance"])
        )
    table = pd.concat(found, ignore_index=True)
    key = ["setting", "frequency", "control"]
    wide = table[table["measure"] == "accuracy"][[*key, "mean", "low", "high", "n"]]
    apart = table[table["measure"] == "distance"][[*key, "mean", "low", "high"]]
    renamed = {"mean": "distance", "low": "distance_low", "high": "distance_high"}
    wide = wide.merge(largest, on=key).merge(apart.rename(columns=renamed), on=key)
    null = ~wide["control"].isin(NOT_A_NULL)
    ranks = wide["distance"].where(null).groupby([wide["setting"], wide["frequency"]])
    wide["rank"] = ranks.rank(method="first")
    wide[CHANCE] = wide["setting"].map(ideal.groupby("setting")[CHANCE].first())
    return wide.sort_values(["setting", "frequency", "distance"]).reset_index(drop=True)


def _largest(ideal: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The largest draw over all seeds, by setting, mode and control."""
    settings = ideal.drop_duplicates("run").set_index("run")["setting"]
    each = sweep.unnest(runs[runs["run"].isin(settings.index)], "comparisons")
    for name, wanted in STANDARD.items():
        each = each[each[name] == wanted]
    each = each.assign(setting=each["run"].map(settings), control=each["network"])
    key = ["setting", "frequency", "control"]
    found: pd.DataFrame = each.groupby(key, as_index=False).agg(max=("max", "max"))
    return found


def _selection(selection: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """A row a run that was not trained: accuracies, phase residuals, chance."""
    ideal = pairing.standard(selection)
    ideal = ideal[(ideal["pairs"] == "all") & (ideal["frequency"] == "joint")]
    rows = ideal[["run", "seed", "p", "d_mlp", "train_fraction", TRAINED, FROZEN, CHANCE]]
    rows = rows.rename(columns={TRAINED: UNTRAINED})
    rows["pairs"] = (rows["train_fraction"] * rows["p"] ** 2).astype(int)
    residuals = ["run", "phase_residual", "phase_residual_frozen"]
    return rows.merge(runs[residuals], on="run")


def _trend(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Slopes of each seed, over all cells and over those with ample pairs, and their means."""
    slopes = []
    for cells, least in CELLS.items():
        kept = by_seed[by_seed["pairs"] >= least * by_seed["d_mlp"]]
        for network in (FROZEN, UNTRAINED, CHANCE):
            for seed, rows in kept.groupby("seed"):
                found = _plane(rows, network)
                found[ABOVE_CHANCE] = float((rows[network] - rows[CHANCE]).mean())
                slopes.append({"network": network, "cells": cells, "seed": seed} | found)
    names = ["slope_log_p", "slope_log_d_mlp", "scatter", ABOVE_CHANCE]
    return over_seeds(pd.DataFrame(slopes), ["network", "cells"], names).drop(columns="missing")


def _plane(rows: pd.DataFrame, network: str) -> dict[str, float]:
    """Least squares of the logit on log p and log d_mlp; the scatter is the RMS residual."""
    # Half a pair is added to either side (the empirical logit), since accuracies reach 1.
    count = rows["p"].to_numpy(float) ** 2
    right = rows[network].to_numpy(float) * count
    logit = np.log((right + 0.5) / (count - right + 0.5))
    design = np.column_stack([np.ones(len(rows)), np.log(rows["p"]), np.log(rows["d_mlp"])])
    solution, _, rank, _ = np.linalg.lstsq(design, logit, rcond=None)
    if rank < design.shape[1]:
        raise ValueError(
            f"{len(rows)} sizes of one seed do not determine slopes in p and in d_mlp: vary task.p and "
            "model.d_mlp on a grid, with some cells of many more training pairs than neurons"
        )
    scatter = float(np.sqrt(np.mean((logit - design @ solution) ** 2)))
    return {"slope_log_p": solution[1], "slope_log_d_mlp": solution[2], "scatter": scatter}
