"""Gradients by formula against autograd through one-hots, and their parts."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grok_interp import gradients
from grok_interp.gradients import Batch, Incidence, Lookup, Stack, Tally
from grok_interp.losses import pair_losses
from grok_interp.weights import activation

LOSSES = ("cross_entropy", "cross_entropy_float64", "mse", "stablemax")


def draw(networks: int, operands: int, p: int, d: int, pairs: int) -> tuple[dict, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(networks * p + d)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    parameters = {
        "W_in": normal(networks, operands, p, d),
        "W_out": normal(networks, d, p),
        "b_in": normal(networks, d),
        "b_out": normal(networks, p),
    }
    tokens = torch.randint(p, (networks, pairs, 2), generator=generator)
    return parameters, tokens, torch.randint(p, (networks, pairs), generator=generator)


def by_one_hots(
    parameters: dict, tokens: Tensor, labels: Tensor, act: Callable, scale: float, kind: str
) -> tuple[dict, Tensor]:
    """Gradients of each network's mean loss, and the losses, by autograd on dense one-hots."""
    leaf = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    p = leaf["W_in"].shape[2]
    hot = F.one_hot(tokens, p).double()
    W_in = leaf["W_in"].expand(-1, 2, -1, -1)
    pre = hot[:, :, 0] @ W_in[:, 0] + hot[:, :, 1] @ W_in[:, 1] + leaf["b_in"][:, None]
    logits = scale * act(pre) @ leaf["W_out"] + leaf["b_out"][:, None]
    right = F.one_hot(labels, p).double()
    if kind == "mse":
        losses = (logits - right).square().mean(-1)
    elif kind == "stablemax":
        s = torch.where(logits >= 0, logits + 1, 1 / (1 - logits))
        losses = -((s * right).sum(-1) / s.sum(-1)).log()
    else:
        losses = logits.logsumexp(-1) - (logits * right).sum(-1)
    losses.mean(-1).sum().backward()
    return {name: tensor.grad for name, tensor in leaf.items()}, losses.detach()


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("act_fn", ["relu", "quadratic", "identity", "gelu", torch.tanh])
@pytest.mark.parametrize("operands", [1, 2])
def test_gradients_equal_autograd_on_one_hots(
    kind: str, act_fn: object, operands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "CHUNK_ELEMENTS", 60)  # several chunks, the last one smaller
    p, d, pairs = 7, 5, 20
    parameters, tokens, labels = draw(3, operands, p, d, pairs)
    batch = Batch(tokens, labels, p, d, torch.float64)
    assert len(batch.chunks) > 2
    into = {name: torch.full_like(tensor, 9.0) for name, tensor in parameters.items()}
    tally = Tally(kind, {"own": labels})
    stack = Stack(3, p, d, act_fn, 0.7, kind)
    for _ in range(2):  # buffers are used again
        stack.gradients(parameters, batch, into)
    stack.gradients(parameters, batch, into, tally)
    expected, losses = by_one_hots(parameters, tokens, labels, activation(act_fn), 0.7, kind)
    for name in parameters:
        torch.testing.assert_close(into[name], expected[name], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(tally.loss(pairs), losses.mean(-1))


def test_only_what_is_asked_for_is_written_and_measuring_equals_the_tally() -> None:
    p, d = 7, 5
    parameters, tokens, labels = draw(2, 2, p, d, 30)
    batch, stack = Batch(tokens, labels, p, d, torch.float64), Stack(2, p, d, "relu", 1.0, "mse")
    expected, _ = by_one_hots(parameters, tokens, labels, torch.relu, 1.0, "mse")
    for name in parameters:
        into = {name: torch.zeros_like(parameters[name])}
        stack.gradients(parameters, batch, into)
        torch.testing.assert_close(into[name], expected[name], atol=1e-12, rtol=1e-9)
    other = (labels + 1) % p
    on_the_way, by_itself = (Tally("mse", {"own": labels, "other": other}) for _ in range(2))
    stack.gradients(parameters, batch, into, on_the_way)
    stack.measure(parameters, batch, by_itself)
    hot = F.one_hot(tokens, p).double()
    W_in = parameters["W_in"]
    pre = hot[:, :, 0] @ W_in[:, 0] + hot[:, :, 1] @ W_in[:, 1] + parameters["b_in"][:, None]
    logits = pre.relu() @ parameters["W_out"] + parameters["b_out"][:, None]
    for name, answers in (("own", labels), ("other", other)):
        right = (logits.argmax(-1) == answers).double().mean(-1)
        for tally in (on_the_way, by_itself):
            torch.testing.assert_close(tally.accuracy(name, 30), right)
    torch.testing.assert_close(on_the_way.loss(30), by_itself.loss(30))


@settings(max_examples=25, deadline=None)
@given(pairs=st.integers(1, 12), p=st.integers(3, 9), d=st.integers(1, 4), seed=st.integers(0, 99))
def test_lookup_passes_gradcheck_and_equals_embedding(
    pairs: int, p: int, d: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(2 * p, d, generator=generator, dtype=torch.float64, requires_grad=True)
    index = torch.randint(p, (pairs, 2), generator=generator) + torch.tensor([0, p])
    incidence = Incidence.of(index, 2 * p, torch.float64)
    assert torch.autograd.gradcheck(lambda rows: Lookup.apply(rows, incidence), (table,))
    found = Lookup.apply(table, incidence)
    torch.testing.assert_close(found, table[index].sum(1))
    torch.testing.assert_close(incidence.rows.to_dense().T, incidence.columns.to_dense())


def test_the_gradient_does_not_depend_on_what_is_counted() -> None:
    """Bit for bit: a run must not change with how often it is evaluated."""
    parameters, tokens, labels = draw(1, 2, 11, 16, 60)
    parameters = {name: tensor.float() for name, tensor in parameters.items()}
    batch = Batch(tokens, labels, 11, 16, torch.float32)
    for kind in LOSSES:
        stack = Stack(1, 11, 16, "relu", 1.0, kind)
        silent, counted = (
            {n: torch.zeros_like(t) for n, t in parameters.items()} for _ in range(2)
        )
        stack.gradients(parameters, batch, silent)
        stack.gradients(parameters, batch, counted, Tally(kind, {"own": labels}))
        assert all(torch.equal(silent[name], counted[name]) for name in parameters)


def test_no_pairs_give_nan() -> None:
    parameters, tokens, labels = draw(1, 2, 5, 3, 0)
    tally = Tally("mse", {"own": labels})
    Stack(1, 5, 3, "relu", 1.0, "mse").measure(
        parameters, Batch(tokens, labels, 5, 3, torch.float64), tally
    )
    assert tally.loss(0).isnan().all()
    assert tally.accuracy("own", 0).isnan().all()


def test_the_slope_of_stablemax_at_zero_is_one() -> None:
    """Where its branches meet; autograd and the formula agree: 1/3 - [j = y]."""
    logits = torch.zeros(1, 3, requires_grad=True)
    pair_losses(logits, torch.tensor([0]), "stablemax").sum().backward()
    formula = gradients.logit_gradients(
        logits.detach(), torch.tensor([0]), torch.tensor([-1.0]), "stablemax", torch.empty(1, 3)
    )
    expected = torch.tensor([[-2 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(logits.grad, expected)
    torch.testing.assert_close(formula, expected)


def test_float64_softmax_learns_where_float32_has_collapsed() -> None:
    """At a margin of 30 nats softmax in float32 is exactly 1 and its gradient exactly 0."""
    logits = torch.tensor([[30.0, 0.0, -5.0]])
    label, at, minus = torch.tensor([0]), torch.tensor([0]), torch.tensor([-1.0])
    found = {
        kind: gradients.logit_gradients(logits, at, minus, kind, torch.empty_like(logits))[0, 0]
        for kind in ("cross_entropy", "cross_entropy_float64", "stablemax")
    }
    assert float(found["cross_entropy"]) == 0
    assert float(found["cross_entropy_float64"]) == pytest.approx(-9.42e-14, rel=1e-2)
    # s = 31, 1, 1/6: -(1/31) (1 - 31 / (31 + 1 + 1/6))
    assert float(found["stablemax"]) == pytest.approx(-(1 - 31 / (32 + 1 / 6)) / 31, rel=1e-4)
    assert float(pair_losses(logits, label, "cross_entropy")) == 0
    assert float(pair_losses(logits, label, "cross_entropy_float64")) == pytest.approx(
        9.42e-14, rel=1e-2
    )
