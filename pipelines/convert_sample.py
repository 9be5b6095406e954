"""Rows of a sample as the tensors that a model takes by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.convert.original import Feeds, InputOf
from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type, unpack
from beamsplit.transforms.block import data_columns


def tensor_feeds(inputs: Mapping[str, InputOf], rows: pa.RecordBatch) -> Feeds:
    """An array for each input: of the column of its name, or the columns of numbers for the only one, a matrix.

    Raises:
        UsageError: the sample has no such columns, or of another shape.
    """
    have = data_columns(rows.schema)
    missing = [name for name in inputs if name not in have]
    if not missing:
        found = {name: _tensors(name, one, rows.column(name)) for name, one in inputs.items()}
    elif len(inputs) == 1 and next(iter(inputs.values())).example.ndim == 2:
        ((name, one),) = inputs.items()
        found = {name: _matrix(name, one, rows)}
    else:
        told = ", ".join(inputs)
        raise UsageError(
            f"--sample has the columns {', '.join(have)}, and the model takes {told}: {missing[0]!r} is missing"
        )
    least = min((one.rows for one in inputs.values() if one.rows is not None), default=None)
    if least is not None and rows.num_rows < least:
        raise UsageError(f"--sample has {rows.num_rows} rows, and the model takes {least} at once: give more")
    return {name: array if inputs[name].rows is None else array[: inputs[name].rows] for name, array in found.items()}


def _tensors(name: str, one: InputOf, column: pa.Array) -> np.ndarray[Any, Any]:
    kind = column_type(column.type)
    shape = one.example.shape[1:]
    if kind is None or kind.dtype == "string":
        raise UsageError(f"--sample has {column.type} in the column {name!r}, and the model takes numbers")
    values = unpack(column)
    if values.bad:
        raise UsageError(f"--sample has a null or lists of unlike lengths in the column {name!r}: give rows without")
    if values.offsets is not None:
        told: list[list[int]] = [] if values.shapes is None else values.shapes.tolist()
        lengths = {tuple(one) for one in told}
        if lengths != {shape}:
            raise _other_shape(name, shape, ", ".join(str(list(length)) for length in sorted(lengths)[:3]))
        array = values.values.reshape(-1, *shape)
    else:
        array = values.values
    if array.shape[1:] != shape:
        raise _other_shape(name, shape, str(list(array.shape[1:])))
    return np.ascontiguousarray(array, dtype=one.example.dtype)


def _other_shape(name: str, shape: tuple[int, ...], found: str) -> UsageError:
    return UsageError(f"--sample has {found} a row in the column {name!r}, and the model's example {list(shape)}")


def _matrix(name: str, one: InputOf, rows: pa.RecordBatch) -> np.ndarray[Any, Any]:
    width = one.example.shape[1]
    kinds = {column: column_type(rows.schema.field(column).type) for column in data_columns(rows.schema)}
    numbers = [
        column for column, kind in kinds.items() if kind is not None and kind.dtype != "string" and not kind.shape
    ]
    if len(numbers) != width:
        raise UsageError(
            f"--sample has {len(numbers)} columns of numbers ({', '.join(numbers)}) and no {name}, and the model takes "
            f"{name} [rows, {width}]: give a file of these columns, in their order, or a column {name}"
        )
    columns = [np.asarray(rows.column(column).to_numpy(False)) for column in numbers]
    return np.ascontiguousarray(np.stack(columns, axis=1), dtype=one.example.dtype)
