"""What Beam's own tests ask of a handler, asked of ours.

Adapted from base_test.py and onnx_inference_test.py in apache_beam/ml/inference of Apache Beam 2.77 (Apache-2.0), which
ask it of made-up models: here each runs a real one, y = x + 1.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.ml.inference import base
from apache_beam.ml.inference.base import (
    KeyedModelHandler,
    KeyModelMapping,
    KeyModelPathMapping,
    MaybeKeyedModelHandler,
    ModelMetadata,
    RunInference,
)
from apache_beam.transforms import window
from apache_beam.transforms.window import TimestampedValue

import beamsplit as bs
from tests import onnx_models
from tests.api.collecting import RUNNER, keep, run
from tests.onnx_models import save

EXAMPLES = [1, 5, 3, 10]
WANTED = [2, 6, 4, 11]


def adding(path: Path, number: int) -> str:
    """A model y = x + number, of int64 [batch]."""
    node = onnx_models.helper.make_node("Add", ["x", "number"], ["y"])
    return save(
        onnx_models.build([node], [("x", 7, ["batch"])], [("y", 7, ["batch"])], {"number": np.array(number)}), path
    )


@pytest.fixture
def plus_one(tmp_path: Path) -> str:
    return adding(tmp_path / "plus_one.onnx", 1)


def made(found: list[Any]) -> list[Any]:
    """What a model made, of results with keys or without."""
    pairs = [one if isinstance(one, tuple) and len(one) == 2 else (None, one) for one in found]
    return sorted(int(one.inference) if key is None else (key, int(one.inference)) for key, one in pairs)


def keyed(examples: list[int] = EXAMPLES) -> list[tuple[int, int]]:
    return list(enumerate(examples))


@pytest.mark.parametrize("options", [{}, {"large_model": True}, {"model_copies": 3, "max_batch_size": 1}])
def test_keyed_examples_and_examples_that_may_be(plus_one: str, options: dict):
    handler = bs.OnnxModelHandler(plus_one, **options)
    assert made(run(keyed(), RunInference(KeyedModelHandler(handler)))) == list(enumerate(WANTED))
    maybe = MaybeKeyedModelHandler(handler)
    assert made(run(keyed(), RunInference(maybe))) == list(enumerate(WANTED))
    assert made(run(EXAMPLES, RunInference(maybe))) == sorted(WANTED)


def test_no_batching_and_copies(plus_one: str):
    handler = bs.OnnxModelHandler(plus_one, model_copies=4).with_no_batching()
    assert made(run([[one] for one in EXAMPLES * 4], RunInference(handler))) == sorted(WANTED * 4)
    assert made(run([[1, 5], [3, 10]], RunInference(handler))) == sorted(WANTED)


def test_several_models_by_key_with_metrics_of_each(tmp_path: Path):
    plus = {number: adding(tmp_path / f"{number}.onnx", number) for number in (1, 200)}
    handlers = [
        KeyModelMapping([0], bs.OnnxModelHandler(plus[200])),
        KeyModelMapping([1, 2, 3], bs.OnnxModelHandler(plus[1])),
    ]
    pipeline = beam.Pipeline(RUNNER)
    rows = pipeline | beam.Create(keyed())
    into = keep(rows | RunInference(KeyedModelHandler(handlers), metrics_namespace="of_test"))
    result = pipeline.run()
    result.wait_until_finish()
    assert made(into.found) == [(0, 201), (1, 6), (2, 4), (3, 11)]
    found = result.metrics().query(MetricsFilter().with_namespace("of_test"))
    counters = {one.key.metric.name: one.committed for one in found["counters"]}
    assert [counters[name] for name in ("0-_num_inferences", "1-_num_inferences", "num_inferences")] == [1, 3, 4]
    assert not any("failed" in name for name in counters)
    loads = {one.key.metric.name: one.committed.count for one in found["distributions"]}
    assert [loads[f"{key}load_model_latency_milli_secs"] for key in ("0-_", "1-_", "")] == [1, 1, 2]


def test_fewer_models_than_keys_want_are_held(tmp_path: Path):
    plus = [bs.OnnxModelHandler(adding(tmp_path / f"{number}.onnx", number)) for number in (1, 2)]
    handlers = [KeyModelMapping([0, 2], plus[0]), KeyModelMapping([1, 3], plus[1])]
    found = run(keyed(), RunInference(KeyedModelHandler(handlers, max_models_per_worker_hint=1)))
    assert made(found) == [(0, 2), (1, 7), (2, 4), (3, 12)]


def test_bytes_of_keyed_examples(plus_one: str):
    handler = bs.OnnxModelHandler(plus_one)
    batch = [("key1", np.int64(1)), ("key2", np.int64(2)), ("key1", np.int64(3))]
    assert KeyedModelHandler(handler).get_num_bytes(batch) == len(pickle.dumps(("key1", "key2", "key1"))) + 24


def whole(text: str) -> int:
    return int(text)


def less_one(number: int) -> int:
    return number - 1


def total(result: base.PredictionResult) -> int:
    value = int(result.inference.sum())
    if value == 5:
        raise ValueError("five is none of ours")
    return value


def test_failures_before_and_in_and_behind_the_model(tmp_path: Path):
    """i -> [2i, 2i + 1], which fails where i is 10 or more."""
    handler = bs.OnnxModelHandler(save(onnx_models.picky(10), tmp_path / "p.onnx"), max_batch_size=1)
    handler = handler.with_preprocess_fn(less_one).with_preprocess_fn(whole).with_postprocess_fn(total)
    with beam.Pipeline(RUNNER) as pipeline:
        rows = pipeline | beam.Create(["3", "five", "100", "2"])
        main, other = rows | RunInference(handler).with_exception_handling()
        good, failed = keep(main, "good"), keep(other.failed_inferences, "failed")
        before, behind = keep(other.failed_preprocessing[0], "before"), keep(other.failed_postprocessing[0], "behind")
    assert good.found == [9]
    ((batch, reason),) = failed.found
    assert batch == [99] and "RowsFailed" in str(reason[1]) and "out of data bounds" in str(reason[1])
    assert [one for one, _ in before.found] == ["five"]
    assert [one.example for one, _ in behind.found] == [1]


def test_a_run_that_takes_too_long_fails(tmp_path: Path):
    """Beam's timeout leaves the run behind; ours ends it, so that nothing goes on."""
    path = save(onnx_models.endless(1, above=3), tmp_path / "e.onnx")
    handler = bs.OnnxModelHandler(path, max_batch_size=1, batch_size=1, run_timeout=3)
    with beam.Pipeline(RUNNER) as pipeline:
        rows = pipeline | beam.Create([np.array([9], np.float32)])
        main, other = rows | RunInference(handler).with_exception_handling(timeout=2)
        good, failed = keep(main, "good"), keep(other.failed_inferences, "failed")
    assert good.found == []
    assert [batch[0].tolist() for batch, _ in failed.found] == [[9]]


