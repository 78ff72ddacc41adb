"""The README's example, run as it stands, prints what the README says."""

import contextlib
import io
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

from grok_interp import controls, hooked_mlp, idealize, measures, neurons, removal
from grok_interp.config import Recipe
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"[-+]?\d+%|[-+]?\d*\.\d+")
TOLERANCE = 0.04
LOOSE = {"per_matrix": 0.1, "excess": 0.1, "refitted_readout": 0.1}
"""Float32 sums differ between processors, and training amplifies that, in some lines more than in others."""


def value(text: str) -> float:
    return float(text.rstrip("%")) / (100 if text.endswith("%") else 1)


@pytest.mark.slow
def test_the_example_prints_what_the_readme_shows() -> None:
    code = re.search(r"```python\n(from grok_interp.*?)```", README, re.DOTALL)
    shown = re.search(r"```\n(with ideal weights.*?)```", README, re.DOTALL)
    assert code is not None
    assert shown is not None
    printed = io.StringIO()
    names: dict = {}
    with contextlib.redirect_stdout(printed):
        exec(compile(code[1], "README.md", "exec"), names)
    lines, expected = printed.getvalue().splitlines(), shown[1].splitlines()
    assert len(lines) == len(expected)
    for line, want in zip(lines, expected, strict=True):
        assert NUMBER.sub("#", line).split() == NUMBER.sub("#", want).split()
        for number, wanted in zip(NUMBER.findall(line), NUMBER.findall(want), strict=True):
            tolerance = LOOSE.get(re.split(r"[ :]", want.strip())[0], TOLERANCE)
            assert value(number) == pytest.approx(value(wanted), abs=tolerance), want

    # What is told of the table: an excess, and more structure than in the control.
    printed_verdict = controls.evaluate(names["model"], names["split"])
    own, frozen = (printed_verdict.structure[name] for name in ("own", "frozen_input"))
    assert printed_verdict.excess("frozen_input") > 0
    assert own.power_share["W_a"] > frozen.power_share["W_a"]
    assert own.median_abs_phase_residual < frozen.median_abs_phase_residual
    assert own.agreement > 10 * frozen.agreement

    # What the text below the example says of per_matrix mode.
    said = re.search(r"the network scores (\.\d+) and `frozen_input` (\.\d+)", README)
    assert said is not None
    verdict = controls.evaluate(names["model"], names["split"], Recipe(frequency="per_matrix"))
    assert verdict.effect.mean == pytest.approx(float(said[1]), abs=LOOSE["per_matrix"])
    assert verdict.controls["frozen_input"].mean == pytest.approx(float(said[2]), abs=0.02)

    # What "Look at it" says of its use of the waves.
    used = re.search(r"it still gets (\d+)% of its training pairs right, and (\d+)% with", README)
    assert used is not None
    found = removal.waves(names["model"], names["split"])
    assert float(found.without.train) == pytest.approx(int(used[1]) / 100, abs=0.03)
    assert float(found.control.train.mean()) == pytest.approx(int(used[2]) / 100, abs=0.02)


def test_a_network_and_an_intervention_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    section = README.split("## Your own network, your own intervention")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 2
    p, task = 17, ModularTask(17)
    model = HookedMLP(p=17, d_mlp=300, seed=0)
    names: dict[str, Any] = {
        "task": task,
        "split": task.split(0.5, label_noise=0.2),
        "model": model,
        "controls": controls,
        "hooked_mlp": hooked_mlp,
        "idealize": idealize,
        "measures": measures,
        "ideal": idealize.build(neurons.extract(model, task)),
    }
    exec(compile(blocks[0], "README.md", "exec"), names)
    assert names["logits"].shape == (p * p, p)
    assert names["cache"]["post", 0].shape == (p * p, 256)
    exec(compile(blocks[1], "README.md", "exec"), names)
    printed = capsys.readouterr().out
    accuracies = [float(number) for number in re.findall(r"tensor\((.*?),", printed)]
    own = float(measures.accuracy(model, task))
    assert len(accuracies) == 2
    assert all(0 <= accuracy <= 1 and accuracy != own for accuracy in accuracies)
    assert "per_matrix frequencies" in printed


def page(name: str) -> str:
    """A page of the site; its longer examples are run here and not while the site is built."""
    return (Path(__file__).parents[1] / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_quadratic_example_groks_and_the_network_by_hand_is_right() -> None:
    code = re.search(r"```python\n(from grok_interp.*?)```", page("gromov.md"), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code[1], "README.md", "exec"), names)
    events = names["dynamics"].milestones(names["run"].metrics)
    assert events.memorised.step < events.grokked.step < 1500
    assert float(names["measures"].accuracy(names["by_hand"], names["task"])) == 1.0


@pytest.mark.slow
def test_the_landscape_example_finds_a_u_and_trains_a_network_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"```python\n(import torch.*?)```", page("omnigrok.md"), re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code[1], "README.md", "exec"), names)
    numbers = names["landscape"].numbers(names["frame"])
    chosen = numbers[numbers["number"] == "u"]
    assert len(chosen) == 2
    assert (chosen["value"] == 1).all()
    assert (tmp_path / "teacher.html").exists()
    times = names["times"].set_index("alpha")
    assert not times[["train_censored", "generalise_censored"]].any(axis=None)
    said = re.search(r"# (\d+) and (\d+) steps; (\d+) and (\d+)", code[1])
    assert said is not None
    shown = times.loc[[1.0, 8.0], ["t_train", "t_generalise"]].to_numpy().flatten().tolist()
    assert shown == pytest.approx([int(number) for number in said.groups()], abs=100)
    assert times.loc[8.0, "t_generalise"] > 2 * times.loc[8.0, "t_train"]


def test_modules_in_the_box_exist() -> None:
    table = README.split("## In the box")[1].split("## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    package = Path(__file__).parents[1] / "grok_interp"
    assert len(named) > 10
    modules = {module.name for module in pkgutil.iter_modules([str(package)])}
    assert named <= modules
