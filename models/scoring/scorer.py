"""Score a block: run the model over its rows in batches and put every row's outputs back in its place.

block     0 1 2 3 4 5 6 7 8 9     row 4 is null, row 7 makes the model fail
runs     [0 1 2 3][5 6 7 8][9]    batch size 4; nulls are never fed
                     |
              [5 6][7 8]          the failed run is bisected
                   [7][8]         until the row that fails is alone
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from beamsplit.models.binding.binding import Binding, BoundBlock
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.independence.alike import alike
from beamsplit.models.running.run_limit import context
from beamsplit.models.running.runs import Runs, StageRunError, overlaps, run_many, timed_out
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.values.tensors import ragged_to_arrow, to_arrow

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"
Observe: TypeAlias = Callable[[int, float], None]
"""Told after each run of the model: rows in it, seconds it took."""
Run: TypeAlias = "slice | np.ndarray"
"""Rows of a block that are run together, by position."""


@dataclass(frozen=True)
class OutputColumn:
    """One output of the model as a column."""

    name: str
    """The output's name in the graph."""

    field: pa.Field
    """The column: flat for a number a row, `fixed_shape_tensor` for a fixed shape, nested lists where it varies."""

    rows_axis: int | None
    """The axis that carries the rows; None if there is none (only when the model is run row by row)."""

    row_shape: tuple[int, ...] | None
    """Shape of one row's slice; None where it differs from row to row."""


@dataclass(frozen=True)
class ScoringPlan:
    """All a worker needs to score blocks: data, so that every machine does the same."""

    model: ModelFile
    binding: Binding
    outputs: tuple[OutputColumn, ...]

    batch_size: int
    """Most rows in one run of the model."""

    row_by_row: bool = False
    """Run every row alone: the model's batch is fixed at 1, or its rows do not keep apart."""

    alike: bool = False
    """Run together only rows of like size, and those of NaN or infinity alone: the model sets scales from all values
    of a run."""

    most_rows: int | None = None
    """A larger batch size is taken as this: of more rows it is not known that they keep apart; None for any."""

    def __post_init__(self) -> None:
        if self.most_rows is not None and self.batch_size > self.most_rows:
            object.__setattr__(self, "batch_size", self.most_rows)

    @property
    def fields(self) -> list[pa.Field]:
        """The output columns, in the order of `outputs`."""
        return [output.field for output in self.outputs]


@dataclass
class Scored:
    """What came of a block."""

    columns: list[pa.Array]
    """One array an output, with the good rows only, in order."""

    good: np.ndarray | None
    """Positions in the block of the rows that were scored; None for all."""

    failures: list[tuple[int, str]] = field(default_factory=list)
    """(position in the block, reason), by position."""

    failed_stages: dict[int, int] = field(default_factory=dict)
    """Position in the block -> stage of the split model that failed, for failures in one."""


def _ignore(rows: int, seconds: float) -> None:
    """Observe nothing."""


class Scorer:
    """A plan with its session."""

    def __init__(self, plan: ScoringPlan, session: Runs):
        self.plan = plan
        self.session = session
        self._names = [spec.name for spec in session.signature.outputs]
        self._positions = [self._names.index(output.name) for output in plan.outputs]

    def score(self, block: pa.RecordBatch, observe: Observe = _ignore) -> Scored:
        """Run the model over all rows of the block; a row that cannot be scored is a failure, not an error."""
        bound = self.plan.binding.open(block, reuse=not overlaps(self.session))
        failures = dict(bound.bad_rows())
        rows = None
        if failures:
            rows = np.delete(np.arange(block.num_rows), sorted(failures))
        results = _Results(self.plan.outputs, block.num_rows)
        failed_stages: dict[int, int] = {}
        size = 1 if self.plan.row_by_row else self.plan.batch_size
        groups = groups_of(self.plan, bound, rows, block.num_rows)
        runs: list[Run] = [run for group in groups for run in runs_of(group, block.num_rows, size)]
        while runs:
            again: list[Run] = []
            for run, error in self._run(bound, runs, results, observe):
                if count_of(run) > 1:
                    again.extend(parts_of(run, error))
                    continue
                row = int(run.start if isinstance(run, slice) else run[0])
                failures[row] = f"the model failed: {error}"
                if isinstance(error, StageRunError):
                    failed_stages[row] = error.stage
            runs = again
        good = np.delete(np.arange(block.num_rows), sorted(failures)) if failures else None
        return Scored(results.columns(good), good, sorted(failures.items()), failed_stages)

    def _rows(self, outputs: list[Array], rows: int) -> list[Array]:
        return rows_of_outputs(self.plan.outputs, [outputs[at] for at in self._positions], rows)

    def _run(
        self, bound: BoundBlock, runs: Sequence[Run], results: _Results, observe: Observe
    ) -> Iterator[tuple[Run, ModelRunError]]:
        """Put what the runs give into the results; yield those that failed."""

        def given() -> Iterator[dict[str, Array]]:
            for run in runs:
                context.run = run
                yield bound.feeds(run.start, run.stop) if isinstance(run, slice) else bound.take(run)

        with closing(run_many(self.session, given())) as outcomes:
            for run, outcome in zip(runs, outcomes, strict=True):
                error = outcome.error
                if outcome.outputs is not None:
                    try:
                        results.put(run, self._rows(outcome.outputs, count_of(run)))
                        observe(count_of(run), outcome.seconds)
                    except ModelRunError as wrong:
                        error = wrong
                if error is not None:
                    yield run, error


