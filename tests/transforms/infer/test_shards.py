"""Shards with workers of their own: parts in any order, repeated, lost; failed rows; what each process holds."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import onnx
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from onnx import TensorProto, helper

from beamsplit.runners.direct import direct_flags, direct_runner
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.infer.join import LostPartError, ShardJoin
from beamsplit.transforms.infer.model_steps import ModelSteps, ShardedStep
from beamsplit.transforms.infer.run_steps import RunSteps
from beamsplit.transforms.infer.shard_step import ShardResult, block_id, from_bytes, to_bytes
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.infer.whole_step import StepFailure
from tests import onnx_models
from tests.models.shard.tables import table
from tests.models.shard.watched import WatchedStep, WatchedWhole, changed, check_distributed, told_by
from tests.transforms.infer.in_stages import block
from tests.transforms.infer.on_shards import divided

RNG = np.random.default_rng(4)


def wide(tmp_path: Path, rows: int = 11, shards: int = 2) -> tuple[ModelSteps, InferStep, pa.RecordBatch]:
    given = block(RNG.standard_normal((rows, 6)).astype(np.float32))
    return *divided(onnx_models.mlp(6, 32, 3, layers=4), tmp_path, given, shards), given


def through(
    steps: ModelSteps, given: pa.RecordBatch, change: object = lambda parts: parts
) -> tuple[list[pa.RecordBatch], list[tuple[int, str]]]:
    """What comes out, each part sent as data, and (row, reason) of what failed; `change` acts on each block's parts."""
    blocks, failed = [given], []
    for step in steps.steps:
        made = []
        for one in blocks:
            if not isinstance(step, ShardedStep):
                for out in step.run(one):
                    if isinstance(out, StepFailure):
                        failed.append((one["_origin_row"][out.row].as_py(), out.reason))
                    else:
                        made.append(out)
                continue
            parts = [pickle.loads(pickle.dumps(tuple(shard.run(one)))) for shard in step.shards]  # noqa: S301
            joined = step.join.join(change([ShardResult(*part) for part in parts]))
            failed += [(joined.carried["_origin_row"][one.row].as_py(), one.reason) for one in joined.failures]
            made += [] if joined.block is None else [joined.block]
        blocks = made
    return blocks, sorted(failed)


def equal(found: Sequence[pa.RecordBatch], expected: pa.RecordBatch) -> None:
    together = pa.concat_batches(found)
    assert together.schema == expected.schema
    assert together.drop_columns(["y"]).equals(expected.drop_columns(["y"]))
    one, other = together["y"].to_numpy_ndarray(), expected["y"].to_numpy_ndarray()
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shards", [2, 3])
def test_steps_give_what_the_whole_model_gives(tmp_path: Path, shards: int):
    steps, whole, given = wide(tmp_path, shards=shards)
    blocks, failed = through(steps, given)
    assert failed == [] and [one.num_rows for one in blocks] == [4, 4, 3]
    equal(blocks, whole(given).block)
    held = [nbytes for (_, shard), nbytes in steps.weight_bytes.items() if shard is not None]
    assert len(held) == shards and max(held) < 1.2 / shards * sum(held)


def test_parts_in_any_order_and_repeated_give_bit_for_bit_the_same(tmp_path: Path):
    steps, _, given = wide(tmp_path, shards=3)
    expected, _ = through(steps, given)
    shuffled = random.Random(5)

    def disturbed(parts: list[ShardResult]) -> list[ShardResult]:
        again = [*parts, *parts, parts[1]]
        shuffled.shuffle(again)
        return again

    found, failed = through(steps, given, disturbed)
    assert failed == []
    assert pa.concat_batches(found).equals(pa.concat_batches(expected))


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_part_is_an_error(tmp_path: Path, lost: int):
    steps, _, given = wide(tmp_path)
    with pytest.raises(LostPartError, match=f"of a block's 2 partial results, that of shard {lost} is lost"):
        through(steps, given, lambda parts: [part for part in parts if part.shard != lost])


def test_parts_of_unlike_rows_are_an_error(tmp_path: Path):
    steps, _, given = wide(tmp_path)

    def exchanged(parts: list[ShardResult]) -> list[ShardResult]:
        tensors = from_bytes(parts[1].tensors)
        rows = pa.array(np.asarray(tensors["_origin_row"]) + 1)
        wrong = tensors.set_column(tensors.schema.get_field_index("_origin_row"), tensors.schema.field(-1), rows)
        return [parts[0], parts[1]._replace(tensors=to_bytes(wrong))]

    with pytest.raises(LostPartError, match="shard 1 gave its partial result for other rows"):
        through(steps, given, exchanged)


