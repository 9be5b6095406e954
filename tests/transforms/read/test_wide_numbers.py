from __future__ import annotations

import json

import pyarrow as pa
import pytest

from beamsplit.transforms.kafka.messages import ParseMessages, parse_values
from beamsplit.transforms.read.json_parse import Rules, parse_texts
from beamsplit.transforms.read.wide_numbers import unheld

WIDE = 9007199254740993


def told(kind: pa.DataType, *values: str, narrow: bool = True) -> dict[int, str]:
    """Rows of a column `x` that fail, and why."""
    texts = [f'{{"x": {value}}}'.encode() for value in values]
    return parse_texts(texts, pa.schema([("x", kind)]), Rules(narrow=narrow)).bad


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pa.float64(), "{}"),
        (pa.list_(pa.float64()), "[1, {}]"),
        (pa.list_(pa.list_(pa.float64())), "[[1], [], [2, {}]]"),
        (pa.struct([("a", pa.float64()), ("b", pa.string())]), '{{"b": "s", "a": {}}}'),
        (pa.list_(pa.struct([("a", pa.float64())])), '[{{"a": 1}}, {{"a": {}}}]'),
    ],
)
def test_whole_numbers_that_float64_does_not_hold_fail_wherever_they_are(kind: pa.DataType, text: str):
    held = [
        text.format(number) for number in ("1", "9007199254740992", "9007199254740993.5", "1e20", "NaN", "-Infinity")
    ]
    wrong = [text.format(number) for number in (WIDE, -WIDE, f"{WIDE}.0")]
    assert told(kind, *held, "null") == {}
    found = told(kind, *held, *wrong)
    assert sorted(found) == [6, 7, 8]
    assert found[6] == f"column 'x': {WIDE} is a whole number that no double holds, it would be {WIDE - 1}"


def test_numbers_that_float32_does_not_hold():
    kind = pa.list_(pa.float32())
    texts = ["[16777217, 1]", "[16777218, 0.1, 16777217.5]", "[1e39]", "[NaN, Infinity]"]
    assert told(kind, *texts, narrow=True) == {2: "column 'x': 1e39 is too large for float"}
    assert told(kind, *texts, narrow=False) == {
        0: "column 'x': 16777217 is a whole number that no float holds; --narrow rounds it",
        2: "column 'x': 1e39 is too large for float",
    }


def test_numbers_that_float16_does_not_hold():
    assert sorted(told(pa.float16(), "2048", "2049", "70000", narrow=False)) == [1, 2]
    assert sorted(told(pa.float16(), "2048", "2049", "70000", narrow=True)) == [2]


def test_messages_follow_the_rule_of_files():
    values = pa.array([b'{"x": [16777217]}', b'{"x": [16777216]}'], pa.binary())
    schema = pa.schema([("x", pa.list_(pa.float32()))])
    assert sorted(parse_values("json", values, schema).bad) == [0]
    assert parse_values("json", values, schema, Rules()).bad == {}
    assert ParseMessages("json", schema).rules.narrow is False


def test_texts_are_not_asked_for_where_no_number_is_suspicious():
    def never() -> pa.Array:
        raise AssertionError

    assert unheld(pa.array([[1.5, 2.0], None, [float("nan")]]), never) == {}
    assert unheld(pa.array([{"a": 1.5}, None]), never) == {}


def test_rows_beside_are_read():
    texts = [json.dumps({"x": [number]}).encode() for number in (1, WIDE, 2)]
    parsed = parse_texts(texts, pa.schema([("x", pa.list_(pa.float64()))]))
    assert parsed.batch.to_pylist() == [{"x": [1.0]}, {"x": [2.0]}] and sorted(parsed.bad) == [1]


NUMBERS = ["1", "16777216", "9007199254740992", "9007199254740994", "-9007199254740994.0", "9007199254740994.5", "6e23"]


@pytest.mark.parametrize("nested", [False, True])
def test_whole_numbers_of_float64_that_a_float32_input_would_round(nested: bool):
    kind = pa.list_(pa.float64()) if nested else pa.float64()
    texts = [f'{{"x": [{number}]}}' if nested else f'{{"x": {number}}}' for number in NUMBERS]
    schema = pa.schema([("x", kind)])
    found = parse_texts([text.encode() for text in texts], schema, Rules(fed={"x": "float32"})).bad
    assert sorted(found) == [3, 4]
    assert found[3] == "column 'x': 9007199254740994 is a whole number that no float holds; --narrow rounds it"
    assert parse_texts([text.encode() for text in texts], schema).bad == {}


def test_those_of_csv_too():
    from beamsplit.transforms.read.csv_cells import parse

    run = "\n".join([*NUMBERS, ""]).encode()
    schema = pa.schema([("x", pa.float64())])
    assert sorted(parse(run, ["x"], schema, fed={"x": "float32"}).bad) == [3, 4]
    # Where a cell is no number, all are converted one by one.
    assert sorted(parse(run + b"oops\n", ["x"], schema, fed={"x": "float32"}).bad) == [3, 4, 7]
    assert parse(run, ["x"], schema).bad == {}


def test_of_a_struct_the_fields_that_are_fed(tmp_path):
    from beamsplit.transforms.read import ReadOptions, find_files, read_split, split_file
    from beamsplit.transforms.read.result import Derived

    path = tmp_path / "s.jsonl"
    rows = [{"f": {"a": number, "b": {"c": number}}} for number in (1.5, 9007199254740994)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    inner = pa.struct([("a", pa.float64()), ("b", pa.struct([("c", pa.float64())]))])
    schema = pa.schema([("f", inner), ("f.a", pa.float64()), ("f.b.c", pa.float64())])
    derived = Derived((("f.a", ("f", "a")), ("f.b.c", ("f", "b", "c"))))
    for name, bad in (("f.a", [1]), ("f.b.c", [1]), ("f", [])):
        options = ReadOptions(schema, ("f.a", "f.b.c"), derived=derived, fed=((name, "float32"),) if bad else ())
        split = split_file(find_files([str(path)])[0], 0, "jsonl", 1 << 20)[0]
        failures = [failure for result in read_split(split, options) for failure in result.failures]
        assert [failure.row for failure in failures] == bad
