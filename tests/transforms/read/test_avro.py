"""Avro files of other writers: codecs, small blocks, logical types, unions, names, and damage."""

from __future__ import annotations

import datetime as dt
import io
import json
import zlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import avro
from beamsplit.transforms.formats.avro_codecs import CODECS
from beamsplit.transforms.formats.avro_encode import encoded, numbers
from beamsplit.transforms.formats.avro_schema import avro_schema
from beamsplit.transforms.read import ReadOptions, find_files, infer_schema, read_all, split_file
from beamsplit.transforms.read.compression import DamagedFile
from tests.command import Command

SCHEMA = {
    "type": "record",
    "name": "Row",
    "namespace": "a.b",
    "fields": [{"name": "n", "type": "long"}, {"name": "s", "type": ["null", "string"], "default": None}],
}
ROWS = [{"n": n, "s": None if n % 3 else "é" * n} for n in range(-50, 250)]


def write(path: Path, schema: dict[str, Any], rows: list[dict[str, Any]], codec: str = "null", block: int = 500) -> str:
    with open(path, "wb") as file:
        fastavro.writer(file, schema, rows, codec=codec, sync_interval=block)
    return str(path)


def read(path: str, split_bytes: int = 1 << 30, **changed: Any) -> list[dict[str, Any]]:
    (file,) = find_files([path])
    options = ReadOptions(infer_schema([file], "avro").schema, **changed)
    results = read_all(split_file(file, 0, "avro", split_bytes), options)
    found = [row for result in results if result.block for row in result.block.to_pylist()]
    assert [row.pop("_origin_row") for row in found] == list(range(len(found)))
    return [row for row in found if row.pop("_origin_file") == path]


def with_codec(path: Path, codec: str, pack: Callable[[bytes], bytes]) -> str:
    """A file of one block that fastavro need not be able to compress."""
    body = b"".join(_row(row) for row in ROWS)
    meta = {"avro.schema": json.dumps(SCHEMA), "avro.codec": codec}
    texts = [text.encode() for pair in meta.items() for text in pair]
    head = avro.MAGIC + avro.numbers_of(2) + b"".join(avro.numbers_of(len(text)) + text for text in texts)
    packed = pack(body)
    block = avro.numbers_of(len(ROWS)) + avro.numbers_of(len(packed)) + packed
    path.write_bytes(head + b"\0" + b"m" * 16 + block + b"m" * 16)
    return str(path)


def _row(row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), row)
    return out.getvalue()


def packers() -> dict[str, Callable[[bytes], bytes]]:
    import bz2
    import lzma

    import zstandard

    def snappy(data: bytes) -> bytes:
        return bytes(pa.Codec("snappy").compress(data)) + zlib.crc32(data).to_bytes(4, "big")

    def deflate(data: bytes) -> bytes:
        return zlib.compress(data)[2:-4]

    zstd = zstandard.ZstdCompressor(write_content_size=False).compress
    return dict(zip(CODECS, (bytes, deflate, snappy, zstd, bz2.compress, lzma.compress), strict=True))


@pytest.mark.parametrize("codec", list(CODECS))
def test_codecs(tmp_path: Path, codec: str):
    path = with_codec(tmp_path / "a.avro", codec, packers()[codec])
    assert read(path) == ROWS
    damaged = bytearray(Path(path).read_bytes())
    if codec in ("snappy", "bzip2", "xz"):  # which have a checksum
        damaged[-30] ^= 1
        Path(path).write_bytes(damaged)
        with pytest.raises(DamagedFile, match=r"a.avro is damaged: the block at byte \d+ cannot be read"):
            read(path)


def test_a_codec_that_is_not_known(tmp_path: Path):
    path = with_codec(tmp_path / "a.avro", "lz4", bytes)
    with pytest.raises(DamagedFile, match="is compressed with 'lz4', and these can be read: null, deflate, snappy"):
        read(path)


@pytest.mark.parametrize("split_bytes", [1, 2_000, 1 << 30])
@pytest.mark.parametrize("at_once", [1, 5_000, 1 << 20])
def test_many_small_blocks(tmp_path: Path, monkeypatch, split_bytes: int, at_once: int):
    monkeypatch.setattr(avro, "AT_ONCE", at_once)
    path = write(tmp_path / "a.avro", SCHEMA, ROWS)
    assert read(path, split_bytes) == ROWS
    assert read(path, split_bytes, columns=("s",), block_rows=7) == [{"s": row["s"]} for row in ROWS]


def field(kind: Any, name: str = "c") -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": "id", "type": "int"}, {"name": name, "type": kind}]}


UTC = dt.timezone.utc
RECORD = {"type": "record", "name": "P", "fields": [{"name": "x", "type": "float"}]}


