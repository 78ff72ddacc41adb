"""Files on disk: bitwise round trips, and files that are refused by name."""

import json
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from grok_interp import pretrained
from grok_interp.config import HookedMLPConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

P, D = 7, 5
W_IN, W_OUT = "blocks.0.mlp.W_in", "blocks.0.mlp.W_out"
TASK = ModularTask(P)


@pytest.fixture
def model() -> HookedMLP:
    return HookedMLP(p=P, d_mlp=D, bias_in=True, seed=4)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"bias_in": True, "bias_out": True, "act_fn": "gelu"},
        {"tied_operands": True, "act_fn": "quadratic", "output_scale": 0.125},
        {"dtype": "float64", "seed": 11},
    ],
    ids=str,
)
def test_round_trip(tmp_path: Path, fields: dict) -> None:
    model = HookedMLP(HookedMLPConfig(p=P, d_mlp=D, **fields))
    with torch.no_grad():
        model.W_in.mul_(1.5)  # no longer what the seed gives
    model.save_pretrained(tmp_path / "run")
    loaded = HookedMLP.from_pretrained(tmp_path / "run")
    assert loaded.cfg == model.cfg
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert torch.equal(loaded(TASK.tokens), model(TASK.tokens))


def test_imported_weights_keep_that_they_have_no_seed(tmp_path: Path, model: HookedMLP) -> None:
    imported = HookedMLP.from_weights(model.W_in.detach(), model.W_out.detach())
    imported.save_pretrained(str(tmp_path / "run"))
    assert HookedMLP.from_pretrained(str(tmp_path / "run")).cfg.seed is None


def test_what_is_written(tmp_path: Path, model: HookedMLP) -> None:
    model.save_pretrained(tmp_path / "run")
    files = contents(tmp_path / "run")
    assert set(files) == {"model.safetensors", "config.json", "README.md"}
    for content in files.values():
        assert not content.startswith((b"\x80", b"PK")), "a pickle or a zip of one"
    tensors = load_file(tmp_path / "run" / "model.safetensors")
    assert set(tensors) == {W_IN, W_OUT, "blocks.0.mlp.b_in"}
    assert torch.equal(tensors[W_IN], model.W_in)
    config = json.loads(files["config.json"])
    assert HookedMLPConfig(**config) == model.cfg
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "temporary files stay behind"


def missing(tensors: dict[str, Tensor]) -> None:
    del tensors[W_OUT]


def extra(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.0.mlp.b_out"] = torch.zeros(P)


def misshapen(tensors: dict[str, Tensor]) -> None:
    tensors[W_OUT] = tensors[W_OUT].T.contiguous()


def other_dtype(tensors: dict[str, Tensor]) -> None:
    tensors[W_IN] = tensors[W_IN].half()


def not_a_number(tensors: dict[str, Tensor]) -> None:
    tensors[W_IN][1, 2, 3] = float("nan")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (missing, r"tensor blocks\.0\.mlp\.W_out is missing"),
        (extra, r"tensor blocks\.0\.mlp\.b_out is not expected"),
        (misshapen, r"W_out is torch.float32 \[7, 5\], expected torch.float32 \[5, 7\]"),
        (other_dtype, r"W_in is torch.float16 \[2, 7, 5\], expected torch.float32"),
        (not_a_number, r"tensor blocks\.0\.mlp\.W_in holds NaN"),
    ],
)
def test_damaged_tensors_are_refused_by_name(
    tmp_path: Path, model: HookedMLP, damage, words: str
) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    damage(tensors)
    save_file(tensors, file)
    with pytest.raises(ValueError, match=f"model.safetensors: .*{words}"):
        HookedMLP.from_pretrained(tmp_path)


def test_damaged_files_are_refused(tmp_path: Path, model: HookedMLP) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for broken in (whole[:-7], whole[:4], b""):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"model\.safetensors is not a whole safetensors file"):
            HookedMLP.from_pretrained(tmp_path)
    file.unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors does not exist"):
        HookedMLP.from_pretrained(tmp_path)


def test_the_config_is_needed_and_checked(tmp_path: Path, model: HookedMLP) -> None:
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"d_model": 8}))
    with pytest.raises(ValueError, match="d_model"):
        HookedMLP.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"p": 2}))
    with pytest.raises(ValueError, match="p=2 is too small"):
        HookedMLP.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config\.json"):
        HookedMLP.from_pretrained(tmp_path)


