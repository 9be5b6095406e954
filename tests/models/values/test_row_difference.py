from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.values.row_difference import greatest_size, row_differences, rows_with_nan

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [
        ([1.0, 2.0], [1.0, 2.5], [0, 0.5]),
        ([NAN, NAN, 1.0, INF, INF], [NAN, 1.0, NAN, INF, -INF], [0, INF, INF, 0, INF]),
        ([[1.0, 2.0], [3.0]], [[1.5, 2.0], [2.0]], [0.5, 1]),
        ([[1.0], []], [[1.0], [1.0]], [0, INF]),
        ([[[1.0, 2.0]], [[1.0], [2.0]]], [[[1.0, 2.0]], [[1.0, 2.0]]], [0, INF]),
        ([[], [1.0]], [[], [2.0]], [0, 1]),
        (["a", "b"], ["a", "c"], [0, INF]),
        ([2**53, 1], [2**53 + 1, 1], [INF, 0]),
        ([True, False], [True, True], [0, INF]),
        ([], [], []),
    ],
)
def test_rows_apart(a: list, b: list, apart: list):
    one, other = (pa.array(values, None if values else pa.float32()) for values in (a, b))
    assert row_differences(one, other).tolist() == apart
    assert row_differences(one.slice(1), other.slice(1)).tolist() == apart[1:]


def test_tensors_and_halves():
    values = np.arange(12, dtype=np.float16).reshape(2, 2, 3)
    one = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    values = values.copy()
    values[1, 1, 2] = NAN
    other = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    assert row_differences(one, other).tolist() == [0, INF]
    assert rows_with_nan(other).tolist() == [False, True]
    assert greatest_size(other) == 10.0


def test_rows_with_nan():
    assert rows_with_nan(pa.array([[1.0, NAN], [], [2.0]])).tolist() == [True, False, False]
    assert rows_with_nan(pa.array(["nan"])).tolist() == [False]
