"""Losses and right answers by hand, the teacher and its student, sides that do not fit."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from grok_interp import problems
from grok_interp.config import HookedMLPConfig, TaskConfig
from grok_interp.problems import Data, ModularProblem, Problem, Side


def problem(loss: str, **fields) -> Problem:
    def nothing(seed: int, size: int) -> Data:
        raise AssertionError("not asked for")

    return Problem("by hand", lambda seed: nn.Linear(2, 2), nothing, loss, 1, **fields)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_losses_are_those_of_pytorch_for_one_network_and_for_many() -> None:
    outputs, classes = draw(3, 7, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    hot = F.one_hot(classes, 4).double()
    for loss, each in (
        ("cross_entropy", lambda o: F.cross_entropy(o, classes)),
        ("mse_one_hot", lambda o: F.mse_loss(o, hot)),
    ):
        of = problem(loss)
        many = of.losses(outputs, classes)
        assert many.shape == (3, 7)
        for index in range(3):
            torch.testing.assert_close(many[index].mean(), each(outputs[index]))
            torch.testing.assert_close(of.losses(outputs[index], classes), many[index])
    flags = torch.tensor([0, 1, 1, 0, 1, 0, 1])
    for logit in (draw(3, 7), draw(3, 7, 1)):
        found = problem("binary").losses(logit, flags)
        expected = F.binary_cross_entropy_with_logits(
            logit.reshape(3, 7), flags.double().expand(3, 7), reduction="none"
        )
        torch.testing.assert_close(found, expected)
    values = draw(7, 4)
    torch.testing.assert_close(
        problem("mse").losses(outputs, values), (outputs - values).square().mean(-1)
    )
    torch.testing.assert_close(
        problem("mse").losses(outputs[0, :, 0], values[:, 0]),
        (outputs[0, :, 0] - values[:, 0]).square(),
    )


def test_right_answers_are_strict() -> None:
    outputs = torch.tensor([[2.0, 1.0], [1.0, 1.0], [0.0, 3.0]])
    classes = torch.tensor([0, 0, 0])
    for loss in ("cross_entropy", "mse_one_hot"):
        assert problem(loss).right(outputs, classes).tolist() == [1, 0, 0]
    logits, flags = torch.tensor([1.0, -1.0, 0.0, 0.0]), torch.tensor([1, 0, 1, 0])
    assert problem("binary").right(logits, flags).tolist() == [1, 1, 0, 0]
    near = torch.tensor([[0.0, 0.0], [0.1, 0.1]])
    tolerant = problem("mse", tolerance=0.005)
    assert tolerant.right(near, torch.zeros(2, 2)).tolist() == [1, 0]
    assert all(math.isnan(x) for x in problem("mse").right(near, torch.zeros(2, 2)))


def test_outputs_that_would_be_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gives \[5, 1\] and the targets are \[5\]"):
        problem("mse").losses(torch.zeros(5, 1), torch.zeros(5))


def test_the_student_is_of_the_teachers_shape_and_can_learn_exactly() -> None:
    of = problems.teacher_student()
    data, again, other = of.data(0, 100), of.data(0, 100), of.data(1, 100)
    assert data.train.inputs[0].shape == data.test.inputs[0].shape == (100, 5)
    assert torch.equal(data.train.targets, again.train.targets)
    assert not torch.equal(data.train.targets, other.train.targets)
    network = of.network(0)
    assert [tuple(layer.weight.shape) for layer in network[::2]] == [(100, 5), (100, 100), (5, 100)]
    assert all(isinstance(layer, nn.Tanh) for layer in network[1::2])
    small = of.data(0, 50)
    assert torch.equal(
        small.test.inputs[0], data.test.inputs[0]
    )  # every size is tested on the same
    assert len(small.train) == 50
    # The targets are those of one such network: the teacher's seed gives it back.
    generator = torch.Generator().manual_seed(0)
    teacher = of.network(int(torch.randint(2**62, (), generator=generator)))
    with torch.no_grad():
        outputs = teacher(data.test.inputs[0])
    assert float(of.right(outputs, data.test.targets).mean()) == 1
    assert float(of.losses(outputs, data.test.targets).max()) < 1e-10


def test_networks_follow_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    first, second, third = (problems.teacher_student().network(seed) for seed in (3, 3, 4))
    assert torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(first[0].weight, third[0].weight)
    assert torch.equal(before, torch.get_rng_state())


def test_a_constant_answer_reaches_its_loss_and_no_other_less() -> None:
    classes = torch.tensor([0, 0, 0, 1, 2, 2])
    shares = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64) / 6
    same = shares.log().expand(6, 3)
    found = problems.constant_loss(classes, "cross_entropy")
    assert found == pytest.approx(float(problem("cross_entropy").losses(same, classes).mean()))
    hot = problems.constant_loss(classes, "mse_one_hot")
    of = problem("mse_one_hot")
    assert hot == pytest.approx(float(of.losses(shares.expand(6, 3), classes).mean()))
    off = shares + torch.tensor([0.1, -0.1, 0.0])
    assert hot < float(of.losses(off.expand(6, 3), classes).mean())
    flags = torch.tensor([0, 1, 1, 1])
    logit = torch.full((4,), math.log(3.0), dtype=torch.float64)
    binary = problems.constant_loss(flags, "binary")
    assert binary == pytest.approx(float(problem("binary").losses(logit, flags).mean()))
    values = draw(7, 4)
    mean = values.mean(0).expand(7, 4)
    assert problems.constant_loss(values, "mse") == pytest.approx(
        float(problem("mse").losses(mean, values).mean())
    )


@pytest.mark.parametrize(
    ("targets", "loss", "words"),
    [
        (torch.tensor([0, 1], dtype=torch.int32), "mse_one_hot", "torch.int32.*int64 classes"),
        (torch.tensor([[0.0, math.nan], [1.0, 2.0]]), "mse", "1 train targets .* first is nan"),
        (torch.tensor([-1, 1]), "binary", "the first is -1 .* expected 0 or 1"),
    ],
)
def test_targets_that_do_not_fit_are_named(targets, loss: str, words: str) -> None:
    inputs = (torch.zeros(2, 2),)
    side = Side(inputs, targets)
    outputs = torch.zeros(2, 1) if loss == "binary" else torch.zeros(2, 2)
    with pytest.raises(ValueError, match=words):
        problem(loss).check(outputs, Data(side, side))


def test_both_sides_must_be_alike() -> None:
    train, test = Side((torch.zeros(2, 2),), draw(2, 2)), Side((torch.zeros(2, 2),), draw(2, 3))
    with pytest.raises(ValueError, match="make both sides alike"):
        problem("mse").check(torch.zeros(2, 2), Data(train, test))


@pytest.mark.usefixtures("unchecked")
def test_likely_slips_are_told_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"inputs is a Tensor .* write Side\(\(x,\), y\)"):
        Side(torch.zeros(2, 2), torch.zeros(2))
    with pytest.raises(TypeError, match="network is a Linear, expected a function from a seed"):
        Problem("mine", nn.Linear(2, 2), lambda seed, size: None, "mse", 1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Side((), torch.zeros(3)), r"have \[3\] examples"),
        (lambda: Side((torch.zeros(2, 1),), torch.zeros(3)), r"have \[2, 3\] examples"),
        (lambda: Side((torch.zeros(0, 1),), torch.zeros(0)), r"have \[0, 0\] examples"),
        (lambda: problem("hinge"), "loss='hinge' is unknown"),
        (lambda: problem("binary", tolerance=0.1), "tolerance=0.1 is for loss='mse'"),
        (
            lambda: ModularProblem(TaskConfig(7), HookedMLPConfig(p=11)),
            "model.p=11 and task.p=7 differ",
        ),
        (lambda: ModularProblem().split(0, 10**6), "1000000 training pairs"),
    ],
)
def test_bad_input_is_named(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
