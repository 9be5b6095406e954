"""What a model declares of its inputs and outputs is a hint; what ONNX Runtime gives decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.pipelines.score import main
from tests.pipelines.job.declared import alone, as_arrays, floats, scored, tensors, written

RANKS = {"lower": "float[n] y", "higher": "float[n,64,1] y", "size": "float[n,5] y", "one": "float[1,64] y"}


def two_layers(path: Path, output: str) -> str:
    weights = {"w": floats(64, 64) / 8, "v": floats(64, 64, seed=1) / 8}
    return written(
        path, f"g (float[n,64] x) => ({output}) {{ a = MatMul(x, w) b = Relu(a) y = MatMul(b, v) }}", weights
    )


@pytest.mark.parametrize("declared", RANKS.values(), ids=RANKS)
def test_an_output_has_the_shape_that_it_comes_in(tmp_path: Path, declared: str) -> None:
    path, x = two_layers(tmp_path / "m.onnx", declared), floats(9, 64)
    made, found = scored(path, tensors(x=x))
    assert not found.failures and not made.plan.row_by_row
    np.testing.assert_allclose(as_arrays(found.columns[0]), [y[0] for y in alone(path, {"x": x})], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "ways", [["--shards", "2"], ["--stages", "2"], ["--strategy", "auto"]], ids=lambda ways: ways[0]
)
def test_parts_of_a_model_take_shapes_as_they_come(tmp_path: Path, ways: list[str]) -> None:
    path, x = two_layers(tmp_path / "m.onnx", RANKS["lower"]), floats(64, 64)
    pq.write_table(pa.Table.from_batches([tensors(x=x)]), tmp_path / "d.parquet")
    given = ["--model", path, "--input", str(tmp_path / "d.parquet"), "--output", str(tmp_path / "o.parquet")]
    assert main([*given, "--num_shards", "1", "--quiet", *ways]) == 0
    made = pq.read_table(tmp_path / "o.parquet")["y"].combine_chunks()
    expected = [y[0] for y in alone(path, {"x": x})]
    np.testing.assert_allclose(as_arrays(made), expected, rtol=1e-4, atol=1e-5)


def test_recorded_shapes_inside_a_graph_are_hints_too(tmp_path: Path) -> None:
    text = "g (float[n,4] x) => (float[n] y) <float[n,9,9] a> { a = Relu(x) y = Neg(a) }"
    graph = load_graph(ModelFile(written(tmp_path / "m.onnx", text))).graph
    assert [str(value.shape) for node in graph for value in node.outputs] == ["[n,4]", "[n,4]"]


def test_a_recorded_shape_stands_where_nothing_else_is_known(tmp_path: Path) -> None:
    text = "g (float[n,4] x, int64[k] s) => (float[n,2,2] y) { y = Reshape(x, s) }"
    graph = load_graph(ModelFile(written(tmp_path / "m.onnx", text))).graph
    assert str(graph.outputs[0].shape) == "[n,2,2]"


def test_a_guess_of_the_rows_that_ran_is_better_than_one_that_did_not(tmp_path: Path) -> None:
    text = """g (float[n,1,frames,8] x, float[n,4] e) => (float y) {
        c = Conv(x, k) a = ReduceMean<axes=[1,2,3], keepdims=0>(c)
        b = ReduceSum<keepdims=0>(e, ax) s = Add(a, b) y = Squeeze(s) }"""
    path = written(tmp_path / "m.onnx", text, {"ax": np.array([1]), "k": floats(2, 1, 3, 3)})
    x, e = floats(9, 1, 5, 8), floats(9, 4, seed=1)
    made, found = scored(path, tensors(x=x, e=e))
    assert not found.failures and made.plan.row_by_row
    np.testing.assert_allclose(as_arrays(found.columns[0]), alone(path, {"x": x, "e": e}), rtol=1e-5)


@pytest.mark.parametrize("end", ["parquet", "csv", "jsonl"])
def test_an_output_of_zero_columns_can_be_read_again(tmp_path: Path, end: str) -> None:
    text = "g (float[n,4] x) => (float[n,0] z, float[n,4] y) { z = Slice(x, a, a, b) y = Relu(x) }"
    path = written(tmp_path / "m.onnx", text, {"a": np.array([0]), "b": np.array([1])})
    pq.write_table(pa.Table.from_batches([tensors(x=floats(5, 4))]), tmp_path / "d.parquet")
    given = ["--model", path, "--input", str(tmp_path / "d.parquet"), "--output", str(tmp_path / f"o.{end}")]
    assert main([*given, "--num_shards", "1", "--quiet"]) == 0
    if end == "parquet":
        assert pq.read_table(tmp_path / "o.parquet")["z"].to_pylist() == [[]] * 5
    else:
        lines = (tmp_path / f"o.{end}").read_text().splitlines()
        assert sum("[]" in line for line in lines) == 5


@pytest.mark.parametrize("name", ["?", "", "size", "None"])
def test_dimensions_of_one_input_that_are_called_alike(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "m.onnx", "g (float[n,3,h,w] x) => (float[n,3,1,1] y) { y = GlobalAveragePool(x) }")
    model = onnx.load(path)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, path)
    x = floats(9, 3, 8, 12)
    made, found = scored(path, tensors(x=x))
    assert not found.failures and not made.plan.row_by_row
    np.testing.assert_allclose(as_arrays(found.columns[0]), x.mean((2, 3), keepdims=True), rtol=1e-4, atol=1e-6)
    lists = pa.record_batch([pa.array([floats(3, 4 + i, 5).tolist() for i in range(5)])], names=["x"])
    _, found = scored(path, lists, narrow=True)
    assert not found.failures


TWO = "g (float[n,size] a, float[n,size] b) => (float[n,size] y) { y = Concat<axis=1>(a, b) }"
SUM = "g (float[n,size] a, float[n,size] b) => (float[n,size] y) { y = Add(a, b) }"


def test_a_name_of_unlike_sizes_counts_for_nothing_where_the_model_takes_them(tmp_path: Path) -> None:
    path, a, b = written(tmp_path / "m.onnx", TWO), floats(9, 3), floats(9, 5, seed=1)
    _, found = scored(path, tensors(a=a, b=b))
    assert not found.failures
    np.testing.assert_array_equal(as_arrays(found.columns[0]), np.concatenate([a, b], 1))


def test_a_name_of_unlike_sizes_counts_where_the_model_fails_on_them(tmp_path: Path) -> None:
    path, a, b = written(tmp_path / "m.onnx", SUM), floats(9, 3), floats(9, 5, seed=1)
    with pytest.raises(UsageError, match="share the dimension 'size', but it is 3 in column 'a' and 5 in column 'b'"):
        scored(path, tensors(a=a, b=b))


def test_rows_that_run_tell_of_sizes_whatever_the_rows_beside_them_lack(tmp_path: Path) -> None:
    path, a, b = written(tmp_path / "m.onnx", TWO), floats(9, 3), floats(9, 5, seed=1)
    holes = pa.array([one.tolist() if at % 2 == 0 else None for at, one in enumerate(a)], pa.list_(pa.float32(), 3))
    _, found = scored(path, pa.record_batch([holes, pa.array(b.tolist(), pa.list_(pa.float32(), 5))], names=["a", "b"]))
    assert [row for row, _ in found.failures] == [1, 3, 5, 7]
    np.testing.assert_array_equal(as_arrays(found.columns[0]), np.concatenate([a, b], 1)[::2])


def test_rows_of_unlike_sizes_by_the_row(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", TWO)

    def block(more: list[int]) -> pa.RecordBatch:
        a = [floats(3 + i % 2).tolist() for i in range(9)]
        b = [floats(3 + i % 2 + more[i]).tolist() for i in range(9)]
        return pa.record_batch(
            [pa.array(a, pa.list_(pa.float32())), pa.array(b, pa.list_(pa.float32()))], names=["a", "b"]
        )

    assert not scored(path, block([2] * 9))[1].failures
    assert [row for row, _ in scored(path, block([0, 0, 0, 1, 0, 0, 0, 0, 0]))[1].failures] == [3]
