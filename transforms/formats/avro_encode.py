"""Columns as Avro's bytes, column by column: no row passes through Python.

A row is its fields behind one another, each as long as its value makes it. So a column becomes pieces, one a row, and
the pieces of all columns are dealt to their places in one buffer:

    lengths of a    1 2 1          rows    a b b | a a b b | a b b
    lengths of b    2 2 2          start   0       3         7
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Pieces(NamedTuple):
    """Bytes of each of several values, behind one another."""

    data: np.ndarray
    """uint8[sum of lengths]"""

    lengths: np.ndarray
    """int64[values]"""


def encoded(block: pa.RecordBatch) -> Pieces:
    """The rows of a block, whose columns have the types of `avro_schema.avro_type`; each may be null."""
    return joined([_nullable(column) for column in block.columns], block.num_rows)


def joined(parts: Sequence[Pieces], count: int) -> Pieces:
    """Value by value, the pieces of all parts behind one another."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.zeros(count, np.int64)
    for part in parts:
        lengths += part.lengths
    ends = np.cumsum(lengths)
    places = ends - lengths
    out = np.empty(int(ends[-1]) if count else 0, np.uint8)
    for part in parts:
        if len(part.data):
            _deal(out, places, part)
        places = places + part.lengths
    return Pieces(out, lengths)


def _deal(out: np.ndarray, places: np.ndarray, part: Pieces) -> None:
    """Put each piece at its place."""
    there = np.flatnonzero(part.lengths)
    lengths, places = part.lengths[there], places[there]
    width = int(lengths[0])
    if width <= 16 and (lengths == width).all():
        for at, column in enumerate(part.data.reshape(-1, width).T):
            out[places + at] = column
        return
    starts = np.cumsum(lengths) - lengths
    out[np.repeat(places - starts, lengths) + np.arange(len(part.data))] = part.data


def numbers(values: np.ndarray) -> Pieces:
    """int64 values as Avro's `int` and `long`: zigzag, then 7 bits a byte, the lowest first.

    >>> numbers(np.array([0, -1, 64])).data.tolist()
    [0, 1, 128, 1]
    """
    left = ((values << 1) ^ (values >> 63)).view(np.uint64)
    width = max(1, -(-int(left.max(initial=0)).bit_length() // 7))
    if width == 1:
        return Pieces(left.astype(np.uint8), np.ones(len(values), np.int64))
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(7)
    groups = left[:, None] >> shifts
    more = groups >= 0x80
    data = ((groups & np.uint64(0x7F)) | (more.astype(np.uint64) << np.uint64(7))).astype(np.uint8)
    wanted = np.concatenate([np.ones((len(values), 1), bool), more[:, :-1]], axis=1)
    return Pieces(data[wanted], wanted.sum(axis=1))


def fixed_width(values: np.ndarray) -> Pieces:
    """Values of one width, as they lie in memory."""
    width = values.dtype.itemsize
    return Pieces(np.ascontiguousarray(values).view(np.uint8).reshape(-1), np.full(len(values), width, np.int64))


def _nullable(column: pa.Array) -> Pieces:
    """The union of null and the type: 0, or 1 and the value; a column of nulls is nothing."""
    if pa.types.is_null(column.type):
        return Pieces(np.empty(0, np.uint8), np.zeros(len(column), np.int64))
    branch = np.full(len(column), 2, np.uint8)
    if not column.null_count:
        return joined([fixed_width(branch), _values(column)], len(column))
    valid = np.asarray(column.is_valid())
    branch[~valid] = 0
    values = _values(column.drop_null())
    lengths = np.zeros(len(column), np.int64)
    lengths[valid] = values.lengths
    return joined([fixed_width(branch), Pieces(values.data, lengths)], len(column))


def _values(column: pa.Array) -> Pieces:
    """Values of which none is null."""
    kind, types = column.type, pa.types
    if types.is_struct(kind):
        return joined([_nullable(part) for part in column.flatten()], len(column))
    if types.is_list(kind):
        return lists(column, _nullable(column.flatten()))
    if types.is_map(kind):
        entries = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        keys, values = entries.flatten().flatten()
        return lists(entries, joined([_values(keys), _nullable(values)], len(keys)))
    if types.is_boolean(kind) or types.is_float16(kind):
        column = column.cast(pa.uint8() if types.is_boolean(kind) else pa.float32())
        return fixed_width(column.to_numpy(zero_copy_only=False))
    if types.is_floating(kind):
        return fixed_width(column.to_numpy(zero_copy_only=False))
    if types.is_integer(kind):
        return numbers(column.to_numpy(zero_copy_only=False).astype(np.int64))
    if types.is_decimal(kind):
        turned = big_endian(column)
        return joined([numbers(turned.lengths), turned], len(column))
    if types.is_temporal(kind):
        return numbers(column.view(pa.int32() if kind.bit_width == 32 else pa.int64()).to_numpy().astype(np.int64))
    if types.is_fixed_size_binary(kind):
        size = kind.byte_width
        data = np.frombuffer(column.buffers()[1] or b"", np.uint8)[column.offset * size :][: len(column) * size]
        return Pieces(data, np.full(len(column), size, np.int64))
    return characters(column.cast(pa.large_binary()))


def big_endian(column: pa.Array) -> Pieces:
    """Decimals, none of them null, as two's complement with the highest byte first."""
    width = column.type.bit_width // 8
    data = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width :][: len(column) * width]
    return Pieces(data.reshape(-1, width)[:, ::-1].reshape(-1), np.full(len(column), width, np.int64))


def characters(column: pa.Array) -> Pieces:
    """Values of large_binary, none of them null: their length, and so many bytes."""
    offsets = np.frombuffer(column.buffers()[1] or b"", np.int64)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(offsets)
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    data = data[offsets[0] : offsets[-1]] if len(column) else data[:0]
    return joined([numbers(lengths), Pieces(data, lengths)], len(column))


def lists(column: pa.Array, items: Pieces) -> Pieces:
    """Lists of items, given their items: how many, these, and a 0; an empty one is a 0."""
    counts = np.asarray(pc.list_value_length(column)).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(items.lengths)])
    stops = np.cumsum(counts)
    grouped = Pieces(items.data, ends[stops] - ends[stops - counts])
    told = numbers(counts[counts > 0])
    lengths = np.zeros(len(counts), np.int64)
    lengths[counts > 0] = told.lengths
    end = Pieces(np.zeros(len(counts), np.uint8), np.ones(len(counts), np.int64))
    return joined([Pieces(told.data, lengths), grouped, end], len(counts))
