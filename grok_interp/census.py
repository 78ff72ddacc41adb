"""Which frequencies the neurons of a table take, beside what an even spread would give.

For each frequency k, with A the geometric mean of a neuron's three amplitudes::

    energy_k = sum over neurons whose three frequencies are k of A^2,   share_k = energy_k / sum_j energy_j
    effective number of frequencies = 1 / sum_k share_k^2

Caveat: every column has a strongest frequency, in noise too. Random weights spread their neurons
evenly, about ``d_mlp / (m//2)`` at each frequency with the deviations of a multinomial draw; in joint
and input mode their three frequencies agree by construction. Compare with the table of an untrained
network.
"""

from __future__ import annotations

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_interp import fourier
from grok_interp.neurons import MATRICES, NeuronTable


def frequency_energy(table: NeuronTable) -> Float[Tensor, "*batch k"]:
    """Sum of squared :attr:`.NeuronTable.neuron_amplitude` over the neurons of each frequency.

    Neurons whose three frequencies differ, or that have none, are left out. The definition is this
    library's; arXiv 2301.05217, section 4, reads the frequencies of a network off the norms of its
    embedding's Fourier components instead.

    Args:
        table: The networks' table.

    Returns:
        ``energy_k`` for k in 1..m//2, in squared units of the weights.
    """
    k = table.frequency[..., 0, :]
    energy = torch.where(table.agrees, table.neuron_amplitude.square(), 0)
    return _by_frequency(k, energy, table.modulus)


def effective_frequencies(energy: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """Effective number of frequencies: the inverse participation ratio's inverse, 1 / sum share^2.

    1 if one frequency has all the energy, n if n share it equally. For N neurons of equal amplitude
    that draw one of K frequencies each, as random weights do, about ``K N / (N + K - 1)``.

    arXiv 2310.13061 takes the inverse participation ratio of each neuron's spectrum; its inverse, and
    over a network's energies, is this library's.

    Args:
        energy: Nonnegative numbers, such as :func:`frequency_energy` or
            :func:`grok_interp.mechanism.sum_shares`.

    Returns:
        A number in 1..K; NaN where there is no energy.
    """
    ratio = fourier.inverse_participation(energy)
    return torch.where(ratio > 0, 1 / ratio, torch.nan)


def frequency_census(table: NeuronTable) -> pd.DataFrame:
    """Neurons and energy by frequency, a table whose definition is this library's.

    Args:
        table: Of one network.

    Returns:
        A frame indexed by frequency, 1..m//2. ``neurons`` counts those whose three frequencies agree;
        ``W_a``, ``W_b`` and ``W_out`` count columns of each matrix; ``expected`` is the count at an
        even spread of all neurons, ``d_mlp / (m//2)``; ``energy_share`` is the share of
        :func:`frequency_energy`, NaN if no neuron agrees.

    Raises:
        ValueError: If the table holds a batch; index it first.
    """
    if table.weights.batch_shape:
        raise ValueError(
            f"the table holds a batch of shape {table.weights.batch_shape}: index it first, as in "
            "frequency_census(table[-1]); frequency_energy takes a batch"
        )
    m, energy = table.modulus, frequency_energy(table)
    taken = (table.frequency > 0).long()
    counts = _by_frequency(table.frequency, taken, m)
    columns = {
        "neurons": _by_frequency(table.frequency[0], table.agrees.long(), m),
        **dict(zip(MATRICES, counts, strict=True)),
        "expected": torch.full((m // 2,), table.d_mlp / (m // 2), dtype=torch.float64),
        "energy_share": energy / energy.sum(),
    }
    index = pd.RangeIndex(1, m // 2 + 1, name="frequency")
    return pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()}, index)


def _by_frequency(k: Int[Tensor, "*batch n"], values: Tensor, m: int) -> Tensor:
    """Sums of values over the neurons of each frequency; frequency 0 is none and falls away."""
    sums = values.new_zeros(*values.shape[:-1], m // 2 + 1)
    return sums.scatter_add_(-1, k, values)[..., 1:]
