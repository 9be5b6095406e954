"""How tables put rows together in files: by values of columns (Delta), or by what functions make of them (Iceberg)."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.step import RowFailure, StepResult

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.types import IcebergType

PARTITION = b"beamsplit.partition"
"""What a file of a Delta table says of its partition in its footer, as JSON: column -> value as text, or null."""


@dataclass(frozen=True)
class ByColumns:
    """The values of columns, which are not in the files but in the log."""

    columns: tuple[str, ...]

    def split(self, block: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The rows of each combination of values."""
        for first, rows in groups(block, [block.column(name) for name in self.columns]):
            told = {name: partition_text(block.column(name)[first]) for name in self.columns}
            yield json.dumps(told), rows

    def schema(self, schema: pa.Schema, partition: str) -> pa.Schema:
        """Without these columns, and with the values."""
        fields = [field for field in schema if field.name not in self.columns]
        return pa.schema(fields, metadata={**(schema.metadata or {}), PARTITION: partition.encode()})

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """As it was: this is also the step that fails rows whose values the log cannot hold."""
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Fail rows with empty texts, which the log cannot tell from nulls."""
        bad: dict[int, str] = {}
        for name in self.columns:
            column = block.column(name)
            if pa.types.is_string(column.type):
                for row in np.flatnonzero(pc.equal(column, "").fill_null(False).to_numpy(zero_copy_only=False)):
                    why = f"column {name!r} is an empty text, which a Delta table partitioned by it does not hold"
                    bad.setdefault(int(row), why)
        failures = [RowFailure(row, why) for row, why in sorted(bad.items())]
        return StepResult(drop_rows(block, list(bad)) if bad else block, failures)


def can_partition(kind: pa.DataType) -> bool:
    """Whether values of the type are written to a log and read back as they are."""
    types = pa.types
    wanted = (types.is_integer, types.is_string, types.is_boolean, types.is_date, types.is_timestamp, types.is_decimal)
    return any(one(kind) for one in wanted)


def partition_text(value: pa.Scalar) -> str | None:
    """A value as Delta's log has it.

    >>> partition_text(pa.scalar(datetime.date(2026, 11, 1))), partition_text(pa.scalar(True))
    ('2026-11-01', 'true')
    """
    plain = value.as_py()
    if plain is None:
        return None
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, datetime.datetime):
        text = plain.strftime("%Y-%m-%d %H:%M:%S.%f") if plain.year >= 1000 else plain.isoformat(" ", "microseconds")
        return text if plain.tzinfo is None else f"{text[:10]}T{text[11:26]}Z"
    return plain.isoformat() if isinstance(plain, datetime.date) else str(plain)


@dataclass(frozen=True)
class ByTransforms:
    """What a spec's functions (`day`, `bucket[16]`, ...) make of columns, which stay in the files."""

    spec: PartitionSpec
    sources: tuple[tuple[str, IcebergType], ...]
    """(column, its type in the table) of each of the spec's fields."""

    def split(self, block: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The rows of each combination of results."""
        made = []
        for name, function in zip((name for name, _ in self.sources), self._functions(), strict=True):
            coded = block.column(name).dictionary_encode(null_encoding="encode")
            results = [function(value) for value in _plain_values(coded.dictionary)]
            numbers = {result: at for at, result in enumerate(dict.fromkeys(results))}
            made.append(pa.array([numbers[one] for one in results]).take(coded.indices))
        for first, rows in groups(block, made):
            yield repr(self.values(block.slice(first, 1))), rows

    def values(self, row: pa.RecordBatch) -> tuple[Any, ...]:
        """The partition of a row, as a manifest has it."""
        values = [_plain_values(row.column(name))[0] for name, _ in self.sources]
        return tuple(function(value) for function, value in zip(self._functions(), values, strict=True))

    def schema(self, schema: pa.Schema, partition: str) -> pa.Schema:
        """As it is."""
        return schema

    def _functions(self) -> list[Callable[[Any], Any]]:
        kinds = [kind for _, kind in self.sources]
        return [field.transform.transform(kind) for field, kind in zip(self.spec.fields, kinds, strict=True)]


def _plain_values(column: pa.Array) -> list[Any]:
    """Values as Iceberg's functions take them: days and microseconds since 1970 in place of dates and times."""
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(column.type) or pa.types.is_time(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values


def groups(block: pa.RecordBatch, keys: list[pa.Array]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of the first row, all rows in their order) of each combination of keys; nulls are one value.

    >>> block = pa.record_batch({"a": ["x", None, "x"], "n": [1, 2, 3]})
    >>> [(first, rows["n"].to_pylist()) for first, rows in groups(block, [block["a"]])]
    [(0, [1, 3]), (1, [2])]
    """
    numbers = np.zeros(block.num_rows, np.int64)
    for key in keys:
        coded = key.dictionary_encode(null_encoding="encode")
        numbers = np.unique(numbers, return_inverse=True)[1] * (len(coded.dictionary) + 1) + coded.indices.to_numpy()
    found, firsts, counts = np.unique(numbers, return_index=True, return_counts=True)
    if len(found) == 1:
        yield 0, block
        return
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(counts)
    for at in np.argsort(firsts):
        rows = order[ends[at] - counts[at] : ends[at]]
        yield int(firsts[at]), block.take(pa.array(rows))
