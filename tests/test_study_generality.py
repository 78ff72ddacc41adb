"""Variants are named by what they change, compared by seed, and judged with their own control."""

import io
from functools import partial

import numpy as np
import pandas as pd
import pytest

from grok_interp.figures.generality_study import study_generality as draw
from grok_interp.study import generality, pairing
from grok_interp.study.statistics import over_seeds

REFERENCE = {"task.operation": "add", "model.act_fn": "relu"}
VARIANTS = {
    generality.REFERENCE: {},
    "subtract": {"task.operation": "subtract"},
    "tied operands": {"model.tied_operands": True},
    "gelu, init_scale 4": {"model.act_fn": "gelu", "model.init_scale": 4.0},
}


@pytest.fixture(autouse=True, scope="module")
def _few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generality, "over_seeds", partial(over_seeds, resamples=50))
        yield


@pytest.fixture(scope="module")
def tables(_few_resamples):
    return generality.tables(runs())


def run(seed, name, trained, frozen, test_accuracy=0.01, modes=("per_matrix", "joint")):
    """A run whose accuracies move with its seed, but not the difference of the two."""
    made = []
    for network, mean in (("trained", trained), ("frozen_input", frozen)):
        own = {"frequency": "", "input_waveform": "", "output_waveform": "", "replaced": "none"}
        made.append(own | {"network": network, "mean": 0.4, "held_out": test_accuracy})
        for mode in modes:
            way = {"frequency": mode, "input_waveform": "square", "output_waveform": "cosine"}
            value = mean + 0.01 * seed
            made.append(
                way | {"replaced": "all", "network": network, "mean": value, "held_out": value}
            )
    settings = dict.fromkeys(pairing.SHORT.values(), 0.5)
    settings |= {"task.p": 43, "model.tied_operands": False, "model.init_scale": 1.0}
    settings |= REFERENCE | {"split.seed": seed, "train.lr": 1e-3} | VARIANTS[name]
    made = [each | {"draws": 5, "min": each["mean"], "max": each["mean"]} for each in made]
    about = {"run": f"{name}{seed}", "test_accuracy": test_accuracy, "checkpoints": None}
    return about | settings | {"comparisons": made}


def runs(**accuracies):
    """Three seeds of each variant: trained and frozen_input by name, 0.9 and 0.5 unless given."""
    values = dict.fromkeys(VARIANTS, (0.9, 0.5)) | accuracies
    return pd.DataFrame(
        [run(seed, name, *values[name]) for name in reversed(VARIANTS) for seed in range(3)]
    )


def test_a_variant_is_named_by_what_it_changes(tables) -> None:
    # In one order whatever the store's, which here is the reverse: the reference first, activations last.
    for name, table in tables.items():
        first = 1 if name == "contrasts" else 0
        assert list(dict.fromkeys(table["variant"])) == list(VARIANTS)[first:]


def test_contrasts_are_paired_by_seed() -> None:
    found = runs(subtract=(0.9, 0.7))
    # Seeds that come in another order are still paired with themselves.
    found.loc[found["task.operation"] == "subtract"] = (
        found[found["task.operation"] == "subtract"].iloc[::-1].to_numpy()
    )
    reference = found["run"].str.startswith(generality.REFERENCE)
    for row, seed in zip(found.index[reference], found.loc[reference, "split.seed"], strict=True):
        for each in found.loc[row, "comparisons"]:
            each["mean"] += 0.1 * seed if each["network"] == "trained" else 0
    for row, seed in zip(found.index[~reference], found.loc[~reference, "split.seed"], strict=True):
        for each in found.loc[row, "comparisons"]:
            each["mean"] += 0.1 * seed if each["network"] == "trained" else 0
    contrasts = generality.tables(found)["contrasts"]
    one = contrasts[(contrasts["variant"] == "subtract") & (contrasts["frequency"] == "joint")]
    assert one[["mean", "low", "high"]].to_numpy()[0] == pytest.approx([-0.2] * 3)
    assert one["n"].tolist() == [3]
    assert generality.REFERENCE not in set(contrasts["variant"])


def test_what_generalised_is_counted_and_left_out(tables) -> None:
    found = pd.concat(
        [runs(), pd.DataFrame([run(7, "subtract", 0.1, 0.9, test_accuracy=0.7)])], ignore_index=True
    )
    with_lucky = generality.tables(found)
    pd.testing.assert_frame_equal(with_lucky["generality"], tables["generality"])
    seeds = with_lucky["seeds"].set_index("variant")
    assert seeds.loc["subtract", ["networks", "generalised"]].tolist() == [4, 1]
    every = pd.concat(
        [
            runs()[lambda each: each["task.operation"] == "add"],
            pd.DataFrame([run(s, "subtract", 0.9, 0.5, test_accuracy=0.7) for s in (0, 1)]),
        ],
        ignore_index=True,
    )
    said = generality.in_words(generality.tables(every))
    assert "0 of 2 networks did not generalise, so the headline's case does not occur there" in said
    assert "in joint mode for 3 of 3 variants: addition" in said


