"""Parquet: splits are row groups, or ranges of rows in one where there are few of them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.read.result import ReadOptions, ReadResult, RowWindow, blocks_of, conform, missing_column
from transforms.read.streams import is_local, open_arrow
from transforms.split import Split

LEAST_ROWS = 65_536
"""A row group is not cut into ranges of fewer rows: each range may have to decode the rows before it."""


def footer(path: str) -> pq.FileMetaData:
    """The file's metadata; that of a local file is kept until the file changes."""
    stamp = _stamp(path)
    return _kept_footer(path, stamp) if stamp else _read_footer(path)


def _stamp(path: str) -> tuple[int, int] | None:
    """Changes when a local file is written anew."""
    if not is_local(path):
        return None
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _read_footer(path: str) -> pq.FileMetaData:
    with open_arrow(path) as source:
        return pq.ParquetFile(source).metadata


@lru_cache(maxsize=256)
def _kept_footer(path: str, stamp: tuple[int, int]) -> pq.FileMetaData:
    return _read_footer(path)


def schema(path: str) -> pa.Schema:
    """The Arrow schema of the file."""
    return footer(path).schema.to_arrow_schema()


def split(path: str, number: int, target_bytes: int) -> list[Split]:
    """Splits of about `target_bytes` uncompressed bytes: small row groups together, large ones cut by rows."""
    meta = footer(path)
    splits: list[Split] = []
    first_row = start = rows = weight = 0

    def add(stop: int, begin: int = 0, end: int | None = None, share: float = 1.0) -> None:
        order = (number, len(splits))
        size = int(weight * share)
        splits.append(Split("parquet", (path,), order, start, stop, first_row, rows, size, begin, end))

    for group in range(meta.num_row_groups):
        group_meta = meta.row_group(group)
        if rows and weight + group_meta.total_byte_size > target_bytes:
            add(group)
            start, first_row, rows, weight = group, first_row + rows, 0, 0
        rows += group_meta.num_rows
        weight += group_meta.total_byte_size
        if start != group:
            continue
        parts = max(1, min(round(weight / target_bytes), rows // LEAST_ROWS))
        if parts > 1:
            step = -(-rows // parts)
            for begin in range(0, rows, step):
                end = min(begin + step, rows)
                add(group + 1, begin, end, (end - begin) / rows)
            start, first_row, rows, weight = group + 1, first_row + rows, 0, 0
    if rows:
        add(meta.num_row_groups)
    return splits


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split, one decoded batch after the other: about one block is in memory."""
    path = split.paths[0]
    wanted = options.data_schema
    meta = footer(path)
    have = meta.schema.to_arrow_schema()
    for field in wanted:
        if have.get_field_index(field.name) < 0:
            raise missing_column(path, field, have.names)
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    for group in range(split.start, split.stop):
        if window.done:
            return
        rows = meta.row_group(group).num_rows
        begin, end, number = window.next(rows)
        if begin == end:
            continue
        batch_rows = _batch_rows(meta.row_group(group), wanted.names, options)
        names = tuple(wanted.names)
        source: Iterator[tuple[int, pa.RecordBatch]]
        if end - begin == rows:
            source = _Decoder(path, meta, group, names, batch_rows)
        else:
            source = _read_rows(path, meta, group, names, batch_rows, begin, end)
        for at, batch in source:
            for block in blocks_of(conform(batch, wanted, path), split.origin_file(), number + at, options):
                yield ReadResult(block, [])


def _batch_rows(group: pq.RowGroupMetaData, names: list[str], options: ReadOptions) -> int:
    wanted = set(names)
    columns = (group.column(i) for i in range(group.num_columns))
    size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] in wanted)
    return options.rows_at_once(size / max(group.num_rows, 1))


class _Decoder:
    """Decodes one row group from its start, batch after batch, as (row in the group, batch)."""

    def __init__(self, path: str, meta: pq.FileMetaData, group: int, names: tuple[str, ...], batch_rows: int) -> None:
        # Remote column chunks are fetched together rather than page by page.
        self.file = pq.ParquetFile(open_arrow(path), pre_buffer=not is_local(path), metadata=meta)
        self.batches = self.file.iter_batches(batch_rows, row_groups=[group], columns=list(names), use_threads=False)
        self.at = 0

    def __iter__(self) -> _Decoder:
        return self

    def __next__(self) -> tuple[int, pa.RecordBatch]:
        batch = next(self.batches)
        start, self.at = self.at, self.at + batch.num_rows
        return start, batch


class _Shared:
    """One decoder for all splits of a process that read parts of the same row group.

    The batch decoded last is kept, as the next range may start in it. Batches that a reader passes over on its
    way are kept only while another reader that wants them is at work.
    """

    def __init__(self, decoder: _Decoder) -> None:
        self.decoder = decoder
        self.lock = threading.Lock()
        self.last_start = 0
        self.failed = False
        self.readers: dict[object, tuple[int, int]] = {}
        self.kept: dict[int, tuple[pa.RecordBatch, set[object]]] = {}

    def join(self, reader: object, begin: int, end: int) -> bool:
        """Take part as the reader of rows begin to end; False where those are gone."""
        with self.lock:
            if begin < self.last_start or self.failed:
                return False
            self.readers[reader] = (begin, end)
            for start, (batch, waiting) in self.kept.items():
                if start <= begin < start + batch.num_rows:
                    waiting.add(reader)
            return True

    def leave(self, reader: object) -> None:
        """Keep nothing for this reader any more."""
        with self.lock:
            self.readers.pop(reader, None)
            for start in list(self.kept):
                self._taken(start, reader)

    def take(self, reader: object, row: int) -> tuple[int, pa.RecordBatch]:
        """The batch that holds the row, with the row that it starts at."""
        with self.lock:
            for start, (batch, _) in self.kept.items():
                if start <= row < start + batch.num_rows:
                    self._taken(start, reader)
                    return start, batch
            while True:
                start, batch = self._decode(reader)
                if start <= row < start + batch.num_rows:
                    return start, batch

    def _decode(self, reader: object) -> tuple[int, pa.RecordBatch]:
        try:
            start, batch = next(self.decoder)
        except StopIteration:
            self.failed = True
            raise ValueError("the row group ends before the rows that its footer tells") from None
        except BaseException:
            self.failed = True
            raise
        stop = start + batch.num_rows
        waiting = {
            other
            for other, (begin, end) in self.readers.items()
            if begin < stop and start < end and other is not reader
        }
        last, self.last_start = self.last_start, start
        self.kept[start] = (batch, waiting)
        if start > last:
            self._taken(last, reader)
        return start, batch

    def _taken(self, start: int, reader: object) -> None:
        if start not in self.kept:
            return
        waiting = self.kept[start][1]
        waiting.discard(reader)
        if not waiting and start != self.last_start:
            del self.kept[start]


_shared: OrderedDict[tuple[object, ...], _Shared] = OrderedDict()
_shared_lock = threading.Lock()


def _read_rows(
    path: str, meta: pq.FileMetaData, group: int, names: tuple[str, ...], batch_rows: int, begin: int, end: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Rows begin to end of a row group. Readers of its other rows in this process share the decoding."""
    key = (path, _stamp(path), group, names, batch_rows)
    reader = object()
    with _shared_lock:
        shared = _shared.get(key)
        if shared is None or not shared.join(reader, begin, end):
            shared = _Shared(_Decoder(path, meta, group, names, batch_rows))
            shared.join(reader, begin, end)
        _shared[key] = shared
        _shared.move_to_end(key)
        while len(_shared) > 2:
            _shared.popitem(last=False)
    try:
        row = begin
        while row < end:
            start, batch = shared.take(reader, row)
            stop = min(start + batch.num_rows, end)
            yield row, batch.slice(row - start, stop - row)
            row = stop
    finally:
        shared.leave(reader)
        with _shared_lock:
            over = shared.failed or (shared.decoder.at >= meta.row_group(group).num_rows and not shared.readers)
            if over and _shared.get(key) is shared:
                del _shared[key]
