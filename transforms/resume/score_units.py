"""Reads, scores and writes a unit at a time; a unit that is done is noted at once."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.metrics.execution import MetricsEnvironment
from apache_beam.pvalue import PCollection, TaggedOutput

from beamsplit.transforms.apply import CountedStep, Failures
from beamsplit.transforms.failures.error_file import ErrorLines
from beamsplit.transforms.failures.reasons import FailureSummary
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.partition import bounds_for, random_workers
from beamsplit.transforms.read.result import ReadFailure, ReadOptions
from beamsplit.transforms.read.transform import ReadSplitDoFn
from beamsplit.transforms.resume.folder import KeptFolder
from beamsplit.transforms.resume.record import FIRST_ERRORS, UnitRecord, unit_order
from beamsplit.transforms.resume.units import Unit, deal_units, total_size
from beamsplit.transforms.write.point_of_no_return import wanted
from beamsplit.transforms.write.storage import flush_to_disk
from beamsplit.transforms.write.temp_file import Target, TempFile, TempFileWriter

ROWS_READ, ROWS_UNREADABLE, ROWS_LEFT_OUT = "rows_read", "rows_unreadable", "rows_left_out"


@dataclass(frozen=True)
class UnitScoring:
    """How a unit is read, scored and written."""

    reading: ReadOptions
    steps: Sequence[CountedStep]
    """One behind the other."""

    target: Target
    folder: KeptFolder
    job_dir: str | None = None
    """Folder that local workers share, for progress."""

    write_behind: bool = False
    """As for `WriteBlocks`."""


class _ScoreUnit(beam.DoFn):
    """Unit -> its UnitRecord. All is done when it is given: what a runner repeats is found done."""

    def __init__(self, scoring: UnitScoring) -> None:
        self._scoring = scoring
        self._read = ReadSplitDoFn(scoring.reading)
        self._unreadable = Failures(scoring.job_dir, counted=False)
        self._rows = Metrics.counter("beamsplit", "rows_written")

    def setup(self) -> None:
        for step in self._scoring.steps:
            step.setup()

    def process(self, unit: Unit) -> Iterator[UnitRecord]:
        folder = self._scoring.folder
        folder.check_owner()
        record = folder.read_record(unit.number)
        if record is None:
            folder.note_begun(unit.number)
            record = _Unit(self._scoring, unit).score(self._read, self._unreadable)
            if record.file is not None:
                self._rows.inc(record.file.rows)
            # A thread that does not know yet that the job was given up notes nothing more.
            with wanted(folder.job_id):
                folder.write_record(record)
        yield record


class _Unit:
    """One unit at work."""

    def __init__(self, scoring: UnitScoring, unit: Unit) -> None:
        self._scoring, self._unit = scoring, unit
        folder, number = scoring.folder, unit.number
        self._writer: TempFileWriter | None = None
        self._errors = ErrorLines(lambda: folder.new_errors(number), folder.job_id)
        self._failed = FailureSummary(FIRST_ERRORS)
        self._read = {ROWS_READ: 0, ROWS_UNREADABLE: 0}

    def score(self, read: ReadSplitDoFn, unreadable: Failures) -> UnitRecord:
        """All of it, with files that are safe on their disk."""
        before = _row_counters()
        try:
            for split in self._unit.splits:
                with closing(cast("Generator[Any, None, None]", read.process(split))) as results:
                    for result in results:
                        if isinstance(result, TaggedOutput):
                            self._fail_unread(cast(ReadFailure, result.value), unreadable)
                        else:
                            self._score(result)
            file, errors = self._finished()
        except BaseException:
            self._abort()
            raise
        counters = {name: value - before.get(name, 0) for name, value in _row_counters().items()}
        if self._told_by_another:
            counters.pop(ROWS_LEFT_OUT, None)
        return UnitRecord(self._unit.number, file, errors, {**counters, **self._read}, self._failed)

    @property
    def _told_by_another(self) -> bool:
        """Whether rows that nobody scores are told by who has worker 0's rows of these splits."""
        return self._unit.deal is not None and self._unit.deal.worker > 0

    def _fail_unread(self, failure: ReadFailure, unreadable: Failures) -> None:
        if self._told_by_another:
            return
        error = RowError(failure.file, failure.row, "read", failure.reason)
        unreadable.count([error])
        self._read[ROWS_UNREADABLE] += 1
        self._fail([error])

    def _score(self, block: pa.RecordBatch) -> None:
        deal = self._unit.deal
        if deal is not None:
            mine = random_workers(block, deal.workers, deal.seed) == deal.worker
            block = block.take(pa.array(np.flatnonzero(mine)))
        self._read[ROWS_READ] += block.num_rows
        for step in self._scoring.steps:
            if not block.num_rows:
                return
            block, errors = step(block)
            self._fail(errors)
        if block.num_rows:
            if self._writer is None:
                path = self._scoring.folder.new_part(self._unit.number)
                self._writer = TempFileWriter(self._scoring.target, self._scoring.write_behind, path)
            self._writer.write(block)

    def _fail(self, errors: Sequence[RowError]) -> None:
        for error in errors:
            self._errors.add(error)
            self._failed.add(error)

    def _finished(self) -> tuple[TempFile | None, Any]:
        """(predictions, errors) in files that are complete."""
        order = unit_order(self._unit.number)
        file = None
        if self._writer is not None:
            made = self._writer.close()
            Metrics.counter("beamsplit", "write_usec").inc(int(self._writer.seconds * 1e6))
            file = TempFile(made.path, made.rows, made.bytes, order)
        errors = self._errors.close()
        if errors is not None:
            written = errors.file
            errors = errors._replace(file=TempFile(written.path, written.rows, written.bytes, order))
        for path in [one.path for one in (file, errors and errors.file) if one is not None]:
            flush_to_disk(path)
        return file, errors

    def _abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()
        self._errors.abort()


