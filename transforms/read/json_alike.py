"""Lines of JSON that are alike, objects of the same keys in the same order that hold numbers and lists of numbers: read
together by simdjson as one array of numbers, in about half of the time that Arrow's reader takes.

    {"a": 1.5, "b": [2, 3]}          [     1.5,      [2, 3]],
    {"a": 0.5, "b": [4, 5]}    ->    [     0.5,      [4, 5]]      ->    1.5 2 3 0.5 4 5

Lines that depart from the first of their neighbours (another key, a text, null, a number of which it is not sure that
Arrow would read the same) are left to Arrow's reader, which also decides what is wrong.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.transforms.read.json_layout import Layout, layout_of
from beamsplit.transforms.read.json_numbers import Numbers, are_sure, columns_of, is_number

CHUNK_BYTES = 512 << 10
"""Text that is looked at together: what is made of it stays in the cache."""

LEAST_ROWS = 16
"""Fewer lines are not worth it."""

MOST_ODD = 0.25
"""Where more of the lines depart, all are left to the other reader."""

_BLANK, _COMMA, _OPEN, _CLOSE, _LINE, _QUOTE = (ord(one) for one in ' ,[]\n"')

_MINUS_ZERO = re.compile(rb"-0(?![.\deE])")

_WRITTEN = np.zeros(256, bool)
"""Bytes that numbers, and lists of them, are written with."""
_WRITTEN[list(b"0123456789+-.eE,[] \t\r")] = True

_PARSERS = threading.local()

Reader = Callable[[bytes, pa.Schema], pa.Table]
"""Reads any lines as the columns of a schema."""


def read_alike(text: bytes, rows: int, schema: pa.Schema, otherwise: Reader) -> pa.Table:
    """Lines as the columns of a schema: the same values, and errors, as `otherwise` gives.

    Args:
        text: UTF-8, of lines that begin and end as an object.
        rows: how many lines that are; with others, blank ones say, all is left to `otherwise`.
        schema: as `otherwise` gives it.
        otherwise: reads what is left to it.
    """
    if rows < LEAST_ROWS or not is_readable(schema) or _lines(text) != rows:
        return otherwise(text, schema)
    layout: Layout | None = None
    found: list[Numbers] = []
    odd = np.ones(rows, bool)
    at = left = 0
    for chunk in _chunks(text):
        lines = _lines(chunk)
        if layout is None:
            layout = layout_of(chunk[: chunk.find(b"\n")], schema)
        if layout is not None and (read := _read(chunk, layout, schema)) is not None:
            numbers, odd[at : at + lines] = read
            found.append(numbers)
        at += lines
        left += int(odd[at - lines : at].sum())
        if left > MOST_ODD * rows:
            return otherwise(text, schema)
    if layout is None:
        return otherwise(text, schema)
    made = columns_of(found, layout, schema)
    if not left:
        return made
    each = text.removesuffix(b"\n").split(b"\n")
    others = np.flatnonzero(odd)
    rest = otherwise(b"\n".join([each[line] for line in others.tolist()]), schema)
    if rest.num_rows != len(others):
        return otherwise(text, schema)
    places = np.argsort(np.concatenate([np.flatnonzero(~odd), others]))
    return pa.concat_tables([made, rest]).take(pa.array(places))


def is_readable(schema: pa.Schema) -> bool:
    """Whether the columns are numbers and lists of numbers, and simdjson is there."""
    kinds = (field.type.value_type if pa.types.is_list(field.type) else field.type for field in schema)
    return len(schema) > 0 and _has_simdjson() and all(map(is_number, kinds))


@lru_cache(maxsize=1)
def _has_simdjson() -> bool:
    try:
        import simdjson  # noqa: F401
    except ImportError:
        return False
    return True


def _lines(text: bytes) -> int:
    feeds = np.count_nonzero(np.frombuffer(text, np.uint8) == _LINE)  # four times as fast as bytes.count
    return int(feeds) + (not text.endswith(b"\n"))


def _chunks(text: bytes) -> Iterator[bytes]:
    """Lines together, each with its line feed but for the last."""
    at = 0
    while at < len(text):
        end = text.find(b"\n", at + CHUNK_BYTES)
        end = len(text) if end < 0 else end + 1
        yield text[at:end]
        at = end


def _read(text: bytes, layout: Layout, schema: pa.Schema) -> tuple[Numbers, np.ndarray] | None:
    """The numbers of the lines that are of the layout, and which are not; None where that is not worth it."""
    lines = _Lines(text, layout)
    odd = lines.departing()
    if not odd.any():
        numbers = lines.numbers()
        if numbers is not None:
            return (numbers, odd) if are_sure(numbers, layout, schema, lines.fractions) else None
        odd = lines.without_numbers()
    if not odd.any() or odd.mean() > MOST_ODD:
        return None
    each = text.removesuffix(b"\n").split(b"\n")
    alike = np.flatnonzero(~odd)
    read = _read(b"\n".join([each[line] for line in alike.tolist()]), layout, schema)
    if read is None:
        return None
    odd[alike[read[1]]] = True
    return read[0], odd


class _Lines:
    """Lines, their values found by the keys before them."""

    def __init__(self, text: bytes, layout: Layout) -> None:
        self._text, self._layout = text, layout
        self._data = np.frombuffer(text, np.uint8)
        stops = np.flatnonzero(self._data == _LINE)
        self._stops = stops if text.endswith(b"\n") else np.append(stops, len(text))
        self._starts = np.append(0, self._stops[:-1] + 1)
        self._begins = self._values = np.empty((0, 0), np.int64)  # where prefixes and values begin, [lines, keys]
        self._bare = b""

    def departing(self) -> np.ndarray:
        """Which lines are not of the layout, as far as is told by their keys and where lists begin and end."""
        keys, rows = len(self._layout.keys), len(self._stops)
        quotes = np.flatnonzero(self._data == _QUOTE)
        if len(quotes) == 2 * keys * rows:
            odd = self._departing_at(quotes[::2].reshape(rows, keys) - self._layout.before)
            if not odd.any():
                return odd
        # Lines with more and with fewer keys shift those behind them.
        shifted = np.diff(np.searchsorted(quotes, self._stops), prepend=0) != 2 * keys
        return shifted if shifted.any() else odd

    def _departing_at(self, begins: np.ndarray) -> np.ndarray:
        """The same, where prefixes should begin at these places, [lines, keys]."""
        odd = (begins[:, 0] != self._starts) | (self._data[self._stops - 1] != ord("}"))
        if odd.any():
            return odd
        self._begins, self._values = begins, begins + self._layout.lengths
        odd = self._layout.departs(self._data, begins)
        for at in self._layout.lists:
            odd |= (self._data[self._values[:, at]] != _OPEN) | (self._data[self._ends(at) - 1] != _CLOSE)
        return odd

    def _ends(self, at: int) -> np.ndarray:
        """Where values of a key end."""
        return self._begins[:, at + 1] if at + 1 < self._begins.shape[1] else self._stops - 1

    def numbers(self) -> Numbers | None:
        """All numbers, where there is nothing else, and one for each value that is no list."""
        text, rows, lists = self._text, len(self._stops), self._layout.lists
        array = np.empty(len(text) + 2, np.uint8)
        bare = array[1:-1]
        bare[:] = self._data
        self._layout.blank(bare, self._begins)
        bare[self._starts] = array[0] = _OPEN
        bare[self._stops - 1] = array[-1] = _CLOSE
        bare[self._stops[: rows - 1]] = _COMMA
        if text.endswith(b"\n"):
            bare[-1] = _BLANK
        self._bare = array.tobytes()
        # No brackets but those of the lists.
        brackets = rows * len(lists)
        if (
            np.count_nonzero(self._data == _OPEN) != brackets
            or np.count_nonzero(self._data == _CLOSE) != brackets
            or b"\\" in text
        ):
            return None
        values = _parsed(self._bare)
        if values is None or (not values.all() and _MINUS_ZERO.search(self._bare)):
            return None  # simdjson makes a whole 0 of it; as a float it has a sign
        counts = np.ones(self._values.shape, np.int64)
        if lists:
            commas = np.flatnonzero(bare == _COMMA)
            for at in lists:
                counts[:, at] += np.searchsorted(commas, self._ends(at)) - np.searchsorted(commas, self._values[:, at])
            # All others stand between values and between lines.
            if len(commas) != counts.sum() - 1:
                return None
        # A list without a number has been counted as if it had one.
        if counts.sum() != len(values):
            return None
        return Numbers(values, counts)

    def without_numbers(self) -> np.ndarray:
        """Which lines hold what is written otherwise than numbers."""
        others = np.flatnonzero(~_WRITTEN[np.frombuffer(self._bare, np.uint8)[1:-1]])
        odd = np.zeros(len(self._stops), bool)
        odd[np.searchsorted(self._stops, others)] = True
        return odd

    def fractions(self, at: int) -> bool:
        """Whether a number of this key is written with a point or an exponent."""
        bare = np.frombuffer(self._bare, np.uint8)[1:-1]
        marks = np.flatnonzero((bare == ord(".")) | (bare == ord("e")) | (bare == ord("E")))
        return bool((np.searchsorted(marks, self._values[:, at]) != np.searchsorted(marks, self._ends(at))).any())


def _parsed(array: bytes) -> np.ndarray | None:
    import simdjson

    # One that stays has its memory already.
    parser = getattr(_PARSERS, "parser", None)
    if parser is None:
        parser = _PARSERS.parser = simdjson.Parser()
    try:
        parsed: Any = parser.parse(array)
        return np.frombuffer(parsed.as_buffer(of_type="d"), np.float64)
    except (ValueError, TypeError):
        return None
