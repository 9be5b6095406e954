"""Columns that tell of which row a prediction was made, behind those of the user. No Beam."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW, data_columns
from beamsplit.transforms.step import StepResult


class ColumnsBehind(ABC):
    """A step that adds columns of its own; who inherits says which, and makes them."""

    fields: ClassVar[tuple[pa.Field, ...]]
    """What is added."""

    predictions: ClassVar[str]
    """Whose predictions get them, for errors."""

    @abstractmethod
    def made(self, block: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """Name -> column, of each of `fields`."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """With `fields`.

        Raises:
            UsageError: one of these names is taken.
        """
        taken = [field.name for field in self.fields if field.name in schema.names]
        if taken:
            raise UsageError(
                f"predictions of {self.predictions} get a column {taken[0]!r}, and there is one already; leave it out "
                "of --keep"
            )
        names = data_columns(schema)
        inner = [field for field in schema if field.name not in names]
        return pa.schema([*(schema.field(name) for name in names), *self.fields, *inner])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Add them."""
        made, schema = self.made(block), self.output_schema(block.schema)
        columns = [made[field.name] if field.name in made else block.column(field.name) for field in schema]
        return StepResult(pa.RecordBatch.from_arrays(columns, schema=schema))


class AddRowColumns(ColumnsBehind):
    """Which row of which file."""

    fields = (
        pa.field("input_file", pa.string(), nullable=False),
        pa.field("input_row", pa.int64(), nullable=False),
    )
    predictions = "a replay"

    def made(self, block: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """The file's path, and the row's number in it."""
        return {"input_file": block.column(ORIGIN_FILE).dictionary_decode(), "input_row": block.column(ORIGIN_ROW)}
