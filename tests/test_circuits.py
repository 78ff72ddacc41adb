"""Clocks, pizzas and neither: constructed logits and embeddings, loops, and gradients by autograd."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from grok_interp import measures
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def says(values: torch.Tensor):
    p = math.isqrt(len(values))
    return lambda tokens: values[tokens[:, 0] * p + tokens[:, 1]]


def correct_logits(task: ModularTask, logit: torch.Tensor) -> torch.Tensor:
    """Logits that are ``logit`` of a pair at its label and 99 elsewhere."""
    table = torch.full((task.p**2, task.p), 99.0, dtype=torch.float64)
    return table.scatter(1, task.labels[:, None], logit.reshape(-1, 1))


def circle(p: int, k: int, phases: torch.Tensor) -> torch.Tensor:
    angle = 2 * math.pi * k * torch.arange(p, dtype=torch.float64)[:, None] / p
    return torch.cos(angle + phases)


def network(p: int, *batch: int, act_fn: str = "relu", seed: int = 0) -> MLPWeights:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=generator)

    return MLPWeights(draw(2, p, 9), draw(9, p), draw(9), act_fn=act_fn)


# Distance irrelevance


@pytest.mark.parametrize("p", [3, 5, 9, 13])
@pytest.mark.parametrize("operation", ["add", "subtract"])
def test_clocks_score_one_pizzas_zero_and_mixtures_what_their_variances_say(
    p: int, operation: str
) -> None:
    task = ModularTask(p, operation)
    a, b = task.tokens.unbind(1)
    along, across = ((a + b) % p, (a - b) % p) if operation == "add" else ((a - b) % p, (a + b) % p)
    f, g = noise(p), 2 * noise(p, seed=1)
    clock, pizza = f[along], g[across]

    def measured(logit: torch.Tensor) -> float:
        return float(measures.distance_irrelevance(says(correct_logits(task, logit)), task))

    assert measured(clock) == pytest.approx(1)
    assert measured(pizza) == pytest.approx(0, abs=1e-9)
    mixed = math.sqrt(float(f.var(correction=0) / (f.var(correction=0) + g.var(correction=0))))
    assert measured(clock + pizza) == pytest.approx(mixed)
    # The paper's pizza, whose correct logit is |cos(pi (a - b) / p)| in one frequency.
    assert measured((math.pi * across / p).cos().abs().double()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("p", "operation"), [(3, "add"), (8, "add"), (12, "subtract"), (7, "multiply")]
)
def test_distance_irrelevance_is_that_of_a_loop_over_differences(p: int, operation: str) -> None:
    task, table = ModularTask(p, operation), noise(p * p, p, seed=p)
    groups: dict[int, list[float]] = {}
    logs = {1: 0, 3: 1, 2: 2, 6: 3, 4: 4, 5: 5}  # powers of 3 mod 7
    for (a, b), label, row in zip(
        task.tokens.tolist(), task.labels.tolist(), table.tolist(), strict=True
    ):
        if operation == "multiply":
            if a * b == 0:
                continue
            difference = (logs[a] - logs[b]) % 6
        else:
            difference = (a + b if operation == "subtract" else a - b) % p
        groups.setdefault(difference, []).append(row[label])
    everything = np.std([x for group in groups.values() for x in group])
    wanted = np.mean([np.std(group) for group in groups.values()]) / everything
    assert float(measures.distance_irrelevance(says(table), task)) == pytest.approx(wanted)


def test_equal_correct_logits_have_no_distance_irrelevance() -> None:
    task = ModularTask(7)
    for value in (0.0, 0.3):
        table = correct_logits(task, torch.full((49,), value, dtype=torch.float64))
        assert measures.distance_irrelevance(says(table), task).isnan()


# Gradient symmetricity


def test_operands_that_enter_alike_score_one_and_opposites_minus_one() -> None:
    for p, act_fn in itertools.product((3, 8, 13), ("relu", "quadratic", "gelu", "identity")):
        weights = network(p, act_fn=act_fn)
        W_a = weights.W_in[0]
        for W_b, wanted in ((W_a, 1.0), (2.5 * W_a, 1.0), (-W_a, -1.0)):
            alike = MLPWeights(torch.stack([W_a, W_b]), weights.W_out, weights.b_in, act_fn=act_fn)
            found = measures.gradient_symmetricity(alike, ModularTask(p))
            assert float(found) == pytest.approx(wanted)


@pytest.mark.parametrize("act_fn", ["relu", "quadratic"])
def test_gradient_symmetricity_is_that_of_gradients_in_one_hot_inputs(act_fn: str) -> None:
    p = 4
    weights, task, cosines = network(p, act_fn=act_fn), ModularTask(p), []
    act = torch.relu if act_fn == "relu" else torch.square
    for a, b, c in itertools.product(range(p), repeat=3):
        x = torch.eye(p, dtype=torch.float64)[[a, b]].requires_grad_()
        logit = act(x[0] @ weights.W_in[0] + x[1] @ weights.W_in[1] + weights.b_in) @ weights.W_out
        (gradient,) = torch.autograd.grad(logit[c], x)
        cosines.append(torch.nn.functional.cosine_similarity(gradient[0], gradient[1], dim=0))
    mean, spread = float(torch.stack(cosines).mean()), float(torch.stack(cosines).std())
    found = float(measures.gradient_symmetricity(weights, task, samples=20_000))
    assert found == pytest.approx(mean, abs=4 * spread / math.sqrt(20_000))
    # A linear network has one gradient for each class, whatever the pair.
    linear = network(p, act_fn="identity")
    one_class = MLPWeights(linear.W_in, linear.W_out[:, :1].expand(-1, p), act_fn="identity")
    in_a, in_b = linear.W_in @ linear.W_out[:, 0]
    wanted = torch.nn.functional.cosine_similarity(in_a, in_b, dim=0)
    torch.testing.assert_close(measures.gradient_symmetricity(one_class, task), wanted)


def test_operands_are_compared_in_the_tasks_coordinates() -> None:
    weights = network(7)
    W_a = weights.W_in[0]
    mirrored = MLPWeights(torch.stack([W_a, W_a[-torch.arange(7) % 7]]), weights.W_out)
    subtract, add = ModularTask(7, "subtract"), ModularTask(7)
    assert float(measures.gradient_symmetricity(mirrored, subtract)) == pytest.approx(1)
    assert float(measures.gradient_symmetricity(mirrored, add)) < 0.9
    # The zero of a product has no coordinate and does not count.
    W_b = W_a.clone()
    W_b[0] = 50.0
    zero = MLPWeights(torch.stack([W_a, W_b]), weights.W_out)
    product = ModularTask(7, "multiply")
    assert float(measures.gradient_symmetricity(zero, product)) == pytest.approx(1)
    assert float(measures.gradient_symmetricity(zero, add)) < 0.9


def test_triples_are_drawn_from_the_seed_alone() -> None:
    weights, task = network(7), ModularTask(7)
    state = torch.get_rng_state()
    first = measures.gradient_symmetricity(weights, task, seed=3)
    again = measures.gradient_symmetricity(weights, task, seed=torch.Generator().manual_seed(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, measures.gradient_symmetricity(weights, task, seed=4))
    assert torch.equal(state, torch.get_rng_state())


def test_triples_without_a_gradient_are_left_out() -> None:
    alive = network(7)
    W_in = torch.stack([alive.W_in[0], alive.W_in[0]]).abs()
    W_in[:, :3] *= -1  # pairs below 3 reach no neuron
    some_off = MLPWeights(W_in, alive.W_out)
    assert float(measures.gradient_symmetricity(some_off, ModularTask(7))) == pytest.approx(1)
    dead = MLPWeights(-W_in.abs(), alive.W_out)
    assert measures.gradient_symmetricity(dead, ModularTask(7)).isnan()


# Circularity


@pytest.mark.parametrize("p", [5, 8, 13])
def test_circles_score_one_also_several_of_different_radii(p: int) -> None:
    phases = 2 * math.pi * torch.arange(12, dtype=torch.float64) / 12
    one, two = circle(p, 1, phases), circle(p, 2, phases.roll(3) * 5)
    both = torch.cat([one, 3 * two], 1) + 7  # on axes of their own; a constant does not matter
    weights = MLPWeights(
        torch.stack([both, torch.cat([one, 0 * two], 1)]), torch.zeros(24, p).double()
    )
    found = measures.circularity(weights, ModularTask(p))
    torch.testing.assert_close(found, torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("p", "operation"), [(5, "add"), (8, "add"), (12, "subtract"), (7, "multiply")]
)
def test_circularity_is_that_of_components_and_ffts_one_by_one(p: int, operation: str) -> None:
    weights = network(p)
    order = [1, 3, 2, 6, 4, 5] if operation == "multiply" else list(range(p))
    wanted = []
    for operand in range(2):
        rows = weights.W_in[operand].numpy()[order]
        centred = rows - rows.mean(0)
        values, vectors = np.linalg.eigh(centred @ centred.T)
        shares = []
        for component in vectors.T[np.argsort(values)[::-1][:4]]:
            power = np.abs(np.fft.fft(component)) ** 2
            folded = [
                power[k] + (power[-k] if 2 * k != len(order) else 0)
                for k in range(1, len(order) // 2 + 1)
            ]
            shares.append(max(folded) / power[1:].sum())
        wanted.append(np.mean(shares))
    found = measures.circularity(weights, ModularTask(p, operation))
    np.testing.assert_allclose(found, wanted)


def test_each_operand_has_a_circularity_and_a_constant_one_none() -> None:
    p, task = 13, ModularTask(13)
    W_in = torch.stack([circle(p, 3, noise(9)), noise(p, 9)])
    a, b = measures.circularity(MLPWeights(W_in, noise(9, p)), task).tolist()
    assert a == pytest.approx(1)
    assert b < 0.7
    constant = MLPWeights(torch.stack([W_in[0], noise(1, 9).expand(p, 9)]), noise(9, p))
    found = measures.circularity(constant, task)
    assert found[0] == pytest.approx(1)
    assert found[1].isnan()
    # Three points hold one frequency only.
    assert measures.circularity(network(3), ModularTask(3)).tolist() == pytest.approx([1, 1])


# Controls


def test_what_untrained_networks_score_is_what_the_docstrings_say() -> None:
    task = ModularTask(59)
    irrelevance, symmetricity, circles = [], [], []
    for seed in range(3):
        model = HookedMLP(p=59, d_mlp=512, seed=seed)
        irrelevance.append(float(measures.distance_irrelevance(model, task)))
        symmetricity.append(float(measures.gradient_symmetricity(model, task)))
        circles += measures.circularity(model, task).tolist()
    assert irrelevance == pytest.approx([0.99] * 3, abs=0.01)
    assert symmetricity == pytest.approx([0.0] * 3, abs=0.05)
    assert np.mean(circles) == pytest.approx((math.log(59 / 2) + 0.58) / (59 / 2), abs=0.02)
    tied = HookedMLP(p=59, d_mlp=64, seed=0, tied_operands=True)
    assert float(measures.gradient_symmetricity(tied, task)) == pytest.approx(1)


def test_the_published_linear_model_is_circular_and_has_eight_key_frequencies(
    fixtures: Path,
) -> None:
    """Model D of arXiv 2306.17844: embeddings concatenated, so the operands enter by weights apart."""
    file = fixtures / "pizza_linear_p59" / "model_7r4zst7evs.pt"
    stored = torch.load(file, weights_only=True, map_location="cpu")
    embed, bias = stored["embed.weight"], stored["l1.bias"]
    W_in = torch.stack([embed @ half.T for half in stored["l1.weight"].chunk(2, dim=1)])
    weights, task = MLPWeights(W_in, stored["unembed.weight"].T.contiguous(), bias), ModularTask(59)
    assert measures.circularity(weights, task).min() > 0.99
    assert measures.distance_irrelevance(weights, task) > 0.9
    assert abs(measures.gradient_symmetricity(weights, task)) < 0.1
    shares = measures.sum_shares(weights, task)
    keys = measures.key_frequencies(weights, task)
    assert len(keys) == 8
    assert float(shares[keys - 1].sum()) == pytest.approx(0.998, abs=1e-3)
    assert measures.logit_shares(weights, task).sum() > 0.98
    assert measures.restricted_loss(weights, task, keys) < 1e-4
    others = [k for k in range(1, 30) if k not in keys.tolist()]
    split = task.split(0.5, seed=0)
    assert measures.restricted_loss(weights, task, others) > 1
    assert measures.excluded_loss(weights, split, keys) > 1


@pytest.mark.parametrize(
    "number",
    [measures.distance_irrelevance, measures.gradient_symmetricity, measures.circularity],
)
@pytest.mark.parametrize(("p", "operation"), [(7, "add"), (8, "subtract"), (7, "multiply")])
def test_batch_axes_come_first_and_are_models_by_themselves(number, p: int, operation: str) -> None:
    task, batch = ModularTask(p, operation), network(p, 2, 3)
    found = number(batch, task)
    assert found.shape[:2] == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        torch.testing.assert_close(found[i, j], number(batch[i, j], task))


# Errors


@pytest.mark.parametrize(
    "number",
    [measures.distance_irrelevance, measures.gradient_symmetricity, measures.circularity],
)
def test_mistakes_are_named(number) -> None:
    with pytest.raises(ValueError, match="no coordinates were found"):
        number(network(7), ModularTask(7, "a**2 + a*b + b**2"))
    with pytest.raises(ValueError, match="do not take each of the 7 coordinates once"):
        number(network(7), ModularTask(7, "a**2 + b"))


@pytest.mark.parametrize("number", [measures.gradient_symmetricity, measures.circularity])
def test_measures_of_weights_say_what_they_need(number) -> None:
    with pytest.raises(ValueError, match="the model has p=7 and the task p=5"):
        number(network(7), ModularTask(5))


def test_no_triples_are_no_measure() -> None:
    with pytest.raises(ValueError, match="samples=0 leaves no triple"):
        measures.gradient_symmetricity(network(7), ModularTask(7), samples=0)
