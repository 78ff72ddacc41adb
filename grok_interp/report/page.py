"""The page: what is written into it, and the figures that its script redraws."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from grok_interp import dynamics, figures, measures, neurons
from grok_interp.findings import CONTROLLED, Findings
from grok_interp.report.payload import FIELDS, Blob, run_payload
from grok_interp.report.static import static
from grok_interp.runs import versions
from grok_interp.verdict import Sample, without_nan

PANELS = {
    "learning": (
        "Accuracy along the run",
        "Own accuracy on the labels trained on and on held-out pairs, and accuracy over all pairs with "
        "ideal weights. The bands are the range of the frozen-input control over its draws: random input "
        "weights with a read-out fitted to the same labels, idealised by the same recipe.",
    ),
    "effect": (
        "Effect beside its controls",
        "Over all pairs, at this step. The untrained and frozen-input controls are made from the weights "
        "at step 0, so they are the same at every step; the others are made from the trained weights, and "
        "were drawn at the last step only.",
    ),
    "phase_sum": (
        "Phase relation, neuron by neuron",
        "A marker a neuron, larger if louder (joint frequencies). Neurons that add lie on the line, or in "
        "the corners that it comes to on the circle. Step 0 is the untrained network. Click one to open it.",
    ),
    "residual": (
        "How far neurons are from the phase relation",
        "By amplitude, beside the untrained network and the frozen-input control, which comes near the "
        "relation without any learned wave.",
    ),
    "census": (
        "Which frequencies the neurons take",
        "Neurons in which each matrix by itself has the same frequency, beside both controls.",
    ),
    "fits": (
        "Square wave or cosine?",
        "R2 of each neuron's weights to its own square wave and cosine (joint frequencies). Above the line "
        "a neuron is closer to a square wave. Click one to open it.",
    ),
    "maps": (
        "All weights, sorted by frequency",
        "A row a neuron, about its mean and divided by its root mean square, at the stored step nearest to "
        "the slider. Sorting makes stripes in noise too: look at step 0, and whether W_b and W_out follow "
        "W_a. Click a row to open the neuron.",
    ),
}
"""Heading and caption of each panel, in the order of the page."""
NEURON_COLUMNS = {
    "neuron": "index of the neuron",
    "k": "frequency in joint mode: argmax of the product of the three normalised power spectra; 0 for none",
    "k_a": "frequency of W_a by itself (per_matrix mode)",
    "k_b": "frequency of W_b by itself",
    "k_out": "frequency of the neuron's row of W_out by itself",
    "agree": "whether the three frequencies, each by itself, are one: 1 yes, 0 no",
    "amplitude_a": "amplitude of W_a's sinusoid at k, in the units of the weights",
    "amplitude_b": "the same of W_b",
    "amplitude_out": "the same of W_out",
    "phase_a": "phase of W_a's sinusoid at k, radians in (-pi, pi]",
    "phase_b": "the same of W_b",
    "phase_out": "the same of W_out",
    "residual": "phase residual, wrap(phi_a + phi_b - phi_out) in radians (phi_a - phi_b for subtraction); "
    "empty without a frequency",
    "ipr": "inverse participation ratio, mean over the three columns: 1 for a pure sinusoid",
    "power_share_a": "share of W_a's energy about its mean at k",
    "power_share_b": "the same of W_b",
    "power_share_out": "the same of W_out",
    "r2_square_a": "R2 of W_a to its square wave at level pi/4 A; 1 is a square wave",
    "r2_square_b": "the same of W_b",
    "r2_square_out": "the same of W_out",
    "r2_cosine_a": "R2 of W_a to its cosine, to which a perfect square wave has .81",
    "r2_cosine_b": "the same of W_b",
    "r2_cosine_out": "the same of W_out",
    "dead": "1 if no input reaches the neuron or no class hears it",
}
"""What each column of the neuron table is."""


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
        "panels": list(PANELS),
        "columns": NEURON_COLUMNS,
        "fields": FIELDS,
        "template": _plain(go.Figure(layout={"template": "plotly_white"}))["layout"]["template"],
    }
    return Template(static("page.html")).substitute(
        title=escape(title),
        style=static("page.css"),
        answers="\n".join(_answers(name, found) for name, found in runs.items()),
        panels="\n".join(_panel(key, runs) for key in PANELS),
        tables="\n".join(_tables(name, found) for name, found in runs.items()),
        definitions="\n".join(
            f"<dt><code>{escape(name)}</code></dt><dd>{escape(what)}</dd>"
            for name, what in (NEURON_COLUMNS | dynamics.DEFINITIONS).items()
        ),
        command=escape(command),
        versions=escape(", ".join(f"{name} {number}" for name, number in versions().items())),
        script=static("page.js"),
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
        known = {"network": last} | others
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
        f"redrawn, step {found.trajectory.steps[-1]}"
    )
    said = "".join(
        f"<dt>{escape(question)}</dt><dd>{escape(answer)}</dd>"
        for question, answer in found.answers.items()
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
        f'<h3>{escape(name)}</h3><pre tabindex="0" aria-label="Controls of {escape(name)}">'
        f"{escape(body)}</pre>"
    )


def _packed(data: bytes) -> str:
    """Compressed, as text; the same bytes on every call."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
