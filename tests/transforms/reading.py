"""Files of a format, read as a job reads them."""

from __future__ import annotations

from pathlib import Path

from beamsplit.transforms.read import ReadOptions, find_files, format_of, input_schema, read_split, split_file


def read_file(
    path: Path, target: int = 1 << 30, *, format: str, **options: object
) -> tuple[list[dict[str, object]], list[tuple[int, str]]]:
    """(rows with their number, number and reason of those that failed), in splits of about `target` bytes."""
    files = find_files([str(path)])
    assert format_of(files) == format
    asked = ReadOptions(input_schema(files, format), **options)
    found, failed = [], []
    for split in split_file(files[0], 0, format, target):
        for result in read_split(split, asked):
            failed += [(failure.row, failure.reason) for failure in result.failures]
            found += [] if result.block is None else result.block.to_pylist()
    assert all(row.pop("_origin_file").startswith(str(path)) for row in found)
    return found, failed
