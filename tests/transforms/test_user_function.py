from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin
from beamsplit.transforms.finish import parse_finish
from beamsplit.transforms.prepare import parse_prepare
from beamsplit.transforms.user_function import _zeros

HERE = "tests.transforms.test_user_function"


def double(block: pa.RecordBatch) -> pa.RecordBatch:
    assert not INTERNAL_COLUMNS & set(block.schema.names)
    return pa.record_batch({"y": pa.array(block.column("x").to_numpy() * 2)})


def first_letters(block: pa.RecordBatch) -> pa.RecordBatch:
    if block.num_rows == 0:
        raise IndexError("needs a row")
    return pa.record_batch({"n": pa.array([len(s) for s in block.column("s").to_pylist()], pa.int64())})


def drops_rows(block: pa.RecordBatch) -> pa.RecordBatch:
    return block.slice(0, max(block.num_rows - 1, 0))


def raises(block: pa.RecordBatch) -> pa.RecordBatch:
    raise KeyError("x")


def no_batch(block: pa.RecordBatch) -> list:
    return []


def takes_a_name(block: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"_copy": block.column(0)})


def changes_columns(block: pa.RecordBatch) -> pa.RecordBatch:
    return block if block.num_rows == 0 else block.rename_columns(["z"])


NUMBERS = with_origin(pa.record_batch({"x": np.array([1.0, 2.0])}), "f", 5)


@pytest.mark.parametrize("parse", [parse_prepare, parse_finish])
def test_origin_columns_ride_along(parse):
    step = pickle.loads(pickle.dumps(parse(f"{HERE}:double")))  # noqa: S301
    result = step(NUMBERS)
    assert result.block.to_pydict() == {"y": [2.0, 4.0], "_origin_file": ["f", "f"], "_origin_row": [5, 6]}
    assert result.block.schema == step.output_schema(NUMBERS.schema)
    assert result.failures == []


def test_the_schema_is_tried_with_a_row_of_zeros_where_none_does_not_do():
    tensor = pa.fixed_shape_tensor(pa.float32(), [2])
    schema = pa.schema([("s", pa.string()), ("l", pa.list_(pa.int8())), ("t", tensor), ("b", pa.bool_())])
    assert parse_prepare(f"{HERE}:first_letters").output_schema(schema) == pa.schema([("n", pa.int64())])


def test_functions_that_do_not_do_what_they_must():
    with pytest.raises(ValueError, match=r"drops_rows was given 2 rows and returned 1"):
        parse_prepare(f"{HERE}:drops_rows")(NUMBERS)
    with pytest.raises(ValueError, match=r"gave columns z: double, and on a trial x: double"):
        parse_prepare(f"{HERE}:changes_columns")(NUMBERS)
    with pytest.raises(UsageError, match=r"fails when tried with no rows \(KeyError: 'x'\).*the columns are x: double"):
        parse_prepare(f"{HERE}:raises").output_schema(NUMBERS.schema)
    with pytest.raises(UsageError, match=r"must return a pyarrow.RecordBatch, and returned a list"):
        parse_prepare(f"{HERE}:no_batch").output_schema(NUMBERS.schema)
    with pytest.raises(UsageError, match=r"returned a column '_copy', a name that is taken"):
        parse_prepare(f"{HERE}:takes_a_name").output_schema(NUMBERS.schema)


def of_plain_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    ones = pa.array([1] * batch.num_rows)
    return batch.append_column("ones", ones).append_column("lists", pa.array([["a"]] * batch.num_rows))


def test_columns_made_of_lists_that_have_no_type_without_rows():
    step = parse_prepare(f"{HERE}:of_plain_lists")
    schema = step.output_schema(NUMBERS.schema)
    assert [schema.field(name).type for name in ("ones", "lists")] == [pa.int64(), pa.list_(pa.string())]
    assert step(NUMBERS).block["ones"].to_pylist() == [1] * NUMBERS.num_rows


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module:f", "module 'no_such_module' does not import .ModuleNotFoundError"),
        (f"{HERE}:dubble", "no 'dubble' in tests.transforms.test_user_function; it has .*double"),
        (f"{HERE}:HERE", "is no function but a str"),
        ("imge:size", "did you mean 'image'"),
        ("what", "there is no step 'what'; the steps are image, .* and module:function for your own"),
        (":x", "no step is named before the colon"),
    ],
)
def test_what_cannot_be_imported(spec: str, message: str):
    with pytest.raises(UsageError, match=message):
        parse_prepare(spec)


ZEROS = [
    (pa.bool_(), False), (pa.int8(), 0), (pa.uint64(), 0), (pa.float16(), 0.0), (pa.float64(), 0.0), (pa.string(), ""),
    (pa.large_string(), ""), (pa.binary(), b""), (pa.large_binary(), b""), (pa.list_(pa.int8()), []),
    (pa.large_list(pa.int8()), []), (pa.list_(pa.float32(), 2), [0.0, 0.0]),
    (pa.list_(pa.list_(pa.int8(), 2), 1), [[0, 0]]),
    (pa.dictionary(pa.int32(), pa.string()), ""), (pa.date32(), None), (pa.struct([("a", pa.int8())]), None),
    (pa.fixed_shape_tensor(pa.float32(), [2]), [0.0, 0.0]), (pa.null(), None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), ZEROS, ids=[str(kind) for kind, _ in ZEROS])
def test_rows_of_zeros_are_of_their_type(kind: pa.DataType, value: object):
    made = _zeros(kind, 3)
    assert made.type == kind
    assert (made.storage if isinstance(made, pa.ExtensionArray) else made).to_pylist() == [value] * 3
