"""Square, trapezoid or cosine? Fits over weight decay, loss and optimiser, and what they matter.

Every R2 is a median over columns, against a wave of the column's own frequency, amplitude and phase.
Numbers to hold them against (:mod:`grok_interp.waveforms`): a perfect square wave has .81 to its
cosine, a perfect cosine .77 to its square wave; 48% of a cosine's values lie near the plateau by
themselves. The trapezoid has the cosine and, but for the grid of clipping levels, the square wave
among its shapes and a parameter more, so that it fits best says nothing; the clear comparison is
square against cosine, within each run.

R2 to square less R2 to cosine grows in size with the share of a column that is a wave of any shape. With
a wave s and a rest that is orthogonal to it and to both others, ``w = s + e`` has ``R2(w to v) = R2(s to
v) R2(w to s)`` for either wave v. So the difference over R2(w to s) is that of s alone, and for s stands
the trapezoid::

    shape = (R2 to square - R2 to cosine) / R2 to trapezoid

It is +.19 for a square wave, -.23 for a cosine, and less for what is more peaked. Of columns that hold
hardly a wave it says nothing: noise, too, is closer to the cosine than to the square wave.

Whether the idealised network cares for the waveform is a difference of two accuracies of one run,
per_matrix mode, beside ``frozen_input`` idealised by the same recipe.

Weight decays of AdamW, Adam and SGD are not on one scale: decoupled in the first, a term of the
gradient in the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from grok_interp import sweep
from grok_interp.study.cells import TRAINING as CELL
from grok_interp.study.cells import check_seeds, require
from grok_interp.study.statistics import coverage, over_seeds

WAVES = ("square", "trapezoid", "cosine")
SETTINGS = {
    "train.loss": "loss",
    "train.optimizer": "optimizer",
    "train.weight_decay": "weight_decay",
    "train.lr": "lr",
    "task.p": "p",
    "model.d_mlp": "d_mlp",
    "split.train_fraction": "train_fraction",
    "split.label_noise": "label_noise",
    "train.steps": "steps",
    "split.seed": "seed",
}
MATRICES = {"W_in": "", "W_out": "_out"}
"""Matrices, and how the columns of their R2 end."""
BINARY = 0.9
"""Share of the median column's weights near the plateaus from which W_in is called binary: a cosine has .48,
a square wave 1."""
FITS = 0.5
"""R2 to the trapezoid below which no wave is said to fit."""
SQUARE, COSINE = 1 - 8 / math.pi**2, 1 - math.pi**2 / 8
"""Shapes of a perfect square wave and of a perfect cosine, in the continuum."""
MODE = "per_matrix"
"""The frequency mode whose accuracies are compared: in it, random features reach next to nothing."""
NETWORKS = ("trained", "frozen_input")
MATTERS = 0.01
"""A difference of accuracies below this is called none in words."""
PAIRS = (("square", "cosine"), ("trapezoid", "cosine"), ("square", "trapezoid"))


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The study's tables, means over seeds with their intervals.

    Args:
        runs: A row a run, as ``sweep.read`` gives them, with comparisons by ``measure.input_waveforms``
            square, trapezoid and cosine in per_matrix mode.

    Returns:
        In the form of :func:`.statistics.over_seeds`: ``"fits"``, R2 of each ``matrix`` to each wave,
        the ``shape`` within the run (above), and what the trapezoid has over the better of the two;
        ``"binary"``, the share of the median column of W_in near its plateaus, the share of runs in which it
        is above :data:`BINARY`, and accuracy on held-out pairs; ``"decay"``, shape of W_in, plateau share and
        accuracy at the largest decay less those at the smallest, paired by seed; ``"idealised"``, accuracy
        over all pairs by waveform, trained beside frozen_input, and the excess; ``"care"``, differences
        between input waves within a run; and, where runs were measured along, ``"training"``, fits and
        plateau share by step.

    Raises:
        ValueError: If a column or comparison is missing, or two runs of a cell have one seed.
    """
    labelled = _labelled(runs)
    fits = pd.concat([_fits(labelled, matrix) for matrix in MATRICES])
    numbers = [f"r2_{wave}" for wave in WAVES] + ["shape", "trapezoid_over_both"]
    idealised = _idealised(labelled)
    found = {
        "fits": over_seeds(fits, [*CELL, "matrix"], numbers),
        "binary": over_seeds(labelled, CELL, ["plateau_share", "binary", "test_accuracy"]),
        "decay": _decay(labelled),
        "idealised": over_seeds(
            idealised, [*CELL, "input_waveform", "output_waveform"], [*NETWORKS, "excess"]
        ),
        "care": _care(idealised),
    }
    if labelled["checkpoints"].notna().any():
        along = sweep.unnest(labelled, "checkpoints")
        measured = ["plateau_share", "r2_square", "r2_cosine", "test_accuracy"]
        found["training"] = over_seeds(along, [*CELL, "step"], measured)
    return found


