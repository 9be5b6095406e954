"""Lists of each kind of item: side by side as one by one, whole, cut anywhere and with bytes that are none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from beamsplit.transforms.kafka.registry import avro_decode, avro_lists
from beamsplit.transforms.kafka.registry.avro_decode import Decoded, decode
from beamsplit.transforms.kafka.registry.avro_nodes import Union
from beamsplit.transforms.kafka.registry.avro_plan import avro_schema_of
from beamsplit.transforms.kafka.registry.framing import Bodies
from tests.transforms.kafka.registry.avro_samples import laid_out, messages, plain

FIXED = {"type": "fixed", "name": "F", "size": 3}
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
PAIR = {"type": "record", "name": "P", "fields": [{"name": "a", "type": "float"}, {"name": "b", "type": "string"}]}

ITEMS: dict[str, tuple[Any, list[Any]]] = {
    "float": ("float", [0.5, -2.0, 1.0]),
    "double": ("double", [0.1, -2.0, 3.5]),
    "boolean": ("boolean", [True, False, True]),
    "fixed": (FIXED, [b"abc", b"\0\0\0", b"xyz"]),
    "int": ("int", [0, -1, 300]),
    "long": ("long", [1 << 40, -1, 3]),
    "enum": (ENUM, ["A", "B", "B"]),
    "string": ("string", ["", "é", "x" * 65]),
    "null": ("null", [None, None, None]),
    "there": (["null", "float"], [0.5, -2.0, 1.0]),
    "there first": (["double", "null"], [0.1, -2.0, 3.5]),
    "there or not": (["null", "float"], [0.5, None, 1.0]),
    "true or not": (["null", "boolean"], [True, None, False]),
    "true": (["boolean", "null"], [True, False, False]),
    "bytes there": (["null", FIXED], [b"abc", b"\0\0\0", b"xyz"]),
    "texts there": (["null", "string"], ["a", "", "b"]),
    "numbers there": (["null", "long"], [1, -1, 1 << 40]),
    "of three": (["int", "null", "double"], [1.5, None, 7]),
    "lists": ({"type": "array", "items": "float"}, [[1.0, 2.0], [], [3.0]]),
    "maps": ({"type": "map", "values": "int"}, [{"a": 1}, {}, {"b": 2, "c": 3}]),
    "records": (PAIR, [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": ""}, {"a": 3.0, "b": "é"}]),
}


def schema_of(items: Any, kind: str = "array") -> dict[str, Any]:
    """A list, and a number behind it."""
    many = {"type": "array", "items": items} if kind == "array" else {"type": "map", "values": items}
    return {"type": "record", "name": "R", "fields": [{"name": "x", "type": many}, {"name": "y", "type": "int"}]}


def read(schema: dict[str, Any], bodies: list[bytes], wanted: tuple[str, ...] = ("x", "y")) -> Decoded:
    return decode(avro_schema_of(json.dumps(schema), ()), laid_out(bodies), wanted)


def rows_of(some: list[Any], kind: str = "array") -> list[dict[str, Any]]:
    lists: list[Any] = [some, [], some[:1], some[1:], some[:2], [], some + some]
    if kind == "map":
        lists = [{f"k{at}": one for at, one in enumerate(each)} for each in lists]
    return [{"x": each, "y": at} for at, each in enumerate(lists)]


def one_by_one(schema: dict[str, Any], bodies: list[bytes], monkeypatch: pytest.MonkeyPatch) -> Decoded:
    with monkeypatch.context() as patch:
        patch.setattr(avro_decode, "MOST_PASSES", 0)
        return read(schema, bodies)


@pytest.mark.parametrize("kind", ["array", "map"])
@pytest.mark.parametrize("name", ITEMS)
def test_lists_are_read_side_by_side(name: str, kind: str, monkeypatch: pytest.MonkeyPatch):
    items, some = ITEMS[name]
    schema, rows = schema_of(items, kind), rows_of(some, kind)
    bodies = messages(schema, rows)
    with monkeypatch.context() as patch:
        patch.setattr(avro_decode, "_alone", lambda *_: pytest.fail("read one by one"))
        for chosen in (rows, rows[:1], rows[1:2], [rows[1], rows[5]], rows[::-1]):
            found = read(schema, messages(schema, chosen))
            assert [plain(row) for row in found.batch.to_pylist()] == [plain(row) for row in chosen]
        assert read(schema, bodies, ("y",)).batch.to_pylist() == [{"y": row["y"]} for row in rows]
    assert one_by_one(schema, bodies, monkeypatch).batch.equals(read(schema, bodies).batch)


@pytest.mark.parametrize("name", ["float", "double", "boolean", "there", "there first", "true", "bytes there"])
def test_items_of_one_width_are_not_read_item_by_item(name: str, monkeypatch: pytest.MonkeyPatch):
    items, some = ITEMS[name]
    schema, rows = schema_of(items), rows_of(some)
    bodies = messages(schema, rows)
    monkeypatch.setattr(Union, "read", lambda *_: pytest.fail("read item by item"))
    assert [plain(row) for row in read(schema, bodies).batch.to_pylist()] == [plain(row) for row in rows]


@pytest.mark.parametrize("name", ITEMS)
def test_what_is_cut_anywhere_is_told_and_the_others_are_read(name: str, monkeypatch: pytest.MonkeyPatch):
    items, some = ITEMS[name]
    schema, rows = schema_of(items), rows_of(some)
    bodies = messages(schema, rows)
    whole = bodies[0]
    for length in range(0, len(whole), 1 + len(whole) // 30):
        # Last of all bytes, where nothing is behind it, and before others.
        for before, after in ((bodies[1:], []), (bodies[1:2], bodies[2:])):
            cut = [*before, whole[:length], *after]
            found = read(schema, cut)
            assert list(found.bad) == [len(before)], length
            assert found.rows.tolist() == [at for at in range(len(cut)) if at != len(before)]
            assert [plain(row) for row in found.batch.to_pylist()] == [plain(row) for row in rows[1:]]
        assert found.bad == one_by_one(schema, cut, monkeypatch).bad


@pytest.mark.parametrize("name", ["boolean", "enum", "true or not", "true", "there", "of three"])
def test_bytes_that_are_none_are_told_of_their_message_only(name: str, monkeypatch: pytest.MonkeyPatch):
    items, some = ITEMS[name]
    schema = schema_of(items)
    rows = rows_of(some)
    bodies = messages(schema, rows)
    for at in range(len(bodies[0])):
        for other in (b"\2", b"\x80", b"\7"):
            wrong = [bodies[2], bodies[0][:at] + other + bodies[0][at + 1 :], bodies[3]]
            found, alone = read(schema, wrong), one_by_one(schema, wrong, monkeypatch)
            assert found.rows.tolist() == alone.rows.tolist() and str(found.batch.to_pylist()) == str(
                alone.batch.to_pylist()
            )
            assert found.bad == alone.bad


@pytest.mark.parametrize(
    ("count", "long", "together"), [(3, 16, True), (3, 17, False), (32, 17, True), (31, 17, False)]
)
def test_few_long_lists_are_read_one_by_one(count: int, long: int, together: bool, monkeypatch: pytest.MonkeyPatch):
    schema = schema_of("string")
    rows = [{"x": [str(at)] * long, "y": at} for at in range(count)]
    alone, read_alone = [], avro_decode._alone
    monkeypatch.setattr(avro_decode, "_alone", lambda *given: alone.append(1) or read_alone(*given))
    assert read(schema, messages(schema, rows)).batch.to_pylist() == rows and bool(alone) != together


@pytest.mark.parametrize("spare", [0, 1])
def test_nothings_are_as_many_as_fit(spare: int):
    count = 2 * (avro_lists.MOST_NOTHINGS + spare)
    number = b"".join(bytes([(count >> 7 * at) & 0x7F | (0x80 if at < 3 else 0)]) for at in range(4))
    found = read(schema_of("null"), [number.rstrip(b"\x80") + b"\0\2"])
    if spare:
        assert found.bad == {0: "it is cut short"}
    else:
        assert len(found.batch.column("x")[0]) == 1 << 20 and found.batch.column("y").to_pylist() == [1]


def test_what_cannot_be_read_is_passed_over_in_lists():
    schema = schema_of("float")
    schema["fields"].insert(0, {"name": "others", "type": {"type": "array", "items": "R"}})
    inner = {"others": [], "x": [1.0], "y": 1}
    rows = [{"others": [inner, inner], "x": [2.0], "y": 2}, {"others": [], "x": [], "y": 3}]
    assert read(schema, messages(schema, rows)).batch.to_pylist() == [{"x": [2.0], "y": 2}, {"x": [], "y": 3}]


def test_several_blocks_with_sizes_and_without():
    floats = [np.array([one], "<f4").tobytes() for one in range(6)]
    sized = b"\x03\x10" + floats[0] + floats[1] + b"\x02" + floats[2] + b"\x01\x08" + floats[3] + b"\0\x08"
    found = read(schema_of("float"), [sized, b"\0\2", b"\4" + floats[4] + floats[5] + b"\0\4"])
    assert found.batch.to_pylist() == [{"x": [0, 1, 2, 3], "y": 4}, {"x": [], "y": 1}, {"x": [4, 5], "y": 2}]
    assert read(schema_of("float"), []).batch.num_rows == 0
    nothing = Bodies(np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64))
    parsed = avro_schema_of(json.dumps(schema_of("float")), ())
    assert decode(parsed, nothing, ["x", "y"]).bad == {0: "it is cut short"}
