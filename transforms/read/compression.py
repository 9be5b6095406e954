"""Files that are compressed as a whole (gzip, bzip2, xz, Zstandard): told by their first bytes, and read to their end.

What ends in the middle, does not match its checksum or has other bytes behind it is an error that names the file. The
readers of Python, Arrow and Beam each let some of these pass as the end of the file.

    file     member | member | padding            a member: header, data, checksum
    stream   data     data                        as `cat a.gz b.gz` makes them
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

CHUNK = 1 << 16
"""Compressed bytes taken at a time."""

MOST = 1 << 20
"""Bytes given at a time, where the library can be asked for no more."""

ZSTD_CHUNK = 1 << 13
"""Compressed bytes of Zstandard unpacked at a time: its library gives all that is in them, up to 32,768 times more."""


class DamagedFile(OSError):
    """A file that is cut short, damaged or changes while it is read; one line, with its name."""


class _Member(Protocol):
    """Unpacks one member."""

    @property
    def eof(self) -> bool:
        """Whether its end was reached, checksum and all."""

    @property
    def unused_data(self) -> bytes:
        """What was given and lies behind its end."""

    @property
    def needs_input(self) -> bool:
        """Whether there is no more to give before it is given more."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """What the data and those before hold, at most so many bytes."""


class _Gzip:
    """zlib's decompressor behind the methods that those of bzip2 and xz have."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(out) < max_length
        return out


class _Zstd:
    def __init__(self) -> None:
        import zstandard

        self._inner: Any = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
        self._left = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return cast(bytes, self._inner.unused_data) + self._left

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        import zstandard

        data, self._left = self._left + data, b""
        data, self._left = data[:ZSTD_CHUNK], data[ZSTD_CHUNK:]
        try:
            out: bytes = self._inner.decompress(data)
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        self.needs_input = not self._left
        return out


@dataclass(frozen=True)
class _Kind:
    name: str
    extensions: tuple[str, ...]
    starts: tuple[bytes, ...]
    """What a member may begin with."""

    member: Callable[[], _Member]
    sure: int = 3
    """So many bytes tell that a file without such an extension is of this kind."""

    padded: bool = False
    """Whether zeros may follow a member: those of a tape for gzip, by its definition for xz."""

    def begins(self, data: bytes) -> bool:
        """Whether `data` is the beginning of a member, or of the beginning of one."""
        return any(data.startswith(start) or start.startswith(data) for start in self.starts)


_SKIPPABLE = tuple(bytes([byte]) + b"\x2a\x4d\x18" for byte in range(0x50, 0x60))

_KINDS = {
    kind.name: kind
    for kind in (
        _Kind("gzip", (".gz", ".gzip"), (b"\x1f\x8b\x08",), _Gzip, padded=True),
        _Kind("bzip2", (".bz2",), tuple(b"BZh%d" % level for level in range(1, 10)), bz2.BZ2Decompressor),
        _Kind("xz", (".xz",), (b"\xfd7zXZ\x00",), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), padded=True),
        _Kind("Zstandard", (".zst", ".zstd"), (b"\x28\xb5\x2f\xfd", *_SKIPPABLE), _Zstd),
    )
}

EXTENSIONS = tuple(extension for kind in _KINDS.values() for extension in kind.extensions)

_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
"""What follows "BZh9": a text may begin so, and not go on so."""

HEAD = 10
"""Bytes by which `kind_of_head` tells."""


def kind_by_name(path: str) -> str | None:
    """The kind that a file's extension tells (`"gzip"`, ...), in capitals too; None for others."""
    lower = path.lower()
    return next((kind.name for kind in _KINDS.values() if lower.endswith(kind.extensions)), None)


def without_extension(path: str) -> str:
    """The path in small letters without the extension of a compressed file."""
    lower = path.lower()
    return os.path.splitext(lower)[0] if lower.endswith(EXTENSIONS) else lower


def kind_of_head(head: bytes) -> str | None:
    """The kind of a file that begins with `head` (`HEAD` bytes); None where it is not compressed."""
    for kind in _KINDS.values():
        if head.startswith(kind.starts) and (kind.name != "bzip2" or head[4:].startswith(_BZIP2_BLOCKS)):
            return kind.name
    return None


def unpack(raw: BinaryIO, kind: str, path: str, size: int | None = None) -> BinaryIO:
    """The text of a compressed file, whole: an `OSError` where it is not, which names it.

    Args:
        raw: the file, from its first byte; closed with what is given.
        kind: as `kind_by_name` or `kind_of_head` tells it.
        path: to name in errors.
        size: bytes that it has, where that is known of a file that comes over a network.

    Raises:
        DamagedFile: (when read) it ends too early, is damaged, or goes on with something else.
    """
    return cast(BinaryIO, io.BufferedReader(_Unpacked(raw, _pieces(raw, _KINDS[kind], path, size)), MOST))


class _Unpacked(io.RawIOBase):
    def __init__(self, raw: BinaryIO, pieces: Iterator[bytes]) -> None:
        self._raw = raw
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not len(self._left):
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        length = min(len(into), len(self._left))
        into[:length] = self._left[:length]
        self._left = self._left[length:]
        return length

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pieces(raw: BinaryIO, kind: _Kind, path: str, size: int | None) -> Iterator[bytes]:
    """What the members hold, one after the other."""
    longest = max(map(len, kind.starts))
    read = members = 0
    data = b""
    while True:
        while len(data) < longest and (fresh := raw.read(CHUNK)):
            read += len(fresh)
            data += fresh
            if members and kind.padded:
                data = data.lstrip(b"\0")
        if not data and members:
            break
        if not data or not kind.begins(data[:longest]):
            raise DamagedFile(_no_member(path, kind, members, read - len(data)))
        member = kind.member()
        members += 1
        while not member.eof:
            if member.needs_input and not data:
                data = raw.read(CHUNK)
                read += len(data)
                if not data:
                    raise DamagedFile(
                        f"{path} ends in the middle of its {kind.name} data, after {read:,} bytes: "
                        "it was cut short, copy it again"
                    )
            try:
                piece = member.decompress(data, MOST)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                raise DamagedFile(
                    f"{path} is damaged: its {kind.name} data is wrong before byte {read:,} ({_reason(error)})"
                ) from error
            data = b""
            if piece:
                yield piece
        data = member.unused_data
        if kind.padded:
            data = data.lstrip(b"\0")
    if size is not None and read != size:
        raise DamagedFile(f"{path} had {size:,} bytes when the job started, and {read:,} were read: it changed")


def _no_member(path: str, kind: _Kind, members: int, at: int) -> str:
    if members:
        return f"{path} goes on with other bytes behind its {kind.name} data, from byte {at:,}: cut them off"
    if not at and kind_by_name(path) == kind.name:
        return f"{path} is named as {kind.name} and does not begin so: it is damaged, or was given a wrong name"
    return f"{path} does not begin as {kind.name}"


def _reason(error: BaseException) -> str:
    text = str(error).rsplit(": ", 1)[-1]
    wrong_sum = ("incorrect data check", "incorrect length check", "Restored data doesn't match checksum")
    return "its checksum does not match" if text in wrong_sum else text or type(error).__name__
