"""A model file without the values of its tensors: a few kilobytes to look for names in, without parsing the file."""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Iterator

from beamsplit.models.graph.protobuf import fields

_SMALL = 1024
"""Bytes up to which a part is kept whole."""

_SMALL_FILE = 4 << 20
"""Bytes up to which the file is: searching it takes less time than taking it apart, above all the lists of trees."""

# Fields of onnx.proto that hold other messages with tensors in them, by number.
_PARTS = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph"},
    "tensor": {4: "values", 5: "values", 7: "values", 9: "values", 10: "values", 11: "values"},
}


def holds(path: str, name: str) -> bool:
    """False only if the text occurs nowhere but in the values of tensors; in a small file, nowhere at all."""
    stat = os.stat(path)
    return name.encode() in _skeleton(path, stat.st_mtime_ns, stat.st_size)


def has_field(path: str, number: int) -> bool:
    """Whether the model itself (`ModelProto`) has a field of that number; its graph is skipped, not read."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return any(found == number for found, _, _ in fields(data, 0, len(data)))
            except (ValueError, IndexError):
                return False


@functools.lru_cache(maxsize=8)
def _skeleton(path: str, mtime: int, size: int) -> bytes:
    """The parts of the file that are no numbers of a tensor; all of it where it is not laid out like ONNX."""
    if size == 0:
        return b""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if size <= _SMALL_FILE:
            return data[:]
        try:
            return b"\0".join(data[begin:end] for begin, end in _kept(data, "model", 0, len(data)))
        except (ValueError, IndexError, RecursionError):
            return data[:]


def _kept(data: mmap.mmap, kind: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges to keep of a message of that kind."""
    if end - begin <= _SMALL:
        yield begin, end
        return
    for number, wire, value in fields(data, begin, end):
        if wire != 2:
            continue
        part = _PARTS[kind].get(number)
        if part is None:
            yield value
        elif part != "values":
            yield from _kept(data, part, *value)
