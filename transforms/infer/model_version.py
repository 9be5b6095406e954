"""Which model a prediction was made with, as a column of its block: for the user, or for the header of its message."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from beamsplit.transforms.block import INTERNAL_COLUMNS, MODEL_VERSION
from beamsplit.transforms.step import StepResult

COLUMN = "model_version"
"""The column, or field of a message, that users see."""

HEADER = "model.version"
"""The header of a message."""

COLUMNS = {"column": COLUMN, "header": MODEL_VERSION}
"""What `--model_version` may be -> the column of the block: one that users see, or one that becomes the header."""


def version_schema(schema: pa.Schema, column: str) -> pa.Schema:
    """The schema of `with_version(block, column, ...)` for blocks of `schema`."""
    return schema.insert(_place(schema), pa.field(column, pa.string()))


def with_version(block: pa.RecordBatch, column: str, version: str) -> pa.RecordBatch:
    """Add the version to every row, behind the user's columns."""
    schema = version_schema(block.schema, column)
    at = _place(block.schema)
    columns = [*block.columns[:at], pa.repeat(pa.scalar(version, pa.string()), block.num_rows), *block.columns[at:]]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _place(schema: pa.Schema) -> int:
    """Behind the user's columns, which are the first."""
    return sum(name not in INTERNAL_COLUMNS for name in schema.names)


@dataclass(frozen=True)
class AddVersion:
    """The step that does it where the model stays the same."""

    version: str
    column: str
    """One of `COLUMNS`."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """One column more."""
        return version_schema(schema, self.column)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """No row fails."""
        return StepResult(with_version(block, self.column, self.version))
