"""What is said of a run follows from its numbers."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from grok_interp import dynamics, findings, removal, training
from grok_interp.config import Recipe
from grok_interp.dynamics import Onset
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.removal import Accuracies, Removal
from grok_interp.tasks import ModularTask
from grok_interp.verdict import Sample, Verdict

NULLS = (
    *("untrained", "frozen_input", "refitted_readout", "permuted_output"),
    *("permuted_within_frequency", "random_phase", "wrong_task", "wrong_coordinates"),
)


def sample(*values: float) -> Sample:
    accuracy = torch.tensor(values, dtype=torch.float64)
    return Sample(accuracy, accuracy, accuracy)


def verdicts(effect: dict[str, float], frozen: float, shuffled: float) -> dict[str, Verdict]:
    low = dict.fromkeys(NULLS, sample(0.02)) | {"frozen_input": sample(frozen)}
    low["random_phase"] = sample(0.01, shuffled)
    return {
        mode: Verdict(ModularTask(59), Recipe(frequency=mode), sample(0.5), sample(score), low, {})
        for mode, score in effect.items()
    }


@pytest.mark.parametrize(
    ("test_accuracy", "effect", "frozen", "shuffled", "said", "unsaid"),
    [
        (0.001, {"joint": 0.99, "per_matrix": 0.6}, 0.96, 0.03,
         ["below chance", "excess of +0.030 is too small", "no draw exceeds 0.030"], ["has generalised"]),
        (1.0, {"joint": 1.0, "per_matrix": 1.0}, 0.2, 0.03,
         ["has generalised", "excess of +0.800 is large"], ["below chance", "too small"]),
        (0.1, {"joint": 0.055, "per_matrix": 0.05}, 0.35, 0.08,
         ["has not generalised", "negative", "phase relation is not shown"], ["large", "no draw exceeds"]),
        (0.1, {"joint": 0.9, "per_matrix": 0.9}, 0.85, 0.85,
         ["too small", "phase relation is not shown"], ["large", "no draw exceeds"]),
    ],
)  # fmt: skip
def test_words_follow_the_numbers(test_accuracy, effect, frozen, shuffled, said, unsaid) -> None:
    text = findings.in_words(test_accuracy, verdicts(effect, frozen, shuffled))
    for words in said:
        assert words in text
    for words in unsaid:
        assert words not in text


@pytest.mark.parametrize(
    ("effect", "frozen", "starts"),
    [(0.95, 0.02, "Yes:"), (0.6, 0.02, "In part:"), (0.95, 0.9, "Not shown:")],
)
def test_holding_is_judged_by_the_excess_in_per_matrix_mode(effect, frozen, starts) -> None:
    # Joint mode scores high in each case, and has no say.
    found = verdicts({"joint": 0.99, "per_matrix": effect}, frozen, 0.02)
    text = findings._holds(found)
    assert text.startswith(starts)
    assert f"{effect:.0%} of all pairs right ({effect:.0%} of the held-out pairs)" in text


def test_an_effect_within_the_range_of_the_control_is_not_shown() -> None:
    found = verdicts({"joint": 0.99, "per_matrix": 0.5}, 0.2, 0.02)
    found["per_matrix"].controls["frozen_input"] = sample(0.0, 0.0, 0.6)
    assert findings._holds(found).startswith("Not shown:")


@pytest.mark.parametrize(
    ("own", "without", "control", "starts"),
    [
        (1.0, 0.1, (0.5, 0.6), "Yes:"),
        (1.0, 0.95, (0.92, 0.95), "Hardly:"),
        (0.2, 0.3, (0.41, 0.41), "Hardly:"),  # nothing is lost, whatever the control gains
        (1.0, 0.04, (0.08, 0.1), "Not shown:"),  # the control loses as much
        (1.0, 0.2, (0.1, 0.6), "Not shown:"),  # within the control's range
        (1.0, 0.3, (0.1, 0.2), "Not shown:"),
    ],
)
def test_use_is_judged_beside_the_control(own, without, control, starts) -> None:
    sides = [
        Accuracies(torch.tensor(values), torch.full((len(values),), 0.5))
        for values in ([own], [without], list(control))
    ]
    text = findings._uses(Removal(*sides))
    assert text.startswith(starts)
    assert f"Without its waves it gets {without:.0%} of the pairs trained on" in text
    assert f"{sum(control) / 2:.0%} [{min(control):.0%}, {max(control):.0%}]" in text
    assert "Of held-out pairs 50% (as it is, 50%; without as large others 50% [50%, 50%])." in text


def test_without_held_out_pairs_nothing_is_said_of_them() -> None:
    unknown = torch.tensor([math.nan])
    side = Accuracies(torch.tensor([1.0]), unknown)
    assert "held-out" not in findings._uses(Removal(side, side, side))
    text = findings.in_words(math.nan, verdicts({"joint": 1.0, "per_matrix": 1.0}, 0.2, 0.03))
    assert "trained on every pair" in text
    assert "nan" not in text


def test_onsets_say_when_or_that_it_did_not_happen() -> None:
    onsets = {
        "excess_per_matrix": Onset(300, censored=False),
        "test_accuracy": Onset(2000, censored=True),
    }
    text = findings._since(onsets, pd.Index([0, 100, 200, 300, 2000]))
    assert text.startswith("From step 300 on (not yet at 200), by the excess")
    assert text.endswith("above 0.99: not by step 2000.")
    onsets["excess_per_matrix"] = Onset(0, censored=False)
    assert findings._since(onsets, pd.Index([0, 2000])).startswith("From step 0 on, by")


def test_a_recipe_that_writes_the_answer_in_is_no_evidence() -> None:
    split = ModularTask(11).split(0.6, label_noise=0.3, seed=0)
    run = training.train(HookedMLP(p=11, d_mlp=20, seed=3), split, steps=5, progress=False)
    found = findings.find(run, Recipe(output_phase="phase_sum"), draws=2)
    holds, uses, since, allows = found.answers.values()
    assert holds == since == allows
    assert "never evidence" in holds
    # The waves that are taken out are the network's own, not those that the recipe writes.
    own = findings.find(run, draws=2)
    assert uses == own.answers["Does it use it?"]


def test_words_are_about_the_checkpoint_that_was_measured() -> None:
    """A run whose last evaluation is later than its last checkpoint, as one that went wrong."""
    split = ModularTask(11).split(0.6, seed=0)
    run = training.train(HookedMLP(p=11, d_mlp=20, seed=3), split, steps=5, progress=False)
    found = findings.find(run, draws=2)
    later = replace(found, table=found.table.assign(test_accuracy=[0.1, 0.987]))
    assert "0.987 on held-out" in later.conclusion


def test_findings_are_the_measures_one_by_one() -> None:
    split = ModularTask(11).split(0.6, label_noise=0.2, seed=0)
    run = training.train(
        HookedMLP(p=11, d_mlp=20, seed=3), split, steps=20, checkpoint_every=10, progress=False
    )
    found = findings.find(run, draws=3, seed=5)
    pd.testing.assert_frame_equal(found.table, dynamics.table(run, draws=3, seed=5))
    for mode, verdict in found.verdicts.items():
        last = found.table[f"idealised_{mode}"].iloc[-1]
        assert verdict.effect.mean == pytest.approx(last)
        excess = verdict.excess("frozen_input")
        assert found.table[f"excess_{mode}"].iloc[-1] == pytest.approx(excess)
    again = removal.waves(run[-1], split, Recipe(frequency="joint"), 3, seed=5)
    assert found.removed is not None
    assert torch.equal(found.removed.control.train, again.control.train)
    assert list(found.answers.values())[-1] == found.conclusion


def test_with_one_frequency_use_is_not_measured_and_the_rest_is() -> None:
    split = ModularTask(3).split(0.7, seed=0)
    run = training.train(HookedMLP(p=3, d_mlp=6, seed=0), split, steps=5, progress=False)
    found = findings.find(run, draws=2)
    assert found.removed is None
    assert found.answers["Does it use it?"].startswith("Not measured")
    assert math.isfinite(found.verdicts["joint"].effect.mean)
