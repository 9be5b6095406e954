"""ORC: splits are stripes. pyarrow reads and writes them a stripe at a time, which is then in memory.

PyArrow does not say how many rows a stripe has: that is read from the file's footer, which it hands on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from beamsplit.models.graph.protobuf import fields
from beamsplit.transforms.formats.interfaces import Rows
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.plain_types import plain_schema
from beamsplit.transforms.read.result import ReadOptions, ReadResult, RowWindow, conform, lacks, no_rows
from beamsplit.transforms.read.streams import is_local, open_arrow
from beamsplit.transforms.split import Split
from beamsplit.transforms.write.plain_columns import written_column, written_type
from beamsplit.transforms.write.storage import open_input

STRIPE_BYTES = 64 << 20
"""Of the stripes that are written, before they are compressed."""

# Numbers of protobuf fields, in https://orc.apache.org/specification/ORCv1/.
_TAIL_FOOTER, _FOOTER_STRIPES = 2, 3
_INDEX, _DATA, _STRIPE_FOOTER, _ROWS = 2, 3, 4, 5


class Stripe(NamedTuple):
    """A stripe, by the file's footer."""

    rows: int
    bytes: int


class _Footer(NamedTuple):
    schema: pa.Schema
    stripes: tuple[Stripe, ...]


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """The Arrow schema of the file."""
    return plain_schema(_footer(file.path).schema)


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """Stripes, small ones together; one that is large stays whole, as it is decoded as a whole."""
    splits: list[Split] = []
    first_row = start = rows = size = 0
    stripes = _footer(file.path).stripes

    def add(stop: int) -> None:
        splits.append(Split("orc", (file.path,), (number, len(splits)), start, stop, first_row, rows, size))

    for at, stripe in enumerate(stripes):
        if rows and size + stripe.bytes > target_bytes:
            add(at)
            start, first_row, rows, size = at, first_row + rows, 0, 0
        rows, size = rows + stripe.rows, size + stripe.bytes
    if rows:
        add(len(stripes))
    return splits


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split."""
    path, wanted = split.paths[0], options.data_schema
    footer = _footer(path)
    missing = next((field for field in wanted if field.name not in footer.schema.names), None)
    # No columns at all are no rows.
    names = [name for name in wanted.names if name in footer.schema.names] or footer.schema.names[:1]
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    with open_arrow(path) as source:
        file = _open(source)
        for at in range(split.start, split.stop):
            begin, end, number = window.next(footer.stripes[at].rows)
            if begin == end:
                continue
            if missing is None:
                batch = file.read_stripe(at, columns=names)
                _check_rows(path, batch.num_rows, footer.stripes[at].rows)
                parsed = conform(batch.slice(begin, end - begin), wanted)
            else:
                parsed = no_rows(end - begin, wanted, lacks(missing, footer.schema.names))
            yield from parsed.results(split.origin_file(), number + begin, options)
            if window.done:
                return


def _check_rows(path: str, found: int, told: int) -> None:
    if found != told:
        raise DamagedFile(f"{path} is damaged: a stripe has {found:,} rows, and its footer tells {told:,}")


def _open(source: Any) -> Any:
    from pyarrow import orc

    return orc.ORCFile(source)


def _footer(path: str) -> _Footer:
    """Schema and stripes; those of a local file are kept until it changes."""
    if not is_local(path):
        return _read_footer(path)
    status = os.stat(path)
    return _kept_footer(path, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=256)
def _kept_footer(path: str, stamp: tuple[int, int]) -> _Footer:
    return _read_footer(path)


def _read_footer(path: str) -> _Footer:
    with open_arrow(path) as source:
        file = _open(source)
        # 4 bytes: "ORC" at the beginning and the length of the postscript at the end.
        size = file.content_length + file.stripe_statistics_length + file.file_footer_length
        size += file.file_postscript_length + 4
        if size != source.size():
            raise DamagedFile(
                f"{path} is damaged, or several ORC files behind one another: its footer tells of {size:,} bytes, and "
                f"it has {source.size():,}; give each a file, or write one file of all rows"
            )
        stripes = _stripes(path, file.reader.serialized_file_tail())
        _check_rows(path, file.nrows, sum(stripe.rows for stripe in stripes))
        return _Footer(file.schema, stripes)


def _stripes(path: str, tail: bytes) -> tuple[Stripe, ...]:
    found = []
    try:
        for number, _, place in fields(tail, 0, len(tail)):
            for inner, _, value in fields(tail, *place) if number == _TAIL_FOOTER else ():
                if inner == _FOOTER_STRIPES:
                    told = {key: number for key, _, number in fields(tail, *value)}
                    size = sum(told.get(key, 0) for key in (_INDEX, _DATA, _STRIPE_FOOTER))
                    found.append(Stripe(told.get(_ROWS, 0), size))
    except (ValueError, IndexError, TypeError) as error:
        raise DamagedFile(f"{path} is damaged: its footer is no list of stripes") from error
    return tuple(found)


class OrcFile:
    """An ORC file that is open for writing; it collects blocks into stripes by itself."""

    def __init__(self, out: Any, schema: pa.Schema) -> None:
        from pyarrow import orc

        self._schema = orc_schema(schema)
        self._file = out
        self._writer = orc.ORCWriter(out, compression="snappy", stripe_size=STRIPE_BYTES)
        # The first table tells the columns, of a file without rows too.
        self._writer.write(self._schema.empty_table())

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""
        columns = [_unsliced(written_column(one, f.type)) for one, f in zip(block.columns, self._schema, strict=True)]
        self._writer.write(pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write what waits and the footer."""
        self._writer.close()
        self._file.close()

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""
        self.close()


def _unsliced(column: pa.Array) -> pa.Array:
    """The same values in memory of their own: of slices within structs Arrow's writer takes other rows."""
    return pa.concat_arrays([column, column.slice(0, 0)]) if pa.types.is_nested(column.type) else column


open_file = OrcFile


def orc_schema(schema: pa.Schema) -> pa.Schema:
    """The columns as ORC has them: it has no unsigned or 16-bit floating-point numbers, and lists of one kind."""
    return pa.schema([pa.field(field.name, written_type(field.type, _single)) for field in schema])


_HELD_BY = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.float16(): pa.float32(),
    pa.null(): pa.string(),
    pa.date64(): pa.timestamp("ms"),
}


def _single(kind: pa.DataType) -> pa.DataType:
    return _HELD_BY.get(kind, kind)


def merge(out: Any, schema: pa.Schema, parts: Sequence[Rows]) -> None:
    """Write rows of files to one, stripe by stripe."""
    merged = OrcFile(out, orc_schema(schema))
    for path, start, stop, _ in parts:
        with open_input(path) as source:
            file, first = _open(source), 0
            for at in range(file.nstripes):
                batch = file.read_stripe(at)
                begin, end = max(start - first, 0), min(stop - first, batch.num_rows)
                if begin < end:
                    merged.write(batch.slice(begin, end - begin))
                first += batch.num_rows
    merged.close()


def check_field(field: pa.Field) -> None:
    """Raise for a column of a type that ORC has not."""
    file = OrcFile(sink := pa.BufferOutputStream(), pa.schema([field]))
    file.write(pa.record_batch([pa.nulls(2, field.type)], schema=pa.schema([field])))
    file._writer.close()
    _open(pa.BufferReader(sink.getvalue())).read()
