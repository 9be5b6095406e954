"""Rows of a bundle as several files, each of the rows of one partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

import pyarrow as pa

from beamsplit.transforms.write.temp_file import Target, TempFile, TempFileWriter

MOST_BYTES = 256 << 20
"""Of blocks in files that are open; then the largest is closed, and the next rows of its partition begin another."""

MOST_OPEN = 200
"""Files that are open at a time."""


class PartitionBy(Protocol):
    """By what rows are put together in files."""

    def split(self, block: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """(a name of the partition, its rows in their order), each partition once."""

    def schema(self, schema: pa.Schema, partition: str) -> pa.Schema:
        """Of a partition's files, where those of all rows would have this one."""


class PartitionWriters:
    """Writes blocks to files, one or more a partition.

    Raises:
        RuntimeError: the job was given up.
    """

    def __init__(self, target: Target, by: PartitionBy | None, new_path: Callable[[], str] | None = None) -> None:
        self._target, self._by = target, by
        self._new_path = new_path or target.new_path
        self._open: dict[str, TempFileWriter] = {}
        self._bytes: dict[str, int] = {}
        self.files: list[TempFile] = []
        """Those that are closed."""

        self.seconds = 0.0
        """Time spent encoding and writing, of files that are closed."""

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block that has the target's columns."""
        for partition, rows in [("", block)] if self._by is None else self._by.split(block):
            self._writer(partition).write(rows)
            self._bytes[partition] += rows.nbytes
        if len(self._open) > 1 and sum(self._bytes.values()) > MOST_BYTES:
            self._close_largest()

    def close(self) -> list[TempFile]:
        """Finish all files."""
        for partition in list(self._open):
            self._close(partition)
        return self.files

    def abort(self) -> None:
        """Delete those that are open, after an error."""
        for writer in self._open.values():
            writer.abort()
        self._open.clear()

    def _writer(self, partition: str) -> TempFileWriter:
        if partition not in self._open:
            if len(self._open) >= MOST_OPEN:
                self._close_largest()
            schema = self._target.schema if self._by is None else self._by.schema(self._target.schema, partition)
            target = replace(self._target, schema=schema)
            self._open[partition] = TempFileWriter(target, False, self._new_path())
            self._bytes[partition] = 0
        return self._open[partition]

    def _close_largest(self) -> None:
        self._close(max(self._bytes, key=lambda one: self._bytes[one]))

    def _close(self, partition: str) -> None:
        writer = self._open[partition]
        self.files.append(writer.close())
        self.seconds += writer.seconds
        del self._open[partition], self._bytes[partition]
