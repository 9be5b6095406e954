"""JSON values that may be written plain or in lists, `54` or `[54]`, and whole numbers with a point, made what their
column is.

{"age": [54]}       column of single values       {"age":  54 }        brackets become blanks, which mean nothing
{"age": 54}         column of lists               {"age": [54]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.read.json_slices import slices

_BLANK, _LEFT, _RIGHT = ord(" "), ord("["), ord("]")
_BLANKS = np.isin(np.arange(256), list(b" \t\r\n"))


class Depths(NamedTuple):
    """How deep in lists the values of a field may be, which are one value a row or lists without axes of size 1."""

    column: int
    """In its column."""

    least: int
    """In JSON: 0 where the row is one value, else without the leading axes that have size 1."""

    most: int
    """In JSON; more than in the column only where the row is one value."""

    whole: bool = False
    """Whether it is of integers, which may be written with a point and zeros."""


def to_depth(text: bytes, depths: Mapping[str, Depths]) -> bytes | None:
    """The text with values of some fields as deep in lists as their columns; None where that changes nothing.

    Lists of no value or of several are no single values, and stay as they are.

    Args:
        text: lines, of which those that are not blank are valid objects.
        depths: by field.

    Raises:
        pa.ArrowInvalid: an object has one of the keys twice.

    >>> to_depth(b'{"a": [54], "b": 1}', {"a": Depths(0, 0, 1), "b": Depths(1, 0, 1)})
    b'{"a":  54 , "b": [1]}'
    """
    found = slices(text, depths)
    data = found.data.copy()
    put: list[tuple[np.ndarray, int]] = []
    changed = False
    for name, (column, least, most, whole) in depths.items():
        begin, end, _ = found.found[name]
        if whole:
            changed = _without_zeros(data, begin, end) or changed
        plain = ~_is_null(found.data, begin, end)
        begin, end = begin[plain], end[plain]
        if column == 0:
            opening, closing, deep = _brackets(found.data, begin, end, most)
            marks = np.searchsorted(found.marks, end) - np.searchsorted(found.marks, begin)
            alone = (deep <= most) & (marks == 2 * deep)
            for level in range(most):
                these = alone & (deep > level)
                data[opening[level][these]] = data[closing[level][these]] = _BLANK
                changed = changed or bool(these.any())
        else:
            lists = _lists(found.data, begin, column)
            for level in range(column - least):
                these = (lists >= least) & (lists < column - level)
                put += [(begin[these], _LEFT), (end[these], _RIGHT)]
    put = [(places, byte) for places, byte in put if len(places)]
    if put:
        where = np.concatenate([places for places, _ in put])
        what = np.concatenate([np.full(len(places), byte, np.uint8) for places, byte in put])
        data = np.insert(data, where, what)
    return data.tobytes() if put or changed else None


def _is_null(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    return (end - begin == 4) & (data[begin] == ord("n"))


_ZEROS = re.compile(rb"(?<=\d)\.0+(?![\deE])")


def _without_zeros(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> bool:
    """Make `.0` behind whole numbers blanks; whether there is one."""
    points = np.flatnonzero(data == ord("."))
    some = np.flatnonzero(np.searchsorted(points, begin) < np.searchsorted(points, end))
    changed = False
    for at in some.tolist():
        text = data[begin[at] : end[at]].tobytes()
        if b'"' in text:
            continue
        bare = _ZEROS.sub(lambda found: b" " * len(found[0]), text)
        if bare != text:
            data[begin[at] : end[at]] = np.frombuffer(bare, np.uint8)
            changed = True
    return changed


def _lists(data: np.ndarray, begin: np.ndarray, most: int) -> np.ndarray:
    """How many lists begin where a value begins, counted to `most`."""
    at, lists = begin.copy(), np.zeros(len(begin), np.int64)
    for level in range(most):
        opens = (data[at] == _LEFT) & (lists == level)
        lists += opens
        at += opens
        while (blank := _BLANKS[data[at]]).any():
            at += blank
    return lists


def _brackets(
    data: np.ndarray, begin: np.ndarray, end: np.ndarray, most: int
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """(places of the opening brackets by level, of the closing ones, how many lists, none empty, are in one another).

    Counted to `most` + 1.
    """
    opening, closing = [], []
    left, right = begin.copy(), end - 1
    deep = np.zeros(len(begin), np.int64)
    inner = np.ones(len(begin), bool)
    for _ in range(most + 1):
        inner &= (data[left] == _LEFT) & (data[right] == _RIGHT) & (left < right)
        opening.append(left.copy())
        closing.append(right.copy())
        left, right = left + inner, right - inner
        while (blank := inner & (left <= right) & _BLANKS[data[left]]).any():
            left += blank
        while (blank := inner & (left <= right) & _BLANKS[data[right]]).any():
            right -= blank
        inner &= left <= right
        deep += inner
    return opening, closing, deep


def depths_of(kind: pa.DataType, shape: tuple[int | None, ...]) -> Depths | None:
    """How deep values may be in JSON that fill rows of a shape; None where they can only be as their column.

    Args:
        kind: of the column.
        shape: of a row as the model takes it, or as it was declared; None is a size that may vary.

    >>> depths_of(pa.float32(), (1,))
    Depths(column=0, least=0, most=1, whole=False)
    >>> depths_of(pa.list_(pa.float32()), (None,))
    Depths(column=1, least=0, most=1, whole=False)
    """
    column = 0
    while pa.types.is_list(kind):
        column, kind = column + 1, kind.value_type
    if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return None
    whole = pa.types.is_integer(kind)
    if all(size in (1, None) for size in shape):
        return Depths(column, 0, max(1, len(shape), column), whole)
    least = column - next(at for at, size in enumerate(shape) if size != 1)
    if 0 < least < column == len(shape):
        return Depths(column, least, column, whole)
    return Depths(column, column, column, whole) if whole else None


def plain_value(value: Any, depths: Depths) -> Any:
    """A value as deep as its column, if it may be; else as it is.

    >>> plain_value([[54]], Depths(0, 0, 2)), plain_value([1, 2], Depths(0, 0, 2)), plain_value(54, Depths(1, 0, 1))
    (54, [1, 2], [54])
    """
    deep, inner = 0, value
    while isinstance(inner, list):
        deep += 1
        if not inner or (len(inner) > 1 and not depths.column):
            break
        inner = inner[0]
    if depths.column == 0:
        return inner if deep <= depths.most and not isinstance(inner, (list, dict)) else value
    if value is None or deep < depths.least:
        return value
    for _ in range(depths.column - deep):
        value = [value]
    return value
