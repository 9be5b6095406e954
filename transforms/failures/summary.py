"""What failed in a job: counted by stage and reason, with the first of the errors; and a limit to it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beamsplit.transforms.failures.errors import row_bases
from beamsplit.transforms.failures.kinds import FailureKinds
from beamsplit.transforms.failures.limit import FailureLimit
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.split import parse_origin_file
from beamsplit.transforms.write.storage import open_input, open_output
from beamsplit.transforms.write.temp_file import origin_order

WRITE = "write"
"""The stage of errors of rows that were scored and could not be delivered."""


@dataclass
class FailureSummary:
    """How many rows failed and why, and the first of them in input order."""

    limit: int
    """How many errors to keep."""

    kinds: FailureKinds = field(default_factory=FailureKinds)
    """Failed rows by stage and reason."""

    _heap: list[_Last] = field(default_factory=list)

    def add(self, error: RowError) -> None:
        """Take one more error in."""
        self.kinds.add(error.stage, error.reason)
        self._keep(error)

    def merge(self, other: FailureSummary) -> None:
        """Take in what another summary has."""
        self.kinds.merge(other.kinds)
        for error in other.first():
            self._keep(error)

    def first(self) -> list[RowError]:
        """The first errors, in input order."""
        return [last.error for last in sorted(self._heap, reverse=True)]

    def _keep(self, error: RowError) -> None:
        last = _Last((*origin_order(error.file, error.row), error.stage, error.reason), error)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, last)
        elif self._heap and self._heap[0] < last:
            heapq.heapreplace(self._heap, last)


@dataclass(frozen=True)
class _Last:
    """Turns the order round, so that the top of the heap is the last of the errors kept."""

    key: tuple[str, int, int, str, str]
    error: RowError

    def __lt__(self, other: _Last) -> bool:
        return self.key > other.key


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


class FirstErrorsRead(NamedTuple):
    """What `FirstErrors` wrote."""

    total: int
    """Rows that failed."""

    stages: dict[str, int]
    """The same for each stage, most first."""

    first: list[RowError]
    """The first of them, with row numbers of whole files."""

    kinds: FailureKinds
    """Rows by stage and reason."""


def read_first_errors(path: str) -> FirstErrorsRead:
    """Read what `FirstErrors` wrote."""
    with open_input(path) as file:
        data = json.loads(file.read())
    kinds = FailureKinds.of_list(data["kinds"])
    return FirstErrorsRead(kinds.total, kinds.by_stage(), [RowError(**error) for error in data["first"]], kinds)


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
    whole = _merged(summaries, n)
    first = whole.first()
    origins = [parse_origin_file(error.file) for error in first]
    bases = row_bases({(name, byte) for name, byte in origins if byte is not None})
    resolved = [
        error._replace(file=name, row=error.row + (0 if byte is None else bases[name, byte]))._asdict()
        for error, (name, byte) in zip(first, origins, strict=True)
    ]
    data = {"kinds": whole.kinds.to_list(), "first": resolved}
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
