"""Messages made into rows: a step, as any other, whose failures are the messages that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import INTERNAL_COLUMNS
from beamsplit.transforms.kafka.as_came import as_came, as_came_field, in_one_line
from beamsplit.transforms.kafka.blocks import VALUE
from beamsplit.transforms.kafka.parsed import EMPTY, ParsedRows
from beamsplit.transforms.read.json_parse import Rules, parse_texts
from beamsplit.transforms.step import RowFailure, StepResult

FORMATS = ("json", "arrow", "tensor", "raw")


EXACT = Rules(narrow=False)
"""Of messages, unless said otherwise."""


@dataclass(frozen=True)
class ParseMessages:
    """Reads the messages of a block in one of `FORMATS`."""

    format: str
    schema: pa.Schema
    """The columns of a row."""

    rules: Rules = EXACT
    """What values of JSON may be beside what their columns are."""

    as_came: tuple[str, ...] = ()
    """Fields of JSON whose texts the rows carry along."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The declared columns, then what rows of a topic carry along."""
        carried = [field for field in schema if field.name in INTERNAL_COLUMNS]
        return pa.schema([*self.schema, *carried, *([as_came_field(self.as_came)] if self.as_came else [])])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Read the values; a message that cannot be read is a failure."""
        rows = parse_values(self.format, block.column(VALUE), self.schema, self.rules)
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


def parse_values(format: str, values: pa.Array, schema: pa.Schema, rules: Rules = EXACT) -> ParsedRows:
    """Values of messages (binary) as rows of the schema; `rules` are for `json`, of which `arrow` has the depths."""
    if format == "json":
        parsed = parse_texts(_texts(values), schema, rules)
        return ParsedRows(_without_returns(parsed.batch), parsed.positions() if parsed.bad else None, parsed.bad)
    if format == "arrow":
        from beamsplit.transforms.kafka.arrow_messages import parse_arrow

        return parse_arrow(values, schema, rules.depths)
    return _PARSERS[format](values, schema)


def _texts(values: pa.Array) -> list[bytes]:
    # Outside of strings a line feed means as little as a carriage return, and in a string JSON has neither.
    return [b"" if text is None else text.replace(b"\n", b"\r") for text in values.to_pylist()]


def _without_returns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Texts of JSON without what `_texts` has put into them."""
    for at, field in enumerate(batch.schema):
        if isinstance(field.type, pa.JsonType):
            texts = in_one_line(batch.column(at).storage)
            batch = batch.set_column(at, field, pa.ExtensionArray.from_storage(field.type, texts))
    return batch


def _raw(values: pa.Array, schema: pa.Schema) -> ParsedRows:
    bad = dict.fromkeys(np.flatnonzero(values.is_null()).tolist(), EMPTY) if values.null_count else {}
    kept = values
    if pa.types.is_string(schema.field(0).type):
        kept, wrong = _as_text(values)
        bad |= wrong
    sources = np.delete(np.arange(len(values)), sorted(bad)) if bad else None
    kept = kept if sources is None else kept.take(pa.array(sources))
    return ParsedRows(pa.RecordBatch.from_arrays([kept], schema=schema), sources, bad)


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


def _tensor(values: pa.Array, schema: pa.Schema) -> ParsedRows:
    from beamsplit.transforms.kafka.tensor_bytes import parse_tensors

    return parse_tensors(values, schema)


_PARSERS: dict[str, Callable[[pa.Array, pa.Schema], ParsedRows]] = {
    "raw": _raw,
    "tensor": _tensor,
}
