"""The wrapped model: forward, hook names, caching, construction, and what it refuses."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grok_interp._compat import TRANSFORMER_LENS_VERSION, ActivationCache
from grok_interp.config import HookedMLPConfig
from grok_interp.hooked_mlp import HookedMLP, from_module
from grok_interp.tasks import ModularTask

if TRANSFORMER_LENS_VERSION >= (3, 0):
    from transformer_lens.utilities import get_act_name
else:  # pragma: no cover
    from transformer_lens.utils import get_act_name

P, D = 7, 12
ACTIVATION_HOOKS = {
    "hook_embed": (P * P, 2, D),
    "blocks.0.mlp.hook_pre": (P * P, D),
    "blocks.0.mlp.hook_post": (P * P, D),
    "blocks.0.hook_mlp_out": (P * P, P),
}
WEIGHT_HOOKS = {"blocks.0.mlp.hook_W_in": (2, P, D), "blocks.0.mlp.hook_W_out": (D, P)}
TASK = ModularTask(P)
DENSE_ACTIVATIONS = {
    "relu": lambda x: x.clamp(min=0),
    "quadratic": lambda x: x * x,
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "identity": lambda x: x,
}


@pytest.fixture
def model() -> HookedMLP:
    return HookedMLP(p=P, d_mlp=D, bias_in=True, bias_out=True, seed=3)


def one_hot(tokens: Tensor, p: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Concatenated one-hots ``[batch, 2 p]``, a first."""
    return F.one_hot(tokens, p).flatten(1).to(dtype)


def dense_logits(model: HookedMLP, tokens: Tensor) -> Tensor:
    """The forward pass of the papers, in float64 on dense one-hots."""
    W_in = model.W_in.detach().double()
    weight = torch.cat([W_in[0], W_in[-1]])
    pre = one_hot(tokens, model.cfg.p) @ weight
    if model.b_in is not None:
        pre = pre + model.b_in.detach().double()
    logits = DENSE_ACTIVATIONS[model.cfg.act_fn](pre) @ model.W_out.detach().double()
    logits = model.cfg.output_scale * logits
    return logits if model.b_out is None else logits + model.b_out.detach().double()


# Forward -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("act_fn", list(DENSE_ACTIVATIONS))
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"bias_in": True},
        {"bias_out": True, "output_scale": 0.25},
        {"bias_in": True, "bias_out": True, "tied_operands": True, "output_scale": -3.0},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_forward_is_the_dense_network_on_one_hots(act_fn: str, fields: dict) -> None:
    model = HookedMLP(p=P, d_mlp=D, act_fn=act_fn, seed=1, **fields)
    logits = model(TASK.tokens)
    tolerance = 1e-13 if model.cfg.dtype == "float64" else 1e-6
    assert logits.dtype == getattr(torch, model.cfg.dtype)
    torch.testing.assert_close(
        logits.double(), dense_logits(model, TASK.tokens), atol=tolerance, rtol=0
    )
    torch.testing.assert_close(
        model.weights().logits(TASK.tokens), logits, atol=tolerance, rtol=tolerance
    )


def test_operand_order_matters() -> None:
    model = HookedMLP(p=P, d_mlp=D, seed=0)
    tokens = torch.tensor([[1, 5]])
    pre = model.W_in[0, 1] + model.W_in[1, 5]
    _, cache = model.run_with_cache(tokens)
    assert torch.equal(cache["pre", 0][0], pre)
    assert not torch.allclose(model(tokens), model(tokens.flip(1)))


def test_return_types(model: HookedMLP) -> None:
    tokens, labels = TASK.tokens, TASK.labels
    logits = dense_logits(model, tokens)
    expected = -logits.log_softmax(-1)[torch.arange(len(labels)), labels].mean()
    loss = model(tokens, labels, return_type="loss")
    both_logits, both_loss = model(tokens, labels, return_type="both")
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert torch.equal(both_logits, model(tokens))
    assert torch.equal(both_loss, loss)
    with pytest.raises(ValueError, match="needs labels"):
        model(tokens, return_type="loss")
    with pytest.raises(ValueError, match="return_type='prob'"):
        model(tokens, labels, return_type="prob")


