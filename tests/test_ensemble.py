"""Stacked networks against the same networks trained alone."""

import dataclasses
import warnings

import pandas as pd
import pytest
import torch

from grok_interp import ensemble, gradients
from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask, Split
from grok_interp.training import make_job, train

P, D, N = 11, 24, 5


def model(i: int, **fields) -> HookedMLP:
    fields = {"dtype": "float64", "bias_in": True, "init_scale": 1 + 0.2 * i} | fields
    return HookedMLP(p=P, d_mlp=D, seed=i, **fields)


def splits(task: ModularTask) -> list[Split]:
    return [task.split(0.5, label_noise=0.1 * i, seed=i) for i in range(N)]


def configs(**fields) -> list[TrainConfig]:
    """Different rates, decays, lengths and schedules; the third also stops early."""
    return [
        TrainConfig(
            steps=200 - 20 * i,
            lr=2e-3 * (1 + i),
            weight_decay=0.3 * i,
            seed=i,
            warmup_steps=5,
            eval_every=7 + i,
            checkpoint_every=50 + i,
            stop="train_accuracy >= 0.5" if i == 2 else None,
            stop_evaluations=2,
            progress=False,
            **fields,
        )
        for i in range(N)
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9, "loss": "mse"},
        {"optimizer": "adam", "loss": "stablemax"},
        {"gradient": "orthogonal", "trainable": ("W_in", "b_in")},
        {"gradient": "grokfast", "batch_size": 16},
        {"optimizer": "adam", "constraint": "sphere"},
        {"optimizer": "adamw", "constraint": "per_layer"},
    ],
)
def test_each_member_equals_the_same_model_trained_alone(fields: dict) -> None:
    task = ModularTask(P)
    models = [model(i) for i in range(N)]
    together = ensemble.train(models, splits(task), configs(**fields))
    lengths = set()
    for i, (split, config) in enumerate(zip(splits(task), configs(**fields), strict=True)):
        alone = train(single := model(i), split, config)
        for name, tensor in alone.tensors.items():
            torch.testing.assert_close(together[i].tensors[name], tensor, atol=1e-9, rtol=0)
        assert together[i].steps == alone.steps
        assert together[i].ended == alone.ended
        assert together[i].model_config == alone.model_config
        pd.testing.assert_frame_equal(together[i].metrics, alone.metrics, rtol=1e-6, atol=1e-9)
        assert torch.equal(models[i].W_in, together[i][-1].W_in)
        torch.testing.assert_close(models[i].W_out, single.W_out, atol=1e-9, rtol=0)
        lengths.add(alone.steps[-1])
    assert len(lengths) >= N - 1


def test_a_member_that_met_its_stop_rule_costs_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted in network-steps: those of members that stopped are not computed."""
    computed = []
    original = gradients.Stack.gradients

    def counting(self, *args, **kwargs) -> None:
        computed.append(self.networks)
        original(self, *args, **kwargs)

    monkeypatch.setattr(gradients.Stack, "gradients", counting)
    task = ModularTask(P)
    early = TrainConfig(steps=100, stop="train_loss < 100", eval_every=10, progress=False)
    late = dataclasses.replace(early, stop=None)
    found = ensemble.train(
        [model(i) for i in range(4)], splits(task)[:4], [early, late, early, late]
    )
    assert [run.steps[-1] for run in found] == [0, 100, 0, 100]
    assert found[0].ended == "stop rule: train_loss < 100"
    # One gradient for all four at step 0, which two use; then theirs at steps 1 to 100.
    assert sum(computed) == 4 + 2 * 100


def test_different_shapes_train_beside_each_other() -> None:
    task = ModularTask(P)
    models = [model(0), model(1, bias_in=False), model(2)]
    sides = [task.split(0.5, seed=0), task.split(0.5, seed=1), task.split(0.3, seed=2)]
    config = TrainConfig(steps=20, progress=False)
    for run, i, split in zip(ensemble.train(models, sides, config), range(3), sides, strict=True):
        other = model(i, bias_in=i != 1)
        torch.testing.assert_close(run[-1].W_in, train(other, split, config)[-1].W_in)


def test_blocks_fill_a_chunk_and_are_even() -> None:
    def size(p: int, d_mlp: int) -> int:
        job = make_job(HookedMLP(p=p, d_mlp=d_mlp), ModularTask(p).split(0.5), TrainConfig())
        return ensemble.block_size(job)

    assert size(113, 512) == 1
    assert size(59, 256) == 2
    assert size(23, 128) == gradients.CHUNK_ELEMENTS // (264 * 128) == 31


def test_one_that_diverges_ends_and_the_others_go_on() -> None:
    task = ModularTask(P)
    good = TrainConfig(steps=60, optimizer="sgd", loss="mse", lr=0.1, progress=False)
    bad = dataclasses.replace(good, lr=1e30)
    models = [model(0), model(1), model(2)]
    with pytest.warns(RuntimeWarning, match=r"model 1: the loss is (nan|inf) at step \d+"):
        found = ensemble.train(models, splits(task)[:3], [good, bad, good])
    assert [run.ended == "all steps" for run in found] == [True, False, True]
    assert "lower lr" in found[1].ended
    assert all(bool(tensor.isfinite().all()) for tensor in found[1].tensors.values())
    alone = train(model(2), splits(task)[2], good)
    torch.testing.assert_close(found[2][-1].W_in, alone[-1].W_in, atol=1e-9, rtol=0)


def test_errors_name_what_is_wrong() -> None:
    task = ModularTask(P)
    config = TrainConfig(steps=1, progress=False)
    one, split = model(0), task.split(0.5)
    with pytest.raises(ValueError, match="2 models, 1 splits and 2 training configurations"):
        ensemble.train([one, model(1)], [split], config)
    with pytest.raises(ValueError, match="a model occurs twice"):
        ensemble.train([one, one], [split, split], config)
    hooked = model(1)
    hooked.add_hook("blocks.0.mlp.hook_post", lambda post, hook: post)
    with pytest.raises(ValueError, match="model 1 has hooks"):
        ensemble.train([one, hooked], [split, split], config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ensemble.train([], [], config) == []
