"""CSV: the names of the columns, and where the rows begin.

a,b                 names a, b; rows begin behind the line
1,2                 refused: a row, or names, of which --csv_header says which
1,2  as no          names column_1, column_2; rows begin with the line
1,2  as ("a", "b")  names a, b; rows begin with the line
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import lines
from beamsplit.transforms.read.compression import without_extension
from beamsplit.transforms.read.encoding import check_utf8, open_text, recode
from beamsplit.transforms.read.streams import is_local
from beamsplit.transforms.split import CsvHeader

_BOM = b"\xef\xbb\xbf"

_HEAD_BYTES = 1 << 16
"""Read to find the first line, at least."""


def delimiter_of(path: str, given: str | None = None) -> str:
    """As given, else a tab for `.tsv` and a comma for others."""
    return given or ("\t" if without_extension(path).endswith(".tsv") else ",")


def header(
    path: str, encoding: str | None = None, given: CsvHeader = None, delimiter: str | None = None
) -> tuple[list[str], int]:
    """The column names of a file and the byte (of its text) at which its rows start; no names where it is empty.

    Raises:
        UsageError: two columns have the same name, the first line is not what `given` says, or the text is in UTF-16
            or has other delimiters.
    """
    stamp = (os.stat(path).st_size, os.stat(path).st_mtime_ns) if is_local(path) else (0, 0)
    names, start = _header(path, stamp, encoding, given, delimiter_of(path, delimiter))
    return list(names), start


@lru_cache(maxsize=1024)
def _header(
    path: str, stamp: tuple[int, int], encoding: str | None, given: CsvHeader, delimiter: str
) -> tuple[tuple[str, ...], int]:
    with open_text(path, encoding) as stream:
        head, begin, end = _first_row(stream, lines.csv_first_end(delimiter))
    text = head[begin:end]
    if not text.strip(b"\r\n"):
        return (), end
    # Of a row only that row fails.
    if given in (None, True) or text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        check_utf8(path, text, encoding)
    rows = recode(head[begin : begin + lines.csv_end(delimiter)(head[begin:])] or text, encoding)
    text = recode(text, encoding)
    if given is False:
        cells, _ = Counter(lines.csv_cells(rows, delimiter).tolist()).most_common(1)[0]
        return tuple(f"column_{at + 1}" for at in range(cells)), _text_start(head)
    first = next(_rows(text, delimiter), [])
    if isinstance(given, tuple):
        if [name.strip() for name in first] == [name.strip() for name in given]:
            raise UsageError(
                f"{path} has the names that --csv_header gives in its first line, so it has a header: leave "
                "--csv_header out"
            )
        return given, _text_start(head)
    if lines.csv_open(text, delimiter):
        raise UsageError(f"{path} has a quote in its first line that is never closed, so its columns have no names")
    if not first:
        raise UsageError(
            f"{path} has a cell in its first line that is too large for a name: if it is a row, say "
            "--csv_header no, or name the columns with it"
        )
    _check_names(path, first, rows, given is True, delimiter)
    return tuple(first), end


def _rows(text: bytes, delimiter: str) -> Iterator[list[str]]:
    """The rows as texts, up to one with a cell that is too large to be the name of a column."""
    import csv

    with contextlib.suppress(csv.Error):
        yield from csv.reader(io.StringIO(text.decode("utf-8", "replace"), newline=""), delimiter=delimiter)


def _check_names(path: str, names: list[str], rows: bytes, sure: bool, delimiter: str) -> None:
    """Raise unless the first line can be one of names, which the user is `sure` it is."""
    shown = delimiter.join(names)[:60]
    if not sure and (_is_numbers(names) or _is_row(names, rows, delimiter)):
        made = ",".join(f"c{at}" for at in range(len(names)))
        raise UsageError(
            f"{path} begins with what looks like a row ({shown}), which would be taken for the names of its columns: "
            f"name them, e.g. --csv_header {made if len(made) < 60 else 'c0,c1,...'}, or have them named column_1 and "
            "so on by --csv_header no; if they are names, say --csv_header yes"
        )
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise UsageError(
            f"{path} has several columns named {twice[0]!r} in its first line: give each its own name, or say "
            "--csv_header no if that line is a row"
        )
    apart = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
    if apart is not None:
        told = "tab" if apart == "\t" else f"'{apart}'"
        raise UsageError(
            f"{path} has one column, {names[0]!r}, in its first line, with cells apart by {apart!r}: "
            f"write it with commas, or with tabs and the ending .tsv, or say --delimiter {told}"
        )


_NUMBER = re.compile(
    r"\s*(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|\d{4}-\d\d?-\d\d?(?:[ T][\d:.]+Z?)?)\s*", re.IGNORECASE
)
"""A number, or a date."""

_NOTHING = re.compile(r"\s*(?:|[+-]?nan|[+-]?inf(?:inity)?|n/?a|#n/a|null|none)\s*", re.IGNORECASE)
"""Stands beside numbers, and may be the name of a column too."""

# Of thousands of files with the same names.
_number = lru_cache(maxsize=4096)(_NUMBER.fullmatch)
_nothing = lru_cache(maxsize=4096)(_NOTHING.fullmatch)


def _is_numbers(names: list[str]) -> bool:
    """Whether the first line is all numbers, and not some that count up, as names do (`0,1,2`, years)."""
    told = [name for name in names if not _nothing(name)]
    if not told or not all(_number(name) for name in told):
        return False
    if not all(name.isdigit() for name in told):
        return True
    numbers = [int(name) for name in told]
    counts_up = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return not counts_up or (len(numbers) == 1 and numbers != [0])


def _is_row(names: list[str], rows: bytes, delimiter: str) -> bool:
    """Whether all words of the first line stand in their columns once more.

    Where it has no numbers either, lines that are the first one again do not count: names of files behind one another.
    In a file of one column a word that is there once more may be a name by chance.
    """
    words = {at: name for at, name in enumerate(names) if not _number(name) and not _nothing(name)}
    only_words = len(words) == len(names)
    if not words or not (only_words or any(_number(name) for name in names)):
        return False
    if only_words and any(rows.count(name.encode()) < 2 for name in names):
        return False  # as of most files, found without a look at the rows
    seen: Counter[tuple[int, str]] = Counter()
    for row in _rows(rows, delimiter):
        if len(row) == len(names) and not (only_words and len(names) > 1 and row == names):
            seen.update((at, row[at]) for at in words)
    least = 1 if only_words and len(names) > 1 else 3 if only_words else 2
    return all(seen[word] >= least for word in words.items())


def _text_start(head: bytes) -> int:
    return len(_BOM) if head.startswith(_BOM) else 0


def _first_row(stream: BinaryIO, end: lines.EndFinder) -> tuple[bytes, int, int]:
    """(the head of the text, where its first row that is not blank begins, and where it ends)."""
    head, at = b"", 0
    while True:
        fresh = stream.read(max(_HEAD_BYTES, len(head)))
        head += fresh
        if at == 0:
            at = _text_start(head)
        while length := end(head[at:]):
            at += length
            if head[at - length : at].strip(b"\r\n"):
                return head, at - length, at
        if not fresh:
            return head, at, len(head)
