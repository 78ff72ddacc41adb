"""What studies ask of the runs that they are given, and what tells the runs of one cell from another's.

A cell is a combination of settings; its runs differ in their seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

TRAINING = [
    "loss",
    "optimizer",
    "weight_decay",
    "label_noise",
    "lr",
    "p",
    "d_mlp",
    "train_fraction",
    "steps",
]
"""The cells of a study of how networks are trained."""
PUBLISHED = {"own": 0.0023, "idealised": 0.955}
"""arXiv 2603.23784, abstract; which setting, pairs and frequency mode they are of is not stated there."""


def require(runs: pd.DataFrame, columns: Sequence[str], advice: str = "") -> None:
    """Raise a ValueError, that ends with ``advice``, if there are no runs or a column is missing."""
    missing = [name for name in columns if name not in runs]
    if missing or len(runs) == 0:
        raise ValueError(
            f"the study has {len(runs)} finished runs, without the columns {missing}: pass "
            f"sweep.read(path) of a sweep that was run{advice}"
        )


def check_seeds(runs: pd.DataFrame, cell: Sequence[str]) -> None:
    """Raise a ValueError if two runs of a cell have one seed, which would count one of them twice."""
    twice = runs.duplicated([*cell, "seed"])
    if twice.any():
        found = runs.loc[twice, [*cell, "seed"]].iloc[0].to_dict()
        raise ValueError(
            f"several runs are of {found}: the study tells runs apart by these alone, so leave other "
            "settings as one value"
        )
