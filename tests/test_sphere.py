"""Norms by hand, and training on the sphere by two routes."""

import dataclasses

import pytest
import torch
from torch import nn

from grok_interp import sphere, training
from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.losses import pair_losses
from grok_interp.sphere import Sphere
from grok_interp.tasks import ModularTask


class Tied(nn.Module):
    """One matrix used twice, a bias, and a parameter that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.tensor([12.0]), requires_grad=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.0]]))
            self.first.bias.copy_(torch.tensor([0.0, 4.0]))


def test_each_parameter_counts_once_and_biases_count() -> None:
    module = Tied()
    assert sphere.norm(module) == pytest.approx(13)  # 3^2 + 4^2 + 12^2
    assert Sphere(module).radius == {"all": pytest.approx(5)}  # what learns
    sphere.scale(module, 2.0)
    assert module.second.weight[0, 0] == 6
    assert sphere.norm(module) == pytest.approx(26)


def test_projecting_restores_the_norm_and_keeps_the_direction() -> None:
    module = Tied()
    ball = Sphere(module)
    with torch.no_grad():
        module.first.weight.mul_(3)
        module.first.bias.mul_(3).add_(torch.tensor([1.0, 0.0]))
    moved = torch.cat([module.first.weight.flatten(), module.first.bias]).detach().clone()
    ball.project()
    found = torch.cat([module.first.weight.flatten(), module.first.bias])
    torch.testing.assert_close(found, moved * 5 / moved.norm())
    assert module.frozen.item() == 12


def test_per_layer_keeps_the_norm_of_each() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    ball = Sphere(module, "per_layer")
    before = [sphere.norm(module[i]) for i in (0, 2)]
    assert list(ball.radius.values()) == pytest.approx(before)
    with torch.no_grad():
        module[0].weight.mul_(2)
        module[2].bias.add_(1)
    ball.project()
    assert [sphere.norm(module[i]) for i in (0, 2)] == pytest.approx(before)


def test_layers_are_owners_and_in_a_hooked_mlp_the_two_matrices_with_their_biases() -> None:
    mlp = "blocks.0.mlp"
    names = [f"{mlp}.W_in", f"{mlp}.b_in", f"{mlp}.W_out", f"{mlp}.b_out"]
    assert sphere.groups(names, "per_layer") == {
        f"{mlp}.in": [names[0], names[1]],
        f"{mlp}.out": [names[2], names[3]],
    }
    assert sphere.groups(["W_in", "W_out", "b_in"], "per_layer") == {
        "in": ["W_in", "b_in"],
        "out": ["W_out"],
    }
    assert sphere.groups(["weight", "bias"], "per_layer") == {"all": ["weight", "bias"]}
    assert sphere.groups(["lstm.weight_ih_l0", "lstm.bias_hh_l1", "head.weight"], "per_layer") == {
        "lstm": ["lstm.weight_ih_l0", "lstm.bias_hh_l1"],
        "head": ["head.weight"],
    }
    assert sphere.groups(names, "none") == {}


@pytest.mark.parametrize("constraint", ["sphere", "per_layer"])
def test_training_on_the_sphere_is_adam_and_a_projection_after_each_step(constraint: str) -> None:
    task = ModularTask(11)
    split = task.split(0.6, seed=0)
    fields = {"p": 11, "d_mlp": 16, "bias_in": True, "bias_out": True, "init_scale": 3.0}
    by_hand = HookedMLP(**fields, dtype="float64", seed=1)
    by_train = HookedMLP(**fields, dtype="float64", seed=1)
    how = TrainConfig(
        steps=12,
        lr=1e-2,
        weight_decay=0.0,
        optimizer="adam",
        constraint=constraint,
        eval_every=4,
        progress=False,
    )
    run = training.train(by_train, split, how)
    ball = Sphere(by_hand, constraint)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2, betas=how.betas)
    for _ in range(how.steps):
        optimizer.zero_grad()
        logits = by_hand(split.train_tokens)
        pair_losses(logits, split.train_labels, "cross_entropy").mean().backward()
        optimizer.step()
        ball.project()
    for name, parameter in by_hand.named_parameters():
        torch.testing.assert_close(dict(by_train.named_parameters())[name], parameter)
    norms = run.metrics["weight_norm"]
    assert norms.to_numpy() == pytest.approx(norms.iloc[0])
    # It did learn, and without the constraint it ends elsewhere.
    assert run.metrics["train_loss"].iloc[-1] < run.metrics["train_loss"].iloc[0]
    free = HookedMLP(**fields, dtype="float64", seed=1)
    training.train(free, split, dataclasses.replace(how, constraint="none"))
    assert float((free.W_in - by_train.W_in).detach().abs().max()) > 1e-3


def test_only_what_is_trained_is_held() -> None:
    split = ModularTask(7).split(0.6)
    model = HookedMLP(p=7, d_mlp=8, seed=0)
    W_in, norm = model.W_in.detach().clone(), float(model.W_out.detach().norm())
    training.train(model, split, steps=5, constraint="sphere", trainable=("W_out",), progress=False)
    assert torch.equal(model.W_in, W_in)
    assert float(model.W_out.detach().norm()) == pytest.approx(norm)


def test_what_has_no_norm_cannot_be_held() -> None:
    split = ModularTask(7).split(0.6)
    model = HookedMLP(p=7, d_mlp=8, seed=0)
    with torch.no_grad():
        model.W_out.zero_()
    with pytest.raises(ValueError, match=r"the norm of 'out' is 0\.0"):
        training.train(model, split, steps=2, constraint="per_layer", progress=False)
    training.train(model, split, steps=2, constraint="sphere", progress=False)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sphere.scale(Tied(), 0.0), r"alpha=0.0 must be a positive number"),
        (lambda: Sphere(Tied(), "none"), r"constraint='none' is unknown"),
        (lambda: Sphere(nn.ReLU()), "ReLU has no parameter that requires gradients"),
        (lambda: Sphere(HookedMLP(p=5, d_mlp=4, init_scale=0.0)), "norm of 'all' is 0.0"),
        (lambda: TrainConfig(constraint="ball"), "constraint='ball' is unknown"),
    ],
)
def test_bad_input_is_named(call, words) -> None:
    with pytest.raises(ValueError, match=words):
        call()
