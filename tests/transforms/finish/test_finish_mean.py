from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import to_arrow, to_numpy
from beamsplit.transforms.block import COPY, Origin, origin_of, with_origin
from beamsplit.transforms.columns import tensor_field
from beamsplit.transforms.finish import MeanOfCopies, parse_finish, with_mean_of_copies
from beamsplit.transforms.prepare import parse_prepare


def block_of(scores: pa.Array, rows: list[int], copies: list[int], files: list[str] | None = None) -> pa.RecordBatch:
    block = with_origin(pa.record_batch({"name": [f"r{i}" for i in rows], "label": copies, "s": scores}), "f", 0)
    columns = dict(zip(block.schema.names, block.columns, strict=True))
    columns["_origin_row"] = pa.array(rows, pa.int64())
    if files is not None:
        columns["_origin_file"] = pa.array(files).dictionary_encode()
    return pa.RecordBatch.from_arrays(
        [*columns.values(), pa.array(copies, pa.int8())],
        schema=pa.schema([*block.schema, pa.field(COPY, pa.int8(), nullable=False)]),
    )


def mean(block: pa.RecordBatch, *columns: str) -> tuple[pa.RecordBatch, list]:
    step = pickle.loads(pickle.dumps(MeanOfCopies(columns)))  # noqa: S301
    result = step(block)
    assert result.block.schema == step.output_schema(block.schema)
    assert COPY not in result.block.schema.names
    return result.block, result.failures


def test_copies_present_are_averaged_and_the_rest_is_the_firsts():
    block = block_of(pa.array([1.0, 3.0, 5.0, 7.0, 9.0]), [4, 4, 5, 6, 6], [0, 1, 1, 0, 1])
    made, failures = mean(block, "label", "s")
    assert made.column("s").to_pylist() == [2.0, 5.0, 8.0]
    assert made.column("label").to_pylist() == [0, 1, 0]
    assert made.column("name").to_pylist() == ["r4", "r5", "r6"]
    assert [origin_of(made, row) for row in range(3)] == [Origin("f", 4), Origin("f", 5), Origin("f", 6)]
    assert failures == []


def test_equal_row_numbers_of_two_files_and_twice_the_same_row():
    block = block_of(pa.array([1.0, 3.0, 5.0, 7.0]), [4, 4, 4, 4], [0, 1, 2, 0], ["f", "f", "g", "g"])
    assert mean(block, "s")[0].column("s").to_pylist() == [2.0, 5.0, 7.0]


def test_tensors():
    scores = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    field = tensor_field("s", "float32", (2, 3))
    made, _ = mean(block_of(to_arrow(scores, field), [0, 0, 1, 1], [0, 1, 0, 1]), "s")
    assert to_numpy(made.column("s")).tolist() == scores.reshape(2, 2, 2, 3).mean(axis=1).tolist()
    assert made.column("s").type == field.type


def test_lists_of_unlike_length_fail_with_all_copies():
    scores = pa.array([[1.0], [3.0], [1.0], [2.0, 3.0], [5.0, 6.0]])
    made, failures = mean(block_of(scores, [0, 0, 1, 1, 2], [0, 1, 0, 1, 0]), "s")
    assert made.column("s").to_pylist() == [[2.0], [5.0, 6.0]]
    assert failures == [(row, "its augmented copies have outputs 's' of unlike shapes") for row in (2, 3)]


def test_null_copies_are_left_out():
    made, failures = mean(block_of(pa.array([None, 3.0, None]), [0, 0, 1], [0, 1, 0]), "s")
    assert made.column("s").to_pylist() == [3.0]
    assert [failure.row for failure in failures] == [0, 2]


@pytest.mark.parametrize("kind", [pa.float32(), pa.list_(pa.float32()), pa.fixed_shape_tensor(pa.float32(), [2])])
def test_an_empty_block(kind: pa.DataType):
    block = block_of(pa.array([], kind) if not isinstance(kind, pa.BaseExtensionType) else _no_tensors(kind), [], [])
    assert mean(block, "s")[0].num_rows == 0


def _no_tensors(kind: pa.FixedShapeTensorType) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, pa.array([], kind.storage_type))


def test_blocks_without_copies_stay():
    block = with_origin(pa.record_batch({"s": [1.0]}), "f", 0)
    assert MeanOfCopies(("s",))(block).block is block
    assert MeanOfCopies(("s",)).output_schema(block.schema) == block.schema


def test_it_undoes_augment():
    images = np.arange(2 * 3 * 6 * 6, dtype=np.float32).reshape(2, 3, 6, 6)
    field = tensor_field("image", "float32", (3, 6, 6))
    batch = pa.RecordBatch.from_arrays([to_arrow(images, field)], schema=pa.schema([field]))
    copies = parse_prepare("augment:flip")(with_origin(batch, "f", 3)).block
    made, _ = mean(copies, "image")
    assert np.array_equal(to_numpy(made.column("image")), (images + images[..., ::-1]) / 2)
    assert made.column("_origin_row").to_pylist() == [3, 4]


def test_probabilities_are_averaged_not_scores():
    steps = [parse_finish(spec) for spec in ("softmax", "argmax", "softmax")]
    kinds = [type(step).__name__ for step in with_mean_of_copies(steps, ["s"])]
    assert kinds == ["Softmax", "MeanOfCopies", "ArgMax", "Softmax"]
    assert with_mean_of_copies([], ["s"]) == [MeanOfCopies(("s",))]


def test_a_column_that_is_gone():
    block = block_of(pa.array([1.0]), [0], [0])
    with pytest.raises(UsageError, match=r"wants column 'x', which is missing: the columns are name: string"):
        MeanOfCopies(("x",)).output_schema(block.schema)
