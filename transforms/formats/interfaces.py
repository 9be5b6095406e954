"""What the modules of a format offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from beamsplit.transforms.read.inputs import InputFile
    from beamsplit.transforms.read.result import Parsed, ReadOptions, ReadResult
    from beamsplit.transforms.read.together import Text
    from beamsplit.transforms.split import Split


class Reader(Protocol):
    """Reads files of a format."""

    def schema(self, file: InputFile, head: int) -> pa.Schema | None:
        """The columns of a file, of text as its first `head` bytes suggest; None where it has none."""

    def split(self, file: InputFile, number: int, target_bytes: int) -> list[Split]:
        """Splits of about `target_bytes` of the `number`-th file of the input, in order."""

    def read(self, split: Split, options: ReadOptions) -> Iterator[ReadResult]:
        """Blocks of `options.data_schema` with their origin, and the rows that cannot be read, in order.

        Raises:
            pa.ArrowException: the file is damaged; it is told with its name.
            OSError: the same.
        """


class CountingReader(Reader, Protocol):
    """Whose splits may be made without counting their rows (`Split.rows` is None)."""

    def count(self, split: Split) -> int:
        """Rows of the split, bad ones too; where it has a `row_stop` that many are enough."""


class TextReader(CountingReader, Protocol):
    """Reads text."""

    def text_of(self, split: Split) -> Iterator[bytes]:
        """The rows of a split as runs of bytes."""

    def parse_text(self, text: bytes, split: Split, options: ReadOptions) -> Parsed:
        """A run of the split as columns of `options.data_schema`; bad rows apart."""

    def whole_text(self, split: Split, text: bytes) -> Text:
        """A small file's rows as they are parsed together with those of others."""

    def rows_about(self, file: InputFile) -> float | None:
        """About how many rows a file has, by its beginning; None where that does not tell."""


class ObjectReader(TextReader, Protocol):
    """Reads rows of which each names its fields."""

    def objects(self, file: InputFile, head: int) -> list[bytes]:
        """The objects in the first `head` bytes."""

    def schema_of(self, objects: list[bytes]) -> pa.Schema | None:
        """Names and types of the fields, as most of the objects have them."""


class EarlyReader(Reader, Protocol):
    """Whose files can be decoded while a job is still being set up."""

    def start_decoders(self, split: Split, options: ReadOptions) -> list[Any]:
        """What decodes the split ahead, kept for `read`."""

    def forget_decoders(self) -> None:
        """Drop what was decoded and nobody took."""


class BlockFile(Protocol):
    """A file that is open for writing."""

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""

    def close(self) -> None:
        """Write what waits."""

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""


Rows = tuple[str, int, int, int]
"""Rows of a file that was written: its path, the first of them, one past the last, and how many the file has."""


class Writer(Protocol):
    """Writes files of a format."""

    def open_file(self, out: Any, schema: pa.Schema) -> BlockFile:
        """Start a file: `out` is a binary file open for writing, which the `BlockFile` closes."""

    def check_field(self, field: pa.Field) -> None:
        """Raise for a column that cannot be written, and read again.

        Raises:
            pa.ArrowException, TypeError, ValueError, NotImplementedError: it cannot; says why.
        """

    def merge(self, out: Any, schema: pa.Schema, parts: Sequence[Rows]) -> None:
        """Write rows of files that were written with this schema behind one another to one, and close it."""
