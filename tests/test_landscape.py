"""Stacks of any network against the same networks alone, landscapes on disk, and the L and the U by hand."""

import dataclasses
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from grok_interp import landscape, problems, sphere
from grok_interp.config import HookedMLPConfig, LandscapeConfig, TaskConfig, TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.landscape import training
from grok_interp.landscape.cells import KEYS, Cell, Store
from grok_interp.landscape.stack import MEASURED, ModuleStack
from grok_interp.lockstep import epoch_order
from grok_interp.problems import Data, ModularProblem, Problem, Side, perceptron
from grok_interp.sphere import Sphere
from grok_interp.tasks import ModularTask
from grok_interp.training import train as train_a_run

ALPHAS = (0.5, 1.0, 4.0)
HOW = TrainConfig(
    steps=30,
    lr=3e-3,
    weight_decay=0.0,
    optimizer="adam",
    constraint="sphere",
    eval_every=10,
    batch_size=8,
)


def gaussians(seed: int, size: int) -> Data:
    """Three classes by the sign of two coordinates."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size + 30, 4, generator=generator)
    classes = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()
    return Data(Side((inputs[:size],), classes[:size]), Side((inputs[size:],), classes[size:]))


def small(seed: int) -> nn.Module:
    return perceptron((4, 10, 3), nn.ReLU, seed)


def problem(**fields) -> Problem:
    given = {"network": small, "data": gaussians, "loss": "cross_entropy", "size": 20, "train": HOW}
    return Problem(**({"name": "Gaussians"} | given | fields))


def alone(of: Problem, alpha: float, seed: int, how: TrainConfig) -> dict[str, float]:
    """One network by PyTorch's own loop, and its losses and accuracies."""
    network, data = of.network(seed), of.data(seed, of.size)
    sphere.scale(network, alpha)
    ball = Sphere(network)
    kind = torch.optim.Adam if how.optimizer == "adam" else torch.optim.AdamW
    optimizer = kind(
        network.parameters(), lr=how.lr, betas=how.betas, weight_decay=how.weight_decay
    )
    per_epoch = math.ceil(of.size / how.batch_size)
    for number in range(how.steps):
        epoch, place = divmod(number, per_epoch)
        rows = epoch_order(seed, epoch, of.size)[place * 8 : (place + 1) * 8]
        optimizer.zero_grad()
        outputs = network(*(each[rows] for each in data.train.inputs))
        nn.functional.cross_entropy(outputs, data.train.targets[rows]).backward()
        optimizer.step()
        ball.project()
    found = {"weight_norm": sphere.norm(network)}
    with torch.no_grad():
        for name, side in (("train", data.train), ("test", data.test)):
            outputs = network(*side.inputs)
            found[f"{name}_loss"] = float(nn.functional.cross_entropy(outputs, side.targets))
            found[f"{name}_accuracy"] = float((outputs.argmax(-1) == side.targets).double().mean())
    return found


