"""The site holds what it says: modules, links, commands, error messages, equations and figures.

Quick checks without a build. ``make docs`` runs the cells of the pages and ends at any warning.
"""

import contextlib
import io
import pkgutil
import re
import shlex
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from grok_interp import (
    cli,
    commands,
    demo,
    landscape_command,
    study_command,
    sweep_command,
    waveforms,
)

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
FENCE = re.compile(r"^(```+)([^\n`]*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d*\.\d+|\d+%")
SUBCOMMANDS = re.findall(
    r"for command in \((.*?)\)", Path(cli.__file__).read_text(encoding="utf-8")
)[0].split(", ")
RUN_BY = {"errors.md": __file__, "gromov.md": "test_readme.py", "omnigrok.md": "test_readme.py"}
"""Pages whose python blocks are no cells, and the tests that run them."""


def layers() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (order,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return list(order)


def submodules(package: str) -> set[str]:
    """Public modules inside a package of ours; none of a module."""
    folder = ROOT / "grok_interp" / package
    return {
        f"{package}.{found.name}"
        for found in pkgutil.iter_modules([str(folder)])
        if not found.name.startswith("_")
    }


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path) -> list[tuple[str, str]]:
    """Kind and content of every fenced block."""
    return [(found[2].strip(), found[3]) for found in FENCE.finditer(text(path))]


def prose(path: Path) -> str:
    return FENCE.sub("", text(path))


# Modules ------------------------------------------------------------------------------------------


def test_every_public_module_is_in_the_reference_once() -> None:
    reference = "\n".join(text(path) for path in (DOCS / "api").glob("*.md"))
    found = re.findall(
        r"\.\. automodule:: grok_interp\.([\w.]+)(\n   :imported-members:)?", reference
    )
    names = [name for name, _ in found]
    assert len(names) == len(set(names))
    public = {name for name in layers() if not name.startswith("_")}
    assert {name for name in names if "." not in name} == public
    # A package shows what it hands on, or each of its modules has an entry of its own.
    hands_on = {name for name, imported in found if imported}
    for package in public:
        shown = {name for name in names if name.startswith(f"{package}.")}
        assert shown == (set() if package in hands_on else submodules(package)), package


def test_the_architecture_lists_modules_in_the_order_of_the_contract() -> None:
    table = text(DOCS / "architecture.md").split("## Decisions")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == layers()


def test_packages_of_the_architecture_name_their_files() -> None:
    table = text(DOCS / "architecture.md").split("## Decisions")[0]
    for package in layers():
        inside = {name.split(".")[1] for name in submodules(package)}
        (row,) = re.findall(rf"^\| `{package}` \|.*$", table, re.MULTILINE)
        if inside and "a file for each" not in row:
            assert set(re.findall(r"`(\w+)`", row)) - {package} == inside


# Links and code -----------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Headings as GitHub and the site turn them into anchors."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=str)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(path), f"{page.name} links to {target}"


def test_every_page_is_in_a_toctree() -> None:
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for kind, content in blocks(page):
            if kind == "{toctree}":
                names = [line for line in content.splitlines() if line and line[0] not in ": "]
                listed |= {(page.parent / f"{name}.md").resolve() for name in names}
    assert listed == set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_code_of_a_page_is_executed(page: Path) -> None:
    kinds = {kind for kind, _ in blocks(page)}
    is_executed = text(page).startswith(
        "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n"
    )
    assert any(kind.startswith("{code-cell}") for kind in kinds) == is_executed
    if "python" in kinds:
        assert page.name in text(ROOT / "tests" / RUN_BY[page.name])
        if page.name != "errors.md":  # whose test runs every block; the others' run the first
            assert [kind for kind, _ in blocks(page)].count("python") == 1
    known = {"", "text", "shell", "bash", "toml", "python", "{toctree}", "{eval-rst}"}
    assert kinds <= known | {kind for kind in kinds if kind.startswith("{code-cell}")}
    for kind, content in blocks(page):
        if kind.startswith("{code-cell}"):
            assert kind == "{code-cell} ipython3"
            assert (
                ":tags:" not in content
            )  # nothing of a page is hidden, skipped, or allowed to fail


def shell_commands(page: Path) -> Iterator[str]:
    """Commands in blocks, in cells for bash, and in the text where they have arguments."""
    for kind, content in blocks(page):
        is_bash = kind.startswith("{code-cell}") and content.startswith("%%bash")
        if kind in ("", "shell") or is_bash:
            yield from re.findall(r"^grok-interp .*$", content, re.MULTILINE)
    yield from re.findall(r"`(grok-interp [^`]+)`", prose(page))


COMMANDS = sorted(
    {command for page in [*PAGES, ROOT / "README.md"] for command in shell_commands(page)}
)


