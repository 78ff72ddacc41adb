"""The headline for other operations, tied operands and other activations, each beside its own control.

The operation, the tying of operands or the activation is changed from addition with ReLU and operands of
their own. For each, what training adds is ``trained - frozen_input`` within runs, and whether it is more or
less than for the reference is a difference of these, paired by seed. Some variants change more than that:
the quadratic networks have the decay and the steps with which they do not generalise, and GELU is also
started from larger weights. What a variant has changed in all is in ``changed``.

What is not evidence: a contrast of a variant with several changes, as the effect of one of them. Numbers of
multiplication, beside those of addition: they are over all pairs, and zero has no coordinate, so that its
tokens keep the network's own weights. An excess where ``frozen_input`` cannot work at all: GELU is near
linear on small initial weights, so that random features fail there whatever was learned. And a joint mode
accuracy where frozen_input reaches the top, as for quadratic networks and tied operands: nothing can be above
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from grok_interp.study import pairing
from grok_interp.study.pairing import (
    CHANCE,
    FROZEN,
    NONE,
    SHORT,
    TRAINED,
    beside_chance,
    figures,
    verdict_on,
)
from grok_interp.study.statistics import over_seeds

MODES = ["per_matrix", "joint"]
VARIED = ["operation", "act_fn", "tied_operands", "init_scale"]
"""What a variant is named by (:func:`variant`)."""
SECTIONS = ("task.", "split.", "model.", "train.")
"""Settings that a run's outcome may depend on, but for those of :data:`ASIDE`."""
ASIDE = ("seed", "device", "progress", "eval_every", "checkpoint_every", "checkpoint_steps")
REFERENCE = "addition, ReLU"
SEPARATOR = "; "
"""Between the settings that a variant changes."""
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
          tables leave out; own accuracies on held-out pairs; ``chance``; ``zero_share``, the share of pairs
          with a zero operand in a product; ``changed``, all settings that are not the reference's.

    Raises:
        ValueError: If there are no runs, a mode was not measured, the reference is missing, or two runs of
            a variant have one seed.
    """
    compared = pairing.side_by_side(runs, VARIED)
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
        "seeds": _in_order(_seeds(compared, runs), list(order)),
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
        Paragraphs and lists, with a blank line between.
    """
    found, seeds = tables["generality"], tables["seeds"]
    large: dict[str, list[str]] = {mode: [] for mode in MODES}
    items = []
    for row in seeds.to_dict("records"):
        name, left = row["variant"], row["networks"] - row["generalised"]
        start = f"{name}: {left} of {row['networks']} networks did not generalise"
        if left == 0:
            items.append(f"{start}, so the headline's case does not occur there")
            continue
        of = found[found["variant"] == name]
        own = pairing.one_row(of, frequency=NONE, pairs="held out", measure=TRAINED)
        text = [f"{start} (held-out accuracy {figures(own)}, {beside_chance(own, row[CHANCE])})"]
        for mode in MODES:
            trained, frozen, excess = (
                pairing.one_row(of, frequency=mode, pairs="all", measure=measure)
                for measure in (TRAINED, FROZEN, "excess")
            )
            size = verdict_on(excess["mean"], excess["low"], excess["high"])
            if size == "large":
                large[mode].append(name)
            text.append(
                f"{mode} {figures(trained)}, frozen_input {figures(frozen)}, excess "
                f"{figures(excess)}, {size}{_limit(mode, float(frozen['mean']))}"
            )
        items.append("; ".join(text))
    count = int((seeds["networks"] > seeds["generalised"]).sum())
    summary = [
        f"in {mode} mode for {len(names)} of {count} variants"
        + (f": {'; '.join(names)}" if names else "")
        for mode, names in large.items()
    ]
    reference = pairing.one_row(seeds, variant=REFERENCE)["setting"]
    guess = " or ".join(dict.fromkeys(f"{each:.3f}" for each in seeds[CHANCE]))
    paragraphs = [
        f"The excess over frozen_input is large\n\n{pairing.listed(summary)}",
        "By variant, mean accuracies over seeds with 95% bootstrap intervals, idealised ones over all pairs; "
        f"chance is {guess}, the reference's setting {reference}:\n\n{pairing.listed(items)}",
        _zeros(seeds),
        _contrasts_in_words(tables["contrasts"]),
        _several_changes(seeds),
    ]
    return "\n\n".join(filter(None, paragraphs))


