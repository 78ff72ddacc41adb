"""The notebooks as they are committed, without running them (``make demos`` does): outputs that are
theirs, one first cell for Colab, and a list that has them all."""

import ast
import json
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

DEMOS = Path(__file__).parents[1] / "demos"
NOTEBOOKS = sorted(path.name for path in DEMOS.glob("*.ipynb"))
README = (DEMOS / "README.md").read_text(encoding="utf-8")
FROM_THEORY = {".81"}
"""What start_here.ipynb says of a perfect square wave: 8 / pi^2, no output of its own."""

each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


@cache
def notebook(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEMOS / name).read_text(encoding="utf-8"))
    return read


def code_cells(name: str) -> list[dict[str, Any]]:
    return [cell for cell in notebook(name)["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def setup() -> str:
    return source(code_cells("start_here.ipynb")[0])


def run_setup(monkeypatch: pytest.MonkeyPatch, torch: str, on_colab: bool) -> list[Any]:
    """What the first cell gives to ``subprocess.run`` where that version of torch is installed."""
    calls: list[Any] = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: calls.append((command, options))
    )
    monkeypatch.setattr(metadata, "version", lambda package: {"torch": torch}[package])
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    if on_colab:
        monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    exec(compile(setup(), "the first cell", "exec"), {})
    return calls


@pytest.mark.parametrize("torch", ["2.8.0+cu126", "2.13.0"])
def test_on_colab_the_first_cell_installs_the_package_and_pins_the_torch_that_is_there(
    monkeypatch: pytest.MonkeyPatch, torch: str
) -> None:
    ((command, options),) = run_setup(monkeypatch, torch, on_colab=True)
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    pin, address = [word for word in command[4:] if not word.startswith("-")]
    pinned = Requirement(pin)
    assert pinned.name == "torch"
    assert pinned.specifier.contains(torch)
    assert not any(pinned.specifier.contains(other) for other in ("2.7.1", "2.8.1", "2.13.1"))
    assert address.startswith("git+https://")
    assert options == {"check": True}  # an installation that failed is seen in that cell


def test_elsewhere_the_first_cell_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_setup(monkeypatch, "2.13.0", on_colab=False) == []


@each_notebook
def test_the_first_cell_is_the_same_in_every_notebook_and_says_that_it_can_be_skipped(
    name: str,
) -> None:
    title, first = notebook(name)["cells"][:2]
    assert source(title).startswith("# ")
    assert source(first) == setup()
    assert source(first).startswith("# Skip this cell")
    assert first["metadata"] == {"tags": ["remove-cell"]}  # pages made of notebooks leave it out
    assert first["outputs"] == []
    others = "".join(source(cell) for cell in notebook(name)["cells"][2:])
    assert "OWNER" not in others  # one place a notebook to put the address


def test_the_readme_lists_every_notebook_and_opens_each_on_colab() -> None:
    rows = re.findall(r"^\| \[(.+?)\]\((.+?)\) \|(.*)", README, re.MULTILINE)
    assert [text for text, _, _ in rows] == [link for _, link, _ in rows]
    assert sorted(link for _, link, _ in rows) == NOTEBOOKS
    (address,) = re.findall(r'^ADDRESS = "git\+https://github\.com/(.*)"$', setup(), re.MULTILINE)
    for _, link, rest in rows:
        colab = f"(https://colab.research.google.com/github/{address}/blob/main/demos/{link})"
        assert rest.count(colab) == 1, link
        assert re.search(r"\| \d+ s \|", rest), link


@each_notebook
def test_outputs_are_committed_in_the_order_of_one_run(name: str) -> None:
    cells = code_cells(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        last = ast.parse(source(cell)).body[-1]
        if isinstance(last, ast.Expr):  # it is shown, or it prints
            assert cell["outputs"], cell["id"]
        for output in cell["outputs"]:
            assert output["output_type"] in {"stream", "display_data", "execute_result"}
            assert output.get("name") != "stderr", cell["id"]
            assert output.get("execution_count", cell["execution_count"]) == cell["execution_count"]
            assert output["output_type"] != "stream" or "".join(output["text"]).strip()


@each_notebook
def test_nothing_of_the_machine_that_ran_it_is_committed(name: str) -> None:
    cells = notebook(name)["cells"]
    assert [cell["id"] for cell in cells] == [f"cell-{index}" for index in range(len(cells))]
    assert all("execution" not in cell["metadata"] for cell in cells)
    assert "widgets" not in notebook(name)["metadata"]
    for cell in code_cells(name):
        kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
        assert not any("widget" in kind for kind in kinds), cell["id"]


def test_start_here_is_small_and_its_prose_has_the_numbers_of_the_outputs_above_it() -> None:
    assert (DEMOS / "start_here.ipynb").stat().st_size < 700_000
    shown: list[float] = [1 / 41]
    numbers = re.compile(r"(?<![\w.])[+-]?\d*\.\d+")
    checked = 0
    for cell in notebook("start_here.ipynb")["cells"]:
        if cell["cell_type"] == "code":
            shown += [float(number) for number in numbers.findall(_texts(cell["outputs"]))]
            continue
        for said in set(re.findall(r"(?<![\w.])\d*\.\d+(?![\d.]*:)", _prose(cell))) - FROM_THEORY:
            digits = len(said.split(".")[1])
            assert any(abs(value - float(said)) <= 0.5001 * 10**-digits for value in shown), said
            checked += 1
    assert checked > 20


def _prose(cell: dict[str, Any]) -> str:
    """Text without code and without numbers of papers."""
    return re.sub(r"`[^`]*`|arXiv \d+\.\d+", "", source(cell))


def _texts(outputs: list[dict[str, Any]]) -> str:
    """What a reader sees as text: printed, tables, and the words in figures."""
    texts = []
    for output in outputs:
        data = output.get("data", {})
        figure = data.get("application/vnd.plotly.v1+json", {"layout": {}})
        notes = figure["layout"].get("annotations", [])
        texts += ["".join(output.get("text", [])), "".join(data.get("text/plain", []))]
        texts += [note["text"] for note in notes]
    return "\n".join(texts)
