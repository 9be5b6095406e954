"""Protobuf's wire format: the fields of a message, without the classes that onnx makes of them.

Importing onnx and parsing a large model takes longer than looking for what lies in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

Bytes: TypeAlias = Any
"""bytes, or a mapped file: sliced and indexed."""


def fields(data: Bytes, begin: int, end: int) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field of a message: an int, or (begin, end) of what has a length.

    Raises:
        ValueError: the message is no protobuf.
        IndexError: the data ends within a number.
    """
    at = begin
    while at < end:
        tag, at = varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = varint(data, at)
            yield tag >> 3, wire, value
        elif wire == 2:
            length, at = varint(data, at)
            if at + length > end:
                raise ValueError("a part is longer than the whole")
            yield tag >> 3, wire, (at, at + length)
            at += length
        elif wire in (1, 5):
            step = 8 if wire == 1 else 4
            yield tag >> 3, wire, (at, at + step)
            at += step
        else:
            raise ValueError(f"wire type {wire} is not in use")
    if at != end:
        raise ValueError("a part is longer than the whole")


def varint(data: Bytes, at: int) -> tuple[int, int]:
    """A number of variable length at a place, and where it ends.

    Raises:
        ValueError: it does not end within 10 bytes.
        IndexError: the data ends within it.
    """
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 10 bytes")
