from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from beamsplit.models.binding.binding import converts_unasked
from beamsplit.models.binding.bound_input import shorten
from beamsplit.models.errors import UsageError
from tests.models.binding.binding_cases import F4, IDS, MASK, TOKENS, X4, batch, bound, lists

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


def test_single_values_that_fill_an_input_by_their_place_are_told_apart_from_a_tensor():
    assert bound([X4], pa.schema({"id": pa.int64(), **F4}), ignore=["id"]).by_position == ("x",)
    assert bound([X4], pa.schema({"pixels": pa.list_(pa.float32(), 4)})).by_position == ()
    assert bound([X4], pa.schema(F4), columns={"x": list(F4)}).by_position == ()


def test_long_lists_of_names_are_shortened():
    names = [f"f{at}" for at in range(9)]
    assert shorten(names[:8]) == "f0, f1, f2, f3, f4, f5, f6, f7"
    assert shorten(names) == "f0, f1, f2, f3, …, f8"


def test_an_only_string_input_takes_the_string_column():
    binding = bound([("text", "string", ("n", 1))], pa.schema({"id": pa.int64(), "body": pa.string()}))
    block = batch(id=[1, 2], body=["a", None])
    assert lists(binding.open(block).feeds(0, 1)) == {"text": [["a"]]}
    assert binding.open(block).bad_rows() == [(1, "null in column 'body'; --nulls body=VALUE would fill it")]


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
        ("int32", "float32", True),
        ("int64", "float32", True),
        ("float64", "float32", False),
        ("float32", "float16", False),
        ("int64", "int32", True),
        ("uint8", "int8", True),
        ("int8", "bool", True),
        ("float32", "int64", True),
        ("string", "string", True),
        ("string", "int64", False),
        ("int64", "string", False),
    ],
)
def test_what_is_converted_unasked(source, target, safe):
    assert converts_unasked(source, target) is safe
