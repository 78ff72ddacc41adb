"""What the tables of the cost model say, computed from their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from grok_interp.study.bills import MEGABYTES, SECONDS
from grok_interp.study.cost_points import CHECK, EVALUATION, EXTRACTION, PARTS, TRAINING, Size

NOT_READING = (EXTRACTION, EVALUATION)
"""Parts that do not read the training pairs."""
INSIDE = "no size"
"""In place of the sizes of a bill that are beyond the measured ones, where none is."""
GOOD = 1.15
"""Factor within which a prediction is called about right."""
AS_FAST = 1.001
"""Factor of the least time within which a number of workers counts as being as fast."""


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the tables show, from their numbers.

    Args:
        tables: As from :func:`grok_interp.study.costs.tables`, or read back from CSV.

    Returns:
        Four paragraphs: the laws, their control, their predictions, the bills.
    """
    fits, measured = tables["exponents"], tables["measured"]
    mine = fits[fits["what"].isin(PARTS)]
    times = mine[mine["of"] == SECONDS].to_dict("records")
    memory = mine[(mine["of"] == MEGABYTES) & mine["log_constant"].notna()].to_dict("records")
    checks = measured[(measured["arm"] == CHECK) & measured["what"].isin(PARTS)]
    paragraphs = [
        _laws(times, memory),
        _control([law for law in times if law["what"] in NOT_READING]),
        _checked(checks.to_dict("records"), times),
        _billed(tables["bills"]),
    ]
    return "\n\n".join(paragraphs)


def _laws(times: list[dict[Any, Any]], memory: list[dict[Any, Any]]) -> str:
    laws = []
    for law in times:
        powers = " ".join(
            f"{'N' if name == 'pairs' else name}^{law[name]:.2f} "
            f"[{law[f'{name}_low']:.2f}, {law[f'{name}_high']:.2f}]"
            for name in Size._fields
        )
        left = f", {law['left_out']:.0f} left out as overhead" if law["left_out"] else ""
        laws.append(
            f"{law['what']}: {powers}, to a factor of {law['factor']:.2f} "
            f"({law['points']:.0f} points{left})"
        )
    if not memory:
        held = "Memory could not be measured on this system."
    else:
        steepest = max(memory, key=lambda law: float(law["d_mlp"]))
        held = f"Memory grows fastest with width in {steepest['what']}, as d_mlp^{steepest['d_mlp']:.2f}."
    return f"Seconds of one network on one thread grow as follows. {'; '.join(laws)}. {held}"


def _control(laws: list[dict[Any, Any]]) -> str:
    """The exponents that must vanish."""
    worst = max(laws, key=lambda law: abs(float(law["pairs"])))
    holds = worst["pairs_low"] <= 0 <= worst["pairs_high"]
    return (
        "Control: extraction and evaluation do not read the training pairs, so their exponent of N is 0. "
        f"The one measured furthest from it is that of {worst['what']}, {worst['pairs']:+.3f} "
        f"[{worst['pairs_low']:+.3f}, {worst['pairs_high']:+.3f}]: "
        + (
            "its interval holds 0."
            if holds
            else "its interval does not hold 0, and other exponents are known no better than that."
        )
    )


def _checked(checks: list[dict[Any, Any]], times: list[dict[Any, Any]]) -> str:
    if not checks:
        return "No prediction was tried at a size that the fits have not seen."
    ratio = {i: check["predicted"] / check["seconds"] for i, check in enumerate(checks)}
    worst = checks[max(ratio, key=lambda i: abs(math.log(ratio[i])))]
    said = (
        f"At {len(checks)} points that the fits have not seen, predicted time is {min(ratio.values()):.2f} "
        f"to {max(ratio.values()):.2f} of the measured one, furthest off for {worst['what']} at "
        f"p={worst['p']}, d_mlp={worst['d_mlp']}, N={worst['pairs']}. "
    )
    far = {i: check for i, check in enumerate(checks) if _over(check, times)}
    if not far:
        return (
            said
            + "None is larger than the sizes of the fits, so of the law beyond them nothing is known."
        )
    steps = {i: check for i, check in far.items() if check["what"] == TRAINING} or far
    largest = max(steps, key=lambda i: float(steps[i]["seconds"]))
    of, check = ratio[largest], steps[largest]
    said += (
        f"Of the {len(far)} that are larger than the sizes of the fits, the largest {check['what']}, at "
        f"p={check['p']}, d_mlp={check['d_mlp']}, N={check['pairs']}, is predicted at {of:.2f}: "
    )
    if abs(math.log(of)) < math.log(GOOD):
        said += "the law holds there."
    else:
        said += f"the law alone is too {'low' if of < 1 else 'high'} there, by a factor of "
        said += f"{max(of, 1 / of):.2f}."
    return f"{said} Bills begin at the nearest measured size, and only go on from there by the law."


def _over(check: dict[Any, Any], times: list[dict[Any, Any]]) -> bool:
    """Whether a size is larger than any that the law of the same part was fitted to."""
    (law,) = [law for law in times if law["what"] == check["what"]]
    return any(check[name] > law[f"{name}_to"] for name in Size._fields)


def _billed(bills: pd.DataFrame) -> str:
    said = [_bill(name, rows) for name, rows in bills.groupby("study", sort=False)]
    return (
        f"Bills, in hours of this machine's cores. {'. '.join(said)}. No study ends sooner than one job "
        "does, however many workers there are. The laws are of full batches, ReLU and float32, and "
        "other machines have other constants."
    )


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
        f"{name} ({one['runs']:,} runs of {one['steps']:,} steps, p={one['p']}, d_mlp={one['d_mlp']}, "
        f"N={one['pairs']:,}): {_time(one['core_hours'])} of one core, "
        f"{parts[most] / one['core_hours']:.0%} of it {most}; {_time(many['hours'])} on "
        f"{many['workers']} workers"
    )
    if enough["workers"] < many["workers"]:
        words += f" and on {enough['workers']}, since there are {one['jobs']} jobs"
    words += f"; {one['gigabytes']:.2g} GB a worker"
    return words + (f"; an extrapolation, {one['beyond']}" if one["beyond"] != INSIDE else "")


def _time(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.2g} minutes"
    return f"{hours:.3g} hours" if hours < 48 else f"{hours / 24:.3g} days"
