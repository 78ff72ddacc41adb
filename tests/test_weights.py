"""The forward pass against a dense one-hot network in numpy, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import erf

from grok_interp import weights
from grok_interp.weights import MLPWeights

P, D_MLP = 5, 7
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "quadratic": lambda x: x**2,
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "identity": lambda x: x,
}


def network(*batch: int, biases: bool = True, seed: int = 0, **options) -> MLPWeights:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=generator)

    drawn = draw(2, P, D_MLP), draw(D_MLP, P), draw(D_MLP), draw(P)
    return MLPWeights(*drawn[: 4 if biases else 2], **options)


def all_tokens() -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(P), torch.arange(P))


def dense(network: MLPWeights, act_fn, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pre-activations, activations and logits on concatenated one-hot pairs."""
    onehot = np.zeros((P * P, 2 * P))
    for row, (a, b) in enumerate((a, b) for a in range(P) for b in range(P)):
        onehot[row, a] += 1
        onehot[row, P + b] += 1
    pre = onehot @ network.W_in.numpy().reshape(2 * P, D_MLP)
    if network.b_in is not None:
        pre = pre + network.b_in.numpy()
    post = act_fn(pre)
    logits = scale * (post @ network.W_out.numpy())
    return pre, post, logits if network.b_out is None else logits + network.b_out.numpy()


# The forward pass


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("act_fn", ACTIVATIONS)
def test_forward_is_the_dense_network(act_fn, scale, biases):
    model = network(biases=biases, act_fn=act_fn, output_scale=scale)
    pre, post, logits = dense(model, ACTIVATIONS[act_fn], scale)
    assert_allclose(model.pre(all_tokens()), pre, atol=1e-12)
    assert_allclose(model.post(all_tokens()), post, atol=1e-12)
    assert_allclose(model.logits(all_tokens()), logits, atol=1e-12)


def test_a_callable_is_an_activation():
    model = network(act_fn=torch.tanh)
    assert_allclose(model.logits(all_tokens()), dense(model, np.tanh, 1.0)[2], atol=1e-12)


@pytest.mark.parametrize("biases", [True, False])
def test_batch_axes_are_networks_by_themselves(biases):
    batch = network(2, 3, biases=biases, act_fn="quadratic", output_scale=0.5)
    logits = batch.logits(all_tokens())
    assert logits.shape == (2, 3, P * P, P)
    assert batch.batch_shape == (2, 3)
    for index in np.ndindex(2, 3):
        expected = dense(batch[index], ACTIVATIONS["quadratic"], 0.5)[2]
        assert_allclose(logits[index], expected, atol=1e-12)


def test_a_and_b_are_not_interchanged():
    model = network(act_fn="identity", biases=False)
    found = model.pre(torch.tensor([[3, 1]]))[0]
    assert_allclose(found, model.W_in[0, 3] + model.W_in[1, 1])


# As a value


def test_columns_are_W_a_W_b_and_W_out_transposed():
    model = network(2)
    columns = model.columns()
    assert columns.shape == (2, 3, P, D_MLP)
    assert torch.equal(columns[:, 0], model.W_in[:, 0])
    assert torch.equal(columns[:, 1], model.W_in[:, 1])
    for neuron in range(D_MLP):
        assert torch.equal(columns[:, 2, :, neuron], model.W_out[:, neuron, :])


@pytest.mark.parametrize("biases", [True, False])
def test_map_acts_on_every_tensor_and_keeps_the_rest(biases):
    model = network(biases=biases, act_fn="gelu", output_scale=3.0)
    doubled = model.map(lambda tensor: 2 * tensor)
    for name in ("W_in", "W_out", "b_in", "b_out"):
        before, after = getattr(model, name), getattr(doubled, name)
        assert (after is None) if before is None else torch.equal(after, 2 * before)
    assert (doubled.act_fn, doubled.output_scale) == ("gelu", 3.0)


def test_detach_leaves_the_gradient_graph():
    model = network().map(lambda tensor: tensor.clone().requires_grad_())
    assert model.logits(all_tokens()).requires_grad
    assert not model.detach().logits(all_tokens()).requires_grad


def test_indexing_and_expanding_the_batch():
    batch = network(4)
    assert torch.equal(batch[2].W_in, batch.W_in[2])
    assert torch.equal(batch[1:3].b_out, batch.b_out[1:3])
    one = network()
    expanded = one.expand(2, 3)
    assert expanded.batch_shape == (2, 3)
    assert expanded.W_in.data_ptr() == one.W_in.data_ptr()
    assert_allclose(
        expanded.logits(all_tokens()), one.logits(all_tokens()).expand(2, 3, -1, -1), atol=1e-12
    )
    with pytest.raises(IndexError, match="no batch axis"):
        one[0]


