from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import to_numpy
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.prepare import parse_prepare


def run(spec: str, column: pa.Array) -> tuple[list, list]:
    step = pickle.loads(pickle.dumps(parse_prepare(spec)))  # noqa: S301
    block = with_origin(pa.record_batch({"c": column}), "f", 0)
    result = step(block)
    assert result.block.schema == step.output_schema(block.schema)
    return to_numpy(result.block.column("c")).tolist(), result.failures


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_strings(kind: pa.DataType):
    values, failures = run("onehot:values=a/b", pa.array(["b", "a", "x", None]).cast(kind))
    assert values == [[0.0, 1.0], [1.0, 0.0]]
    assert failures == [
        (2, "'x' is none of the 2 categories in column 'c'"),
        (3, "null in column 'c'; --nulls c=VALUE would fill it"),
    ]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int64()])
def test_integers(kind: pa.DataType):
    values, failures = run("onehot:size=3", pa.array([2, 0, 3], kind))
    assert values == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert [failure.row for failure in failures] == [2]
    assert run("onehot:values=300/2", pa.array([2], kind))[0] == [[0.0, 1.0]]


def test_unknown_values_as_zeros():
    values, failures = run("onehot:values=a/b,unknown=zeros,dtype=int64", pa.array(["x", None, "a"]))
    assert values == [[0, 0], [0, 0], [1, 0]] and failures == []


def test_bools():
    assert run("onehot:column=c,values=true/false", pa.array([False, True]))[0] == [[0.0, 1.0], [1.0, 0.0]]


def test_wrong_options():
    with pytest.raises(UsageError, match="give either values or size"):
        parse_prepare("onehot:column=c")
    with pytest.raises(UsageError, match="a value is given twice"):
        parse_prepare("onehot:values=a/a")


def test_wrong_columns():
    schema = pa.schema([("c", pa.string()), ("n", pa.int64())])
    with pytest.raises(UsageError, match="there are 2: c, n"):
        parse_prepare("onehot:values=a").output_schema(schema)
    with pytest.raises(UsageError, match="wants integers in column 'c'"):
        parse_prepare("onehot:size=2,column=c").output_schema(schema)
    with pytest.raises(UsageError, match=r"wants column 'n' to hold a/b, and it is of type int64"):
        parse_prepare("onehot:values=a/b,column=n").output_schema(schema)
