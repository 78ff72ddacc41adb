"""Logits of known waves, and Fourier transforms over (a, b, c) as the second route to every number."""

import math
import re
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_interp import ablate, census, controls, grid, measures, outputs
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask, Pairs
from grok_interp.weights import MLPWeights

TASKS = [(3, "add"), (4, "add"), (7, "add"), (8, "add"), (9, "subtract"), (12, "subtract")]
TASKS += [(13, "add"), (7, "multiply"), (11, "multiply"), (7, "2*a + 3*b"), (5, "3*a*b")]
PRODUCTS = ("multiply", "3*a*b")
OVER_GRID = [measures.logit_coefficients, measures.logit_shares, measures.sum_shares]
OVER_GRID += [measures.restricted_loss, measures.margin_attribution]


def answer_minus_class(task: ModularTask) -> tuple[torch.Tensor, int]:
    """``F^-1(label) - F^-1(class)`` for all pairs and classes, -1 where there is none; and m."""
    p = task.p
    if task.operation in PRODUCTS:
        root = {5: 2, 7: 3, 11: 2}[p]
        log = torch.full((p,), -1)
        for exponent in range(p - 1):
            log[root**exponent % p] = exponent
        m = p - 1
    else:
        log, m = torch.arange(p), p
    sums = log[task.labels][:, None]
    difference = (sums - log) % m
    return torch.where((sums >= 0) & (log >= 0), difference, -1), m


def wave_logits(
    task: ModularTask, coefficients: torch.Tensor, phases: torch.Tensor | None = None
) -> torch.Tensor:
    """``sum_k A_k cos(2 pi k (a + b - c) / m + phi_k)`` for all pairs; 0 without coordinates."""
    difference, m = answer_minus_class(task)
    k = torch.arange(1, m // 2 + 1)
    phases = torch.zeros(len(k), dtype=torch.float64) if phases is None else phases
    waves = torch.cos(2 * math.pi * difference[..., None].double() * k / m + phases)
    return torch.where(difference >= 0, waves @ coefficients, 0.0)


def says(values: torch.Tensor):
    """A model that gives the logits of a table over all pairs."""
    p = math.isqrt(len(values))
    return lambda tokens: values[tokens[:, 0] * p + tokens[:, 1]]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(p: int, *batch: int, seed: int = 0) -> MLPWeights:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=generator)

    return MLPWeights(draw(2, p, 6), draw(6, p), draw(6), draw(p))


def frequencies(task: ModularTask) -> int:
    return answer_minus_class(task)[1] // 2


# Coefficients and shares


