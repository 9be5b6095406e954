"""Messages that are read a block at once: as a validator and Arrow read them, one by one."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.kafka.registry import json_schema
from beamsplit.transforms.kafka.registry.avro_decode import Decoded
from beamsplit.transforms.kafka.registry.client import Schema
from beamsplit.transforms.kafka.registry.json_layout import layout_of
from beamsplit.transforms.kafka.registry.kinds import How
from tests.transforms.kafka.registry.avro_samples import laid_out
from tests.transforms.kafka.registry.json_schemas import ANY_SCHEMA

for module in ("jsonschema_rs", "orjson", "simdjson"):
    pytest.importorskip(module)

PROPERTIES = {
    "x": {"type": "array", "items": {"type": "number", "minimum": -5, "exclusiveMaximum": 1e6}, "maxItems": 4},
    "i": {"oneOf": [{"type": "null"}, {"type": "array", "items": {"type": "integer"}}]},
    "n": {"type": ["number", "null"], "maximum": 100},
    "k": {"type": "integer", "exclusiveMinimum": -3},
    "s": {"type": "string", "enum": ["a", "b", "é["]},
    "b": {"type": ["boolean", "null"], "description": "of no account"},
}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["x"]}
WANTED = pa.schema(
    [
        ("x", pa.list_(pa.float64())),
        ("i", pa.list_(pa.int64())),
        ("n", pa.float64()),
        ("k", pa.int64()),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("later", pa.float64()),
    ]
)


def told(found: Decoded) -> tuple[Any, ...]:
    """Rows, what they hold (with signs of zeros), and what is wrong with the others."""
    return found.rows.tolist(), repr(found.batch.to_pylist()), found.bad


def both(bodies: list[bytes], schema: Any = SCHEMA, wanted: pa.Schema = WANTED) -> tuple[Decoded, Decoded, int]:
    """What comes of them together and one by one, and how many were read together."""
    text, laid = json.dumps(schema), laid_out(bodies)
    layout = layout_of(text, wanted)
    assert layout is not None
    writer = Schema(1, "JSON", text)
    how = How(None, (("x", "float32"), ("n", "float32")))
    together = json_schema.read(writer, writer, how, wanted, laid)
    return together, json_schema._validated(writer, how, wanted, laid), len(layout.read(laid).rows)


PLAIN = [
    b'{"x": [1, 2.5, -0.25, 0]}',
    b'{"x": [], "n": null, "b": null, "i": null, "other": 7}',
    b'{"b": true, "s": "a", "k": 7, "n": -0.5, "i": [1, -9], "x": [1e5, 1E-400]}',
    b'{"s": "\\u00e9\\u005b", "x": [1]}',
    b'{"\\u0078": [3]}',
    b'{"x":[0.1,0.30000000000000004,5e-324,123456.789012345678901]}\n ',
]
ODD = [
    b'{"x": [-0, 1]}', b'{"x": [0], "n": -0}', b'{"x": [-0.0, -0e1, 0]}', b'{"x": [[1], [2]]}', b'{"x": [1, [2]]}',
    b'{"x": [null]}', b'{"x": [true]}', b'{"x": ["1"]}', b'{"x": 1}', b'{"x": null}', b"{}", b"", b"[]", b"null",
    b'{"x": [1], "x": [2]}', b'{"x": [1], "n": 1, "n": 2}', b'{"x": [1e400]}', b'{"x": [1000000]}', b'{"x": [-5.1]}',
    b'{"x": [1, 2, 3, 4, 5]}', b'{"x": [1], "k": -3}', b'{"x": [1], "k": 1.0}', b'{"x": [1], "k": 1.5}',
    b'{"x": [1], "k": true}', b'{"x": [1], "k": 9007199254740993}', b'{"x": [1], "k": 99999999999999999999}',
    b'{"x": [1], "n": 16777217}', b'{"x": [1], "n": -9007199254740993}', b'{"x": [1], "n": "a"}',
    b'{"x": [1], "n": true}',
    b'{"x": [1], "i": [1.0]}', b'{"x": [1], "i": [9007199254740993, -9223372036854775808]}', b'{"x": [1], "i": [1e2]}',
    b'{"x": [1], "i": [18446744073709551615]}', b'{"x": [1], "s": "c"}', b'{"x": [1], "s": null}',
    b'{"x": [1], "s": 5}',
    b'{"x": [1], "b": 0}', b'{"x": [1], "later": 5}', b'{"x": [1], "later": null}', b'{"x": [1], "o": {"p": [1]}}',
    b'{"x": [NaN]}', b'{"x": [01]}', b'{"x": [1,]}', b'{"x": [1]} x', b'\xef\xbb\xbf{"x": [1]}', b' {"x": [1]}',
    b'{"x": [1], "s": "\xff"}', b'{"x": [1], "o": "\\ud800"}', b'{"x": [1]',
    b'{"x": [1], "o": ' + b"[" * 2000 + b"]" * 2000 + b"}",
]  # fmt: skip


def test_plain_messages_are_read_together():
    together, alone, at_once = both(PLAIN)
    assert told(together) == told(alone) and at_once == len(PLAIN) and not together.bad


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_the_others_are_what_they_were(odd: bytes):
    together, alone, _ = both([PLAIN[0], odd, PLAIN[2]])
    assert told(together) == told(alone)


def test_all_in_one_block():
    together, alone, at_once = both([*ODD, *PLAIN, *ODD])
    assert told(together) == told(alone) and len(PLAIN) <= at_once < len(PLAIN) + 2 * len(ODD)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.integers(-9, 9) | st.text(max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 0.0, 2.0**53, -5.0]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("xins"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
ROWS = st.dictionaries(st.sampled_from(["x", "i", "n", "k", "s", "b", "later", "more"]), VALUES)
NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.integers(-9, 9), max_size=5)


@settings(deadline=None, max_examples=50)
@given(st.lists(ROWS | ROWS.flatmap(lambda row: NUMBERS.map(lambda x: row | {"x": x})), max_size=6), st.booleans())
def test_any_messages(rows: list[dict[str, Any]], closed: bool):
    schema = {**SCHEMA, "additionalProperties": not closed}
    together, alone, _ = both([json.dumps(row).encode() for row in rows], schema)
    assert told(together) == told(alone)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"type": "number"}}},
        {"type": "object", "properties": {"x": {"type": "number", "multipleOf": 2}}},
        {"type": "object", "properties": {"x": {"type": "number", "exclusiveMinimum": True}}},
        {"type": "object", "properties": {"x": {"type": "number", "maximum": 2**53 + 1}}},
        {"type": "object", "properties": {"x": {"type": ["number", "string"]}}},
        {"type": "object", "properties": {"x": {"$ref": "#/definitions/x"}}, "definitions": {"x": {}}},
        {"type": "object", "properties": {"x": {"type": "array", "items": [{"type": "number"}]}}},
        {"type": "object", "properties": {"x": {"type": "string", "pattern": "a"}}},
        {"type": "object", "properties": {"x": {"oneOf": [{"type": "number"}, {"type": "integer"}]}}},
        {"type": "object", "properties": {"x": {"type": "number"}}, "additionalProperties": {"type": "number"}},
        {"type": "object", "properties": {"x": {"type": "number"}}, "patternProperties": {}},
        {"type": "object", "properties": {"x": {"type": "number"}}, "allOf": []},
        {"type": "object", "properties": {"x": {"type": "integer"}}},
        {"type": "object", "properties": {"x": True}},
        {"type": "object", "properties": {"x": {"oneOf": [{"type": "null"}, {"type": ["number", "null"]}]}}},
        {"type": "object", "properties": {"x": {"type": "number"}}, "$schema": "https://example.com/mine"},
    ],
)
def test_schemas_that_are_not_plain_are_left_to_the_validator(schema: Any):
    assert layout_of(json.dumps(schema), pa.schema([("x", pa.float64())])) is None


NEAR = st.sampled_from(
    [None, True, -3, -2, 0, 1, 3, 4, -0.0, 0.1, 1.0, 2.5, "a", "", "b", [], [0.1], [1, None], [4] * 4]
)


@settings(deadline=None, max_examples=50)
@given(ANY_SCHEMA, st.lists(st.dictionaries(st.sampled_from("xinm"), NEAR), max_size=8))
def test_any_plain_schema(schema: dict[str, Any], rows: list[dict[str, Any]]):
    writer = Schema(1, "JSON", json.dumps(schema))
    wanted = pa.schema(list(json_schema.fields(writer, None).items()))
    laid, how = laid_out([json.dumps(row).encode() for row in rows]), How(None, ())
    together, alone = (
        json_schema.read(writer, writer, how, wanted, laid),
        json_schema._validated(writer, how, wanted, laid),
    )
    assert told(together) == told(alone)


def test_schemas_that_are_none_are_told_of_whatever_the_messages_are():
    bad = json.dumps({"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x", 5]})
    with pytest.raises(json_schema.BadSchema):
        json_schema.read(Schema(1, "JSON", bad), Schema(1, "JSON", bad), How(None), WANTED, laid_out([b'{"x": 1}']))


def test_schemas_that_are_derived_of_columns_are_plain():
    columns = pa.schema([("x", pa.list_(pa.float32())), ("n", pa.float32()), ("k", pa.int32()), ("s", pa.string())])
    text = json_schema.derived(columns, "Row")
    wanted = pa.schema([("x", pa.list_(pa.float64())), ("n", pa.float64()), ("k", pa.int64()), ("s", pa.string())])
    bodies = [b'{"x": [1.5, 2], "n": 1, "k": 2, "s": "a"}', b'{"x": [1.5, null]}', b'{"x": null, "n": null}']
    together, alone, at_once = both(bodies, json.loads(text), wanted)
    assert told(together) == told(alone) and at_once == 2 and len(together.rows) == 3


def test_many_properties_of_numbers():
    names = [f"p{at}" for at in range(300)]
    schema = {"type": "object", "properties": {name: {"type": "number"} for name in names}}
    wanted = pa.schema([(name, pa.float64()) for name in names])
    values = np.random.default_rng(0).standard_normal((5, 300))
    rows = [dict(zip(names, row, strict=True)) for row in values.tolist()]
    together, alone, at_once = both([json.dumps(row).encode() for row in rows], schema, wanted)
    assert told(together) == told(alone) and at_once == 5
    assert all(math.isclose(together.batch.column(7)[at].as_py(), values[at, 7]) for at in range(5))
