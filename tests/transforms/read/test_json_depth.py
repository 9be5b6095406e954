from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.read.json_depth import Depths, depths_of, plain_value, to_depth
from beamsplit.transforms.read.json_parse import Rules, parse_texts

LEAVES = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.sampled_from(["a,]", "][", '"{', "\\"])
VALUES = st.recursive(
    LEAVES | st.dictionaries(st.sampled_from(["a", "b"]), LEAVES, max_size=2),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
DEPTHS = [Depths(0, 0, 1), Depths(0, 0, 2), Depths(1, 0, 1), Depths(2, 0, 2), Depths(2, 1, 2), Depths(3, 1, 3)]


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=8), st.sampled_from(DEPTHS), st.sampled_from(["[", "[ ", " \t["]))
def test_values_are_made_as_deep_as_their_columns(values, depths: Depths, bracket: str):
    texts = [json.dumps(value).replace("[", bracket) for value in values]
    text = "\n".join(f'{{"b": [1], "a":{one}}}' for one in texts).encode()
    made = [json.loads(line, strict=False) for line in (to_depth(text, {"a": depths}) or text).split(b"\n")]
    assert made == [{"b": [1], "a": plain_value(json.loads(one, strict=False), depths)} for one in texts]


@pytest.mark.parametrize(
    ("kind", "shape", "depths"),
    [
        (pa.float32(), (), Depths(0, 0, 1)),
        (pa.string(), (1,), Depths(0, 0, 1)),
        (pa.bool_(), (1, 1), Depths(0, 0, 2)),
        (pa.list_(pa.float32()), (None,), Depths(1, 0, 1)),
        (pa.list_(pa.int64()), (None,), Depths(1, 0, 1, True)),
        (pa.int8(), (1,), Depths(0, 0, 1, True)),
        (pa.list_(pa.int64()), (3,), Depths(1, 1, 1, True)),
        (pa.list_(pa.float64()), (3,), None),
        (pa.list_(pa.list_(pa.string())), (1, 3), Depths(2, 1, 2)),
        (pa.list_(pa.list_(pa.bool_())), (3, 1), None),
        (pa.list_(pa.struct([("a", pa.int64())])), (1,), None),
        (pa.json_(), (1,), None),
    ],
)
def test_how_deep_a_field_may_be(kind: pa.DataType, shape, depths: Depths | None):
    assert depths_of(kind, shape) == depths


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.float32(), 54.5),
        (pa.float16(), 2.0),
        (pa.float64(), 1e300),
        (pa.int8(), -128),
        (pa.uint64(), 2**64 - 1),
        (pa.bool_(), True),
        (pa.string(), 'a "quoted], [one'),
    ],
)
def test_one_value_a_row_is_plain_or_in_a_list_in_one_stream(kind: pa.DataType, value):
    rows = [value, [value], None, [None], [value, value], [], {"a": 1}, [[value]]]
    texts = [json.dumps({"x": one, "id": at}).encode() for at, one in enumerate(rows)]
    schema = pa.schema([("id", pa.int64()), ("x", kind)])
    for order in (texts, texts[::-1]):
        parsed = parse_texts([*order, b"no JSON [", b"{}"], schema, Rules(depths={"x": Depths(0, 0, 1)}))
        by_id = {row["id"]: row["x"] for row in parsed.batch.to_pylist()}
        assert by_id == {0: value, 1: value, 2: None, 3: None, None: None}
        assert sorted(parsed.bad) == ([4, 5, 6, 7, 8] if order is texts else [0, 1, 2, 3, 8])
    said = "\n".join(parsed.bad.values())
    assert "field 'x' holds an array of 2, and takes one value" in said and "holds an empty array" in said
    assert "holds an array in an array" in said and "holds a value of kind object" in said


def test_a_string_that_looks_like_structure_is_left_alone():
    texts = [b'{"s": "[1]", "x": [1]}', rb'{"s": "\"x\": [2]", "x": [2]}', b'{"x": 3, "s": "{[["}']
    schema = pa.schema([("s", pa.string()), ("x", pa.int64())])
    parsed = parse_texts(texts, schema, Rules(depths={"x": Depths(0, 0, 1)}))
    assert parsed.batch.to_pylist() == [{"s": "[1]", "x": 1}, {"s": '"x": [2]', "x": 2}, {"s": "{[[", "x": 3}]


def test_a_broken_line_does_not_change_the_strings_of_others():
    texts = [b'{"s": "a, "x": [1]}', b'{"s": "[1]", "x": [1]}', b'{"s": "b", "x": [2]}']
    schema = pa.schema([("s", pa.string()), ("x", pa.int64())])
    parsed = parse_texts(texts, schema, Rules(depths={"x": Depths(0, 0, 1)}))
    assert parsed.batch.to_pylist() == [{"s": "[1]", "x": 1}, {"s": "b", "x": 2}] and list(parsed.bad) == [0]


def test_whole_numbers_with_a_point_feed_integers():
    values = "54.0", "[-1.000]", "7", "54.5", "1e3", '300.0, "s": "1.0"'
    texts = [f'{{"x": {value}}}'.encode() for value in values]
    schema = pa.schema([("x", pa.int8()), ("s", pa.string())])
    parsed = parse_texts(texts, schema, Rules(depths={"x": Depths(0, 0, 1, True)}))
    assert parsed.batch["x"].to_pylist() == [54, -1, 7] and sorted(parsed.bad) == [3, 4, 5]
    assert "field 'x' holds 54.5, which is no int8" in parsed.bad[3] and "holds 300.0" in parsed.bad[5]
    lists = [b'{"x": [1.0, 2, 3.00], "s": "2.0"}', b'{"x": [1.5]}', b'{"x": [1.0e0]}', b'{"x": [10.0,20.05]}']
    schema = pa.schema([("x", pa.list_(pa.int64())), ("s", pa.string())])
    parsed = parse_texts(lists, schema, Rules(depths={"x": Depths(1, 1, 1, True)}))
    assert parsed.batch.to_pylist() == [{"x": [1, 2, 3], "s": "2.0"}] and sorted(parsed.bad) == [1, 2, 3]
    assert sorted(parse_texts(texts, pa.schema([("x", pa.int8())])).bad) == [0, 1, 3, 4, 5]
