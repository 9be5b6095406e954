"""Parquet: splits are row groups, or ranges of rows in one where there are few of them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.one_file import check_one_parquet
from beamsplit.transforms.read.parquet_bounds import group_may_match
from beamsplit.transforms.read.plain_types import plain_schema
from beamsplit.transforms.read.result import ReadOptions, ReadResult, RowWindow, conform, lacks, no_rows
from beamsplit.transforms.read.streams import is_local, open_arrow
from beamsplit.transforms.split import Split

LEAST_ROWS = 65_536
"""A row group is not cut into ranges of fewer rows: each range may have to decode the rows before it."""

LOCAL_BUFFER = 256 << 10
"""Bytes of a local column chunk read at a time."""


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
        meta = pq.ParquetFile(source).metadata
        check_one_parquet(source, meta, path)
        return meta


@lru_cache(maxsize=256)
def _kept_footer(path: str, stamp: tuple[int, int]) -> pq.FileMetaData:
    return _read_footer(path)


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """The Arrow schema of the file."""
    return plain_schema(footer(file.path).schema.to_arrow_schema())


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """Splits of about `target_bytes` uncompressed bytes: small row groups together, large ones cut by rows."""
    path = file.path
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
    missing = next((field for field in wanted if have.get_field_index(field.name) < 0), None)
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    for group in range(split.start, split.stop):
        if window.done:
            return
        rows = meta.row_group(group).num_rows
        begin, end, number = window.next(rows)
        if begin == end:
            continue
        if not group_may_match(meta, group, have, options.where):
            yield ReadResult(None, [], end - begin)
            continue
        if missing is not None:
            nothing = no_rows(end - begin, wanted, lacks(missing, have.names))
            yield from nothing.results(split.origin_file(), number + begin, options)
            continue
        batch_rows = _batch_rows(meta.row_group(group), wanted.names, options)
        pages = _RowGroup(path, group, tuple(wanted.names), batch_rows)
        for at, batch in _read_rows(pages, meta, begin, end):
            yield from conform(batch, wanted).results(split.origin_file(), number + at, options)


def _batch_rows(group: pq.RowGroupMetaData, names: list[str], options: ReadOptions) -> int:
    wanted = set(names)
    columns = (group.column(i) for i in range(group.num_columns))
    size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] in wanted)
    return options.rows_at_once(size / max(group.num_rows, 1))


class _RowGroup(NamedTuple):
    """Columns of a row group, decoded so many rows at a time."""

    path: str
    group: int
    names: tuple[str, ...]
    batch_rows: int


class _Decoder:
    """Decodes one row group from its start, batch after batch, as (row in the group, batch)."""

    def __init__(self, wanted: _RowGroup, meta: pq.FileMetaData) -> None:
        path, group, names, batch_rows = wanted
        # Remote column chunks are fetched together rather than page by page; local ones stay in cache until they are
        # decoded, which costs no more than mapping the file.
        local = is_local(path)
        self.file = pq.ParquetFile(
            open_arrow(path), pre_buffer=not local, buffer_size=LOCAL_BUFFER if local else 0, metadata=meta
        )
        self.batches = self.file.iter_batches(batch_rows, row_groups=[group], columns=list(names), use_threads=False)
        self.rows = meta.row_group(group).num_rows
        self.group = (path, group)
        self.at = 0
        self.begin, self.end = 0, self.rows
        """Rows that are decoded ahead."""
        self.last: tuple[int, pa.RecordBatch] | None = None
        """What was given last: the next range may start in it."""
        self.decoded = 0
        self._ahead: deque[tuple[int, pa.RecordBatch]] = deque()
        self._lock = threading.Lock()
        self._taken = False

    @property
    def ahead(self) -> int:
        """Rows that were decoded for whoever takes it."""
        return self.decoded - self.begin

    @property
    def first(self) -> int:
        """The first row that it can still give."""
        return self.last[0] if self.last else self.begin

    def __iter__(self) -> _Decoder:
        return self

    def __next__(self) -> tuple[int, pa.RecordBatch]:
        start, batch = self._ahead.popleft() if self._ahead else self._decode()
        self.at = start + batch.num_rows
        self.last = (start, batch)
        return self.last

    def _decode(self) -> tuple[int, pa.RecordBatch]:
        batch = next(self.batches)
        start, self.decoded = self.decoded, self.decoded + batch.num_rows
        return start, batch

    def decode_ahead(self) -> int | None:
        """Decode one batch for whoever takes the decoder; its bytes, None where it is taken or at row `end`.

        What lies before row `begin` is dropped, and counts no bytes.
        """
        with self._lock:
            if self._taken or self.decoded >= self.end:
                return None
            start, batch = self._decode()
            if self.decoded <= self.begin:
                return 0
            self._ahead.append((start, batch))
            return batch.nbytes

    def take(self) -> _Decoder:
        """Be the only one who uses it from now on."""
        self._taken = True
        with self._lock:
            return self

    def holding(self, row: int) -> tuple[int, pa.RecordBatch]:
        """The batch that holds the row, which is in the last batch or behind it."""
        while self.last is None or row >= self.at:
            if next(self, None) is None:
                raise ValueError("the row group ends before the rows that its footer tells")
        return self.last


IDLE_DECODERS = 4
"""Decoders kept that stand in mid row group."""

_idle: list[tuple[tuple[object, ...], _Decoder]] = []
_started: list[tuple[tuple[object, ...], _Decoder]] = []
_KEPT = (_idle, _started)
_idle_lock = threading.Lock()


def _read_rows(wanted: _RowGroup, meta: pq.FileMetaData, begin: int, end: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Rows begin to end of a row group.

    Parquet has no way into the middle of a row group: what lies before is decoded and dropped. The next range
    of the same row group goes on where the last one in this process ended; several at a time decode each for
    itself, which is sooner done than waiting for one another.
    """
    key = _key(wanted)
    decoder = _take_idle(key, begin) or _Decoder(wanted, meta)
    row = begin
    while row < end:
        start, batch = decoder.holding(row)
        stop = min(start + batch.num_rows, end)
        yield row, batch.slice(row - start, stop - row)
        row = stop
    if end < decoder.rows:
        with _idle_lock:
            _idle.append((key, decoder))
            del _idle[:-IDLE_DECODERS]


