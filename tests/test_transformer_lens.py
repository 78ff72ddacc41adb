"""What TransformerLens and torch users do with any hooked model, each by the value that it gives."""

import copy
from functools import partial

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformer_lens import patching

from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

P, D = 7, 12
TASK = ModularTask(P)
EMBED, PRE = "hook_embed", "blocks.0.mlp.hook_pre"
POST, OUT = "blocks.0.mlp.hook_post", "blocks.0.hook_mlp_out"
ACTIVATIONS = (EMBED, PRE, POST, OUT)
W_IN, W_OUT = "blocks.0.mlp.hook_W_in", "blocks.0.mlp.hook_W_out"


@pytest.fixture
def model() -> HookedMLP:
    return HookedMLP(p=P, d_mlp=D, bias_in=True, bias_out=True, seed=3, dtype="float64")


def logits_of(post: Tensor, model: HookedMLP) -> Tensor:
    return post @ model.W_out + model.b_out


def posts(model: HookedMLP) -> Tensor:
    a, b = TASK.tokens.unbind(1)
    return (model.W_in[0][a] + model.W_in[1][b] + model.b_in).relu().detach()


def gradients(model: HookedMLP) -> dict[str, Tensor]:
    """Gradients of the loss on all pairs at the parameters, through the hooks now attached."""
    model.zero_grad()
    model(TASK.tokens, TASK.labels, return_type="loss").backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


# Hooks -------------------------------------------------------------------------------------------


def add_one(post: Tensor, hook: object) -> Tensor:
    return post + 1


def double(post: Tensor, hook: object) -> Tensor:
    return 2 * post


@pytest.mark.parametrize(
    ("prepend", "expected"), [(False, lambda x: 2 * (x + 1)), (True, lambda x: 2 * x + 1)]
)
def test_prepend_puts_a_hook_first(model: HookedMLP, prepend: bool, expected) -> None:
    model.add_hook(POST, add_one)
    model.add_hook(POST, double, prepend=prepend)
    torch.testing.assert_close(model(TASK.tokens), logits_of(expected(posts(model)), model))


def test_a_hook_is_added_at_every_name_that_a_function_accepts(model: HookedMLP) -> None:
    seen = []
    model.add_hook(lambda name: name.startswith("blocks"), lambda x, hook: seen.append(hook.name))
    model(TASK.tokens)
    assert sorted(seen) == sorted([PRE, POST, OUT, W_IN, W_OUT])


def test_levels_are_removed_one_by_one(model: HookedMLP) -> None:
    """Without a level 3 times, at level 1 5 times, at level 2 7 times the activation."""
    for level, factor in ((None, 3), (1, 5), (2, 7)):
        model.add_hook(POST, lambda x, hook, factor=factor: factor * x, level=level)
    post = posts(model)

    def factor() -> float:
        logits = (model(TASK.tokens) - model.b_out).detach()
        found = (logits / (post @ model.W_out).detach()).mean()
        torch.testing.assert_close(logits, found * (post @ model.W_out))
        return float(found)

    assert factor() == pytest.approx(3 * 5 * 7)
    model.reset_hooks(level=2)
    assert factor() == pytest.approx(3 * 5)
    # The block is of level 1: on its way out it takes the user's hook of that level along, as in
    # every HookedRootModule, and no other.
    with model.hooks(fwd_hooks=[(POST, lambda x, hook: 11 * x)]):
        assert factor() == pytest.approx(3 * 5 * 11)
    assert factor() == pytest.approx(3)
    model.reset_hooks()
    assert factor() == pytest.approx(1)


def test_permanent_hooks_outlive_a_reset_unless_asked_for(model: HookedMLP) -> None:
    plain, doubled = model(TASK.tokens), logits_of(2 * posts(model), model)
    model.add_perma_hook(POST, double)
    with model.hooks(fwd_hooks=[(POST, add_one)]):
        torch.testing.assert_close(model(TASK.tokens), logits_of(2 * posts(model) + 1, model))
    model.reset_hooks()
    torch.testing.assert_close(model(TASK.tokens), doubled)
    model.reset_hooks(including_permanent=True)
    assert torch.equal(model(TASK.tokens), plain)


