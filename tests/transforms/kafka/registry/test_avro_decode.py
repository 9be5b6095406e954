from __future__ import annotations

import io
import json
import re
from typing import Any

import fastavro
import numpy as np
import pytest

from beamsplit.transforms.formats.avro_schema import Unreadable
from beamsplit.transforms.kafka.registry import avro_decode
from beamsplit.transforms.kafka.registry.avro_decode import Decoded, decode
from beamsplit.transforms.kafka.registry.avro_plan import BadSchema, avro_schema_of
from beamsplit.transforms.read.damage import without_damage
from tests.transforms.kafka.registry.avro_samples import Samples, laid_out, messages, plain


def decoded(schema: Any, bodies: list[bytes], wanted: list[str] | None = None, references: Any = ()) -> Decoded:
    parsed = avro_schema_of(json.dumps(schema), references)
    return decode(parsed, laid_out(bodies), [name for name in parsed.types] if wanted is None else wanted)


@pytest.mark.parametrize("seed", range(40))
def test_columns_hold_what_fastavro_reads(seed: int, monkeypatch: pytest.MonkeyPatch):
    samples = Samples(seed)
    schema = samples.record(4)
    rows = [samples.value(schema) for _ in range(60)]
    # Nothing is left to the fallback.
    monkeypatch.setattr(avro_decode, "_alone", lambda *_: pytest.fail("read one by one"))
    found = decoded(schema, messages(schema, rows))
    assert found.rows.tolist() == list(range(60)) and not found.bad
    assert [plain(row) for row in found.batch.to_pylist()] == [plain(row) for row in rows]


@pytest.mark.parametrize("seed", range(8))
def test_one_by_one_gives_the_same(seed: int, monkeypatch: pytest.MonkeyPatch):
    samples = Samples(seed)
    schema = samples.record(4)
    bodies = messages(schema, [samples.value(schema) for _ in range(20)])
    together = decoded(schema, bodies)
    monkeypatch.setattr(avro_decode, "MOST_PASSES", 0)
    assert decoded(schema, bodies).batch.equals(together.batch)


@pytest.mark.parametrize("seed", range(4))
def test_messages_that_are_cut_or_go_on_are_told_and_the_others_read(seed: int):
    samples = Samples(seed)
    schema = samples.record(3)
    schema["fields"].append({"name": "last", "type": "string"})
    rows = [samples.value(schema) | {"last": "end"} for _ in range(30)]
    whole = messages(schema, rows)
    bodies = [
        body[:-at] if at % 3 == 1 and at < len(body) else body + b"\0" if at % 3 == 2 else body
        for at, body in enumerate(whole)
    ]
    found = decoded(schema, bodies)
    good = [at for at, body in enumerate(bodies) if body == whole[at]]
    assert found.rows.tolist() == good and set(found.bad) == set(range(30)) - set(good)
    assert [plain(row) for row in found.batch.to_pylist()] == [plain(rows[at]) for at in good]


FIELD = {"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]}


def of(kind: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": "x", "type": kind}]}


ENUM = {"type": "enum", "name": "E", "symbols": ["A"]}


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("int", b"", "it is cut short"),
        ("int", b"\x80", "it is cut short"),
        ("long", b"\xff" * 10 + b"\1", "longer than 10 bytes"),
        ("int", b"\x80\x80\x80\x80\x20", "larger than an int"),
        ("boolean", b"\2", "neither 0 nor 1"),
        ("string", b"\x03", "it is cut short"),
        ("string", b"\x06ab", "it is cut short"),
        (ENUM, b"\2", "that of none"),
        (["null", "int"], b"\4", "that of none"),
        ({"type": "array", "items": "float"}, b"\x02abc", "it is cut short"),
        ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\0", "it is cut short"),
        ({"type": "array", "items": "long"}, b"\4\2", "it is cut short"),
        ({"type": "array", "items": "string"}, b"\x80\x80\x80\x80\x01\0", "it is cut short"),
        ({"type": "array", "items": ENUM}, b"\4\0\2\0", "that of none"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 2}, b"\4\x7f\xff", "no|precision|digits"),
        ("int", b"\2\2", "it goes on behind its end"),
    ],
)
def test_what_is_wrong_is_told(kind: Any, body: bytes, why: str):
    # One that is good beside it, whatever it is.
    good = messages(of("int"), [{"x": 0}])[0] if kind == "int" else None
    found = decoded(of(kind), [body, *([good] if good else [])])
    assert set(found.bad) == {0} and found.batch.num_rows == (1 if good else 0)
    assert re.search(why, found.bad[0]), found.bad


