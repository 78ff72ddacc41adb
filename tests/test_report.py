"""The report without a browser: what is packed comes back, what is said is true, what is typed is escaped."""

import base64
import gzip
import html as html_module
import json
import re
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grok_interp import dynamics, findings, fourier, neurons, report, training
from grok_interp.dynamics import Onset
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.report import payload, words
from grok_interp.tasks import ModularTask

EVIL = '<img src=x onerror="alert(1)">&amp;'
MEGABYTES = 8
"""The most that 60 checkpoints of p=113, d_mlp=512 may take."""


@pytest.fixture(scope="module")
def found() -> findings.Findings:
    split = ModularTask(11).split(0.6, label_noise=0.2, seed=0)
    model = HookedMLP(p=11, d_mlp=20, seed=3)
    run = training.train(model, split, steps=40, checkpoint_every=5, eval_every=5, progress=False)
    return findings.find(run, draws=3)


@pytest.fixture(scope="module")
def html(found: findings.Findings) -> str:
    return report.to_html({EVIL: found, "second": found}, f"grok-interp report {EVIL}")


def unpacked(data: bytes, header: dict) -> np.ndarray:
    """An array as the page reads it."""
    bits, count = header["bits"], int(np.prod(header["shape"]))
    codes = np.frombuffer(data, f"<u{bits // 8}", count, header["offset"]).astype(np.float64)
    levels, codes = 2**bits - 2, codes.reshape(header["shape"][0], -1)
    low, high = (np.array(header[name])[:, None] for name in ("low", "high"))
    values = low + codes * (high - low) / levels
    return np.where(codes > levels, np.nan, values).reshape(header["shape"])


def embedded(html: str, name: str) -> bytes:
    text = re.search(rf'<script type="text/plain" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert text is not None
    return gzip.decompress(base64.b64decode(text[1]))


@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=3, max_size=3),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([8, 16]),
)
def test_packed_floats_come_back_within_a_step(values: list[list[float]], bits: int) -> None:
    array = np.array(values)
    blob = payload.Blob()
    blob.add(np.zeros(3), 8)
    header = blob.add(array, bits)
    again = unpacked(bytes(blob.data), header)
    assert np.array_equal(np.isnan(again), np.isnan(array))
    for row, back in zip(array, again, strict=True):
        known = row[~np.isnan(row)]
        if len(known):
            step = (known.max() - known.min()) / (2**bits - 2)
            assert np.nanmax(np.abs(back - row)) <= step / 2 + 1e-9 * np.abs(known).max()


def test_a_checkpoint_keeps_its_digits_whatever_comes_later() -> None:
    blob = payload.Blob()
    values = np.array([[0.25, 0.5, 0.75], [1e18, 2e18, 0.0]])
    header = blob.add(values)
    np.testing.assert_allclose(unpacked(bytes(blob.data), header), values, rtol=1e-4)


def test_packed_integers_come_back_exactly() -> None:
    blob = payload.Blob()
    values = np.array([[0, 1, 250], [65534, 7, 3]])
    header = blob.add(values)
    assert np.array_equal(unpacked(bytes(blob.data), header), values)


def test_every_neuron_is_there_at_every_checkpoint(found: findings.Findings, html: str) -> None:
    data, blob = json.loads(embedded(html, "payload")), embedded(html, "blob")
    run = data["runs"][0]
    assert run["name"] == EVIL
    assert run["steps"] == list(found.trajectory.steps)
    weights, task = found.trajectory.weights(), found.trajectory.split.task
    joint = neurons.extract(weights, task)
    read = {name: unpacked(blob, header) for name, header in run["arrays"].items()}
    own = neurons.extract(weights, task, "per_matrix").frequency
    assert np.array_equal(read["own_frequency"], own.numpy())
    assert np.array_equal(read["frequency"], joint.frequency.numpy())
    for name in ("amplitude", "phase", "power_share", "r2_square", "r2_cosine"):
        np.testing.assert_allclose(read[name], getattr(joint, name).numpy(), atol=1e-4)
    np.testing.assert_allclose(read["residual"], joint.phase_residual.numpy(), atol=1e-4)

    stored = [run["steps"][place] for place in run["stored"]]
    assert stored == report.chosen_steps(run["steps"], found.onsets)
    columns = neurons.extract(found.trajectory.weights(stored), task).columns
    np.testing.assert_allclose(read["weights"], columns.numpy(), atol=1e-4)
    power = np.abs(np.fft.rfft(columns.numpy(), axis=2)[:, :, 1:]) ** 2
    np.testing.assert_allclose(read["spectra"], power / power.sum(2, keepdims=True), atol=3e-3)
    for name, values in run["measures"].items():
        assert values == pytest.approx(found.table[name].tolist(), nan_ok=True)


