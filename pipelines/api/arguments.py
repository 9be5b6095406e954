"""Arguments of the public names that are no options of the command: what is given, or one line on what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.element_schema import schema_of_text
from beamsplit.pipelines.api.paths import shown
from beamsplit.transforms.elements.conform import conform
from beamsplit.transforms.elements.tables import as_one_batch, rows_of

SAMPLE_ROWS = 4_096
"""Most rows of a sample that are looked at."""


def schema_given(schema: Any) -> pa.Schema | None:
    """A schema as Arrow has it: given so, or as text as of `--schema`.

    >>> schema_given("id:int64").names
    ['id']

    Raises:
        UsageError: it is neither.
    """
    if schema is None or isinstance(schema, pa.Schema):
        return None if schema is None else schema.remove_metadata()
    if isinstance(schema, str):
        return schema_of_text(schema)
    raise UsageError(f'schema is {shown(schema)}; give a pyarrow.Schema, or text such as "id:int64,x:float32[4]"')


def sample_given(sample: Any, schema: pa.Schema | None) -> pa.RecordBatch | None:
    """The first rows of a sample, of that schema where there is one.

    Raises:
        UsageError: it is no table, or has not the schema's columns.
    """
    if sample is None:
        return None
    if isinstance(sample, Sequence) and sample and all(isinstance(row, Mapping) for row in sample):
        try:
            sample = pa.Table.from_pylist(list(sample[:SAMPLE_ROWS]))
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise UsageError(f"sample holds rows of unlike types ({' '.join(str(error).split())})") from None
    try:
        rows = as_one_batch(rows_of(sample).table.slice(0, SAMPLE_ROWS)).replace_schema_metadata()
        return rows if schema is None else conform(rows, schema)[0]
    except UsageError as error:
        raise UsageError(f"sample: {error}") from None


def check_rows(kind: Any) -> None:
    """Raise for a type of elements that are certainly no rows.

    Raises:
        UsageError: with what is wanted.
    """
    from apache_beam.typehints import typehints

    pair = isinstance(kind, typehints.TupleHint.TupleConstraint)
    if pair or kind in _NO_ROWS or isinstance(kind, (typehints.SequenceTypeConstraint, typehints.SetTypeConstraint)):
        more = "; beam.Values() gives those of pairs" if pair else ""
        raise UsageError(
            f"the elements are of type {kind}, and Score takes rows: dict, beam.Row, NamedTuple, or a pyarrow "
            f"RecordBatch or Table{more}"
        )


_NO_ROWS = (int, float, bool, str, bytes, type(None), list, tuple, set, np.ndarray)
