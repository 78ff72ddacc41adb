"""Many runs: which settings vary, and what is measured of each run."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from grok_interp.config.checks import check_choice, check_count, check_flag, plain
from grok_interp.config.choices import FrequencyMode, InputWaveform, Waveform
from grok_interp.config.networks import HookedMLPConfig, SplitConfig, TaskConfig
from grok_interp.config.reading import from_dict, to_dict
from grok_interp.config.runs import TrainConfig, check_parts

Replaced = Literal["all", "W_in", "W_out"]
"""Which weights are ideal."""
SEEDS = ("split.seed", "model.seed", "train.seed")
"""What a sweep's ``seeds`` set together."""
HASH_DIGITS = 16
"""Hexadecimal digits of a run's name; a sweep of a million runs shares one with probability 3e-8."""


@dataclass(frozen=True)
class MeasureConfig:
    """What is measured of each run when it has ended, beside the measures of ``dynamics.DEFINITIONS``.

    The network is idealised by every combination of the first four fields, and so are the draws of its
    frozen_input control, the first of which has this run's own initial input weights.

    Attributes:
        frequencies: Frequency modes.
        input_waveforms: Waves of the ideal W_in.
        output_waveforms: Waves of the ideal W_out.
        replaced: Which weights are ideal: ``"all"``, ``"W_in"`` alone or ``"W_out"`` alone.
        draws: Draws of each random control.
        all_controls: Whether to draw every control of :mod:`grok_interp.controls` in each mode, with the
            first waveforms and ``replaced="all"``, and not frozen_input alone.
        along: Whether to keep the measures at every checkpoint, and not at the last alone.

    Raises:
        ValueError: If a name is unknown, a sequence empty, or a number out of range.
    """

    frequencies: tuple[FrequencyMode, ...] = ("per_matrix", "joint")
    input_waveforms: tuple[InputWaveform, ...] = ("square",)
    output_waveforms: tuple[Waveform, ...] = ("cosine",)
    replaced: tuple[Replaced, ...] = ("all",)
    draws: int = 5
    all_controls: bool = False
    along: bool = False

    def __post_init__(self) -> None:
        for name, choices in (
            ("frequencies", FrequencyMode),
            ("input_waveforms", InputWaveform),
            ("output_waveforms", Waveform),
            ("replaced", Replaced),
        ):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(
                    f"{name}={values!r} must be a list of one or more of "
                    f"{', '.join(map(repr, get_args(choices)))}"
                )
            for value in values:
                check_choice(name, value, choices)
            twice = [value for value, count in Counter(values).items() if count > 1]
            if twice:
                raise ValueError(f"{name}={list(values)} holds {twice[0]!r} twice: leave one out")
            object.__setattr__(self, name, tuple(values))
        check_count("draws", self.draws, 1)
        check_flag("all_controls", self.all_controls)
        check_flag("along", self.along)


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: all that its result depends on.

    Attributes:
        task: The task.
        split: Which pairs to train on, and label noise.
        model: The model; its p is the task's.
        train: How to train; the progress bar is left out.
        measure: What is measured when it has ended.

    Raises:
        ValueError: If the model's p is not the task's, or a seed is None, or an int has more than 64 bits.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: HookedMLPConfig = field(default_factory=HookedMLPConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)

    def __post_init__(self) -> None:
        check_parts(self.task, self.split, self.model)
        for part in PARTS:
            for name, value in vars(getattr(self, part)).items():
                if isinstance(value, int) and not -(2**63) <= value < 2**63:
                    raise ValueError(
                        f"{part}.{name}={value} must be an int of 64 bits, which the store has for it"
                    )
        if self.model.act_fn == "custom":
            raise ValueError(
                "model.act_fn='custom' stands for a callable, which no file can hold: use a named activation"
            )
        if self.train.progress:
            object.__setattr__(self, "train", dataclasses.replace(self.train, progress=False))

    @cached_property
    def name(self) -> str:
        """What the run is known by: the start of the SHA-256 of its settings, all of them."""
        text = json.dumps(_one_number(to_dict(self)), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


@dataclass(frozen=True)
class SweepConfig:
    """A grid or a list of runs over the dataclasses of a single run.

    The runs are the product of ``runs``, ``grid`` and ``seeds``; what none of them names is as in the
    first five fields. In TOML, keys are dotted: ``[grid]``, then ``split.label_noise = [0.0, 0.3]``.

    Attributes:
        task: The task.
        split: Which pairs to train on, and label noise.
        model: The model; its p follows the task.
        train: How to train.
        measure: What is measured of each run.
        grid: Lists of values by setting, such as ``{"split.label_noise": [0.0, 0.3]}``; every combination
            is a run.
        runs: Settings of single runs, such as ``{"task.p": 23, "model.d_mlp": 128}``; none for one run as
            above.
        seeds: Number of seeds: run i of them has i as seed of its split, model and training. None
            takes the seeds as they are given.

    Raises:
        ValueError: If a setting is unknown, is set twice, has no values, or a value is out of range.
        TypeError: If ``p`` is not an int.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    model: HookedMLPConfig = field(default_factory=HookedMLPConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    grid: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[Mapping[str, Any], ...] = ()
    seeds: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.grid, Mapping):
            raise ValueError(f"grid={self.grid!r} must be lists of values by setting")
        if not isinstance(self.runs, Sequence) or not all(
            isinstance(each, Mapping) for each in self.runs
        ):
            raise ValueError(f"runs={self.runs!r} must be a list of tables of settings")
        axes = list(_flat(self.grid))
        grid = {name: _values(name, values) for name, values in axes}
        listed = [list(_flat(each)) for each in self.runs]
        runs = tuple(map(dict, listed))
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "runs", runs)
        if self.seeds is not None:
            check_count("seeds", self.seeds, 1)
        named = set(grid).union(*runs)
        twice = [
            name
            for settings in (axes, *listed)
            for name, count in Counter(name for name, _ in settings).items()
            if count > 1
        ]
        twice += sorted(name for each in runs for name in each if name in grid)
        if self.seeds is not None:
            twice += sorted(named.intersection(SEEDS))
        if twice:
            raise ValueError(
                f"{twice[0]} is set twice, by grid, runs or seeds: leave one of them out"
            )
        for name in sorted(named):
            _check_setting(name)
        self.expanded  # noqa: B018 - every value is checked when the sweep is made, not hours later

    @cached_property
    def expanded(self) -> tuple[SweepRun, ...]:
        """Every run once, in the order of runs, grid and seeds, the last of them moving fastest."""
        base: dict[str, Any] = {name: to_dict(getattr(self, name)) for name in PARTS}
        found: dict[str, SweepRun] = {}
        for settings in self._settings():
            values = {part: dict(fields) for part, fields in base.items()}
            values["model"]["p"] = self._modulus(settings)
            for name, value in settings.items():
                part, key = name.split(".")
                values[part][key] = value
            named = ", ".join(f"{name}={value!r}" for name, value in settings.items())
            run = from_dict(SweepRun, values, f"the run with {named}" if named else "the run")
            found.setdefault(run.name, run)
        return tuple(found.values())

    def _modulus(self, settings: Mapping[str, Any]) -> Any:
        """The model's p: the task's, unless another was written down for it, which is an error."""
        given = self.model.p
        follows = given in (HookedMLPConfig.p, self.task.p)
        return settings.get("task.p", self.task.p) if follows else given

    def _settings(self) -> Iterator[dict[str, Any]]:
        seeds = [{}] if self.seeds is None else [dict.fromkeys(SEEDS, i) for i in range(self.seeds)]
        for each in self.runs or ({},):
            for point in itertools.product(*self.grid.values()):
                for seed in seeds:
                    yield {**each, **dict(zip(self.grid, point, strict=True)), **seed}


PARTS = {each.name: each.default_factory for each in dataclasses.fields(SweepRun)}
"""The dataclasses of one run, by name."""


def _one_number(value: Any) -> Any:
    """The same values with 1.0 as 1, so that both are one run."""
    if isinstance(value, Mapping):
        return {key: _one_number(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_one_number(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names and values; numpy's numbers as Python's."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", plain(value)


def _values(name: str, values: Any) -> tuple[Any, ...]:
    """The values of one axis of the grid, of which there must be some."""
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else None
    if hasattr(values, "tolist"):  # an array
        listed = values.tolist()
    if not isinstance(listed, Sequence) or not listed:
        raise ValueError(f"grid: {name}={values!r} must be a list of one or more values")
    return tuple(plain(value) for value in listed)


def _check_setting(name: str) -> None:
    part, _, key = name.partition(".")
    known = {f.name for f in dataclasses.fields(PARTS[part])} if part in PARTS else set()  # type: ignore[arg-type]
    if key not in known:
        choices = sorted(known) if known else sorted(PARTS)
        raise ValueError(
            f"setting {name!r} is unknown: {part if known else 'a setting'} "
            f"{'has' if known else 'begins with one of'} {', '.join(choices)}"
            f"{'' if known else ', as in split.label_noise'}"
        )
