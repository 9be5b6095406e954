"""Schemas of JSON that are plain: of objects whose properties are numbers, whole numbers, texts, truth values and lists
of numbers, with limits. What they say can be checked of a column at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

EXACT = 2.0**53
"""From here on a double may stand for several whole numbers."""

_DRAFTS = tuple(f"http://json-schema.org/draft-{number}/schema" for number in ("04", "06", "07")) + tuple(
    f"https://json-schema.org/draft/{year}/schema" for year in ("2019-09", "2020-12")
)
_ANNOTATIONS = {"$id", "$comment", "title", "description", "default", "examples", "readOnly", "writeOnly"}
_OBJECT = _ANNOTATIONS | {"$schema", "type", "properties", "required", "additionalProperties", "definitions", "$defs"}
_NUMBER = _ANNOTATIONS | {"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_LIST = _ANNOTATIONS | {"type", "items", "minItems", "maxItems"}
_TEXT = _ANNOTATIONS | {"type", "enum"}

_SINGLE = {"number": pa.float64(), "integer": pa.int64(), "string": pa.string(), "boolean": pa.bool_()}


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


@dataclass(frozen=True)
class PlainSchema:
    """What a plain schema says of objects."""

    properties: Mapping[str, Property]
    required: frozenset[str]
    closed: bool
    """Whether there may be no other properties."""


@lru_cache(maxsize=256)
def plain_schema(text: str) -> PlainSchema | None:
    """What a schema (its JSON) says; None where it is not plain."""
    tree = json.loads(text)
    if not isinstance(tree, dict) or not tree.keys() <= _OBJECT or tree.get("type") != "object":
        return None
    if "$schema" in tree and str(tree["$schema"]).removesuffix("#") not in _DRAFTS:
        return None
    required, closed = tree.get("required", []), tree.get("additionalProperties", True)
    if not isinstance(required, list) or not isinstance(closed, bool) or not isinstance(tree.get("properties"), dict):
        return None
    properties = {name: _property(one) for name, one in tree["properties"].items()}
    plain = {name: one for name, one in properties.items() if one is not None}
    return PlainSchema(plain, frozenset(required), not closed) if len(plain) == len(properties) else None


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
            if inner is None or (inner.nullable and word == "oneOf"):  # A null would be both of the two.
                return None
            return replace(inner, nullable=True)
    told = tree.get("type")
    kinds = [told] if isinstance(told, str) else list(told or ())
    if kinds and all(isinstance(kind, str) for kind in kinds) and len({*kinds} - {"null"}) == 1:
        (kind,) = {*kinds} - {"null"}
        made = _of_kind(kind, tree)
        # An enum of texts has no null, whatever the types are.
        return made if made is None else replace(made, nullable="null" in kinds and made.among is None)
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
