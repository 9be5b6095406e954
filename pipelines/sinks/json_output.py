"""What the output's format cannot hold: NaN and infinity in JSON (`--json_nan`), null tensors in Parquet, far times."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.schemes import is_table, is_topic
from beamsplit.pipelines.options.values import SinkOptions
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.json_numbers import NumbersForJson
from beamsplit.transforms.null_tensors import NoNullTensors, tensor_columns
from beamsplit.transforms.step import Step
from beamsplit.transforms.times_in_range import TimesInRange, bounded_columns
from beamsplit.transforms.write.names import output_format


def json_format(sink: SinkOptions) -> str | None:
    """`json` of messages, or the format of files with JSON in them; None where the output has none."""
    if is_topic(sink.output):
        return "json" if sink.output_format in (None, "json", "jsonschema") else None
    if is_table(sink.output):
        return None
    format = FORMATS[output_format(sink.output)]
    return format.name if format.json else None


def steps_for_format(sink: SinkOptions, schema: pa.Schema, keep: Collection[str]) -> tuple[Step, ...]:
    """The last step of a job whose output has floating-point numbers as JSON, or tensors in Parquet.

    Args:
        sink: where predictions go.
        schema: of the blocks that the step gets.
        keep: columns that are copied.

    Raises:
        UsageError: `--json_nan` is given, and the output has no JSON.
    """
    format = json_format(sink)
    if format is None:
        if sink.json_nan is not None:
            raise UsageError(
                f"--json_nan {sink.json_nan} is for JSON, and --output {sink.output} is none: NaN and infinity "
                "stay as they are; leave it out"
            )
        if is_topic(sink.output) or is_table(sink.output):
            return ()
        written = FORMATS[output_format(sink.output)]
        tensors = not written.null_tensors and bool(set(tensor_columns(schema)) & set(keep))
        return (*_times(schema, written.name), *((NoNullTensors(),) if tensors else ()))
    step = NumbersForJson(sink.json_nan or "error", nested_only=format != "json" and FORMATS[format].cells)
    return (*_times(schema, format), *((step,) if step.columns(schema) else ()))


def _times(schema: pa.Schema, format: str) -> tuple[Step, ...]:
    return (TimesInRange(format),) if bounded_columns(schema, format) else ()
