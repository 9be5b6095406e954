from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.models.values.decimals import decimals_as
from tests.models.binding.binding_cases import FEW, X4, bound

D = Decimal


@given(st.lists(st.none() | st.decimals(-(10**15), 10**15, places=4), max_size=20), st.integers(0, 3))
@FEW
def test_each_float64_is_the_nearest(values, start):
    column = pa.array([D("1.0000")] * start + values, pa.decimal128(20, 4)).slice(start)
    numbers, _ = decimals_as(column, "float64")
    assert numbers.tolist() == [0.0 if value is None else float(value) for value in values]


@pytest.mark.parametrize("kind", [pa.decimal128(38, 2), pa.decimal256(50, 2)])
@pytest.mark.parametrize(
    ("dtype", "values", "bad"),
    [
        ("float32", ["1.10", "123.45", "16777216.00", "1234567.89", "9999.99", None], [3]),
        ("float64", ["1234567890123.45", "0.10", "123456789012345678.91", None, "-0.01"], [2]),
        ("float16", ["1.50", "0.10", "70000.00", "2049.00"], [2, 3]),
        ("int64", ["2.00", "2.50", "9223372036854775807.00", None], [1, 2]),
        ("int8", ["127.00", "128.00", "-128.00"], [1]),
    ],
)
def test_a_decimal_that_does_not_come_back_is_told(kind, dtype, values, bad):
    column = pa.array([None if value is None else D(value) for value in values], kind)
    numbers, wrong = decimals_as(column, dtype)
    assert wrong.tolist() == bad
    assert numbers.dtype == dtype
    good = [at for at, value in enumerate(values) if value is not None and at not in bad]
    assert numbers[good].tolist() == [np.dtype(dtype).type(float(values[at])).item() for at in good]


def test_decimals_fill_inputs_and_narrow_rounds_them():
    schema = pa.schema({f"f{i}": pa.decimal128(12, 2) for i in range(4)})
    rows = [[D("1.25"), D("0.10"), D("2.00"), D("3.00")], [D("1234567.89")] * 4, [None] * 4]
    block = pa.RecordBatch.from_arrays(
        [pa.array([row[i] for row in rows], pa.decimal128(12, 2)) for i in range(4)], schema=schema
    )
    opened = bound([X4], schema).open(block)
    assert [row for row, _ in opened.bad_rows()] == [1, 2]
    assert "a decimal that float32 does not hold; --narrow rounds it, in column 'f0'" in opened.bad_rows()[0][1]
    assert opened.feeds(0, 1)["x"].tolist() == [[1.25, np.float32(0.1), 2.0, 3.0]]
    rounded = bound([X4], schema, narrow=True).open(block)
    assert [row for row, _ in rounded.bad_rows()] == [2]
    assert rounded.feeds(1, 2)["x"].tolist() == [[np.float32(1234567.89)] * 4]
