"""How time and memory grow with p, width and training pairs, and what large studies would take.

For each part of a run (:mod:`.cost_points`) one law, fitted by least squares on logs::

    log seconds = c + a log p + b log d_mlp + g log N

A sum of terms with different exponents is only nearly a power, so the law's *factor*, exp of the standard
deviation of its residuals, and its predictions at sizes that the fit has not seen stand beside it. Every
call has an overhead, measured on a network of one neuron; a point where that is more than
:data:`MOST_OVERHEAD` of the time is no work to fit, and is left out. Extraction and evaluation do not read
the training pairs: their exponent of N, which must be 0, is the control of the others. There is one design,
:data:`SMALL`, whatever the size of the study.

Intervals are bootstraps over points, of one session on one machine: they hold neither other machines nor
what is wrong with the law, and of 14 points at a nominal 95% they cover 90% (on constructed times). What is
not evidence: an exponent as a statement on complexity, at sizes where caches matter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from grok_interp.config import MeasureConfig
from grok_interp.dynamics import MODES
from grok_interp.study.bills import MEGABYTES, SECONDS, Bill, expected, laws_of
from grok_interp.study.bills import networks_measured as networks_measured
from grok_interp.study.bills import predict as predict
from grok_interp.study.cost_points import CHECK, FLOOR, REPEATS, START
from grok_interp.study.cost_points import SMALL as SMALL
from grok_interp.study.cost_points import Design as Design
from grok_interp.study.cost_points import Size as Size
from grok_interp.study.cost_points import measure as measure
from grok_interp.study.cost_words import INSIDE, PREDICTED
from grok_interp.study.cost_words import in_words as in_words
from grok_interp.verdict import INTERVAL

MOST_OVERHEAD = 0.2
"""Share of overhead in a call above which a point is left out; it bends a law by no more than that."""
OVERHEADS = {SECONDS: "overhead", MEGABYTES: "overhead_megabytes"}
COLUMNS = ["what", "arm", *Size._fields, "networks", *OVERHEADS, *OVERHEADS.values()]
RESAMPLES = 1000
SINGULAR = 1e-9
"""Share of the largest eigenvalue below which the smallest is rounding."""
WORKERS = (1, 2, 16, 64, 256)
STEPS = 6000
SCENARIOS = {
    "paper size": (Size(113, 512, 5107), 20),
    "p = 499": (Size(499, 512, 99600), 20),
    "p = 499, wide": (Size(499, 2048, 99600), 20),
    "10,000 runs": (Size(59, 256, 1740), 10_000),
}
"""Studies to bill, each with its number of runs: .4 of the pairs for training, .5 at p = 59."""
MEASURED = MeasureConfig(frequencies=MODES)
"""What those studies measure of each run."""


def tables(sizes: Design = SMALL, repeats: int = REPEATS) -> dict[str, pd.DataFrame]:
    """Measure this machine now, fit, and bill :data:`SCENARIOS` on :data:`WORKERS`.

    Args:
        sizes: Where to measure.
        repeats: Rounds of measurements.

    Returns:
        ``exponents`` as from :func:`fit`; ``bills``, a row a scenario and number of workers, which begin at
        the nearest measured sizes; and ``measured`` as from :func:`measure`, with ``predicted`` and
        ``predicted_megabytes``, the laws' seconds and megabytes there, and ``fitted``, whether the law of
        seconds was fitted to it.
    """
    measured = measure(sizes, repeats)
    fits = fit(measured)
    laws = laws_of(fits)
    for of, name in PREDICTED.items():
        measured[name] = [
            math.nan
            if row["arm"] in (FLOOR, START)
            else expected(laws, row["what"], of, Size(row["p"], row["d_mlp"], row["pairs"]))
            for row in measured.to_dict("records")
        ]
    measured["fitted"] = _work(measured, SECONDS)
    return {"exponents": fits, "bills": _bills(fits, measured), "measured": measured}


def fit(measured: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Fit a law to the seconds and one to the megabytes of each part.

    Args:
        measured: As from :func:`measure`. Checks, floors and points of more overhead than
            :data:`MOST_OVERHEAD` are left out.
        resamples: Bootstrap resamples of the points.
        seed: Seed of the resampling.

    Returns:
        A row for each part (``what``) and for ``of`` "seconds" (of one network) and "megabytes" (of a call on
        as many as :data:`.cost_points.TOGETHER` says):
        ``log_constant``, natural; the exponents ``p``, ``d_mlp`` and ``pairs``, each with the ends ``_low``
        and ``_high`` of its 95% interval, and ``_from`` and ``_to``, the least and greatest size in the fit;
        ``factor``, typical for measured over fitted; ``points`` in the fit and ``left_out``. The start of a
        process, if it is there, is a constant. What memory does not allow to fit is NaN.

    Raises:
        ValueError: If columns are missing, or too few points are work to find the exponents of a time.
    """
    missing = [name for name in COLUMNS if name not in measured]
    if missing:
        raise ValueError(f"the table has no column {missing}: pass what costs.measure gave")
    rows = []
    for what, points in measured.groupby("what", sort=False):
        for of in OVERHEADS:
            if what == START:
                rows.append(_constant(points.iloc[0], of))
                continue
            design = points[~points["arm"].isin([FLOOR, CHECK])]
            work = _work(design, of)
            law = _law(design[work], of, resamples, seed)
            if law is None and of == SECONDS:
                raise ValueError(
                    f"{int(work.sum())} of {len(design)} points of {what!r} are work (at most "
                    f"{MOST_OVERHEAD:.0%} overhead), and each of {', '.join(Size._fields)} must vary in "
                    "them: measure larger sizes"
                )
            left = {"points": int(work.sum()), "left_out": int((~work).sum())}
            rows.append({"what": what, "of": of} | (law or {}) | left)
    return pd.DataFrame(rows)


