from __future__ import annotations

import base64
import gzip
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats.tfrecord import SAMPLED_ROWS, _checksum, _example
from beamsplit.transforms.read import (
    ReadOptions,
    count_rows,
    find_files,
    input_schema,
    read_split,
    slice_split,
    split_file,
)
from tests.command import Command
from tests.transforms.reading import read_file

Values = Mapping[str, Sequence[bytes] | Sequence[int] | Sequence[float]]

# As TensorFlow 2.21 writes {"id": [1], "x": [0.5, -2], "s": ["é"], "raw": [b"\x00\xff"]}, then {"id": [-1], "s": []}.
BY_TENSORFLOW = base64.b64decode(
    "PgAAAAAAAADZ0kDnCjwKCwoCaWQSBRoDCgEBCg0KA3JhdxIGCgQKAgD/CgsKAXMSBgoECgLDqQoRCgF4EgwSCgoIAAAAPwAAAMBoaQBFIQAAAAAAAAAB"
    "e+z2Ch8KFAoCaWQSDhoMCgr///////////8BCgcKAXMSAgoAs4SY2g=="
)


def record(values: Values) -> bytes:
    example = _example()()
    for name, some in values.items():
        feature = example.features.feature[name]
        if len(some) and isinstance(some[0], bytes):
            feature.bytes_list.value.extend(some)
        elif len(some) and isinstance(some[0], float):
            feature.float_list.value.extend(some)
        else:
            feature.int64_list.value.extend(some)
    return example.SerializeToString(deterministic=True)


