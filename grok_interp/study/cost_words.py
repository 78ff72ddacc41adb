"""What the tables of the cost model say, computed from their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from grok_interp.study.bills import MEGABYTES, SECONDS
from grok_interp.study.cost_points import CENTRE, CHECK, NOT_READING, PARTS, TRAINING, Size

INSIDE = "no size"
"""In place of the sizes of a bill that are beyond the measured ones, where none is."""
PREDICTED = {SECONDS: "predicted", MEGABYTES: "predicted_megabytes"}
"""Columns with what the laws say of the measured points."""
NAMED = {SECONDS: "time", MEGABYTES: "memory"}
GOOD = 1.15
"""Factor within which a prediction is called about right."""
AS_FAST = 1.001
"""Factor of the least time within which a number of workers counts as being as fast."""

Rows = list[dict[Any, Any]]


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the tables show, from their numbers.

    Args:
        tables: As from :func:`grok_interp.study.costs.tables`, or read back from CSV.

    Returns:
        The laws of time and of memory, their control, their predictions, the bills.
    """
    fits, measured = tables["exponents"], tables["measured"]
    mine = fits[fits["what"].isin(PARTS)]
    laws = {of: mine[mine["of"] == of].to_dict("records") for of in NAMED}
    known = {of: [law for law in each if not math.isnan(law["p"])] for of, each in laws.items()}
    known = {of: each for of, each in known.items() if each}
    checks = measured[(measured["arm"] == CHECK) & measured["what"].isin(PARTS)].to_dict("records")
    paragraphs = [
        "Seconds of one network on one thread grow as follows.",
        _listed(_law(law) for law in laws[SECONDS]),
        *_memory(laws[MEGABYTES] if MEGABYTES in known else [], measured),
        _control(known),
        *(_checked(checks, each, of) for of, each in known.items() if checks),
        _begun(checks, known),
        "Bills, in hours of this machine's cores:",
        _listed(_bill(name, rows) for name, rows in tables["bills"].groupby("study", sort=False)),
        "No study ends sooner than one job does, however many workers there are. The laws are of full "
        "batches, ReLU and float32, and other machines have other constants.",
    ]
    return "\n\n".join(paragraphs)


