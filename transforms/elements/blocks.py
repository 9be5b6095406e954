"""Elements as blocks for the steps of a model in several workers, and back: each row keeps its timestamp and window.

rows, batches -> [to blocks] -> a step a ParDo, an exchange between -> [from blocks] -> rows, batches
                     one window a block; timestamps and origins are columns that travel along
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from beamsplit.transforms.apply import FAILED
from beamsplit.transforms.block import EVENT_TIME, EVENT_TIME_FIELD, ORIGIN_ROW, data_columns, with_origin_schema
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.elements.beam_types import row_of
from beamsplit.transforms.elements.conform import DoesNotFit, conform
from beamsplit.transforms.elements.described import describe_row, describe_values, each_row
from beamsplit.transforms.elements.pace import Pace
from beamsplit.transforms.elements.scoring import columns_of, is_batch, names_of, split_rows, value_of
from beamsplit.transforms.elements.tables import as_one_batch
from beamsplit.transforms.elements.values import block_of_rows, python_values
from beamsplit.transforms.failures.row_error import RowError

_BATCH, _TABLE, _DICT, _ROW = range(4)
"""What a row came as, and goes on as."""

_FORM_BITS = 60
"""Where the form stands in a row's number, which goes with the row through all steps."""


class _ToBlocks(beam.DoFn):
    def __init__(self, schema: pa.Schema, keep: Sequence[str], most_rows: int, linger: float | None) -> None:
        self._schema, self._keep, self._most, self._pace = schema, tuple(keep), most_rows, Pace(linger)
        self._waiting: dict[Any, list[tuple[Any, Any]]] = {}
        self._next = 0

    def setup(self) -> None:
        # Where the rows came from tells blocks apart: no two rows of a pipeline may have the same number.
        self._next = uuid.uuid4().int >> (128 - _FORM_BITS + 1)

    def start_bundle(self) -> None:
        self._waiting = {}
        self._pace.start_bundle()

    def process(
        self, element: Any, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        if is_batch(element):
            yield from self._batch(element, timestamp, window)
            return
        over = self._pace.is_over(not self._waiting)
        rows = self._waiting.setdefault(window, [])
        rows.append((element, timestamp))
        if len(rows) >= self._most:
            yield from self._block(window, self._waiting.pop(window))
        elif over:
            yield from self.finish_bundle()
            self._pace.went_on()

    def finish_bundle(self) -> Iterator[Any]:
        waiting, self._waiting = self._waiting, {}
        for window, rows in waiting.items():
            yield from self._block(window, rows)

    def _block(self, window: Any, rows: list[tuple[Any, Any]]) -> Iterator[Any]:
        places, unread = split_rows([row for row, _ in rows])
        for error in unread:
            yield TaggedOutput(FAILED, WindowedValue(error._replace(row=0), rows[error.row][1], (window,)))
        elements, times = [rows[place][0] for place in places], [rows[place][1] for place in places]
        if not elements:
            return
        block, wrong = block_of_rows(columns_of(elements, self._schema.names), self._schema)
        told = [describe_values({n: value_of(row, n) for n in self._keep or names_of(row)}) for row in elements]
        for row, reason in wrong.items():
            error = RowError(told[row], 0, "read", reason)
            yield TaggedOutput(FAILED, WindowedValue(error, times[row], (window,)))
        forms = [_DICT if isinstance(row, Mapping) else _ROW for row in elements]
        made = self._with_origin(block, told, [timestamp.micros for timestamp in times], forms)
        made = drop_rows(made, sorted(wrong))
        if made.num_rows:
            yield WindowedValue(made, min(times), (window,))

    def _batch(self, batch: pa.RecordBatch | pa.Table, timestamp: Any, window: Any) -> Iterator[Any]:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        for first in range(0, table.num_rows, self._most):
            given = as_one_batch(table.slice(first, self._most))
            try:
                block, wrong = conform(given, self._schema)
            except DoesNotFit as error:
                for one in each_row(given, self._keep, str(error)):
                    yield TaggedOutput(FAILED, one._replace(row=first + one.row))
                continue
            told = [describe_row(given, row, self._keep) for row in range(given.num_rows)]
            for row, reason in wrong.items():
                yield TaggedOutput(FAILED, RowError(told[row], first + row, "read", reason))
            good = [one for row, one in enumerate(told) if row not in wrong]
            if block.num_rows:
                form = _TABLE if isinstance(batch, pa.Table) else _BATCH
                made = self._with_origin(block, good, [timestamp.micros] * block.num_rows, [form] * block.num_rows)
                yield WindowedValue(made, timestamp, (window,))

    def _with_origin(
        self, block: pa.RecordBatch, told: list[str], micros: list[int], forms: list[int]
    ) -> pa.RecordBatch:
        rows = np.arange(self._next, self._next + block.num_rows) | np.array(forms, np.int64) << _FORM_BITS
        self._next += block.num_rows
        columns = [*block.columns, pa.array(told).dictionary_encode(), pa.array(rows), pa.array(micros, pa.int64())]
        schema = with_origin_schema(block.schema).append(EVENT_TIME_FIELD)
        return pa.RecordBatch.from_arrays(columns, schema=schema)


class _FromBlocks(beam.DoFn):
    def process(self, block: pa.RecordBatch, window: Any = beam.DoFn.WindowParam) -> Iterator[Any]:
        forms = np.asarray(block.column(ORIGIN_ROW)) >> _FORM_BITS
        for form in np.unique(forms).tolist():
            yield from self._of_form(block.filter(pa.array(forms == form)), form, window)

    def _of_form(self, block: pa.RecordBatch, form: int, window: Any) -> Iterator[Any]:
        names = data_columns(block.schema)
        times = block.column(EVENT_TIME).to_pylist()
        if form in (_BATCH, _TABLE):
            made = block.select(names)
            whole = made if form == _BATCH else pa.Table.from_batches([made])
            yield WindowedValue(whole, Timestamp(micros=min(times)), (window,))
            return
        for row, micros in zip(
            zip(*(python_values(block.column(name)) for name in names), strict=True), times, strict=True
        ):
            made = dict(zip(names, row, strict=True)) if form == _DICT else row_of(names, row)
            yield WindowedValue(made, Timestamp(micros=micros), (window,))


class ToBlocks(beam.PTransform):
    """PCollection of rows or batches -> (blocks of the schema with origin and event time, PCollection of RowError).

    Args:
        schema: of the blocks.
        keep: columns by which errors tell what row they are of; empty: all.
        most_rows: of a block.
        linger_seconds: longest that a row waits for others while more come; None: for the end of the bundle.
    """

    def __init__(self, schema: pa.Schema, keep: Sequence[str], most_rows: int, linger_seconds: float | None) -> None:
        super().__init__()
        self._dofn = _ToBlocks(schema, keep, most_rows, linger_seconds)

    def expand(self, elements: PCollection) -> tuple[PCollection, PCollection]:
        """Wire: one ParDo with two outputs."""
        made = elements | beam.ParDo(self._dofn).with_output_types(pa.RecordBatch).with_outputs(FAILED, main="blocks")
        made[FAILED].element_type = RowError
        return made.blocks, made[FAILED]


class FromBlocks(beam.PTransform):
    """PCollection of blocks of `ToBlocks` -> rows or batches, in the form in which each came.

    Args:
        element_type: of what comes out.
    """

    def __init__(self, element_type: Any) -> None:
        super().__init__()
        self._dofn, self._type = _FromBlocks(), element_type

    def expand(self, blocks: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return blocks | beam.ParDo(self._dofn).with_output_types(self._type)


def without_number(error: RowError) -> RowError:
    """An error of a row that is its own origin: the number that told rows apart tells a user nothing."""
    return error._replace(row=0)
