"""Rows of partitions go to files of their own, of which only so many are open, and hold only so many bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.write import partitioned
from beamsplit.transforms.write.partitioned import PartitionWriters
from beamsplit.transforms.write.temp_file import Target

SCHEMA = pa.schema([("day", pa.string()), ("y", pa.int64())])


class ByDay:
    """By the column `day`, which the files have not."""

    def split(self, block: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        for day in dict.fromkeys(block["day"].to_pylist()):
            yield day, block.filter(pc.equal(block["day"], day)).drop_columns(["day"])

    def schema(self, schema: pa.Schema, partition: str) -> pa.Schema:
        return schema.remove(0).with_metadata({"partition": partition})


def block(*days: str, first: int = 0) -> pa.RecordBatch:
    return pa.record_batch({"day": list(days), "y": list(range(first, first + len(days)))}, SCHEMA)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    made = Target(str(tmp_path / "out.parquet"), SCHEMA, "job")
    Path(made.folder).mkdir()
    return made


def written(writers: PartitionWriters) -> list[tuple[str, list[int]]]:
    """Partition and numbers of each file, in the order in which they were closed."""
    tables = [pq.read_table(file.path) for file in writers.close()]
    return [((table.schema.metadata or {}).get(b"partition", b"").decode(), table["y"].to_pylist()) for table in tables]


def test_each_partition_has_a_file_with_its_rows_in_their_order(target: Target):
    writers = PartitionWriters(target, ByDay())
    writers.write(block("mon", "tue", "mon"))
    writers.write(block("wed", "tue", first=3))
    assert sorted(written(writers)) == [("mon", [0, 2]), ("tue", [1, 4]), ("wed", [3])]
    assert [file.rows for file in writers.files] == [2, 2, 1] and writers.seconds > 0
    assert sorted(Path(target.folder).iterdir()) == sorted(Path(file.path) for file in writers.files)


def test_without_partitions_all_is_one_file(target: Target):
    names = iter([f"{target.folder}/mine"])
    writers = PartitionWriters(target, None, lambda: next(names))
    writers.write(block("mon", "tue"))
    writers.write(block("mon", first=2))
    assert written(writers) == [("", [0, 1, 2])] and writers.files[0].path == f"{target.folder}/mine"


def test_only_so_many_are_open_and_the_largest_makes_room(target: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(partitioned, "MOST_OPEN", 2)
    writers = PartitionWriters(target, ByDay())
    writers.write(block("mon", "mon", "tue"))
    assert writers.files == []
    writers.write(block("wed", first=3))
    assert [file.rows for file in writers.files] == [2], "monday's is closed"
    writers.write(block("tue", "tue", "mon", first=4))
    assert written(writers) == [("mon", [0, 1]), ("tue", [2, 4, 5]), ("wed", [3]), ("mon", [6])]


def test_only_so_many_bytes_are_in_open_files(target: Target, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(partitioned, "MOST_BYTES", 40)
    writers = PartitionWriters(target, ByDay())
    writers.write(block(*["mon"] * 9))
    assert writers.files == [], "a file alone grows as it likes"
    writers.close()
    writers = PartitionWriters(target, ByDay())
    writers.write(block("mon", "tue", "tue", "mon", "tue"))
    assert writers.files == [], "40 bytes"
    writers.write(block("tue", first=5))
    assert [file.rows for file in writers.files] == [4]
    assert written(writers) == [("tue", [1, 2, 4, 5]), ("mon", [0, 3])]


def test_what_was_open_is_deleted_after_an_error(target: Target):
    writers = PartitionWriters(target, ByDay())
    writers.write(block("mon", "tue"))
    writers.abort()
    assert list(Path(target.folder).iterdir()) == [] and writers.close() == []
