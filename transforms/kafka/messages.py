"""Messages made into rows: a step, as any other, whose failures are the messages that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from transforms.block import INTERNAL_COLUMNS
from transforms.kafka.as_came import as_came, as_came_field
from transforms.kafka.blocks import VALUE
from transforms.step import RowFailure, StepResult

if TYPE_CHECKING:
    from transforms.read.json_depth import Depths

FORMATS = ("json", "arrow", "tensor", "raw")


class Rows(NamedTuple):
    """What came of the values of some messages."""

    batch: pa.RecordBatch
    """The rows, in the order of the messages."""

    sources: np.ndarray | None
    """Which message each row came in; None where every message gave one row."""

    bad: dict[int, str]
    """Message -> why it gave none."""


@dataclass(frozen=True)
class ParseMessages:
    """Reads the messages of a block in one of `FORMATS`."""

    format: str
    schema: pa.Schema
    """The columns of a row."""

    narrow: bool = False
    """Whether float32 and float16 columns may round whole numbers of JSON that they do not hold."""

    depths: tuple[tuple[str, Depths], ...] = ()
    """Fields of JSON whose values may be in more or fewer lists than the columns' are: one value a row, plain or in a
    list."""

    as_came: tuple[str, ...] = ()
    """Fields of JSON whose texts the rows carry along."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The declared columns, then what rows of a topic carry along."""
        carried = [field for field in schema if field.name in INTERNAL_COLUMNS]
        return pa.schema([*self.schema, *carried, *([as_came_field(self.as_came)] if self.as_came else [])])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Read the values; a message that cannot be read is a failure."""
        rows = parse_values(self.format, block.column(VALUE), self.schema, self.narrow, dict(self.depths))
        carried = block.select([name for name in block.schema.names if name in INTERNAL_COLUMNS])
        if rows.sources is not None:
            carried = carried.take(pa.array(rows.sources))
        columns = [*rows.batch.columns, *carried.columns]
        if self.as_came:
            values = block.column(VALUE)
            values = values if rows.sources is None else values.take(pa.array(rows.sources, pa.int64()))
            columns.append(as_came(_texts(values), self.as_came))
        made = pa.RecordBatch.from_arrays(columns, schema=self.output_schema(block.schema))
        return StepResult(made, [RowFailure(row, reason) for row, reason in sorted(rows.bad.items())])


def parse_values(
    format: str,
    values: pa.Array,
    schema: pa.Schema,
    narrow: bool = False,
    depths: Mapping[str, Depths] | None = None,
) -> Rows:
    """Values of messages (binary) as rows of the schema; `narrow` and `depths` are for `json`."""
    if format == "json":
        return _json(values, schema, narrow, depths or {})
    return _PARSERS[format](values, schema)


def _json(values: pa.Array, schema: pa.Schema, narrow: bool, depths: Mapping[str, Depths]) -> Rows:
    from transforms.read.json_parse import parse_texts

    parsed = parse_texts(_texts(values), schema, narrow=narrow, depths=depths)
    return Rows(parsed.batch, parsed.positions() if parsed.bad else None, parsed.bad)


def _texts(values: pa.Array) -> list[bytes]:
    # Outside of strings a line feed means nothing, and in a string JSON has none.
    return [b"" if text is None else text.replace(b"\n", b" ") for text in values.to_pylist()]


def _raw(values: pa.Array, schema: pa.Schema) -> Rows:
    bad = dict.fromkeys(np.flatnonzero(values.is_null()).tolist(), EMPTY) if values.null_count else {}
    kept = values
    if pa.types.is_string(schema.field(0).type):
        kept, wrong = _as_text(values)
        bad |= wrong
    sources = np.delete(np.arange(len(values)), sorted(bad)) if bad else None
    kept = kept if sources is None else kept.take(pa.array(sources))
    return Rows(pa.RecordBatch.from_arrays([kept], schema=schema), sources, bad)


def _as_text(values: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    try:
        return values.cast(pa.string()), {}
    except pa.ArrowInvalid:
        texts, bad = [], {}
        for row, value in enumerate(values.to_pylist()):
            try:
                texts.append(None if value is None else value.decode())
            except UnicodeDecodeError as error:
                texts.append(None)
                bad[row] = f"no UTF-8 text: {error}"
        return pa.array(texts, pa.string()), bad


def _tensor(values: pa.Array, schema: pa.Schema) -> Rows:
    from transforms.kafka.tensor_bytes import parse_tensors

    return parse_tensors(values, schema)


def _arrow(values: pa.Array, schema: pa.Schema) -> Rows:
    from transforms.kafka.arrow_messages import parse_arrow

    return parse_arrow(values, schema)


EMPTY = "the message has no value"

_PARSERS: dict[str, Callable[[pa.Array, pa.Schema], Rows]] = {
    "raw": _raw,
    "tensor": _tensor,
    "arrow": _arrow,
}
