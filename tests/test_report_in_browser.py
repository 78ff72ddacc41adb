"""The report in a real browser: what is drawn at a step is what Python draws of the run at that step.

Run by ``make test-browser``, with an installed Chromium.
"""

import csv
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grok_interp import dynamics, figures, findings, neurons, report, training
from grok_interp.config import TrainConfig
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.tasks import ModularTask
from grok_interp.trajectory import Trajectory

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
LAST = 120
"""The last step of the longest run."""
EVIL = '<img src=x onerror="document.title=1">'
NAMES = (f"noisy {EVIL}", "multiply", "even, subtract")
NUMBER = re.compile(r"-?\d+\.?\d*")
READ = """id => document.getElementById(id).data.map(trace => Object.fromEntries(
    ["name", "x", "y", "z", "r", "theta", "customdata", "type"].map(key => {
        const values = trace[key];
        return [key, values && values.length !== undefined && typeof values !== "string"
            ? Array.from(values, row => row && row.length !== undefined && typeof row !== "string"
                ? Array.from(row) : row) : values];
    }).concat([["size", trace.marker && trace.marker.size]])))"""
"""The traces of a plot as plain values. Typed arrays that Python wrote are read from what plotly made."""


@dataclass(frozen=True)
class Pages:
    """A report that was written, and the runs that it is about."""

    path: Path
    runs: list[findings.Findings]

    def tables(self, run: int, step: int, mode: str = "joint") -> neurons.NeuronTable:
        trajectory = self.runs[run].trajectory
        return neurons.extract(trajectory.weights([step])[0], trajectory.split.task, mode)


def trained(p: int, operation: str, d_mlp: int, steps: int, noise: float) -> Trajectory:
    split = ModularTask(p, operation).split(0.7, label_noise=noise, seed=0)
    config = TrainConfig(steps=steps, checkpoint_every=10, eval_every=10, lr=5e-3, progress=False)
    return training.train(HookedMLP(p=p, d_mlp=d_mlp, seed=1), split, config)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    runs = [
        trained(13, "add", 30, LAST, 0.2),
        trained(11, "multiply", 16, 60, 0.0),
        trained(12, "subtract", 16, 60, 0.0),
    ]
    found = [findings.find(run, draws=3) for run in runs]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report.to_html(dict(zip(NAMES, found, strict=True)), f"command {EVIL}"))
    return Pages(path, found)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.fail(
            "no Chromium: install one (apt-get install chromium) or set CHROMIUM to its path"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def windows(browser: Any, pages: Pages) -> Iterator[Callable[[int], tuple[Any, list[str]]]]:
    """The report in a window of some width, opened once, and what went wrong or left the page."""
    context, made = browser.new_context(accept_downloads=True), {}

    def window(width: int) -> tuple[Any, list[str]]:
        if width in made:
            return made[width]
        page, wrong = context.new_page(), []
        page.set_viewport_size({"width": width, "height": 900})
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:", "blob:")) or wrong.append(request.url)
            ),
        )
        page.goto(pages.path.as_uri())
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        made[width] = page, wrong
        return made[width]

    yield window
    context.close()


@pytest.fixture
def opened(windows: Callable[[int], tuple[Any, list[str]]]) -> Iterator[Callable[..., Any]]:
    """The report at a width, as it is when one opens it; nothing may go wrong or leave the page."""
    used = []

    def open_at(width: int = 1600) -> Any:
        page, wrong = windows(width)
        used.append(wrong)
        if page.input_value("#search"):
            page.fill("#search", "")
        if page.input_value("#run") != "0":
            page.select_option("#run", "0")
        if page.inner_text("#where") != str(LAST):
            move_to(page, LAST)
        return page

    yield open_at
    assert used
    assert not any(used)


def move_to(page: Any, step: int) -> None:
    """Move the slider to a step, and wait until all is drawn."""
    page.evaluate(
        """step => { const slider = document.getElementById("step");
            slider.value = step / 10;
            slider.dispatchEvent(new Event("input")); }""",
        step,
    )
    page.wait_for_function("step => document.body.dataset.drawn === String(step)", arg=step)


def shown(page: Any, plot: str) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in page.evaluate(READ, plot)}


