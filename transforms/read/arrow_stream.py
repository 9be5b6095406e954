"""Where the record batches of an Arrow IPC stream lie: each message tells its length, so none is read to find them.

schema | metadata | body ...... | metadata | body .... | end
         read       skipped       read       skipped
"""

from __future__ import annotations

import os
import struct

from beamsplit.transforms.read.arrow_batch import CONTINUES, BatchFile, Block, Unsupported, find_field, follow
from beamsplit.transforms.read.compression import DamagedFile

END = CONTINUES + b"\0\0\0\0"
"""The mark that ends a stream."""

_HEADER_TYPE, _BODY_LENGTH = 1, 3
"""Slots of the table Message (format/Message.fbs)."""

_SCHEMA, _BATCH = 1, 3
"""Values of its union MessageHeader."""


class StreamFile(BatchFile):
    """The record batches of an IPC stream on this machine; use it in a `with`.

    Raises:
        Unsupported: it has something that only Arrow's own reader knows.
        DamagedFile: it was cut short, or goes on behind its end.
    """

    def _find_blocks(self) -> list[Block]:
        size = os.fstat(self._file).st_size
        found: list[Block] = []
        at, seen_schema = 0, False
        while at < size:
            start = os.pread(self._file, len(END), at)
            if len(start) < len(END) and seen_schema:
                break
            if not start.startswith(CONTINUES):
                # Before Arrow 0.15 messages began without a mark: its own reader knows those, and what is no message.
                raise Unsupported
            if start == END:
                if at + len(END) < size:
                    raise goes_on(self.path, at + len(END))
                return found
            (length,) = struct.unpack_from("<i", start, len(CONTINUES))
            block, kind = self._message(at, len(END) + length)
            if kind not in (_SCHEMA, _BATCH) or (kind == _SCHEMA) == seen_schema:
                raise Unsupported
            if kind == _BATCH:
                found.append(block)
            seen_schema = True
            at += block.metadata + block.body
        raise ends_early(self.path)

    def _message(self, at: int, size: int) -> tuple[Block, int]:
        """(where a message lies, what it is)."""
        try:
            metadata = self._read(at, size)
        except DamagedFile as error:
            raise ends_early(self.path) from error
        try:
            message = follow(metadata, len(END))
            places = find_field(metadata, message, _HEADER_TYPE), find_field(metadata, message, _BODY_LENGTH)
            kind = 0 if places[0] is None else metadata[places[0]]
            body = 0 if places[1] is None else int(struct.unpack_from("<q", metadata, places[1])[0])
        except (struct.error, IndexError) as error:
            raise DamagedFile(f"{self.path} is damaged: a message at byte {at:,} has no valid metadata") from error
        if body < 0:
            raise DamagedFile(f"{self.path} is damaged: a message at byte {at:,} has a body of {body} bytes")
        return Block(at, size, body), kind


def ends_early(path: str) -> DamagedFile:
    """The error for a stream without its end: Arrow takes what was cut off there for whole."""
    return DamagedFile(
        f"{path} ends without the mark that ends an Arrow stream: it was cut short, or its writer was not closed"
    )


def goes_on(path: str, end: int) -> DamagedFile:
    """The error for several streams behind one another."""
    return DamagedFile(f"{path} goes on behind its Arrow stream, from byte {end:,}: give each stream a file")