@pytest.mark.parametrize(("p", "operation"), TASKS)
def test_known_coefficients_come_back(p: int, operation: str) -> None:
    task = ModularTask(p, operation)
    m = answer_minus_class(task)[1]
    wanted = noise(m // 2, seed=p)
    shift = noise(p * p, 1, seed=1)  # of all classes of a pair, which no softmax sees
    model = says(wave_logits(task, wanted) + shift)
    torch.testing.assert_close(measures.logit_coefficients(model, task), wanted)
    energy = wanted.square()
    energy[: (m - 1) // 2] /= 2
    shares = measures.logit_shares(model, task)
    torch.testing.assert_close(shares, energy / energy.sum())
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(measures.sum_shares(model, task), shares)


@settings(max_examples=20, deadline=None)
@given(p=st.sampled_from([3, 4, 7, 8, 9, 13]), seed=st.integers(0, 100))
def test_any_logits_have_the_coefficients_of_the_transform_over_a_b_and_c(
    p: int, seed: int
) -> None:
    task, table = ModularTask(p), noise(p * p, p, seed=seed)
    transform = torch.fft.fftn(table.reshape(p, p, p)) / p**3
    k = torch.arange(1, p // 2 + 1)
    wanted = 2 * transform[k, k, -k].real
    if p % 2 == 0:
        wanted[-1] /= 2
    torch.testing.assert_close(measures.logit_coefficients(says(table), task), wanted)
    centred = table - table.mean(-1, keepdim=True)
    waves = torch.stack([wave_logits(task, row) for row in torch.eye(p // 2, dtype=torch.float64)])
    explained = (waves * centred).sum((1, 2)).square() / waves.square().sum((1, 2))
    torch.testing.assert_close(
        measures.logit_shares(says(table), task), explained / centred.square().sum()
    )
    along = torch.fft.fft2(centred.reshape(p, p, p), dim=(0, 1))[k, k].abs().square().sum(-1)
    along[: (p - 1) // 2] *= 2
    torch.testing.assert_close(measures.sum_shares(says(table), task), along / along.sum())


def test_noise_takes_the_share_that_its_variance_says() -> None:
    task, sigma = ModularTask(23), 0.8
    coefficients = torch.zeros(11, dtype=torch.float64)
    coefficients[[1, 6]] = torch.tensor([1.0, 2.0], dtype=torch.float64)
    table = wave_logits(task, coefficients) + sigma * noise(23**2, 23)
    energy = coefficients.square() / 2
    wanted = energy / (energy.sum() + sigma**2 * (1 - 1 / 23))
    found = measures.logit_shares(says(table), task)
    torch.testing.assert_close(found, wanted, atol=0.01, rtol=0.0)
    # Random logits: about 1/m^3 for each function.
    assert measures.logit_shares(says(noise(23**2, 23)), task).mean() < 3 / 23**3


def test_a_phase_off_the_answer_counts_by_the_square_of_its_cosine() -> None:
    task = ModularTask(11)
    one = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    for phase in (0.0, 0.4, math.pi / 2, math.pi):
        table = wave_logits(task, one, phase * one)
        found = measures.logit_shares(says(table), task)
        torch.testing.assert_close(found, math.cos(phase) ** 2 * one)
        torch.testing.assert_close(measures.sum_shares(says(table), task), one)
    wrong = ModularTask(11, "subtract")
    assert measures.logit_shares(says(wave_logits(task, one)), wrong).max() < 1e-12


def test_logits_that_do_not_vary_have_no_shares() -> None:
    task = ModularTask(7)
    for value in (torch.full((49, 7), 0.3), noise(49, 1).expand(49, 7)):
        assert measures.logit_shares(says(value), task).isnan().all()
        assert measures.sum_shares(says(value), task).isnan().all()
    prior = noise(1, 7).expand(49, 7)  # the same logits for all pairs
    assert measures.logit_shares(says(prior), task).max() < 1e-12
    assert measures.sum_shares(says(prior), task).isnan().all()
    with pytest.raises(ValueError, match="do not vary along a \\+ b"):
        measures.key_frequencies(says(prior), task)


# Key frequencies


def test_key_frequencies_are_those_above_the_threshold() -> None:
    task = ModularTask(29)
    coefficients = torch.zeros(14, dtype=torch.float64)
    coefficients[[2, 4, 10]] = torch.tensor([3.0, 1.0, -2.0], dtype=torch.float64)
    model = says(wave_logits(task, coefficients) + noise(29**2, 1))  # shares 9/14, 1/14, 4/14
    assert measures.key_frequencies(model, task).tolist() == [3, 5, 11]
    assert measures.key_frequencies(model, task, threshold=0.1).tolist() == [3, 11]
    assert measures.key_frequencies(model, task, threshold=0.7).tolist() == []


def test_a_network_that_uses_all_frequencies_alike_has_no_key_unless_they_are_few() -> None:
    for p, wanted in ((59, []), (43, []), (13, [1, 2, 3, 4, 5, 6])):
        even = says(wave_logits(ModularTask(p), torch.ones(p // 2, dtype=torch.float64)))
        assert measures.key_frequencies(even, ModularTask(p)).tolist() == wanted


def test_the_controls_score_what_the_docstrings_say() -> None:
    task = ModularTask(59)
    split, uniform = task.split(0.5, seed=0), math.log(59)
    untrained = HookedMLP(p=59, d_mlp=512, seed=0)
    assert measures.sum_shares(untrained, task).max() < 0.07
    assert measures.key_frequencies(untrained, task, threshold=0.07).tolist() == []
    assert float(measures.restricted_loss(untrained, task)) == pytest.approx(uniform, abs=0.01)
    fitted = controls.ridge_readout(
        untrained.weights().detach(), split.train_tokens, split.train_labels
    )
    frozen = replace(fitted, W_out=20 * fitted.W_out)
    assert measures.accuracy(frozen, split.test) < 0.02
    assert measures.loss(frozen, split.train) < 1
    assert float(measures.restricted_loss(frozen, task)) == pytest.approx(1.9, abs=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_table_of_labels_scores_what_the_docstrings_say(seed: int) -> None:
    """Wrong on every held-out pair; only the excluded loss tells it from a network that adds."""
    task = ModularTask(59)
    split, uniform = task.split(0.5, seed=seed), math.log(59)
    table = torch.zeros(59**2, 59)
    table[split.train_index, split.train_labels] = 20.0
    remembers, adds = says(table), says(20 * F.one_hot(task.labels, 59).float())
    assert measures.accuracy(remembers, split.test) == 0
    assert float(measures.loss(remembers, split.test)) == pytest.approx(uniform)
    assert 0.0065 < measures.restricted_loss(remembers, task, pairs=split.test) < 0.0105
    assert float(measures.logit_shares(remembers, task).sum()) == pytest.approx(0.5, abs=0.001)
    assert float(measures.logit_shares(adds, task).sum()) == pytest.approx(1)
    assert 0.0055 < measures.excluded_loss(remembers, split) < 0.0085
    assert float(measures.excluded_loss(adds, split)) == pytest.approx(uniform)
    for said in (sys.modules["grok_interp.mechanism"].__doc__, measures.restricted_loss.__doc__):
        assert ".007 to .010" in said
        assert ".006 to .008" in said


# Losses of parts


def cross_entropy(table: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(table, labels).double()


def masked(table: torch.Tensor, p: int, kept: set[tuple[int, int]]) -> torch.Tensor:
    """Logits with just the given characters (u, v) of Z_p x Z_p."""
    transform = torch.fft.fft2(table.reshape(p, p, p), dim=(0, 1))
    mask = torch.zeros(p, p, 1)
    for u, v in kept:
        mask[u % p, v % p] = 1
    return torch.fft.ifft2(transform * mask, dim=(0, 1)).real.reshape(p * p, p)


@pytest.mark.parametrize("p", [3, 4, 7, 8, 9, 13])
@pytest.mark.parametrize("operation", ["add", "subtract"])
@pytest.mark.parametrize("some", [True, False])
def test_losses_are_those_of_masked_transforms(p: int, operation: str, some: bool) -> None:
    task, table = ModularTask(p, operation), 2 * noise(p * p, p, seed=p)
    split = task.split(0.6, label_noise=0.5, seed=0)
    keys = [1, p // 2] if some else None
    sign = 1 if operation == "add" else -1
    chosen = range(1, p // 2 + 1) if keys is None else keys
    waves = {(k, sign * k) for k in chosen} | {(-k, -sign * k) for k in chosen}
    restricted = masked(table, p, waves | {(0, 0)})
    excluded = table - masked(table, p, waves)
    model = says(table)
    close = torch.testing.assert_close
    found = measures.restricted_loss(model, task, keys)
    close(found, cross_entropy(restricted, task.labels))
    for index, side in ((split.train_index, split.train), (split.test_index, split.test)):
        found = measures.restricted_loss(model, task, keys, side)
        close(found, cross_entropy(restricted[index], side.labels))
    found = measures.excluded_loss(model, split, keys)
    close(found, cross_entropy(excluded[split.train_index], split.train_labels))


def test_restricting_keeps_what_adds_and_excluding_removes_it() -> None:
    task = ModularTask(13)
    split = task.split(0.5, seed=0)
    coefficients = torch.tensor([0.0, 4.0, 0.0, 6.0, 0.0, 0.0], dtype=torch.float64)
    adds = wave_logits(task, coefficients)
    uniform = torch.tensor(math.log(13), dtype=torch.float64)
    own = measures.loss(says(adds), task)
    torch.testing.assert_close(measures.restricted_loss(says(adds), task, [2, 4]), own)
    torch.testing.assert_close(measures.excluded_loss(says(adds), split, [2, 4]), uniform)
    torch.testing.assert_close(measures.restricted_loss(says(adds), task, [1, 3]), uniform)
    torch.testing.assert_close(measures.restricted_loss(says(adds), task, []), uniform)
    # A network that remembers training pairs: nothing to exclude, little to restrict to.
    remembers = torch.zeros(169, 13, dtype=torch.float64)
    remembers[split.train_index, split.train_labels] = 20.0
    assert measures.loss(says(remembers), split.train) < 1e-6
    assert measures.excluded_loss(says(remembers), split, [2, 4]) < 0.1
    both = says(adds + remembers)
    assert measures.loss(both, split.test) < measures.restricted_loss(both, task, [1]) - 1
    # A wave in a - b is no part of a sum's logits.
    backwards = wave_logits(ModularTask(13, "subtract"), coefficients)
    torch.testing.assert_close(measures.restricted_loss(says(backwards), task), uniform)


def test_products_are_measured_on_the_pairs_that_have_a_logarithm() -> None:
    task = ModularTask(7, "multiply")
    coefficients = torch.tensor([2.0, 0.0, 3.0], dtype=torch.float64)
    table = wave_logits(task, coefficients)
    table[~task.has_coordinates] = noise(13, 7)  # what it says of zero does not matter
    table[:, 0] = -1.0
    nonzero = task.has_coordinates
    close = torch.testing.assert_close
    own = cross_entropy(table[nonzero], task.labels[nonzero])
    close(measures.restricted_loss(says(table), task, [1, 3]), own)
    split = task.split(0.7, seed=1)
    train = nonzero[split.train_index]
    constant = table[nonzero].mean(0).expand(int(train.sum()), 7)
    close(
        measures.excluded_loss(says(table), split),
        cross_entropy(constant, split.train_labels[train]),
    )
    zero = torch.zeros(1, 2, dtype=torch.int64)
    nothing = measures.restricted_loss(says(table), task, pairs=Pairs(zero, zero[:, 0]))
    assert nothing.isnan()


def test_losses_agree_with_parts_of_the_grid_for_a_hooked_model_in_a_scope() -> None:
    model, task = HookedMLP(p=7, d_mlp=12, seed=0), ModularTask(7)
    silence = [("blocks.0.mlp.hook_post", lambda post, hook: post * (torch.arange(12) > 4))]

    class Silence:
        def fwd_hooks(self):
            return silence

    plain = measures.restricted_loss(model, task, [1])
    with model.intervened(Silence()):
        table = measures.logits(model, task.tokens)
        kept = grid.part(table, "a+b", [1]) + table.mean(0)
        found = measures.restricted_loss(model, task, [1])
    torch.testing.assert_close(found, cross_entropy(kept, task.labels), atol=1e-6, rtol=0.0)
    assert abs(found - plain) > 1e-4
    torch.testing.assert_close(plain, measures.restricted_loss(model.weights(), task, [1]))


# Margin


@pytest.mark.parametrize(("p", "operation"), TASKS)
def test_parts_add_up_to_the_margin(p: int, operation: str) -> None:
    task, table = ModularTask(p, operation), noise(p * p, p, seed=2)
    found = measures.margin_attribution(says(table), task)
    assert found.shape == (frequencies(task),)
    with_place = answer_minus_class(task)[0].amax(1) >= 0
    rivals = answer_minus_class(task)[0].amax(0) >= 0
    labels = task.labels[with_place]
    table = torch.where(rivals, table, -math.inf)[with_place]
    right = torch.zeros(table.shape, dtype=torch.bool).scatter(1, labels[:, None], True)
    margin = table[right] - table.masked_fill(right, -math.inf).amax(1)
    torch.testing.assert_close(found.sum(), margin.mean())
    # The mean over all pairs is that only where every class has a coordinate.
    everywhere = measures.margin(says(noise(p * p, p, seed=2)), task).mean()
    assert torch.isclose(found.sum(), everywhere) == (operation not in PRODUCTS)


def test_the_docstring_says_where_parts_add_up_to_the_margin() -> None:
    said = " ".join((measures.margin_attribution.__doc__ or "").split())
    assert "Where every class has a coordinate the parts add up" in said


def test_parts_of_known_waves_are_known() -> None:
    task = ModularTask(11)
    coefficients = torch.tensor([1.0, 0.0, -0.3, 2.0, 0.5], dtype=torch.float64)
    table = wave_logits(task, coefficients) + noise(121, 1)
    curve = [
        sum(float(c) * math.cos(2 * math.pi * (k + 1) * d / 11) for k, c in enumerate(coefficients))
        for d in range(11)
    ]
    d = max(range(1, 11), key=lambda d: curve[d])
    wanted = torch.tensor(
        [
            float(c) * (1 - math.cos(2 * math.pi * (k + 1) * d / 11))
            for k, c in enumerate(coefficients)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(measures.margin_attribution(says(table), task), wanted)
    few = Pairs(task.tokens[5:8], task.labels[5:8])
    torch.testing.assert_close(measures.margin_attribution(says(table), task, few), wanted)


def test_parts_of_some_pairs_and_of_a_map_that_is_no_permutation() -> None:
    task = ModularTask(7, "a**2 + b")
    model, split = network(7), task.split(0.5, label_noise=0.4, seed=0)
    for pairs in (split.train, split.test):
        found = measures.margin_attribution(model, task, pairs)
        torch.testing.assert_close(found.sum(), measures.margin(model, pairs).mean())


# Batches


@pytest.mark.parametrize("number", OVER_GRID)
@pytest.mark.parametrize(("p", "operation"), [(7, "add"), (8, "subtract"), (7, "multiply")])
def test_batch_axes_come_first_and_are_models_by_themselves(number, p: int, operation: str) -> None:
    task, batch = ModularTask(p, operation), network(p, 2, 3)
    found = number(batch, task)
    assert found.shape[:2] == (2, 3)
    for i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3)).tolist():
        torch.testing.assert_close(found[i, j], number(batch[i, j], task))
        torch.testing.assert_close(found[i, j], number(batch[i, j].logits, task))


def test_the_excluded_loss_of_a_batch() -> None:
    batch, split = network(7, 3), ModularTask(7).split(0.5, seed=0)
    found = measures.excluded_loss(batch, split, [2])
    for i in range(3):
        torch.testing.assert_close(found[i], measures.excluded_loss(batch[i], split, [2]))


def test_half_precision_is_measured_in_single() -> None:
    task, table = ModularTask(7), noise(49, 7)
    found = measures.logit_shares(says(table.to(torch.bfloat16)), task)
    assert found.dtype == torch.float32
    wanted = measures.logit_shares(says(table.to(torch.bfloat16).float()), task)
    torch.testing.assert_close(found, wanted)


# Interventions on the batch

MEASURES = {
    "logit_coefficients": lambda model, split: measures.logit_coefficients(model, split.task),
    "logit_shares": lambda model, split: measures.logit_shares(model, split.task),
    "sum_shares": lambda model, split: measures.sum_shares(model, split.task),
    "key_frequencies": lambda model, split: measures.key_frequencies(model, split.task, 0.2),
    "restricted_loss": lambda model, split: measures.restricted_loss(model, split.task, [1]),
    "restricted_test": lambda model, split: measures.restricted_loss(
        model, split.task, pairs=split.test
    ),
    "excluded_loss": lambda model, split: measures.excluded_loss(model, split, [1]),
    "margin_attribution": lambda model, split: measures.margin_attribution(model, split.task),
    "margin_test": lambda model, split: measures.margin_attribution(model, split.task, split.test),
    "distance_irrelevance": lambda model, split: measures.distance_irrelevance(model, split.task),
    "leakage": lambda model, split: torch.stack(
        [
            getattr(measures.leakage(model, split.task), part)
            for part in ("sum", "difference", "a", "b")
        ]
    ),
}


@pytest.mark.parametrize("number", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("operation", ["multiply", "2*a + 3*b"])
@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_a_model_in_a_scope_runs_on_all_pairs_in_their_order(number, operation, kind) -> None:
    """A mean depends on which pairs are in the batch; resampled rows, on their order as well."""
    model, task = HookedMLP(p=7, d_mlp=12, seed=0), ModularTask(7, operation)
    split = task.split(0.5, seed=0)
    with model.intervened(ablate.Neurons(range(10), kind)):
        table = measures.logits(model, task.tokens)
        found = number(model, split)
    torch.testing.assert_close(found, number(says(table), split))


@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_the_scopes_logits_depend_on_the_batch(kind: str) -> None:
    """Else the test above could not fail."""
    model, task = HookedMLP(p=7, d_mlp=12, seed=0), ModularTask(7, "multiply")
    some = task.tokens[task.has_coordinates]
    with model.intervened(ablate.Neurons(range(10), kind)):
        whole = measures.logits(model, task.tokens)[task.has_coordinates]
        assert not torch.allclose(measures.logits(model, some), whole, atol=1e-3)


@pytest.mark.parametrize("size", [1, 70])
def test_the_margin_is_attributed_in_chunks_of_any_size(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, split = network(7), ModularTask(7).split(0.5, seed=0)
    whole = measures.margin_attribution(weights.logits, split.task, split.test)
    monkeypatch.setattr(outputs, "CHUNK_ELEMENTS", size)
    found = measures.margin_attribution(weights, split.task, split.test)
    torch.testing.assert_close(found, whole)
    none = Pairs(split.test.tokens[:0], split.test.labels[:0])
    assert measures.margin_attribution(weights, split.task, none).isnan().all()


# Sources


@pytest.mark.parametrize(
    "number",
    [
        census.frequency_energy,
        census.effective_frequencies,
        census.frequency_census,
        measures.margin_attribution,
        measures.sum_shares,
        measures.logit_shares,
    ],
)
def test_each_measure_names_its_source(number) -> None:
    assert re.search(r"arXiv \d{4}\.\d{5}|definition is this library's", number.__doc__)


# Errors


@pytest.mark.parametrize("number", OVER_GRID)
def test_a_task_that_is_no_addition_says_so(number) -> None:
    task = ModularTask(7, "a**2 + a*b + b**2")
    with pytest.raises(ValueError, match=r"no coordinates were found in which 'a\*\*2 \+ a\*b"):
        number(network(7), task)


@pytest.mark.parametrize("number", OVER_GRID[:4])
def test_a_task_without_a_lattice_says_so(number) -> None:
    with pytest.raises(ValueError, match="do not take each of the 7 coordinates once"):
        number(network(7), ModularTask(7, "a**2 + b"))


@pytest.mark.parametrize("number", [*OVER_GRID[:2], measures.margin_attribution])
def test_classes_that_several_sums_lead_to_have_no_order(number) -> None:
    with pytest.raises(ValueError, match="7 coordinates of the sum lead to 4 classes"):
        number(network(7), ModularTask(7, "(a + b)**2"))


def test_losses_need_no_order_of_the_classes() -> None:
    task, table = ModularTask(7, "(a + b)**2"), noise(49, 7)
    kept = grid.part(table, "a+b") + table.mean(0)
    found = measures.restricted_loss(says(table), task)
    torch.testing.assert_close(found, cross_entropy(kept, task.labels))


@pytest.mark.parametrize("number", OVER_GRID)
def test_a_model_with_other_classes_is_refused(number) -> None:
    with pytest.raises(ValueError, match="gives 8 classes and the task has p=7"):
        number(says(noise(49, 8)), ModularTask(7))


def test_other_mistakes_are_named() -> None:
    task = ModularTask(7)
    for threshold in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"threshold={threshold} is not a share"):
            measures.key_frequencies(network(7), task, threshold)
    with pytest.raises(ValueError, match=r"batch of shape \[2\].*weights\[-1\]"):
        measures.key_frequencies(network(7, 2), task)
    with pytest.raises(ValueError, match=r"frequency 4 is not a whole number in 1\.\.3"):
        measures.restricted_loss(network(7), task, [4])
    with pytest.raises(ValueError, match=r"frequency 0 is not a whole number in 1\.\.3"):
        measures.excluded_loss(network(7), task.split(0.5), 0)
    beyond = Pairs(torch.tensor([[0, 7]]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"tokens lie in 0\.\.7"):
        measures.restricted_loss(network(7), task, pairs=beyond)
