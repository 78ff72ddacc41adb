"""Training against hand-written loops on dense one-hots, and what is stored along a run."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from grok_interp import training
from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask, Split
from grok_interp.training import train

P, D = 11, 16


@pytest.fixture(scope="module")
def split() -> Split:
    return ModularTask(P).split(train_fraction=0.6, label_noise=0.3, seed=1)


def make(**fields) -> HookedMLP:
    return HookedMLP(p=P, d_mlp=D, seed=2, **fields)


def update(kind: str, parameters: list[Tensor], config: TrainConfig):
    """One step of each optimizer, written out from its paper (PyTorch's conventions for decay)."""
    first = [torch.zeros_like(tensor) for tensor in parameters]
    second = [torch.zeros_like(tensor) for tensor in parameters]
    beta_1, beta_2 = config.betas

    def step(gradients: list[Tensor], t: int) -> None:
        for w, g, m, v in zip(parameters, gradients, first, second, strict=True):
            if kind != "adamw":
                g = g + config.weight_decay * w
            if kind == "sgd":
                m.copy_(g if t == 1 else config.momentum * m + g)
                w -= config.lr * m
                continue
            if kind == "adamw":
                w *= 1 - config.lr * config.weight_decay
            m.copy_(beta_1 * m + (1 - beta_1) * g)
            v.copy_(beta_2 * v + (1 - beta_2) * g * g)
            corrected = (v / (1 - beta_2**t)).sqrt() + 1e-8
            w -= config.lr * m / (1 - beta_1**t) / corrected

    return step


def by_hand(model: HookedMLP, split: Split, config: TrainConfig) -> list[Tensor]:
    """W_in ``[2 p, d]``, W_out and biases after ``config.steps`` full-batch steps."""
    parameters = [
        model.W_in.detach().flatten(0, 1).clone(),
        *(t.detach().clone() for t in (model.W_out, model.b_in, model.b_out) if t is not None),
    ]
    hot = F.one_hot(split.train_tokens, P).flatten(1).double()
    target = F.one_hot(split.train_labels, P).double()
    step = update(config.optimizer, parameters, config)
    for t in range(1, config.steps + 1):
        leaves = [tensor.clone().requires_grad_() for tensor in parameters]
        W_in, W_out, *biases = leaves
        b_in, b_out = biases or (0, 0)
        logits = (hot @ W_in + b_in).clamp(min=0) @ W_out + b_out
        if config.loss == "mse":
            loss = ((logits - target) ** 2).mean()
        else:
            loss = -(logits.log_softmax(-1) * target).sum(-1).mean()
        step(list(torch.autograd.grad(loss, leaves)), t)
    return parameters


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize(
    ("optimizer", "lr", "fields"),
    [
        ("adamw", 1e-2, {}),
        ("adamw", 1e-2, {"weight_decay": 0.0, "betas": (0.5, 0.8)}),
        ("adam", 1e-2, {"weight_decay": 0.1}),
        ("sgd", 0.5, {"weight_decay": 0.01}),
        ("sgd", 0.1, {"weight_decay": 0.0, "momentum": 0.9}),
    ],
)
@pytest.mark.parametrize("biases", [False, True])
def test_twenty_steps_equal_a_loop_written_by_hand(
    split: Split, loss: str, optimizer: str, lr: float, fields: dict, biases: bool
) -> None:
    model = make(dtype="float64", bias_in=biases, bias_out=biases)
    config = TrainConfig(steps=20, lr=lr, optimizer=optimizer, loss=loss, progress=False, **fields)
    start = model.W_in.detach().clone()
    expected = by_hand(model, split, config)
    train(model, split, config)
    found = [model.W_in.flatten(0, 1), model.W_out, model.b_in, model.b_out]
    for tensor, want in zip([t for t in found if t is not None], expected, strict=True):
        torch.testing.assert_close(tensor.detach(), want, atol=1e-9, rtol=0)
    assert float((model.W_in.detach() - start).abs().max()) > 1e-3


def test_tied_operands_train_as_one_embedding(split: Split) -> None:
    """One SGD step moves the shared matrix by the sum of both operands' gradients."""
    model = make(dtype="float64", tied_operands=True)
    before = model.W_in.detach()[0].clone()
    both = HookedMLP.from_weights(model.weights().W_in.detach(), model.W_out.detach())
    both(split.train_tokens, split.train_labels, return_type="loss").backward()
    train(model, split, steps=1, lr=0.1, weight_decay=0.0, optimizer="sgd", progress=False)
    torch.testing.assert_close(model.W_in.detach()[0], before - 0.1 * both.W_in.grad.sum(0))


def test_decay_alone_shrinks_weights_geometrically(split: Split) -> None:
    """Without a gradient (a dead ReLU), AdamW multiplies weights by 1 - lr wd a step."""
    model = make(dtype="float64", bias_in=True)
    with torch.no_grad():
        model.b_in.fill_(-100)
    before = model.W_in.detach().clone()
    train(model, split, steps=10, lr=0.01, weight_decay=0.5, progress=False)
    torch.testing.assert_close(model.W_in.detach(), before * (1 - 0.005) ** 10)


@pytest.mark.parametrize("name", ["W_in", "W_out", "b_in"])
def test_trainable_freezes_the_rest_and_restores_requires_grad(split: Split, name: str) -> None:
    model = make(bias_in=True)
    model.b_in.requires_grad_(name == "b_in")
    wanted = {key: tensor.requires_grad for key, tensor in model.named_parameters()}
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    train(model, split, steps=3, trainable=(name,), progress=False)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]) == (not key.endswith(name)), key
    assert {key: tensor.requires_grad for key, tensor in model.named_parameters()} == wanted
    assert all(tensor.grad is None for tensor in model.parameters())


