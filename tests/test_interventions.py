"""Scopes: what `intervened` and `idealized` change, and that they leave everything else alone."""

import contextlib
import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from grok_interp import ablate, idealize, neurons, patch, phases
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.idealize import IdealWeights
from grok_interp.scopes import Idealization, Intervention
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights

P, D = 11, 10
TASK = ModularTask(P)
POST, EMBED = "blocks.0.mlp.hook_post", "hook_embed"
W_IN, W_OUT = "blocks.0.mlp.hook_W_in", "blocks.0.mlp.hook_W_out"


@dataclass(frozen=True)
class Scale:
    """A user's intervention, written without the library."""

    hook_name: str
    factor: float
    shift: float = 0.0

    def fwd_hooks(self) -> list:
        return [(self.hook_name, lambda tensor, hook: self.factor * tensor + self.shift)]


@pytest.fixture
def model() -> HookedMLP:
    return HookedMLP(p=P, d_mlp=D, bias_in=True, bias_out=True, seed=2)


@pytest.fixture
def ideal(model: HookedMLP) -> IdealWeights:
    return idealize.build(neurons.extract(model, TASK))


def logits_of(weights: MLPWeights) -> Tensor:
    """The network's equation, written out."""
    a, b = TASK.tokens.unbind(1)
    pre = weights.W_in[0][a] + weights.W_in[1][b]
    pre = pre if weights.b_in is None else pre + weights.b_in
    logits = pre.relu() @ weights.W_out
    return logits if weights.b_out is None else logits + weights.b_out


def n_hooks(model: HookedMLP) -> dict[str, tuple[int, int]]:
    """Hooks that TransformerLens lists and that torch holds, by hook point."""
    return {
        name: (len(point.fwd_hooks), len(point._forward_hooks))
        for name, point in model.hook_dict.items()
    }


# What a scope computes ---------------------------------------------------------------------------


def test_idealized_runs_the_ideal_weights_and_exit_restores_every_bit(
    model: HookedMLP, ideal: IdealWeights
) -> None:
    assert isinstance(ideal, Idealization)
    assert isinstance(ideal, Intervention)
    plain, state = model(TASK.tokens), copy.deepcopy(model.state_dict())
    with model.idealized(ideal) as inside:
        assert inside is model
        logits = model(TASK.tokens)
    torch.testing.assert_close(logits, logits_of(ideal.weights))
    assert not torch.allclose(logits, plain, atol=0.01)
    assert torch.equal(model(TASK.tokens), plain)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert set(n_hooks(model).values()) == {(0, 0)}


@pytest.mark.parametrize(
    "options",
    [
        {"strength": 0.0},
        {"neurons": []},
        {"neurons": torch.zeros(D, dtype=torch.bool)},
        {"matrices": ()},
    ],
    ids=str,
)
def test_nothing_selected_is_bitwise_the_model(
    model: HookedMLP, ideal: IdealWeights, options: dict
) -> None:
    plain = model(TASK.tokens)
    with model.idealized(ideal, **options):
        assert torch.equal(model(TASK.tokens), plain)
        assert torch.equal(model.effective_weights().W_in, model.W_in)
        assert torch.equal(model.effective_weights().W_out, model.W_out)


@pytest.mark.parametrize(
    "chosen",
    [[1, 4], torch.tensor([4, 1]), torch.arange(D) % 3 == 1, range(0, D, 2)],
    ids=["list", "tensor", "mask", "range"],
)
def test_a_subset_of_neurons_changes_only_those(
    model: HookedMLP, ideal: IdealWeights, chosen
) -> None:
    mask = torch.zeros(D, dtype=torch.bool)
    mask[chosen if isinstance(chosen, Tensor) else list(chosen)] = True
    with model.idealized(ideal, neurons=chosen):
        effective = model.effective_weights()
        logits = model(TASK.tokens)
    assert torch.equal(effective.W_in[..., ~mask], model.W_in[..., ~mask])
    assert torch.equal(effective.W_out[~mask], model.W_out[~mask])
    assert torch.equal(effective.W_in[..., mask], ideal.weights.W_in[..., mask])
    assert torch.equal(effective.W_out[mask], ideal.weights.W_out[mask])
    assert not torch.allclose(effective.W_out[mask], model.W_out[mask])
    torch.testing.assert_close(logits, logits_of(effective))


