"""Frequency, amplitude and phase of every neuron at 100 checkpoints, against a loop over neurons.

    python benchmarks/extract.py [--p 113 --d-mlp 512 --checkpoints 100]

The loop goes over neurons and transforms the three rows of each by real FFTs at one call; it finds
per_matrix frequencies, the simplest mode, while the library finds joint ones, with power shares, IPR
and third harmonics. What both say of one checkpoint is compared first. Exits with status 1 if the
library takes more than 1/15 of the loop's time, or the loop itself more than 20 ms a checkpoint.
"""

import argparse

import numpy as np
import torch
from timing import finish, interleaved

from grok_interp import neurons
from grok_interp.weights import MLPWeights

LEAST_GAIN, MOST_LOOP_MS = 15.0, 20.0


def by_loop(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequency, amplitude and phase ``[d_mlp, 3]`` of rows ``[d_mlp, 3, p]`` of one checkpoint."""
    d_mlp, matrices, p = columns.shape
    frequency = np.empty((d_mlp, matrices), dtype=np.int64)
    dominant = np.empty((d_mlp, matrices), dtype=np.complex64)
    each = np.arange(matrices)
    for neuron in range(d_mlp):
        spectrum = np.fft.rfft(columns[neuron])
        k = np.abs(spectrum[:, 1:]).argmax(1) + 1
        frequency[neuron] = k
        dominant[neuron] = spectrum[each, k]
    return frequency, 2 * np.abs(dominant) / p, np.angle(dominant)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--p", type=int, default=113)
    parser.add_argument("--d-mlp", type=int, default=512)
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    shape = (args.checkpoints, 3, args.d_mlp, args.p)
    rows = torch.randn(shape, generator=generator)
    weights = MLPWeights(rows[:, :2].mT.contiguous(), rows[:, 2].contiguous())
    columns = np.ascontiguousarray(rows[0].mT.permute(2, 0, 1).numpy())

    table = neurons.extract(weights[0], frequency="per_matrix")
    frequency, amplitude, phase = by_loop(columns)
    assert np.array_equal(table.frequency.numpy().T, frequency)
    assert np.allclose(table.amplitude.numpy().T, amplitude, atol=1e-5)
    assert np.abs(np.angle(np.exp(1j * (table.phase.numpy().T - phase)))).max() < 1e-4

    seconds = interleaved(
        {"library": lambda: neurons.extract(weights), "loop": lambda: by_loop(columns)},
        args.rounds,
    )
    library, loop = seconds["library"] / args.checkpoints, seconds["loop"]
    gain = loop / library
    print(
        f"p={args.p}, d_mlp={args.d_mlp}, {args.checkpoints} checkpoints, {torch.get_num_threads()} threads"
    )
    print(f"loop over neurons / library, a checkpoint: {gain:.1f} (at least {LEAST_GAIN:g})")
    print(f"the loop takes {loop * 1e3:.1f} ms a checkpoint (at most {MOST_LOOP_MS:g})")
    missed = []
    if gain < LEAST_GAIN:
        missed.append(
            f"the loop takes {gain:.1f} times the library's time, at least {LEAST_GAIN:g}"
        )
    if loop * 1e3 > MOST_LOOP_MS:
        missed.append(f"the loop takes {loop * 1e3:.1f} ms a checkpoint, at most {MOST_LOOP_MS:g}")
    finish(missed)


if __name__ == "__main__":
    main()