def test_requires_grad_is_restored_after_an_error(split: Split) -> None:
    model = make()
    with pytest.raises(FloatingPointError):
        train(
            model, split, steps=50, lr=1e30, optimizer="sgd", loss="mse", trainable=("W_in",),
            progress=False,
        )  # fmt: skip
    assert model.W_out.requires_grad


# What is recorded --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [
        (10, 4, [0, 4, 8, 10]),
        (8, 4, [0, 4, 8]),
        (3, 100, [0, 3]),
        (0, 5, [0]),
        (2, 1, [0, 1, 2]),
    ],
)
def test_schedules_include_the_first_and_last_step(
    split: Split, steps: int, every: int, expected: list[int]
) -> None:
    options = {"steps": steps, "progress": False}
    traj = train(make(), split, checkpoint_every=every, eval_every=7, **options)
    assert list(traj.steps) == expected
    assert len(traj) == len(expected)
    traj = train(make(), split, checkpoint_every=7, eval_every=every, **options)
    assert traj.metrics.index.tolist() == expected
    assert traj.metrics.index.name == "step"


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_metrics_are_those_of_the_checkpoints(split: Split, loss: str) -> None:
    model = make(bias_out=True)
    traj = train(
        model, split, steps=30, lr=0.03, eval_every=10, checkpoint_every=10, loss=loss,
        progress=False,
    )  # fmt: skip
    sides = {
        "train": (split.train_tokens, split.train_labels),
        "clean_train": (split.train_tokens, split.clean_train_labels),
        "test": (split.test_tokens, split.test_labels),
    }
    assert int(split.corrupted.sum()) > 5
    for index, step in enumerate(traj.steps):
        checkpoint, row = traj[index].double(), traj.metrics.loc[step]
        for side, (tokens, labels) in sides.items():
            logits = checkpoint(tokens).detach()
            accuracy = float((logits.argmax(-1) == labels).double().mean())
            assert row[f"{side}_accuracy"] == pytest.approx(accuracy, abs=1e-9), (side, step)
            if loss == "mse":
                per_pair = ((logits - torch.eye(P)[labels]) ** 2).mean(-1)
            else:
                per_pair = -logits.log_softmax(-1)[torch.arange(len(labels)), labels]
            if side != "clean_train":
                assert row[f"{side}_loss"] == pytest.approx(float(per_pair.mean()), rel=1e-5)
        squares = sum(float(t.detach().square().sum()) for t in checkpoint.parameters())
        assert row["weight_norm"] == pytest.approx(math.sqrt(squares), rel=1e-6)
    assert traj.metrics["train_loss"].iloc[-1] < traj.metrics["train_loss"].iloc[0]
    assert "train_loss" in repr(traj)


