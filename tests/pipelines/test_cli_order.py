"""What comes out is in the order of what went in, so that predictions can be set beside the rows without a key."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.command import Command


def ids(command: Command) -> list[int]:
    """The ids of all shards, one shard after the other."""
    shards = sorted(command.output.parent.glob("preds*.parquet"))
    return [key for shard in shards for key in pq.read_table(shard).column("id").to_pylist()]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("options", [(), ("--num_shards", "1"), ("--num_shards", "2"), ("--partition", "contiguous")])
def test_parquet(command: Command, workers: int, options: tuple[str, ...]):
    code, _, err = command.run("--keep", "id", "--workers", workers, *options)
    assert code == 0, err
    assert ids(command) == list(range(600))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_text_in_several_splits(command: Command, form: str):
    rows = 60_000
    table = pa.table({"id": np.arange(rows), **{name: np.arange(rows) / 7 for name in "abcd"}})
    path = command.folder / f"data.{form}"
    if form == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        lines = (f'{{"id":{i},"a":{i}.5,"b":1.5,"c":{i / 3},"d":0.25}}' for i in range(rows))
        path.write_text("\n".join(lines) + "\n")
    assert path.stat().st_size > 2 << 20
    code, _, err = command.run("--keep", "id", "--workers", "2", input=path)
    assert code == 0, err
    assert list(map(int, ids(command))) == list(range(rows))  # ids out of CSV are text


def test_several_files(command: Command):
    for number in range(5):
        pq.write_table(command.table.slice(number * 120, 120), command.folder / f"part-{number}.parquet")
    code, _, err = command.run("--keep", "id", "--workers", "2", input=command.folder / "part-*.parquet")
    assert code == 0, err
    assert ids(command) == list(range(600))


def test_more_files_than_are_opened_before_the_job(command: Command):
    count, bad = 1_010, 777
    for number in range(count):
        cells = f"{number},1.5,b,0.5,0.25" if number == bad else f"{number},1.5,{number / 7},0.5,0.25"
        (command.folder / f"part-{number:04}.csv").write_text(f"id,a,b,c,d\n{cells}\n")
    code, _, err = command.run("--keep", "id", "--workers", "2", input=command.folder / "part-*.csv")
    assert code == 3, err
    assert f"part-{bad:04}.csv" in err
    assert list(map(int, ids(command))) == [number for number in range(count) if number != bad]
