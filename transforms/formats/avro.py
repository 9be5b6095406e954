"""Avro container files: splits are blocks. fastavro decodes rows, a block at a time; they are encoded by column.

    header   "Obj\\x01", a map (schema, codec), 16 bytes that mark the ends of blocks
    block    number of rows, bytes, the rows (compressed), the mark

A file is read in rows, as it is written: a column that is not wanted costs as much as another.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from beamsplit.models.graph.protobuf import varint
from beamsplit.transforms.formats.avro_codecs import CODECS, compress, decompress
from beamsplit.transforms.formats.avro_encode import encoded, numbers
from beamsplit.transforms.formats.avro_schema import (
    AvroType,
    Unreadable,
    arrow_schema,
    avro_fields,
    avro_schema,
    avro_type,
    column_of,
    plain_avro,
    values_reader,
    within_itself,
)
from beamsplit.transforms.formats.interfaces import Rows
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.result import ReadOptions, ReadResult, RowWindow, conform, lacks, no_rows
from beamsplit.transforms.read.streams import is_local, open_stream
from beamsplit.transforms.split import Split
from beamsplit.transforms.write.plain_columns import written_column
from beamsplit.transforms.write.storage import open_input

MAGIC = b"Obj\x01"
MARK_BYTES = 16

AT_ONCE = 1 << 20
"""Bytes of rows that become columns together: blocks of many writers are small."""

BLOCK_ROWS, BLOCK_BYTES = 65_536, 1 << 20
"""Rows of a block that is written, and bytes, about."""

WRITTEN_CODEC = "deflate"
"""Which every reader has."""


class Block(NamedTuple):
    """Where a block's rows lie."""

    rows: int
    start: int
    bytes: int


