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
import torch

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
NAMES = (f"noisy {EVIL}", "multiply", "even, subtract", "folded")
NUMBER = re.compile(r"-?\d+\.?\d*")
READ = """id => { const plot = document.getElementById(id);
    const keys = ["name", "x", "y", "z", "r", "theta", "customdata", "text", "hovertemplate", "type"];
    const list = values => values && values.length !== undefined && typeof values !== "string";
    const plain = values => list(values) ? Array.from(values, plain) : values;
    const read = (trace, key, i) => trace[key] && trace[key].bdata ? plot._fullData[i][key] : trace[key];
    return plot.data.map((trace, i) => Object.fromEntries(
        keys.map(key => [key, plain(read(trace, key, i))])
            .concat([["size", trace.marker && trace.marker.size]]))); }"""
"""The traces of a plot as plain values. Typed arrays that Python wrote are read from what plotly made."""


@dataclass(frozen=True)
class Pages:
    """A report that was written, and the runs that it is about."""

    path: Path
    runs: list[findings.Findings]

    def tables(self, run: int, step: int, mode: str = "joint") -> neurons.NeuronTable:
        trajectory = self.runs[run].trajectory
        return neurons.extract(trajectory.weights([step])[0], trajectory.split.task, mode)


def trained(
    p: int, operation: str, d_mlp: int, steps: int, noise: float, every: int = 10
) -> Trajectory:
    split = ModularTask(p, operation).split(0.7, label_noise=noise, seed=0)
    config = TrainConfig(
        steps=steps, checkpoint_every=every, eval_every=every, lr=5e-3, progress=False
    )
    model = HookedMLP(p=p, d_mlp=d_mlp, seed=1)
    with torch.no_grad():  # one neuron that is constant in W_a, and one that no input reaches
        model.W_in[0, :, 0] = 0.1
        model.W_in[:, :, 1] = model.W_in[:, :, 1].abs() * -1
    return training.train(model, split, config)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    runs = [
        trained(13, "add", 30, LAST, 0.2),
        trained(11, "multiply", 16, 60, 0.0),
        trained(12, "subtract", 16, 60, 0.0),
        trained(7, "(a + b)**2", 16, 60, 0.0, every=20),
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
            slider.value = step / 10; // all runs of these pages together are stored every ten steps
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


@pytest.mark.parametrize("run", range(4))
@pytest.mark.parametrize("step", [0, 30, 60, LAST])
def test_every_panel_shows_the_run_at_the_step(opened, pages: Pages, run: int, step: int) -> None:
    page = opened()
    move_to(page, step)
    found = pages.runs[run]
    # Of a run that is not stored at the step, the last checkpoint before it is shown.
    step = max(each for each in found.trajectory.steps if each <= step)
    for plot in ("learning", "effect", "phase_sum", "residual", "census", "fits"):
        caption = page.locator(f"figure:has(#{plot}-{run}) figcaption").inner_text()
        assert caption == f"{NAMES[run]}, step {step}"
    joint, own = pages.tables(run, step), pages.tables(run, step, "per_matrix")

    metrics, marks = found.trajectory.metrics.loc[step], shown(page, f"learning-{run}")["this step"]
    measured = found.table.loc[step]
    assert marks["x"] == [step] * 4
    assert marks["text"] == [
        *("train_accuracy", "test_accuracy", "idealised_per_matrix", "idealised_joint")
    ]
    line = page.evaluate(f"document.getElementById('learning-{run}').layout.shapes.at(-1)")
    assert (line["x0"], line["x1"], line["xref"]) == (step, step, "x")
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
        for trace in effects[place * half :][:half]:
            assert trace["hovertemplate"].startswith(f"{trace['y'][0]}: %{{x:.3f}}")
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

    want = expected(figures.residual_histogram({"own": joint}, ""), "own")
    got = shown(page, f"residual-{run}")["own"]
    np.testing.assert_allclose(numbers(got["x"]), want.x, atol=1e-6)
    # A residual that rounding moved over the edge of a bin moves its neuron's height with it.
    assert np.abs(np.cumsum(numbers(got["y"])) - np.cumsum(want.y)).max() < 0.2
    assert np.isclose(numbers(got["y"]), want.y, atol=1e-3).mean() > 0.9

    want = expected(figures.frequency_census({"own": own}, ""), "own")
    got = shown(page, f"census-{run}")["own"]
    assert got["y"] == list(want.y)
    assert list(got["x"]) == list(want.x)

    figure, got = figures.wave_fits(joint, ""), shown(page, f"fits-{run}")
    for name in ("W_in", "W_out"):
        want = expected(figure, name)
        assert got[name]["customdata"] == list(want.customdata)
        np.testing.assert_allclose(numbers(got[name]["x"]), want.x, atol=1e-3)
        np.testing.assert_allclose(numbers(got[name]["y"]), want.y, atol=1e-3)


@pytest.mark.parametrize("run", range(4))
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
        ticks = page.evaluate(f"document.getElementById('maps-{run}').layout.yaxis")
        assert ticks["ticktext"] == list(figure.layout.yaxis.ticktext)
        assert ticks["tickvals"] == list(figure.layout.yaxis.tickvals)
        for name in neurons.MATRICES:
            want = expected(figure, name)
            assert list(got[name]["x"]) == list(want.x)
            rows = dict(zip(got[name]["y"], got[name]["z"], strict=True))
            assert list(rows) == list(want.y)
            np.testing.assert_allclose(np.array(list(rows.values()), float), want.z, atol=2e-3)

        for neuron in (0, 1, 3):
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


def click(page: Any, x: float, y: float) -> None:
    """Click as a hand does: plotly takes the point that the mouse has rested on."""
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)


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
    click(page, x, y)
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
    click(page, x, y)
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


