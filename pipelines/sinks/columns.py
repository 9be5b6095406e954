"""Whether the output can hold the columns that are written."""

from __future__ import annotations

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type
from beamsplit.pipelines.options.schemes import is_table, is_topic
from beamsplit.pipelines.options.values import SinkOptions
from beamsplit.transforms.block import data_columns
from beamsplit.transforms.write.names import output_format
from beamsplit.transforms.write.written_types import check_written_types


def check_columns_written(sink: SinkOptions, schema: pa.Schema) -> None:
    """Raise for columns that the output cannot hold.

    Args:
        sink: where predictions go.
        schema: of the blocks that are written.

    Raises:
        UsageError: there is one.
    """
    if is_table(sink.output):
        return  # Its sink tells, which knows the columns that it has.
    if not is_topic(sink.output):
        check_written_types(schema, output_format(sink.output), f"--output {sink.output}")
    elif sink.output_format == "tensor":
        check_tensors(schema)
    elif sink.output_format in (None, "json", "jsonschema"):
        check_written_types(schema, "jsonl", f"--output {sink.output}")


def check_tensors(schema: pa.Schema) -> None:
    """Raise for columns that no message of tensor bytes can hold.

    Raises:
        UsageError: a column is no number, or of no fixed shape.
    """
    for name in data_columns(schema):
        kind = column_type(schema.field(name).type)
        if kind is None or None in kind.shape or kind.dtype == "string":
            raise UsageError(
                f"--output_format tensor holds numbers of fixed shape, {name} is {schema.field(name).type}; use json"
            )