def _work(measured: pd.DataFrame, of: str) -> pd.Series[bool]:
    """Which points a law is fitted to."""
    known = np.isfinite(measured[of]) & (measured[of] > 0)
    own = measured["arm"].isin([FLOOR, CHECK, START])
    work: pd.Series[bool] = known & ~own & (measured[OVERHEADS[of]] <= MOST_OVERHEAD)
    return work


def _law(points: pd.DataFrame, of: str, resamples: int, seed: int) -> dict[str, float] | None:
    """Constant and exponents with intervals; None where the points do not determine them."""
    logs = np.log(points[list(Size._fields)].to_numpy(float))
    X, y = np.column_stack([np.ones(len(points)), logs]), np.log(points[of].to_numpy(float))
    count, unknowns = X.shape
    if count <= unknowns or np.linalg.matrix_rank(X) < unknowns:
        return None
    solution = np.linalg.lstsq(X, y)[0]
    left = y - X @ solution
    found = _resampled(logs, y, resamples, seed)
    tail = (1 - INTERVAL) / 2
    low, high = (
        np.quantile(found, [tail, 1 - tail], axis=0)
        if len(found) > resamples / 2
        else np.full((2, unknowns - 1), math.nan)
    )
    law = {"log_constant": float(solution[0])}
    for i, name in enumerate(Size._fields):
        law |= {name: float(solution[i + 1]), f"{name}_low": float(low[i])}
        law |= {f"{name}_high": float(high[i])}
        law |= {f"{name}_from": float(points[name].min()), f"{name}_to": float(points[name].max())}
    return law | {"factor": math.exp(math.sqrt(float(left @ left) / (count - unknowns)))}


def _resampled(logs: np.ndarray, y: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Exponents of points drawn with replacement, ``[resamples, sizes]``, by the normal equations."""
    count = len(y)
    Z = np.column_stack([np.ones(count), logs - logs.mean(0)])
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    gram = np.einsum("rn,ni,nj->rij", times, Z, Z, optimize=True)
    spread = np.linalg.eigvalsh(gram)
    # A resample in which a size does not vary says nothing about its exponent, and is left out.
    told = spread[:, 0] > SINGULAR * spread[:, -1]
    right = np.einsum("rn,ni,n->ri", times[told], Z, y, optimize=True)
    found: np.ndarray = np.linalg.solve(gram[told], right[..., None])[:, 1:, 0]
    return found


def _constant(row: pd.Series[Any], of: str) -> dict[str, Any]:
    value = float(row[of])
    law = {"what": START, "of": of, "log_constant": math.log(value) if value > 0 else math.nan}
    return law | dict.fromkeys(Size._fields, 0.0) | {"points": 1, "left_out": 0}


def _bills(fits: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for name, (size, runs) in SCENARIOS.items():
        for workers in WORKERS:
            bill = predict(fits, *size, STEPS, runs, workers, measured=measured, measure=MEASURED)
            rows.append({"study": name} | _row(bill))
    return pd.DataFrame(rows)


def _row(bill: Bill) -> dict[str, Any]:
    return {
        **bill.size._asdict(),
        "steps": bill.steps,
        "runs": bill.runs,
        "jobs": bill.jobs,
        "workers": bill.workers,
        "busy": bill.busy,
        "hours": bill.hours,
        "core_hours": bill.core_hours,
        "training_hours": bill.training,
        "evaluation_hours": bill.evaluation,
        "readout_hours": bill.readout,
        "extraction_hours": bill.extraction,
        "gigabytes": bill.gigabytes,
        "peak": bill.peak,
        "beyond": bill.beyond or INSIDE,
        "beyond_memory": bill.beyond_memory or INSIDE,
    }
