"""The command line as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from grok_interp import cli, controls, dynamics
from grok_interp.config import Recipe
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.lockstep import Lockstep
from grok_interp.tasks import ModularTask
from grok_interp.trajectory import Trajectory
from grok_interp.verdict import without_nan


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("demo", "--d-mlp"),
        ("train", "--split.label-noise"),
        ("resume", "PATH"),
        ("analyze", "--recipe.frequency"),
        ("report", "--out"),
        ("convert", "--format"),
        ("landscape", "--lr-rules"),
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
        (["analyze", "nowhere"], ["nowhere is not the directory of a run", "converted model"]),
        (["report", "nowhere"], ["nowhere is not the directory of a run"]),
        (["report"], ["needs a run"]),
        (["convert", "nowhere.pt", "out"], ["nowhere.pt does not exist"]),
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
    for question in ("Does it hold the algorithm?", "Does it use it?", "Since which step?"):
        assert printed.count(question) == 2


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


def test_a_report_on_two_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(tmp_path / name) for name in ("one", "<b>two")]
    for run in runs:
        grok(
            "train", *SMALL, "--train.checkpoint-every", "10", "--out", run, monkeypatch=monkeypatch
        )
    out = tmp_path / "both.html"
    grok("report", *runs, "--out", str(out), "--draws", "2", monkeypatch=monkeypatch)
    assert f"wrote {out} (" in capsys.readouterr().out
    page = out.read_text()
    assert page.count("<article>") == 2
    assert "<b>two" not in page
    assert f"grok-interp report {runs[0]} &#x27;{tmp_path}/&lt;b&gt;two&#x27; --out {out}" in page

    for arguments, words in (
        ([runs[0], runs[0]], "name each run once"),
        ([runs[0], "--out", str(tmp_path / "no" / "where.html")], "is not a folder"),
        ([runs[0], "--out", str(tmp_path)], "(a folder)"),
    ):
        with pytest.raises(SystemExit):
            grok("report", *arguments, monkeypatch=monkeypatch)
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--task.p", "7"], ["--task.p=7"]])
def test_the_model_follows_the_task_that_a_flag_puts_over_a_toml_file(
    flag: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "run.toml", tmp_path / "run"
    path.write_text("[task]\np = 11\n[model]\nd_mlp = 4\n[train]\nsteps = 2\n")
    grok("train", "--config", str(path), *flag, "--out", str(out), monkeypatch=monkeypatch)
    stored = Trajectory.load(out)
    assert stored.split.task.p == stored.model_config.p == 7


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


P = 7


def foreign(path: Path, sign: int = 1, **extra: torch.Tensor) -> Path:
    """An nn.Linear pair with waves of every frequency (arXiv 2301.02679): it adds, or subtracts."""
    n, k = torch.arange(P).double()[:, None], torch.arange(1, P // 2 + 1)
    # With four phases an eighth of a turn apart, the squares leave 2 at a + b and 1 at 2a and at 2b.
    first = torch.arange(4).double()[:, None] * torch.pi / 4
    a, b = (2 * torch.pi * k * s * n / P for s in (1, sign))
    columns = [torch.cat([(a + each).cos(), (b + each).cos()]) for each in first]
    out = [(2 * torch.pi * k * n / P + 2 * each).cos() for each in first]
    pair = {"fc1.weight": torch.cat(columns, 1).T, "fc2.weight": torch.cat(out, 1)}
    torch.save({"model": pair | extra}, path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return foreign(tmp_path / "pair.pt")


def test_convert_then_analyze(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "model"
    grok("convert", str(pair), str(out), monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert (
        "format linear_pair, p=7, d_mlp=12, act_fn=quadratic; accuracy on addition 1.0000"
        in printed
    )
    assert "chance 0.1429" in printed
    assert "the file does not say its activation; linear_pair's paper has quadratic" in printed
    assert f"next: grok-interp analyze {out}" in printed
    model = HookedMLP.from_pretrained(out)
    fc1 = torch.load(pair, weights_only=True)["model"]["fc1.weight"]
    assert torch.equal(model.W_in[1], fc1[:, P:].T)

    grok("analyze", str(out), "--draws", "2", monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert "A model without its run" in printed
    assert "onset" not in printed.replace("no onsets", "")
    found = json.loads((out / "analysis.json").read_text())
    assert found["source"]["format"] == "grok_interp"
    assert (found["source"]["p"], found["source"]["act_fn"]) == (P, "quadratic")
    split = ModularTask(P).split(1.0)
    for mode in ("per_matrix", "joint"):
        verdict = controls.evaluate(model, split, Recipe(frequency=mode), 2)
        assert f"{mode}\n{verdict}" in printed
        expected = without_nan(verdict.to_dict())
        assert found["verdicts"][mode] == json.loads(json.dumps(expected))
        assert found["verdicts"][mode]["own"]["mean"] == 1.0

    # The file itself gives the same verdicts, which are written beside it.
    grok("analyze", str(pair), "--draws", "2", monkeypatch=monkeypatch)
    direct = json.loads((tmp_path / "pair.pt.analysis.json").read_text())
    assert direct["source"]["format"] == "linear_pair"
    assert direct["verdicts"] == found["verdicts"]


def test_a_model_is_replaced_only_when_asked_and_nothing_else_ever_is(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "model", ["convert", str(pair), str(tmp_path / "model")]
    grok(*words, monkeypatch=monkeypatch)
    (out / "analysis.json").write_text("{}")
    before = (out / "model.safetensors").read_bytes()
    foreign(pair, -1)
    with pytest.raises(SystemExit):
        grok(*words, monkeypatch=monkeypatch)
    assert "exists and holds README.md, analysis.json" in capsys.readouterr().err
    assert (out / "model.safetensors").read_bytes() == before
    grok(*words, "--overwrite", monkeypatch=monkeypatch)
    assert (out / "model.safetensors").read_bytes() != before
    assert not (out / "analysis.json").exists()  # it was of the other model
    (out / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit):
        grok(*words, "--overwrite", monkeypatch=monkeypatch)
    assert "holds a model and nothing else" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        grok("convert", str(pair), str(out / "notes.txt"), monkeypatch=monkeypatch)
    assert "notes.txt is a file" in capsys.readouterr().err
    assert (out / "notes.txt").read_text() == "mine"


def test_the_operation_of_a_model_is_chosen_and_that_of_a_run_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = foreign(tmp_path / "minus.pt", -1)
    arguments = ["analyze", str(path), "--draws", "1", "--operation"]
    grok(*arguments, "subtract", monkeypatch=monkeypatch)
    beside = tmp_path / "minus.pt.analysis.json"
    own = json.loads(beside.read_text())["verdicts"]["joint"]
    assert own["task"] == {"p": P, "operation": "subtract"}
    assert own["own"]["mean"] == 1.0
    grok(*arguments, "add", monkeypatch=monkeypatch)
    assert json.loads(beside.read_text())["verdicts"]["joint"]["own"]["mean"] < 0.5
    run = str(tmp_path / "run")
    grok("train", *SMALL, "--out", run, monkeypatch=monkeypatch)
    with pytest.raises(SystemExit):
        grok("analyze", run, "--operation", "add", monkeypatch=monkeypatch)
    assert "operation='add' cannot be chosen" in capsys.readouterr().err
    model = str(tmp_path / "model")
    HookedMLP(p=P, d_mlp=3).save_pretrained(model)
    for place, kind in ((run, "run"), (model, "model directory")):
        for option, value in (("--format", "pizza"), ("--act-fn", "relu")):
            with pytest.raises(SystemExit):
                grok("analyze", place, option, value, monkeypatch=monkeypatch)
            name = option.removeprefix("--").replace("-", "_")
            words = f"{name}='{value}' cannot be chosen for {place}, a {kind} of this library"
            assert words in capsys.readouterr().err


def test_the_activation_of_another_projects_file_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = {"fc1.bias": torch.linspace(-0.3, 0.3, 12), "fc2.bias": torch.linspace(0, 1, 7)}
    extra = {name: bias.double() for name, bias in extra.items()}
    path, out = foreign(tmp_path / "pair.pt", **extra), tmp_path / "model"
    grok("convert", str(path), str(out), "--act-fn", "relu", monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert "act_fn=relu; accuracy" in printed
    assert "does not say" not in printed
    w = torch.load(path, weights_only=True)["model"]
    task = ModularTask(P)
    x = F.one_hot(task.tokens, P).double().flatten(1)
    pre = x @ w["fc1.weight"].T + w["fc1.bias"]
    by_hand = {
        name: post @ w["fc2.weight"].T + w["fc2.bias"]
        for name, post in (("relu", pre.clamp(min=0)), (None, pre.square()))
    }
    converted = HookedMLP.from_pretrained(out)
    torch.testing.assert_close(converted(task.tokens).detach(), by_hand["relu"])

    found = {}
    for act_fn in ("relu", None):
        words = ["analyze", str(path), "--draws", "1", "--format", "linear_pair"]
        chosen = [] if act_fn is None else ["--act-fn", act_fn]
        grok(*words, *chosen, monkeypatch=monkeypatch)
        assert ("does not say its activation" in capsys.readouterr().out) == (act_fn is None)
        found[act_fn] = json.loads((tmp_path / "pair.pt.analysis.json").read_text())
    assert [each["source"]["act_fn"] for each in found.values()] == ["relu", "quadratic"]
    own = {name: each["verdicts"]["joint"]["own"]["mean"] for name, each in found.items()}
    for name, logits in by_hand.items():
        accuracy = float((logits.argmax(1) == task.labels).double().mean())
        assert own[name] == pytest.approx(accuracy)
    assert 0.3 < own["relu"] < own[None] - 0.1, own
    # Another format than the file's is refused, as convert refuses it.
    with pytest.raises(SystemExit):
        grok("analyze", str(path), "--format", "pizza", monkeypatch=monkeypatch)
    assert "is not of format pizza" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_before_the_controls(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    HookedMLP(p=P, d_mlp=3).save_pretrained(model)
    grok("train", *SMALL, "--out", str(run), monkeypatch=monkeypatch)

    def too_late(*args: object, **kwargs: object) -> None:
        raise AssertionError("the controls were run")

    monkeypatch.setattr(controls, "evaluate", too_late)
    monkeypatch.setattr(dynamics, "table", too_late)
    # Asked, not tried: to root, as which tests may run, every folder can be written.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    for path, folder, first in (
        (pair, tmp_path, "grok-interp convert"),
        (model, model, "copy"),
        (run, run, "copy"),
    ):
        with pytest.raises(SystemExit) as end:
            grok("analyze", str(path), monkeypatch=monkeypatch)
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert f"analysis.json cannot be written, since the folder {folder} is read-only" in said
        assert f"first {first} {path} to a folder of yours" in said
    assert not list(tmp_path.rglob("*analysis.json"))


def test_files_that_no_model_comes_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shapes = {"embed.W_E": (4, 8), "pos_embed.W_pos": (3, 4), "unembed.W_U": (4, 8)}
    heads = {f"attn.W_{letter}": (2, 3, 4) for letter in "KQV"} | {"attn.W_O": (4, 6)}
    mlp = {"mlp.W_in": (5, 4), "mlp.b_in": (5,), "mlp.W_out": (4, 5), "mlp.b_out": (4,)}
    shapes |= {f"blocks.0.{name}": shape for name, shape in (heads | mlp).items()}
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "one.pth")
    unknown = foreign(tmp_path / "unknown.pt", bias=torch.zeros(3))
    for command in (
        ["convert", str(tmp_path / "one.pth"), str(out)],
        ["analyze", str(tmp_path / "one.pth")],
    ):
        with pytest.raises(SystemExit):
            grok(*command, monkeypatch=monkeypatch)
        assert "one-layer transformer" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        grok("convert", str(unknown), str(out), monkeypatch=monkeypatch)
    assert "no known format" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        grok("convert", str(unknown), str(out), "--format", "linear_pair", monkeypatch=monkeypatch)
    assert "is not of format linear_pair: it holds" in capsys.readouterr().err
    assert not out.exists()
    assert not list(tmp_path.glob("*.json"))
