"""Studies as a whole: their files, what their command writes, and the results that the site shows."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from grok_interp import figures, study, study_command, sweep
from grok_interp.config import SweepRun, TrainConfig
from grok_interp.verdict import SMALL_EXCESS

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SWEPT = [name for name in study.NAMES if name != "costs"]
MODULI = {23: 11, 31: 11, 37: 11, 41: 11, 43: 11, 47: 13, 53: 13, 59: 13, 97: 17, 113: 17}
"""Small primes in place of those of the studies, in their order."""


@pytest.mark.parametrize("name", study.NAMES)
def test_every_study_has_a_question_and_a_figure(name: str) -> None:
    found = study.load(name)
    assert found.title
    assert found.question.endswith("?")
    assert callable(getattr(figures, f"study_{name}"))
    assert bool(found.runs("small")) == bool(found.runs("full")) == (name != "costs")


@pytest.mark.parametrize("size", study.SIZES)
def test_the_headline_is_about_noisy_labels_and_twenty_seeds(size: str) -> None:
    runs = study.load("headline").runs(size)
    assert all(run.split.label_noise > 0 for run in runs)
    settings: dict[object, set[int]] = {}
    for run in runs:
        seed = run.model.seed
        assert run.split.seed == run.train.seed == seed is not None
        alike = dataclasses.replace(run.model, seed=0), dataclasses.replace(run.split, seed=0)
        settings.setdefault((alike, dataclasses.replace(run.train, seed=0)), set()).add(seed)
    assert all(len(seeds) >= 20 for seeds in settings.values())
    modes = {mode for run in runs for mode in run.measure.frequencies}
    assert modes == {"per_matrix", "input", "joint"}
    assert all(set(run.measure.replaced) == {"all", "W_in", "W_out"} for run in runs)
    assert all(run.measure.draws >= 20 for run in runs)


def test_the_phase_diagram_goes_to_ninety_percent_noise_in_both_grids() -> None:
    runs = study.load("diagram").runs("small")
    noise = {run.split.label_noise for run in runs}
    assert {0.0, 0.9} <= noise
    fractions = {run.split.train_fraction for run in runs}
    decays = {run.train.weight_decay for run in runs}
    assert min(len(fractions), len(decays)) >= 4


def test_an_unknown_study_or_size_is_named() -> None:
    with pytest.raises(ValueError, match="study='nothing' is unknown: choose one of 'headline'"):
        study.load("nothing")
    with pytest.raises(ValueError, match="size='huge' is unknown"):
        study.load("headline").runs("huge")
    with pytest.raises(FileNotFoundError, match="grok-interp study NAME --out OUT"):
        study.read("/nowhere")


# The results on the site -------------------------------------------------------------------------


@pytest.mark.parametrize("name", study.NAMES)
def test_the_site_says_what_its_tables_say(name: str) -> None:
    folder = RESULTS / name
    result = study.read(folder)
    assert (folder / "words.txt").read_text(encoding="utf-8") == result.words + "\n"
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    assert about["study"] == name
    assert about["size"] == "small"
    assert about.get("failed", 0) == 0
    assert {file.stem for file in folder.glob("*.csv")} == set(result.tables)
    if name != "costs":  # all of these runs are those of the settings in the package
        assert about["runs"] == about["trained"] == len(study.load(name).runs("small"))
    assert isinstance(getattr(figures, f"study_{name}")(result.tables), go.Figure)


def test_all_small_settings_take_less_than_an_hour_on_two_cores() -> None:
    abouts = [json.loads((RESULTS / name / "about.json").read_text()) for name in study.NAMES]
    assert {(each["cores"], each["executor"]) for each in abouts} == {(2, "processes:2")}
    seconds = sum(each["seconds"] for each in abouts)
    assert seconds < 3600
    readme = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    said = re.search(r"All eight take (\d+) minutes on two cores", readme)
    assert said is not None
    assert int(said[1]) == round(seconds / 60)


def committed(name: str, table: str, **where: Any) -> pd.DataFrame:
    """Rows of a committed table."""
    rows = study.read_table(RESULTS / name / f"{table}.csv")
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def mean(name: str, table: str, **where: Any) -> float:
    (value,) = committed(name, table, **where)["mean"]
    return float(value)


def short(value: float) -> str:
    """As the page writes numbers: .996, 1.000."""
    return f"{value:.3f}".removeprefix("0")


def test_in_short_says_what_the_tables_say() -> None:
    page = (RESULTS.parent / "study.md").read_text(encoding="utf-8")
    said = " ".join(page[page.index("## In short") : page.index("```{code-cell}")].split())
    standard = {"replaced": "all", "input_waveform": "square", "output_waveform": "cosine"}

    def idealised(mode: str, measure: str, pairs: str = "all", **more: str) -> str:
        where = standard | more | {"frequency": mode, "measure": measure, "pairs": pairs}
        return short(mean("headline", "idealised", **where))

    def part(mode: str, start: str) -> str:
        rows = committed("headline", "decomposition", frequency=mode, pairs="all")
        (value,) = rows[rows["part"].str.startswith(start)]["mean"]
        return short(value)

    def end(axis: str, at: float, what: str) -> tuple[float, float]:
        (row,) = committed("diagram", "ends", axis=axis, value=at, what=what).to_dict("records")
        return row["last"], row["gone"]

    def variant(name: str) -> str:
        where = {"frequency": "joint", "pairs": "all", "measure": "frozen_input"}
        return short(mean("generality", "generality", variant=name, **where))

    alone = {"replaced": "W_in", "output_waveform": "own"}
    expected = [
        f"networks score {idealised('joint', 'trained')}, and so do random input weights with a "
        f"read-out fitted to the same labels, {idealised('joint', 'frozen_input')}.",
        f"{part('joint', 'idealised untrained')} is what idealised untrained weights get",
        f"{part('joint', 'fitted read-out together')} comes from the fitted read-out together",
        f"{part('joint', 'training of W_in and W_out')} is due to training",
        f"the same networks score {idealised('per_matrix', 'trained')} and the control "
        f"{idealised('per_matrix', 'frozen_input')};",
        f"trained input weights are worth {part('per_matrix', 'training of W_in, a read-out fitted')} there",
        f"they get {idealised('joint', 'trained', 'held out', **alone)} of the held-out pairs right, "
        f"{idealised('joint', 'excess', 'held out', **alone)} more than the control",
        f"quadratic features reach {variant('quadratic')}, those of GELU {variant('gelu')}",
    ]
    for sentence in expected:
        assert sentence in said

    # What it says without decimals, or of several numbers.
    assert [end("train_fraction", at, "excess_per_matrix") for at in (0.3, 0.75, 0.9)] == [
        (0.0, 0.3),
        (0.5, 0.7),
        (0.5, 0.7),
    ]
    lines = [("train_fraction", at) for at in (0.3, 0.45, 0.6, 0.75, 0.9)]
    lines += [("weight_decay", at) for at in (0.0, 0.3, 1.0, 3.0)]
    ends = [end(*line, "excess_joint") for line in lines]
    assert sorted(ends) == [(0.7, 0.9)] * 7 + [(0.7, 1.0)] * 2
    assert math.isnan(end("weight_decay", 10, "excess_joint")[0])
    assert (committed("diagram", "ends", what="phase_excess")["last"] == 0.9).all()
    assert committed("diagram", "ends")["null"].dropna().abs().max() < SMALL_EXCESS

    (before,) = committed(
        "onset", "order", label_noise=0, event="excess_per_matrix > 0.1", against="grokked"
    ).to_dict("records")
    assert before["n"] == before["first"] == 84
    assert before["lead_least"] > 200
    noisy = committed("onset", "grokked", label_noise=0.3)
    assert (noisy["n"].sum(), noisy["grokked"].sum()) == (40, 0)
    assert noisy["clean"].equals(noisy["clean_grokked"])

    shapes = committed("waves", "fits", matrix="W_in", measure="shape")
    square = shapes[shapes["low"] > 0]
    assert (len(shapes), len(square)) == (14, 1)
    (found,) = square[["loss", "optimizer", "weight_decay"]].itertuples(index=False, name=None)
    assert found == ("cross_entropy", "adamw", 3.0)
    apart = committed("waves", "care", label_noise=0)["mean"].abs().max()
    assert f"two input waves differ by {short(apart)} at most" in said

    last = {"predictor": "aligned", "steps": 4000, "weight_decay": 1, "kind": "clean"}
    share, chance = (
        mean("lottery", "lottery", measure=name, **last) for name in ("share", "chance")
    )
    above = committed("lottery", "against_controls", control="W_in frozen", **last)["mean"].item()
    assert f"for {share:.0%} of the neurons of clean networks (by chance {chance:.0%})" in said
    assert f"{100 * above:.0f} points more than where W_in is frozen" in said
    noisy = committed(
        "lottery", "against_controls", control="W_in frozen", **last | {"kind": "noisy"}
    )
    assert noisy["low"].item() < 0 < noisy["high"].item()

    excess = committed("generality", "generality", frequency="per_matrix", measure="excess")
    assert (excess["low"] > SMALL_EXCESS).all()
    widest = mean("breaks", "selection", p=113, d_mlp=1024, measure="frozen_input")
    assert f"to {short(widest)} at p = 113 with 1,024 neurons" in said
    (above,) = committed(
        "breaks", "trend", cells="all", network="untrained", measure="above_chance"
    ).to_dict("records")
    assert above["low"] < 0 < above["high"]


# The command --------------------------------------------------------------------------------------


def shrunk(run: SweepRun) -> SweepRun:
    """The same run on a smaller modulus, with few neurons, steps and draws."""
    p = MODULI[run.task.p]
    train: TrainConfig = dataclasses.replace(
        run.train,
        steps=min(run.train.steps, 40),
        eval_every=10,
        checkpoint_every=10,
        checkpoint_steps=None,
    )
    return SweepRun(
        dataclasses.replace(run.task, p=p),
        run.split,
        dataclasses.replace(run.model, p=p, d_mlp=max(8, run.model.d_mlp // 16)),
        train,
        dataclasses.replace(run.measure, draws=2),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEPT)
def test_a_study_writes_tables_words_and_a_page(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def runs(self: study.Study, size: str = "small") -> list[SweepRun]:
        full = [run for sweep in self.sweeps[size] for run in sweep.expanded]
        small = [shrunk(run) for run in full if (run.model.seed or 0) < 3]
        return list({run.name: run for run in small}.values())

    monkeypatch.setattr(study.Study, "runs", runs)
    status = study_command.run([name], tmp_path, "small", "local", ["grok-interp", "study", name])
    assert status == 0, sweep.read(tmp_path / name, failed=True)["reason"].tolist()
    folder = tmp_path / name
    result = study.read(folder)
    assert (folder / "words.txt").read_text(encoding="utf-8") == result.words + "\n"
    printed = capsys.readouterr().out
    assert result.words in printed
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert study.load(name).question.split("'")[0][:40] in page
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    assert about["runs"] == about["trained"] > 0
    # Given again it trains nothing, and comes to the same.
    before = {file.name: file.read_bytes() for file in folder.glob("*.csv")}
    assert study_command.run([name], tmp_path, "small", "local", ["again"]) == 0
    assert {file.name: file.read_bytes() for file in folder.glob("*.csv")} == before
    again = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    assert again["trained"] == about["trained"]
    assert again["seconds"] > about["seconds"]


def test_a_study_without_an_answer_keeps_none_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def run_one(what: study.Study, *_: object) -> int:
        asked.append(what.name)
        if what.name == "onset":
            raise ValueError("the study has 0 finished runs")
        return 0

    monkeypatch.setattr(study_command, "_run_one", run_one)
    names = ["diagram", "onset", "waves"]
    assert study_command.run(names, tmp_path, "small", "local", ["grok-interp"]) == 1
    assert asked == names
    assert "onset: the study has 0 finished runs" in capsys.readouterr().err
    with pytest.raises(ValueError, match="executor='slurm' is unknown"):
        study_command.run(names, tmp_path, "small", "slurm", ["grok-interp"])


def test_seconds_of_earlier_calls_count_only_while_their_runs_are_there(tmp_path: Path) -> None:
    about = {"size": "small", "trained": 3, "seconds": 10.0}
    (tmp_path / "about.json").write_text(json.dumps(about))
    here = {"trained": 2, "runs": 5}
    assert study_command._before(tmp_path, "small", here) == about
    assert study_command._before(tmp_path, "small", here | {"runs": 2}) == {}  # runs/ was removed
    assert study_command._before(tmp_path, "full", here) == {}
