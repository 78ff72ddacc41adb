"""The lottery study on made-up runs whose shares are known."""

import io
import itertools
from functools import cache

import pandas as pd
import pytest

from grok_interp import lottery, study
from grok_interp.figures.lottery_study import study_lottery as figure_of
from grok_interp.study import lottery as analysis

SEEDS = 6
KINDS = {"clean": 0.0, "noisy": 0.3, "random labels": 1.0, "W_in frozen": 0.0}


def runs(shares: dict[str, dict[str, float]], steps: tuple[int, ...] = (400,)) -> pd.DataFrame:
    """Runs by kind and predictor; seeds spread shares by +-.01 about those given, alike in all kinds."""
    rows = []
    for kind, last, seed in itertools.product(shares, steps, range(SEEDS)):
        spread = 0.01 * (2 * seed / (SEEDS - 1) - 1)
        row = {
            "run": f"{kind}-{last}-{seed}",
            "task.p": 31,
            "model.d_mlp": 128,
            "train.weight_decay": 1.0,
            "split.label_noise": KINDS[kind],
            "train.steps": last,
            "split.seed": seed,
            "train.trainable": '["W_out"]' if kind == "W_in frozen" else None,
            "feature_movement": 1.0 if kind == "W_in frozen" else 0.3,
            "test_accuracy": 1.0 if kind == "clean" else 0.0,
            "grokked_censored": kind != "clean" or seed == 0,
            "lottery_live": 128.0,
        }
        for predictor in lottery.PREDICTORS:
            share = shares[kind].get(predictor, 0.1) + spread
            row[f"lottery_{predictor}_share"] = share
            row[f"lottery_{predictor}_chance"] = 0.07
            row[f"lottery_{predictor}_percentile"] = 0.5 + share
            row[f"lottery_{predictor}_percentile_chance"] = 0.5
        rows.append(row)
    return pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)


LEARNED = {
    "clean": {"aligned": 0.45, "joint": 0.3, "input": 0.28},
    "noisy": {"aligned": 0.2, "joint": 0.2, "input": 0.22},
    "random labels": {"aligned": 0.05, "joint": 0.12},
    "W_in frozen": {"aligned": 0.2, "joint": 0.4, "input": 0.55},
}


@cache
def learned() -> dict[str, pd.DataFrame]:
    return analysis.tables(runs(LEARNED))


