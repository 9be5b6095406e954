"""Rows that are read one after the other, gathered into blocks of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from beamsplit.transforms.read.result import Parsed, ReadOptions, ReadResult, conform
from beamsplit.transforms.split import Split

Row = TypeVar("Row")


class RowBuffer:
    """Rows on their way to a block, as columns of Python's values.

    Args:
        wanted: the columns of the block.
        own: the same columns, as values of the format can be.
    """

    def __init__(self, wanted: pa.Schema, own: pa.Schema) -> None:
        self.number = 0
        """Rows, those without values too."""
        self.bytes = 0
        self._wanted, self._own = wanted, own
        self._values: list[list[Any]] = [[] for _ in own]
        self._bad: dict[int, str] = {}

    def add(self, values: list[Any] | str, size: int) -> None:
        """A row in the order of the columns, or why it has no values; and how many bytes it has."""
        if isinstance(values, str):
            self._bad[self.number] = values
        else:
            for column, value in zip(self._values, values, strict=True):
                column.append(value)
        self.number += 1
        self.bytes += size

    def take(self) -> Parsed:
        """What was added."""
        if not self._values:
            return Parsed(pa.RecordBatch.from_struct_array(pa.array([{}] * self.number, pa.struct([]))), self.number)
        columns = [pa.array(values, field.type) for values, field in zip(self._values, self._own, strict=True)]
        parsed = Parsed(pa.RecordBatch.from_arrays(columns, schema=self._own), self.number, self._bad)
        where = parsed.positions()
        cast = conform(parsed.batch, self._wanted)
        return Parsed(cast.batch, self.number, {**self._bad, **{int(where[at]): why for at, why in cast.bad.items()}})


def in_blocks(
    split: Split,
    options: ReadOptions,
    own: pa.Schema,
    rows: Iterable[Row],
    values: Callable[[int, Row], tuple[list[Any] | str, int]],
) -> Iterator[ReadResult]:
    """The rows of a split that lie in its window.

    Args:
        split: what is read; origins are of its file.
        options: the columns that are wanted, and how large a block is.
        own: see `RowBuffer`.
        rows: of the split, in order.
        values: of a row by its number in the file, and the row, what `RowBuffer.add` takes.
    """
    first = split.first_row or 0
    buffer, at = RowBuffer(options.data_schema, own), -1
    for row in rows:
        if at + 1 == split.row_stop:
            break
        at += 1
        if at < split.row_start:
            continue
        buffer.add(*values(first + at, row))
        if buffer.number == options.block_rows or buffer.bytes >= options.block_bytes:
            yield from buffer.take().results(split.origin_file(), first + at + 1 - buffer.number, options)
            buffer = RowBuffer(options.data_schema, own)
    if buffer.number:
        yield from buffer.take().results(split.origin_file(), first + at + 1 - buffer.number, options)
