"""What is said of a run follows from its numbers."""

import math

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
         ["has not generalised", "negative", "no accuracy to attribute"], ["large", "no draw exceeds"]),
        (0.1, {"joint": 0.9, "per_matrix": 0.9}, 0.85, 0.85,
         ["too small", "no accuracy to attribute"], ["large", "no draw exceeds"]),
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
    [(0.95, 0.02, "Yes:"), (0.6, 0.02, "In part:"), (0.95, 0.9, "No more than the control")],
)
def test_holding_is_judged_by_the_excess_in_per_matrix_mode(effect, frozen, starts) -> None:
    # Joint mode scores high in each case, and has no say.
    found = verdicts({"joint": 0.99, "per_matrix": effect}, frozen, 0.02)
    text = findings._holds(found)
    assert text.startswith(starts)
    assert f"{effect:.0%} of all pairs" in text


@pytest.mark.parametrize(
    ("without", "control", "starts"),
    [(0.1, (0.5, 0.6), "Yes:"), (0.9, (0.92, 0.95), "Hardly:"), (0.3, (0.1, 0.2), "Hardly:")],
)
def test_use_is_judged_beside_the_control(without, control, starts) -> None:
    sides = [
        Accuracies(torch.tensor(values), torch.zeros(len(values)))
        for values in ([1.0], [without], list(control))
    ]
    text = findings._uses(Removal(*sides))
    assert text.startswith(starts)
    assert f"Without its waves it gets {without:.0%}" in text


def test_onsets_say_when_or_that_it_did_not_happen() -> None:
    onsets = {
        "excess_per_matrix": Onset(300, censored=False),
        "test_accuracy": Onset(2000, censored=True),
    }
    text = findings._since(onsets)
    assert "from step 300 on" in text
    assert "not by step 2000" in text


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
