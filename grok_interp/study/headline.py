"""Networks trained on noisy labels that do not generalise: what makes their idealised accuracy?

arXiv 2603.23784 reports 95.5% from a model whose own accuracy is 0.23%. With means over seeds of networks
that did not generalise, the idealised accuracy of a frequency mode is a sum::

    trained = untrained                + (frozen_input - untrained)     + (trained - frozen_input)
              idealised initial weights  a fitted read-out, idealised     training of W_in and W_out

The first term stands beside chance, 1/p, which is all that idealization makes of initial weights. The second
belongs to the read-out and idealization together: fitted to random input weights the read-out makes no
accuracy by itself, and idealization none without it. The third is all that training does more: to W_in, and
to W_out, which is AdamW's here and a ridge regression's in the control. ``refitted_readout`` has the trained
W_in with a read-out fitted as the control's is, and so tells what W_in holds.

What is not evidence: the published result alone, in a mode whose frozen_input makes it too; and a term as the
share of its cause. The sum is taken in one order, and what two causes do together only is in the term of the
second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from grok_interp.study import pairing
from grok_interp.study.cells import PUBLISHED
from grok_interp.study.pairing import (
    CHANCE,
    FROZEN,
    NONE,
    NOT_GENERALISED,
    OWN,
    TRAINED,
    UNTRAINED,
    WAY,
    beside_chance,
    figures,
    verdict_on,
)
from grok_interp.study.statistics import over_seeds

MODES = ["per_matrix", "input", "joint"]
NO_ANSWER = [UNTRAINED, "random_phase", "permuted_output"]
"""Weights that hold no answer: what idealization makes of them is its own."""
REFITTED = "refitted_readout"
SOURCE = "published: arXiv 2603.23784, its setting is not stated with the pair"
PARTS: dict[str, Callable[[pd.DataFrame], pd.Series[float]]] = {
    "idealised untrained weights: untrained": lambda row: row[UNTRAINED],
    "fitted read-out together with idealization: frozen_input - untrained": lambda row: (
        row[FROZEN] - row[UNTRAINED]
    ),
    "training of W_in and W_out: trained - frozen_input": lambda row: row[TRAINED] - row[FROZEN],
    "sum: trained": lambda row: row[TRAINED],
    "idealised with phases at random: random_phase": lambda row: row["random_phase"],
    "idealised with neurons paired at random: permuted_output": lambda row: row["permuted_output"],
    "training of W_in, a read-out fitted to either: refitted_readout - frozen_input": lambda row: (
        row[REFITTED] - row[FROZEN]
    ),
}
INITIAL, READOUT, TRAINING, SUM, *_, OF_W_IN = PARTS
"""The first three add up to the fourth."""
ENDS = ["mean", "low", "high"]
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
          measured, by setting, frequency mode and network, with chance;
        - ``decomposition``: :data:`PARTS` by mode, and own accuracies where the mode is "none";
        - ``idealised``: trained, frozen_input and their paired difference ``excess`` by mode, waveforms and
          what was replaced;
        - ``seeds``: a row a run, with those that generalised, which the other tables leave out.

    Raises:
        ValueError: If there are no runs, a control or mode was not measured, two runs of a setting have
            one seed, or all runs generalised.
    """
    compared = pairing.side_by_side(runs)
    pairing.demand(compared, [TRAINED, FROZEN, *NO_ANSWER, REFITTED], MODES)
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
        "pair": _pair(idealised, compared.groupby("setting")[CHANCE].first()),
        "decomposition": _decomposition(compared),
        "idealised": idealised,
        "seeds": seeds,
    }


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """What the numbers show and do not show, setting by setting.

    Args:
        tables: :func:`tables`.

    Returns:
        Paragraphs and lists, with a blank line between.
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


def _pair(idealised: pd.DataFrame, chance: pd.Series[float]) -> pd.DataFrame:
    """Own and idealised accuracy of each network, the published result in a row of its own."""
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
                row = {"source": "measured", "setting": setting, CHANCE: chance[setting]}
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
    # The published result's number of seeds is not known; a column with a gap is of floats in a CSV.
    return pd.DataFrame(rows, columns=[*columns, CHANCE, "seeds"]).astype({"seeds": float})


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
    pair, seeds = tables["pair"], tables["seeds"]
    seeds = seeds[seeds["setting"] == setting]
    left_out = int(seeds["generalised"].sum())
    count = len(seeds) - left_out
    start = (
        f"Setting {setting}: {count} of {len(seeds)} networks did not generalise (held-out accuracy below "
        f"{NOT_GENERALISED})"
    )
    if count == 0:
        return f"{start}, and nothing can be said of such."
    if left_out:
        start += f", and the {left_out} that did are left out"
    rows = pair[pair["setting"] == setting]
    chance = float(rows[CHANCE].iloc[0])
    said = [
        f"{start}. Numbers are mean accuracies over seeds with 95% bootstrap intervals; chance is "
        f"{chance:.3f}. Own accuracies are of held-out pairs, idealised ones (square waves in, cosines out) "
        "of all pairs:",
        pairing.listed([_scores(rows, network) for network in (TRAINED, FROZEN)]),
        _beside_the_published(rows),
        _sum(tables["decomposition"], rows, setting),
        _by_part(tables["idealised"], setting),
        _by_waveform(tables["idealised"], setting),
    ]
    return "\n\n".join(filter(None, said))


def _scores(rows: pd.DataFrame, network: str) -> str:
    """A network's own accuracy and its idealised ones."""
    own = _of(_row(rows, MODES[0], network), "own")
    name = "the trained networks"
    if network == FROZEN:
        name = f"{FROZEN}, random input weights with a read-out fitted to the same labels"
    ideal = [f"{figures(_of(_row(rows, mode, network), 'idealised'))} ({mode})" for mode in MODES]
    side = beside_chance(own, float(rows[CHANCE].iloc[0]))
    return f"{name}: own {figures(own)}, {side}; idealised {', '.join(ideal)}"


