"""Networks built by independent numpy code from known waves come back from the extractor."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from grok_interp import measures, neurons
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.neurons import NeuronTable
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights

MODULI = [3, 12, 17, 58, 59, 113]
MODES = ["joint", "input", "per_matrix"]


@dataclass
class Truth:
    """Frequency ``[d]``; amplitude, phase and constant ``[3, d]`` in the order W_a, W_b, W_out."""

    frequency: np.ndarray
    amplitude: np.ndarray
    phase: np.ndarray
    constant: np.ndarray


def draw(m: int, d_mlp: int, seed: int, constant: float = 0.0) -> Truth:
    rng = np.random.default_rng(seed)
    return Truth(
        rng.integers(1, m // 2 + 1, d_mlp),
        rng.uniform(0.5, 2.0, (3, d_mlp)),
        rng.uniform(-np.pi, np.pi, (3, d_mlp)),
        constant * rng.standard_normal((3, d_mlp)),
    )


def square(turns: np.ndarray) -> np.ndarray:
    """+1 in the half period about a crest, else -1; written by the sign of the cosine."""
    return np.where(np.cos(2 * np.pi * turns) >= 0, 1.0, -1.0)


def network(
    truth: Truth, coordinates: list[np.ndarray], m: int, wave: str = "cosine"
) -> MLPWeights:
    """Weights whose columns are the true waves at each matrix's coordinates (NaN gives 0)."""
    columns = []
    for row, points in enumerate(coordinates):
        n = np.asarray(points, dtype=float)[:, None]
        turns = truth.frequency * n / m + truth.phase[row] / (2 * np.pi)
        shape = np.cos(2 * np.pi * turns) if wave == "cosine" else np.pi / 4 * square(turns)
        columns.append(np.nan_to_num(truth.amplitude[row] * shape + truth.constant[row]))
    W_a, W_b, W_out = (torch.tensor(column, dtype=torch.float64) for column in columns)
    return MLPWeights(torch.stack([W_a, W_b]), W_out.T.contiguous())


def plain(truth: Truth, m: int, wave: str = "cosine") -> MLPWeights:
    return network(truth, [np.arange(m)] * 3, m, wave)


def arc(first: torch.Tensor, second: np.ndarray) -> np.ndarray:
    """Length of the arc between two angles."""
    return np.abs(np.angle(np.exp(1j * (first.numpy() - second))))


def assert_recovered(
    table: NeuronTable, truth: Truth, nyquist: np.ndarray, tolerance: float
) -> None:
    assert np.array_equal(table.frequency.numpy(), np.stack([truth.frequency] * 3))
    difference = np.abs(table.amplitude.numpy() - truth.amplitude)
    assert difference[:, ~nyquist].max(initial=0) < tolerance
    assert arc(table.phase, truth.phase)[:, ~nyquist].max(initial=0) < tolerance
    assert bool(table.agrees.all())


# Recovery ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", MODULI)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_cosine_networks_come_back(m: int, mode: str, dtype: torch.dtype) -> None:
    truth = draw(m, 80, seed=m, constant=0.5)
    nyquist = 2 * truth.frequency == m
    table = neurons.extract(plain(truth, m).map(lambda t: t.to(dtype)), ModularTask(m), mode)
    assert_recovered(table, truth, nyquist, 1e-5)
    # A Nyquist sinusoid is an alternating sign: A |cos phi|, with phase 0 or pi.
    alternating = truth.amplitude * np.cos(truth.phase)
    assert np.abs(table.amplitude.numpy() - np.abs(alternating))[:, nyquist].max(initial=0) < 1e-5
    sign = np.where(alternating < 0, np.pi, 0.0)
    assert arc(table.phase, sign)[:, nyquist].max(initial=0) < 1e-5
    residual = truth.phase[0] + truth.phase[1] - truth.phase[2]
    assert arc(table.phase_residual, residual)[~nyquist].max(initial=0) < 3e-5
    torch.testing.assert_close(table.power_share, torch.ones(3, 80, dtype=dtype))
    torch.testing.assert_close(table.ipr, torch.ones(3, 80, dtype=dtype))
    expected = torch.tensor(truth.constant, dtype=dtype)
    if m % 2 or not nyquist.any():
        torch.testing.assert_close(table.constant, expected, atol=1e-5, rtol=0)


