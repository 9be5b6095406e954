"""Messages in Avro as rows: of a reader's schema, whichever schema each message was written by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.transforms.formats.avro_schema import AvroType, Unreadable
from beamsplit.transforms.kafka.registry.avro_decode import Decoded, decode
from beamsplit.transforms.kafka.registry.avro_plan import AvroSchema
from beamsplit.transforms.kafka.registry.avro_resolve import Mismatch, convert, default_column, writers_field
from beamsplit.transforms.kafka.registry.framing import Bodies


def read_avro(writer: AvroSchema, reader: AvroSchema, wanted: pa.Schema, bodies: Bodies) -> Decoded:
    """Messages that were written by one schema as columns of another.

    Args:
        writer: the schema that they were written by.
        reader: the schema whose fields are wanted.
        wanted: these fields, as `AvroSchema.types` has them.
        bodies: of the messages.
    """
    try:
        theirs = _matched(writer, reader, wanted.names)
        found = decode(writer, bodies, [one["name"] for one in theirs.values() if one is not None])
    except (Mismatch, Unreadable) as why:
        return Decoded(
            pa.RecordBatch.from_pylist([], schema=wanted),
            np.empty(0, np.int64),
            _all(np.arange(len(bodies.starts)), str(why)),
        )
    if writer is reader:
        return found
    try:
        return found._replace(batch=_converted(found.batch, theirs, reader, wanted))
    except (Mismatch, Unreadable) as why:
        if len(found.rows) <= 1:
            nothing = pa.RecordBatch.from_pylist([], schema=wanted)
            return Decoded(nothing, found.rows[:0], found.bad | _all(found.rows, str(why)))
    batches, rows, bad = [], [], dict(found.bad)
    for at, row in enumerate(found.rows.tolist()):  # Some value does not fit: which, shows each alone.
        try:
            batches.append(_converted(found.batch.slice(at, 1), theirs, reader, wanted))
            rows.append(row)
        except (Mismatch, Unreadable) as why:
            bad[row] = str(why)
    made = pa.concat_batches(batches) if batches else pa.RecordBatch.from_pylist([], schema=wanted)
    return Decoded(made, np.array(rows, np.int64), bad)


def _all(rows: np.ndarray, why: str) -> dict[int, str]:
    return dict.fromkeys(rows.tolist(), why)


def _matched(writer: AvroSchema, reader: AvroSchema, names: Sequence[str]) -> dict[str, Mapping[str, Any] | None]:
    """Each field that is wanted, and the writer's that becomes it; None for its default.

    Raises:
        Mismatch, Unreadable: there is none, or its type does not become the reader's.
    """
    fields = {field["name"]: field for field in reader.tree["fields"]}
    made = {}
    for name in names:
        made[name] = theirs = writers_field(fields[name], writer.tree)
        if theirs is not None and writer is not reader:
            kind, wanted = writer.types[theirs["name"]], reader.types[name]
            if isinstance(kind, AvroType) and isinstance(wanted, AvroType):
                try:
                    convert(pa.array([], kind.arrow), theirs["type"], fields[name]["type"], wanted.arrow)
                except Mismatch as why:
                    raise Mismatch(f"field {name!r}: {why}") from why
    return made


def _converted(
    batch: pa.RecordBatch, theirs: Mapping[str, Mapping[str, Any] | None], reader: AvroSchema, wanted: pa.Schema
) -> pa.RecordBatch:
    fields = {field["name"]: field for field in reader.tree["fields"]}
    columns = []
    for field in wanted:
        own, other = fields[field.name], theirs[field.name]
        if other is None:
            columns.append(default_column(own["type"], own["default"], batch.num_rows))
            continue
        try:
            columns.append(convert(batch.column(other["name"]), other["type"], own["type"], field.type))
        except Mismatch as why:
            raise Mismatch(f"field {field.name!r}: {why}") from why
    if not columns:
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=wanted)
