"""Networks whose neurons are known to keep, lose or swap their frequencies."""

import math

import numpy as np
import pytest
import torch

from grok_interp import lottery
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights

FIELDS = ("share", "chance", "percentile", "percentile_chance")


def spectra(p: int, d_mlp: int, seed: int) -> np.ndarray:
    """Amplitudes ``[3, p//2, d_mlp]``, all different."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, (3, p // 2, d_mlp))


def network(
    amplitudes: np.ndarray, p: int, phases: np.ndarray | None = None, points: list | None = None
) -> MLPWeights:
    """Columns that are sums of sinusoids over all frequencies, at each matrix's coordinates."""
    phases = np.zeros_like(amplitudes) if phases is None else phases
    modulus = 2 * amplitudes.shape[1] + p % 2 if points is None else p - 1
    columns = []
    for row in range(3):
        n = np.arange(p) if points is None else points[row]
        k = np.arange(1, amplitudes.shape[1] + 1)
        angle = 2 * np.pi * k[:, None] * n / modulus  # [k, n]
        waves = np.cos(angle[:, :, None] + phases[row][:, None, :])
        columns.append(np.where(n[:, None] < 0, 0, (amplitudes[row][:, None, :] * waves).sum(0)))
    W_a, W_b, W_out = (torch.tensor(column) for column in columns)
    return MLPWeights(torch.stack([W_a, W_b]), W_out.T.contiguous())


def pure(k: np.ndarray, p: int, points: list | None = None) -> MLPWeights:
    """Each neuron's columns are cosines of its own frequency."""
    count = p // 2 if points is None else (p - 1) // 2
    one = np.eye(count)[:, k - 1]
    return network(np.stack([one] * 3), p, points=points)


def score(amplitudes: np.ndarray, predictor: str, m: int) -> np.ndarray:
    """The score that a predictor goes by, of cosines without phases; power doubles at Nyquist."""
    power = amplitudes**2
    if m % 2 == 0:
        power[:, -1] *= 2
    a, b, out = power
    return {"input": a + b, "output": out, "joint": a * b * out, "aligned": a * b * out}[predictor]


@pytest.mark.parametrize("predictor", lottery.PREDICTORS)
@pytest.mark.parametrize("p", [11, 12])
def test_the_winner_of_each_spectrum_is_foretold_with_certainty(predictor, p):
    amplitudes = spectra(p, 40, 0)
    values = score(amplitudes.copy(), predictor, p)
    start = network(amplitudes, p)
    found = lottery.foretold(start, pure(values.argmax(0) + 1, p), ModularTask(p))
    assert found["lottery_live"] == 40
    assert found[f"lottery_{predictor}_share"] == 1
    assert found[f"lottery_{predictor}_percentile"] == 1
    # And the loser is foretold never.
    found = lottery.foretold(start, pure(values.argmin(0) + 1, p), ModularTask(p))
    assert found[f"lottery_{predictor}_share"] == 0
    assert found[f"lottery_{predictor}_percentile"] == 0


