"""What all figures have in common: titled axes, and looks that can be told apart without colour."""

import inspect
from functools import cache
from itertools import combinations, product

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from grok_interp import controls, figures, measures, neurons, study, tasks
from grok_interp.config import Recipe
from grok_interp.figures.style import SERIES, series_styles
from grok_interp.hooked_mlp import HookedMLP
from grok_interp.verdict import Sample, Verdict
from grok_interp.weights import MLPWeights

P, D = 11, 12
TASK = tasks.ModularTask(P)


@cache
def network(seed: int) -> MLPWeights:
    generator = torch.Generator().manual_seed(seed)
    n = torch.arange(P, dtype=torch.float64)[:, None]
    k, phase = 1 + torch.arange(D) % 5, 2 * torch.rand(3, D, generator=generator)
    phase[2] = phase[0] + phase[1]
    waves = torch.cos(2 * torch.pi * k * n / P + phase[:, None]).sign()
    noise = 0.2 * torch.randn(3, P, D, generator=generator)
    columns = waves + noise
    return MLPWeights(columns[:2].contiguous(), columns[2].T.contiguous())


def table(seed: int = 0) -> neurons.NeuronTable:
    return neurons.extract(network(seed), TASK)


def sample(*values: float) -> Sample:
    accuracy = torch.tensor(values, dtype=torch.float64)
    return Sample(accuracy, accuracy, accuracy)


CONTROLS = {name: sample(0.1, 0.2, 0.6) for name in figures.CONTROL_STYLES}


def verdict() -> Verdict:
    return Verdict(TASK, Recipe(), sample(0.2), sample(0.9), CONTROLS, structure={})


def metrics() -> pd.DataFrame:
    steps = np.arange(0, 1001, 100)
    along = np.linspace(0, 1, len(steps))
    columns = {
        "train_loss": 2 * 10 ** (-3 * along),
        "test_loss": 3 * 10 ** (-2 * along**4),
        "train_accuracy": np.minimum(1, 3 * along),
        "test_accuracy": along**4,
        "weight_norm_W_in": 3 + along,
        "weight_norm_W_out": 5 + along,
        "gradient_norm_W_in": 10**-along,
        "gradient_norm_W_out": 0.5 * 10**-along,
        "ipr": 0.2 + 0.6 * along,
        "ipr_lower": 0.1 + 0.6 * along,
        "ipr_upper": 0.3 + 0.6 * along,
    }
    return pd.DataFrame(columns, index=steps)


def landscape() -> pd.DataFrame:
    rows = [
        {
            "alpha": alpha,
            "seed": seed,
            "size": 100,
            "lr_rule": rule,
            "mixing": 0.5,
            "step": 100,
            "train_loss": 0.0 if alpha > 3 else 2 / alpha,
            "test_loss": 1 + np.log(alpha) ** 2 + seed,
            "train_accuracy": 1 - 1 / (2 + alpha),
            "test_accuracy": 0.8 / (1 + np.log(alpha) ** 2),
            "weight_norm": 7 * alpha,
            "phase_residual": 1 / (1 + alpha),
            "idealised_per_matrix": 0.5,
            "idealised_joint": 0.9,
            "excess_per_matrix": 0.4,
            "excess_joint": 0.1,
        }
        for alpha, seed, rule in product((0.5, 1.0, 2.0, 4.0), (0, 1), ("fixed", "proportional"))
    ]
    return pd.DataFrame(rows)


def fixed() -> pd.DataFrame:
    frame = landscape()
    return frame[frame["lr_rule"] == "fixed"]


def runs() -> pd.DataFrame:
    frame = pd.DataFrame(
        [
            {"series": series, "seed": seed, "train_fraction": fraction, "censored": fraction < 0.4}
            for series, seed, fraction in product(("AdamW", "SGD"), (0, 1), (0.3, 0.5, 0.7))
        ]
    )
    wide = frame.assign(width=100 * frame["train_fraction"], accuracy=frame["train_fraction"])
    return wide.assign(
        step=1000 * (1 - frame["train_fraction"]) + 100 * frame["seed"],
        onset=100.0 + 50 * frame["seed"] + 200 * frame["train_fraction"],
        onset_censored=(frame["seed"] == 1) & (frame["train_fraction"] > 0.6),
        grokked=2000 * (1 - frame["train_fraction"]),
        grokked_censored=frame["censored"] | ((frame["seed"] == 1) & (frame["series"] == "SGD")),
    )