def test_hooks_share_their_points_context(model: HookedMLP) -> None:
    """A hook at post hands its tensor to one at the logits, as TransformerLens demos do."""

    def keep(post: Tensor, hook) -> None:
        hook.ctx["post"] = post

    def rank_one(logits: Tensor, hook) -> Tensor:
        return model.hook_dict[POST].ctx["post"][:, :1] * torch.ones_like(logits)

    out = model.run_with_hooks(TASK.tokens, fwd_hooks=[(POST, keep), (OUT, rank_one)])
    torch.testing.assert_close(out, posts(model)[:, :1].expand(-1, P))


# Backward hooks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("operand", [0, 1])
@pytest.mark.parametrize("as_tuple", [True, False])
def test_a_gradient_at_hook_embed_can_be_edited(
    model: HookedMLP, operand: int, as_tuple: bool
) -> None:
    """Stopping one operand's gradient leaves that of all other parameters as it was."""
    plain = gradients(model)

    def stop(gradient: Tensor, hook: object):
        kept = gradient.clone()
        kept[:, operand] = 0
        return (kept,) if as_tuple else kept

    model.add_hook(EMBED, stop, dir="bwd")
    edited = gradients(model)
    W_in = plain.pop("blocks.0.mlp.W_in")
    assert not edited["blocks.0.mlp.W_in"][operand].any()
    torch.testing.assert_close(edited["blocks.0.mlp.W_in"][1 - operand], W_in[1 - operand])
    assert W_in[operand].any()
    for name, gradient in plain.items():
        assert torch.equal(edited[name], gradient), name
    model.reset_hooks()
    torch.testing.assert_close(gradients(model)["blocks.0.mlp.W_in"], W_in)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_backward_hook_scales_what_lies_before_it(model: HookedMLP, name: str) -> None:
    plain = gradients(model)
    with model.hooks(bwd_hooks=[(name, lambda gradient, hook: (3 * gradient,))]):
        scaled = gradients(model)
    before = {"W_in"} | ({"b_in"} if name != EMBED else set())
    before |= {"W_out", "b_out"} if name == OUT else set()
    for parameter, gradient in plain.items():
        factor = 3 if parameter.rpartition(".")[2] in before else 1
        torch.testing.assert_close(scaled[parameter], factor * gradient)


@pytest.mark.parametrize(("name", "parameter"), [(W_IN, "W_in"), (W_OUT, "W_out")])
def test_gradients_at_weight_hooks_are_the_parameters(
    model: HookedMLP, name: str, parameter: str
) -> None:
    plain = gradients(model)[f"blocks.0.mlp.{parameter}"]
    model.zero_grad()
    _, cache = model.run_with_cache(
        TASK.tokens, TASK.labels, return_type="loss", incl_bwd=True, names_filter=name
    )
    assert set(cache.keys()) == {name, f"{name}_grad"}
    torch.testing.assert_close(cache[f"{name}_grad"], plain)


# Bits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [3, 8, 9, 13])
@pytest.mark.parametrize("fields", [{}, {"bias_in": True}, {"tied_operands": True}], ids=str)
def test_cached_or_not_the_bits_are_those_of_plain_functions(p: int, fields: dict) -> None:
    model, task = HookedMLP(p=p, d_mlp=33, seed=1, **fields), ModularTask(p)
    a, b = task.tokens.unbind(1)
    pre = F.embedding(a, model.W_in[0]) + F.embedding(b, model.W_in[-1])
    pre = pre if model.b_in is None else pre + model.b_in
    expected = pre.relu() @ model.W_out
    logits, cache = model.run_with_cache(task.tokens)
    assert torch.equal(model(task.tokens), expected)
    assert torch.equal(logits, expected)
    assert torch.equal(cache["pre", 0], pre)
    assert torch.equal(cache[EMBED][:, 0], model.W_in[0][a])
    assert torch.equal(cache[EMBED][:, 1], model.W_in[-1][b])


# Caches ------------------------------------------------------------------------------------------


