"""The Flink runner as a library: environments, and what is left when a job ends early."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import psutil
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beamsplit.runners.flink import FlinkOptions, flink_runner
from beamsplit.runners.flink_rest import OVER
from beamsplit.runners.local import FlinkCluster
from tests.services.steps import Hang, Stamp, Write
from tests.waiting import running, wait_until


def test_steps_with_unlike_resource_hints_run_in_processes_of_their_own(services: None, tmp_path: Path):
    out = tmp_path / "pids"
    with flink_runner(FlinkOptions(parallelism=1)) as (runner, flags):
        pipeline = beam.Pipeline(runner, options=PipelineOptions(flags))
        stamped = pipeline | beam.Create([[]] * 5)
        stamped |= "stage 0" >> beam.ParDo(Stamp()).with_resource_hints(min_ram="1GB")
        stamped |= "stage 1" >> beam.ParDo(Stamp()).with_resource_hints(min_ram="2GB")
        stamped |= "again 1" >> beam.ParDo(Stamp()).with_resource_hints(min_ram="2GB")
        stamped | "write" >> beam.ParDo(Write(str(out))).with_resource_hints(min_ram="2GB")
        pipeline.run().wait_until_finish()
    rows = [pids_of(line) for line in out.read_text().splitlines()]
    assert len(rows) == 5
    for first, second, again in rows:
        assert first != second and second == again
    assert len({tuple(row) for row in rows}) == 1
    assert not any(map(running, rows[0]))


def pids_of(line: str) -> list[int]:
    return [int(pid) for pid in line.strip("[]").split(",")]


def test_leaving_early_cancels_the_job_and_ends_every_process(cluster: FlinkCluster, tmp_path: Path):
    told = tmp_path / "pid"
    before = set(psutil.Process().children(recursive=True))
    with (
        pytest.raises(KeyboardInterrupt),
        flink_runner(FlinkOptions(master=cluster.address, parallelism=1)) as (runner, flags),
    ):
        pipeline = beam.Pipeline(runner, options=PipelineOptions(flags))
        pipeline | beam.Create([1]) | beam.ParDo(Hang(str(told)))
        pipeline.run()
        wait_until(lambda: told.exists() and told.read_text(), "the step runs")
        pid = int(told.read_text())
        assert set(cluster.jobs().values()) - set(OVER) == {"RUNNING"}
        raise KeyboardInterrupt
    assert not running(pid)
    assert not set(cluster.jobs().values()) - set(OVER)
    assert not set(psutil.Process().children(recursive=True)) - before