def test_a_model_that_cannot_be_loaded_fails_each_batch(tmp_path: Path):
    handler = bs.OnnxModelHandler(tmp_path / "none.onnx", max_batch_size=1)
    with beam.Pipeline(RUNNER) as pipeline:
        main, other = pipeline | beam.Create([1, 2]) | RunInference(handler).with_exception_handling(timeout=60)
        good, failed = keep(main, "good"), keep(other.failed_inferences, "failed")
    assert good.found == []
    assert sorted(batch[0] for batch, _ in failed.found) == [1, 2]
    assert all("none.onnx" in reason[1] for _, reason in failed.found), failed.found


def test_metrics(plus_one: str, tmp_path: Path):
    pipeline = beam.Pipeline(RUNNER)
    pipeline | beam.Create(EXAMPLES) | RunInference(bs.OnnxModelHandler(plus_one))
    found = pipeline.run().metrics().query(MetricsFilter().with_namespace("BeamML_Onnx"))
    assert {one.key.metric.name: one.committed for one in found["counters"]} == {"num_inferences": 4}
    sums = {one.key.metric.name: one.committed.sum for one in found["distributions"]}
    assert sums.pop("inference_request_batch_size") == 4
    assert sums.pop("inference_request_batch_byte_size") > 0
    assert sorted(sums) == ["inference_batch_latency_micro_secs", "load_model_latency_milli_secs", "model_byte_size"]


WINDOW = 7
"""Seconds of a window of the tests of models that change."""


def in_windows(pipeline: beam.Pipeline, label: str, found: list[tuple[int, Any]]) -> beam.PCollection:
    """Elements with their timestamps, in windows."""
    made = pipeline | label >> beam.Create(found)
    placed = made | f"{label} at" >> beam.Map(lambda pair: TimestampedValue(pair[1], pair[0])).with_output_types(Any)
    return placed | f"{label} in windows" >> beam.WindowInto(window.FixedWindows(WINDOW))


def test_models_that_change_by_window(tmp_path: Path):
    """As the side input says for each window."""
    plus = {number: adding(tmp_path / f"{number}.onnx", number) for number in (1, 2, 3)}
    with beam.Pipeline(RUNNER) as pipeline:
        news = [(at, ModelMetadata(path, path)) for at, path in [(1, plus[1]), (8, plus[2]), (15, plus[3])]]
        side = in_windows(pipeline, "news", news)
        rows = in_windows(pipeline, "rows", [(at, at) for at in (1, 8, 15, 16)])
        into = keep(rows | RunInference(bs.OnnxModelHandler(plus[1]), model_metadata_pcoll=side))
    assert sorted((one.example, int(one.inference) - one.example, one.model_id) for one in into.found) == [
        (1, 1, plus[1]),
        (8, 2, plus[2]),
        (15, 3, plus[3]),
        (16, 3, plus[3]),
    ]


