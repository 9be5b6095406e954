"""Text that a command reads whole: plans, descriptions of clusters, summaries, labels."""

from __future__ import annotations

from typing import BinaryIO

MOST_BYTES = 256 << 20
"""Plans of the largest models have a few million: more is no such file, or a device that never ends."""


def read_small(path: str) -> str:
    """The text of a file on this machine.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8, too large, or the path is none.
    """
    with open(path, "rb") as file:
        return decode_small(file)


def decode_small(file: BinaryIO) -> str:
    """The text of an open file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8, or too large.
    """
    return small_bytes(file).decode("utf-8")


def small_bytes(file: BinaryIO) -> bytes:
    """The bytes of an open file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large.
    """
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MB")
    return data
