"""How lines of JSON are written that hold numbers and lists of numbers: what stands before each value.

{"a": 1.5, "b": [2, 3]}
^----^   ^------^
prefixes, which lines that are alike have in the same order
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa


class Key(NamedTuple):
    """What stands before a value in each line, and what the value is."""

    prefix: bytes
    """From the brace or comma to the value: `, "a": `."""

    is_list: bool


@dataclass(frozen=True)
class Layout:
    """The keys of lines that are alike."""

    keys: Mapping[str, Key]
    """In their order."""

    _groups: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list, repr=False)
    """Length of a prefix, which keys have such a one, their bytes [keys, length]."""

    def __post_init__(self) -> None:
        prefixes = [key.prefix for key in self.keys.values()]
        for length in sorted(set(map(len, prefixes))):
            at = [place for place, prefix in enumerate(prefixes) if len(prefix) == length]
            wanted = np.frombuffer(b"".join(prefixes[place] for place in at), np.uint8).reshape(len(at), length)
            self._groups.append((length, np.array(at), wanted))
        object.__setattr__(self, "lengths", np.array(list(map(len, prefixes))))
        object.__setattr__(self, "before", np.array([prefix.index(b'"') for prefix in prefixes]))
        object.__setattr__(self, "places", {name: at for at, name in enumerate(self.keys)})
        object.__setattr__(self, "lists", [at for at, key in enumerate(self.keys.values()) if key.is_list])

    lengths: np.ndarray = field(init=False, repr=False)
    """Of the prefixes; [keys]"""

    before: np.ndarray = field(init=False, repr=False)
    """Bytes of each before its key; [keys]"""

    places: Mapping[str, int] = field(init=False, repr=False)
    """Key -> its place among the others."""

    lists: list[int] = field(init=False, repr=False)
    """Places of keys whose values are lists."""

    def departs(self, data: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """Which lines have something else where prefixes should begin, [lines, keys]."""
        odd = np.zeros(len(begins), bool)
        for length, at, wanted in self._groups:
            places = np.ascontiguousarray(begins[:, at])
            if places.min() < 0 or places.max() + length > len(data):
                odd |= ((places < 0) | (places + length > len(data))).any(axis=1)
                continue
            found = _windows(data, length)[places].view(np.uint8).reshape(len(begins), len(at), length)
            differs = found != wanted
            if differs.any():
                odd |= differs.any(axis=(1, 2))
        return odd

    def blank(self, data: np.ndarray, begins: np.ndarray) -> None:
        """Make blanks of the prefixes, but for the braces and commas that they begin with."""
        for length, at, _ in self._groups:
            _windows(data, length - 1)[begins[:, at] + 1] = np.void(b" " * (length - 1))


def _windows(data: np.ndarray, length: int) -> np.ndarray:
    """That many bytes from each place on, as one element."""
    return np.ndarray((len(data) - length + 1,), f"V{length}", data, strides=(1,))


def layout_of(line: bytes, schema: pa.Schema) -> Layout | None:
    """The layout of a line; None where it does not hold numbers only, or not those of the schema.

    >>> list(layout_of(b'{"a": 1.5, "b":[2]}', pa.schema([("b", pa.list_(pa.int8()))])).keys.values())
    [Key(prefix=b'{"a": ', is_list=False), Key(prefix=b', "b":', is_list=True)]
    """
    try:
        pairs = json.loads(line, object_pairs_hook=list, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    keys: dict[str, Key] = {}
    at = 0
    for name, value in pairs:
        is_list = type(value) is list
        if name in keys or not all(type(one) in (int, float) for one in (value if is_list else [value])):
            return None
        quoted = b'"%s":' % name.encode("utf-8", "surrogatepass")
        begin = line.find(quoted, at)
        if begin < 0:
            return None
        start = begin + len(quoted)
        start += len(line[start:]) - len(line[start:].lstrip(b" \t\r"))
        comma = line.rfind(b",", at, begin) if keys else 0
        keys[name] = Key(line[comma:start], is_list)
        at = start
    if not set(schema.names) <= keys.keys():
        return None
    if any(keys[one.name].is_list != pa.types.is_list(one.type) for one in schema):
        return None
    return Layout(keys) if keys else None


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no number")
