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
    path, errors = command.folder / f"t.{format}", command.folder / f"{format}.errors"
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
        (error,) = lines(command.folder / f"{format}.errors")
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