def _key(wanted: _RowGroup) -> tuple[object, ...]:
    return *wanted, _stamp(wanted.path)


def _take_idle(key: tuple[object, ...], begin: int) -> _Decoder | None:
    """The decoder of the row group that stands closest before the row; nobody else has it from then on."""
    with _idle_lock:
        fit = [
            (decoder.first, from_, at)
            for from_, decoders in enumerate(_KEPT)
            for at, (other, decoder) in enumerate(decoders)
            if other == key and decoder.first <= begin
        ]
        if not fit:
            return None
        _, from_, at = max(fit)
        decoder = _KEPT[from_].pop(at)[1]
    return decoder.take()


def forget_decoders() -> None:
    """Drop the decoders that stand in mid row group or were started ahead, with the pages they hold."""
    with _idle_lock:
        for decoders in _KEPT:
            decoders.clear()


def start_decoders(split: Split, options: ReadOptions) -> list[_Decoder]:
    """A decoder for each row group of a split, kept for `read`; `decode_ahead` them meanwhile."""
    path, names = split.paths[0], tuple(options.data_schema.names)
    meta = footer(path)
    have = meta.schema.to_arrow_schema()
    started = []
    window = RowWindow(split.row_start, split.row_stop, 0)
    for group in range(split.start, split.stop):
        begin, end, _ = window.next(meta.row_group(group).num_rows)
        if begin == end or not group_may_match(meta, group, have, options.where):
            continue
        wanted = _RowGroup(path, group, names, _batch_rows(meta.row_group(group), list(names), options))
        decoder = _Decoder(wanted, meta)
        decoder.begin = begin
        started.append((_key(wanted), decoder))
    with _idle_lock:
        _started.extend(started)
    return [decoder for _, decoder in started]
