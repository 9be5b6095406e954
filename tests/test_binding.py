from __future__ import annotations

import math
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.binding import bind, converts_safely
from models.errors import UsageError
from models.signature import Signature, TensorSpec
from models.tensors import output_field, ragged_to_arrow, to_arrow

NUMBERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NUMBERS += ["float16", "float32", "float64"]
FEW = settings(max_examples=50, deadline=None)


def signature(*inputs):
    """Inputs as (name, dtype, shape)."""
    return Signature(tuple(TensorSpec(*each) for each in inputs), ())


def bound(inputs, schema, axes=None, **options):
    axes = {name: 0 for name, _, _ in inputs} | (axes or {})
    return bind(signature(*inputs), axes, schema, **options)


def batch(**columns):
    return pa.RecordBatch.from_pydict(columns)


def lists(array):
    return {name: values.tolist() for name, values in array.items()}


X4 = ("x", "float32", ("batch", 4))
F4 = {f"f{i}": pa.float32() for i in range(4)}
IDS = ("ids", "int64", ("batch", "seq"))
MASK = ("mask", "int64", ("batch", "seq"))
TOKENS = pa.list_(pa.int64())


# Which columns fill an input


def test_numeric_columns_are_set_side_by_side_in_schema_order():
    schema = pa.schema({"name": pa.string(), **F4, "id": pa.int64()})
    binding = bound([X4], schema, ignore=["id"])
    assert binding.columns == ("f0", "f1", "f2", "f3")
    assert binding.describe() == ["x: float32[rows, 4] <- 4 columns f0, f1, f2, f3 (float32)"]
    assert binding.inputs[0].row_shape == (4,)
    block = batch(name=["a"], **{f"f{i}": pa.array([float(i)], pa.float32()) for i in range(4)}, id=[7])
    assert lists(binding.open(block).feeds(0, 1)) == {"x": [[0, 1, 2, 3]]}


def test_named_columns_keep_the_order_given_and_may_be_ignored_ones():
    binding = bound([X4], pa.schema(F4), columns={"x": ["f3", "f0", "f0", "f1"]}, ignore=["f3"])
    assert binding.columns == ("f3", "f0", "f1")
    block = batch(**{f"f{i}": pa.array([float(i)], pa.float32()) for i in range(4)})
    assert lists(binding.open(block).feeds(0, 1)) == {"x": [[3, 0, 0, 1]]}


def test_the_column_of_the_inputs_name_wins():
    binding = bound([X4], pa.schema({**F4, "x": pa.list_(pa.float32(), 4)}), ignore=["x"])
    assert binding.columns == ("x",)


def test_the_only_list_column_is_taken():
    schema = pa.schema({"id": pa.int64(), "pixels": pa.list_(pa.float32(), 4), "words": pa.list_(pa.string())})
    assert bound([X4], schema).columns == ("pixels",)
    assert bound([IDS], pa.schema({"id": pa.int64(), "tokens": TOKENS})).columns == ("tokens",)


def test_an_only_string_input_takes_the_string_column():
    binding = bound([("text", "string", ("n", 1))], pa.schema({"id": pa.int64(), "body": pa.string()}))
    block = batch(id=[1, 2], body=["a", None])
    assert lists(binding.open(block).feeds(0, 1)) == {"text": [["a"]]}
    assert binding.open(block).bad_rows() == [(1, "null in column 'body'")]


def test_a_scalar_column_fills_rows_and_rows_by_one():
    for shape, expected in ((("n",), [5, 6]), (("n", 1), [[5], [6]]), ((None, 1, 1), [[[5]], [[6]]])):
        binding = bound([("a", "int64", shape)], pa.schema({"a": pa.int32()}))
        assert lists(binding.open(batch(a=pa.array([5, 6], pa.int32()))).feeds(0, 2)) == {"a": expected}


def test_an_unknown_rank_takes_the_data_as_it_is():
    binding = bound([("x", "float32", None)], pa.schema(F4), columns={"x": list(F4)})
    assert binding.inputs[0].row_shape == (4,)


def test_a_binding_pickles():
    binding = bound([IDS, MASK], pa.schema({"ids": TOKENS}), sets={"mask": "ones"})
    again = pickle.loads(pickle.dumps(binding))  # noqa: S301
    assert again == binding
    assert lists(again.open(batch(ids=[[1, 2]])).feeds(0, 1)) == {"ids": [[1, 2]], "mask": [[1, 1]]}


def test_long_lists_of_columns_are_shortened():
    schema = pa.schema({f"f{i}": pa.float32() for i in range(32)})
    line = bound([("x", "float32", (None, 32))], schema).describe()[0]
    assert line == "x: float32[rows, 32] <- 32 columns f0, f1, f2, f3, …, f31 (float32)"


# What cannot be bound