def test_token_order_is_the_default_and_the_phase_sign_is_plus() -> None:
    """W[n] = cos(2 pi k n / m + phi): a positive phase moves the crest to smaller n."""
    m, k, phi = 20, 1, 2 * math.pi * 3 / 20
    truth = Truth(np.array([k]), np.ones((3, 1)), np.full((3, 1), phi), np.zeros((3, 1)))
    weights = plain(truth, m)
    assert int(weights.W_in[0, :, 0].argmax()) == m - 3
    table = neurons.extract(weights)
    torch.testing.assert_close(table.phase, torch.full((3, 1), phi, dtype=torch.float64))
    assert float(table.phase_residual) == pytest.approx(phi)


@pytest.mark.parametrize("m", MODULI)
@pytest.mark.parametrize("mode", MODES)
def test_square_wave_networks_come_back_within_the_grid(m: int, mode: str) -> None:
    truth = draw(m, 80, seed=100 + m)
    nyquist = 2 * truth.frequency == m
    table = neurons.extract(plain(truth, m, "square"), None, mode)
    assert np.array_equal(table.frequency.numpy(), np.stack([truth.frequency] * 3))
    q = m / np.gcd(truth.frequency, m)
    assert bool((arc(table.phase, truth.phase) <= np.pi / q + 1e-9)[:, ~nyquist].all())
    # Half of q points, rounded either way, are +1; the fundamental of that pattern in closed form.
    half = np.floor(q / 2)
    expected = truth.amplitude * (np.pi / q) * np.sin(np.pi * half / q) / np.sin(np.pi / q)
    np.testing.assert_allclose(
        table.amplitude.numpy()[:, ~nyquist], expected[:, ~nyquist], rtol=1e-9
    )
    off = np.abs(table.amplitude.numpy() / truth.amplitude - 1)[:, ~nyquist]
    assert off.max(initial=0) < 0.111


def test_four_points_a_period_is_the_worst_case() -> None:
    """q = 4: a square wave of level pi/4 has a fundamental of pi sqrt(2) / 4, 11% too much."""
    truth = Truth(np.array([3]), np.ones((3, 1)), np.full((3, 1), 0.7), np.zeros((3, 1)))
    table = neurons.extract(plain(truth, 12, "square"))
    assert float(table.amplitude[0]) == pytest.approx(math.pi * math.sqrt(2) / 4)


def test_subtraction_has_the_other_sign() -> None:
    m = 17
    task = ModularTask(m, "subtract")
    truth = draw(m, 60, seed=1)
    truth.phase[2] = truth.phase[0] - truth.phase[1]
    weights = plain(truth, m)
    table = neurons.extract(weights, task)
    assert_recovered(table, truth, np.zeros(60, dtype=bool), 1e-9)
    assert float(table.phase_residual.abs().max()) < 1e-9
    added = neurons.extract(weights, ModularTask(m))
    assert arc(added.phase_residual, 2 * truth.phase[1]).max() < 1e-9


@pytest.mark.parametrize("p", [17, 23])
@pytest.mark.parametrize("mode", MODES)
def test_squares_are_read_in_their_coordinates(p: int, mode: str) -> None:
    squares = np.arange(p) ** 2 % p
    truth = draw(p, 40, seed=p)
    weights = network(truth, [squares, squares, np.arange(p)], p)
    table = neurons.extract(weights, ModularTask(p, "a**2 + b**2"), mode)
    assert table.modulus == p
    assert_recovered(table, truth, np.zeros(40, dtype=bool), 1e-6)
    assert float(neurons.extract(weights, None, mode).power_share[:2].max()) < 0.99


