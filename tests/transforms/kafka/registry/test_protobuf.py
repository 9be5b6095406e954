from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import message_factory

from beamsplit.transforms.formats.avro_schema import Unreadable
from beamsplit.transforms.kafka.registry import protobuf, protobuf_decode
from beamsplit.transforms.kafka.registry.avro_decode import Decoded
from beamsplit.transforms.kafka.registry.client import Schema
from beamsplit.transforms.kafka.registry.kinds import How
from beamsplit.transforms.kafka.registry.protobuf_schema import BadSchema, protobuf_schema_of
from tests.transforms.kafka.registry.avro_samples import laid_out, plain

pytest.importorskip("grpc_tools")

KINDS = ("double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32",
         "sfixed64", "bool", "string", "bytes", "Color", "In", "google.protobuf.Timestamp",
         "google.protobuf.FloatValue")  # fmt: skip
FIELDS = [
    f"{word} {kind} f{word[:1]}{at} = {10 * at + offset};"
    for at, kind in enumerate(KINDS, 1)
    for offset, word in enumerate(("", "optional", "repeated"), 1)
]
PROTO = f"""
syntax = "proto3";
package a.b;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum Color {{ RED = 0; GREEN = 1; BLUE = -3; }}
message Other {{ int32 z = 1; }}
message In {{ repeated string s = 1; double d = 2; map<string, int32> m = 3; message Deep {{ int32 z = 1; }} }}
message All {{
  {" ".join(FIELDS)}
  map<int64, In> mi = 501; map<string, Color> mc = 502; oneof one {{ int32 o1 = 503; string o2 = 504; }}
  repeated float loose = 505 [packed = false];
}}
"""
ALL = Schema(1, "PROTOBUF", PROTO)


def made(name: str, text: str = PROTO) -> Any:
    return message_factory.GetMessageClass(protobuf_schema_of(text).message(name))