@pytest.mark.parametrize(
    ("inputs", "schema", "options", "message"),
    [
        (
            [X4],
            {**F4, "id": pa.int64()},
            {},
            "the model's only input 'x: float32[batch, 4]' takes 4 numeric columns or one column of lists, the data "
            "has: 5 numeric columns (f0, f1, f2, f3, id); say which with --columns x=COLUMN1,COLUMN2,…, or leave "
            "columns out of the input with --keep",
        ),
        (
            [IDS, MASK],
            {"ids": TOKENS, "masks": TOKENS},
            {},
            "the model's input 'mask: int64[batch, seq]' has no column of that name (the data has: ids, masks; did you "
            "mean 'masks'?); say which with --columns mask=COLUMN or give a value with --set mask=zeros",
        ),
        (
            [X4],
            {name: pa.float64() for name in F4},
            {},
            "column 'f0' is float64, the model's input 'x: float32[batch, 4]' takes float32, which is narrower; add "
            "--narrow to convert it",
        ),
        ([X4], F4, {"columns": {"y": ["f0"]}}, "--columns y=…: the model has no input 'y', it has x"),
        ([X4], F4, {"sets": {"y": "1"}}, "--set y=…: the model has no input 'y', it has x"),
        ([X4], F4, {"columns": {"x": ["f0"]}, "sets": {"x": "1"}}, "in both --columns and --set; leave one out"),
        ([X4], F4, {"columns": {"x": ["f"]}}, "the data has no column 'f', it has f0, f1, f2, f3; did you mean"),
        ([X4], F4, {"columns": {"x": []}}, "--columns x= names no column for the model's input"),
        ([X4], F4, {"sets": {"x": "zeros"}}, "every input of the model is given with --set"),
        (
            [X4],
            F4,
            {"columns": {"x": ["f0", "f3"]}},
            "takes rows of shape [4], 2 columns (f0, f3) have rows of shape [2]; name 4 columns with --columns x=",
        ),
        (
            [X4],
            {"x": pa.list_(pa.float32(), 5)},
            {},
            "takes rows of shape [4], column 'x' has rows of shape [5]; name a column of that shape",
        ),
        (
            [("x", "float32", ("n", "h", "w"))],
            {"x": pa.list_(pa.float32())},
            {},
            "takes rows of shape [h, w], column 'x' has rows of shape [?]",
        ),
        ([X4], {"x": pa.timestamp("us")}, {}, "column 'x' is timestamp[us], which is no tensor, the model's input"),
        ([X4], {"x": pa.binary()}, {}, "convert it with --prepare (e.g. image:…, bytes:… or module:function)"),
        ([X4], {"x": pa.string()}, {"narrow": True}, "column 'x' is string, the model's input"),
        ([("s", "string", ("n",))], {"s": pa.int64()}, {"text_source": True}, "column 's' is int64, the model's input"),
        ([("x", "bfloat16", ("n",))], {"x": pa.float32()}, {}, "a tensor of type bfloat16 cannot be read"),
        (
            [X4],
            {"a": pa.list_(pa.float32()), **F4},
            {"columns": {"x": ["a", "f0"]}},
            "column 'a' holds float32[?], but only columns of single values can be put side by side",
        ),
        (
            [IDS, MASK],
            {"ids": pa.list_(pa.int64(), 3), "mask": pa.list_(pa.int64(), 4)},
            {},
            "share the dimension 'seq', but it is 3 in column 'ids' and 4 in column 'mask'",
        ),
    ],
)
def test_errors(inputs, schema, options, message):
    with pytest.raises(UsageError) as error:
        bound(inputs, pa.schema(schema), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_input_without_rows_needs_a_value():
    with pytest.raises(UsageError, match=r"'sr: int64\[\]' carries no rows.*--set sr=NUMBER"):
        bound([IDS, ("sr", "int64", ())], pa.schema({"ids": TOKENS, "sr": pa.int64()}), axes={"sr": None})


def test_two_columns_of_one_name():
    schema = pa.schema([pa.field("a", pa.int64()), pa.field("a", pa.int64())])
    with pytest.raises(UsageError, match=r"2 columns named 'a'.*rename all but one"):
        bound([("a", "int64", ("n",))], schema)


# Types


@pytest.mark.parametrize(
    ("source", "target", "safe"),
    [
        ("int32", "int64", True),
        ("int16", "float32", True),
        ("int32", "float64", True),
        ("int64", "float64", True),
        ("bool", "float32", True),
        ("uint8", "int16", True),
        ("float16", "float32", True),
        ("int32", "float32", False),
        ("int64", "float32", False),
        ("float64", "float32", False),
        ("int64", "int32", False),
        ("uint8", "int8", False),
        ("int8", "bool", False),
        ("float32", "int64", False),
        ("string", "string", True),
        ("string", "int64", False),
        ("int64", "string", False),
    ],
)
def test_what_is_widened_unasked(source, target, safe):
    assert converts_safely(source, target) is safe


@pytest.mark.parametrize("option", ["narrow", "text_source"])
def test_narrowing_when_asked_and_from_text(option):
    inputs = [("a", "int8", ("n",)), ("b", "float32", ("n",)), ("c", "bool", ("n",)), ("d", "int64", ("n",))]
    columns = {"a": [1, 127, -129, None], "b": [0.1, math.nan, 1.5, 2.5], "c": [0, 1, 0, 2]}
    block = batch(**columns, d=[1.0, -3.0, 4.0, 0.5])
    opened = bound(inputs, block.schema, **{option: True}).open(block)
    assert opened.bad_rows() == [(2, "value -129 in column 'a' does not fit int8"), (3, "null in column 'a'")]
    feeds = opened.feeds(0, 2)
    assert [feeds[name].dtype.name for name, _, _ in inputs] == [dtype for _, dtype, _ in inputs]
    assert feeds["b"][0] == np.float32(0.1) and np.isnan(feeds["b"][1])
    assert (feeds["a"].tolist(), feeds["c"].tolist(), feeds["d"].tolist()) == ([1, 127], [False, True], [1, -3])


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


# Values that are no columns


def test_constants_follow_the_rows_and_the_other_inputs():
    inputs = [IDS, MASK, ("h", "float32", (2, "batch", 3)), ("sr", "int64", ()), ("s", "string", (1,))]
    inputs += [("flag", "bool", ())]
    sets = {"mask": "ones", "h": "zeros", "sr": "16000", "s": "zeros", "flag": "true"}
    binding = bound(inputs, pa.schema({"ids": TOKENS}), axes={"h": 1, "sr": None, "s": None, "flag": None}, sets=sets)
    assert binding.columns == ("ids",)
    assert "h: float32[2, rows, 3] = zeros" in binding.describe()
    opened = binding.open(batch(ids=[[1, 2], [3, 4], [5]]))
    for feeds, rows, seq in ((opened.feeds(0, 2), 2, 2), (opened.feeds(2, 3), 1, 1), (opened.feeds(1, 2), 1, 2)):
        assert feeds["mask"].tolist() == [[1] * seq] * rows
        assert feeds["h"].shape == (2, rows, 3) and feeds["h"].dtype == np.float32 and not feeds["h"].any()
        assert feeds["sr"].shape == () and feeds["sr"] == 16000 and feeds["sr"].dtype == np.int64
        assert feeds["s"].tolist() == ["zeros"] and feeds["flag"].tolist() is True


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 3)])
def test_arrays_from_files_with_and_without_the_rows_axis(tmp_path, shape):
    values = np.arange(6, dtype=np.float32)
    np.save(tmp_path / "h.npy", values.reshape(shape))
    inputs = [IDS, ("h", "float32", (2, "batch", 3))]
    binding = bound(inputs, pa.schema({"ids": TOKENS}), axes={"h": 1}, sets={"h": str(tmp_path / "h.npy")})
    fed = binding.open(batch(ids=[[1], [2]])).feeds(0, 2)["h"]
    assert fed.tolist() == [[[0, 1, 2]] * 2, [[3, 4, 5]] * 2]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4), np.float32), r"shape is \[2, 1, 4\].*'h: float32\[2, batch, 3\]' with the rows on"),
        (np.zeros((2, 5, 3), np.float32), "where the file has 1 or no axis; save an array of that shape"),
        (np.zeros((2, 3)), "holds float64, the model's input .*; save it with that type, or add --narrow"),
        (np.zeros((2, 3), "U1"), "holds string, the model's input .* takes float32"),
        (np.array([{}]), "not a readable .npy file of plain values"),
        (None, "not a readable .npy file of plain values"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, message):
    path = tmp_path / "h.npy"
    if array is not None:
        np.save(path, array)
    with pytest.raises(UsageError, match=message):
        bound(
            [IDS, ("h", "float32", (2, "batch", 3))],
            pa.schema({"ids": TOKENS}),
            axes={"h": 1},
            sets={"h": str(path)},
        )


@pytest.mark.parametrize(
    ("dtype", "shape", "text", "message"),
    [
        ("int64", (), "1.5", "takes int64 values; give a number of that type"),
        ("uint8", (), "256", "takes uint8 values; give a number of that type"),
        ("float32", (), "many", "takes float32 values; give a number of that type"),
        ("bool", (), "2", "takes bool values"),
        ("float32", ("n", "hidden"), "zeros", r"the size of its dimension 1 \(hidden\); give an array"),
        ("float32", None, "ones", "does not say its shape; give an array with --set h=FILE.npy"),
    ],
)
def test_values_that_do_not_fit(dtype, shape, text, message):
    axes = {"h": 0 if shape else None}
    with pytest.raises(UsageError, match=message):
        bound([IDS, ("h", dtype, shape)], pa.schema({"ids": TOKENS}), sets={"h": text}, axes=axes)


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
