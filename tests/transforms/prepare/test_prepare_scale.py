from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import to_numpy
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.prepare import parse_prepare


def run(spec: str, **columns: object) -> tuple[pa.RecordBatch, list]:
    step = pickle.loads(pickle.dumps(parse_prepare(spec)))  # noqa: S301
    block = with_origin(pa.record_batch(columns), "f", 0)
    result = step(block)
    assert result.block.schema == step.output_schema(block.schema)
    result.block.validate(full=True)
    return result.block, result.failures


def test_the_three_ways():
    assert run("scale:mean=2,std=4", x=[2, 10])[0].column("x").to_pylist() == [0.0, 2.0]
    assert run("scale:min=10,max=20", x=[10, 15])[0].column("x").to_pylist() == [0.0, 0.5]
    assert run("scale:factor=0.5", x=[1.0, 3.0])[0].column("x").to_pylist() == [0.5, 1.5]


def test_types_of_the_result():
    assert run("scale:factor=2", x=pa.array([1], pa.int8()))[0].column("x").type == pa.float32()
    assert run("scale:factor=2", x=[1.0])[0].column("x").type == pa.float64()
    assert run("scale:factor=2,dtype=float16", x=[1.0])[0].column("x").type == pa.float16()


def test_several_columns_in_place_and_nulls():
    block, failures = run("scale:column=a/b,mean=1/2,std=1/10", a=[1, 2, None], s=["x", "y", "z"], b=[2, 12, 2])
    assert block.to_pydict() == {
        "a": [0.0, 1.0],
        "s": ["x", "y"],
        "b": [0.0, 1.0],
        "_origin_file": ["f", "f"],
        "_origin_row": [0, 1],
    }
    assert failures == [(2, "null in column 'a'; --nulls a=VALUE would fill it")]


@pytest.mark.parametrize(
    ("kind", "high"), [("int32", 2**30 + 1), ("uint32", 2**31 + 1), ("int64", 2**40 + 1), ("int16", 2**14 + 1)]
)
def test_integers_lose_nothing_before_they_are_scaled(kind: str, high: int):
    assert run(f"scale:mean={high - 1}", x=pa.array([high, high - 1], kind))[0].column("x").to_pylist() == [1.0, 0.0]


def test_float32_is_scaled_in_float32():
    values = np.array([0.1, 0.7, 123.456], np.float32)
    made = run("scale:mean=0.3,std=0.7", x=values)[0].column("x")
    assert made.to_pylist() == ((values - np.float32(0.3)) * np.float32(1 / 0.7)).tolist()


def test_lists_go_along_the_last_axis():
    fixed = pa.array([[1.0, 10.0], [2.0, 20.0]], pa.list_(pa.float32(), 2))
    assert to_numpy(run("scale:factor=2/0.5", x=fixed)[0].column("x")).tolist() == [[2.0, 5.0], [4.0, 10.0]]
    ragged = pa.array([[1.0], None, [2.0, 3.0], []], pa.list_(pa.float32()))
    block, failures = run("scale:factor=2", x=ragged)
    assert block.column("x").to_pylist() == [[2.0], [4.0, 6.0], []]
    assert [failure.row for failure in failures] == [1]
    pairs = pa.array([[[1.0, 1.0]], [[2.0, 2.0], [3.0, 3.0]]], pa.list_(pa.list_(pa.float32(), 2)))
    made = run("scale:factor=2/3", x=pairs)[0].column("x").to_pylist()
    assert made == [[[2.0, 3.0]], [[4.0, 6.0], [6.0, 9.0]]]


def test_what_the_type_of_the_result_does_not_hold_fails_its_row():
    block, failures = run("scale:factor=10,dtype=float16", x=[1.0, 7e3, None, float("inf"), -6.5e3])
    assert block.column("x").to_pylist() == [10.0, float("inf"), -64992.0]
    assert failures == [
        (1, "column 'x' scaled is beyond what float16 holds; dtype=float32 holds more"),
        (2, "null in column 'x'; --nulls x=VALUE would fill it"),
    ]
    small, tall = pa.array([1.0, 1e30], pa.float32()), pa.array([1, 2], pa.int64())
    block, failures = run("scale:column=a/b,factor=1e20/1e300,dtype=float32", a=small, b=tall)
    assert block.num_rows == 0 and [failure.row for failure in failures] == [0, 1]
    lists = pa.array([[], [1.0, 1e300], [2.0], [3.0, 1.0]])
    block, failures = run("scale:factor=1e10", x=lists)
    assert [failure.row for failure in failures] == [1] and block.column("x").to_pylist() == [[], [2e10], [3e10, 1e10]]
    fixed = pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([[[1.0, 2.0]], [[9e4, 1.0]]]))
    block, failures = run("scale:factor=1,dtype=float16", x=fixed)
    assert [failure.row for failure in failures] == [1] and to_numpy(block.column("x")).tolist() == [[[1.0, 2.0]]]


def test_the_input_is_not_written_to():
    numbers = np.array([1.0, 2.0], dtype=np.float32)
    run("scale:factor=2", x=numbers)
    assert numbers.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("scale", "give one of mean and std, min and max, or factor"),
        ("scale:mean=1,factor=2", "give one of"),
        ("scale:min=1", "min and max go together"),
        ("scale:std=0", "nothing can be divided by it"),
        ("scale:min=1,max=1", "nothing can be divided by it"),
        ("scale:mean=1/2,std=1/2/3", "unlike lengths: 2, 3"),
        ("scale:mean=a", "mean=a is not a number, or several"),
    ],
)
def test_wrong_options(spec: str, message: str):
    with pytest.raises(UsageError, match=message):
        parse_prepare(spec)


def test_wrong_columns():
    schema = pa.schema([("a", pa.int64()), ("b", pa.float32()), ("s", pa.string())])
    with pytest.raises(UsageError, match=r"scale wants one column of numbers, and there are 2: a, b; type scale"):
        parse_prepare("scale:factor=2").output_schema(schema)
    with pytest.raises(UsageError, match=r"column 's', which is of type string"):
        parse_prepare("scale:factor=2,column=s").output_schema(schema)
    with pytest.raises(UsageError, match=r"3 numbers for 2 columns \(a, b\)"):
        parse_prepare("scale:factor=1/2/3,column=a/b").output_schema(schema)
    with pytest.raises(UsageError, match=r"2 numbers for column 'a', which holds one number a row"):
        parse_prepare("scale:factor=1/2,column=a").output_schema(schema)
