"""A whole step of a model, a stage or what stays whole between shards, as a worker of its own runs it; no Beam.

Between two steps a block is one micro-batch: the boundary tensors as columns, beside the kept columns and the origin
of each row. It is taken apart only to find the rows that make a run fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.models.running.boundary import Boundary
from beamsplit.models.running.run_limit import context
from beamsplit.models.running.runs import timed_out
from beamsplit.models.running.session import ModelRunError, SessionOptions
from beamsplit.models.scoring.scorer import (
    Array,
    OutputColumn,
    Run,
    ScoringPlan,
    count_of,
    groups_of,
    parts_of,
    rows_of_outputs,
    runs_of,
)
from beamsplit.models.values.tensors import ragged_to_arrow, to_arrow
from beamsplit.transforms.block import COPY, INTERNAL_COLUMNS
from beamsplit.transforms.finish.mean import starts_of_originals
from beamsplit.transforms.infer.loads_once import LoadsOnce
from beamsplit.transforms.infer.running_rows import running


class StepFailure(NamedTuple):
    """A row that did not come out of a step."""

    row: int
    """Position in the block that went in, from 0."""

    reason: str
    ran: bool = True
    """Whether the step ran it; False where its data could not be fed to the model."""


@dataclass(frozen=True)
class WholeStep(LoadsOnce):
    """A step that one worker runs as it is, on micro-batches."""

    number: int
    """Position among all steps of the model, from 0."""

    file: str | None
    """Its ONNX file, where every worker can read it; None where it only makes micro-batches of the data."""

    session: SessionOptions
    """Provider and threads of each worker's session."""

    scoring: ScoringPlan
    """Of the whole model: the first step needs its binding, the last one its outputs."""

    keep: tuple[str, ...]
    """Columns of the input that stand before the predictions in the output."""

    before: Boundary | None
    """What comes in; None for the first step, which takes blocks of data."""

    after: Boundary | None
    """What goes out; None for the last step."""

    weight_bytes: int = 0
    devices: int = 0
    """GPUs in a machine: workers take them in turn. 0 leaves the session's own device."""

    job_dir: str | None = None
    """Folder that the job's local workers share; None on a cluster."""

    sha256: str = ""
    """What the file holds, as the plan says; empty where the job made it."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The blocks that come out when blocks of `schema` go in."""
        if self.after is not None:
            return self.after.schema
        carried = self.before.carried if self.before is not None else schema
        internal = [field for field in carried if field.name in INTERNAL_COLUMNS]
        return pa.schema([*(carried.field(name) for name in self.keep), *self.scoring.fields, *internal])

    def run(self, block: pa.RecordBatch) -> Iterator[pa.RecordBatch | StepFailure]:
        """Blocks for the next step, and rows (by their position in `block`) that failed.

        A run that fails is bisected where its tensors allow, else all its rows fail. Of one that does not return, rows
        that do so alone are run together once more: blocks of one row would take long behind this.
        """
        running(block, self.job_dir, self.session)
        source = _Data(self, block) if self.before is None else _MicroBatch(self.before, block)
        for row, reason in source.bad:
            yield StepFailure(row, reason, ran=False)
        waiting = list(reversed(source.runs))
        returned: set[int] = set()
        """First rows of runs whose rows are known to return alone."""
        while waiting:
            run = waiting.pop()
            context.run = run
            feeds = source.feeds(run)
            try:
                yield self._made(feeds, source.carried(run))
            except ModelRunError as error:
                parts = source.parts(run, error)
                if len(parts) == count_of(run) > 1 and timed_out(error) and _first(run) not in returned:
                    parts = [part for part in parts if not self._stops(source, part)]
                    late = sorted({*_positions(run)} - {row for part in parts for row in _positions(part)})
                    yield from (StepFailure(row, f"the model failed: {error}") for row in late)
                    parts = _joined(parts)
                    returned.update(map(_first, parts))
                    waiting.extend(reversed(parts))
                    continue
                if len(parts) > 1:
                    waiting.extend(reversed(parts))
                    continue
                reason = f"the model failed: {error}"
                if count_of(run) > 1 and source.whole:
                    reason += f" (one of {count_of(run)} rows, which the tensor {source.whole[0]!r} keeps together)"
                for row in _positions(run):
                    yield StepFailure(row, reason)

    def _stops(self, source: _Data | _MicroBatch, run: Run) -> bool:
        """Whether the model does not return on a run; other failures show when it is run again."""
        context.run = run
        try:
            self._outputs(source.feeds(run))
        except ModelRunError as error:
            return timed_out(error)
        return False

    def _outputs(self, feeds: dict[str, Array]) -> list[Array]:
        session = self.loaded()
        return session.run({spec.name: feeds[spec.name] for spec in session.signature.inputs})

    def _made(self, feeds: dict[str, Array], carried: pa.RecordBatch) -> pa.RecordBatch:
        values = feeds
        if self.file is not None:
            names = [spec.name for spec in self.loaded().signature.outputs]
            values = {**feeds, **dict(zip(names, self._outputs(feeds), strict=True))}
        if self.after is not None:
            return self.after.pack(values, carried)
        columns = self.scoring.outputs
        found = rows_of_outputs(columns, [values[column.name] for column in columns], carried.num_rows)
        made = [_to_column(column, one) for column, one in zip(columns, found, strict=True)]
        kept = [carried.column(name) for name in self.keep]
        schema = self.output_schema(carried.schema)
        rest = [carried.column(name) for name in schema.names[len(kept) + len(made) :]]
        return pa.RecordBatch.from_arrays([*kept, *made, *rest], schema=schema)


