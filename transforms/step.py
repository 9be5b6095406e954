"""A step takes a block and gives a block: the shape that prepare, infer and finish share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pyarrow as pa


class RowFailure(NamedTuple):
    """A row that a step could not handle."""

    row: int
    """Position in the block that the step was given, from 0."""

    reason: str
    """One line for the errors output, e.g. `"cannot identify image file"`."""


@dataclass(frozen=True)
class StepResult:
    """What a step made of a block."""

    block: pa.RecordBatch
    """The rows that went well, in their order, with every column the step does not replace (origin too)."""

    failures: list[RowFailure] = field(default_factory=list)
    """The rows that did not; they are not in `block`."""

    parts: dict[int, str] = field(default_factory=dict)
    """Position of a failed row -> the part of the step that failed, e.g. `"stage 2"` of a split model."""


class Step(Protocol):
    """A picklable operation on blocks. Frozen dataclasses implement it; heavy state is made on first use.

    A failure of one row is a `RowFailure`, never an exception; an exception fails the job.
    """

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of the blocks that come out when blocks of `schema` go in.

        Raises:
            UsageError: a column is missing or of a type that the step cannot take.
        """

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Apply the step to one block of the schema that `output_schema` was given."""