def framed(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    crc = _checksum()
    return head + struct.pack("<I", crc(head)) + data + struct.pack("<I", crc(data))


def write(path: Path, rows: Sequence[Values]) -> Path:
    path.write_bytes(b"".join(framed(record(row)) for row in rows))
    return path


read = partial(read_file, format="tfrecord")


def test_what_tensorflow_writes(tmp_path: Path):
    for name, content in (("d.tfrecord", BY_TENSORFLOW), ("d.tfrecords.gz", gzip.compress(BY_TENSORFLOW))):
        (tmp_path / name).write_bytes(content)
        rows, failed = read(tmp_path / name)
        assert failed == []
        assert rows == [
            {"id": 1, "raw": b"\x00\xff", "s": "é", "x": [0.5, -2.0], "_origin_row": 0},
            {"id": -1, "raw": None, "s": None, "x": None, "_origin_row": 1},
        ]


def test_what_the_tests_write_is_what_tensorflow_writes(tmp_path: Path):
    path = write(tmp_path / "d", [{"id": [1], "x": [0.5, -2.0], "s": ["é".encode()], "raw": [b"\x00\xff"]}])
    assert BY_TENSORFLOW[: len(path.read_bytes())] == path.read_bytes()


def test_types_are_those_of_the_first_rows(tmp_path: Path):
    rows: list[Values] = [
        {"one": [1], "many": [1], "text": [b"a\n"], "bytes": [b"a"], "f": [1.0], "none": []},
        {"many": [1, 2], "bytes": [b"\0"], "lists": [b"a", b"b"]},
    ]
    (file,) = find_files([str(write(tmp_path / "d.tfrecord", rows))])
    schema = input_schema([file], "tfrecord")
    assert dict(zip(schema.names, schema.types, strict=True)) == {
        "bytes": pa.binary(),
        "f": pa.float32(),
        "lists": pa.list_(pa.string()),
        "many": pa.list_(pa.int64()),
        "none": pa.null(),
        "one": pa.int64(),
        "text": pa.string(),
    }
    found, failed = read(tmp_path / "d.tfrecord")
    assert failed == []
    assert found[0] == {
        "bytes": b"a", "f": 1.0, "lists": None, "many": [1], "none": None, "one": 1, "text": "a\n", "_origin_row": 0
    }  # fmt: skip
    late = [{"a": [1], "none": []}] * SAMPLED_ROWS + [{"a": [1], "none": [1]}]
    (failure,) = read(write(tmp_path / "l.tfrecord", late))[1]
    why = "column 'none' is int64 here, and had no value in the rows that were looked at: --types says what it is"
    assert failure == (SAMPLED_ROWS, why)
    with pytest.raises(UsageError, match=r"has int64 and float in the column 'one'"):
        read(write(tmp_path / "m.tfrecord", [{"one": [1]}, {"one": [1.0]}]))


def test_rows_that_are_unlike_the_first_fail(tmp_path: Path):
    rows: list[Values] = [{"n": [k], "s": [b"a"], "v": [k, k]} for k in range(SAMPLED_ROWS)]
    rows += [{"n": [1, 2]}, {"n": [1.5]}, {"s": [b"\xff"]}, {"v": [b"x"]}, {"new": [1]}, {"v": []}, {"v": [7]}]
    for target in (1, 1 << 30):
        found, failed = read(write(tmp_path / "d.tfrecord", rows), target, block_rows=30)
        assert [(row - SAMPLED_ROWS, why.partition(":")[0]) for row, why in failed] == [
            (0, "column 'n' has 2 values here, and one in the rows that were looked at"),
            (1, "column 'n' is float here, and is int64 in the job"),
            (2, "column 's' is not UTF-8, at byte 0"),
            (3, "column 'v' is binary here, and is int64 in the job"),
        ]
        assert [row["_origin_row"] for row in found] == [
            *range(SAMPLED_ROWS),
            *range(SAMPLED_ROWS + 4, SAMPLED_ROWS + 7),
        ]
        assert [row["v"] for row in found[-3:]] == [None, [], [7]]
    # What nobody reads fails nothing.
    assert len(read(tmp_path / "d.tfrecord", columns=())[0]) == len(rows)


def test_declared_types(tmp_path: Path):
    path = write(tmp_path / "d.tfrecord", [{"n": [k], "s": [b"%d" % k]} for k in range(300)])
    (file,) = find_files([str(path)])
    (split,) = split_file(file, 0, "tfrecord", 1 << 30)
    schema = pa.schema([("n", pa.int8()), ("s", pa.binary())])
    results = list(read_split(split, ReadOptions(schema)))
    assert sum(len(result.failures) for result in results) == 300 - 128
    rows = [row for result in results if result.block is not None for row in result.block.to_pylist()]
    assert rows[3]["s"] == b"3"
    lists = ReadOptions(pa.schema([("n", pa.list_(pa.int64()))]))
    assert next(read_split(split, lists)).block["n"].to_pylist() == [[k] for k in range(300)]


@pytest.mark.parametrize("target", [1, 3_000, 1 << 30])
def test_splits_hold_every_row_once(tmp_path: Path, target: int):
    path = write(tmp_path / "d.tfrecord", [{"n": [k], "s": [b"x" * (k % 50)]} for k in range(400)])
    rows, failed = read(path, target, columns=("n",), block_rows=70)
    assert (failed, rows) == ([], [{"n": k, "_origin_row": k} for k in range(400)])
    (file,) = find_files([str(path)])
    splits = split_file(file, 0, "tfrecord", target)
    assert len(splits) == {1: 400, 3_000: len(splits), 1 << 30: 1}[target]
    assert target != 3_000 or 5 < len(splits) < 50
    assert sum(count_rows(split) for split in splits) == 400
    (whole,) = split_file(file, 0, "tfrecord", 1 << 30)
    parts = [slice_split(whole, *cut) for cut in pairwise([0, 1, 150, 399, 400])]
    assert [count_rows(part) for part in parts] == [1, 149, 249, 1]
    asked = ReadOptions(input_schema([file], "tfrecord"), columns=("n",))
    blocks = [result.block for part in parts for result in read_split(part, asked)]
    assert pa.Table.from_batches(blocks)["_origin_row"].to_pylist() == list(range(400))


@pytest.mark.parametrize("target", [1, 1 << 30])
def test_a_damaged_file_is_told_by_its_name(tmp_path: Path, target: int):
    path = write(tmp_path / "d.tfrecord", [{"n": [k]} for k in range(5)])
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        if length % (len(whole) // 5):
            path.write_bytes(whole[:length])
            with pytest.raises(OSError, match=r"d\.tfrecord ends in the middle of the record at byte \d+"):
                read(path, target)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(OSError, match=r"d\.tfrecord (is|ends|has)"):
            read(path, target)
    for content, words in (
        (b"x" * 100, "is no TFRecord file"),
        (framed(b"\xff\xff"), "has a record that is no tf.train.Example, number 0"),
        (framed(b""), None),
    ):
        path.write_bytes(content)
        if words is None:
            assert read(path, target)[0] == [{"_origin_row": 0}]
        else:
            with pytest.raises(OSError, match=words):
                read(path, target)


@pytest.mark.parametrize(
    ("length", "told"),
    [(2**31 - 1, "ends in the middle of the record at byte 16"), (2**31, "no record begins at byte 16")],
)
def test_no_record_is_larger_than_a_protobuf(tmp_path: Path, length: int, told: str):
    head = struct.pack("<Q", length)
    path = tmp_path / "d.tfrecord"
    path.write_bytes(framed(b"") + head + struct.pack("<I", _checksum()(head)) + b"x" * 40)
    with pytest.raises(OSError, match=told):
        read(path)


def test_a_value_is_single_where_each_of_the_first_rows_has_one_at_most(tmp_path: Path):
    rows: list[Values] = [{"n": [1], "late": [1]}] * (SAMPLED_ROWS - 1)
    for more, single in ([{"n": [1, 2]}], False), ([{"n": [1]}, {"n": [1, 2]}], True):
        (file,) = find_files([str(write(tmp_path / f"{single}.tfrecord", [*rows, *more]))])
        assert (input_schema([file], "tfrecord").field("n").type == pa.int64()) == single
    (file,) = find_files([str(write(tmp_path / "t.tfrecord", [{"t": [b"\t\r\n ~"], "c": [b"\x1f"], "d": [b"\x7f"]}]))])
    kinds = {field.name: field.type for field in input_schema([file], "tfrecord")}
    assert kinds == {"t": pa.string(), "c": pa.binary(), "d": pa.string()}


def test_the_command_reads_it(command: Command):
    rng = np.random.default_rng(0)
    rows = [{"id": [k], "x": [float(v) for v in rng.standard_normal(4)]} for k in range(500)]
    for name, some in (("a", rows[:300]), ("b", rows[300:])):
        write(command.folder / f"{name}.tfrecord", some)
    options = ("--keep", "id", "--num_shards", 1, "--workers", 2)
    code, _, err = command.run(*options, input=command.folder / "?.tfrecord", columns="x=x")
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == list(range(500))