class Container(NamedTuple):
    """What the header and the beginnings of the blocks tell."""

    schema: dict[str, Any]
    types: dict[str, AvroType | Unreadable]
    codec: str
    mark: bytes
    blocks: tuple[Block, ...]
    deep: bool
    """Whether a type is used within itself."""


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """The Arrow schema of the file."""
    return arrow_schema(container(file.path).types)


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """Blocks of about `target_bytes` together."""
    splits: list[Split] = []
    first_row = start = rows = size = 0
    blocks = container(file.path).blocks

    def add(stop: int) -> None:
        splits.append(Split("avro", (file.path,), (number, len(splits)), start, stop, first_row, rows, size))

    for at, block in enumerate(blocks):
        if rows and size + block.bytes > target_bytes:
            add(at)
            start, first_row, rows, size = at, first_row + rows, 0, 0
        rows, size = rows + block.rows, size + block.bytes
    if rows:
        add(len(blocks))
    return splits


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split."""
    path, wanted = split.paths[0], options.data_schema
    told = container(path)
    reason = next((why for field in wanted if (why := _why_not(field, told))), None)
    names = [field.name for field in wanted]
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    waiting: list[Any] = []
    size = first = 0
    with open_stream(path) as stream:
        for block in told.blocks[split.start : split.stop]:
            begin, end, number = window.next(block.rows)
            if begin < end and reason is not None:
                yield from no_rows(end - begin, wanted, reason).results(split.origin_file(), number + begin, options)
            elif begin < end:
                rows, length = _decode(path, stream, told, block)
                first = first if waiting else number + begin
                waiting += rows[begin:end]
                size += length
            if waiting and (size >= AT_ONCE or len(waiting) >= options.block_rows):
                yield from conform(_batch(path, waiting, told, names), wanted).results(
                    split.origin_file(), first, options
                )
                waiting, size = [], 0
            if window.done:
                break
    if waiting:
        yield from conform(_batch(path, waiting, told, names), wanted).results(split.origin_file(), first, options)


def _why_not(field: pa.Field, told: Container) -> str | None:
    kind = told.types.get(field.name)
    if isinstance(kind, Unreadable):
        return f"column {field.name!r} is {kind}"
    return lacks(field, list(told.types)) if kind is None else None


def _batch(path: str, rows: list[Any], told: Container, names: Sequence[str]) -> pa.RecordBatch:
    types = {name: told.types[name] for name in names}
    plain = {name: kind for name, kind in types.items() if isinstance(kind, AvroType)}
    try:
        wire = pa.array(rows, pa.struct([(name, kind.wire) for name, kind in plain.items()]))
        columns = [column_of(part, kind.arrow) for part, kind in zip(wire.flatten(), plain.values(), strict=True)]
    except (pa.ArrowException, OverflowError) as error:
        raise DamagedFile(
            f"{path} has values that its schema does not allow: {' '.join(str(error).split())}"
        ) from error
    if not columns:
        return pa.RecordBatch.from_struct_array(wire)
    return pa.RecordBatch.from_arrays(columns, names=list(plain))


def _decode(path: str, stream: BinaryIO, told: Container, block: Block) -> tuple[list[Any], int]:
    """(the rows of a block as dicts, their bytes).

    They are read as what they would be as an Avro array, in one call: how many, the rows, a 0.
    """
    stream.seek(block.start)
    try:
        data = decompress(told.codec, stream.read(block.bytes))
        buffer = io.BytesIO(numbers_of(block.rows) + data + b"\0")
        rows: Any = values_reader(told.deep)(buffer, told.schema, None)
        if buffer.read(1) or len(rows) != block.rows:
            raise ValueError("it is longer than its rows")
    except RecursionError:
        raise DamagedFile(f"{path}: a row of the block at byte {block.start:,} is nested too deep to be read") from None
    except Exception as error:  # of which kind depends on where decoding goes astray
        raise DamagedFile(
            f"{path} is damaged: the block at byte {block.start:,} cannot be read ({' '.join(str(error).split())})"
        ) from error
    return rows, len(data)


def numbers_of(value: int) -> bytes:
    """A number as Avro has it."""
    import numpy as np

    return numbers(np.array([value], np.int64)).data.tobytes()


def container(path: str) -> Container:
    """The header and the places of the blocks; those of a local file are kept until it changes."""
    if not is_local(path):
        return _read_container(path)
    status = os.stat(path)
    return _kept_container(path, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=64)
def _kept_container(path: str, stamp: tuple[int, int]) -> Container:
    return _read_container(path)


def _read_container(path: str) -> Container:
    with open_stream(path) as stream:
        meta, mark, start = _header(path, stream)
        try:
            told = json.loads(meta[b"avro.schema"])
            if not isinstance(told, dict) or told.get("type") != "record":
                raise ValueError("its rows are no records")
            types = avro_fields(told)
            rows = _parsed(told)
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedFile(f"{path} has no schema that can be read: {' '.join(str(error).split())}") from error
        codec = meta.get(b"avro.codec", b"null").decode("utf-8", "replace")
        if codec not in CODECS:
            raise DamagedFile(f"{path} is compressed with {codec!r}, and these can be read: {', '.join(CODECS)}")
        return Container(rows, types, codec, mark, tuple(_blocks(path, stream, start, mark)), within_itself(rows))


def _parsed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an array of such rows, as fastavro takes it."""
    from fastavro import parse_schema
    from fastavro.schema import SchemaParseException, UnknownType

    try:
        parsed: Any = parse_schema({"type": "array", "items": plain_avro(schema)})
    except (SchemaParseException, UnknownType) as error:
        raise ValueError(str(error)) from error
    return dict(parsed)


def _header(path: str, stream: BinaryIO) -> tuple[dict[bytes, bytes], bytes, int]:
    """(what the header tells, the mark at the ends of blocks, where the first begins)."""
    data = stream.read(1 << 16)
    if data[:4] != MAGIC:
        raise OSError("it does not begin as an Avro file does")
    while True:
        try:
            meta, at = _map(data, 4)
            mark = data[at : at + MARK_BYTES]
            if len(mark) == MARK_BYTES:
                return meta, mark, at + MARK_BYTES
        except IndexError:
            pass  # It goes on.
        more = stream.read(len(data))
        if not more:
            raise DamagedFile(f"{path} ends in the middle of its header: it was cut short")
        data += more