def numbers(values: Any) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def expected(figure: Any, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


@pytest.mark.parametrize("run", [0, 1, 2])
@pytest.mark.parametrize("step", [0, 30, 60, LAST])
def test_every_panel_shows_the_run_at_the_step(opened, pages: Pages, run: int, step: int) -> None:
    page = opened()
    move_to(page, step)
    found = pages.runs[run]
    step = min(step, found.trajectory.steps[-1])  # a run that ended earlier stays at its end
    joint, own = pages.tables(run, step), pages.tables(run, step, "per_matrix")

    metrics, marks = found.trajectory.metrics.loc[step], shown(page, f"learning-{run}")["this step"]
    measured = found.table.loc[step]
    assert marks["x"] == [step] * 4
    assert numbers(marks["y"]) == pytest.approx(
        [
            *(metrics[["train_accuracy", "test_accuracy"]]),
            *(measured[["idealised_per_matrix", "idealised_joint"]]),
        ]
    )

    effects = page.evaluate(READ, f"effect-{run}")
    half = len(effects) // 2
    for place, mode in enumerate(findings.CONTROLLED):
        verdict = found.verdicts[mode]
        drawn = {trace["y"][0]: trace["x"][0] for trace in effects[place * half :][:half]}
        assert drawn["own"] == pytest.approx(measured["accuracy"])
        assert drawn["idealised"] == pytest.approx(measured[f"idealised_{mode}"])
        for control, sample in verdict.controls.items():
            always = control in ("untrained", "frozen_input")
            if always or step == found.trajectory.steps[-1]:
                assert drawn[control] == pytest.approx(sample.mean)
            else:
                assert drawn[control] is None

    figure = figures.phase_sum(joint, "")
    want, got = expected(figure, "neurons"), shown(page, f"phase_sum-{run}")["neurons"]
    assert got["customdata"] == list(want.customdata)
    # On the circle: -pi and pi are one phase.
    for axis in ("x", "y"):
        apart = np.exp(1j * numbers(got[axis])) - np.exp(1j * np.asarray(want[axis], float))
        assert np.abs(apart).max(initial=0) < 1e-3
    assert numbers(got["size"]) == pytest.approx(np.asarray(want.marker.size, float), abs=0.01)

    want = expected(figures.residual_histogram({"network": joint}, ""), "network")
    got = shown(page, f"residual-{run}")["network"]
    # A residual that rounding moved over the edge of a bin moves its neuron's height with it.
    assert np.abs(np.cumsum(numbers(got["y"])) - np.cumsum(want.y)).max() < 0.2
    assert np.isclose(numbers(got["y"]), want.y, atol=1e-3).mean() > 0.9

    want = expected(figures.frequency_census({"network": own}, ""), "network")
    assert shown(page, f"census-{run}")["network"]["y"] == list(want.y)

    figure, got = figures.wave_fits(joint, ""), shown(page, f"fits-{run}")
    for name in ("W_in", "W_out"):
        want = expected(figure, name)
        assert got[name]["customdata"] == list(want.customdata)
        np.testing.assert_allclose(numbers(got[name]["x"]), want.x, atol=1e-3)
        np.testing.assert_allclose(numbers(got[name]["y"]), want.y, atol=1e-3)


@pytest.mark.parametrize("run", [0, 1, 2])
def test_maps_and_card_show_the_weights_of_the_nearest_stored_step(
    opened, pages: Pages, run: int
) -> None:
    page = opened()
    found = pages.runs[run]
    stored = report.chosen_steps(found.trajectory.steps, found.onsets)
    page.select_option("#run", str(run))
    for step in (0, 50):
        move_to(page, step)
        nearest = min(stored, key=lambda each: abs(each - step))
        table = pages.tables(run, nearest)
        figure, got = figures.weight_maps(table, ""), shown(page, f"maps-{run}")
        caption = page.locator(f"figure:has(#maps-{run}) figcaption").inner_text()
        assert caption.endswith(f"weights of step {nearest}")
        for name in neurons.MATRICES:
            want = expected(figure, name)
            rows = dict(zip(got[name]["y"], got[name]["z"], strict=True))
            assert list(rows) == list(want.y)
            np.testing.assert_allclose(np.array(list(rows.values()), float), want.z, atol=2e-3)

        neuron = 3
        page.fill("#search", str(neuron))
        page.click(f"#table td button >> text=/^{neuron}$/")
        assert page.inner_text("#opened") == f"Neuron {neuron} of {NAMES[run]}"
        assert f"step {nearest}," in page.inner_text("#about")
        card = figures.neuron_card(table, neuron, "")
        for want, got_trace in zip(card.data, page.evaluate(READ, "card-plot"), strict=True):
            assert got_trace["name"] == want.name
            axes, atol = (("r", "theta"), 0.05) if "phi" in want.name else (("x", "y"), 3e-3)
            for axis in axes:
                np.testing.assert_allclose(
                    numbers(got_trace[axis]), np.asarray(want[axis], float), atol=atol
                )
        titles = page.evaluate(
            "document.getElementById('card-plot').layout.annotations.map(note => note.text)"
        )
        for title, note in zip(titles, card.layout.annotations, strict=True):
            assert NUMBER.sub("#", title) == NUMBER.sub("#", note.text)
            told = [float(number) for number in NUMBER.findall(note.text)]
            assert [float(number) for number in NUMBER.findall(title)] == pytest.approx(
                told, abs=0.011
            )
        page.fill("#search", "")


def test_tab_and_arrow_keys_move_the_slider(opened, pages: Pages) -> None:
    page = opened(width=1200)  # a window of its own, in which nothing has the focus yet
    steps = list(pages.runs[0].trajectory.steps)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "step"
    for key, place in (("ArrowLeft", -2), ("ArrowLeft", -3), ("ArrowRight", -2), ("Home", 0)):
        page.keyboard.press(key)
        page.wait_for_function(f"document.body.dataset.drawn === '{steps[place]}'")
        assert page.inner_text("#where") == str(steps[place])
        assert page.get_attribute("#step", "aria-valuetext") == f"step {steps[place]}"
        assert shown(page, "learning-0")["this step"]["x"] == [steps[place]] * 4


@pytest.mark.parametrize("plot", ["phase_sum-0", "fits-0"])
def test_a_click_on_a_point_opens_that_neuron(opened, pages: Pages, plot: str) -> None:
    page = opened()
    page.locator(f"#{plot}").scroll_into_view_if_needed()
    # The point that is farthest from all others, so that no other lies under the mouse.
    neuron, x, y = page.evaluate(
        """id => { const plot = document.getElementById(id), trace = plot.data[0];
            const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
            const at = trace.x.map((x, i) =>
                [xaxis.d2p(x) + xaxis._offset, yaxis.d2p(trace.y[i]) + yaxis._offset]);
            const distance = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]);
            const alone = at.map((p) => at.map((q) => distance(p, q)).sort((a, b) => a - b)[1]);
            const best = alone.indexOf(Math.max(...alone.filter((_, i) => at[i][1] < plot.clientHeight)));
            return [trace.customdata[best], box.x + at[best][0], box.y + at[best][1]]; }""",
        plot,
    )
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    page.wait_for_function(
        f"document.getElementById('opened').textContent.startsWith('Neuron {neuron} of')"
    )
    assert page.evaluate("document.activeElement.id") == "opened"
    assert page.locator("#card").is_visible()
    weight = page.evaluate(READ, "card-plot")[0]
    want = figures.neuron_card(pages.tables(0, LAST), neuron, "").data[0]
    np.testing.assert_allclose(numbers(weight["y"]), want.y, atol=1e-3)


def test_a_click_on_a_row_of_the_maps_opens_that_neuron(opened, pages: Pages) -> None:
    page = opened()
    page.locator("#maps-1").scroll_into_view_if_needed()
    row = 5
    neuron = figures.neuron_order(pages.tables(1, 60))[row]
    x, y = page.evaluate(
        """row => { const plot = document.getElementById("maps-1"), box = plot.getBoundingClientRect();
            const { xaxis, yaxis } = plot._fullLayout;
            return [box.x + xaxis._offset + xaxis._length / 2, box.y + yaxis._offset + yaxis.c2p(row)]; }""",
        row,
    )
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    page.wait_for_function(
        f"document.getElementById('opened').textContent === 'Neuron {neuron} of multiply'"
    )
    assert page.input_value("#run") == "1"


def column(page: Any, name: str) -> list[str]:
    head = [text.rstrip(" ▲▼") for text in page.locator("#table thead th").all_inner_texts()]
    place = head.index(name) + 1
    return page.locator(f"#table tbody td:nth-child({place})").all_inner_texts()


def test_search_finds_a_neuron_and_a_frequency(opened, pages: Pages) -> None:
    page = opened()
    table = pages.tables(0, LAST)
    page.fill("#search", "17")
    assert column(page, "neuron") == ["17"]
    assert column(page, "k") == [str(int(table.frequency[0, 17]))]
    for query in ("k=2", "k 2", "K2"):
        page.fill("#search", query)
        found = (table.frequency[0] == 2).nonzero().flatten().tolist()
        assert column(page, "neuron") == [str(neuron) for neuron in found]
    page.fill("#search", "999")
    assert column(page, "neuron") == []
    assert "from 0 to 29" in page.inner_text("#found")


def test_columns_sort_both_ways_and_say_what_they_are(opened, pages: Pages) -> None:
    page = opened()
    table = pages.tables(0, LAST)
    for name, values in (
        ("amplitude_out", table.amplitude[2]),
        ("ipr", table.neuron_ipr),
        ("residual", table.phase_residual),
    ):
        head = page.locator("#table th button", has_text=name).first
        assert len(head.get_attribute("title")) > 10
        head.click()
        assert page.locator("#table th[aria-sort]").get_attribute("aria-sort") == "descending"
        down = [float(text) for text in column(page, name)]
        assert down == sorted(down, reverse=True)
        order = [int(text) for text in column(page, "neuron")]
        np.testing.assert_allclose(values[order].numpy(), down, atol=6e-4)
        page.locator("#table th button", has_text=name).first.click()
        assert page.locator("#table th[aria-sort]").get_attribute("aria-sort") == "ascending"
        up = [float(text) for text in column(page, name)]
        assert up == sorted(up)
    titles = (
        page.locator("#table tbody tr")
        .first.locator("td")
        .evaluate_all("cells => cells.slice(1).map(cell => cell.title)")
    )
    assert all(len(title) > 10 for title in titles)


def downloaded(page: Any, button: str) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.click(button)
    with Path(download.value.path()).open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_come_as_csv(opened, pages: Pages) -> None:
    page = opened()
    move_to(page, 30)
    rows, table = downloaded(page, "#csv"), pages.tables(0, 30).to_dataframe()
    rows.sort(key=lambda row: int(row["neuron"]))  # they come as the table on the page is sorted
    assert [int(row["neuron"]) for row in rows] == list(range(30))
    for name, known in (
        ("amplitude_a", "amplitude_a"),
        ("phase_out", "phase_out"),
        ("r2_cosine_b", "r2_cosine_b"),
        ("residual", "phase_residual"),
        ("ipr", "neuron_ipr"),
    ):
        got = np.array([float(row[name]) for row in rows])
        np.testing.assert_allclose(got, table[known], atol=1e-3)
    measures = downloaded(page, "#measures")
    assert [int(row["step"]) for row in measures] == list(pages.runs[0].trajectory.steps)
    for name in dynamics.DEFINITIONS:
        got = np.array([float(row[name] or "nan") for row in measures])
        np.testing.assert_allclose(got, pages.runs[0].table[name], rtol=1e-6)


@pytest.mark.parametrize(("width", "columns"), [(360, 1), (1600, 3)])
def test_the_layout_holds(opened, pages: Pages, width: int, columns: int) -> None:
    page = opened(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.locator("#phase_sum-0, #phase_sum-1, #phase_sum-2").evaluate_all(
        """plots => plots.map(plot => plot.getBoundingClientRect())
            .map(({ left, top, width }) => [left, top, width])"""
    )
    assert len({round(left) for left, _, _ in boxes}) == columns
    assert len({round(top) for _, top, _ in boxes}) == 3 // columns
    assert all(280 < each[2] <= width for each in boxes)
    drawn = page.locator("#phase_sum-0 .main-svg").first.bounding_box()
    assert drawn["width"] <= boxes[0][2] + 1
    # The answers are what one sees first.
    assert page.locator("article").first.bounding_box()["y"] < 450


def test_no_serious_barrier(opened) -> None:
    from axe_playwright_python.sync_playwright import Axe

    for width in (360, 1600):
        found = Axe().run(opened(width=width)).response["violations"]
        bad = [
            (each["id"], [node["html"][:120] for node in each["nodes"]][:3])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert bad == []


def test_what_was_typed_is_text(opened) -> None:
    page = opened()
    assert page.title() == "The algorithm in the weights, with controls"
    assert page.locator("img").count() == 0
    assert page.locator("article h3").first.inner_text() == NAMES[0]
    assert page.locator("#run option").first.inner_text() == NAMES[0]
    assert page.locator("footer code").inner_text() == f"command {EVIL}"
