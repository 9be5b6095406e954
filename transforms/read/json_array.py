"""A file that is one JSON array of objects, read as JSON Lines: each item is a row.

[{"a": 1},          {"a": 1}\\n
 {"a": 2}]   ->     {"a": 2}\\n
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import BinaryIO, cast

import numpy as np

from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.streams import is_local, open_stream

HEAD_BYTES = 1 << 16
"""Looked at to tell an array from lines."""

_BOM = b"\xef\xbb\xbf"


def is_array(path: str) -> bool:
    """Whether the file is one array of objects: it begins so, and its first line is not such an array by itself."""
    stamp = (0, 0)
    if is_local(path):
        status = os.stat(path)
        stamp = (status.st_size, status.st_mtime_ns)
    return _is_array(path, stamp)


@lru_cache(maxsize=1024)
def _is_array(path: str, stamp: tuple[int, int]) -> bool:
    with open_stream(path, decompress=True) as stream:
        head = stream.read(HEAD_BYTES).removeprefix(_BOM).lstrip()
    if head[:1] != b"[" or head[1:].lstrip()[:1] not in (b"{", b"]", b""):
        return False
    first, _, rest = head.partition(b"\n")
    if not rest.strip():
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return True
    return False


def open_lines(path: str, size: int | None = None) -> BinaryIO:
    """The text of a JSON file as lines, an object a line."""
    stream = open_stream(path, decompress=True, size=size)
    return cast(BinaryIO, ArrayLines(stream, path)) if is_array(path) else stream


class ArrayLines:
    """The items of an array as lines: byte for byte, but that what stands between them are line feeds.

    Raises:
        DamagedFile: when the text ends before the array does, or goes on behind it.
    """

    def __init__(self, stream: BinaryIO, path: str) -> None:
        self._stream = stream
        self._path = path
        self._depth = 0
        self._in_text = False
        self._slash = False
        """Whether the last byte escapes the next one."""
        self._begun = False

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as many as the file gives."""
        data = self._stream.read(size)
        if data:
            return self._lines(data)
        if self._depth or self._in_text:
            raise DamagedFile(f"{self._path} ends in the middle of its JSON array: it was not written to its end")
        return b""

    def _lines(self, data: bytes) -> bytes:
        text = np.frombuffer(data, np.uint8).copy()
        quotes = text == ord('"')
        if self._slash or b"\\" in data:
            quotes &= ~self._escaped(text)
        inside = (np.cumsum(quotes) + self._in_text) % 2 == 1
        self._in_text = bool(inside[-1])
        bare = ~inside
        opens = bare & ((text == ord("{")) | (text == ord("[")))
        closes = bare & ((text == ord("}")) | (text == ord("]")))
        level = self._depth + np.cumsum(opens.astype(np.int64) - closes)
        ends = np.flatnonzero(closes & (level <= 0))
        begun = self._begun or bool(opens.any())
        behind = text[ends[0] + 1 :] if len(ends) else text[:0] if self._depth or not self._begun else text
        if not np.isin(behind, list(b" \t\r\n")).all():
            raise DamagedFile(f"{self._path} goes on behind the end of its JSON array: write one array, or lines")
        feeds = (text == ord("\n")) | (text == ord("\r"))
        text[feeds & bare] = ord(" ")
        # Which no text of JSON may hold: the row fails, and is one row.
        text[feeds & inside] = 1
        text[bare & (text == ord(",")) & (level == 1)] = ord("\n")
        text[opens & (level == 1)] = ord(" ")
        text[ends] = ord("\n")
        self._begun = begun
        self._depth = int(level[-1])
        return text.tobytes()

    def _escaped(self, text: np.ndarray) -> np.ndarray:
        """Which bytes stand behind an odd number of backslashes."""
        slashes = text == ord("\\")
        at = np.arange(len(text))
        last = np.maximum.accumulate(np.where(slashes, -1, at))
        odd = slashes & (np.where(last < 0, at + 1 + int(self._slash), at - last) % 2 == 1)
        escaped = np.concatenate([[self._slash], odd[:-1]])
        self._slash = bool(odd[-1])
        return escaped

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> ArrayLines:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