def test_w_in_is_both_operands_and_one_name_needs_no_tuple(model: HookedMLP, ideal: IdealWeights):
    assert ideal.select(matrices="W_in").matrices == ("W_a", "W_b")
    assert ideal.select(matrices=["W_in", "W_out"]).matrices == ("W_a", "W_b", "W_out")
    assert ideal.select(matrices="W_out").matrices == ("W_out",)


def test_functions_that_write_in_place_do_not_train_the_model(model: HookedMLP) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def write(weight, hook):
        weight.zero_()
        return weight

    with torch.no_grad():
        hooks = [(W_IN, write), (W_OUT, write)]
        zeroed = model.run_with_hooks(model.to_tokens((0, 1)), fwd_hooks=hooks)
        with model.hooks(fwd_hooks=hooks):
            assert not model.effective_weights().W_in.any()
    assert torch.equal(zeroed[0], torch.zeros(P) if model.b_out is None else model.b_out)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("matrices", [("W_a",), ("W_b",), ("W_out",), ("W_a", "W_out")], ids=str)
def test_matrices(model: HookedMLP, ideal: IdealWeights, matrices: tuple[str, ...]) -> None:
    with model.idealized(ideal, matrices=matrices):
        effective = model.effective_weights()
    own, want = model.weights(), ideal.weights
    found = {"W_a": effective.W_in[0], "W_b": effective.W_in[1], "W_out": effective.W_out}
    for name, ideal_one, own_one in (
        ("W_a", want.W_in[0], own.W_in[0]),
        ("W_b", want.W_in[1], own.W_in[1]),
        ("W_out", want.W_out, own.W_out),
    ):
        assert torch.equal(found[name], ideal_one if name in matrices else own_one), name


@pytest.mark.parametrize("strength", [0.25, 1.0, -0.5, 2.0])
def test_strength_interpolates_the_weights(
    model: HookedMLP, ideal: IdealWeights, strength: float
) -> None:
    with model.idealized(ideal, strength=strength):
        effective = model.effective_weights()
    for name in ("W_in", "W_out"):
        own, target = getattr(model.weights(), name), getattr(ideal.weights, name)
        expected = (1 - strength) * own + strength * target
        torch.testing.assert_close(getattr(effective, name), expected, atol=1e-6, rtol=0)


def test_ideal_plus_residual_is_the_model(model: HookedMLP, ideal: IdealWeights) -> None:
    residual = ideal.residual
    whole = MLPWeights(
        ideal.weights.W_in + residual.W_in,
        ideal.weights.W_out + residual.W_out,
        ideal.weights.b_in + residual.b_in,
        ideal.weights.b_out + residual.b_out,
    )
    torch.testing.assert_close(logits_of(whole), model(TASK.tokens), atol=1e-6, rtol=0)
    assert float(residual.W_in.abs().max()) > 0.01


def test_sugar_equals_the_context_manager(model: HookedMLP, ideal: IdealWeights) -> None:
    options = {"neurons": [0, 3, 4], "strength": 0.5, "matrices": ("W_b", "W_out")}
    with model.idealized(ideal, **options):
        logits, cache = model.run_with_cache(TASK.tokens)
    assert torch.equal(model.run_with_idealized(TASK.tokens, ideal=ideal, **options), logits)
    out, sugar = model.run_with_cache_with_idealized(
        TASK.tokens, ideal=ideal, names_filter=POST, **options
    )
    assert torch.equal(out, logits)
    assert set(sugar.keys()) == {POST}
    assert torch.equal(sugar["post", 0], cache["post", 0])
    loss = model.run_with_idealized(TASK.tokens, TASK.labels, ideal=ideal, return_type="loss")
    with model.idealized(ideal):
        assert torch.equal(model(TASK.tokens, TASK.labels, return_type="loss"), loss)


def test_extract_reads_parameters_and_effective_weights_what_the_scope_makes(
    model: HookedMLP, ideal: IdealWeights
) -> None:
    before = neurons.extract(model, TASK)
    with model.idealized(ideal):
        inside = neurons.extract(model, TASK)
        seen = neurons.extract(model.effective_weights(), TASK)
    assert torch.equal(inside.amplitude, before.amplitude)
    assert torch.equal(inside.power_share, before.power_share)
    # An ideal output row is a pure cosine of the frequency and phase that were extracted.
    assert torch.equal(seen.frequency, before.frequency)
    torch.testing.assert_close(seen.power_share[2], torch.ones(D))
    torch.testing.assert_close(seen.phase[2], before.phase[2], atol=1e-4, rtol=0)
    assert float(before.power_share[2].max()) < 0.9