def _labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with settings under the names of :data:`CELL`."""
    wanted = [*SETTINGS, "run", "plateau_share", "test_accuracy", "comparisons", "checkpoints"]
    wanted += [f"r2_{wave}{end}" for wave in WAVES for end in MATRICES.values()]
    require(runs, wanted)
    # Checkpoints have columns of the same names as the run, so settings get theirs first.
    found = runs.rename(columns=SETTINGS)
    found["binary"] = (found["plateau_share"] > BINARY).astype(float)
    found["shape"] = _shape(found)
    check_seeds(found, CELL)
    return found


def _fits(labelled: pd.DataFrame, matrix: str) -> pd.DataFrame:
    """R2 of one matrix to each wave, a row a run."""
    found = labelled[["run", *CELL]].assign(matrix=matrix)
    for wave in WAVES:
        found[f"r2_{wave}"] = labelled[f"r2_{wave}{MATRICES[matrix]}"]
    found["shape"] = _shape(found)
    better = found[["r2_square", "r2_cosine"]].max(axis=1)
    found["trapezoid_over_both"] = found["r2_trapezoid"] - better
    return found


def _shape(fits: pd.DataFrame) -> pd.Series[Any]:
    """Square against cosine whatever the rest of the columns is; NaN where a trapezoid explains nothing."""
    explained = fits["r2_trapezoid"].where(fits["r2_trapezoid"] > 0)
    return (fits["r2_square"] - fits["r2_cosine"]) / explained


def _decay(labelled: pd.DataFrame) -> pd.DataFrame:
    """The largest decay against the smallest, where all else is one."""
    alike = [name for name in CELL if name != "weight_decay"]
    numbers = ["shape", "plateau_share", "test_accuracy"]
    parts = []
    for _, group in labelled.groupby(alike):
        smallest, largest = group["weight_decay"].min(), group["weight_decay"].max()
        if smallest == largest:
            continue
        few, much = (
            group.loc[group["weight_decay"] == decay, [*alike, "seed", *numbers]]
            for decay in (smallest, largest)
        )
        both = much.merge(few, on=[*alike, "seed"], suffixes=("", "_smallest"))
        for name in numbers:
            both[name] = both[name] - both[f"{name}_smallest"]
        parts.append(both.assign(smallest=smallest, largest=largest))
    if not parts:
        columns = [*alike, "smallest", "largest", "measure", "mean", "low", "high", "n", "missing"]
        return pd.DataFrame(columns=columns)
    return over_seeds(pd.concat(parts), [*alike, "smallest", "largest"], numbers)


def _idealised(labelled: pd.DataFrame) -> pd.DataFrame:
    """Accuracies by waveform, a row a run and recipe, trained and frozen_input side by side."""
    each = sweep.unnest(labelled, "comparisons")
    each = each[(each["frequency"] == MODE) & (each["replaced"] == "all")]
    absent = [wave for wave in WAVES if wave not in set(each["input_waveform"])]
    if absent:
        raise ValueError(
            f"no run was idealised with {absent} in {MODE} mode: give measure.input_waveforms = "
            f"{list(WAVES)} and measure.frequencies that hold {MODE!r}"
        )
    key = ["run", *CELL, "input_waveform", "output_waveform"]
    both = [
        each.loc[each["network"] == name, [*key, "mean"]].rename(columns={"mean": name})
        for name in NETWORKS
    ]
    found = both[0].merge(both[1], on=key)
    found["excess"] = found["trained"] - found["frozen_input"]
    return found


def _care(idealised: pd.DataFrame) -> pd.DataFrame:
    """Differences of accuracy between input waves within a run, of the trained network."""
    key = ["run", *CELL, "output_waveform"]
    wide = idealised.pivot_table("trained", key, "input_waveform")
    parts = [
        (wide[one] - wide[other]).rename("difference").reset_index().assign(one=one, other=other)
        for one, other in PAIRS
    ]
    return over_seeds(pd.concat(parts), [*CELL, "output_waveform", "one", "other"], ["difference"])


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the tables show, computed from them.

    Args:
        tables: As :func:`tables` makes them, or read back from their CSVs.

    Returns:
        Paragraphs and lists on the shapes, on when weights are binary, on what decay does, on whether the
        waveform matters, and on what none of this shows.
    """
    return "\n\n".join(
        [
            _shapes(tables),
            _when_binary(tables),
            *_of_decays(tables),
            _whether_it_matters(tables["care"], tables["idealised"]),
            _not_shown(tables),
        ]
    )


