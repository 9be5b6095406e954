"""What stands for nulls: what may be typed, what the model is fed, what the steps before it are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.binding.nulls import Given, Nulls
from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.name_lists import read_nulls, split_names
from beamsplit.transforms.block import with_origin_schema
from beamsplit.transforms.columns import drop_rows, replace_columns, replace_fields
from beamsplit.transforms.fill_nulls import check_nulls, fill_nulls, filled
from beamsplit.transforms.prepare import parse_prepare
from beamsplit.transforms.spec import SpecStep
from beamsplit.transforms.step import RowFailure, StepResult
from tests.models.binding.binding_cases import batch, bound, lists

NAN = Nulls(Given("nan"))


def nulls(*values):
    return read_nulls(list(values))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("id", ("id",)),
        ("id,name", ("id", "name")),
        ('id,"last, first"', ("id", "last, first")),
        ('"a ""b"", c",d', ('a "b", c', "d")),
        ('a"b,c', ('a"b', "c")),
        ("a,,b", ("a", "", "b")),
        ("", ("",)),
    ],
)
def test_names_with_commas_are_quoted(text, names):
    assert split_names("--keep", text) == names


@pytest.mark.parametrize("text", ['"a', '"a,b', '"a"b', 'x,"a"b,c'])
def test_a_quote_that_is_not_closed_is_refused(text):
    with pytest.raises(UsageError, match=r"--keep .* quote"):
        split_names("--keep", text)


def test_the_option_is_taken_apart():
    given = nulls("nan", 'age=0,city="",""=1', '"a=b"="x,y"', "error=error", "t=a:b")
    assert given.default == Given("nan")
    assert given.columns == {
        "age": Given("0"),
        "city": Given("", True),
        "": Given("1"),
        "a=b": Given("x,y", True),
        "error": Given("error"),
        "t": Given("a:b"),
    }
    assert nulls("city=").columns == {"city": Given("")}
    assert nulls() == Nulls()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["nan", "0"], "two values"),
        (["a=1", "a=2"], "'a' twice"),
        ([""], "empty text"),
        (['a="x'], "quote"),
    ],
)
def test_what_cannot_be_meant_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        nulls(*values)


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("float32", "0.5", 0.5),
        ("float64", "-1e3", -1000.0),
        ("float16", "-inf", float("-inf")),
        ("int64", "-7", -7),
        ("uint8", "255", 255),
        ("bool", "true", True),
        ("bool", "0", False),
        ("string", "none", "none"),
        ("string", "", ""),
    ],
)
def test_a_value_is_read_as_the_type_of_the_input(dtype, text, value):
    assert Nulls(columns={"c": Given(text)}).fill("c", dtype, "it") == value


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("int64", "nan"),
        ("string", "nan"),
        ("bool", "nan"),
        ("int8", "128"),
        ("uint8", "-1"),
        ("int32", "0.5"),
        ("float16", "70000"),
        ("float64", "1e999"),
        ("float32", "x"),
        ("float32", ""),
        ("float32", "1_0"),
        ("bool", "2"),
    ],
)
def test_a_value_of_another_type_is_refused_with_both_sides(dtype, text):
    with pytest.raises(UsageError, match=rf"--nulls c={text}.*'c' fills input 'x'.*{dtype}.*c=error"):
        Nulls(columns={"c": Given(text)}).fill("c", dtype, "input 'x'")


def test_the_text_nan_is_quoted():
    assert nulls('c="nan"').fill("c", "string", "it") == "nan"
    assert nulls('"error"').fill("c", "string", "it") == "error"
    assert nulls("error", "c=1").fill("d", "int8", "it") is None


def test_columns_side_by_side_are_filled():
    rows = batch(a=pa.array([1, None, 3], pa.int64()), b=pa.array([None, 2.0, None]), c=pa.array([1.0, 2.0, 3.0]))
    binding = bound([("x", "float64", ("n", 3))], rows.schema, nulls=nulls("nan", "b=-1"))
    opened = binding.open(rows)
    assert opened.bad_rows() == []
    np.testing.assert_array_equal(opened.feeds(0, 3)["x"], [[1, -1, 1], [np.nan, 2, 2], [3, -1, 3]])
    np.testing.assert_array_equal(opened.take(np.array([2, 1]))["x"], [[3, -1, 3], [np.nan, 2, 2]])
    assert "nulls are nan, -1.0" in str(binding.inputs[0])


def test_what_lies_under_a_filled_null_is_not_looked_at():
    hidden = pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\5"), pa.py_buffer(np.array([1, 900, 3]))])
    assert hidden.to_pylist() == [1, None, 3]
    opened = bound([("x", "int8", ("n",))], batch(x=hidden).schema, narrow=True, nulls=nulls("7")).open(batch(x=hidden))
    assert (opened.bad_rows(), lists(opened.feeds(0, 3))) == ([], {"x": [1, 7, 3]})


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32(), 2),
        pa.list_(pa.float32()),
        pa.large_list(pa.float32()),
        pa.list_view(pa.float32()),
        pa.large_list_view(pa.float32()),
    ],
)
def test_nulls_inside_lists_are_filled_and_a_null_list_is_bad(kind):
    rows = batch(x=pa.array([[9.0, 9.0], [1.0, None], None, [None, 4.0]], kind))[1:]
    opened = bound([("x", "float32", ("n", 2))], rows.schema, nulls=nulls("5")).open(rows)
    assert opened.bad_rows() == [(1, "null in column 'x'")]
    assert lists(opened.take(np.array([0, 2]))) == {"x": [[1, 5], [5, 4]]}
    (bad,) = [why for row, why in bound([("x", "float32", ("n", 2))], rows.schema).open(rows).bad_rows() if row == 0]
    assert bad == "null inside a list in column 'x'; --nulls x=VALUE would fill it"


def test_nulls_inside_tensors_are_filled_in_their_places():
    kind = pa.fixed_shape_tensor(pa.float32(), (2, 3), permutation=[1, 0])
    storage = pa.array([[1, 2, 3, None, 5, 6]], pa.list_(pa.float32(), 6))
    rows = batch(x=pa.ExtensionArray.from_storage(kind, storage))
    opened = bound([("x", "float32", ("n", 3, 2))], rows.schema, nulls=NAN).open(rows)
    assert opened.bad_rows() == []
    np.testing.assert_array_equal(opened.feeds(0, 1)["x"], [[[1, np.nan], [2, 5], [3, 6]]])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "b"]),
        pa.array(["a", None, "b"], pa.large_string()),
        pa.array(["a", None, "b"], pa.string_view()),
        pa.array(["a", None, "b"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", None, "b"])),
    ],
)
def test_texts_are_filled(column):
    rows = batch(x=column)
    opened = bound([("x", "string", ("n",))], rows.schema, nulls=nulls("x=")).open(rows)
    assert (opened.bad_rows(), lists(opened.feeds(0, 3))) == ([], {"x": ["a", "", "b"]})


def test_a_column_of_nothing_but_nulls_is_filled():
    rows = batch(x=pa.nulls(2))
    opened = bound([("x", "int64", ("n",))], rows.schema, nulls=nulls("x=3")).open(rows)
    assert (opened.bad_rows(), lists(opened.feeds(0, 2))) == ([], {"x": [3, 3]})
    without = bound([("x", "int64", ("n",))], rows.schema).open(rows)
    assert [row for row, _ in without.bad_rows()] == [0, 1]


def test_columns_without_nulls_are_not_copied():
    rows = batch(x=pa.array([1.0, 2.0], pa.float32()))
    fed = bound([("x", "float32", ("n",))], rows.schema, nulls=NAN).open(rows).feeds(0, 2)["x"]
    assert np.shares_memory(fed, rows.column("x").to_numpy())
    column = pa.array([[1.0], None])
    assert filled(column, 1.0) is column


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        (pa.array([1, None], pa.int8()), 3, [1, 3]),
        (pa.array([[1, None], None, []], pa.list_(pa.int64())), 3, [[1, 3], None, []]),
        (pa.array([[0], [1, None]], pa.list_(pa.int64()))[1:], 3, [[1, 3]]),
        (pa.array([[None, 2.0], None], pa.list_(pa.float32(), 2)), 0.5, [[0.5, 2.0], None]),
        (pa.array(["a", None]).dictionary_encode(), "b", ["a", "b"]),
    ],
)
def test_arrow_columns_are_filled(column, value, wanted):
    made = filled(column, value)
    assert (made.type, made.to_pylist()) == (column.type, wanted)
    made.validate(full=True)


def test_steps_before_the_model_are_given_values():
    rows = batch(c=["red", None, "blue"], n=pa.array([None, 2.0, 4.0]))
    steps = [parse_prepare("onehot:column=c,values=red/blue"), parse_prepare("scale:column=n,factor=0.5")]
    steps = fill_nulls(steps, rows.schema, nulls("c=blue", "n=8"))
    check_nulls(nulls("c=blue", "n=8"), steps, ["c", "n"], rows.schema)
    for step in steps:
        result = step(rows)
        assert result.failures == []
        rows = result.block
    assert rows.column("n").to_pylist() == [4.0, 1.0, 2.0]
    assert rows.column("c").to_numpy_ndarray().tolist() == [[1, 0], [0, 1], [0, 1]]


def test_a_column_that_a_step_keeps_comes_out_as_it_was():
    step = Kept("c", keep=True)
    rows = batch(c=["a", None, "bad"], id=[0, 1, 2])
    (step,) = fill_nulls([step], rows.schema, nulls("c=x"))
    result = step(rows)
    assert result.block.to_pydict() == {"c": ["a", None], "n": ["a!", "x!"], "id": [0, 1]}
    assert result.failures == [RowFailure(2, "bad")]


@dataclass(frozen=True)
class Kept(SpecStep):
    """Makes n of c, of all but the word bad."""

    NAME = "kept"
    column: str
    keep: bool

    def output_schema(self, schema):
        return replace_fields("kept", schema, "c", [pa.field("n", pa.string())], self.keep)

    def __call__(self, block):
        bad = [row for row, text in enumerate(block.column("c").to_pylist()) if text == "bad"]
        rows = drop_rows(block, bad)
        made = pa.array([text + "!" for text in rows.column("c").to_pylist()])
        made = replace_columns("kept", rows, "c", [pa.field("n", pa.string())], [made], self.keep)
        return StepResult(made, [RowFailure(row, "bad") for row in bad])


def test_a_value_for_a_step_must_be_of_its_type():
    schema = pa.schema({"c": pa.string(), "bytes": pa.binary()})
    with pytest.raises(UsageError, match=r"--nulls nan: .*'c' fills the step onehot of type string.*c=error"):
        fill_nulls([parse_prepare("onehot:column=c,values=a/b")], schema, NAN)
    with pytest.raises(UsageError, match=r"'bytes' that bytes reads is binary.*bytes=error"):
        fill_nulls([parse_prepare("bytes:begin=4")], schema, nulls("0"))
    (step,) = fill_nulls([parse_prepare("bytes:begin=4")], schema, nulls("0", "bytes=error"))
    assert step == parse_prepare("bytes:begin=4")


def test_a_column_that_nothing_reads_is_refused():
    schema = with_origin_schema(pa.schema({"age": pa.float32(), "id": pa.int64()}))
    with pytest.raises(UsageError, match="'id' feeds no input"):
        check_nulls(nulls("id=0"), [], ["age"], schema)
    with pytest.raises(UsageError, match="'ag' is not in the data, did you mean 'age'"):
        check_nulls(nulls("ag=0"), [], ["age"], schema)
    check_nulls(nulls("id=error", "0"), [], ["age"], schema)
