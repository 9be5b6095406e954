"""Elements of other people's collections, scored in one step: each result has its element's window and timestamp."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from beamsplit.transforms.apply import FAILED, FAILED_IN
from beamsplit.transforms.elements.pace import Pace
from beamsplit.transforms.elements.scoring import ScoredElements, Scoring, is_batch, split_rows
from beamsplit.transforms.failures.kinds import kind_of
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.telemetry.recorder import recording


class _Score(beam.DoFn):
    def __init__(self, scoring: Scoring, most_rows: int, linger_seconds: float | None) -> None:
        self._scoring, self._most_rows, self._pace = scoring, most_rows, Pace(linger_seconds)
        self._done = Metrics.counter("beamsplit", "rows_scored")
        self._failed = Metrics.counter("beamsplit", "rows_failed")
        self._rows: list[Any] = []
        self._places: list[tuple[Any, Any, Any]] = []

    def setup(self) -> None:
        self._scoring.setup()

    def start_bundle(self) -> None:
        self._rows, self._places = [], []
        self._pace.start_bundle()

    def process(
        self,
        element: Any,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
        pane: Any = beam.DoFn.PaneInfoParam,
    ) -> Iterator[Any]:
        if is_batch(element):
            if not element.num_rows:
                return
            made, errors = self._scoring.score_batch(element)
            self._count(made.num_rows, errors)
            for error in errors:
                yield TaggedOutput(FAILED, error)
            if made.num_rows:
                yield made
            return
        self._rows.append(element)
        self._places.append((timestamp, (window,), pane))
        if len(self._rows) >= self._most_rows or self._pace.is_over(len(self._rows) == 1):
            yield from self._flush()
            self._pace.went_on()

    def finish_bundle(self) -> Iterator[Any]:
        if self._rows:
            yield from self._flush()
            self._pace.went_on()

    def _flush(self) -> Iterator[Any]:
        rows, places = self._rows, self._places
        self._rows, self._places = [], []
        made, positions, errors = self._scored(rows)
        self._count(len(made), errors)
        for error in errors:
            yield TaggedOutput(FAILED, WindowedValue(error._replace(row=0), *places[error.row]))
        for one, position in zip(made, positions, strict=True):
            yield WindowedValue(one, *places[position])

    def _scored(self, elements: list[Any]) -> ScoredElements:
        places, unread = split_rows(elements)
        if not unread:
            return self._scoring.score_rows(elements)
        if not places:
            return ScoredElements([], [], unread)
        made, positions, errors = self._scoring.score_rows([elements[place] for place in places])
        errors = [error._replace(row=places[error.row]) for error in errors]
        return ScoredElements(made, [places[position] for position in positions], [*unread, *errors])

    def _count(self, done: int, errors: list[RowError]) -> None:
        if (recorder := recording()) is not None:
            recorder.count("beamsplit_rows", done, "infer", recorder.model_version)
            recorder.count_errors((error.stage, kind_of(error.reason)) for error in errors)
        self._done.inc(done)
        self._failed.inc(len(errors))
        for error in errors:
            Metrics.counter("beamsplit", FAILED_IN + error.stage.partition(":")[0]).inc()


class ScoreElements(beam.PTransform):
    """PCollection of rows or batches -> outputs `predictions` (main) and `FAILED` (PCollection of RowError).

    Args:
        scoring: what scores them.
        most_rows: rows that are scored together.
        linger_seconds: longest that a row waits for others while more come, of a bundle that does not end (`Pace`);
            None waits for the end of the bundle.
        element_type: of the predictions.
    """

    def __init__(self, scoring: Scoring, most_rows: int, linger_seconds: float | None, element_type: Any) -> None:
        super().__init__()
        self._dofn, self._type = _Score(scoring, most_rows, linger_seconds), element_type

    def expand(self, elements: PCollection) -> tuple[PCollection, PCollection]:
        """Wire: one ParDo with two outputs."""
        # Of both outputs: where Beam looks at types as it runs, it holds each of them against this one.
        made = elements | beam.ParDo(self._dofn).with_output_types(Any).with_outputs(FAILED, main="predictions")
        # What a DoFn gives at the end of a bundle never comes to a step behind it that takes batches, as WriteToParquet
        # does: Beam empties what it keeps for such steps before. It comes to one behind that (tested: is it still so?).
        return (
            made.predictions | "Predictions" >> beam.Map(_same).with_output_types(self._type),
            made[FAILED] | "Failed" >> beam.Map(_same).with_output_types(RowError),
        )


def _same(element: Any) -> Any:
    return element
