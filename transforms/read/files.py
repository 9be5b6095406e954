"""Files of any kind: each is one row, with its path and its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import ORIGIN_FIELDS
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.result import ReadFailure, ReadOptions, ReadResult, conform
from beamsplit.transforms.read.streams import is_local
from beamsplit.transforms.split import Split

SCHEMA = pa.schema([("path", pa.string()), ("bytes", pa.binary())])

MOST_FILES = 10_000
"""Files in one split: its paths travel with it."""

_LARGEST = 2**31 - 1


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """Of every file."""
    return SCHEMA


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """The file by itself."""
    return split_list([file], number, target_bytes, 1)


def split_list(files: Sequence[InputFile], first: int, target_bytes: int, target_files: int) -> list[Split]:
    """Lists of files of about `target_bytes` and not many more than `target_files` files each."""
    paths, sizes = [file.path for file in files], [file.size for file in files]
    splits: list[Split] = []
    begin = weight = 0
    most = max(1, min(target_files, MOST_FILES))

    def add(end: int) -> None:
        splits.append(Split("files", tuple(paths[begin:end]), (first + begin, 0), begin, end, 0, end - begin, weight))

    for at, size in enumerate(sizes):
        if at > begin and (weight + size > target_bytes or at - begin >= most):
            add(at)
            begin, weight = at, 0
        weight += size
    if begin < len(paths):
        add(len(paths))
    return splits


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """One row a file. Its origin is the file, row 0. A file that cannot be read is a failure."""
    stop = len(split.paths) if split.row_stop is None else split.row_stop
    with_bytes = "bytes" in options.data_schema.names
    paths: list[str] = []
    contents: list[bytes] = []
    size = 0
    wanted = split.paths[split.row_start : stop]
    found = _contents(wanted, split.weight // max(1, len(split.paths)), options.block_bytes) if with_bytes else wanted
    for path, content in zip(wanted, found, strict=True):
        if with_bytes:
            if isinstance(content, OSError):
                reason = content.strerror if isinstance(content.strerror, str) else str(content)
                yield ReadResult(None, [ReadFailure(path, 0, f"cannot read the file: {' '.join(reason.split())}")])
                continue
            assert isinstance(content, bytes)
            if paths and size + len(content) > options.block_bytes:
                yield ReadResult(_block(paths, contents, options), [])
                paths, contents, size = [], [], 0
            contents.append(content)
            size += len(content)
        paths.append(path)
        if len(paths) >= options.block_rows:
            yield ReadResult(_block(paths, contents, options), [])
            paths, contents, size = [], [], 0
    if paths:
        yield ReadResult(_block(paths, contents, options), [])


def _contents(paths: Sequence[str], mean_bytes: int, block_bytes: int) -> Iterator[bytes | OSError]:
    """What each file holds, or why it cannot be read; of a store several are fetched side by side, about a block."""
    from beamsplit.transforms.stores.store import AT_ONCE, read_each

    at_once = max(1, min(AT_ONCE, block_bytes // max(1, mean_bytes)))
    for begin in range(0, len(paths), at_once):
        some = paths[begin : begin + at_once]
        yield from (_fitting(found) for found in (map(_read_local, some) if is_local(some[0]) else read_each(some)))


def _read_local(path: str) -> bytes | OSError:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        return error


def _fitting(content: bytes | OSError) -> bytes | OSError:
    if isinstance(content, bytes) and len(content) > _LARGEST:
        return OSError(f"{len(content)} bytes are more than a row can hold ({_LARGEST})")
    return content


def _block(paths: list[str], contents: list[bytes], options: ReadOptions) -> pa.RecordBatch:
    names = pa.array(paths, type=pa.string())
    columns = {"path": names}
    if contents:
        columns["bytes"] = pa.array(contents, type=pa.binary())
    wanted = options.data_schema
    data = conform(pa.RecordBatch.from_pydict({n: columns[n] for n in wanted.names if n in columns}), wanted).batch
    numbers = np.arange(len(paths))
    origin = [
        pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), names),
        pa.array(np.zeros(len(paths), dtype=np.int64)),
    ]
    return pa.RecordBatch.from_arrays([*data.columns, *origin], schema=pa.schema([*wanted, *ORIGIN_FIELDS]))