# Names of activations


def test_unknown_and_custom_activations_are_told_apart():
    with pytest.raises(ValueError, match=r"'swish'.*'relu', 'quadratic', 'gelu', 'identity'"):
        weights.activation("swish")
    with pytest.raises(ValueError, match=r"'custom'.*callable"):
        weights.activation("custom")


# Tokens


@pytest.mark.parametrize(
    ("tokens", "error", "match"),
    [
        ([[0, 1]], TypeError, r"are a list.*int64"),
        (np.zeros((2, 2), dtype=np.int64), TypeError, r"are a ndarray.*int64"),
        (torch.zeros(2, 2), TypeError, r"torch.float32.*torch.int64"),
        (torch.zeros(2, 2, dtype=torch.int32), TypeError, r"torch.int32.*torch.int64"),
        (torch.zeros(2, dtype=torch.int64), ValueError, r"\(2,\).*\[batch, 2\]"),
        (torch.zeros(2, 3, dtype=torch.int64), ValueError, r"\(2, 3\).*\[batch, 2\]"),
        (torch.zeros(1, 2, 2, dtype=torch.int64), ValueError, r"\(1, 2, 2\).*\[batch, 2\]"),
        (torch.tensor([[0, 5], [1, 1]]), ValueError, r"0\.\.5.*0\.\.4 for p=5"),
        (torch.tensor([[0, 4], [-1, 1]]), ValueError, r"-1\.\.4.*0\.\.4 for p=5"),
    ],
)
def test_tokens_that_are_not_pairs_are_refused(tokens, error, match):
    with pytest.raises(error, match=match):
        weights.check_tokens(tokens, P)


def test_pairs_are_handed_through():
    for tokens in (all_tokens(), torch.zeros(0, 2, dtype=torch.int64)):
        assert weights.check_tokens(tokens, P) is tokens


# Weights that do not fit


def with_tensor(model: MLPWeights, name: str, tensor: torch.Tensor) -> MLPWeights:
    """Past the constructor, whose shapes are checked too while tests run."""
    changed = replace(model)
    object.__setattr__(changed, name, tensor)
    return changed


def normal(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "tensor", "match"),
    [
        ("W_in", normal(2 * P, D_MLP), r"W_in has shape \[10, 7\].*\[2, p, d_mlp\].*reshape"),
        ("W_in", normal(3, P, D_MLP), r"W_in has shape \[3, 5, 7\].*\[2, p, d_mlp\]"),
        ("W_in", normal(2, 2, D_MLP), r"p=2 and d_mlp=7.*p >= 3"),
        ("W_in", normal(2, P, 0), r"d_mlp=0.*d_mlp >= 1"),
        ("W_out", normal(P, D_MLP), r"W_out has shape \[5, 7\], expected \[7, 5\].*transpose"),
        ("W_out", normal(4, D_MLP, P), r"W_out has shape \[4, 7, 5\], expected \[7, 5\]"),
        ("b_in", normal(P), r"b_in has shape \[5\], expected \[7\]"),
        ("b_out", normal(D_MLP), r"b_out has shape \[7\], expected \[5\]"),
        ("W_out", normal(D_MLP, P).float(), r"W_out has dtype torch.float32.*torch.float64"),
        ("W_in", normal(2, P, D_MLP).long(), r"W_in has dtype torch.int64"),
        ("W_in", normal(2, P, D_MLP) / 0, r"W_in holds 70 values .* of 70"),
        ("b_out", torch.tensor([0, math.nan, 0, math.inf, 0]).double(), r"b_out holds 2 .* of 5"),
    ],
)
def test_weights_that_do_not_fit_are_named(name, tensor, match):
    with pytest.raises(ValueError, match=match):
        weights.check_weights(with_tensor(network(), name, tensor))


def test_weights_that_fit_are_handed_through():
    for model in (network(), network(biases=False), network(2, 3)):
        assert weights.check_weights(model) is model


# Draws


def test_draws_fill_the_interval_and_a_seed_repeats_them():
    draws = [
        weights.draw("uniform", [100, 100], 25, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert draws[0].dtype == torch.float32
    assert 0.199 < draws[0].max().item() <= 0.2
    assert -0.2 <= draws[0].min().item() < -0.199
    assert draws[0].var().item() == pytest.approx(0.4**2 / 12, rel=0.05)


def test_a_draw_with_a_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    weights.draw("uniform", [4], 4, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_means_the_same_weights_whatever_the_default_dtype():
    expected = weights.draw("uniform", (3, 4), 9, torch.Generator().manual_seed(0))
    torch.set_default_dtype(torch.float64)
    try:
        found = weights.draw("uniform", (3, 4), 9, torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)
