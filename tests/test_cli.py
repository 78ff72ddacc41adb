"""The command line as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from grok_interp import cli, controls, dynamics
from grok_interp.config import Recipe
from grok_interp.lockstep import Lockstep
from grok_interp.trajectory import Trajectory
from grok_interp.verdict import without_nan


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("demo", "--d-mlp"),
        ("train", "--split.label-noise"),
        ("resume", "PATH"),
        ("analyze", "--recipe.frequency"),
    ],
)
def test_help_imports_neither_torch_nor_transformer_lens(command: str, option: str) -> None:
    program = (
        "import sys\nfrom grok_interp import cli\n"
        "sys.argv = ['grok-interp', COMMAND, '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'transformer_lens' not in sys.modules\n"
    )
    program = program.replace("COMMAND", repr(command))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert option in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--p", "2"], ["p=2", "p >= 3"]),
        (["demo", "--d-mlp", "0"], ["d_mlp=0", "at least 1"]),
        (["train", "--train.lr", "-1"], ["lr=-1.0", "learning rate"]),
        (["train", "--train.stop", "accuracy > 1"], ["stop", "test_accuracy"]),
        (["train", "--task.p", "23", "--model.p", "31"], ["model.p=31", "task.p=23"]),
        (["train", "--config", "nowhere.toml"], ["nowhere.toml", "does not exist"]),
        (["train", "--config"], ["--config needs the path"]),
        (["resume", "nowhere"], ["nowhere is not the directory of a run"]),
        (["analyze", "nowhere"], ["nowhere is not the directory of a run"]),
    ],
)
def test_bad_values_end_with_one_line_and_status_2(
    arguments: list[str],
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["grok-interp", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    printed = capsys.readouterr()
    text = " ".join((printed.err + printed.out).replace("│", " ").split())
    for word in words:
        assert word in text
    assert "Traceback" not in text


def test_demo_writes_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "here"
    arguments = [
        "--p",
        "7",
        "--d-mlp",
        "8",
        "--clean-steps",
        "5",
        "--noisy-steps",
        "5",
        "--draws",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", ["grok-interp", "demo", "--out", str(out), *arguments])
    cli.main()
    assert (out / "summary.json").exists()
    printed = capsys.readouterr().out
    assert "excess over frozen_input" in printed
    assert "noisy: The network" in printed


def grok(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["grok-interp", *arguments])
    cli.main()


SMALL = ["--task.p", "7", "--model.d-mlp", "8", "--train.steps", "30"]


def test_train_then_analyze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "noisy")
    small = [*SMALL, "--split.label-noise", "0.3", "--train.checkpoint-every", "10", "--out", out]
    grok("train", *small, monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert printed.startswith("training add mod 7 with 8 neurons, 30 steps, in ")
    assert "ended by all steps" in printed
    stored = Trajectory.load(out)
    assert stored.split.config.label_noise == 0.3
    assert stored.model_config.p == 7
    assert len(stored) == 4

    with pytest.raises(SystemExit):
        grok("train", *small, monkeypatch=monkeypatch)
    assert "exists and is not empty" in capsys.readouterr().err
    grok("train", *small, "--overwrite", monkeypatch=monkeypatch)
    grok("resume", out, monkeypatch=monkeypatch)
    capsys.readouterr()

    grok("analyze", out, "--draws", "2", monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert "frozen_input" in printed
    found = json.loads((tmp_path / "noisy" / "analysis.json").read_text())
    table = pd.read_parquet(tmp_path / "noisy" / "analysis.parquet")
    assert table.index.tolist() == [0, 10, 20, 30]
    assert set(found["definitions"]) == set(table)
    verdict = controls.evaluate(stored[-1], stored.split, Recipe(), 2)
    expected = without_nan(verdict.to_dict())
    assert found["verdicts"]["joint"] == json.loads(json.dumps(expected))
    joint = table["idealised_joint"].iloc[-1]
    assert joint == pytest.approx(found["verdicts"]["joint"]["effect"]["mean"])
    level = found["onset"]["train_accuracy"]["level"]
    when = dynamics.onset(table["train_accuracy"], level)
    assert found["onset"]["train_accuracy"]["step"] == when.step
    assert found["onset"]["train_accuracy"]["censored"] == when.censored


def test_a_toml_file_gives_the_run_and_flags_override_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        f'out = "{tmp_path}/from_toml"\n[task]\np = 7\n[model]\nd_mlp = 8\nbias_in = true\n'
        "[train]\nsteps = 20\nlr = 1\nbetas = [0.8, 0.9]\ncheckpoint_steps = [3, 5]\n"
        'stop = "train_loss < 0"\n[split]\nseed = 4\n'
    )
    grok("train", "--config", str(file), monkeypatch=monkeypatch)
    stored = Trajectory.load(tmp_path / "from_toml")
    assert stored.steps == (0, 3, 5, 20)
    assert stored.train_config.betas == (0.8, 0.9)
    assert stored.train_config.lr == 1.0
    assert stored.split.config.seed == 4
    assert stored.model_config.bias_in
    other = tmp_path / "other"
    grok(
        "train",
        f"--config={file}",
        "--train.steps",
        "6",
        "--out",
        str(other),
        monkeypatch=monkeypatch,
    )
    assert Trajectory.load(other).steps == (0, 3, 5, 6)
    file.write_text("[train]\nstepps = 3\n")
    with pytest.raises(SystemExit):
        grok("train", "--config", str(file), monkeypatch=monkeypatch)


def test_ctrl_c_says_how_to_go_on_and_resume_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, original = str(tmp_path / "run"), Lockstep.step

    def interrupted(self: Lockstep, number: int) -> None:
        if number == 17:
            raise KeyboardInterrupt
        original(self, number)

    monkeypatch.setattr(Lockstep, "step", interrupted)
    with pytest.raises(SystemExit) as end:
        grok("train", *SMALL, "--out", out, monkeypatch=monkeypatch)
    assert end.value.code == 130
    assert f"grok-interp resume {out}" in capsys.readouterr().out
    monkeypatch.setattr(Lockstep, "step", original)
    grok("resume", out, monkeypatch=monkeypatch)
    assert Trajectory.load(out).ended == "all steps"
