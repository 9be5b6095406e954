from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.kafka.arrow_messages import arrow_messages, parse_arrow
from beamsplit.transforms.read import arrow_ipc, one_file, parquet
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.inputs import InputFile

Maker = Callable[[int], bytes]


def table(rows: int) -> pa.Table:
    words = pa.array([f"w{at % 3}" for at in range(rows)], pa.string())
    return pa.table({"x": np.arange(float(rows)), "PAR1PAR1": words, "ARROW1ARROW1": words})


def parquet_file(**options) -> Maker:
    def make(rows: int) -> bytes:
        sink = io.BytesIO()
        pq.write_table(table(rows), sink, **options)
        return sink.getvalue()

    return make


def arrow_file(batch_rows: int = 1000, words: bool = False) -> Maker:
    def make(rows: int) -> bytes:
        sink = io.BytesIO()
        data = table(rows)
        if words:
            data = data.set_column(1, "d", data.column(1).dictionary_encode())
        with pa.ipc.new_file(sink, data.schema) as writer:
            writer.write_table(data, max_chunksize=batch_rows)
        return sink.getvalue()

    return make


def arrow_stream(rows: int) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table(rows).schema) as writer:
        writer.write_table(table(rows))
    return sink.getvalue()


PARQUETS = [
    parquet_file(),
    parquet_file(row_group_size=2, compression="none"),
    parquet_file(write_page_index=True, use_dictionary=False),
    parquet_file(write_page_index=True, row_group_size=3),
]
ARROWS = [arrow_file(), arrow_file(2), arrow_file(words=True)]


@pytest.mark.parametrize("make", PARQUETS)
@pytest.mark.parametrize("rows", [(3, 3), (3, 500), (500, 3), (3, 0), (0, 3), (0, 0), (2, 3, 4)])
def test_parquet_files_behind_one_another_are_refused(tmp_path, make: Maker, rows: tuple[int, ...]):
    path = tmp_path / "two.parquet"
    parts = [make(number) for number in rows]
    path.write_bytes(b"".join(parts))
    at = sum(map(len, parts[:-1]))
    with pytest.raises(DamagedFile, match=f"several Parquet files behind one another .the last begins at byte {at:,}."):
        parquet.schema(InputFile(str(path), 0))


def test_the_file_before_is_searched_for_as_far_as_it_says(tmp_path, monkeypatch: pytest.MonkeyPatch):
    last = parquet_file(write_page_index=True)(500)
    path = tmp_path / "two.parquet"
    path.write_bytes(parquet_file()(3) + last)
    footer = len(last) - 8 - int.from_bytes(last[-8:-4], "little")
    rows_end = one_file._end_of_rows(pq.read_metadata(pa.BufferReader(last)))
    assert footer > rows_end  # an index of pages lies between
    monkeypatch.setattr(one_file, "LONGEST_SEARCH", footer - rows_end)
    with pytest.raises(DamagedFile, match="several Parquet files"):
        parquet.schema(InputFile(str(path), 0))
    monkeypatch.setattr(one_file, "LONGEST_SEARCH", footer - rows_end - 1)
    assert parquet.schema(InputFile(str(path), 0)).names == table(0).schema.names


@pytest.mark.parametrize("make", PARQUETS)
@pytest.mark.parametrize("rows", [0, 3, 500])
def test_a_parquet_file_alone_is_read(tmp_path, make: Maker, rows: int):
    path = tmp_path / "one.parquet"
    path.write_bytes(make(rows))
    assert parquet.schema(InputFile(str(path), 0)).names == table(0).schema.names


@pytest.mark.parametrize("padding", [b"\0" * 5000, b"PAR1" * 1000])
def test_a_gap_in_a_parquet_file_is_no_second_file(tmp_path, padding: bytes):
    whole = parquet_file()(50)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    path = tmp_path / "gap.parquet"
    path.write_bytes(whole[:footer] + padding + whole[footer:])
    assert parquet.footer(str(path)).num_rows == 50
    assert pq.read_table(path).num_rows == 50


@pytest.mark.parametrize("make", ARROWS)
@pytest.mark.parametrize("rows", [(3, 3), (3, 50), (50, 3), (3, 0), (0, 3), (2, 3, 4)])
def test_arrow_files_behind_one_another_are_refused(tmp_path, make: Maker, rows: tuple[int, ...]):
    path = tmp_path / "two.arrow"
    parts = [make(number) for number in rows]
    path.write_bytes(b"".join(parts))
    at = sum(map(len, parts[:-1]))
    for look in (
        lambda: arrow_ipc.schema(InputFile(str(path), 0)),
        lambda: arrow_ipc.split(InputFile(str(path), 1000), 0, 10),
    ):
        with pytest.raises(
            DamagedFile, match=f"several Arrow files behind one another .the last begins at byte {at:,}."
        ):
            look()


@pytest.mark.parametrize("make", ARROWS)
@pytest.mark.parametrize("rows", [0, 3, 50])
def test_an_arrow_file_alone_is_read(tmp_path, make: Maker, rows: int):
    path = tmp_path / "one.arrow"
    path.write_bytes(make(rows))
    assert len(arrow_ipc.schema(InputFile(str(path), 0))) == 3
    assert sum(split.rows for split in arrow_ipc.split(InputFile(str(path), 1000), 0, 10)) == rows


def test_a_message_of_several_arrow_streams_is_bad():
    ones = arrow_messages(table(2).to_batches()[0])
    schema = table(0).schema
    values = pa.array([ones[0], ones[0] + ones[1], arrow_stream(2) + arrow_stream(1), ones[1] + b"\0"], pa.binary())
    rows = parse_arrow(values, schema)
    assert rows.batch["x"].to_pylist() == [0.0] and sorted(rows.bad) == [1, 2, 3]
    assert f"goes on behind its stream, from byte {len(ones[0]):,}" in rows.bad[1]
