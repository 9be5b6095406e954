from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.read import json_parse
from beamsplit.transforms.read.json_faults import DOUBTFUL, Faults
from beamsplit.transforms.read.json_parse import parse, parse_texts

SCHEMA = pa.schema(
    [
        ("f", pa.float32()),
        ("i", pa.int8()),
        ("u", pa.uint64()),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("l", pa.list_(pa.float64())),
        ("n", pa.list_(pa.list_(pa.int64()))),
        ("o", pa.struct([("p", pa.int64())])),
        ("j", pa.json_()),
    ]
)
values = (
    st.sampled_from([None, True, 1, -1, 1.5, 300, 2**70, "a", [], [1.5], [[1], [2]], ["a"], {"p": 1}, {"p": "x"}, {}])
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)
lines_of_json = st.dictionaries(st.sampled_from(SCHEMA.names), values, max_size=4).map(
    lambda row: json.dumps(row).encode()
)
odd_lines = st.sampled_from(
    [
        *(b"oops", b"[1]", b"7", b"null", b"{", b"{}{}", b'{"s": "\\ud83d"}', b'{"s": "\xff"}', b'{"i": 1, "i": 2}'),
        *(b'{"f": 1e400}', b'{"f": Infinity}', b'{"l": [1e999]}', b'{"j": {"k": 1.10}}', b'{"s": "s"}'),
        b'{"f": 16777217}',
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(lines_of_json | odd_lines, min_size=1, max_size=30))
def test_lines_fare_together_as_each_alone(texts: list[bytes]):
    together = parse_texts(texts, SCHEMA)
    alone = [parse_texts([text], SCHEMA) for text in texts]
    assert together.bad == {at: one.bad[0] for at, one in enumerate(alone) if one.bad}
    assert together.batch.equals(pa.concat_batches([one.batch for one in alone]))


@settings(max_examples=100, deadline=None)
@given(lines_of_json | odd_lines)
def test_what_is_told_of_a_line_is_true(text: bytes):
    why = Faults(SCHEMA).of(text)
    try:
        parsed = json_parse._parse_rows(text, 1, SCHEMA)
    except json_parse.CANNOT_PARSE:
        parsed = None
    assert parsed is None if why else why == DOUBTFUL or parsed is not None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"i": 54.0}', "field 'i' holds 54.0, which is no int8"),
        ('{"i": 300}', "field 'i' holds 300, which is no int8"),
        ('{"i": 1e400}', "Number too big to be stored in double."),
        ('{"i": NaN}', "Failed to convert JSON to int8, couldn't parse:NaN"),
        ('{"u": -1}', "field 'u' holds -1, which is no uint64"),
        ('{"b": 1}', "field 'b' holds a value of kind number, and is of kind boolean"),
        ('{"l": 1}', "field 'l' holds a value of kind number, and is of kind array"),
        ('{"l": ["x"]}', "field 'l' holds a value of kind string, and is of kind number"),
        ('{"o": {"p": []}}', "field 'o' holds a value of kind array, and is of kind number"),
        (f'{{"i": {"9" * 60}}}', f"field 'i' holds {'9' * 20}... (60 digits), which is no int8"),
    ],
)
def test_the_reason_names_the_field_and_the_value(value: str, said: str):
    assert parse(f'{{"i": 1}}\n{value}\n'.encode(), SCHEMA).bad == {1: f"no such JSON object: {said}"}


def test_many_bad_lines_take_few_parses(monkeypatch: pytest.MonkeyPatch):
    calls = []
    real = json_parse._parse_rows
    monkeypatch.setattr(json_parse, "_parse_rows", lambda *given: calls.append(given[1]) or real(*given))
    texts = [b'{"i": "x"}' if at % 10 == 0 else b'{"i": 1, "f": %d}' % at for at in range(10_000)]
    parsed = parse_texts(texts, SCHEMA)
    assert sorted(parsed.bad) == list(range(0, 10_000, 10))
    assert parsed.batch["f"].to_pylist() == [at for at in range(10_000) if at % 10]
    assert len(calls) < 64 and sum(calls) < 10 * len(texts)


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
)
def test_the_least_and_largest_whole_numbers_are_no_fault(kind):
    signed = pa.types.is_signed_integer(kind)
    low = -(2 ** (kind.bit_width - 1)) if signed else 0
    high = 2 ** (kind.bit_width - signed) - 1
    faults = Faults(pa.schema([("a", kind)]))
    assert [faults.of(b'{"a": %d}' % number) for number in (low, high)] == [None, None]
    for number in (low - 1, high + 1):
        assert faults.of(b'{"a": %d}' % number) == f"field 'a' holds {number}, which is no {kind}"
    long = faults.of(b'{"a": 1%s}' % (b"0" * 40))
    assert long == f"field 'a' holds 1{'0' * 19}... (41 digits), which is no {kind}"