def test_user_interventions_compose_in_the_order_given(model: HookedMLP) -> None:
    plain = model.run_with_cache(TASK.tokens)[1]["post", 0]
    double, shift = Scale(POST, 2.0), Scale(POST, 1.0, 3.0)
    for first, second, expected in (
        (double, shift, 2 * plain + 3),
        (shift, double, 2 * (plain + 3)),
    ):
        with model.intervened(first, second):
            out = model(TASK.tokens)
        torch.testing.assert_close(out, expected @ model.W_out + model.b_out)


def test_idealized_weights_and_a_user_intervention_together(
    model: HookedMLP, ideal: IdealWeights
) -> None:
    with model.intervened(Scale(W_IN, 3.0), ideal, Scale(W_OUT, -1.0)):
        effective = model.effective_weights()
    assert torch.equal(effective.W_in, ideal.weights.W_in)
    assert torch.equal(effective.W_out, -ideal.weights.W_out)


def test_weight_hooks_let_gradients_through(model: HookedMLP, ideal: IdealWeights) -> None:
    with model.idealized(ideal, neurons=[0]):
        model(TASK.tokens).square().sum().backward()
    assert float(model.W_in.grad[..., 0].abs().max()) == 0
    assert float(model.W_in.grad[..., 1:].abs().max()) > 0


# What a scope leaves alone -----------------------------------------------------------------------


def add_plain(model: HookedMLP, calls: list[str]) -> None:
    model.add_hook(W_IN, lambda tensor, hook: calls.append("user"))


def add_permanent(model: HookedMLP, calls: list[str]) -> None:
    model.add_perma_hook(W_IN, lambda tensor, hook: calls.append("user"))


def add_at_level(model: HookedMLP, calls: list[str]) -> None:
    model.add_hook(W_IN, lambda tensor, hook: calls.append("user"), level=1)


def add_prepended(model: HookedMLP, calls: list[str]) -> None:
    model.add_hook(W_IN, lambda tensor, hook: calls.append("user"), prepend=True)


def add_torch(model: HookedMLP, calls: list[str]) -> None:
    model.hook_dict[W_IN].register_forward_hook(lambda module, args, out: calls.append("user"))


USER_HOOKS = [add_plain, add_permanent, add_at_level, add_prepended, add_torch]


@pytest.mark.parametrize("add", USER_HOOKS)
@pytest.mark.parametrize("inside", [False, True], ids=["before", "inside"])
@pytest.mark.parametrize("fails", [False, True], ids=["ends", "raises"])
def test_user_hooks_survive_a_scope(
    model: HookedMLP, ideal: IdealWeights, add, inside: bool, fails: bool
) -> None:
    calls: list[str] = []
    if not inside:
        add(model, calls)
    standing = n_hooks(model)

    def block() -> None:
        with model.idealized(ideal), model.idealized(ideal, neurons=[1], strength=0.5):
            if inside:
                add(model, calls)
            model(TASK.tokens)
            if fails:
                raise KeyError("the user's own error")

    if fails:
        with pytest.raises(KeyError, match="the user's own"):
            block()
    else:
        block()
    assert calls == ["user"]
    logits = model(TASK.tokens)
    assert calls == ["user", "user"]
    torch.testing.assert_close(logits, logits_of(model.weights()), atol=1e-6, rtol=0)
    if inside:
        listed = 0 if add is add_torch else 1
        assert n_hooks(model) == standing | {W_IN: (listed, 1)}
    else:
        assert n_hooks(model) == standing


def test_scopes_inside_the_users_hooks_block(model: HookedMLP, ideal: IdealWeights) -> None:
    calls: list[str] = []

    def note(tensor: Tensor, hook: object) -> None:
        calls.append(hook.name)

    plain = model(TASK.tokens)
    with model.hooks(fwd_hooks=[(W_IN, note), (POST, note)]):
        with model.idealized(ideal):
            inside = model(TASK.tokens)
        assert calls == [W_IN, POST]
        assert torch.equal(model(TASK.tokens), plain)
        assert calls == [W_IN, POST] * 2
    torch.testing.assert_close(inside, logits_of(ideal.weights))
    assert set(n_hooks(model).values()) == {(0, 0)}


