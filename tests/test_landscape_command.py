"""``grok-interp landscape`` as a user meets it."""

import json
import math
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from grok_interp import cli, landscape, landscape_command
from grok_interp.config import LandscapeRun, TrainConfig
from grok_interp.landscape.stack import ModuleStack
from grok_interp.problems import ModularProblem

SMALL = [
    *("--alphas", "0.5", "1", "2", "--seeds", "0", "1", "--lr-rules", "fixed"),
    *("--steps", "20", "--eval-every", "10"),
]


def grok(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["grok-interp", "landscape", *arguments])
    cli.main()


def test_a_landscape_is_written_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "teacher"
    sizes = ["--sizes", "10", "20"]
    grok("teacher_student", *SMALL, *sizes, "--out", str(out), monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    frame = pd.read_parquet(out / "landscape.parquet")
    numbers = pd.read_parquet(out / "numbers.parquet")
    curves = pd.read_parquet(out / "curves.parquet")
    assert len(frame) == 3 * 2 * 2
    assert len(curves) == 3 * len(frame)
    pd.testing.assert_frame_equal(frame, landscape.last_and_best(curves))
    for which in ("last", "best"):
        mine = numbers[numbers["which"] == which].drop(columns="which").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, landscape.numbers(frame, which))
    numbers = numbers[numbers["which"] == "last"]
    w_c = numbers.set_index(["size", "number"]).loc[(10, "w_c"), "value"]
    assert f"w_c            {w_c:.4g}" in printed
    # Another seed joins what is there.
    more = [*SMALL]
    more[SMALL.index("--seeds") + 1 : SMALL.index("--lr-rules")] = ["2"]
    grok("teacher_student", *more, "--sizes", "10", "--out", str(out), monkeypatch=monkeypatch)
    assert set(pd.read_parquet(out / "landscape.parquet")["seed"]) == {0, 1, 2}
    page = (out / "landscape.html").read_text()
    assert "20 training examples" in page
    assert "Data size and alpha" in page
    assert "<script src=" not in page


def test_it_goes_on_after_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["teacher_student", *SMALL, "--out", str(tmp_path / "run")]
    original, steps = ModuleStack.step, []

    def interrupted(self, number: int) -> None:
        steps.append(number)
        if len(steps) == 25:
            raise KeyboardInterrupt
        original(self, number)

    monkeypatch.setattr(ModuleStack, "step", interrupted)
    with pytest.raises(SystemExit) as end:
        grok(*arguments, monkeypatch=monkeypatch)
    assert end.value.code == 130
    assert "1 parts are finished; giving the same command again" in capsys.readouterr().out
    grok(*arguments, monkeypatch=monkeypatch)
    assert len(steps) == 25 + 20
    assert set(pd.read_parquet(tmp_path / "run" / "curves.parquet")["seed"]) == {0, 1}


def test_a_modular_landscape_has_the_latent_algorithm_and_free_runs_have_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--p", "7", "--d-mlp", "16", "--draws", "2", "--label-noise", "0.1"]
    held = tmp_path / "held"
    grok("modular", *SMALL, *size, "--out", str(held), monkeypatch=monkeypatch)
    latent = pd.read_parquet(held / "latent.parquet")
    assert set(latent["step"]) == {0, 20}
    assert "The latent algorithm" in (held / "landscape.html").read_text()
    free = tmp_path / "free"
    how = ["--constraint", "none", "--weight-decays", "1", "--draws", "0"]
    grok("modular", *SMALL, *size[:4], *how, "--out", str(free), monkeypatch=monkeypatch)
    times = pd.read_parquet(free / "times.parquet")
    assert len(times) == 6
    assert set(times["weight_decay"]) == {1.0}
    assert times["train_censored"].all()
    # Every network is above a level near 0, so the levels given are those that count.
    low = ["--levels", "0.01", "0.01", "--out", str(tmp_path / "low")]
    grok("modular", *SMALL, *size[:4], *how, *low, monkeypatch=monkeypatch)
    assert not pd.read_parquet(tmp_path / "low" / "times.parquet")["train_censored"].any()
    assert not (free / "numbers.parquet").exists()
    assert "generalise_censored" in capsys.readouterr().out
    assert json.loads((free / "config.json").read_text())["train"]["optimizer"] == "adamw"
    assert "L2 norm of weights" in (free / "landscape.html").read_text()
    # Several decays in one command, beside each other.
    several = [*how[:3], "0", "1", "2", *how[4:]]
    grok(
        "modular",
        *SMALL,
        *size[:4],
        *several,
        "--out",
        str(tmp_path / "decays"),
        monkeypatch=monkeypatch,
    )
    times = pd.read_parquet(tmp_path / "decays" / "times.parquet")
    assert times.groupby("weight_decay").size().to_dict() == {0.0: 6, 1.0: 6, 2.0: 6}
    assert "t_generalise as a power of x" in capsys.readouterr().out