@pytest.mark.parametrize(("p", "root"), [(11, 2), (17, 3), (59, 2)])
@pytest.mark.parametrize("mode", MODES)
def test_products_are_read_in_discrete_logarithms(p: int, root: int, mode: str) -> None:
    """The least primitive root, by hand; the token 0 has no coordinate and may hold anything."""
    logarithm = np.full(p, np.nan)
    for exponent in range(p - 1):
        logarithm[pow(root, exponent, p)] = exponent
    assert not np.isnan(logarithm[1:]).any(), "not a primitive root"
    truth = draw(p - 1, 40, seed=p, constant=0.3)
    weights = network(truth, [logarithm] * 3, p - 1)
    weights.W_in[:, 0] = 7.0
    weights.W_out[:, 0] = -5.0
    table = neurons.extract(weights, ModularTask(p, "multiply"), mode)
    nyquist = 2 * truth.frequency == p - 1
    assert table.modulus == p - 1
    assert_recovered(table, truth, nyquist, 1e-9)
    assert np.abs(table.constant.numpy() - truth.constant)[:, ~nyquist].max() < 1e-9
    torch.testing.assert_close(table.power_share, torch.ones(3, 40, dtype=torch.float64))


# The phase relation ------------------------------------------------------------------------------


@pytest.mark.parametrize("act_fn", ["relu", "quadratic"])
def test_aligned_phases_solve_addition_and_broken_ones_do_not(act_fn: str) -> None:
    m, d_mlp = 23, 3000
    task = ModularTask(m)
    truth = draw(m, d_mlp, seed=5)
    truth.amplitude[:] = 1
    truth.phase[2] = truth.phase[0] + truth.phase[1]
    rng = np.random.default_rng(0)
    residuals, scores = {}, {}
    for name, shift in {
        "aligned": np.zeros(d_mlp),
        "slightly": 0.3 * rng.standard_normal(d_mlp),
        "anti": np.full(d_mlp, np.pi),
        "broken": rng.uniform(-np.pi, np.pi, d_mlp),
    }.items():
        broken = Truth(
            truth.frequency, truth.amplitude, truth.phase - shift * [[0], [0], [1]], truth.constant
        )
        weights = plain(broken, m)
        model = HookedMLP.from_weights(weights.W_in, weights.W_out, act_fn=act_fn)
        table = neurons.extract(model, task)
        assert arc(table.phase_residual, shift).max() < 1e-6
        residuals[name] = float(table.median_abs_phase_residual)
        scores[name] = float(measures.accuracy(model, task))
    assert residuals["aligned"] < 1e-9
    assert residuals["slightly"] == pytest.approx(0.3 * 0.6745, rel=0.1)
    assert residuals["anti"] == pytest.approx(math.pi)
    assert residuals["broken"] == pytest.approx(math.pi / 2, rel=0.1)
    assert scores["aligned"] > 0.99
    assert scores["slightly"] > 0.99
    assert scores["anti"] < 0.01
    assert scores["broken"] < 0.1


def test_summaries_weigh_by_amplitude() -> None:
    """Three quiet neurons off by 2 do not outvote one loud neuron that is aligned."""
    truth = draw(17, 4, seed=0)
    truth.amplitude[:] = [[10, 1, 1, 1], [10, 1, 1, 1], [10, 8, 1, 1]]
    truth.phase[2] = truth.phase[0] + truth.phase[1] - [0, 2, 2, 2]
    table = neurons.extract(plain(truth, 17))
    expected = np.exp(np.log(truth.amplitude).mean(0))
    np.testing.assert_allclose(table.neuron_amplitude.numpy(), expected)
    assert float(table.median_abs_phase_residual) == pytest.approx(0, abs=1e-9)