def test_a_hooks_block_inside_a_scope_leaves_the_scope_standing(
    model: HookedMLP, ideal: IdealWeights
) -> None:
    with model.idealized(ideal):
        expected = model(TASK.tokens)
        with model.hooks(fwd_hooks=[(W_IN, lambda tensor, hook: 0 * tensor)]):
            silenced = model(TASK.tokens)
        assert torch.equal(model(TASK.tokens), expected)
        model.run_with_cache(TASK.tokens)
        assert torch.equal(model(TASK.tokens), expected)
    assert not torch.allclose(silenced, expected)


def test_scopes_that_overlap_out_of_order(model: HookedMLP, ideal: IdealWeights) -> None:
    """A scope that ends before one opened later removes its own hooks and no others."""
    plain = model(TASK.tokens)
    first, second = model.intervened(Scale(POST, 2.0)), model.intervened(Scale(POST, 3.0))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    torch.testing.assert_close(model(TASK.tokens) - model.b_out, 3 * (plain - model.b_out))
    second.__exit__(None, None, None)
    assert torch.equal(model(TASK.tokens), plain)


def test_the_same_intervention_twice_is_applied_twice(model: HookedMLP) -> None:
    double = Scale(POST, 2.0)
    plain = model(TASK.tokens)
    with model.intervened(double):
        with model.intervened(double):
            twice = model(TASK.tokens)
        once = model(TASK.tokens)
    torch.testing.assert_close(once - model.b_out, 2 * (plain - model.b_out))
    torch.testing.assert_close(twice - model.b_out, 4 * (plain - model.b_out))


def test_reset_hooks_inside_a_scope(model: HookedMLP, ideal: IdealWeights) -> None:
    plain = model(TASK.tokens)
    calls: list[str] = []
    with model.idealized(ideal):
        add_permanent(model, calls)
        model.reset_hooks()
        assert torch.equal(model(TASK.tokens), plain)
    assert torch.equal(model(TASK.tokens), plain)
    assert calls == ["user", "user"]


def test_deepcopy_inside_a_scope_is_the_plain_model_with_the_users_hooks(
    model: HookedMLP, ideal: IdealWeights
) -> None:
    plain = model(TASK.tokens)
    calls: list[str] = []
    add_plain(model, calls)
    add_permanent(model, calls)
    with model.idealized(ideal):
        idealized = model(TASK.tokens)
        clone = copy.deepcopy(model)
        calls.clear()
        assert torch.equal(clone(TASK.tokens), plain)
        assert calls == ["user", "user"]
        assert torch.equal(model(TASK.tokens), idealized)
    assert torch.equal(clone(TASK.tokens), plain)
    with clone.idealized(ideal):
        assert torch.equal(clone(TASK.tokens), idealized)
        assert torch.equal(model(TASK.tokens), plain)


# What is refused ---------------------------------------------------------------------------------


def test_an_unknown_hook_name_raises_before_anything_is_attached(model: HookedMLP) -> None:
    with (
        pytest.raises(ValueError, match=r"'blocks\.1\.hook_mlp_out' is unknown.*hook_embed"),
        model.intervened(Scale(POST, 2.0), Scale("blocks.1.hook_mlp_out", 2.0)),
    ):
        pytest.fail("the block must not be entered")
    assert set(n_hooks(model).values()) == {(0, 0)}


@pytest.mark.parametrize(
    "function",
    [
        lambda tensor, hook: tensor[..., :-1],
        lambda tensor, hook: tensor.double(),
        lambda tensor, hook: tensor.sum(),
    ],
    ids=["shape", "dtype", "scalar"],
)
@pytest.mark.parametrize("name", [POST, EMBED, W_IN])
def test_a_function_must_keep_shape_and_dtype(model: HookedMLP, function, name: str) -> None:
    class Wrong:
        def fwd_hooks(self) -> list:
            return [(name, function)]

    plain = model(TASK.tokens)
    with pytest.raises(ValueError, match=f"the function at {name} returned"):  # noqa: SIM117
        with model.intervened(Wrong()):
            model(TASK.tokens)
    assert torch.equal(model(TASK.tokens), plain)


def test_ideal_weights_of_another_shape(ideal: IdealWeights) -> None:
    wider = HookedMLP(p=P, d_mlp=D + 1, seed=0)
    with (
        wider.idealized(ideal),
        pytest.raises(ValueError, match=r"\[2, 11, 11\], the ideal ones are \[2, 11, 10\]"),
    ):
        wider(TASK.tokens)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"neurons": [D]}, f"integers in 0..{D - 1}"),
        ({"neurons": [-1]}, f"integers in 0..{D - 1}"),
        ({"neurons": [0.5]}, f"integers in 0..{D - 1}"),
        (
            {"neurons": torch.ones(D + 1, dtype=torch.bool)},
            r"mask of shape \[11\], expected \[10\]",
        ),
        ({"matrices": ("W_c",)}, "matrices='W_c' is unknown"),
        ({"strength": float("nan")}, "strength=nan"),
        ({"strength": float("inf")}, "strength=inf"),
    ],
)
def test_selection_errors(model: HookedMLP, ideal: IdealWeights, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words), model.idealized(ideal, **options):
        pytest.fail("the block must not be entered")


