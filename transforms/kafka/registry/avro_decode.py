"""Bodies of messages in Avro as columns: those of one schema side by side, or one by one where that is quicker."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.formats.avro_schema import AvroType, Unreadable, column_of, values_reader
from beamsplit.transforms.kafka.registry.avro_lists import Unsuited
from beamsplit.transforms.kafka.registry.avro_plan import AvroSchema
from beamsplit.transforms.kafka.registry.cursors import Cursors, Fault
from beamsplit.transforms.kafka.registry.framing import Bodies

MOST_PASSES = 8
"""Messages with a fault are left out and the others read again, so often; then each is read alone."""

BEHIND = "it goes on behind its end"
TOO_DEEP = "it is nested too deep"


class Decoded(NamedTuple):
    """What came of some messages."""

    batch: pa.RecordBatch
    """The fields that are wanted, of the messages that could be read."""

    rows: np.ndarray
    """int64: which these are, ascending."""

    bad: dict[int, str]
    """Message -> why it could not be read."""


def decode(schema: AvroSchema, bodies: Bodies, wanted: Sequence[str]) -> Decoded:
    """Read messages that were written by a schema.

    Args:
        schema: of the writer.
        bodies: of the messages.
        wanted: fields of the schema, which can be read.

    Raises:
        Unreadable: one of these fields cannot be.
    """
    types = [_readable(schema, name) for name in wanted]
    rows, bad = np.arange(len(bodies.starts)), dict[int, str]()
    for _ in range(MOST_PASSES):
        if not len(rows):
            break
        try:
            wire = _side_by_side(schema, bodies, rows, wanted)
            return Decoded(_columns(wire, wanted, types, len(rows)), rows, bad)
        except Fault as fault:
            bad |= dict.fromkeys(fault.who.tolist(), str(fault))
            rows = np.setdiff1d(rows, fault.who, assume_unique=False)
        except (Unsuited, pa.ArrowInvalid, RecursionError):
            break
    alone = _alone(schema, bodies, rows, wanted)
    return alone._replace(bad=bad | alone.bad)


def _readable(schema: AvroSchema, name: str) -> AvroType:
    kind = schema.types[name]
    if isinstance(kind, Unreadable):
        raise Unreadable(f"field {name!r} is {kind}")
    return kind


def _side_by_side(schema: AvroSchema, bodies: Bodies, rows: np.ndarray, wanted: Sequence[str]) -> dict[str, pa.Array]:
    cursors = Cursors(bodies.data, bodies.ends)
    found, after = schema.record.columns(cursors, bodies.starts[rows], rows, frozenset(wanted))
    beyond = after != bodies.ends[rows]
    if beyond.any():
        raise Fault(rows[beyond], BEHIND)
    return found


def _columns(wire: dict[str, pa.Array], wanted: Sequence[str], types: Sequence[AvroType], count: int) -> pa.RecordBatch:
    """Raises pa.ArrowInvalid where a value is none of its type, a decimal with too many digits say."""
    columns = [column_of(wire[name], kind.arrow) for name, kind in zip(wanted, types, strict=True)]
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))
    return pa.RecordBatch.from_arrays(columns, names=list(wanted))


def _alone(schema: AvroSchema, bodies: Bodies, rows: np.ndarray, wanted: Sequence[str]) -> Decoded:
    """Each message by itself, by fastavro, which is the fallback."""
    types = [_readable(schema, name) for name in wanted]
    kept, values, bad = [], [], dict[int, str]()
    data, starts, ends = bodies
    plain = pa.struct([(name, kind.wire) for name, kind in zip(wanted, types, strict=True)])
    for row in rows.tolist():
        try:
            value = _one(schema, data[starts[row] : ends[row]].tobytes(), wanted)
            whole = pa.array([value], plain)
            _columns(dict(zip(wanted, whole.flatten(), strict=True)), wanted, types, 1)
        except Fault as fault:
            bad[row] = str(fault)
            continue
        except RecursionError:
            bad[row] = TOO_DEEP
            continue
        except Exception as error:  # of which kind depends on where decoding goes astray
            bad[row] = f"it is not as its schema says: {' '.join(str(error).split()) or type(error).__name__}"
            continue
        kept.append(row)
        values.append(value)
    together = pa.array(values, plain)
    columns = dict(zip(wanted, together.flatten(), strict=True))
    return Decoded(_columns(columns, wanted, types, len(kept)), np.array(kept, np.int64), bad)


def _one(schema: AvroSchema, message: bytes, wanted: Sequence[str]) -> dict[str, object]:
    whole, looked_through = np.frombuffer(message, np.uint8), False
    with contextlib.suppress(Unsuited, RecursionError, pa.ArrowInvalid):
        # A fault is told as for many, fastavro takes any byte for a boolean; and what would take for ever is found.
        first = np.zeros(1, np.int64)
        _side_by_side(schema, Bodies(whole, first, np.array([len(message)])), first, wanted)
        looked_through = True
    stream = io.BytesIO(message)
    read = values_reader(schema.deep and not looked_through)
    value: dict[str, object] = read(stream, schema.plain, None)
    if stream.read(1):
        raise Fault(np.zeros(1, np.int64), BEHIND)
    return {name: value[name] for name in wanted}
