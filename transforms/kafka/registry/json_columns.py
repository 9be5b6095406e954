"""Columns beside a plain schema of JSON: of which rows it surely holds, told without making their JSON.

What is not sure (a null where there may be none, a number near a limit whose text is shorter than it is, a column whose
JSON is of many kinds) is left to the validator.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.kafka.registry.json_plain import EXACT, Limits, PlainSchema, Property
from beamsplit.transforms.write.plain_columns import plain_values

_ROUNDED = 2.0**-22
"""How far, of its size, the text of a float32 may be from it, and more."""


def doubtful(schema: PlainSchema, rows: pa.RecordBatch) -> np.ndarray:
    """bool[rows]: of which it is not sure that the schema holds.

    >>> schema = PlainSchema({"y": Property("number", limits=Limits(most=1.0))}, frozenset(["y"]), True)
    >>> doubtful(schema, pa.record_batch({"y": [0.5, 2.0, None]})).tolist()
    [False, True, True]
    """
    found = np.full(rows.num_rows, not schema.required <= {*rows.schema.names})
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        one = schema.properties.get(name)
        if one is not None:
            found |= _of_column(column, one)
        elif schema.closed or not _is_written_here(column.type):
            found[:] = True
    return found


def _is_written_here(kind: pa.DataType) -> bool:
    """Whether its JSON is ours, and not what came."""
    return not isinstance(kind, pa.JsonType) and not pa.types.is_nested(kind)


def _of_column(column: pa.Array, one: Property) -> np.ndarray:
    if isinstance(column.type, pa.FixedShapeTensorType):
        column = plain_values(column)
    if isinstance(column.type, pa.DictionaryType):
        column = column.dictionary_decode()
    if not one.is_list:
        return _single(column, one)
    types = pa.types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    if isinstance(column, pa.ExtensionArray) or not any(is_list(column.type) for is_list in kinds):
        return np.ones(len(column), bool)
    found = _nulls(column, one)
    lengths = np.asarray(pc.list_value_length(column).fill_null(0)).astype(np.int64)
    found |= ((lengths < one.lengths[0]) | (lengths > one.lengths[1])) & ~np.asarray(column.is_null())
    elements = np.flatnonzero(_single(column.flatten(), Property(one.kind, limits=one.limits)))
    found[np.searchsorted(np.cumsum(lengths), elements, side="right")] = True
    return found


def _nulls(column: pa.Array, one: Property) -> np.ndarray:
    return np.zeros(len(column), bool) if one.nullable or not column.null_count else np.asarray(column.is_null())


def _single(column: pa.Array, one: Property) -> np.ndarray:
    kind, types = column.type, pa.types
    found = _nulls(column, one)
    if one.kind == "boolean" and types.is_boolean(kind):
        return found
    if one.kind == "string" and (types.is_string(kind) or types.is_large_string(kind)):
        if one.among is not None:
            known = pc.is_in(column, pa.array(sorted(one.among), kind))
            found |= ~np.asarray(known) & ~np.asarray(column.is_null())
        return found
    if types.is_integer(kind) and one.kind in ("integer", "number"):
        return found | _beyond(column, one.limits, 0.0) if one.limits != Limits() else found
    if types.is_floating(kind) and one.kind == "number":
        if not one.nullable:  # What is not finite is written as null.
            found |= ~np.asarray(pc.is_finite(column).fill_null(True))
        narrow = 0.0 if types.is_float64(kind) else _ROUNDED
        return found | _beyond(column, one.limits, narrow) if one.limits != Limits() else found
    return np.ones(len(column), bool)


def _beyond(column: pa.Array, limits: Limits, rounded: float) -> np.ndarray:
    """Which numbers lie beyond the limits, or may."""
    values = np.asarray(column.cast(pa.float64(), safe=False).fill_null(np.nan))
    values = np.where(np.isinf(values), np.nan, values)  # Written as null.
    found = np.abs(values) >= EXACT
    away = np.abs(values) * rounded + (1e-44 if rounded else 0.0)
    for ends in (values - away, values + away):
        broken = limits.broken(ends)
        found = found if broken is None else found | broken
    return found