# The library's interventions together --------------------------------------------------------------


def every_intervention(model: HookedMLP, ideal: IdealWeights) -> list[Intervention]:
    table = neurons.extract(model, TASK)
    clean = model(TASK.tokens.flip(0)).detach()
    return [
        ideal.select(neurons=range(6)),
        idealize.binarise(table, 0.5),
        phases.shift(table, 0.4, neurons=[1, 7]),
        ablate.WeightFrequencies("remove", 2, "W_out"),
        ablate.Neurons([0, 3], "mean"),
        ablate.GridFrequencies("remove", 1, task=TASK),
        ablate.TokenFrequencies("remove", 3, "b", task=TASK),
        patch.PlanePatch(patch.class_planes(TASK), 4, clean, "blocks.0.hook_mlp_out"),
        ablate.LogitFrequencies("remove", 5, task=TASK),
    ]


def test_an_ablation_in_an_idealised_block_in_a_users_hooks(
    model: HookedMLP, ideal: IdealWeights
) -> None:
    def double(post: Tensor, hook) -> Tensor:
        return 2 * post

    with (
        model.hooks(fwd_hooks=[(POST, double)]),
        model.idealized(ideal),
        model.intervened(ablate.Neurons([0, 4])),
    ):
        logits = model(TASK.tokens)
    weights = ideal.weights
    a, b = TASK.tokens.unbind(1)
    post = 2 * (weights.W_in[0][a] + weights.W_in[1][b] + weights.b_in).relu()
    post[:, [0, 4]] = 0
    assert torch.allclose(logits, post @ weights.W_out + weights.b_out)


def test_interventions_compose_in_their_order(model: HookedMLP, ideal: IdealWeights) -> None:
    chosen = every_intervention(model, ideal)
    with model.intervened(*chosen):
        together = model(TASK.tokens)
    with contextlib.ExitStack() as stack:
        for each in chosen:
            stack.enter_context(model.intervened(each))
        nested = model(TASK.tokens)
    by_hooks = model.run_with_hooks(
        TASK.tokens, fwd_hooks=[pair for each in chosen for pair in each.fwd_hooks()]
    )
    assert torch.equal(together, nested)
    assert torch.equal(together, by_hooks)
    assert not torch.allclose(together, model(TASK.tokens))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("order", ["in order", "out of order"])
def test_no_exit_leaves_a_trace(
    model: HookedMLP, ideal: IdealWeights, fails: bool, order: str
) -> None:
    chosen = every_intervention(model, ideal)
    before, plain = n_hooks(model), model(TASK.tokens)
    scopes = [model.intervened(each) for each in chosen]
    for scope in scopes:
        scope.__enter__()
    assert n_hooks(model) != before
    model(TASK.tokens)
    if fails:
        with pytest.raises(ValueError, match="5 rows and the task 121 pairs"):
            model(TASK.tokens[:5])
    if order == "in order":
        scopes = scopes[::-1]
    for scope in scopes:
        scope.__exit__(None, None, None)
    assert n_hooks(model) == before
    assert torch.equal(model(TASK.tokens), plain)


def test_the_error_term_gives_the_model_back_and_shows_a_change_to_the_ideal_part(
    model: HookedMLP, ideal: IdealWeights
) -> None:
    for chosen in (
        ideal,
        ideal.select(neurons=[2, 5], strength=0.7),
        ideal.select(matrices=("W_a", "W_out")),
    ):
        with model.intervened(chosen, chosen.error_term):
            assert torch.allclose(model(TASK.tokens), model.weights().logits(TASK.tokens))
    with model.intervened(ideal, Scale(W_OUT, 3.0), ideal.error_term):
        changed = model.effective_weights().W_out
    own, waves = model.weights().W_out, ideal.weights.W_out
    assert torch.allclose(changed, own + 2 * waves)
    assert ideal.select(neurons=[]).error_term.fwd_hooks() == []
    assert ideal.select(strength=0.0).error_term.fwd_hooks() == []
