from __future__ import annotations

import io
import pickle
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import to_numpy
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.prepare.bytes import Bytes
from beamsplit.transforms.spec import build


def step(spec: str) -> Bytes:
    return build(Bytes, spec, "--prepare")


def run(spec: str, rows: list[bytes | None], kind: pa.DataType | None = None) -> tuple[list[list[int]], list]:
    made = step(spec)
    block = with_origin(pa.record_batch({"bytes": pa.array(rows, type=kind or pa.binary())}), "f", 0)
    result = pickle.loads(pickle.dumps(made))(block)  # noqa: S301
    assert result.block.schema == made.output_schema(block.schema)
    bad = {failure.row for failure in result.failures}
    assert result.block.column("_origin_row").to_pylist() == [i for i in range(len(rows)) if i not in bad]
    return to_numpy(result.block.column("bytes")).tolist(), result.failures


def test_first_and_last_bytes_are_padded_between_them():
    values, failures = run("bytes:begin=3,end=2,pad=256", [b"\x01\x02\x03\x04", b"\x09", b""])
    assert values == [[1, 2, 3, 3, 4], [9, 256, 256, 256, 9], [256] * 5]
    assert failures == []


def test_middle_bytes_are_centred():
    values, _ = run("bytes:mid=3,pad=0", [bytes([1, 2, 3, 4, 5]), b"\x07"])
    assert values == [[2, 3, 4], [0, 7, 0]]


def test_strip_skips_whitespace_within_the_block():
    values, _ = run("bytes:begin=2,end=2,pad=0,strip,block_size=4", [b"  ab\n\n\n\n", b"     ab    "])
    assert values == [[97, 98, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_every_binary_type_and_nulls(kind: pa.DataType):
    values, failures = run("bytes:begin=2,pad=0", [b"ab", None, b"c"], kind)
    assert values == [[97, 98], [99, 0]]
    assert failures == [(1, "null in column 'bytes'")]


def test_rows_shorter_than_min_fail():
    values, failures = run("bytes:begin=3,pad=0,strip,min=3", [None, b"abc", b" a     ", b"", b"abcd"])
    assert values == [[97, 98, 99], [97, 98, 99]]
    assert failures == [
        (0, "null in column 'bytes'"),
        (2, "1 bytes in column 'bytes', min=3"),
        (3, "0 bytes in column 'bytes', min=3"),
    ]


def test_a_slice_is_read_from_its_own_start():
    block = pa.record_batch({"bytes": pa.array([b"aa", b"bb", b"cc"])}).slice(1, 2)
    assert to_numpy(step("bytes:begin=2")(block).block.column("bytes")).tolist() == [[98, 98], [99, 99]]


def test_the_input_column_stays_where_asked():
    made = step("bytes:begin=2,output=head,keep")
    block = pa.record_batch({"id": [7], "bytes": pa.array([b"ab"])})
    assert made(block).block.schema.names == ["id", "bytes", "head"]
    assert made.output_schema(block.schema).names == ["id", "bytes", "head"]


def test_an_empty_block():
    assert run("bytes:begin=2,end=2", [])[0] == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bytes:begin=0", "leaves no bytes"),
        ("bytes:begin=9,block_size=8", "may not be more than block_size=8"),
        ("bytes:begin=9,pad=256,dtype=uint8", "pad=256 does not fit dtype=uint8"),
        ("bytes:begn=9", r"unknown option 'begn', did you mean 'begin'\?; options of bytes: begin, mid, end"),
        ("bytes:begin=x", "begin=x is not a whole number of at least 0; for example: --prepare bytes:begin=512"),
    ],
)
def test_wrong_options(spec: str, message: str):
    with pytest.raises(UsageError, match=message):
        step(spec)


def test_wrong_columns():
    with pytest.raises(UsageError, match=r"wants column 'bytes' \(binary data\), which is missing.*a: int64"):
        step("bytes:begin=1").output_schema(pa.schema([("a", pa.int64())]))
    with pytest.raises(UsageError, match="binary data in column 'bytes', which is of type string"):
        step("bytes:begin=1").output_schema(pa.schema([("bytes", pa.string())]))


SPACES_AND_LETTERS = st.lists(st.sampled_from([b" ", b"\n", b"\x0b", b"\x00", b"a", b"\xff"]), max_size=60).map(
    b"".join
)


def magika_features(content: bytes, begin: int, end: int, pad: int, block_size: int) -> list[int]:
    """What magika 1.0.3 does to a file (`Magika._extract_features_from_seekable`)."""
    size = min(block_size, len(content))
    head = content[:size].lstrip()[:begin]
    tail = content[len(content) - size :].rstrip()
    tail = tail[max(len(tail) - end, 0) :]
    return [*head, *[pad] * (begin - len(head)), *[pad] * (end - len(tail)), *tail]


@settings(max_examples=50, deadline=None)
@given(st.lists(SPACES_AND_LETTERS, max_size=8))
def test_features_are_magikas_by_definition(rows: list[bytes]):
    values, _ = run("bytes:begin=5,end=4,pad=256,strip,block_size=16", rows)
    assert values == [magika_features(row, 5, 4, 256, 16) for row in rows]


def test_features_are_those_of_the_magika_package():
    magika = pytest.importorskip("magika.magika")
    seekable = pytest.importorskip("magika.types").Seekable
    rng = random.Random(0)
    pieces = [b" ", b"\n", b"\t\r", b"\x0b\x0c", b"\x00", b"word", bytes(range(256))]
    rows = [b"", b" ", b"\n" * 5000, b" " * 4095 + b"x" * 3000 + b" " * 4096, b"a" * 4096, b" a" * 4096]
    rows += [b"".join(rng.choices(pieces, k=rng.choice([1, 7, 50, 900]))) for _ in range(200)]
    expected = []
    for row in rows:
        features = magika.Magika._extract_features_from_seekable(
            seekable(io.BytesIO(row)), 1024, 0, 1024, 256, 4096, False
        )
        expected.append(features.beg + features.end)
    values, _ = run("bytes:begin=1024,end=1024,pad=256,strip=true,block_size=4096", rows)
    assert np.array_equal(values, expected)
