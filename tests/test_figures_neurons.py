"""Figures of all neurons and of one: what is drawn equals the numbers found by another route."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from grok_interp import figures, measures, neurons, tasks
from grok_interp.neurons import NeuronTable
from grok_interp.weights import MLPWeights

P = 13
N = np.arange(P)[:, None]
K = np.array([4, 1, 6, 4, 2])
A = np.array([1.0, 2.0, 3.0, 0.5, 1.5])
PHI_A = np.array([0.3, -1.0, 3.0, -2.0, 0.1])
PHI_B = np.array([0.4, -3.0, 2.0, -0.5, 1.0])
OPERATIONS = {"add": 1, "subtract": -1}


def trace(figure, name):
    (found,) = [trace for trace in figure.data if trace.name == name]
    return found


def wrap(angle):
    return np.angle(np.exp(1j * np.asarray(angle)))


def cosines(k, amplitude, phase) -> np.ndarray:
    return amplitude * np.cos(2 * np.pi * k * N / P + phase)


def read(a, b, out, task=None, mode="joint") -> NeuronTable:
    """A table of columns over points; W_out is given by column, too."""
    weights = MLPWeights(torch.tensor(np.stack([a, b])), torch.tensor(out).T.contiguous())
    return neurons.extract(weights, task, mode)


def waves(operation: str = "add", off: float = 0.25) -> NeuronTable:
    """Pure cosines whose output phase misses the sum by ``off``."""
    phi_out = PHI_A + OPERATIONS[operation] * PHI_B - off
    columns = (cosines(K, A, phase) for phase in (PHI_A, PHI_B, phi_out))
    return read(*columns, tasks.ModularTask(P, operation))


def noise(seed: int = 0, d: int = 40, task=None, mode: str = "joint") -> NeuronTable:
    columns = np.random.default_rng(seed).normal(size=(3, P, d))
    return read(*columns, task, mode)


def constant_first() -> NeuronTable:
    """Neuron 0 has a constant column in W_a alone, neuron 1 in all three, the others are waves."""
    a, b, out = (cosines(K, A, phase) for phase in (PHI_A, PHI_B, PHI_A + PHI_B))
    a[:, 0] = 0.7
    a[:, 1] = b[:, 1] = out[:, 1] = 0.7
    return read(a, b, out)


@pytest.mark.parametrize(("operation", "sign"), OPERATIONS.items())
def test_phases_stand_at_their_sum_and_at_the_output_s(operation: str, sign: int) -> None:
    figure = figures.phase_sum(waves(operation), "t")
    drawn = trace(figure, "neurons")
    np.testing.assert_allclose(drawn.x, wrap(PHI_A + sign * PHI_B), atol=1e-9)
    np.testing.assert_allclose(drawn.y, wrap(PHI_A + sign * PHI_B - 0.25), atol=1e-9)
    assert drawn.customdata == (0, 1, 2, 3, 4)
    np.testing.assert_allclose(drawn.marker.size, 3 + 9 * A / 3)
    assert drawn.marker.opacity == 0.6
    name = "phi_a + phi_b" if sign > 0 else "phi_a - phi_b"
    line = trace(figure, f"phi_out = {name}")
    assert line.x == line.y == (-math.pi, math.pi)
    assert line.line.dash == "dot"
    assert figure.layout.xaxis.range == figure.layout.yaxis.range == (-math.pi, math.pi)
    assert figure.layout.xaxis.title.text == f"{name} (rad)"


def test_phase_sum_leaves_out_neurons_whose_frequencies_differ() -> None:
    table = noise(d=200, mode="per_matrix")
    spectra = np.abs(np.fft.rfft(table.weights.columns().numpy(), axis=1))[:, 1:]
    k = spectra.argmax(1)
    agree = np.flatnonzero((k[0] == k[1]) & (k[1] == k[2]))
    assert 0 < len(agree) < 20
    assert list(trace(figures.phase_sum(table, "t"), "neurons").customdata) == agree.tolist()
    none = noise(d=1, mode="per_matrix")
    assert not none.agrees.any()
    assert len(trace(figures.phase_sum(none, "t"), "neurons").x) == 0


def test_the_census_counts_neurons_that_agree() -> None:
    table = waves()
    figure = figures.frequency_census({"trained": table}, "t")
    (bars,) = figure.data
    assert bars.type == "bar"
    assert list(bars.x) == [1, 2, 3, 4, 5, 6]
    assert list(bars.y) == [1, 1, 0, 2, 0, 1]
    untrained = noise(d=500, mode="per_matrix")
    figure = figures.frequency_census({"trained": table, "untrained": untrained}, "t")
    counts = trace(figure, "untrained").y
    np.testing.assert_array_equal(counts, measures.frequency_census(untrained)["neurons"])
    # What the docstring says of an untrained network: d_mlp / (m//2)^2 in all.
    assert abs(sum(counts) - 500 / 6**2) < 4 * math.sqrt(500 / 6**2)
    assert trace(figure, "untrained").line.dash != trace(figure, "trained").line.dash
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.frequency_census({}, "t")


def test_fits_are_shares_of_variance() -> None:
    table = noise()
    figure = figures.wave_fits(table, "t")
    w = table.weights.columns().numpy()
    w = w - w.mean(1, keepdims=True)
    k, amplitude, phase = (
        getattr(table, name).numpy()[:, None] for name in ("frequency", "amplitude", "phase")
    )
    angle = 2 * np.pi * k * N / P + phase
    fits = {
        "x": amplitude * np.cos(angle),
        "y": np.pi / 4 * amplitude * np.where(np.cos(angle) >= 0, 1, -1),
    }
    for axis, s in fits.items():
        s = s - s.mean(1, keepdims=True)
        r2 = 1 - np.square(w - s).sum(1) / np.square(w).sum(1)
        np.testing.assert_allclose(trace(figure, "W_in")[axis], (r2[0] + r2[1]) / 2, atol=1e-7)
        np.testing.assert_allclose(trace(figure, "W_out")[axis], r2[2], atol=1e-7)
    assert trace(figure, "W_out").customdata == tuple(range(40))
    # Fits that are worse than the mean stay in sight.
    lowest = min(trace(figure, "W_in").y.min(), trace(figure, "W_out").y.min())
    assert figure.layout.yaxis.range[0] < lowest < 0


def test_perfect_waves_are_where_the_figure_says() -> None:
    p = 997
    angle = 2 * np.pi * 3 * np.arange(p)[:, None] / p + 0.5
    wave = np.hstack([np.sign(np.cos(angle)), np.cos(angle)])
    column = torch.tensor(wave)
    table = neurons.extract(MLPWeights(torch.stack([column, column]), column.T.contiguous()))
    figure = figures.wave_fits(table, "t")
    perfect = trace(figure, "perfect waves")
    np.testing.assert_allclose(trace(figure, "W_in").x, perfect.x, atol=0.005)
    np.testing.assert_allclose(trace(figure, "W_in").y, perfect.y, atol=0.005)
    assert perfect.text == ("perfect<br>square wave", "perfect<br>cosine")
    diagonal = trace(figure, "equally well")
    assert diagonal.x == diagonal.y


def test_no_fit_to_a_square_wave_falls_out_of_sight() -> None:
    # Of columns with amplitude A at k and the rest along the square wave's own rest, turned round.
    share = np.linspace(1e-4, 1, 10_000)  # of the variance at k: A^2 / 2
    square = np.pi**2 / 16 * 2 * share  # the variance of its square wave
    along = share - np.sqrt((1 - share) * (square - share))
    lowest = (2 * along - square).min()
    assert -0.24 < lowest < -0.2
    assert figures.wave_fits(waves(), "t").layout.yaxis.range[0] < lowest


def test_neurons_without_a_frequency_have_no_fits() -> None:
    figure = figures.wave_fits(constant_first(), "t")
    assert trace(figure, "W_in").customdata == (2, 3, 4)
    assert trace(figure, "W_out").customdata == (0, 2, 3, 4)


def test_neurons_are_ordered_by_frequency_and_phase() -> None:
    assert figures.neuron_order(waves()) == [1, 4, 3, 0, 2]
    assert figures.neuron_order(constant_first()) == [4, 3, 2, 0, 1]
    equal = [0] * 3
    twice = read(*(cosines(K[equal], 1, phase[equal]) for phase in (PHI_A, PHI_B, PHI_A)))
    assert figures.neuron_order(twice) == [0, 1, 2]
    table = noise(d=60)
    k, phase = table.frequency[0].tolist(), table.phase[0].tolist()
    assert figures.neuron_order(table) == sorted(range(60), key=lambda n: (k[n], phase[n]))


def test_maps_show_columns_by_their_own_root_mean_square() -> None:
    table = noise(d=30)
    figure = figures.weight_maps(table, "t")
    assert [each.name for each in figure.data] == ["W_a", "W_b", "W_out"]
    order = figures.neuron_order(table)
    for each, column in zip(figure.data, table.weights.columns().numpy(), strict=True):
        centred = column - column.mean(0)
        np.testing.assert_allclose(each.z, (centred / centred.std(0)).T[order], rtol=1e-5)
        assert each.z.dtype == np.float32
        assert list(each.x) == list(range(P))
        assert [int(label.split()[1].rstrip(",")) for label in each.y] == order
    scale = figure.layout.coloraxis
    assert (scale.cmin, scale.cmax) == (-2, 2)
    assert {each.coloraxis for each in figure.data} == {"coloraxis"}
    for position, text in zip(
        figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True
    ):
        k = table.frequency[0].numpy()[order]
        assert text == f"k={k[position]}"
        assert position == 0 or k[position - 1] < k[position]


def test_a_constant_column_is_an_even_row_at_the_end() -> None:
    figure = figures.weight_maps(constant_first(), "t")
    np.testing.assert_array_equal(trace(figure, "W_a").z[3:], 0)
    np.testing.assert_array_equal(trace(figure, "W_b").z[4], 0)
    assert np.square(trace(figure, "W_b").z[3]).mean() == pytest.approx(1)
    assert figure.layout.yaxis.ticktext[-1] == "none"


def test_maps_are_in_the_order_of_coordinates() -> None:
    task = tasks.ModularTask(P, "multiply")
    table = noise(d=6, task=task)
    figure = figures.weight_maps(table, "t")
    # The powers of a primitive root are the tokens in the order of their logarithms.
    logarithm = task.coordinates.a.numpy()
    root = int(np.flatnonzero(logarithm == 1)[0])
    powers = [pow(root, n, P) for n in range(P - 1)]
    columns = table.weights.columns().numpy()[:, powers]
    order = figures.neuron_order(table)
    for each, column in zip(figure.data, columns, strict=True):
        centred = column - column.mean(0)
        np.testing.assert_allclose(each.z, (centred / centred.std(0)).T[order], rtol=1e-5)
        assert list(each.x) == list(range(P - 1))


def test_tokens_that_share_a_point_stand_side_by_side() -> None:
    task = tasks.ModularTask(P, "a**2 + b**2")
    figure = figures.weight_maps(noise(d=6, task=task), "t")
    assert list(trace(figure, "W_a").x) == list(range(P))
    assert np.square(trace(figure, "W_a").z).mean() == pytest.approx(1)


def by_panel(figure) -> list[tuple]:
    """The four traces of each matrix."""
    return [figure.data[4 * row : 4 * row + 4] for row in range(3)]


def test_a_card_has_its_traces_in_order() -> None:
    figure = figures.neuron_card(waves(), 0, "t")
    names = ["weight", "square wave", "cosine", "spectrum"]
    phases = ["phi_a", "phi_b", "phi_out", "phi_a + phi_b"]
    assert [each.name for each in figure.data] == names * 3 + phases
    titles = [note.text for note in figure.layout.annotations]
    r2 = float(waves().r2_square[0, 0])
    assert titles[0] == f"W_a, A=1, k=4<br>R2 square {r2:.2f}<br>R2 cosine 1.00"
    assert titles[1] == "power share<br>1.00 at k=4"
    assert titles[6].startswith("phases (degrees)")


def test_a_card_s_weights_are_over_one_period() -> None:
    table = waves()
    for row, (weight, square, cosine, _) in enumerate(by_panel(figures.neuron_card(table, 3, "t"))):
        phase = float(table.phase[row, 3])
        t = (K[3] * N[:, 0] / P + phase / (2 * np.pi) + 0.5) % 1 - 0.5
        order = t.argsort()
        for each in (weight, square, cosine):
            np.testing.assert_allclose(each.x, t[order], atol=1e-9)
        np.testing.assert_allclose(weight.y, cosine.y, atol=1e-9)  # a pure cosine
        np.testing.assert_allclose(weight.y, 0.5 * np.cos(2 * np.pi * t[order]), atol=1e-9)
        np.testing.assert_allclose(np.abs(square.y), np.pi / 4 * 0.5)
    again = iter(figures.neuron_waves(table, [3], "t").data)
    for panel in by_panel(figures.neuron_card(table, 3, "t")):
        for each, same in zip(panel[:3], again, strict=False):
            np.testing.assert_array_equal(each.y, same.y)
            assert (each.name, each.line.color) == (same.name, same.line.color)


def test_the_spectrum_of_a_pure_cosine_is_one_at_its_frequency() -> None:
    for neuron, k in enumerate(K):
        for *_, spectrum in by_panel(figures.neuron_card(waves(), neuron, "t")):
            assert list(spectrum.x) == [1, 2, 3, 4, 5, 6]
            np.testing.assert_allclose(spectrum.y, np.arange(1, 7) == k, atol=1e-12)


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_spectra_are_shares_of_the_fourier_transform(operation: str) -> None:
    task = tasks.ModularTask(P, operation)
    table = noise(d=4, task=task)
    place = np.arange(P) if operation == "add" else task.coordinates.a.numpy()
    tokens = place.argsort()[int(place.min() < 0) :]  # the token 0 has no logarithm
    assert len(tokens) == table.modulus
    for row, (weight, *_, spectrum) in enumerate(by_panel(figures.neuron_card(table, 2, "t"))):
        column = table.weights.columns().numpy()[row, tokens, 2]
        power = np.abs(np.fft.rfft(column))[1:] ** 2
        if table.modulus % 2 == 0:
            power[-1] /= 2  # one half of the spectrum holds it alone
        np.testing.assert_allclose(spectrum.y, power / power.sum(), atol=1e-9)
        k = int(table.frequency[row, 2])
        assert spectrum.y[k - 1] == pytest.approx(float(table.power_share[row, 2]))
        np.testing.assert_allclose(np.sort(weight.y), np.sort(column - column.mean()), atol=1e-9)


@pytest.mark.parametrize(("operation", "sign"), OPERATIONS.items())
def test_a_card_s_phases_are_in_degrees(operation: str, sign: int) -> None:
    figure = figures.neuron_card(waves(operation), 1, "t")
    total = PHI_A[1] + sign * PHI_B[1]
    expected = {
        "phi_a": PHI_A[1],
        "phi_b": PHI_B[1],
        "phi_out": total - 0.25,
        f"phi_a {'+' if sign > 0 else '-'} phi_b": total,
    }
    assert [each.name for each in figure.data[12:]] == list(expected)
    for each in figure.data[12:]:
        assert each.r == (0, 1)
        assert each.theta[0] == 0
        assert each.theta[1] == pytest.approx(np.degrees(wrap(expected[each.name])))


def test_a_card_of_a_constant_column_leaves_it_empty() -> None:
    figure = figures.neuron_card(constant_first(), 0, "t")
    (weight, square, cosine, spectrum), panel_b, _ = by_panel(figure)
    assert len(weight.x) == len(square.x) == len(cosine.x) == 0
    np.testing.assert_array_equal(spectrum.y, 0)
    assert len(panel_b[0].x) == P
    assert [len(each.r) for each in figure.data[12:]] == [0, 2, 2, 0]
    assert "constant" in figure.layout.annotations[0].text
    silent = figures.neuron_card(constant_first(), 1, "t")
    assert not any(len(each.r) for each in silent.data[12:])


def test_phases_of_different_frequencies_are_not_added() -> None:
    out = cosines(K + 1, A, PHI_A)
    out[:, 2] = cosines(K, A, PHI_A)[:, 2]
    table = read(cosines(K, A, PHI_A), cosines(K, A, PHI_B), out, mode="per_matrix")
    assert [len(each.r) for each in figures.neuron_card(table, 0, "t").data[12:]] == [2, 2, 2, 0]
    assert [len(each.r) for each in figures.neuron_card(table, 2, "t").data[12:]] == [2, 2, 2, 2]


@pytest.mark.parametrize("neuron", [-1, 5])
def test_a_neuron_that_is_not_there_is_named(neuron: int) -> None:
    expected = rf"neuron {neuron} is not in 0\.\.4: pass one of the table's 5"
    with pytest.raises(IndexError, match=expected):
        figures.neuron_card(waves(), neuron, "t")
    with pytest.raises(IndexError, match=expected):
        figures.neuron_waves(waves(), [0, neuron], "t")


def test_batches_are_refused() -> None:
    batch = waves().expand(2)
    for draw in (
        lambda: figures.phase_sum(batch, "t"),
        lambda: figures.frequency_census({"n": batch}, "t"),
        lambda: figures.wave_fits(batch, "t"),
        lambda: figures.weight_maps(batch, "t"),
        lambda: figures.neuron_card(batch, 0, "t"),
        lambda: figures.neuron_waves(batch, [0], "t"),
        lambda: figures.residual_histogram({"n": batch}, "t"),
    ):
        with pytest.raises(ValueError, match=r"batch of shape \(2,\).*table\[-1\]"):
            draw()
    with pytest.raises(ValueError, match="no neuron to draw"):
        figures.neuron_waves(waves(), [], "t")


def test_activations_over_the_grid_are_those_of_the_relu() -> None:
    table = waves()
    functions = measures.functions_of_pairs(table.weights, tasks.ModularTask(P), 3, 0)
    figure = figures.preactivation_images({"network": functions}, "t")
    pre = trace(figure, "pre-activation of neuron 3, network").z
    w_a, w_b, _ = table.weights.columns().numpy()
    np.testing.assert_allclose(pre, w_a[:, 3, None] + w_b[:, 3], atol=1e-6)
    post = trace(figure, "activation of neuron 3, network").z
    np.testing.assert_allclose(post, np.maximum(pre, 0), atol=1e-6)
    power = trace(figure, "power of activation of neuron 3, network")
    transform = np.abs(np.fft.fft2(post - post.mean())) ** 2
    k = power.y.index(4), power.x.index(4)
    assert power.z[k] == pytest.approx(2 * transform[4, 4] / transform.sum(), rel=1e-4)


def test_logits_show_the_frequencies_that_they_are_made_of() -> None:
    task = tasks.ModularTask(P)
    a, b = task.tokens.T.numpy()
    c = np.arange(P)

    def logits(amplitudes: dict[int, float]) -> torch.Tensor:
        answer = (a + b)[:, None] - c
        return torch.tensor(
            sum(A * np.cos(2 * np.pi * k * answer / P) for k, A in amplitudes.items())
        )

    own, ideal = logits({2: 3.0, 5: 1.0}), logits({5: 1.0})
    shares = {
        "own": measures.logit_shares(lambda tokens: own, task),
        "idealised": pd.Series(measures.logit_shares(lambda tokens: ideal, task).tolist()),
    }
    figure = figures.logit_frequencies(shares, "t")
    assert list(trace(figure, "own").x) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(trace(figure, "own").y, [0, 0.9, 0, 0, 0.1, 0], atol=1e-9)
    np.testing.assert_allclose(trace(figure, "idealised").y, [0, 0, 0, 0, 1, 0], atol=1e-9)
    assert trace(figure, "idealised").line.color == figures.IDEAL
    (bars,) = figures.logit_frequencies({"own": shares["own"]}, "t").data
    assert bars.type == "bar"
    with pytest.raises(ValueError, match=r"'own' have the shape \(1, 6\).*index the batch"):
        figures.logit_frequencies({"own": shares["own"][None]}, "t")
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.logit_frequencies({}, "t")


def onsets() -> pd.DataFrame:
    rows = [
        ("wd 1", 0, 100, False, 900, False),
        ("wd 1", 1, 1000, True, 800, False),
        ("wd 0", 0, 300, False, 1000, True),
        ("wd 0", 1, 1000, True, 1000, True),
    ]
    columns = ["series", "seed", "onset", "onset_censored", "grokked", "grokked_censored"]
    return pd.DataFrame(rows, columns=columns)


def test_onsets_stand_against_grokking_and_bounds_say_so() -> None:
    figure = figures.onset_against_grokking(onsets(), "t")
    first, second = trace(figure, "wd 1"), trace(figure, "wd 0")
    assert (list(first.x), list(first.y)) == ([100, 1000], [900, 800])
    assert (list(second.x), list(second.y)) == ([300, 1000], [1000, 1000])
    assert list(first.customdata) == [0, 1]
    assert list(first.marker.symbol) == ["circle", "triangle-right-open"]
    assert list(second.marker.symbol) == ["triangle-up-open", "triangle-ne-open"]
    line = trace(figure, "at the same step")
    assert line.x == line.y
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    explained = [each.name for each in figure.data[3:]]
    assert explained == [
        "no grokking by the last step",
        "no onset by the last step",
        "neither by the last step",
    ]
    for each in figure.data[:2]:
        assert (10 ** figure.layout.xaxis.range[0] < np.array(each.x)).all()
        assert (10 ** figure.layout.yaxis.range[1] > np.array(each.y)).all()
    assert len(figures.onset_against_grokking(onsets()[:1], "t").data) == 2


def test_a_step_of_zero_needs_linear_axes() -> None:
    frame = onsets().assign(onset=[0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"a step is 0, .*pass log_steps=False"):
        figures.onset_against_grokking(frame, "t")
    figure = figures.onset_against_grokking(frame, "t", log_steps=False)
    assert figure.layout.xaxis.type == "linear"
    assert figure.layout.xaxis.range[0] == 0
    with pytest.raises(ValueError, match=r"no column \['grokked'\]"):
        figures.onset_against_grokking(onsets().drop(columns="grokked"), "t")
