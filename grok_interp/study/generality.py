"""The headline for other operations, tied operands and other activations, each beside its own control.

One setting is changed at a time from addition with ReLU and operands of their own. For each, what
training adds is ``trained - frozen_input`` within runs, and whether it is more or less than for the
reference is a difference of these, paired by seed.

What is not evidence: an excess where ``frozen_input`` cannot work at all. GELU is near linear on small
initial weights, so that random features fail there whatever was learned. And a joint mode accuracy
where frozen_input reaches the top, as for quadratic networks and tied operands: nothing can be above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from grok_interp.study import pairing
from grok_interp.study.pairing import FROZEN, NONE, TRAINED, figures, verdict_on
from grok_interp.study.statistics import over_seeds

MODES = ["per_matrix", "joint"]
REFERENCE = "addition, ReLU"
CEILING = 0.95
"""Accuracy of frozen_input from which on a mode leaves no room for an excess that is called large."""
FLOOR = 0.1
"""Accuracy of frozen_input in joint mode below which random features do not work."""


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The headline by variant.

    Args:
        runs: As ``sweep.read`` gives them, the reference among them.

    Returns:
        By name:

        - ``generality``: by variant, frequency mode ("none" for the network as it is) and set of pairs,
          means over seeds of trained, frozen_input and their paired difference ``excess``;
        - ``contrasts``: excess minus that of the reference, paired by seed, over all pairs;
        - ``seeds``: how many networks of each variant there are, and how many generalised, which the other
          tables leave out; own accuracies on held-out pairs.

    Raises:
        ValueError: If there are no runs, a mode was not measured, or the reference is missing.
    """
    compared = pairing.side_by_side(runs)
    pairing.demand(compared, [TRAINED, FROZEN], MODES)
    compared["variant"] = [variant(row) for _, row in compared.iterrows()]
    if REFERENCE not in set(compared["variant"]):
        raise ValueError(
            f"the runs are of {sorted(compared['variant'].unique())}, expected {REFERENCE!r} among them: add "
            "runs of task.operation = 'add', model.act_fn = 'relu', model.tied_operands = false"
        )
    compared["excess"] = compared[TRAINED] - compared[FROZEN]
    # The reference, then operations, tied operands and activations: a store has runs in any order.
    by_settings = compared.sort_values(["act_fn", "tied_operands", "operation", "init_scale"])
    rest = by_settings.loc[by_settings["act_fn"] == "relu", "variant"]
    order = dict.fromkeys([REFERENCE, *rest, *by_settings["variant"]])
    kept = compared[~compared["generalised"]]
    ideal = pairing.standard(kept)
    rows = pd.concat([ideal, kept[kept["replaced"] == NONE]])
    by = ["variant", "setting", "frequency", "pairs"]
    found = over_seeds(rows, by, [TRAINED, FROZEN, "excess"]).drop(columns="missing")
    return {
        "generality": _in_order(found, list(order)),
        "contrasts": _in_order(_contrasts(ideal), list(order)),
        "seeds": _in_order(_seeds(compared), list(order)),
    }


