"""What tests/matrix.py concludes from the reports of three environments."""

from pathlib import Path

import matrix
import pytest

CASE = '<testcase classname="tests.test_a" name="{name}">{inside}</testcase>'
MARK = f'<properties><property name="{matrix.MARKER}" value="True"/></properties>'
INSIDE = {
    "passed": "",
    "marked": MARK,
    "failed": '<failure message="no"/>',
    "broken": '<error message="no"/>',
    "skipped": '<skipped message="no"/>',
}
SOUND = {
    "old": {"x": "passed", "y": "passed"},
    "new": {"x": "passed", "y": "passed", "z": "marked"},
}


def outcome(folder: Path, tests: dict[str, str], status: int = 0) -> matrix.Outcome:
    """What is read from a report in which these tests came out like this."""
    cases = (CASE.format(name=name, inside=INSIDE[kind]) for name, kind in tests.items())
    report = folder / "tests.xml"
    report.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return matrix.read_report(report, status)


def complaints(folder: Path, old: dict[str, str], new: dict[str, str], status: int = 0) -> list:
    oldest, middle, newest = matrix.VERSIONS
    outcomes = {oldest: outcome(folder, old, status), middle: outcome(folder, SOUND["old"])}
    return matrix.complaints(outcomes | {newest: outcome(folder, new)})


def test_a_test_for_4_only_may_be_missing_before(tmp_path: Path) -> None:
    assert complaints(tmp_path, **SOUND) == []
    newest = outcome(tmp_path, SOUND["new"])
    assert len(newest.passed) == 3
    assert newest.marked == {"tests.test_a::z"}


@pytest.mark.parametrize(
    ("old", "words"),
    [
        ({"y": "failed"}, ["y failed", "y passed with 4.3.0 only"]),
        ({"y": "broken"}, ["y failed", "y passed with 4.3.0 only"]),
        ({"y": "skipped"}, ["y was skipped", "y passed with 4.3.0 only"]),
        ({"z": "passed"}, ["z passed, as 4.3.0 does not let expect"]),
        ({"w": "passed"}, ["w passed, as 4.3.0 does not let expect"]),
        ({"w": "skipped"}, ["w was skipped"]),
    ],
    ids=str,
)
def test_what_differs_is_named(tmp_path: Path, old: dict, words: list[str]) -> None:
    found = complaints(tmp_path, SOUND["old"] | old, SOUND["new"])
    assert found == [f"2.18.0: tests.test_a::{each}" for each in words]


def test_a_missing_test_that_is_not_marked_is_named(tmp_path: Path) -> None:
    found = complaints(tmp_path, {"x": "passed"}, SOUND["new"])
    assert found == ["2.18.0: tests.test_a::y passed with 4.3.0 only"]
    found = complaints(tmp_path, SOUND["old"], SOUND["new"] | {"z": "passed"})
    assert found == [f"{v}: tests.test_a::z passed with 4.3.0 only" for v in ("2.18.0", "3.9.0")]


def test_a_skip_with_the_newest_is_named(tmp_path: Path) -> None:
    found = complaints(tmp_path, SOUND["old"], SOUND["new"] | {"v": "skipped"})
    assert found == ["4.3.0: tests.test_a::v was skipped"]


def test_a_status_without_a_failure_is_named(tmp_path: Path) -> None:
    """Pytest ends with 3 or 4 when it breaks, whatever its report says until then."""
    assert complaints(tmp_path, **SOUND, status=3) == [
        "2.18.0: pytest ended with status 3: see above"
    ]


def test_torch_is_pinned_as_locked_and_a_missing_line_is_an_error() -> None:
    lines = (matrix.ROOT / "requirements.txt").read_text().splitlines()
    assert any(line.startswith(f"torch=={matrix.locked('torch')} ") for line in lines)
    with pytest.raises(SystemExit, match=r"no line 'no-such-package==\.\.\.': run"):
        matrix.locked("no-such-package")
