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
    floor_joint: float = 0.5,
    noise: float = 0.0,
    d_mlp: int = 128,
) -> dict[str, object]:
    """A run whose measures jump at given steps; beyond the last step they never do."""

    def jumps(step: int, low: float, high: float) -> np.ndarray:
        return np.where(step <= STEPS, high, low)

    excess = {"per_matrix": jumps(latent, 0.0, 0.9), "joint": jumps(joint, -0.4, 0.3)}
    columns = {
        "train_accuracy": jumps(100, 0.2, 1.0),
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
    assert list(tables) == ["order", "leads", "prediction", "events", "floor", "runs"]
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
    assert (found["tau"], found["comparable"], found["pairs"], found["settings"]) == (1, 56, 56, 2)
    # An event at one step in all runs orders none of them.
    same = row(tables["prediction"], event="memorised", against="grokked", label_noise=0.0)
    assert math.isnan(same["tau"])
    noisy = row(tables["prediction"], event="memorised", against="grokked", label_noise=0.3)
    assert noisy["comparable"] == 0


def test_words_follow_the_numbers(tables: dict[str, pd.DataFrame]) -> None:
    words = onset.in_words(tables)
    clean, noisy, caveat = words.split("\n\n")
    assert "16 of 16 runs grokked" in clean
    assert "before grokked in 16 of 16 runs (median lead, by setting: 440 to 740 steps)" in clean
    assert "no mark of an algorithm" in clean
    assert "excess_per_matrix > 0.1 +1.00 [+1.00, +1.00] over 56 of 56 pairs" in clean
    assert "the earlier, the earlier" in clean
    assert "no network could" not in clean
    assert "0 of 2 runs grokked" in noisy
    assert "795 steps or more" in noisy
    assert "nothing predicts it" in noisy
    assert "does not say that the network uses them" in caveat

    late = pd.DataFrame(
        [run(s, latent=900 + 10 * s, grokked=500 - 10 * s, floor_joint=0.95) for s in range(6)]
    )
    opposite = onset.tables(late)
    assert (
        row(opposite["prediction"], event="excess_per_matrix > 0.1", against="grokked")["tau"] == -1
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
    (tau,) = [trace for trace in drawn.data if trace.name == "tau with grokked"]
    at = [event for event, *_ in tau.customdata].index("excess_per_matrix > 0.1")
    assert tau.x[at] == 1


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


@pytest.mark.parametrize(
    ("onset_tau", "memorised", "says"),
    [
        ((0.6, 0.4, 0.8), (0.1, -0.2, 0.3), "goes with it more closely than memorisation"),
        ((0.6, 0.2, 0.8), (0.4, 0.0, 0.7), "cannot be told: the intervals overlap"),
        ((0.5, 0.2, 0.8), (0.7, 0.5, 0.9), "no more closely than memorisation"),
        ((-0.1, -0.4, 0.2), (-0.2, -0.5, 0.2), ""),
    ],
)
def test_an_onset_foretells_more_than_memorisation_only_if_intervals_say_so(
    onset_tau: tuple[float, ...], memorised: tuple[float, ...], says: str
) -> None:
    names = [
        onset_events.label(*onset_events.LATENT[0]),
        onset_events.label(*onset_events.MEMORISED),
    ]
    known = pd.DataFrame([onset_tau, memorised], columns=["tau", "low", "high"])
    said = onset_words._beside_memorisation(known.assign(event=names))
    assert says in said
    assert bool(said) == bool(says)
