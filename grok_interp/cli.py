"""The command line. Its help needs neither torch nor transformer_lens, which a command imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from grok_interp.config import (
    EXISTS,
    DemoConfig,
    FormatName,
    LandscapeRun,
    NamedActivation,
    ProblemName,
    Recipe,
    RunConfig,
    StudyName,
    StudySize,
    SweepConfig,
    read_toml,
)

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
LOADING = "(loading torch and TransformerLens takes ten seconds and more)"


def main() -> None:
    """Run ``grok-interp``; an error that the library explains ends with status 2 and no traceback."""
    try:
        defaults, arguments = _from_toml(sys.argv[1:])
        _app(defaults).cli(prog="grok-interp", args=arguments)
    except (ValueError, OSError, FloatingPointError, RuntimeError, ImportError) as error:
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
    others = rest[:place] + rest[place + 2 :]
    return read_toml(RunConfig, Path(rest[place + 1])), others + _model_follows(others)


def _model_follows(arguments: Sequence[str]) -> list[str]:
    """``--task.p`` given once more for the model, whose p has followed the file's task."""
    words = [word for each in arguments for word in each.split("=", 1)]
    if "--task.p" not in words[:-1] or "--model.p" in words:
        return []
    last = len(words) - 1 - words[::-1].index("--task.p")  # of several flags the last one counts
    return ["--model.p", words[last + 1]] if last + 1 < len(words) else []


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

        Raises:
            FileExistsError: If a run is there, and it is not to be replaced.
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
        path: tyro.conf.Positional[Path],
        recipe: Recipe = Recipe(),  # noqa: B008
        draws: int = 20,
        seed: int = 0,
        operation: str | None = None,
        format: FormatName | None = None,
        act_fn: NamedActivation | None = None,
    ) -> None:
        """Compare a network with its controls; print the verdict and write analysis.json.

        Of a run, every measure along it is written as well (analysis.parquet). Of a model without a
        run analysis.json is written beside it, as FILE.analysis.json for another project's file.

        Args:
            path: The directory of a run or of a converted model, or another project's file.
            recipe: How to idealize; verdicts are given for per_matrix and joint frequencies.
            draws: Draws of each random control.
            seed: Seed of the draws.
            operation: The task of a model without a run; addition unless given. A run knows its own.
            format: The format of another project's file, where its shapes allow two readings.
            act_fn: The activation of another project's network, which no file says; that of the format's
                paper if not given.
        """
        if not path.is_file() and not (path / "fc1.csv").is_file():
            _check_run(path, ", nor a converted model or another project's file")
        print(f"analyzing {path} {LOADING}", flush=True)
        from grok_interp import commands

        command = ["grok-interp", *sys.argv[1:]]
        commands.analyze(path, recipe, draws, seed, command, operation, format, act_fn)

    def report(
        runs: tyro.conf.Positional[tuple[Path, ...]],
        out: Path = Path("report.html"),
        recipe: Recipe = Recipe(),  # noqa: B008
        draws: int = 20,
        seed: int = 0,
    ) -> None:
        """Write one HTML file about runs, side by side, that opens from disk and can be explored.

        It says whether each network holds the algorithm, uses it, since which step, and what the controls
        allow one to conclude; a slider moves every figure through the checkpoints.

        Args:
            runs: The directories of one or more runs.
            out: The file to write, replacing what is there.
            recipe: How to idealize; the frequency mode is chosen where it matters.
            draws: Draws of each random control.
            seed: Seed of the draws.

        Raises:
            ValueError: If no run is given.
        """
        if not runs:
            raise ValueError("grok-interp report needs a run: pass the directory of one or more")
        for run in runs:
            _check_run(run)
        print(f"report on {', '.join(map(str, runs))} {LOADING}", flush=True)
        from grok_interp import commands

        commands.report_runs(runs, out, recipe, draws, seed, ["grok-interp", *sys.argv[1:]])

    def convert(
        source: tyro.conf.Positional[Path],
        out: tyro.conf.Positional[Path],
        format: FormatName | None = None,
        act_fn: NamedActivation | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write another project's network as a model of this library.

        Args:
            source: A .pt, .pth or .safetensors file, or a folder with fc1.csv and fc2.csv.
            out: Directory of the model.
            format: The file's format, where its shapes allow two readings.
            act_fn: The network's activation, which no file says; that of the format's paper if not given.
            overwrite: Replace a model that is already there.

        Raises:
            FileNotFoundError: If the source is not there.
        """
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist: pass a file or folder of weights")
        print(f"converting {source} {LOADING}", flush=True)
        from grok_interp import commands

        commands.convert_file(source, out, format, act_fn, overwrite=overwrite)

    def landscape(
        problem: tyro.conf.Positional[ProblemName],
        config: Annotated[LandscapeRun, tyro.conf.arg(name="")],
    ) -> None:
        """Loss against weight norm: networks of many alphas, each held at its norm or set free.

        Writes curves, the landscape and its numbers as Parquet, and a figure. A command that was interrupted
        goes on where it was when it is given again; more seeds or sizes join what is there.

        Args:
            problem: What is learned.
            config: Which networks, and how.
        """
        print(f"landscape of {problem} in {config.out} {LOADING}", flush=True)
        from grok_interp import landscape_command

        landscape_command.run(problem, config)

    def sweep(
        file: tyro.conf.Positional[Path],
        out: Path,
        executor: str = "local",
        retry_failed: bool = False,
    ) -> None:
        """Train and measure every run of a grid or list, on this machine or many.

        A run is known by all of its settings: what is in the directory is skipped, and a sweep that was
        interrupted goes on when it is given again. Exit status 1 says that runs failed; their reasons are
        stored.

        Args:
            file: A TOML file: the tables of a single run, [grid] with lists of values, [[runs]] with settings
                of single runs, seeds = a number, and [measure].
            out: Directory of the results, a Parquet dataset in runs/.
            executor: local, processes:N, or dask://HOST:PORT of a Dask scheduler.
            retry_failed: Run those again that failed before.

        Raises:
            SystemExit: With status 1 if runs failed.
        """
        config = read_toml(SweepConfig, file)
        print(f"sweep {file} on {executor} {LOADING}", flush=True)
        from grok_interp import sweep_command

        status = sweep_command.run(config, out, executor, retry_failed=retry_failed)
        if status:
            raise SystemExit(status)

    def study(
        name: tyro.conf.Positional[StudyName],
        out: Path = Path("out/study"),
        size: StudySize = "small",
        executor: str = "local",
    ) -> None:
        """Answer one of the questions that the library exists for, over many seeds, beside the controls.

        Writes tables (CSV), words and a page with the figure into a folder of the study's name. What is
        trained already is not trained again.

        Args:
            name: Which study, or all of them.
            out: Directory with a folder for each study.
            size: small answers on two cores in minutes, full has the sizes of the papers.
            executor: local, processes:N, or dask://HOST:PORT of a Dask scheduler.

        Raises:
            SystemExit: With status 1 if runs failed.
        """
        print(f"study {name} ({size}) in {out} on {executor} {LOADING}", flush=True)
        from grok_interp import study, study_command

        names = study.NAMES if name == "all" else (name,)
        command = ["grok-interp", *sys.argv[1:]]
        status = study_command.run(names, out, size, executor, command)
        if status:
            raise SystemExit(status)

    def demo(config: Annotated[DemoConfig, tyro.conf.arg(name="")]) -> None:
        """Train a clean and a noisy network, idealize both, and print what the controls allow to say."""
        from grok_interp import demo

        demo.run(config)

    for command in (train, resume, analyze, report, convert, landscape, sweep, study, demo):
        app.command(command)
    return app


def _check_run(run: Path, others: str = "") -> None:
    """Refuse what is no run before the imports; what is in it is looked at afterwards."""
    if not (run / "config.json").is_file():
        raise FileNotFoundError(
            f"{run} is not the directory of a run, which has a config.json{others}: pass one that "
            "grok-interp train wrote"
        )