def test_models_that_change_by_key(tmp_path: Path):
    plus = {number: adding(tmp_path / f"{number}.onnx", number) for number in (1, 2, 3)}
    handlers = [KeyModelMapping([key], bs.OnnxModelHandler(plus[1])) for key in ("a", "b")]
    with beam.Pipeline(RUNNER) as pipeline:
        news = [
            (1, [KeyModelPathMapping(["a"], plus[1]), KeyModelPathMapping(["b"], plus[1])]),
            (8, [KeyModelPathMapping(["a"], plus[2]), KeyModelPathMapping(["b"], plus[3])]),
        ]
        side = in_windows(pipeline, "news", news)
        rows = in_windows(pipeline, "rows", [(at, (key, at)) for at in (1, 8) for key in "ab"])
        into = keep(rows | RunInference(KeyedModelHandler(handlers), model_metadata_pcoll=side))
    assert made(into.found) == [("a", 2), ("a", 10), ("b", 2), ("b", 11)]


def test_no_model_in_the_side_input_leaves_the_first(plus_one: str):
    with beam.Pipeline(RUNNER) as pipeline:
        side = pipeline | "none" >> beam.Create([])
        rows = pipeline | beam.Create(EXAMPLES)
        into = keep(rows | RunInference(bs.OnnxModelHandler(plus_one), model_metadata_pcoll=side))
    assert made(into.found) == sorted(WANTED)


def test_one_model_of_two_transforms(plus_one: str):
    handler = bs.OnnxModelHandler(plus_one, large_model=True)
    first = RunInference(handler.with_postprocess_fn(inference), model_identifier="of both")
    second = RunInference(handler, model_identifier="of both")
    assert made(run(EXAMPLES, first, second)) == [3, 5, 7, 12]


def inference(result: base.PredictionResult) -> int:
    return int(result.inference)


def test_batches_of_like_lengths(tmp_path: Path):
    path = save(onnx_models.identity(shape=("batch", "length")), tmp_path / "i.onnx")
    handler = bs.OnnxModelHandler(
        path, batch_length_fn=len, batch_bucket_boundaries=[3], max_batch_duration_secs=60, min_batch_size=2
    )
    examples = [np.arange(size, dtype=np.float32) for size in (1, 9, 2, 8)]
    found = run(examples, RunInference(handler))
    assert sorted(len(one.inference) for one in found) == [1, 2, 8, 9]
    assert all(one.inference.tolist() == one.example.tolist() for one in found)


def test_batches_by_weight(plus_one: str):
    handler = bs.OnnxModelHandler(plus_one, max_batch_weight=12, element_size_fn=whole, min_batch_size=9)
    assert made(run(EXAMPLES, RunInference(handler))) == sorted(WANTED)


def test_a_key_is_never_taken_for_a_row(plus_one: str):
    handler = bs.OnnxModelHandler(plus_one)
    for pair in [(0, 1), ("a", 1), ("a", np.int64(1))]:
        with pytest.raises(bs.UsageError, match=r"an example is the tuple .* want KeyedModelHandler"):
            handler.run_inference([pair], handler.load_model())


def test_inference_args_name_inputs(plus_one: str):
    with pytest.raises(bs.UsageError, match="inference_args name key; the model has the inputs x"):
        run(EXAMPLES, RunInference(bs.OnnxModelHandler(plus_one), inference_args={"key": True}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_weight": 5}, "max_batch_weight wants element_size_fn"),
        ({"max_batch_weight": 5, "element_size_fn": len, "max_batch_size": 2}, "does not go with max_batch_size"),
        ({"max_batch_weight": 5, "element_size_fn": len, "max_batch_duration_secs": 2}, "does not go with"),
        ({"element_size_fn": 3}, "element_size_fn is 3; give a function"),
        ({"batch_bucket_boundaries": [1, 2]}, "batch_bucket_boundaries wants batch_length_fn"),
        ({"batch_bucket_boundaries": [2, 1], "batch_length_fn": len}, "the smallest first"),
        ({"batch_bucket_boundaries": [], "batch_length_fn": len}, "give lengths above 0"),
        ({"large_model": "no"}, "give True or False"),
        ({"model_copies": True}, "give a whole number above 0"),
        ({"max_batch_duration_secs": True}, "give seconds above 0"),
        ({"env_vars": {"THREADS": 1}}, "give a dict of texts"),
        ({"env_vars": ["A=1"]}, "give a dict of texts"),
    ],
)
def test_batching_that_beam_would_not_heed(options: dict, message: str):
    with pytest.raises(bs.UsageError, match=message):
        bs.OnnxModelHandler("m.onnx", **options)
