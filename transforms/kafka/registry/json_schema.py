"""JSON Schema in a registry: what `kinds.Module` asks for. Messages are JSON behind the frame, and validated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.transforms.formats.avro_schema import Unreadable
from beamsplit.transforms.kafka.registry.avro_decode import Decoded
from beamsplit.transforms.kafka.registry.client import Schema
from beamsplit.transforms.kafka.registry.framing import Bodies
from beamsplit.transforms.kafka.registry.json_columns import doubtful
from beamsplit.transforms.kafka.registry.json_layout import layout_of
from beamsplit.transforms.kafka.registry.json_plain import plain_schema
from beamsplit.transforms.kafka.registry.kinds import How
from beamsplit.transforms.read.json_parse import Rules, parse_texts

MOST_TYPES = 10_000
"""Of which a property may be made, each counted wherever it is used: `$ref`s that refer twice to one another double."""


TOO_DEEP = "its schema is nested too deep"


class BadSchema(ValueError):
    """A schema cannot be read, or is none of objects; says why."""


class Unfit(ValueError):
    """A column does not fit a property; says why."""


def fields(schema: Schema, record: str | None) -> Mapping[str, pa.DataType | Unreadable]:
    """What each property is read as; what may be anything as its text.

    Raises:
        BadSchema: the schema cannot be read.
    """
    tree = _tree(schema)
    if record is not None and tree.get("title") != record:
        raise BadSchema(f"it is {tree.get('title') or 'without a title'}, and {record} is asked for")
    try:
        return {name: _type_of(one, tree, (), [MOST_TYPES]) or pa.json_() for name, one in tree["properties"].items()}
    except RecursionError:
        raise BadSchema(TOO_DEEP) from None


def read(writer: Schema, reader: Schema, how: How, wanted: pa.Schema, bodies: Bodies) -> Decoded:
    """Messages that their writer's schema holds of, as properties of another; see `kinds.Module`."""
    _validator(writer.text, writer.references)  # It also tells of schemas that are none.
    layout = layout_of(writer.text, wanted)
    if layout is None:
        return _validated(writer, how, wanted, bodies)
    found = layout.read(bodies)
    left = np.setdiff1d(np.arange(len(bodies.starts)), found.rows, assume_unique=True)
    if not left.size:
        return Decoded(found.batch, found.rows, {})
    others = _validated(writer, how, wanted, Bodies(bodies.data, bodies.starts[left], bodies.ends[left]))
    rows = np.concatenate([found.rows, left[others.rows]])
    order = np.argsort(rows)
    batch = pa.concat_batches([found.batch, others.batch]).take(pa.array(order))
    return Decoded(batch, rows[order], {int(left[at]): why for at, why in others.bad.items()})


def _validated(writer: Schema, how: How, wanted: pa.Schema, bodies: Bodies) -> Decoded:
    """The same, each message validated."""
    texts, bad = [], dict[int, str]()
    validator = _validator(writer.text, writer.references)
    data = bodies.data.tobytes() if len(bodies.starts) else b""
    rows = []
    for row, (start, end) in enumerate(zip(bodies.starts.tolist(), bodies.ends.tolist(), strict=True)):
        text = data[start:end]
        why = _invalid(text, validator)
        if why:
            bad[row] = why
        else:
            rows.append(row)
            texts.append(text.replace(b"\n", b" "))
    parsed = parse_texts(texts, wanted, Rules(narrow=False, fed=dict(how.fed)))
    places = np.array(rows, np.int64)
    bad |= {rows[at]: why for at, why in parsed.bad.items()}
    return Decoded(parsed.batch, places[parsed.positions()] if parsed.bad else places, bad)


def writer(schema: Schema, record: str | None, rows: pa.Schema) -> JsonWriter:
    """What makes messages of rows with these columns.

    Raises:
        ValueError: they do not fit; says which and why.
    """
    fields(schema, record)
    _validator(schema.text, schema.references)
    made = JsonWriter(schema.text, schema.references)
    made.check(rows)
    return made


