from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beamsplit.models.values.tensors import output_field, ragged_to_arrow, to_arrow
from tests.models.binding.binding_cases import F4, FEW, IDS, MASK, NUMBERS, TOKENS, X4, batch, bound, lists

# Values that do not fit


@pytest.mark.parametrize("option", ["narrow", "text_source"])
def test_narrowing_when_asked_and_from_text(option):
    inputs = [("a", "int8", ("n",)), ("b", "float32", ("n",)), ("c", "bool", ("n",)), ("d", "int64", ("n",))]
    columns = {"a": [1, 127, -129, None], "b": [0.1, math.nan, 1.5, 2.5], "c": [0, 1, 0, 2]}
    block = batch(**columns, d=[1.0, -3.0, 4.0, 0.5])
    opened = bound(inputs, block.schema, **{option: True}).open(block)
    assert opened.bad_rows() == [
        (2, "value -129 in column 'a' does not fit int8"),
        (3, "null in column 'a'; --nulls a=VALUE would fill it"),
    ]
    feeds = opened.feeds(0, 2)
    assert [feeds[name].dtype.name for name, _, _ in inputs] == [dtype for _, dtype, _ in inputs]
    assert feeds["b"][0] == np.float32(0.1) and np.isnan(feeds["b"][1])
    assert (feeds["a"].tolist(), feeds["c"].tolist(), feeds["d"].tolist()) == ([1, 127], [False, True], [1, -3])


