"""Accuracy, margin, rank, loss and norms against loops over pairs."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from grok_interp import ablate, measures, outputs
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights

P, D_MLP = 5, 6
NUMBERS = [
    measures.accuracy,
    measures.correct,
    measures.margin,
    measures.mean_rank,
    measures.loss,
]


def network(*batch: int, seed: int = 0, biases: bool = False) -> MLPWeights:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=generator)

    return MLPWeights(
        draw(2, P, D_MLP),
        draw(D_MLP, P),
        draw(D_MLP) if biases else None,
        draw(P) if biases else None,
    )


def table(logits: list[list[float]]):
    """A model that gives row i of ``logits`` to the pair (i, 0)."""
    values = torch.tensor(logits, dtype=torch.float64)
    return lambda tokens: values[tokens[:, 0]]


def rows(n: int) -> torch.Tensor:
    return torch.stack([torch.arange(n), torch.zeros(n, dtype=torch.int64)], 1)


def by_loop(logits: list[list[float]], labels: list[int]) -> dict[str, list[float]]:
    found = {"margin": [], "rank": [], "loss": [], "mse": []}
    for row, label in zip(logits, labels, strict=True):
        others = [value for index, value in enumerate(row) if index != label]
        found["margin"].append(row[label] - max(others))
        found["rank"].append(1 + sum(value >= row[label] for value in others))
        top = max(row)
        normaliser = top + math.log(sum(math.exp(value - top) for value in row))
        found["loss"].append(normaliser - row[label])
        errors = [(value - (index == label)) ** 2 for index, value in enumerate(row)]
        found["mse"].append(sum(errors) / len(row))
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


# Against loops


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_number_is_the_loops(data):
    """Logits from a few whole numbers, so that ties are common."""
    n, p = data.draw(st.integers(1, 6)), data.draw(st.integers(3, 5))
    row = st.lists(st.integers(-2, 2).map(float), min_size=p, max_size=p)
    logits = data.draw(st.lists(row, min_size=n, max_size=n))
    labels = data.draw(st.lists(st.integers(0, p - 1), min_size=n, max_size=n))
    expected = by_loop(logits, labels)
    model, pairs = table(logits), {"tokens": rows(n), "labels": torch.tensor(labels)}
    assert measures.margin(model, **pairs).tolist() == expected["margin"]
    assert measures.correct(model, **pairs).tolist() == [x > 0 for x in expected["margin"]]
    assert measures.accuracy(model, **pairs).item() == pytest.approx(
        mean([x > 0 for x in expected["margin"]])
    )
    assert measures.mean_rank(model, **pairs).item() == pytest.approx(mean(expected["rank"]))
    assert measures.loss(model, **pairs).item() == pytest.approx(mean(expected["loss"]))
    assert measures.loss(model, kind="mse", **pairs).item() == pytest.approx(mean(expected["mse"]))


def test_ties_count_as_wrong_and_rank_last():
    task = ModularTask(P)
    equal = lambda tokens: torch.zeros(len(tokens), P)  # noqa: E731
    assert measures.accuracy(equal, task).item() == 0
    assert measures.mean_rank(equal, task).item() == P
    assert measures.loss(equal, task).item() == pytest.approx(math.log(P))
    tied = table([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    assert measures.accuracy(tied, tokens=rows(2), labels=torch.tensor([0, 0])).item() == 0.5


def test_logits_that_are_nan_are_wrong_and_never_ranked_first():
    """A diverged model is not a perfect one."""
    nan = lambda tokens: torch.full((len(tokens), P), math.nan)  # noqa: E731
    assert measures.accuracy(nan, ModularTask(P)).item() == 0
    rank = measures.mean_rank(nan, ModularTask(P)).item()
    assert math.isnan(rank) or rank == P


def test_a_model_that_knows_the_task():
    task = ModularTask(P, "a**2 + b")
    solver = lambda t: torch.eye(P)[(t[:, 0] ** 2 + t[:, 1]) % P] * 3  # noqa: E731
    assert measures.accuracy(solver, task).item() == 1
    assert measures.mean_rank(solver, task).item() == 1
    assert measures.margin(solver, task).tolist() == [3.0] * P**2
    assert measures.loss(solver, task).item() == pytest.approx(math.log(1 + 4 * math.exp(-3)))
    assert measures.loss(solver, task, kind="mse").item() == pytest.approx(4 / P)
    wrong = ModularTask(P, "a**2 + b + 1")
    assert measures.accuracy(solver, wrong).item() == 0


def test_a_task_means_all_of_its_pairs_and_tokens_only_theirs():
    task, model = ModularTask(P, "a*b"), network()
    expected = by_loop(model.logits(task.tokens).tolist(), task.labels.tolist())
    assert_allclose(measures.margin(model, task), expected["margin"])
    some = torch.tensor([3, 17, 4])
    found = measures.margin(model, tokens=task.tokens[some], labels=task.labels[some])
    assert_allclose(found, [expected["margin"][i] for i in some.tolist()])


def test_loss_stays_finite_where_exponentials_overflow():
    model = table([[0.0, 1e4, 0.0]])
    pairs = {"tokens": rows(1), "labels": torch.tensor([0])}
    assert measures.loss(model, **pairs).item() == pytest.approx(1e4)


# Batches and chunks


@pytest.mark.parametrize("number", NUMBERS)
def test_batch_axes_come_first_and_are_models_by_themselves(number):
    task, batch = ModularTask(P), network(2, 3, biases=True)
    found = number(batch, task)
    assert found.shape[:2] == (2, 3)
    for i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3)).tolist():
        assert_allclose(found[i, j], number(batch[i, j], task))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", [1, 7, 24, 25, 26])
def test_chunks_do_not_show(monkeypatch, number, size):
    """Also where the last chunk is short; one pair at least, however wide the batch."""
    task, single, batch = ModularTask(P), network(), network(4)
    whole = number(single.logits, task), number(single, task), number(batch, task)
    monkeypatch.setattr(outputs, "CHUNK_ELEMENTS", size * D_MLP)
    chunked = number(single.logits, task), number(single, task), number(batch, task)
    for first, second in zip(whole, chunked, strict=True):
        assert_allclose(first, second, rtol=1e-12)
    sizes = [len(chunk) for _, chunk in outputs.logits_in_chunks(single, task.tokens)]
    assert sum(sizes) == P * P
    assert max(sizes) == min(size, P * P)


def test_logits_are_the_models_without_a_gradient():
    model = network(3).map(lambda tensor: tensor.requires_grad_())
    tokens = ModularTask(P).tokens
    found = measures.logits(model, tokens)
    assert not found.requires_grad
    assert_allclose(found, model.logits(tokens).detach())


def test_no_pairs_have_no_accuracy():
    nothing = torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    assert measures.accuracy(network(), tokens=nothing[0], labels=nothing[1]).isnan()
    assert measures.accuracy(network(2), tokens=nothing[0], labels=nothing[1]).shape == (2,)


# Which pairs


@pytest.mark.parametrize("number", NUMBERS)
def test_pairs_must_be_said(number):
    task = ModularTask(P)
    for arguments in (
        {},
        {"tokens": task.tokens},
        {"labels": task.labels},
        {"task": task, "tokens": task.tokens, "labels": task.labels},
    ):
        with pytest.raises(ValueError, match=r"pass a task, split\.test, split\.train, or tokens="):
            number(network(), **arguments)
    with pytest.raises(ValueError, match=r"labels have shape \[3\], expected \[25\]"):
        number(network(), tokens=task.tokens, labels=task.labels[:3])


def test_an_unknown_loss_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"'hinge'.*'cross_entropy', .*'mse'"):
        measures.loss(network(), ModularTask(P), kind="hinge")


# Norms and chance


def test_norms_of_a_batch_and_their_total():
    batch = network(3, biases=True)
    found = measures.weight_norms(batch)
    assert set(found) == {"W_in", "W_out", "b_in", "b_out", "total"}
    for i in range(3):
        entries = {
            name: getattr(batch, name)[i].flatten().tolist() for name in found if name != "total"
        }
        for name, values in entries.items():
            assert found[name][i].item() == pytest.approx(math.hypot(*values))
        everything = [value for values in entries.values() for value in values]
        assert found["total"][i].item() == pytest.approx(math.hypot(*everything))


def test_absent_biases_have_no_norm_and_one_network_has_scalars():
    found = measures.weight_norms(network())
    assert set(found) == {"W_in", "W_out", "total"}
    assert found["total"].shape == ()
    assert found["total"].item() == pytest.approx(
        math.hypot(found["W_in"].item(), found["W_out"].item())
    )


def test_a_shared_embedding_counts_once():
    from grok_interp.hooked_mlp import HookedMLP

    model = HookedMLP(p=P, d_mlp=D_MLP, tied_operands=True, seed=0)
    found, written_out = measures.weight_norms(model), measures.weight_norms(model.weights())
    parameters = [parameter.flatten() for parameter in model.parameters()]
    assert found["total"].item() == pytest.approx(torch.cat(parameters).norm().item(), rel=1e-6)
    assert written_out["W_in"].item() == pytest.approx(math.sqrt(2) * found["W_in"].item())


@pytest.mark.parametrize("p", [3, 12, 113])
def test_chance_is_one_class_of_p(p):
    assert measures.chance(ModularTask(p)) == pytest.approx(1 / p)


def test_the_sides_of_a_split():
    task = ModularTask(P)
    split = task.split(0.5, label_noise=0.5, seed=1)
    for side, tokens, labels in (
        (split.train, split.train_tokens, split.train_labels),
        (split.test, split.test_tokens, split.test_labels),
    ):
        expected = measures.accuracy(network(), tokens=tokens, labels=labels)
        assert measures.accuracy(network(), side) == expected
    assert len(split.train.labels) + len(split.test.labels) == P * P


@pytest.mark.parametrize(
    ("tokens", "labels", "error", "words"),
    [
        (
            torch.zeros(1, 3, dtype=torch.int64),
            torch.zeros(1, dtype=torch.int64),
            ValueError,
            "shape",
        ),
        (torch.full((1, 2), P), torch.zeros(1, dtype=torch.int64), ValueError, "expected 0..4"),
        (torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), TypeError, "expected torch.int64"),
        (
            torch.zeros(1, 2, dtype=torch.int64),
            torch.full((1,), P),
            ValueError,
            "labels lie in 5..5",
        ),
        (
            torch.zeros(1, 2, dtype=torch.int64),
            torch.zeros(1),
            TypeError,
            "labels are torch.float32",
        ),
    ],
)
def test_bad_pairs_are_named(tokens, labels, error, words):
    with pytest.raises(error, match=words):
        measures.accuracy(network(), tokens=tokens, labels=labels)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux")
def test_all_pairs_at_p_499_stay_within_memory() -> None:
    """Peak memory of a fresh process over that of its imports, in measuring and in an evaluation of training.

    All activations at once would take 2 GB, all logits .5 GB. Every larger block is mapped by itself
    and returned when it is freed: left to itself, glibc's heap adds holes that differ from run to run
    (.1 to 1.6 GiB for the very same calls), which say nothing of what the code holds.
    """
    program = (
        "import re, torch\n"
        "from grok_interp import measures, training\n"
        "from grok_interp.hooked_mlp import HookedMLP\n"
        "from grok_interp.tasks import ModularTask\n"
        # Not getrusage, whose maximum a child inherits from the process that started it.
        "def peak(): return 1024 * int(\n"
        "    re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = peak()\n"
        "task = ModularTask(499)\n"
        "model = HookedMLP(p=499, d_mlp=2048, seed=0)\n"
        "print(float(measures.accuracy(model, task)), peak() - before)\n"
        "split = task.split(0.1, seed=0)\n"
        "run = training.train(model, split, steps=0, progress=False)\n"
        "print(run.metrics['test_accuracy'].iloc[-1], peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    lines = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert len(lines) == 2
    for accuracy, extra in lines:
        assert 0 <= accuracy < 0.1
        assert 0 < extra < 0.4 * 2**30, f"{extra / 2**30:.2f} GiB"


def test_a_model_with_hooks_on_activations_sees_all_pairs_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outputs, "CHUNK_ELEMENTS", 40)
    task, model = ModularTask(7), HookedMLP(p=7, d_mlp=8, seed=0)
    sizes = []

    def look(post: torch.Tensor, hook: object) -> None:
        sizes.append(len(post))

    with model.hooks(fwd_hooks=[("blocks.0.mlp.hook_post", look)]):
        measures.accuracy(model, task)
    assert sizes == [49]
    with model.intervened(ablate.GridFrequencies("remove", 1, task=task)):
        whole = model(task.tokens)
        assert torch.equal(measures.logits(model, task.tokens), whole)

    def look_at_weights(W_in: torch.Tensor, hook: object) -> None:
        sizes.append(-1)

    with model.hooks(fwd_hooks=[("blocks.0.mlp.hook_W_in", look_at_weights)]):
        measures.accuracy(model, task)
    assert sizes.count(-1) > 5  # once a chunk

    def function(tokens: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tokens))
        return model(tokens)

    measures.accuracy(function, task)
    assert sizes[-1] == 49


def test_a_task_of_another_modulus_is_refused() -> None:
    model = HookedMLP(p=7, d_mlp=8, seed=0)
    with pytest.raises(ValueError, match="the model gives 7 classes and the task has p=5"):
        measures.accuracy(model, ModularTask(5))
