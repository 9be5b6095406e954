"""Which columns a format can hold, told before the job by writing some nulls of their types."""

from __future__ import annotations

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import data_columns
from beamsplit.transforms.formats import FORMATS, Format


def check_written_types(schema: pa.Schema, format: str, what: str) -> None:
    """Raise for a column that cannot be written.

    Args:
        schema: of the blocks that are written.
        format: name of one that is written.
        what: is written, for errors: `"--output preds.csv"`.

    Raises:
        UsageError: there is one; names column, type and format, and what to type.
    """
    for name in data_columns(schema):
        field = schema.field(name)
        reason = _refusal(field, FORMATS[format])
        if reason is None:
            continue
        written = (one for one in sorted(FORMATS.values(), key=lambda one: one.cells) if one.written_extensions)
        other = next((one for one in written if one.name != format and _refusal(field, one) is None), None)
        better = f", write {other.extensions[0]}" if other is not None else ""
        raise UsageError(
            f"{what}: {format} cannot hold the column {name!r} of type {field.type} ({reason}); leave it out of "
            f"--keep, convert it with --prepare module:function{better}"
        )


def _refusal(field: pa.Field, format: Format) -> str | None:
    """Why not; None if it can be written."""
    try:
        format.writer.check_field(field)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
        return " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return None
