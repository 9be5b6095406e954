"""Messages whose schemas are in a registry, made into rows: a step, as any other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import INTERNAL_COLUMNS
from beamsplit.transforms.kafka.blocks import VALUE
from beamsplit.transforms.kafka.ending import JobEndsError, ending
from beamsplit.transforms.kafka.parsed import ParsedRows
from beamsplit.transforms.kafka.registry.client import (
    AWAY_SECONDS,
    NotThere,
    Registry,
    RegistryAway,
    Schema,
    schema_by_id,
)
from beamsplit.transforms.kafka.registry.framing import Bodies, unframe
from beamsplit.transforms.kafka.registry.kinds import KINDS, How
from beamsplit.transforms.read.damage import without_damage
from beamsplit.transforms.step import RowFailure, StepResult


@dataclass(frozen=True)
class ReadRegistered:
    """Reads the messages of a block, each by the schema that it names."""

    registry: Registry
    kind: str
    """One of `KINDS`."""

    reader: Schema
    """Whose fields are wanted, whichever version a message was written by."""

    how: How
    """Beside their schemas."""

    schema: pa.Schema
    """The fields that are wanted."""

    job_dir: str | None = None
    """Folder that local workers share; None on a cluster."""

    def only(self, column: str) -> ReadRegistered:
        """The same, of one field."""
        return replace(self, schema=pa.schema([self.schema.field(column)]))

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The fields, then what rows of a topic carry along."""
        return pa.schema([*self.schema, *(field for field in schema if field.name in INTERNAL_COLUMNS)])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Read the values; a message that cannot be read is a failure."""
        rows = self.rows(block.column(VALUE))
        carried = block.select([name for name in block.schema.names if name in INTERNAL_COLUMNS])
        if rows.sources is not None:
            carried = carried.take(pa.array(rows.sources))
        made = pa.RecordBatch.from_arrays(
            [*rows.batch.columns, *carried.columns], schema=self.output_schema(block.schema)
        )
        return StepResult(made, [RowFailure(row, reason) for row, reason in sorted(rows.bad.items())])

    def rows(self, values: pa.Array) -> ParsedRows:
        """Values of messages (binary) as rows.

        Raises:
            JobEndsError: the registry does not answer.
        """
        framed = unframe(values)
        bad, batches, sources = dict(framed.bad), [], []
        for id in np.unique(framed.ids).tolist():
            some = np.flatnonzero(framed.ids == id)
            try:
                writer = self._writer(id)
                bodies = Bodies(framed.data, framed.starts[some], framed.ends[some])
                found = KINDS[self.kind].module.read(writer, self.reader, self.how, self.schema, bodies)
            except (NotThere, ValueError) as why:
                bad |= dict.fromkeys(framed.rows[some].tolist(), _of_schema(id, str(why)))
                continue
            except RecursionError:
                bad |= dict.fromkeys(framed.rows[some].tolist(), _of_schema(id, "its schema is nested too deep"))
                continue
            sound, damaged = without_damage(found.batch, self.schema.names)
            reasons = found.bad | {int(found.rows[at]): why for at, why in damaged.items()}
            for at, reason in reasons.items():
                bad[int(framed.rows[some[at]])] = _of_schema(id, reason)
            batches.append(sound)
            sources.append(framed.rows[some[np.delete(found.rows, list(damaged))]])
        if len(batches) == 1 and not bad:
            return ParsedRows(batches[0], None, {})
        if not batches:
            return ParsedRows(pa.RecordBatch.from_pylist([], schema=self.schema), np.empty(0, np.int64), bad)
        together, places = pa.concat_batches(batches), np.concatenate(sources)
        if len(batches) > 1:
            order = np.argsort(places)
            together, places = together.take(pa.array(order)), places[order]
        return ParsedRows(together, places, bad)

    def _writer(self, id: int) -> Schema:
        if id == self.reader.id:
            return self.reader
        with ending(self.job_dir):
            try:
                found = schema_by_id(self.registry, id, AWAY_SECONDS)
            except RegistryAway as away:
                raise JobEndsError(str(away)) from away
        wanted = KINDS[self.kind].type
        if found.kind != wanted:
            raise NotThere(f"its schema is of the kind {found.kind}, and {wanted} is read")
        return found


def _of_schema(id: int, why: str) -> str:
    return f"message of schema {id}: {why}"
