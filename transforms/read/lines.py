"""Runs of whole lines: where rows end, how many there are, and byte ranges that hold whole rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from beamsplit.transforms.read.compression import DamagedFile

RUN_BYTES = 8 << 20
"""Bytes of text parsed at a time."""

SCAN_BYTES = 256 << 10
"""Bytes of text looked at together where nothing is parsed: they stay in the cache."""

EndFinder = Callable[[bytes], int]
"""Takes bytes that start at a row; gives the length of the whole rows in it, 0 if the first does not end."""

_QUOTE = ord('"')
_BLANKS = np.frombuffer(b"\n\r\t ", dtype=np.uint8)


def run_bytes(rows: int | None) -> int:
    """Bytes to parse at a time where no more than `rows` rows are wanted."""
    return RUN_BYTES if rows is None else min(RUN_BYTES, max(1 << 16, rows * 1024))


def line_end(data: bytes) -> int:
    """Length of the whole lines in `data`."""
    return data.rfind(b"\n") + 1


def csv_end(delimiter: str) -> EndFinder:
    """A finder of the whole CSV rows: a line end in a quoted field ends no row."""

    def end(data: bytes) -> int:
        if b'"' not in data and b"\n" in data:
            return data.rfind(b"\n") + 1
        ends = _row_ends(data, delimiter, b"\n")
        if not len(ends):
            # Only carriage returns; the last byte may be half of a line end.
            ends = _row_ends(data, delimiter, b"\r")
            ends = ends[ends < len(data) - 1]
        return int(ends[-1]) + 1 if len(ends) else 0

    return end


class CsvScan:
    """Finds the whole CSV rows as `csv_end` does, and counts them in the same pass over the bytes."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self._rows: int | None = None

    def __call__(self, data: bytes) -> int:
        """Length of the whole rows in `data`, which starts at one."""
        length = 0 if b'"' in data or b"\r" in data else line_end(data)
        if length:
            marks = np.frombuffer(data, dtype=np.uint8, count=length) == ord("\n")
            blank = int(marks[0]) + int(np.count_nonzero(marks[1:] & marks[:-1]))
            self._rows = int(np.count_nonzero(marks)) - blank
            return length
        ends = _row_ends(data, self.delimiter, b"\n")
        returns = b"\r" in data
        if not len(ends) or (returns and data.count(b"\r") != data.count(b"\r\n")):
            self._rows = None
            return csv_end(self.delimiter)(data)
        lengths = np.diff(ends, prepend=-1) - 1
        self._rows = int(np.count_nonzero(lengths > 1 if returns else lengths))
        if returns:
            single = ends[lengths == 1] - 1
            self._rows += int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8)[single] != ord("\r")))
        return int(ends[-1]) + 1

    def rows(self, run: bytes) -> int:
        """The rows of the run that was found last; what is left at the end of a file was not found."""
        rows, self._rows = self._rows, None
        return count_csv(run, self.delimiter) if rows is None else rows


def csv_first_end(delimiter: str) -> EndFinder:
    """A finder of the first CSV row only."""

    def end(data: bytes) -> int:
        ends = _row_ends(data, delimiter, b"\r\n")
        if not len(ends) or (ends[0] == len(data) - 1 and data.endswith(b"\r")):
            return 0
        first = int(ends[0])
        return first + (2 if data[first : first + 2] == b"\r\n" else 1)

    return end


def count_csv(data: bytes, delimiter: str) -> int:
    """Rows in `data`, which starts at one; blank lines are none."""
    ends = _row_ends(data, delimiter, b"\r\n" if b"\r" in data else b"\n")
    lengths = np.diff(ends, prepend=-1, append=len(data)) - 1
    return int(np.count_nonzero(lengths))


def csv_cells(data: bytes, delimiter: str) -> np.ndarray:
    """How many cells each row in `data` has, which starts at one; blank lines are none."""
    ends = _row_ends(data, delimiter, b"\r\n" if b"\r" in data else b"\n")
    starts, stops = np.append(0, ends + 1), np.append(ends, len(data))
    apart = _row_ends(data, delimiter, delimiter.encode())
    cells = np.searchsorted(apart, stops) - np.searchsorted(apart, starts) + 1
    return cells[stops > starts]


def count_json(data: bytes) -> int:
    """Lines that are not blank, the last one with or without its newline."""
    firsts = _first_bytes(data)
    if np.isin(firsts, _BLANKS).any():
        return sum(1 for line in data.split(b"\n") if line.strip())
    return len(firsts)


