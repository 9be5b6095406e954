"""Messages of JSON that lie as a plain schema says, read into columns together and checked by column.

A plain schema is one of objects whose properties are numbers, whole numbers, texts, truth values and lists of numbers,
with limits. simdjson finds where things stand in a message and gives a list as an array of doubles; limits are
checked of a column at once. Whatever is not surely right so (another kind of value, a key twice, a whole number that no
double holds, a number beyond its limits) is left to the validator, which also knows why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.kafka.registry.framing import Bodies
from beamsplit.transforms.kafka.registry.json_plain import EXACT, Property, plain_schema

_MINUS_ZERO = re.compile(rb"-0(?![.\deE])")

MOST_BESIDE_LISTS = 64
"""Properties, where some are lists."""

_PYTHON: Mapping[str, frozenset[type]] = {
    "number": frozenset({int, float}),
    "integer": frozenset({int}),
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
}


class Found(NamedTuple):
    """What could be read so."""

    batch: pa.RecordBatch
    """The columns that are wanted."""

    rows: np.ndarray
    """int64, ascending: which messages these are. The others are not told to be wrong."""


@dataclass(frozen=True)
class Layout:
    """A plain schema, and what of it is wanted."""

    properties: Mapping[str, Property]
    required: frozenset[str]
    closed: bool
    """Whether there may be no other properties."""

    wanted: pa.Schema

    def read(self, bodies: Bodies) -> Found:
        """The messages that lie as the schema says."""
        columns = _Columns(self, len(bodies.starts))
        rows = columns.take(bodies)
        good, arrays = np.ones(len(rows), bool), dict[str, pa.Array]()
        for name, one in self.properties.items():
            values, sound = columns.array(name, one)
            arrays[name] = values
            if sound is not None:
                good &= sound
        good[columns.minus_zeros(bodies, rows)] = False
        made = [arrays[f.name] if f.name in arrays else pa.nulls(len(rows), f.type) for f in self.wanted]
        batch = pa.RecordBatch.from_arrays(made, schema=self.wanted)
        return Found(batch, rows) if good.all() else Found(batch.filter(pa.array(good)), rows[good])


class _Columns:
    """Values of messages, property by property."""

    def __init__(self, layout: Layout, rows: int) -> None:
        self._layout, self._rows = layout, rows
        self._values: dict[str, list[Any]] = {name: [] for name in layout.properties}
        self._lists = sum(one.is_list for one in layout.properties.values())
        known = {*layout.properties}
        self._others = {name for name in layout.wanted.names if name not in known}
        self._zeros = np.zeros(0, bool)

    def take(self, bodies: Bodies) -> np.ndarray:
        """Which of the messages could be taken."""
        import simdjson

        parser = simdjson.Parser()
        data, taken = bodies.data.tobytes(), []
        for row, (start, end) in enumerate(zip(bodies.starts.tolist(), bodies.ends.tolist(), strict=True)):
            # A list in a list would be read as one list: its bracket is one too many, and so is one within a text.
            lists, at = 0, data.find(b"[", start, end)
            while at >= 0 and lists <= self._lists:
                lists, at = lists + 1, data.find(b"[", at + 1, end)
            if lists > self._lists or not data.startswith(b"{", start, end):
                continue
            found = self._message(parser, data[start:end], lists)
            if found is not None:
                taken.append(row)
                for name, values in self._values.items():
                    values.append(found.get(name))
        self._zeros = np.zeros(len(taken), bool)
        return np.array(taken, np.int64)

    def minus_zeros(self, bodies: Bodies, rows: np.ndarray) -> np.ndarray:
        """Which of the rows hold a `-0`, of which simdjson makes a whole 0: as a float it has a sign."""
        found = []
        for at in np.flatnonzero(self._zeros).tolist():
            text = bodies.data[bodies.starts[rows[at]] : bodies.ends[rows[at]]].tobytes()
            if b"-" in text and _MINUS_ZERO.search(text):
                found.append(at)
        return np.array(found, np.int64)

    def _message(self, parser: Any, text: bytes, lists: int) -> dict[str, Any] | None:
        """Its properties by name, lists as bytes; None where they are not as they should be, or not as many lists."""
        properties = self._layout.properties
        found: dict[str, Any] = {}
        count, left = 0, lists
        try:
            message = parser.parse(text)
            # `items` makes Python's lists of lists; a key is looked for from the first on.
            pairs = ((name, message[name]) for name in message) if self._lists else message.items()
            for name, value in pairs:
                count += 1
                one = properties.get(name)
                if one is None:
                    if self._layout.closed or name in self._others:
                        return None
                    found[name] = None
                elif value is None:
                    if not one.nullable:
                        return None
                    found[name] = None
                elif one.is_list:
                    left -= 1
                    found[name] = value.as_buffer(of_type="d" if one.kind == "number" else "i")
                elif type(value) in _PYTHON[one.kind]:
                    found[name] = value
                else:
                    return None
        except (ValueError, TypeError, AttributeError, RuntimeError):
            return None
        if left or count != len(found) or not self._layout.required <= found.keys():
            return None
        return found

    def array(self, name: str, one: Property) -> tuple[pa.Array, np.ndarray | None]:
        """A column, and which of its rows are sound; None where all are."""
        values = self._values[name]
        missing = np.fromiter((value is None for value in values), bool, len(values))
        if one.is_list:
            return self._lists_of(values, missing, one)
        if one.kind in ("string", "boolean"):
            column = pa.array(values, one.type)
            if one.among is None:
                return column, None
            return column, np.fromiter((value is None or value in one.among for value in values), bool, len(values))
        numbers = np.array([0 if value is None else value for value in values], np.float64)
        sound = _sound(numbers, one) | missing
        self._zeros |= (numbers == 0) & ~missing
        if one.kind == "number":
            return pa.array(numbers, one.type, mask=missing), sound
        # What is not sound may not fit.
        kept = [value if ok else None for value, ok in zip(values, sound.tolist(), strict=True)]
        return pa.array(kept, one.type), sound

    def _lists_of(self, values: list[Any], missing: np.ndarray, one: Property) -> tuple[pa.Array, np.ndarray]:
        held = [memoryview(b"" if value is None else value) for value in values]
        lengths = np.fromiter((part.nbytes for part in held), np.int64, len(held)) // 8
        ends = np.cumsum(lengths)
        flat = np.frombuffer(b"".join(held), np.float64 if one.kind == "number" else np.int64)
        sound = (lengths >= one.lengths[0]) & (lengths <= one.lengths[1]) | missing
        elements = _sound(flat, one)
        if not elements.all():
            sound[np.searchsorted(ends, np.flatnonzero(~elements), side="right")] = False
        if one.kind == "number" and not flat.all():
            self._zeros[np.searchsorted(ends, np.flatnonzero(flat == 0), side="right")] = True
        offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
        mask = pa.array(missing) if missing.any() else None
        return pa.ListArray.from_arrays(offsets, pa.array(flat), mask=mask), sound


def _sound(numbers: np.ndarray, one: Property) -> np.ndarray:
    sound: np.ndarray = np.abs(numbers) < EXACT
    broken = one.limits.broken(numbers)
    return sound if broken is None else sound & ~broken


@lru_cache(maxsize=256)
def layout_of(text: str, wanted: pa.Schema) -> Layout | None:
    """The layout that messages of a schema (its JSON) have; None where it is not plain, or simdjson is not there."""
    try:
        import simdjson  # noqa: F401
    except ImportError:
        return None
    plain = plain_schema(text)
    if plain is None:
        return None
    properties = plain.properties
    if len(properties) > MOST_BESIDE_LISTS and any(one.is_list for one in properties.values()):
        return None
    if any(field.name in properties and field.type != properties[field.name].type for field in wanted):
        return None
    return Layout(properties, plain.required, plain.closed, wanted)
