"""Where variance leaks to: one neuron's four parts, and transforms by FFT."""

import math

import pytest
import torch

from grok_interp import measures
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.weights import MLPWeights

MODULI = [3, 4, 7, 8, 9, 12, 13]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def says(values: torch.Tensor):
    p = math.isqrt(len(values))
    return lambda tokens: values[tokens[:, 0] * p + tokens[:, 1]]


def quadratic(
    p: int, k: int, phases: torch.Tensor, tokens: torch.Tensor | None = None
) -> MLPWeights:
    """arXiv 2301.02679, equation 7: neurons of one frequency with phases ``[neurons, 2]``."""
    n = torch.arange(p, dtype=torch.float64) if tokens is None else tokens.double()
    angle = 2 * math.pi * k * n[:, None] / p
    W_in = torch.stack([torch.cos(angle + phases[:, 0]), torch.cos(angle + phases[:, 1])])
    W_out = torch.cos(angle + phases.sum(1)).T
    return MLPWeights(W_in, W_out, act_fn="quadratic")


def folded(k: int, m: int) -> int:
    return min(k % m, -k % m)


@pytest.mark.parametrize(("p", "k"), [(7, 1), (7, 2), (7, 3), (9, 4), (12, 1), (12, 5), (13, 5)])
def test_one_neuron_leaks_in_the_known_proportions(p: int, k: int) -> None:
    task, weights = ModularTask(p), quadratic(p, k, noise(1, 2, seed=k))
    for found in (
        measures.leakage(weights, task),
        measures.activation_leakage(weights.post(task.tokens), task),
    ):
        parts = {"sum": 0.4, "difference": 0.4, "a": 0.1, "b": 0.1}
        for name, share in parts.items():
            values = getattr(found, name)
            wanted = torch.zeros(p // 2, dtype=torch.float64)
            for j in range(1, p // 2 + 1):
                at = j if name in ("sum", "difference") else folded(2 * j, p)
                here = k if name in ("sum", "difference") else folded(2 * k, p)
                wanted[j - 1] = share * (at == here)
            torch.testing.assert_close(values, wanted)


def test_phases_that_cancel_leave_the_answer_alone() -> None:
    """Of all combinations of three phases each, only the part along a + b survives the read-out."""
    thirds = 2 * math.pi * torch.arange(3, dtype=torch.float64) / 3
    phases = torch.cartesian_prod(thirds, thirds) + 0.3
    task, weights = ModularTask(13), quadratic(13, 3, phases)
    logits = measures.leakage(weights, task)
    wanted = torch.zeros(6, dtype=torch.float64)
    wanted[2] = 1
    torch.testing.assert_close(logits.sum, wanted)
    for rest in (logits.difference, logits.a, logits.b):
        assert rest.max() < 1e-12
    # The activations still hold all four parts.
    post = measures.activation_leakage(weights.post(task.tokens), task)
    torch.testing.assert_close(post.sum, 0.4 * wanted)
    assert measures.accuracy(weights, task) == 1
    # Without the phase relation nothing is left along a + b.
    wrong = MLPWeights(weights.W_in, weights.W_out.roll(1, 0), act_fn="quadratic")
    assert measures.leakage(wrong, task).sum.sum() < 0.9


@pytest.mark.parametrize("p", MODULI)
@pytest.mark.parametrize("operation", ["add", "subtract"])
def test_shares_are_those_of_the_fft(p: int, operation: str) -> None:
    task, table = ModularTask(p, operation), noise(p * p, p, seed=p) + 3
    centred = table - table.mean(1, keepdim=True)
    energy = torch.fft.fft2(centred.reshape(p, p, p), dim=(0, 1)).abs().square().sum(-1)
    energy[0, 0] = 0
    share = energy / energy.sum()

    def at(i: int, j: int) -> list[float]:
        pairs = [{(k * i % p, k * j % p), (-k * i % p, -k * j % p)} for k in range(1, p // 2 + 1)]
        return [sum(float(share[uv]) for uv in both - {(0, 0)}) for both in pairs]

    found = measures.leakage(says(table), task)
    sign = 1 if operation == "add" else -1
    for values, (i, j) in (
        (found.sum, (1, sign)),
        (found.difference, (1, -sign)),
        (found.a, (2, 0)),
        (found.b, (0, 2)),
    ):
        torch.testing.assert_close(values, torch.tensor(at(i, j), dtype=torch.float64))


def test_products_leak_where_logarithms_do() -> None:
    """Modulo 7 with the primitive root 3: one neuron of frequency 1 on Z_6."""
    logs = [0, 0, 2, 1, 4, 5, 3]
    task, table = ModularTask(7, "multiply"), torch.zeros(49, 1, dtype=torch.float64)
    for a in range(1, 7):
        for b in range(1, 7):
            angles = [2 * math.pi * logs[token] / 6 for token in (a, b)]
            table[7 * a + b] = (math.cos(angles[0] + 0.5) + math.cos(angles[1] - 1)) ** 2
    table[:7] = 9.0  # pairs with zero are left out
    found = measures.activation_leakage(table, task)
    close = torch.testing.assert_close
    one = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    close(found.sum, 0.4 * one)
    close(found.difference, 0.4 * one)
    # 2k = 2 on Z_6, where 2 * 2 = 4 folds to it too.
    close(found.a, 0.1 * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
    close(found.b, found.a)


def test_batches_are_networks_by_themselves_and_activations_come_in_token_order() -> None:
    task = ModularTask(8)
    batch = MLPWeights(noise(2, 3, 2, 8, 5), noise(2, 3, 5, 8, seed=1))
    logits = measures.leakage(batch, task)
    post = measures.activation_leakage(batch.post(task.tokens), task)
    for i in range(2):
        for j in range(3):
            for found, one in (
                (logits, measures.leakage(batch[i, j], task)),
                (post, measures.activation_leakage(batch[i, j].post(task.tokens), task)),
            ):
                for name in ("sum", "difference", "a", "b"):
                    torch.testing.assert_close(getattr(found, name)[i, j], getattr(one, name))


def test_an_untrained_network_varies_along_each_operand_alone() -> None:
    """The figure of the docstring: 40% each, and next to nothing along a + b."""
    found = measures.leakage(HookedMLP(p=59, d_mlp=512, seed=0), ModularTask(59))
    assert float(found.a.sum()) == pytest.approx(0.4, abs=0.02)
    assert float(found.b.sum()) == pytest.approx(0.4, abs=0.02)
    assert found.sum.sum() < 0.01
    white = measures.leakage(says(noise(59**2, 59)), ModularTask(59))
    for name in ("sum", "difference", "a", "b"):
        assert float(getattr(white, name).mean()) == pytest.approx(2 / 59**2, rel=0.1)


def test_what_does_not_vary_leaks_nothing_and_mistakes_are_named() -> None:
    task = ModularTask(7)
    assert measures.leakage(says(noise(1, 7).expand(49, 7)), task).sum.isnan().all()
    assert measures.activation_leakage(torch.full((49, 2), 0.7), task).a.isnan().all()
    with pytest.raises(
        ValueError, match=r"have 48 rows, expected 49: run the model on task\.tokens"
    ):
        measures.activation_leakage(noise(48, 2), task)
    with pytest.raises(ValueError, match="no coordinates were found"):
        measures.activation_leakage(noise(49, 2), ModularTask(7, "a**2 + a*b + b**2"))
    with pytest.raises(ValueError, match="do not take each of the 7 coordinates once"):
        measures.leakage(says(noise(49, 7)), ModularTask(7, "a**2 + b"))
    with pytest.raises(ValueError, match="gives 8 classes and the task has p=7"):
        measures.leakage(says(noise(49, 8)), task)


@pytest.mark.parametrize("p", [9, 10, 12, 13])
def test_totals_count_each_function_of_one_operand_once(p: int) -> None:
    task, table = ModularTask(p), noise(p * p, p, seed=p)
    found = measures.leakage(says(table), task)
    square = (table - table.mean(1, keepdim=True)).reshape(p, p, p)
    variance = (square - square.mean((0, 1))).square().sum()
    alone = torch.fft.fft(square.mean(1), dim=0).abs().square().sum(-1)
    # Of even p only even frequencies are doubles.
    doubles = alone[1:] if p % 2 else alone[2::2]
    torch.testing.assert_close(found.totals["a alone"], doubles.sum() / variance)
    torch.testing.assert_close(found.totals["sum"], found.sum.sum())
    row = measures.leakage_totals({"noise": found}).loc["noise"]
    assert row.index.tolist() == ["sum", "difference", "a alone", "b alone"]
    assert row["b alone"] == pytest.approx(float(found.totals["b alone"]))


def test_totals_of_one_neuron_are_the_known_proportions() -> None:
    task, names = ModularTask(13), ["sum", "difference", "a alone", "b alone"]
    weights = quadratic(13, 2, noise(1, 2))
    found = {
        "logits": measures.leakage(weights, task),
        "activations": measures.activation_leakage(weights.post(task.tokens), task),
    }
    for _, row in measures.leakage_totals(found).iterrows():
        assert row[names].tolist() == pytest.approx([0.4, 0.4, 0.1, 0.1])
    batch = measures.leakage(MLPWeights(noise(2, 2, 13, 5), noise(2, 5, 13, seed=1)), task)
    assert batch.totals["a alone"].shape == (2,)


def test_a_constant_leaks_at_k_and_not_at_2k() -> None:
    """(c + cos ka + cos kb)^2 adds 2c cos(ka) + 2c cos(kb) to what the pure neuron holds."""
    p, k, c = 13, 3, 0.5
    task, angle = ModularTask(p), 2 * torch.pi * torch.arange(p) / p
    column = torch.cos(k * angle)
    W_in = torch.stack([column + c, column])[..., None]
    post = MLPWeights(W_in, torch.ones(1, p), act_fn="quadratic").post(task.tokens)
    found = measures.activation_leakage(post.mT.unsqueeze(-1), task)
    own = found.at(torch.tensor([k]))
    variance = 2 * 0.5 + 2 * 0.125 + 2 * 2 * c**2
    expected = {"sum": 0.5, "difference": 0.5, "2a": 0.125, "2b": 0.125}
    for name, part in expected.items():
        assert float(own[name]) == pytest.approx(part / variance, rel=1e-4)
    assert float(found.totals["a alone"]) == pytest.approx((0.125 + 2 * c**2) / variance, rel=1e-4)
    assert found.at(torch.tensor([0]))["sum"].isnan().all()
    with pytest.raises(ValueError, match=r"0\.\.6"):
        found.at(torch.tensor([7]))
    with pytest.raises(ValueError, match=r"shape \[2\], expected \[1\]"):
        found.at(torch.tensor([3, 3]))


def test_functions_of_pairs_come_in_the_order_of_coordinates() -> None:
    """A product of (a, b) has its neuron's wave where the logarithms add up."""
    for operation in ("add", "multiply"):
        task = ModularTask(7, operation)
        weights = MLPWeights(noise(2, 7, 4), noise(4, 7, seed=1), act_fn="quadratic")
        pre, post, logit = measures.functions_of_pairs(weights, task, 2, 5).values()
        for row, (a, b) in enumerate(task.tokens[task.coordinates.lattice].tolist()):
            tokens = torch.tensor([[a, b]])
            assert pre[row] == weights.W_in[0, a, 2] + weights.W_in[1, b, 2]
            torch.testing.assert_close(logit[row], weights.logits(tokens)[0, 5])
        torch.testing.assert_close(post, pre.square())
        assert len(pre) == (49 if operation == "add" else 36)
    with pytest.raises(ValueError, match=r"neuron 4 and class 0 must be in 0\.\.3 and 0\.\.6"):
        measures.functions_of_pairs(weights, task, 4, 0)
    with pytest.raises(ValueError, match="batch of shape"):
        measures.functions_of_pairs(MLPWeights(noise(2, 2, 7, 4), noise(2, 4, 7)), task, 0, 0)
