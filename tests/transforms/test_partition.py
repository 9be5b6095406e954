from __future__ import annotations

import itertools

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.runners.direct import direct_flags, direct_runner
from beamsplit.transforms.block import ORIGIN_ROW, with_origin
from beamsplit.transforms.partition import (
    PartitionRows,
    PartitionSplits,
    bounds_for,
    contiguous_bounds,
    proportional_bounds,
    random_workers,
    split_random,
)
from beamsplit.transforms.read import assign_splits
from beamsplit.transforms.split import Split

SPEEDS = st.lists(st.floats(0.01, 100), min_size=1, max_size=5)


def numbers(rows: int, file: str = "a.parquet", first: int = 0) -> pa.RecordBatch:
    return with_origin(pa.record_batch({"x": np.arange(first, first + rows)}), file, first)


def split(number: int, rows: int | None, **more) -> Split:
    return Split("parquet", ("a.parquet",), (0, number), number, number + 1, 0, rows, 100, **more)


def pipeline(workers: int = 2) -> beam.Pipeline:
    return beam.Pipeline(direct_runner(workers, "thread"), PipelineOptions(direct_flags(workers)))


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_contiguous_adds_up_and_differs_by_one_at_most(rows, workers):
    bounds = contiguous_bounds(rows, workers)
    lengths = np.diff(bounds)
    assert bounds[0] == 0 and bounds[-1] == rows
    assert lengths.min() >= 0 and lengths.max() - lengths.min() <= 1


@given(st.integers(0, 100_000), SPEEDS)
def test_proportional_adds_up_and_gives_at_least_the_whole_share(rows, speeds):
    bounds = proportional_bounds(rows, speeds)
    lengths = np.diff(bounds)
    assert bounds[-1] == rows
    shares = rows * np.array(speeds) / sum(speeds)
    assert (lengths >= np.floor(shares - 1e-6)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), st.lists(st.floats(0.1, 10), min_size=1, max_size=3))
def test_proportional_is_the_least_skew_there_is(rows, speeds):
    def finish(lengths) -> float:
        return max(length / speed for length, speed in zip(lengths, speeds, strict=True))

    best = min(
        finish(lengths) for lengths in itertools.product(range(rows + 1), repeat=len(speeds)) if sum(lengths) == rows
    )
    assert finish(np.diff(proportional_bounds(rows, speeds))) == pytest.approx(best)


def test_proportional_example():
    assert proportional_bounds(10, [1, 1, 3]) == [0, 2, 4, 10]


@pytest.mark.parametrize("speeds", [[], [1, 0], [1, -2], [1, float("nan")]])
def test_proportional_refuses_speeds_that_are_none(speeds):
    with pytest.raises(ValueError, match="above 0"):
        proportional_bounds(5, speeds)


def test_a_strategy_without_ranges_is_named():
    with pytest.raises(ValueError, match="'random' deals no ranges"):
        bounds_for("random", 5, 2, None)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_random_is_uniform(workers):
    rows = 70_000
    counts = np.bincount(random_workers(numbers(rows), workers, seed=5), minlength=workers)
    assert len(counts) == workers
    # Five standard deviations of a binomial: fails by chance once in a million.
    expected = rows / workers
    assert np.abs(counts - expected).max() <= 5 * np.sqrt(expected)


def test_random_depends_on_seed_and_origin_only():
    whole = random_workers(numbers(1000), 4, seed=1)
    parts = [random_workers(numbers(100, first=first), 4, seed=1) for first in range(0, 1000, 100)]
    assert (whole == np.concatenate(parts)).all()
    assert (whole != random_workers(numbers(1000), 4, seed=2)).any()
    assert (whole != random_workers(numbers(1000, file="b.parquet"), 4, seed=1)).any()


def test_neighbouring_rows_are_dealt_independently():
    workers = random_workers(numbers(40_000), 2, seed=0)
    same = (workers[1:] == workers[:-1]).mean()
    assert abs(same - 0.5) < 0.02


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300), st.integers(1, 5), st.integers(0, 2**40))
def test_split_random_keeps_every_row_once_and_in_order(rows, workers, seed):
    pieces = list(split_random(numbers(rows), workers, seed))
    assert sorted(row for _, piece in pieces for row in piece.column("x").to_pylist()) == list(range(rows))
    for _, piece in pieces:
        assert piece.column(ORIGIN_ROW).to_pylist() == sorted(piece.column(ORIGIN_ROW).to_pylist())


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(1, 5))
def test_assigned_splits_cover_every_row_once(counts, workers):
    splits = [split(number, rows) for number, rows in enumerate(counts)]
    total = sum(counts)
    assigned = list(assign_splits(splits, contiguous_bounds(total, workers)))
    covered = [(part.order[1], row) for _, part in assigned for row in range(part.row_start, part.row_stop)]
    assert covered == [(number, row) for number, rows in enumerate(counts) for row in range(rows)]
    lengths = np.zeros(workers, dtype=int)
    for worker, part in assigned:
        lengths[worker] += part.row_stop - part.row_start
    assert lengths.max() - lengths.min() <= 1


def test_partition_splits_keeps_the_order_of_each_worker():
    splits = [split(number, 10) for number in range(5)]
    with pipeline() as p:
        got = (
            p
            | beam.Create(splits)
            | PartitionSplits("proportional", 2, [1, 4])
            | beam.Map(lambda s: (s.order[1], s.row_start, s.row_stop))
        )
        assert_that(got, equal_to([(0, 0, 10), (1, 0, 10), (2, 0, 10), (3, 0, 10), (4, 0, 10)]))


def test_partition_splits_takes_measured_capacities():
    with pipeline() as p:
        measured = p | "measured" >> beam.Create([(0, 1000.0), (1, 3000.0)])
        got = (
            p
            | beam.Create([split(0, 8)])
            | PartitionSplits("proportional", 2, measured=measured)
            | beam.Map(lambda s: (s.row_start, s.row_stop))
        )
        assert_that(got, equal_to([(0, 2), (2, 8)]))


def test_partition_rows_moves_every_row_to_one_worker():
    with pipeline() as p:
        got = (
            p
            | beam.Create([numbers(50), numbers(50, first=50)]).with_output_types(pa.RecordBatch)
            | PartitionRows(3, seed=7)
            | beam.FlatMap(lambda block: block.column("x").to_pylist())
        )
        assert_that(got, equal_to(list(range(100))))
    counters = {c.key.metric.name: c.result for c in p.result.metrics().query()["counters"]}
    assert sum(rows for name, rows in counters.items() if name.startswith("rows_of_worker_")) == 100
