"""One-layer transformers against the paper's equations written out, and networks built by hand."""

import inspect
import math
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from grok_interp import _compat, ablate, grid, measures, neurons, patch, transformer
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.neuron_ablation import other_rows
from grok_interp.tasks import ModularTask

needs_bridges = pytest.mark.skipif(
    _compat.TRANSFORMER_LENS_VERSION < _compat.FOURTH,
    reason="transformer-lens 4 builds native bridges",
)
SIZES = {"d_model": 10, "n_heads": 3, "d_head": 4, "d_mlp": 7}


def build(p: int, **sizes: Any) -> nn.Module:
    """In double precision, biases of the MLP drawn as well."""
    bridge = transformer.build(p, **{**SIZES, **sizes}).double()
    generator = torch.Generator().manual_seed(1)
    state = bridge.state_dict()
    for name in ("in.bias", "out.bias"):
        bias = state[f"blocks.0.mlp.{name}"]
        bias.copy_(torch.randn(bias.shape, generator=generator, dtype=bias.dtype))
    bridge.load_state_dict(state)
    return bridge


def parameters(bridge: Any) -> dict[str, Tensor]:
    """In TransformerLens' orientation."""
    names = ("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "W_in", "b_in", "W_out", "b_out", "W_U")
    held = {name: getattr(bridge, name).detach() for name in names}
    return {name: w if name in ("W_E", "W_pos", "W_U") else w[0] for name, w in held.items()}


def written_out(w: dict[str, Tensor], tokens: Tensor, act: Any = torch.relu) -> dict[str, Tensor]:
    """The equations of the module, at the last position only."""
    p = len(w["W_E"]) - 1
    seen = torch.stack([tokens[:, 0], tokens[:, 1], torch.full((len(tokens),), p)], 1)
    x = w["W_E"][seen] + w["W_pos"]
    query = torch.einsum("nd,hde->nhe", x[:, 2], w["W_Q"])
    key = torch.einsum("nid,hde->nihe", x, w["W_K"])
    value = torch.einsum("nid,hde->nihe", x, w["W_V"])
    scores = torch.einsum("nhe,nihe->nhi", query, key) / math.sqrt(w["W_Q"].shape[-1])
    pattern = scores.exp() / scores.exp().sum(-1, keepdim=True)
    mixed = torch.einsum("nhi,nihe,hed->nd", pattern, value, w["W_O"])
    mid = x[:, 2] + mixed
    post = act(mid @ w["W_in"] + w["b_in"])
    logits = (mid + post @ w["W_out"] + w["b_out"]) @ w["W_U"]
    return {"pattern": pattern, "post": post, "logits": logits[:, :p]}


@needs_bridges
@pytest.mark.parametrize(("p", "act_fn"), [(3, "relu"), (4, "gelu"), (9, "relu"), (13, "relu")])
def test_forward_is_the_papers(p: int, act_fn: str) -> None:
    bridge, task = build(p, act_fn=act_fn), ModularTask(p)
    act = torch.relu if act_fn == "relu" else nn.functional.gelu
    expected = written_out(parameters(bridge), task.tokens, act)
    logits = transformer.on_pairs(bridge)(task.tokens)
    assert logits.shape == (p * p, p)
    torch.testing.assert_close(logits.detach(), expected["logits"])
    _, cache = bridge.run_with_cache(transformer.with_equals(task.tokens, p))
    torch.testing.assert_close(cache["post", 0][:, -1].detach(), expected["post"])
    torch.testing.assert_close(cache["pattern", 0][:, :, -1].detach(), expected["pattern"])
    # Measures take the map, and agree with the logits written out.
    right = expected["logits"].argmax(-1) == task.labels
    accuracy = measures.accuracy(transformer.on_pairs(bridge), task)
    assert float(accuracy) == pytest.approx(float(right.double().mean()))
    loss = nn.functional.cross_entropy(expected["logits"], task.labels)
    assert float(measures.loss(transformer.on_pairs(bridge), task)) == pytest.approx(float(loss))


@needs_bridges
def test_default_sizes_are_the_papers() -> None:
    bridge = transformer.build(113)
    shapes = {name: list(tensor.shape) for name, tensor in parameters(bridge).items()}
    assert shapes["W_E"] == [114, 128]
    assert shapes["W_U"] == [128, 114]
    assert shapes["W_K"] == [4, 128, 32]
    assert shapes["W_in"] == [128, 512]
    assert bridge.cfg.normalization_type is None


@needs_bridges
def test_a_seed_means_the_same_weights_and_no_global_generator_moves() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, again, other = (transformer.build(5, **SIZES, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()  # noqa: NPY002
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.W_E, other.W_E)


@needs_bridges
def test_training_leaves_the_attention_biases_at_zero_and_moves_the_mlps() -> None:
    bridge, task = transformer.build(5, **SIZES), ModularTask(5)
    free = [parameter for parameter in bridge.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=1e-2, weight_decay=1.0)
    before = float(measures.loss(transformer.on_pairs(bridge), task))
    for _ in range(20):
        optimizer.zero_grad()
        logits = transformer.on_pairs(bridge)(task.tokens)
        nn.functional.cross_entropy(logits, task.labels).backward()
        optimizer.step()
    state = bridge.state_dict()
    for letter in "qkvo":
        assert not state[f"blocks.0.attn.{letter}.bias"].any()
    assert state["blocks.0.mlp.in.bias"].any()
    assert state["blocks.0.mlp.out.bias"].any()
    assert float(measures.loss(transformer.on_pairs(bridge), task)) < before


@needs_bridges
@pytest.mark.parametrize("p", [3, 6, 11])
def test_a_network_that_copies_a_has_known_accuracies(p: int) -> None:
    """One head attends from = to the first position and copies its token to the logits."""
    d_model = p + 1 + transformer.N_CTX
    bridge = transformer.build(p, d_model, 1, d_model, 4).double()
    state = {name: torch.zeros_like(tensor) for name, tensor in bridge.state_dict().items()}
    token = torch.eye(d_model).double()[:, : p + 1]
    position = torch.eye(d_model).double()[p + 1 :]
    state["embed.weight"] = token.T
    state["pos_embed.weight"] = position
    state["blocks.0.attn.q.weight"][0] = 100 * position[2]
    state["blocks.0.attn.k.weight"][0] = 100 * position[0]
    state["blocks.0.attn.v.weight"][:] = token @ token.T
    state["blocks.0.attn.o.weight"][:] = torch.eye(d_model)
    state["unembed.weight"] = token.T
    bridge.load_state_dict(state)
    model = transformer.on_pairs(bridge)
    assert float(measures.accuracy(model, ModularTask(p, "a"))) == 1.0
    # a + b = a for b = 0 only, and the logit of =, as large as the copy's, is not among the answers.
    assert float(measures.accuracy(model, ModularTask(p))) == pytest.approx(1 / p)


class Silence:
    """An intervention as any other: it knows nothing of transformers."""

    def __init__(self, neuron: int) -> None:
        self.neuron = neuron

    def fwd_hooks(self) -> list:
        def silence(post: Tensor, hook: Any) -> Tensor:
            return post * (torch.arange(post.shape[-1]) != self.neuron)

        return [("blocks.0.mlp.hook_post", silence)]


@needs_bridges
@pytest.mark.parametrize("rank", [0, 1])
def test_activation_interventions_work_on_its_neurons(rank: int) -> None:
    p = 7
    bridge, task = build(p), ModularTask(p)
    loudness = written_out(parameters(bridge), task.tokens)["post"].amax(0)
    neuron = int(loudness.argsort(descending=True)[rank])
    model = transformer.on_pairs(bridge)
    before = measures.logits(model, task.tokens)
    w = parameters(bridge)
    w["W_out"] = w["W_out"].clone()
    w["W_out"][neuron] = 0
    expected = written_out(w, task.tokens)["logits"]
    with bridge.hooks(fwd_hooks=Silence(neuron).fwd_hooks()):
        inside = measures.logits(model, task.tokens)
        loss = measures.loss(model, task)
    torch.testing.assert_close(inside, expected)
    assert float((inside - before).abs().max()) > 1e-3
    assert float(loss) == pytest.approx(float(nn.functional.cross_entropy(expected, task.labels)))
    assert torch.equal(measures.logits(model, task.tokens), before)


def interventions(p: int, post: Tensor, logits: Tensor) -> list[tuple[Any, Tensor, str]]:
    """Each with what it should make of the post-activations or the logits at =."""
    order = other_rows(p * p, None, 0)
    clean = post.flip(0)
    planes = patch.activation_planes(post, ModularTask(p))
    basis = planes.at(1)
    at = {"position": -1}
    chosen = torch.arange(post.shape[1]) < 3
    lattice = post.reshape(p, p, -1)
    by_a = grid.axis_part(post, "a", [2])
    logits_at_1 = grid.keep(logits.T, torch.tensor([1])).T
    return [
        (ablate.Neurons([0, 1, 2], **at), torch.where(chosen, 0.0, post), "post"),
        (ablate.Neurons([0, 1, 2], "mean", **at), torch.where(chosen, post.mean(0), post), "post"),
        (ablate.Neurons(chosen, "resample", **at), torch.where(chosen, post[order], post), "post"),
        (
            ablate.GridFrequencies("keep", [1], task=ModularTask(p), **at),
            post.mean(0) + grid.part(post, "a+b", [1]),
            "post",
        ),
        (
            ablate.TokenFrequencies("keep", [2], task=ModularTask(p), **at),
            (lattice.mean(0, keepdim=True).expand_as(lattice).reshape(post.shape) + by_a),
            "post",
        ),
        (
            patch.PlanePatch(planes, 1, clean, **at),
            post + (clean - post) @ basis @ basis.T,
            "post",
        ),
        (
            ablate.LogitFrequencies(
                "remove", [1], hook_name="unembed.hook_out", task=ModularTask(p), **at
            ),
            logits - logits_at_1,
            "logits",
        ),
    ]


@needs_bridges
@pytest.mark.parametrize("which", range(7))
def test_the_librarys_interventions_work_on_its_mlp(which: int) -> None:
    p = 7
    bridge, task = build(p), ModularTask(p)
    w = parameters(bridge)
    own = written_out(w, task.tokens)
    intervention, changed, where = interventions(p, own["post"], own["logits"])[which]
    difference = (changed - own["post"]) @ w["W_out"] @ w["W_U"] if where == "post" else 0
    expected = own["logits"] + difference[:, :p] if where == "post" else changed
    model = transformer.on_pairs(bridge)
    with bridge.hooks(fwd_hooks=intervention.fwd_hooks()):
        inside = measures.logits(model, task.tokens)
        shares = measures.sum_shares(model, task)
    torch.testing.assert_close(inside, expected)
    torch.testing.assert_close(shares, measures.sum_shares(lambda tokens: expected, task))
    assert float((inside - own["logits"]).abs().max()) > 1e-3
    torch.testing.assert_close(measures.logits(model, task.tokens), own["logits"])


@needs_bridges
def test_setters_patch_its_neurons_at_the_position_of_equals() -> None:
    p = 7
    bridge, task = build(p).eval(), ModularTask(p)
    pairs = task.counterfactuals("a", n=20, seed=0)
    w = parameters(bridge)
    clean, corrupted = (written_out(w, side.tokens) for side in (pairs.clean, pairs.corrupted))
    _, cache = bridge.run_with_cache(transformer.with_equals(pairs.clean.tokens, p))
    found = _compat.generic_activation_patch()(
        bridge,
        transformer.with_equals(pairs.corrupted.tokens, p),
        cache,
        lambda logits: patch.logit_difference(logits[:, -1, :p].detach(), pairs),
        patch.neuron_setter(position=-1),
        "post",
        index_df=pd.DataFrame({"layer": 0, "neuron": [1, 4]}),
    )
    for value, neuron in zip(found, (1, 4), strict=True):
        post = corrupted["post"].clone()
        post[:, neuron] = clean["post"][:, neuron]
        logits = corrupted["logits"] + ((post - corrupted["post"]) @ w["W_out"] @ w["W_U"])[:, :p]
        assert float(value) == pytest.approx(float(patch.logit_difference(logits, pairs)))


@needs_bridges
@pytest.mark.parametrize("p", [5, 8, 15, 31])
def test_effective_weights_of_known_waves_come_back_from_the_extractor(p: int) -> None:
    generator = torch.Generator().manual_seed(p)
    d_mlp, highest = 6, (p - 1) // 2
    bridge = transformer.build(p, 2 * highest, 1, 2, d_mlp).double()
    k = torch.randint(1, highest + 1, (d_mlp,), generator=generator)
    phase, phase_out = math.tau * torch.rand(2, d_mlp, generator=generator).double() - math.pi
    amplitude = 0.5 + torch.rand(d_mlp, generator=generator).double()
    angle = math.tau * torch.arange(p).double()[:, None] * torch.arange(1, highest + 1) / p
    basis = torch.cat([angle.cos(), angle.sin()], 1)

    def coefficients(phase: Tensor) -> Tensor:
        """Rows that make A cos(2 pi k n / p + phase) of the basis."""
        made = torch.zeros(d_mlp, 2 * highest).double()
        made[torch.arange(d_mlp), k - 1] = amplitude * phase.cos()
        made[torch.arange(d_mlp), highest + k - 1] = -amplitude * phase.sin()
        return made

    state = bridge.state_dict()
    state["embed.weight"][:p] = basis
    state["blocks.0.mlp.in.weight"] = coefficients(phase)
    state["blocks.0.mlp.out.weight"] = coefficients(phase_out).T.contiguous()
    state["unembed.weight"][:p] = basis
    bridge.load_state_dict(state)
    weights = transformer.effective_weights(bridge)
    assert list(weights.W_in.shape) == [2, p, d_mlp]
    assert list(weights.W_out.shape) == [d_mlp, p]
    assert not weights.W_in.requires_grad
    table = neurons.extract(weights, ModularTask(p), "per_matrix")
    assert torch.equal(table.frequency, k.expand(3, -1))
    torch.testing.assert_close(table.amplitude, amplitude.expand(3, -1))
    wanted = torch.stack([phase, phase, phase_out])
    torch.testing.assert_close((table.phase - wanted).cos(), torch.ones(3, d_mlp).double())
    residual = (table.phase_residual - (2 * phase - phase_out)).cos()
    torch.testing.assert_close(residual, torch.ones(d_mlp).double())


@needs_bridges
def test_without_its_heads_a_transformer_knows_nothing_of_the_pair() -> None:
    """What the docstring of effective_weights warns of: the direct path is not the computation."""
    bridge, task = build(7), ModularTask(7)
    effective = transformer.effective_weights(bridge)
    state = bridge.state_dict()
    state["blocks.0.attn.o.weight"].zero_()
    bridge.load_state_dict(state)
    logits = measures.logits(transformer.on_pairs(bridge), task.tokens)
    torch.testing.assert_close(logits, logits[:1].expand_as(logits))
    assert torch.equal(transformer.effective_weights(bridge).W_in, effective.W_in)
    spread = measures.logits(effective, task.tokens)
    assert float((spread - spread[0]).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("tokens", "error", "words"),
    [
        (torch.tensor([[0, 5]]), ValueError, r"0\.\.5, expected 0\.\.4"),
        (torch.tensor([[0, 1, 2]]), ValueError, r"\[batch, 2\]"),
        (torch.tensor([[0.0, 1.0]]), TypeError, "torch.int64"),
    ],
)
def test_bad_tokens_are_refused(tokens: Tensor, error: type[Exception], words: str) -> None:
    # Shape checks off, so that our own errors are reached as users reach them.
    with pytest.raises(error, match=words):
        inspect.unwrap(transformer.with_equals)(tokens, 5)


def test_equals_is_p() -> None:
    tokens = torch.tensor([[0, 4], [3, 3]])
    assert transformer.with_equals(tokens, 5).tolist() == [[0, 4, 5], [3, 3, 5]]
    assert transformer.with_equals(tokens[:0], 5).shape == (0, 3)


@needs_bridges
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_layers": 2}, "n_layers=2, expected 1"),
        ({"n_ctx": 4}, "n_ctx=4, expected 3"),
        ({"normalization_type": "LN"}, "normalization_type='LN', expected None"),
        ({"d_vocab_out": 9}, "d_vocab_out=9, expected .* 5 or 6"),
        ({"act_fn": "silu"}, "act_fn='silu'"),
    ],
)
def test_other_transformers_are_refused(change: dict, words: str) -> None:
    form = {"n_layers": 1, "d_model": 4, "n_heads": 1, "d_head": 4, "d_mlp": 4, "d_vocab": 6}
    form |= {"n_ctx": 3, "act_fn": "relu", "normalization_type": None}
    bridge = _compat.bridge_class().boot_native({**form, **change})
    for function in (transformer.on_pairs, transformer.effective_weights):
        with pytest.raises(ValueError, match=words):
            function(bridge)


