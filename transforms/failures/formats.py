"""What an errors file may be: JSON Lines, or the same in any format that is written, by its name. No Beam."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import CSV, FORMATS, JSONL, written_by_extension
from beamsplit.transforms.write.storage import open_input, size_of

ROWS_AT_ONCE = 10_000


def errors_format(path: str, growing: bool = False) -> str:
    """The name of the format that the extension tells; JSON Lines where there is none.

    Args:
        path: as the user gave it.
        growing: whether lines are added to it while a stream runs, which only JSON Lines can take.

    Raises:
        UsageError: it is none of them.
    """
    extension = os.path.splitext(path)[1].lower()
    format = written_by_extension(path) if extension else JSONL
    if format is None or (growing and not format.grows):
        why = "a stream adds JSON lines to it" if growing else f"the extension [{extension}] names no format for errors"
        written = [one.extensions[0] for one in FORMATS.values() if one.written_extensions and one is not JSONL]
        fix = JSONL.extensions[0] if growing else ", ".join([JSONL.extensions[0], *written[:-1]]) + f" or {written[-1]}"
        raise UsageError(f"--errors {path}: {why}; end the name in {fix}")
    return format.name


def write_errors_as(format: str, lines: str, out: BinaryIO, like: Mapping[str, Any]) -> None:
    """Write a file of JSON lines as another format.

    Args:
        format: name of one that is written.
        lines: the file of JSON lines, one an error.
        out: what to write to.
        like: an error as those lines have it: names and types of the columns.
    """
    if format == CSV.name:
        _write_csv(list(like), _rows(lines), out)
        return
    import pyarrow as pa

    types = [pa.int64() if isinstance(value, int) else pa.string() for value in like.values()]
    schema = pa.schema(list(zip(like, types, strict=True)))
    file = FORMATS[format].writer.open_file(out, schema)
    rows = _rows(lines)
    while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
        file.write(pa.RecordBatch.from_pylist(some, schema))
    file.close()


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
    from beamsplit.transforms.read.inputs import InputFile
    from beamsplit.transforms.read.splits import count_rows, split_file

    file = InputFile(path, size_of(path) or 0, header=True if format == CSV.name else None)
    return sum(count_rows(split) for split in split_file(file, 0, format, file.size + 1))
