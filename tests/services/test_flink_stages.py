"""A model split by depth on a real Flink: a process a stage, and the rows and errors of the in-process run."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beamsplit.runners.flink import FlinkOptions, flink_runner
from beamsplit.transforms.infer.run_steps import RunSteps
from tests.command import Command, lines, write_table
from tests.models.split import chains
from tests.transforms.infer.in_stages import block, split
from tests.transforms.infer.watched_stages import WatchedStep, as_kind, pids_and_models


def test_each_stage_has_a_process_that_loads_only_its_model(services: None, tmp_path: Path):
    given = block(np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32))
    steps, _ = split(chains.by_rows(), tmp_path, given)
    with flink_runner(FlinkOptions(parallelism=1)) as (runner, flags):
        pipeline = beam.Pipeline(runner, options=PipelineOptions(flags))
        pipeline | beam.Create([given]).with_output_types(pa.RecordBatch) | RunSteps(as_kind(WatchedStep, steps))
        result = pipeline.run()
        result.wait_until_finish()
        counters = {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}
    pids, loaded = pids_and_models(counters)
    assert [stage for stage, _ in pids] == ["0", "1", "2"] and len({pid for _, pid in pids}) == 3
    assert loaded == [(str(k), f"stage-{k}.onnx") for k in range(3)]


@pytest.mark.parametrize(("placement", "where"), [("inline", "embedded"), ("distributed", "session")])
def test_the_same_rows_and_errors_as_in_process(
    services: None, command: Command, placement: str, where: str, request: pytest.FixtureRequest
):
    flink: tuple[object, ...] = ("--runner", "FlinkRunner", "--parallelism", 2)
    if where == "session":
        flink += ("--flink_master", request.getfixturevalue("cluster").address)
    model, stage_of = chains.picky(10)
    chains.cut_by_hand(model, stage_of, command.folder / "stages", micro_batch=8)
    numbers = np.arange(300) % 6
    table = write_table(command.folder / "i.parquet", id=np.arange(300), i=numbers)
    given = {"model": command.folder / "stages" / "model.onnx", "input": table, "columns": None}
    found = []
    for name, options in (
        ("direct", ("--worker_type", "thread")),
        ("flink", flink),
    ):
        command.output = command.folder / name / "preds.parquet"
        errors = command.folder / name / "errors.jsonl"
        code, _, err = command.run(
            *("--keep", "id", "--errors", errors, "--num_shards", 1, *options),
            *("--plan", command.folder / "stages" / "plan.json", "--placement", placement),
            **given,
            output=command.output,
        )
        assert code == 0, err
        found.append((command.rows(), sorted(lines(errors), key=lambda error: error["row"])))
    assert found[0][0].equals(found[1][0]) and found[0][0].num_rows == 250
    assert found[0][1] == found[1][1] and {error["stage"] for error in found[0][1]} == {"infer: stage 2"}