@pytest.mark.parametrize(
    ("kind", "values", "arrow"),
    [
        ("null", [None], pa.null()),
        (["null", "int"], [1, None], pa.int32()),
        (["int", "null"], [1, None], pa.int32()),
        (["null"], [None], pa.null()),
        (["long"], [5], pa.int64()),
        (["null", "int", "long"], [1, None, 2**40], pa.int64()),
        (["float", "double"], [0.5, 1e300], pa.float64()),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, ["B", "A"], pa.dictionary(pa.int32(), pa.string())),
        ({"type": "fixed", "name": "F", "size": 2}, [b"ab"], pa.binary(2)),
        ({"type": "int", "logicalType": "date"}, [dt.date(1969, 1, 1)], pa.date32()),
        ({"type": "int", "logicalType": "time-millis"}, [dt.time(1, 2, 3)], pa.time32("ms")),
        ({"type": "long", "logicalType": "time-micros"}, [dt.time(1, 2, 3, 4)], pa.time64("us")),
        (
            {"type": "long", "logicalType": "timestamp-millis"},
            [dt.datetime(1960, 1, 1, tzinfo=UTC)],
            pa.timestamp("ms", "UTC"),
        ),
        (
            ["null", {"type": "long", "logicalType": "local-timestamp-micros"}],
            [dt.datetime(2024, 1, 2, 3), None],
            pa.timestamp("us"),
        ),
        ({"type": "string", "logicalType": "uuid"}, ["2d3b2f0c-0000-4000-8000-000000000000"], pa.string()),
        ({"type": "long", "logicalType": "of-tomorrow"}, [7], pa.int64()),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2},
            [Decimal("-1.25"), Decimal("0.00"), Decimal("1.28"), Decimal("9999.99"), Decimal("-2.56")],
            pa.decimal128(6, 2),
        ),
        (
            {"type": "fixed", "name": "D", "size": 9, "logicalType": "decimal", "precision": 20, "scale": 0},
            [Decimal(-(10**19)), Decimal(255)],
            pa.decimal128(20, 0),
        ),
        (
            ["null", {"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 1}],
            [None, Decimal(f"{'9' * 49}.1")],
            pa.decimal256(50, 1),
        ),
        ({"type": "array", "items": ["null", "string"]}, [["a", None], []], pa.list_(pa.string())),
        ({"type": "map", "values": "long"}, [{"k": 1}, {}], pa.map_(pa.string(), pa.int64())),
        (RECORD, [{"x": 1.5}], pa.struct([("x", pa.float32())])),
        (["null", RECORD], [{"x": 1.5}, None], pa.struct([("x", pa.float32())])),
        (
            {"type": "array", "items": {"type": "map", "values": {"type": "int", "logicalType": "date"}}},
            [[{"a": dt.date(2024, 1, 1)}], []],
            pa.list_(pa.map_(pa.string(), pa.date32())),
        ),
    ],
)
def test_types(tmp_path: Path, kind: Any, values: list[Any], arrow: pa.DataType):
    path = write(tmp_path / "a.avro", field(kind), [{"id": at, "c": value} for at, value in enumerate(values)])
    (file,) = find_files([path])
    assert infer_schema([file], "avro").schema.field("c").type == arrow
    found = [row["c"] for row in read(path)]
    if pa.types.is_map(arrow):
        found = [dict(pairs) for pairs in found]
    elif "map" in str(arrow):
        found = [[dict(pairs) for pairs in some] for some in found]
    assert found == values


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (["string", "long"], "x", "a union of string, long, and no type holds all of them"),
        (["null", "long", "double"], 5, "a union of long, double, and no type"),
        ({"type": "array", "items": ["string", "int"]}, ["x"], "a union of string, int, and no type"),
        (
            {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]},
            {"next": None},
            "of the type L, which its schema does not tell, or which is part of itself",
        ),
    ],
)
def test_a_column_that_no_type_holds_is_refused_only_if_it_is_needed(tmp_path: Path, kind: Any, value: Any, why: str):
    path = write(tmp_path / "a.avro", field(kind), [{"id": 1, "c": value}])
    (file,) = find_files([path])
    found = infer_schema([file], "avro")
    found.check(["id"])
    with pytest.raises(UsageError, match=f"column 'c' of .*a.avro is {why}"):
        found.check(["c"])
    assert read(path, columns=("id",)) == [{"id": 1}]
    (result,) = read_all(split_file(file, 0, "avro", 1), ReadOptions(found.schema))
    assert [failure.row for failure in result.failures] == [0]


def test_a_named_type_is_told_once(tmp_path: Path):
    point = {"type": "record", "name": "Point", "namespace": "geo", "fields": [{"name": "x", "type": "double"}]}
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": point}, {"name": "b", "type": ["null", "geo.Point"]}],
    }
    rows = [{"a": {"x": 1.0}, "b": None}, {"a": {"x": 2.0}, "b": {"x": 3.0}}]
    assert read(write(tmp_path / "a.avro", schema, rows)) == rows


def test_a_text_that_is_not_utf_8_fails_its_row(tmp_path: Path):
    path = write(
        tmp_path / "a.avro", field("bytes"), [{"id": at, "c": c} for at, c in enumerate([b"a", b"\xff", b"c"])]
    )
    whole = Path(path).read_bytes()
    data = whole.replace(b'"bytes"', b'"string"')
    length = _schema_length(whole)
    data = data.replace(avro.numbers_of(length) + b"{", avro.numbers_of(length + 1) + b"{", 1)
    Path(path).write_bytes(data)
    (file,) = find_files([path])
    results = [*read_all(split_file(file, 0, "avro", 1), ReadOptions(infer_schema([file], "avro").schema))]
    assert [failure[1:] for result in results for failure in result.failures] == [(1, "column 'c': not UTF-8")]
    assert [row["c"] for result in results if result.block for row in result.block.to_pylist()] == ["a", "c"]