@pytest.mark.parametrize("p", [3, 4, 59])
def test_tied_operands_share_one_embedding(p: int) -> None:
    model = HookedMLP(p=p, d_mlp=D, tied_operands=True, seed=0)
    assert model.W_in.shape == (1, p, D)
    assert model.weights().W_in.shape == (2, p, D)
    tokens = ModularTask(p).tokens
    assert torch.equal(model(tokens), model(tokens.flip(1)))
    model(tokens).square().sum().backward()
    untied = HookedMLP.from_weights(model.weights().W_in.detach(), model.W_out.detach())
    untied(tokens).square().sum().backward()
    torch.testing.assert_close(model.W_in.grad[0], untied.W_in.grad.sum(0))


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ([[0, 1]], TypeError, "to_tokens"),
        (torch.tensor([[0, 1]], dtype=torch.int32), TypeError, "torch.int32"),
        (torch.eye(2 * P), TypeError, "one-hot"),
        (torch.tensor([0, 1]), ValueError, r"shape \(2,\)"),
        (torch.zeros(4, 3, dtype=torch.int64), ValueError, r"shape \(4, 3\)"),
        (torch.tensor([[0, P]]), ValueError, f"{P}, expected 0..{P - 1}"),
        (torch.tensor([[-1, 0]]), ValueError, "-1..0"),
    ],
)
def test_bad_tokens_are_refused(
    model: HookedMLP, unchecked: None, bad: object, error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        model(bad)


def test_to_tokens(model: HookedMLP) -> None:
    expected = torch.tensor([[1, 2], [3, 4]])
    for pairs in (
        [(1, 2), (3, 4)],
        np.array([[1, 2], [3, 4]], dtype=np.int32),
        expected.to(torch.uint8),
    ):
        tokens = model.to_tokens(pairs)
        assert tokens.dtype == torch.int64
        assert torch.equal(tokens, expected)
    assert torch.equal(model.to_tokens((5, 6)), torch.tensor([[5, 6]]))
    for bad in ([(0.5, 1.0)], [(True, False)], torch.ones(1, 2)):
        with pytest.raises(TypeError, match="whole numbers"):
            model.to_tokens(bad)
    with pytest.raises(ValueError, match=f"expected 0..{P - 1}"):
        model.to_tokens((0, P))


# Hook points -------------------------------------------------------------------------------------


def test_hook_and_parameter_names(model: HookedMLP) -> None:
    assert set(model.hook_dict) == set(ACTIVATION_HOOKS) | set(WEIGHT_HOOKS)
    assert {name: tuple(t.shape) for name, t in model.named_parameters()} == {
        "blocks.0.mlp.W_in": (2, P, D),
        "blocks.0.mlp.W_out": (D, P),
        "blocks.0.mlp.b_in": (D,),
        "blocks.0.mlp.b_out": (P,),
    }
    bare = HookedMLP(p=P, d_mlp=D)
    assert [name for name, _ in bare.named_parameters()] == [
        "blocks.0.mlp.W_in",
        "blocks.0.mlp.W_out",
    ]
    assert bare.b_in is None
    assert bare.b_out is None


def test_cached_activations_are_the_steps_of_the_equation(model: HookedMLP) -> None:
    logits, cache = model.run_with_cache(TASK.tokens)
    a, b = TASK.tokens.unbind(1)
    embed = torch.stack([model.W_in[0][a], model.W_in[1][b]], 1)
    assert {name: tuple(t.shape) for name, t in cache.items()} == ACTIVATION_HOOKS
    assert torch.equal(cache["hook_embed"], embed)
    pre = embed.sum(1) + model.b_in
    torch.testing.assert_close(cache["pre", 0], pre)
    assert torch.equal(cache["post", 0], cache["pre", 0].relu())
    assert torch.equal(cache["mlp_out", 0], logits)
    assert get_act_name("post", 0) in cache
    for name in ("pre", "post", "mlp_out"):
        assert get_act_name(name, 0) in ACTIVATION_HOOKS


def tl_hook(model: HookedMLP, seen: list) -> None:
    model.hook_embed.add_hook(lambda tensor, hook: seen.append(tensor))


def plain_forward_hook(model: HookedMLP, seen: list) -> None:
    model.hook_embed.register_forward_hook(lambda module, args, out: seen.append(out))


def plain_backward_hook(model: HookedMLP, seen: list) -> None:
    model.hook_embed.register_full_backward_hook(lambda module, grad, out: seen.append(out[0]))


@pytest.mark.parametrize("attach", [tl_hook, plain_forward_hook, plain_backward_hook])
@pytest.mark.parametrize("tied", [False, True])
def test_hook_embed_is_made_only_when_wanted_and_changes_no_bit(
    attach, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = HookedMLP(p=P, d_mlp=D, bias_in=True, tied_operands=tied, seed=0)
    calls: list[torch.Size] = []
    forward = model.hook_embed.forward
    monkeypatch.setattr(model.hook_embed, "forward", lambda x: calls.append(x.shape) or forward(x))

    plain = model(TASK.tokens)
    assert calls == []
    plain.square().sum().backward()
    gradient = model.W_in.grad.clone()
    model.zero_grad()

    seen: list[Tensor] = []
    attach(model, seen)
    hooked = model(TASK.tokens)
    hooked.square().sum().backward()
    assert calls == [torch.Size([P * P, 2, D])]
    assert len(seen) == 1
    assert seen[0].shape == (P * P, 2, D)
    assert torch.equal(hooked, plain)
    torch.testing.assert_close(model.W_in.grad, gradient)


@pytest.mark.parametrize("operand", [0, 1])
def test_hook_embed_can_be_patched(operand: int) -> None:
    """Zeroing one operand's embedding leaves a network of the other alone."""
    model = HookedMLP(p=P, d_mlp=D, seed=0)

    def silence(embed: Tensor, hook: object) -> Tensor:
        kept = embed.clone()
        kept[:, operand] = 0
        return kept

    patched = model.run_with_hooks(TASK.tokens, fwd_hooks=[("hook_embed", silence)])
    other = TASK.tokens[:, 1 - operand]
    torch.testing.assert_close(patched, model.W_in[1 - operand][other].relu() @ model.W_out)
    assert not model.hook_embed._forward_hooks


# Caching -----------------------------------------------------------------------------------------


def test_run_with_cache_gives_a_cache_object_or_a_dict(model: HookedMLP) -> None:
    _, cache = model.run_with_cache(TASK.tokens)
    assert isinstance(cache, ActivationCache)
    logits, plain = model.run_with_cache(TASK.tokens, return_cache_object=False)
    assert type(plain) is dict
    assert plain.keys() == cache.keys()
    assert torch.equal(logits, model(TASK.tokens))
    for point in model.hook_dict.values():
        assert not point._forward_hooks, "caching hooks stay behind"


@pytest.mark.parametrize(
    ("names_filter", "expected"),
    [
        (None, set(ACTIVATION_HOOKS)),
        ("blocks.0.mlp.hook_post", {"blocks.0.mlp.hook_post"}),
        ("blocks.0.mlp.hook_W_in", {"blocks.0.mlp.hook_W_in"}),
        (["hook_embed", "blocks.0.mlp.hook_W_out"], {"hook_embed", "blocks.0.mlp.hook_W_out"}),
        ([], set()),
        (lambda name: "mlp" in name, (set(ACTIVATION_HOOKS) | set(WEIGHT_HOOKS)) - {"hook_embed"}),
    ],
)
def test_names_filter(model: HookedMLP, names_filter, expected: set[str]) -> None:
    _, cache = model.run_with_cache(TASK.tokens, names_filter=names_filter)
    assert set(cache.keys()) == expected
    added = model.add_caching_hooks(names_filter)
    model(TASK.tokens)
    assert set(added) == expected
    model.reset_hooks()
    _, forward, backward = model.get_caching_hooks(names_filter)
    assert {name for name, _ in forward} == expected
    assert backward == []


def test_cached_weights_are_the_weights(model: HookedMLP) -> None:
    _, cache = model.run_with_cache(TASK.tokens, names_filter=list(WEIGHT_HOOKS))
    assert torch.equal(cache["blocks.0.mlp.hook_W_in"], model.W_in)
    assert torch.equal(cache["blocks.0.mlp.hook_W_out"], model.W_out)


@pytest.mark.parametrize(
    ("names_filter", "words"),
    [
        (("hook_embed",), "names_filter is a tuple"),
        ("hook_embd", "'hook_embd' is unknown"),
        (["hook_embed", "blocks.1.mlp.hook_post"], "'blocks.1.mlp.hook_post' is unknown"),
    ],
)
@pytest.mark.parametrize("method", ["run_with_cache", "add_caching_hooks", "get_caching_hooks"])
def test_bad_names_filter(model: HookedMLP, method: str, names_filter, words: str) -> None:
    args = (TASK.tokens,) if method == "run_with_cache" else ()
    with pytest.raises(ValueError, match=words):
        getattr(model, method)(*args, names_filter=names_filter)


def test_pos_slice_is_refused(model: HookedMLP) -> None:
    with pytest.raises(ValueError, match="which is the batch here"):
        model.run_with_cache(TASK.tokens, pos_slice=-1)
    with pytest.raises(ValueError, match="which is the batch here"):
        model.get_caching_hooks(None, pos_slice=-1)
    with pytest.raises(ValueError, match="which is the batch here"):
        model.get_caching_hooks(None, False, None, False, None, -1)


@pytest.mark.parametrize("weight", list(WEIGHT_HOOKS))
@pytest.mark.parametrize("as_function", [False, True])
def test_weights_are_not_sliced_as_a_batch(
    model: HookedMLP, weight: str, as_function: bool
) -> None:
    wanted = (lambda name: name in (weight, "hook_embed")) if as_function else weight
    with pytest.raises(ValueError, match="no batch axis"):
        model.run_with_cache(TASK.tokens[:1], names_filter=wanted, remove_batch_dim=True)
    with pytest.raises(ValueError, match="no batch axis"):
        model.add_caching_hooks(wanted, False, None, True)
    _, cache = model.run_with_cache(TASK.tokens, names_filter=wanted)
    with pytest.raises(ValueError, match="no batch axis"):
        cache.apply_slice_to_batch_dim(0)


def test_batch_slicing_of_activations(model: HookedMLP) -> None:
    _, whole = model.run_with_cache(TASK.tokens)
    _, single = model.run_with_cache(TASK.tokens[5:6], remove_batch_dim=True)
    sliced = whole.apply_slice_to_batch_dim(slice(5, 9))
    for name, values in whole.items():
        torch.testing.assert_close(single[name], values[5])
        assert torch.equal(sliced[name], values[5:9])


def test_gradient_caches_are_autograds(model: HookedMLP) -> None:
    tokens, labels = TASK.tokens, TASK.labels
    loss, cache = model.run_with_cache(tokens, labels, return_type="loss", incl_bwd=True)
    embed = torch.stack([model.W_in[0][tokens[:, 0]], model.W_in[1][tokens[:, 1]]], 1)
    embed = embed.detach().requires_grad_()
    pre = embed.sum(1) + model.b_in
    post = pre.relu()
    logits = post @ model.W_out + model.b_out
    expected_loss = F.cross_entropy(logits, labels)
    expected = torch.autograd.grad(expected_loss, [embed, pre, post, logits])
    assert loss.item() == pytest.approx(expected_loss.item())
    for name, gradient in zip(ACTIVATION_HOOKS, expected, strict=True):
        torch.testing.assert_close(cache[f"{name}_grad"], gradient, atol=1e-8, rtol=1e-4)
    assert not any(name.endswith(("W_in_grad", "W_out_grad")) for name in cache.cache_dict)


def test_hooks_nest(model: HookedMLP) -> None:
    """A doubled activation inside a zeroed bias: the outer hook returns when the inner ends."""

    def double(post: Tensor, hook: object) -> Tensor:
        return 2 * post

    def minus_bias(logits: Tensor, hook: object) -> Tensor:
        return logits - model.b_out

    plain = model(TASK.tokens)
    post = "blocks.0.mlp.hook_post"
    with model.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", minus_bias)]):
        outer = model(TASK.tokens)
        with model.hooks(fwd_hooks=[(post, double)]):
            inner = model(TASK.tokens)
        assert torch.equal(model(TASK.tokens), outer)
    torch.testing.assert_close(outer, plain - model.b_out)
    torch.testing.assert_close(inner, 2 * outer, atol=1e-6, rtol=1e-5)
    assert torch.equal(model(TASK.tokens), plain)


def test_ablating_a_neuron_is_removing_its_row(model: HookedMLP) -> None:
    def ablate(post: Tensor, hook: object) -> Tensor:
        return post * (torch.arange(D) != 4)

    ablated = model.run_with_hooks(TASK.tokens, fwd_hooks=[("blocks.0.mlp.hook_post", ablate)])
    kept = [neuron for neuron in range(D) if neuron != 4]
    smaller = HookedMLP.from_weights(
        model.W_in.detach()[..., kept], model.W_out.detach()[kept], model.b_in[kept].detach(),
        model.b_out.detach(),
    )  # fmt: skip
    torch.testing.assert_close(ablated, smaller(TASK.tokens))


# Parameters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "d_mlp"), [(3, 400), (59, 64), (20, 5)])
def test_initial_weights_are_uniform_in_one_over_root_fan_in(p: int, d_mlp: int) -> None:
    model = HookedMLP(p=p, d_mlp=d_mlp, bias_in=True, bias_out=True, seed=5)
    for name, fan_in in (("W_in", 2 * p), ("b_in", 2 * p), ("W_out", d_mlp), ("b_out", d_mlp)):
        values = getattr(model, name).detach() * math.sqrt(fan_in)
        assert float(values.abs().max()) <= 1 + 1e-6
        if values.numel() > 1000:  # mean 0, variance 1/3, and the bound is nearly reached
            assert abs(float(values.mean())) < 4 / math.sqrt(3 * values.numel())
            assert float(values.square().mean()) == pytest.approx(1 / 3, rel=0.1)
            assert float(values.abs().max()) > 0.99


def test_a_seed_means_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again = HookedMLP(p=P, d_mlp=D, seed=9), HookedMLP(p=P, d_mlp=D, seed=9)
    other, double = (
        HookedMLP(p=P, d_mlp=D, seed=10),
        HookedMLP(p=P, d_mlp=D, seed=9, dtype="float64"),
    )
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])
        assert torch.equal(value, double.state_dict()[name].float())


