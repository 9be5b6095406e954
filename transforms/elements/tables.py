"""Rows as people have them in memory: as blocks, and back in the same shape. No Beam.

pa.Table, pa.RecordBatch, what has __arrow_c_stream__ (Polars, DuckDB, ...)
{name: numpy array}, pandas.DataFrame
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.elements.values import array_of_column, column_of_array

GiveBack = Callable[["pa.Table", "np.ndarray[Any, Any] | None"], Any]
"""Makes of scored rows what the data came as; the positions of those rows in it, or None for all."""


@dataclass(frozen=True)
class TableRows:
    """Some rows."""

    table: pa.Table
    give_back: GiveBack


def rows_of(data: Any, varying: Sequence[str] = ()) -> TableRows:
    """The rows of data, whatever it is.

    >>> rows_of({"x": np.zeros((2, 3), np.float32)}).table.schema.field("x").type.shape
    [3]

    Args:
        data: a table; see above.
        varying: names of arrays whose rows have another shape in other data.

    Raises:
        UsageError: it is no table, or its columns are of unlike lengths.
    """
    if isinstance(data, pa.RecordBatch):
        return TableRows(pa.Table.from_batches([data]), _as_batch)
    if isinstance(data, pa.Table):
        return TableRows(data, lambda table, _: table)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _of_pandas(data)
    if isinstance(data, Mapping):
        return TableRows(_of_arrays(data, varying), lambda table, _: _as_arrays(table))
    if hasattr(data, "__arrow_c_stream__") and not isinstance(data, pa.ChunkedArray):
        return TableRows(pa.table(data), lambda table, _: table)
    raise UsageError(
        f"the data is {_no_table(data)}, which is no table; give a pyarrow Table or RecordBatch, a dict of numpy "
        "arrays, a pandas DataFrame, or a list of dicts"
    )


def _no_table(data: Any) -> str:
    """What it is instead."""
    kind = f"a {type(data).__name__}"
    if not isinstance(data, (list, tuple)):
        return kind
    if not data:
        return f"an empty {type(data).__name__}"
    other = next((at, one) for at, one in enumerate(data) if not isinstance(one, Mapping))
    return f"{kind} whose item {other[0]} is a {type(other[1]).__name__}"


def empty_block(schema: pa.Schema) -> pa.RecordBatch:
    """No rows of a schema."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def as_one_batch(table: pa.Table) -> pa.RecordBatch:
    """All rows as one record batch; they are copied only where they lie in several."""
    if not table.num_rows:
        return empty_block(table.schema)
    batches = table.combine_chunks().to_batches()
    if len(batches) == 1:
        return batches[0]
    # A column of more than 2 GB of text stays in several pieces.
    raise UsageError(f"{table.num_rows:,} rows are too many to be scored at once; give fewer")


def _as_batch(table: pa.Table, _: Any) -> pa.RecordBatch:
    return as_one_batch(table)


def _as_arrays(table: pa.Table) -> dict[str, Any]:
    block = as_one_batch(table)
    return {name: array_of_column(column) for name, column in zip(block.schema.names, block.columns, strict=True)}


def _of_arrays(data: Mapping[str, Any], varying: Sequence[str]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name, values in data.items():
        values = as_array(name, values)
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            columns[name] = values
            continue
        if values.ndim == 0:
            raise UsageError(f"{name!r} is the single value {values!r}, and an array with a row a value is wanted")
        try:
            columns[name] = column_of_array(values, name in varying)
        except (pa.ArrowException, TypeError) as error:
            raise UsageError(
                f"{name!r} holds {values.dtype} that is no column: {' '.join(str(error).split())}"
            ) from None
    lengths = {name: len(column) for name, column in columns.items()}
    if len({*lengths.values()}) > 1:
        told = ", ".join(f"{name}: {rows}" for name, rows in lengths.items())
        raise UsageError(f"the arrays have unlike numbers of rows ({told}); the first axis of each carries the rows")
    return pa.table(columns)


def as_array(name: str, values: Any) -> Any:
    """Values as an array; rows of unlike shapes as objects; Arrow's arrays as they are.

    >>> as_array("x", [[1, 2], [3]]).shape
    (2,)

    Raises:
        UsageError: the rows are of unlike ranks.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        if values.ndim > 1:
            raise UsageError(
                f"{name!r} is a masked array of {values.ndim} axes, and what is masked has no value; fill it with "
                "numpy.ma.filled, or give columns of one value a row, in which it is null"
            )
        return pa.array(values.data, mask=np.ma.getmaskarray(values))
    try:
        return np.asarray(values)
    except ValueError:
        rows = [np.asarray(value) for value in values]
        if len({row.ndim for row in rows}) > 1:
            raise UsageError(f"{name!r} has rows of unlike numbers of axes; give rows of one rank") from None
        made = np.empty(len(rows), dtype=object)
        made[:] = rows
        return made


def _of_pandas(frame: Any) -> TableRows:
    import pandas

    def give_back(table: pa.Table, rows: Any) -> Any:
        arrays = _as_arrays(table)
        flat = {name: values if values.ndim == 1 else list(values) for name, values in arrays.items()}
        return pandas.DataFrame(flat, index=frame.index if rows is None else frame.index[rows])

    names = list(map(str, frame.columns))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"the frame has {names.count(twice)} columns {twice!r}; rename all but one of them")
    columns = {}
    for name in frame.columns:
        values = frame[name]
        if values.dtype == object:
            columns[str(name)] = column_of_array(values.where(values.notna(), None).to_numpy())
        elif isinstance(values.dtype, np.dtype):
            columns[str(name)] = column_of_array(values.to_numpy())  # NaN is a number there, and stays one.
        else:
            columns[str(name)] = pa.array(values, from_pandas=True)
    return TableRows(pa.table(columns), give_back)
