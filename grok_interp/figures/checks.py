"""What figures ask of the data that they draw: one clear error where it is not so."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from grok_interp.neurons import NeuronTable


def require(frame: pd.DataFrame, columns: Collection[str], source: str) -> None:
    """Raise a ValueError that names ``source`` if a frame is empty or lacks a column."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"got a {type(frame).__name__}, expected a pandas DataFrame: pass {source}")
    missing = [name for name in columns if name not in frame]
    if missing or len(frame) == 0:
        raise ValueError(
            f"the frame has {len(frame)} rows and no column {missing}, expected {list(columns)}: "
            f"pass {source}"
        )


def one_value(frame: pd.DataFrame, column: str, advice: str) -> None:
    """Raise a ValueError that ends with ``advice`` if a column has several values."""
    values = frame[column].drop_duplicates().tolist()
    if len(values) > 1:
        raise ValueError(f"the rows are of the {column} {values}, expected one: {advice}")


def one_row_each(frame: pd.DataFrame, columns: Collection[str], advice: str) -> None:
    """Raise a ValueError that ends with ``advice`` if several rows agree in ``columns``."""
    repeated = frame.duplicated(list(columns))
    if repeated.any():
        cell = frame.loc[repeated, list(columns)].iloc[0].to_dict()
        raise ValueError(f"several rows are of the cell {cell}: {advice}")


def one_network(table: NeuronTable) -> None:
    """Raise a ValueError if a table holds a batch of networks."""
    if table.weights.batch_shape:
        raise ValueError(
            f"the table holds a batch of shape {table.weights.batch_shape}, expected one network: index "
            "it first, as in table[-1]"
        )
