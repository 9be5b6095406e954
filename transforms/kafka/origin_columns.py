"""Columns of a file that tell which message a prediction was made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import KEY, ORIGIN_FILE, ORIGIN_ROW, data_columns
from beamsplit.transforms.kafka.blocks import parse_origin
from beamsplit.transforms.step import StepResult

FIELDS = (
    pa.field("input_partition", pa.int32(), nullable=False),
    pa.field("input_offset", pa.int64(), nullable=False),
    pa.field("input_key", pa.string()),
)
"""Bytes of a key that are no UTF-8 are shown as `\\xNN`."""


@dataclass(frozen=True)
class AddMessageColumns:
    """The step that adds them, behind the user's columns."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """With `FIELDS`.

        Raises:
            UsageError: one of these names is taken.
        """
        taken = [field.name for field in FIELDS if field.name in schema.names]
        if taken:
            raise UsageError(
                f"predictions of messages get a column {taken[0]!r}, and there is one already; leave it out of --keep"
            )
        names = data_columns(schema)
        inner = [field for field in schema if field.name not in names]
        return pa.schema([*(schema.field(name) for name in names), *FIELDS, *inner])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Add them."""
        origins = block.column(ORIGIN_FILE)
        partitions = np.array([parse_origin(name)[1] for name in origins.dictionary.to_pylist()], np.int32)
        made = {
            "input_partition": pa.array(partitions[origins.indices.to_numpy()]),
            "input_offset": block.column(ORIGIN_ROW),
            "input_key": _texts(block.column(KEY)),
        }
        schema = self.output_schema(block.schema)
        columns = [made[field.name] if field.name in made else block.column(field.name) for field in schema]
        return StepResult(pa.RecordBatch.from_arrays(columns, schema=schema))


def _texts(keys: pa.Array) -> pa.Array:
    try:
        return keys.cast(pa.string())
    except pa.ArrowInvalid:
        decoded = [None if key is None else key.decode("utf-8", "backslashreplace") for key in keys.to_pylist()]
        return pa.array(decoded, pa.string())