@pytest.mark.parametrize(("dtype", "bits"), [("int8", 7), ("int64", 63), ("uint8", 8), ("uint64", 64)])
def test_the_edges_of_integer_types(dtype, bits):
    low = 0.0 if dtype.startswith("u") else -(2.0**bits)
    block = batch(a=[2.0**bits, low, np.nextafter(2.0**bits, 0) // 1, low - 1 - 2.0 ** (bits - 50), math.inf, math.nan])
    opened = bound([("a", dtype, ("n",))], block.schema, text_source=True).open(block)
    assert [row for row, _ in opened.bad_rows()] == [0, 3, 4, 5]
    assert opened.take(np.array([1]))["a"].tolist() == [int(low)]


@given(st.sampled_from(NUMBERS), st.sampled_from([d for d in NUMBERS if not d.startswith("float")]), st.data())
@FEW
def test_values_that_do_not_fit_are_bad_and_all_others_are_fed(source, target, data):
    values = data.draw(hnp.arrays(source, st.integers(1, 20)))
    opened = bound([("a", target, ("n",))], pa.schema({"a": values.dtype.name}), narrow=True).open(batch(a=values))
    low, high = (0, 1) if target == "bool" else (np.iinfo(target).min, np.iinfo(target).max)
    exact = [float(v) if source.startswith("float") else int(v) for v in values]
    bad = [i for i, v in enumerate(exact) if not (math.isfinite(v) and int(v) == v and low <= int(v) <= high)]
    assert [row for row, _ in opened.bad_rows()] == bad
    good = np.setdiff1d(np.arange(len(values)), bad)
    assert [int(v) for v in opened.take(good)["a"]] == [int(exact[i]) for i in good]


# Shapes


def test_flat_lists_are_folded_into_the_models_shape():
    binding = bound([("x", "float32", ("n", 2, 3))], pa.schema({"x": pa.list_(pa.float32())}))
    opened = binding.open(batch(x=pa.array([[*range(6)], [1.0], None, [*range(6, 12)]], pa.list_(pa.float32()))))
    assert opened.bad_rows() == [(1, "column 'x' holds a list of 1 where the model wants 6"), (2, "null in column 'x'")]
    assert opened.groups(np.array([0, 3])) is None
    assert lists(opened.take(np.array([3, 0]))) == {
        "x": [[[6, 7, 8], [9, 10, 11]], [[0, 1, 2], [3, 4, 5]]],
    }


def test_one_unknown_dimension_follows_from_the_length():
    binding = bound([("x", "float32", ("n", "time", 2))], pa.schema({"x": pa.list_(pa.float32())}))
    opened = binding.open(batch(x=pa.array([[1, 2, 3, 4], [1, 2, 3], [5, 6]], pa.list_(pa.float32()))))
    assert opened.bad_rows() == [(1, "column 'x' has shape [3] where the model wants [?, 2]")]
    assert [g.tolist() for g in opened.groups(np.array([0, 2]))] == [[0], [2]]
    assert lists(opened.feeds(0, 1)) == {"x": [[[1, 2], [3, 4]]]}


def test_images_of_unlike_width_and_a_missing_channel_axis():
    kind = pa.list_(pa.list_(pa.uint8()))
    rows = [[[1, 2], [3, 4]], [[1], [2]], [[5, 6], [7, 8]], [[1], [2, 3]], [[1, 2]]]
    binding = bound([("img", "float32", ("n", 1, 2, "w"))], pa.schema({"img": kind}))
    opened = binding.open(batch(img=pa.array(rows, kind)))
    assert opened.bad_rows() == [
        (3, "inner lists of unlike length in column 'img'"),
        (4, "column 'img' has shape [1, 2] where the model wants [1, 2, ?]"),
    ]
    assert [g.tolist() for g in opened.groups(np.array([0, 1, 2]))] == [[0, 2], [1]]
    assert lists(opened.take(np.array([0, 2]))) == {"img": [[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]]}


def test_rows_on_another_axis():
    inputs = [("x", "float32", ("time", "batch", 2))]
    values = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    block = pa.RecordBatch.from_arrays([to_arrow(values, output_field("x", "float32", (3, 2)))], ["x"])
    binding = bound(inputs, block.schema, axes={"x": 1})
    fed = binding.open(block).feeds(1, 3)["x"]
    assert fed.shape == (3, 2, 2) and fed.flags.c_contiguous
    assert np.array_equal(fed, np.moveaxis(values[1:3], 0, 1))
    assert binding.describe()[0].startswith("x: float32[3, rows, 2] <- column x (float32[3, 2])")


def test_rows_whose_inputs_disagree_on_a_shared_dimension():
    block = batch(ids=[[1, 2], [1, 2], [3]], mask=[[1, 1], [1], [1]])
    opened = bound([IDS, MASK], block.schema).open(block)
    assert opened.bad_rows() == [(1, "'seq' is 2 in the input 'ids' but 1 in 'mask'")]


# Feeding


def test_side_by_side_columns_share_one_buffer():
    block = batch(**{name: pa.array(np.arange(100, dtype=np.float32)) for name in F4})
    opened = bound([X4], block.schema).open(block)
    first = opened.feeds(0, 50)["x"]
    second = opened.feeds(50, 100)["x"]
    assert np.shares_memory(first, second)
    assert second.flags.c_contiguous and second[:, 3].tolist() == [*range(50, 100)]


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_one_column_is_fed_without_a_copy(shape):
    values = np.arange(12 * math.prod(shape), dtype=np.float32).reshape(12, *shape)
    block = pa.RecordBatch.from_arrays([to_arrow(values, output_field("x", "float32", shape))], ["x"])
    opened = bound([("x", "float32", ("n", *shape))], block.schema).open(block.slice(4))
    assert np.shares_memory(opened.feeds(2, 6)["x"], values[6:10])


@given(st.lists(st.sampled_from(NUMBERS), min_size=2, max_size=6), st.sampled_from(["float32", "float64"]), st.data())
@FEW
def test_columns_of_any_numeric_type_side_by_side(dtypes, target, data):
    rows = data.draw(st.integers(1, 20))
    table = {f"f{i}": data.draw(hnp.arrays(dtype, rows)) for i, dtype in enumerate(dtypes)}
    start = data.draw(st.integers(0, rows))
    block = batch(**table).slice(start)
    inputs = [("x", target, ("n", len(dtypes)))]
    opened = bound(inputs, block.schema, columns={"x": list(table)}, narrow=True).open(block)
    with np.errstate(over="ignore"):
        infinite = [np.isfinite(values[start:]) & np.isinf(values[start:].astype(target)) for values in table.values()]
    assert [row for row, _ in opened.bad_rows()] == np.flatnonzero(np.any(infinite, axis=0)).tolist()
    assert opened.groups() is None
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.stack([values.astype(target) for values in table.values()], axis=1)[start:]
    assert np.array_equal(opened.feeds(0, len(block))["x"], expected, equal_nan=True)
    picks = st.lists(st.integers(0, rows - start - 1), max_size=5) if start < rows else st.just([])
    some = np.array(data.draw(picks), dtype=int)
    assert np.array_equal(opened.take(some)["x"], expected[some], equal_nan=True)


def test_values_hidden_under_null_rows_are_never_fed():
    values = pa.array([1, 2, 900, 901, 902, 3, 4], pa.int64())
    hidden = pa.ListArray.from_arrays(pa.array([0, 2, 5, 7], pa.int32()), values, mask=pa.array([False, True, False]))
    opened = bound([("ids", "int8", ("n", "s"))], pa.schema({"ids": TOKENS}), narrow=True).open(batch(ids=hidden))
    assert opened.bad_rows() == [(1, "null in column 'ids'")]
    assert opened.groups(np.array([0, 2])) is None
    assert lists(opened.take(np.array([0, 2]))) == {"ids": [[1, 2], [3, 4]]}
    assert lists(opened.feeds(2, 3)) == {"ids": [[3, 4]]}


def test_dictionaries_are_decoded():
    column = pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 2]), pa.array(["a", "b", None]))
    opened = bound([("s", "string", ("n",))], pa.schema({"s": column.type})).open(batch(s=column))
    assert [row for row, _ in opened.bad_rows()] == [2, 3]
    assert opened.feeds(0, 2)["s"].tolist() == ["b", "a"]


