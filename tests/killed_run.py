"""What the child processes of test_kill.py do; a module of its own so that they can import it."""

from pathlib import Path

import torch

from grok_interp import files, training
from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask

STEPS, EVERY = 10000, 40


def go(path: Path) -> None:
    """Train in ``path`` from where it stands to the end."""
    if (path / "state.safetensors").exists():
        training.resume(path, progress=False)
        return
    split = ModularTask(23).split(0.5, label_noise=0.3, seed=3)
    config = TrainConfig(
        steps=STEPS, checkpoint_every=EVERY, eval_every=30, batch_size=100, seed=5, progress=False
    )
    training.train(HookedMLP(p=23, d_mlp=32, seed=4), split, config, out=path, overwrite=True)


def write_again_and_again(path: Path) -> None:
    """Write 8 MB to one file until killed, so that nearly every moment is within a write."""
    tensors = {"x": torch.zeros(2**21)}
    while True:
        files.write_tensors(path, tensors, {})
