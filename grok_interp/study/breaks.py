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

What is not evidence: a slope as a law beyond the sizes measured, or near accuracy 1, where it flattens.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from grok_interp import sweep
from grok_interp.study import pairing
from grok_interp.study.cells import PUBLISHED
from grok_interp.study.pairing import FROZEN, STANDARD, TRAINED, UNTRAINED, figures, verdict_on
from grok_interp.study.statistics import over_seeds
from grok_interp.verdict import NOT_A_NULL

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
CHANCE = "chance"
AMPLE = 2
"""Training pairs for each neuron from which on a fitted read-out is away from interpolation."""
LEVEL_SLOPE = 0.01
"""A slope of less changes the odds by under 1% at twice the size."""
CELLS = {"all": 0, f"pairs >= {AMPLE} d_mlp": AMPLE}
"""Cells that a trend is fitted to, and the pairs a neuron that they have at least."""


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Controls of trained networks, and selection in networks that were not trained (``steps`` 0).

    Args:
        runs: As ``sweep.read`` gives them: some trained, with ``measure.all_controls``, and some of 0 steps.

    Returns:
        By name:

        - ``controls``: for each frequency mode and control the mean over seeds, ``max`` over draws and
          seeds, ``distance`` (trained minus control, paired within runs), and ``rank`` by distance among
          null controls, 1 for the nearest; NaN for what is not a null;
        - ``selection``: joint mode by p and d_mlp: idealised accuracy of ``untrained`` and
          ``frozen_input``, their median absolute phase residuals in radians, and chance, 1/p;
        - ``trend``: the slopes, means over seeds.

    Raises:
        ValueError: If there are no trained runs or none of 0 steps, a control or the joint mode is missing,
            or the sizes do not vary.
    """
    compared = pairing.side_by_side(runs)
    selection, trained = compared[compared["steps"] == 0], compared[compared["steps"] > 0]
    for rows, advice in ((selection, "train.steps = 0"), (trained, "train.steps above 0")):
        if len(rows) == 0:
            raise ValueError(f"the study needs runs with {advice} and there are none: add them")
    pairing.demand(trained, [TRAINED, *CONTROLS], [])
    pairing.demand(selection, [TRAINED, FROZEN], ["joint"])
    by_seed = _selection(selection, runs)
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
        Plain text.
    """
    controls = tables["controls"]
    said = []
    for (setting, mode), rows in controls.groupby(["setting", "frequency"], sort=False):
        nearest = rows[rows["rank"] == 1].iloc[0]
        distance = _interval(nearest, "distance")
        size = verdict_on(distance["mean"], distance["low"], distance["high"])
        said.append(
            f"In {mode} mode ({setting}) the control that comes closest is {nearest['control']}, at "
            f"{figures(nearest)}; the trained network is {figures(distance)} above it, which is {size}. "
            f"{_others(rows)}"
        )
    return " ".join(said) + "\n\n" + " ".join(_selection_in_words(tables))


def _others(rows: pd.DataFrame) -> str:
    """How far the nulls but the nearest are, and what is no null."""
    rest = rows[rows["rank"] > 1]
    top = rest.sort_values("mean").iloc[-1]
    kept = rows[rows["rank"].isna()]
    text = f"Of the other nulls none has a mean above {top['mean']:.3f} ({top['control']})"
    for row in kept.to_dict("records"):
        text += f"; {row['control']}, which keeps the trained W_in, is at {row['mean']:.3f}"
    return text + "."


def _selection_in_words(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    selection, trend = tables["selection"], tables["trend"]
    frozen = selection[selection["measure"] == FROZEN]
    low, high = (frozen.sort_values("mean").iloc[end] for end in (0, -1))
    said = [
        f"Without any training, joint mode gives frozen_input {low['mean']:.3f} (p={low['p']}, "
        f"d_mlp={low['d_mlp']}) to {high['mean']:.3f} (p={high['p']}, d_mlp={high['d_mlp']})."
    ]
    level = PUBLISHED["idealised"]
    reached = [
        f"p={p}, " + (f"d_mlp={there.min()}" if len(there) else "at no width measured")
        for p, rows in frozen.groupby("p")
        for there in [rows.loc[rows["mean"] >= level, "d_mlp"]]
    ]
    said.append(f"It reaches the published {level} from these widths on: {'; '.join(reached)}.")
    for cells, network in itertools.product(CELLS, (FROZEN, UNTRAINED, CHANCE)):
        slopes = trend[(trend["network"] == network) & (trend["cells"] == cells)]
        if len(slopes):
            by_d, by_p = (
                _odds(pairing.one_row(slopes, measure=f"slope_log_{of}")) for of in ("d_mlp", "p")
            )
            said.append(
                f"{network} (cells: {cells}): twice the d_mlp multiplies the odds of a right answer by "
                f"{by_d}, twice the p by {by_p}."
            )
    untrained = selection[selection["measure"] == UNTRAINED]
    chance = selection[selection["measure"] == CHANCE]
    above = int((untrained["low"].to_numpy() > chance["mean"].to_numpy()).sum())
    said.append(
        f"untrained is above chance, by its interval, in {above} of {len(untrained)} sizes, so selection "
        + ("by itself is seen." if above > len(untrained) / 2 else "needs the fitted read-out.")
    )
    residual = selection[selection["measure"] == "phase_residual_frozen"]["mean"]
    said.append(
        f"The phase residual of frozen_input is {residual.min():.2f} to {residual.max():.2f} rad, where "
        f"{np.pi / 2:.2f} is no relation: a small residual is no sign of training either."
        if residual.max() < np.pi / 4
        else f"The phase residual of frozen_input goes up to {residual.max():.2f} rad; no relation: "
        f"{np.pi / 2:.2f}."
    )
    return said


def _odds(slope: pd.Series[float]) -> str:
    """What a slope of the logit does to the odds at twice the size, 2 ** slope, and its direction."""
    mean, low, high = (2 ** float(slope[end]) for end in ("mean", "low", "high"))
    direction = "rising" if mean > 1 else "falling"
    if np.isnan(low):
        direction = "of one seed"
    elif low <= 1 <= high or abs(slope["mean"]) < LEVEL_SLOPE:
        direction = "no trend"
    return f"{mean:.2f} [{low:.2f}, {high:.2f}] ({direction})"


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
    rows = ideal[["run", "seed", "p", "d_mlp", "train_fraction", TRAINED, FROZEN]]
    rows = rows.rename(columns={TRAINED: UNTRAINED})
    rows["pairs"] = (rows["train_fraction"] * rows["p"] ** 2).astype(int)
    rows[CHANCE] = 1 / rows["p"]
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
                slopes.append({"network": network, "cells": cells, "seed": seed} | found)
    names = ["slope_log_p", "slope_log_d_mlp", "scatter"]
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
