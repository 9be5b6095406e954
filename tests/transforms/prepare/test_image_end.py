"""Images that were broken off are told by their bytes alone."""

from __future__ import annotations

import struct
import zlib

import pytest

from beamsplit.transforms.prepare.image_end import check_end

END = b"\xff\xd9"


def segment(mark: int, content: bytes) -> bytes:
    return b"\xff" + bytes([mark]) + struct.pack(">H", 2 + len(content)) + content


START = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
THUMBNAIL = b"\xff\xd8" + START + b"pixels" + END
HEADS = {
    "none": b"",
    "one": segment(0xE0, b"JFIF\0" + bytes(9)),
    "two": segment(0xE0, b"JFIF\0" + bytes(9)) + segment(0xDB, bytes(300)),
    "a picture inside": segment(0xE1, b"Exif\0\0" + THUMBNAIL * 20),
    "filled up": b"\xff" + segment(0xE0, b"JFIF\0" + bytes(9)) + b"\xff\xff\xff",
    "filled up evenly": segment(0xDB, bytes(65)) + b"\xff\xff",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_jpeg_has_its_end_behind_the_beginning_of_its_pixels(head: bytes):
    whole = b"\xff\xd8" + head + START + b"\x12\x34\xff\x00\x56" * 9 + END
    check_end(whole)
    check_end(whole + b"\0\0")
    for broken in (whole[:-2], whole[:-2] + bytes(2), whole[: -len(END) - 45]):
        with pytest.raises(ValueError, match="the JPEG is truncated or overwritten: it has no mark of its end"):
            check_end(broken)


@pytest.mark.parametrize(
    "encoded", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"\xff\xd8no JPEG", b"GIF89a"]
)
def test_what_is_no_jpeg_is_the_decoders_to_tell(encoded: bytes):
    check_end(encoded)


def chunk(name: bytes, content: bytes = b"", wrong: bool = False) -> bytes:
    checksum = (zlib.crc32(name + content) + wrong) & 0xFFFFFFFF
    return struct.pack(">I", len(content)) + name + content + checksum.to_bytes(4, "big")


SIGN = b"\x89PNG\r\n\x1a\n"
HEAD, PIXELS = chunk(b"IHDR", bytes(13)), chunk(b"IDAT", bytes(range(256)) * 2)


@pytest.mark.parametrize("behind", [b"", bytes(40), chunk(b"IDAT", b"x", wrong=True)])
def test_a_png_has_chunks_that_match_their_checksums(behind: bytes):
    check_end(SIGN + HEAD + PIXELS + PIXELS + chunk(b"IEND") + behind)
    # Comments change no pixel.
    check_end(SIGN + HEAD + chunk(b"tEXt", b"text", wrong=True) + PIXELS + chunk(b"IEND") + behind)


@pytest.mark.parametrize("behind", [b"", b"\0\0\0\1IDA", PIXELS[:11]])
def test_a_png_without_a_last_chunk_is_the_decoders_to_tell(behind: bytes):
    check_end(SIGN + HEAD + PIXELS + behind)


@pytest.mark.parametrize(
    "broken",
    [
        HEAD + PIXELS[:100] + bytes(len(PIXELS) - 100),
        chunk(b"IHDR", bytes(13), wrong=True) + PIXELS + chunk(b"IEND"),
        HEAD + PIXELS + chunk(b"IDAT", b"x", wrong=True) + chunk(b"IEND"),
        HEAD + chunk(b"tEXt", b"text", wrong=True) + chunk(b"IDAT", b"x", wrong=True),
        HEAD + PIXELS + chunk(b"IEND", wrong=True),
        HEAD + chunk(b"CgBI", bytes(4), wrong=True) + PIXELS + chunk(b"IEND"),
    ],
)
def test_a_png_that_was_broken_off_and_filled_with_zeros(broken: bytes):
    with pytest.raises(ValueError, match="the PNG is truncated or overwritten"):
        check_end(SIGN + broken)
