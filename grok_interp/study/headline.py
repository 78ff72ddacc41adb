"""Networks trained on noisy labels that do not generalise: what makes their idealised accuracy?

arXiv 2603.23784 reports 95.5% from a model whose own accuracy is 0.23%. With means over seeds of networks
that did not generalise, the idealised accuracy of a frequency mode is a sum::

    trained = untrained + (frozen_input - untrained) + (trained - frozen_input)
              prior       fitted read-out              learned input structure

The first term is what idealization makes of initial weights; the second what a read-out fitted to random
input weights adds, where no wave was learned and the mode selects those that happen to be there; only
the third is due to trained input weights.

What is not evidence: the published pair alone, in a mode whose frozen_input reaches it too. And the last term
is about W_in and W_out together, which are trained together; ``refitted_readout`` tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from grok_interp.study import pairing
from grok_interp.study.cells import PUBLISHED
from grok_interp.study.pairing import (
    FROZEN,
    NONE,
    OWN,
    TRAINED,
    UNTRAINED,
    WAY,
    figures,
    verdict_on,
)
from grok_interp.study.statistics import over_seeds

MODES = ["per_matrix", "input", "joint"]
PRIORS = [UNTRAINED, "random_phase", "permuted_output"]
"""Readings of "the prior alone": what idealization makes of weights that hold no answer."""
REFITTED = "refitted_readout"
SOURCE = "published: arXiv 2603.23784, its setting is not stated with the pair"
PARTS: dict[str, Callable[[pd.DataFrame], pd.Series[float]]] = {
    "prior alone: untrained": lambda row: row[UNTRAINED],
    "fitted read-out: frozen_input - untrained": lambda row: row[FROZEN] - row[UNTRAINED],
    "learned input structure: trained - frozen_input": lambda row: row[TRAINED] - row[FROZEN],
    "sum: trained": lambda row: row[TRAINED],
    "another reading of the prior: random_phase": lambda row: row["random_phase"],
    "another reading of the prior: permuted_output": lambda row: row["permuted_output"],
    "trained W_in, fresh read-out: refitted_readout - frozen_input": lambda row: (
        row[REFITTED] - row[FROZEN]
    ),
}
PRIOR, READOUT, LEARNED, SUM, *_, REFIT = PARTS
"""The first three add up to the fourth."""
OWN_PARTS: dict[str, Callable[[pd.DataFrame], pd.Series[float]]] = {
    "own accuracy, nothing replaced: trained": lambda row: row[TRAINED],
    "own accuracy, nothing replaced: frozen_input": lambda row: row[FROZEN],
    "own accuracy, nothing replaced: trained - frozen_input": lambda row: (
        row[TRAINED] - row[FROZEN]
    ),
}


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Everything that the study's words and figure say.

    Args:
        runs: As ``sweep.read`` gives them, with ``measure.all_controls``.

    Returns:
        By name:

        - ``pair``: own accuracy on held-out pairs and idealised accuracy over all pairs, published and
          measured, by setting, frequency mode and network;
        - ``decomposition``: :data:`PARTS` by mode, and own accuracies where the mode is "none";
        - ``idealised``: trained, frozen_input and their paired difference ``excess`` by mode, waveforms and
          what was replaced;
        - ``seeds``: a row a run, with those that generalised, which the other tables leave out.

    Raises:
        ValueError: If there are no runs, a control or mode was not measured, or all runs generalised.
    """
    compared = pairing.side_by_side(runs)
    pairing.demand(compared, [TRAINED, FROZEN, *PRIORS, REFITTED], MODES)
    seeds = _seeds(compared, runs)
    compared = compared[~compared["generalised"]]
    if len(compared) == 0:
        raise ValueError(
            f"all {len(seeds)} networks have held-out accuracies of {pairing.NOT_GENERALISED} or more, and "
            "the headline is of those that do not generalise: give more label noise or fewer steps"
        )
    compared = compared.assign(excess=compared[TRAINED] - compared[FROZEN])
    idealised = over_seeds(compared, ["setting", *WAY, "pairs"], [TRAINED, FROZEN, "excess"]).drop(
        columns="missing"
    )
    return {
        "pair": _pair(idealised),
        "decomposition": _decomposition(compared),
        "idealised": idealised,
        "seeds": seeds,
    }


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the numbers show and do not show, a paragraph a setting.

    Args:
        tables: :func:`tables`.

    Returns:
        Plain text.
    """
    said = [_in_words(tables, setting) for setting in tables["seeds"]["setting"].unique()]
    said.append(
        "An idealised accuracy says what waves read from the weights could do. It does not say that the "
        "network uses them, and the settings measured are those named here."
    )
    return "\n\n".join(said)


def _seeds(compared: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """A row a run: its own accuracies, and its idealised ones beside frozen_input's."""
    key = ["setting", "seed", "run", "generalised"]
    own = compared[compared["replaced"] == NONE]
    rows = own[own["pairs"] == "all"][[*key, TRAINED]].rename(columns={TRAINED: "own"})
    held_out = own[own["pairs"] == "held out"].set_index("run")[TRAINED]
    rows["own_held_out"] = rows["run"].map(held_out)
    rows["train_accuracy"] = rows["run"].map(runs.set_index("run")["train_accuracy"])
    ideal = pairing.standard(compared)
    ideal = ideal[ideal["pairs"] == "all"]
    for mode in MODES:
        one = ideal[ideal["frequency"] == mode].set_index("run")
        rows[f"idealised_{mode}"] = rows["run"].map(one[TRAINED])
        rows[f"frozen_input_{mode}"] = rows["run"].map(one[FROZEN])
        rows[f"excess_{mode}"] = rows[f"idealised_{mode}"] - rows[f"frozen_input_{mode}"]
    return rows.sort_values(["setting", "seed"]).reset_index(drop=True)