def test_a_cache_of_one_pair_loses_its_batch_axis_and_gradients_do_too(model: HookedMLP) -> None:
    tokens, labels = TASK.tokens[5:6], TASK.labels[5:6]
    arguments = {"return_type": "loss", "incl_bwd": True}
    loss, whole = model.run_with_cache(tokens, labels, **arguments)
    again, single = model.run_with_cache(tokens, labels, remove_batch_dim=True, **arguments)
    assert torch.equal(loss, again)
    assert set(single.keys()) == {*ACTIVATIONS, *(f"{name}_grad" for name in ACTIVATIONS)}
    assert whole.has_batch_dim
    assert not single.has_batch_dim
    for name, values in whole.items():
        assert torch.equal(single[name], values[0]), name
    assert single[EMBED].shape == (2, D)
    assert single["mlp_out", 0].shape == (P,)
    added = model.add_caching_hooks(incl_bwd=True, remove_batch_dim=True)
    model(tokens, labels, return_type="loss").backward()
    assert added.keys() == single.cache_dict.keys()
    for name, values in added.items():
        assert torch.equal(values, single[name]), name


@pytest.mark.parametrize("tokens", [TASK.tokens[:2], TASK.tokens[:0]], ids=["two", "none"])
def test_the_batch_axis_of_more_than_one_pair_is_not_dropped(model: HookedMLP, tokens) -> None:
    words = f"batch of {len(tokens)}, expected a batch of one"
    with pytest.raises(ValueError, match=words):
        model.run_with_cache(tokens, remove_batch_dim=True)
    with pytest.raises(ValueError, match=words):
        model.run_with_cache(tokens=tokens, remove_batch_dim=True)
    assert not any(point._forward_hooks for point in model.hook_points())
    model.add_caching_hooks(remove_batch_dim=True)
    with pytest.raises(ValueError, match=words):
        model(tokens)


def test_a_given_cache_is_filled_and_only_as_far_as_filtered(model: HookedMLP) -> None:
    mine: dict[str, Tensor] = {"before": torch.ones(1)}
    assert model.add_caching_hooks(POST, cache=mine) is mine
    model(TASK.tokens)
    assert set(mine) == {"before", POST}
    assert torch.equal(mine[POST], posts(model))
    model.reset_hooks()
    stored, forward, _ = model.get_caching_hooks([PRE], cache={})
    model.run_with_hooks(TASK.tokens[:3], fwd_hooks=forward)
    assert torch.equal(stored[PRE].relu(), posts(model)[:3])


@pytest.mark.parametrize("method", ["run_with_cache", "add_caching_hooks"])
def test_activations_are_cached_on_the_device_asked_for(model: HookedMLP, method: str) -> None:
    if method == "run_with_cache":
        logits, cache = model.run_with_cache(TASK.tokens, device="meta")
    else:
        cache = model.add_caching_hooks(device="meta")
        logits = model(TASK.tokens)
    assert torch.equal(logits, logits_of(posts(model), model))
    assert {name: (each.device.type, each.dtype) for name, each in cache.items()} == dict.fromkeys(
        ACTIVATIONS, ("meta", torch.float64)
    )
    assert cache[EMBED].shape == (P * P, 2, D)


@pytest.mark.parametrize("batch", [3, slice(2, 20, 5), [4, 1]], ids=str)
def test_slicing_a_cache_is_running_the_slice(model: HookedMLP, batch) -> None:
    _, whole = model.run_with_cache(TASK.tokens)
    sliced = whole.apply_slice_to_batch_dim(batch)
    tokens = TASK.tokens[batch]
    _, direct = model.run_with_cache(tokens if tokens.ndim == 2 else tokens[None])
    assert sliced.has_batch_dim is not isinstance(batch, int)
    for name, values in sliced.items():
        expected = direct[name][0] if isinstance(batch, int) else direct[name]
        torch.testing.assert_close(values, expected)


def test_a_cache_sees_what_earlier_hooks_made_and_the_plain_one_returns(model: HookedMLP) -> None:
    model.add_hook(POST, double)
    _, cache = model.run_with_cache(TASK.tokens, names_filter=[PRE, POST])
    torch.testing.assert_close(cache["post", 0], 2 * cache["pre", 0].relu())
    model.reset_hooks()
    _, cache = model.run_with_cache(TASK.tokens, names_filter=[PRE, POST])
    assert torch.equal(cache["post", 0], cache["pre", 0].relu())


# Patching ----------------------------------------------------------------------------------------


