"""Square, trapezoid or cosine? Fits over weight decay, loss and optimiser, and what they matter.

Every R2 is a median over columns, against a wave of the column's own frequency, amplitude and phase.
Numbers to hold them against (:mod:`grok_interp.waveforms`): a perfect square wave has .81 to its
cosine, a perfect cosine .77 to its square wave; 48% of a cosine's values lie near the plateau by
themselves. The trapezoid has the cosine and, but for the grid of clipping levels, the square wave
among its shapes and a parameter more, so that it fits best says nothing; the clear comparison is
square against cosine, within each run.

Whether the idealised network cares for the waveform is a difference of two accuracies of one run,
per_matrix mode, beside ``frozen_input`` idealised by the same recipe.

Weight decays of AdamW, Adam and SGD are not on one scale: decoupled in the first, a term of the
gradient in the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from grok_interp import sweep
from grok_interp.study.cells import TRAINING as CELL
from grok_interp.study.cells import check_seeds, require
from grok_interp.study.statistics import over_seeds

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
"""Share of weights near the plateaus from which W_in is called binary; a cosine has .48, a square wave 1."""
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
        In the form of :func:`.statistics.over_seeds`: ``"fits"``, R2 of each ``matrix`` to each wave and
        ``square_over_cosine``, their difference within the run, and what the trapezoid has over the better
        of the two; ``"binary"``, the share of W_in near its plateaus, the share of runs in which it is above
        :data:`BINARY`, and accuracy on held-out pairs; ``"decay"``, square_over_cosine and plateau share at
        the largest decay less those at the smallest, paired by seed; ``"idealised"``, accuracy over all
        pairs by waveform, trained beside frozen_input, and the excess; ``"care"``, differences between input
        waves within a run; and, where runs were measured along, ``"training"``, fits and plateau share by
        step.

    Raises:
        ValueError: If a column or comparison is missing, or two runs of a cell have one seed.
    """
    labelled = _labelled(runs)
    fits = pd.concat([_fits(labelled, matrix) for matrix in MATRICES])
    numbers = [f"r2_{wave}" for wave in WAVES] + ["square_over_cosine", "trapezoid_over_both"]
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
    found["square_over_cosine"] = found["r2_square"] - found["r2_cosine"]
    check_seeds(found, CELL)
    return found


def _fits(labelled: pd.DataFrame, matrix: str) -> pd.DataFrame:
    """R2 of one matrix to each wave, a row a run."""
    found = labelled[["run", *CELL]].assign(matrix=matrix)
    for wave in WAVES:
        found[f"r2_{wave}"] = labelled[f"r2_{wave}{MATRICES[matrix]}"]
    found["square_over_cosine"] = found["r2_square"] - found["r2_cosine"]
    better = found[["r2_square", "r2_cosine"]].max(axis=1)
    found["trapezoid_over_both"] = found["r2_trapezoid"] - better
    return found