def test_rows_that_fail_on_a_shard_fail_alone(tmp_path: Path):
    ids = np.arange(22).reshape(11, 2) % 10
    given = block(ids, "i")
    steps, whole = divided(table(10, 3), tmp_path, given)
    ids[2, 1], ids[6, 0] = 50, -30
    given = block(ids, "i")
    blocks, failed = through(steps, given)
    assert [row for row, _ in failed] == [12, 16]
    assert all(reason.startswith("the model failed: ") for _, reason in failed)
    equal(blocks, whole(given).block)


def kept_together() -> onnx.ModelProto:
    """i -> rows of a table, and a tensor that says the shape of all rows: those cannot be told apart."""
    nodes = [
        helper.make_node("Gather", ["t", "i"], ["g"]),
        helper.make_node("Shape", ["i"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Unsqueeze", ["zeros", "last"], ["column"]),
        helper.make_node("Add", ["g", "column"], ["y"]),
    ]
    weights = {"t": RNG.standard_normal((10, 3)).astype(np.float32), "last": np.array([-1])}
    outputs = [("y", TensorProto.FLOAT, ["n", "t", 3])]
    return onnx_models.build(nodes, [("i", TensorProto.INT64, ["n", "t"])], outputs, weights)


def test_rows_that_a_tensor_keeps_together_fail_together(tmp_path: Path):
    ids = np.arange(22).reshape(11, 2) % 10
    steps, _ = divided(kept_together(), tmp_path, block(ids, "i"))
    ids[2, 1] = 50
    blocks, failed = through(steps, block(ids, "i"))
    kept = {row for one in blocks for row in one["_origin_row"].to_pylist()}
    assert {row for row, _ in failed} | kept == {*range(10, 21)} and 12 not in kept
    assert 12 in {row for row, _ in failed}


def test_the_id_of_a_block_is_that_of_its_rows():
    one = with_origin(pa.record_batch({"x": [1, 2, 3]}), "a.parquet", 10)
    same = with_origin(pa.record_batch({"x": [7, 8, 9, 0]}), "a.parquet", 9).slice(1)
    assert block_id(one) == block_id(same)
    others = [
        with_origin(pa.record_batch({"x": [1, 2, 3]}), "b.parquet", 10),
        with_origin(pa.record_batch({"x": [1, 2, 3]}), "a.parquet", 11),
        one.slice(0, 2),
    ]
    assert len({block_id(one), *map(block_id, others)}) == 4


class ForgetfulJoin(ShardJoin):
    """Sees shard 0's part twice and never that of shard 1."""

    def join(self, parts: Iterable[ShardResult]) -> object:
        return super().join([part for part in parts if part.shard == 0] * 2)


def keep(made: pa.RecordBatch, out: str) -> None:
    for row in made["_origin_row"].to_pylist():
        Path(out, str(row)).touch()


def test_each_shard_has_a_process_that_holds_only_its_weights(tmp_path: Path):
    given = block(RNG.standard_normal((11, 6)).astype(np.float32))
    model = onnx_models.mlp(6, 3072, 3, layers=4)
    steps, _ = divided(model, tmp_path, given)
    out = tmp_path / "out"
    out.mkdir()
    pipeline = beam.Pipeline(direct_runner(1, "process", distributed=True), PipelineOptions(direct_flags(1)))
    watched = changed(steps, WatchedStep, whole=WatchedWhole)
    made, _ = pipeline | beam.Create([given]).with_output_types(pa.RecordBatch) | RunSteps(watched)
    made | beam.Map(keep, str(out))
    result = pipeline.run()
    result.wait_until_finish()
    check_distributed(told_by(result), 2, sum(tensor.ByteSize() for tensor in model.graph.initializer))
    assert sorted(int(path.name) for path in out.iterdir()) == list(range(10, 21))


def test_a_lost_part_fails_the_job(tmp_path: Path):
    steps, _, given = wide(tmp_path)
    with pytest.raises(Exception, match="partial results, that of shard 1 is lost"):  # noqa: SIM117
        with beam.Pipeline(direct_runner(1, "thread"), PipelineOptions(direct_flags(1))) as pipeline:
            blocks = pipeline | beam.Create([given]).with_output_types(pa.RecordBatch)
            blocks | RunSteps(changed(steps, join=ForgetfulJoin))


def test_errors_name_step_and_shard(tmp_path: Path):
    ids = np.arange(22).reshape(11, 2) % 10
    steps, _ = divided(table(10, 3), tmp_path, block(ids, "i"))
    ids[2, 1] = 50
    out = tmp_path / "errors"
    with beam.Pipeline(direct_runner(1, "thread"), PipelineOptions(direct_flags(1))) as pipeline:
        blocks = pipeline | beam.Create([block(ids, "i")]).with_output_types(pa.RecordBatch)
        _, failed = blocks | RunSteps(steps)
        failed | beam.Map(write_error, str(out))
    assert out.read_text() == "a.parquet 12 infer: step 0, shard 0"


def write_error(error: RowError, path: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{error.file} {error.row} {error.stage}")
