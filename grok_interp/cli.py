"""The command line. Its help needs neither torch nor transformer_lens, which a command imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from grok_interp.config import EXISTS, DemoConfig, Recipe, RunConfig, read_toml

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
LOADING = "(loading torch and TransformerLens takes ten seconds and more)"


def main() -> None:
    """Run ``grok-interp``; an error that the library explains ends with status 2 and no traceback."""
    try:
        defaults, arguments = _from_toml(sys.argv[1:])
        _app(defaults).cli(prog="grok-interp", args=arguments)
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        print(f"grok-interp: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("\ngrok-interp: stopped", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def _from_toml(arguments: Sequence[str]) -> tuple[RunConfig, list[str]]:
    """The run that ``--config FILE`` describes, and the other arguments, which override it."""
    rest = [word for each in arguments for word in _parted(each)]
    if arguments[:1] != ["train"] or "--config" not in rest:
        return RunConfig(), list(arguments)
    place = rest.index("--config")
    if place + 1 == len(rest):
        raise ValueError("--config needs the path of a TOML file")
    return read_toml(RunConfig, Path(rest[place + 1])), rest[:place] + rest[place + 2 :]


def _parted(argument: str) -> list[str]:
    return argument.split("=", 1) if argument.startswith("--config=") else [argument]


def _app(defaults: RunConfig) -> tyro.extras.SubcommandApp:
    app = tyro.extras.SubcommandApp()

    def train(
        config: Annotated[RunConfig, tyro.conf.arg(name="")] = defaults, overwrite: bool = False
    ) -> None:
        """Train a network in a directory that survives interruptions.

        The same settings are read from a TOML file with --config FILE; further flags override it.

        Args:
            config: The run.
            overwrite: Replace a run that is already there.
        """
        out = config.out
        if not overwrite and (out / "state.safetensors").exists():
            raise FileExistsError(EXISTS.format(path=out))
        print(
            f"training {config.task.operation} mod {config.task.p} with {config.model.d_mlp} neurons, "
            f"{config.train.steps} steps, in {out} {LOADING}",
            flush=True,
        )
        from grok_interp import commands

        commands.train(config, overwrite=overwrite)

    def resume(run: tyro.conf.Positional[Path]) -> None:
        """Go on with a run that was interrupted, from its last checkpoint.

        Args:
            run: The run's directory.
        """
        _check_run(run)
        print(f"resuming {run} {LOADING}", flush=True)
        from grok_interp import commands

        commands.resume(run)

    def analyze(
        run: tyro.conf.Positional[Path],
        recipe: Recipe = Recipe(),  # noqa: B008
        draws: int = 20,
        seed: int = 0,
    ) -> None:
        """Compare a run with its controls; print the verdict, write analysis.json and .parquet.

        Args:
            run: The run's directory.
            recipe: How to idealize; verdicts are given for per_matrix and joint frequencies.
            draws: Draws of each random control.
            seed: Seed of the draws.
        """
        _check_run(run)
        print(f"analyzing {run} {LOADING}", flush=True)
        from grok_interp import commands

        commands.analyze(run, recipe, draws, seed, ["grok-interp", *sys.argv[1:]])

    def demo(config: Annotated[DemoConfig, tyro.conf.arg(name="")]) -> None:
        """Train a clean and a noisy network, idealize both, and print what the controls allow to say."""
        from grok_interp import demo

        demo.run(config)

    for command in (train, resume, analyze, demo):
        app.command(command)
    return app


def _check_run(run: Path) -> None:
    """Refuse what is no run before the imports; what is in it is looked at afterwards."""
    if not (run / "config.json").is_file():
        raise FileNotFoundError(
            f"{run} is not the directory of a run, which has a config.json: pass one that grok-interp "
            "train wrote"
        )