@pytest.mark.parametrize("tied", [False, True])
def test_trajectory_gives_models_back(split: Split, tied: bool) -> None:
    model = make(tied_operands=tied, bias_in=True)
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    traj = train(model, split, steps=9, checkpoint_every=4, progress=False)
    for name, tensor in model.state_dict().items():
        assert torch.equal(traj[-1].state_dict()[name], tensor)
        assert torch.equal(traj[0].state_dict()[name], initial[name])
        assert torch.equal(traj.at(9).state_dict()[name], tensor)
        assert torch.equal(traj.at(4).state_dict()[name], traj[1].state_dict()[name])
        assert not torch.equal(tensor, initial[name])
    assert traj[0].cfg == model.cfg == traj.model_config
    weights = traj.weights()
    assert weights.batch_shape == (4,)
    tokens = split.task.tokens
    for index in range(4):
        torch.testing.assert_close(weights.logits(tokens)[index], traj[index](tokens).detach())
    with pytest.raises(KeyError, match=r"no checkpoint at step 6; the nearest is at (4|8)"):
        traj.at(6)
    with pytest.raises(KeyError, match="the nearest is at 9"):
        traj.at(1000)
    for index in (4, -5):
        with pytest.raises(IndexError, match=r"positions are 0\.\.3"):
            traj[index]


def test_checkpoints_are_not_aliases_of_the_model(split: Split) -> None:
    model = make()
    traj = train(model, split, steps=2, progress=False)
    stored = traj.tensors["W_in"].clone()
    with torch.no_grad():
        model.W_in.zero_()
        traj[-1].W_in.zero_()
    assert torch.equal(traj.tensors["W_in"], stored)


def test_a_custom_activation_survives_the_trajectory(split: Split) -> None:
    start = make()
    model = HookedMLP.from_weights(start.W_in.detach(), start.W_out.detach(), act_fn=torch.tanh)
    traj = train(model, split, steps=2, progress=False)
    tokens = split.task.tokens
    assert torch.equal(traj[-1](tokens), model(tokens))
    assert torch.equal(traj.weights()[-1].logits(tokens), model(tokens).detach())


# How it runs -------------------------------------------------------------------------------------


