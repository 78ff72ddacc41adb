"""The command line as a user meets it."""

import subprocess
import sys
from pathlib import Path

import pytest

from grok_interp import cli


def test_help_imports_neither_torch_nor_transformer_lens() -> None:
    program = (
        "import sys\nfrom grok_interp import cli\n"
        "sys.argv = ['grok-interp', 'demo', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'transformer_lens' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "--d-mlp" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--p", "2"], ["p=2", "p >= 3"]),
        (["demo", "--d-mlp", "0"], ["d_mlp=0", "at least 1"]),
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
