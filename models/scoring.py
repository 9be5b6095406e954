"""Score a block: run the model over its rows in batches and put every row's outputs back in its place.

block     0 1 2 3 4 5 6 7 8 9     row 4 is null, row 7 makes the model fail
runs     [0 1 2 3][5 6 7 8][9]    batch size 4; nulls are never fed
                     |
              [5 6][7 8]          the failed run is bisected
                   [7][8]         until the row that fails is alone
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from models.binding import Binding, BoundBlock
from models.graph import ModelFile
from models.session import ModelRunError, Session
from models.tensors import ragged_to_arrow, to_arrow

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"
Observe: TypeAlias = Callable[[int, float], None]
"""Told after each run of the model: rows in it, seconds it took."""


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


def _ignore(rows: int, seconds: float) -> None:
    """Observe nothing."""


class Scorer:
    """A plan with its session."""

    def __init__(self, plan: ScoringPlan, session: Session):
        self.plan = plan
        self.session = session
        self._names = [spec.name for spec in session.signature.outputs]
        self._positions = [self._names.index(output.name) for output in plan.outputs]

    def score(self, block: pa.RecordBatch, observe: Observe = _ignore) -> Scored:
        """Run the model over all rows of the block; a row that cannot be scored is a failure, not an error."""
        bound = self.plan.binding.open(block)
        failures = dict(bound.bad_rows())
        rows = None
        if failures:
            rows = np.delete(np.arange(block.num_rows), sorted(failures))
        results = _Results(self.plan.outputs, block.num_rows)
        groups: list[Array | None] = list(bound.groups(rows) or [])
        for group in groups or [rows]:
            for run in self._runs(group, block.num_rows):
                self._run(bound, run, results, failures, observe)
        good = np.delete(np.arange(block.num_rows), sorted(failures)) if failures else None
        return Scored(results.columns(good), good, sorted(failures.items()))

    def _runs(self, rows: np.ndarray | None, total: int) -> Iterator[slice | np.ndarray]:
        size = 1 if self.plan.row_by_row else self.plan.batch_size
        if rows is None:
            for start in range(0, total, size):
                yield slice(start, min(start + size, total))
        else:
            for start in range(0, len(rows), size):
                yield rows[start : start + size]

    def _run(
        self,
        bound: BoundBlock,
        run: slice | np.ndarray,
        results: _Results,
        failures: dict[int, str],
        observe: Observe,
    ) -> None:
        rows = run.stop - run.start if isinstance(run, slice) else len(run)
        feeds = bound.feeds(run.start, run.stop) if isinstance(run, slice) else bound.take(run)
        started = time.perf_counter()
        try:
            outputs = self._checked(self.session.run(feeds), rows)
        except ModelRunError as error:
            if rows == 1:
                failures[int(run.start if isinstance(run, slice) else run[0])] = f"the model failed: {error}"
                return
            for half in _halves(run):
                self._run(bound, half, results, failures, observe)
            return
        observe(rows, time.perf_counter() - started)
        results.put(run, outputs)

    def _checked(self, outputs: list[Array], rows: int) -> list[Array]:
        """Outputs of the plan with the rows on the first axis."""
        checked = []
        for output, position in zip(self.plan.outputs, self._positions, strict=True):
            values = outputs[position]
            if output.rows_axis is None:
                checked.append(values[np.newaxis])
                continue
            if output.rows_axis:
                values = np.moveaxis(values, output.rows_axis, 0)
            if values.shape[0] != rows:
                raise ModelRunError(f"output {output.name!r} has {values.shape[0]} rows where {rows} went in")
            if output.row_shape is not None and values.shape[1:] != output.row_shape:
                raise ModelRunError(
                    f"output {output.name!r} has the shape {list(values.shape[1:])} a row "
                    f"where the sample had {list(output.row_shape)}"
                )
            checked.append(values)
        return checked


def _halves(run: slice | np.ndarray) -> tuple[slice | np.ndarray, slice | np.ndarray]:
    if isinstance(run, slice):
        middle = (run.start + run.stop) // 2
        return slice(run.start, middle), slice(middle, run.stop)
    middle = len(run) // 2
    return run[:middle], run[middle:]


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


def run_once(session: Session, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Run the model and name its outputs."""
    outputs = session.run(dict(feeds))
    return {spec.name: values for spec, values in zip(session.signature.outputs, outputs, strict=True)}
