"""A stream on a real Flink: checkpoints are finalized, and a worker that is killed comes back where it was."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import apache_beam as beam
import psutil
from apache_beam.io.unbounded_source import ReadFromUnboundedSource
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from beamsplit.runners.flink import FlinkOptions, flink_runner
from tests.services.steps import Count, Write
from tests.services.streams import is_worker
from tests.waiting import wait_until


class Enough(Exception):
    """Ends the job."""


def test_a_stream_goes_on_after_its_worker_was_killed(services: None, tmp_path: Path):
    final, out = tmp_path / "final", tmp_path / "out"

    def numbers() -> list[int]:
        lines = out.read_text().split("\n")[:-1] if out.exists() else []
        return [int(line) for line in lines if line]

    def finalized() -> int:
        return int(final.read_text() or 0) if final.exists() else 0

    def workers() -> list[psutil.Process]:
        return [process for process in psutil.Process().children(recursive=True) if is_worker(process)]

    options = FlinkOptions(parallelism=1, streaming=True, checkpoint_ms=500)
    with contextlib.suppress(Enough), flink_runner(options) as (runner, flags):
        pipeline = beam.Pipeline(runner, options=PipelineOptions(flags))
        read = pipeline | ReadFromUnboundedSource(Count(str(final)), max_read_time_seconds=0.2)
        read | beam.ParDo(Write(str(out)))
        result = pipeline.run()

        def goes_on(condition: bool) -> bool:
            assert not PipelineState.is_terminal(result.state), "the job ended"
            return condition

        wait_until(lambda: goes_on(finalized() > 0), "a checkpoint was finalized")
        before = finalized()
        old = {process.pid for process in workers()}
        assert old
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: goes_on(finalized() > before + 200), "checkpoints go on after the kill")
        assert {process.pid for process in workers()}.isdisjoint(old)
        assert set(range(finalized())) <= set(numbers())
        raise Enough
    assert not workers()