def decays() -> pd.DataFrame:
    rows = [
        {
            "alpha": alpha,
            "seed": seed,
            "size": 100,
            "lr": 1e-3,
            "weight_decay": decay,
            "t_train": 100.0 * (1 + seed),
            "train_censored": False,
            "t_generalise": 1000.0 * alpha / decay,
            "generalise_censored": decay < 0.2,
        }
        for alpha, seed, decay in product((1.0, 2.0), (0, 1), (0.1, 0.3, 1.0))
    ]
    return pd.DataFrame(rows)


def one_run_each() -> pd.DataFrame:
    frame = fixed()
    frame = frame[(frame["seed"] == 0) & (frame["alpha"] < 3)]
    return pd.concat([frame.assign(step=step) for step in (0, 10, 100)])


def ablated(factor: float) -> pd.DataFrame:
    share = np.linspace(0, 1, 5)
    columns = {"n": (D * share).astype(int), "accuracy": (1 - share) ** factor}
    columns |= {
        f"random_accuracy_{how}": (1 - share) ** power
        for how, power in (("mean", 2), ("min", 3), ("max", 1))
    }
    return pd.concat([pd.DataFrame({"pairs": pairs} | columns) for pairs in ("train", "test")])


def cells() -> pd.DataFrame:
    settings = product((0.0, 0.35), (0, 5, 15))
    return pd.DataFrame(
        [
            {
                "label_noise": noise,
                "weight_decay": decay,
                "train_accuracy": 1 - noise,
                "test_accuracy": 0.06 * decay,
                "phase": "partial inversion",
            }
            for noise, decay in settings
        ]
    )


def learning() -> go.Figure:
    along = {"joint": metrics()["train_accuracy"] ** 2, "per_matrix": metrics()["test_accuracy"]}
    bands = {"joint": sample(0.7, 0.8), "per_matrix": sample(0.05, 0.1)}
    return figures.learning_curves(metrics(), along, bands, 1 / P, "t")


def shares() -> dict[str, torch.Tensor]:
    return {
        name: measures.logit_shares(network(seed), TASK)
        for seed, name in enumerate(("own", "idealised", "untrained", "frozen_input"))
    }


def images() -> go.Figure:
    networks = {
        name: measures.functions_of_pairs(network(seed), TASK, 0, 3)
        for seed, name in enumerate(("trained", "by hand"))
    }
    return figures.preactivation_images(networks, "t", captions={"trained": "sum 0.90"})


EVERY = {
    "ablation_curves": lambda: figures.ablation_curves(
        {"highest IPR first": ablated(4), "lowest IPR first": ablated(0.5)}, D, "t", chance=1 / P
    ),
    "accuracy_by_width": lambda: figures.accuracy_by_width(runs(), "t", 1 / P),
    "data_size_map": lambda: figures.data_size_map(fixed(), "t"),
    "effect_beside_controls": lambda: figures.effect_beside_controls(
        {"joint": verdict(), "per_matrix": verdict()}, "t"
    ),
    "frequency_census": lambda: figures.frequency_census(
        {"trained": table(), "untrained": table(1), "frozen_input": table(2)}, "t"
    ),
    "generalisation_times": lambda: figures.generalisation_times(decays(), "t", law=(3.0, 1.0)),
    "grokking_time": lambda: figures.grokking_time(runs(), "t"),
    "ipr_through_training": lambda: figures.ipr_through_training(
        metrics(), "t", analytic=0.95, boundaries=[300.0, 600.0]
    ),
    "latent_on_the_u": lambda: figures.latent_on_the_u(fixed(), fixed(), "t"),
    "latent_through_training": lambda: figures.latent_through_training(fixed(), "t"),
    "learning_curves": learning,
    "logit_frequencies": lambda: figures.logit_frequencies(shares(), "t"),
    "lu_curves": lambda: figures.lu_curves(landscape(), "t", marks={"w_c": 1.5}),
    "mixing_map": lambda: figures.mixing_map(fixed(), "t"),
    "neuron_card": lambda: figures.neuron_card(table(), 3, "t"),
    "neuron_waves": lambda: figures.neuron_waves(table(), [2, 0], "t"),
    "norm_dynamics": lambda: figures.norm_dynamics(one_run_each(), "t"),
    "onset_against_grokking": lambda: figures.onset_against_grokking(runs(), "t"),
    "phase_diagram": lambda: figures.phase_diagram(cells(), "t"),
    "phase_sum": lambda: figures.phase_sum(table(), "t"),
    "preactivation_images": images,
    "residual_histogram": lambda: figures.residual_histogram(
        {"trained": table(), "untrained": table(1), "frozen_input": table(2)}, "t"
    ),
    "training_summary": lambda: figures.training_summary(
        metrics(), {"memorised": 300, "grokked": 900}, 1 / P, "t"
    ),
    "wave_fits": lambda: figures.wave_fits(table(), "t"),
    "weight_maps": lambda: figures.weight_maps(table(), "t"),
}