def test_per_matrix_reads_frequencies_that_differ() -> None:
    m = 17
    truths = [draw(m, 6, seed) for seed in range(3)]
    frequencies = np.array([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7], [1, 2, 3, 8, 1, 8]])
    columns = []
    for row, truth in enumerate(truths):
        truth.frequency = frequencies[row]
        columns.append(plain(truth, m).columns()[row])
    weights = MLPWeights(torch.stack(columns[:2]), columns[2].T.contiguous())
    table = neurons.extract(weights, frequency="per_matrix")
    assert np.array_equal(table.frequency.numpy(), frequencies)
    assert table.agrees.tolist() == [True] * 3 + [False] * 3
    assert float(table.agreement) == 0.5
    assert table.phase_residual.isnan().tolist() == [False] * 3 + [True] * 3
    for row, truth in enumerate(truths):
        assert arc(table.phase[row], truth.phase[row]).max() < 1e-9
    for mode in ("input", "joint"):
        chosen = neurons.extract(weights, frequency=mode)
        assert bool((chosen.frequency == chosen.frequency[:1]).all()), mode
        assert float(chosen.agreement) == 1


def test_joint_and_input_differ_where_they_must() -> None:
    """Both operands speak loudest at 2, the output only at 5, where the operands whisper.

    The sum of input powers is largest at 2. The product of normalised powers at 2 is
    (.9)(.9)(.1) = .081 and at 5 (.1)(.1)(.9) = .009: joint takes 2 as well, until the output is
    nearly silent there, (.9)(.9)(.001) against (.1)(.1)(.999).
    """
    m, n = 17, np.arange(17)

    def column(at_2: float, at_5: float) -> np.ndarray:
        """Given powers at frequencies 2 and 5."""
        crest_2, crest_5 = np.cos(2 * np.pi * 2 * n / m), np.cos(2 * np.pi * 5 * n / m + 1)
        return np.sqrt(at_2) * crest_2 + np.sqrt(at_5) * crest_5

    W_in = np.stack([np.stack([column(0.9, 0.1)] * 2, 1)] * 2)
    W_out = np.stack([column(0.1, 0.9), column(0.001, 0.999)])
    weights = MLPWeights(torch.tensor(W_in), torch.tensor(W_out))
    frequency = {mode: neurons.extract(weights, frequency=mode).frequency for mode in MODES}
    assert frequency["input"].tolist() == [[2, 2]] * 3
    assert frequency["joint"].tolist() == [[2, 5]] * 3
    assert frequency["per_matrix"].tolist() == [[2, 2], [2, 2], [5, 5]]
    shares = neurons.extract(weights, frequency="joint").power_share
    expected = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.999]], dtype=torch.float64)
    torch.testing.assert_close(shares, expected)


def test_input_mode_weighs_operands_by_power() -> None:
    """A loud W_b decides for the quiet W_a in input mode; joint mode normalises each."""
    m, n = 13, np.arange(13)
    wave = {k: np.cos(2 * np.pi * k * n / m) for k in (1, 4)}
    W_a, W_b = wave[1] + 0.5 * wave[4], 0.6 * wave[1] * 10 + 0.7 * wave[4] * 10
    W_out = wave[1] + wave[4] * 0.9
    weights = MLPWeights(torch.tensor(np.stack([W_a, W_b]))[..., None], torch.tensor(W_out)[None])
    assert neurons.extract(weights, frequency="input").frequency.unique().tolist() == [4]
    assert neurons.extract(weights, frequency="joint").frequency.unique().tolist() == [1]


