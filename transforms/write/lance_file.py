"""Files of Lance datasets, written block by block; a commit (`transforms/tables/`) makes them fragments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beamsplit.transforms.formats.interfaces import Rows

VERSION = b"lance.version"
"""Metadata of a schema that says which version of Lance's files is written; without, the newest that is stable."""


class LanceFile:
    """Hands blocks on to Lance, which collects them into pages."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        from lance.file import LanceFileWriter

        version = (schema.metadata or {}).get(VERSION)
        self._schema = schema.remove_metadata()
        self._writer = LanceFileWriter(
            os.path.abspath(path), self._schema, version=None if version is None else version.decode()
        )

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""
        if block.num_rows:
            self._writer.write_batch(block.replace_schema_metadata(None))

    def close(self) -> None:
        """Write what waits and the footer."""
        self._writer.close()

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""
        self._writer.close()


def open_path(path: str, schema: pa.Schema) -> LanceFile:
    """Start a file of this name, on this machine: Lance opens it itself."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    return LanceFile(path, schema)


def open_file(out: Any, schema: pa.Schema) -> LanceFile:
    """Lance takes no open files.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("Lance opens its files by their names")


def check_field(field: pa.Field) -> None:
    """Nothing: a table's sink makes columns of what it has."""


def merge(out: Any, schema: pa.Schema, parts: Sequence[Rows]) -> None:
    """Datasets have as many files as there are.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("files of Lance datasets are not merged")
