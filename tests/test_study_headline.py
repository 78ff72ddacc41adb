"""The headline's parts add up, leave out what generalised, and its words follow the numbers."""

import io
from functools import partial

import numpy as np
import pandas as pd
import pytest

from grok_interp.figures.headline_study import study_headline as draw
from grok_interp.study import headline, pairing
from grok_interp.study.statistics import over_seeds

MODES = ("per_matrix", "input", "joint")


@pytest.fixture(autouse=True, scope="module")
def _few_resamples():
    """Means do not depend on how often one resamples, and hundreds of intervals take their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headline, "over_seeds", partial(over_seeds, resamples=50))
        yield


@pytest.fixture(scope="module")
def tables(_few_resamples):
    return headline.tables(some())


IDEAL = {"trained": 0.9, "frozen_input": 0.8, "untrained": 0.02, "refitted_readout": 0.85}
IDEAL |= {"random_phase": 0.03, "permuted_output": 0.04}


def comparison(frequency, waves, replaced, network, mean, held_out=None):
    return {
        "frequency": frequency,
        "input_waveform": waves[0],
        "output_waveform": waves[1],
        "replaced": replaced,
        "network": network,
        "draws": 5,
        "mean": mean,
        "min": mean,
        "max": mean,
        "held_out": mean - 0.01 if held_out is None else held_out,
    }


def run(seed, test_accuracy=0.002, shift=0.0, modes=MODES, networks=IDEAL, **settings):
    """A run whose accuracies are IDEAL, the frozen ones and the trained ones ``shift`` up for each seed."""
    move = shift * seed
    made = [
        comparison("", ("", ""), "none", "trained", 0.35, test_accuracy),
        comparison("", ("", ""), "none", "frozen_input", 0.3, 0.006),
    ]
    for mode in modes:
        for wave in ("square", "cosine"):
            for network in ("trained", "frozen_input"):
                for part, factor in (("all", 1.0), ("W_in", 0.5), ("W_out", 0.25)):
                    mean = factor * (networks[network] + move)
                    made.append(comparison(mode, (wave, "cosine"), part, network, mean))
            for network in set(networks) - {"trained", "frozen_input"}:
                mean = networks[network]
                made.append(comparison(mode, (wave, "cosine"), "all", network, mean))
    column = dict.fromkeys(pairing.SHORT.values(), 0.5)
    column |= {"task.p": 59, "task.operation": "add", "split.seed": seed, "train.steps": 2000}
    column |= settings
    return {
        "run": f"r{seed}-{column['train.steps']}",
        "train_accuracy": 1.0,
        "test_accuracy": test_accuracy,
        "comparisons": made,
        "checkpoints": None,
        **column,
    }


def some(**settings):
    return pd.DataFrame([run(seed, shift=0.01, **settings) for seed in range(3)])


def value(table, **where):
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    assert len(table) == 1
    return table.iloc[0]


def test_parts_add_up_and_differences_are_taken_within_runs(tables) -> None:
    parts = tables["decomposition"]
    for mode in MODES:
        for pairs in ("all", "held out"):
            found = {
                part: value(parts, frequency=mode, pairs=pairs, part=part)
                for part in headline.PARTS
            }
            terms = (headline.INITIAL, headline.READOUT, headline.TRAINING)
            assert sum(found[part]["mean"] for part in terms) == pytest.approx(
                found[headline.SUM]["mean"]
            )
            # Both networks move with the seed, their difference does not: its interval is a point.
            learned = found[headline.TRAINING]
            assert (learned["mean"], learned["n"]) == (pytest.approx(0.1), 3)
            assert learned["high"] - learned["low"] < 1e-12
            trained = found[headline.SUM]
            assert trained["low"] < trained["mean"] - 0.004
    assert value(parts, frequency="joint", pairs="all", part=headline.OF_W_IN)["mean"] == (
        pytest.approx(0.85 - 0.8 - 0.01)
    )
    own = value(parts, pairs="held out", part="own accuracy, nothing replaced: trained")
    assert (own["mean"], own["frequency"]) == (pytest.approx(0.002), "none")


def test_what_generalised_is_counted_and_left_out(tables) -> None:
    runs = some()
    lucky = pd.DataFrame([run(9, test_accuracy=0.6, networks=IDEAL | {"trained": 0.1})])
    with_lucky = headline.tables(pd.concat([runs, lucky], ignore_index=True))
    for name in ("pair", "decomposition", "idealised"):
        pd.testing.assert_frame_equal(with_lucky[name], tables[name])
    assert with_lucky["seeds"]["generalised"].tolist() == [False] * 3 + [True]
    assert "3 of 4 networks did not generalise" in headline.in_words(with_lucky)
    with pytest.raises(ValueError, match=r"all 1 networks have held-out.*more label noise"):
        headline.tables(lucky)


def test_a_side_that_is_not_replaced_has_no_waveform(tables) -> None:
    idealised = tables["idealised"]
    rows = idealised[(idealised["pairs"] == "all") & (idealised["measure"] == "excess")]
    out = value(rows, frequency="joint", replaced="W_out")
    assert (out["input_waveform"], out["output_waveform"], out["n"]) == ("own", "cosine", 3)
    assert out["mean"] == pytest.approx(0.25 * 0.1)
    inside = rows[(rows["frequency"] == "joint") & (rows["replaced"] == "W_in")]
    assert inside["input_waveform"].tolist() == ["cosine", "square"]


def test_the_published_pair_is_a_row_of_its_own(tables) -> None:
    pair = tables["pair"]
    row = value(pair, setting="not stated")
    assert (row["own"], row["idealised"]) == (0.0023, 0.955)
    assert "published" in row["source"]
    assert np.isnan(row["idealised_low"])
    assert pair.loc[pair["source"] == "measured", "chance"].to_numpy() == pytest.approx(1 / 59)
    joint = value(pair, frequency="joint", network="frozen_input")
    assert (joint["own"], joint["idealised"]) == (pytest.approx(0.006), pytest.approx(0.81))


def test_two_settings_are_kept_apart() -> None:
    runs = pd.concat([some(), some(**{"train.steps": 6000})], ignore_index=True)
    tables = headline.tables(runs)
    assert tables["seeds"].groupby("setting").size().tolist() == [3, 3]
    assert headline.in_words(tables).count("Setting p=59") == 2
    assert "6000" in headline.in_words(tables)


@pytest.mark.parametrize(
    ("trained", "frozen", "size", "published"),
    [
        (
            0.97,
            0.97,
            "not to be told from nil",
            "So such a result needs no trained input weights",
        ),
        (0.97, 0.30, "large", "no control makes such a result"),
        (0.97, 0.94, "small", "no control makes such a result"),
        (0.60, 0.97, "negative", "So such a result needs no trained input weights"),
    ],
)
def test_words_follow_the_numbers(trained, frozen, size, published) -> None:
    networks = IDEAL | {"trained": trained, "frozen_input": frozen}
    said = headline.in_words(
        headline.tables(pd.DataFrame([run(s, networks=networks) for s in (0, 1)]))
    )
    assert f"from training of W_in and W_out, {size}." in said
    assert published in said
    assert f"- joint, {trained:.3f}: 0.020 [0.020, 0.020] from idealised untrained weights" in said
    assert "chance is 0.017" in said
    assert "the trained networks: own 0.002 [0.002, 0.002], below chance" in said


@pytest.mark.parametrize(
    ("idealised", "own", "makes"),
    [
        ([0.96, 0.96], 0.006, True),
        ([0.5, 0.98], 0.006, False),  # an interval that gets there, and a mean that does not
        ([0.96, 0.96], 0.4, False),  # a control that generalises
    ],
)
def test_the_published_pair_takes_both_of_its_numbers(idealised, own, makes) -> None:
    runs = pd.DataFrame(
        [run(s, networks=IDEAL | {"frozen_input": each}) for s, each in enumerate(idealised)]
    )
    for made in runs["comparisons"]:
        made[1]["held_out"] = own
    said = headline.in_words(headline.tables(runs))
    assert ("such a result needs no trained input weights" in said) == makes
    assert ("Neither idealization nor the fitted read-out does it alone" in said) == (own < 0.05)


@pytest.mark.parametrize(
    ("low", "high", "size"),
    [
        (0.11, 0.55, "large"),
        (0.01, 0.09, "small"),
        (0.05, 0.55, "positive, of unclear size"),
        (-0.05, 0.55, "not to be told from nil"),
        (-0.55, -0.05, "negative"),
        (np.nan, np.nan, "of one seed"),
    ],
)
def test_a_size_is_that_of_the_whole_interval(low, high, size) -> None:
    assert pairing.verdict_on((low + high) / 2, low, high) == size


def test_a_side_of_chance_is_that_of_the_whole_interval() -> None:
    def side(low, high):
        row = pd.Series({"mean": (low + high) / 2, "low": low, "high": high})
        return pairing.beside_chance(row, 0.1)

    assert side(0.05, 0.09) == "below chance"
    assert side(0.11, 0.12) == "above chance"
    assert side(0.09, 0.12) == "not to be told from chance"


@pytest.mark.parametrize("column", ["train.lr", "task.operation"])
def test_a_seed_counts_once(column) -> None:
    both = [some().assign(**{column: each}) for each in ("add", "subtract")]
    runs = pd.concat(both, ignore_index=True).assign(run=lambda each: each.index.astype(str))
    with pytest.raises(ValueError, match=r"several runs are of .*'seed': 0.*by these alone"):
        headline.tables(runs)


def test_what_was_not_measured_is_named() -> None:
    few = {name: IDEAL[name] for name in ("trained", "frozen_input")}
    with pytest.raises(ValueError, match=r"random_phase.*all_controls = true"):
        headline.tables(some(networks=few))
    with pytest.raises(ValueError, match=r"not idealised in \['input'\] mode: add it to measure"):
        headline.tables(some(modes=("per_matrix", "joint")))
    with pytest.raises(ValueError, match=r"0 finished runs"):
        headline.tables(some().iloc[:0])
    with pytest.raises(ValueError, match=r"without the columns \['task.p'\]"):
        headline.tables(some().drop(columns="task.p"))
    blind = some()
    blind.loc[0, "test_accuracy"] = np.nan
    with pytest.raises(ValueError, match=r"no held-out pairs.*train_fraction below 1"):
        headline.tables(blind)


def test_products_with_zero_do_not_count_as_generalising() -> None:
    p = 11
    known = [(a, b) for a in range(p) for b in range(p) if a * b == 0]
    assert pairing.zero_share("multiply", p) == pytest.approx(len(known) / p**2)
    assert pairing.zero_share("add", p) == 0
    both = pd.DataFrame(
        [run(0, 0.06, **{"task.operation": name}) for name in ("add", "multiply")]
    ).assign(run=["a", "m"])
    found = pairing.side_by_side(both, ["operation"]).groupby("run")["generalised"].first()
    assert found.to_dict() == {"a": True, "m": False}


def test_the_figure_draws_the_tables_and_survives_a_csv(tables) -> None:
    read = {
        name: pd.read_csv(io.StringIO(each.to_csv(index=False))) for name, each in tables.items()
    }
    for name in tables:
        pd.testing.assert_frame_equal(read[name], tables[name], check_dtype=False)
    assert headline.in_words(read) == headline.in_words(tables)
    figure = draw(read)
    for place, mode in enumerate(MODES, start=1):
        axis = "x" if place == 1 else f"x{place}"
        drawn = {t.y[0]: t.x[0] for t in figure.data if t.xaxis == axis and t.x[0] is not None}
        assert drawn["idealised"] == pytest.approx(0.91), mode
        assert drawn["frozen_input"] == pytest.approx(0.81)
        assert drawn["own"] == pytest.approx(0.002)
    excess = next(t for t in figure.data if t.xaxis == "x4")
    assert dict(zip(excess.y, np.round(excess.x, 6), strict=True)) == {
        "cosine in, cosine out": 0.1,
        "square in, cosine out": 0.1,
        "W_in alone, cosine": 0.05,
        "W_in alone, square": 0.05,
        "W_out alone, cosine": 0.025,
    }
    assert {shape.x0 for shape in figure.layout.shapes} == {0.0023, 0.955, 0, 1 / 59}
    with pytest.raises(ValueError, match=r"no table 'pair'"):
        draw({})
