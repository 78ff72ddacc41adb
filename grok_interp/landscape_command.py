"""What ``grok-interp landscape`` does: a problem by name, its landscape, and what came of it."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from grok_interp import figures, files, landscape, realdata, report, runs
from grok_interp.config import ALPHAS, HookedMLPConfig, LandscapeRun, TaskConfig
from grok_interp.figures.style import SERIES
from grok_interp.problems import ModularProblem, Problem, teacher_student

ONLY_FOR = {
    "source": ("images", "language", "molecules"),
    "path": ("images", "language", "molecules"),
    "download": ("images", "language", "molecules"),
    "mixing": ("images",),
    "p": ("modular",),
    "d_mlp": ("modular",),
    "operation": ("modular",),
    "label_noise": ("modular",),
    "draws": ("modular",),
}
"""Settings that only some problems have."""
MODULAR_ALPHAS = (0.25, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 40.0)
"""Where the landscape of a HookedMLP bends; its usual weights lie far to the left of the U's minimum."""
NUMBERS_MEAN = (
    "Loss against alpha, the factor on all initial weights, at which the weight norm is held. "
    "The test loss of a U is least at w_c; a right arm that is there at a fixed learning rate only may come "
    "from steps that turn large weights too little, so both rules stand side by side."
)
TIMES_MEAN = (
    "Free training from weights alpha times the usual. Censored: not by the last step, which then stands "
    "for the time. Ratios are how fast the norm shrank, over lr * wd, until the network had memorised "
    "(ratio_memorising) and from then until it generalised."
)
FREE_MEANS = "Free training from weights alpha times the usual; the weight norm is not held."
LATENT_MEAN = (
    "Idealised accuracy beside its excess over frozen_input, random input weights of the same norm with a "
    "read-out fitted to the same labels. Only the excess speaks of learned input weights."
)


def run(name: str, settings: LandscapeRun) -> landscape.Curves:
    """Train networks of many norms; write and print what came of it.

    Writes ``landscape.parquet`` (a row a network), ``curves.parquet`` (a row an evaluation),
    ``numbers.parquet`` where the norm is held or ``times.parquet`` where it is free, ``latent.parquet`` of
    a modular task, and ``landscape.html``. Finished cells are in ``curves/`` and ``latent/``, and are not
    trained again.

    Args:
        name: One of ``ProblemName``: ``"modular"``, ``"teacher_student"``, ``"images"``, ``"language"`` or
            ``"molecules"``.
        settings: Which networks, how they are trained, and where to.

    Returns:
        What training came to.

    Raises:
        ValueError: If a setting is for another problem, or out of range.
        FileExistsError: If the directory holds another landscape.
        KeyboardInterrupt: As it came, after saying how much is kept.
    """
    what = problem(name, settings)
    how = settings.training(what.train)
    usual = MODULAR_ALPHAS if isinstance(what, ModularProblem) else ALPHAS
    config = settings.networks(how, usual)
    if how.constraint != "none" and len(config.alphas) < 3:
        raise ValueError(
            f"{len(config.alphas)} alphas make no landscape: give at least three, or --constraint none for "
            "free training"
        )
    if how.constraint != "none" and len(config.weight_decays) > 1:
        raise ValueError(
            f"weight_decays={config.weight_decays!r}: where the norm is held give one at most; several are "
            "for --constraint none"
        )
    if how.constraint != "none" and settings.levels != LandscapeRun.levels:
        raise ValueError(
            f"levels={settings.levels!r} are those of free training: leave them out, or add --constraint none"
        )
    if isinstance(what, Problem):
        print(what.about)
    try:
        landscape.train(what, config, out=settings.out)
    except KeyboardInterrupt:
        kept = len(list((settings.out / "curves").glob("*.parquet")))
        print(f"\n{kept} parts are finished; giving the same command again goes on after them")
        raise
    found = landscape.read(settings.out)
    last = landscape.last_and_best(found.table)
    tables = {"curves": found.table, "landscape": last}
    if found.latent is not None:
        tables["latent"] = found.latent
    if how.constraint != "none":
        tables["numbers"] = pd.concat(
            [landscape.numbers(last, which).assign(which=which) for which in ("last", "best")],
            ignore_index=True,
        )
        told = told_numbers(tables["numbers"])
    elif found.table["test_accuracy"].isna().all():
        told = "a regression without tolerance: no answer counts as right, so nothing happens at a step"
    else:
        tables["times"] = _times(found.table, settings.levels)
        told = f"{TIMES_MEAN}\n\n" + tables["times"].to_string(
            index=False, float_format=lambda x: f"{x:.4g}"
        )
        if len(set(tables["times"]["weight_decay"])) > 1:
            told += f"\n\n{_laws(tables['times'])}"
    print(f"\n{told}")
    for kind, table in tables.items():
        with files.written_aside(settings.out / f"{kind}.parquet") as temporary:
            table.to_parquet(temporary)
    versions = ", ".join(f"{package} {version}" for package, version in runs.versions().items())
    page = report.of_sections(
        f"Landscape: {what.name}",
        "" if isinstance(what, ModularProblem) else what.about,
        _sections(what, tables, told),
        f"{' '.join(['grok-interp', *sys.argv[1:]])}; {versions}",
    )
    files.write_text(settings.out / "landscape.html", page)
    print(
        f"\nwrote {', '.join(f'{kind}.parquet' for kind in tables)}, landscape.html in {settings.out}"
    )
    return found


