"""Predictions on their way into a database: each bundle puts its rows aside, and one last step makes them the table's.

    bundle 1 -> rows aside --+
    bundle 2 -> rows aside --+-> one transaction -> the table
                 (records only)

A bundle that fails and comes again puts its rows aside once more: the records tell which of them count.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beamsplit.transforms.sql.records import Aside
from beamsplit.transforms.write.behind import WriteBehind
from beamsplit.transforms.write.point_of_no_return import renaming, wanted


class Bundle(Protocol):
    """Rows of a bundle that are put aside."""

    def write(self, block: pa.RecordBatch) -> None:
        """Add rows."""

    def close(self) -> Aside:
        """Make them stay; what tells of them."""

    def abort(self) -> None:
        """Let go of them."""


class Stage(Protocol):
    """Where rows are put aside, and how they become a table's."""

    columns: pa.Schema

    def bundle(self, folder: str) -> Bundle:
        """Begin a bundle; `folder` is the job's hidden one, which may not be there yet."""

    def commit(self, records: Sequence[Aside]) -> None:
        """Make the rows the table's, or nothing; it may be called again after it was stopped anywhere."""


class WriteStaged(beam.PTransform):
    """PCollection[pa.RecordBatch] -> PCollection[int], the number of rows.

    Args:
        stage: where rows are put aside.
        output: a name beside which there may be a hidden folder while the job runs, which tells this machine's
            processes of each other.
        write_behind: Encode on a thread beside the one that scores.
        after: What must be done before; its elements do not matter.
        check: Called before; raises where what was written must not count.
    """

    def __init__(
        self,
        stage: Stage,
        output: str,
        write_behind: bool = True,
        after: beam.pvalue.PCollection | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.job_id = uuid.uuid4().hex[:12]
        """Names the hidden folder."""
        self._stage, self._output = stage, output
        self._write_behind, self._after, self._check = write_behind, after, check

    def expand(self, blocks: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        """Wire it."""
        bundle = _WriteBundle(self._stage, self._output, self.job_id, self._write_behind)
        records = blocks | "Aside" >> beam.ParDo(bundle).with_output_types(Aside)
        once = blocks.pipeline | "Once" >> beam.Impulse()
        after = [] if self._after is None else [beam.pvalue.AsList(self._after)]
        given = (beam.pvalue.AsList(records), self._stage, (self._output, self.job_id), self._check, *after)
        return once | "Commit" >> beam.Map(_commit, *given).with_output_types(int)


def _commit(
    _: bytes,
    records: list[Aside],
    stage: Stage,
    own: tuple[str, str],
    check: Callable[[], None] | None,
    after: list[object] | None = None,
) -> int:
    if check is not None:
        check()
    with renaming(*own):
        stage.commit(sorted(records))
    return sum(record.rows for record in records)


class _WriteBundle(beam.DoFn):
    def __init__(self, stage: Stage, output: str, job_id: str, write_behind: bool) -> None:
        self._stage, self._output, self._job_id = stage, output, job_id
        self._write_behind = write_behind
        self._bundle: Bundle | None = None
        self._behind: WriteBehind[pa.RecordBatch] | None = None
        self._rows = Metrics.counter("beamsplit", "rows_written")

    def start_bundle(self) -> None:
        self._abort()

    def process(self, block: pa.RecordBatch) -> None:
        if not block.num_rows:
            return
        if self._bundle is None:
            from beamsplit.transforms.write.names import temp_folder

            with wanted(self._job_id):
                self._bundle = self._stage.bundle(temp_folder(self._output, self._job_id))
            self._behind = WriteBehind(self._bundle.write) if self._write_behind else None
        data = block.select(self._stage.columns.names)
        if self._behind is None:
            self._bundle.write(data)
        else:
            self._behind.put(data)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._bundle is not None:
            if self._behind is not None:
                self._behind.close()
            record = self._bundle.close()
            self._bundle = self._behind = None
            self._rows.inc(record.rows)
            yield GlobalWindows.windowed_value_at_end_of_window(record)

    def teardown(self) -> None:
        self._abort()

    def _abort(self) -> None:
        if self._behind is not None:
            self._behind.cancel()
        if self._bundle is not None:
            self._bundle.abort()
        self._bundle = self._behind = None
