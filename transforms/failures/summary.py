"""What failed in a job: counted by stage and reason, with the first of the errors; and a limit to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beamsplit.transforms.failures.limit import FailureLimit
from beamsplit.transforms.failures.reasons import FailureSummary, summary_data
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.write.storage import open_output

WRITE = "write"
"""The stage of errors of rows that were scored and could not be delivered."""


class FirstErrors(beam.PTransform):
    """PCollection[RowError] -> PCollection[str]: a small JSON file at `path` for `read_first_errors`.

    Args:
        n: How many errors to keep; they are the first in input order.
        path: A file that the submitter can read.
    """

    def __init__(self, n: int, path: str) -> None:
        super().__init__()
        self._n, self._path = n, path

    def expand(self, errors: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        """Wire it."""
        found = errors | "Count" >> beam.ParDo(_Summarise(self._n)).with_output_types(FailureSummary)
        last = beam.Map(_write_summary, beam.pvalue.AsList(found), self._n, self._path).with_output_types(str)
        return errors.pipeline | "Once" >> beam.Impulse() | "Save" >> last


class _Summarise(beam.DoFn):
    def __init__(self, n: int) -> None:
        self._n = n

    def start_bundle(self) -> None:
        self._summary = FailureSummary(self._n)

    def process(self, error: RowError) -> None:
        self._summary.add(error)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._summary.kinds.total:
            yield GlobalWindows.windowed_value_at_end_of_window(self._summary)


def _write_summary(_: bytes, summaries: list[FailureSummary], n: int, path: str) -> str:
    data = summary_data(_merged(summaries, n))
    with open_output(path) as out:
        out.write(json.dumps(data).encode())
    return path


def _merged(summaries: Iterable[FailureSummary], n: int) -> FailureSummary:
    whole = FailureSummary(n)
    for summary in summaries:
        whole.merge(summary)
    return whole


class CheckFailures(beam.PTransform):
    """(PCollection of blocks, PCollection[RowError]) -> PCollection[int], how many rows failed.

    If more did than `limit` allows the job fails: what waits for the number is not done then.
    """

    def __init__(self, limit: FailureLimit) -> None:
        super().__init__()
        self._limit = limit

    def expand(self, given: tuple[beam.pvalue.PCollection, beam.pvalue.PCollection]) -> beam.pvalue.PCollection:
        """Wire it."""
        blocks, errors = given
        rows = blocks | "Rows" >> beam.ParDo(_CountRows()).with_output_types(int)
        found = errors | "Failed" >> beam.ParDo(_Summarise(0)).with_output_types(FailureSummary)
        last = beam.Map(_check, beam.pvalue.AsList(rows), beam.pvalue.AsList(found), self._limit)
        return blocks.pipeline | "Once" >> beam.Impulse() | "Check" >> last.with_output_types(int)


class _CountRows(beam.DoFn):
    def start_bundle(self) -> None:
        self._rows = 0

    def process(self, block: pa.RecordBatch) -> None:
        self._rows += block.num_rows

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield GlobalWindows.windowed_value_at_end_of_window(self._rows)


def _check(_: bytes, rows: list[int], summaries: list[FailureSummary], limit: FailureLimit) -> int:
    kinds = _merged(summaries, 0).kinds
    # Those that could not be delivered are rows of the blocks.
    total = sum(rows) + kinds.total - kinds.by_stage().get(WRITE, 0)
    if limit.passed(kinds.total, total):
        raise limit.error(kinds.total, total, kinds.listed()[0])
    return kinds.total