def test_reset_parameters_follows_a_generator_or_manual_seed() -> None:
    model = HookedMLP(p=P, d_mlp=D, seed=9)
    expected = model.W_out.detach().clone()
    model.reset_parameters()
    assert not torch.equal(model.W_out, expected)
    model.reset_parameters(torch.Generator().manual_seed(9))
    assert torch.equal(model.W_out, expected)
    torch.manual_seed(4)
    model.reset_parameters()
    drawn = [model.W_in.detach().clone(), model.W_out.detach().clone()]
    torch.manual_seed(4)
    model.mlp.reset_parameters()
    assert torch.equal(model.W_in, drawn[0])
    assert torch.equal(model.W_out, drawn[1])
    assert model.cfg.seed is None
    with pytest.raises(ValueError, match="seed=None: a new model needs a seed"):
        HookedMLP(p=P, d_mlp=D, seed=None)


def test_config_follows_to(model: HookedMLP) -> None:
    assert model.double().cfg.dtype == "float64"
    assert model.W_in.dtype == torch.float64
    assert model.to(torch.float32).cfg == HookedMLPConfig(
        p=P, d_mlp=D, bias_in=True, bias_out=True, seed=3
    )
    assert model.to("cpu").cfg.device == "cpu"
    assert model.to("meta").cfg.device == "meta"


