"""Columns that a format cannot hold are refused before the job; others come back."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.write.parquet_file import ParquetFile
from beamsplit.transforms.write.written_types import check_written_types
from tests.command import Command

INTERVAL = pa.month_day_nano_interval()
UNION = pa.dense_union([pa.field("a", pa.int64())])
ODD = pa.struct([("l", pa.list_(pa.int64(), 2)), ("m", pa.map_(pa.string(), pa.list_(pa.int8(), 1)))])
ALL = ["parquet", "csv", "jsonl"]


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        (pa.int64(), []),
        (pa.decimal256(60, 2), []),
        (pa.binary(4), []),
        (pa.duration("ns"), []),
        (pa.timestamp("us", "UTC"), []),
        (pa.null(), []),
        (pa.list_(pa.float32(), 2), []),
        (pa.fixed_shape_tensor(pa.float32(), (2, 2)), []),
        (pa.dictionary(pa.int8(), pa.string()), []),
        (pa.map_(pa.string(), pa.int64()), []),
        (ODD, []),
        (pa.large_list(ODD), []),
        (pa.struct([]), ["parquet"]),
        (pa.dictionary(pa.int8(), pa.list_(pa.int64())), ["parquet"]),
        (INTERVAL, ALL),
        (pa.struct([("i", INTERVAL)]), ALL),
        (UNION, ALL),
        (pa.list_view(pa.int64()), ["csv", "jsonl"]),
    ],
    ids=str,
)
def test_each_format_tells_what_it_cannot_hold(kind, refused):
    found = []
    for format in ALL:
        try:
            check_written_types(pa.schema({"id": pa.int64(), "c": kind}), format, "--output p")
        except UsageError as error:
            assert f"{format} cannot hold the column 'c' of type {kind}" in str(error)
            assert ("write ." in str(error)) == (len(refused) < 3)
            found.append(format)
    assert found == refused


def test_fixed_size_lists_within_structs_come_back(tmp_path):
    rows = [{"l": [1, 2], "m": [("k", [1])]}, None, {"l": None, "m": [("k", None)]}]
    block = pa.record_batch({"c": pa.array(rows, ODD)})
    file = ParquetFile(pa.OSFile(str(tmp_path / "c.parquet"), "wb"), block.schema)
    file.write(block)
    file.close()
    assert pq.read_table(tmp_path / "c.parquet")["c"].to_pylist() == rows


def test_the_command_refuses_before_it_writes(command: Command):
    table = command.table.append_column("since", pa.nulls(command.table.num_rows, INTERVAL))
    path = command.folder / "data.arrow"
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    error = command.error("--keep", "id,since", input=path)
    assert "parquet cannot hold the column 'since' of type month_day_nano_interval" in error
    assert "leave it out of --keep" in error
    assert command.run("--keep", "id", "--quiet", input=path)[0] == 0