def test_all_that_a_variant_changes_is_said(tables) -> None:
    changed = tables["seeds"].set_index("variant")["changed"]
    assert changed.to_dict() == {
        generality.REFERENCE: "none",
        "subtract": "operation=subtract",
        "tied operands": "tied_operands=True",
        "gelu, init_scale 4": "act_fn=gelu; init_scale=4",
    }
    found = runs()
    found.loc[found["task.operation"] == "subtract", ["train.steps", "train.lr"]] = [800, 0.01]
    found["train.eval_every"] = np.arange(len(found))  # how often one looks changes nothing
    said = generality.in_words(generality.tables(found))
    assert "- subtract: operation=subtract; steps=800; lr=0.01" in said
    assert "- gelu, init_scale 4: act_fn=gelu; init_scale=4" in said
    assert "- tied operands: tied_operands" not in said


def test_a_seed_of_a_variant_counts_once() -> None:
    found = pd.concat([runs(), runs().assign(**{"train.lr": 0.01})], ignore_index=True)
    with pytest.raises(ValueError, match=r"several runs are of .*'seed': \d.*by these alone"):
        generality.tables(found.assign(run=found.index.astype(str)))


def test_products_with_zero_are_named(tables) -> None:
    assert "zero operand" not in generality.in_words(tables)
    found = runs()
    found.loc[found["task.operation"] == "subtract", "task.operation"] = "multiply"
    said = generality.in_words(generality.tables(found))
    assert "(0.046 of those of multiply)" in said  # 85 of the 43^2 pairs


def test_words_follow_the_numbers(tables) -> None:
    said = generality.in_words(tables)
    assert said.count("mode for 4 of 4 variants: ") == 2
    assert said.count("mode for 0 of 3 variants\n") == 2
    assert "chance is 0.023" in said
    assert "held-out accuracy 0.010 [0.010, 0.010], below chance" in said
    values = {
        "subtract": (0.51, 0.5),
        "tied operands": (0.97, 0.96),
        "gelu, init_scale 4": (0.9, 0.02),
    }
    said = generality.in_words(generality.tables(runs(**values)))
    assert "in joint mode for 2 of 4 variants: addition, ReLU; gelu, init_scale 4\n" in said
    top, fails = (
        "leaves no room, so this mode cannot tell",
        "random features of this activation fail",
    )
    assert said.count(top) == 2  # tied operands, in both modes
    assert said.count(fails) == 1  # gelu, in joint mode alone
    assert "in joint mode for 3 of 3 variants: " in said
    assert "subtract -0.390 [-0.390, -0.390]" in said


def test_what_was_not_measured_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected 'addition, ReLU' among them: add runs of"):
        generality.tables(runs()[lambda each: each["task.operation"] == "subtract"])
    one_mode = pd.DataFrame([run(0, generality.REFERENCE, 0.9, 0.5, modes=("joint",))])
    with pytest.raises(ValueError, match=r"not idealised in \['per_matrix'\] mode"):
        generality.tables(one_mode)


def test_the_figure_draws_the_tables_and_survives_a_csv(tables) -> None:
    read = {
        name: pd.read_csv(io.StringIO(each.to_csv(index=False))) for name, each in tables.items()
    }
    assert generality.in_words(read) == generality.in_words(tables)
    figure = draw(read)
    named = {(t.name, t.xaxis): dict(zip(t.y, t.x, strict=True)) for t in figure.data}
    assert named["idealised", "x2"]["subtract"] == pytest.approx(0.91)
    assert named["frozen_input", "x2"]["subtract"] == pytest.approx(0.51)
    assert named["excess, paired", "x"]["subtract"] == pytest.approx(0.4)
    assert named["own, held out", "x"]["subtract"] == pytest.approx(0.01)
    assert len(named["idealised", "x"]) == len(VARIANTS)
    assert np.isfinite([x for each in named.values() for x in each.values() if x is not None]).all()
    assert {shape.x0 for shape in figure.layout.shapes} == {0, 1 / 43}
    with pytest.raises(ValueError, match=r"no table 'generality'"):
        draw({})
