"""The page: what is written into it, and the figures that its script redraws."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from grok_interp import dynamics, figures, measures, neurons
from grok_interp.figures.all_neurons import BETWEEN_TICKS
from grok_interp.figures.phases import RESIDUAL_BINS, SIZES
from grok_interp.findings import CONTROLLED, Findings
from grok_interp.report.payload import Blob, run_payload
from grok_interp.report.static import static
from grok_interp.report.words import ANSWERED_BY, CONTROL_TABLE, NEURON_COLUMNS, PANELS, TERMS
from grok_interp.runs import versions
from grok_interp.verdict import Sample, without_nan
from grok_interp.waveforms import EDGE, SQUARE_LEVEL

SCRIPTS = ("data.js", "panels.js", "page.js")
CONSTANTS = {
    "edge": EDGE,
    "level": SQUARE_LEVEL,
    "bins": RESIDUAL_BINS,
    "sizes": SIZES,
    "between_ticks": BETWEEN_TICKS,
    "modes": CONTROLLED,
    "always": ("untrained", "frozen_input"),
}
"""What the script has from the figures; ``always`` are the controls that do not depend on the step."""
TITLE = "The algorithm in the weights, with controls"


def to_html(runs: Mapping[str, Findings], command: str, title: str = TITLE) -> str:
    """The page as one string; all text is escaped, and plotly's script is part of it.

    Args:
        runs: What was measured, by the name of the run.
        command: What the user typed, or the code that made it; versions are added.
        title: Title of the page.

    Returns:
        HTML that loads nothing. Its size is 2 MB for plotly, and for a run ``24 d_mlp`` numbers a
        checkpoint and ``(3 p + 1.5 m) d_mlp`` for six of them, two bytes each before compression.

    Raises:
        ValueError: If there is no run.
    """
    if not runs:
        raise ValueError("a report needs at least one run: pass findings.find(trajectory) by name")
    blob = Blob()
    parts = [
        run_payload(name, found, blob) | {"figures": _drawn(found)} for name, found in runs.items()
    ]
    payload = {
        "runs": parts,
        "columns": NEURON_COLUMNS,
        "constants": CONSTANTS,
        "template": _plain(go.Figure(layout={"template": "plotly_white"}))["layout"]["template"],
    }
    return Template(static("page.html")).substitute(
        title=escape(title),
        style=static("page.css"),
        recipe=escape(_recipe(next(iter(runs.values())))),
        answers="\n".join(_answers(name, found) for name, found in runs.items()),
        panels="\n".join(_panel(key, runs) for key in PANELS),
        tables="\n".join(_tables(name, found) for name, found in runs.items()),
        terms=_definitions(TERMS),
        columns=_definitions(NEURON_COLUMNS),
        measures=_definitions(dynamics.DEFINITIONS),
        command=escape(command),
        versions=escape(", ".join(f"{name} {number}" for name, number in versions().items())),
        script="".join(map(static, SCRIPTS)),
        plotly=_packed(get_plotlyjs().encode()),
        payload=_packed(json.dumps(without_nan(payload), allow_nan=False).encode()),
        blob=_packed(bytes(blob.data)),
    )


def _drawn(found: Findings) -> dict[str, Any]:
    """Each panel's figure at the last checkpoint, and a neuron's card, as plotly's JSON."""
    trajectory = found.trajectory
    task = trajectory.split.task
    last = trajectory.weights(trajectory.steps[-1:])[0]
    table = neurons.extract(last, task)
    others = {
        "untrained": trajectory.weights(trajectory.steps[:1])[0],
        "frozen_input": dynamics.frozen_input(trajectory, draws=1)[0],
    }
    frozen: dict[str, Sample] = {
        mode: found.verdicts[mode].controls["frozen_input"] for mode in CONTROLLED
    }
    ideal: dict[str, pd.Series[Any]] = {
        mode: found.table[f"idealised_{mode}"] for mode in CONTROLLED
    }

    def read(mode: str) -> dict[str, neurons.NeuronTable]:
        known = {"own": last} | others
        return {name: neurons.extract(weights, task, mode) for name, weights in known.items()}

    loudest = int(table.neuron_amplitude.nan_to_num().argmax())
    drawn = {
        "learning": figures.learning_curves(
            trajectory.metrics, ideal, frozen, measures.chance(task), ""
        ),
        "effect": figures.effect_beside_controls(found.verdicts, ""),
        "phase_sum": figures.phase_sum(table, ""),
        "residual": figures.residual_histogram(read("joint"), ""),
        "census": figures.frequency_census(read("per_matrix"), ""),
        "fits": figures.wave_fits(table, ""),
        "maps": _without_data(figures.weight_maps(table, "")),
        "card": _without_data(figures.neuron_card(table, loudest, "")),
    }
    return {name: _plain(figure) for name, figure in drawn.items()}