def variant(row: Mapping[str, Any] | pd.Series[Any]) -> str:
    """What a run changes from the reference, in words.

    Args:
        row: ``operation``, ``act_fn``, ``tied_operands`` and ``init_scale``.

    Returns:
        Such as "subtract" or "gelu, init_scale 4"; :data:`REFERENCE` if nothing is changed.
    """
    changed = [row["operation"]] if row["operation"] != "add" else []
    changed += ["tied operands"] if row["tied_operands"] else []
    changed += [row["act_fn"]] if row["act_fn"] != "relu" else []
    changed += [f"init_scale {row['init_scale']:g}"] if row["init_scale"] != 1 else []
    return ", ".join(changed) or REFERENCE


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """Where the headline holds, and where its control says that it cannot be told.

    Args:
        tables: :func:`tables`.

    Returns:
        Plain text.
    """
    found, contrasts, seeds = tables["generality"], tables["contrasts"], tables["seeds"]
    found = found[found["pairs"] == "all"]
    verdicts: dict[str, list[str]] = {mode: [] for mode in MODES}
    said = []
    for row in seeds.to_dict("records"):
        name, left = row["variant"], row["networks"] - row["generalised"]
        start = (
            f"{name} ({row['setting']}): {left} of {row['networks']} networks did not generalise"
        )
        if left == 0:
            said.append(f"{start}, so the headline's case does not occur there.")
            continue
        text = [f"{start} (held-out accuracy {row['own_held_out']:.3f})"]
        for mode in MODES:
            trained, frozen, excess = (
                pairing.one_row(found, variant=name, frequency=mode, measure=of)
                for of in (TRAINED, FROZEN, "excess")
            )
            size = verdict_on(excess["mean"], excess["low"], excess["high"])
            if size == "large":
                verdicts[mode].append(name)
            text.append(
                f"{mode} {figures(trained)}, frozen_input {figures(frozen)}, excess "
                f"{figures(excess)}, {size}{_limit(mode, float(frozen['mean']))}"
            )
        said.append("; ".join(text) + ".")
    count = int((seeds["networks"] > seeds["generalised"]).sum())
    summary = [
        f"In {mode} mode the excess over frozen_input is large for {len(names)} of {count} variants"
        + (f" ({'; '.join(names)})" if names else "")
        + "."
        for mode, names in verdicts.items()
    ]
    return "\n\n".join([" ".join(summary), " ".join(said), _contrasts_in_words(contrasts)])


def _limit(mode: str, frozen: float) -> str:
    """What the control's own accuracy says about the excess."""
    if frozen >= CEILING:
        return ": the control is at the top and leaves no room, so this mode cannot tell"
    if mode == "joint" and frozen < FLOOR:
        return ": random features of this activation fail here, which is a part of the excess"
    return ""


def _contrasts_in_words(contrasts: pd.DataFrame) -> str:
    said = []
    for mode in MODES:
        rows = contrasts[contrasts["frequency"] == mode].to_dict("records")
        apart = [
            f"{row['variant']} {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            for row in rows
            if row["low"] > 0 or row["high"] < 0
        ]
        said.append(
            f"In {mode} mode the excess differs from the reference's, paired by seed, for "
            f"{len(apart)} of {len(rows)} variants"
            + (f": {'; '.join(apart)}" if apart else "")
            + "."
        )
    return " ".join(said)


def _contrasts(ideal: pd.DataFrame) -> pd.DataFrame:
    """Each variant's excess minus the reference's of the same seed, means over seeds."""
    rows = ideal[ideal["pairs"] == "all"]
    key = ["frequency", "seed"]
    reference = rows[rows["variant"] == REFERENCE].drop_duplicates(key)[[*key, "excess"]]
    others = rows[rows["variant"] != REFERENCE].merge(
        reference, on=key, suffixes=("", "_reference")
    )
    others["excess - reference's"] = others["excess"] - others["excess_reference"]
    by = ["variant", "setting", "frequency"]
    return over_seeds(others, by, ["excess - reference's"]).drop(columns="missing")


def _seeds(compared: pd.DataFrame) -> pd.DataFrame:
    rows = compared[(compared["replaced"] == NONE) & (compared["pairs"] == "held out")]
    return (
        rows.groupby(["variant", "setting"])
        .agg(
            networks=("run", "size"),
            generalised=("generalised", "sum"),
            own_held_out=(TRAINED, "mean"),
            own_held_out_frozen_input=(FROZEN, "mean"),
        )
        .reset_index()
    )


def _in_order(table: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """Rows sorted by variant as given, otherwise as they stand."""
    place = table["variant"].map({name: index for index, name in enumerate(order)})
    return table.loc[place.sort_values(kind="stable").index].reset_index(drop=True)