def _row_counters() -> dict[str, int]:
    """What this bundle has counted so far of rows; those of time are of a run, not of a unit."""
    container = MetricsEnvironment.current_container()
    if container is None:
        return {}
    names = ((key.metric, value) for key, value in container.get_cumulative().counters.items())
    return {
        metric.name: value or 0
        for metric, value in names
        if metric.namespace == "beamsplit" and metric.name.startswith("rows_") and metric.name != "rows_written"
    }


@dataclass(frozen=True)
class Dealing:
    """How units are dealt to workers."""

    workers: int
    in_turn: bool
    """Whether the runner deals what is grouped to its workers in turn, as Beam's in-process one does."""

    strategy: str | None = None
    """`contiguous` or `proportional`, where that is asked for."""

    capacities: Sequence[float] | None = None


class ScoreUnits(beam.PTransform):
    """PBegin -> PCollection of the `UnitRecord`s of these units.

    Args:
        units: that are still to be done.
        scoring: how.
        dealing: to whom.
        measured: (worker, rows a second), which replaces the capacities.
    """

    def __init__(
        self, units: Sequence[Unit], scoring: UnitScoring, dealing: Dealing, measured: PCollection | None = None
    ) -> None:
        super().__init__()
        self._units, self._scoring, self._dealing, self._measured = list(units), scoring, dealing, measured

    def expand(self, pbegin: Any) -> PCollection:
        """Wire it."""
        dealing = self._dealing
        if dealing.strategy is None and not dealing.in_turn:
            units = pbegin | "Units" >> beam.Create(self._units, reshuffle=True).with_output_types(Unit)
        else:
            sides = [] if self._measured is None else [beam.pvalue.AsList(self._measured)]
            dealt = beam.FlatMap(_deal, self._units, dealing, *sides).with_output_types(tuple[int, Unit])
            one = beam.FlatMap(_of_one).with_output_types(Unit)
            units = pbegin | beam.Impulse() | "Deal" >> dealt | "By worker" >> beam.GroupByKey() | "In order" >> one
        return units | "Score" >> beam.ParDo(_ScoreUnit(self._scoring)).with_output_types(UnitRecord)


def _deal(
    _: bytes, units: list[Unit], dealing: Dealing, measured: list[tuple[int, float]] | None = None
) -> Iterator[tuple[int, Unit]]:
    capacities = [capacity for _, capacity in sorted(measured)] if measured else dealing.capacities
    bounds = None
    if dealing.strategy is not None:
        bounds = bounds_for(dealing.strategy, total_size(units), dealing.workers, capacities)
    for worker, range_ in enumerate(deal_units(units, dealing.workers, bounds)):
        for unit in range_:
            yield worker, unit


def _of_one(keyed: tuple[int, Any]) -> list[Unit]:
    return sorted(keyed[1], key=lambda unit: unit.number)
