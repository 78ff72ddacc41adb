"""The study of onsets on runs whose events were put at known steps."""

import io
import math

import numpy as np
import pandas as pd
import pytest

from grok_interp import study
from grok_interp.figures import study_onset
from grok_interp.study import onset, onset_events, onset_words

STEPS = np.arange(0, 1001, 10)
END = 1000


def run(
    seed: int,
    *,
    latent: int,
    grokked: int,
    test: int = 300,
    joint: int = 2000,
    memorised: int = 100,
    floor_joint: float = 0.5,
    noise: float = 0.0,
    d_mlp: int = 128,
) -> dict[str, object]:
    """A run whose measures jump at given steps; beyond the last step they never do."""

    def jumps(step: int, low: float, high: float) -> np.ndarray:
        return np.where(step <= STEPS, high, low)

    excess = {"per_matrix": jumps(latent, 0.0, 0.9), "joint": jumps(joint, -0.4, 0.3)}
    columns = {
        "train_accuracy": jumps(memorised, 0.2, 1.0),
        "test_accuracy": np.maximum(jumps(test, 0.0, 0.6), jumps(grokked, 0.0, 1.0)),
        **{f"excess_{mode}": values for mode, values in excess.items()},
        "idealised_per_matrix": 0.05 + excess["per_matrix"],
        "idealised_joint": floor_joint + excess["joint"],
    }
    return {
        "run": f"{noise}-{d_mlp}-{seed}",
        "task.p": 31,
        "split.train_fraction": 0.8,
        "split.label_noise": noise,
        "split.seed": seed,
        "model.d_mlp": d_mlp,
        "train.lr": 3e-3,
        "train.weight_decay": 1.0,
        "comparisons": [],
        "checkpoints": [
            {"step": int(step)} | {name: float(values[i]) for name, values in columns.items()}
            for i, step in enumerate(STEPS)
        ],
    }