def downloaded(page: Any, button: str) -> tuple[str, list[dict[str, str]]]:
    """Name and rows of the file that a button saves."""
    with page.expect_download() as download:
        page.click(button)
    with Path(download.value.path()).open(newline="") as file:
        return download.value.suggested_filename, list(csv.DictReader(file))


@pytest.mark.parametrize("run", [0, 1])
def test_tables_come_as_csv(opened, pages: Pages, run: int) -> None:
    page = opened()
    page.select_option("#run", str(run))
    move_to(page, 30)
    page.fill("#search", "3")  # what is searched for is no matter: all neurons are saved
    name, rows = downloaded(page, "#csv")
    joint = pages.tables(run, 30)
    table, own = joint.to_dataframe(), pages.tables(run, 30, "per_matrix")
    assert (
        name
        == f"{'noisy_img_src_x_onerror_document.title_1' if run == 0 else 'multiply'}_step30_neurons.csv"
    )
    assert {(row["run"], row["step"]) for row in rows} == {(NAMES[run], "30")}
    known = {
        "neuron": table.index,
        "k": joint.frequency.amax(0),
        "agree": own.agrees,
        "residual": table["phase_residual"],
        "ipr": table["neuron_ipr"],
        "dead": table["dead"],
    }
    for place, matrix in enumerate(("a", "b", "out")):
        known[f"k_{matrix}"] = own.frequency[place]
        for field in ("amplitude", "phase", "power_share", "r2_square", "r2_cosine"):
            known[f"{field}_{matrix}"] = table[f"{field}_{matrix}"]
    assert set(known) == set(rows[0]) - {"run", "step"}
    for column_name, values in known.items():
        got = np.array([float(row[column_name] or "nan") for row in rows])
        np.testing.assert_allclose(got, np.asarray(values, float), atol=1e-3, err_msg=column_name)
    assert bool(table["dead"].any())

    name, measures = downloaded(page, "#measures")
    assert name.endswith("_measures.csv")
    assert [int(row["step"]) for row in measures] == list(pages.runs[run].trajectory.steps)
    for column_name in dynamics.DEFINITIONS:
        got = np.array([float(row[column_name] or "nan") for row in measures])
        np.testing.assert_allclose(got, pages.runs[run].table[column_name], rtol=1e-6)


def test_a_run_opens_with_its_loudest_neuron(opened, pages: Pages) -> None:
    page = opened()
    for run in (1, 0):
        page.select_option("#run", str(run))
        last = pages.runs[run].trajectory.steps[-1]
        loudest = int(pages.tables(run, last).neuron_amplitude.nan_to_num().argmax())
        assert page.inner_text("#opened") == f"Neuron {loudest} of {NAMES[run]}"


def test_a_zoom_stays_when_the_slider_moves(opened) -> None:
    page = opened()
    read = "document.getElementById('fits-0')._fullLayout.xaxis.range"
    before = page.evaluate(read)
    page.locator("#fits-0").scroll_into_view_if_needed()
    box = page.locator("#fits-0 .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    page.mouse.up()
    page.wait_for_function(f"{read}[0] > {before[0]} + 0.1")
    zoomed = page.evaluate(read)
    move_to(page, 60)
    assert page.evaluate(read) == zoomed
    page.mouse.dblclick(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.wait_for_function(f"{read}[0] === {before[0]}")


def test_what_goes_wrong_is_said(browser: Any, pages: Pages, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    html = pages.path.read_text()
    broken.write_text(re.sub(r'(id="blob">)[^<]{40}', r"\1AAAA", html))
    page = browser.new_page()
    page.goto(broken.as_uri())
    page.wait_for_selector("#failed:not([hidden])", timeout=60_000)
    assert "could not be drawn" in page.inner_text("#failed")
    assert page.locator("article").first.is_visible()
    page.goto(pages.path.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    # One failure does not end it: the next step is drawn again.
    page.evaluate(
        """() => { const react = Plotly.react;
            Plotly.react = () => { Plotly.react = react; throw new Error("once"); }; }"""
    )
    page.evaluate(
        """() => { const slider = document.getElementById("step");
            slider.value = 3; slider.dispatchEvent(new Event("input")); }"""
    )
    page.wait_for_selector("#failed:not([hidden])")
    assert "once" in page.inner_text("#failed")
    move_to(page, 60)
    page.close()


@pytest.mark.parametrize(("width", "columns"), [(360, 1), (1600, 3)])
def test_the_layout_holds(opened, pages: Pages, width: int, columns: int) -> None:
    page = opened(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.locator("[id^=phase_sum-]").evaluate_all(
        """plots => plots.map(plot => plot.closest("figure").getBoundingClientRect())
            .map(({ left, top, width }) => [left, top, width])"""
    )
    assert len({round(left) for left, _, _ in boxes}) == columns
    assert len({round(top) for _, top, _ in boxes}) == -(-4 // columns)
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