def _zeros(seeds: pd.DataFrame) -> str:
    """What products with zero do to the numbers of multiplication."""
    rows = seeds[seeds["zero_share"] > 0]
    if len(rows) == 0:
        return ""
    which = "; ".join(
        f"{row['zero_share']:.3f} of those of {row['variant']}" for row in rows.to_dict("records")
    )
    return (
        "Accuracies of multiplication are of all pairs, those with a zero operand among them "
        f"({which}). Their product any network learns, which is not counted as generalising. Zero has no "
        "coordinate: its tokens keep the network's own weights, in the idealised network and in its controls."
    )


def _several_changes(seeds: pd.DataFrame) -> str:
    """Which variants change several settings, that a contrast cannot tell apart."""
    rows = seeds[seeds["changed"].str.contains(SEPARATOR, regex=False)]
    if len(rows) == 0:
        return ""
    items = [f"{row['variant']}: {row['changed']}" for row in rows.to_dict("records")]
    return (
        "These differ from the reference in more than one setting, and their contrasts are of all of them "
        f"together:\n\n{pairing.listed(items)}"
    )


def _limit(mode: str, frozen: float) -> str:
    """What the control's own accuracy says about the excess."""
    if frozen >= CEILING:
        return ": the control is at the top and leaves no room, so this mode cannot tell"
    if mode == "joint" and frozen < FLOOR:
        return ": random features of this activation fail here, which is a part of the excess"
    return ""


def _contrasts_in_words(contrasts: pd.DataFrame) -> str:
    items = []
    for mode in MODES:
        rows = contrasts[contrasts["frequency"] == mode].to_dict("records")
        apart = [
            f"{row['variant']} {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            for row in rows
            if row["low"] > 0 or row["high"] < 0
        ]
        items.append(
            f"in {mode} mode for {len(apart)} of {len(rows)} variants"
            + (f": {'; '.join(apart)}" if apart else "")
        )
    start = "The excess differs from the reference's, paired by seed (all of the interval on one side of 0)"
    return f"{start}\n\n{pairing.listed(items)}"


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


def _seeds(compared: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    rows = compared[(compared["replaced"] == NONE) & (compared["pairs"] == "held out")]
    found = (
        rows.groupby(["variant", "setting"])
        .agg(
            networks=("run", "size"),
            generalised=("generalised", "sum"),
            own_held_out=(TRAINED, "mean"),
            own_held_out_frozen_input=(FROZEN, "mean"),
            operation=("operation", "first"),
            p=("p", "first"),
            chance=(CHANCE, "first"),
        )
        .reset_index()
    )
    found["changed"] = found["variant"].map(_changed(runs, rows.set_index("run")["variant"]))
    found["zero_share"] = [
        pairing.zero_share(*of) for of in zip(found["operation"], found["p"], strict=True)
    ]
    return found.drop(columns=["operation", "p"])


def _changed(runs: pd.DataFrame, variants: pd.Series[str]) -> dict[str, str]:
    """All settings of each variant that the reference does not have, such as "act_fn=gelu", or "none"."""
    # Those that tables name come first, and model.p is task.p.
    columns = [*SHORT.values(), *(name for name in map(str, runs) if name.startswith(SECTIONS))]
    short = {name.rpartition(".")[2]: name for name in reversed(columns)}
    names = [name for name in reversed(short) if name not in ASIDE]
    of_run = runs["run"].map(variants)
    values = {
        variant: {name: dict.fromkeys(map(_plain, rows[short[name]])) for name in names}
        for variant, rows in runs.groupby(of_run)
    }
    return {
        variant: SEPARATOR.join(
            f"{name}={'/'.join(each)}"
            for name, each in here.items()
            if each.keys() != values[REFERENCE][name].keys()
        )
        or NONE
        for variant, here in values.items()
    }


def _plain(value: Any) -> str:
    """A setting as text: 1.0 and 1 are one number."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in_order(table: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """Rows sorted by variant as given, otherwise as they stand."""
    place = table["variant"].map({name: index for index, name in enumerate(order)})
    return table.loc[place.sort_values(kind="stable").index].reset_index(drop=True)