def test_training_is_in_place_deterministic_and_leaves_the_global_generator_alone(
    split: Split,
) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = make(), make()
    parameter = first.W_in
    one = train(first, split, steps=25, progress=False)
    two = train(second, split, TrainConfig(steps=25, progress=True), progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.W_in is parameter
    assert torch.equal(first.W_in, second.W_in)
    assert one.metrics.equals(two.metrics)
    assert one.train_config == two.train_config


def test_hooks_take_part(split: Split) -> None:
    """With post set to zero W_in and W_out have no gradient; only the output bias learns."""
    model = make(bias_out=True)
    model.add_hook("blocks.0.mlp.hook_post", lambda post, hook: 0 * post)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    traj = train(model, split, steps=5, weight_decay=0.0, progress=False)
    assert torch.equal(model.W_in, before["blocks.0.mlp.W_in"])
    assert torch.equal(model.W_out, before["blocks.0.mlp.W_out"])
    assert not torch.equal(model.b_out, before["blocks.0.mlp.b_out"])
    # Evaluations see the hook too: one set of logits for every pair.
    losses = -model.b_out.detach().log_softmax(0)[split.test_labels]
    assert traj.metrics["test_loss"].iloc[-1] == pytest.approx(float(losses.mean()), rel=1e-5)


def test_a_hook_on_the_gradient_takes_part(split: Split) -> None:
    model = make()
    model.hook_embed.register_full_backward_hook(lambda module, grad, out: (0 * grad[0],))
    before = model.W_in.detach().clone()
    train(model, split, steps=3, weight_decay=0.0, progress=False)
    assert torch.equal(model.W_in, before)


def test_a_hook_on_a_parameter_and_a_forward_of_its_own_take_part(split: Split) -> None:
    masked = make()
    masked.W_in.register_hook(lambda gradient: 0 * gradient)
    before = masked.W_in.detach().clone()
    train(masked, split, steps=3, weight_decay=0.0, progress=False)
    assert torch.equal(masked.W_in, before)

    class Silent(HookedMLP):
        def forward(self, *args, **kwargs):
            return 0 * super().forward(*args, **kwargs)

    silent = Silent(p=P, d_mlp=D, seed=2)
    before = silent.W_out.detach().clone()
    traj = train(silent, split, steps=3, weight_decay=0.0, progress=False)
    assert torch.equal(silent.W_out, before)
    assert traj.metrics["train_loss"].iloc[-1] == pytest.approx(math.log(P))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_trains_through_the_models_own_forward(split: Split, dtype: str) -> None:
    model = make(dtype=dtype)
    traj = train(model, split, steps=60, lr=0.02, weight_decay=0.0, progress=False)
    assert traj.metrics["train_loss"].iloc[-1] < 0.8 * traj.metrics["train_loss"].iloc[0]
    assert traj.tensors["W_in"].dtype == getattr(torch, dtype)


def test_reduced_precision_is_set_for_the_run_only(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = training.Lockstep.step

    def looking(self, number: int) -> None:
        seen.append(torch.get_float32_matmul_precision())
        original(self, number)

    monkeypatch.setattr(training.Lockstep, "step", looking)
    train(make(), split, steps=2, matmul_precision="medium", progress=False)
    assert seen == ["medium", "medium"]
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("rule", "held", "last"),
    [
        ("train_loss < 100", 1, 0),
        ("train_loss < 100", 3, 20),
        ("train_loss > 100", 1, 60),
        ("weight_norm >= 0", 2, 10),
    ],
)
def test_a_stop_rule_ends_the_run_when_it_held_long_enough(
    split: Split, rule: str, held: int, last: int
) -> None:
    traj = train(
        make(), split, steps=60, eval_every=10, stop=rule, stop_evaluations=held, progress=False
    )
    assert traj.steps[-1] == traj.metrics.index[-1] == last
    assert traj.ended == ("all steps" if last == 60 else f"stop rule: {rule}")


def test_minibatches_cover_every_pair_once_an_epoch_in_a_new_order(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    original = training.Lockstep._draw

    def recording(self, number: int, size: int):
        batch = original(self, number, size)
        drawn.append(batch)
        return batch

    monkeypatch.setattr(training.Lockstep, "_draw", recording)
    pairs = len(split.train_index)
    size = 20
    per_epoch = math.ceil(pairs / size)
    train(make(), split, steps=2 * per_epoch, batch_size=size, progress=False)
    assert [batch.pairs for batch in drawn[:per_epoch]] == [20] * (pairs // 20) + [pairs % 20]
    orders = []
    for epoch in (drawn[:per_epoch], drawn[per_epoch:]):
        tokens = torch.cat([batch.tokens[0] for batch in epoch])
        labels = torch.cat([batch.labels[0] for batch in epoch])
        rows = tokens[:, 0] * P + tokens[:, 1]
        order = rows.argsort()
        wanted = (split.train_tokens[:, 0] * P + split.train_tokens[:, 1]).argsort()
        assert torch.equal(tokens[order], split.train_tokens[wanted])
        assert torch.equal(labels[order], split.train_labels[wanted])
        orders.append(rows)
    assert not torch.equal(*orders)


def test_gradient_and_weight_norms_are_those_of_the_full_batch(split: Split) -> None:
    for fields in ({}, {"batch_size": 16}):
        model = make(bias_in=True)
        traj = train(
            model, split, steps=12, eval_every=6, checkpoint_every=6, progress=False, **fields
        )
        for step in traj.steps:
            checkpoint, row = traj.at(step), traj.metrics.loc[step]
            checkpoint(split.train_tokens, split.train_labels, return_type="loss").backward()
            squares = 0.0
            for name in ("W_in", "W_out", "b_in"):
                parameter = getattr(checkpoint, name)
                norm = float(parameter.grad.norm())
                assert row[f"gradient_norm_{name}"] == pytest.approx(norm, rel=1e-4)
                assert row[f"weight_norm_{name}"] == pytest.approx(
                    float(parameter.detach().norm()), rel=1e-5
                )
                squares += norm**2
            assert row["gradient_norm"] == pytest.approx(math.sqrt(squares), rel=1e-4)


def test_everything_may_be_training_data() -> None:
    split = ModularTask(P).split(train_fraction=1.0)
    traj = train(make(), split, steps=1, progress=False)
    assert traj.metrics["test_accuracy"].isna().all()
    assert traj.metrics["train_accuracy"].notna().all()


def test_training_learns_the_training_labels() -> None:
    split = ModularTask(P).split(train_fraction=0.5, label_noise=0.3, seed=0)
    model = HookedMLP(p=P, d_mlp=128, seed=0)
    traj = train(model, split, steps=150, weight_decay=0.0, lr=1e-2, progress=False)
    last = traj.metrics.iloc[-1]
    assert last["train_accuracy"] == 1.0
    agreeing = 1 - float(split.corrupted.double().mean())
    assert last["clean_train_accuracy"] == pytest.approx(agreeing)


def test_errors(split: Split) -> None:
    model = make()
    with pytest.raises(ValueError, match="trainable name 'b_in' is unknown"):
        train(model, split, steps=1, trainable=("b_in",), progress=False)
    with pytest.raises(ValueError, match="the model has p=11 and the split p=7"):
        train(model, ModularTask(7).split(), steps=1)
    with pytest.raises(ValueError, match="optimizer='lion' is unknown"):
        train(model, split, optimizer="lion")
    with pytest.raises(ValueError, match="loss='hinge' is unknown"):
        train(model, split, loss="hinge")
    with pytest.raises(ValueError, match="steps=-1"):
        train(model, split, steps=-1)
    with pytest.raises(TypeError, match="epochs"):
        train(model, split, epochs=3)
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d+: lower lr"):
        train(model, split, steps=50, lr=1e30, optimizer="sgd", loss="mse", progress=False)


def test_none_trains_what_requires_gradients_and_nothing_is_refused() -> None:
    task = ModularTask(7)
    model = HookedMLP(p=7, d_mlp=5, seed=0)
    model.W_in.requires_grad_(False)
    before = model.W_in.clone(), model.W_out.detach().clone()
    train(model, task.split(0.5), steps=3, progress=False)
    assert torch.equal(model.W_in, before[0])
    assert not torch.equal(model.W_out, before[1])
    with pytest.raises(ValueError, match=r"nothing to train: trainable=\(\)"):
        train(model, task.split(0.5), steps=3, trainable=(), progress=False)


def test_a_last_step_that_diverges_is_noticed() -> None:
    model = HookedMLP(p=7, d_mlp=5, seed=0)
    with pytest.raises(FloatingPointError, match="at step 1"):
        train(model, ModularTask(7).split(0.5), steps=1, lr=1e38, progress=False)


def test_a_trajectory_is_indexed_by_one_checkpoint() -> None:
    model = HookedMLP(p=7, d_mlp=5, seed=0)
    run = train(model, ModularTask(7).split(0.5), steps=2, progress=False)
    with pytest.raises(TypeError):
        run[::2]
