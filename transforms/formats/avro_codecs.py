"""How blocks of Avro files are compressed."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable

from beamsplit.models.graph.protobuf import varint

LEVEL = 1
"""Of deflate: 6, zlib's own, takes three times as long for a few per cent of numbers."""


def _deflated(data: bytes) -> bytes:
    inner = zlib.decompressobj(-zlib.MAX_WBITS)
    found = inner.decompress(data)
    if not inner.eof:
        raise ValueError("what is compressed ends too early")
    return found


def _snappy(data: bytes) -> bytes:
    """Snappy, with a checksum of 4 bytes behind it."""
    import pyarrow as pa

    size, _ = varint(data, 0)
    found = bytes(pa.Codec("snappy").decompress(data[:-4], size))
    if zlib.crc32(found) != int.from_bytes(data[-4:], "big"):
        raise ValueError("its checksum is another")
    return found


def _zstandard(data: bytes) -> bytes:
    import zstandard

    inner = zstandard.ZstdDecompressor().decompressobj()
    found: bytes = inner.decompress(data)
    if not inner.eof:
        raise ValueError("what is compressed ends too early")
    return found


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": _deflated,
    "snappy": _snappy,
    "zstandard": _zstandard,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
}
"""Name in a file's header -> what gives a block's bytes."""


def decompress(codec: str, data: bytes) -> bytes:
    """The bytes of a block.

    Raises:
        Exception: they are damaged; which depends on the codec.
    """
    return CODECS[codec](data)


def compress(codec: str, data: bytes) -> bytes:
    """A block with deflate, or as it is."""
    if codec == "null":
        return data
    inner = zlib.compressobj(LEVEL, wbits=-zlib.MAX_WBITS)
    return inner.compress(data) + inner.flush()