def one(table: pd.DataFrame, **where: object) -> pd.Series:
    found = table[(table[list(where)] == pd.Series(where)).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


def test_tables_give_the_means_that_went_in():
    tables = learned()
    at = {"kind": "clean", "steps": 400}
    row = one(tables["lottery"], predictor="aligned", measure="share", **at)
    assert row["mean"] == pytest.approx(0.45)
    assert (row["n"], row["missing"]) == (SEEDS, 0)
    assert 0.44 < row["low"] < 0.45 < row["high"] < 0.46
    excess = one(tables["lottery"], predictor="aligned", measure="excess", **at)
    assert excess["mean"] == pytest.approx(0.38)
    rank = one(tables["lottery"], predictor="joint", measure="percentile_excess", **at)
    assert rank["mean"] == pytest.approx(0.3)
    assert one(tables["networks"], measure="grokked", **at)["mean"] == pytest.approx(5 / 6)


def test_differences_are_paired_by_seed():
    tables = learned()
    at = {"kind": "clean", "steps": 400}
    # The spread over seeds is common to both sides, so the differences have none.
    for name, control, expected in (
        ("against_controls", {"control": "random labels", "predictor": "aligned"}, 0.4),
        ("against_controls", {"control": "W_in frozen", "predictor": "joint"}, -0.1),
        ("alignment", {"other": "joint"}, 0.15),
    ):
        row = one(tables[name], **control, **at)
        assert [row["mean"], row["low"], row["high"]] == pytest.approx([expected] * 3)
        assert row["n"] == SEEDS
    assert set(tables["against_controls"]["kind"]) == {"clean", "noisy"}


def cells(words: str) -> list[str]:
    """What is said of each cell, and at the end of all."""
    _, *parts = words.split("\n\np=31")
    last, overall = parts[-1].split("\n\nOver chance")
    return [*parts[:-1], last, "Over chance" + overall]


def test_words_are_about_one_score_beside_both_controls():
    clean, noisy, overall = cells(study.in_words("lottery", learned()))
    assert "The maximum of 'aligned' is the final frequency of 45.0% [44." in clean
    assert "83% grokked" in clean
    assert "400 steps" in clean
    assert "Phase alignment adds to" in clean
    assert "+15.0 points" in clean
    assert "- random labels, where W_in keeps a cosine of 0.30: +40.0 points" in clean
    assert "- W_in frozen, where W_in keeps a cosine of 1.00: +25.0 points" in clean
    assert "Persistence alone reaches less in both controls." in clean
    assert "- 'input': 28.0% [27.5%, 28.5%]; against random labels +18.0 points" in clean
    assert "; against W_in frozen -27.0 points" in clean
    # 'input' has the largest share of all, and no sentence is about it.
    assert "30% label noise" in noisy
    assert "The maximum of 'aligned' is the final frequency of 20.0%" in noisy
    assert "changes nothing" in noisy
    assert (
        "there it is as much, for all that these seeds can tell\n\nIt is not above 'W_in frozen',"
        in noisy
    )
    assert "nor above" not in noisy
    assert "even at best most neurons end" in overall
    assert "'input' names 55%" in overall
    # Six seeds' intervals cover 87%.
    assert "Over chance are 8 of 8 shares (interval above 0), and 11 of 16 differences" in overall
    assert "3.2 of these 24 intervals would be expected off it" in overall


def test_words_turn_with_the_numbers():
    persistent = {
        "clean": {"aligned": 0.07, "joint": 0.6, "input": 0.05, "output": 0.05},
        "random labels": {"aligned": 0.17, "joint": 0.5, "input": 0.05, "output": 0.05},
    }
    clean, overall = cells(analysis.in_words(analysis.tables(runs(persistent))))
    assert "Phase alignment takes from" in clean
    assert (
        "-10.0 points [-10.0, -10.0]; there it is more\n\nIt is not above 'random labels'," in clean
    )
    assert "even at best some neurons end" in overall
    assert "Over chance are 1 of 4" in overall
    assert "frozen" not in overall
    persistent["W_in frozen"] = {"aligned": 0.6}
    clean, _ = cells(analysis.in_words(analysis.tables(runs(persistent))))
    assert "It is not above 'random labels' nor above 'W_in frozen'," in clean
    del persistent["W_in frozen"]
    persistent["random labels"]["aligned"] = 0.01
    clean, _ = cells(analysis.in_words(analysis.tables(runs(persistent))))
    assert "there it is less\n\nBeside it no 'W_in frozen' was trained" in clean
    del persistent["random labels"]
    clean, _ = cells(analysis.in_words(analysis.tables(runs(persistent))))
    assert "how much is persistence is open" in clean


def test_words_are_of_the_last_step():
    frame = runs({"clean": LEARNED["clean"]}, steps=(100, 400))
    early = frame["train.steps"] == 100
    frame.loc[early, "lottery_aligned_share"] = 0.9
    assert "90" not in analysis.in_words(analysis.tables(frame))


def test_tables_read_back_from_csv_say_the_same():
    tables = learned()
    back = {
        name: pd.read_csv(io.StringIO(table.to_csv(index=False))) for name, table in tables.items()
    }
    assert analysis.in_words(back) == analysis.in_words(tables)


def test_what_cannot_be_told_apart_is_refused():
    frame = runs(LEARNED)
    with pytest.raises(ValueError, match=r"several runs are of .*leave other settings"):
        analysis.tables(pd.concat([frame, frame.assign(run="other")]))
    with pytest.raises(ValueError, match=r"without the columns \['split.label_noise'\]"):
        analysis.tables(frame.drop(columns="split.label_noise"))
    with pytest.raises(ValueError, match="0 finished runs"):
        analysis.tables(frame.iloc[:0])


@pytest.mark.parametrize("size", study.SIZES)
def test_the_sweep_has_its_controls_at_every_decay_and_step(size):
    found = {}
    for run in study.load("lottery").runs(size):
        frozen = run.train.trainable == ("W_out",)
        kind = (
            "W_in frozen" if frozen else {0: "clean", 1: "random labels"}.get(run.split.label_noise)
        )
        key = (run.train.weight_decay, run.train.steps)
        found.setdefault(kind, set()).add((*key, run.split.seed))
    assert found["clean"] == found["random labels"] == found["W_in frozen"] == found[None]


def test_the_figure_shows_shares_beside_chance_and_movement():
    figure = figure_of(learned())
    found = {}
    for each in figure.data:
        found.setdefault((each.name, each.xaxis), []).append(each)
    share, chance = found["clean", "x"]
    predictors = list(figure.layout.xaxis.ticktext)
    drawn = dict(zip([predictors[round(x)] for x in share.x], share.y, strict=True))
    assert drawn == pytest.approx({"input": 0.28, "output": 0.1, "joint": 0.3, "aligned": 0.45})
    assert predictors == list(lottery.PREDICTORS)
    assert list(chance.y) == pytest.approx([0.07] * 4)
    rank, by_chance = found["clean", "x2"]
    assert max(rank.y) == pytest.approx(0.95)
    assert list(by_chance.y) == pytest.approx([0.5] * 4)
    (moved,) = found["W_in frozen", "x3"]
    assert (list(moved.x), list(moved.y)) == ([1.0], [pytest.approx(0.4)])
    colours = {share.marker.color for kind in KINDS for share in found[kind, "x"][:1]}
    assert len(colours) == len(KINDS)


def test_the_figure_names_what_it_misses():
    with pytest.raises(ValueError, match="predictor"):
        figure_of(learned() | {"lottery": learned()["lottery"].drop(columns="predictor")})