def _shapes(tables: Mapping[str, pd.DataFrame]) -> str:
    """Which of square and cosine each matrix is closer to, cell by cell."""
    fits = tables["fits"]
    start = _start(tables, "r2_square"), _start(tables, "r2_cosine")
    initial = (
        f" Before training W_in has R2 {start[0]} / {start[1]} to square / cosine."
        if all(start)
        else ""
    )
    parts = [
        "Shape is R2 to the square wave less R2 to the cosine, over R2 to the trapezoid: about "
        f"{SQUARE:+.2f} for perfect square waves and {COSINE:+.2f} for perfect cosines, however much noise "
        f"lies about them. Where R2 to the trapezoid is below {FITS:g} neither wave is said to fit.{initial}"
    ]
    for matrix in MATRICES:
        mine = fits[fits["matrix"] == matrix]
        clear = mine[mine["measure"] == "shape"]
        fitted = pd.Series([_fitted(mine, row) for _, row in clear.iterrows()], clear.index, bool)
        square, cosine = clear["low"] > 0, clear["high"] < 0
        items = []
        for what, where in (
            ("closer to a square wave", fitted & square),
            ("closer to a cosine", fitted & cosine),
            ("not to be told apart by these seeds", fitted & ~square & ~cosine),
            ("neither fits", ~fitted),
        ):
            rows = clear[where]
            names = [f"{_name(row)} ({_r2(mine, row)})" for _, row in rows.iterrows()]
            items.append(f"- {what}: {len(rows)} of {len(clear)} settings{_listed(names)}")
        parts += [f"{matrix}, R2 to square / cosine, and shape:", "\n".join(items)]
    more = fits[(fits["measure"] == "trapezoid_over_both") & (fits["matrix"] == "W_in")]
    parts.append(
        f"A trapezoid has {more['mean'].min():+.3f} to {more['mean'].max():+.3f} over the better of "
        "the two in W_in; it has a parameter more, and both among its shapes."
    )
    return "\n\n".join(parts)


