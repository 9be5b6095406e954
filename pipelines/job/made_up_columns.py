"""Rows made up from the types of their columns, to bind a model to and to measure with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from beamsplit.models.values.tensors import column_type, output_field, ragged_to_arrow, to_arrow
from beamsplit.transforms.kafka.schema import UNKNOWN_SIZE, draw_values, rows_to_draw


def made_up(schema: pa.Schema, sizes: Mapping[str, tuple[int, ...]], seed: int = 0) -> pa.RecordBatch:
    """Rows to bind and to measure with: normal floats, integers 0 and 1, short texts; nulls where a type has neither.

    Args:
        schema: of the rows.
        sizes: of the rows of columns of lists, where they are known.
        seed: of the numbers.
    """
    shapes = {}
    for field in schema:
        kind = column_type(field.type)
        dims = () if kind is None else kind.shape
        known = sizes.get(field.name, ())
        known = known if len(known) == len(dims) else (UNKNOWN_SIZE,) * len(dims)
        shapes[field.name] = tuple(one if dim is None else dim for dim, one in zip(dims, known, strict=True))
    rows = rows_to_draw(shapes)
    rng = np.random.default_rng(seed)
    arrays = [_column(field, (rows, *shapes[field.name]), rng) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(field: pa.Field, shape: tuple[int, ...], rng: np.random.Generator) -> pa.Array:
    kind = column_type(field.type)
    if kind is None:
        return pa.nulls(shape[0], field.type)
    values = draw_values(kind.dtype, shape, rng)
    plain = output_field(field.name, kind.dtype, None if None in kind.shape else shape[1:], len(shape) - 1)
    made = ragged_to_arrow(list(values), plain) if None in kind.shape else to_arrow(values, plain)
    return made if made.type == field.type else _as(made, field.type)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    from beamsplit.transforms.read.cast import cast_exactly

    return cast_exactly(column, kind)[0]
