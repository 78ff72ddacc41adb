"""Filters keep or remove exactly the frequencies named, wherever they act."""

import math

import pytest
import torch
from torch import Tensor

from grok_interp import grid
from grok_interp.filters import (
    GridFrequencies,
    LogitFrequencies,
    TokenFrequencies,
    WeightFrequencies,
)
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.weights import OUT_HOOK, POST_HOOK

D = 6
MODULI = [3, 7, 8, 12, 13]


def filtered_by_fft(x: Tensor, frequencies: list[int], action: str, dim: int) -> Tensor:
    """Second route: mask the FFT."""
    p = x.shape[dim]
    transform = torch.fft.fft(x, dim=dim).movedim(dim, -1)
    index = torch.minimum(torch.arange(p), p - torch.arange(p))
    inside = torch.isin(index, torch.tensor(frequencies))
    mask = (inside | (index == 0)) if action == "keep" else ~inside
    return torch.fft.ifft((transform * mask).movedim(-1, dim), dim=dim).real


def model_of(p: int, seed: int = 0) -> HookedMLP:
    return HookedMLP(p=p, d_mlp=D, seed=seed, dtype="float64", bias_in=True)


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("action", ["keep", "remove"])
def test_weight_columns_are_filtered_as_by_fft(p: int, action: str) -> None:
    model, some = model_of(p), [1, p // 2]
    with model.intervened(WeightFrequencies(action, some)):
        changed = model.effective_weights()
    assert torch.allclose(changed.W_in, filtered_by_fft(model.W_in, some, action, 1))
    assert torch.allclose(changed.W_out, filtered_by_fft(model.W_out, some, action, 1))


@pytest.mark.parametrize("matrices", ["W_a", "W_b", "W_out", "W_in", ("W_a", "W_out")])
def test_only_chosen_columns_change(matrices) -> None:
    model, named = model_of(7), {"W_in": ("W_a", "W_b")}
    chosen = named.get(matrices, (matrices,) if isinstance(matrices, str) else matrices)
    with model.intervened(WeightFrequencies("remove", 2, matrices, neurons=[1, 4])):
        changed = model.effective_weights().columns()
    own = model.weights().columns()
    touched = (changed != own).any(-2)
    for row, name in enumerate(("W_a", "W_b", "W_out")):
        expected = [1, 4] if name in chosen else []
        assert touched[row].nonzero().flatten().tolist() == expected


def test_without_the_constant_columns_have_no_mean() -> None:
    model = model_of(7)
    for action in ("keep", "remove"):
        with model.intervened(WeightFrequencies(action, 1, keep_constant=False)):
            changed = model.effective_weights()
        assert changed.columns().mean(-2).abs().max() < 1e-12


def test_for_multiplication_columns_are_filtered_by_discrete_logarithm() -> None:
    task, model = ModularTask(11, "multiply"), model_of(11)
    found = task.coordinates
    with model.intervened(WeightFrequencies("keep", [1, 3], task=task)):
        changed = model.effective_weights()
    own = model.weights()
    order = torch.empty(10, dtype=torch.int64)
    order[found.a[found.a >= 0]] = (found.a >= 0).nonzero().flatten()
    for row in range(2):
        expected = filtered_by_fft(own.W_in[row][order], [1, 3], "keep", 0)
        assert torch.allclose(changed.W_in[row][order], expected)
    expected = filtered_by_fft(own.W_out[:, found.readout], [1, 3], "keep", 1)
    assert torch.allclose(changed.W_out[:, found.readout], expected)
    zero = found.a == -1
    assert torch.equal(changed.W_in[:, zero], own.W_in[:, zero])  # zero has no coordinate
    assert torch.equal(changed.W_out[:, zero], own.W_out[:, zero])


def test_tokens_that_share_a_coordinate_are_filtered_by_what_they_see() -> None:
    task = ModularTask(7, "a**2 + b")
    n = torch.arange(7, dtype=torch.float64)
    seen = torch.cos(2 * math.pi * 2 * (n**2 % 7) / 7 + 0.3)  # a wave in a**2
    other = torch.cos(2 * math.pi * 1 * n / 7)
    W_in = torch.stack([seen[:, None], other[:, None]])
    model = HookedMLP.from_weights(W_in, torch.ones(1, 7, dtype=torch.float64))
    with model.intervened(WeightFrequencies("remove", 2, "W_a", task=task)):
        changed = model.effective_weights().W_in[0]
    assert torch.allclose(changed, W_in[0].mean(0).expand(7, 1))


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("action", ["keep", "remove"])
def test_logits_are_filtered_along_the_classes(p: int, action: str) -> None:
    task, model = ModularTask(p), model_of(p)
    logits = model(task.tokens)
    with model.intervened(LogitFrequencies(action, [1], task=task)):
        changed = model(task.tokens)
    assert torch.allclose(changed, filtered_by_fft(logits, [1], action, 1))


def test_filtering_logits_is_filtering_w_out() -> None:
    task, model = ModularTask(13), model_of(13)
    with model.intervened(LogitFrequencies("keep", [2, 5], task=task)):
        one = model(task.tokens)
    with model.intervened(WeightFrequencies("keep", [2, 5], "W_out")):
        other = model(task.tokens)
    assert torch.allclose(one, other)


@pytest.mark.parametrize("direction", list(grid.DIRECTIONS))
@pytest.mark.parametrize("hook_name", [POST_HOOK, OUT_HOOK])
def test_the_grid_filter_keeps_and_removes_a_direction(direction: str, hook_name: str) -> None:
    task, model = ModularTask(7), model_of(7)
    _, cache = model.run_with_cache(task.tokens)
    own = cache[hook_name]
    part = grid.part(own, direction, [1, 2])
    for action, expected in (("keep", own.mean(0) + part), ("remove", own - part)):
        with model.intervened(GridFrequencies(action, [1, 2], direction, hook_name, task=task)):
            changed = model.run_with_cache(task.tokens)[1][hook_name]
        assert torch.allclose(changed, expected)
    nothing = GridFrequencies("keep", [], direction, hook_name, keep_constant=False, task=task)
    with model.intervened(nothing):
        assert model.run_with_cache(task.tokens)[1][hook_name].abs().max() == 0


@pytest.mark.parametrize("p", [7, 8])
def test_several_directions_are_kept_together_with_what_they_share_counted_once(p: int) -> None:
    task, model = ModularTask(p), model_of(p)
    own = model.run_with_cache(task.tokens)[1][POST_HOOK]
    transform = torch.fft.fft2(own.reshape(p, p, D), dim=(0, 1))
    mask = torch.zeros(p, p, 1, dtype=torch.bool)
    for i, j in ((1, 1), (1, -1), (1, 0)):
        for k in (1, p // 2):
            mask[k * i % p, k * j % p] = mask[-k * i % p, -k * j % p] = True
    part = torch.fft.ifft2(transform * mask, dim=(0, 1)).real.reshape(p * p, D)
    some = {"frequencies": [1, p // 2], "direction": ("a+b", "a-b", "a"), "task": task}
    for action, expected in (("keep", own.mean(0) + part), ("remove", own - part)):
        with model.intervened(GridFrequencies(action, **some)):
            changed = model.run_with_cache(task.tokens)[1][POST_HOOK]
        assert torch.allclose(changed, expected)


def test_the_answers_direction_is_taken_unless_another_is_named() -> None:
    for operation, direction in (("add", "a+b"), ("subtract", "a-b")):
        task, model = ModularTask(7, operation), model_of(7)
        with model.intervened(GridFrequencies("keep", task=task)):
            one = model(task.tokens)
        with model.intervened(GridFrequencies("keep", direction=direction, task=task)):
            assert torch.equal(model(task.tokens), one)


def test_what_depends_on_one_operand_lies_along_its_direction() -> None:
    task, model = ModularTask(8), model_of(8)
    with model.intervened(
        GridFrequencies("keep", direction="a", hook_name="hook_embed", task=task)
    ):
        changed = model.run_with_cache(task.tokens)[1]["hook_embed"]
    assert torch.allclose(changed[:, 0], model.W_in[0][task.tokens[:, 0]])
    assert torch.allclose(changed[:, 1], model.W_in[1].mean(0).expand(64, D))


@pytest.mark.parametrize("operand", ["a", "b"])
@pytest.mark.parametrize("action", ["keep", "remove"])
def test_the_token_axis_is_filtered_as_by_fft(operand: str, action: str) -> None:
    task, model = ModularTask(8), model_of(8)
    own = model.run_with_cache(task.tokens)[1][POST_HOOK].reshape(8, 8, D)
    with model.intervened(TokenFrequencies(action, [1, 4], operand, task=task)):
        changed = model.run_with_cache(task.tokens)[1][POST_HOOK].reshape(8, 8, D)
    axis = 0 if operand == "a" else 1
    assert torch.allclose(changed, filtered_by_fft(own, [1, 4], action, axis))
    with model.intervened(TokenFrequencies("keep", [], operand, keep_constant=False, task=task)):
        assert model.run_with_cache(task.tokens)[1][POST_HOOK].abs().max() == 0


@pytest.mark.parametrize("make", [GridFrequencies, TokenFrequencies])
def test_grid_filters_act_in_coordinates_and_leave_other_pairs_alone(make) -> None:
    task, model = ModularTask(11, "multiply"), model_of(11)
    rows = task.coordinates.lattice
    own = model.run_with_cache(task.tokens)[1][POST_HOOK]
    with model.intervened(make("remove", [2], task=task)):
        changed = model.run_with_cache(task.tokens)[1][POST_HOOK]
    part = grid.part if make is GridFrequencies else grid.axis_part
    name = "a+b" if make is GridFrequencies else "a"
    assert torch.allclose(changed[rows], own[rows] - part(own[rows], name, [2]))
    zero = ~task.has_coordinates
    assert torch.equal(changed[zero], own[zero])


def test_one_position_of_a_longer_activation() -> None:
    x = torch.randn(49, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    where = {"hook_name": "somewhere", "task": ModularTask(7)}
    (name, hook) = GridFrequencies("remove", [1], position=-1, **where).fwd_hooks()[0]
    changed = hook(x.clone(), hook=None)
    assert name == "somewhere"
    assert torch.equal(changed[:, :2], x[:, :2])
    assert torch.allclose(changed[:, 2], x[:, 2] - grid.part(x[:, 2], "a+b", [1]))
    (_, everywhere) = GridFrequencies("remove", [1], **where).fwd_hooks()[0]
    assert torch.allclose(everywhere(x, hook=None), x - grid.part(x, "a+b", [1]))


def test_logits_of_more_than_the_classes_keep_the_rest() -> None:
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    task = ModularTask(7)
    (_, hook) = LogitFrequencies("keep", [1], "logits", position=-1, task=task).fwd_hooks()[0]
    changed = hook(x.clone(), hook=None)
    assert torch.equal(changed[..., 7], x[..., 7])
    assert torch.equal(changed[:, :2], x[:, :2])
    assert torch.allclose(changed[:, 2, :7], filtered_by_fft(x[:, 2, :7], [1], "keep", 1))


def test_filters_do_not_write_into_what_they_are_given() -> None:
    task, model = ModularTask(7), model_of(7)
    filters = [
        WeightFrequencies("remove", 1),
        LogitFrequencies("remove", 1, task=task),
        GridFrequencies("remove", 1, task=task),
        TokenFrequencies("remove", 1, task=task),
    ]
    plain = model(task.tokens)
    _, before = model.run_with_cache(task.tokens)
    kept = {name: value.clone() for name, value in before.items()}
    with model.intervened(*filters):
        assert not torch.allclose(model(task.tokens), plain)
    assert all(torch.equal(before[name], value) for name, value in kept.items())
    assert torch.equal(model(task.tokens), plain)


ADD = ModularTask(7)


class Point:
    name = "here"


@pytest.mark.parametrize(
    ("make", "x", "words"),
    [
        (lambda: WeightFrequencies("drop", 1), None, "action='drop'"),
        (lambda: WeightFrequencies("keep", 1, "W_c"), None, "'W_c'"),
        (lambda: GridFrequencies("keep", 1, "2a", task=ADD), None, "direction='2a'"),
        (lambda: TokenFrequencies("keep", 1, "c", task=ADD), None, "operand='c'"),
        (
            lambda: GridFrequencies("keep", 4, task=ADD),
            torch.zeros(49, 2),
            r"frequency 4 .* 1\.\.3",
        ),
        (
            lambda: GridFrequencies("keep", 1, task=ADD),
            torch.zeros(25, 2),
            r"25 rows and the task 49 pairs: run the model on all of task\.tokens",
        ),
        (
            lambda: GridFrequencies("keep", 1, position=1, task=ADD),
            torch.zeros(49, 2),
            "no position axis",
        ),
        (
            lambda: GridFrequencies("keep", 1, position=3, task=ADD),
            torch.zeros(49, 3, 2),
            "has 3 positions, not 3",
        ),
        (
            lambda: GridFrequencies("keep", 1, task=ModularTask(5)),
            torch.zeros(49, 2),
            "49 rows and the task 25 pairs",
        ),
        (
            lambda: LogitFrequencies("keep", 1, task=ModularTask(9)),
            torch.zeros(4, 7),
            "7 classes, fewer than the task's 9",
        ),
        (
            lambda: GridFrequencies(
                "keep", 1, direction="a", task=ModularTask(7, "a*b + a**2 + b**3")
            ),
            torch.zeros(49, 2),
            "no coordinates were found",
        ),
        (
            lambda: GridFrequencies("keep", 1, task=ModularTask(7, "a**2 + b")),
            torch.zeros(49, 2),
            "do not take each of the 7 coordinates once",
        ),
    ],
)
def test_errors(make, x, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make().fwd_hooks()[0][1](x, hook=Point())
