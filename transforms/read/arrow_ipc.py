"""Arrow IPC files and streams: splits are record batches, or ranges of rows in one large batch.

Of a stream on this machine too, which is walked once to find its batches; one that is remote, compressed or has
dictionaries is one split, whose batches are found in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import pyarrow as pa

from beamsplit.transforms.read.arrow_batch import CONTINUES, BatchFile, Unsupported
from beamsplit.transforms.read.arrow_stream import END, StreamFile, ends_early, goes_on
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.one_file import check_one_arrow
from beamsplit.transforms.read.plain_types import plain_schema
from beamsplit.transforms.read.result import ReadOptions, ReadResult, RowWindow, conform, lacks, no_rows
from beamsplit.transforms.read.streams import is_local, open_arrow, open_stream
from beamsplit.transforms.read.text_counts import enough
from beamsplit.transforms.split import Split

LEAST_ROWS = 65_536
"""A record batch is not cut into ranges of fewer rows."""

IN_TURN = -1
"""`stop` of a split that is a whole stream, read from its beginning."""


def is_file(path: str) -> bool:
    """Whether it is the IPC file format, which knows where each batch is; else it is a stream."""
    with open_stream(path) as stream:
        return stream.read(6) == b"ARROW1"


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """The schema at the head of the file."""
    path = file.path
    with open_arrow(path) as source:
        if not is_file(path):
            return plain_schema(pa.ipc.open_stream(source).schema)
        found = pa.ipc.open_file(source).schema
        check_one_arrow(source, path)
        return plain_schema(found)


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """Splits of about `target_bytes`."""
    path, size = file.path, file.size
    if is_file(path):
        with open_arrow(path) as source:
            check_one_arrow(source, path)
        lengths = _batch_rows(path)
    else:
        found = _stream_rows(path)
        if found is None:
            return [Split("arrow", (path,), (number, 0), 0, IN_TURN, 0, None, size)]
        lengths = found
    splits: list[Split] = []
    row_bytes = size / max(sum(lengths), 1)
    first_row = start = rows = 0

    def add(stop: int, begin: int = 0, end: int | None = None) -> None:
        weight = int(((rows if end is None else end) - begin) * row_bytes)
        splits.append(Split("arrow", (path,), (number, len(splits)), start, stop, first_row, rows, weight, begin, end))

    for at, length in enumerate(lengths):
        if rows and (rows + length) * row_bytes > target_bytes:
            add(at)
            start, first_row, rows = at, first_row + rows, 0
        rows += length
        parts = max(1, min(round(length * row_bytes / target_bytes), length // LEAST_ROWS))
        if start == at and parts > 1:
            step = -(-length // parts)
            for begin in range(0, length, step):
                add(at + 1, begin, min(begin + step, length))
            start, first_row, rows = at + 1, first_row + rows, 0
    if rows:
        add(len(lengths))
    return splits


def _batch_rows(path: str) -> list[int]:
    with open_arrow(path) as source:
        reader = pa.ipc.open_file(source)
        if is_local(path):
            with suppress(Unsupported), BatchFile(path, reader.schema) as file:
                return [file.rows(at) for at in range(len(file.blocks))]
        if len(reader.schema):
            reader = _reader(source, [_smallest(reader.schema)])
        return [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]


def _stream_rows(path: str) -> list[int] | None:
    """Rows of each batch of a stream; None where they are only known once it is read."""
    if not is_local(path):
        return None
    with open_arrow(path) as source:
        schema = pa.ipc.open_stream(source).schema
    with suppress(Unsupported), StreamFile(path, schema) as file:
        file.check(range(len(file.blocks)))
        return [file.rows(at) for at in range(len(file.blocks))]
    return None


def _smallest(schema: pa.Schema) -> int:
    """The field that takes least to read."""
    widths = [getattr(kind, "bit_width", 1 << 10) if pa.types.is_primitive(kind) else 1 << 10 for kind in schema.types]
    return widths.index(min(widths))


def _reader(source: pa.NativeFile, fields: list[int]) -> pa.ipc.RecordBatchFileReader:
    """A reader that spends nothing on other fields."""
    source.seek(0)
    return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False))


def _batches(split: Split, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Whole batches, by Arrow's own reader."""
    path = split.paths[0]
    with open_arrow(path) as source:
        if not is_file(path):
            stream = pa.ipc.open_stream(source)
            yield from stream if split.stop == IN_TURN else islice(stream, split.start, split.stop)
            if split.stop == IN_TURN:
                _check_end(source, path)
            return
        reader = pa.ipc.open_file(source)
        there = [at for name in names if (at := reader.schema.get_field_index(name)) >= 0]
        if reader.num_record_batches and len(there) < len(reader.schema):
            reader = _reader(source, there)
        for at in range(split.start, split.stop):
            yield reader.get_batch(at)


def _check_end(source: pa.NativeFile, path: str) -> None:
    """Raise where a stream that was read has no mark at its end: Arrow takes what was cut off there for whole."""
    end, size = source.tell(), source.size()
    source.seek(0)
    # Before Arrow 0.15 messages began without a mark, and zero bytes that follow ended a stream.
    mark = END if source.read(len(CONTINUES)) == CONTINUES else END[len(CONTINUES) :]
    source.seek(max(0, end - len(mark)))
    if end > size or source.read(len(mark)) != mark:
        raise ends_early(path)
    if end < size:
        raise goes_on(path, end)


def count(split: Split) -> int:
    """Rows in the split; where it has a `row_stop` that many are enough."""
    return enough((batch.num_rows for batch in _batches(split, [])), split.row_stop)


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split."""
    path = split.paths[0]
    if is_local(path) and split.stop != IN_TURN:
        whole, batches = (pa.ipc.open_file, BatchFile) if is_file(path) else (pa.ipc.open_stream, StreamFile)
        with open_arrow(path) as source:
            schema = whole(source).schema
        with suppress(Unsupported), batches(path, schema) as file:
            file.check(range(split.start, split.stop))
            missing = next((field for field in options.data_schema if field.name not in schema.names), None)
            for part, number in _parts(file, split, options):
                parsed = conform(part, options.data_schema)
                if missing is not None:
                    parsed = no_rows(part.num_rows, options.data_schema, lacks(missing, schema.names))
                yield from parsed.results(split.origin_file(), number, options)
            return
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    for batch in _batches(split, options.data_schema.names):
        begin, end, number = window.next(batch.num_rows)
        if begin < end:
            part = conform(batch.slice(begin, end - begin), options.data_schema)
            yield from part.results(split.origin_file(), number + begin, options)
        if window.done:
            return


def _parts(file: BatchFile, split: Split, options: ReadOptions) -> Iterator[tuple[pa.RecordBatch, int]]:
    """(about a block of rows, number of the first of them), in turn."""
    names = [name for name in options.data_schema.names if name in file.schema.names]
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    for at in range(split.start, split.stop):
        if window.done:
            return
        rows = file.rows(at)
        begin, end, number = window.next(rows)
        share = len(names) / max(len(file.schema), 1)
        step = options.rows_at_once(file.blocks[at].body * share / max(rows, 1))
        for start in range(begin, end, step):
            yield file.read(at, names, start, min(start + step, end)), number + start