def _when_binary(tables: Mapping[str, pd.DataFrame]) -> str:
    """Where W_in is binary, and when it first was, beside when the network first generalised."""
    share = tables["binary"][tables["binary"]["measure"] == "plateau_share"]
    above = share[share["low"] > BINARY]
    steps = " or ".join(f"1/{p}" for p in sorted(share["p"].unique()))
    start = _start(tables, "plateau_share")
    initial = f", and weights before training {start}" if start else ""
    parts = [
        f"W_in is called binary where more than {BINARY:.0%} of the weights of its median column lie near "
        f"two levels. A cosine has 48% there by itself{initial}. The share of a column moves in steps of "
        f"{steps}, one weight: an interval of no width means that all seeds are on one step, not that the "
        "share is known so well.",
        f"Binary: {len(above)} of {len(share)} settings" + (":" if len(above) else "."),
    ]
    items = [
        f"- {_name(row)}: {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        + (_along(tables["training"], row) if "training" in tables else "")
        for _, row in above.iterrows()
    ]
    return "\n\n".join([*parts, "\n".join(items)] if items else parts)


def _along(training: pd.DataFrame, row: pd.Series[Any]) -> str:
    """The first checkpoint at which a cell was binary, and the first at which it had generalised."""
    mine = _same(training, row)
    first = []
    for measure in ("plateau_share", "test_accuracy"):
        steps = mine.loc[(mine["measure"] == measure) & (mine["mean"] > BINARY), "step"]
        first.append(f"first at step {steps.min():,}" if len(steps) else "at no checkpoint")
    return (
        f"; in the mean over seeds above {BINARY:.0%} {first[0]}, held-out accuracy above {BINARY:.0%} "
        f"{first[1]}"
    )


