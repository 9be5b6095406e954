"""Rows as messages whose schema is in a registry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.block import data_columns
from beamsplit.transforms.kafka.registry.client import Schema
from beamsplit.transforms.kafka.registry.framing import frame
from beamsplit.transforms.kafka.registry.kinds import RowWriter
from beamsplit.transforms.step import RowFailure, StepResult


@dataclass(frozen=True)
class WriteRegistered:
    """Makes messages of rows: what stands where the name of a format does."""

    kind: str
    """One of `kinds.KINDS`."""

    schema: Schema
    """Whose id each message has."""

    writer: RowWriter

    def __str__(self) -> str:
        """E.g. `avro of out-value, version 1`."""
        return f"{self.kind} of {self.schema}"

    def encode(self, data: pa.RecordBatch) -> list[bytes]:
        """The message of each row, none of which has a fault."""
        bodies = self.writer.bodies(data)
        framed = pc.binary_join_element_wise(pa.scalar(frame(self.schema.id), bodies.type), bodies, b"")
        values: list[bytes] = framed.to_pylist()
        return values


@dataclass(frozen=True)
class FitSchema:
    """Fails rows that the schema of the output does not take."""

    writer: RowWriter

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """As it was."""
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Look at all columns at once."""
        bad = self.writer.faults(block.select(data_columns(block.schema)))
        if not bad:
            return StepResult(block)
        keep = np.ones(block.num_rows, bool)
        keep[list(bad)] = False
        return StepResult(block.filter(pa.array(keep)), [RowFailure(row, why) for row, why in sorted(bad.items())])
