"""The same five operations for every format: split, read, count, and cut a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from transforms.read import arrow_ipc, csv_rows, files, json_rows, parquet
from transforms.read.inputs import InputFile
from transforms.read.result import ReadOptions, ReadResult
from transforms.read.streams import is_local, read_ahead
from transforms.split import Split

LEAST_BYTES = 1 << 20
"""Splits are not made smaller only to get more of them."""

MOST_BYTES = 256 << 20
"""Splits are made no larger where the file can be cut, so that progress can be seen and work shared."""


def target_bytes(inputs: Sequence[InputFile], target_splits: int, least: int = LEAST_BYTES) -> int:
    """The size that gives about `target_splits` splits, within `least` and `MOST_BYTES`."""
    total = sum(file.size for file in inputs)
    return max(least, 1, min(total // max(target_splits, 1), MOST_BYTES))


def make_splits(inputs: Sequence[InputFile], format: str, target_splits: int) -> list[Split]:
    """About `target_splits` splits of all the files (more where they are large), in input order."""
    size = target_bytes(inputs, target_splits)
    if format == "files":
        each = -(-len(inputs) // max(target_splits, 1))
        least = target_bytes(inputs, target_splits, least=1)
        return files.split([f.path for f in inputs], [f.size for f in inputs], 0, max(least, 1), each)
    return [split for at, file in enumerate(inputs) for split in split_file(file, at, format, size)]


def split_file(file: InputFile, number: int, format: str, split_bytes: int) -> list[Split]:
    """Splits of about `split_bytes` bytes of one file, the `number`-th of the input. An empty file has none."""
    if format == "files":
        return files.split([file.path], [file.size], number, split_bytes, 1)
    if not file.size:
        return []
    if format == "parquet":
        return parquet.split(file.path, number, split_bytes)
    if format == "csv":
        return csv_rows.split(file.path, number, file.size, split_bytes)
    if format == "jsonl":
        return json_rows.split(file.path, number, file.size, split_bytes)
    return arrow_ipc.split(file.path, number, file.size, split_bytes)


def read_split(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of a split as blocks of `options.block_schema`, in file order, and the rows that cannot be read.

    Of a file that is not local, a thread reads one block ahead. Close the iterator to end early.

    Raises:
        ValueError: the file lacks a column or has one of a type that cannot be cast; names file, column and types.
    """
    readers = {
        "parquet": parquet.read,
        "csv": csv_rows.read,
        "jsonl": json_rows.read,
        "arrow": arrow_ipc.read,
        "files": files.read,
    }
    results = readers[split.format](split, options)
    if not is_local(split.paths[0]):
        results = read_ahead(results)
    return results


def count_rows(split: Split) -> int:
    """The rows of the split, `row_start` and `row_stop` applied; reads the text where nothing has counted them."""
    if split.rows is not None:
        rows = split.rows
    elif split.format == "csv":
        rows = csv_rows.count(split)
    elif split.format == "jsonl":
        rows = json_rows.count(split)
    else:
        rows = arrow_ipc.count(split)
    stop = rows if split.row_stop is None else min(split.row_stop, rows)
    return max(0, stop - split.row_start)


def slice_split(split: Split, start: int, stop: int) -> Split:
    """Rows start to stop of the split, counted from its first wanted row (its `row_start`)."""
    begin = split.row_start + start
    end = split.row_start + stop
    if split.row_stop is not None:
        end = min(end, split.row_stop)
    last = split.rows if split.row_stop is None else split.row_stop
    weight = split.weight
    if last is not None and last > split.row_start:
        weight = weight * max(0, min(end, last) - begin) // (last - split.row_start)
    return replace(split, row_start=begin, row_stop=end, weight=weight)


def read_all(splits: Sequence[Split], options: ReadOptions) -> Iterator[ReadResult]:
    """The splits one after the other."""
    for split in splits:
        with closing(read_split(split, options)) as results:  # type: ignore[type-var]
            yield from results