def test_every_figure_is_looked_at_here() -> None:
    public = {name for name, _ in inspect.getmembers(figures, inspect.isfunction)}
    studies = {
        f"study_{name}" for name in study.NAMES
    }  # drawn in test_study.py and test_study_*.py
    assert public - {"neuron_order"} - studies == set(EVERY)


def no_title(axes) -> list[str]:
    """Axes without a title, where none that takes the same place in its row or column has one."""
    axes = list(axes)
    titled = {axis.domain for axis in axes if axis.title.text}
    return [axis.plotly_name for axis in axes if axis.domain not in titled]


@pytest.mark.parametrize("name", EVERY)
def test_every_axis_has_a_title(name: str) -> None:
    figure = EVERY[name]()
    assert no_title(figure.select_xaxes()) == no_title(figure.select_yaxes()) == []


def grey(colour: str | None) -> float:
    """Luminance of a colour in 0..1 (Rec. 709)."""
    if colour is None:
        return 0.0
    r, g, b = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


BOUNDS = {"triangle-up-open", "triangle-right-open", "triangle-ne-open", "triangle-down-open"}


def look(trace) -> tuple:
    """Colour, dash, width, fill and symbol of a trace; None for a part that it does not have."""
    mode = trace.mode or "lines+markers"
    lines, markers = "lines" in mode, "markers" in mode
    symbol = trace.marker.symbol or "circle"
    if isinstance(symbol, tuple):
        symbol = next((each for each in symbol if each not in BOUNDS), symbol[0])
    return (
        trace.line.color or trace.marker.color,
        (trace.line.dash or "solid") if lines else None,
        trace.line.width if lines else None,
        trace.fill,
        symbol if markers else None,
    )


def looks(figure: go.Figure) -> dict[str, tuple]:
    """Looks of what the lines and markers of a figure mean, by name."""
    found = {}
    for trace in figure.data:
        drawn = trace.type.startswith("scatter") and trace.line.width != 0
        name = trace.name or (trace.y[0] if isinstance(trace.y, tuple) else "")
        if drawn and not name.endswith(", runs"):  # single runs look like their mean
            found.setdefault(name, look(trace))
    return found


@pytest.mark.parametrize("name", EVERY)
def test_what_differs_in_meaning_differs_in_grey(name: str) -> None:
    for (first, one), (second, other) in combinations(looks(EVERY[name]()).items(), 2):
        apart = abs(grey(one[0]) - grey(other[0])) > 0.2
        assert one[1:] != other[1:] or apart, f"{first} and {second} look alike: {one}"


def test_the_check_of_looks_sees_two_that_are_alike() -> None:
    figure = go.Figure()
    for name, colour in (("train", figures.TRAIN), ("test", figures.TEST)):
        figure.add_scatter(x=[0], y=[0], name=name, mode="lines", line={"color": colour})
    one, other = looks(figure).values()
    assert one[0] != other[0]
    assert one[1:] == other[1:]
    assert abs(grey(one[0]) - grey(other[0])) < 0.2


def test_every_control_has_a_look_of_its_own_and_keeps_it() -> None:
    split = TASK.split(0.5, seed=0)
    found = controls.evaluate(HookedMLP(p=P, d_mlp=D, seed=0), split, draws=1)
    assert set(figures.CONTROL_STYLES) == set(found.controls)
    styles = [*figures.CONTROL_STYLES.values(), *SERIES]
    assert len({(style.dash, style.symbol) for style in styles}) == len(set(styles))
    drawn = series_styles(["frozen_input", "trained", "own", "untrained", "other"])
    assert drawn["frozen_input"] == figures.CONTROL_STYLES["frozen_input"]
    assert drawn["untrained"] == figures.CONTROL_STYLES["untrained"]
    assert len(set(drawn.values())) == 5
    with pytest.raises(ValueError, match="7 series"):
        series_styles(["untrained", *"abcdef"])


def test_long_titles_are_wrapped_and_the_figure_grows() -> None:
    title = (
        "Phases of the neurons of a network that was trained on labels of which 30% were redrawn"
    )
    long, short = figures.phase_sum(table(), title), figures.phase_sum(table(), "t")
    lines = long.layout.title.text.split("<br>")
    assert " ".join(lines) == title
    assert max(map(len, lines)) <= 44
    grown = 22 * (len(lines) - 1)
    assert grown > 0
    assert long.layout.height == short.layout.height + grown
    assert long.layout.margin.t == short.layout.margin.t + grown
    assert long.layout.legend.title.text.count("<br>") == len(lines) - 1
    assert short.layout.title.text == "t"