def derived(rows: pa.Schema, name: str) -> str:
    """A schema for rows with these columns, each of which may be null."""
    properties = {column.name: _schema_of(column.type) for column in rows}
    told = {"$schema": "http://json-schema.org/draft-07/schema#", "title": name, "type": "object"}
    return json.dumps({**told, "properties": properties})


@dataclass(frozen=True)
class JsonWriter:
    """Makes messages of rows, as `kinds.RowWriter` says."""

    text: str
    references: tuple[tuple[str, str], ...]

    def check(self, rows: pa.Schema) -> None:
        """Raise where columns and properties do not go together, as far as types tell.

        Raises:
            Unfit: they do not; says which, and why.
        """
        tree = _tree(Schema(0, "JSON", self.text, self.references))
        properties = tree["properties"]
        for column in rows:
            if column.name not in properties:
                if tree.get("additionalProperties", True) is False:
                    names = ", ".join(properties) or "none"
                    raise Unfit(
                        f"it has no property for the column {column.name!r}, and takes no others; it has {names}"
                    )
                continue
            allowed, made = _kinds_of(properties[column.name]), _kinds_of(_schema_of(column.type))
            if allowed and not (made - {"null"}) <= allowed | ({"integer"} if "number" in allowed else set()):
                told = " or ".join(sorted(allowed))
                raise Unfit(f"column {column.name!r} is {column.type}, and its property is {told}")
        missing = [name for name in tree.get("required", ()) if name not in rows.names]
        if missing:
            raise Unfit(f"its property {missing[0]!r} is required, and there is no column of that name")

    def faults(self, rows: pa.RecordBatch) -> dict[int, str]:
        """Rows of which the schema does not hold: those of which columns do not show that it does are validated."""
        validator = _validator(self.text, self.references)
        plain = plain_schema(self.text)
        asked = np.arange(rows.num_rows) if plain is None else np.flatnonzero(doubtful(plain, rows))
        if not asked.size:
            return {}
        texts = self.bodies(rows if asked.size == rows.num_rows else rows.take(pa.array(asked))).to_pylist()
        found = {row: _invalid(text, validator) for row, text in zip(asked.tolist(), texts, strict=True)}
        return {row: f"the schema of the output does not hold of it: {why}" for row, why in found.items() if why}

    def bodies(self, rows: pa.RecordBatch) -> pa.Array:
        """The JSON of each row (binary)."""
        from beamsplit.transforms.write.json_text import json_objects

        return json_objects(rows).cast(pa.binary())


