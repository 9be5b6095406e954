"""Which axis of a column holds the classes, and rows whose scores are none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type, to_numpy
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.finish import parse_finish
from tests.transforms.finish.scores import RAGGED, SCORES, block_of, run

STEPS = ("softmax", "argmax", "top_k:2", "threshold:0.5")


def plan(spec: str, block: pa.RecordBatch) -> pa.Schema:
    return parse_finish(spec).output_schema(block.schema)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3), (1, 1, 3), (1, 3, 1)])
@pytest.mark.parametrize("spec", STEPS)
def test_axes_of_size_one_are_dropped(spec: str, shape: tuple[int, ...]):
    flat, _ = run(spec, block_of(s=SCORES))
    made, failures = run(spec, block_of(s=SCORES.reshape(2, *shape)))
    assert failures == [] and made.schema == flat.schema
    for name in made.schema.names[:-2]:
        assert to_numpy(made.column(name)).tolist() == to_numpy(flat.column(name)).tolist()


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1)])
@pytest.mark.parametrize("spec", ["softmax", "argmax", "top_k:1"])
def test_one_value_a_row_is_no_choice(spec: str, shape: tuple[int, ...]):
    with pytest.raises(UsageError, match=r"column 's' holds 1 a row; type threshold:0.5,column=s"):
        plan(spec, block_of(s=np.zeros((2, *shape), np.float32)))


def test_one_value_a_row_is_no_candidate_beside_several():
    block = block_of(risk=np.zeros((2, 1), np.float32), s=SCORES)
    assert plan("argmax", block).names[:2] == ["risk", "s_argmax"]


def test_threshold_and_labels_of_one_value_a_row_are_flat(tmp_path):
    block, _ = run("threshold:0.5", block_of(s=np.array([[0.2], [0.7]], np.float32)))
    assert block.column("s_threshold").to_pylist() == [False, True]
    (tmp_path / "names").write_text("cat\ndog")
    block, _ = run(f"labels:{tmp_path / 'names'}", block_of(c=np.array([[1], [0]])))
    assert block.column("c").to_pylist() == ["dog", "cat"]


PIXELS = np.random.default_rng(0).standard_normal((4, 5, 3, 6)).astype(np.float32)


@pytest.mark.parametrize("spec", ["softmax", "argmax", "top_k:2", "expand"])
def test_several_axes_want_the_one_of_the_classes(spec: str):
    message = r"axis=1 \(5\), axis=2 \(3\), axis=3 \(6\) .*; type \w+:...,axis=1 or another"
    with pytest.raises(UsageError, match=message):
        plan(spec, block_of(s=PIXELS))


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -3])
def test_the_axis_is_that_of_the_models_output(axis: int):
    block, _ = run(f"argmax:axis={axis}", block_of(s=PIXELS))
    assert to_numpy(block.column("s_argmax")).tolist() == np.argmax(PIXELS, axis=axis).tolist()
    block, _ = run(f"softmax:axis={axis}", block_of(s=PIXELS))
    wide = np.exp(PIXELS.astype(np.float64))
    np.testing.assert_allclose(to_numpy(block.column("s")), wide / wide.sum(axis=axis, keepdims=True), rtol=1e-5)
    block, _ = run(f"top_k:1,axis={axis}", block_of(s=PIXELS))
    assert to_numpy(block.column("s_top_k"))[..., 0].tolist() == np.argmax(PIXELS, axis=axis).tolist()


@pytest.mark.parametrize("axis", [0, 4, -4, -5])
def test_an_axis_that_holds_no_classes(axis: int):
    with pytest.raises(UsageError, match=rf"axis={axis} of column 's' .* holds no classes; type axis=1 \(5\), axis=2"):
        plan(f"argmax:axis={axis}", block_of(s=PIXELS))


def test_the_classes_are_the_only_axis_of_a_known_size():
    tokens = pa.array([[[1.0, 3.0, 2.0]], [[4.0, 3.0, 2.0], [0.0, 1.0, 2.0]]], pa.list_(pa.list_(pa.float32(), 3)))
    block, failures = run("argmax", block_of(s=tokens))
    assert block.column("s_argmax").to_pylist() == [[1], [0, 2]] and failures == []
    block, _ = run("softmax", block_of(s=tokens))
    for row, scores in zip(block.column("s").to_pylist(), tokens.to_pylist(), strict=True):
        wide = np.exp(scores)
        np.testing.assert_allclose(row, wide / wide.sum(axis=-1, keepdims=True), rtol=1e-6)
    varying = pa.array([[[1.0, 3.0]]], pa.list_(pa.list_(pa.float32())))
    with pytest.raises(UsageError, match=r"axis=1 \(varies\), axis=2 \(varies\)"):
        plan("argmax", block_of(s=varying))
    assert run("argmax:axis=1", block_of(s=varying))[0].column("s_argmax").to_pylist() == [[0, 0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("spec", STEPS)
def test_a_row_with_a_score_that_is_no_number_fails_in_each_step(spec: str, dtype: type, value: float):
    scores = np.array([[0.5, 0.1, 2], [1, 0.3, value], [0.7, 3, 1]], dtype)
    block, failures = run(spec, block_of(s=scores))
    assert failures == [(1, f"{value} in column 's'")] and block.num_rows == 2
    good, _ = run(spec, block_of(s=scores[[0, 2]]))
    assert block.drop_columns(["_origin_row"]).equals(good.drop_columns(["_origin_row"]))


@pytest.mark.parametrize("spec", STEPS)
def test_no_numbers_in_rows_of_unlike_length(spec: str):
    rows = pa.array([[1.0, np.nan], None, [2.0, 2.0, 5.0], [np.inf]], pa.list_(pa.float32()))
    block, failures = run(spec, block_of(s=rows))
    assert failures == [(0, "nan in column 's'"), (1, "null in column 's'"), (3, "inf in column 's'")]
    assert block.num_rows == 1


@pytest.mark.parametrize("spec", STEPS)
def test_a_slice_of_a_column_knows_its_own_rows(spec: str):
    for values in (block_of(s=np.array([[np.nan, 1], [2, 3], [np.inf, 0]], np.float32)), block_of(s=RAGGED)):
        sliced = values.slice(1)
        whole, failures = run(spec, values)
        part = parse_finish(spec)(sliced)
        assert [failure.row + 1 for failure in part.failures] == [failure.row for failure in failures if failure.row]
        assert part.block.num_rows == sum(row > 0 for row in whole.column("_origin_row").to_pylist())


def test_softmax_of_probabilities_is_refused_on_the_sample():
    probabilities, _ = run("softmax", block_of(s=SCORES))
    step = parse_finish("softmax")
    with pytest.raises(UsageError, match="column 's' already sums to 1 in each of 2 sample rows: the model gives prob"):
        step.check_sample(probabilities)  # type: ignore[attr-defined]
    step.check_sample(block_of(s=SCORES))  # type: ignore[attr-defined]
    step.check_sample(block_of(s=SCORES[:0]))  # type: ignore[attr-defined]
    step.check_sample(block_of(s=np.array([[0.5, 0.5], [0.5, 0.6]], np.float32)))  # type: ignore[attr-defined]


def test_softmax_of_a_block_of_probabilities_fails_its_rows():
    scores = np.tile(np.array([[0.25, 0.75]], np.float32), (8, 1))
    scores[3] = np.nan
    block, failures = run("softmax", block_of(s=np.concatenate([scores, scores[:1]])))
    assert block.num_rows == 0 and [failure.row for failure in failures] == list(range(9))
    assert failures[0].reason == "column 's' already sums to 1, so it holds no scores for softmax"
    assert failures[3].reason == "nan in column 's'"
    # A few rows may be so by chance.
    assert run("softmax", block_of(s=scores[:2]))[1] == []


def test_steps_follow_one_another_over_pixels():
    steps = [parse_finish("softmax:axis=1"), parse_finish("top_k:2,axis=1")]
    schema = chain_schema(steps, block_of(s=PIXELS).schema)
    assert str(column_type(schema.field("s_top_k").type)) == "int64[3, 6, 2]"
