"""Tables of one schema as blocks of another: the columns wanted, in their order, each value exactly as it was."""

from __future__ import annotations

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.columns import describe, drop_rows
from beamsplit.transforms.read.cast import CannotCast, cast_exactly


class DoesNotFit(UsageError):
    """A whole table has not the columns that were planned with."""


def conform(block: pa.RecordBatch, schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, str]]:
    """(the rows that go on, position -> why a row does not).

    >>> block, wrong = conform(pa.record_batch({"x": [1.0, 2.5], "more": ["a", "b"]}), pa.schema({"x": pa.int64()}))
    >>> block.to_pydict(), wrong
    ({'x': [1]}, {1: "column 'x': 2.5 is no int64"})

    Args:
        block: of any schema.
        schema: what is wanted.

    Raises:
        DoesNotFit: a column is missing, or no value of it is one of the type wanted.
    """
    if block.schema.equals(schema):
        return block, {}
    columns, wrong = [], dict[int, str]()
    for field in schema:
        at = block.schema.get_field_index(field.name)
        if at < 0 and field.name in block.schema.names:
            raise DoesNotFit(
                f"the rows have {block.schema.names.count(field.name)} columns {field.name!r}, and one was planned "
                "with; rename the others"
            )
        if at < 0:
            raise DoesNotFit(
                f"the rows have no column {field.name!r} ({field.type}), which was planned with; they have "
                f"{describe(block.schema)}"
            )
        try:
            column, bad = cast_exactly(block.column(at), field.type)
        except CannotCast:
            raise DoesNotFit(
                f"column {field.name!r} is {block.column(at).type}, and {field.type} was planned with; give rows of "
                "one schema, or say it with schema="
            ) from None
        columns.append(column)
        for row in bad.tolist():
            wrong.setdefault(row, f"column {field.name!r}: {block.column(at)[row].as_py()!r} is no {field.type}")
    made = pa.RecordBatch.from_arrays(columns, schema=schema) if columns else block.select([])
    return drop_rows(made, sorted(wrong)), wrong
