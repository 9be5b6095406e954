from __future__ import annotations

import math
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beamsplit.transforms.apply import FAILED, ApplyStep, AsRowErrors, apply_step
from beamsplit.transforms.block import COPY, with_origin
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.read import ReadFailure
from beamsplit.transforms.step import RowFailure, StepResult
from beamsplit.transforms.worker import device_in_turn, read_counts, this_worker

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@dataclass(frozen=True)
class Root:
    """x -> its square root; a row below 0 fails. `broken` raises instead."""

    broken: bool = False

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        if self.broken:
            raise RuntimeError("the step broke")
        values = block.column("x").to_pylist()
        good = [row for row, value in enumerate(values) if value >= 0]
        kept = block.take(pa.array(good, pa.int64()))
        roots = pa.array([math.sqrt(values[row]) for row in good], pa.float64())
        failures = [RowFailure(row, f"{value} is below 0") for row, value in enumerate(values) if value < 0]
        return StepResult(kept.set_column(0, "x", roots), failures)


def block(values: list[float], file: str = "a.csv", first: int = 10) -> pa.RecordBatch:
    return with_origin(pa.record_batch({"x": pa.array(values, pa.float64())}), file, first)


def test_a_row_fails_with_all_its_augmented_copies_and_is_told_once():
    rows = block([4.0, 4.0, 9.0, -1.0, -2.0, -3.0, 16.0, 16.0]).take(pa.array([0, 0, 1, 1, 2, 2, 3, 3]))
    values = pa.array([4.0, 4.0, 9.0, -1.0, -2.0, -3.0, 16.0, 16.0])
    copies = rows.set_column(0, "x", values).append_column(COPY, pa.array([0, 1] * 4, pa.int8()))
    result, errors = apply_step(Root(), "finish", copies)
    assert result.column("x").to_pylist() == [2.0, 2.0, 4.0, 4.0]
    assert errors == [
        RowError("a.csv", 11, "finish", "-1.0 is below 0"),
        RowError("a.csv", 12, "finish", "-2.0 is below 0"),
    ]


def test_failures_know_where_their_rows_came_from():
    result, errors = apply_step(Root(), "prepare", block([4.0, -1.0, 9.0, -2.0]))
    assert result.column("x").to_pylist() == [2.0, 3.0]
    assert errors == [
        RowError("a.csv", 11, "prepare", "-1.0 is below 0"),
        RowError("a.csv", 13, "prepare", "-2.0 is below 0"),
    ]


def test_the_transform_counts_rows_done_and_failed(tmp_path):
    pipeline = beam.Pipeline(runner=RUNNER)
    blocks = [block([4.0, -1.0]), block([-3.0], "b.csv", 0), block([1.0, 0.0], "c.csv", 0)]
    applied = (
        pipeline
        | beam.Create(blocks).with_output_types(pa.RecordBatch)
        | ApplyStep(Root(), "prepare", str(tmp_path), count_done=True)
    )
    assert_that(
        applied.blocks | beam.Map(lambda done: done.column("x").to_pylist()), equal_to([[2.0], [1.0, 0.0]]), "blocks"
    )
    failed = [RowError("a.csv", 11, "prepare", "-1.0 is below 0"), RowError("b.csv", 0, "prepare", "-3.0 is below 0")]
    assert_that(applied[FAILED], equal_to(failed), "failed")
    result = pipeline.run()
    counters = {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}
    assert (counters["rows_scored"], counters["rows_failed"]) == (3, 2)
    assert "prepare_usec" in counters
    counts = read_counts(str(tmp_path))
    assert [sum(column) for column in zip(*counts, strict=True)] == [3, 2]


def test_an_exception_of_a_step_fails_the_job():
    with pytest.raises(RuntimeError, match="the step broke"), beam.Pipeline(runner=RUNNER) as pipeline:
        pipeline | beam.Create([block([1.0])]) | ApplyStep(Root(broken=True), "finish")


def test_rows_that_could_not_be_read_become_errors():
    with beam.Pipeline(runner=RUNNER) as pipeline:
        failures = pipeline | beam.Create([ReadFailure("a.csv", 7, "3 fields")]) | AsRowErrors("read")
        assert_that(failures, equal_to([RowError("a.csv", 7, "read", "3 fields")]))


def test_devices_are_taken_in_turn_by_a_workers_number(tmp_path):
    number = this_worker(str(tmp_path)).number
    assert [device_in_turn(str(tmp_path), devices) for devices in (1, 2)] == [number % 1, number % 2]
    assert 0 <= device_in_turn(None, 4) < 4