def problem(name: str, settings: LandscapeRun) -> Problem | ModularProblem:
    """The problem of a name, as the settings say.

    Args:
        name: As for :func:`run`.
        settings: Those of the command; what is not given is the problem's own way.

    Returns:
        The problem.

    Raises:
        ValueError: If a setting is for another problem.
    """
    unset = LandscapeRun()
    for setting, owners in ONLY_FOR.items():
        value = getattr(settings, setting)
        if value != getattr(unset, setting) and name not in owners:
            raise ValueError(
                f"{setting}={value!r} is for {' and '.join(owners)}, not for {name}: leave it out"
            )
    if name == "modular":
        task = TaskConfig(
            TaskConfig.p if settings.p is None else settings.p,
            TaskConfig.operation if settings.operation is None else settings.operation,
        )
        width = ModularProblem().model.d_mlp if settings.d_mlp is None else settings.d_mlp
        model = HookedMLPConfig(p=task.p, d_mlp=width)
        return ModularProblem(task, model, label_noise=settings.label_noise or 0.0)
    if name == "teacher_student":
        return teacher_student()
    where: dict[str, Any] = {"path": settings.path, "download": settings.download}
    if settings.source is not None:
        where["source"] = settings.source
    if name == "images":
        return realdata.images(mixing=1.0 if settings.mixing is None else settings.mixing, **where)
    return (realdata.language if name == "language" else realdata.molecules)(**where)


def told_numbers(numbers: pd.DataFrame) -> str:
    """The numbers of a landscape as text, of the last losses and of the best, with what each is."""
    lines = []
    for (size, rule, which), group in numbers.groupby(["size", "lr_rule", "which"], sort=False):
        lines.append(
            f"{size} training examples, lr {rule}, {which} losses: value, 95% interval over seeds, seeds"
        )
        for row in group.to_dict("records"):
            known = not math.isnan(row["value"])
            value = f"{row['value']:.4g}" if known else "none"
            interval = "" if math.isnan(row["low"]) else f"{row['low']:.4g} to {row['high']:.4g}"
            what = landscape.DEFINITIONS[row["number"]]
            lines.append(
                f"  {row['number']:<14} {value:<10} {interval:<22} {row['seeds']:<3} {what}"
            )
    return "\n".join(lines)


def _times(table: pd.DataFrame, levels: tuple[float, float]) -> pd.DataFrame:
    """When each network memorised and generalised, and how fast its norm shrank."""
    times = landscape.times(table, *levels)
    decay = landscape.norm_decay(table, times)
    ratios = ["ratio_memorising", "ratio_generalising"]
    return times.join(decay[ratios])