@needs_bridges
def test_an_unembedding_without_equals_is_taken() -> None:
    form = {"n_layers": 1, "d_model": 4, "n_heads": 1, "d_head": 4, "d_mlp": 4, "d_vocab": 6}
    form |= {"n_ctx": 3, "act_fn": "relu", "normalization_type": None, "d_vocab_out": 5}
    bridge, task = _compat.bridge_class().boot_native(form), ModularTask(5)
    expected = written_out(parameters(bridge), task.tokens)["logits"]
    torch.testing.assert_close(measures.logits(transformer.on_pairs(bridge), task.tokens), expected)
    assert transformer.effective_weights(bridge).p == 5


def test_errors_name_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"p=2 is too small"):
        transformer.build(2)
    with pytest.raises(ValueError, match="act_fn='quadratic' is unknown"):
        transformer.build(5, act_fn="quadratic")
    with pytest.raises(ValueError, match="HookedMLP has n_layers='missing'"):
        transformer.on_pairs(HookedMLP(p=5, d_mlp=3))
    monkeypatch.setattr(_compat, "TRANSFORMER_LENS_VERSION", (3, 9))
    installed = _compat.version("transformer-lens")
    with pytest.raises(RuntimeError, match=f"transformer-lens {installed} .* version 4 or newer"):
        transformer.build(5)