def test_settings_override_the_problems_own() -> None:
    own = TrainConfig(steps=7, lr=0.5, batch_size=32, constraint="sphere")
    assert LandscapeRun().training(own) == own
    changed = LandscapeRun(steps=9, batch_size=0, constraint="none", lr=0.0).training(own)
    assert (changed.steps, changed.batch_size, changed.constraint, changed.lr) == (
        9,
        None,
        "none",
        0,
    )
    given = LandscapeRun(alphas=(3.0,), seeds=(5,)).networks(own, (1.0, 2.0))
    assert (given.alphas, given.seeds, given.train) == ((3.0,), (5,), own)
    assert LandscapeRun().networks(own, (1.0, 2.0)).alphas == (1.0, 2.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["teacher_student", "--p", "7"], ["p=7 is for modular, not for teacher_student"]),
        (["modular", "--mixing", "0.5"], ["mixing=0.5 is for images, not for modular"]),
        (["modular", "--alphas", "2", "1"], ["must ascend"]),
        (["modular", "--p", "2"], ["p=2", "p >= 3"]),
        (["modular", "--levels", "0.9", "0.8"], ["levels=(0.9, 0.8)", "--constraint none"]),
        (["modular", "--levels", "90", "80"], ["levels=90.0 must be a number in (0, 1]"]),
        (["modular", "--weight-decays", "0", "1"], ["where the norm is held", "--constraint none"]),
        (["modular", "--alphas", "1", "2"], ["2 alphas make no landscape", "--constraint none"]),
        (["modular", "--p", "7", "--operation", "a**2*b + a"], ["no coordinates", "--draws 0"]),
        (["modular", "--sizes", "99999"], ["99999 training pairs"]),
        (["images", "--source", "imdb"], ["source='imdb'", "digits"]),
        (["images", "--source", "mnist"], ["downloads nothing unasked", "digits"]),
        (["weather"], ["weather"]),
    ],
)
def test_bad_values_end_with_status_2(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        grok(*arguments, "--out", str(tmp_path / "run"), monkeypatch=monkeypatch)
    assert end.value.code == 2
    printed = capsys.readouterr()
    text = " ".join((printed.err + printed.out).replace("│", " ").split())
    for word in words:
        assert word in text


def test_settings_reach_the_problem() -> None:
    settings = LandscapeRun(p=7, d_mlp=12, operation="subtract", label_noise=0.25)
    modular = landscape_command.problem("modular", settings)
    assert isinstance(modular, ModularProblem)
    assert (modular.task.p, modular.task.operation) == (7, "subtract")
    assert (modular.model.p, modular.model.d_mlp, modular.label_noise) == (7, 12, 0.25)
    names = {
        name: landscape_command.problem(name, LandscapeRun()).name
        for name in ("modular", "teacher_student", "images", "language", "molecules")
    }
    assert names == {
        "modular": "add mod 59",
        "teacher_student": "teacher-student",
        "images": "digits",
        "language": "vader",
        "molecules": "nci",
    }
    plain, mixed = (
        landscape_command.problem("images", LandscapeRun(mixing=m)).data(0, 100)
        for m in (None, 0.5)
    )
    assert not torch.equal(plain.test.inputs[0], mixed.test.inputs[0])


def test_what_does_not_exist_is_told_as_none() -> None:
    row = {"size": 5, "lr_rule": "fixed", "which": "last", "number": "corner", "seeds": 0}
    frame = pd.DataFrame([row | {"value": math.nan, "low": math.nan, "high": math.nan}])
    assert "corner         none" in landscape_command.told_numbers(frame)


COMMANDS = [
    line
    for name in ("README.md", "docs/omnigrok.md")
    for line in (Path(__file__).parents[1] / name).read_text(encoding="utf-8").splitlines()
    if line.startswith("grok-interp landscape ")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_commands_are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, LandscapeRun]] = []
    monkeypatch.setattr(landscape_command, "run", lambda *settings: asked.append(settings))
    words = line.split("#")[0].split()[2:]
    grok(*words, monkeypatch=monkeypatch)
    ((name, settings),) = asked
    assert name == words[0]
    assert f"--out {settings.out}" in line
    for setting, owners in landscape_command.ONLY_FOR.items():
        assert name in owners or getattr(settings, setting) == getattr(LandscapeRun(), setting)
    if name in ("modular", "teacher_student") or "digits" in line:
        landscape_command.problem(name, settings)


def test_there_are_documented_commands() -> None:
    assert len(COMMANDS) > 5