def _map(data: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """A map of bytes and where it ends.

    Raises:
        IndexError: the data ends in it.
    """
    found: dict[bytes, bytes] = {}
    while True:
        count, at = _number(data, at)
        if not count:
            return found, at
        if count < 0:
            count = -count
            _, at = _number(data, at)
        for _ in range(count):
            pair = []
            for _ in range(2):
                length, at = _number(data, at)
                if length < 0 or at + length > len(data):
                    raise IndexError
                pair.append(data[at : at + length])
                at += length
            found[pair[0]] = pair[1]


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _blocks(path: str, stream: BinaryIO, at: int, mark: bytes) -> Iterator[Block]:
    """The blocks, found by what stands between them: rows are not read.

    Raises:
        DamagedFile: the file was cut short, or has something else where a block begins or ends.
    """
    most = 20  # Bytes of two numbers.
    stream.seek(at)
    head = stream.read(most)
    while head:
        if head.startswith(MAGIC):
            raise DamagedFile(
                f"{path} is several Avro files behind one another (another begins at byte {at:,}): give each a file, "
                "or write one file of all rows"
            )
        try:
            rows, begin = _number(head, 0)
            size, begin = _number(head, begin)
        except IndexError:
            raise _cut(path, at) from None
        except ValueError:
            rows = size = -1
        if rows < 0 or size < 0 or (rows > BLOCK_ROWS and not size):  # rows without bytes would fill the memory
            raise DamagedFile(f"{path} is damaged: no block begins at byte {at:,}")
        stream.seek(at + begin + size)
        behind = stream.read(MARK_BYTES + most)
        if len(behind) < MARK_BYTES:
            raise _cut(path, at)
        if behind[:MARK_BYTES] != mark:
            raise DamagedFile(
                f"{path} is damaged: the block at byte {at:,} does not end with the mark that ends blocks"
            )
        yield Block(rows, at + begin, size)
        at, head = at + begin + size + MARK_BYTES, behind[MARK_BYTES:]


def _cut(path: str, at: int) -> DamagedFile:
    return DamagedFile(f"{path} ends in the middle of the block at byte {at:,}: it was cut short")


class AvroFile:
    """An Avro file that is open for writing."""

    def __init__(self, out: Any, schema: pa.Schema) -> None:
        self._types = [avro_type(field.type) for field in schema]
        self._mark = os.urandom(MARK_BYTES)
        self._file = out
        meta = {"avro.schema": json.dumps(avro_schema(schema)), "avro.codec": WRITTEN_CODEC}
        told = {key: value for key, value in (schema.metadata or {}).items() if key.startswith(b"beamsplit.")}
        pairs = {**told, **{key.encode(): value.encode() for key, value in meta.items()}}
        out.write(MAGIC + numbers_of(len(pairs)))
        for text in (text for pair in pairs.items() for text in pair):
            out.write(numbers_of(len(text)) + text)
        out.write(b"\0" + self._mark)

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""
        columns = [written_column(one, kind) for one, kind in zip(block.columns, self._types, strict=True)]
        rows = pa.RecordBatch.from_arrays(columns, names=block.schema.names)
        step = max(1, min(BLOCK_ROWS, BLOCK_BYTES * rows.num_rows // max(rows.nbytes, 1)))
        for begin in range(0, rows.num_rows, step):
            some = rows.slice(begin, step)
            self.add(some.num_rows, compress(WRITTEN_CODEC, encoded(some).data.tobytes()))

    def add(self, rows: int, data: bytes) -> None:
        """Add a block as it is."""
        self._file.write(numbers_of(rows) + numbers_of(len(data)) + data + self._mark)

    def close(self) -> None:
        """Nothing waits."""
        self._file.close()

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""
        self._file.close()


open_file = AvroFile


def merge(out: Any, schema: pa.Schema, parts: Sequence[Rows]) -> None:
    """Copy blocks of files to one; one of which not all rows are wanted is written anew."""
    merged = AvroFile(out, schema)
    for path, start, stop, _ in parts:
        told, first = _read_container(path), 0
        with open_input(path) as stream:
            for block in told.blocks:
                begin, end = max(start - first, 0), min(stop - first, block.rows)
                first += block.rows
                if (begin, end) == (0, block.rows):
                    stream.seek(block.start)
                    merged.add(block.rows, stream.read(block.bytes))
                elif begin < end:
                    rows, _ = _decode(path, stream, told, block)
                    merged.write(_batch(path, rows[begin:end], told, schema.names))
    merged.close()


def check_field(field: pa.Field) -> None:
    """Raise for a column of a type, or a name, that Avro has not."""
    avro_schema(pa.schema([field]))
    written_column(pa.nulls(1, field.type), avro_type(field.type))
