from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import apache_beam as beam
import numpy as np
import onnx
import pyarrow as pa
import pytest

from beamsplit.transforms.apply import apply_step
from beamsplit.transforms.block import COPY, with_origin
from beamsplit.transforms.infer.model_steps import ModelSteps
from beamsplit.transforms.infer.run_steps import RunSteps, worker_bytes
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.infer.whole_step import StepFailure
from tests.models.split import chains
from tests.transforms.infer.in_stages import block, split

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
RNG = np.random.default_rng(3)


def through(steps: ModelSteps, given: pa.RecordBatch) -> tuple[list[pa.RecordBatch], list[StepFailure]]:
    """What comes out of all stages, each sent as bytes to the next, and what failed on the way with its stage."""
    blocks, failed = [given], []
    for step in steps.steps:
        step = pickle.loads(pickle.dumps(step))  # noqa: S301
        made = [one for each in blocks for one in step.run(each)]
        failed += [(step.number, one) for one in made if isinstance(one, StepFailure)]
        blocks = [one for one in made if not isinstance(one, StepFailure)]
        assert all(one.schema == step.output_schema(given.schema) for one in blocks)
    return blocks, failed


@pytest.mark.parametrize("kind", chains.LAYOUTS)
def test_every_kind_of_boundary_gives_what_the_whole_model_gives(kind: str, tmp_path: Path):
    shape = [3, 4] if kind in ("folded", "second axis") else [4]
    given = block(RNG.standard_normal((11, *shape)).astype(np.float32))
    steps, whole = split(chains.LAYOUTS[kind](), tmp_path, given)
    blocks, failed = through(steps, given)
    assert failed == [] and [one.num_rows for one in blocks] == [4, 4, 3]
    found, expected = pa.concat_batches(blocks), whole(given).block
    assert found.schema == expected.schema
    assert found.drop_columns(["y"]).equals(expected.drop_columns(["y"]))
    np.testing.assert_allclose(found["y"].to_numpy_ndarray(), expected["y"].to_numpy_ndarray(), rtol=1e-5, atol=1e-6)


def test_rows_that_fail_in_any_stage_are_found(tmp_path: Path):
    sample = block(np.array([1, 2, 3]), "i")
    steps, _ = split(chains.picky(10), tmp_path, sample)
    values = pa.array([1, 99, 2, None, 7, 3, 4, 0, 8], pa.int64())
    given = with_origin(pa.record_batch({"i": values, "id": [f"row {k}" for k in range(9)]}), "a.parquet", 10)
    blocks, failed = through(steps, given)
    assert sorted(row for one in blocks for row in one["_origin_row"].to_pylist()) == [10, 12, 15, 16, 17]
    assert Counter(stage for stage, _ in failed) == {0: 1, 1: 1, 2: 2}
    assert [one.ran for _, one in failed] == [False, True, True, True]
    assert all(one.reason.startswith("the model failed: Gather") for _, one in failed[1:])


def test_rows_that_cannot_be_told_apart_fail_together(tmp_path: Path):
    model, stage_of = chains.picky(10)
    model.graph.node.append(onnx.helper.make_node("Shape", ["i"], ["shape"]))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["a", "wide_shape"], ["a2"]))
    del model.graph.node[-1]
    add = next(node for node in model.graph.node if node.op_type == "Add" and node.output[0] == "y")
    add.output[0] = "sum"
    model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["shape"], ["nothing"]))
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["nothing", "one"], ["column"]))
    model.graph.node.append(onnx.helper.make_node("Add", ["sum", "column"], ["y"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "one"))
    given = block(np.array([1, 2, 99, 4, 0, 3]), "i")
    steps, _ = split((model, [*stage_of, 0, 2, 2, 2]), tmp_path, block(np.array([1, 2, 3]), "i"), 3)
    blocks, failed = through(steps, given)
    assert [one["_origin_row"].to_pylist() for one in blocks] == [[13, 14, 15]]
    assert [(stage, one.row) for stage, one in failed] == [(1, 0), (1, 1), (1, 2)]
    assert all(one.reason.endswith("(one of 3 rows, which the tensor 'shape' keeps together)") for _, one in failed)


def test_rows_of_unlike_lengths_cross_in_groups(tmp_path: Path):
    from tests import onnx_models

    model = onnx_models.encoder()
    ids = [[1, 2, 3], [4], [5, 6, 7], [8, 9], [10]]
    rows = {"ids": ids, "mask": [[1] * len(row) for row in ids], "id": list("abcde")}
    given = with_origin(pa.record_batch(rows), "a.parquet", 0)
    steps, whole = split((model, [0, 0, 1, 1, 1, 1, 1]), tmp_path, given, 2)
    blocks, failed = through(steps, given)
    found, expected = pa.concat_batches(blocks).sort_by("id"), whole(given).block
    assert failed == [] and found.schema == expected.schema and found["tokens"].equals(expected["tokens"])
    np.testing.assert_allclose(found["mean"].to_numpy_ndarray(), expected["mean"].to_numpy_ndarray(), rtol=1e-5)


def test_copies_of_a_row_stay_together(tmp_path: Path):
    x = RNG.standard_normal((9, 4)).astype(np.float32)
    plain = with_origin(
        pa.record_batch({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x), "id": list("aaabbbccc")}), "a", 0
    )
    origins = pa.array(np.repeat([0, 1, 2], 3))
    copies = plain.set_column(plain.schema.get_field_index("_origin_row"), "_origin_row", origins)
    copies = copies.append_column(COPY, pa.array([0, 1, 2] * 3, pa.int8()))
    steps, _ = split(chains.by_rows(), tmp_path, copies, 4)
    blocks, _ = through(steps, copies)
    assert [one["id"].to_pylist() for one in blocks] == [list("aaa"), list("bbb"), list("ccc")]


def test_as_a_pipeline_with_an_environment_a_stage(tmp_path: Path):
    given = block(np.array([1, 99, 2, 3, 4, 0]), "i")
    steps, whole = split(chains.picky(10), tmp_path, block(np.array([1, 2, 3]), "i"))
    results: dict[str, list] = {}
    pipeline = beam.Pipeline(runner=RUNNER)
    blocks = pipeline | beam.Create([given]).with_output_types(pa.RecordBatch)
    made, failed = blocks | RunSteps(steps, count_done=True)
    made | "Check" >> beam.Map(lambda one: check(one, whole, given))
    failed | "Errors" >> beam.Map(check_error)
    environments = pipeline.to_runner_api().components.environments
    hints = {tuple(sorted(e.resource_hints.items())) for e in environments.values()}
    assert len(hints - {()}) == 3
    result = pipeline.run()
    counters = {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}
    assert counters["rows_scored"] == 5 and counters["rows_failed"] == 1
    assert all(counters[f"stage_{k}_busy_usec"] > 0 and counters[f"stage_{k}_offered_usec"] > 0 for k in range(3))
    assert counters["stage_2_rows"] == 5 and not results


def check(found: pa.RecordBatch, whole: InferStep, given: pa.RecordBatch) -> None:
    expected, _ = apply_step(whole, "infer", given)
    wanted = {row["_origin_row"]: row for row in expected.to_pylist()}
    for row in found.to_pylist():
        assert row == wanted[row["_origin_row"]]


def check_error(error) -> None:
    assert (error.file, error.row, error.stage) == ("a.parquet", 11, "infer: stage 1")


def test_memory_of_a_worker_is_above_its_weights():
    assert worker_bytes(2 << 30) > 4 << 30
