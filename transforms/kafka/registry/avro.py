"""Avro in a registry: what `kinds.Module` asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa

from beamsplit.transforms.formats.avro_schema import AvroType, Unreadable, avro_schema
from beamsplit.transforms.kafka.registry.avro_decode import Decoded
from beamsplit.transforms.kafka.registry.avro_plan import AvroSchema, BadSchema, avro_schema_of
from beamsplit.transforms.kafka.registry.avro_reader import read_avro
from beamsplit.transforms.kafka.registry.avro_write import AvroWriter
from beamsplit.transforms.kafka.registry.client import Schema
from beamsplit.transforms.kafka.registry.framing import Bodies
from beamsplit.transforms.kafka.registry.kinds import How


def fields(schema: Schema, record: str | None) -> Mapping[str, pa.DataType | Unreadable]:
    """What each field is read as, or why it cannot be.

    Raises:
        BadSchema: the schema cannot be read.
    """
    types = _parsed(schema, record).types
    return {name: kind.arrow if isinstance(kind, AvroType) else kind for name, kind in types.items()}


def read(
    writer: Schema,
    reader: Schema,
    how: How,
    wanted: pa.Schema,
    bodies: Bodies,
) -> Decoded:
    """Messages written by one schema as fields of another; see `kinds.Module`."""
    return read_avro(_parsed(writer, how.record), _parsed(reader, how.record), wanted, bodies)


def _parsed(schema: Schema, record: str | None) -> AvroSchema:
    parsed = avro_schema_of(schema.text, schema.references)
    if record is not None and parsed.name != record:
        raise BadSchema(f"it is a record {parsed.name}, and {record} is asked for")
    return parsed


def writer(schema: Schema, record: str | None, rows: pa.Schema) -> AvroWriter:
    """What makes messages of rows with these columns.

    Raises:
        ValueError: they do not fit; says which and why.
    """
    _parsed(schema, record)
    made = AvroWriter(schema.text, schema.references)
    made.check(rows)
    return made


def derived(rows: pa.Schema, name: str) -> str:
    """A schema for rows with these columns, each of which may be null.

    Raises:
        TypeError: Avro has no such type, or does not take a name.
    """
    return json.dumps({**avro_schema(rows), "name": name})