def _invalid(text: bytes, validator: Any) -> str:
    """Why a message is no JSON of which the schema holds; empty where it is."""
    import jsonschema_rs
    import orjson

    try:
        validator.validate(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        return f"it is no JSON: {error}"
    except jsonschema_rs.ValidationError as error:
        where = "/".join(map(str, error.instance_path))
        return " ".join(f"{'in ' + where + ': ' if where else ''}{error.message}".split())[:300]
    return ""


@lru_cache(maxsize=256)
def _validator(text: str, references: tuple[tuple[str, str], ...]) -> Any:
    try:
        import jsonschema_rs
        import orjson  # noqa: F401
    except ImportError as error:
        raise BadSchema(f"to validate takes {error.name}: pip install 'beamsplit[registry]'") from None
    try:
        others = [(f"json-schema:///{name}", json.loads(other)) for name, other in references]
        others += [(name, tree) for (name, _), (_, tree) in zip(references, others, strict=True) if "://" in name]
        registry = jsonschema_rs.Registry(others) if others else None
        return jsonschema_rs.validator_for(json.loads(text), registry=registry, retriever=_refuse)
    except RecursionError:
        raise BadSchema(TOO_DEEP) from None
    except (ValueError, TypeError) as error:
        raise BadSchema(f"its schema cannot be read: {' '.join(str(error).split())[:300]}") from error


def _refuse(uri: str) -> Any:
    """Nothing is fetched: what a schema refers to is in the registry."""
    raise ValueError(f"{uri} is not among its references")


@lru_cache(maxsize=256)
def _tree(schema: Schema) -> Mapping[str, Any]:
    """The schema with its properties.

    Raises:
        BadSchema: it is none of objects.
    """
    try:
        tree = json.loads(schema.text)
    except RecursionError:
        raise BadSchema(TOO_DEEP) from None
    except ValueError as error:
        raise BadSchema(f"its schema cannot be read: {error}") from error
    if isinstance(tree, dict) and "$ref" in tree:
        tree = {**tree, **(_referred(tree["$ref"], tree) or {})}
    if not isinstance(tree, dict) or not isinstance(tree.get("properties"), dict):
        raise BadSchema("its schema is none of objects with properties, and rows are made of one")
    return tree


def _referred(reference: Any, whole: Mapping[str, Any]) -> Any:
    """What a `#/...` leads to; None for another."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found: Any = whole
    for part in reference[2:].split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


_SINGLE = {"number": pa.float64(), "integer": pa.int64(), "string": pa.string(), "boolean": pa.bool_()}


def _type_of(tree: Any, whole: Mapping[str, Any], within: tuple[str, ...], left: list[int]) -> pa.DataType | None:
    """The type that holds what a schema allows; None where it may be several, or takes more than is left."""
    left[0] -= 1
    if not isinstance(tree, dict) or left[0] < 0:
        return None
    if "$ref" in tree:
        reference = tree["$ref"]
        if reference in within:
            return None
        return _type_of(_referred(reference, whole), whole, (*within, reference), left)
    for word in ("oneOf", "anyOf"):
        if word in tree:
            others = [one for one in tree[word] if one != {"type": "null"}]
            return _type_of(others[0], whole, within, left) if len(others) == 1 else None
    told = tree.get("type")
    kinds = [one for one in told if one != "null"] if isinstance(told, list) else [told]
    kind = kinds[0] if len(kinds) == 1 else "number" if {*kinds} == {"integer", "number"} else None
    if kind == "array" and isinstance(tree.get("items"), dict):
        items = _type_of(tree["items"], whole, within, left)
        return None if items is None else pa.list_(items)
    if kind == "object" and tree.get("properties"):
        inner = {name: _type_of(one, whole, within, left) for name, one in tree["properties"].items()}
        return None if None in inner.values() else pa.struct(list(inner.items()))
    return _SINGLE.get(str(kind))


def _kinds_of(tree: Any) -> set[str]:
    """The types that a schema names; none where it does not say."""
    if not isinstance(tree, dict):
        return set()
    for word in ("oneOf", "anyOf"):
        if word in tree:
            each = [_kinds_of(one) for one in tree[word]]
            return set().union(*each) if all(each) else set()
    told = tree.get("type")
    return {told} if isinstance(told, str) else {*(told or ())}


def _schema_of(kind: pa.DataType) -> dict[str, Any]:
    """What JSON of a column is."""
    types = pa.types
    if isinstance(kind, pa.JsonType):
        return {}
    if isinstance(kind, pa.FixedShapeTensorType):
        made = _schema_of(kind.value_type)
        for _ in kind.shape:
            made = {"type": ["array", "null"], "items": made}
        return made
    if isinstance(kind, pa.BaseExtensionType):
        return _schema_of(kind.storage_type)
    if types.is_dictionary(kind):
        return _schema_of(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return {"type": ["array", "null"], "items": _schema_of(kind.value_type)}
    if types.is_struct(kind):
        inner = {field.name: _schema_of(field.type) for field in kind}
        return {"type": ["object", "null"], "properties": inner}
    if types.is_map(kind):
        return {}
    if types.is_boolean(kind):
        return {"type": ["boolean", "null"]}
    if types.is_integer(kind):
        return {"type": ["integer", "null"]}
    return {"type": ["number" if types.is_floating(kind) else "string", "null"]}