def carried_schema(schema: pa.Schema, keep: Sequence[str]) -> pa.Schema:
    """The columns of blocks of data that travel with the rows to the last step: those kept, and the origin."""
    internal = [field for field in schema if field.name in INTERNAL_COLUMNS]
    return pa.schema([*(schema.field(name) for name in keep), *internal])


def _to_column(column: OutputColumn, values: Array) -> pa.Array:
    if column.row_shape is None:
        return ragged_to_arrow(list(values), column.field)
    return to_arrow(values, column.field)


class _Data:
    """A block of data as the first step takes it."""

    def __init__(self, step: WholeStep, block: pa.RecordBatch) -> None:
        plan = step.scoring
        self._bound = plan.binding.open(block, reuse=False)
        self._carried = block.select(carried_schema(block.schema, step.keep).names)
        self.bad = self._bound.bad_rows()
        self.whole: tuple[str, ...] = ()
        # Copies of a row are averaged in the end, so they stay in one block.
        self._units = starts_of_originals(block) if COPY in block.schema.names else None
        rows = np.delete(np.arange(block.num_rows), [row for row, _ in self.bad]) if self.bad else None
        groups = groups_of(plan, self._bound, rows, block.num_rows)
        size = 1 if plan.row_by_row else plan.batch_size
        self.runs = [run for group in groups for run in _aligned(group, block.num_rows, size, self._units)]

    def feeds(self, run: Run) -> dict[str, Array]:
        return self._bound.feeds(run.start, run.stop) if isinstance(run, slice) else self._bound.take(run)

    def carried(self, run: Run) -> pa.RecordBatch:
        return _rows(self._carried, run)

    def parts(self, run: Run, error: ModelRunError) -> Sequence[Run]:
        return _parts(run, self._units, error)


class _MicroBatch:
    """A block that an earlier step made."""

    def __init__(self, boundary: Boundary, block: pa.RecordBatch) -> None:
        self._boundary = boundary
        self._rows = block.num_rows
        self._values = boundary.unpack(block)
        self._carried = boundary.carried_of(block)
        self.bad: list[tuple[int, str]] = []
        self.whole = boundary.whole
        self._units = starts_of_originals(block) if COPY in block.schema.names else None
        self.runs: list[Run] = [slice(0, self._rows)]

    def feeds(self, run: Run) -> dict[str, Array]:
        assert isinstance(run, slice)
        return self._boundary.part(self._values, self._rows, run.start, run.stop)

    def carried(self, run: Run) -> pa.RecordBatch:
        return _rows(self._carried, run)

    def parts(self, run: Run, error: ModelRunError) -> Sequence[Run]:
        return _parts(run, self._units, error) if self._boundary.sliceable else [run]


def _rows(block: pa.RecordBatch, run: Run) -> pa.RecordBatch:
    if isinstance(run, slice):
        return block.slice(run.start, run.stop - run.start)
    return block.take(pa.array(run))


def _positions(run: Run) -> Sequence[int]:
    return range(run.start, run.stop) if isinstance(run, slice) else run.tolist()


def _first(run: Run) -> int:
    return _positions(run)[0]


def _joined(parts: Sequence[Run]) -> list[Run]:
    """Runs of one row each, in order, as few runs: slices where rows lie side by side, or positions all in one."""
    if not parts or not isinstance(parts[0], slice):
        return [np.concatenate([np.asarray(_positions(part)) for part in parts])] if parts else []
    rows = np.array([_first(part) for part in parts])
    return [slice(int(some[0]), int(some[-1]) + 1) for some in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)]


def _aligned(rows: Array | None, total: int, size: int, units: Array | None) -> Iterator[Run]:
    """Runs of about `size` rows that hold all rows of a unit or none."""
    if units is None:
        yield from runs_of(rows, total, size)
        return
    positions = np.arange(total) if rows is None else rows
    owner = np.searchsorted(units, positions, side="right")
    begins = np.append(np.flatnonzero(np.diff(owner, prepend=-1)), len(positions))
    start = 0
    for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        if end - start > size and begin > start:
            yield positions[start:begin]
            start = begin
    if start < len(positions):
        yield positions[start:]


def _parts(run: Run, units: Array | None, error: ModelRunError) -> Sequence[Run]:
    """Parts of a run that failed, or the run itself where it is one row or one unit."""
    if count_of(run) == 1:
        return [run]
    if units is None:
        return parts_of(run, error)
    positions = np.arange(run.start, run.stop) if isinstance(run, slice) else run
    owner = np.searchsorted(units, positions, side="right")
    inside = np.flatnonzero(np.diff(owner)) + 1
    if not len(inside):
        return [run]
    middle = int(inside[np.argmin(np.abs(inside - len(positions) // 2))])
    if isinstance(run, slice):
        return slice(run.start, run.start + middle), slice(run.start + middle, run.stop)
    return run[:middle], run[middle:]
