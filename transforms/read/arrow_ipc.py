"""Arrow IPC files and streams: splits are record batches, or ranges of rows in one large batch."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from transforms.read.plain_types import plain_schema
from transforms.read.result import ReadOptions, ReadResult, RowWindow, conform
from transforms.read.streams import open_arrow, open_stream
from transforms.split import Split

LEAST_ROWS = 65_536
"""A record batch is not cut into ranges of fewer rows."""


def is_file(path: str) -> bool:
    """Whether it is the IPC file format, which knows where each batch is; else it is a stream."""
    with open_stream(path) as stream:
        return stream.read(6) == b"ARROW1"


def schema(path: str) -> pa.Schema:
    """The schema at the head of the file."""
    with open_arrow(path) as source:
        return plain_schema((pa.ipc.open_file(source) if is_file(path) else pa.ipc.open_stream(source)).schema)


def split(path: str, number: int, size: int, target_bytes: int) -> list[Split]:
    """Splits of about `target_bytes`; a stream is one split, as its batches can only be found in turn."""
    if not is_file(path):
        return [Split("arrow", (path,), (number, 0), 0, 1, 0, None, size)]
    lengths = _batch_rows(path)
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
        if len(reader.schema):
            reader = _reader(source, reader, [0])
        return [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]


def _reader(
    source: pa.NativeFile, reader: pa.ipc.RecordBatchFileReader, fields: list[int]
) -> pa.ipc.RecordBatchFileReader:
    """A reader that spends nothing on other fields; it may still give them.

    A mapped file without compression is best read whole: its columns are then not copied, but stay mapped.
    """
    if not reader.num_record_batches or set(fields) == set(range(len(reader.schema))):
        return reader
    if isinstance(source, pa.MemoryMappedFile) and _is_mapped(source, reader.get_batch(0)):
        return reader
    source.seek(0)
    return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False))


def _is_mapped(source: pa.MemoryMappedFile, batch: pa.RecordBatch) -> bool:
    source.seek(0)
    whole = source.read_buffer(source.size())
    inside = range(whole.address, whole.address + whole.size)
    buffers = (buffer for column in batch.columns for buffer in column.buffers() if buffer is not None and buffer.size)
    return all(buffer.address in inside for buffer in buffers)


def _batches(split: Split, names: list[str]) -> Iterator[pa.RecordBatch]:
    path = split.paths[0]
    with open_arrow(path) as source:
        if not is_file(path):
            stream = pa.ipc.open_stream(source)
            yield from stream
            return
        reader = pa.ipc.open_file(source)
        there = [at for name in names if (at := reader.schema.get_field_index(name)) >= 0]
        reader = _reader(source, reader, there)
        for at in range(split.start, split.stop):
            yield reader.get_batch(at)


def count(split: Split) -> int:
    """Rows in the split."""
    return sum(batch.num_rows for batch in _batches(split, []))


def any_rows(split: Split) -> bool:
    """Whether there is a row in the split."""
    return any(batch.num_rows for batch in _batches(split, []))


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split; batches of a local file stay mapped."""
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    for batch in _batches(split, options.data_schema.names):
        begin, end, number = window.next(batch.num_rows)
        if begin < end:
            part = conform(batch.slice(begin, end - begin), options.data_schema)
            yield from part.results(split.origin_file(), number + begin, options)
        if window.done:
            return