def test_config_errors() -> None:
    with pytest.raises(ValueError, match="unknown keys 'd_mpl'"):
        HookedMLP(p=P, d_mpl=D)
    with pytest.raises(ValueError, match="got a config and also d_mlp"):
        HookedMLP(HookedMLPConfig(p=P), d_mlp=D)
    with pytest.raises(ValueError, match="act_fn='tanh' is unknown"):
        HookedMLP(p=P, act_fn="tanh")
    with pytest.raises(ValueError, match="from_weights"):
        HookedMLP(p=P, act_fn="custom")


def test_state_dict_round_trip_and_functional_call(model: HookedMLP) -> None:
    other = HookedMLP(p=P, d_mlp=D, bias_in=True, bias_out=True, seed=4)
    called = torch.func.functional_call(other, model.state_dict(), (TASK.tokens,))
    assert torch.equal(called, model(TASK.tokens))
    assert not torch.equal(other(TASK.tokens), model(TASK.tokens))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(TASK.tokens), model(TASK.tokens))


def test_deepcopy_keeps_user_hooks_and_shares_nothing(model: HookedMLP) -> None:
    post = "blocks.0.mlp.hook_post"
    calls: list[str] = []
    model.add_perma_hook(post, lambda tensor, hook: calls.append("permanent"))
    model.add_hook(post, lambda tensor, hook: calls.append("plain") or 2 * tensor)
    clone = copy.deepcopy(model)
    expected = model(TASK.tokens)
    calls.clear()
    assert torch.equal(clone(TASK.tokens), expected)
    assert calls == ["permanent", "plain"]
    clone.reset_hooks()
    calls.clear()
    assert torch.equal(model(TASK.tokens), expected)
    assert calls == ["permanent", "plain"]
    with torch.no_grad():
        clone.W_in.zero_()
    assert torch.equal(model(TASK.tokens), expected)


