from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beamsplit.transforms.read import json_alike, json_parse
from beamsplit.transforms.read.json_alike import read_alike
from beamsplit.transforms.read.json_parse import Rules, parse, parse_texts, read_text

pytest.importorskip("simdjson")

SCHEMA = pa.schema([("a", pa.float32()), ("n", pa.int16()), ("d", pa.float64()), ("x", pa.list_(pa.float32()))])

NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65).map(str),
    st.integers(-300, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: json.dumps(float(np.float32(x)))),
    st.sampled_from(
        [
            "0",
            "-0",
            "-0.0",
            "1.0",
            "1e2",
            "1E+2",
            "1e400",
            "1e39",
            "1e-50",
            "16777217",
            "9007199254740993",
            "32768",
            "0.1",
            "1e-45",
        ]
    ),
    # Half-way between two float32, and next to it; between the largest and infinity; the half of the smallest.
    st.sampled_from(["1.00000005960464477539", "1.000000059604644775390625000001", "1.00000005960464477539062499999"]),
    st.sampled_from(["3.4028235677973366e38", "7.006492321624085e-46", "123456789.123456789"]),
)
OTHERS = st.sampled_from(
    """null|true|"1"|"a,b"|NaN|Infinity|01|+1|1.|.5||1,2|[1]|[]|[[1]]|{}|1}|[1,]|[1, null]|1 2|{"a":1}|- 1|0x1|1]|[|{|
    \\u0031|1,"a":2|1 , "q" : 2|"\\""|1\r""".replace("\n    ", "").split("|")
)
LISTS = st.lists(NUMBERS, min_size=0, max_size=3).map(lambda many: f"[{', '.join(many)}]")
VALUES = st.one_of(NUMBERS, NUMBERS, NUMBERS, LISTS, OTHERS)


@st.composite
def lines(draw: st.DrawFn) -> list[bytes]:
    """Objects of the same keys, some of which depart in a value, a key or a byte."""
    comma, colon = draw(st.sampled_from([", ", ","])), draw(st.sampled_from([": ", ":"]))
    keys = draw(st.permutations(["a", "n", "d", "x", "other", "é"]).map(lambda keys: keys[: max(4, len(keys))]))
    made = []
    for _ in range(draw(st.integers(1, 12))):
        odd = draw(st.integers(0, 9))
        values = {key: draw(LISTS if key == "x" else st.integers(-9, 9).map(str)) for key in keys}
        for key in draw(st.lists(st.sampled_from(keys), max_size=2)):
            values[key] = draw(LISTS if key == "x" else NUMBERS)
        if odd == 0:
            values[draw(st.sampled_from(keys))] = draw(VALUES)
        names = dict(zip(keys, keys, strict=True))
        if odd == 1:
            names[draw(st.sampled_from(keys))] = draw(st.sampled_from(["a", "b", "aa", "\\u0061", ""]))
        text = comma.join(f'"{names[key]}"{colon}{value}' for key, value in values.items())
        line = ("{" + text + "}").encode()
        if odd == 2:
            at = draw(st.integers(0, len(line)))
            line = (
                line[:at]
                + draw(st.sampled_from([b"", b" ", b'"', b",", b"}", b"{", b"]", b"1", b"\r"]))
                + line[at + 1 :]
            )
        if odd == 3:
            line = draw(
                st.sampled_from([b"", b"{}", b" ", line + b" ", b" " + line, line + line, b"null", b"\xff", line[:-1]])
            )
        made.append(line)
    return made