@pytest.mark.parametrize("predictor", lottery.PREDICTORS)
def test_chance_is_the_mean_over_all_pairings_of_neurons(predictor):
    p, d = 13, 9
    amplitudes, final = spectra(p, d, 1), np.random.default_rng(2).choice([1, 2, 5], d)
    values = score(amplitudes, predictor, p)
    shares, ranks = np.zeros((d, d)), np.zeros((d, d))
    for i in range(d):
        for j in range(d):
            shares[i, j] = values[:, j].argmax() == final[i] - 1
            ranks[i, j] = (values[:, j] < values[final[i] - 1, j]).sum() / (p // 2 - 1)
    found = lottery.foretold(network(amplitudes, p), pure(final, p), ModularTask(p))
    expected = (shares.trace() / d, shares.mean(), ranks.trace() / d, ranks.mean())
    got = [found[f"lottery_{predictor}_{field}"] for field in FIELDS]
    assert got == pytest.approx(expected)
    # All permutations of three neurons come to the same as all pairings.
    few = lottery.foretold(network(amplitudes[..., :3], p), pure(final[:3], p), ModularTask(p))
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    mean = np.mean([[shares[i, j] for i, j in enumerate(order)] for order in orders])
    assert few[f"lottery_{predictor}_chance"] == pytest.approx(mean)


def test_a_popular_frequency_is_chance():
    p, d = 11, 30
    amplitudes = spectra(p, d, 3)
    amplitudes[:, 3] = 2  # every neuron starts and ends at frequency 4
    found = lottery.foretold(network(amplitudes, p), pure(np.full(d, 4), p), ModularTask(p))
    for predictor in lottery.PREDICTORS:
        assert [found[f"lottery_{predictor}_{field}"] for field in FIELDS] == [1, 1, 1, 1]


def test_a_network_that_did_not_move_foretells_itself():
    weights = network(spectra(11, 20, 4), 11)
    found = lottery.foretold(weights, weights, ModularTask(11))
    assert found["lottery_joint_share"] == found["lottery_joint_percentile"] == 1
    assert found["lottery_joint_chance"] < 0.6


@pytest.mark.parametrize(("operation", "sign"), [("add", 1), ("subtract", -1)])
def test_alignment_decides_between_equal_magnitudes(operation, sign):
    p, d = 11, 25
    rng = np.random.default_rng(5)
    phases = rng.uniform(-np.pi, np.pi, (3, p // 2, d))
    residual = np.tile(np.linspace(0.3, 3, p // 2)[:, None], d)
    residual = rng.permuted(residual, axis=0)
    phases[2] = phases[0] + sign * phases[1] - residual
    start = network(np.ones((3, p // 2, d)), p, phases)
    end = pure(residual.argmin(0) + 1, p)
    found = lottery.foretold(start, end, ModularTask(p, operation))
    assert found["lottery_aligned_share"] == 1
    # Magnitudes say nothing: all are equal, up to rounding, and share the middle rank.
    assert found["lottery_joint_percentile"] == pytest.approx(0.5)
    assert found["lottery_joint_percentile_chance"] == pytest.approx(0.5)
    other = ModularTask(p, "subtract" if sign > 0 else "add")
    assert lottery.foretold(start, end, other)["lottery_aligned_share"] < 0.6


def test_equals_share_their_mean_rank():
    amplitudes = np.ones((3, 5, 1))
    amplitudes[:, [1, 3]] = 2  # frequencies 2 and 4 lead together; 1, 3 and 5 follow together
    for k, expected in ((2, 7 / 8), (4, 7 / 8), (1, 1 / 4)):
        found = lottery.foretold(network(amplitudes, 11), pure(np.array([k]), 11), ModularTask(11))
        assert found["lottery_input_percentile"] == pytest.approx(expected)
        assert found["lottery_joint_percentile"] == pytest.approx(expected)


def test_multiplication_is_read_in_its_coordinates():
    task = ModularTask(13, "multiply")
    coordinates = task.coordinates
    classes = np.full(13, -1)
    classes[coordinates.readout.numpy()] = np.arange(12)
    points = [coordinates.a.numpy(), coordinates.b.numpy(), classes]
    amplitudes = spectra(12, 30, 6)
    values = score(amplitudes.copy(), "joint", 12)
    start = network(amplitudes, 13, points=points)
    end = pure(values.argmax(0) + 1, 13, points)
    found = lottery.foretold(start, end, task)
    assert found["lottery_joint_share"] == 1
    assert lottery.foretold(start, end, ModularTask(13))["lottery_joint_share"] < 0.6


def test_neurons_that_died_do_not_count():
    p, d = 11, 12
    amplitudes = spectra(p, d, 7)
    final = score(amplitudes, "joint", p).argmax(0) + 1
    final[:4] = final[:4] % 5 + 1  # these are not foretold
    start, end = network(amplitudes, p), pure(final, p)
    end.W_out[:4] = 0.25
    found = lottery.foretold(start, end, ModularTask(p))
    assert found["lottery_live"] == 8
    assert found["lottery_joint_share"] == 1
    end.W_in[:, :, 4:8] -= 10  # a ReLU that no pair opens
    assert lottery.foretold(start, end, ModularTask(p))["lottery_live"] == 4


def test_without_neurons_there_is_no_number():
    start, end = network(spectra(11, 6, 8), 11), pure(np.arange(6) % 5 + 1, 11)
    end.W_out[:] = 0
    found = lottery.foretold(start, end, ModularTask(11))
    assert found.pop("lottery_live") == 0
    assert len(found) == len(lottery.PREDICTORS) * len(FIELDS)
    assert all(map(math.isnan, found.values()))


def test_one_frequency_has_no_ranks():
    start = network(spectra(3, 6, 9), 3)
    found = lottery.foretold(start, pure(np.ones(6, int), 3), ModularTask(3))
    assert found["lottery_joint_share"] == found["lottery_joint_chance"] == 1
    assert math.isnan(found["lottery_joint_percentile"])


def test_classes_that_cannot_tell_the_phase_have_no_alignment():
    weights = network(spectra(11, 10, 10), 11)
    found = lottery.foretold(weights, weights, ModularTask(11, "(a + b)**2"))
    assert math.isnan(found["lottery_aligned_share"])
    assert math.isfinite(found["lottery_joint_share"])


def test_what_is_not_one_network_at_two_times_is_refused():
    one, other = network(spectra(11, 6, 11), 11), network(spectra(11, 7, 11), 11)
    with pytest.raises(ValueError, match="one network at two times"):
        lottery.foretold(one, other, ModularTask(11))
    with pytest.raises(ValueError, match="index batch axes first"):
        lottery.foretold(one.expand(2), one.expand(2), ModularTask(11))