def fill(message: Any, rng: random.Random, share: float) -> Any:
    """Some of a message's fields."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() > share:
            continue
        if protobuf.is_map(field):
            inner = field.message_type.fields_by_number[2]
            for key in range(rng.randrange(3)):
                at = str(key) if field.message_type.fields_by_number[1].type == field.TYPE_STRING else key - 1
                if inner.message_type is not None:
                    fill(getattr(message, field.name)[at], rng, share)
                else:
                    getattr(message, field.name)[at] = value(inner, rng)
        elif protobuf.is_repeated(field):
            for _ in range(rng.choice([0, 1, 3])):
                if field.message_type is not None:
                    fill(getattr(message, field.name).add(), rng, share)
                else:
                    getattr(message, field.name).append(value(field, rng))
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), rng, share)
        else:
            setattr(message, field.name, value(field, rng))
    return message


def value(field: Any, rng: random.Random) -> Any:
    if field.name == "nanos":
        return rng.randrange(10**9)
    if field.name == "seconds":
        return rng.randrange(-(10**9), 10**9)
    kind = field.type
    if kind == field.TYPE_ENUM:
        return rng.choice([0, 1, -3, 7])
    if kind == field.TYPE_STRING:
        return "é" * rng.choice([0, 1, 70])
    if kind == field.TYPE_BYTES:
        return rng.randbytes(rng.choice([0, 1, 200]))
    if kind == field.TYPE_BOOL:
        return rng.random() < 0.5
    if kind in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice([0.0, -0.0, float(np.float32(rng.gauss(0, 1)))])
    narrow = (field.TYPE_INT32, field.TYPE_UINT32, field.TYPE_SINT32, field.TYPE_FIXED32, field.TYPE_SFIXED32)
    bits = 32 if kind in narrow else 64
    unsigned = kind in (field.TYPE_UINT32, field.TYPE_UINT64, field.TYPE_FIXED32, field.TYPE_FIXED64)
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return rng.choice([0, 1, low, high, rng.randrange(100)])


def decoded(bodies: Sequence[bytes], name: str = "a.b.All", writer: Schema = ALL, reader: Schema = ALL) -> Decoded:
    fields = protobuf.fields(reader, name)
    wanted = pa.schema([(field, kind) for field, kind in fields.items() if isinstance(kind, pa.DataType)])
    return protobuf.read(writer, reader, How(name), wanted, laid_out(bodies))


PLACE = bytes([2, 4])  # one number: the third message of the file
FLAT = ["f1", "fo1", "fr1"]


def test_columns_hold_what_googles_library_reads(monkeypatch: pytest.MonkeyPatch):
    rng = random.Random(0)
    bodies = [PLACE + fill(made("a.b.All")(), rng, share).SerializeToString() for share in (0, 0.2, 0.5, 1) * 20]
    monkeypatch.setattr(protobuf_decode, "MANY_GOES", 10**9)
    with monkeypatch.context() as patch:
        patch.setattr(protobuf, "_alone", lambda *_: pytest.fail("read one by one"))
        together = decoded(bodies)
    monkeypatch.setattr(protobuf, "MOST_PASSES", 0)
    alone = decoded(bodies)
    assert not together.bad and not alone.bad and len(together.rows) == len(bodies)
    for name in together.batch.schema.names:
        both = [str(ordered(batch.column(name).to_pylist())) for batch in (together.batch, alone.batch)]
        assert both[0] == both[1], name


def ordered(value: Any) -> Any:
    """Maps have their keys in any order."""
    if isinstance(value, tuple):
        return value[0], ordered(value[1])
    if isinstance(value, list):
        made = [ordered(one) for one in value]
        return sorted(made, key=str) if made and isinstance(made[0], tuple) else made
    return {key: ordered(one) for key, one in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_rows_come_back(share: float):
    rng = random.Random(1)
    given = [fill(made("a.b.All")(), rng, share) for _ in range(40)]
    for one in given:  # numbers that no name stands for cannot be written
        for field in one.DESCRIPTOR.fields:
            if field.type == field.TYPE_ENUM or (protobuf.is_map(field) and field.name == "mc"):
                one.ClearField(field.name)
    batch = decoded([PLACE + one.SerializeToString() for one in given]).batch
    writer = protobuf.writer(ALL, "a.b.All", batch.schema)
    assert writer.faults(batch) == {}
    bodies = writer.bodies(batch)
    assert writer.bodies(batch.slice(3, 5)).equals(bodies.slice(3, 5))
    for body, one in zip(bodies.to_pylist(), given, strict=True):
        assert body.startswith(PLACE)
        assert made("a.b.All").FromString(body[2:]) == one


def test_a_first_message_is_told_by_one_byte_and_a_nested_one_by_its_place():
    nested = made("a.b.In.Deep")(z=5).SerializeToString()
    assert decoded([bytes([4, 2, 0]) + nested], "a.b.In.Deep").batch.to_pylist() == [{"z": 5}]
    first = made("a.b.Other")(z=5).SerializeToString()
    assert decoded([b"\0" + first, b"\2\0" + first], "a.b.Other").batch.to_pylist() == [{"z": 5}] * 2
    writer = protobuf.writer(ALL, "a.b.In.Deep", pa.schema([("z", pa.int32())]))
    assert writer.bodies(pa.record_batch({"z": pa.array([5], pa.int32())})).to_pylist() == [bytes([4, 2, 0]) + nested]


SMALL = 'syntax = "proto3"; message M { %s }'


def small(fields: str, id: int = 1) -> Schema:
    return Schema(id, "PROTOBUF", SMALL % fields)


@pytest.mark.parametrize(
    ("fields", "body", "why"),
    [
        ("int32 x = 1;", b"\0\x08", "cut short"),
        ("int32 x = 1;", b"\0\x08\xff", "cut short"),
        ("int32 x = 1;", b"", "cut short"),
        ("int32 x = 1;", b"\2", "cut short"),
        ("int32 x = 1;", b"\xfe\xff\xff\xff\x0f", "which message"),
        ("int32 x = 1;", b"\2\2\x08\1", "no message at \\[1\\]"),
        ("int32 x = 1;", b"\0\x08\xff\xff\xff\xff\xff\x01", "larger than int32"),
        ("int32 x = 1;", b"\0\x07\1", "a tag in it is none"),
        ("repeated float x = 1;", b"\0\x0a\3abc", "cut short"),
        ("repeated float x = 1;", b"\0\x0a\4abc", "cut short"),
        ("repeated int32 x = 1;", b"\0\x0a\2\1\xff", "cut short"),
        ("string x = 1;", b"\0\x0a\xff\xff\xff\xff\xff\1", "cut short"),
    ],
)
def test_what_is_wrong_is_told(fields: str, body: bytes, why: str):
    schema = small(fields)
    found = decoded([body, b"\0"], "M", schema, schema)
    assert set(found.bad) == {0} and found.rows.tolist() == [1]
    assert re.search(why, found.bad[0]), found.bad


def test_what_is_told_twice():
    schema = small("int32 x = 1; M2 m = 2; repeated int32 r = 3; }  message M2 { int32 a = 1; int32 b = 2;")
    body = b"\0\x08\1\x08\2" + b"\x12\2\x08\7" + b"\x12\2\x10\x09" + b"\x18\1" + b"\x1a\2\2\3"
    assert decoded([body], "M", schema, schema).batch.to_pylist() == [{"x": 2, "m": {"a": 7, "b": 9}, "r": [1, 2, 3]}]


@pytest.mark.parametrize(
    ("written", "read", "values", "expected"),
    [
        ("int32 x = 1; string gone = 2;", "int32 x = 1; int64 n = 3; optional int32 o = 4;", {"x": 1, "gone": "g"},
         {"x": 1, "n": 0, "o": None}),
        ("int32 old = 1;", "int32 x = 1;", {"old": 1}, {"x": 1}),
        ("int32 x = 1;", "int64 x = 1;", {"x": -1}, {"x": -1}),
        ("int64 x = 1;", "int32 x = 1;", {"x": 2**40}, "larger than int32"),
        ("string x = 1;", "int32 x = 1;", {"x": "a"}, "its number 1 is of another type"),
        ("string x = 1;", "bytes x = 1;", {"x": "a"}, {"x": b"a"}),
    ],
)  # fmt: skip
def test_versions(written: str, read: str, values: dict[str, Any], expected: Any):
    writer, reader = small(written, 1), small(read, 2)
    body = b"\0" + made("M", writer.text)(**values).SerializeToString()
    found = decoded([body], "M", writer, reader)
    if isinstance(expected, str):
        assert expected in found.bad[0] and not found.batch.num_rows
    else:
        assert not found.bad and found.batch.to_pylist() == [expected]


def test_another_message_than_is_read():
    found = decoded([b"\0" + made("a.b.Other")(z=1).SerializeToString(), PLACE], "a.b.All")
    assert found.bad == {0: "it is a a.b.Other, and a.b.All is read"} and found.rows.tolist() == [1]


def test_a_descriptor_in_base64_and_schemas_that_import_others():
    import base64

    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto(name="x.proto", syntax="proto3")
    file.message_type.add(name="M").field.add(name="y", number=1, type=1, label=1)
    schema = Schema(1, "PROTOBUF", base64.b64encode(file.SerializeToString()).decode())
    assert protobuf.fields(schema, None) == {"y": pa.float64()}
    text = 'syntax = "proto3"; import "dir/o.proto"; message M { p.O o = 1; }'
    other = 'syntax = "proto3"; package p; message O { int32 a = 1; }'
    assert protobuf.fields(Schema(1, "PROTOBUF", text, (("dir/o.proto", other),)), None) == {
        "o": pa.struct([("a", pa.int32())])
    }


@pytest.mark.parametrize(
    ("text", "references", "why"),
    [
        ("message M {", (), "its schema cannot be read"),
        ('syntax = "proto3"; import "gone.proto";', (), "gone.proto"),
        ('syntax = "proto3";', (("../up.proto", ""),), "no name of a file"),
    ],
)
def test_schemas_that_are_none(text: str, references: Any, why: str):
    with pytest.raises(BadSchema, match=why):
        protobuf_schema_of(text, references)


def test_messages_that_are_not_there_and_types_that_cannot_be_read():
    with pytest.raises(BadSchema, match=r"has no message a.b.Nobody; it has a.b.Other, a.b.In, a.b.All"):
        protobuf.fields(ALL, "a.b.Nobody")
    found = protobuf.fields(small("M next = 1; int32 x = 2;"), None)
    assert isinstance(found["next"], Unreadable) and found["x"] == pa.int32()


@pytest.mark.parametrize(
    ("fields", "column", "why"),
    [
        ("int32 y = 1;", pa.int64(), "column 'y' is int64, and its field is int32"),
        ("float y = 1;", pa.float64(), "is float"),
        ("float y = 1;", pa.list_(pa.float32()), "is float"),
        ("repeated float y = 1;", pa.float32(), "is repeated float"),
        ("map<string, float> y = 1;", pa.float32(), "is a map"),
        ("float z = 1;", pa.float32(), "no field for the column 'y'; it has z"),
        ("float y = 1;", pa.date32(), "is float"),
    ],
)
def test_columns_that_do_not_fit(fields: str, column: pa.DataType, why: str):
    with pytest.raises(ValueError, match=why):
        protobuf.writer(small(fields), None, pa.schema([("y", column)]))


def test_rows_that_no_message_can_be_made_of():
    schema = small("int32 a = 1; optional int32 b = 2; repeated int32 c = 3; Color d = 4; } enum Color { RED = 0;")
    rows = pa.record_batch(
        {
            "a": pa.array([1, None, 1, 1, 1], pa.int32()),
            "b": pa.array([None, 1, 1, 1, 1], pa.int32()),
            "c": pa.array([[1], [1], [None], None, []], pa.list_(pa.int32())),
            "d": pa.array(["RED"] * 4 + ["GREEN"]),
        }
    )
    assert set(protobuf.writer(schema, None, rows.schema).faults(rows)) == {1, 2, 3, 4}


def test_a_schema_of_columns_takes_them():
    rows = pa.record_batch(
        {
            "id": pa.array(["a", None]),
            "y": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(4, dtype="f4").reshape(2, 2)),
            "at": pa.array([-1, 10**15], pa.timestamp("us", "UTC")),
            "n": pa.array([-5, 2**40]),
        }
    )
    schema = Schema(1, "PROTOBUF", protobuf.derived(rows.schema, "a.Out"))
    writer = protobuf.writer(schema, "a.Out", rows.schema)
    assert writer.faults(rows) == {}
    found = decoded(writer.bodies(rows).to_pylist(), "a.Out", schema, schema).batch
    assert found.drop_columns("at").to_pylist() == [
        {"id": "a", "y": [0, 1], "n": -5},
        {"id": None, "y": [2, 3], "n": 2**40},
    ]
    assert found.column("at").cast(rows["at"].type).equals(rows["at"])
    assert [plain(one) for one in found.column("y").to_pylist()] == [[0, 1], [2, 3]]
