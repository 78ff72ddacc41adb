"""Does the latent algorithm come before grokking, by how much, and does the one predict the other?

Events of a run, all read from its checkpoints and so at one resolution: train accuracy and test accuracy
come to stay at 0.99 ("memorised", "grokked"); a measure comes to stay above a level. The latent
algorithm sets in when the idealised accuracy is that much above the frozen_input control's, the excess.

What is not evidence: an early step of the idealised accuracy itself. Random input weights with a fitted
read-out are above most levels before anything is learned (table ``floor``). Nor that an excess of 0.1 comes
before a test accuracy of 0.99, which is a far higher level: so the test accuracy's own step at the same
level stands beside, and memorisation, which comes before grokking too. Nor a correlation across
settings (:mod:`.survival`). Nor that no dependence on the step of grokking is shown, where not even lower
levels of test accuracy order it: then hardly anything could have been shown.

That a test accuracy above one half is foretold is exploratory: it was added as a second target after the
first, grokking, had turned out not to be ordered by any event.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from grok_interp import sweep
from grok_interp.study import onset_events, statistics, survival
from grok_interp.study.cells import require
from grok_interp.study.onset_events import (
    COMPARED,
    EVENTS,
    FORETOLD,
    GENERALISING,
    GROKKED,
    KEYS,
    LATENT,
    MEMORISED,
    MODES,
    SETTING,
    label,
    times,
)
from grok_interp.study.onset_words import COUNTS
from grok_interp.study.onset_words import in_words as in_words


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Events, their order and their dependence.

    Args:
        runs: As ``sweep.read`` gives them, with checkpoints.

    Returns:
        By name:

        - ``order``: of two events, in how many runs the one was certainly first, with the smallest and the
          largest of the settings' median leads, by label noise;
        - ``leads``: the same by setting, with the interval of the median lead in steps
          (:func:`.survival.median`);
        - ``prediction``: rank correlation (Goodman and Kruskal's gamma) of each event with grokking, and with
          a test accuracy above one half, within settings, by label noise; intervals are over seeds, which
          settings share;
        - ``closer``: how much more closely each event goes with these than memorisation does, over the pairs
          that all three order (:func:`.survival.rank_difference`);
        - ``grokked``: of each setting, how many of ``n`` runs grokked by the ``last_step``, and by that
          step how many of the ``clean`` runs of the same setting but for its noise;
        - ``events``: median step of each event by setting, ``censored`` of ``n`` runs did not get there;
        - ``floor``: accuracies of the idealised frozen_input control by setting;
        - ``runs``: steps of the events of each run.

    Raises:
        ValueError: If there are no runs, a column is missing, or no run has checkpoints.
    """
    wanted = ["run", "checkpoints", "split.seed", *SETTING]
    require(runs, wanted, " with measure.along = true")
    each = sweep.unnest(runs, "checkpoints").rename(columns=SETTING)
    found = pd.DataFrame([onset_events.of_run(run) for _, run in each.groupby("run")])
    found = found.sort_values([*KEYS, "seed"]).reset_index(drop=True)
    found.insert(0, "setting", found.groupby(KEYS).ngroup())
    settings = list(found.groupby(KEYS))
    floors = [f"floor_{mode}" for mode in MODES]
    leads = pd.DataFrame(
        [
            dict(zip(KEYS, key, strict=True)) | _order(group, *events)
            for key, group in settings
            for events in COMPARED
        ]
    )
    foretelling = [
        (noise, group, event, later)
        for noise, group in found.groupby("label_noise")
        for later in FORETOLD
        for event in (*LATENT, MEMORISED, *GENERALISING)
        if event != later
    ]
    prediction = [
        {"label_noise": noise} | _prediction(group, event, later)
        for noise, group, event, later in foretelling
    ]
    closer = [
        {"label_noise": noise} | _closer(group, event, later)
        for noise, group, event, later in foretelling
        if event != MEMORISED
    ]
    return {
        "order": _pooled(leads),
        "leads": leads,
        "prediction": pd.DataFrame(prediction),
        "closer": pd.DataFrame(closer),
        "grokked": pd.DataFrame([_grokked(group, found) for _, group in settings]),
        "events": pd.DataFrame(
            [
                dict(zip(KEYS, key, strict=True)) | _median(group, event)
                for key, group in settings
                for event in EVENTS
            ]
        ),
        "floor": statistics.over_seeds(found, KEYS, floors).drop(columns="missing"),
        "runs": found,
    }


