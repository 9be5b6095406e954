"""JSON Lines files, written block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beamsplit.transforms.formats.interfaces import Rows
from beamsplit.transforms.write.plain_columns import is_plain
from beamsplit.transforms.write.text_file import merge_text, pieces_of


class JsonLinesFile:
    """One JSON object a row; `json_text` says how values look."""

    def __init__(self, out: Any, schema: pa.Schema) -> None:
        self._file = out

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""
        from beamsplit.transforms.write.json_text import json_lines

        for piece in pieces_of(block):
            self._file.write(json_lines(piece))

    def close(self) -> None:
        """Write what waits."""
        self._file.close()

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""
        self.close()


open_file = JsonLinesFile


def merge(out: Any, schema: pa.Schema, parts: Sequence[Rows]) -> None:
    """Copy rows of files to one."""
    merge_text(out, parts)


def check_field(field: pa.Field) -> None:
    """Raise for a column that is no JSON."""
    if is_plain(field.type):
        return
    from beamsplit.transforms.write.json_text import json_text

    json_text(pa.nulls(2, field.type))