def test_generic_activation_patch_is_patching_by_hand(model: HookedMLP) -> None:
    """Each neuron of (a, b) put into (a', b') adds its change times its row of W_out."""
    model.eval()
    clean, corrupted = TASK.tokens[:5], TASK.tokens[20:25]
    _, cache = model.run_with_cache(clean)

    def neuron(activation: Tensor, index: list, clean_activation: Tensor) -> Tensor:
        patched = activation.clone()
        patched[:, index[1]] = clean_activation[:, index[1]]
        return patched

    found = patching.generic_activation_patch(
        model,
        corrupted,
        cache,
        lambda logits: logits[:, 2].mean(),
        neuron,
        "post",
        index_df=pd.DataFrame({"layer": [0] * D, "neuron": range(D)}),
    )
    post, n = posts(model), slice(20, 25)
    base = logits_of(post[n], model)[:, 2].mean().detach()
    expected = (base + (post[:5] - post[n]).mean(0) * model.W_out[:, 2]).detach()
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    assert float((expected - base).abs().max()) > 1e-3


@pytest.mark.needs_transformer_lens_4
def test_interchanging_neurons_is_exchanging_their_activations(model: HookedMLP) -> None:
    from transformer_lens.tools.analysis import interchange

    model = model.float().eval()
    base, source = torch.arange(10), torch.arange(30, 40)
    activations = interchange.collect_activations(model, POST, TASK.tokens[source], model)
    post, chosen = posts(model), [1, 4, 7]
    torch.testing.assert_close(activations, post[source])
    found = interchange.intervened_logits(
        model,
        POST,
        interchange.SubspaceInterchange(interchange.neuron_basis(D, chosen)),
        TASK.tokens[base],
        activations,
        model,
    )
    mixed = post[base]
    mixed[:, chosen] = post[source][:, chosen]
    torch.testing.assert_close(found, logits_of(mixed, model).detach(), atol=1e-5, rtol=0)