def _without_data(figure: go.Figure) -> go.Figure:
    """The figure's layout and the style of its traces; the page has the numbers already."""
    for trace in figure.data:
        empty = {name: None for name in ("x", "y", "z", "r", "theta") if name in trace}
        trace.update(empty, overwrite=True)
    return figure


def _plain(figure: go.Figure) -> dict[str, Any]:
    """Data and layout as plain values; the template that all figures share is kept once."""
    plain: dict[str, Any] = json.loads(figure.to_json(engine="json"))
    if len(figure.data):
        plain["layout"].pop("template", None)
        plain["layout"].pop("title", None)
    return plain


def _answers(name: str, found: Findings) -> str:
    split, cfg = found.trajectory.split, found.trajectory.model_config
    what = (
        f"{split.task.operation} mod {split.task.p}, {cfg.d_mlp} neurons, {cfg.act_fn}, "
        f"{split.config.train_fraction:.0%} of the pairs, {split.config.label_noise:.0%} of their labels "
        f"redrawn; step {found.trajectory.steps[-1]}, ended by: {found.trajectory.ended or 'unfinished'}"
    )
    said = "".join(
        f'<dt>{escape(question)}</dt><dd title="{escape(measured)}">{_explained(answer)}</dd>'
        for (question, answer), measured in zip(found.answers.items(), ANSWERED_BY, strict=True)
    )
    return f"<article><h3>{escape(name)}</h3><p>{escape(what)}</p><dl>{said}</dl></article>"


def _panel(key: str, runs: Mapping[str, Findings]) -> str:
    heading, caption = PANELS[key]
    plots = "".join(
        f'<figure aria-label="{escape(heading)}: {escape(name)}"><figcaption>{escape(name)}</figcaption>'
        f'<div class="plot" id="{key}-{index}"></div></figure>'
        for index, name in enumerate(runs)
    )
    return (
        f'<section><h2 id="{key}">{escape(heading)}</h2><p class="caption">{escape(caption)}</p>'
        f'<div class="runs">{plots}</div></section>'
    )


def _tables(name: str, found: Findings) -> str:
    body = "\n\n".join(
        f"{mode}, step {found.trajectory.steps[-1]}\n{verdict}"
        for mode, verdict in found.verdicts.items()
    )
    return (
        f'<h3>{escape(name)}</h3><pre tabindex="0" aria-label="Controls of {escape(name)}" '
        f'title="{escape(CONTROL_TABLE)}">'
        f"{_explained(body)}</pre>"
    )


def _definitions(meanings: Mapping[str, str]) -> str:
    return "".join(
        f"<dt><code>{escape(name)}</code></dt><dd>{escape(what)}</dd>"
        for name, what in meanings.items()
    )


def _explained(text: str) -> str:
    """Escaped text in which each term of :data:`TERMS` has its meaning under the mouse."""
    longest = sorted(TERMS, key=len, reverse=True)
    terms = re.compile(rf"\b(?:{'|'.join(map(re.escape, longest))})\b")
    return terms.sub(
        lambda found: f'<abbr title="{escape(TERMS[found[0]])}">{found[0]}</abbr>', escape(text)
    )


def _recipe(found: Findings) -> str:
    recipe = found.verdicts["joint"].recipe
    return (
        f"{recipe.input_waveform} in, {recipe.output_waveform} out, {recipe.amplitude} amplitudes, "
        f"{recipe.output_phase} output phases"
    )


def _packed(data: bytes) -> str:
    """Compressed, as text; the same bytes on every call."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
