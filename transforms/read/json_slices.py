"""The text of single values in JSON Lines, found by numpy over many lines at once.

The text is known to be objects, one a line, and UTF-8: pyarrow has parsed it.

    {"id": 7, "meta": {"p": [1, 2]}}\n        structural bytes, those in strings left out
    {    :  ,       : {    : [ ,  ]}}
    1    1  1       1 2    2 3 3  2 10        depth behind each
         ^--^       ^--------------^          at depth 1, from each colon to the comma or the end behind it
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_OPEN, _CLOSE, _COLON, _COMMA, _QUOTE = 1, 2, 3, 4, 5
_BACKSLASH = ord("\\")


def _table(marks: dict[bytes, int]) -> bytes:
    table = bytearray(256)
    for some, mark in marks.items():
        for byte in some:
            table[byte] = mark
    return bytes(table)


_MARKS = _table({b"{[": _OPEN, b"}]": _CLOSE, b":": _COLON, b",": _COMMA, b'"': _QUOTE})
_BLANK = np.frombuffer(_table({b" \t\r\n": 1}), dtype=bool)


@dataclass(frozen=True)
class Slices:
    """Where the values of some keys lie in a text."""

    data: np.ndarray
    """uint8, the text."""

    marks: np.ndarray
    """int64, the places of the commas, colons, brackets and braces that are no part of a string."""

    found: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    """Key -> (begin, end, row) of its values, in the order of the rows, blanks around them left out."""


def slices(text: bytes, names: Collection[str]) -> Slices:
    """Find the values of these keys of the objects, null or not.

    Args:
        text: lines, of which those that are not blank are objects.
        names: keys.

    Raises:
        pa.ArrowInvalid: an object has one of the keys twice.
    """
    data = np.frombuffer(text, dtype=np.uint8)
    places, kinds, inside = _structure(text, data)
    # Most of this goes over some bytes a mark: what is left of it is few.
    opens, closes = kinds == _OPEN, kinds == _CLOSE
    opens[inside] = closes[inside] = False
    depth = np.subtract(opens, closes, dtype=np.int8, casting="unsafe")
    depth = np.add.accumulate(depth, dtype=np.int16)
    if (depth < 0).any():
        depth = np.cumsum(np.subtract(opens, closes, dtype=np.int8, casting="unsafe"), dtype=np.int64)
    last = closes & (depth == 0)
    colon = (kinds == _COLON) & (depth == 1) & ~inside
    top = np.flatnonzero(last | colon | ((kinds == _COMMA) & (depth == 1) & ~inside))
    ends = last[top]
    which = np.flatnonzero(colon[top])
    owner = np.cumsum(ends)[which]
    colons = top[which]
    begin, end = places[colons] + 1, places[top[which + 1]]
    # Before a colon stands the quote that closes the key, and before that, mostly, the one that opens it.
    opening = colons - 2
    odd = np.flatnonzero(inside[opening] | (kinds[opening] != _QUOTE))
    if len(odd):
        quotes = np.flatnonzero((kinds == _QUOTE) & ~inside)
        opening[odd] = quotes[np.searchsorted(quotes, colons[odd]) - 2]
    key_begin, key_end = places[opening] + 1, places[colons - 1]
    found = {}
    escaped = _escaped_keys(text, data, key_begin, key_end)
    for name in names:
        mine = _is_key(data, key_begin, key_end, name.encode())
        for place, real in escaped.items():
            mine[place] = real == name
        row = owner[mine]
        if len(row) > 1 and (np.diff(row) == 0).any():
            raise pa.ArrowInvalid(f"key {name!r} is there twice")
        found[name] = (*_without_blanks(data, begin[mine], end[mine]), row)
    return Slices(data, places[~inside & (kinds != _QUOTE)], found)


def value_texts(text: bytes, rows: int, names: Collection[str]) -> dict[str, pa.Array]:
    """The JSON text of each row's value of these keys (strings); null where it is null or the key is not there.

    Args:
        text: lines, of which those that are not blank are objects.
        rows: how many objects.
        names: keys.

    Raises:
        pa.ArrowInvalid: an object has one of the keys twice.
    """
    found = slices(text, names)
    return {name: _texts(text, found.data, *found.found[name], rows) for name in names}


def _without_blanks(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    begin, end = begin.copy(), end.copy()
    while (blank := _BLANK[data[begin]]).any():
        begin += blank
    while (blank := _BLANK[data[end - 1]]).any():
        end -= blank
    return begin, end


def _structure(text: bytes, data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions and kinds of the bytes that structure may be made of, and which of them are part of a string.

    Quotes round strings are not part of them, quotes in strings are left out.
    """
    kinds = np.frombuffer(text.translate(_MARKS), dtype=np.int8)
    places = np.flatnonzero(kinds != 0)
    kinds = kinds[places]
    quotes = kinds == _QUOTE
    if b"\\" in text:
        doubtful = np.flatnonzero(quotes)
        doubtful = doubtful[data[places[doubtful] - 1] == _BACKSLASH]
        # A quote is part of a string where the run of backslashes before it is odd.
        slashes = np.flatnonzero(data == _BACKSLASH)
        first = np.maximum.accumulate(np.where(np.diff(slashes, prepend=-2) != 1, np.arange(len(slashes)), 0))
        last = np.searchsorted(slashes, places[doubtful]) - 1
        keep = np.ones(len(places), dtype=bool)
        keep[doubtful[(last - first[last] + 1) % 2 == 1]] = False
        places, kinds, quotes = places[keep], kinds[keep], quotes[keep]
    return places, kinds, np.logical_xor.accumulate(quotes) & ~quotes


def _escaped_keys(text: bytes, data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> dict[int, str]:
    """Keys with escapes in them, by their place among the keys."""
    if b"\\" not in text:
        return {}
    slashes = np.flatnonzero(data == _BACKSLASH)
    some = np.flatnonzero(np.searchsorted(slashes, begin) < np.searchsorted(slashes, end))
    return {at: json.loads(text[begin[at] - 1 : end[at] + 1]) for at in some.tolist()}


def _is_key(data: np.ndarray, begin: np.ndarray, end: np.ndarray, name: bytes) -> np.ndarray:
    mine = end - begin == len(name)
    for offset, byte in enumerate(name):
        some = np.flatnonzero(mine)
        mine[some[data[begin[some] + offset] != byte]] = False
    return mine


def _texts(text: bytes, data: np.ndarray, begin: np.ndarray, end: np.ndarray, row: np.ndarray, rows: int) -> pa.Array:
    """The stretches of text as strings, each at its row."""
    given = ~((end - begin == 4) & (data[begin] == ord("n")))
    begin, end, row = begin[given], end[given], row[given]
    # Views on the text, which Arrow then copies together: the first bytes stand in the view too.
    lengths = (end - begin).astype(np.int32)
    views = np.zeros((rows, 4), dtype=np.int32)
    views[row, 0] = lengths
    short = lengths <= 12
    padded = np.concatenate([data, np.zeros(12, np.uint8)])
    window = np.lib.stride_tricks.sliding_window_view(padded, 12)
    inline = window[begin[short]] * (np.arange(12) < lengths[short, None])
    views[row[short], 1:] = inline.astype(np.uint8).view(np.int32)
    long = ~short
    views[row[long], 1] = np.ascontiguousarray(window[begin[long], :4]).view(np.int32)[:, 0]
    views[row[long], 3] = begin[long]
    valid = np.zeros(rows, dtype=bool)
    valid[row] = True
    bits = None if len(row) == rows else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.string_view(), rows, [bits, pa.py_buffer(views), pa.py_buffer(text)]).cast(
        pa.string()
    )
