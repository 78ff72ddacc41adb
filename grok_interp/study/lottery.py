"""Lottery: does the initial spectrum foretell each neuron's final frequency?

Shares and ranks are those of :func:`grok_interp.lottery.foretold`. Chance alone is a weak null: what
hardly moved foretells itself. So two controls are trained beside: networks on wholly random labels,
which teach no wave, and networks whose W_in is frozen. What either reaches is persistence. The
differences to them are paired by seed.

The best of several scores is best by luck as well, and its interval knows nothing of that. So sentences
are about one, :data:`SCORE`, that of arXiv 2602.16849, settled on after runs had shown it the highest; the
others are listed.

A run of fewer steps is the beginning of a run of more, so a grid over ``train.steps`` follows the
share along training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from grok_interp import lottery
from grok_interp.study.cells import check_seeds, require
from grok_interp.study.statistics import coverage, over_seeds

CLEAN, NOISY, RANDOM, FROZEN = "clean", "noisy", "random labels", "W_in frozen"
KINDS = (CLEAN, NOISY, RANDOM, FROZEN)
"""Kinds of networks: right labels, some redrawn, all redrawn, and a read-out alone on right labels."""
CONTROLS = (RANDOM, FROZEN)
"""Kinds that learn no wave in W_in, and so show what persistence alone foretells."""
SCORE = "aligned"
"""The score that sentences are about: the one after which frequencies grow in arXiv 2602.16849."""
CELL = ["p", "d_mlp", "weight_decay", "kind", "label_noise", "steps"]
"""What tells cells apart; the runs of a cell differ in their seed alone."""
NUMBERS = ["share", "chance", "excess", "percentile", "percentile_chance", "percentile_excess"]
NETWORK = ["feature_movement", "test_accuracy", "grokked", "lottery_live"]
SETTINGS = {
    "task.p": "p",
    "model.d_mlp": "d_mlp",
    "train.weight_decay": "weight_decay",
    "split.label_noise": "label_noise",
    "train.steps": "steps",
    "split.seed": "seed",
}


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The study's tables, means over seeds with their intervals.

    Args:
        runs: A row a run, as ``sweep.read`` gives them: settings, ``lottery_*``, ``feature_movement``,
            ``test_accuracy`` and ``grokked_censored``.

    Returns:
        In the form of :func:`.statistics.over_seeds`: ``"lottery"``, the share and the percentile of each
        predictor, their chance, and the excess over it; ``"against_controls"``, the excess in share less
        that of a control of the same seed; ``"alignment"``, the share of ``aligned`` less that of each
        other predictor in the same run; ``"networks"``, how far W_in moved (cosine with its start),
        accuracy on held-out pairs, share of runs that grokked, and neurons that count.

    Raises:
        ValueError: If a column is missing, or two runs of a cell have one seed.
    """
    labelled = _labelled(runs)
    tidy = pd.concat([_of_predictor(labelled, name) for name in lottery.PREDICTORS])
    return {
        "lottery": over_seeds(tidy, [*CELL, "predictor"], NUMBERS),
        "against_controls": _against_controls(tidy),
        "alignment": _alignment(labelled),
        "networks": over_seeds(labelled, CELL, NETWORK),
    }


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the tables show at the last step, computed from them.

    Args:
        tables: As :func:`tables` makes them, or read back from their CSVs.

    Returns:
        For each width, decay and label noise what one score foretells beside both controls and a list of the
        other scores; at the end what is not shown.
    """
    shares = tables["lottery"]
    learned = shares[~shares["kind"].isin(CONTROLS)]
    last = learned[learned["steps"] == learned["steps"].max()]
    cells = last.drop_duplicates(CELL)[CELL]
    paragraphs = [_of_cell(tables, cell) for _, cell in cells.iterrows()]
    about = (
        f"The sentences are about {SCORE!r}, the score after which frequencies grow in arXiv 2602.16849. It "
        "was settled on when runs had shown it the highest of four, so its numbers are chosen ones."
    )
    return "\n\n".join([about, *paragraphs, _overall(tables, last)])


def _labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with the columns of :data:`CELL` and :data:`NETWORK`, every one a plain name."""
    wanted = [*SETTINGS, "train.trainable", "feature_movement", "test_accuracy"]
    wanted += ["grokked_censored", "lottery_live"]
    require(runs, wanted)
    found = runs.rename(columns=SETTINGS)
    found["grokked"] = 1.0 - found["grokked_censored"].astype(float)
    found["kind"] = [
        _kind(noise, trained)
        for noise, trained in zip(found["label_noise"], found["train.trainable"], strict=True)
    ]
    check_seeds(found, CELL)
    return found


