"""Configurations check themselves, and what is imported stays small."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from grok_interp import config

CONFIGS = [
    config.TaskConfig,
    config.SplitConfig,
    config.HookedMLPConfig,
    config.TrainConfig,
    config.Recipe,
    config.DemoConfig,
]


@pytest.mark.parametrize(
    ("cls", "field", "value", "match"),
    [
        (config.TaskConfig, "p", 2, r"p=2 .*p >= 3"),
        (config.SplitConfig, "train_fraction", 0.0, r"train_fraction=0.0 .*\(0, 1\]"),
        (config.SplitConfig, "train_fraction", 1.1, r"train_fraction=1.1 .*\(0, 1\]"),
        (config.SplitConfig, "train_fraction", float("nan"), r"train_fraction=nan .*\(0, 1\]"),
        (config.SplitConfig, "label_noise", -0.1, r"label_noise=-0.1 .*\[0, 1\]"),
        (config.SplitConfig, "label_noise", 1.1, r"label_noise=1.1 .*\[0, 1\]"),
        (config.HookedMLPConfig, "p", 2, r"p=2 .*p >= 3"),
        (config.HookedMLPConfig, "d_mlp", 0, r"d_mlp=0 .*at least 1"),
        (config.HookedMLPConfig, "d_mlp", 2.5, r"d_mlp=2.5 .*int"),
        (config.HookedMLPConfig, "act_fn", "swish", r"act_fn='swish' .*'relu', 'quadratic'"),
        (config.HookedMLPConfig, "dtype", "int8", r"dtype='int8' .*'float32', 'float64'"),
        (config.TrainConfig, "steps", -1, r"steps=-1 .*at least 0"),
        (config.TrainConfig, "steps", True, r"steps=True .*int"),
        (config.TrainConfig, "eval_every", 0, r"eval_every=0 .*at least 1"),
        (config.TrainConfig, "checkpoint_every", 0, r"checkpoint_every=0 .*at least 1"),
        (config.TrainConfig, "lr", -1.0, r"lr=-1.0 .*\[0, inf\)"),
        (config.TrainConfig, "lr", float("inf"), r"lr=inf .*\[0, inf\)"),
        (config.TrainConfig, "lr", float("nan"), r"lr=nan .*\[0, inf\)"),
        (config.TrainConfig, "weight_decay", -1.0, r"weight_decay=-1.0 .*\[0, inf\)"),
        (config.TrainConfig, "optimizer", "lion", r"optimizer='lion' .*'adamw', 'adam', 'sgd'"),
        (config.TrainConfig, "loss", "hinge", r"loss='hinge' .*'cross_entropy', .*'mse'"),
        (config.Recipe, "frequency", "best", r"frequency='best' .*'joint', 'per_matrix', 'input'"),
        (config.Recipe, "input_waveform", "saw", r"input_waveform='saw' .*'square', 'cosine'"),
        (config.Recipe, "output_waveform", "saw", r"output_waveform='saw' .*'trapezoid'"),
        (config.Recipe, "amplitude", "one", r"amplitude='one' .*'extracted', 'uniform'"),
        (config.Recipe, "output_phase", "best", r"output_phase='best' .*'own', 'phase_sum'"),
        (config.DemoConfig, "p", 1, r"p=1 .*p >= 3"),
        (config.DemoConfig, "draws", 0, r"draws=0 .*at least 1"),
        (config.DemoConfig, "noisy_steps", 0, r"noisy_steps=0 .*at least 1"),
    ],
)
def test_an_error_names_the_field_its_value_and_what_was_expected(cls, field, value, match):
    with pytest.raises(ValueError, match=match):
        cls(**{field: value})


@pytest.mark.parametrize("value", [3.0, "59", None, True])
def test_a_modulus_is_an_int(value):
    for cls in (config.TaskConfig, config.HookedMLPConfig, config.DemoConfig):
        with pytest.raises(TypeError, match=f"p={value!r} must be an int"):
            cls(p=value)


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (config.TaskConfig, {"p": 3}),
        (config.SplitConfig, {"train_fraction": 1.0, "label_noise": 1.0}),
        (config.SplitConfig, {"label_noise": 0.0}),
        (config.HookedMLPConfig, {"d_mlp": 1, "seed": None}),
        (config.TrainConfig, {"steps": 0, "lr": 0.0, "weight_decay": 0.0}),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(cls, values):
    made = cls(**values)
    assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize("cls", CONFIGS)
def test_every_configuration_is_frozen_and_equal_by_value(cls):
    made = cls()
    assert made == cls()
    assert hash(made) == hash(cls())
    for field in dataclasses.fields(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, getattr(made, field.name))


@pytest.mark.parametrize("cls", CONFIGS)
def test_a_configuration_comes_back_from_its_dictionary(cls):
    assert config.from_dict(cls, dataclasses.asdict(cls()), "here") == cls()


def test_unknown_keys_are_named_with_the_place_and_the_known_ones():
    with pytest.raises(ValueError, match=r"study.toml: unknown keys 'q', 'z'.*operation, p"):
        config.from_dict(config.TaskConfig, {"p": 5, "z": 1, "q": 2}, "study.toml")
    with pytest.raises(ValueError, match=r"p=2 "):
        config.from_dict(config.TaskConfig, {"p": 2}, "study.toml")


# What importing costs


def in_fresh_interpreter(code: str) -> str:
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


LOADED = "import sys; print([m for m in {} if m in sys.modules])"


def test_the_package_and_its_configuration_import_no_torch():
    code = "import grok_interp, grok_interp.config; dir(grok_interp); grok_interp.config.Recipe(); "
    heavy = ["torch", "numpy", "pandas", "transformer_lens"]
    assert in_fresh_interpreter(code + LOADED.format(heavy)) == "[]"


def test_the_mathematics_imports_no_transformer_lens():
    code = (
        "from grok_interp import circular, figures, fourier, measures, neurons, tasks, waveforms, weights; "
        "from grok_interp import ModularTask, extract; "
        "assert ModularTask is tasks.ModularTask and extract is neurons.extract; "
    )
    heavy = ["transformer_lens", "grok_interp.hooked_mlp", "datasets", "transformers"]
    assert in_fresh_interpreter(code + LOADED.format(heavy)) == "[]"


def test_short_names_are_the_modules_own():
    import grok_interp
    from grok_interp import controls, hooked_mlp, neurons, tasks, training

    assert grok_interp.ModularTask is tasks.ModularTask
    assert grok_interp.HookedMLP is hooked_mlp.HookedMLP
    assert grok_interp.extract is neurons.extract
    assert grok_interp.train is training.train
    assert grok_interp.evaluate is controls.evaluate
    assert {"ModularTask", "HookedMLP", "hooked_mlp", "tasks"} <= set(dir(grok_interp))
    with pytest.raises(AttributeError, match="no attribute 'HookedMPL'"):
        grok_interp.HookedMPL  # noqa: B018
