"""WebDataset: tar files in which files that lie behind one another, and are named alike, are a row.

    tar       a/001.jpg  a/001.cls  a/002.jpg  a/002.cls  a/003.jpg
    rows      a/001 ---------------  a/002 ---------------  a/003
    columns   __key__ = "a/001", jpg = bytes, cls = 7       cls is null

A name is a key and, from the first dot behind its last slash, a column in small letters. Values are bytes, but for
those of COLUMN_TYPES. Nothing is unpacked to the disk. https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import takewhile
from typing import Any, BinaryIO

import pyarrow as pa

from beamsplit.transforms.formats.row_buffer import in_blocks
from beamsplit.transforms.formats.row_starts import splits_between
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.result import ReadOptions, ReadResult
from beamsplit.transforms.read.streams import is_local, open_stream
from beamsplit.transforms.split import Split

KEY = "__key__"

SAMPLED_ROWS = 100
"""Of a file, whose columns are those of its first rows."""

COLUMN_TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("cls", "cls2", "index", "inx", "id"), pa.int64()),
    **dict.fromkeys(("txt", "text", "transcript", "json", "jsn"), pa.string()),
}
"""By the last part of a column's name, as WebDataset itself decodes them; JSON is kept as text."""

_BLOCK = tarfile.BLOCKSIZE

Row = dict[str, tarfile.TarInfo]
"""Column -> the file in the tar."""


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """The key and the columns of the first rows."""
    names: dict[str, None] = {}
    with open_stream(file.path) as stream:
        for at, (_, _, row, _) in enumerate(_rows(file.path, stream)):
            if at == SAMPLED_ROWS:
                break
            names.update(dict.fromkeys(row))
    return pa.schema([pa.field(KEY, pa.string()), *(pa.field(name, column_type(name)) for name in names)])


def column_type(name: str) -> pa.DataType:
    """What values of a column are.

    >>> column_type("jpg"), column_type("left.cls")
    (DataType(binary), DataType(int64))
    """
    return COLUMN_TYPES.get(name.rpartition(".")[2], pa.binary())


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """The whole file; one that is large and on this machine is cut between rows, which are looked for once."""
    path, size = file.path, file.size
    if size <= target_bytes or not is_local(path):
        return [Split("webdataset", (path,), (number, 0), 0, size, 0, None, size)]
    status = os.stat(path)
    starts = _row_starts(path, (status.st_size, status.st_mtime_ns))
    return splits_between("webdataset", path, number, [*starts, size], target_bytes)


@lru_cache(maxsize=64)
def _row_starts(path: str, stamp: tuple[int, int]) -> tuple[int, ...]:
    with open_stream(path) as stream:
        return tuple(start for start, _, _, _ in _rows(path, stream))


def count(split: Split) -> int:
    """Rows in the split; where it has a `row_stop` that many are enough."""
    found = 0
    with open_stream(split.paths[0]) as stream:
        for start, _, _, _ in _rows(split.paths[0], stream, split.start):
            if start >= split.stop or found == split.row_stop:
                break
            found += 1
    return found


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split, of which only what is wanted is read."""
    path, wanted = split.paths[0], options.data_schema.names
    own = pa.schema([(name, pa.string() if name == KEY else column_type(name)) for name in wanted])

    def values(number: int, found: tuple[int, str, Row, tarfile.TarFile]) -> tuple[list[Any] | str, int]:
        _, key, row, tar = found
        contents = {name: _content(path, tar, row[name]) for name in wanted if name in row}
        size = sum(map(len, contents.values()))
        try:
            held = {name: _value(name, own.field(name).type, content) for name, content in contents.items()}
        except ValueError as error:
            return f"row {key!r}: {error}", size
        made = {KEY: key, **held}
        return [made.get(name) for name in wanted], size

    with open_stream(path) as stream:
        rows = takewhile(lambda found: found[0] < split.stop, _rows(path, stream, split.start))
        yield from in_blocks(split, options, own, rows, values)


_INT64 = 1 << 63


def _value(name: str, kind: pa.DataType, content: bytes) -> object:
    if kind == pa.binary():
        return content
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is not UTF-8, at byte {error.start}") from error
    if kind == pa.string():
        return text
    try:
        number = int(text)
    except ValueError:
        number = _INT64
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"{name!r} is {text[:80]!r}, and no whole number of 64 bits")
    return number


def _rows(path: str, stream: BinaryIO, start: int = 0) -> Iterator[tuple[int, str, Row, tarfile.TarFile]]:
    """(where it begins, key, its files, the tar) of each row from a place on.

    Raises:
        DamagedFile: the tar was cut short or has something else where a file begins, or a row has a file twice.
    """
    stream.seek(start)
    try:
        tar = tarfile.TarFile(fileobj=stream, errorlevel=1)
    except tarfile.ReadError as error:
        raise DamagedFile(f"{path} is no tar file, or is damaged at byte {start:,}: {error}") from error
    begin, key, row = start, "", Row()
    for at, member in _members(path, stream, tar, start):
        named = _key_and_column(member.name) if member.isreg() else None
        if named is None:
            continue
        if row and named[0] != key:
            yield begin, key, row, tar
            row = Row()
        if not row:
            begin, key = at, named[0]
        if named[1] in row:
            raise DamagedFile(f"{path} has {member.name!r} twice in the row {key!r}: name each file once")
        row[named[1]] = member
    if row:
        yield begin, key, row, tar


def _members(path: str, stream: BinaryIO, tar: tarfile.TarFile, at: int) -> Iterator[tuple[int, tarfile.TarInfo]]:
    """(where it begins, with what its name needs; a file) for each file of a tar, which has to be whole."""
    while True:
        try:
            member = tar.next()
        except (tarfile.TarError, OSError, ValueError) as error:
            if "end of data" in str(error):
                raise DamagedFile(f"{path} ends in the middle of a file: it was cut short") from error
            raise DamagedFile(f"{path} is damaged at byte {at:,}: {' '.join(str(error).split())}") from error
        if member is None:
            break
        yield at, member
        at = tar.offset
        # It remembers all of them, which may be many.
        tar.members = []  # type: ignore[attr-defined]
    # What is no header ends a tar for Python: it is to end as tars do, with zeros to the end of the file.
    stream.seek(at)
    rest = stream.read(_BLOCK)
    if len(rest) < _BLOCK:
        raise DamagedFile(f"{path} ends without the zeros that end a tar: it was cut short, or not closed")
    while rest:
        if rest.strip(b"\0"):
            raise DamagedFile(
                f"{path} is damaged, or several tar files behind one another: no file begins at byte {at:,}; give each "
                "a file, or write one tar of all"
            )
        rest = stream.read(1 << 20)


def _key_and_column(name: str) -> tuple[str, str] | None:
    """What a file's name tells; None for one without a column, or a hidden one.

    >>> _key_and_column("train/001.Seg.PNG"), _key_and_column("a.b/.x"), _key_and_column("a.b/x")
    (('train/001', 'seg.png'), None, None)
    """
    folder, slash, base = name.rpartition("/")
    key, _, column = base.partition(".")
    return (folder + slash + key, column.lower()) if key and column else None


def _content(path: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(member)
    try:
        content = b"" if opened is None else opened.read()
    except tarfile.ReadError:
        content = b""
    if len(content) != member.size:
        raise DamagedFile(f"{path} ends in the middle of {member.name!r}: it was cut short")
    return content