def test_spectra_of_points_that_miss_some_of_z_m_are_those_of_the_extraction() -> None:
    """Squares take half of Z_p: the power there is of least squares, and strongest where extract says."""
    task = ModularTask(13, "a**2 + b**2")
    table = neurons.extract(HookedMLP(p=13, d_mlp=9, seed=0), task, "per_matrix")
    shares = payload._spectra(table)
    seen = task.require_coordinates("").incidence
    for row in range(3):
        power = fourier.sinusoids(13, seen[row]).fit(table.columns[row].double()).power
        np.testing.assert_allclose(shares[row], power / power.sum(0), atol=1e-5)
    assert np.array_equal(shares.argmax(1) + 1, table.frequency.numpy())


def events(steps: list[int], **happened: int) -> dict[str, Onset]:
    never = dict.fromkeys(payload.EVENTS, Onset(steps[-1], censored=True))
    return never | {name: Onset(step, censored=False) for name, step in happened.items()}


def test_weights_are_kept_where_something_happened() -> None:
    steps = list(range(0, 1001, 10))
    happened = {"train_accuracy": 130, "excess_per_matrix": 270, "test_accuracy": 810}
    chosen = report.chosen_steps(steps, events(steps, **happened))
    assert len(chosen) == payload.CHOSEN + 1
    assert {0, 130, 270, 810, 1000} <= set(chosen)
    assert chosen == sorted(chosen)
    # Without events, or with one at a step that others have, the rest is evenly spread.
    assert report.chosen_steps(steps, events(steps)) == [0, 200, 400, 600, 800, 1000]
    assert report.chosen_steps([0, 5, 7], events([0, 5, 7], train_accuracy=7)) == [0, 5, 7]
    assert report.chosen_steps([0], events([0])) == [0]


def test_the_page_loads_nothing_and_escapes_what_was_typed(
    found: findings.Findings, html: str
) -> None:
    outside = re.sub(r'<script type="text/plain".*?</script>', "", html, flags=re.DOTALL)
    assert "<img" not in outside
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;amp;" in outside
    assert not re.search(r'(src|href)="(?!data:)', outside)
    assert "@import" not in outside
    assert "http" not in re.sub(r"<p>Made by.*?</p>", "", outside).replace("https://", "http")
    said = html_module.unescape(re.sub(r"</?abbr.*?>", "", outside))
    for answer in found.answers.values():
        assert said.count(answer) == 2
    for name in (*words.NEURON_COLUMNS, *dynamics.DEFINITIONS, *words.TERMS):
        assert f"<dt><code>{name}</code></dt>" in outside
    assert str(found.verdicts["joint"]) in said
    assert f"torch {torch.__version__.split('+')[0]}" in outside


def test_words_and_controls_say_what_they_mean_under_the_mouse(
    found: findings.Findings, html: str
) -> None:
    explained = dict(re.findall(r'<abbr title="(.*?)">(.*?)</abbr>', html))
    assert set(found.verdicts["joint"].controls) <= set(explained.values())
    assert {"chance", "excess", "all pairs", "held-out pairs", "joint"} <= set(explained.values())
    for meaning, term in explained.items():
        assert html_module.unescape(meaning) == words.TERMS[term]
    assert len(re.findall(r'<dd title=".{40,}?">', html)) == 8
    assert "square in, cosine out, extracted amplitudes, own output phases" in html


def test_a_page_is_the_same_whenever_it_is_made(found: findings.Findings) -> None:
    assert report.to_html({"a": found}, "c") == report.to_html({"a": found}, "c")


def test_a_report_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        report.to_html({}, "command")


@pytest.mark.slow
def test_sixty_checkpoints_of_the_paper_s_size_are_small_enough(tmp_path: Path) -> None:
    split = ModularTask(113).split(0.4, label_noise=0.3, seed=0)
    model = HookedMLP(p=113, d_mlp=512, seed=0)
    run = training.train(model, split, steps=59, checkpoint_every=1, eval_every=1, progress=False)
    assert len(run) == 60
    written = tmp_path / "report.html"
    written.write_text(report.to_html({"run": findings.find(run, draws=2)}, "command"))
    assert written.stat().st_size <= MEGABYTES * 1e6


def test_figures_under_headings_are_escaped_and_carry_plotly_once() -> None:
    figure = go.Figure(go.Scatter(y=[1, 2]))
    section = report.Section("<b>run</b>", "a < b & c", ["1 < 2"], [figure, figure])
    made = report.of_sections("<script>alert(1)</script>", "hello", [section], "made <by>")
    assert "<script>alert(1)" not in made
    assert "&lt;b&gt;run&lt;/b&gt;" in made
    assert "a &lt; b &amp; c" in made
    assert made.count("Plotly.newPlot(") == 2
    assert 4_000_000 < len(made) < 6_000_000


def test_words_of_a_section_are_paragraphs_and_lists() -> None:
    words = "one\nand more\n\nthree < four:\n\n- a - b\n- <i>\nafter\n\n-1 is no item"
    made = report.of_sections("t", "i", [report.Section("s", words, (), ())], "m")
    article = made.split("<article>")[1].split("</article>")[0]
    assert article.splitlines() == [
        "<p>one and more</p>",
        "<p>three &lt; four:</p>",
        "<ul><li>a - b</li><li>&lt;i&gt;</li></ul>",
        "<p>after</p>",
        "<p>-1 is no item</p>",
    ]