def _order(
    group: pd.DataFrame, earlier: tuple[str, float], later: tuple[str, float]
) -> dict[str, Any]:
    """How often one event came before the other, and the median of how long before."""
    both = *times(group, earlier), *times(group, later)
    order = survival.order(*both)
    row = {"event": label(*earlier), "against": label(*later), "n": len(group)}
    counts = [(order == 1).sum(), (order == -1).sum(), (order == 0).sum(), np.isnan(order).sum()]
    row |= {name: int(count) for name, count in zip(COUNTS, counts, strict=True)}
    lead = survival.median(*survival.lead(*both))
    return row | {
        "lead_least": lead.low,
        "lead_most": lead.high,
        "low": lead.interval_low,
        "high": lead.interval_high,
    }


def _pooled(leads: pd.DataFrame) -> pd.DataFrame:
    """Counts added up over settings, and the range of their median leads."""
    groups = leads.groupby(["label_noise", "event", "against"], sort=False)
    return groups.agg(
        settings=("n", "size"),
        n=("n", "sum"),
        **{name: (name, "sum") for name in COUNTS},
        lead_least=("lead_least", "min"),
        lead_most=("lead_most", "max"),
    ).reset_index()


def _median(group: pd.DataFrame, event: tuple[str, float]) -> dict[str, Any]:
    steps, censored = times(group, event)
    found = survival.median(steps, np.where(censored, np.inf, steps))
    return {
        "event": label(*event),
        "n": found.n,
        "censored": int(censored.sum()),
        "median_least": found.low,
        "median_most": found.high,
        "low": found.interval_low,
        "high": found.interval_high,
    }


def _grokked(group: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    """How many runs of a setting grokked by their last step, and how many clean ones by then."""
    setting, last_step = group.iloc[0], int(group["last_step"].min())
    same = runs[KEYS].drop(columns="label_noise") == setting[KEYS].drop("label_noise")
    clean = runs[same.all(axis=1) & (runs["label_noise"] == 0)]
    steps, late = times(group, GROKKED)
    clean_steps, clean_late = times(clean, GROKKED)
    return {name: setting[name] for name in KEYS} | {
        "last_step": last_step,
        "n": len(group),
        "grokked": int((~late & (steps <= last_step)).sum()),
        "clean": len(clean),
        "clean_grokked": int((~clean_late & (clean_steps <= last_step)).sum()),
    }


def _prediction(
    group: pd.DataFrame, event: tuple[str, float], later: tuple[str, float]
) -> dict[str, Any]:
    """Rank correlation of two events within settings."""
    strata = group["setting"]
    found = survival.rank_correlation(
        *times(group, event), *times(group, later), strata, units=group["seed"]
    )
    return {
        "event": label(*event),
        "against": label(*later),
        "gamma": found.gamma,
        "low": found.low,
        "high": found.high,
        "comparable": found.comparable,
        "pairs": found.pairs,
        "n": found.n,
        "seeds": group["seed"].nunique(),
        "settings": strata.nunique(),
    }


def _closer(
    group: pd.DataFrame, event: tuple[str, float], later: tuple[str, float]
) -> dict[str, Any]:
    """How much more closely one event goes with a later one than memorisation does."""
    found = survival.rank_difference(
        *times(group, event),
        *times(group, MEMORISED),
        *times(group, later),
        group["setting"],
        units=group["seed"],
    )
    return {
        "event": label(*event),
        "against": label(*later),
        "gamma": found.x,
        "gamma_memorised": found.z,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "comparable": found.comparable,
        "pairs": found.pairs,
    }
