from __future__ import annotations

import pickle
from dataclasses import replace

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.values.packed_rows import pack_rows
from beamsplit.transforms.apply import ApplyStep
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin
from beamsplit.transforms.infer.capacity import MeasureCapacities, measure_capacity
from beamsplit.transforms.infer.step import NAMESPACE, InferStep
from tests import onnx_models
from tests.onnx_models import save

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
CPU = SessionOptions(threads=1)


@pytest.fixture
def step(tmp_path) -> InferStep:
    """i -> y = [2i, 2i + 1]; rows beyond 9 make the model fail."""
    path = save(onnx_models.picky(10), tmp_path / "m.onnx")
    block = with_origin(pa.record_batch({"i": np.arange(4), "id": ["a", "b", "c", "d"]}), "a.csv", 0)
    made = fit(path, CPU, block.schema, block, DataFacts(ignore={*INTERNAL_COLUMNS, "id"}))
    return InferStep(replace(made.plan, batch_size=2), CPU, keep=("id",))


def block(values: list[int | None], first: int = 0) -> pa.RecordBatch:
    names = [f"row {k}" for k in range(len(values))]
    return with_origin(pa.record_batch({"i": pa.array(values, pa.int64()), "id": names}), "a.csv", first)


def test_kept_columns_then_outputs_then_origin(step: InferStep):
    done = step(block([1, None, 3, 42, 5]))
    assert done.block.schema == step.output_schema(block([1]).schema)
    assert done.block.schema.names == ["id", "y", "_origin_file", "_origin_row"]
    assert done.block["id"].to_pylist() == ["row 0", "row 2", "row 4"]
    assert done.block["_origin_row"].to_pylist() == [0, 2, 4]
    np.testing.assert_array_equal(done.block["y"].to_numpy_ndarray(), [[2, 3], [6, 7], [10, 11]])
    assert [failure.row for failure in done.failures] == [1, 3]
    assert done.failures[0].reason == "null in column 'i'; --nulls i=VALUE would fill it"


def test_it_travels_without_its_session(step: InferStep):
    step.setup()
    step(block([1]))
    sent = pickle.dumps(step)
    assert len(sent) < 20_000
    arrived = pickle.loads(sent)  # noqa: S301
    assert arrived(block([2])).block.equals(step(block([2])).block)


def test_metrics_have_the_names_of_beams_run_inference(step: InferStep):
    pipeline = beam.Pipeline(runner=RUNNER)
    (
        pipeline
        | beam.Create([block([1, 2, 3]), block([4, 99])]).with_output_types(pa.RecordBatch)
        | ApplyStep(step, "infer")
    )
    metrics = pipeline.run().metrics().query()
    counters = {c.key.metric.name: c.committed for c in metrics["counters"] if c.key.metric.namespace == NAMESPACE}
    assert counters == {"num_inferences": 4, "failed_batches_counter": 1}
    told = {d.key.metric.name: d.committed for d in metrics["distributions"] if d.key.metric.namespace == NAMESPACE}
    assert told["inference_request_batch_size"].sum == 4 and told["inference_request_batch_size"].max == 2
    assert told["inference_batch_latency_micro_secs"].count == told["inference_request_batch_size"].count
    assert told["model_byte_size"].min > 0 and told["load_model_latency_milli_secs"].count >= 1


def test_capacity_of_a_worker_is_rows_a_second(step: InferStep):
    assert measure_capacity(step, block([1, 2, 3]), seconds=0.0) > 0


def test_every_worker_is_measured(step: InferStep):
    with beam.Pipeline(runner=RUNNER) as pipeline:
        measured = pipeline | MeasureCapacities(step, block([1, 2, 3]), 3)
        assert_that(
            measured | beam.Map(lambda found: (found[0], found[1] > 0)), equal_to([(k, True) for k in range(3)])
        )


def test_it_is_warm_when_it_is_set_up(step: InferStep, monkeypatch: pytest.MonkeyPatch):
    scored: list[int] = []
    real = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, rows: scored.append(rows.num_rows) or real(self, rows))
    replace(step, warm=pack_rows(block([1, 2, 3]), 2)).setup()
    step.setup()
    assert scored == [2]
