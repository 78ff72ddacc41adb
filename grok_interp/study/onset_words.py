"""What the tables of the study of onsets show, in words made of their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from grok_interp.outcomes import SOLVED
from grok_interp.study.onset_events import (
    FORETOLD,
    GENERALISING,
    GROKKED,
    KEYS,
    LATENT,
    LEVELS,
    MEMORISED,
    TEST,
    label,
)
from grok_interp.verdict import SMALL_EXCESS

COUNTS = ["first", "second", "together", "unknown"]
"""Columns of the table ``order``: in how many runs which event was certainly first, or neither."""


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the numbers show and do not show, for each share of noisy labels.

    Args:
        tables: Those of :func:`grok_interp.study.onset.tables`.

    Returns:
        Plain text: paragraphs and lists, with a blank line between them.
    """
    said = []
    for noise in tables["prediction"]["label_noise"].unique():
        said += _of_noise(tables, noise)
    said.append(
        "An excess says that waves read from the weights do better than those of random input weights. "
        "It does not say that the network uses them, nor that they cause what comes later. Steps are known "
        "to the spacing of the checkpoints."
    )
    return "\n\n".join(said)


def _of_noise(tables: Mapping[str, pd.DataFrame], noise: float) -> list[str]:
    order, events, floor, prediction, closer, grokked = (
        tables[name][tables[name]["label_noise"] == noise]
        for name in ("order", "events", "floor", "prediction", "closer", "grokked")
    )
    said = [
        *_how_many_grokked(grokked, noise),
        "Which event was certainly first (what had not happened by the last step came after what had):",
        _listed(
            [
                *(_who_is_first(order, event) for event in LATENT[: len(LEVELS)]),
                _memorisation(order),
            ]
        ),
        _joint(floor, events),
    ]
    for later in FORETOLD:
        said += _predicts(prediction, closer, grokked, later)
    return said