def _listed(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _law(law: dict[Any, Any]) -> str:
    points = f"{law['points']:.0f} points"
    if law["left_out"]:
        points += f", {law['left_out']:.0f} left out as overhead"
    if math.isnan(law["p"]):
        return f"{law['what']}: too few to fit ({points})"
    powers = " ".join(
        f"{'N' if name == 'pairs' else name}^{law[name]:.2f} "
        f"[{law[f'{name}_low']:.2f}, {law[f'{name}_high']:.2f}]"
        for name in Size._fields
    )
    return f"{law['what']}: {powers}, to a factor of {law['factor']:.2f} ({points})"


def _memory(laws: Rows, measured: pd.DataFrame) -> list[str]:
    if not laws:
        return ["Memory could not be measured on this system."]
    centre = measured[measured["arm"] == CENTRE]
    together = {row["what"]: int(row["networks"]) for row in centre.to_dict("records")}
    of = ", ".join(f"{together[part]} in {part}" for part in PARTS if part != TRAINING)
    said = (
        "Megabytes that a call holds at its peak, where it takes as many networks at every size (1 in "
        f"{TRAINING}, {of}), grow as follows. What the allocator keeps of freed blocks comes on top."
    )
    return [said, _listed(_law(law) for law in laws)]


def _control(laws: Mapping[str, Rows]) -> str:
    """The exponents that must vanish."""
    said = [
        f"Control: {' and '.join(NOT_READING)} do not read the training pairs, so their exponents of N are 0."
    ]
    for of, each in laws.items():
        blind = [law for law in each if law["what"] in NOT_READING]
        if not blind:
            continue
        worst = max(blind, key=lambda law: abs(float(law["pairs"])))
        holds = worst["pairs_low"] <= 0 <= worst["pairs_high"]
        said.append(
            f"Of {NAMED[of]} the one measured furthest from it is that of {worst['what']}, "
            f"{worst['pairs']:+.3f} [{worst['pairs_low']:+.3f}, {worst['pairs_high']:+.3f}]: "
            + (
                "its interval holds 0."
                if holds
                else "its interval does not hold 0, and other exponents are known no better than that."
            )
        )
    return " ".join(said)


def _checked(checks: Rows, laws: Rows, of: str) -> str:
    """How far off the predictions of one quantity are, and in which direction."""
    fitted = {law["what"]: law for law in laws}
    tried = [row for row in checks if row["what"] in fitted and row[of] > 0]
    if not tried:
        return f"No prediction of {NAMED[of]} could be tried."
    ratio = [row[PREDICTED[of]] / row[of] for row in tried]
    worst = tried[max(range(len(tried)), key=lambda i: abs(math.log(ratio[i])))]
    said = (
        f"At {len(tried)} points that the fits have not seen, predicted {NAMED[of]} is {min(ratio):.2f} "
        f"to {max(ratio):.2f} of the measured one, furthest off for {worst['what']} at {_at(worst)}. "
    )
    far = [
        (row, share)
        for row, share in zip(tried, ratio, strict=True)
        if _over(row, fitted[row["what"]])
    ]
    if not far:
        return (
            said
            + "None is larger than the sizes of the fits, so of the law beyond them nothing is known."
        )
    low, high = (
        sum(sign * math.log(share) > math.log(GOOD) for _, share in far) for sign in (-1, 1)
    )
    are = "is" if low == 1 else "are"
    said += (
        f"Of the {len(far)} that are larger than the sizes of the fits, {low} {are} predicted too low by "
        f"more than a factor of {GOOD}, and {high} too high. "
    )
    steps = [each for each in far if each[0]["what"] == TRAINING and of == SECONDS] or far
    row, share = max(steps, key=lambda each: float(each[0][of]))
    said += f"The largest {row['what']}, at {_at(row)}, is predicted at {share:.2f}: "
    if abs(math.log(share)) <= math.log(GOOD):
        return f"{said}the law holds there."
    said += f"the law alone is too {'low' if share < 1 else 'high'} there, by a factor of "
    return f"{said}{max(share, 1 / share):.2f}."


def _begun(checks: Rows, laws: Mapping[str, Rows]) -> str:
    said = "" if checks else "No prediction was tried at a size that the fits have not seen. "
    what = " and ".join(NAMED[of] for of in laws)
    return (
        f"{said}Bills of {what} begin at the nearest measured size of each part, and only go on from there "
        f"by the law{'s' if len(laws) > 1 else ''}."
    )


def _at(row: dict[Any, Any]) -> str:
    return f"p={row['p']}, d_mlp={row['d_mlp']}, N={row['pairs']:,}"


def _over(check: dict[Any, Any], law: dict[Any, Any]) -> bool:
    """Whether a size is larger than any that the law was fitted to."""
    return any(check[name] > law[f"{name}_to"] for name in Size._fields)


def _bill(name: object, rows: pd.DataFrame) -> str:
    by_workers = rows.sort_values("workers").to_dict("records")
    one, many = by_workers[0], by_workers[-1]
    parts = {
        "training": one["training_hours"],
        "evaluation": one["evaluation_hours"],
        "read-outs": one["readout_hours"],
        "extraction": one["extraction_hours"],
    }
    most = max(parts, key=lambda part: float(parts[part]))
    least = min(row["hours"] for row in by_workers)
    enough = next(row for row in by_workers if row["hours"] <= AS_FAST * least)
    words = (
        f"{name} ({one['runs']:,} runs of {one['steps']:,} steps, {_at(one)}): "
        f"{_time(one['core_hours'])} of one core, {parts[most] / one['core_hours']:.0%} of it {most}; "
        f"{_time(many['hours'])} on {many['workers']} workers"
    )
    if enough["workers"] < many["workers"]:
        words += f" and on {enough['workers']}, since there are {many['jobs']:,} jobs"
    if not math.isnan(one["gigabytes"]):
        words += f"; {one['gigabytes']:.2g} GB a worker, at its peak in the {one['peak']}"
    for what, column in (("hours", "beyond"), ("memory", "beyond_memory")):
        if one[column] != INSIDE:
            words += f"; {what} by extrapolation, {one[column]}"
    return words


def _time(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.2g} minutes"
    return f"{hours:.3g} hours" if hours < 48 else f"{hours / 24:.3g} days"
