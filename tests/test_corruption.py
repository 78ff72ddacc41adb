"""Phases of learning from corrupted labels: thresholds, and the published table."""

import math

import pytest
import torch

from grok_interp import hooked_mlp, measures, presets, tasks, training
from grok_interp.measures import generalisation_phase
from grok_interp.weights import MLPWeights

STEP = 1e-6


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.35, 0.8, 1.0])
def test_from_ninety_percent_on_a_network_generalises_and_memorises(noise: float) -> None:
    assert generalisation_phase(1.0, 1.0, noise) == "coexistence"
    assert generalisation_phase(0.9, 0.9, noise) == "coexistence"
    assert generalisation_phase(0.9, 0.9 - STEP, noise) == "memorisation"
    assert generalisation_phase(0.9 - STEP, 0.9 - STEP, noise) == "forgetting"
    assert generalisation_phase(1.0, 0.0, noise) == "memorisation"
    assert generalisation_phase(0.0, 0.0, noise) == "forgetting"
    assert "inversion" in generalisation_phase(0.9 - STEP, 0.9, noise)


@pytest.mark.parametrize("noise", [0.16, 0.2, 0.3, 0.35, 0.4, 0.55, 0.7, 0.85, 1.0])
def test_inversion_is_partial_from_five_percent_above_the_clean_share(noise: float) -> None:
    edge = round(1.05 - noise, 2)  # what the paper's formula says before rounding takes its share
    assert generalisation_phase(edge, 1.0, noise) == "partial inversion"
    assert generalisation_phase(edge + STEP, 0.9, noise) == "partial inversion"
    assert generalisation_phase(edge - STEP, 1.0, noise) == "full inversion"


def test_with_little_noise_nothing_lies_between_full_inversion_and_coexistence() -> None:
    assert generalisation_phase(0.9 - STEP, 1.0, 0.14) == "full inversion"
    assert generalisation_phase(1 - 0.1, 1.0, 0.1) == "coexistence"


@pytest.mark.parametrize(
    ("p", "noise", "phase"),
    [(97, 0.35, "full inversion"), (23, 0.9, "full inversion"), (13, 0.8, "partial inversion")],
)
def test_a_network_that_solves_the_task_has_the_train_accuracy_of_full_inversion(
    p: int, noise: float, phase: str
) -> None:
    # The table of the task as a model: right on every true label. Luck alone passes the paper's margin
    # where p < 20 noise, as the docstring warns.
    task = tasks.ModularTask(p)
    split = task.split(0.5, noise, seed=0)
    table = torch.nn.functional.one_hot(task.labels, p).float()
    train, test = (
        measures.accuracy(lambda tokens: table[tokens[:, 0] * p + tokens[:, 1]], side)
        for side in (split.train, split.test)
    )
    lucky = noise / p
    spread = math.sqrt(lucky / len(split.train_labels))
    assert float(train) == 1 - float(split.corrupted.double().mean())
    assert float(train) == pytest.approx(1 - noise + lucky, abs=5 * spread)
    assert generalisation_phase(train, test, noise) == phase


def test_weights_that_are_zero_score_nothing_and_are_called_forgetting() -> None:
    split = tasks.ModularTask(7).split(0.5, 0.35, seed=0)
    nothing = MLPWeights(torch.zeros(2, 7, 4), torch.zeros(4, 7), act_fn="quadratic")
    train, test = (measures.accuracy(nothing, side) for side in (split.train, split.test))
    assert (float(train), float(test)) == (0.0, 0.0)
    assert generalisation_phase(train, test, 0.35) == "forgetting"


@pytest.mark.parametrize("wrong", [98.2, -0.1, math.nan, math.inf, 1.0001])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_share_is_refused_by_name(wrong: float, place: int) -> None:
    numbers = [0.5, 0.5, 0.5]
    numbers[place] = wrong
    name = ("train_accuracy", "test_accuracy", "label_noise")[place]
    with pytest.raises(ValueError, match=rf"{name}={wrong} must be a share in 0..1: divide"):
        generalisation_phase(*numbers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weight_decay", "steps", "train", "test", "phase"),
    [
        (0.0, 1000, 0.978, 0.983, "coexistence"),
        (5.0, 500, 0.786, 1.0, "partial inversion"),
        (15.0, 500, 0.654, 1.0, "full inversion"),
        (20.0, 5000, 0.009, 0.011, "forgetting"),
    ],
)
def test_the_published_phases_are_reached(
    weight_decay: float, steps: int, train: float, test: float, phase: str
) -> None:
    """Accuracies and phases of arXiv 2310.13061, section 2: p=97, N=500, 35% of the labels redrawn.

    In the last row the weights are zero in the end: the published accuracies are chance, 1/97, and
    these 0, since ties count as wrong.
    """
    split = tasks.ModularTask(97).split(0.5, label_noise=0.35, seed=0)
    model = hooked_mlp.HookedMLP(presets.doshi(97, 500, seed=0))
    start = float(measures.weight_norms(model)["total"])
    config = presets.adamw(
        weight_decay, steps=steps, eval_every=steps, checkpoint_every=steps, progress=False
    )
    training.train(model, split, config)
    found = [float(measures.accuracy(model, side)) for side in (split.train, split.test)]
    assert found == pytest.approx([train, test], abs=0.03)
    assert generalisation_phase(*found, 0.35) == phase
    shrunk = float(measures.weight_norms(model)["total"]) / start
    assert (shrunk < 1e-3) == (phase == "forgetting")