# Construction ------------------------------------------------------------------------------------


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (nn.ReLU(), "relu"),
        (nn.Identity(), "identity"),
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "custom"),
        (nn.Tanh(), "custom"),
        (Cube(), "custom"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("bias", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("flatten", [False, True])
def test_from_module_has_the_modules_logits(act, name: str, bias, flatten: bool) -> None:
    layers = [nn.Linear(2 * P, D, bias=bias[0]), act, nn.Linear(D, P, bias=bias[1])]
    module = nn.Sequential(*([nn.Flatten()] if flatten else []), *layers)
    model = from_module(module, p=P)
    assert model.cfg.act_fn == name
    hot = one_hot(TASK.tokens, P, torch.float32)
    if flatten:
        hot = hot.reshape(-1, 2, P)
    torch.testing.assert_close(model(TASK.tokens), module(hot))
    before = model(TASK.tokens)
    with torch.no_grad():
        layers[0].weight.zero_()
    assert torch.equal(model(TASK.tokens), before), "the weights were not copied"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Linear(14, 5), nn.Linear(5, 7)), "got Linear, Linear, expected"),
        (nn.Linear(14, 7), "got Linear, expected"),
        (
            nn.Sequential(nn.Linear(14, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 7)),
            "from_weights",
        ),
        (nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 7)), "maps 7 inputs to 7 classes"),
        (nn.Sequential(nn.Linear(14, 5), nn.ReLU(), nn.Linear(5, 8)), "14 inputs to 8 classes"),
    ],
)
def test_from_module_refuses_other_networks(module: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_module(module, p=P)


def test_from_weights_copies_and_says_no_seed() -> None:
    source = HookedMLP(p=P, d_mlp=D, bias_in=True, seed=0).double()
    W_in, W_out = source.W_in.detach().clone(), source.W_out.detach().clone()
    model = HookedMLP.from_weights(W_in, W_out, source.b_in.detach(), output_scale=2.0)
    assert model.cfg == HookedMLPConfig(
        p=P, d_mlp=D, bias_in=True, seed=None, dtype="float64", output_scale=2.0
    )
    torch.testing.assert_close(model(TASK.tokens), 2 * source(TASK.tokens))
    W_in.zero_()
    assert torch.equal(model.W_in, source.W_in)


@pytest.mark.parametrize("axes", [2, 3])
def test_from_weights_tied(axes: int) -> None:
    W_in = torch.randn(1, P, D, generator=torch.Generator().manual_seed(0))
    W_out = W_in[0].T.contiguous()
    tied = HookedMLP.from_weights(W_in if axes == 3 else W_in[0], W_out, tied_operands=True)
    assert tied.W_in.shape == (1, P, D)
    free = HookedMLP.from_weights(W_in.expand(2, -1, -1), W_out)
    assert torch.equal(tied(TASK.tokens), free(TASK.tokens))


def test_from_weights_takes_a_callable() -> None:
    source = HookedMLP(p=P, d_mlp=D, seed=0)
    W_in, W_out = source.W_in.detach(), source.W_out.detach()
    model = HookedMLP.from_weights(W_in, W_out, act_fn=torch.square)
    quadratic = HookedMLP.from_weights(W_in, W_out, act_fn="quadratic")
    assert model.cfg.act_fn == "custom"
    assert torch.equal(model(TASK.tokens), quadratic(TASK.tokens))
    assert torch.equal(model.weights().logits(TASK.tokens), model(TASK.tokens).detach())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"W_out": torch.zeros(P, D)}, r"W_out has shape \[7, 12\], expected \[12, 7\].*transpose"),
        (
            {"W_in": torch.zeros(2 * P, D)},
            r"W_in has shape \[14, 12\].*, \[2\*p, d_mlp\]: W_in.reshape\(2, p, d_mlp\)",
        ),
        (
            {"W_in": torch.zeros(D, 2 * P)},
            r"W_in has shape \[12, 14\].*nn.Linear's \[d_mlp, 2\*p\]: W.T.reshape\(2, p, d_mlp\)",
        ),
        ({"W_in": torch.zeros(3, P, D)}, r"W_in has shape \[3, 7, 12\]"),
        ({"b_in": torch.zeros(P)}, r"b_in has shape \[7\], expected \[12\]"),
        ({"b_out": torch.zeros(D)}, r"b_out has shape \[12\], expected \[7\]"),
        ({"W_in": torch.full((2, P, D), math.nan)}, "W_in holds 168 values"),
        ({"b_out": torch.tensor([math.inf] + [0.0] * (P - 1))}, "b_out holds 1 values"),
        ({"W_out": torch.zeros(D, P, dtype=torch.float64)}, "W_out has dtype torch.float64"),
        ({"W_in": torch.zeros(2, P, D, dtype=torch.int64)}, "dtype"),
        (
            {"W_in": torch.zeros(4, 2, P, D), "W_out": torch.zeros(4, D, P)},
            r"\[4, 2, 7, 12\].*one model at a time",
        ),
        ({"tied_operands": True}, r"expected \[1, p, d_mlp\] with tied_operands"),
        ({"act_fn": "tanh"}, "act_fn='tanh' is unknown"),
    ],
)
def test_from_weights_errors(unchecked: None, change: dict, words: str) -> None:
    given = {"W_in": torch.zeros(2, P, D), "W_out": torch.zeros(D, P)} | change
    with pytest.raises(ValueError, match=words):
        HookedMLP.from_weights(**given)
