from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import (
    NULL_INSIDE,
    RAGGED,
    column_type,
    output_field,
    ragged_to_arrow,
    to_arrow,
    to_numpy,
    unpack,
)

NUMBERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NUMBERS += ["float16", "float32", "float64"]
FEW = settings(max_examples=50, deadline=None)


@st.composite
def tensors(draw, min_rows=0, max_dims=3):
    """Values [rows, *row_shape] of any type, possibly strided."""
    dtype = draw(st.sampled_from([*NUMBERS, "string"]))
    row_shape = draw(hnp.array_shapes(min_dims=0, max_dims=max_dims, max_side=4))
    shape = (draw(st.integers(min_rows, 12)), *row_shape)
    if dtype == "string":
        flat = draw(st.lists(st.text(max_size=3), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        return dtype, np.array(flat, dtype=object).reshape(shape)
    values = draw(hnp.arrays(dtype, shape))
    if draw(st.booleans()):
        values = np.asfortranarray(values)
    return dtype, values


def same(left, right):
    if left.dtype == object:
        return left.shape == right.shape and left.tolist() == right.tolist()
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


@given(tensors(), st.data())
@FEW
def test_round_trip_of_any_slice(tensor, data):
    dtype, values = tensor
    column = to_arrow(values, output_field("y", dtype, values.shape[1:]))
    assert len(column) == len(values)
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    assert same(to_numpy(column.slice(start, stop - start)), values[start:stop])


@given(tensors(max_dims=2), st.data())
@FEW
def test_nested_lists_hold_the_same_rows(tensor, data):
    dtype, values = tensor
    field = output_field("y", dtype, None, values.ndim - 1)
    column = to_arrow(values, field)
    assert column.type == field.type
    column.validate(full=True)
    assert repr(column.to_pylist()) == repr(values.tolist())  # as text, in which NaN equals itself
    start = data.draw(st.integers(0, len(values)))
    if start < len(values):
        assert same(to_numpy(column.slice(start)), values[start:])


@given(st.data(), st.sampled_from([*NUMBERS, "string"]), st.integers(1, 3))
@FEW
def test_ragged_rows_come_back(data, dtype, ndim):
    shapes = data.draw(st.lists(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=4), max_size=8))
    rows = [np.arange(int(np.prod(shape))).reshape(shape) for shape in shapes]
    rows = [row.astype(str).astype(object) if dtype == "string" else row.astype(dtype) for row in rows]
    column = ragged_to_arrow(rows, output_field("y", dtype, None, ndim))
    column.validate(full=True)
    assert column.to_pylist() == [row.tolist() for row in rows]
    start = data.draw(st.integers(0, len(rows)))
    unpacked = unpack(column.slice(start))
    assert unpacked.bad == []
    assert unpacked.shapes.tolist() == [list(row.shape) for row in rows[start:]]
    for i, row in enumerate(rows[start:]):
        flat = unpacked.values[unpacked.offsets[i] : unpacked.offsets[i + 1]]
        assert same(flat.reshape(row.shape), row)


def test_types_of_output_columns():
    assert output_field("y", "float32", ()).type == pa.float32()
    assert output_field("y", "float32", (5,)).type == pa.fixed_shape_tensor(pa.float32(), (5,))
    assert output_field("y", "string", (2, 3)).type == pa.list_(pa.list_(pa.string(), 3), 2)
    assert output_field("y", "int64", None, 2).type == pa.list_(pa.list_(pa.int64()))
    with pytest.raises(UsageError, match="bfloat16"):
        output_field("y", "bfloat16", ())


def test_an_empty_dimension_keeps_the_number_of_rows():
    values = np.empty((3, 0), np.float32)
    assert to_numpy(to_arrow(values, output_field("y", "float32", (0,)))).shape == (3, 0)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"row shape \[3\]"):
        to_arrow(np.zeros((2, 3)), output_field("y", "float64", (4,)))
    with pytest.raises(ValueError, match="2 dimensions"):
        ragged_to_arrow([np.zeros(3)], output_field("y", "float64", None, 2))


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("row_shape", [(), (6,), (2, 3)])
def test_nothing_is_copied_where_the_layout_allows(row_shape):
    values = np.arange(24 if not row_shape else 144, dtype=np.float32).reshape(24, *row_shape)
    column = to_arrow(values, output_field("y", "float32", row_shape))
    assert address(to_numpy(column)) == address(values)
    assert address(to_numpy(column.slice(7, 3))) == address(values[7:])


def test_permuted_tensors_are_read_in_their_logical_layout():
    physical = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(physical.reshape(-1)), 24)
    for permutation in ([0, 2, 1], [2, 0, 1], [1, 2, 0], [2, 1, 0]):
        data_type = pa.fixed_shape_tensor(pa.float32(), (2, 3, 4), permutation=permutation)
        column = pa.ExtensionArray.from_storage(data_type, storage)
        logical = physical.transpose(0, *[axis + 1 for axis in permutation])
        assert column_type(data_type).shape == logical.shape[1:]
        assert same(to_numpy(column), logical)
        assert same(to_numpy(column.slice(1)), logical[1:])
        assert to_arrow(logical, pa.field("y", data_type)).equals(column)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array(["a", "b", "a"], pa.large_string()),
        pa.array(["a", "b", "a"], pa.string_view()),
    ],
)
def test_strings_in_every_encoding(column):
    assert to_numpy(column).tolist() == ["a", "b", "a"]
    assert to_numpy(column.slice(1)).tolist() == ["b", "a"]


