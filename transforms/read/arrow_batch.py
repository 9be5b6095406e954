"""Some rows and columns of a record batch in an Arrow IPC file on this machine, without reading the others.

Nothing is mapped: what is cut off a mapped file while it is read ends the process without a word. Memory for the whole
message is set aside instead, its metadata is read, and of its body the bytes that the rows wanted lie in, each at its
place; Arrow's arrays point there. Pages that are not read are not touched, and take no memory.

    file     ... | metadata | validity | values  ....  | offsets | characters ........ | ...
    read           ########              ####            ##        ####
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.damage import CHARACTERS, offset_dtype

CONTINUES = b"\xff\xff\xff\xff"
"""What each message begins with, since Arrow 0.15."""

_FOOTER_DICTIONARIES, _FOOTER_BATCHES, _MESSAGE_HEADER = 2, 3, 2
_BATCH_LENGTH, _BATCH_COMPRESSION = 0, 3
"""Slots of the tables in Arrow's Footer, Message and RecordBatch (format/File.fbs, format/Message.fbs)."""

_GAP = 64 << 10
"""Bytes between two ranges that are read rather than skipped."""


class Unsupported(Exception):
    """The file has something that only Arrow's own reader knows: dictionaries, compression, an old layout."""


@dataclass(frozen=True)
class Block:
    """Where a record batch lies."""

    start: int
    metadata: int
    body: int


def footer_blocks(footer: bytes) -> list[Block]:
    """Where dictionaries and record batches lie, by a footer.

    Raises:
        struct.error: it is none.
    """
    return [*_blocks(footer, _FOOTER_DICTIONARIES), *_blocks(footer, _FOOTER_BATCHES)]


def _blocks(footer: bytes, slot: int) -> list[Block]:
    at = find_field(footer, follow(footer, 0), slot)
    if at is None:
        return []
    at = follow(footer, at)
    (count,) = struct.unpack_from("<I", footer, at)
    return [Block(*struct.unpack_from("<qi4xq", footer, at + 4 + 24 * k)) for k in range(count)]


class BatchFile:
    """The record batches of an IPC file; use it in a `with`.

    Raises:
        Unsupported: see there.
        DamagedFile: a part of the file is not where its footer says.
    """

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        if any(_has_dictionary(field.type) for field in schema):
            raise Unsupported
        self._file = os.open(path, os.O_RDONLY)
        try:
            self.blocks = self._find_blocks()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> BatchFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _find_blocks(self) -> list[Block]:
        size = os.fstat(self._file).st_size
        (length,) = struct.unpack("<i", self._read(size - 10, 4))
        footer = self._read(size - 10 - length, length)
        try:
            return _blocks(footer, _FOOTER_BATCHES)
        except struct.error as error:
            raise DamagedFile(f"{self.path} is damaged: its footer is no table of record batches") from error

    def rows(self, at: int) -> int:
        """Rows of a batch, by its metadata."""
        return self._batch_table(at)[1]

    def check(self, batches: Iterable[int]) -> None:
        """Raise `Unsupported` where `read` cannot read these batches."""
        if any(self._batch_table(at)[2] for at in batches):
            raise Unsupported

    def _batch_table(self, at: int) -> tuple[bytes, int, bool]:
        """(metadata of a batch, its rows, whether its body is compressed)."""
        block = self.blocks[at]
        metadata = self._read(block.start, block.metadata)
        if not metadata.startswith(CONTINUES):
            raise Unsupported
        try:
            header = find_field(metadata, follow(metadata, 8), _MESSAGE_HEADER)
            table = 0 if header is None else follow(metadata, header)
            length = find_field(metadata, table, _BATCH_LENGTH)
            rows = 0 if length is None else struct.unpack_from("<q", metadata, length)[0]
            return metadata, rows, find_field(metadata, table, _BATCH_COMPRESSION) is not None
        except struct.error as error:
            raise DamagedFile(f"{self.path} is damaged: a record batch has no valid metadata") from error

    def read(self, at: int, names: Sequence[str], begin: int, end: int) -> pa.RecordBatch:
        """The columns of these names, of the rows begin to end of a batch."""
        block = self.blocks[at]
        metadata, rows, _ = self._batch_table(at)
        whole = set(names) == set(self.schema.names) and (begin, end) == (0, rows)
        size = block.metadata + block.body
        memory = pa.allocate_buffer(size) if whole else pa.py_buffer(_untouched(size))
        view = memoryview(memory).cast("B")
        view[: block.metadata] = metadata
        batch = pa.ipc.read_record_batch(memory, self.schema)
        body = _Body(self, block, memory.address, view)
        columns = [batch.column(name) for name in names]
        if whole:
            body.want(memory.address + block.metadata, block.body)
        elif (begin, end) == (0, rows) or not all(body.fill(column, begin, end) for column in columns):
            body.want_buffers([buffer for column in columns for buffer in column.buffers()])
            whole = True
        body.read()
        if not columns:
            return batch.select([]).slice(begin, end - begin)
        cut = [column.slice(begin, end - begin) if whole else _cut(column, begin, end) for column in columns]
        return pa.RecordBatch.from_arrays(cut, schema=pa.schema([self.schema.field(name) for name in names]))

    def _read(self, start: int, length: int) -> bytes:
        data = os.pread(self._file, length, start) if start >= 0 and length >= 0 else b""
        if len(data) != length or not length:
            raise self.cut()
        return data

    def read_into(self, view: memoryview, start: int) -> None:
        """Read so many bytes from a place in the file."""
        while len(view):
            count = os.preadv(self._file, [view], start)
            if not count:
                raise self.cut()
            view, start = view[count:], start + count

    def cut(self) -> DamagedFile:
        """The error for a file that ends too early."""
        return DamagedFile(
            f"{self.path} changed while it was read, or is damaged: it ends before its record batches do"
        )


