"""Patching by neuron, frequency and plane, beside its controls; planes; interchange on 4.x."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from grok_interp import _compat, ablate, grid, idealize, neurons, patch
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import Counterfactuals, ModularTask
from grok_interp.weights import OUT_HOOK, POST_HOOK, PRE_HOOK

P, D = 13, 40
TASK = ModularTask(P)


def adder(p: int = P, d: int = D, act_fn: str = "quadratic", operation: str = "add") -> HookedMLP:
    """Cosine neurons of every frequency on the phase relation."""
    generator = torch.Generator().manual_seed(0)
    sign = -1 if operation == "subtract" else 1
    k = 1 + torch.arange(d) % (p // 2)
    phi = 2 * math.pi * torch.rand(2, d, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * k * torch.arange(p, dtype=torch.float64)[:, None] / p
    W_in = torch.stack([torch.cos(angle + phi[0]), torch.cos(angle + phi[1])])
    W_out = torch.cos(angle + phi[0] + sign * phi[1]).T.contiguous()
    return HookedMLP.from_weights(W_in, W_out, act_fn=act_fn).eval()


@pytest.fixture
def model() -> HookedMLP:
    return adder()


@pytest.fixture
def pairs() -> Counterfactuals:
    return TASK.counterfactuals("a", n=60, seed=1)


def patched_by_hand(model: HookedMLP, pairs: Counterfactuals, chosen: Tensor) -> float:
    """Recovered logit difference with neurons taken from the clean pairs, from the equation."""
    weights = model.weights().detach()
    clean, corrupted = weights.post(pairs.clean.tokens), weights.post(pairs.corrupted.tokens)
    mixed = torch.where(chosen, clean, corrupted)
    rows = torch.arange(len(pairs))

    def difference(post: Tensor) -> float:
        logits = post @ weights.W_out
        right, wrong = logits[rows, pairs.clean.labels], logits[rows, pairs.corrupted.labels]
        return float((right - wrong).mean())

    low, high = difference(corrupted), difference(clean)
    return (difference(mixed) - low) / (high - low)


def only(*neurons_: int) -> Tensor:
    mask = torch.zeros(D, dtype=torch.bool)
    mask[list(neurons_)] = True
    return mask


# Runs ---------------------------------------------------------------------------------------------


def test_by_neuron_is_the_equation_with_one_activation_replaced(model, pairs) -> None:
    frame = patch.by_neuron(model, pairs, [0, 7, 39], draws=5)
    assert frame["neuron"].tolist() == [0, 7, 39]
    for row in frame.itertuples():
        assert row.recovered == pytest.approx(patched_by_hand(model, pairs, only(row.neuron)))
    # Logits are a sum over neurons, so one at a time recovers everything together.
    assert patch.by_neuron(model, pairs, draws=1)["recovered"].sum() == pytest.approx(1)


def norms_of(model: HookedMLP, pairs: Counterfactuals) -> Tensor:
    weights = model.weights().detach()
    posts = (weights.post(side.tokens) for side in (pairs.corrupted, pairs.clean))
    return ablate.change_norms(*posts, weights.W_out)


def test_the_control_of_a_neuron_is_other_neurons_of_its_norm(model, pairs) -> None:
    every = patch.by_neuron(model, pairs, draws=6, seed=3)
    for neuron in (4, 17):
        seed = patch._seeds(D, 3)[neuron]
        drawn = ablate.matched_sets(torch.tensor([neuron]), norms_of(model, pairs), 6, seed)
        assert neuron not in drawn
        values = every["recovered"].to_numpy()[drawn[:, 0].numpy()]
        row = every.iloc[neuron]
        assert row["random_mean"] == pytest.approx(values.mean())
        assert row["random_min"] == pytest.approx(values.min())
        assert row["random_max"] == pytest.approx(values.max())
    some = patch.by_neuron(model, pairs, [4], draws=6, seed=3)
    assert some["random_mean"].item() == pytest.approx(every["random_mean"][4])


@pytest.mark.parametrize("hook_name", [PRE_HOOK, POST_HOOK])
def test_by_frequency_patches_the_neurons_of_a_frequency(model, pairs, hook_name: str) -> None:
    table = neurons.extract(model, TASK)
    frame = patch.by_frequency(model, pairs, table, [2, 5], hook_name=hook_name, draws=4)
    assert frame["frequency"].tolist() == [2, 5]
    for row in frame.itertuples():
        chosen = table.at(row.frequency)
        assert row.neurons == int(chosen.sum())
        assert row.recovered == pytest.approx(patched_by_hand(model, pairs, chosen))
        seed = patch._seeds(P, 0)[row.frequency]
        neurons_ = chosen.nonzero().flatten()
        others = ablate.matched_sets(neurons_, norms_of(model, pairs), 4, seed)
        overlap = torch.isin(others, neurons_).double().mean()
        assert row.random_overlap == pytest.approx(float(overlap))
        recovered = [patched_by_hand(model, pairs, only(*each.tolist())) for each in others]
        assert row.random_mean == pytest.approx(np.mean(recovered))
        assert row.random_min == pytest.approx(min(recovered))
        assert row.random_max == pytest.approx(max(recovered))
    every = patch.by_frequency(model, pairs, table, draws=1)
    assert every["recovered"].sum() == pytest.approx(1)


def test_the_plane_of_a_frequency_among_the_logits_recovers_its_share(model, pairs) -> None:
    frame = patch.by_plane(model, pairs, patch.class_planes(TASK), hook_name=OUT_HOOK, draws=3)
    assert frame["recovered"].sum() == pytest.approx(1)  # planes over classes are orthogonal
    wave = (model(pairs.clean.tokens) - model(pairs.corrupted.tokens)).detach()
    part = grid.keep(wave.T, torch.tensor([3])).T
    rows = torch.arange(len(pairs))
    gained = (part[rows, pairs.clean.labels] - part[rows, pairs.corrupted.labels]).mean()
    whole = (wave[rows, pairs.clean.labels] - wave[rows, pairs.corrupted.labels]).mean()
    assert frame["recovered"][2] == pytest.approx(float(gained / whole))


def test_planes_of_the_activations_hold_what_varies_with_the_sum(model) -> None:
    post = model.run_with_cache(TASK.tokens)[1][POST_HOOK].detach()
    planes = patch.activation_planes(post, TASK)
    assert planes.basis.shape == (P // 2, D, 2)
    for k in range(1, P // 2 + 1):
        basis = planes.at(k)
        assert torch.allclose(basis.T @ basis, torch.eye(2, dtype=torch.float64))
        part = grid.part(post, "a+b", k)
        assert torch.allclose(part @ basis @ basis.T, part)
    pairs = TASK.counterfactuals("sum", n=80, seed=0)
    frame = patch.by_plane(model, pairs, planes, draws=8)
    assert (frame["recovered"] > frame["random_max"]).all()


def test_the_control_of_a_plane_moves_as_far_in_a_random_one(model, pairs) -> None:
    planes = patch.class_planes(TASK)
    frame = patch.by_plane(model, pairs, planes, [2, 4], hook_name=OUT_HOOK, draws=3, seed=5)
    clean, corrupted = (model(side.tokens).detach() for side in (pairs.clean, pairs.corrupted))
    span = frame["clean"][0] - frame["corrupted"][0]
    for row in frame.itertuples():
        basis, found = planes.at(row.frequency), []
        distance = ((clean - corrupted) @ basis).norm(dim=1, keepdim=True)
        for other in patch.random_planes(P, 3, 5):
            step = (clean - corrupted) @ other @ other.T
            logits = corrupted + step / step.norm(dim=1, keepdim=True) * distance
            assert torch.allclose((logits - corrupted).norm(dim=1, keepdim=True), distance)
            moved = float(patch.logit_difference(logits, pairs))
            found.append((moved - row.corrupted) / span)
        assert distance.min() > 0
        assert row.random_mean == pytest.approx(np.mean(found))
        assert row.random_min == pytest.approx(min(found))
        assert row.random_max == pytest.approx(max(found))


def test_random_planes_are_orthonormal_and_of_any_direction() -> None:
    planes = patch.random_planes(6, 400, 0)
    eye = torch.eye(2, dtype=torch.float64)
    assert torch.allclose(planes.mT @ planes, eye.expand(400, 2, 2))
    energy = planes.square().sum(-1).mean(0)
    assert (energy - 2 / 6).abs().max() < 0.06  # 4 standard deviations of .3 / 20


def test_patching_all_planes_at_once_gives_the_answer_of_the_clean_pair() -> None:
    model = adder(
        d=300
    )  # so many neurons that planes of different directions are nearly orthogonal
    pairs = TASK.counterfactuals("sum", n=80, seed=0)
    post = model.run_with_cache(TASK.tokens)[1][POST_HOOK].detach()
    clean = model.run_with_cache(pairs.clean.tokens)[1][POST_HOOK]
    planes = patch.activation_planes(post, TASK)
    with model.intervened(patch.PlanePatch(planes, None, clean)):
        logits = model(pairs.corrupted.tokens)
    assert (logits.argmax(-1) == pairs.clean.labels).all()
    other = patch.activation_planes(post, TASK, "a-b")
    with model.intervened(patch.PlanePatch(other, None, clean)):
        logits = model(pairs.corrupted.tokens)
    assert (logits.argmax(-1) == pairs.corrupted.labels).double().mean() > 0.9


def test_one_frequency_of_a_plane_patch_is_the_setter(model, pairs) -> None:
    planes = patch.class_planes(TASK)
    clean = model(pairs.clean.tokens).detach()
    corrupted = model(pairs.corrupted.tokens).detach()
    with model.intervened(patch.PlanePatch(planes, 4, clean, OUT_HOOK)):
        one = model(pairs.corrupted.tokens)
    assert torch.allclose(one, patch.plane_setter(planes)(corrupted, [0, 4], clean))


@pytest.mark.parametrize(
    ("p", "operation"), [(12, "add"), (13, "add"), (13, "subtract"), (11, "multiply")]
)
def test_class_planes_are_the_waves_seen_through_the_read_out(p: int, operation: str) -> None:
    task = ModularTask(p, operation)
    planes = patch.class_planes(task)
    m, readout = task.coordinates.modulus, task.coordinates.readout
    n = torch.arange(m, dtype=torch.float64)
    for k in range(1, m // 2 + 1):
        wave = torch.zeros(p, dtype=torch.float64)
        wave[readout] = torch.cos(2 * math.pi * k * n / m + 0.3 * (2 * k < m))
        basis = planes.at(k)
        assert torch.allclose(basis @ (basis.T @ wave), wave)
        rank = 1 if 2 * k == m else 2
        assert int((basis.norm(dim=0) > 0).sum()) == rank


def test_a_plane_that_an_activation_does_not_reach_has_zero_columns() -> None:
    post = torch.zeros(P * P, 4, dtype=torch.float64)
    post[:, 0] = torch.cos(
        2 * math.pi * 2 * TASK.labels.double() / P
    )  # one direction, frequency 2 only
    planes = patch.activation_planes(post, TASK)
    assert planes.at(2).norm(dim=0).tolist() == pytest.approx([1, 0])
    assert planes.at(3).abs().max() == 0


def test_a_constant_spans_no_plane_however_large() -> None:
    task = ModularTask(23)
    generator = torch.Generator().manual_seed(0)
    for constant in (0.0, 100.0):
        post = 0.5 * torch.cos(2 * math.pi * 3 * task.labels / 23)[:, None] * torch.ones(5)
        post = (post + constant * torch.rand(5, generator=generator)).float()
        ranks = (patch.activation_planes(post, task).basis.norm(dim=1) > 0).sum(-1)
        assert ranks.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("p", "operation"), [(13, "subtract"), (11, "multiply")])
def test_planes_lie_along_the_answer_in_the_tasks_coordinates(p: int, operation: str) -> None:
    task = ModularTask(p, operation)
    found = task.coordinates
    known = task.has_coordinates
    answer = torch.full((p * p,), 0)
    a, b = found.a[task.tokens[:, 0]], found.b[task.tokens[:, 1]]
    answer[known] = ((a + found.sign * b) % found.modulus)[known]
    wave = torch.cos(2 * math.pi * 2 * answer.double() / found.modulus) * known
    planes = patch.activation_planes(torch.stack([wave, 0 * wave], 1), task)
    ranks = (planes.basis.norm(dim=1) > 0).sum(-1)
    assert ranks.tolist() == [int(k == 2) for k in range(1, found.modulus // 2 + 1)]
    assert torch.allclose(planes.at(2)[0].abs().amax(), torch.tensor(1.0, dtype=torch.float64))


def test_a_model_that_does_not_tell_the_pairs_apart_recovers_nothing(pairs) -> None:
    silent = HookedMLP.from_weights(torch.ones(2, P, 3), torch.zeros(3, P))
    with pytest.warns(UserWarning, match="does not tell them apart"):
        frame = patch.by_neuron(silent, pairs, draws=2)
    assert frame["recovered"].isna().all()


def test_patching_works_inside_an_idealised_scope(model, pairs) -> None:
    ideal = idealize.build(neurons.extract(model, TASK))
    with model.idealized(ideal):
        inside = patch.by_neuron(model, pairs, [3], draws=1)
    other = HookedMLP.from_weights(ideal.weights.W_in, ideal.weights.W_out, act_fn="quadratic")
    alone = patch.by_neuron(other, pairs, [3], draws=1)
    assert inside["recovered"].item() == pytest.approx(alone["recovered"].item())
    assert inside["recovered"].item() != pytest.approx(
        patch.by_neuron(model, pairs, [3], draws=1)["recovered"].item()
    )


def test_runs_leave_mode_hooks_and_gradients_as_they_were(model, pairs) -> None:
    model.train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    patch.by_neuron(model, pairs, [0], draws=1)
    patch.by_plane(model, pairs, patch.class_planes(TASK), 1, hook_name=OUT_HOOK, draws=1)
    assert [module.training for module in model.modules()] == modes
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    assert all(parameter.grad is None for parameter in model.parameters())


# Setters ------------------------------------------------------------------------------------------


def test_setters_go_into_generic_activation_patch(model, pairs) -> None:
    import pandas as pd
    from transformer_lens.patching import generic_activation_patch

    _, cache = model.run_with_cache(pairs.clean.tokens)
    index = pd.DataFrame({"layer": [0, 0], "neuron": [2, 9]})
    found = generic_activation_patch(
        model,
        pairs.corrupted.tokens,
        cache,
        lambda logits: patch.logit_difference(logits, pairs),
        patch.neuron_setter(),
        "post",
        index_df=index,
    )
    frame = patch.by_neuron(model, pairs, [2, 9], draws=1)
    assert np.allclose(frame["logit_difference"], found.double())


@pytest.mark.parametrize("position", [0, -1])
def test_setters_change_one_position_of_a_longer_activation(position: int) -> None:
    generator = torch.Generator().manual_seed(0)
    table = neurons.extract(adder(), TASK)
    planes = patch.class_planes(TASK)
    for setter, width in (
        (patch.neuron_setter(position), D),
        (patch.frequency_setter(table, position), D),
        (patch.plane_setter(planes, position), P),
    ):
        clean, corrupted = torch.randn(2, 5, 3, width, generator=generator, dtype=torch.float64)
        kept = corrupted.clone()
        changed = setter(corrupted, [0, 2], clean)
        assert torch.equal(corrupted, kept)
        rest = [i for i in range(3) if i != position % 3]
        assert torch.equal(changed[:, rest], corrupted[:, rest])
        assert not torch.equal(changed[:, position], corrupted[:, position])
    one = patch.neuron_setter(position)(*(torch.zeros(1, 3, D), [0, 4], torch.ones(1, 3, D)))
    assert one.nonzero().tolist() == [[0, position % 3, 4]]


# Interchange --------------------------------------------------------------------------------------


@pytest.mark.needs_transformer_lens_4
def test_interchange_through_transformer_lens_beside_its_placebo() -> None:
    model = adder(d=300)
    pairs = TASK.counterfactuals("sum", n=100, seed=2)
    post = model.run_with_cache(TASK.tokens)[1][POST_HOOK].detach()
    planes = patch.activation_planes(post, TASK)
    together = torch.linalg.qr(planes.basis.movedim(0, -1).flatten(1)).Q
    frame = patch.interchange(model, pairs, {"all": together, "k=3": planes.at(3)}, draws=5)
    frame = frame.set_index("basis")
    assert frame.loc["all", "accuracy"] == 1
    assert frame["rank"].tolist() == [2 * (P // 2), 2]
    assert (frame["corrupted_accuracy"] == 0).all()
    assert frame.loc["all", "placebo_max"] < 0.5
    with model.intervened(
        patch.PlanePatch(planes, 3, model.run_with_cache(pairs.clean.tokens)[1][POST_HOOK])
    ):
        logits = model(pairs.corrupted.tokens)
    expected = (logits.argmax(-1) == pairs.clean.labels).double().mean()
    assert frame.loc["k=3", "accuracy"] == pytest.approx(float(expected))


@pytest.mark.needs_transformer_lens_4
def test_the_placebo_of_an_interchange_moves_as_far_in_random_subspaces(model) -> None:
    pairs = TASK.counterfactuals("sum", n=100, seed=2)
    clean, corrupted = (
        model.run_with_cache(side.tokens)[1][POST_HOOK].detach()
        for side in (pairs.clean, pairs.corrupted)
    )
    basis = torch.linalg.qr(
        torch.randn(D, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).Q
    frame = patch.interchange(model, pairs, {"x": basis}, draws=6, seed=4, strength=1.2)
    seeds = torch.randint(2**31, (6,), generator=torch.Generator().manual_seed(4)).tolist()
    found = []
    for seed in seeds:
        other = _compat.interchange().random_basis(D, 24, seed).double()
        step = (clean - corrupted) @ other @ other.T
        far = 1.2 * ((clean - corrupted) @ basis).norm(dim=1, keepdim=True)
        answers = ((corrupted + step / step.norm(dim=1, keepdim=True) * far) @ model.W_out).argmax(
            -1
        )
        found.append(float((answers == pairs.clean.labels).double().mean()))
    row = frame.iloc[0]
    assert 0.1 < row["placebo_mean"] < 0.9  # so that a placebo that does nothing would be seen
    assert row["placebo_mean"] == pytest.approx(np.mean(found))
    assert (row["placebo_min"], row["placebo_max"]) == pytest.approx((min(found), max(found)))
    own = (model(pairs.clean.tokens).argmax(-1) == pairs.clean.labels).double().mean()
    assert row["clean_accuracy"] == pytest.approx(float(own))


@pytest.mark.needs_transformer_lens_4
def test_interchange_refuses_what_is_no_basis(model, pairs) -> None:
    with pytest.raises(ValueError, match=r"basis 'x' has shape \[5, 2\], expected \[40, rank\]"):
        patch.interchange(model, pairs, {"x": torch.zeros(5, 2)})
    with pytest.raises(ValueError, match="basis 'x' is not orthonormal"):
        patch.interchange(model, pairs, {"x": torch.ones(D, 2, dtype=torch.float64)})
    with pytest.raises(ValueError, match="basis 'x' is not orthonormal"):
        patch.interchange(model, pairs, {"x": torch.zeros(D, 2, dtype=torch.float64)})


def test_an_older_transformer_lens_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compat, "TRANSFORMER_LENS_VERSION", (3, 9))
    with pytest.raises(RuntimeError, match=r"interchanges by tools\.analysis need version 4"):
        _compat.interchange()


# Errors -------------------------------------------------------------------------------------------


def test_errors(model, pairs) -> None:
    table = neurons.extract(model, TASK)
    runs = (
        lambda **given: patch.by_neuron(model, pairs, **given),
        lambda **given: patch.by_frequency(model, pairs, table, **given),
        lambda **given: patch.by_plane(model, pairs, patch.class_planes(TASK), **given),
    )
    for run in runs:
        with pytest.raises(ValueError, match="hook_name='hook_embed'"):
            run(hook_name="hook_embed")
        with pytest.raises(ValueError, match="draws=0 must be at least 1"):
            run(draws=0)
    for run in runs[:2]:
        with pytest.raises(ValueError, match=r"hook_name='blocks\.0\.hook_mlp_out'"):
            run(hook_name=OUT_HOOK)
    other = neurons.extract(adder(d=8), TASK)
    with pytest.raises(ValueError, match="the table is of p=13, d_mlp=8"):
        patch.by_frequency(model, pairs, other)
    with pytest.raises(ValueError, match=r"integers in 0\.\.39"):
        patch.by_neuron(model, pairs, [40])
    with pytest.raises(ValueError, match=r"frequency 7 .* 1\.\.6"):
        patch.by_frequency(model, pairs, neurons.extract(model, TASK), 7)
    with pytest.raises(ValueError, match="50 rows and the task 169 pairs"):
        patch.activation_planes(torch.zeros(50, 3), TASK)
    clean = model(pairs.clean.tokens).detach()
    with (
        model.intervened(patch.PlanePatch(patch.class_planes(TASK), 1, clean, OUT_HOOK)),
        pytest.raises(ValueError, match=r"run the model on as many pairs"),
    ):
        model(TASK.tokens)
