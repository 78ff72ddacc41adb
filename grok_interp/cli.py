"""The command line. Its help needs neither torch nor transformer_lens, which a command imports."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro

from grok_interp.config import DemoConfig


def main() -> None:
    """Run ``grok-interp``; an error that the library explains ends with status 2 and no traceback."""
    app = tyro.extras.SubcommandApp()
    app.command(name="demo")(_demo)
    try:
        app.cli(prog="grok-interp")
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"grok-interp: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def _demo(config: Annotated[DemoConfig, tyro.conf.arg(name="")]) -> None:
    """Train a clean and a noisy network, idealize both, and print what the controls allow to say."""
    from grok_interp import demo

    demo.run(config)