@pytest.mark.parametrize("kind", [pa.large_list, pa.list_view, pa.large_list_view, pa.list_])
def test_lists_in_every_encoding(kind):
    column = pa.array([[9], [1, 2], [3], [], [4, 5, 6]], kind(pa.int16())).slice(1)
    unpacked = unpack(column)
    assert unpacked.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert unpacked.shapes.tolist() == [[2], [1], [0], [3]]


@pytest.mark.parametrize(
    "data_type",
    [pa.timestamp("us"), pa.date32(), pa.binary(), pa.struct({"a": pa.int8()}), pa.null(), pa.decimal128(5, 2)],
)
def test_columns_that_are_no_tensors(data_type):
    assert column_type(data_type) is None
    with pytest.raises(UsageError, match="is no tensor"):
        to_numpy(pa.nulls(2, data_type))


def test_what_makes_a_row_bad():
    data_type = pa.list_(pa.list_(pa.int64()))
    rows = [[[1, 2], [3, 4]], None, [[1], [1, 2]], [], [[1, None]], [None, [1]], [[5]]]
    for start in range(len(rows)):
        unpacked = unpack(pa.array(rows, data_type).slice(start))
        found = {(int(row) + start, reason) for positions, reason in unpacked.bad for row in positions}
        expected = {
            (1, "null"),
            (2, "inner lists of unlike length"),
            (4, "null inside a list"),
            (5, "null inside a list"),
            (5, "inner lists of unlike length"),
        }
        assert found == {(row, reason) for row, reason in expected if row >= start}


def test_rows_that_are_not_one_array():
    with pytest.raises(ValueError, match="row 1: null"):
        to_numpy(pa.array([1, None]))
    with pytest.raises(ValueError, match="unlike shapes"):
        to_numpy(pa.array([[1], [1, 2]]))
    assert to_numpy(pa.array([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    assert to_numpy(pa.array([], pa.list_(pa.list_(pa.int8())))).shape == (0, 0, 0)


@pytest.mark.parametrize("outer", [2, 1])
def test_lists_of_any_length_inside_lists_of_one_length(outer: int):
    """As many inner lists a row by type, each row's of a length of its own."""
    rows = [[[1, 2], [3, 4]], [[5], [6]], [[], []], [[7, 8, 9], [10, 11, 12]]]
    rows = [row[:outer] for row in rows]
    column = pa.array([[[0]] * outer, *rows, [[0]] * outer], pa.list_(pa.list_(pa.int64()), outer)).slice(1, 4)
    found = unpack(column)
    assert found.values.tolist() == [i for row in rows for part in row for i in part]
    ends = np.cumsum([0] + [sum(map(len, row)) for row in rows])
    assert found.offsets is not None and found.offsets.tolist() == ends.tolist()
    assert found.shapes is not None and found.shapes.tolist() == [[outer, len(row[0])] for row in rows]
    assert found.bad == []


def test_what_is_wrong_inside_lists_of_one_length_is_told_of_its_row():
    rows = [[[1], [2]], [[3], [4, 5]], [[6], None], [[7, 8], [9, 10]], None, [[11, None], [12, 13]]]
    found = unpack(pa.array(rows, pa.list_(pa.list_(pa.int64()), 2)))
    told = {(int(row), why) for numbers, why in found.bad for row in numbers}
    assert {row for row, _ in told} == {1, 2, 4, 5}
    assert [next(why for row, why in told if row == at) for at in (1, 5)] == [RAGGED, NULL_INSIDE]
    assert found.offsets is not None and found.shapes is not None
    for row in (0, 3):
        begin, end = found.offsets[row : row + 2]
        assert found.values[begin:end].reshape(found.shapes[row]).tolist() == rows[row]


@pytest.mark.parametrize("kinds", ["vf", "fv", "fvf", "vfv", "ffv", "vff", "fvv", "vvf", "vv"])
def test_lists_of_one_and_of_any_length_inside_one_another(kinds: str):
    """`f`: two by type; `v`: as many as a row has. Each row comes out as the array that it is, slices too."""
    data_type = pa.int64()
    for kind in reversed(kinds):
        data_type = pa.list_(data_type, 2) if kind == "f" else pa.list_(data_type)
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(99, size=[2 if kind == "f" else int(rng.integers(1, 5)) for kind in kinds]) for _ in range(7)
    ]
    column = pa.array([array.tolist() for array in arrays], data_type)
    for begin, count in ((0, 7), (2, 4), (6, 1)):
        found = unpack(column.slice(begin, count))
        assert found.bad == [] and found.offsets is not None and found.shapes is not None
        assert found.offsets[0] == 0 and found.offsets[-1] == len(found.values)
        for row, array in enumerate(arrays[begin : begin + count]):
            values = found.values[found.offsets[row] : found.offsets[row + 1]]
            assert values.reshape(found.shapes[row]).tolist() == array.tolist()
