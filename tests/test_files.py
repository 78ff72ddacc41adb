"""Files are whole or absent, and tensors are the expected ones or an error that names them."""

import math
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from grok_interp import files

EXPECTED = {"W_in": torch.zeros(2, 3, 4), "W_out": torch.zeros(4, 3)}
ADVICE = "use the other checkpoint"


def good() -> dict[str, torch.Tensor]:
    return {"W_in": torch.arange(24.0).reshape(2, 3, 4), "W_out": torch.ones(4, 3)}


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Writing


def test_the_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "deep" / "er" / "model.txt"
    with files.written_aside(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent  # a rename within one file system
        assert not path.exists()
    assert path.read_text() == "new"
    assert contents(path.parent) == ["model.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "model.txt"
    path.write_text("old")

    def write_half() -> None:
        with files.written_aside(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert contents(tmp_path) == ["model.txt"]


def test_a_block_that_raises_makes_no_file(tmp_path):
    with pytest.raises(RuntimeError), files.written_aside(tmp_path / "model.txt"):
        raise RuntimeError
    assert contents(tmp_path) == []


def test_a_reader_sees_the_old_file_until_the_block_ends(tmp_path):
    path = tmp_path / "model.txt"
    path.write_text("old")
    with files.written_aside(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_file_has_the_permissions_that_open_would_give_it(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "model.txt", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "model.txt").stat().st_mode & 0o777 == mode


def test_text_is_utf8_whatever_the_locale(tmp_path):
    files.write_text(tmp_path / "note.txt", "φ ≤ π")
    assert (tmp_path / "note.txt").read_bytes() == "φ ≤ π".encode()


# Reading


def test_the_expected_tensors_are_read_bit_by_bit(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file(good(), file)
    found = files.read_tensors(file, EXPECTED, ADVICE)
    assert found.keys() == EXPECTED.keys()
    for name, tensor in good().items():
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"W_out": None}, r"W_out is missing.*use the other"),
        ({"b_in": torch.zeros(4)}, r"b_in is not expected.*use the other"),
        (
            {"W_out": torch.ones(3, 4)},
            r"W_out is torch.float32 \[3, 4\], expected torch.float32 \[4, 3\].*use the other",
        ),
        ({"W_in": torch.zeros(24)}, r"W_in is torch.float32 \[24\], .*\[2, 3, 4\]"),
        (
            {"W_out": torch.ones(4, 3).double()},
            r"W_out is torch.float64 \[4, 3\], expected torch.float32 \[4, 3\]",
        ),
        ({"W_out": torch.full((4, 3), math.nan)}, "W_out holds NaN or infinity"),
        ({"W_in": torch.full((2, 3, 4), -math.inf)}, "W_in holds NaN or infinity"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_with_the_file(tmp_path, change, match):
    file = tmp_path / "model.safetensors"
    tensors = {name: tensor for name, tensor in {**good(), **change}.items() if tensor is not None}
    save_file(tensors, file)
    with pytest.raises(ValueError, match=match) as caught:
        files.read_tensors(file, EXPECTED, ADVICE)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    file = tmp_path / "model.safetensors"
    save_file(good(), file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"not a whole safetensors file.*use the other"):
        files.read_tensors(file, EXPECTED, ADVICE)


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_under_a_safetensors_name_is_refused_and_not_run(tmp_path):
    file, target = tmp_path / "model.safetensors", tmp_path / "executed"
    file.write_bytes(pickle.dumps(Trap(target)))
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        files.read_tensors(file, EXPECTED, ADVICE)
    assert not target.exists()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("under", [None, "model"])
def test_a_whole_module_is_told_to_be_saved_as_tensors(tmp_path, old, under):
    module, file = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU()), tmp_path / "net.pt"
    held = module if under is None else {under: module, "epoch": 3}
    torch.save(held, file, _use_new_zipfile_serialization=not old)
    words = r"run code, which is refused .*; use the other checkpoint.*torch.save\(model.state_dict\(\), "
    with pytest.raises(ValueError, match=words):
        files.read_torch_tensors(file, ADVICE)
    # What it says to do is right.
    torch.save(module.state_dict(), file)
    found = files.read_torch_tensors(file, ADVICE)
    assert torch.equal(found["0.weight"], module[0].weight.detach())


def test_a_damaged_file_is_not_told_so(tmp_path):
    torch.save(good(), tmp_path / "net.pt")
    (tmp_path / "net.pt").write_bytes((tmp_path / "net.pt").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"use the other checkpoint$"):
        files.read_torch_tensors(tmp_path / "net.pt", ADVICE)


@pytest.mark.parametrize(
    "entry",
    ["1_0", "nan", "inf", "-Infinity", "0x1p3", "1e", "e3", ".", "+-1", "1 0", "\u0661", "", "--1"],
)
def test_matrices_hold_plain_decimal_numbers_only(tmp_path, entry):
    (tmp_path / "W.csv").write_text(f"1,2\n3,{entry}\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=rf"W.csv, line 2: {re.escape(repr(entry))} is no plain dec"
    ):
        files.read_matrix(tmp_path / "W.csv", ADVICE)


@given(row=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_matrices_of_any_finite_numbers_come_back(tmp_path_factory, row):
    file = tmp_path_factory.mktemp("matrix") / "W.csv"
    shown = (repr, "{:.18e}".format, " {:+.17g}\t".format, "{:.17E}".format)
    file.write_text("\n".join(",".join(map(show, row)) for show in shown))
    expected = torch.tensor([row] * len(shown), dtype=torch.float64)
    assert torch.equal(files.read_matrix(file, ADVICE), expected)
    file.write_text("1.,.5,+7,-.25e+1\n")
    assert files.read_matrix(file, ADVICE).tolist() == [[1.0, 0.5, 7.0, -2.5]]


def test_a_file_that_is_not_there_is_named_with_the_advice(tmp_path):
    file = tmp_path / "absent.safetensors"
    with pytest.raises(
        FileNotFoundError, match=r"absent.safetensors does not exist; use the other"
    ):
        files.read_tensors(file, EXPECTED, ADVICE)
