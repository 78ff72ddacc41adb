"""Ideal weights against waves computed here, and the leak that `phase_sum` is."""

import math

import numpy as np
import pytest
import torch

from grok_interp import idealize, measures, neurons
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.idealize import Recipe
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights

MODULI = [3, 12, 17, 59]


def cosine_columns(m: int, d_mlp: int, seed: int) -> dict[str, np.ndarray]:
    """Columns ``[3, m, d]`` of cosines plus constants, beside what they were made from."""
    rng = np.random.default_rng(seed)
    truth = {
        "frequency": rng.integers(1, m // 2 + 1, d_mlp),
        "amplitude": rng.uniform(0.5, 2, (3, d_mlp)),
        "phase": rng.uniform(-np.pi, np.pi, (3, d_mlp)),
        "constant": rng.standard_normal((3, d_mlp)),
    }
    n = np.arange(m)[:, None]
    angle = 2 * np.pi * truth["frequency"] * n / m + truth["phase"][:, None]
    truth["wave"] = truth["amplitude"][:, None] * np.cos(angle)
    truth["wave"] -= truth["wave"].mean(1, keepdims=True)
    return truth


def as_weights(columns: np.ndarray, **kwargs) -> MLPWeights:
    tensor = torch.tensor(columns)
    return MLPWeights(tensor[:2], tensor[2].T.contiguous(), **kwargs)


def square_columns(table: neurons.NeuronTable, m: int) -> np.ndarray:
    """Square waves at level pi/4 A by the definition: +1 iff the turns are within a quarter."""
    columns = np.zeros((3, m, table.d_mlp))
    for row in range(3):
        for neuron in range(table.d_mlp):
            k = int(table.frequency[row, neuron])
            level = math.pi / 4 * float(table.amplitude[row, neuron])
            shift = float(table.phase[row, neuron]) / (2 * math.pi)
            for n in range(m):
                t = (k * n / m + shift + 0.5) % 1 - 0.5
                assert abs(abs(t) - 0.25) > 1e-7, "on an edge: choose another seed"
                columns[row, n, neuron] = level if -0.25 <= t < 0.25 else -level
    return columns


@pytest.mark.parametrize("m", MODULI)
@pytest.mark.parametrize("mode", ["joint", "input", "per_matrix"])
def test_the_cosine_recipe_reproduces_a_cosine_network_up_to_constants(m: int, mode: str) -> None:
    truth = cosine_columns(m, 50, seed=m)
    weights = as_weights(truth["wave"] + truth["constant"][:, None])
    table = neurons.extract(weights, ModularTask(m), mode)
    ideal = idealize.build(table, input_waveform="cosine")
    np.testing.assert_allclose(ideal.weights.columns().numpy(), truth["wave"], atol=1e-9)
    np.testing.assert_allclose(
        ideal.residual.columns().numpy(),
        np.broadcast_to(truth["constant"][:, None], truth["wave"].shape),
        atol=1e-9,
    )
    kept = idealize.build(table, input_waveform="cosine", keep_constant=True)
    np.testing.assert_allclose(kept.weights.columns().numpy(), weights.columns().numpy(), atol=1e-9)


@pytest.mark.parametrize("m", [12, 17, 59])
def test_the_square_recipe_is_square_waves_at_pi_over_four(m: int) -> None:
    model = HookedMLP(p=m, d_mlp=15, seed=m).double()
    table = neurons.extract(model, frequency="per_matrix")
    squares = square_columns(table, m)
    ideal = idealize.build(table).weights.columns().numpy()
    np.testing.assert_allclose(ideal[:2], squares[:2], atol=1e-12)
    n = np.arange(m)[:, None]
    angle = 2 * np.pi * table.frequency[2].numpy() * n / m + table.phase[2].numpy()
    cosine = table.amplitude[2].numpy() * np.cos(angle)
    np.testing.assert_allclose(ideal[2], cosine, atol=1e-12)
    swapped = idealize.build(table, input_waveform="cosine", output_waveform="square")
    np.testing.assert_allclose(swapped.weights.columns().numpy()[2], squares[2], atol=1e-12)


def test_trapezoids_are_clipped_cosines_with_the_fitted_clip() -> None:
    """The clip is the best of the tried levels, and the fundamental of each wave is A."""
    m = 59
    truth = cosine_columns(m, 20, seed=0)
    clipped = np.clip(truth["wave"] / truth["amplitude"][:, None] / 0.5, -1, 1)
    fundamental = 2 / np.pi * (np.arcsin(0.5) / 0.5 + np.sqrt(1 - 0.25))
    columns = truth["amplitude"][:, None] * clipped / fundamental
    table = neurons.extract(as_weights(columns))
    ideal = idealize.build(table, input_waveform="trapezoid", output_waveform="trapezoid")
    assert float((table.clip_at - 0.5).abs().max()) <= 0.1 + 1e-9
    assert float(table.clip_at.median()) == pytest.approx(0.5)
    error = np.abs(ideal.weights.columns().numpy() - columns).max((0, 1))
    assert float(np.median(error / truth["amplitude"].mean(0))) < 0.05
    square = np.abs(idealize.build(table).weights.columns().numpy()[:2] - columns[:2]).max((0, 1))
    assert bool((error < square).all())


@pytest.mark.parametrize(("operation", "sign"), [("add", 1), ("subtract", -1)])
def test_phase_sum_writes_the_phase_relation_in(operation: str, sign: int) -> None:
    m = 17
    model = HookedMLP(p=m, d_mlp=40, seed=0).double()
    task = ModularTask(m, operation)
    table = neurons.extract(model, task)
    ideal = idealize.build(table, input_waveform="cosine", output_phase="phase_sum")
    read = neurons.extract(ideal.weights, task)
    difference = read.phase[2] - (table.phase[0] + sign * table.phase[1])
    assert float((difference.cos() - 1).abs().max()) < 1e-9
    assert float(read.phase_residual.abs().max()) < 1e-6
    torch.testing.assert_close(read.amplitude, table.amplitude)
    assert float(table.median_abs_phase_residual) > 1
    own = neurons.extract(idealize.build(table, input_waveform="cosine").weights, task)
    torch.testing.assert_close(own.phase_residual, table.phase_residual)


def test_uniform_amplitude_is_each_matrixs_mean_over_live_columns() -> None:
    truth = cosine_columns(17, 12, seed=1)
    truth["wave"][0, :, 3] = 0.0
    table = neurons.extract(as_weights(truth["wave"]))
    read = neurons.extract(
        idealize.build(table, input_waveform="cosine", amplitude="uniform").weights
    )
    for row in range(3):
        live = np.array([neuron for neuron in range(12) if (row, neuron) != (0, 3)])
        expected = truth["amplitude"][row, live].mean()
        np.testing.assert_allclose(read.amplitude[row, live].numpy(), expected)
    assert float(read.amplitude[0, 3]) == 0
    torch.testing.assert_close(read.phase, table.phase, equal_nan=True, atol=1e-9, rtol=0)


def test_nyquist_and_constant_columns() -> None:
    m, n = 12, np.arange(12)
    alternating = (-1.0) ** n
    columns = np.zeros((3, m, 2))
    columns[0, :, 0], columns[1, :, 0], columns[2, :, 0] = (
        2 * alternating, -3 * alternating, alternating,
    )  # fmt: skip
    columns[:, :, 1] = 5.0
    table = neurons.extract(as_weights(columns))
    assert table.phase[:2, 0].tolist() == pytest.approx([0, math.pi])
    cosine = idealize.build(table, input_waveform="cosine").weights.columns().numpy()
    np.testing.assert_allclose(cosine[..., 0], columns[..., 0], atol=1e-12)
    square = idealize.build(table).weights.columns().numpy()
    np.testing.assert_allclose(square[:2, :, 0], np.pi / 4 * columns[:2, :, 0], atol=1e-12)
    for built in (cosine, square):
        assert float(np.abs(built[..., 1]).max()) == 0
    kept = idealize.build(table, keep_constant=True, output_phase="phase_sum").weights
    np.testing.assert_allclose(kept.columns().numpy()[..., 1], 5.0)


def test_biases_activation_and_scale_are_kept() -> None:
    model = HookedMLP(
        p=11, d_mlp=9, bias_in=True, bias_out=True, act_fn="quadratic", output_scale=0.5, seed=0
    )
    ideal = idealize.build(neurons.extract(model))
    assert torch.equal(ideal.weights.b_in, model.b_in)
    assert torch.equal(ideal.weights.b_out, model.b_out)
    assert float(ideal.residual.b_in.abs().max()) == 0
    tokens = ModularTask(11).tokens
    a, b = tokens.unbind(1)
    pre = ideal.weights.W_in[0][a] + ideal.weights.W_in[1][b] + model.b_in.detach()
    expected = 0.5 * pre.square() @ ideal.weights.W_out + model.b_out.detach()
    torch.testing.assert_close(ideal.weights.logits(tokens), expected)


def test_zero_keeps_its_own_weights_under_multiplication() -> None:
    model = HookedMLP(p=11, d_mlp=8, seed=0)
    ideal = idealize.build(neurons.extract(model, ModularTask(11, "multiply"))).weights
    own = model.weights().detach()
    assert torch.equal(ideal.W_in[:, 0], own.W_in[:, 0])
    assert torch.equal(ideal.W_out[:, 0], own.W_out[:, 0])
    levels = ideal.W_in[:, 1:].abs()
    torch.testing.assert_close(levels, levels[:, :1].expand_as(levels))
    assert not torch.isclose(ideal.W_out[:, 1:], own.W_out[:, 1:]).all()


@pytest.mark.parametrize("batch", [(3,), (2, 2)])
def test_a_batch_is_idealized_one_by_one(batch: tuple[int, ...]) -> None:
    models = [HookedMLP(p=13, d_mlp=6, seed=seed).weights() for seed in range(math.prod(batch))]
    stacked = MLPWeights(
        torch.stack([one.W_in.detach() for one in models]).unflatten(0, batch),
        torch.stack([one.W_out.detach() for one in models]).unflatten(0, batch),
    )
    recipe = Recipe(input_waveform="trapezoid", amplitude="uniform", output_phase="phase_sum")
    whole = idealize.build(neurons.extract(stacked), recipe).weights
    for index, one in enumerate(models):
        alone = idealize.build(neurons.extract(one), recipe).weights
        place = np.unravel_index(index, batch)
        torch.testing.assert_close(whole.W_in[place], alone.W_in)
        torch.testing.assert_close(whole.W_out[place], alone.W_out)


def test_anti_phase_neurons_answer_wrongly() -> None:
    """A residual of pi, which a sine would call perfect, makes the right class the worst."""
    m, d_mlp = 23, 400
    truth = cosine_columns(m, d_mlp, seed=3)
    phase = truth["phase"]
    n = np.arange(m)[:, None]
    scores = {}
    for name, shift in (("aligned", 0.0), ("anti", np.pi)):
        phase[2] = phase[0] + phase[1] + shift
        wave = np.cos(2 * np.pi * truth["frequency"] * n / m + phase[:, None])
        task = ModularTask(m)
        ideal = idealize.build(neurons.extract(as_weights(wave), task)).weights
        scores[name] = float(measures.accuracy(ideal, task))
        rank = float(measures.mean_rank(ideal, task))
        assert rank < 1.5 if name == "aligned" else rank > m - 2
    assert scores["aligned"] > 0.95
    assert scores["anti"] < 1 / m


def test_phase_sum_is_a_leak() -> None:
    """An untrained network scores near 1 once the answer is written into its output phases."""
    task = ModularTask(59)
    table = neurons.extract(HookedMLP(p=59, d_mlp=512, seed=0), task)
    leak = idealize.build(table, output_phase="phase_sum").weights
    own = idealize.build(table).weights
    assert float(measures.accuracy(leak, task)) > 0.95
    assert float(measures.accuracy(own, task)) < 0.1


def test_recipe_and_keywords() -> None:
    table = neurons.extract(HookedMLP(p=11, d_mlp=5), frequency="input")
    recipe = Recipe(frequency="input", input_waveform="cosine", amplitude="uniform")
    by_recipe = idealize.build(table, recipe)
    by_words = idealize.build(table, input_waveform="cosine", amplitude="uniform")
    assert by_recipe.recipe == by_words.recipe == recipe
    assert torch.equal(by_recipe.weights.W_in, by_words.weights.W_in)
    replaced = idealize.build(table, recipe, amplitude="extracted", keep_constant=True)
    assert replaced.recipe == Recipe(frequency="input", input_waveform="cosine", keep_constant=True)
    with pytest.raises(ValueError, match=r"frequency='joint' and the table.*'input'"):
        idealize.build(table, Recipe())
    for words in ({"input_waveform": "triangle"}, {"amplitude": "mean"}, {"output_phase": "sum"}):
        name, value = next(iter(words.items()))
        with pytest.raises(ValueError, match=f"{name}='{value}' is unknown"):
            idealize.build(table, **words)


def test_binarised_columns_are_the_nearest_of_two_values() -> None:
    table = neurons.extract(HookedMLP(p=13, d_mlp=9, seed=0, dtype="float64"), ModularTask(13))
    binary = idealize.binarise(table)
    own, ideal = table.weights.W_in, binary.weights.W_in
    high = own >= own.mean(1, keepdim=True)
    indicators = torch.stack([high, ~high], -1).movedim(1, -2).double()  # [2, d, p, 2]
    fit = torch.linalg.lstsq(indicators, own.movedim(1, -1).unsqueeze(-1)).solution
    nearest = (indicators @ fit).squeeze(-1).movedim(-1, 1)
    assert torch.allclose(ideal, nearest)
    assert torch.allclose(ideal.mean(1), own.mean(1))
    assert binary.matrices == ("W_a", "W_b")


@pytest.mark.parametrize("make", [idealize.binarise, idealize.smooth])
def test_binarising_and_smoothing_go_by_strength_and_only_in_the_input(make) -> None:
    model = HookedMLP(p=13, d_mlp=9, seed=0, dtype="float64")
    table = neurons.extract(model, ModularTask(13))
    whole = make(table).weights.W_in
    with model.intervened(make(table, 0.25, neurons=[1, 2])):
        changed = model.effective_weights()
    expected = model.W_in.clone()
    expected[..., [1, 2]] = (0.75 * model.W_in + 0.25 * whole)[..., [1, 2]]
    assert torch.allclose(changed.W_in, expected)
    assert torch.equal(changed.W_out, model.W_out)
    with model.intervened(make(table, 0.0)):
        assert torch.equal(model.effective_weights().W_in, model.W_in)


def test_smooth_columns_keep_their_mean_and_one_sinusoid() -> None:
    table = neurons.extract(HookedMLP(p=13, d_mlp=9, seed=0, dtype="float64"), ModularTask(13))
    smooth = idealize.smooth(table).weights.W_in
    expected = table.waves("cosine")[:2] + table.constant[:2].unsqueeze(-2)
    assert torch.allclose(smooth, expected)


def test_a_square_wave_is_binary_already_and_a_cosine_smooth() -> None:
    n = torch.arange(13, dtype=torch.float64)[:, None]
    cosine = torch.cos(2 * math.pi * 3 * n / 13 + 0.2)
    square = torch.where(cosine >= 0, 0.7, -0.7).double()
    for column, make in ((square, idealize.binarise), (cosine, idealize.smooth)):
        model = HookedMLP.from_weights(torch.stack([column, column]), cosine.T.contiguous())
        ideal = make(neurons.extract(model, ModularTask(13)))
        assert torch.allclose(ideal.weights.W_in, column.expand(2, 13, 1))


def test_in_coordinates_zero_keeps_its_weights_when_binarised() -> None:
    task = ModularTask(11, "multiply")
    table = neurons.extract(HookedMLP(p=11, d_mlp=5, seed=0), task)
    binary = idealize.binarise(table).weights.W_in
    assert torch.equal(binary[:, 0], table.weights.W_in[:, 0])
    own = table.weights.W_in[:, 1:]
    assert torch.equal(
        (binary[:, 1:] - own.mean(1, keepdim=True)).sign(), (own - own.mean(1, keepdim=True)).sign()
    )


def test_the_sign_recipe_has_its_controls_and_is_for_inputs_only() -> None:
    recipe = Recipe(input_waveform="sign")
    assert recipe.input_waveform == "sign"
    with pytest.raises(ValueError, match="output_waveform='sign'"):
        Recipe(output_waveform="sign")


def test_neurons_of_a_frequency() -> None:
    table = neurons.extract(HookedMLP(p=13, d_mlp=40, seed=0), ModularTask(13), "per_matrix")
    frame = table.to_dataframe()
    same = (frame["frequency_a"] == frame["frequency_b"]) & frame["agrees"]
    expected = same & frame["frequency_a"].isin([2, 5])
    assert table.at([2, 5]).tolist() == expected.tolist()
    everywhere = table.at(range(1, 7))
    assert torch.equal(everywhere, table.agrees)
    with pytest.raises(ValueError, match=r"frequency 7 .* 1\.\.6"):
        table.at(7)
