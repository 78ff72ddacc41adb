"""Draw the README's picture from what ``make demo`` wrote.

Usage: python docs/picture.py out/demo docs/picture.svg

Needs the ``docs`` extra (kaleido) and an installed Chromium or Chrome, which kaleido drives.
"""

import sys
from pathlib import Path

from grok_interp import figures, hooked_mlp, neurons, tasks

SHOWN_NEURONS = 3


def main(demo: Path, picture: Path) -> None:
    """Three loudest neurons of the clean network over one period."""
    model = hooked_mlp.HookedMLP.from_pretrained(demo / "clean")
    table = neurons.extract(model, tasks.ModularTask(model.cfg.p))
    loudest = table.neuron_amplitude.argsort(descending=True)[:SHOWN_NEURONS].tolist()
    title = f"Three neurons of a network that has learned addition mod {model.cfg.p}"
    figures.neuron_waves(table, loudest, title).write_image(picture, width=1000)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