def _row(rows: pd.DataFrame, mode: str, network: str) -> pd.Series[float]:
    return pairing.one_row(rows, frequency=mode, network=network)


def _of(row: pd.Series[float], name: str) -> pd.Series[float]:
    """The mean and interval of one of the two accuracies of a pair."""
    return pd.Series({"mean": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})


def _beside_the_published(rows: pd.DataFrame) -> str:
    """In which modes each network makes the published result: none by itself, as good idealised."""
    own, ideal = PUBLISHED.values()

    def made(network: str) -> str:
        alike = (rows["own"] < NOT_GENERALISED) & (rows["idealised"] >= ideal)
        return ", ".join(rows.loc[alike & (rows["network"] == network), "frequency"])

    text = (
        f"Beside the published result ({own:.4f} own, {ideal:.3f} idealised; setting not stated): means of "
        f"{ideal:.3f} or more, with an own accuracy below {NOT_GENERALISED}, are those of the trained "
        f"networks in {made(TRAINED) or 'no mode'}, and of {FROZEN} in {made(FROZEN) or 'no mode'}. "
    )
    if made(FROZEN):
        return f"{text}So such a result needs no trained input weights."
    return f"{text}So no control makes such a result without trained input weights here."


def _sum(parts: pd.DataFrame, rows: pd.DataFrame, setting: str) -> str:
    """The terms in each mode, and what the first two are by themselves."""
    chance, frozen = float(rows[CHANCE].iloc[0]), _of(_row(rows, MODES[0], FROZEN), "own")
    found = {
        mode: {
            name: pairing.one_row(parts, setting=setting, frequency=mode, pairs="all", part=name)
            for name in (INITIAL, READOUT, TRAINING, SUM, OF_W_IN)
        }
        for mode in MODES
    }
    items = [
        f"{mode}, {part[SUM]['mean']:.3f}: {figures(part[INITIAL])} from idealised untrained weights "
        f"({beside_chance(part[INITIAL], chance)}), {figures(part[READOUT])} from the fitted read-out "
        f"together with idealization, {figures(part[TRAINING])} from training of W_in and W_out, "
        f"{verdict_on(*part[TRAINING][ENDS])}. With a read-out fitted to either, trained input weights are "
        f"{figures(part[OF_W_IN])} above random ones, {verdict_on(*part[OF_W_IN][ENDS])}"
        for mode, part in found.items()
    ]
    alone = max(float(part[INITIAL]["mean"]) for part in found.values())
    neither = alone < NOT_GENERALISED and frozen["mean"] < NOT_GENERALISED
    last = (
        "The terms depend on the order of the sum. "
        + ("Neither idealization nor the fitted read-out does it alone: " if neither else "Alone, ")
        + f"idealised untrained weights get {alone:.3f} at most, and the frozen network that is not "
        f"idealised {frozen['mean']:.3f} of the held-out pairs, {beside_chance(frozen, chance)} "
        f"({chance:.3f}). What the two do only together is in the second term."
    )
    return "\n\n".join(
        ["As a sum, the idealised accuracy of the trained networks is", pairing.listed(items), last]
    )


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
            said.append(
                f"{part} alone, {mode}: {trained['mean']:.3f}, excess {figures(excess)}, "
                f"{verdict_on(*excess[ENDS])}"
            )
    if not said:
        return ""
    return (
        f"With one side idealised, accuracy on held-out pairs and its excess over {FROZEN}:\n\n"
        + pairing.listed(said)
    )


def _by_waveform(idealised: pd.DataFrame, setting: str) -> str:
    """The excess in each mode by waveform, everything replaced."""
    rows = idealised[(idealised["setting"] == setting) & (idealised["pairs"] == "all")]
    rows = rows[(rows["replaced"] == "all") & (rows["measure"] == "excess")]
    if len(rows.drop_duplicates(["input_waveform", "output_waveform"])) < 2:
        return ""
    said = [
        f"{mode}: "
        + ", ".join(
            f"{row['input_waveform']} in and {row['output_waveform']} out {figures(row)}"
            for row in rows[rows["frequency"] == mode].to_dict("records")
        )
        for mode in MODES
    ]
    return f"The excess over {FROZEN} by waveform, both sides idealised:\n\n{pairing.listed(said)}"
