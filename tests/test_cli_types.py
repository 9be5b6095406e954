"""The same table as CSV, JSON Lines, Parquet and Arrow gives the same rows and the same errors."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from tests.command import Command, lines

FORMATS = ("parquet", "arrow", "csv", "jsonl")


def write_as(format: str, table: pa.Table, path) -> None:
    if format == "parquet":
        pq.write_table(table, path)
    elif format == "arrow":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    elif format == "csv":
        pc.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def scored(command: Command, format: str, table: pa.Table, *options: object, **changed: object):
    """(predictions by id, failed rows)."""
    path, errors = command.folder / f"t.{format}", command.folder / f"{format}-errors.jsonl"
    output = command.folder / f"out-{format}" / "preds.parquet"
    write_as(format, table, path)
    code, _, err = command.run(
        "--keep", "id", "--errors", errors, "--quiet", "--num_shards", 1, *options, input=path, output=output, **changed
    )
    assert code == 0, err
    rows = pq.read_table(output).to_pylist()
    return {int(row.pop("id")): row for row in rows}, sorted(error["row"] for error in lines(errors))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("narrow", [False, True])
def test_whole_numbers_go_to_floats_that_hold_them(command: Command, format: str, narrow: bool):
    numbers = [1, 2**24, 2**24 + 1, 2**24 + 2, -(2**30) - 1, None]
    table = pa.table({"id": range(6), **{name: pa.array(numbers, pa.int64()) for name in "abcd"}})
    rows, failed = scored(command, format, table, *(["--narrow"] if narrow else []))
    assert failed == ([5] if narrow else [2, 4, 5])
    assert sorted(rows) == [at for at in range(6) if at not in failed]


def test_a_whole_number_that_is_rounded_is_told(command: Command):
    table = pa.table({"id": [0], **{name: [2**24 + 1] for name in "abcd"}})
    for format in FORMATS:
        scored(command, format, table)
        (error,) = lines(command.folder / f"{format}-errors.jsonl")
        assert f"value {2**24 + 1}" in error["reason"] and "does not fit float32; --narrow rounds" in error["reason"]


def test_fractions_of_text_are_rounded_as_ever(command: Command):
    table = pa.table({"id": [0, 1], **{name: [0.1, 1e8 + 0.5] for name in "abcd"}})
    (csv, _), (jsonl, _) = scored(command, "csv", table), scored(command, "jsonl", table)
    narrowed, failed = scored(command, "parquet", table, "--narrow")
    assert failed == []
    for at in (0, 1):
        assert csv[at] == jsonl[at] == narrowed[at]
    assert np.isfinite(csv[1]["y"]).all()


def test_decimals_of_parquet_feed_floats(command: Command):
    table = pa.table({"id": [0, 1], **{name: pa.array([1, 2]).cast(pa.decimal128(21, 2)) for name in "abcd"}})
    floats = pa.table({"id": [0, 1], **{name: pa.array([1, 2], pa.float32()) for name in "abcd"}})
    assert scored(command, "parquet", table) == scored(command, "arrow", floats)


@pytest.mark.parametrize("format", FORMATS)
def test_declared_types_are_those_of_kept_columns(command: Command, format: str):
    features = {name: [1.0, 2.0, 3.0] for name in "abcd"}
    table = pa.table({"id": [0, 1, 2], "key": [7, 8, 9], "day": ["2026-11-01", "soon", None], **features})
    options = ["--keep", "key,day", "--types", "key:string,day:date32,a:float32", "--narrow"]
    path, errors = command.folder / f"t.{format}", command.folder / "errors.jsonl"
    write_as(format, table, path)
    code, _, err = command.run(*options, "--errors", errors, "--quiet", "--num_shards", 1, input=path)
    assert code == 0, err
    written = pq.read_table(command.output)
    assert written.schema.field("key").type == pa.string() and written.schema.field("day").type == pa.date32()
    assert sorted(written["key"].to_pylist()) == ["7", "9"]
    (error,) = lines(errors)
    assert error["row"] == 1 and "soon" in error["reason"] and "date32" in error["reason"]


def test_files_that_disagree_are_read_as_declared(command: Command):
    features = {name: [1.0, 2.0] for name in "abcd"}
    pq.write_table(pa.table({"id": [0, 1], "key": [7, 8], **features}), command.folder / "1.parquet")
    pq.write_table(pa.table({"id": [2, 3], "key": ["9", "x"], **features}), command.folder / "2.parquet")
    options = ["--keep", "id,key", "--narrow"]
    data = command.folder / "[12].parquet"
    assert "say which it should be with --types 'key:TYPE'" in command.error(*options, input=data)
    errors = command.folder / "errors.jsonl"
    assert command.run(*options, "--types", "key:int64", "--errors", errors, "--quiet", input=data)[0] == 0
    assert command.rows()["key"].to_pylist() == [7, 8, 9]
    assert [error["reason"] for error in lines(errors)] == ["column 'key' (string in this file): x is no int64"]


def test_ids_of_json_that_are_numbers_and_texts(command: Command):
    rows = [{"key": key, "a": 1, "b": 2, "c": 3, "d": 4} for key in (1, "k", 1.10, 2**70, None, True)]
    path = command.folder / "t.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows).replace("1.1,", "1.10,"))
    assert command.run("--keep", "key", "--types", "key:string", "--quiet", "--num_shards", 1, input=path)[0] == 0
    assert pq.read_table(command.output)["key"].to_pylist() == ["1", "k", "1.10", str(2**70), None, "true"]


def test_amounts_of_text_as_decimals(command: Command):
    path, errors = command.folder / "t.csv", command.folder / "errors.jsonl"
    path.write_text("id,a,b,c,d\n0,1.10,2,3,4\n1,1.105,2,3,4\n")
    options = ["--keep", "id,a", "--types", "a:decimal128(12,2)", "--errors", errors, "--quiet"]
    assert command.run(*options, input=path)[0] == 0
    assert [str(value) for value in command.rows()["a"].to_pylist()] == ["1.10"]
    assert [error["row"] for error in lines(errors)] == [1]


def test_wrong_types_are_refused(command: Command):
    assert "--types names 'x', and the data has the columns id, a, b, c, d" in command.error("--types", "x:int8")
    assert "of which no timestamp[s] can be made" in command.error("--types", "id:timestamp[s]")
    assert "'strng' is no type" in command.error("--types", "id:strng")
    assert "--schema" in command.error(
        "--types", "id:int8", input="kafka://localhost:1/in", output="kafka://localhost:1/o"
    )
