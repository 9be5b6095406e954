from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beamsplit.transforms.write import float_text
from beamsplit.transforms.write.json_text import json_text

pytest.importorskip("orjson")

EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-5,
    9.99e-6,
    1e-6,
    9.9e-7,
    1e9,
    9999999999.0,
    1e10,
    1.0000001e10,
    1e16,
    1e-45,
    5e-324,
    0.1,
]
ODD = [float("nan"), float("inf"), float("-inf"), None]
NUMBERS = st.one_of(st.sampled_from([*EDGES, *ODD]), st.floats(), st.integers(-(10**11), 10**11).map(float))


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(float_text, "LEAST", 1)


def of(numbers: list[float | None], kind: pa.DataType) -> pa.Array:
    with np.errstate(over="ignore"):
        made = [None if x is None else np.dtype(kind.to_pandas_dtype()).type(x) for x in numbers]
    return pa.array(made, kind)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
@given(st.lists(NUMBERS))
@example([*EDGES, *ODD])
@example([0.5, 10.0, 1.50, 100.05])
def test_numbers_are_written_as_arrow_writes_them(kind, numbers):
    column = of(numbers, kind)
    assert float_text.float_text(column).to_pylist() == column.cast(pa.string()).to_pylist()
    assert float_text.float_text(column.slice(1)).to_pylist() == column.slice(1).cast(pa.string()).to_pylist()


@pytest.mark.parametrize(("dtype", "bits"), [(np.float32, np.uint32), (np.float64, np.uint64)])
def test_many_numbers_of_any_size_are_written_as_arrow_writes_them(dtype, bits):
    rng = np.random.default_rng(7)
    drawn = rng.integers(0, np.iinfo(bits).max, 20_000, dtype=bits).view(dtype)
    sized = (rng.standard_normal(20_000) * 10.0 ** rng.uniform(-12, 12, 20_000)).astype(dtype)
    rounded = (rng.standard_normal(20_000) * 10.0 ** rng.integers(0, 8, 20_000)).round(2).astype(dtype)
    column = pa.array(np.concatenate([drawn, sized, rounded]))
    assert float_text.float_text(column).equals(column.cast(pa.string()))


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), max_size=5), st.integers(0, 2))
def test_lists_are_written_as_without_orjson(kind, rows, start):
    rows = [[0.5, 1.0, 100.0], *rows]
    column = pa.FixedSizeListArray.from_arrays(of([x for row in rows for x in row], kind), 3).slice(start)
    found = json_text(column)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(float_text, "_has_orjson", lambda: False)
        assert found.to_pylist() == json_text(column).to_pylist()


def test_tensors_and_lists_that_are_null_are_written_as_without_orjson(monkeypatch):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12, dtype=np.float32).reshape(2, 3, 2) / 4)
    nulls = pa.array([[1.5, 2.0], None, [None, 0.25]], pa.list_(pa.float32(), 2))
    none = pa.array([[], []], pa.list_(pa.float32(), 0))
    found = [json_text(column).to_pylist() for column in (tensors, nulls, none)]
    monkeypatch.setattr(float_text, "_has_orjson", lambda: False)
    assert found == [json_text(column).to_pylist() for column in (tensors, nulls, none)]
    assert found[1] == ["[1.5,2]", None, "[null,0.25]"]
