from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.binding.binding import bind
from beamsplit.models.binding.data_facts import DataFacts
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.pipelines.job.columns import (
    as_the_model_wants,
    check_keep,
    check_names,
    check_outputs,
    mostly_numbers,
    needed_columns,
)
from beamsplit.transforms.prepare import parse_prepare

SIGNATURE = Signature((TensorSpec("x", "float32", ("rows", 2)),), (TensorSpec("y", "float32", ("rows",)),))


def test_without_steps_only_what_is_wanted_is_read():
    schema = pa.schema([("a", pa.float32()), ("b", pa.float32()), ("id", pa.int64())])
    assert needed_columns(schema, [], ["b", "id", "b"]) == ("b", "id")


def test_columns_that_the_steps_need_are_read_and_others_are_not():
    schema = pa.schema([("c", pa.string()), ("x", pa.float32()), ("id", pa.int64()), ("unused", pa.binary())])
    steps = [parse_prepare("onehot:column=c,values=a/b"), parse_prepare("scale:column=x,factor=2")]
    assert needed_columns(schema, steps, ["c", "id"]) == ("c", "x", "id")


def test_a_function_of_the_user_is_given_every_column():
    schema = pa.schema([("a", pa.float32()), ("b", pa.float32())])
    assert needed_columns(schema, [parse_prepare("tests.transforms.test_columns:same")], ["a"]) == ("a", "b")


def same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def test_text_is_read_as_floats_where_it_feeds_floats_only():
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("name", pa.string())])
    binding = bind(SIGNATURE, {"x": 0}, schema, DataFacts({"x": ["a", "b"]}, text_source=True))
    assert as_the_model_wants(schema, binding, ["b"]).types == [pa.float64(), pa.int64(), pa.string()]
    assert as_the_model_wants(schema, binding, ["b"], narrow=True).types == [pa.float32(), pa.int64(), pa.string()]


def test_text_is_read_as_whole_numbers_where_any_input_takes_them():
    signature = Signature((TensorSpec("x", "float32", ("n",)), TensorSpec("k", "int64", ("n",))), ())
    schema = pa.schema([("a", pa.int64())])
    binding = bind(signature, {"x": 0, "k": 0}, schema, DataFacts({"x": ["a"], "k": ["a"]}, text_source=True))
    assert as_the_model_wants(schema, binding, []) == schema


def test_columns_without_values_become_what_inputs_take():
    schema = pa.schema([("a", pa.null()), ("s", pa.null()), ("other", pa.null())])
    signature = Signature((TensorSpec("a", "int32", ("n",)), TensorSpec("s", "string", ("n",))), ())
    binding = bind(signature, {"a": 0, "s": 0}, schema)
    assert as_the_model_wants(schema, binding, []).types == [pa.int32(), pa.string(), pa.string()]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2", "x"], pa.int64()),
        (["1.5", "2", "oops"], pa.float64()),
        (["1", "a", "b"], pa.string()),
        (["red", "green"], pa.string()),
        ([None, None], pa.float64()),
        (["7", None, "n/a", "9"], pa.int64()),
    ],
)
def test_strings_of_which_most_are_numbers(cells, kind):
    sample = pa.record_batch({"c": pa.array(cells, pa.string())})
    assert mostly_numbers(sample.schema, sample).types == [kind]


def test_other_types_are_left_alone():
    sample = pa.record_batch({"n": np.arange(3), "b": pa.array([b"1"] * 3)})
    assert mostly_numbers(sample.schema, sample) == sample.schema


def test_messages_name_both_sides():
    schema = pa.schema([("id", pa.int64())])
    with pytest.raises(UsageError, match="--keep names key, and the data has the columns id"):
        check_keep(["key"], schema)
    with pytest.raises(UsageError, match="--keep and the model's outputs both name y"):
        check_outputs(["y"], ["y", "z"])
    with pytest.raises(UsageError, match="'_origin_row', a name that beamsplit needs"):
        check_names(pa.schema([("_origin_row", pa.int64())]))
