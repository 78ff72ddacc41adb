"""How ideal weights are made, and the demonstration of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from grok_interp.config.checks import (
    check_choice,
    check_count,
    check_flag,
    check_modulus,
    check_seed,
)
from grok_interp.config.choices import (
    AmplitudeRule,
    FrequencyMode,
    InputWaveform,
    OutputPhase,
    Waveform,
)


@dataclass(frozen=True)
class Recipe:
    """How ideal weights are made from extracted frequencies, amplitudes and phases.

    Attributes:
        frequency: Which frequency a neuron gets: the maximum of power in each matrix by itself
            (``"per_matrix"``), in W_a and W_b together (``"input"``), or of the product of the
            three normalised power spectra (``"joint"``).
        input_waveform: Wave of the ideal W_in columns. ``"sign"`` is no wave but two values of
            the column's own: the means of what lies above and below its mean.
        output_waveform: Wave of the ideal W_out rows.
        amplitude: ``"extracted"`` keeps each column's own amplitude; ``"uniform"`` gives every
            live neuron the mean amplitude of its matrix.
        output_phase: ``"own"`` keeps the extracted output phase. ``"phase_sum"`` writes
            phi_a + phi_b instead, which is the answer: a construction, never evidence (an
            untrained network then scores near 1).
        keep_constant: Add each column's mean, which is dropped otherwise, to its wave. (A sampled
            square wave has a mean of its own, up to its level over the points of a period.)

    Raises:
        ValueError: If a name is unknown, or ``keep_constant`` is not a bool.
    """

    frequency: FrequencyMode = "joint"
    input_waveform: InputWaveform = "square"
    output_waveform: Waveform = "cosine"
    amplitude: AmplitudeRule = "extracted"
    output_phase: OutputPhase = "own"
    keep_constant: bool = False

    def __post_init__(self) -> None:
        check_choice("frequency", self.frequency, FrequencyMode)
        check_choice("input_waveform", self.input_waveform, InputWaveform)
        check_choice("output_waveform", self.output_waveform, Waveform)
        check_choice("amplitude", self.amplitude, AmplitudeRule)
        check_choice("output_phase", self.output_phase, OutputPhase)
        check_flag("keep_constant", self.keep_constant)


@dataclass(frozen=True)
class DemoConfig:
    """The main job as one command: train, extract, idealize, control, and say what it shows.

    Attributes:
        out: Directory for summary.json, report.html and the two models.
        p: Modulus.
        d_mlp: Number of neurons.
        seed: Seed of weights, split, noise and control draws.
        clean_steps: Training steps of the run without label noise.
        noisy_steps: Training steps of the run with label noise.
        draws: Draws of each random control.

    Raises:
        TypeError: If ``p`` is not an int.
        ValueError: If a number is out of range.
    """

    out: Path = field(default_factory=lambda: Path("out/demo"))
    p: int = 59
    d_mlp: int = 512
    seed: int = 0
    clean_steps: int = 5000
    noisy_steps: int = 2000
    draws: int = 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        check_modulus(self.p)
        check_seed(self.seed)
        check_count("d_mlp", self.d_mlp, 1)
        check_count("clean_steps", self.clean_steps, 1)
        check_count("noisy_steps", self.noisy_steps, 1)
        check_count("draws", self.draws, 1)