def _schema_length(data: bytes) -> int:
    with io.BytesIO(data) as stream:
        meta, _, _ = avro._header("a", stream)
    return len(meta[b"avro.schema"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data[:-5], "ends in the middle of the block at byte"),
        (lambda data: data[:-200], "ends in the middle of the block at byte|does not end with the mark"),
        (lambda data: data[:100], "ends in the middle of its header: it was cut short"),
        (lambda data: data + data, "is several Avro files behind one another"),
        (lambda data: data[:-1] + b"?", "does not end with the mark"),
        (lambda data: data + b"\x01" * 40, "no block begins at byte"),
        (lambda data: data.replace(b'"long"', b'"lung"'), "has no schema that can be read"),
        (lambda data: data.replace(b'"record"', b'"recall"'), "has no schema that can be read"),
        (lambda data: b"PAR1" + data, "cannot be read as avro: it does not begin as an Avro file does"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[bytes], bytes], told: str):
    path = tmp_path / "a.avro"
    write(path, SCHEMA, ROWS)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises((UsageError, OSError), match=told) as error:
        read(str(path))
    assert "a.avro" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_row_that_is_nested_too_deep(tmp_path: Path):
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "c", "type": "float"}, {"name": "next", "type": ["null", "R"]}],
    }
    path = Path(write(tmp_path / "a.avro", schema, [{"c": 1.5, "next": {"c": 2.5, "next": None}}]))
    wanted = ReadOptions(pa.schema([("c", pa.float32())]))
    (one,) = read_all(split_file(find_files([str(path)])[0], 0, "avro", 1 << 30), wanted)
    assert one.block.column("c").to_pylist() == [1.5]
    row, data = (b"\0" * 4 + b"\x02") * 100_000 + b"\0" * 5, path.read_bytes()
    head = data[: data.index(data[-16:]) + 16]
    path.write_bytes(head + numbers(np.array([1, len(row)])).data.tobytes() + row + data[-16:])
    with pytest.raises(DamagedFile, match="is nested too deep to be read"):
        list(read_all(split_file(find_files([str(path)])[0], 0, "avro", 1 << 30), wanted))


def test_numbers_are_what_avro_makes_of_them():
    values = np.array([0, -1, 1, 63, 64, -64, -65, 2**31, -(2**31), 2**63 - 1, -(2**63)])
    for value in values.tolist():
        out = io.BytesIO()
        fastavro.schemaless_writer(out, "long", value)
        assert numbers(np.array([value])).data.tobytes() == out.getvalue()
    assert numbers(values).data.tobytes() == b"".join(avro.numbers_of(value) for value in values.tolist())


def test_rows_are_encoded_as_fastavro_does():
    block = pa.record_batch(
        {
            "n": pa.array([1, None, -300]),
            "s": pa.array(["", "é", None]),
            "l": pa.array([[1.5, None], None, []], pa.list_(pa.float64())),
            "p": pa.array(
                [{"a": True, "b": None}, None, {"a": None, "b": [b"x"]}],
                pa.struct([("a", pa.bool_()), ("b", pa.list_(pa.binary()))]),
            ),
        }
    )
    out = io.BytesIO()
    for row in block.to_pylist():
        fastavro.schemaless_writer(out, fastavro.parse_schema(avro_schema(block.schema)), row)
    # fastavro tells how many items a list has before all of them, as we do.
    assert encoded(block).data.tobytes() == out.getvalue()


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("a b", pa.int64(), "Avro takes names of letters, digits and _, and not 'a b'"),
        ("u", pa.uint64(), "Avro has no uint64"),
        ("e", pa.duration("s"), "Avro has no duration[s]"),
    ],
)
def test_what_avro_does_not_hold_is_refused_before_the_job(command: Command, name: str, kind: pa.DataType, why: str):
    table = command.table.slice(0, 3).append_column(name, pa.nulls(3, kind))
    path = command.folder / "t.arrow"
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)
    error = command.error("--keep", name, input=path, output=command.folder / "out" / "p.avro")
    assert why in error


def test_schemas_of_unlike_files_are_one(tmp_path: Path, command: Command):
    rows = [{"id": n, **dict.fromkeys("abcd", 0.5)} for n in range(3)]
    for kind in ("int", "long"):
        fields = [{"name": "id", "type": kind}, *({"name": c, "type": ["null", "float"]} for c in "abcd")]
        write(command.folder / f"{kind}.avro", {"type": "record", "name": "R", "fields": fields}, rows)
    code, _, err = command.run("--keep", "id", "--quiet", input=command.folder / "*.avro")
    assert (code, err) == (0, "")
    assert command.rows()["id"].to_pylist() == [0, 0, 1, 1, 2, 2]
