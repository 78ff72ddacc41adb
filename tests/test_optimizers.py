"""The gradient rules by hand, and networks with their own settings against networks alone."""

import dataclasses

import pytest
import torch
from torch import Tensor

from grok_interp.config import TrainConfig
from grok_interp.optimizers import Optimizer

SHAPES = {"W_in": (2, 5, 4), "W_out": (4, 5)}


def draw(networks: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(networks, *shape, generator=generator, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


def run(config: TrainConfig, steps: int = 4) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """Parameters after some steps with gradients that do not depend on them; the gradients."""
    parameters, gradients = draw(1, 0), draw(1, 1)
    optimizer = Optimizer(parameters, gradients, [config])
    seen = []
    for number in range(steps):
        fresh = draw(1, 10 + number)
        for name in SHAPES:
            gradients[name].copy_(fresh[name])
        seen.append(fresh)
        optimizer.step(number)
    return parameters, seen


def test_grokfast_adds_the_moving_average() -> None:
    """Against plain SGD on gradients filtered by hand; the average starts at the first gradient."""
    fields = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0}
    config = TrainConfig(gradient="grokfast", grokfast_alpha=0.9, grokfast_lambda=3.0, **fields)
    found, seen = run(config)
    expected, average = draw(1, 0), seen[0]
    for gradient in seen:
        average = {name: 0.9 * average[name] + 0.1 * gradient[name] for name in SHAPES}
        for name in SHAPES:
            expected[name] -= 0.1 * (gradient[name] + 3.0 * average[name])
    for name in SHAPES:
        torch.testing.assert_close(found[name], expected[name])


def test_the_orthogonal_gradient_is_orthogonal_and_keeps_its_length() -> None:
    config = TrainConfig(gradient="orthogonal", optimizer="sgd", lr=0.1, weight_decay=0.0)
    found, seen = run(config, steps=1)
    before = draw(1, 0)
    for name in SHAPES:
        moved = found[name] - before[name]
        assert float((moved * before[name]).sum()) == pytest.approx(0, abs=1e-12)
        assert float(moved.norm()) == pytest.approx(0.1 * float(seen[0][name].norm()))
        # The part that is left points as the gradient does.
        assert float((moved * seen[0][name]).sum()) < 0


def test_warm_up_rises_linearly_to_the_learning_rate() -> None:
    config = TrainConfig(optimizer="sgd", lr=0.4, weight_decay=0.0, warmup_steps=4)
    found, seen = run(config, steps=6)
    expected = draw(1, 0)
    for rate, gradient in zip((0.1, 0.2, 0.3, 0.4, 0.4, 0.4), seen, strict=True):
        for name in SHAPES:
            expected[name] -= rate * gradient[name]
    for name in SHAPES:
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "adamw"},
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "adamw", "gradient": "grokfast", "warmup_steps": 3},
        {"optimizer": "adam", "gradient": "orthogonal"},
    ],
)
@pytest.mark.parametrize("same", [False, True])
def test_each_network_moves_as_it_would_alone(fields: dict, same: bool) -> None:
    base = TrainConfig(**fields)
    rates = [(1e-2, 0.5)] * 3 if same else [(1e-2, 0.5), (3e-2, 0.0), (1e-3, 2.0)]
    configs = [dataclasses.replace(base, lr=lr, weight_decay=decay) for lr, decay in rates]
    together, gradients = draw(3, 0), draw(3, 1)
    optimizer = Optimizer(together, gradients, configs)
    alone, own = [], []
    for i in range(3):
        alone.append({name: tensor[i : i + 1].clone() for name, tensor in together.items()})
        own.append({name: tensor[i : i + 1].clone() for name, tensor in gradients.items()})
    singles = [Optimizer(*each) for each in zip(alone, own, [[c] for c in configs], strict=True)]
    for number in range(6):
        fresh = draw(3, 20 + number)
        for name in SHAPES:
            gradients[name].copy_(fresh[name])
            for i in range(3):
                own[i][name].copy_(fresh[name][i : i + 1])
        optimizer.step(number)
        for single in singles:
            single.step(number)
    for i in range(3):
        for name in SHAPES:
            torch.testing.assert_close(together[name][i], alone[i][name][0], atol=1e-12, rtol=1e-12)


def test_a_saved_state_goes_on_where_it_was() -> None:
    config = TrainConfig(gradient="grokfast")
    whole, first, gradients = draw(1, 0), draw(1, 0), draw(1, 1)
    one, part = Optimizer(whole, gradients, [config]), Optimizer(first, gradients, [config])
    for number in range(6):
        fresh = draw(1, 30 + number)
        if number == 3:
            saved = {name: tensor.clone() for name, tensor in part.state.items()}
            part = Optimizer(first, gradients, [config], 3, saved)
        for optimizer in (one, part):
            for name in SHAPES:
                gradients[name].copy_(fresh[name])
            optimizer.step(number)
    for name in SHAPES:
        assert torch.equal(whole[name], first[name])
