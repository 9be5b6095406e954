from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from beamsplit.transforms.block import MODEL_VERSION, with_origin
from beamsplit.transforms.failures.error_file import row_bases
from beamsplit.transforms.kafka.rows import RowBases, row_headers


def block(rows: int, file: str, first_row: int) -> pa.RecordBatch:
    return with_origin(pa.record_batch({"y": list(range(rows))}), file, first_row)


def test_headers_tell_the_file_and_the_row():
    assert row_headers(block(2, "a.parquet", 7), RowBases()) == [
        [("input.file", b"a.parquet"), ("input.row", b"7")],
        [("input.file", b"a.parquet"), ("input.row", b"8")],
    ]


def test_rows_that_were_counted_from_a_byte_are_told_by_their_number_in_the_file(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
    (one,) = row_headers(block(1, f"{path}#byte={4 * 9}", 2), RowBases())
    assert one == [("input.file", str(path).encode()), ("input.row", b"6")]


def test_of_a_file_only_what_is_new_is_counted(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text("1\n" * 10)
    # The first rows are told to be more than they are, which counting anew would show.
    assert row_bases([(str(path), 8)], {(str(path), 4): 100, (str(path), 10): 0, ("b", 6): 0}) == {(str(path), 8): 102}


def test_the_model_version_is_a_header_too():
    versions = pa.array(["abc"])
    made = block(1, "a", 0).append_column(pa.field(MODEL_VERSION, pa.string()), versions)
    assert row_headers(made, RowBases())[0][-1] == ("model.version", b"abc")