def rows_of_outputs(columns: Sequence[OutputColumn], values: Sequence[Array], rows: int) -> list[Array]:
    """What a run gave for each column, with the rows on the first axis.

    Raises:
        ModelRunError: an output has another number of rows than went in, or another shape than the sample had.
    """
    checked = []
    for column, one in zip(columns, values, strict=True):
        if column.rows_axis is None:
            checked.append(one[np.newaxis])
            continue
        if column.rows_axis:
            one = np.moveaxis(one, column.rows_axis, 0)
        if one.shape[0] != rows:
            raise ModelRunError(f"output {column.name!r} has {one.shape[0]} rows where {rows} went in")
        if column.row_shape is not None and one.shape[1:] != column.row_shape:
            raise ModelRunError(
                f"output {column.name!r} has the shape {list(one.shape[1:])} a row "
                f"where the sample had {list(column.row_shape)}"
            )
        checked.append(one)
    return checked


def groups_of(plan: ScoringPlan, bound: BoundBlock, rows: np.ndarray | None, total: int) -> list[Array | None]:
    """Positions of rows that may be run together; None for all `total` rows of the block."""
    groups: list[Array | None] = list(bound.groups(rows) or []) or [rows]
    if not plan.alike:
        return groups
    axes = {one.name: one.rows_axis for one in plan.binding.inputs}
    return [
        part
        for group in groups
        for part in alike(bound, axes, np.arange(total) if group is None else np.asarray(group))
    ]


def runs_of(rows: np.ndarray | None, total: int, size: int) -> Iterator[Run]:
    """Runs of `size` rows: of these positions, or of all `total` rows."""
    if rows is None:
        for start in range(0, total, size):
            yield slice(start, min(start + size, total))
    else:
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def count_of(run: Run) -> int:
    """Rows in a run."""
    return run.stop - run.start if isinstance(run, slice) else len(run)


def halves(run: Run) -> tuple[Run, Run]:
    """The two halves of a run of at least two rows."""
    if isinstance(run, slice):
        middle = (run.start + run.stop) // 2
        return slice(run.start, middle), slice(middle, run.stop)
    middle = len(run) // 2
    return run[:middle], run[middle:]


def parts_of(run: Run, error: ModelRunError) -> Sequence[Run]:
    """What a run of several rows that failed is tried again as: halves, or each row alone where it did not return.

    Each try then takes long.
    """
    if not timed_out(error):
        return halves(run)
    if isinstance(run, slice):
        return [slice(row, row + 1) for row in range(run.start, run.stop)]
    return np.split(run, len(run))


class _Results:
    """Collects the outputs of a block's runs, in any order, into one column an output."""

    def __init__(self, outputs: tuple[OutputColumn, ...], rows: int):
        self._outputs = outputs
        self._rows = rows
        self._fixed: list[Array | None] = [None] * len(outputs)
        self._ragged: list[dict[int, Array]] = [{} for _ in outputs]

    def put(self, run: slice | np.ndarray, outputs: list[Array]) -> None:
        for i, (output, values) in enumerate(zip(self._outputs, outputs, strict=True)):
            if output.row_shape is None:
                positions = range(run.start, run.stop) if isinstance(run, slice) else run.tolist()
                self._ragged[i].update(zip(positions, values, strict=True))
                continue
            if len(values) == self._rows:
                # One run was the whole block: nothing to gather.
                self._fixed[i] = values
                continue
            whole = self._fixed[i]
            if whole is None:
                whole = self._fixed[i] = np.empty((self._rows, *values.shape[1:]), dtype=values.dtype)
            whole[run] = values

    def columns(self, good: np.ndarray | None) -> list[pa.Array]:
        columns = []
        for i, output in enumerate(self._outputs):
            if output.row_shape is None:
                kept = range(self._rows) if good is None else good.tolist()
                columns.append(ragged_to_arrow([self._ragged[i][row] for row in kept], output.field))
                continue
            values = self._fixed[i]
            if values is None or (good is not None and len(good) == 0):
                columns.append(pa.array([], type=output.field.type))
                continue
            columns.append(to_arrow(values if good is None else values[good], output.field))
        return columns


def run_once(session: Runs, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run the model and name its outputs."""
    outputs = session.run(dict(feeds))
    return {spec.name: values for spec, values in zip(session.signature.outputs, outputs, strict=True)}
