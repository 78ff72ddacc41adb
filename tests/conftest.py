"""Shape checks at run time, the published weights, and tests that need a newer transformer-lens."""

import pkgutil
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT.parent / "shared" / "fixtures"

# Every module but config, whose dataclasses answer bad input with errors of their own.
CHECKED = [
    f"grok_interp.{module.name}"
    for module in pkgutil.iter_modules([str(ROOT / "grok_interp")])
    if module.name != "config"
]
install_import_hook(CHECKED, "beartype.beartype")

with warnings.catch_warnings():
    # What third parties warn of while they are imported is theirs; our own modules come later.
    warnings.simplefilter("ignore")
    import transformer_lens  # noqa: F401

NEEDS_4 = "needs_transformer_lens_4"

# An example that takes long on a busy machine is no failure.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

ABSENT = "published weights are not at"


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shape checks off, so that our own errors are reached as users reach them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def fixtures() -> Path:
    """Folder of weights that other people trained; skips, and says so at the end, without it."""
    if not FIXTURES.is_dir():
        pytest.skip(f"{ABSENT} {FIXTURES}")
    return FIXTURES


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what only transformer-lens 4 is held to; tests/matrix.py counts it by this property."""
    marked = [item for item in items if item.get_closest_marker(NEEDS_4)]
    for item in marked:
        item.user_properties.append((NEEDS_4, True))
    if int(version("transformer-lens").split(".")[0]) < 4:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("skipped", [])  # of all processes
    skipped = [report.nodeid for report in reports if ABSENT in str(report.longrepr)]
    if skipped:
        terminalreporter.section("skipped for want of published weights")
        terminalreporter.write_line(f"{len(skipped)} tests need {FIXTURES}:")
        for name in skipped:
            terminalreporter.write_line(f"  {name}")