def _listed(items: list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _how_many_grokked(grokked: pd.DataFrame, noise: float) -> list[str]:
    """By which step, and beside how many clean runs, since what has not grokked may do so later."""
    n, done = int(grokked["n"].sum()), int(grokked["grokked"].sum())
    text = (
        f"Label noise {noise:g}: {done} of {n} runs grokked by their last step, in {len(grokked)} settings "
        "of width and decay."
    )
    if not noise:
        return [text]
    if done < n:
        text += " Whether the rest would later is not known."
    names = [
        name for name in KEYS if name in ("d_mlp", "weight_decay") or len(grokked.groupby(name)) > 1
    ]
    items = []
    for row in grokked.to_dict("records"):
        setting = ", ".join(f"{name} {row[name]:g}" for name in names if name != "label_noise")
        count = (
            f"not by step {row['last_step']}"
            if not row["grokked"]
            else f"by step {row['last_step']}"
        )
        clean = f"{row['clean_grokked']} of {row['clean']} clean runs"
        items.append(
            f"{setting}: {count} ({row['grokked']} of {row['n']} runs), "
            + (f"by which {clean} had" if row["clean"] else "with no clean run beside them")
        )
    return [f"{text} By setting:", _listed(items)]


def _who_is_first(order: pd.DataFrame, event: tuple[str, float]) -> str:
    """One onset against grokking, test accuracy at its own level, and memorisation."""
    parts = []
    for other in (label(*GROKKED), label(TEST, event[1]), label(*MEMORISED)):
        rows = order[(order["event"] == label(*event)) & (order["against"] == other)]
        first, second, together, unknown = (int(rows[name].sum()) for name in COUNTS)
        rest = {"after it": second, "at the same checkpoint": together, "order unknown": unknown}
        others = "".join(f", {what} in {count}" for what, count in rest.items() if count)
        parts.append(
            f"before {other} in {first} of {rows['n'].sum()} runs{others} (median lead, by setting: "
            f"{_leads(rows)})"
        )
    return f"{label(*event)} came {'; '.join(parts)}."


def _leads(rows: pd.DataFrame) -> str:
    """Range over settings of the median lead; open where censoring leaves it so."""
    least, most = float(rows["lead_least"].min()), float(rows["lead_most"].max())
    if math.isinf(least):
        return "not known" if math.isinf(most) else f"{most:g} steps at most"
    if math.isinf(most):
        return f"{least:g} steps or more"
    return f"{least:g} steps" if least == most else f"{least:g} to {most:g} steps"


def _memorisation(order: pd.DataFrame) -> str:
    """Whether what nobody takes for an algorithm comes before grokking as well."""
    rows = order[(order["event"] == label(*MEMORISED)) & (order["against"] == label(*GROKKED))]
    first, total = int(rows["first"].sum()), int(rows["n"].sum())
    text = f"{label(*MEMORISED)} came before {label(*GROKKED)} in {first} of {total} runs"
    if first > total / 2:
        text += ", so to come before it is by itself no mark of an algorithm"
    return f"{text}."


def _joint(floor: pd.DataFrame, events: pd.DataFrame) -> str:
    """What the control reaches before anything is learned, and the room that it leaves."""
    rows = floor[floor["measure"] == "floor_joint"]
    each = floor[floor["measure"] == "floor_per_matrix"]["mean"]
    of = events[events["event"] == label("excess_joint", SMALL_EXCESS)]
    total, late = int(of["n"].sum()), int(of["censored"].sum())
    low, high = rows["mean"].min(), rows["mean"].max()
    text = (
        f"The idealised frozen_input scores {low:.2f} to {high:.2f} in joint mode ({each.min():.2f} to "
        f"{each.max():.2f} in per_matrix)"
    )
    if low > SMALL_EXCESS:
        text += ", so there the idealised accuracy itself has its onset before anything is learned"
    text += f"; {total - late} of {total} runs came to stay {SMALL_EXCESS:g} above it in joint mode"
    full = int((rows["mean"] + SMALL_EXCESS >= 1).sum())
    if full:
        text += f", which no network could in {full} of {len(rows)} settings"
    return f"{text}."


def _predicts(
    prediction: pd.DataFrame, closer: pd.DataFrame, grokked: pd.DataFrame, later: tuple[str, float]
) -> list[str]:
    """Which events' steps go with that of a later one, and what that can and cannot show."""
    name = label(*later)
    known = prediction[(prediction["against"] == name) & (prediction["comparable"] > 0)]
    if len(known) == 0:
        return [f"No two runs of a setting can be ordered by {name}, so nothing predicts it here."]
    items = []
    for row in known.to_dict("records"):
        if row["low"] > 0:
            what = "the earlier, the earlier"
        elif row["high"] < 0:
            what = "the earlier, the later"
        else:
            what = "no dependence is shown"
        items.append(
            f"{row['event']} {row['gamma']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] over "
            f"{row['comparable']} of {row['pairs']} pairs, {what}"
        )
    about = (
        "Goodman and Kruskal's gamma over pairs of runs of a setting whose order is certain in both, which "
        f"leaves out ties; interval over {known['seeds'].iloc[0]} seeds"
    )
    text = f"Rank correlation ({about}) with the step of {name}:"
    if later != GROKKED:
        text = (
            f"The step of {name} was added as a second target after {label(*GROKKED)} had turned out not "
            f"to be ordered by any event, so what goes with it is exploratory. {text}"
        )
    return [
        text,
        _listed(items),
        *_power(known, grokked, later),
        *_beside_memorisation(known, closer[closer["against"] == name]),
    ]


def _power(known: pd.DataFrame, grokked: pd.DataFrame, later: tuple[str, float]) -> list[str]:
    """Whether a dependence that must be there is seen, without which nothing is said by one that is not."""
    on_the_way = label(*[event for event in GENERALISING if event != later][-1])
    rows = known[known["event"] == on_the_way]
    if (rows["low"] > 0).any():
        return []
    text = (
        f"Not even {on_the_way}, which is on the way to it, is shown to go with it. So that no dependence is "
        "shown may be lack of power alone, and is no evidence that there is none."
    )
    if later == GROKKED:
        pairs = grokked["p"] ** 2 - (grokked["train_fraction"] * grokked["p"] ** 2).astype(int)
        wrong = (pairs * (1 - SOLVED)).astype(int)
        text += (
            f" To stay at {SOLVED:g} is a matter of few pairs: at most {_range(wrong)} wrong of about "
            f"{_range(pairs)} held out."
        )
    return [text]


def _range(numbers: pd.Series[int]) -> str:
    least, most = numbers.min(), numbers.max()
    return f"{least}" if least == most else f"{least} to {most}"


def _beside_memorisation(known: pd.DataFrame, closer: pd.DataFrame) -> list[str]:
    """Whether an onset foretells more than that a run is fast in all things."""
    shown = known[(known["low"] > 0) | (known["high"] < 0)]["event"]
    onsets = [label(*event) for event in LATENT]
    rows = closer[closer["event"].isin(set(shown) & set(onsets)) & (closer["comparable"] > 0)]
    if len(rows) == 0:
        return []
    items = []
    for row in rows.to_dict("records"):
        if row["low"] > 0:
            what = "it goes more closely than memorisation"
        elif row["high"] < 0:
            what = "it goes less closely than memorisation"
        else:
            what = "which of the two goes more closely cannot be told"
        items.append(
            f"{row['event']} {row['gamma']:+.2f}, memorised {row['gamma_memorised']:+.2f}, over "
            f"{row['comparable']} pairs; difference {row['difference']:+.2f} [{row['low']:+.2f}, "
            f"{row['high']:+.2f}]: {what}"
        )
    return [
        "Beside memorisation, over the pairs whose order is certain in all three, with the difference of the "
        "absolute values and its interval over the same seeds:",
        _listed(items),
    ]