class Recurrent(nn.Module):
    """What vmap does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(inputs.unsqueeze(-1))[0][:, -1])


def recurrent(seed: int) -> nn.Module:
    return problems.seeded(seed, Recurrent)


one_by_one = pytest.mark.filterwarnings("ignore:Gaussians. networks train one after another")


@one_by_one
@pytest.mark.parametrize("network", [small, recurrent])
@pytest.mark.parametrize("rule", ["fixed", "proportional"])
def test_every_network_of_a_stack_is_the_one_trained_alone(network, rule) -> None:
    of = problem(network=network)
    config = LandscapeConfig(ALPHAS, (3,), lr_rules=(rule,))
    frame = landscape.reduced(of, config, progress=False)
    assert list(frame["alpha"]) == list(ALPHAS)
    for row in frame.to_dict("records"):
        rate = HOW.lr * (row["alpha"] if rule == "proportional" else 1)
        assert row["lr"] == rate
        expected = alone(of, row["alpha"], 3, dataclasses.replace(HOW, lr=rate))
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-4), (row["alpha"], name)
        assert row["weight_norm"] == pytest.approx(row["alpha"] * sphere.norm(network(3)))
    assert frame["train_loss"].nunique() == len(ALPHAS)


@one_by_one
@pytest.mark.parametrize("network", [small, recurrent])
def test_weight_decays_are_networks_of_their_own(network) -> None:
    how = dataclasses.replace(HOW, optimizer="adamw")
    of = problem(network=network, train=how)
    config = LandscapeConfig(ALPHAS, (3,), lr_rules=("fixed",), weight_decays=(0.0, 50.0))
    frame = landscape.reduced(of, config, progress=False)
    assert len(frame) == 2 * len(ALPHAS)
    for row in frame.to_dict("records"):
        train = dataclasses.replace(how, weight_decay=row["weight_decay"])
        expected = alone(of, row["alpha"], 3, train)
        assert row["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-4)
    by_decay = frame.groupby("weight_decay")["train_loss"].apply(list)
    assert by_decay[0.0] != pytest.approx(by_decay[50.0], rel=1e-3)
    with pytest.raises(ValueError, match="of one weight decay"):
        landscape.numbers(frame)


def test_what_vmap_cannot_run_goes_one_by_one_and_says_why() -> None:
    data = gaussians(0, 20)
    configs = [HOW, HOW]
    stack = ModuleStack([small(0), small(1)], problem(), data, configs)
    assert stack.stacked
    assert stack.why_not == ""
    other = ModuleStack([recurrent(0), recurrent(1)], problem(network=recurrent), data, configs)
    assert not other.stacked
    assert "Error" in other.why_not
    config = LandscapeConfig(ALPHAS, (0,), lr_rules=("fixed",))
    with pytest.warns(UserWarning, match=r"one after another, since vmap .*aten::lstm"):
        landscape.reduced(problem(network=recurrent), config, progress=False)


def tensors(stack: ModuleStack, index: int) -> dict[str, torch.Tensor]:
    """Copies of all that one network of a stack is made of."""
    return {name: each[index].clone() for name, each in (stack.parameters | stack._rest).items()}


def test_evaluations_are_of_the_networks_own_parameters() -> None:
    data = gaussians(0, 20)
    stack = ModuleStack([small(0), small(1)], problem(), data, [HOW, HOW])
    for step in range(3):
        stack.step(step)
    rows = stack.evaluate()
    network = small(5)
    network.load_state_dict(tensors(stack, 1))
    with torch.no_grad():
        outputs = network(*data.test.inputs)
    loss = float(nn.functional.cross_entropy(outputs, data.test.targets))
    assert rows[1]["test_loss"] == pytest.approx(loss)
    assert rows[0]["test_loss"] != pytest.approx(loss)


def test_the_users_module_is_copied() -> None:
    own = small(0)
    norm = sphere.norm(own)
    config = LandscapeConfig(ALPHAS, (0,), lr_rules=("fixed",))
    frame = landscape.reduced(problem(network=lambda seed: own), config, progress=False)
    assert frame["weight_norm"].to_numpy() == pytest.approx([alpha * norm for alpha in ALPHAS])
    assert sphere.norm(own) == norm


def test_evaluation_in_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = ModuleStack([small(0), small(1)], problem(), gaussians(0, 20), [HOW, HOW])
    whole = stack.evaluate()
    monkeypatch.setattr("grok_interp.landscape.stack.EXAMPLES_AT_ONCE", 7)
    for row, expected in zip(stack.evaluate(), whole, strict=True):
        assert row == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        (
            {"loss": "binary"},
            ValueError,
            r"gives \[2, 3\] for targets \[2\], expected \[examples\] or",
        ),
        ({"loss": "mse"}, ValueError, "expected the shape of the targets"),
        (
            {"network": lambda seed: perceptron((4, 2), nn.ReLU, seed)},
            ValueError,
            "1 test targets do not .* the first is 2 .* classes 0 to 1",
        ),
        ({"network": lambda seed: Pair()}, TypeError, "gives a tuple, expected a tensor"),
        (
            {"network": lambda seed: perceptron((4, 1), nn.ReLU, seed), "loss": "binary"},
            ValueError,
            "0 or 1",
        ),
    ],
)
def test_outputs_that_do_not_fit_are_named(fields: dict, error: type, words: str) -> None:
    data = gaussians(1, 20)
    data.train.targets.clamp_(max=1)
    data.test.targets.clamp_(max=1)
    data.test.targets[7] = 2  # a class that does not fit comes late, and held out
    with pytest.raises(error, match=words):
        ModuleStack([problem(**fields).network(0)], problem(**fields), data, [HOW])


class Power(nn.Sequential):
    """Named and weighted as others, and computes something else by an attribute alone."""

    def __init__(self, inner: nn.Module, power: int) -> None:
        super().__init__(*inner)
        self.power = power

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs) ** self.power


class Pair(nn.Linear):
    """Gives more than a tensor."""

    def __init__(self) -> None:
        super().__init__(4, 3)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward(inputs), inputs


def test_a_network_that_ignores_its_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"network\(0\) gives other weights each time"):
        landscape.reduced(problem(network=lambda seed: nn.Linear(4, 3)), CONFIG, progress=False)


def test_data_are_drawn_once_for_each_seed_and_size() -> None:
    drawn = []

    def data(seed: int, size: int) -> Data:
        drawn.append((seed, size))
        return gaussians(seed, size)

    landscape.reduced(
        problem(data=data), dataclasses.replace(CONFIG, sizes=(10, 20)), progress=False
    )
    assert sorted(drawn) == [(0, 10), (0, 20), (1, 10), (1, 20)]


def test_a_landscape_without_a_directory_makes_no_latent_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def table(*_: object, **__: object) -> None:
        raise AssertionError("nobody would see it")

    monkeypatch.setattr(training.dynamics, "table", table)
    how = TrainConfig(steps=2, constraint="sphere", eval_every=2)
    modular = ModularProblem(TaskConfig(7), HookedMLPConfig(p=7, d_mlp=8), how)
    assert len(landscape.reduced(modular, CONFIG, progress=False)) == 12


@one_by_one
def test_networks_that_train_one_by_one_are_kept_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LandscapeConfig(ALPHAS, (0,), lr_rules=("fixed",))
    of = problem(network=recurrent)
    whole = landscape.train(of, config, progress=False).table
    original, steps = ModuleStack.step, []

    def killed(self, number: int) -> None:
        steps.append(number)
        if len(steps) == HOW.steps + 10:
            raise KeyboardInterrupt
        original(self, number)

    monkeypatch.setattr(ModuleStack, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        landscape.train(of, config, out=tmp_path, progress=False)
    found = landscape.train(of, config, out=tmp_path, progress=False).table
    assert len(steps) == HOW.steps + 10 + 2 * HOW.steps
    pd.testing.assert_frame_equal(found, whole, check_exact=True)


def test_frozen_parameters_and_buffers_stay_and_are_not_counted() -> None:
    def network(seed: int) -> nn.Module:
        module = small(seed)
        module[0].bias.requires_grad_(False)
        return nn.Sequential(module, nn.BatchNorm1d(3))

    stack = ModuleStack([network(0)] * 2, problem(network=network), gaussians(0, 20), [HOW, HOW])
    before = tensors(stack, 0)
    frozen = {"0.0.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert frozen == stack._rest.keys()
    norm = math.sqrt(
        sum(float(each.square().sum()) for name, each in before.items() if name not in frozen)
    )
    stack.step(0)
    after = tensors(stack, 0)
    assert torch.equal(before["0.0.bias"], after["0.0.bias"])
    assert not torch.equal(before["0.0.weight"], after["0.0.weight"])
    assert int(after["1.num_batches_tracked"]) == 1
    assert not torch.equal(before["1.running_mean"], after["1.running_mean"])
    assert stack.evaluate()[0]["weight_norm"] == pytest.approx(norm)


@one_by_one
@pytest.mark.parametrize("training", [True, False])
def test_a_network_that_draws_is_repeatable_and_leaves_the_generator_alone(training: bool) -> None:
    def network(seed: int) -> nn.Module:
        module = small(seed)
        drawing = nn.Sequential(module[0], nn.Dropout(0.5), module[1], module[2])
        return drawing.train(training)  # whatever mode it comes in, steps draw

    before = torch.get_rng_state()
    config = LandscapeConfig((1.0, 2.0, 3.0), (0,), lr_rules=("fixed",))
    first, second = (
        landscape.reduced(problem(network=network), config, progress=False) for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    # What one network draws does not depend on who is beside it, and differs from step to step.
    alone = landscape.reduced(
        problem(network=network), dataclasses.replace(config, alphas=(3.0,)), progress=False
    )
    pd.testing.assert_frame_equal(alone, first.iloc[2:].reset_index(drop=True))
    masks = []
    for step in (0, 1):
        stack = ModuleStack([network(0)], problem(network=network), gaussians(0, 20), [HOW])
        seen: list[torch.Tensor] = []
        stack._skeleton[1].register_forward_hook(
            lambda module, given, out, seen=seen: seen.append(out.detach() == 0)
        )
        stack.step(step)
        masks.append(seen[-1][:, :8].float().mean(0))
    assert not torch.equal(*masks)


def test_the_fast_path_of_modular_tasks_agrees_with_that_of_any_module() -> None:
    """A HookedMLP by formula, and the same as a module like any other."""
    how = dataclasses.replace(HOW, batch_size=None, steps=20)
    modular = ModularProblem(
        TaskConfig(11), HookedMLPConfig(p=11, d_mlp=12, dtype="float64"), how, label_noise=0.2
    )

    def pairs(seed: int, size: int) -> Data:
        split = modular.split(seed, size)
        return Data(
            Side((split.train_tokens,), split.train_labels),
            Side((split.test_tokens,), split.test_labels),
        )

    def network(seed: int) -> nn.Module:
        return HookedMLP(p=11, d_mlp=12, dtype="float64", seed=seed)

    other = problem(network=network, data=pairs, size=modular.size, train=how)
    config = LandscapeConfig((1.0, 3.0, 9.0), (0, 1), sizes=(50, 60), draws=0)
    first, second = (landscape.reduced(each, config, progress=False) for each in (modular, other))
    assert len(first) == 3 * 2 * 2 * 2
    pd.testing.assert_frame_equal(first, second, rtol=1e-6)


def test_seeds_and_noise_reach_a_modular_split() -> None:
    modular = ModularProblem(TaskConfig(11), HookedMLPConfig(p=11, d_mlp=4), label_noise=0.5)
    first, second = modular.split(0, 60), modular.split(1, 60)
    assert not torch.equal(first.train_index, second.train_index)
    assert int(first.resampled.sum()) == 30
    assert not torch.equal(first.train_labels, first.clean_train_labels)


def test_numbers_of_numpy_are_taken() -> None:
    config = LandscapeConfig(np.logspace(-1, 1, 5), range(3), np.array([10, 20]))
    assert config.alphas == pytest.approx((0.1, 10**-0.5, 1.0, 10**0.5, 10.0))
    assert config.seeds == (0, 1, 2)
    assert all(type(size) is int for size in config.sizes)


@pytest.mark.parametrize("p", [3, 10, 59])
def test_the_size_of_a_modular_problem_is_the_number_of_training_pairs(p: int) -> None:
    modular = ModularProblem(TaskConfig(p), HookedMLPConfig(p=p, d_mlp=4))
    for size in (1, p, p * p // 3, p * p - 1, p * p):
        assert len(modular.split(0, size).train_labels) == size
    assert modular.size == len(ModularTask(p).split(0.5).train_labels)


def test_the_latent_algorithm_is_measured_beside_its_control() -> None:
    how = TrainConfig(
        steps=40, lr=1e-2, optimizer="adam", weight_decay=0.0, constraint="sphere",
        eval_every=20, checkpoint_every=20,
    )  # fmt: skip
    modular = ModularProblem(TaskConfig(11), HookedMLPConfig(p=11, d_mlp=32), how)
    found = landscape.train(
        modular, LandscapeConfig((1.0, 5.0), (0,), lr_rules=("fixed",), draws=4), progress=False
    )
    assert found.latent is not None
    assert list(found.latent["step"]) == [0, 20, 40] * 2
    merged = found.table.merge(found.latent, on=[*KEYS, "step"], suffixes=("", "_again"))
    assert len(merged) == 6
    assert merged["test_accuracy"].to_numpy() == pytest.approx(merged["test_accuracy_again"])
    # The control is one number for each run, so idealised minus excess is the same at each step.
    for _, run in found.latent.groupby("alpha"):
        floor = run["idealised_joint"] - run["excess_joint"]
        assert floor.to_numpy() == pytest.approx(floor.iloc[0])
        assert 0 <= floor.iloc[0] <= 1


# On disk ----------------------------------------------------------------------------------------


CONFIG = LandscapeConfig(ALPHAS, (0, 1))


def test_what_was_interrupted_goes_on_and_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = landscape.train(problem(), CONFIG, progress=False).table
    original = ModuleStack.step
    steps = 0

    def killed(self, number: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 2 * HOW.steps + 10:
            raise KeyboardInterrupt
        original(self, number)

    monkeypatch.setattr(ModuleStack, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        landscape.train(problem(), CONFIG, out=tmp_path, progress=False)
    parts = sorted(file.name for file in (tmp_path / "curves").iterdir())
    assert parts == ["seed0_size20_fixed_0-2.parquet", "seed0_size20_proportional_0-2.parquet"]
    (tmp_path / "curves" / ".seed1_size20_fixed_0-2.parquet.x.tmp").write_bytes(b"half")
    found = landscape.train(problem(), CONFIG, out=tmp_path, progress=False).table
    pd.testing.assert_frame_equal(found, whole, check_exact=True)
    assert steps == 2 * HOW.steps + 10 + 2 * HOW.steps  # only the other two cells
    assert not list((tmp_path / "curves").glob(".*"))
    # Another seed joins the same directory; nothing is trained twice.
    more = landscape.train(
        problem(), dataclasses.replace(CONFIG, seeds=(1, 2)), out=tmp_path, progress=False
    )
    assert steps == 6 * HOW.steps + 10
    assert set(more.table["seed"]) == {1, 2}
    assert set(landscape.read(tmp_path).table["seed"]) == {0, 1, 2}


def test_a_cell_without_its_latent_table_is_not_finished(tmp_path: Path) -> None:
    how = TrainConfig(steps=4, constraint="sphere", eval_every=4, checkpoint_every=4)
    modular = ModularProblem(TaskConfig(7), HookedMLPConfig(p=7, d_mlp=8), how)
    config = LandscapeConfig(ALPHAS, (0, 1), lr_rules=("fixed",), draws=2)
    whole = landscape.train(modular, config, out=tmp_path, progress=False).latent
    (tmp_path / "latent" / "seed1_size24_fixed_0-2.parquet").unlink()
    again = landscape.train(modular, config, out=tmp_path, progress=False).latent
    assert whole is not None
    assert again is not None
    pd.testing.assert_frame_equal(again, whole)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"network": lambda seed: perceptron((4, 99, 3), nn.ReLU, seed)},
            r"another problem\.network ",
        ),
        ({"network": lambda seed: small(seed + 1)}, r"another problem\.weights "),
        ({"data": lambda seed, size: gaussians(seed + 1, size)}, r"another problem\.data "),
        ({"loss": "mse_one_hot"}, r"another problem\.loss "),
        ({"name": "other"}, r"another problem\.name "),
        ({"train": dataclasses.replace(HOW, lr=1.0)}, r"another train\.lr \(0\.003, not 1\.0\)"),
        ({"train": dataclasses.replace(HOW, steps=31)}, r"another train\.steps \(30, not 31\)"),
    ],
)
def test_a_store_knows_what_was_trained(tmp_path: Path, fields: dict, words: str) -> None:
    config = LandscapeConfig(ALPHAS, (0,), lr_rules=("fixed",))
    landscape.train(problem(), config, out=tmp_path, progress=False)
    with pytest.raises(FileExistsError, match=words):
        landscape.train(problem(**fields), config, out=tmp_path, progress=False)


def test_a_store_knows_what_a_network_computes(tmp_path: Path) -> None:
    config = LandscapeConfig(ALPHAS, (0,), lr_rules=("fixed",))
    first, second = (problem(network=lambda seed, n=n: Power(small(seed), n)) for n in (3, 9))
    landscape.train(first, config, out=tmp_path, progress=False)
    with pytest.raises(FileExistsError, match=r"another problem\.outputs "):
        landscape.train(second, config, out=tmp_path, progress=False)


def test_a_directory_killed_at_its_start_or_between_two_files_is_usable(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.json.x.tmp").write_bytes(b"half")
    how = TrainConfig(steps=4, constraint="sphere", eval_every=4, checkpoint_every=4)
    modular = ModularProblem(TaskConfig(7), HookedMLPConfig(p=7, d_mlp=8), how)
    config = LandscapeConfig(ALPHAS, (0,), lr_rules=("fixed",), draws=2)
    assert landscape.train(modular, config, out=tmp_path, progress=False).latent is not None
    assert not (tmp_path / ".config.json.x.tmp").exists()
    for file in (tmp_path / "curves").iterdir():
        file.unlink()  # as if killed after the latent table, and another problem comes
    found = landscape.train(problem(), config, out=tmp_path, progress=False)
    assert found.latent is None
    assert landscape.read(tmp_path).latent is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label_noise": 0.1}, r"another problem\.label_noise \(0\.0, not 0\.1\)"),
        ({"task": TaskConfig(7, "subtract")}, r"another problem\.task\.operation \('add'"),
        ({"model": HookedMLPConfig(p=7, d_mlp=9)}, r"another problem\.model\.d_mlp \(8"),
    ],
)
def test_a_store_knows_a_modular_problem(tmp_path: Path, fields: dict, words: str) -> None:
    how = TrainConfig(steps=2, constraint="sphere", eval_every=2, checkpoint_every=2)
    given = {"task": TaskConfig(7), "model": HookedMLPConfig(p=7, d_mlp=8), "train": how}
    config = LandscapeConfig(ALPHAS, (0,), lr_rules=("fixed",), draws=2)
    landscape.train(ModularProblem(**given), config, out=tmp_path, progress=False)
    with pytest.raises(FileExistsError, match=words):
        landscape.train(ModularProblem(**(given | fields)), config, out=tmp_path, progress=False)
    other = dataclasses.replace(config, draws=3)
    with pytest.raises(FileExistsError, match=r"another problem\.draws \(2, not 3\)"):
        landscape.train(ModularProblem(**given), other, out=tmp_path, progress=False)


def test_a_failed_attempt_does_not_claim_a_directory(tmp_path: Path) -> None:
    def none(seed: int, size: int) -> Data:
        if size != 20:
            raise ValueError("no such size")
        return gaussians(seed, size)

    bad = dataclasses.replace(CONFIG, sizes=(20, 21))
    with pytest.raises(ValueError, match="no such size"):  # before anything is trained
        landscape.train(problem(data=none), bad, out=tmp_path, progress=False)
    assert not (tmp_path / "curves").exists()
    with Store(tmp_path, problem(), CONFIG).locked():
        pass  # claimed, and killed before a cell was finished
    other = LandscapeConfig(ALPHAS, (0,), train=dataclasses.replace(HOW, lr=1e-2))
    assert len(landscape.reduced(problem(), other, out=tmp_path, progress=False)) == 6
    assert json.loads((tmp_path / "config.json").read_text())["train"]["lr"] == 1e-2


def test_a_directory_holds_one_landscape(tmp_path: Path) -> None:
    landscape.train(problem(), LandscapeConfig(ALPHAS, (0,)), out=tmp_path / "one", progress=False)
    for other, words in (
        (dataclasses.replace(CONFIG, alphas=(1.0, 2.0)), r"landscape with another alphas .*0\.5"),
    ):
        with pytest.raises(FileExistsError, match=words):
            landscape.train(problem(), other, out=tmp_path / "one", progress=False)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match=r"holds thesis\.tex and no landscape"):
        landscape.train(problem(), CONFIG, out=tmp_path / "two", progress=False)
    other = ModularTask(7).split(0.5)
    run = tmp_path / "run"
    train_a_run(HookedMLP(p=7, d_mlp=4), other, steps=1, out=run, progress=False)
    before = (run / "config.json").read_bytes()
    with pytest.raises(FileExistsError, match="and no landscape"):
        landscape.train(problem(), CONFIG, out=run, progress=False)
    assert (run / "config.json").read_bytes() == before
    assert not (run / "curves").exists()
    part = tmp_path / "one" / "curves" / "seed0_size20_fixed_0-2.parquet"
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(
        ValueError, match=r"seed0_size20_fixed_0-2\.parquet is not a whole Parquet file"
    ):
        landscape.train(problem(), LandscapeConfig(ALPHAS, (0,)), out=tmp_path / "one")


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    store = Store(tmp_path, problem(), CONFIG)
    other = dataclasses.replace(CONFIG, alphas=(1.0, 2.0))
    with store.locked():
        before = (tmp_path / "config.json").read_bytes()
        with pytest.raises(RuntimeError, match="another process is training in"):
            landscape.train(problem(), other, out=tmp_path, progress=False)
        assert (tmp_path / "config.json").read_bytes() == before
    with store.locked(), pytest.raises(RuntimeError, match="another process is training in"):
        landscape.train(problem(), CONFIG, out=tmp_path, progress=False)


def test_a_network_that_diverges_does_not_take_the_others_along() -> None:
    def network(seed: int) -> nn.Module:
        return problems.seeded(seed, lambda: nn.Sequential(nn.Linear(4, 3), Cubic()))

    class Cubic(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x**9

    how = dataclasses.replace(HOW, optimizer="sgd", constraint="none", lr=1.0)
    config = LandscapeConfig((1e-3, 1e3), (0,), lr_rules=("fixed",), train=how)
    with pytest.warns(
        RuntimeWarning, match="the loss of 1 networks stopped being finite .alpha 1000"
    ):
        table = landscape.train(
            problem(network=network, loss="mse_one_hot"), config, progress=False
        ).table
    last = landscape.last_and_best(table).set_index("alpha")
    assert math.isfinite(last.loc[1e-3, "test_loss"])
    assert math.isnan(last.loc[1e3, "test_loss"])


# Numbers ----------------------------------------------------------------------------------------


def test_last_and_best_are_kept_apart() -> None:
    rows = [
        (0, 3.0, 2.0, 0.1, 0.2),
        (10, 1.0, 0.5, 0.7, 0.6),
        (20, 0.5, 4.0, 0.9, 0.3),
    ]
    names = ["step", "train_loss", "test_loss", "train_accuracy", "test_accuracy"]
    table = pd.DataFrame(rows, columns=names).assign(
        alpha=1.0,
        seed=0,
        size=5,
        lr_rule="fixed",
        lr=0.1,
        weight_decay=0.0,
        weight_norm=2.0,
        constant_loss=3.0,
    )
    (row,) = landscape.last_and_best(table.sample(frac=1, random_state=0)).to_dict("records")
    assert row["steps"] == 20
    assert [row[name] for name in names[1:]] == [0.5, 4.0, 0.9, 0.3]
    assert [row[f"best_{name}"] for name in names[1:]] == [0.5, 0.5, 0.9, 0.6]
    # Runs that differ in decay alone are two networks, and one given twice is refused.
    both = landscape.last_and_best(pd.concat([table, table.assign(weight_decay=1.0)]))
    assert list(both["weight_decay"]) == [0.0, 1.0]
    with pytest.raises(ValueError, match="a network has two rows at one step"):
        landscape.last_and_best(pd.concat([table, table]))
    none = landscape.last_and_best(table.assign(train_loss=math.inf)).iloc[0]
    assert math.isnan(none["best_train_loss"])


def frame(
    u,
    train=lambda x: np.exp(-3 * x),
    alphas=None,
    seeds=(0, 1, 2),
    accuracy=lambda x: np.exp(-(x**2)),
    constant=math.e**6,
) -> pd.DataFrame:
    """Networks whose losses are functions of log alpha (and the seed)."""
    alphas = np.exp(np.linspace(-2, 2, 41)) if alphas is None else np.asarray(alphas)
    x = np.log(alphas)
    parts = [
        pd.DataFrame(
            {
                "alpha": alphas,
                "seed": seed,
                "size": 20,
                "lr_rule": "fixed",
                "weight_norm": 7 * alphas,
                "train_loss": train(x),
                "constant_loss": constant,
                "test_loss": u(x, seed),
                "train_accuracy": 1.0,
                "test_accuracy": accuracy(x),
            }
        )
        for seed in seeds
    ]
    whole = pd.concat(parts, ignore_index=True)
    for name in MEASURED[:4]:
        whole[f"best_{name}"] = whole[name]
    return whole


def found(table: pd.DataFrame, column: str = "value", **fields) -> pd.Series:
    return landscape.numbers(table, **fields).set_index("number")[column]


def test_a_parabola_gives_its_vertex_zone_and_arms_back() -> None:
    centre = 0.43  # not on the grid
    numbers = found(frame(lambda x, seed: 0.2 * np.exp((x - centre) ** 2)))
    assert numbers["w_c"] == pytest.approx(math.exp(centre))
    assert numbers["weight_norm_c"] == pytest.approx(7 * math.exp(centre))
    half = (2 - centre) / math.sqrt(2)  # half of the lower arm's height, of a parabola
    assert numbers["zone_low"] == pytest.approx(math.exp(centre - half), rel=0.01)
    assert numbers["zone_high"] == pytest.approx(math.exp(centre + half), rel=0.01)
    assert numbers["left_arm"] == pytest.approx((2 + centre) ** 2 / math.log(10), abs=0.01)
    assert numbers["right_arm"] == pytest.approx((2 - centre) ** 2 / math.log(10), abs=0.01)
    assert numbers["u"] == numbers["interior"] == numbers["l"] == 1
    # The train loss exp(-3 x) is down to a tenth after ln(10) / 3.
    assert numbers["corner"] == pytest.approx(math.exp(-2 + math.log(10) / 3))
    assert numbers["peak_accuracy"] == pytest.approx(1)
    assert numbers["alpha_of_peak"] == pytest.approx(1)


def test_intervals_are_over_seeds() -> None:
    table = frame(lambda x, seed: np.exp((x - 0.2 * seed) ** 2))
    value, low, high = (found(table, column)["w_c"] for column in ("value", "low", "high"))
    assert value == pytest.approx(math.exp(0.2))
    assert low == pytest.approx(1, rel=1e-6)
    assert high == pytest.approx(math.exp(0.4))
    single = frame(lambda x, seed: np.exp(x**2), seeds=(0,))
    assert math.isnan(found(single, "low")["w_c"])
    assert set(found(single, "seeds")) == {1}


def test_what_is_no_u_and_no_l_is_said_to_be_none() -> None:
    falling = found(frame(lambda x, seed: np.exp(-x)))
    assert falling["interior"] == falling["u"] == 0
    assert math.isnan(falling["right_arm"])
    assert math.isnan(falling["zone_low"])
    assert falling["w_c"] == pytest.approx(math.exp(2))
    flat = found(frame(lambda x, seed: np.exp(0.1 * x**2)))  # arms of .4 in ln: not twofold
    assert flat["interior"] == 1
    assert flat["u"] == 0
    assert flat["zone_low"] == pytest.approx(math.exp(-math.sqrt(2)), rel=0.01)
    rising = found(
        frame(lambda x, seed: np.exp(x**2), lambda x: np.exp(-3 * x + 4 * x.clip(0) ** 2))
    )
    assert rising["l"] == 0
    assert math.isnan(rising["corner"])


def test_zero_and_infinite_losses_are_at_the_ends() -> None:
    def exact(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, 0.0, 1.0)

    def diverging(x: np.ndarray, seed: int) -> np.ndarray:
        return np.where(x > 1.5, np.nan, np.exp(x**2))

    numbers = found(frame(diverging, exact, constant=1.0))
    assert numbers["w_c"] == pytest.approx(1, rel=1e-6)
    # Networks that diverged make no arm: it ends at the last one that is finite.
    assert numbers["right_arm"] == pytest.approx(1.5**2 / math.log(10), rel=0.01)
    assert numbers["diverged"] == pytest.approx(5 / 41)
    assert numbers["u"] == 1
    assert numbers["l"] == 0
    assert numbers["zone_high"] == pytest.approx(math.exp(1.5 / math.sqrt(2)), rel=0.01)
    only = found(
        frame(lambda x, seed: np.where(x > 0.01, np.nan, np.exp(x**2)), exact, constant=1.0)
    )
    assert only["u"] == only["interior"] == 0
    none = found(frame(lambda x, seed: np.exp(x**2), lambda x: np.full_like(x, np.nan)))
    assert none["diverged"] == 1
    assert math.isnan(none["w_c"])


def test_what_is_not_fitted_makes_no_right_arm() -> None:
    """Large networks whose training has failed too are not those that memorise without generalising."""

    def failing(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0.05, 500.0, np.exp(-3 * x))

    numbers = found(frame(lambda x, seed: np.exp(x**2), failing))
    assert numbers["interior"] == 1
    assert numbers["u"] == 0
    assert math.isnan(numbers["right_arm"])
    assert numbers["fitted_to"] == pytest.approx(1)


def test_the_grid_brackets_the_minimum() -> None:
    coarse = found(frame(lambda x, seed: np.exp((x - 0.3) ** 2), alphas=[0.1, 0.5, 1, 3, 9, 30]))
    assert (coarse["w_c_left"], coarse["w_c_right"]) == (pytest.approx(0.5), pytest.approx(3))
    assert coarse["w_c_left"] < coarse["w_c"] < coarse["w_c_right"]


def test_what_is_fitted_does_not_depend_on_where_the_alphas_start() -> None:
    def u(x: np.ndarray, seed: int) -> np.ndarray:
        return np.exp(x**2)

    def train(x: np.ndarray) -> np.ndarray:
        return np.exp(-3 * (x + 2))  # of a constant answer's 1; a tenth from x = -1.23 on

    whole = found(frame(u, train, constant=1.0))
    late = found(frame(u, train, alphas=np.exp(np.linspace(-1, 2, 31)), constant=1.0))
    for name in ("right_arm", "fitted_to", "w_c", "u"):
        assert late[name] == pytest.approx(whole[name], rel=1e-6), name
    assert whole["corner"] == pytest.approx(math.exp(-2 + math.log(10) / 3))
    assert whole["l"] == 1
    assert math.isnan(late["corner"])  # all are fitted, so where it sets in is not to be seen
    assert late["l"] == 0


def test_best_and_last_are_chosen_by_name() -> None:
    table = frame(lambda x, seed: np.exp(x**2))
    table["best_test_loss"] = np.exp((np.log(table["alpha"]) - 1) ** 2)
    assert found(table)["w_c"] == pytest.approx(1)
    assert found(table, which="best")["w_c"] == pytest.approx(math.e)


def test_bad_frames_are_named() -> None:
    table = frame(lambda x, seed: np.exp(x**2))
    for bad, words in (
        (table.drop(columns="test_loss"), "no column .'test_loss'.: pass landscape.reduced"),
        (pd.concat([table, table.iloc[:1]]), "occur twice at one alpha and seed"),
        (table.iloc[1:], "have different alphas"),
        (table[table["alpha"] < 0.16], "alphas make no landscape: at least three"),
    ):
        with pytest.raises(ValueError, match=words):
            landscape.numbers(bad)
    with pytest.raises(ValueError, match="which='first' is unknown"):
        landscape.numbers(table, "first")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"alphas": ()}, r"alphas=\(\) must hold at least one"),
        ({"alphas": 1.0}, r"alphas=1.0 must be a sequence, as in \(1.0,\)"),
        ({"lr_rules": "fixed"}, r"lr_rules='fixed' must be a sequence"),
        ({"alphas": (2.0, 1.0)}, "must ascend"),
        ({"alphas": (0.0, 1.0)}, "alphas=0.0 must be a number in"),
        ({"alphas": (1.0, 1.0)}, "holds a value twice"),
        ({"seeds": (0.5,)}, "seed=0.5 must be an int"),
        ({"sizes": (0,)}, "a size of sizes=0 must be an int of at least 1"),
        ({"lr_rules": ("square",)}, "lr_rules='square' is unknown"),
        ({"weight_decays": (-1.0,)}, "weight_decays=-1.0 must be a number in"),
        ({"draws": -1}, "draws=-1"),
    ],
)
def test_bad_settings_are_named(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LandscapeConfig(**fields)


def test_what_does_not_fit_is_refused() -> None:
    free = dataclasses.replace(HOW, constraint="none")
    with pytest.raises(ValueError, match="constraint='none' lets the norm go"):
        landscape.reduced(problem(), LandscapeConfig(ALPHAS, train=free))
    for fields, words in (
        ({"stop": "test_accuracy > 0.9"}, "stop='test_accuracy > 0.9' is for HookedMLPs"),
        ({"trainable": ("W_in",)}, r"trainable=\('W_in',\) is for HookedMLPs"),
        ({"loss": "stablemax"}, "loss='stablemax' is for HookedMLPs; .* the problem's own loss"),
        ({"checkpoint_every": 3}, "checkpoint_every=3 is for HookedMLPs"),
        ({"seed": 9}, "seed=9 of the training configuration"),
    ):
        config = LandscapeConfig(ALPHAS, train=dataclasses.replace(HOW, **fields))
        with pytest.raises(ValueError, match=words):
            landscape.reduced(problem(), config, progress=False)


def test_cells_are_known_by_name() -> None:
    one, both = ((1.0, 0.0),), ((1.0, 0.0), (2.0, 0.0))
    names = {
        Cell(seed, size, rule, networks, first).name
        for seed in (0, 1, 10)
        for size in (1, 11)
        for rule in ("fixed", "proportional")
        for networks, first in ((one, 0), (one, 1), (both, 0))
    }
    assert len(names) == 36


def test_progress_counts_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.train(problem(), LandscapeConfig(ALPHAS, (0,)), progress=True)
    assert f"{2 * len(ALPHAS) * HOW.steps}/{2 * len(ALPHAS) * HOW.steps}" in capsys.readouterr().err


@pytest.mark.slow
def test_the_measured_table_comes_out_again() -> None:
    """Addition mod 59, 256 neurons, half of the pairs, 4,000 steps on the sphere, three seeds."""
    alphas = (0.25, 1.0, 3.0, 5.0, 7.0, 10.0, 14.0, 40.0)
    config = LandscapeConfig(alphas, (0, 1, 2), lr_rules=("fixed",), draws=20)
    curves = landscape.train(ModularProblem(), config, progress=False)
    table = landscape.last_and_best(curves.table)
    mean = table.groupby("alpha").mean(numeric_only=True)
    # The L: train losses fall by nine orders of magnitude; bounds are a factor about the measured ones.
    for alpha, loss in {0.25: 4.07, 1: 3.90, 3: 2.68, 5: 0.73, 7: 0.028}.items():
        assert mean.loc[alpha, "train_loss"] == pytest.approx(loss, rel=0.2), alpha
    assert (mean.loc[10:, "train_loss"] < 1e-3).all()
    # The U, in every seed.
    for alpha, loss in {0.25: 4.08, 1: 4.05, 3: 3.76, 5: 2.52, 7: 1.12, 14: 12.4, 40: 75}.items():
        assert mean.loc[alpha, "test_loss"] == pytest.approx(loss, rel=0.25), alpha
    for _, seed in table.groupby("seed"):
        by_alpha = seed.set_index("alpha")
        assert 5 <= by_alpha["test_loss"].idxmin() <= 14
        assert by_alpha["test_accuracy"].max() > 0.7
        assert by_alpha.loc[[0.25, 40], "test_accuracy"].max() < 0.1
    numbers = landscape.numbers(table).set_index("number")
    assert 5 < numbers.loc["w_c", "low"] <= numbers.loc["w_c", "high"] < 14
    assert numbers.loc["u", "value"] == numbers.loc["l", "value"] == 1
    # The latent algorithm reaches farther to the left than the accuracy, and training put it there.
    assert curves.latent is not None
    last = curves.latent[curves.latent["step"] == 4000].groupby("alpha").mean(numeric_only=True)
    assert (last.loc[3:10, "idealised_per_matrix"] > 0.9).all()
    assert (last.loc[3:10, "excess_per_matrix"] > 0.85).all()
    assert mean.loc[3, "test_accuracy"] < 0.2
    assert last.loc[40, "idealised_per_matrix"] < 0.1
    start = curves.latent[curves.latent["step"] == 0]
    assert start["idealised_per_matrix"].max() < 0.1