def _of_free_runs(
    what: Problem | ModularProblem, tables: dict[str, pd.DataFrame]
) -> list[go.Figure]:
    """Learning curves with the norm, of the first network of up to three alphas, and times by decay."""
    curves = tables["curves"]
    first = curves.iloc[0]
    same = _like(curves, first, "seed", "size", "lr_rule", "weight_decay")
    alphas = curves["alpha"].unique()
    chosen = alphas[np.linspace(0, len(alphas) - 1, min(3, len(alphas))).round().astype(int)]
    title = f"{what.name}: set free, {first['size']} training examples, seed {first['seed']}"
    title += f", weight decay {first['weight_decay']:g}"
    drawn = [figures.norm_dynamics(curves[same & curves["alpha"].isin(chosen)], title)]
    if "times" in tables:
        times = tables["times"]
        times = times[_like(times, first, "size", "lr_rule") & (times["weight_decay"] > 0)]
        times = times[(times["t_train"] > 0) & (times["t_generalise"] > 0)]
        times = times[times["alpha"].isin(alphas[: len(SERIES)])]
        if len(set(times["weight_decay"])) > 1:
            drawn.append(figures.generalisation_times(times, f"{what.name}: times by decay"))
    return drawn


def _like(frame: pd.DataFrame, row: pd.Series[Any], *columns: str) -> np.ndarray:
    """Rows that agree with one in some columns."""
    agree: np.ndarray = (frame[list(columns)] == row[list(columns)]).all(axis=1).to_numpy()
    return agree


def _laws(times: pd.DataFrame) -> str:
    """The law of each alpha, size and rule, or why there is none."""
    lines = ["t_generalise as a power of x = 1 / (lr * weight decay), by alpha:"]
    with_decay = times[(times["weight_decay"] > 0) & (times["t_generalise"] > 0)]
    for (alpha, size, rule), mine in with_decay.groupby(["alpha", "size", "lr_rule"]):
        try:
            law = str(landscape.generalisation_law(mine))
        except ValueError as error:
            law = f"none: {error}"
        lines.append(f"  alpha {alpha:g}, {size} training examples, lr {rule}: {law}")
    return "\n".join(lines)


def _sections(
    what: Problem | ModularProblem, tables: dict[str, pd.DataFrame], told: str
) -> list[report.Section]:
    """A section for each size, one for all sizes, and one for the latent algorithm."""
    last = tables["landscape"]
    meaning = (
        NUMBERS_MEAN if "numbers" in tables else TIMES_MEAN if "times" in tables else FREE_MEANS
    )
    rule, first = last["lr_rule"].iloc[0], last["weight_decay"].iloc[0]
    found = [
        report.Section(
            f"{size} training examples",
            meaning,
            (),
            [
                figures.lu_curves(
                    same, f"{what.name}: last values by alpha, weight decay {decay:g}"
                )
                for decay, same in rows.groupby("weight_decay")
            ],
        )
        for size, rows in last.groupby("size", sort=False)
    ]
    found.append(report.Section("Numbers", meaning, (told,), ()))
    if "numbers" not in tables:
        found.append(report.Section("Set free", meaning, (), _of_free_runs(what, tables)))
    if len(set(last["size"])) > 1:
        one_rule = last[(last["lr_rule"] == rule) & (last["weight_decay"] == first)]
        drawn = figures.data_size_map(one_rule, f"{what.name}: loss, lr {rule}", metric="loss")
        found.append(report.Section("Data size and alpha", meaning, (), [drawn]))
    if "latent" in tables:
        drawn = []
        for _, row in last.drop_duplicates(["size", "lr_rule", "weight_decay"]).iterrows():
            mine, same = (
                frame[_like(frame, row, "size", "lr_rule", "weight_decay")]
                for frame in (last, tables["latent"])
            )
            title = f"{what.name}, {row['size']} pairs: the latent algorithm, lr {row['lr_rule']}"
            drawn += [
                figures.latent_on_the_u(mine, same, title),
                figures.latent_through_training(same, f"{title}: excess through training"),
            ]
        found.append(report.Section("The latent algorithm", LATENT_MEAN, (), drawn))
    return found
