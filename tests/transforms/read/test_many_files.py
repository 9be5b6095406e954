"""Thousands of small files: what is looked at before the job does not grow with them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from beamsplit.transforms.read import ReadOptions, find_files, read_sample
from beamsplit.transforms.read.splits import SAMPLED_FILES


def sample_of(folder: Path, rows: int) -> list[int]:
    options = ReadOptions(pa.schema({"a": pa.int64()}))
    found = read_sample(tuple(find_files([f"{folder}/*.csv"])), "csv", options, rows)
    return [] if found is None else found["a"].to_pylist()


def test_a_sample_is_of_few_files(tmp_path: Path):
    for at in range(SAMPLED_FILES + 6):
        (tmp_path / f"f{at:03}.csv").write_text(f"a\n{at}\n")
    assert sample_of(tmp_path, 4_096) == list(range(SAMPLED_FILES))
    assert sample_of(tmp_path, 3) == [0, 1, 2]


def test_files_without_rows_are_passed_over(tmp_path: Path):
    for at in range(SAMPLED_FILES + 6):
        (tmp_path / f"f{at:03}.csv").write_text("a\n" if at < SAMPLED_FILES + 2 else f"a\n{at}\n")
    assert sample_of(tmp_path, 4_096) == [SAMPLED_FILES + 2]
