"""What an errors file may be: JSON Lines, or the same as CSV or Parquet, by its name. No Beam."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from beamsplit.models.errors import UsageError
from beamsplit.transforms.write.storage import open_input

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", "": "jsonl", ".csv": "csv", ".parquet": "parquet"}

ROWS_AT_ONCE = 10_000


def errors_format(path: str, growing: bool = False) -> str:
    """`jsonl`, `csv` or `parquet`, by the extension.

    Args:
        path: as the user gave it.
        growing: whether lines are added to it while a stream runs, which only JSON Lines can take.

    Raises:
        UsageError: it is none of them.
    """
    extension = os.path.splitext(path)[1].lower()
    format = FORMATS.get(extension)
    if format is None or (growing and format != "jsonl"):
        why = "a stream adds JSON lines to it" if growing else f"the extension [{extension}] names no format for errors"
        fix = ".jsonl" if growing else ".jsonl, .csv or .parquet"
        raise UsageError(f"--errors {path}: {why}; end the name in {fix}")
    return format


def write_errors_as(format: str, lines: str, out: BinaryIO, like: Mapping[str, Any]) -> None:
    """Write a file of JSON lines as another format.

    Args:
        format: `csv` or `parquet`.
        lines: the file of JSON lines, one an error.
        out: what to write to.
        like: an error as those lines have it: names and types of the columns.
    """
    names = list(like)
    if format == "csv":
        _write_csv(names, _rows(lines), out)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [pa.int64() if isinstance(value, int) else pa.string() for value in like.values()]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with pq.ParquetWriter(out, schema) as writer:
        rows = _rows(lines)
        while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema))


def _write_csv(names: list[str], rows: Iterator[dict[str, Any]], out: BinaryIO) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    while True:
        out.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
        some = list(itertools.islice(rows, ROWS_AT_ONCE))
        if not some:
            return
        writer.writerows(some)


def _rows(lines: str) -> Iterator[dict[str, Any]]:
    with open_input(lines) as file:
        for line in file:
            # A lone surrogate, as in a name that is not UTF-8, is no character.
            yield {
                name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
                for name, value in json.loads(line).items()
            }


def count_errors(path: str, format: str) -> int:
    """Errors in a file."""
    with open_input(path) as file:
        if format == "parquet":
            import pyarrow.parquet as pq

            return int(pq.ParquetFile(file).metadata.num_rows)
        if format == "csv":
            return sum(1 for _ in csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""))) - 1
        return sum(data.count(b"\n") for data in iter(lambda: file.read(4 << 20), b""))
