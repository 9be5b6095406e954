"""What Beam's own tests ask of a model handler, and what its ONNX handler cannot do."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, ModelMetadata, PredictionResult, RunInference
from apache_beam.testing.util import assert_that, equal_to

import beamsplit as bs
from tests import onnx_models
from tests.api.collecting import RUNNER, keep, run
from tests.api.conftest import Mlp
from tests.onnx_models import save


@pytest.fixture
def linear(tmp_path: Path) -> str:
    """x: [batch, 2] -> y: [batch, 1] = 2a + 3b + 0.5, as in Beam's tests."""
    node = onnx_models.helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    inputs, outputs = [("x", 1, ["batch", 2])], [("y", 1, ["batch", 1])]
    weights = {"w": np.array([[2], [3]], np.float32), "b": np.array([0.5], np.float32)}
    return save(onnx_models.build([node], inputs, outputs, weights), tmp_path / "linear.onnx")


EXAMPLES = [np.array(pair, np.float32) for pair in [[1, 5], [3, 10], [-14, 0], [0.5, 0.5]]]
WANTED = [17.5, 36.5, -27.5, 3.0]


def test_run_inference_by_hand(linear: str):
    handler = bs.OnnxModelHandler(linear)
    made = list(handler.run_inference(EXAMPLES, handler.load_model()))
    assert all(isinstance(one, PredictionResult) for one in made)
    assert [one.inference.tolist() for one in made] == [[value] for value in WANTED]
    assert all(one.example is example for one, example in zip(made, EXAMPLES, strict=True))
    assert {one.model_id for one in made} == {linear}


def test_in_a_pipeline(linear: str):
    made = run(EXAMPLES, RunInference(bs.OnnxModelHandler(linear)))
    assert sorted(one.inference[0] for one in made) == sorted(WANTED)
    assert all(one.inference == 2 * one.example[0] + 3 * one.example[1] + 0.5 for one in made)


def test_bytes_and_namespace_and_batching_and_hints():
    handler = bs.OnnxModelHandler("dummy", min_batch_size=2, max_batch_size=9, large_model=True, model_copies=3)
    assert handler.get_num_bytes([np.array([1, 2, 3])] * 3) == 3 * 3 * 8
    assert handler.get_num_bytes([np.array([1, 5], np.float32)] * 4) == 4 * 2 * 4
    assert handler.get_num_bytes([{"x": 1}]) > 0
    assert handler.get_num_bytes(np.zeros((4, 2))) == 64
    assert handler.get_metrics_namespace() == "BeamML_Onnx"
    assert handler.batch_elements_kwargs() == {"min_batch_size": 2, "max_batch_size": 9}
    assert handler.share_model_across_processes() and handler.model_copies() == 3
    assert not bs.OnnxModelHandler("dummy").share_model_across_processes()
    assert handler.get_resource_hints() == {}


def test_metrics(linear: str):
    pipeline = beam.Pipeline(RUNNER)
    pipeline | beam.Create(EXAMPLES) | RunInference(bs.OnnxModelHandler(linear))
    result = pipeline.run()
    metrics = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("BeamML_Onnx"))
    counters = {one.key.metric.name: one.committed for one in metrics["counters"]}
    assert counters["num_inferences"] == 4
    assert "load_model_latency_milli_secs" in {one.key.metric.name for one in metrics["distributions"]}


def test_environment_variables(linear: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BEAMSPLIT_TEST_FOO", raising=False)
    run(EXAMPLES, RunInference(bs.OnnxModelHandler(linear, env_vars={"BEAMSPLIT_TEST_FOO": "bar"})))
    assert os.environ.pop("BEAMSPLIT_TEST_FOO") == "bar"


def test_keyed(linear: str):
    made = run(enumerate(EXAMPLES), RunInference(KeyedModelHandler(bs.OnnxModelHandler(linear))))
    assert {key: one.inference[0] for key, one in made} == dict(enumerate(WANTED))


def test_a_model_shared_by_processes(linear: str):
    made = run(EXAMPLES, RunInference(bs.OnnxModelHandler(linear, large_model=True)))
    assert sorted(one.inference[0] for one in made) == sorted(WANTED)


def test_preprocess_and_postprocess_and_no_batching(linear: str):
    handler = bs.OnnxModelHandler(linear)
    made = run([[1.0, 5.0]], RunInference(handler.with_preprocess_fn(to_float32).with_postprocess_fn(first)))
    assert made == [17.5]
    made = run([np.stack(EXAMPLES), EXAMPLES[:2]], RunInference(handler.with_no_batching()))
    assert sorted(one.inference[0] for one in made) == sorted(WANTED + WANTED[:2])


def to_float32(pair: list[float]) -> np.ndarray:
    return np.array(pair, np.float32)


def first(result: PredictionResult) -> float:
    return float(result.inference[0])


def test_exception_handling(linear: str):
    with beam.Pipeline(RUNNER) as pipeline:
        rows = pipeline | beam.Create([*EXAMPLES, np.array([1], np.float32)])
        handler = bs.OnnxModelHandler(linear, max_batch_size=1)
        scored, dlq = rows | RunInference(handler).with_exception_handling()
        good, bad = keep(scored, "good"), keep(dlq.failed_inferences, "bad")
    assert sorted(one.inference[0] for one in good.found) == sorted(WANTED)
    ((batch, error),) = bad.found
    assert batch[0].tolist() == [1]
    assert "a list of 1 where the model wants 2" in str(error)


def test_other_models_by_side_input(linear: str, tmp_path: Path):
    other = shutil.copy(linear, tmp_path / "other.onnx")
    with beam.Pipeline(RUNNER) as pipeline:
        news = pipeline | "news" >> beam.Create([ModelMetadata(model_id=str(other), model_name="other")])
        rows = pipeline | beam.Create(EXAMPLES)
        made = rows | RunInference(bs.OnnxModelHandler(linear), model_metadata_pcoll=news)
        assert_that(made | beam.Map(lambda one: one.model_id), equal_to([str(other)] * 4))


def test_update_model_path(linear: str):
    handler = bs.OnnxModelHandler("before.onnx")
    handler.update_model_path("")
    handler.update_model_path(None)
    assert handler._model == "before.onnx"
    handler.update_model_path(linear)
    made = list(handler.run_inference(EXAMPLES, handler.load_model()))
    assert made[0].model_id == linear


def test_inference_args_are_inputs_that_are_no_columns(tmp_path: Path):
    path = save(onnx_models.constant_input(), tmp_path / "c.onnx")
    x = [np.ones(4, np.float32)] * 2
    made = run(x, RunInference(bs.OnnxModelHandler(path, set={"sr": 1}), inference_args={"sr": 3}))
    assert [one.inference.tolist() for one in made] == [[3, 3, 3, 3]] * 2
    with pytest.raises(bs.UsageError, match="a mapping is wanted"):
        bs.OnnxModelHandler(path).validate_inference_args([1])  # type: ignore[arg-type]


def test_all_inputs_and_all_outputs_and_unlike_shapes(tmp_path: Path):
    path = save(onnx_models.encoder(), tmp_path / "e.onnx")
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 40, size) for size in (3, 5, 3)]
    rows = [{"ids": one, "mask": np.ones(len(one), np.int64)} for one in ids]
    handler = bs.OnnxModelHandler(path)
    made = list(handler.run_inference(rows, handler.load_model()))
    alone = [next(iter(handler.run_inference([row], handler.load_model()))) for row in rows]
    for one, other, row in zip(made, alone, rows, strict=True):
        assert sorted(one.inference) == ["mean", "tokens"]
        assert one.inference["tokens"].shape == (len(row["ids"]), 6)
        for name in one.inference:
            np.testing.assert_allclose(one.inference[name], other.inference[name], rtol=1e-5)