def _decay(labelled: pd.DataFrame) -> pd.DataFrame:
    """The largest decay against the smallest, where all else is one."""
    alike = [name for name in CELL if name != "weight_decay"]
    numbers = ["square_over_cosine", "plateau_share", "test_accuracy"]
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
        Paragraphs on the shapes, on when weights are binary, on whether the waveform matters, and on what
        none of this shows.
    """
    return "\n\n".join(
        [
            _shapes(tables["fits"]),
            _when_binary(tables),
            _whether_it_matters(tables["care"], tables["idealised"]),
            _not_shown(tables["fits"]),
        ]
    )


def _shapes(fits: pd.DataFrame) -> str:
    """Which of square and cosine each matrix is closer to, cell by cell."""
    sentences = []
    for matrix in MATRICES:
        mine = fits[fits["matrix"] == matrix]
        clear = mine[mine["measure"] == "square_over_cosine"]
        closer = {
            "closer to a square wave": clear[clear["low"] > 0],
            "closer to a cosine": clear[clear["high"] < 0],
            "not to be told apart by these seeds": clear[
                ~(clear["low"] > 0) & ~(clear["high"] < 0)
            ],
        }
        parts = []
        for what, rows in closer.items():
            names = [f"{_name(row)} ({_r2(mine, row)})" for _, row in rows.iterrows()]
            parts.append(f"{what} are {len(rows)} of {len(clear)} settings" + _listed(names))
        sentences.append(f"{matrix}, R2 to square / cosine: {'; '.join(parts)}.")
    more = fits[(fits["measure"] == "trapezoid_over_both") & (fits["matrix"] == "W_in")]
    sentences.append(
        f"A trapezoid has {more['mean'].min():+.3f} to {more['mean'].max():+.3f} over the better of the two "
        "in W_in; it has a parameter more, and both among its shapes."
    )
    return " ".join(sentences)


def _when_binary(tables: Mapping[str, pd.DataFrame]) -> str:
    binary = tables["binary"]
    share = binary[binary["measure"] == "plateau_share"]
    above = share[share["low"] > BINARY]
    names = [f"{_name(row)} ({row['mean']:.2f})" for _, row in above.iterrows()]
    sentences = [
        f"W_in is binary, with more than {BINARY:.0%} of its weights near two levels, in {len(above)} of "
        f"{len(share)} settings{_listed(names)}; a cosine has 48% there by itself."
    ]
    decay = tables["decay"]
    for _, row in decay[decay["measure"] == "square_over_cosine"].iterrows():
        plateau = _same(decay[decay["measure"] == "plateau_share"], row).iloc[0]
        verb = _sign(
            row, "moves W_in towards", "moves W_in away from", "does not clearly move W_in to"
        )
        sentences.append(
            f"{row['loss']}, {row['optimizer']}, {row['label_noise']:.0%} label noise: decay "
            f"{row['largest']:g} in place of {row['smallest']:g} "
            f"{verb} the square wave: {_number(row)} in R2 to square less R2 to cosine, {_number(plateau)} "
            "in the share near the levels, paired by seed."
        )
    if "training" in tables:
        sentences.append(_along(tables["training"], above))
    return " ".join(sentences)


def _along(training: pd.DataFrame, above: pd.DataFrame) -> str:
    """When those that end binary became so, beside when they generalised."""
    parts = []
    for _, row in above.iterrows():
        mine = _same(
            training, row.drop(["steps", "measure", "mean", "low", "high", "n", "missing"])
        )
        share = mine[(mine["measure"] == "plateau_share") & (mine["mean"] > BINARY)]
        solved = mine[(mine["measure"] == "test_accuracy") & (mine["mean"] > BINARY)]
        when = f"step {share['step'].min():,}" if len(share) else "the last step alone"
        grokked = f"step {solved['step'].min():,}" if len(solved) else "no checkpoint"
        parts.append(
            f"{_name(row)} from {when}, held-out accuracy above {BINARY:.0%} from {grokked}"
        )
    start = training[(training["step"] == 0) & (training["measure"] == "plateau_share")]["mean"]
    sentences = (
        [f"Initial weights have {start.min():.2f} to {start.max():.2f}."] if len(start) else []
    )
    if parts:
        sentences.append(f"By checkpoints, in the mean over seeds: {'; '.join(parts)}.")
    return " ".join(sentences)


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
        f"{frozen['mean'].min():.3f} to {frozen['mean'].max():.3f} by the same recipes.",
        f"The input wave makes a difference of {MATTERS:g} or more in accuracy, with an interval off 0, in "
        f"{cared} of {cells} settings by output wave.",
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


def _not_shown(fits: pd.DataFrame) -> str:
    seeds = fits["n"].min()
    return (
        f"Each setting has {seeds} seeds or more. R2 is at the frequency that extraction chose and says "
        "nothing of columns that have none; an R2 of .81 to a cosine is what a perfect square wave has; and "
        "decays of different optimisers are not on one scale."
    )


def _r2(fits: pd.DataFrame, row: pd.Series[Any]) -> str:
    """R2 to both waves in the cell of a row."""
    mine = _same(fits, row[CELL])
    both = (
        mine.loc[mine["measure"] == f"r2_{wave}", "mean"].iloc[0] for wave in ("square", "cosine")
    )
    return " / ".join(f"{each:.2f}" for each in both)


def _name(row: pd.Series[Any]) -> str:
    noise = f" with {row['label_noise']:.0%} label noise" if row["label_noise"] else ""
    return f"{row['loss']} {row['optimizer']} {row['weight_decay']:g}{noise}"


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