# Batch axes, constants, fits ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_equals_each_alone(mode: str) -> None:
    models = [HookedMLP(p=12, d_mlp=9, bias_in=True, seed=seed).double() for seed in range(4)]
    each = [model.weights().detach() for model in models]
    batch = MLPWeights(
        torch.stack([one.W_in for one in each]).unflatten(0, (2, 2)),
        torch.stack([one.W_out for one in each]).unflatten(0, (2, 2)),
        torch.stack([one.b_in for one in each]).unflatten(0, (2, 2)),
    )
    table = neurons.extract(batch, frequency=mode)
    assert table.frequency.shape == (2, 2, 3, 9)
    names = [*neurons.TENSORS, "r2_square", "r2_cosine", "r2_trapezoid", "clip_at"]
    names += ["plateau_share", "agreement", "median_abs_phase_residual", "kept_power", "dead"]
    for index, one in enumerate(each):
        alone = neurons.extract(one, frequency=mode)
        for name in names:
            inside = getattr(table, name)[index // 2, index % 2]
            torch.testing.assert_close(inside, getattr(alone, name), equal_nan=True, msg=name)
        indexed = table[index // 2][index % 2]
        torch.testing.assert_close(indexed.phase_residual, alone.phase_residual, equal_nan=True)
    with pytest.raises(ValueError, match=r"batch of shape \(2, 2\): index it first"):
        table.to_dataframe()


@pytest.mark.parametrize("mode", MODES)
def test_a_constant_column_has_no_frequency(mode: str) -> None:
    m = 17
    truth = draw(m, 5, seed=3)
    weights = plain(truth, m)
    weights.W_in[0, :, 0] = 0.0  # W_a of neuron 0
    weights.W_in[:, :, 1] = -3.0  # both operands of neuron 1
    weights.W_out[2] = 1 / 3  # the output of neuron 2
    weights.W_in[0, :, 3] = 2.0 + 1e-4 * weights.W_in[0, :, 3]  # constant but for rounding
    table = neurons.extract(weights, frequency=mode)
    constant = torch.zeros(3, 5, dtype=torch.bool)
    constant[0, 0] = constant[0, 1] = constant[1, 1] = constant[2, 2] = constant[0, 3] = True
    assert torch.equal(table.frequency == 0, constant)
    assert torch.equal(table.amplitude == 0, constant)
    assert torch.equal(table.phase.isnan(), constant)
    assert float(table.power_share[constant].abs().max()) == 0
    expected = torch.tensor(np.stack([truth.frequency] * 3))
    assert torch.equal(table.frequency[~constant], expected[~constant])
    assert table.agrees.tolist() == [False, False, False, False, True]
    assert table.phase_residual.isnan().tolist() == [True, True, True, True, False]
    for waveform in ("square", "cosine", "trapezoid"):
        waves = table.waves(waveform)
        assert bool(waves.isfinite().all())
        assert float(waves.movedim(-1, -2)[constant].abs().max()) == 0
    assert table.dead[1:3].tolist() == [True, True]


def test_adding_constants_changes_only_the_constant() -> None:
    weights = HookedMLP(p=12, d_mlp=30, seed=0).double().weights().detach()
    shift = torch.randn(3, 1, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moved = MLPWeights(weights.W_in + shift[:2], weights.W_out + shift[2].T)
    for mode in MODES:
        before = neurons.extract(weights, frequency=mode)
        after = neurons.extract(moved, frequency=mode)
        torch.testing.assert_close(after.constant, before.constant + shift.squeeze(1))
        for name in (*neurons.TENSORS, "r2_square", "r2_cosine", "plateau_share"):
            if name != "constant":
                torch.testing.assert_close(
                    getattr(after, name), getattr(before, name), equal_nan=True, msg=name
                )


def test_third_harmonic_tells_squares_from_cosines() -> None:
    m = 113
    truth = draw(m, 60, seed=2)
    cosine = neurons.extract(plain(truth, m))
    assert float(cosine.third_harmonic_ratio.max()) < 1e-9
    fine = Truth(np.ones(60, dtype=int), truth.amplitude, truth.phase, truth.constant)
    table = neurons.extract(plain(fine, m, "square"))
    assert float((table.third_harmonic_ratio - 1 / 3).abs().max()) < 2e-3
    # By the FFT, for squares of every frequency.
    rough = neurons.extract(plain(truth, m, "square"))
    spectrum = np.abs(np.fft.fft(rough.weights.columns().numpy(), axis=1))
    column = np.arange(60)
    ratio = spectrum[:, 3 * truth.frequency % m, column] / spectrum[:, truth.frequency, column]
    np.testing.assert_allclose(rough.third_harmonic_ratio.numpy(), ratio, rtol=1e-6)


def test_third_harmonic_is_unknown_where_it_folds_onto_nothing_or_itself() -> None:
    """m = 12: 3 * 4 = 12 is a constant; 3 * 3 = 9 and 3 * 6 = 18 are 3 and 6 again."""
    truth = draw(12, 6, seed=0)
    truth.frequency = np.arange(1, 7)
    table = neurons.extract(plain(truth, 12))
    assert table.third_harmonic_ratio[0].isnan().tolist() == [False, False, True, True, False, True]


def test_fits_tell_squares_from_cosines() -> None:
    m = 113
    truth = draw(m, 40, seed=4)
    truth.frequency[:] = 1
    cosine = neurons.extract(plain(truth, m))
    square_table = neurons.extract(plain(truth, m, "square"))
    assert float((cosine.r2_cosine - 1).abs().max()) < 1e-9
    assert float((square_table.r2_cosine - 8 / math.pi**2).abs().max()) < 0.02
    assert float(square_table.r2_square.min()) > 0.9  # the phase is known to pi / 113 only
    # |c|^2 = 1/2, <c, s> = 1/2, |s|^2 = (pi/4)^2: R2 = 2 - 2 (pi/4)^2
    assert float((cosine.r2_square - (2 - 2 * (math.pi / 4) ** 2)).abs().max()) < 0.03
    assert bool((cosine.clip_at == 1).all())
    assert float(square_table.clip_at.max()) < 0.2
    assert float((square_table.plateau_share - 1).abs().max()) < 1e-9
    assert float(cosine.plateau_share.mean()) == pytest.approx(0.48, abs=0.02)


@pytest.mark.parametrize("mode", MODES)
def test_kept_power_is_the_energy_at_the_chosen_frequencies(mode: str) -> None:
    model = HookedMLP(p=17, d_mlp=50, seed=0).double()
    table = neurons.extract(model, frequency=mode)
    columns = model.weights().detach().columns().numpy()
    power = np.abs(np.fft.fft(columns, axis=1)) ** 2
    kept = []
    for matrix in range(3):
        at = table.frequency[matrix].numpy()
        chosen = 2 * power[matrix, at, np.arange(50)].sum()
        kept.append(chosen / power[matrix, 1:].sum())
    np.testing.assert_allclose(table.kept_power.numpy(), kept)
    shares = 2 * power[:, 1:9] / power[:, 1:].sum(1, keepdims=True)
    np.testing.assert_allclose(table.ipr.numpy(), (shares**2).sum(1))
    np.testing.assert_allclose(table.neuron_ipr.numpy(), (shares**2).sum(1).mean(0))


def test_dead_neurons() -> None:
    m = 11
    truth = draw(m, 5, seed=0)
    weights = plain(truth, m)
    crest = weights.W_in.amax(1).sum(0)
    bias = torch.zeros(5, dtype=torch.float64)
    bias[0] = -crest[0] - 0.01  # never positive on any pair
    bias[1] = -crest[1] + 0.01  # positive on one pair
    weights.W_in[:, :, 2] = 1.0
    weights.W_in[0, :, 3] = 1.0
    weights.W_out[4] = 0.5
    biased = MLPWeights(weights.W_in, weights.W_out, bias)
    reached = biased.post(ModularTask(m).tokens).amax(0) > 0
    assert reached.tolist() == [False, True, True, True, True]
    assert neurons.extract(biased).dead.tolist() == [True, False, True, False, True]
    linear = MLPWeights(weights.W_in, weights.W_out, bias, act_fn="identity")
    assert neurons.extract(linear).dead.tolist() == [False, False, True, False, True]


# As a table --------------------------------------------------------------------------------------


def test_dataframe_holds_the_tables_values() -> None:
    model = HookedMLP(p=13, d_mlp=20, seed=0)
    table = neurons.extract(model, frequency="per_matrix")
    frame = table.to_dataframe()
    assert len(frame) == 20
    assert frame.index.name == "neuron"
    for row, matrix in enumerate(("a", "b", "out")):
        for name in ("frequency", "amplitude", "phase", "power_share", "ipr", "constant"):
            values = getattr(table, name)[row].numpy()
            np.testing.assert_array_equal(frame[f"{name}_{matrix}"], values)
        for name in ("r2_square", "r2_cosine", "r2_trapezoid", "plateau_share"):
            values = getattr(table, name)[row].numpy()
            np.testing.assert_array_equal(frame[f"{name}_{matrix}"], values)
    np.testing.assert_array_equal(frame["phase_residual"], table.phase_residual.numpy())
    assert frame["agrees"].mean() == pytest.approx(float(table.agreement))
    assert int(frame["dead"].sum()) == int(table.dead.sum())


def test_repr_is_one_screen() -> None:
    truth = draw(59, 200, seed=0)
    truth.phase[2] = truth.phase[0] + truth.phase[1]
    truth.amplitude[:, 117] = 50
    table = neurons.extract(plain(truth, 59), frequency="per_matrix")
    text = repr(table)
    assert len(text.splitlines()) < 25
    assert "frequencies agree in 100% of neurons" in text
    assert "median |phase residual| 0.000 rad" in text
    body = text.split("loudest neurons:")[1].splitlines()
    first = next(line for line in body if line.split() and line.split()[0].isdigit())
    assert first.split()[:2] == ["117", str(truth.frequency[117])]
    batch = neurons.extract(plain(truth, 59).expand(3))
    assert (
        repr(batch) == "NeuronTable(d_mlp=200, m=59, read as a + b, frequency='joint', batch=(3,))"
    )


def test_repr_of_a_silent_network() -> None:
    weights = MLPWeights(torch.zeros(2, 5, 3), torch.zeros(3, 5))
    text = repr(neurons.extract(weights))
    assert "3 have none, 3 are dead" in text


def test_errors() -> None:
    model = HookedMLP(p=11, d_mlp=4)
    with pytest.raises(ValueError, match="frequency='output' is unknown"):
        neurons.extract(model, frequency="output")
    with pytest.raises(ValueError, match="the model has p=11 and the task p=13"):
        neurons.extract(model, ModularTask(13))
    with pytest.raises(ValueError, match=r"no coordinates.*task=None"):
        neurons.extract(model, ModularTask(11, "a**2 + a*b + b**2"))
    with torch.no_grad():
        model.W_out[2, 3] = math.nan
    with pytest.raises(ValueError, match="W_out holds 1 values"):
        neurons.extract(model)


def test_a_table_is_not_changed_by_later_training() -> None:
    model = HookedMLP(p=11, d_mlp=6, seed=0)
    table, untouched = neurons.extract(model), neurons.extract(model)
    before = untouched.r2_square.clone()
    with torch.no_grad():
        model.W_in.mul_(-3).add_(torch.randn(2, 11, 6, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(table.r2_square, before)


def test_waves_that_are_one_function_at_the_points_take_the_lowest_frequency() -> None:
    """2 a + 2 b mod 12 sees even coordinates only, where k and 6 - k are one function."""
    task = ModularTask(12, "2*a + 2*b")
    generator = torch.Generator().manual_seed(1)
    n, k = torch.arange(12), torch.randint(1, 3, (40,), generator=generator)
    phase = torch.rand(2, 40, generator=generator) * 2 - 1
    columns = [torch.cos(torch.pi * k * (2 * n[:, None]) / 6 + phi) for phi in phase]
    out = torch.cos(torch.pi * k * n[:, None] / 6 + phase.sum(0))
    table = neurons.extract(
        MLPWeights(torch.stack(columns), out.T.contiguous()), task, "per_matrix"
    )
    assert torch.equal(table.frequency, k.expand(3, -1))


def test_no_phase_residual_where_classes_cannot_tell_the_phase() -> None:
    task = ModularTask(23, "(a + b)**2")
    weights = HookedMLP(p=23, d_mlp=8, seed=0)
    table = neurons.extract(weights, task)
    assert table.phase_residual.isnan().all()
    assert not neurons.extract(weights).phase_residual.isnan().any()


def test_input_mode_with_silent_inputs_reads_the_output() -> None:
    n = torch.arange(11)[:, None]
    out = torch.cos(2 * torch.pi * 5 * n / 11).expand(11, 2)
    weights = MLPWeights(torch.ones(2, 11, 2), out.T.contiguous())
    assert neurons.extract(weights, frequency="input").frequency.tolist() == [
        [0, 0],
        [0, 0],
        [5, 5],
    ]


def test_constant_columns_have_no_fits() -> None:
    weights = MLPWeights(torch.full((2, 11, 3), 0.1), torch.full((3, 11), 0.1))
    table = neurons.extract(weights)
    for name in ("r2_square", "r2_cosine", "r2_trapezoid", "plateau_share"):
        assert getattr(table, name).isnan().all(), name


def test_half_precision_is_read_in_float32() -> None:
    model = HookedMLP(p=11, d_mlp=4, seed=0).to(torch.bfloat16)
    table = neurons.extract(model)
    assert table.amplitude.dtype == torch.float32
    assert "bfloat16" in model.cfg.dtype
    assert "power share" in repr(table)


def test_intermediate_values_in_coordinates() -> None:
    """Relabelled by the discrete logarithm, the same columns sit at the same places."""
    task = ModularTask(23, "multiply")
    weights = HookedMLP(p=22, d_mlp=5, seed=3).weights().detach()
    plain = neurons.extract(weights)
    tokens, classes = task.coordinates.a, task.coordinates.readout
    W_in = torch.zeros(2, 23, 5)
    W_in[:, 1:] = weights.W_in[:, tokens[1:]]
    W_out = torch.zeros(5, 23)
    W_out[:, classes] = weights.W_out
    found = neurons.extract(MLPWeights(W_in, W_out), task)
    assert torch.equal(found.frequency, plain.frequency)
    for name in ("share", "distance", "cosine_share", "cosine_distance"):
        torch.testing.assert_close(
            getattr(found.intermediate_values, name),
            getattr(plain.intermediate_values, name),
            equal_nan=True,
        )
    torch.testing.assert_close(found.plateau_share, plain.plateau_share)


def test_repr_says_what_the_weights_were_read_as() -> None:
    weights = HookedMLP(p=23, d_mlp=4, seed=0)
    for operation, words in (
        ("add", "a + b"),
        ("subtract", "a - b"),
        ("multiply", "in the task's"),
    ):
        assert f"read {'as ' if len(words) < 6 else ''}{words}" in repr(
            neurons.extract(weights, ModularTask(23, operation))
        )


def test_a_neuron_that_has_decayed_away_is_read_as_well_as_before() -> None:
    """At 1e-12 of its size the squares of its power vanish in float32, its shares do not."""
    model = HookedMLP(p=23, d_mlp=4, seed=0)
    whole = neurons.extract(model)
    with torch.no_grad():
        model.W_in[:, :, 0] *= 1e-12
        model.W_out[0] *= 1e-12
    decayed = neurons.extract(model)
    torch.testing.assert_close(decayed.ipr, whole.ipr)
    assert torch.equal(decayed.frequency, whole.frequency)


def test_a_table_does_not_change_with_the_model() -> None:
    model = HookedMLP(p=11, d_mlp=4, seed=0)
    for given in (model, model.weights(), model.weights().detach()):
        table = neurons.extract(given)
        before = table.weights.W_in.clone()
        with torch.no_grad():
            model.W_in.add_(1)
        assert torch.equal(table.weights.W_in, before)
