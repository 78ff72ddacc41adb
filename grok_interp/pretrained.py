"""Saving and loading models as safetensors beside a config.json, locally or on a model hub.

The hub mixin's defaults are silent about missing tensors and fall back to pickles; here a file must
hold exactly the expected tensors, and nothing but safetensors is read.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import save_file

from grok_interp import files
from grok_interp.config import HookedMLPConfig, from_dict
from grok_interp.weights import ACTIVATIONS

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


class Pretrained(PyTorchModelHubMixin):
    """``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` for a module with a ``cfg``."""

    cfg: HookedMLPConfig
    state_dict: Callable[..., dict[str, Tensor]]
    load_state_dict: Callable[..., Any]
    eval: Callable[..., Any]

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write ``model.safetensors`` and ``config.json``; each file appears whole or not at all.

        Args:
            save_directory: Created if need be.
            **kwargs: As for ``huggingface_hub.ModelHubMixin.save_pretrained``.

        Returns:
            With ``push_to_hub=True`` the address of the commit, else None.

        Raises:
            ValueError: If the activation is a callable, which no file can hold.
        """
        if self.cfg.act_fn == "custom":
            raise ValueError(
                "act_fn='custom' stands for a callable, which cannot be saved: rebuild the model with "
                f"one of {', '.join(map(repr, ACTIVATIONS))}, or save model.state_dict() yourself"
            )
        directory = Path(save_directory)
        if kwargs.get("push_to_hub"):
            kwargs.setdefault("repo_id", directory.name)
        directory.mkdir(parents=True, exist_ok=True)
        # In the folder itself, since renaming works only within one file system. Names sort so that
        # the weights, last of the files, arrive when their config is there.
        with tempfile.TemporaryDirectory(prefix=".saving.", dir=directory) as temporary:
            card = directory / "README.md"
            url: str | None = super().save_pretrained(
                temporary, **(kwargs | {"config": asdict(self.cfg)})
            )
            for file in sorted(Path(temporary).iterdir()):
                if not (file.name == card.name and card.exists()):
                    os.replace(file, directory / file.name)
        return url

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """Load a model from a folder or a hub; strict about every tensor and config entry.

        Args:
            pretrained_model_name_or_path: Folder, or name on the hub.
            **kwargs: As for ``huggingface_hub.ModelHubMixin.from_pretrained``, and ``map_location``.

        Returns:
            The model, in evaluation mode, on ``map_location`` (the CPU unless given).

        Raises:
            FileNotFoundError: If what looks like a path is no folder.
            ValueError: Naming what is missing, unexpected, misshapen or not finite.
        """
        name = str(pretrained_model_name_or_path)
        looks_local = name.startswith((".", "~", os.sep)) or name.count("/") != 1
        if looks_local and not os.path.isdir(name):
            raise FileNotFoundError(
                f"{name} is no folder: pass one that model.save_pretrained wrote, or a hub name such as "
                "'owner/model'"
            )
        try:
            model = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{pretrained_model_name_or_path}/{CONFIG_FILE} is not whole JSON ({error}): copy or "
                "save the model again"
            ) from error
        return model

    def _save_pretrained(self, save_directory: Path) -> None:
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, save_directory / WEIGHTS_FILE, metadata={"format": "pt"})

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        config: HookedMLPConfig | dict[str, Any] | None = None,
        map_location: str = "cpu",
        strict: bool = True,
        **model_kwargs: Any,
    ) -> Pretrained:
        if not strict:
            raise ValueError(
                "strict=False is not taken: a missing tensor would stay at random values"
            )
        if config is None:
            raise ValueError(
                f"{model_id} has no {CONFIG_FILE}: save models with model.save_pretrained"
            )
        if isinstance(config, HookedMLPConfig):
            config = asdict(config)
        # The mixin hands on every entry of config.json; what differs from it came from the caller.
        # Versions before 1.0 add options of their own, which are None unless asked for.
        for name, value in model_kwargs.items():
            if value != config.get(name):
                raise ValueError(
                    f"{name}={value!r} cannot be chosen when loading: the saved config decides; "
                    "use .to() for device and dtype"
                )
        where = f"{model_id}/{CONFIG_FILE}"
        cfg = from_dict(HookedMLPConfig, config | {"device": map_location}, where, complete=True)
        if os.path.isdir(model_id):
            file = Path(model_id) / WEIGHTS_FILE
        else:
            file = Path(
                hf_hub_download(
                    model_id,
                    WEIGHTS_FILE,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        model = cls(cfg, _empty=True)
        advice = f"{CONFIG_FILE} and {WEIGHTS_FILE} must come from one model.save_pretrained"
        model.load_state_dict(files.read_tensors(file, model.state_dict(), advice), strict=True)
        model.eval()
        return model