def _pair(idealised: pd.DataFrame) -> pd.DataFrame:
    """Own and idealised accuracy of each network, the published pair in a row of its own."""
    own = idealised[(idealised["replaced"] == NONE) & (idealised["pairs"] == "held out")]
    ideal = pairing.standard(idealised)
    ideal = ideal[ideal["pairs"] == "all"]
    rows = [
        {"source": SOURCE, "setting": "not stated", "frequency": "not stated", "network": TRAINED}
        | PUBLISHED
    ]
    for setting in ideal["setting"].unique():
        for mode in MODES:
            for network in (TRAINED, FROZEN):
                row = {"source": "measured", "setting": setting}
                row |= {"frequency": mode, "network": network}
                for name, frame, frequency in (("own", own, NONE), ("idealised", ideal, mode)):
                    value = pairing.one_row(
                        frame, setting=setting, frequency=frequency, measure=network
                    )
                    row |= {name: value["mean"], f"{name}_low": value["low"]}
                    row |= {f"{name}_high": value["high"], "seeds": value["n"]}
                rows.append(row)
    columns = ["source", "setting", "frequency", "network"]
    columns += [name + end for name in PUBLISHED for end in ("", "_low", "_high")]
    # The published pair's number of seeds is not known; a column with a gap is of floats in a CSV.
    return pd.DataFrame(rows, columns=[*columns, "seeds"]).astype({"seeds": float})


