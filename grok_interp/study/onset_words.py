"""What the tables of the study of onsets show, in words made of their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from grok_interp.study.onset_events import FORETOLD, GROKKED, LATENT, LEVELS, MEMORISED, TEST, label
from grok_interp.verdict import SMALL_EXCESS

COUNTS = ["first", "second", "together", "unknown"]
"""Columns of the table ``order``: in how many runs which event was certainly first, or neither."""


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the numbers show and do not show, a paragraph for each share of noisy labels.

    Args:
        tables: Those of :func:`grok_interp.study.onset.tables`.

    Returns:
        Plain text.
    """
    said = [_of_noise(tables, noise) for noise in tables["prediction"]["label_noise"].unique()]
    said.append(
        "An excess says that waves read from the weights do better than those of random input weights. "
        "It does not say that the network uses them, nor that they cause what comes later. Steps are known "
        "to the spacing of the checkpoints."
    )
    return "\n\n".join(said)


def _of_noise(tables: Mapping[str, pd.DataFrame], noise: float) -> str:
    order, events, floor, prediction = (
        tables[name][tables[name]["label_noise"] == noise]
        for name in ("order", "events", "floor", "prediction")
    )
    grokked = events[events["event"] == label(*GROKKED)]
    total, late = int(grokked["n"].sum()), int(grokked["censored"].sum())
    said = [
        f"Label noise {noise:g}: {total - late} of {total} runs grokked by their last step, in "
        f"{len(grokked)} settings of width and decay."
    ]
    said += [_who_is_first(order, event) for event in LATENT[: len(LEVELS)]]
    said += [
        _memorisation(order),
        _joint(floor, events),
        *(_predicts(prediction, label(*later)) for later in FORETOLD),
    ]
    return " ".join(said)


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
    return f"{label(*event)} came certainly {'; '.join(parts)}."


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
    text = f"Memorisation came certainly before grokking in {first} of {total} runs"
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


def _predicts(prediction: pd.DataFrame, later: str) -> str:
    """Which events' steps go with that of a later one."""
    known = prediction[(prediction["against"] == later) & (prediction["comparable"] > 0)]
    if len(known) == 0:
        return f"No two runs of a setting can be ordered by {later}, so nothing predicts it here."
    parts = []
    for row in known.to_dict("records"):
        if row["low"] > 0:
            what = "the earlier, the earlier"
        elif row["high"] < 0:
            what = "the earlier, the later"
        else:
            what = "no dependence is shown"
        parts.append(
            f"{row['event']} {row['tau']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] over "
            f"{row['comparable']} of {row['pairs']} pairs, {what}"
        )
    return (
        f"Rank correlation (Kendall's tau within settings, interval over {known['seeds'].iloc[0]} seeds) "
        f"with the step of {later}: {'; '.join(parts)}.{_beside_memorisation(known)}"
    )


def _beside_memorisation(known: pd.DataFrame) -> str:
    """Whether an onset foretells more than that a run is fast in all things."""
    found = known.set_index("event")
    if not {label(*LATENT[0]), label(*MEMORISED)} <= set(found.index):
        return ""
    onset, memorised = found.loc[label(*LATENT[0])], found.loc[label(*MEMORISED)]
    if onset["low"] <= 0 <= onset["high"]:
        return ""
    if onset["tau"] <= memorised["tau"]:
        how = "no more closely than memorisation does"
    elif onset["low"] > memorised["high"]:
        how = "more closely than memorisation does"
    else:
        how = (
            "but whether more closely than memorisation does cannot be told: the intervals overlap"
        )
    return f" {label(*LATENT[0])} goes with it {how}."