@pytest.mark.needs_transformer_lens_4
def test_reinitialized_draws_all_parameters_and_not_from_torchs_generator(model: HookedMLP) -> None:
    from transformer_lens.tools.analysis import interchange

    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, again, other = (interchange.reinitialized(model, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(first.state_dict()[name], again.state_dict()[name])
        assert not torch.isclose(first.state_dict()[name], value).any()
        assert not torch.isclose(first.state_dict()[name], other.state_dict()[name]).any()
        bound = (2 * P if name.endswith("_in") else D) ** -0.5
        assert float(first.state_dict()[name].abs().max()) <= bound
    assert first.cfg.seed is None


@pytest.mark.needs_transformer_lens_4
def test_list_hooks_names_a_scopes_hooks_and_none_after_it(model: HookedMLP) -> None:
    class Doubled:
        def fwd_hooks(self) -> list:
            return [(POST, double)]

    model.add_hook(OUT, double)
    with model.intervened(Doubled()):
        assert {name: len(each) for name, each in model.list_hooks().items()} == {POST: 1, OUT: 1}
    assert set(model.list_hooks()) == {OUT}


# Copies and devices ------------------------------------------------------------------------------


def test_a_copys_hooks_are_its_own(model: HookedMLP) -> None:
    model.add_hook(POST, double, level=1)
    model.add_hook(EMBED, lambda gradient, hook: (0 * gradient,), dir="bwd")
    clone = copy.deepcopy(model)
    hooked = logits_of(2 * posts(model), model)
    assert not gradients(clone)["blocks.0.mlp.W_in"].any()
    model.reset_hooks()
    torch.testing.assert_close(clone(TASK.tokens), hooked)
    assert gradients(model)["blocks.0.mlp.W_in"].any()
    assert torch.equal(model(TASK.tokens), logits_of(posts(model), model))
    clone.reset_hooks(level=1)
    assert torch.equal(clone(TASK.tokens), model(TASK.tokens))
    assert not gradients(clone)["blocks.0.mlp.W_in"].any()


def test_a_model_moved_to_meta_runs_there_on_tokens_from_anywhere(model: HookedMLP) -> None:
    model.to("meta")
    logits, cache = model.run_with_cache(TASK.tokens)
    assert logits.device.type == "meta"
    assert logits.shape == (P * P, P)
    assert logits.dtype == torch.float64
    assert {each.device.type for each in cache.values()} == {"meta"}
    assert model(TASK.tokens, TASK.labels, return_type="loss").device.type == "meta"


def test_the_config_follows_a_model_inside_another(model: HookedMLP) -> None:
    outer = torch.nn.ModuleDict({"inner": model})
    outer.float()
    assert model.cfg.dtype == "float32"
    outer.to(device="meta", dtype=torch.float64)
    assert (model.cfg.dtype, model.cfg.device) == ("float64", "meta")


def test_the_config_follows_assigned_parameters_and_not_copied_ones(model: HookedMLP) -> None:
    state = {name: each.float() for name, each in model.state_dict().items()}
    model.load_state_dict(state)
    assert model.cfg.dtype == "float64"
    assert model.W_in.dtype == torch.float64
    model.load_state_dict(state, assign=True)
    assert model.cfg.dtype == "float32"
    assert model(TASK.tokens).dtype == torch.float32
    model.load_state_dict({name: each.to("meta") for name, each in state.items()}, assign=True)
    assert model.cfg.device == "meta"


def test_float64_and_float32_agree_to_float32(model: HookedMLP) -> None:
    exact, cache = model.run_with_cache(TASK.tokens)
    single, single_cache = copy.deepcopy(model).float().run_with_cache(TASK.tokens)
    assert (exact.dtype, single.dtype) == (torch.float64, torch.float32)
    assert not torch.equal(exact, single.double())
    torch.testing.assert_close(single.double(), exact, atol=1e-6, rtol=0)
    for name in ACTIVATIONS:
        assert (cache[name].dtype, single_cache[name].dtype) == (torch.float64, torch.float32)


# Functional calls --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{}, {"bias_in": True, "bias_out": True}, {"tied_operands": True}]
)
def test_vmap_over_stacked_parameters_is_a_loop_over_models(fields: dict) -> None:
    models = [HookedMLP(p=P, d_mlp=D, seed=seed, dtype="float64", **fields) for seed in range(4)]
    parameters, buffers = torch.func.stack_module_state(models)
    assert not buffers
    call = partial(torch.func.functional_call, models[0])

    def loss(given: dict[str, Tensor]) -> Tensor:
        return call(given, (TASK.tokens, TASK.labels), {"return_type": "loss"})

    logits = torch.func.vmap(lambda given: call(given, (TASK.tokens,)))(parameters)
    stacked = torch.func.vmap(torch.func.grad(loss))(parameters)
    for i, each in enumerate(models):
        torch.testing.assert_close(logits[i], each(TASK.tokens))
        for name, gradient in gradients(each).items():
            torch.testing.assert_close(stacked[name][i], gradient)


def test_grad_through_functional_call_is_autograds(model: HookedMLP) -> None:
    """At parameters that are not the model's own, which stay as they are."""
    other = HookedMLP(p=P, d_mlp=D, bias_in=True, bias_out=True, seed=8, dtype="float64")
    parameters = {name: each.detach() for name, each in other.named_parameters()}

    def loss(given: dict[str, Tensor]) -> Tensor:
        logits = torch.func.functional_call(model, given, (TASK.tokens,))
        return F.cross_entropy(logits, TASK.labels)

    found = torch.func.grad(loss)(parameters)
    expected = gradients(other)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name])
        assert model.get_parameter(name).grad is None


@pytest.mark.parametrize(
    ("name", "factor"), [(EMBED, 2.0), (POST, 3.0), (W_IN, -1.0), (W_OUT, 0.5)]
)
def test_hooks_act_under_vmap_as_in_a_loop(name: str, factor: float) -> None:
    models = [HookedMLP(p=P, d_mlp=D, seed=seed, dtype="float64") for seed in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    for each in models:
        each.add_hook(name, lambda tensor, hook: factor * tensor)
    together = torch.func.vmap(
        lambda given: torch.func.functional_call(models[0], given, (TASK.tokens,))
    )(parameters)
    for i, each in enumerate(models):
        torch.testing.assert_close(together[i], each(TASK.tokens))
        each.reset_hooks()
        assert not torch.allclose(together[i], each(TASK.tokens), atol=1e-3)