def _decomposition(compared: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of :data:`PARTS` in each mode, and of the own accuracies."""
    ideal, own = pairing.standard(compared), compared[compared["replaced"] == NONE]
    found = []
    for rows, parts in ((ideal, PARTS), (own, OWN_PARTS)):
        values = rows.assign(**{name: part(rows) for name, part in parts.items()})
        found.append(over_seeds(values, ["setting", "frequency", "pairs"], list(parts)))
    table = pd.concat(found, ignore_index=True).rename(columns={"measure": "part"})
    return table.drop(columns="missing")


def _in_words(tables: Mapping[str, pd.DataFrame], setting: str) -> str:
    pair, parts, seeds = tables["pair"], tables["decomposition"], tables["seeds"]
    seeds = seeds[seeds["setting"] == setting]
    left_out = int(seeds["generalised"].sum())
    count = len(seeds) - left_out
    start = (
        f"Setting {setting}. Of {len(seeds)} networks {count} did not generalise (held-out accuracy "
        f"below {pairing.NOT_GENERALISED}); {left_out} did, and only the others count here."
    )
    if count == 0:
        return start

    def accuracy(name: str, mode: str, network: str) -> str:
        row = pairing.one_row(pair, setting=setting, frequency=mode, network=network)
        return figures(
            pd.Series({"mean": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})
        )

    said = [
        start,
        f"They score {accuracy('own', MODES[0], TRAINED)} on held-out pairs (mean and 95% bootstrap interval "
        "over seeds); idealised with square waves in and cosines out, over all pairs: "
        + "; ".join(f"{accuracy('idealised', mode, TRAINED)} in {mode} mode" for mode in MODES)
        + ".",
        f"Frozen random input weights with a read-out fitted to the same labels score "
        f"{accuracy('own', MODES[0], FROZEN)}, and idealised "
        + "; ".join(f"{accuracy('idealised', mode, FROZEN)} ({mode})" for mode in MODES)
        + ".",
        _beside_the_published(pair, setting),
    ]
    for mode in MODES:
        part = {
            name: pairing.one_row(parts, setting=setting, frequency=mode, pairs="all", part=name)
            for name in (PRIOR, READOUT, LEARNED, SUM, REFIT)
        }
        size = verdict_on(*part[LEARNED][["mean", "low", "high"]])
        said.append(
            f"In {mode} mode {part[SUM]['mean']:.3f} is the sum of {figures(part[PRIOR])} from the prior "
            f"that idealization injects (untrained weights), {figures(part[READOUT])} from a fitted "
            f"read-out, and {figures(part[LEARNED])} from learned input structure, which is {size}; the "
            f"trained W_in with a fresh read-out is {figures(part[REFIT])} above the frozen one."
        )
    said += [_by_part(tables["idealised"], setting), _by_waveform(tables["idealised"], setting)]
    return " ".join(filter(None, said))


def _beside_the_published(pair: pd.DataFrame, setting: str) -> str:
    """In which modes each network makes the published pair: no better by itself, as good idealised."""

    def made(network: str) -> str:
        rows = pair[(pair["setting"] == setting) & (pair["network"] == network)]
        reached = rows[rows["idealised_high"].fillna(rows["idealised"]) >= PUBLISHED["idealised"]]
        return ", ".join(reached["frequency"]) or "no mode"

    own, ideal = PUBLISHED.values()
    text = (
        f"Beside the published pair ({own:.4f} own, {ideal:.3f} idealised; setting not stated): an interval "
        f"up to {ideal:.3f} or above is reached by trained networks in {made(TRAINED)}, and by "
        f"frozen_input in {made(FROZEN)}."
    )
    if made(FROZEN) == "no mode":
        return text + " So here no control makes that figure without trained input weights."
    return text + " So there the figure needs no trained input weights."


def _by_part(idealised: pd.DataFrame, setting: str) -> str:
    """Accuracy and excess with one side idealised alone."""
    # On held-out pairs: the side that stays may know the training pairs by heart.
    rows = idealised[(idealised["setting"] == setting) & (idealised["pairs"] == "held out")]
    said = []
    for part, wave_in, wave_out in (("W_in", "square", OWN), ("W_out", OWN, "cosine")):
        one = rows[(rows["replaced"] == part) & (rows["input_waveform"] == wave_in)]
        one = one[one["output_waveform"] == wave_out]
        for mode in [mode for mode in MODES if mode in set(one["frequency"])]:
            trained, excess = (
                pairing.one_row(one, frequency=mode, measure=of) for of in (TRAINED, "excess")
            )
            size = verdict_on(*excess[["mean", "low", "high"]])
            said.append(
                f"{part} alone, {mode}: {trained['mean']:.3f}, excess {figures(excess)}, {size}"
            )
    return f"With one side idealised, on held-out pairs: {'; '.join(said)}." if said else ""


def _by_waveform(idealised: pd.DataFrame, setting: str) -> str:
    """The excess in each mode by waveform, everything replaced."""
    rows = idealised[(idealised["setting"] == setting) & (idealised["pairs"] == "all")]
    rows = rows[(rows["replaced"] == "all") & (rows["measure"] == "excess")]
    if len(rows.drop_duplicates(["input_waveform", "output_waveform"])) < 2:
        return ""
    said = [
        f"{mode}: "
        + ", ".join(
            f"{row['input_waveform']} in and {row['output_waveform']} out {row['mean']:+.3f}"
            for row in rows[rows["frequency"] == mode].to_dict("records")
        )
        for mode in MODES
    ]
    return f"Excess by waveform: {'; '.join(said)}."
