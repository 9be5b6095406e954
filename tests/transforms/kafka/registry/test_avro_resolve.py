from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from beamsplit.transforms.kafka.registry.avro_decode import Decoded
from beamsplit.transforms.kafka.registry.avro_plan import avro_schema_of
from beamsplit.transforms.kafka.registry.avro_reader import read_avro
from tests.transforms.kafka.registry.avro_samples import laid_out, messages, plain


def record(**fields: Any) -> dict[str, Any]:
    """A record; a field is a type, or a pair of a type and what else is said of it."""
    made = []
    for name, kind in fields.items():
        kind, more = kind if isinstance(kind, tuple) else (kind, {})
        made.append({"name": name, "type": kind, **more})
    return {"type": "record", "name": "R", "fields": made}


def resolved(writer: Any, reader: Any, rows: list[Any]) -> Decoded:
    theirs, ours = avro_schema_of(json.dumps(writer)), avro_schema_of(json.dumps(reader))
    wanted = pa.schema([(name, kind.arrow) for name, kind in ours.types.items()])  # type: ignore[union-attr]
    found = read_avro(theirs, ours, wanted, laid_out(messages(writer, rows)))
    assert found.batch.schema.equals(wanted)
    return found


def by_fastavro(writer: Any, reader: Any, rows: list[Any]) -> list[Any]:
    parsed = fastavro.parse_schema(writer), fastavro.parse_schema(reader)
    return [fastavro.schemaless_reader(io.BytesIO(body), *parsed) for body in messages(writer, rows)]


E1 = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
E2 = {"type": "enum", "name": "E", "symbols": ["B", "A", "C"]}
INNER = {"type": "record", "name": "I", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "string"}]}
OUTER = {
    "type": "record",
    "name": "I",
    "fields": [
        {"name": "c", "type": ["null", "string"], "default": None},
        {"name": "a", "type": "long"},
        {"name": "d", "type": {"type": "array", "items": "int"}, "default": [1, 2]},
    ],
}


@pytest.mark.parametrize(
    ("writer", "reader", "rows"),
    [
        (record(a="int", b="string"), record(b="string", a="int"), [{"a": 1, "b": "x"}]),
        (record(a="int", b="string"), record(a="int"), [{"a": 1, "b": "x"}]),
        (record(a="int"), record(z=("int", {"default": 7}), a="int"), [{"a": 1}, {"a": 2}]),
        (record(a="int"), record(z=("string", {"default": "é"}), a="int"), [{"a": 1}]),
        (record(a="int"), record(z=(["null", "int"], {"default": None}), a="int"), [{"a": 1}]),
        (record(a="int"), record(z=({"type": "map", "values": "int"}, {"default": {"k": 1}}), a="int"), [{"a": 1}]),
        (record(a="int"), record(z=(E1, {"default": "B"}), a="int"), [{"a": 1}]),
        (record(a="int"), record(b=("int", {"aliases": ["a"]})), [{"a": 1}]),
        (record(a="int"), record(a="long"), [{"a": 1}]),
        (record(a="int"), record(a="float"), [{"a": 1}]),
        (record(a="long"), record(a="double"), [{"a": 2**53}]),
        (record(a="float"), record(a="double"), [{"a": 1.5}]),
        (record(a="string"), record(a="bytes"), [{"a": "x"}]),
        (record(a="bytes"), record(a="string"), [{"a": b"x"}]),
        (record(a="int"), record(a=["null", "int"]), [{"a": 1}]),
        (record(a="int"), record(a=["null", "long"]), [{"a": 1}]),
        (record(a=["null", "int"]), record(a="int"), [{"a": 1}]),
        (record(a=["null", "int"]), record(a=["double", "null"]), [{"a": 1}, {"a": None}]),
        (record(a=E1), record(a=E2), [{"a": "A"}, {"a": "B"}]),
        (record(a=INNER), record(a=OUTER), [{"a": {"a": 1, "b": "x"}}]),
        (record(a=["null", INNER]), record(a=["null", OUTER]), [{"a": {"a": 1, "b": "x"}}, {"a": None}]),
        (record(a={"type": "array", "items": INNER}), record(a={"type": "array", "items": OUTER}),
         [{"a": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}, {"a": []}]),
        (record(a={"type": "map", "values": "int"}), record(a={"type": "map", "values": "double"}), [{"a": {"k": 1}}]),
        (record(a={"type": "array", "items": ["null", "float"]}),
         record(a={"type": "array", "items": ["null", "double"]}),
         [{"a": [1.5, None]}, {"a": []}]),
    ],
)  # fmt: skip
def test_fields_are_those_of_the_reader(writer: Any, reader: Any, rows: list[Any]):
    found = resolved(writer, reader, rows)
    assert not found.bad
    assert [plain(row) for row in found.batch.to_pylist()] == [plain(r) for r in by_fastavro(writer, reader, rows)]


@pytest.mark.parametrize(
    ("writer", "reader", "rows", "bad", "why"),
    [
        (record(a="int"), record(b="int"), [{"a": 1}], {0}, "no field 'b', and the schema"),
        (record(a="string"), record(a="int"), [{"a": "x"}] * 2, {0, 1}, "field 'a': it is string, of which no int"),
        (record(a="long"), record(a="int"), [{"a": 1}], {0}, "long, of which no int"),
        (record(a="bytes"), record(a="string"), [{"a": b"x"}, {"a": b"\xff"}], {1}, "no string can be made"),
        (record(a=["null", "int"]), record(a="int"), [{"a": 1}, {"a": None}], {1}, "a null, which"),
        (record(a=E2), record(a=E1), [{"a": "C"}, {"a": "B"}], {0}, "symbol 'C', which"),
        (record(a=E2), record(a=INNER), [{"a": "C"}], {0}, "enum, of which no record"),
        (record(a=INNER), record(a={**INNER, "fields": [{"name": "z", "type": "int"}]}),
         [{"a": {"a": 1, "b": ""}}], {0}, "no field 'z'"),
        (record(a={"type": "array", "items": "string"}), record(a={"type": "array", "items": "int"}), [{"a": []}], {0},
         "no int"),
    ],
)  # fmt: skip
def test_messages_that_do_not_become_the_readers(writer: Any, reader: Any, rows: list[Any], bad: set[int], why: str):
    found = resolved(writer, reader, rows)
    assert set(found.bad) == bad and all(why in reason for reason in found.bad.values()), found.bad
    assert found.batch.num_rows == len(rows) - len(bad)


def test_a_default_of_bytes_is_told_by_characters():
    found = resolved(record(a="int"), record(z=("bytes", {"default": "\u00ff"}), a="int"), [{"a": 1}])
    assert found.batch.to_pylist() == [{"z": b"\xff", "a": 1}]


def test_a_symbol_that_the_reader_has_not_is_its_default():
    found = resolved(record(a=E2), record(a={**E1, "default": "A"}), [{"a": "C"}, {"a": "B"}])
    assert found.batch.to_pylist() == [{"a": "A"}, {"a": "B"}]