def _of_decays(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What the largest decay makes of the shape, beside the smallest; nothing where there is one decay."""
    decay, fits = tables["decay"], tables["fits"]
    W_in = fits[fits["matrix"] == "W_in"]
    items = []
    for _, row in decay[decay["measure"] == "shape"].iterrows():
        plateau = _same(decay[decay["measure"] == "plateau_share"], row).iloc[0]
        ends = [W_in[W_in["weight_decay"] == row[end]] for end in ("smallest", "largest")]
        r2, shape = ([_mean(end, row, name) for end in ends] for name in ("r2_trapezoid", "shape"))
        explained = f"R2 to the trapezoid {r2[0]:.2f} and {r2[1]:.2f}"
        if not all(each >= FITS for each in r2):
            told = f"at one of the two at least neither wave fits ({explained}), so shapes are not compared"
        else:
            verb = _sign(row, "squarer", "less square", "not clearly squarer or less square")
            told = f"{verb}, {_number(row)}, from {shape[0]:+.3f} to {shape[1]:+.3f} ({explained})"
        items.append(
            f"- {row['loss']} {row['optimizer']}{_noise(row)}, {row['smallest']:g} to {row['largest']:g}: "
            f"{told}; the median column's share near two levels {_number(plateau)}"
        )
    head = "The shape of W_in from the smallest decay to the largest, paired by seed:"
    return [head, "\n".join(items)] if items else []


def _whether_it_matters(care: pd.DataFrame, idealised: pd.DataFrame) -> str:
    sizes = care.assign(size=care["mean"].abs()).sort_values("size", ascending=False)
    clear = sizes[((sizes["low"] > 0) | (sizes["high"] < 0)) & (sizes["size"] >= MATTERS)]
    cells = len(care.drop_duplicates([*CELL, "output_waveform"]))
    cared = len(clear.drop_duplicates([*CELL, "output_waveform"]))
    trained = idealised[idealised["measure"] == "trained"]
    frozen = idealised[idealised["measure"] == "frozen_input"]
    sentences = [
        f"Idealised in {MODE} mode, trained networks score {trained['mean'].min():.3f} to "
        f"{trained['mean'].max():.3f} by setting and waveforms, and frozen_input "
        f"{frozen['mean'].min():.3f} to {frozen['mean'].max():.3f} by the same recipes.\n\n"
        f"The input wave makes a difference of {MATTERS:g} or more in accuracy, with an interval off 0, in "
        f"{cared} of {cells} settings by output wave, for one at least of {len(PAIRS)} pairs of input waves.",
    ]
    if cared:
        row = clear.iloc[0]
        sentences.append(
            f"The largest is {row['one']} less {row['other']} under {_name(row)} with "
            f"{row['output_waveform']} out: {_number(row)}."
        )
    # Where every wave is right, no difference could show.
    lowest = trained.groupby([*CELL, "output_waveform"])["mean"].min()
    full = int((lowest >= 1 - MATTERS).sum())
    sentences.append(
        f"In {full} of the {cells} every wave reaches {1 - MATTERS:.2f}, where none could show."
    )
    if not cared and full < cells:
        sentences.append("In the others, too, the accuracy does not tell which wave it was.")
    return " ".join(sentences)


def _not_shown(tables: Mapping[str, pd.DataFrame]) -> str:
    fits, decay = tables["fits"], tables["decay"]
    seeds = int(fits["n"].min())
    counted = {
        "shapes": fits[fits["measure"] == "shape"],
        "changes of shape": decay[decay["measure"] == "shape"],
        "differences between input waves": tables["care"],
    }
    by_chance = [
        f"{(1 - rows['n'].map(coverage)).sum():.1f} of {len(rows)} {what}"
        for what, rows in counted.items()
        if len(rows)
    ]
    return (
        f"Each setting has {seeds} seeds or more; 95% bootstrap intervals of {seeds} cover about "
        f"{coverage(seeds):.0%}. If all were 0 in truth, intervals off it would be expected, over all "
        f"settings, of {', '.join(by_chance)}.\n\n"
        "R2 is at the frequency that extraction chose and says nothing of columns that have none; an R2 of "
        ".81 to a cosine is what a perfect square wave has; and decays of different optimisers are not on "
        "one scale."
    )


def _mean(table: pd.DataFrame, row: pd.Series[Any], measure: str) -> float:
    """The mean of a measure in the cell of a row."""
    mine = _same(table, row)
    return float(mine.loc[mine["measure"] == measure, "mean"].iloc[0])


def _fitted(fits: pd.DataFrame, row: pd.Series[Any]) -> bool:
    """Whether a wave fits in the cell of a row."""
    return _mean(fits, row, "r2_trapezoid") >= FITS


def _r2(fits: pd.DataFrame, row: pd.Series[Any]) -> str:
    """R2 to both waves in the cell of a row, and the shape where a wave fits."""
    both = " / ".join(f"{_mean(fits, row, f'r2_{wave}'):.2f}" for wave in ("square", "cosine"))
    return f"{both}, {row['mean']:+.2f}" if _fitted(fits, row) else both


def _start(tables: Mapping[str, pd.DataFrame], measure: str) -> str:
    """Means of a measure at step 0, by setting; nothing where no run was measured then."""
    if "training" not in tables:
        return ""
    training = tables["training"]
    means = training.loc[(training["step"] == 0) & (training["measure"] == measure), "mean"]
    ends = dict.fromkeys(f"{mean:.2f}" for mean in (means.min(), means.max()))
    return " to ".join(ends) if len(means) else ""


def _name(row: pd.Series[Any]) -> str:
    return f"{row['loss']} {row['optimizer']} {row['weight_decay']:g}{_noise(row)}"


def _noise(row: pd.Series[Any]) -> str:
    return f" with {row['label_noise']:.0%} label noise" if row["label_noise"] else ""


def _listed(names: list[str]) -> str:
    return f": {', '.join(names)}" if names else ""


def _same(table: pd.DataFrame, row: pd.Series[Any]) -> pd.DataFrame:
    """Rows of a table that agree with a row in every setting that both have."""
    shared = [name for name in [*CELL, "smallest", "largest"] if name in table and name in row]
    return table[(table[shared] == row[shared]).all(axis=1)]


def _sign(row: pd.Series[Any], above: str, below: str, neither: str) -> str:
    return above if row["low"] > 0 else below if row["high"] < 0 else neither


def _number(row: pd.Series[Any]) -> str:
    return f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
