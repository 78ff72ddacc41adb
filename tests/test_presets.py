"""Published quadratic networks: their scales, the rule for the learning rate, and that they grok."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from grok_interp import config, ensemble, neurons, presets, training
from grok_interp.config import HookedMLPConfig, RunConfig, TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

ROOT = Path(__file__).parents[1]


def first(metric, level: float) -> int:
    return int(metric.index[metric >= level][0])


def test_scales_are_the_published_ones():
    field, plain = HookedMLP(presets.mean_field(31, 400, 2)), HookedMLP(presets.doshi(31, 400, 2))
    assert field.cfg.output_scale == pytest.approx(1 / (2 * 31 * 400))
    assert plain.cfg.output_scale == 1.0
    for model, std in ((field, 1.0), (plain, (16 * 400) ** (-1 / 3))):
        assert model.cfg.act_fn == "quadratic"
        for weight in (model.W_in.detach(), model.W_out.detach()):
            assert float(weight.std()) == pytest.approx(std, rel=0.03)
            assert float(weight.mean()) == pytest.approx(0, abs=0.03 * std)
    torch.testing.assert_close(plain.W_in, field.W_in * (16 * 400) ** (-1 / 3))


def test_the_rule_for_the_learning_rate_is_exact_under_a_change_of_factor():
    """Weights s times as large under a factor s^-3 take the same steps, s times as large."""
    p, n, s = 11, 60, 0.3
    split = ModularTask(p).split(0.7, seed=0)
    field = HookedMLP(presets.mean_field(p, n)).double()
    scaled = HookedMLP.from_weights(
        s * field.W_in.detach(),
        s * field.W_out.detach(),
        act_fn="quadratic",
        output_scale=field.cfg.output_scale / s**3,
    )
    for model in (field, scaled):
        how = presets.gradient_descent(model.cfg, 3e-3, steps=200, momentum=0.5, progress=False)
        training.train(model, split, how)
    torch.testing.assert_close(scaled.W_in, s * field.W_in, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(scaled.W_out, s * field.W_out, rtol=1e-8, atol=1e-10)


def test_other_fields_replace_those_of_the_preset():
    cfg = presets.mean_field(23, 500)
    how = presets.gradient_descent(cfg, 1e-3, steps=7, momentum=0.9)
    assert how == TrainConfig(
        steps=7, lr=1e-3 * 23**3 * 500, weight_decay=0.0, optimizer="sgd", momentum=0.9, loss="mse"
    )
    assert presets.adamw(0.0, lr=0.5) == TrainConfig(
        steps=500, lr=0.5, weight_decay=0.0, optimizer="adamw", loss="mse"
    )


@pytest.mark.usefixtures("unchecked")
def test_the_rule_is_refused_for_other_activations():
    with pytest.raises(ValueError, match=r"act_fn='relu'.*quadratic"):
        presets.gradient_descent(HookedMLPConfig(p=23))
    with pytest.raises(TypeError, match=r"HookedMLP.*model\.cfg"):
        presets.gradient_descent(HookedMLP(presets.mean_field(5, 4)))


def test_presets_need_no_torch():
    code = "import sys; from grok_interp import presets; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_long_run_is_the_published_setting():
    run = config.read_toml(RunConfig, ROOT / "demos" / "gromov_p97.toml")
    assert run.model == presets.mean_field(97, 500)
    expected = presets.gradient_descent(run.model, 1e5 / (97**3 * 500))
    assert run.train.lr == pytest.approx(expected.lr) == 1e5
    for name in ("optimizer", "loss", "weight_decay", "momentum", "batch_size"):
        assert getattr(run.train, name) == getattr(expected, name)
    assert (run.split.train_fraction, run.split.label_noise) == (0.5, 0.0)


FIELD = presets.mean_field(31, 300)


@pytest.mark.parametrize(
    "how",
    [
        presets.gradient_descent(FIELD, 3.2e-3),
        presets.gradient_descent(FIELD, 3.2e-4, momentum=0.9),
        presets.adamw(0.0),
    ],
    ids=["gradient descent", "momentum", "AdamW without decay"],
)
def test_quadratic_networks_grok_without_regularisation(how):
    """arXiv 2301.02679: no weight decay, no noise, all pairs of the train split at once."""
    task = ModularTask(31)
    model = HookedMLP(FIELD)
    rules = {"steps": 2000, "eval_every": 25, "stop": "test_accuracy >= 0.99", "progress": False}
    run = training.train(model, task.split(0.7, seed=0), how, checkpoint_every=10**6, **rules)
    metrics = run.metrics
    memorised = first(metrics.train_accuracy, 0.99)
    assert run.ended.startswith("stop rule")
    assert metrics.test_accuracy[memorised] < 0.1  # it memorises first
    assert metrics.test_loss[memorised] > metrics.test_loss[0] > metrics.test_loss.iloc[-1]
    table, start = neurons.extract(model, task), neurons.extract(run[0], task)
    assert float(table.median_abs_phase_residual) < 0.2
    assert float(start.median_abs_phase_residual) > 1.3


SIZES = ((31, 100), (31, 1600), (59, 300))
"""p and N: sixteen times as many neurons, and p^3 N as much as twenty times as large."""


def memorised(p: int, d_mlp: int, steps: int, **how) -> int | None:
    """The step at which gradient descent has 99% of 70% of the pairs; None if it does not in time."""
    cfg = presets.mean_field(p, d_mlp)
    rules = {"eval_every": 10, "stop": "train_accuracy >= 0.99", "progress": False}
    descent = presets.gradient_descent(cfg, steps=steps, **(rules | how))
    run = training.train(HookedMLP(cfg), ModularTask(p).split(0.7, seed=0), descent)
    return int(run.metrics.index[-1]) if run.ended.startswith("stop rule") else None


@pytest.mark.slow
def test_one_rate_serves_three_sizes_and_one_learning_rate_does_not():
    rate = 4e-3
    steps = {size: memorised(*size, 1000, rate=rate) for size in SIZES}
    assert None not in steps.values()
    assert max(steps.values()) < 3 * min(steps.values())
    for size in SIZES:
        with pytest.raises(FloatingPointError):  # six times the rate is too much for each
            memorised(*size, 1000, rate=6 * rate, stop=None)
    small, wide, large = SIZES
    lr = {size: presets.gradient_descent(presets.mean_field(*size), rate).lr for size in SIZES}
    for other in (wide, large):  # what suits these is too much for the smallest
        with pytest.raises(FloatingPointError):
            memorised(*small, 1000, lr=lr[other], stop=None)
        # and what suits the smallest leaves them behind in three times their steps
        assert memorised(*other, 3 * steps[other], lr=lr[small]) is None


@pytest.mark.slow
def test_published_functions_are_learned_where_a_form_is_found():
    """arXiv 2301.02679: sums and products are; a form in a and b needs nearly all pairs; one never is."""
    p, fractions = 23, (0.7, 0.95)
    tasks = {name: ModularTask(p, name) for name in presets.FUNCTIONS}
    held_out = {}
    for fraction in fractions:
        models = [HookedMLP(presets.doshi(p, 300)) for _ in tasks]
        splits = [task.split(fraction, seed=0) for task in tasks.values()]
        how = presets.adamw(5.0, steps=400, eval_every=400, progress=False)
        for name, run in zip(tasks, ensemble.train(models, splits, how), strict=True):
            assert run.metrics.train_accuracy.iloc[-1] == 1.0, name
            held_out[name, fraction] = float(run.metrics.test_accuracy.iloc[-1])
    for name, task in tasks.items():
        if task.coordinates is not None:
            assert min(held_out[name, fraction] for fraction in fractions) > 0.98, name
        else:
            assert held_out[name, 0.7] < 0.5, name
    assert held_out["a**2 + a*b + b**2", 0.95] > 0.9
    assert held_out["a**3 + a*b**2 + b", 0.95] < 0.1
    assert [task.coordinates is None for task in tasks.values()] == [False] * 13 + [True] * 4
