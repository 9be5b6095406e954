"""NaN and infinity on their way to JSON, which has no number for them: the row fails, or they become null or a text."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import data_columns
from beamsplit.transforms.columns import drop_rows, lists_with
from beamsplit.transforms.step import RowFailure, StepResult

MODES = ("error", "null", "string")
"""Of `--json_nan`."""

COUNTER = "rows_json_null"
"""Metric: rows with a NaN or infinity that is written as null."""


def without_number(column: pa.Array) -> np.ndarray | None:
    """Which rows of a column hold NaN or an infinity, in lists and structs too; None where none does.

    >>> without_number(pa.array([[1.0], [2.0, float("nan")], None])).tolist()
    [False, True, False]
    """
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(kind, pa.JsonType):
        odd = np.zeros(len(column), dtype=bool)
        odd[list(_texts_with_nan(column))] = True
        return odd if odd.any() else None
    if isinstance(column, pa.ExtensionArray):
        return without_number(column.storage)
    if pa.types.is_dictionary(kind):
        return without_number(column.dictionary_decode()) if holds_floats(kind.value_type) else None
    if pa.types.is_floating(kind):
        odd = np.asarray(pc.invert(pc.is_finite(column)).fill_null(False))
        return odd if odd.any() else None
    if pa.types.is_struct(kind):
        found = [odd for odd in map(without_number, column.flatten()) if odd is not None]
        return np.logical_or.reduce(found) if found else None
    if not holds_floats(kind):
        return None
    if pa.types.is_map(kind):
        column = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    inner = without_number(column.flatten())
    return None if inner is None else lists_with(column, inner)


_NAN = re.compile(r'"(?:[^"\\]|\\.)*"|-?(?:NaN|Inf(?:inity)?)')
"""A string, or what programs write for NaN and infinity in JSON, which has none."""


def _texts_with_nan(column: pa.Array) -> dict[int, str]:
    """The JSON texts that hold NaN or an infinity, by their row."""
    import pyarrow.compute as pc

    texts = column.storage
    likely = pc.match_substring_regex(texts, "NaN|Inf").fill_null(False)
    found = {}
    for row in np.flatnonzero(np.asarray(likely)).tolist() if pc.any(likely).as_py() else []:
        text = texts[row].as_py()
        if any(not part.startswith('"') for part in _NAN.findall(text)):
            found[row] = text
    return found


def _written(text: str, mode: str) -> str:
    """The JSON text with null, or a string, in the place of NaN and infinity."""

    def instead(found: re.Match[str]) -> str:
        part = found[0]
        if part.startswith('"'):
            return part
        if mode == "null":
            return "null"
        return '"NaN"' if part.endswith("NaN") else f'"{"-" if part.startswith("-") else ""}Infinity"'

    return _NAN.sub(instead, text)


def _rewritten(column: pa.Array, mode: str) -> pa.Array:
    found = _texts_with_nan(column)
    if not found:
        return column
    texts = column.storage.to_pylist()
    for row, text in found.items():
        texts[row] = _written(text, mode)
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, pa.string()))


def holds_floats(kind: pa.DataType) -> bool:
    """Whether values of a type may be, or hold, floating-point numbers; JSON text may."""
    if isinstance(kind, pa.JsonType):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return holds_floats(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return holds_floats(kind.value_type)
    return pa.types.is_floating(kind) or any(holds_floats(kind.field(at).type) for at in range(kind.num_fields))


@dataclass(frozen=True)
class NumbersForJson:
    """The last step of a job that writes JSON, or CSV with lists as JSON in its cells."""

    mode: str
    """One of `MODES`."""

    nested_only: bool = False
    """Only what is in lists and structs is written as JSON, as in the cells of CSV."""

    def columns(self, schema: pa.Schema) -> list[str]:
        """The columns that may hold a NaN that is written as JSON."""
        kinds = ((name, schema.field(name).type) for name in data_columns(schema))
        return [name for name, kind in kinds if holds_floats(kind) and not (self.nested_only and _is_flat(kind))]

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The same; with `string`, columns that may hold NaN are JSON text."""
        if self.mode != "string":
            return schema
        concerned = self.columns(schema)
        return pa.schema([pa.field(f.name, pa.json_()) if f.name in concerned else f for f in schema])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Rows with NaN or infinity fail with `error`, are counted with `null`, and become JSON with `string`."""
        if self.mode == "string":
            return StepResult(_as_json(block, self.output_schema(block.schema)))
        reasons: dict[int, str] = {}
        for name in self.columns(block.schema):
            if (odd := without_number(block.column(name))) is not None:
                told = f"NaN or infinity in column {name!r}, for which JSON has no number: see --json_nan"
                reasons |= dict.fromkeys(np.flatnonzero(odd).tolist(), told) | reasons
        if self.mode == "null":
            if not reasons:
                return StepResult(block)
            _count(len(reasons))
            columns = [_rewritten(c, "null") if isinstance(c.type, pa.JsonType) else c for c in block.columns]
            return StepResult(pa.RecordBatch.from_arrays(columns, schema=block.schema))
        rows = sorted(reasons)
        return StepResult(drop_rows(block, rows), [RowFailure(row, reasons[row]) for row in rows])


def _is_flat(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _as_json(block: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    from beamsplit.transforms.write.json_text import json_text

    columns = []
    for column, field in zip(block.columns, schema, strict=True):
        if isinstance(column.type, pa.JsonType):
            column = _rewritten(column, "string")
        elif column.type != field.type:
            texts = json_text(column, nan_as_text=True)
            column = pa.ExtensionArray.from_storage(pa.json_(), texts)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _count(rows: int) -> None:
    from apache_beam.metrics import Metrics

    Metrics.counter("beamsplit", COUNTER).inc(rows)