def count_objects(data: bytes) -> int | None:
    """Lines that are not blank, each of which begins and ends as a JSON object; None where one does not.

    If they hold as many objects, each holds one: between the `}` of a line and the `{` of the next an object that goes
    on would need a comma.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    stops = np.flatnonzero(array == ord("\n"))
    if not data.endswith(b"\n"):
        stops = np.append(stops, len(array))
    if len(array) and (array[np.append(0, stops[:-1] + 1)] == ord("{")).all():
        last = array[stops - 1]
        if b"\r" in data:
            last = np.where(last == ord("\r"), array[stops - 2], last)
        if (last == ord("}")).all():
            return len(stops)
    stripped = [line for line in map(bytes.strip, data.split(b"\n")) if line]
    return len(stripped) if all(line.startswith(b"{") and line.endswith(b"}") for line in stripped) else None


def _first_bytes(data: bytes) -> np.ndarray:
    array = np.frombuffer(data, dtype=np.uint8)
    starts = np.flatnonzero(array == ord("\n")) + 1
    if data.endswith(b"\n"):
        starts = starts[:-1]
    return np.concatenate([array[:1], array[starts]])


def _row_ends(data: bytes, delimiter: str, marks: bytes) -> np.ndarray:
    """Positions of the bytes in `marks` that are outside of quoted fields."""
    array = np.frombuffer(data, dtype=np.uint8)
    found = array == marks[0]
    for other in marks[1:]:
        found |= array == other
    ends = np.flatnonzero(found)
    if b'"' not in data:
        return ends
    return ends[np.searchsorted(_toggles(data, array, delimiter), ends, side="right") % 2 == 0]


def csv_open(data: bytes, delimiter: str) -> bool:
    """Whether a quoted field is still open at the end of `data`, which starts at a row."""
    if data.count(b'"') == 0:
        return False
    return len(_toggles(data, np.frombuffer(data, dtype=np.uint8), delimiter)) % 2 == 1


def _toggles(data: bytes, array: np.ndarray, delimiter: str) -> np.ndarray:
    """Positions from which on bytes are in quotes, then out of them, in turn."""
    toggles = np.flatnonzero(array == _QUOTE)
    opening = toggles[0::2]
    # A quote opens a field only where one starts. If every second quote stands at a start or doubles the one
    # before it, counting them is enough; else a stray quote is part of a plain field.
    before = array[opening - 1]
    starts = opening == 0
    for byte in (*delimiter.encode(), *b'\r\n"'):
        starts |= before == byte
    if starts.all():
        return toggles
    quoted = re.compile(rb"(?<![^\r\n" + re.escape(delimiter.encode()) + rb'])"[^"]*(?:""[^"]*)*("?)')
    places = [at for m in quoted.finditer(data) for at in ((m.start(), m.end()) if m[1] else (m.start(),))]
    return np.array(places, dtype=np.int64)


def runs(stream: BinaryIO, size: int | None, end: EndFinder, run_bytes: int) -> Iterator[bytes]:
    """Read `size` bytes (None: to the end) as runs of whole rows of about `run_bytes`.

    The stream stands at the start of a row. The last run may lack its newline.
    """
    left = b""
    while True:
        want = max(run_bytes - len(left), run_bytes // 2, 1)
        if size is not None:
            want = min(want, size)
        fresh = stream.read(want) if want else b""
        if size is not None:
            size -= len(fresh)
        if not fresh:
            break
        data = left + fresh
        length = end(data)
        if not length:
            # A row longer than a run: read twice as much, so that it is scanned few times.
            run_bytes = max(run_bytes, 2 * len(data))
            left = data
            continue
        left = data[length:]
        yield data[:length]
    if left:
        yield left


def whole_runs(stream: BinaryIO, size: int | None, end: EndFinder, run_bytes: int, path: str) -> Iterator[bytes]:
    """The same for a range that was found earlier in the file at `path`.

    Raises:
        DamagedFile: the range is not there any more, or goes on in the middle of its last row; when it was read.
    """
    read, last = 0, b""
    for last in runs(stream, size, end, run_bytes):
        read += len(last)
        yield last
    if size is None:
        return
    if read < size:
        raise DamagedFile(f"{path} changed while it was read: it ends {size - read:,} bytes too early")
    if last and last[-1] not in b"\r\n" and stream.read(1) not in (b"", b"\r", b"\n"):
        raise DamagedFile(f"{path} changed while it was read: its last row was not written to its end yet")


def line_starts(stream: BinaryIO, start: int, stop: int, target: int) -> list[int]:
    """Places in start..stop, start first, that begin a line and are about `target` bytes from each other."""
    starts = [start]
    while starts[-1] + target < stop:
        at = starts[-1] + target
        stream.seek(at - 1)
        while at < stop:
            data = stream.read(min(1 << 16, stop - at + 1))
            if not data:
                return starts
            newline = data.find(b"\n")
            if newline >= 0:
                at = at + newline
                break
            at += len(data)
        if at >= stop:
            break
        starts.append(at)
    return starts