@pytest.mark.parametrize("command", COMMANDS)
def test_shell_commands_parse(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = shlex.split(command, comments=True)
    if arguments[1:] in [[name] for name in SUBCOMMANDS]:
        return  # the name of a command, of which the text says more
    reached: list[str] = []
    for module, names in (
        (commands, ("train", "resume", "analyze", "report_runs", "convert_file")),
        *((module, ("run",)) for module in (landscape_command, sweep_command, study_command, demo)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, lambda *_, **__: reached.append("command"))
    monkeypatch.setattr(cli, "_check_run", lambda *_: None)  # the runs of a page are not here
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demos").mkdir()
    for file in (ROOT / "demos").glob("*.toml"):
        (tmp_path / "demos" / file.name).write_text(text(file), encoding="utf-8")
    if arguments[1] == "sweep" and not (tmp_path / arguments[2]).exists():
        (tmp_path / arguments[2]).write_text("seeds = 2\n", encoding="utf-8")
    if arguments[1] == "convert":
        (tmp_path / arguments[2]).touch()
    monkeypatch.setattr(sys, "argv", arguments)
    if "--help" in arguments:
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
    else:
        cli.main()
        assert reached == ["command"]


def test_commands_are_found() -> None:
    found = {command.split()[1] for command in COMMANDS}
    assert found == {*SUBCOMMANDS, "--help"}


def test_scripts_of_the_pages_have_the_tables_that_they_are_asked_for() -> None:
    asked = {
        found
        for page in PAGES
        for found in re.findall(r"`python docs/(\w+)\.py (\w+)`", text(page))
    }
    assert {script for script, _ in asked} == {"gromov", "omnigrok"}
    for script, table in asked:
        assert re.search(rf'["\']?\b{table}\b["\']?', text(DOCS / f"{script}.py")), (script, table)


# Errors -------------------------------------------------------------------------------------------


def raised(kind: str, code: str, names: dict[str, Any]) -> str | None:
    """The error of a block as the page writes it: the type and message, or what the shell prints."""
    if kind == "python":
        try:
            exec(compile(code, "errors.md", "exec"), names)
        except Exception as error:
            return f"{type(error).__name__}: {error.args[0]}"
        return None
    printed = io.StringIO()
    sys.argv = shlex.split(code)
    with (
        contextlib.redirect_stderr(printed),
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    assert ended.value.code == 2
    return printed.getvalue()


@pytest.mark.usefixtures("unchecked")
def test_errors_are_those_that_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    names: dict[str, Any] = {}
    found = blocks(DOCS / "errors.md")
    compared = 0
    for (kind, code), (following, shown) in zip(found, [*found[1:], ("", "")], strict=True):
        if kind == "text":
            continue
        error = raised(kind, code, names)
        assert (error is None) == (following != "text"), code
        if error is not None:
            assert error.split() == shown.split(), code
            compared += 1
    assert compared == sum(kind == "text" for kind, _ in found) > 15


# What the pages say --------------------------------------------------------------------------------


def test_relu_of_square_waves_is_bilinear_in_their_signs() -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(200, 2, generator=generator).sort(descending=True).values
    larger, smaller = levels.unbind(-1)
    for s_a in (-1, 1):
        for s_b in (-1, 1):
            relu = torch.relu(larger * s_a + smaller * s_b)
            said = (larger + larger * s_a + smaller * s_b + smaller * s_a * s_b) / 2
            assert torch.allclose(relu, said, atol=1e-6)


def test_a_square_wave_is_the_series_of_the_page() -> None:
    m = 4096
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    wave = waveforms.sample("square", m, torch.tensor([1]), one, zero).squeeze(-1)
    found = 2 * torch.fft.rfft(wave).real / m
    assert found[[1, 3, 5]].tolist() == pytest.approx([1, -1 / 3, 1 / 5], abs=1e-2)
    assert found[[2, 4]].tolist() == pytest.approx([0, 0], abs=1e-2)


def test_numbers_from_the_readme_are_the_readmes() -> None:
    readme = text(ROOT / "README.md")

    def row(name: str) -> list[float]:
        return [float(x) for x in re.findall(rf"^ *{name} +(.*)$", readme, re.MULTILINE)[0].split()]

    (per_matrix,) = re.findall(r"network scores (\.\d+) and `frozen_input` (\.\d+)", readme)
    own, idealised, frozen = row("own"), row("idealised"), row("frozen_input")
    page = text(DOCS / "systems" / "latent_structure.md")
    cells = [line.split("|")[3] for line in page.splitlines() if "| README |" in line]
    assert [[float(number) for number in NUMBER.findall(cell)] for cell in cells] == [
        [own[1], own[0]],
        [idealised[0]],
        frozen[:3],
        [float(number) for number in per_matrix],
    ]


def test_the_table_of_controls_names_every_control() -> None:
    page = text(DOCS / "controls.md")
    table = page.split("## Each control")[1].split("## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    readme = text(ROOT / "README.md").split("idealised  ")[1].split("excess over")[0]
    assert named == re.findall(r"^  (\w+)", readme, re.MULTILINE)


def test_the_first_lines_of_pages_are_titles() -> None:
    for page in PAGES:
        body = re.sub(r"\A---\n.*?\n---\n", "", text(page), flags=re.DOTALL)
        assert re.match(r"\s*# \S", body), page
        assert not textwrap.dedent(body).count("TODO"), page
