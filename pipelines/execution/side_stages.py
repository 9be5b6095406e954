"""The stages around a split model: what the data and the output stage cost, and how many workers keep up with it.

worker 0   [data][ stages ... ][output][data][ stages ... ]
worker 1         [data]        [ stages ... ][output]          while one's block is in the stages, others prepare
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from beamsplit.pipelines.report.units import show_seconds
from beamsplit.transforms.step import Step

LEAST_WORKERS = 2
"""One block in the stages, another before or behind them."""


@dataclass(frozen=True)
class SideStages:
    """Seconds per micro-batch on one worker; reading and writing have threads of their own beside it."""

    data: float
    """Of the data stage (`--prepare`)."""

    output: float
    """Of the output stage (`--finish`)."""

    def workers(self, period: float, most: int) -> int:
        """Workers that keep the stages busy.

        One has its block in the stages; the others must bring a micro-batch a period.

        Args:
            period: seconds between two micro-batches of the stages; 0 where that is not known.
            most: of them, at least `LEAST_WORKERS`.
        """
        beside = math.ceil((self.data + self.output) / period - 1e-9) if period > 0 else 0
        return max(LEAST_WORKERS, min(1 + beside, most))

    def lines(self, workers: int) -> list[str]:
        """A line each that has something to do."""
        ends = (("data stage", "--prepare", self.data), ("output stage", "--finish", self.output))
        return [
            f"{name} ({option}): {show_seconds(seconds)} a micro-batch, {workers} workers"
            for name, option, seconds in ends
            if seconds > 0
        ]


def time_side_stages(
    prepare: Sequence[Step], infer: Step, finish: Sequence[Step], raw: pa.RecordBatch | None, micro_batch: int
) -> SideStages:
    """Run the sample through all steps and take the time of what is around the model.

    Args:
        prepare: steps of the data stage.
        infer: the model as its stages.
        finish: steps of the output stage.
        raw: sample rows as they are read; without any, nothing is known and everything 0.
        micro_batch: rows that the seconds are for.
    """
    if raw is None or not raw.num_rows or not (prepare or finish):
        return SideStages(0.0, 0.0)
    # What is made at first use (a tokenizer, a decoder) is no cost of a micro-batch.
    _timed(prepare, raw.slice(0, 1))
    prepared, data = _timed(prepare, raw)
    if not finish or not prepared.num_rows:
        return SideStages(data * micro_batch / raw.num_rows, 0.0)
    scored = infer(prepared).block
    _timed(finish, scored.slice(0, 1))
    _, output = _timed(finish, scored)
    return SideStages(data * micro_batch / raw.num_rows, output * micro_batch / raw.num_rows)


def _timed(steps: Sequence[Step], block: pa.RecordBatch) -> tuple[pa.RecordBatch, float]:
    began = time.perf_counter()
    for step in steps:
        if not block.num_rows:
            break
        block = step(block).block
    return block, time.perf_counter() - began if steps else 0.0