def test_lists_in_several_blocks_and_with_their_sizes():
    # 2 items in a block that tells its 8 bytes, then 1 item, then the end
    x = np.array([1, 2, 3], "<f4").tobytes()
    body = b"\x03\x10" + x[:8] + b"\x02" + x[8:] + b"\0"
    found = decoded(of({"type": "array", "items": "float"}), [body, b"\0", b"\2" + x[:4] + b"\0"])
    assert found.batch.column("x").to_pylist() == [[1, 2, 3], [], [1]]


def test_few_long_lists_of_texts_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch):
    schema = of({"type": "array", "items": "string"})
    rows = [{"x": [str(at)] * 300} for at in range(3)]
    found = decoded(schema, [*messages(schema, rows), b"\4\2"])
    assert found.batch.to_pylist() == rows and list(found.bad) == [3]


def test_a_record_that_is_part_of_itself_is_passed_over():
    schema = {
        "type": "record",
        "name": "a.R",
        "fields": [{"name": "next", "type": ["null", "R"]}, {"name": "x", "type": "int"}],
    }
    rows: list[Any] = [{"next": {"next": {"next": None, "x": 1}, "x": 2}, "x": 3}, {"next": None, "x": 4}]
    bodies = messages(schema, rows)
    assert decoded(schema, bodies, ["x"]).batch.to_pylist() == [{"x": 3}, {"x": 4}]
    with pytest.raises(Unreadable, match="part of itself"):
        decoded(schema, bodies, ["next"])


@pytest.mark.parametrize("depth", [100_000, 3_000])
def test_a_message_that_is_nested_too_deep_fails_alone(depth: int):
    schema = {**of("float"), "fields": [{"name": "c", "type": "float"}, {"name": "next", "type": ["null", "R"]}]}
    bodies = [b"\0" * 5, (b"\0" * 4 + b"\x02") * depth + b"\0" * 5, (b"\0" * 4 + b"\x02") * 9 + b"\0" * 5]
    found = decoded({**schema, "name": "R"}, bodies, ["c"])
    assert found.rows.tolist() == [0, 2] and found.bad == {1: "it is nested too deep"}
    endless = {"type": "record", "name": "R", "fields": [{"name": "c", "type": "float"}, {"name": "r", "type": "R"}]}
    assert set(decoded(endless, [b"\0" * 8], ["c"]).bad) == {0}


def test_names_of_other_schemas():
    one = json.dumps({"type": "record", "name": "n.D", "fields": [{"name": "y", "type": "int"}]})
    two = json.dumps({"type": "record", "name": "n.M", "fields": [{"name": "d", "type": "n.D"}]})
    schema = {"type": "record", "name": "R", "fields": [{"name": "m", "type": "n.M"}, {"name": "d", "type": "n.D"}]}
    references = (("n.D", one), ("n.M", two))
    named: dict[str, Any] = {}
    for text in (one, two):
        fastavro.parse_schema(json.loads(text), named_schemas=named)
    row, out = {"m": {"d": {"y": 1}}, "d": {"y": 2}}, io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas=named), row)
    assert decoded(schema, [out.getvalue()], references=references).batch.to_pylist() == [row]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "cannot be read"),
        ('"int"', "is that of int"),
        ("[]", "is that of"),
        ('{"type": "record"}', "cannot be"),
        (json.dumps(of("n.Nobody")), "cannot be read"),
    ],
)
def test_schemas_that_are_none(text: str, why: str):
    with pytest.raises(BadSchema, match=why):
        avro_schema_of(text)


def test_a_text_in_a_map_that_is_none_fails_its_message_only():
    schema = of({"type": "array", "items": {"type": "map", "values": "string"}})
    rows = [{"x": [{"a": "ab", "b": "cd"}]}, {"x": []}, {"x": [{"a": "ef"}, {"c": "gh"}]}, {"x": [{"k": "ij"}]}]
    bodies = messages(schema, rows)
    bodies[2] = bodies[2].replace(b"gh", b"\xff\xfe")
    sound, bad = without_damage(decoded(schema, bodies).batch, ["x"])
    assert set(bad) == {2} and sound.num_rows == 3
    assert set(without_damage(decoded(schema, bodies).batch.slice(1), ["x"])[1]) == {1}