def _kind(label_noise: float, trainable: object) -> str:
    if isinstance(trainable, str) and "W_in" not in json.loads(trainable):
        return FROZEN
    return CLEAN if label_noise == 0 else RANDOM if label_noise == 1 else NOISY


def _of_predictor(labelled: pd.DataFrame, predictor: str) -> pd.DataFrame:
    """Cell, seed and numbers of one predictor, a row a run."""
    found = labelled[[*CELL, "seed"]].assign(predictor=predictor)
    for name in ("share", "chance", "percentile", "percentile_chance"):
        found[name] = labelled[f"lottery_{predictor}_{name}"].astype(float)
    found["excess"] = found["share"] - found["chance"]
    found["percentile_excess"] = found["percentile"] - found["percentile_chance"]
    return found


def _against_controls(tidy: pd.DataFrame) -> pd.DataFrame:
    """Excess less that of each control of the same seed, where it was trained alike."""
    alike = ["p", "d_mlp", "weight_decay", "steps", "seed", "predictor"]
    parts = []
    for control in CONTROLS:
        theirs = tidy.loc[tidy["kind"] == control, [*alike, "excess"]]
        both = tidy[~tidy["kind"].isin(CONTROLS)].merge(theirs, on=alike, suffixes=("", "_control"))
        both["difference"] = both["excess"] - both["excess_control"]
        parts.append(both.assign(control=control))
    return over_seeds(pd.concat(parts), [*CELL, "predictor", "control"], ["difference"])


def _alignment(labelled: pd.DataFrame) -> pd.DataFrame:
    """How much larger the share of ``aligned`` is than that of the others, run by run."""
    parts = []
    for other in lottery.PREDICTORS:
        if other == "aligned":
            continue
        each = labelled[CELL].assign(other=other)
        each["difference"] = (
            labelled["lottery_aligned_share"] - labelled[f"lottery_{other}_share"]
        ).astype(float)
        parts.append(each)
    return over_seeds(pd.concat(parts), [*CELL, "other"], ["difference"])


def _of_cell(tables: Mapping[str, pd.DataFrame], cell: pd.Series[Any]) -> str:
    """What a kind of network shows at its last step, and what its controls say to that."""
    numbers, network = _at(tables["lottery"], cell), _at(tables["networks"], cell)
    rows = {name: _row(numbers, predictor=SCORE, measure=name) for name in NUMBERS}
    grokked, moved = (
        _row(network, measure=name)["mean"] for name in ("grokked", "feature_movement")
    )
    labels = "no" if cell["kind"] == CLEAN else f"{cell['label_noise']:.0%}"
    what = (
        f"p={cell['p']}, {cell['d_mlp']} neurons, weight decay {cell['weight_decay']:g}, {labels} label "
        f"noise, {cell['steps']:,} steps, {rows['share']['n']} seeds, of which {grokked:.0%} grokked; W_in "
        f"keeps a cosine of {moved:.2f} with its start. The maximum of {SCORE!r} is the final frequency of "
        f"{_percent(rows['share'])} of the neurons ({rows['chance']['mean']:.1%} if neurons are paired at "
        f"random), whose mean rank is {rows['percentile']['mean']:.2f} of 1 "
        f"({rows['percentile_chance']['mean']:.2f}). "
        f"{_of_alignment(_at(tables['alignment'], cell))}"
    )
    return "\n\n".join([what, *_of_controls(tables, cell), *_of_others(tables, cell)])


def _of_alignment(rows: pd.DataFrame) -> str:
    row = _row(rows, other="joint")
    verb = _sign(row, "adds to", "takes from", "changes nothing that these seeds can tell in")
    return f"Phase alignment {verb} the share of the magnitudes alone ('joint'): {_points(row)}."


