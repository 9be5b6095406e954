"""Text that is not UTF-8: read as it is where its lines can be told by their bytes, else recoded as a whole."""

from __future__ import annotations

import codecs
import io
from functools import lru_cache
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.streams import open_stream

CHUNK = 1 << 20
"""Bytes recoded at a time."""

_NO_TEXT = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")

_SHIFTED = ("iso2022", "hz", "utf-7")
"""Beginnings of the names of codecs in which plain letters stand for others behind an escape."""


def check_encoding(name: str | None) -> str | None:
    """The name of a codec of Python; None for UTF-8.

    Raises:
        UsageError: there is no such encoding of text.
    """
    if name is None:
        return None
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        info = None
    if info is None or not info._is_text_encoding or info.name.replace("-", "_") in _NO_TEXT:
        raise UsageError(f"--encoding {name!r} is no encoding of text: type e.g. latin-1, cp1252, utf-16 or shift_jis")
    return None if info.name in ("utf-8", "utf-8-sig") else info.name


def check_utf8(path: str, text: bytes, encoding: str | None) -> None:
    """Raise where a file's first line is not the UTF-8 that it should be.

    Raises:
        UsageError: with the option that helps.
    """
    if encoding is not None:
        return
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(f"{path} is text in UTF-16, and UTF-8 is read: add --encoding utf-16, or save it as UTF-8")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 in its first line ({error.reason} at byte {error.start}): say what it is, e.g. with "
            "--encoding latin-1"
        ) from error


@lru_cache(maxsize=32)
def is_wide(encoding: str | None) -> bool:
    """Whether bytes of line ends, quotes and delimiters may be part of other characters, as in UTF-16."""
    if encoding is None:
        return False
    if encoding.startswith(_SHIFTED):
        return True
    ascii = bytes(range(128))
    try:
        return ascii.decode(encoding) != ascii.decode()
    except UnicodeError:
        return True


def recode(run: bytes, encoding: str | None) -> bytes:
    """Whole lines as UTF-8; a byte that is nothing in `encoding` becomes what is no UTF-8, so its row fails."""
    if encoding is None or is_wide(encoding) or run.isascii():
        return run
    return run.decode(encoding, "surrogateescape").encode("utf-8", "surrogatepass")


def open_text(path: str, encoding: str | None = None, size: int | None = None, whole: bool = False) -> BinaryIO:
    """The bytes of a file, decompressed; of a wide encoding, and where `whole` says so, as UTF-8, else as they are."""
    stream = open_stream(path, decompress=True, size=size)
    if encoding is None or not (whole or is_wide(encoding)):
        return stream
    return io.BufferedReader(_Recoded(stream, encoding, path), CHUNK)


class _Recoded(io.RawIOBase):
    """A stream of text in UTF-8, of one in another encoding."""

    def __init__(self, stream: BinaryIO, encoding: str, path: str) -> None:
        self._stream, self._encoding, self._path = stream, encoding, path
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._left = b""
        self._ended = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer.

        Raises:
            OSError: the text is not of the encoding.
        """
        while not self._left and not self._ended:
            data = self._stream.read(CHUNK)
            self._ended = not data
            try:
                self._left = self._decoder.decode(data, final=self._ended).encode("utf-8", "surrogatepass")
            except UnicodeError as error:
                raise OSError(f"{self._path} is not text in {self._encoding}: {error}") from error
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def close(self) -> None:
        """Close the stream below too."""
        if not self.closed:
            self._stream.close()
        super().close()


def is_utf8(text: bytes) -> bool:
    """Whether it is; quicker than to decode it."""
    if text.isascii():
        return True
    ends = pa.py_buffer(np.array([0, len(text)], dtype=np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def bytes_as_letters(text: bytes) -> bytes:
    """UTF-8 that stands for text of another encoding, a letter a byte.

    pyarrow tells of a row with too many cells by its text, and fails on one that is none.
    """
    return text.decode("latin-1").encode()


def letters_as_bytes(column: pa.ChunkedArray) -> pa.Array:
    """The cells (binary) for which those of `bytes_as_letters` (binary) stand."""
    import pyarrow.compute as pc

    if pc.all(pc.string_is_ascii(column.cast(pa.string()))).as_py() is not False:
        return column.combine_chunks()
    cells = column.to_pylist()
    return pa.array([None if cell is None else cell.decode().encode("latin-1") for cell in cells], pa.binary())
