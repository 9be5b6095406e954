"""Messages of JSON that lie as a plain schema says, read into columns together and checked by column.

A plain schema is one of objects whose properties are numbers, whole numbers, texts, truth values and lists of numbers,
with limits. simdjson finds where things stand in a message and gives a list as an array of doubles; limits are
checked of a column at once. Whatever is not surely right so (another kind of value, a key twice, a whole number that no
double holds, a number beyond its limits) is left to the validator, which also knows why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.kafka.registry.framing import Bodies

EXACT = 2.0**53
"""From here on a double may stand for several whole numbers."""

_MINUS_ZERO = re.compile(rb"-0(?![.\deE])")

MOST_BESIDE_LISTS = 64
"""Properties, where some are lists."""

_ANNOTATIONS = {"$schema", "$id", "$comment", "title", "description", "default", "examples", "readOnly", "writeOnly"}
_OBJECT = _ANNOTATIONS | {"type", "properties", "required", "additionalProperties", "definitions", "$defs"}
_NUMBER = _ANNOTATIONS | {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_LIST = _ANNOTATIONS | {"type", "items", "minItems", "maxItems"}
_TEXT = _ANNOTATIONS | {"type", "enum"}

_SINGLE = {"number": pa.float64(), "integer": pa.int64(), "string": pa.string(), "boolean": pa.bool_()}
_PYTHON: Mapping[str, frozenset[type]] = {
    "number": frozenset({int, float}),
    "integer": frozenset({int}),
    "string": frozenset({str}),
    "boolean": frozenset({bool}),
}


@dataclass(frozen=True)
class Limits:
    """Of numbers; both ends belong to them, but for those that are excluded."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def broken(self, values: np.ndarray) -> np.ndarray | None:
        """Which numbers lie beyond; None where there are no limits. NaN, which stands for none, never does."""
        found = None
        for limit, compare in (
            (self.least, np.less),
            (self.most, np.greater),
            (self.above, np.less_equal),
            (self.below, np.greater_equal),
        ):
            if limit is not None:
                one = compare(values, limit)
                found = one if found is None else found | one
        return found


@dataclass(frozen=True)
class Property:
    """What a plain schema says of one."""

    kind: str
    """`number`, `integer`, `string` or `boolean`; of a list, of its elements."""

    is_list: bool = False
    nullable: bool = False
    limits: Limits = Limits()
    lengths: tuple[int, float] = (0, float("inf"))
    """How many elements a list has."""

    among: frozenset[str] | None = None
    """The texts that it may be; None for all."""

    @property
    def type(self) -> pa.DataType:
        """What it is read as."""
        return pa.list_(_SINGLE[self.kind]) if self.is_list else _SINGLE[self.kind]


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
    tree = json.loads(text)
    if not isinstance(tree, dict) or not tree.keys() <= _OBJECT or tree.get("type") != "object":
        return None
    required, closed = tree.get("required", []), tree.get("additionalProperties", True)
    if not isinstance(required, list) or not isinstance(closed, bool) or not isinstance(tree.get("properties"), dict):
        return None
    properties = {name: _property(one) for name, one in tree["properties"].items()}
    plain = {name: one for name, one in properties.items() if one is not None}
    if len(plain) < len(properties):
        return None
    if len(plain) > MOST_BESIDE_LISTS and any(one.is_list for one in plain.values()):
        return None
    if any(field.name in plain and field.type != plain[field.name].type for field in wanted):
        return None
    return Layout(plain, frozenset(required), not closed, wanted)


def _property(tree: Any) -> Property | None:
    """What a schema says of a property; None where that is not plain."""
    if not isinstance(tree, dict):
        return None
    for word in ("oneOf", "anyOf"):
        if word in tree:
            others = [one for one in tree[word] if one != {"type": "null"}]
            if not tree.keys() <= _ANNOTATIONS | {word} or len(others) != 1 or len(tree[word]) != 2:
                return None
            inner = _property(others[0])
            return inner if inner is None else replace(inner, nullable=True)
    told = tree.get("type")
    kinds = [told] if isinstance(told, str) else list(told or ())
    if kinds and all(isinstance(kind, str) for kind in kinds) and len({*kinds} - {"null"}) == 1:
        (kind,) = {*kinds} - {"null"}
        made = _of_kind(kind, tree)
        return made if made is None else replace(made, nullable="null" in kinds)
    return None


def _of_kind(kind: str, tree: dict[str, Any]) -> Property | None:
    if kind in ("number", "integer") and tree.keys() <= _NUMBER:
        told = [tree.get(word) for word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")]
        # A whole number that no double holds cannot be compared as one; draft 4 has truth values for the last two.
        if all(one is None or (type(one) in (int, float) and abs(one) < EXACT) for one in told):
            return Property(kind, limits=Limits(*told))
    if kind == "boolean" and tree.keys() <= _ANNOTATIONS | {"type"}:
        return Property(kind)
    if kind == "string" and tree.keys() <= _TEXT:
        among = tree.get("enum")
        if among is None or (isinstance(among, list) and all(isinstance(one, str) for one in among)):
            return Property(kind, among=None if among is None else frozenset(among))
    if kind == "array" and tree.keys() <= _LIST:
        inner, lengths = _property(tree.get("items")), (tree.get("minItems", 0), tree.get("maxItems", float("inf")))
        # Where elements may be null, a list that holds one is left to the validator, as it is no array of numbers.
        numbers = inner is not None and inner.kind in ("number", "integer") and not inner.is_list
        if inner is not None and numbers and all(type(one) in (int, float) for one in lengths):
            return replace(inner, is_list=True, nullable=False, lengths=lengths)
    return None