def test_arrays_of_unlike_shapes(tmp_path: Path):
    path = save(onnx_models.identity(shape=("batch", "length")), tmp_path / "i.onnx")
    examples = [np.arange(size, dtype=np.float32) for size in (3, 1, 3, 2)]
    made = run(examples, RunInference(bs.OnnxModelHandler(path, min_batch_size=4)))
    assert all(one.inference.tolist() == one.example.tolist() for one in made) and len(made) == 4


class Two(NamedTuple):
    a: float
    b: float


def test_rows_of_beam_and_named_tuples(linear: str):
    handler = bs.OnnxModelHandler(linear, columns={"x": ["a", "b"]})
    for kind in (Two, lambda a, b: beam.Row(a=a, b=b), lambda a, b: {"a": a, "b": b, "more": "text"}):
        made = run([kind(*map(float, pair)) for pair in EXAMPLES], RunInference(handler))
        assert sorted(one.inference[0] for one in made) == sorted(WANTED)


def test_tables_and_arrays_of_many_rows(mlp: Mlp):
    handler = bs.OnnxModelHandler(mlp.path, **mlp.options)
    made = run([mlp.table], RunInference(handler))
    assert isinstance(made[0].inference, pa.Table)
    np.testing.assert_allclose(made[0].inference["y"].combine_chunks().to_numpy_ndarray(), mlp.y, rtol=1e-5, atol=1e-6)
    made = run(mlp.table.to_batches(), RunInference(handler.with_no_batching()))
    assert isinstance(made[0].inference, pa.RecordBatch)
    made = run([mlp.x], RunInference(bs.OnnxModelHandler(mlp.path)))
    np.testing.assert_allclose(made[0].inference, mlp.y, rtol=1e-5, atol=1e-6)


def test_a_bad_row_fails_its_batch_or_itself(tmp_path: Path):
    path = save(onnx_models.picky(10), tmp_path / "p.onnx")
    examples = [np.int64(value) for value in (1, 99, 3)]
    handler = bs.OnnxModelHandler(path)
    with pytest.raises(bs.RowsFailed, match="1 of 3 rows fail"):
        handler.run_inference(examples, handler.load_model())
    handler = bs.OnnxModelHandler(path, errors="return")
    made = [one.inference for one in handler.run_inference(examples, handler.load_model())]
    assert isinstance(made[1], bs.RowError) and "out of data bounds" in made[1].reason
    assert [made[0].tolist(), made[2].tolist()] == [[2, 3], [6, 7]]


def test_several_inputs_want_dicts(tmp_path: Path):
    handler = bs.OnnxModelHandler(save(onnx_models.encoder(), tmp_path / "e.onnx"))
    with pytest.raises(bs.UsageError, match="the model has the inputs ids, mask; give dicts"):
        handler.run_inference([np.zeros(3)], handler.load_model())


def test_wrong_use_when_it_is_made(linear: str):
    for options, message in [
        ({"batch_size": 0}, "--batch_size: '0'"),
        ({"model_updates": "x"}, "has no argument 'model_updates'"),
        ({"errors": "x"}, "errors is 'x'"),
        ({"max_batch": 3}, "has no argument 'max_batch'"),
    ]:
        with pytest.raises(bs.UsageError, match=message):
            bs.OnnxModelHandler(linear, **options)
    assert pickle.loads(pickle.dumps(bs.OnnxModelHandler(linear, threads=1)))._options == {"threads": 1}  # noqa: S301