def test_loading_takes_no_choices(tmp_path: Path, model: HookedMLP) -> None:
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="strict=False"):
        HookedMLP.from_pretrained(tmp_path, strict=False)
    for choice in ({"d_mlp": 9}, {"act_fn": "gelu"}, {"hidden": 3}):
        name = next(iter(choice))
        with pytest.raises(ValueError, match=f"{name}=.*the saved config decides"):
            HookedMLP.from_pretrained(tmp_path, **choice)


@pytest.mark.parametrize("act_fn", [torch.tanh, torch.nn.Tanh()])
def test_a_callable_cannot_be_saved(tmp_path: Path, model: HookedMLP, act_fn) -> None:
    custom = HookedMLP.from_weights(model.W_in.detach(), model.W_out.detach(), act_fn=act_fn)
    with pytest.raises(ValueError, match=r"act_fn='custom' stands for a callable.*'relu'"):
        custom.save_pretrained(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_saving_again_keeps_the_readme_and_other_files(tmp_path: Path, model: HookedMLP) -> None:
    HookedMLP(p=P, d_mlp=3).save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("my notes")
    (tmp_path / "split.json").write_text("{}")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my notes"
    assert (tmp_path / "split.json").read_text() == "{}"
    assert torch.equal(HookedMLP.from_pretrained(tmp_path).W_in, model.W_in)


@pytest.mark.parametrize("step", ["save_file", "asdict"])
def test_a_failed_save_leaves_the_old_files(
    tmp_path: Path, model: HookedMLP, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    model.save_pretrained(tmp_path / "run")
    before = contents(tmp_path / "run")

    def full_disk(*args, **kwargs):
        if step == "save_file":
            args[1].write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(pretrained, step, full_disk)
    with pytest.raises(OSError, match="no space left"):
        HookedMLP(p=P, d_mlp=9).save_pretrained(tmp_path / "run")
    assert contents(tmp_path / "run") == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


class FakeHub:
    """Stands for the hub: keeps what would have been uploaded."""

    uploads: ClassVar[list[tuple[str, dict[str, bytes]]]] = []

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def create_repo(self, repo_id: str, **kwargs):
        return huggingface_hub.RepoUrl(f"https://huggingface.co/someone/{repo_id.split('/')[-1]}")

    def upload_folder(self, *, repo_id: str, folder_path: Path, **kwargs) -> str:
        self.uploads.append((repo_id, contents(Path(folder_path))))
        return f"https://huggingface.co/{repo_id}/commit/main"


@pytest.mark.parametrize("route", ["push_to_hub", "save_pretrained"])
def test_pushing_uploads_the_model_and_no_pickle(
    tmp_path: Path, model: HookedMLP, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", FakeHub)
    monkeypatch.setattr(FakeHub, "uploads", [])
    if route == "push_to_hub":
        url = model.push_to_hub("someone/modular")
    else:
        url = model.save_pretrained(tmp_path / "modular", push_to_hub=True)
    assert url == "https://huggingface.co/someone/modular/commit/main"
    ((repo_id, files),) = FakeHub.uploads
    assert repo_id == "someone/modular"
    assert set(files) == {"model.safetensors", "config.json", "README.md"}
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir()
    for name, content in files.items():
        (downloaded / name).write_bytes(content)
    loaded = HookedMLP.from_pretrained(downloaded)
    assert loaded.cfg == model.cfg
    assert torch.equal(loaded(TASK.tokens), model(TASK.tokens))


def test_loading_from_the_hub_asks_for_safetensors_only(
    tmp_path: Path, model: HookedMLP, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path)
    asked: list[str] = []

    def download(repo_id: str, filename: str, **kwargs) -> str:
        asked.append(filename)
        return str(tmp_path / filename)

    monkeypatch.setattr(pretrained, "hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    loaded = HookedMLP.from_pretrained("someone/modular")
    assert torch.equal(loaded.W_in, model.W_in)
    assert set(asked) == {"config.json", "model.safetensors"}


def test_a_config_with_a_key_missing_or_damaged_is_refused(tmp_path) -> None:
    HookedMLP(p=7, d_mlp=5, act_fn="quadratic", output_scale=0.5).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    whole = file.read_text()
    file.write_text(json.dumps({k: v for k, v in json.loads(whole).items() if k != "act_fn"}))
    with pytest.raises(ValueError, match="keys 'act_fn' of HookedMLPConfig are missing"):
        HookedMLP.from_pretrained(tmp_path)
    file.write_text(whole[:20])
    with pytest.raises(ValueError, match=r"config\.json is not whole JSON"):
        HookedMLP.from_pretrained(tmp_path)


def test_a_path_that_is_no_folder_is_said_to_be_none(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is no folder.*save_pretrained"):
        HookedMLP.from_pretrained(tmp_path / "absent")
