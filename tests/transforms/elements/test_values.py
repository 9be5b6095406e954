"""Columns of values and of arrays, and which values are none of a column's type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.transforms.elements.values import array_of_column, column_of_array, column_of_values

TENSOR = pa.fixed_shape_tensor(pa.float32(), [2])


@pytest.mark.parametrize(
    ("values", "kind", "expected", "wrong"),
    [
        ([1, "x", None, 2.5, 2.0], pa.int64(), [1, None, None, None, 2], {1: "'x' is no int64", 3: "2.5 is no int64"}),
        ([1, 2.0, None], pa.int8(), [1, 2, None], {}),
        ([[1, 2], [2.5], [3.0]], pa.list_(pa.int64()), [[1, 2], None, [3]], {1: "[2.5] is no list<item: int64>"}),
        ([2**53 + 1, 0.5], pa.int64(), [2**53 + 1, None], {1: "0.5 is no int64"}),
        ([2**64 - 1], pa.uint64(), [2**64 - 1], {}),
        (["1"], pa.int64(), [None], {0: "'1' is no int64"}),
        ([300, 1, -129], pa.int8(), [None, 1, None], {0: "300 is no int8", 2: "-129 is no int8"}),
        ([None, np.array([1, 2])], pa.list_(pa.int64()), [None, [1, 2]], {}),
        ([None, np.array([[1], [2]])], pa.list_(pa.list_(pa.int64())), [None, [[1], [2]]], {}),
        ([np.array([[1]]), [[2]]], pa.list_(pa.list_(pa.int64())), [[[1]], [[2]]], {}),
        ([np.array(3.5), 2], pa.float64(), [3.5, 2.0], {}),
        (["x" * 100], pa.int64(), [None], {0: "'" + "x" * 56 + "... is no int64"}),
        (["x" * 58], pa.int64(), [None], {0: "'" + "x" * 58 + "' is no int64"}),
        (["x" * 59], pa.int64(), [None], {0: "'" + "x" * 56 + "... is no int64"}),
        (
            [{"a": 1}, {"a": "b"}],
            pa.struct([("a", pa.int8())]),
            [{"a": 1}, None],
            {1: "{'a': 'b'} is no struct<a: int8>"},
        ),
        ([], pa.int8(), [], {}),
    ],
)
def test_columns_of_values(values: list[Any], kind: pa.DataType, expected: list[Any], wrong: dict[int, str]):
    column, found = column_of_values(values, kind)
    assert (column.type, column.to_pylist(), found) == (kind, expected, wrong)


def test_columns_of_tensors():
    values = [[1, 2], None, np.array([3.0, 4.0], np.float64), [5.0], "x", np.array([1j, 2]), np.array([[1, 2]])]
    column, wrong = column_of_values(values, TENSOR)
    assert column.type == TENSOR and sorted(wrong) == [3, 4, 5, 6]
    assert column.storage.to_pylist() == [[1.0, 2.0], None, [3.0, 4.0], None, None, None, None]
    column, wrong = column_of_values([[1, 2], [3, 4]], TENSOR)
    assert (column.storage.to_pylist(), column.null_count, wrong) == ([[1.0, 2.0], [3.0, 4.0]], 0, {})
    whole = pa.fixed_shape_tensor(pa.int8(), [1])
    column, wrong = column_of_values([[1], [1.5]], whole)
    assert column.storage.to_pylist() == [[1], None] and list(wrong) == [1]


def objects(*values: Any) -> np.ndarray[Any, Any]:
    made = np.empty(len(values), object)
    made[:] = values
    return made


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (np.array([1, 2], np.int8), pa.int8(), [1, 2]),
        (np.array([1, 2], ">i4"), pa.int32(), [1, 2]),
        (np.array([True, False]), pa.bool_(), [True, False]),
        (np.array(["a", "bc"]), pa.string(), ["a", "bc"]),
        (np.array([b"a", b"bc"]), pa.binary(), [b"a", b"bc"]),
        (np.array(["2020-01-01"], "M8[s]"), pa.timestamp("s"), None),
        (np.array([["a"], ["b"]]), pa.list_(pa.string()), [["a"], ["b"]]),
        (objects("a", None), pa.string(), ["a", None]),
        (objects(None, None), pa.null(), [None, None]),
        (objects(None, np.array([1, 2])), pa.list_(pa.int64()), [None, [1, 2]]),
        (objects(np.array([1]), np.array([2, 3])), pa.list_(pa.int64()), [[1], [2, 3]]),
        (objects(np.array([[1]]), None), pa.list_(pa.list_(pa.int64())), [[[1]], None]),
        (objects(np.array([1]), np.array([2.5])), pa.list_(pa.float64()), [[1.0], [2.5]]),
        (objects(np.array(["a"]), None), pa.list_(pa.string()), [["a"], None]),
        (objects(np.array([1]), [2]), pa.list_(pa.int64()), [[1], [2]]),
        (objects(np.array([1]), [2.5], None), pa.list_(pa.float64()), [[1.0], [2.5], None]),
    ],
)
def test_columns_of_arrays(values: np.ndarray[Any, Any], kind: pa.DataType, expected: list[Any] | None):
    column = column_of_array(values)
    assert column.type == kind
    assert expected is None or column.to_pylist() == expected


def test_rows_of_arrays_are_tensors_unless_they_vary():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert column_of_array(values).type == TENSOR
    assert column_of_array(values, varying=True).type == pa.list_(pa.float32())
    assert column_of_array(values[:, 0], varying=True).type == pa.float32()
    for varying in (False, True):
        assert np.array_equal(array_of_column(column_of_array(values, varying)), values)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1.5, 2]), [1.5, 2.0]),
        (pa.array([1, None]), [1, None]),
        (pa.array([[1, 2], [3]]), [[1, 2], [3]]),
        (pa.array([[1], None]), [[1], None]),
        (pa.array(["a", None]), ["a", None]),
        (pa.array([], pa.list_(pa.float32())), []),
    ],
)
def test_arrays_of_columns(column: pa.Array, expected: list[Any]):
    made = array_of_column(column)
    found = [one.tolist() if isinstance(one, np.ndarray) else one for one in made]
    assert [None if one != one else one for one in found] == expected
