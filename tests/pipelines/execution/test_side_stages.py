from __future__ import annotations

import time
from dataclasses import dataclass

import pyarrow as pa
import pytest

from beamsplit.pipelines.execution.side_stages import SideStages, time_side_stages
from beamsplit.transforms.step import StepResult


@dataclass(frozen=True)
class Slow:
    """Takes so long for a row."""

    seconds: float

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        time.sleep(self.seconds * block.num_rows)
        return StepResult(block)


RAW = pa.RecordBatch.from_pydict({"x": list(range(8))})


@pytest.mark.parametrize(
    ("ends", "period", "most", "workers"),
    [
        (SideStages(0.0, 0.0), 0.1, 8, 2),
        (SideStages(0.05, 0.0), 0.1, 8, 2),
        (SideStages(0.15, 0.05), 0.1, 8, 3),
        (SideStages(0.25, 0.0), 0.1, 8, 4),
        (SideStages(9.0, 0.0), 0.1, 8, 8),
        (SideStages(9.0, 0.0), 0.1, 1, 2),
        (SideStages(9.0, 0.0), 0.0, 8, 2),
    ],
)
def test_as_many_workers_as_keep_the_stages_busy(ends: SideStages, period: float, most: int, workers: int):
    assert ends.workers(period, most) == workers


def test_what_surrounds_the_model_is_timed_per_micro_batch():
    ends = time_side_stages([Slow(0.002)], Slow(0.1 / 8), [Slow(0.001)], RAW, 4)
    assert ends.data >= 0.008 and ends.output >= 0.004
    assert [line.split(" (")[0] for line in ends.lines(2)] == ["data stage", "output stage"]


def test_without_steps_or_rows_nothing_runs():
    broken = object()
    assert (
        time_side_stages([], broken, [], RAW, 4)
        == SideStages(0.0, 0.0)
        == time_side_stages([broken], broken, [], None, 4)
    )
    assert SideStages(0.0, 0.0).lines(2) == []
