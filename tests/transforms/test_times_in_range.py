from __future__ import annotations

import pyarrow as pa
import pytest

from beamsplit.transforms.block import with_origin
from beamsplit.transforms.times_in_range import TimesInRange, allowed, bounded_columns
from tests.command import Command, lines

KINDS = [pa.date32(), pa.date64(), *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us") for zone in (None, "UTC"))]
KINDS += [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]


def column(kind: pa.DataType, numbers: list[int | None]) -> pa.Array:
    return pa.array(numbers, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_text_holds_is_written_and_the_rest_fails(kind):
    least, most = allowed(kind, "csv")
    block = with_origin(pa.record_batch([column(kind, [least - 1, least, None, most, most + 1])], names=["t"]), "f", 0)
    result = TimesInRange("csv")(block)
    assert [failure.row for failure in result.failures] == [0, 4]
    assert "out of range" not in " ".join(filter(None, result.block.column("t").cast(pa.string()).to_pylist()))


def test_types_of_which_all_values_are_held():
    schema = pa.schema(
        [("a", pa.timestamp("ns")), ("b", pa.int64()), ("c", pa.duration("s")), ("d", pa.timestamp("s"))]
    )
    assert bounded_columns(schema, "jsonl") == bounded_columns(schema, "parquet") == ["d"]
    block = with_origin(pa.record_batch([column(pa.timestamp("s"), [0, 2**61, None])], names=["d"]), "f", 0)
    assert [failure.row for failure in TimesInRange("parquet")(block).failures] == [1]


@pytest.mark.parametrize(("ending", "failed"), [("csv", [1, 2]), ("jsonl", [1, 2]), ("parquet", [2])])
def test_a_far_time_that_is_kept_fails_its_row(command: Command, ending: str, failed: list[int]):
    times = column(pa.timestamp("s"), [5, 10**12, 10**17, None])
    table = command.table.slice(0, 4).append_column("t", times)
    path, out = command.folder / "t.arrow", command.folder / f"o.{ending}"
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table)
    options = ["--keep", "t", "--errors", command.folder / "e.jsonl", "--num_shards", 1, "--quiet"]
    code, _, err = command.run(*options, input=path, output=out)
    assert (code, err) == (0, "")
    assert [error["row"] for error in lines(command.folder / "e.jsonl")] == failed
    assert b"out of range" not in out.read_bytes()
