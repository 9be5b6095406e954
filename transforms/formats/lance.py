"""Lance datasets: splits are ranges of rows of fragments, of one version; rows that were deleted are none.

A dataset is a folder, named by its version: `data/pets.lance@3`. https://lance.org
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.plain_types import plain_schema
from beamsplit.transforms.read.result import Parsed, ReadOptions, ReadResult, RowWindow, conform, lacks, no_rows
from beamsplit.transforms.split import Split

LEAST_ROWS = 65_536
"""A fragment is not cut into ranges of fewer rows."""

BATCH_ROWS = 8_192
"""Rows that Lance decodes at once."""


class LanceName(NamedTuple):
    """A dataset, and which of its versions."""

    path: str
    version: int | None = None

    def __str__(self) -> str:
        """As it is typed."""
        return f"lance:{self.path}" + ("" if self.version is None else f"@{self.version}")


def parse_lance(name: str, option: str) -> LanceName:
    """The dataset that an option names.

    >>> parse_lance("lance:data/pets.lance@3", "--input")
    LanceName(path='data/pets.lance', version=3)

    Raises:
        UsageError: it names none on this machine.
    """
    rest = name.removeprefix("lance:").removeprefix("//").removeprefix("file://")
    found = re.fullmatch(r"(.*)@(\d+)", rest, re.DOTALL)
    path = found[1] if found else rest
    if not path.strip("/") or "://" in path:
        raise UsageError(f"{option} {name} names no folder of this machine; type e.g. lance:data/pets.lance")
    return LanceName(path, int(found[2]) if found else None)


def import_lance(option: str) -> Any:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import lance
    except ImportError:
        raise UsageError(
            f"{option} names a Lance dataset, which wants pylance, which is not installed: "
            "pip install 'beamsplit[lance]'"
        ) from None
    return lance


def open_lance(name: LanceName, option: str) -> Any:
    """The dataset as it is at the version.

    Raises:
        UsageError: there is none, or it has no such version.
    """
    lance = import_lance(option)
    if not os.path.isdir(os.path.join(name.path, "_versions")):
        raise UsageError(f"{option}: there is no Lance dataset in {name.path} (no folder _versions); check the path")
    try:
        return lance.dataset(name.path, version=name.version)
    except (OSError, ValueError) as error:
        what = "" if name.version is None else f" has no version {name.version} that can be read"
        why = " ".join(str(error).split())[:300]
        raise UsageError(f"{option}: {name.path}{what or ' cannot be read'}: {why}") from error


def dataset_file(dataset: Any, path: str) -> InputFile:
    """A version of a dataset as what is read."""
    data = os.path.join(path, "data")
    size = sum(entry.stat().st_size for entry in os.scandir(data)) if os.path.isdir(data) else 0
    return InputFile(f"{path}@{dataset.version}", max(size, 1))


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """The columns of the dataset."""
    return plain_schema(_dataset(file.path).schema)


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """Ranges of rows of about `target_bytes`."""
    counts = _fragment_rows(file.path)
    row_bytes = file.size / max(sum(counts), 1)
    step = max(LEAST_ROWS, int(target_bytes / row_bytes))
    splits: list[Split] = []
    first = 0
    for at, rows in enumerate(counts):
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            where, weight = (number, len(splits)), int((end - begin) * row_bytes)
            splits.append(Split("lance", (file.path,), where, at, at + 1, first, rows, weight, begin, end))
        first += rows
    return splits


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split, of which only the columns that are wanted are read."""
    path, wanted = split.paths[0], options.data_schema
    dataset, counts = _dataset(path), _fragment_rows(path)
    have = dataset.schema.names
    missing = next((field for field in wanted if field.name not in have), None)
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    for at in range(split.start, split.stop):
        begin, end, number = window.next(counts[at])
        if begin == end:
            continue
        if missing is not None:
            parsed = no_rows(end - begin, wanted, lacks(missing, have))
            yield from parsed.results(split.origin_file(), number + begin, options)
            continue
        if not len(wanted):
            none = pa.RecordBatch.from_struct_array(pa.array([{}] * (end - begin), pa.struct([])))
            yield from Parsed(none, end - begin).results(split.origin_file(), number + begin, options)
            continue
        fragment = dataset.get_fragments()[at]
        rows = min(options.block_rows, BATCH_ROWS)
        scanner = fragment.scanner(columns=wanted.names, offset=begin, limit=end - begin, batch_size=rows)
        for batch in scanner.to_batches():
            yield from conform(batch, wanted).results(split.origin_file(), number + begin, options)
            begin += batch.num_rows
        if begin != end:
            raise DamagedFile(f"{path} is damaged: fragment {at} has {begin:,} rows, and its metadata tells {end:,}")


@lru_cache(maxsize=8)
def _dataset(path: str) -> Any:
    """The dataset of a path with its version, which never changes."""
    return open_lance(parse_lance(path, "--input"), "--input")


@lru_cache(maxsize=8)
def _fragment_rows(path: str) -> tuple[int, ...]:
    return tuple(fragment.count_rows() for fragment in _dataset(path).get_fragments())
