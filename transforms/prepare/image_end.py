"""Whether an encoded image is there to its end: decoders fill what was lost with gray, and say nothing of it."""

from __future__ import annotations

import struct
import zlib

_PNG = b"\x89PNG\r\n\x1a\n"


def check_end(encoded: bytes) -> None:
    """Check what a copy that was broken off and filled with zeros leaves of a PNG or JPEG.

    Raises:
        ValueError: a PNG has a chunk that does not match its checksum, or a JPEG no mark of its end.
    """
    if encoded.startswith(_PNG):
        _check_chunks(encoded)
    elif encoded.startswith(b"\xff\xd8") and not _has_jpeg_end(encoded):
        raise ValueError("the JPEG is truncated or overwritten: it has no mark of its end")


def _check_chunks(encoded: bytes) -> None:
    at = len(_PNG)
    while at + 12 <= len(encoded):
        (length,) = struct.unpack_from(">I", encoded, at)
        name = encoded[at + 4 : at + 8]
        end = at + 8 + length
        # What is wrong in other chunks (a small first letter: comments, times) changes no pixel.
        if name[:1].isupper() and encoded[end : end + 4] != zlib.crc32(encoded[at + 4 : end]).to_bytes(4, "big"):
            raise ValueError("the PNG is truncated or overwritten: a part does not match its checksum")
        if name == b"IEND":
            return
        at = end + 4


def _has_jpeg_end(encoded: bytes) -> bool:
    """Whether the mark stands behind the beginning of the pixels; a small picture in the header has one of its own."""
    at = 2
    while at + 4 <= len(encoded) and encoded[at] == 0xFF:
        if encoded[at + 1] == 0xDA:
            return encoded.find(b"\xff\xd9", at) >= 0
        at += 1 if encoded[at + 1] == 0xFF else 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return True  # no JPEG that a decoder takes
