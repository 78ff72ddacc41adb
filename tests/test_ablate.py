"""Neuron ablations, orders, and curves beside matched random sets."""

import contextlib
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from grok_interp import ablate, idealize, measures, neurons, orders
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.neuron_ablation import other_rows
from grok_interp.tasks import ModularTask, Pairs
from grok_interp.weights import POST_HOOK, PRE_HOOK, MLPWeights

P, D = 11, 20
TASK = ModularTask(P)


def make(act_fn: str = "relu", **fields) -> HookedMLP:
    return HookedMLP(p=P, d_mlp=D, act_fn=act_fn, seed=1, dtype="float64", bias_in=True, **fields)


def cosine_network(p: int = 23, d: int = 160, loud: int = 40) -> tuple[HookedMLP, ModularTask]:
    """Quadratic neurons on the phase relation; the first ``loud`` of frequency 5, others louder k."""
    generator = torch.Generator().manual_seed(0)
    k = 1 + torch.arange(d) % (p // 2)
    k[:loud] = 5
    phi = 2 * math.pi * torch.rand(2, d, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * k * torch.arange(p, dtype=torch.float64)[:, None] / p
    W_in = torch.stack([torch.cos(angle + phi[0]), torch.cos(angle + phi[1])])
    W_out = torch.cos(angle + phi.sum(0)).T.contiguous()
    return HookedMLP.from_weights(W_in, W_out, act_fn="quadratic"), ModularTask(p)


def by_hand(model: HookedMLP, chosen: list[int], kind: str, at: str, seed: int) -> Tensor:
    """The network's equation with activations replaced, written out."""
    weights = model.weights()
    act = {"relu": torch.relu, "quadratic": torch.square}[weights.act_fn]
    a, b = TASK.tokens.unbind(1)
    pre = weights.W_in[0][a] + weights.W_in[1][b] + weights.b_in
    post = act(pre)
    x = pre if at == PRE_HOOK else post
    x = x.clone()
    if kind == "zero":
        x[:, chosen] = 0
    elif kind == "mean":
        x[:, chosen] = x[:, chosen].mean(0)
    else:
        rows = other_rows(len(x), None, seed)
        x[:, chosen] = x[rows][:, chosen]
    return (act(x) if at == PRE_HOOK else x) @ weights.W_out


@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
@pytest.mark.parametrize("at", [PRE_HOOK, POST_HOOK])
@pytest.mark.parametrize("act_fn", ["relu", "quadratic"])
def test_ablations_are_the_equation_with_values_replaced(kind: str, at: str, act_fn: str) -> None:
    model, chosen = make(act_fn), [0, 3, 19]
    mask = torch.zeros(D, dtype=torch.bool)
    mask[chosen] = True
    expected = by_hand(model, chosen, kind, at, seed=5)
    for form in (chosen, mask, torch.tensor(chosen), set(chosen)):
        with model.intervened(ablate.Neurons(form, kind, at, seed=5)):
            assert torch.allclose(model(TASK.tokens), expected)
    assert not torch.allclose(model(TASK.tokens), expected)
    with model.intervened(ablate.Neurons([], kind, at)):
        one = model(TASK.tokens)
    assert torch.equal(one, model(TASK.tokens))


def test_references_stand_in_for_the_batch() -> None:
    model = make()
    few = TASK.tokens[:7]
    reference = model.run_with_cache(TASK.tokens)[1][POST_HOOK]
    mean = ablate.Neurons([2], "mean", reference=reference)
    drawn = ablate.Neurons([2, 4], "resample", reference=reference, seed=3)
    with model.intervened(mean):
        post = model.run_with_cache(few)[1][POST_HOOK]
    assert torch.allclose(post[:, 2], reference[:, 2].mean())
    with model.intervened(drawn):
        post = model.run_with_cache(few)[1][POST_HOOK]
    pairs = {tuple(row) for row in reference[:, [2, 4]].tolist()}
    assert {tuple(row) for row in post[:, [2, 4]].tolist()} <= pairs  # both from one row
    with model.intervened(ablate.Neurons([2], "mean")):
        post = model.run_with_cache(few)[1][POST_HOOK]
    assert torch.allclose(post[:, 2], reference[:7, 2].mean())


def test_other_rows_are_others() -> None:
    rows = other_rows(50, None, 0)
    assert (rows != torch.arange(50)).all()
    assert torch.equal(rows.sort().values, torch.arange(50))
    assert not torch.equal(rows, other_rows(50, None, 1))
    assert other_rows(50, 3, 0).unique().tolist() == [0, 1, 2]


def test_a_position_of_a_longer_activation() -> None:
    x = torch.randn(4, 3, D, generator=torch.Generator().manual_seed(0))
    (_, hook) = ablate.Neurons([1], hook_name="mlp", position=2).fwd_hooks()[0]
    changed = hook(x, hook=None)
    assert (changed[:, 2, 1] == 0).all()
    changed[:, 2, 1] = x[:, 2, 1]
    assert torch.equal(changed, x)


# Order --------------------------------------------------------------------------------------------


def test_rankings_sort_by_what_they_name() -> None:
    model = make()
    table = neurons.extract(model, TASK)
    frame = table.to_dataframe()
    for by, column in (("ipr", "neuron_ipr"), ("amplitude", "neuron_amplitude")):
        order = ablate.ranking(table, by)
        assert frame[column].iloc[order.tolist()].is_monotonic_decreasing
        assert torch.equal(ablate.ranking(table, by, descending=False), order.flip(0))
    order = ablate.ranking(table, "phase_residual")
    assert frame["phase_residual"].abs().iloc[order.tolist()].is_monotonic_decreasing
    one, same, other = (ablate.ranking(table, "random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert sorted(one.tolist()) == list(range(D))


def test_the_published_ranking_counts_the_constant_as_a_frequency() -> None:
    weights = make().weights().detach()
    # Neuron 0 has nearly constant columns, which are one "frequency" there and noise without.
    weights.W_in[..., 0] = 5 + 0.01 * weights.W_in[..., 0]
    weights.W_out[0] = 5 + 0.01 * weights.W_out[0]
    table = neurons.extract(weights, TASK)
    columns = torch.cat([weights.W_in, weights.W_out.T[None]]).double()
    power = torch.fft.rfft(columns, dim=1).abs().square()
    ipr = (power.square().sum(1) / power.sum(1).square()).mean(0)
    order = ablate.ranking(table, "ipr_with_constant")
    assert (ipr[order].diff() <= 1e-6).all()
    assert order[0] == 0
    assert torch.equal(ablate.ranking(table, "ipr_with_constant", descending=False), order.flip(0))
    assert table.neuron_ipr.argmax() != 0
    assert ablate.ranking(table, "ipr")[0] != 0


def test_ranking_by_frequency_takes_the_loudest_frequency_first() -> None:
    table = neurons.extract(make(), TASK)
    order = ablate.ranking(table, "frequency").tolist()
    frame = table.to_dataframe().iloc[order]
    total = frame.groupby("frequency_out")["neuron_amplitude"].sum().sort_values(ascending=False)
    assert frame["frequency_out"].drop_duplicates().tolist() == total.index.tolist()
    assert (frame["frequency_out"].diff() != 0).sum() == len(total)  # each frequency in one piece
    for _, group in frame.groupby("frequency_out"):
        assert group["neuron_amplitude"].is_monotonic_decreasing


def test_residuals_that_are_not_there_count_as_no_relation() -> None:
    table = neurons.extract(make(), TASK, frequency="per_matrix")
    residual = table.phase_residual.abs().nan_to_num(nan=math.pi / 2)
    assert table.phase_residual.isnan().any()
    assert (residual[ablate.ranking(table, "phase_residual")].diff() <= 0).all()


def test_a_random_set_is_of_neurons_of_nearly_the_same_norms() -> None:
    norms = torch.rand(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    chosen = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:60]
    drawn = orders.matched_sets(chosen, norms, 200, 0)
    assert all(len(row.unique()) == 60 for row in drawn)
    assert (drawn != chosen).all()  # none in its own place
    for place in (0, 30, 59):
        distance = (norms.log() - norms[chosen[place]].log()).abs()
        near = distance.argsort()[: orders.NEAREST + 60]  # of which 60 at the most are taken
        assert torch.isin(drawn[:, place], near).all()
    nearest = (norms.log() - norms[chosen[0]].log()).abs().argsort()[1 : orders.NEAREST + 1]
    counts = drawn[:, 0].bincount(minlength=300)[nearest]
    assert counts.sum() == 200
    assert (counts - 12.5).abs().max() < 5 * math.sqrt(12.5)  # uniform among the nearest
    found = orders.likeness(chosen, drawn, norms)
    assert found["random_overlap"] == pytest.approx(
        np.mean([len(set(row.tolist()) & set(chosen.tolist())) / 60 for row in drawn])
    )
    assert found["random_norm"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("n", [1, 9, 64, 128])
def test_a_meaningless_set_lies_outside_its_controls_as_rarely_as_by_chance(n: int) -> None:
    d, draws, trials = 256, 20, 200
    generator = torch.Generator().manual_seed(0)
    outside = 0
    for trial in range(trials):
        norms = torch.rand(d, generator=generator) + 0.1
        effects = torch.randn(d, generator=generator) * norms
        chosen = torch.randperm(d, generator=generator)[:n]
        random = effects[orders.matched_sets(chosen, norms, draws, trial)].sum(1)
        own = effects[chosen].sum()
        outside += bool((own < random.min()) | (own > random.max()))
    by_chance = 2 / (min(draws, orders.NEAREST) + 1)  # one neuron has 16 others to be compared with
    assert abs(outside / trials - by_chance) < 4 * math.sqrt(by_chance * (1 - by_chance) / trials)


def test_ties_are_broken_at_random() -> None:
    drawn = orders.matched_sets(torch.arange(10), torch.ones(256), 200, 0)
    assert len(drawn.unique()) > 250


def test_the_control_of_one_neuron_is_never_itself() -> None:
    norms = torch.tensor([1000.0] + [1.0] * 11)
    drawn = orders.matched_sets(torch.tensor([0]), norms, 50, 0)
    assert (drawn != 0).all()
    for d in (2, 17, 33, 513):
        every = torch.arange(d)
        loudest = ablate.matched_sets(torch.tensor([d - 1]), every + 1.0, 20, 0)
        assert (loudest != d - 1).all()


def test_a_list_of_all_neurons_is_compared_with_other_orders_of_all() -> None:
    norms = torch.rand(40, generator=torch.Generator().manual_seed(0))
    order = norms.argsort(descending=True)
    drawn = ablate.matched_sets(order, norms, 30, 0)
    assert all(sorted(row.tolist()) == list(range(40)) for row in drawn)
    own = (drawn == order).double().mean()
    assert own < 1 / 40 + 0.01  # only the last that is left may be itself
    assert torch.equal(drawn, ablate.matched_sets(order, norms, 30, 0))
    assert not torch.equal(drawn, ablate.matched_sets(order, norms, 30, 1))


def test_change_norms_are_how_far_the_logits_move() -> None:
    model = make("quadratic")
    weights = model.weights().detach()
    post = weights.post(TASK.tokens)
    norms = ablate.change_norms(post, torch.zeros_like(post), weights.W_out)
    for neuron in (0, 7):
        with model.intervened(ablate.Neurons([neuron])):
            moved = (model(TASK.tokens) - weights.logits(TASK.tokens)).detach()
        moved = moved - moved.mean(-1, keepdim=True)  # what no softmax sees
        assert float(norms[neuron]) == pytest.approx(float(moved.norm()))


# Curves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
@pytest.mark.parametrize("at", [PRE_HOOK, POST_HOOK])
@pytest.mark.parametrize("output_scale", [1.0, 0.5])
def test_a_curve_is_the_ablated_models_accuracy_and_loss(
    kind: str, at: str, output_scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablate, "CHUNK_ELEMENTS", 4 * D * 7)  # in many chunks
    model = make("quadratic", output_scale=output_scale, bias_out=True)
    order = torch.randperm(D, generator=torch.Generator().manual_seed(3))
    counts = [0, 1, 2, 7, 13, D]
    frame = ablate.curve(
        model, order, TASK, counts=counts, kind=kind, hook_name=at, draws=3, seed=5
    )
    assert frame["n"].tolist() == counts
    for n, accuracy, loss in frame[["n", "accuracy", "loss"]].itertuples(index=False):
        with model.intervened(ablate.Neurons(order[: int(n)], kind, at, seed=5)):
            assert accuracy == pytest.approx(float(measures.accuracy(model, TASK)))
            assert loss == pytest.approx(float(measures.loss(model, TASK)))
    for label in ("accuracy", "loss"):
        assert (frame[f"random_{label}_min"] <= frame[f"random_{label}_mean"] + 1e-12).all()
        assert (frame[f"random_{label}_mean"] <= frame[f"random_{label}_max"] + 1e-12).all()
        ends = frame.iloc[[0, -1]]  # nothing and everything ablated: no choice
        assert np.allclose(ends[f"random_{label}_min"], ends[label])
        assert np.allclose(ends[f"random_{label}_max"], ends[label])


def test_a_curve_goes_from_no_neuron_to_all_in_even_steps() -> None:
    weights = HookedMLP(p=P, d_mlp=160, seed=0).weights()
    frame = ablate.curve(weights, torch.arange(160), TASK, draws=1)
    assert frame["n"].tolist() == list(range(0, 161, 10))
    few = ablate.curve(weights, torch.arange(5), TASK, draws=1)
    assert few["n"].tolist() == list(range(6))


@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
@pytest.mark.parametrize("at", [PRE_HOOK, POST_HOOK])
@pytest.mark.parametrize("hooked", [False, True])
def test_the_control_is_the_ablation_of_the_matched_sets(kind: str, at: str, hooked: bool) -> None:
    model, order = make("quadratic"), torch.arange(9)
    with contextlib.ExitStack() as stack:
        if hooked:
            stack.enter_context(model.hooks(fwd_hooks=[(PRE_HOOK, lambda x, hook: x + 0.05)]))
        post = model.run_with_cache(TASK.tokens)[1][POST_HOOK].detach()
        with model.intervened(ablate.Neurons(range(D), kind, at, seed=7)):
            after = model.run_with_cache(TASK.tokens)[1][POST_HOOK].detach()
        norms = orders.change_norms(post, after, model.W_out.detach())
        drawn = orders.matched_sets(order, norms, 4, seed=7)
        frame = ablate.curve(
            model, order, TASK, kind=kind, hook_name=at, counts=[6], draws=4, seed=7
        )
        losses = []
        for each in drawn:
            with model.intervened(ablate.Neurons(each[:6], kind, at, seed=7)):
                losses.append(float(measures.loss(model, TASK)))
    assert frame["random_loss_mean"].item() == pytest.approx(np.mean(losses))
    assert frame["random_loss_min"].item() == pytest.approx(min(losses))
    assert frame["random_loss_max"].item() == pytest.approx(max(losses))
    found = orders.likeness(order[:6], drawn[:, :6], norms)
    assert frame["random_overlap"].item() == pytest.approx(found["random_overlap"])
    assert frame["random_norm"].item() == pytest.approx(found["random_norm"])


def test_a_control_that_is_no_control_is_seen_in_the_overlap() -> None:
    frame = ablate.curve(make(), torch.arange(D), TASK, counts=[0, 5, D - 1, D], draws=5)
    overlap = frame["random_overlap"].tolist()
    assert overlap[0] == 0
    assert overlap[1] < overlap[2] < overlap[3] == 1
    assert frame["random_norm"].tolist()[::3] == [1, pytest.approx(1)]


def test_a_plain_torch_hook_counts_as_a_hook() -> None:
    model, order = make(), torch.arange(D)
    handle = model.register_forward_hook(lambda module, args, logits: -logits)
    frame = ablate.curve(model, order, TASK, counts=[0, 3], draws=1)
    assert frame["loss"][0] == pytest.approx(float(measures.loss(model, TASK)))
    handle.remove()


def test_with_hooks_on_activations_the_model_itself_is_run() -> None:
    model, order = make(), torch.arange(D)
    with model.hooks(fwd_hooks=[(PRE_HOOK, lambda x, hook: x + 0.05)]):
        frame = ablate.curve(model, order, TASK, counts=[0, 4, D], draws=2)
        for n, accuracy, loss in frame[["n", "accuracy", "loss"]].itertuples(index=False):
            with model.intervened(ablate.Neurons(order[: int(n)])):
                assert accuracy == pytest.approx(float(measures.accuracy(model, TASK)))
                assert loss == pytest.approx(float(measures.loss(model, TASK)))
    shifted = HookedMLP.from_weights(model.W_in, model.W_out, model.b_in + 0.05)
    same = ablate.curve(shifted, order, TASK, counts=[0, 4, D], draws=2)
    pd.testing.assert_frame_equal(frame, same)


def test_inside_an_idealised_scope_the_ideal_weights_are_ablated() -> None:
    model = make()
    ideal = idealize.build(neurons.extract(model, TASK))
    order = torch.arange(D)
    with model.idealized(ideal):
        inside = ablate.curve(model, order, TASK, draws=2)
        value = ablate.curve(model.effective_weights(), order, TASK, draws=2)
    pd.testing.assert_frame_equal(inside, value)
    outside = ablate.curve(model, order, TASK, draws=2)
    assert not np.allclose(inside["loss"], outside["loss"])


def test_a_set_that_matters_stands_out_from_its_control() -> None:
    model, task = cosine_network()
    table = neurons.extract(model, task)
    # All but frequency 5: what is left cannot tell classes apart by more than its own wave.
    rest = ~table.at(5)
    assert int((~rest).sum()) >= 40
    frame = ablate.curve(model, rest, task, counts=[0, int(rest.sum())], draws=10)
    assert frame["accuracy"].tolist()[0] == 1
    assert frame["loss"].iloc[1] > frame["random_loss_max"].iloc[1]
    assert (
        frame["random_overlap"].iloc[1] > 0.5
    )  # most neurons are ablated, so most random ones too
    with model.intervened(ablate.Neurons(rest)):
        assert frame["accuracy"].iloc[1] == float(measures.accuracy(model, task))


def test_sides_of_a_split_are_told_apart() -> None:
    model = make()
    split = TASK.split(0.6, label_noise=0.5, seed=0)
    frame = ablate.curve(model, torch.arange(D), split, counts=[0, 5], draws=1)
    assert frame["pairs"].unique().tolist() == ["train", "test", "corrupted", "uncorrupted"]
    start = frame[frame["n"] == 0].set_index("pairs")["accuracy"]
    corrupted = Pairs(split.train_tokens[split.corrupted], split.train_labels[split.corrupted])
    assert start["train"] == pytest.approx(float(measures.accuracy(model, split.train)))
    assert start["test"] == pytest.approx(float(measures.accuracy(model, split.test)))
    assert start["corrupted"] == pytest.approx(float(measures.accuracy(model, corrupted)))
    clean = ablate.curve(model, torch.arange(D), TASK.split(0.6), counts=[0], draws=1)
    assert clean["pairs"].tolist() == ["train", "test"]
    every = ablate.curve(model, torch.arange(D), TASK.split(1.0), counts=[0], draws=1)
    assert every["pairs"].tolist() == ["train"]


def test_with_every_neuron_silent_all_classes_tie_and_count_as_wrong() -> None:
    weights = make().weights()
    silent = HookedMLP.from_weights(weights.W_in, weights.W_out, weights.b_in.clone())
    with torch.no_grad():
        silent.mlp.b_in[5:] = -10  # ReLUs that no pair reaches
    frame = ablate.curve(silent, torch.arange(5), TASK, counts=[0, 5], draws=3)
    assert frame["accuracy"].iloc[1] == 0
    assert frame["loss"].iloc[1] == pytest.approx(math.log(P))


def test_curves_neither_change_the_model_nor_keep_gradients() -> None:
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ablate.curve(model, torch.arange(D), TASK, draws=2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_errors(unchecked: None) -> None:
    model = make()
    with pytest.raises(ValueError, match="kind='median'"):
        ablate.Neurons([0], "median")
    with pytest.raises(ValueError, match="kind='median'"):
        ablate.curve(model, [0], TASK, kind="median")
    with pytest.raises(ValueError, match="hook_name='hook_embed'"):
        ablate.curve(model, [0], TASK, hook_name="hook_embed")
    with pytest.raises(ValueError, match=r"integers in 0\.\.19"):
        ablate.curve(model, [20], TASK)
    with pytest.raises(ValueError, match="list each neuron once"):
        ablate.curve(model, [1, 1], TASK)
    with pytest.raises(ValueError, match=r"counts=\[3\] must be whole numbers in 0\.\.2"):
        ablate.curve(model, [0, 1], TASK, counts=[3])
    with pytest.raises(ValueError, match="draws=0 must be at least 1"):
        ablate.curve(model, [0], TASK, draws=0)
    with pytest.raises(TypeError, match="pairs is a Tensor, expected a task, a split"):
        ablate.curve(model, [0], TASK.tokens)
    with pytest.raises(ValueError, match="the model has p=11 and the task p=7"):
        ablate.curve(model, [0], ModularTask(7))
    with pytest.raises(ValueError, match="the model has p=11 and the task p=7"):
        ablate.curve(model, [0], ModularTask(7).split(0.5))
    with (
        pytest.raises(TypeError, match="WeightFrequencies is a class, not an intervention"),
        model.intervened(ablate.WeightFrequencies),
    ):
        pass
    weights: MLPWeights = model.weights().expand(2)
    with pytest.raises(ValueError, match=r"batch of shape \(2,\)"):
        ablate.curve(weights, [0], TASK)
    with pytest.raises(ValueError, match=r"batch of shape \(2,\)"):
        ablate.ranking(neurons.extract(weights, TASK), "ipr")
    with pytest.raises(ValueError, match="by='size'"):
        ablate.ranking(neurons.extract(model, TASK), "size")
    with pytest.raises(ValueError, match="batch of 1 has no other row"):
        other_rows(1, None, 0)
    with (
        model.intervened(ablate.Neurons([0], "mean", reference=torch.zeros(3, D + 1))),
        pytest.raises(ValueError, match=r"reference has shape \[3, 21\], expected \[rows, 20\]"),
    ):
        model(TASK.tokens)
    with model.intervened(ablate.Neurons([D])), pytest.raises(ValueError, match=r"0\.\.19"):
        model(TASK.tokens)