def sweep(step: int = 20, **more: object) -> pd.DataFrame:
    """Eight clean runs in each of two widths, grokking later by a step where the onset is, and two noisy."""
    rows = [
        run(seed, latent=30 + step * seed // 2, grokked=400 + 30 * seed + shift, d_mlp=d, **more)
        for d, shift in ((128, 300), (256, 0))
        for seed in range(8)
    ]
    rows += [
        run(seed, latent=200 + 10 * seed, grokked=END + 1, test=END + 1, noise=0.3)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return onset.tables(sweep())


def row(table: pd.DataFrame, **where: object) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_events_are_found_where_they_were_put(tables: dict[str, pd.DataFrame]) -> None:
    assert list(tables) == [
        "order",
        "leads",
        "prediction",
        "closer",
        "grokked",
        "events",
        "floor",
        "runs",
    ]
    first = row(tables["runs"], seed=3, d_mlp=128, label_noise=0.0)
    assert first["excess_per_matrix > 0.1"] == 60
    assert first["test_accuracy > 0.5"] == 300
    assert first["memorised"] == 100
    assert first["grokked"] == 790
    assert (first["excess_joint > 0.1"], first["excess_joint > 0.1, censored"]) == (END, True)
    median = row(tables["events"], event="grokked", d_mlp=128, label_noise=0.0)
    assert (median["median_least"], median["median_most"], median["censored"]) == (805, 805, 0)
    # Eight values: the interval of the sign test is their range.
    assert (median["low"], median["high"]) == (700, 910)
    never = row(tables["events"], event="grokked", label_noise=0.3)
    assert (never["median_least"], never["median_most"], never["censored"]) == (END, math.inf, 2)
    floor = row(tables["floor"], measure="floor_joint", d_mlp=256)
    assert floor["mean"] == pytest.approx(0.5)
    assert floor["n"] == 8


def test_order_and_lead_are_counted_within_settings(tables: dict[str, pd.DataFrame]) -> None:
    order = tables["leads"]
    main = {"event": "excess_per_matrix > 0.1", "d_mlp": 256}
    against = row(order, **main, against="grokked")
    assert against[["first", "second", "together", "unknown", "n"]].tolist() == [8, 0, 0, 0, 8]
    # 400 + 30 s - (30 + 10 s): 370, 390, ..., 510.
    assert (against["lead_least"], against["lead_most"]) == (440, 440)
    memorised = row(order, **main, against="memorised")
    assert memorised[["first", "second", "together"]].tolist() == [7, 0, 1]
    # Noisy runs never grok: the order is certain, the lead has no upper bound.
    noisy = row(order, event="excess_per_matrix > 0.1", against="grokked", label_noise=0.3)
    assert noisy["first"] == 2
    assert (noisy["lead_least"], noisy["lead_most"]) == (795, math.inf)
    pooled = row(
        tables["order"], event="excess_per_matrix > 0.1", against="grokked", label_noise=0.0
    )
    assert pooled[["settings", "n", "first", "second"]].tolist() == [2, 16, 16, 0]
    assert (pooled["lead_least"], pooled["lead_most"]) == (440, 740)
    nothing = row(order, event="excess_joint > 0.1", against="grokked", label_noise=0.3)
    assert nothing["unknown"] == 2


def test_prediction_is_within_settings(tables: dict[str, pd.DataFrame]) -> None:
    key = {"event": "excess_per_matrix > 0.1", "against": "grokked", "label_noise": 0.0}
    found = row(tables["prediction"], **key)
    assert (found["gamma"], found["comparable"], found["pairs"], found["settings"]) == (
        1,
        56,
        56,
        2,
    )
    # An event at one step in all runs orders none of them.
    same = row(tables["prediction"], event="memorised", against="grokked", label_noise=0.0)
    assert math.isnan(same["gamma"])
    noisy = row(tables["prediction"], event="memorised", against="grokked", label_noise=0.3)
    assert noisy["comparable"] == 0


def test_words_follow_the_numbers(tables: dict[str, pd.DataFrame]) -> None:
    words = onset.in_words(tables)
    clean, noisy = words.split("Label noise 0.3: ")
    assert "16 of 16 runs grokked" in clean
    assert "before grokked in 16 of 16 runs (median lead, by setting: 440 to 740 steps)" in clean
    assert "no mark of an algorithm" in clean
    assert "excess_per_matrix > 0.1 +1.00 [+1.00, +1.00] over 56 of 56 pairs" in clean
    assert "the earlier, the earlier" in clean
    assert "no network could" not in clean
    assert noisy.startswith("0 of 2 runs grokked")
    assert "795 steps or more" in noisy
    assert "nothing predicts it" in noisy
    assert "does not say that the network uses them" in words

    late = pd.DataFrame(
        [run(s, latent=900 + 10 * s, grokked=500 - 10 * s, floor_joint=0.95) for s in range(6)]
    )
    opposite = onset.tables(late)
    assert (
        row(opposite["prediction"], event="excess_per_matrix > 0.1", against="grokked")["gamma"]
        == -1
    )
    other = onset.in_words(opposite)
    assert "before grokked in 0 of 6 runs, after it in 6" in other
    assert "the earlier, the later" in other
    assert "no network could in 1 of 1 settings" in other


def test_tables_survive_csv_and_are_drawn_from_it(tables: dict[str, pd.DataFrame]) -> None:
    read = {
        name: pd.read_csv(io.StringIO(table.to_csv(index=False))) for name, table in tables.items()
    }
    assert onset.in_words(read) == onset.in_words(tables)
    drawn = study_onset(read)
    points = [trace for trace in drawn.data if trace.name == "d_mlp 256, noise 0"]
    assert sorted(points[0].x) == [30, 40, 50, 60, 70, 80, 90, 100]
    assert sorted(points[0].y) == [400, 430, 460, 490, 520, 550, 580, 610]
    (gamma,) = [trace for trace in drawn.data if trace.name == "gamma with grokked"]
    at = [event for event, *_ in gamma.customdata].index("excess_per_matrix > 0.1")
    assert gamma.x[at] == 1


def test_what_is_missing_is_named() -> None:
    rows = sweep()[:1]
    with pytest.raises(ValueError, match=r"measure\.along = true"):
        onset.tables(rows.drop(columns="checkpoints"))
    with pytest.raises(ValueError, match=r"0 finished runs"):
        onset.tables(rows[:0])


def test_small_setting_compares_within_seeds_enough_and_sees_both_kinds() -> None:
    runs = study.load("onset").runs("small")
    assert all(each.measure.along for each in runs)
    counts = pd.Series(
        [(each.split.label_noise, each.model.d_mlp, each.train.weight_decay) for each in runs]
    ).value_counts()
    assert counts.min() >= 8
    assert {noise for noise, *_ in counts.index} == {0.0, 0.3}
    assert len({each.model.d_mlp for each in runs}) == 2
    assert list(onset_events.SETTING.values()) == onset_events.KEYS


def test_noisy_runs_stand_beside_clean_ones_of_their_own_length() -> None:
    # Clean runs of width 128 grok at 700, 730, ..., 910: four of them by step 800.
    runs = sweep()
    noisy = runs["split.label_noise"] > 0
    runs["checkpoints"] = [
        [each for each in along if each["step"] <= 800] if short else along
        for along, short in zip(runs["checkpoints"], noisy, strict=True)
    ]
    tables = onset.tables(runs)
    found = row(tables["grokked"], label_noise=0.3)
    assert found[["last_step", "n", "grokked"]].tolist() == [800, 2, 0]
    assert found[["clean", "clean_grokked"]].tolist() == [8, 4]
    words = onset.in_words(tables)
    assert (
        "\n- d_mlp 128, weight_decay 1: not by step 800 (0 of 2 runs), by which 4 of 8 clean runs had\n"
        in words
    )
    assert "never" not in words
    alone = onset.in_words(onset.tables(runs[noisy]))
    assert "with no clean run beside them" in alone


def test_no_dependence_says_nothing_where_the_way_to_grokking_shows_none_either() -> None:
    power = "lack of power"
    # Test accuracy passes one half at one step in all runs, so nothing shows what could have been seen.
    assert power in onset.in_words(onset.tables(sweep()))
    ordered = pd.DataFrame(
        [
            run(s, latent=500 - 10 * s * (s % 2), test=600 + 10 * s, grokked=800 + 10 * s)
            for s in range(8)
        ]
    )
    words = onset.in_words(onset.tables(ordered))
    to_grokking = words.split("with the step of test_accuracy > 0.5")[0]
    assert "no dependence is shown" in to_grokking
    assert power not in to_grokking
    # 193 of 961 pairs are held out, and 192 right ones are 99% of them.
    said = onset.in_words(onset.tables(sweep()))
    assert "at most 1 wrong of about 193 held out" in said
    assert "so what goes with it is exploratory" in words


def test_an_onset_is_beside_memorisation_by_the_interval_of_their_difference() -> None:
    found = onset.tables(sweep())["closer"]
    assert set(found["event"]) == {
        onset_events.label(*event) for event in (*onset_events.LATENT, *onset_events.GENERALISING)
    }
    # Memorisation is at one step in all runs: no pair is ordered by all three.
    assert (found["comparable"] == 0).all()

    known = pd.DataFrame({"event": ["excess_per_matrix > 0.1"], "low": [0.2], "high": [0.8]})
    differences = known.assign(gamma=-0.6, gamma_memorised=0.1, difference=0.5, comparable=90)
    for low, high, says in (
        (0.2, 0.7, ": it goes more closely"),
        (-0.1, 0.7, "cannot be told"),
        (-0.7, -0.1, ": it goes less closely"),
    ):
        rows = differences.assign(low=low, high=high)
        (_, said) = onset_words._beside_memorisation(known, rows)
        assert said.count("- ") == 1
        assert says in said
        # Of an onset that is not shown to go with it nothing is said.
        assert onset_words._beside_memorisation(known.assign(low=-0.1), rows) == []


def test_closer_is_the_rank_difference_within_settings_over_shared_seeds() -> None:
    runs = pd.DataFrame(
        [
            run(s, latent=100 + 10 * s, grokked=400 + 20 * s + shift, memorised=m, d_mlp=d)
            for d, shift in ((128, 300), (256, 0))
            for s, m in enumerate((90, 30, 80, 40, 70, 60))
        ]
    )
    found = row(onset.tables(runs)["closer"], event="excess_per_matrix > 0.1", against="grokked")
    tau = -3 / 15  # of the six steps of memorisation with their place
    assert (found["gamma"], found["comparable"], found["pairs"]) == (1, 30, 30)
    assert found["gamma_memorised"] == pytest.approx(tau)
    assert found["difference"] == pytest.approx(1 - abs(tau))
    assert found["low"] >= 0