class _Body:
    """What is wanted of the body of one batch."""

    def __init__(self, file: BatchFile, block: Block, address: int, view: memoryview) -> None:
        self.file = file
        self.block = block
        self.address = address
        self.view = view
        self.ranges: list[tuple[int, int]] = []

    def want(self, address: int, length: int) -> None:
        """Ask for bytes at their place in memory."""
        if length > 0:
            start = address - self.address
            if start < self.block.metadata or start + length > len(self.view):
                raise self.file.cut()
            self.ranges.append((start, start + length))

    def read(self) -> None:
        """Read all that was asked for."""
        begin = end = 0
        for start, stop in [*sorted(self.ranges), (len(self.view) + _GAP + 1, 0)]:
            if start <= end + _GAP and end:
                end = max(end, stop)
                continue
            if end:
                self.file.read_into(self.view[begin:end], self.block.start + begin)
            begin, end = start, stop
        self.ranges.clear()

    def want_buffers(self, buffers: Iterable[pa.Buffer | None]) -> None:
        """Ask for buffers from end to end."""
        for buffer in buffers:
            if buffer is not None:
                self.want(buffer.address, buffer.size)

    def fill(self, array: pa.Array, begin: int, end: int) -> bool:
        """Ask for what elements begin to end of a column lie in; offsets are read at once. False where these fall."""
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            return self.fill(array.storage, begin, end)
        buffers = array.buffers()
        if end <= begin or pa.types.is_null(kind):
            return True
        self._bits(buffers[0], begin, end)
        if pa.types.is_boolean(kind):
            self._bits(buffers[1], begin, end)
        elif pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
            self._items(buffers[1], kind.bit_width // 8, begin, end)
        elif pa.types.is_struct(kind):
            return all(self.fill(array.field(at), begin, end) for at in range(kind.num_fields))
        elif pa.types.is_fixed_size_list(kind):
            return self.fill(array.values, begin * kind.list_size, end * kind.list_size)
        elif any(is_kind(kind) for is_kind in (*CHARACTERS, *_LISTS)):
            offsets = _offsets_of(array, begin, end)
            if offsets is None:
                return False
            waiting, self.ranges = self.ranges, []
            self._items(buffers[1], offsets.itemsize, begin, end + 1)
            self.read()
            self.ranges = waiting
            if offsets[0] < 0 or (offsets[1:] < offsets[:-1]).any():
                return False
            first, last = int(offsets[0]), int(offsets[-1])
            if not any(is_list(kind) for is_list in _LISTS):
                self._items(buffers[2], 1, first, last)
            else:
                return last <= len(array.values) and self.fill(array.values, first, last)
        else:
            self.want_buffers(buffers[1:])
        return True

    def _bits(self, buffer: pa.Buffer | None, begin: int, end: int) -> None:
        if buffer is not None:
            self._items(buffer, 1, begin // 8, -(-end // 8))

    def _items(self, buffer: pa.Buffer | None, width: int, begin: int, end: int) -> None:
        """What is not there is not asked for: it is found when the column is checked."""
        if buffer is not None:
            begin, end = (min(max(place * width, 0), buffer.size) for place in (begin, end))
            self.want(buffer.address + begin, end - begin)


_LISTS = (pa.types.is_list, pa.types.is_large_list)


def _offsets_of(array: pa.Array, begin: int, end: int) -> np.ndarray | None:
    """The offsets of elements begin to end, where they lie; None where there are too few."""
    dtype = offset_dtype(array.type)
    buffer = array.buffers()[1]
    if buffer is None or buffer.size < (end + 1) * dtype.itemsize:
        return None
    return np.frombuffer(buffer, dtype)[begin : end + 1]


def _cut(array: pa.Array, begin: int, end: int) -> pa.Array:
    """Elements begin to end, with nothing of the children that lies before or behind: that was not read."""
    kind = array.type
    part = array.slice(begin, end - begin)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _cut(array.storage, begin, end))
    if end <= begin:
        return pa.nulls(0, kind)
    mask = part.is_null() if part.null_count else None
    if pa.types.is_struct(kind) and kind.num_fields:
        children = [_cut(array.field(at), begin, end) for at in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
    if pa.types.is_fixed_size_list(kind):
        values = _cut(array.values, begin * kind.list_size, end * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=mask)
    offsets = _offsets_of(array, begin, end) if any(is_list(kind) for is_list in _LISTS) else None
    if offsets is None:
        return part
    values = _cut(array.values, int(offsets[0]), int(offsets[-1]))
    make = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    return make.from_arrays(pa.array(offsets - offsets[0]), values, type=kind, mask=mask)


def _untouched(size: int) -> mmap.mmap:
    """Memory of which only those pages are taken that something is written to."""
    if os.name == "nt":
        return mmap.mmap(-1, size)
    reserve = getattr(mmap, "MAP_NORESERVE", 0)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve)


def _has_dictionary(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_dictionary(kind.storage_type)
    return pa.types.is_dictionary(kind) or any(
        _has_dictionary(kind.field(at).type) for at in range(getattr(kind, "num_fields", 0))
    )


def follow(data: bytes, at: int) -> int:
    """Where the offset at `at` of a FlatBuffer leads."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def find_field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a FlatBuffer's table is; None where it has its default."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0:
        raise struct.error("no table")
    (size,) = struct.unpack_from("<H", data, vtable)
    at = 4 + 2 * number
    offset: Any = struct.unpack_from("<H", data, vtable + at)[0] if at < size else 0
    return table + offset if offset else None
