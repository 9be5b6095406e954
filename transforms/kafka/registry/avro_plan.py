"""A schema of Avro as what reads it: from its text, with those that it refers to, to the nodes of its types."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa

from beamsplit.transforms.formats.avro_schema import AvroType, Unreadable, avro_fields, plain_avro, within_itself
from beamsplit.transforms.kafka.registry.avro_lists import Array, Items, Map
from beamsplit.transforms.kafka.registry.avro_nodes import Characters, Enum, Node, Null, Number, Record, Union, Wide


class BadSchema(ValueError):
    """A schema cannot be read, or is none of records; says why."""


@dataclass(frozen=True)
class AvroSchema:
    """A record's schema, with all that it refers to in it."""

    tree: Mapping[str, Any]
    """As JSON, each named type told where it is first used and wherever it is used again, but within itself."""

    @property
    def name(self) -> str:
        """Its full name."""
        return str(self.tree["name"])

    @cached_property
    def types(self) -> dict[str, AvroType | Unreadable]:
        """What each field is read as, or why it cannot be."""
        return avro_fields(self.tree)

    @cached_property
    def record(self) -> Record:
        """What reads it."""
        made = _Made()
        record = made.node(self.tree)
        assert isinstance(record, Record)
        if any(not sum(node.least for node in one.nodes) for one in made.items):
            for one in made.items:
                one.together = True
        return record

    @cached_property
    def deep(self) -> bool:
        """Whether a type is used within itself, so that a message may be of any depth."""
        return within_itself(self.tree)

    @cached_property
    def plain(self) -> Any:
        """As fastavro reads records to plain values; see `plain_avro`."""
        from fastavro import parse_schema

        return parse_schema(_once(plain_avro(self.tree)))


@lru_cache(maxsize=256)
def avro_schema_of(text: str, references: Sequence[tuple[str, str]] = ()) -> AvroSchema:
    """The schema of a text.

    Args:
        text: JSON.
        references: name and text of each schema that it refers to, those first that others refer to.

    Raises:
        BadSchema: it is none, or not that of a record.
    """
    from fastavro import parse_schema
    from fastavro.schema import SchemaParseException, UnknownType

    named: dict[str, Any] = {}
    try:
        for _, other in references:
            parse_schema(json.loads(other), named_schemas=named)
        tree = _expanded(parse_schema(json.loads(text), named_schemas=named), named, (), itertools.count(1))
    except (SchemaParseException, UnknownType, ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadSchema(f"its schema cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict) or tree.get("type") != "record":
        kind = tree.get("type") if isinstance(tree, dict) else "union" if isinstance(tree, list) else tree
        raise BadSchema(f"its schema is that of {kind}, and rows are made of a record")
    return AvroSchema(tree)


MOST_TYPES = 10_000
"""Of a schema, each counted wherever it is used: types that are used twice by one another double."""


def _expanded(tree: Any, named: Mapping[str, Any], within: tuple[str, ...], count: Iterator[int]) -> Any:
    """The schema with each name of a type replaced by the type, but within itself."""
    if next(count) > MOST_TYPES:
        raise ValueError(f"its types use one another so often that there are more than {MOST_TYPES:,} when written out")
    if isinstance(tree, list):
        return [_expanded(one, named, within, count) for one in tree]
    if isinstance(tree, str):
        return _expanded(named[tree], named, within, count) if tree in named and tree not in within else tree
    made = {key: value for key, value in tree.items() if not key.startswith("__")}
    if made["type"] in ("record", "error", "enum", "fixed"):
        within = (*within, made["name"])
    for key in ("type", "items", "values"):
        if key in made:
            made[key] = _expanded(made[key], named, within, count)
    if "fields" in made:
        made["fields"] = [{**one, "type": _expanded(one["type"], named, within, count)} for one in made["fields"]]
    return made


def _once(tree: Any, seen: set[str] | None = None) -> Any:
    """The schema with each named type told once, as parsers want it."""
    seen = set() if seen is None else seen
    if isinstance(tree, list):
        return [_once(one, seen) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if tree["type"] in ("record", "error", "enum", "fixed"):
        if tree["name"] in seen:
            return tree["name"]
        seen.add(tree["name"])
    made = dict(tree)
    for key in ("type", "items", "values"):
        if key in made:
            made[key] = _once(made[key], seen)
    if "fields" in made:
        made["fields"] = [{**one, "type": _once(one["type"], seen)} for one in made["fields"]]
    return made


_SINGLE: Mapping[str, Any] = {
    "null": Null,
    "boolean": lambda: Wide(1, pa.bool_()),
    "int": lambda: Number(32),
    "long": lambda: Number(64),
    "float": lambda: Wide(4, pa.float32()),
    "double": lambda: Wide(8, pa.float64()),
    "bytes": Characters,
    "string": Characters,
}


class _Made:
    """Nodes, and the records among them by name."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self.items: list[Items] = []

    def node(self, tree: Any) -> Node:
        if isinstance(tree, list):
            return Union([self.node(one) for one in tree], _wire(tree))
        if isinstance(tree, str):
            return self._records[tree] if tree in self._records else _SINGLE[tree]()
        kind = tree["type"]
        if kind in ("record", "error"):
            record = self._records[tree["name"]] = Record()
            record.fields = [(field["name"], self.node(field["type"])) for field in tree["fields"]]
            record.least = sum(node.least for _, node in record.fields)
            return record
        if kind == "enum":
            return Enum(pa.array(tree["symbols"], pa.string()))
        if kind == "fixed":
            decimal = tree.get("logicalType") == "decimal"
            return Wide(tree["size"], pa.binary() if decimal else pa.binary(tree["size"]))
        if kind == "array":
            self.items.append(Array((self.node(tree["items"]),), wire=_wire(tree["items"])))
            return self.items[-1]  # type: ignore[return-value]
        if kind == "map":
            self.items.append(Map((Characters(), self.node(tree["values"])), wire=_wire(tree["values"])))
            return self.items[-1]  # type: ignore[return-value]
        return self.node(kind)


def _wire(tree: Any) -> pa.DataType | None:
    found = avro_fields({"type": "record", "name": "_", "fields": [{"name": "_", "type": tree}]})["_"]
    return found.wire if isinstance(found, AvroType) else None
