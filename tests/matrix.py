"""The tests of hooks, interventions and patching, under each transformer-lens that is supported.

    make test-matrix

Every version gets an environment of its own in ``.matrix/VERSION``, made once and again only when
pyproject.toml, requirements.txt or this file change. A package is of the version that
requirements.txt has unless the older transformer-lens forces another, and torch is of that version
in any case, so that uv links the same files from its cache into all environments instead of copying
them: the first run adds about 1.2 GB to disk where uv's cache is on the file system of this folder,
and three times 6 GB where it is not.

Exits with status 1 if a test fails or is skipped, or if the tests that pass in two environments are
not the same ones; only those marked ``needs_transformer_lens_4`` may be missing before 4.0, where
conftest.py deselects them.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
MATRIX = ROOT / ".matrix"

# The newest of the oldest series that is supported, of the last before 4.0, and of the newest.
VERSIONS = ("2.18.0", "3.9.0", "4.3.0")

# What an old transformer-lens forces on others that do not say so themselves: pyarrow 26 refuses to
# be imported beside numpy 1, which 2.18 is bound to.
BESIDE = {"2.18.0": ("pyarrow<26",)}

FILES = (
    "tests/test_hooked_mlp.py",
    "tests/test_interventions.py",
    "tests/test_idealize.py",
    "tests/test_transformer_lens.py",
    "tests/test_pretrained.py",
    "tests/test_ablate.py",
    "tests/test_filters.py",
    "tests/test_patch.py",
    "tests/test_phases.py",
)

MARKER = "needs_transformer_lens_4"


@dataclass(frozen=True)
class Outcome:
    """What the tests of one environment came to, by name.

    Attributes:
        passed: Tests that passed.
        failed: Tests that failed or could not be set up.
        skipped: Tests that were skipped.
        marked: Tests that only 4.x is held to, among all that ran.
        status: What pytest exited with.
    """

    passed: frozenset[str]
    failed: frozenset[str]
    skipped: frozenset[str]
    marked: frozenset[str]
    status: int


def environment(version: str) -> Path:
    """The Python of an environment with this transformer-lens, made if it is missing or outdated."""
    folder = MATRIX / version
    python, stamp, pins = folder / "bin/python", folder / ".installed", folder / "pins.txt"
    recipe = [ROOT / "pyproject.toml", ROOT / "requirements.txt", Path(__file__)]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in recipe) + sys.version.encode())
    if stamp.is_file() and stamp.read_text() == key.hexdigest():
        return python
    print(f"installing transformer-lens {version} into {folder.relative_to(ROOT)}", flush=True)
    uv("venv", "--clear", "--python", sys.executable, str(folder))
    constraints = folder / "constraints.txt"
    exact = (f"transformer-lens=={version}", f"torch=={locked('torch')}")
    constraints.write_text("\n".join((*exact, *BESIDE.get(version, ()))))
    # uv keeps the versions that it finds in its output file wherever it can.
    shutil.copyfile(ROOT / "requirements.txt", pins)
    options = ("--extra", "test", "--python", str(python), "--no-header", "--no-annotate")
    source = ("pyproject.toml", "--constraints", str(constraints))
    uv("pip", "compile", *options, *source, "--output-file", str(pins))
    uv("pip", "sync", "--python", str(python), str(pins))
    stamp.write_text(key.hexdigest())
    return python


def locked(package: str) -> str:
    """The version of a package in requirements.txt."""
    file = ROOT / "requirements.txt"
    found = re.search(rf"^{package}==([^\s;]+)", file.read_text(), re.MULTILINE)
    if found is None:
        sys.exit(f"{file} has no line '{package}==...': run 'make lock'")
    return found[1]


def uv(*arguments: str) -> None:
    """Run the uv of the environment that runs this file."""
    program = Path(sys.executable).parent / "uv"
    if not program.is_file():
        sys.exit(f"{program} does not exist: run 'make install', then 'make test-matrix'")
    done = subprocess.run([program, *arguments, "--quiet"], cwd=ROOT)
    if done.returncode:
        sys.exit(f"'uv {' '.join(arguments)}' failed with status {done.returncode}: see above")


def run_tests(python: Path) -> Outcome:
    """Run the tests on the package in this folder, whatever else is installed."""
    report = python.parents[1] / "tests.xml"
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    status = subprocess.run(
        [*command, *FILES], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ).returncode
    if not report.is_file():
        sys.exit(f"pytest wrote no {report}: it ended with status {status}, see above")
    return read_report(report, status)


def read_report(report: Path, status: int) -> Outcome:
    """Sort the tests in a JUnit report of pytest."""
    names: dict[str, set[str]] = {"passed": set(), "failed": set(), "skipped": set()}
    marked = set()
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        children = {child.tag for child in case}
        kind = "failed" if children & {"failure", "error"} else "passed"
        names["skipped" if "skipped" in children else kind].add(name)
        if any(each.get("name") == MARKER for each in case.iter("property")):
            marked.add(name)
    sets = {kind: frozenset(each) for kind, each in names.items()}
    return Outcome(**sets, marked=frozenset(marked), status=status)


def describe(python: Path) -> str:
    """The versions that an environment holds."""
    names = ("transformer-lens", "torch", "numpy")
    code = f"from importlib.metadata import version; print(*map(version, {names}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return ", ".join(
        f"{name} {version}" for name, version in zip(names, done.stdout.split(), strict=True)
    )


def complaints(outcomes: dict[str, Outcome]) -> list[str]:
    """What is wrong with the outcomes; the newest version is what the others are held to."""
    newest = outcomes[VERSIONS[-1]]
    wrong = []
    for version, outcome in outcomes.items():
        recent = int(version.split(".")[0]) >= 4
        expected = newest.passed if recent else newest.passed - newest.marked
        for what, names in (
            ("failed", outcome.failed),
            ("was skipped", outcome.skipped),
            (f"passed with {VERSIONS[-1]} only", expected - outcome.passed),
            (f"passed, as {VERSIONS[-1]} does not let expect", outcome.passed - expected),
        ):
            wrong += [f"{version}: {name} {what}" for name in sorted(names)]
        if outcome.status and not outcome.failed:
            wrong.append(f"{version}: pytest ended with status {outcome.status}: see above")
    return wrong


def main() -> None:
    """Make the environments, run the tests one environment after another, compare."""
    MATRIX.mkdir(exist_ok=True)
    outcomes, lines = {}, []
    for version in VERSIONS:
        python = environment(version)
        lines.append(describe(python))
        print(lines[-1], flush=True)
        outcomes[version] = run_tests(python)
    for line, outcome in zip(lines, outcomes.values(), strict=True):
        only = f" ({len(outcome.marked)} of them for 4.x only)" if outcome.marked else ""
        print(f"{line}: {len(outcome.passed)} passed{only}")
    wrong = complaints(outcomes)
    print("\n".join(wrong) or "the same tests pass with every version")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
