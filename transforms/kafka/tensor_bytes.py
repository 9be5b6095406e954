"""Raw tensor bytes: the elements of a row's tensors one after the other, little-endian, in C order."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from beamsplit.models.values.tensors import ColumnType, column_type, to_arrow
from beamsplit.transforms.kafka.parsed import EMPTY, ParsedRows


def parse_tensors(values: pa.Array, schema: pa.Schema) -> ParsedRows:
    """Values (binary) as rows of tensors; the values' own memory where there is one tensor a row."""
    kinds = [_kind(field) for field in schema]
    if any(None in kind.shape for kind in kinds):
        return _lists(values, schema.field(0), kinds[0])
    widths = [np.dtype(kind.dtype).itemsize * math.prod(size or 0 for size in kind.shape) for kind in kinds]
    row_bytes = sum(widths)
    ends, data = _lay_out(values)
    lengths = np.diff(ends)
    bad = _bad(values, lengths != row_bytes, lengths, f"{_describe(schema)} has {row_bytes}")
    sources = None
    rows = len(values)
    if bad:
        sources = np.delete(np.arange(rows), sorted(bad))
        rows = len(sources)
        kept = [data[ends[row] : ends[row + 1]] for row in sources.tolist()]
        data = np.concatenate(kept) if kept else np.empty(0, np.uint8)
    else:
        data = data[ends[0] : ends[-1]]
    table = data.reshape(rows, row_bytes)
    columns, at = [], 0
    for field, kind, width in zip(schema, kinds, widths, strict=True):
        part = np.ascontiguousarray(table[:, at : at + width])
        at += width
        dtype = np.dtype(kind.dtype).newbyteorder("<")
        if dtype == np.bool_:
            column = (part != 0).reshape(rows, *kind.shape)
        else:
            column = part.view(dtype).reshape(rows, *kind.shape)
        columns.append(to_arrow(column, field))
    return ParsedRows(pa.RecordBatch.from_arrays(columns, schema=schema), sources, bad)


def _lists(values: pa.Array, field: pa.Field, kind: ColumnType) -> ParsedRows:
    """One list of any length a row."""
    size = np.dtype(kind.dtype).itemsize
    ends, data = _lay_out(values)
    lengths = np.diff(ends)
    bad = _bad(values, lengths % size != 0, lengths, f"{field.name}: {kind.dtype}[?] has a multiple of {size}")
    sources = None
    if bad:
        sources = np.delete(np.arange(len(values)), sorted(bad))
        values = values.take(pa.array(sources))
        ends, data = _lay_out(values)
    items = np.frombuffer(data[ends[0] : ends[-1]].tobytes(), np.dtype(kind.dtype))
    offsets = ((ends - ends[0]) // size).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(items), type=field.type)
    return ParsedRows(pa.RecordBatch.from_arrays([lists], schema=pa.schema([field])), sources, bad)


def tensor_bytes(block: pa.RecordBatch) -> list[bytes]:
    """What `parse_tensors` reads: the bytes of each row's columns, one column after the other."""
    from beamsplit.models.values.tensors import to_numpy

    parts = []
    for column in block.columns:
        values = np.ascontiguousarray(to_numpy(column))
        parts.append(values.reshape(len(values), -1).view(np.uint8).reshape(len(values), -1))
    if not parts:
        return [b""] * block.num_rows
    table = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
    width = table.shape[1]
    whole = table.tobytes()
    return [whole[at : at + width] for at in range(0, width * block.num_rows, width)] if width else []


def _kind(field: pa.Field) -> ColumnType:
    kind = column_type(field.type)
    if kind is None:
        raise TypeError(f"column {field.name!r} of type {field.type} is no tensor")
    return kind


def _describe(schema: pa.Schema) -> str:
    return "a row of " + ", ".join(f"{field.name}: {column_type(field.type)}" for field in schema)


def _lay_out(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(where each value begins and the last ends, all bytes), as they lie in memory."""
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    return ends, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)


def _bad(values: pa.Array, wrong: np.ndarray, lengths: np.ndarray, wanted: str) -> dict[int, str]:
    bad = {row: f"the message has {lengths[row]} bytes, and {wanted}" for row in np.flatnonzero(wrong).tolist()}
    if values.null_count:
        bad |= dict.fromkeys(np.flatnonzero(values.is_null()).tolist(), EMPTY)
    return bad