def test_no_rows_at_all():
    inputs = [("x", "float32", ("n", 2)), IDS]
    schema = pa.schema({"a": pa.float32(), "b": pa.float32(), "ids": TOKENS})
    opened = bound(inputs, schema, columns={"x": ["a", "b"]}).open(pa.RecordBatch.from_pylist([], schema=schema))
    assert (opened.bad_rows(), opened.groups()) == ([], None)
    assert {name: array.shape for name, array in opened.feeds(0, 0).items()} == {"x": (0, 2), "ids": (0, 0)}


@given(st.data())
@FEW
def test_rows_come_back_whatever_their_types_and_shapes(data):
    rows = data.draw(st.integers(1, 12))
    inputs, fields, columns, expected = [], [], [], {}
    for position in range(data.draw(st.integers(1, 3))):
        name = f"in{position}"
        dtype = data.draw(st.sampled_from([*NUMBERS, "string"]))
        dims = data.draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
        varies = bool(dims) and data.draw(st.booleans())
        values = []
        for _ in range(rows):
            shape = data.draw(hnp.array_shapes(min_dims=len(dims), max_dims=len(dims), max_side=3)) if varies else dims
            numbers = np.array(data.draw(st.lists(st.integers(0, 1), min_size=math.prod(shape), max_size=9)))
            numbers = np.resize(numbers, shape)
            values.append(numbers.astype(str).astype(object) if dtype == "string" else numbers.astype(dtype))
        field = output_field(name, dtype, None if varies else dims, len(dims))
        column = ragged_to_arrow(values, field) if varies else to_arrow(np.stack(values), field)
        inputs.append((name, dtype, ("rows", *([None] * len(dims) if varies else dims))))
        fields.append(field)
        columns.append(column)
        expected[name] = values
    start = data.draw(st.integers(0, rows - 1))
    block = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields)).slice(start)
    opened = bound(inputs, block.schema).open(block)
    assert opened.bad_rows() == []
    groups = opened.groups()
    if groups is None:
        groups = [np.arange(len(block))]
        fed = opened.feeds(0, len(block))
        assert all(fed[name].tolist() == np.stack(expected[name][start:]).tolist() for name in fed)
    assert np.sort(np.concatenate(groups)).tolist() == [*range(len(block))]
    assert [g[0] for g in groups] == sorted(g[0] for g in groups)
    for group in groups:
        assert (np.diff(group) > 0).all()
        fed = opened.take(group)
        for (name, dtype, _), field in zip(inputs, fields, strict=True):
            values = [expected[name][start + i] for i in group]
            assert fed[name].dtype == (object if dtype == "string" else dtype)
            assert fed[name].flags.c_contiguous
            assert fed[name].tolist() == np.stack(values).tolist()
            assert to_arrow(fed[name], field).to_pylist() == block.column(name).take(group).to_pylist()


@given(st.data())
@FEW
def test_nulls_anywhere_are_reported_and_nothing_else(data):
    maybe = st.one_of(st.none(), st.integers(-5, 5))
    rows = data.draw(st.integers(0, 12))

    def column(values):
        return data.draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows))

    table = {
        "a": pa.array(column(st.integers(-5, 5)), pa.int16()),
        "flat": pa.array(column(st.lists(maybe, max_size=3)), TOKENS),
        "fixed": pa.array(column(st.lists(maybe, min_size=2, max_size=2)), pa.list_(pa.int64(), 2)),
        "deep": pa.array(column(st.lists(st.one_of(st.none(), st.tuples(maybe, maybe)), max_size=2)), pa.list_(TOKENS)),
        "word": pa.array(column(st.text(max_size=2)), pa.string()),
    }
    inputs = [
        ("a", "int64", ("n",)),
        ("flat", "int64", ("n", "s")),
        ("fixed", "int64", ("n", 2)),
        ("deep", "int64", ("n", None, None)),
        ("word", "string", ("n",)),
    ]
    start = data.draw(st.integers(0, rows))
    block = batch(**table).slice(start)
    opened = bound(inputs, block.schema).open(block)

    def holds_null(value):
        return value is None or (isinstance(value, list) and any(holds_null(item) for item in value))

    bad = [i for i, row in enumerate(block.to_pylist()) if any(holds_null(value) for value in row.values())]
    assert [row for row, _ in opened.bad_rows()] == bad
    good = np.setdiff1d(np.arange(len(block)), bad)
    for group in opened.groups(good) or [good]:
        fed = opened.take(group)
        for name, _, _ in inputs:
            assert fed[name].tolist() == block.column(name).take(group).to_pylist()