def _of_controls(tables: Mapping[str, pd.DataFrame], cell: pd.Series[Any]) -> list[str]:
    """Whether more is foretold than in each kind of networks that learned no wave."""
    against = _at(tables["against_controls"], cell)
    there = [control for control in CONTROLS if control in set(against["control"])]
    if not there:
        return ["No control was trained beside it, so how much is persistence is open."]
    networks = _at(tables["networks"], cell.drop(["kind", "label_noise"]))
    items, not_passed = [], []
    for control in there:
        row = _row(against, control=control, predictor=SCORE)
        moved = _row(networks, kind=control, measure="feature_movement")["mean"]
        reached = _sign(row, "less", "more", "as much, for all that these seeds can tell")
        items.append(
            f"- {control}, where W_in keeps a cosine of {moved:.2f}: {_points(row)}; there it is {reached}"
        )
        if not row["low"] > 0:
            not_passed.append(control)
    absent = [control for control in CONTROLS if control not in there]
    if not_passed:
        names = " nor above ".join(repr(control) for control in not_passed)
        verdict = (
            f"It is not above {names}, where no wave is learned in W_in: that more than persistence is at "
            "work is not shown."
        )
    elif absent:
        verdict = f"Beside it no {absent[0]!r} was trained: part of it may be persistence."
    else:
        verdict = "Persistence alone reaches less in both controls."
    return [
        "Excess over chance, less that of each control, paired by seed:",
        "\n".join(items),
        verdict,
    ]


def _of_others(tables: Mapping[str, pd.DataFrame], cell: pd.Series[Any]) -> list[str]:
    """The scores that no sentence is about, with the same numbers."""
    numbers, against = _at(tables["lottery"], cell), _at(tables["against_controls"], cell)
    items = []
    for predictor in lottery.PREDICTORS:
        if predictor == SCORE:
            continue
        mine = _at(against, pd.Series({"predictor": predictor}))
        differences = "".join(
            f"; against {control} {_points(_row(mine, control=control))}"
            for control in CONTROLS
            if control in set(mine["control"])
        )
        share = _row(numbers, predictor=predictor, measure="share")
        items.append(f"- {predictor!r}: {_percent(share)}{differences}")
    return ["Shares of the other scores, and the same differences:", "\n".join(items)]


def _overall(tables: Mapping[str, pd.DataFrame], last: pd.DataFrame) -> str:
    """How far it goes, and what none of it shows."""
    excess = last[last["measure"] == "excess"]
    against = tables["against_controls"]
    against = against[against["steps"] == last["steps"].max()]
    off = (against["low"] > 0) | (against["high"] < 0)
    seeds = int(excess["n"].min())
    n = pd.concat([excess["n"], against["n"]])
    compared = f", and {off.sum()} of {len(against)} differences to controls are off 0"
    counted = (
        f"Over chance are {(excess['low'] > 0).sum()} of {len(excess)} shares (interval above 0)"
        f"{compared if len(against) else ''}. If all were 0 in truth, {(1 - n.map(coverage)).sum():.1f} of "
        f"these {len(n)} intervals would be expected off it: 95% bootstrap intervals of {seeds} seeds cover "
        f"about {coverage(seeds):.0%}."
    )
    largest = float(last.loc[last["measure"] == "share", "mean"].max())
    most = "most neurons end" if largest < 0.5 else "some neurons end"
    sentences = [
        f"No score names more than {largest:.0%}: even at best {most} at a frequency that it does not name."
    ]
    shares = tables["lottery"]
    frozen = shares[(shares["kind"] == FROZEN) & (shares["measure"] == "share")]
    if len(frozen):
        row = frozen.iloc[int(frozen["mean"].argmax())]
        sentences.append(
            "A share alone is no evidence of a lottery: where W_in is frozen and nothing but a read-out "
            f"is learned, {row['predictor']!r} names {row['mean']:.0%}, since what does not move foretells "
            "itself."
        )
    sentences.append("That a spectrum foretells the winner does not say by what path it wins.")
    return f"{counted}\n\n{' '.join(sentences)}"


def _at(table: pd.DataFrame, cell: pd.Series[Any]) -> pd.DataFrame:
    """The rows of a table that are of a cell."""
    return table[(table[list(cell.index)] == cell).all(axis=1)]


def _row(table: pd.DataFrame, **where: str) -> pd.Series[Any]:
    """The one row of a table with these values."""
    return _at(table, pd.Series(where)).iloc[0]


def _sign(row: pd.Series[Any], above: str, below: str, neither: str) -> str:
    return above if row["low"] > 0 else below if row["high"] < 0 else neither


def _percent(row: pd.Series[Any]) -> str:
    return f"{row['mean']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"


def _points(row: pd.Series[Any]) -> str:
    """A difference of shares in percentage points."""
    mean, low, high = (100 * row[name] for name in ("mean", "low", "high"))
    return f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
