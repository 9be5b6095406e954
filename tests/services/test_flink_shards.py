"""A model divided by width on a real Flink: processes of their own for each shard, and the rows of the whole model."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from beamsplit.runners.flink import FlinkOptions, flink_runner
from beamsplit.transforms.infer.run_steps import RunSteps
from tests import onnx_models
from tests.command import Command
from tests.models.shard.watched import WatchedStep, WatchedWhole, changed, check_distributed, told_by
from tests.pipelines.close import close
from tests.transforms.infer.in_stages import block
from tests.transforms.infer.on_shards import divided


def test_each_shard_has_a_process_that_holds_only_its_weights(services: None, tmp_path: Path):
    given = block(np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32))
    model = onnx_models.mlp(6, 3072, 3, layers=4)
    steps, _ = divided(model, tmp_path, given)
    with flink_runner(FlinkOptions(parallelism=1)) as (runner, flags):
        pipeline = beam.Pipeline(runner, options=PipelineOptions(flags))
        watched = changed(steps, WatchedStep, whole=WatchedWhole)
        pipeline | beam.Create([given]).with_output_types(pa.RecordBatch) | RunSteps(watched)
        result = pipeline.run()
        result.wait_until_finish()
        told = told_by(result)
    check_distributed(told, 2, sum(tensor.ByteSize() for tensor in model.graph.initializer))


def test_the_rows_of_the_whole_model(services: None, command: Command):
    model = onnx_models.save(onnx_models.mlp(4, 64, 2, layers=3), command.folder / "wide.onnx")
    given = ("--keep", "id", "--num_shards", 1)
    assert command.run(*given, model=model)[0] == 0
    whole = command.rows()
    code, _, err = command.run(
        *given,
        *("--shards", 2, "--placement", "distributed", "--micro_batch", 64),
        *("--runner", "FlinkRunner", "--parallelism", 2),
        model=model,
    )
    assert code == 0, err
    close(command.rows(), whole, "y")
