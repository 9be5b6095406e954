"""Dates and times that the output's format cannot hold, as of the year 40000 in text: their rows fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import data_columns
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.step import RowFailure, StepResult

_FIRST_DAY, _LAST_DAY = -12_687_427, 11_248_736
"""Days from 1970 that Arrow writes as text, the years -32767 to 32767; without one at each end for time zones."""

_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_INT64 = np.iinfo(np.int64)


def allowed(kind: pa.DataType, format: str) -> tuple[int, int] | None:
    """Least and greatest value, in the type's own unit, that a format holds; None where it holds all.

    >>> allowed(pa.time32("s"), "csv"), allowed(pa.timestamp("ns"), "csv"), allowed(pa.timestamp("s"), "parquet")
    ((0, 86399), None, (-9223372036854775, 9223372036854775))
    """
    types = pa.types
    written_in = FORMATS[format].times if format in FORMATS else "text"
    if written_in != "text":
        if not types.is_timestamp(kind) or _A_SECOND[kind.unit] >= _A_SECOND[written_in]:
            return None
        most = int(_INT64.max) // (_A_SECOND[written_in] // _A_SECOND[kind.unit])
        return -most, most
    if types.is_time(kind):
        return 0, 86_400 * _A_SECOND[kind.unit] - 1
    if types.is_date32(kind):
        return _FIRST_DAY, _LAST_DAY
    if not (types.is_timestamp(kind) or types.is_date64(kind)):
        return None
    day = 86_400 * _A_SECOND["ms" if types.is_date64(kind) else kind.unit]
    least, most = _FIRST_DAY * day, (_LAST_DAY + 1) * day - 1
    return None if least < _INT64.min and most > _INT64.max else (least, most)


def bounded_columns(schema: pa.Schema, format: str) -> list[str]:
    """The columns of which the format does not hold all values."""
    return [name for name in data_columns(schema) if allowed(schema.field(name).type, format) is not None]


@dataclass(frozen=True)
class TimesInRange:
    """A last step of a job that keeps dates or times."""

    format: str
    """Name of the output's format, or `json` of messages."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The same."""
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Rows with a value that cannot be written fail."""
        reasons: dict[int, str] = {}
        for name in bounded_columns(block.schema, self.format):
            column = block.column(name)
            least, most = allowed(column.type, self.format) or (0, 0)
            numbers = column.view(pa.int32() if column.type.bit_width == 32 else pa.int64())
            for row in _outside(numbers, least, most).tolist():
                value = numbers[row].as_py()
                told = f"column {name!r}: {value} is no {column.type} that {self.format} holds"
                reasons.setdefault(row, told)
        if not reasons:
            return StepResult(block)
        rows = sorted(reasons)
        return StepResult(drop_rows(block, rows), [RowFailure(row, reasons[row]) for row in rows])


def _outside(numbers: pa.Array, least: int, most: int) -> np.ndarray:
    import pyarrow.compute as pc

    ends = pc.min_max(numbers).as_py()
    if ends["min"] is None or (ends["min"] >= least and ends["max"] <= most):
        return np.empty(0, dtype=np.int64)
    wrong = pc.or_(pc.less(numbers, least), pc.greater(numbers, most)).fill_null(False)
    return np.flatnonzero(np.asarray(wrong))