def of_arrow(texts, schema, rules):
    """What Arrow's reader makes of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_parse, "read_alike", lambda text, rows, schema, otherwise: otherwise(text, schema))
        return parse_texts(texts, schema, rules)


def bits(batch: pa.RecordBatch) -> list[bytes | list[object]]:
    """Values, those of floats by their bits: -0 is not 0."""
    return [repr(column.to_pylist()) for column in batch.columns]


@given(lines(), st.sampled_from([Rules(), Rules(narrow=False)]))
@example([b'{"a":1,"n":2,"d":1,"x":[1]}', b'{"a" "n":,"d":1,"x":[1], 1:1}', b'{"a":,"n":2,3,"d":1,"x":[1]}'], Rules())
@example([b'{"a":1,"n":2,"d":1,"x":[1]}', b'{"a":1,2,"n":2,"d":1,"x":[]}'], Rules())
@example([b'{"a":[1],"n":2,"d":1,"x":1}', b'{"a":1,"n":2,"d":1,"x":[1]}'], Rules())
@example([b'{"a":1,"n":2,"d":1,"x":[1}', b'{"a":1],"n":2,"d":1,"x":[1]]}'], Rules())
@example([b'{"a":1,"n":1,"d":1,"x":[1]}', b'{"a":1,"n":1}', b'{"a":1,"n":1,"d":1,"x":[1],"p":1,"q":2}'], Rules())
def test_lines_are_read_as_by_arrow(texts, rules):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_alike, "LEAST_ROWS", 1)
        patch.setattr(json_alike, "MOST_ODD", 0.9)
        patch.setattr(json_alike, "CHUNK_BYTES", 100)
        found = parse_texts(texts, SCHEMA, rules)
    wanted = of_arrow(texts, SCHEMA, rules)
    assert bits(found.batch) == bits(wanted.batch) and found.batch.schema == wanted.batch.schema
    assert (found.rows, found.bad) == (wanted.rows, wanted.bad)


def refuse(text: bytes, schema: pa.Schema) -> pa.Table:
    raise AssertionError(f"left to Arrow: {text[:80]!r}")


def objects(rows: int, keys: int) -> tuple[list[bytes], pa.Schema]:
    rng = np.random.default_rng(0)
    made = [
        json.dumps({f"f{at}": value for at, value in enumerate(row)}).encode() for row in rng.normal(0, 1, (rows, keys))
    ]
    return made, pa.schema([(f"f{at}", pa.float32()) for at in range(keys)])


@pytest.mark.parametrize("schema", [SCHEMA, pa.schema([("x", pa.list_(pa.int8()))]), pa.schema([("d", pa.float64())])])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_lines_that_are_alike_are_not_left_to_arrow(schema, end, monkeypatch):
    monkeypatch.setattr(json_alike, "CHUNK_BYTES", 500)
    texts = [b'{"a": %d.5, "n":%d, "x": [%s], "d": 1e-3}' % (at, -at, b"1, 2" if at % 2 else b"7") for at in range(99)]
    text = b"\n".join(texts) + end
    found = read_alike(text, 99, schema, refuse)
    assert found.combine_chunks() == read_text(text, schema).combine_chunks()


def test_lines_that_depart_are_left_to_arrow_and_keep_their_places(monkeypatch):
    monkeypatch.setattr(json_alike, "CHUNK_BYTES", 2_000)
    texts, schema = objects(300, 4)
    for at in (0, 1, 77, 150, 299):
        texts[at] = [b'{"f1": null}', b'{"f3": 1}', b'{"f0": 1, "f1": 2, "f2": 3, "f3": null}'][at % 3]
    given_ = []
    found = read_alike(
        b"\n".join(texts), 300, schema, lambda text, schema: (given_.append(text), read_text(text, schema))[1]
    )
    assert found.combine_chunks() == read_text(b"\n".join(texts), schema).combine_chunks()
    assert sum(len(text.split(b"\n")) for text in given_) < 100


def test_bad_lines_among_those_that_are_alike_are_told():
    texts, schema = objects(600, 3)
    for at in (5, 350):
        texts[at] = texts[at].replace(b"}", b"]")
    texts[9] = b""
    found, wanted = parse_texts(texts, schema), of_arrow(texts, schema, Rules())
    assert found.batch == wanted.batch and found.bad == wanted.bad and sorted(found.bad) == [5, 9, 350]


def test_files_are_read_so_too():
    texts, schema = objects(40, 3)
    assert parse(b"\n".join(texts) + b"\n\n", schema).batch == of_arrow(texts, schema, Rules()).batch
