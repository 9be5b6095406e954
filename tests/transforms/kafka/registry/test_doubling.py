"""Schemas whose types hold one another twice: written out they are endless."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from beamsplit.transforms.formats.avro_schema import Unreadable
from beamsplit.transforms.kafka.registry import json_schema
from beamsplit.transforms.kafka.registry.client import Schema

DEEP = 60


def test_avro():
    from beamsplit.transforms.kafka.registry.avro_plan import BadSchema, avro_schema_of

    pytest.importorskip("fastavro")
    kind: object = "int"
    for at in range(DEEP):
        name = kind["name"] if isinstance(kind, dict) else kind
        fields = [{"name": "a", "type": kind}, {"name": "b", "type": name}]
        kind = {"type": "record", "name": f"R{at}", "fields": fields}
    with pytest.raises(BadSchema, match="its types use one another so often that there are more than 10,000"):
        avro_schema_of(json.dumps(kind), ())


def test_protobuf():
    pytest.importorskip("google.protobuf")
    from beamsplit.transforms.kafka.registry import protobuf

    lines = ['syntax = "proto3";', "message M0 { double x = 1; }"]
    lines += [f"message M{at} {{ M{at - 1} a = 1; M{at - 1} b = 2; }}" for at in range(1, DEEP)]
    lines += [f"message Row {{ double x = 1; M{DEEP - 1} deep = 2; M3 few = 3; }}"]
    found = protobuf.fields(Schema(1, "PROTOBUF", "\n".join(lines)), "Row")
    assert found["x"] == pa.float64() and pa.types.is_struct(found["few"])
    assert isinstance(found["deep"], Unreadable) and "has more than 10,000 fields" in str(found["deep"])


def test_json_schema():
    definitions = {"d0": {"type": "number"}}
    for at in range(1, DEEP):
        twice = {name: {"$ref": f"#/definitions/d{at - 1}"} for name in "ab"}
        definitions[f"d{at}"] = {"type": "object", "properties": twice}
    properties = {"x": {"type": "number"}, "deep": {"$ref": f"#/definitions/d{DEEP - 1}"}}
    text = json.dumps({"type": "object", "properties": properties, "definitions": definitions})
    assert json_schema.fields(Schema(1, "JSON", text), None) == {"x": pa.float64(), "deep": pa.json_()}
