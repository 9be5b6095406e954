"""`bs.Score` and `bs.OnnxModelHandler` in other people's pipelines on Flink, whose workers are other processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.parquetio import ReadFromParquetBatched
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import FixedWindows, TimestampedValue

import beamsplit as bs
from beamsplit.runners.flink import FlinkOptions, flink_runner
from tests import onnx_models
from tests.command import lines
from tests.onnx_models import save

COLUMNS = {"x": list("abcd")}
ROWS = 300


def test_rows_batches_and_arrays(services: None, tmp_path: Path):
    model = save(onnx_models.mlp(4, outputs=2), tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((ROWS, 4)).astype(np.float32)
    y = ort.InferenceSession(model).run(None, {"x": x})[0]
    table = pa.table({"id": np.arange(ROWS), **{name: x[:, at] for at, name in enumerate("abcd")}})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=50)
    # Workers of another machine, as far as Beam tells, take the files of stages from where they were saved.
    sample = str(tmp_path / "in.parquet")
    plan = bs.plan(model, sample=sample, columns=COLUMNS, stages=2, workers=2).save_stages(tmp_path / "stages")
    rows = [*table.to_pylist()[:40], {"id": -1, "a": None, "b": 0.0, "c": 0.0, "d": 0.0}]

    def written(collection: beam.PCollection, name: str) -> None:
        texts = collection | f"{name}: text" >> beam.Map(lambda row: json.dumps(row))
        texts | f"{name}: write" >> beam.io.WriteToText(str(tmp_path / name))

    with flink_runner(FlinkOptions(parallelism=2)) as (runner, flags):
        pipeline = beam.Pipeline(runner, options=PipelineOptions(flags))
        blocks = pipeline | ReadFromParquetBatched(str(tmp_path / "in.parquet"))
        whole = blocks | "whole" >> bs.Score(model, columns=COLUMNS, keep="id")
        written(whole.predictions | "rows of blocks" >> beam.FlatMap(lambda block: block.to_pylist()), "whole")
        timed = pipeline | beam.Create(rows) | beam.Map(lambda row: TimestampedValue(row, max(row["id"], 0)))
        parts = {"plan": plan, "placement": "distributed", "sample": rows[:20]}
        apart = (
            timed | beam.WindowInto(FixedWindows(10)) | "apart" >> bs.Score(model, columns=COLUMNS, keep="id", **parts)
        )

        def placed(row: Any, window: Any = beam.DoFn.WindowParam) -> dict[str, Any]:
            return {"id": row["id"], "y": [float(one) for one in row["y"]], "window": float(window.start)}

        written(apart.predictions | "placed" >> beam.Map(placed), "apart")
        written(apart.errors | "told" >> beam.Map(lambda error: {"reason": error.reason}), "errors")
        arrays = pipeline | "arrays" >> beam.Create(list(x[:30]))
        results = arrays | RunInference(bs.OnnxModelHandler(model))
        told = results | "results" >> beam.Map(lambda one: {"x": one.example.tolist(), "y": one.inference.tolist()})
        written(told, "results")
        pipeline.run().wait_until_finish()

    def found(name: str) -> list[dict[str, Any]]:
        return [row for path in tmp_path.glob(f"{name}-*") for row in lines(path)]

    scored = sorted(found("whole"), key=lambda row: row["id"])
    assert [row["id"] for row in scored] == list(range(ROWS))
    np.testing.assert_allclose([row["y"] for row in scored], y, rtol=1e-4, atol=1e-5)
    scored = sorted(found("apart"), key=lambda row: row["id"])
    assert [(row["id"], row["window"]) for row in scored] == [(at, at // 10 * 10) for at in range(40)]
    np.testing.assert_allclose([row["y"] for row in scored], y[:40], rtol=1e-4, atol=1e-5)
    (error,) = found("errors")
    assert "'a'" in error["reason"]
    made = found("results")
    assert len(made) == 30
    expected = ort.InferenceSession(model).run(None, {"x": np.array([row["x"] for row in made], np.float32)})[0]
    np.testing.assert_allclose([row["y"] for row in made], expected, rtol=1e-4, atol=1e-5)
