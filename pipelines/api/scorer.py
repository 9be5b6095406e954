"""A model that scores tables in this process, without Beam: for map_batches of Ray Data, UDFs, a web service."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.owned_folder import disown, own
from beamsplit.pipelines.api.element_schema import natural_fields, schema_of_dicts, sole_input
from beamsplit.pipelines.api.model_options import read_options
from beamsplit.pipelines.api.planned_steps import Place, PlannedSteps, check_inline, plan_model, without_metrics
from beamsplit.transforms.block import data_columns, with_origin
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.elements.conform import conform
from beamsplit.transforms.elements.described import name_rows
from beamsplit.transforms.elements.run_steps import run_steps_on
from beamsplit.transforms.elements.tables import Rows, as_one_batch, empty_block, rows_of
from beamsplit.transforms.elements.values import block_of_rows, python_values
from beamsplit.transforms.failures.row_error import RowError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from beamsplit.pipelines.api.model_options import ModelOptions

BLOCK_ROWS, PREPARED_BLOCK_ROWS = 131_072, 1_024
"""Rows that the steps are given at once, without and with steps of `prepare`."""

MOST_SCHEMAS = 16
"""Schemas that a scorer is planned for at a time."""


class RowsFailed(ValueError):
    """Rows could not be scored.

    >>> RowsFailed([RowError('{"x": null}', 3, "infer", "null in column 'x'")], 10).errors[0].row
    3
    """

    def __init__(self, errors: Sequence[RowError], rows: int):
        first = errors[0]
        super().__init__(
            f"{len(errors)} of {rows} rows fail; the first, row {first.row} {first.file}: {first.stage}: {first.reason}"
        )
        self.errors = list(errors)
        """Each row that failed, by its position."""
        self.rows = rows
        """How many were given."""

    def __reduce__(self) -> tuple[type[RowsFailed], tuple[list[RowError], int]]:
        """It travels between processes."""
        return type(self), (self.errors, self.rows)


class ScoredRows(NamedTuple):
    """What a `Scorer` with `errors="return"` gives.

    >>> ScoredRows({"y": [1.0]}, []).predictions
    {'y': [1.0]}
    """

    predictions: Any
    """The rows that were scored, in their order, in the form that the data had."""

    errors: list[RowError]
    """Those that were not, by their position in the data (`row`)."""


class Scorer:
    """Scores tables with an ONNX model, exactly as the command does: every number is what the row alone gives.

    >>> import beamsplit as bs
    >>> scorer = bs.Scorer("examples/mlp.onnx", columns={"x": ["age", "height", "weight"]}, keep="id")
    >>> rows = {"id": [1], "age": [30.0], "height": [180.0], "weight": [75.0]}
    >>> sorted(scorer({name: np.array(values, "float32") for name, values in rows.items()}))
    ['id', 'logits']

    It may be called from many threads at once and be sent to other processes, which load the model anew.

    Args:
        model: an ONNX file, local, gs:// or s3://.
        schema: of the data; default: that of the first data, and once more of data of another schema.
        sample: a few rows as they will come: model and data are then brought together (and what cannot work refused) at
            once, not when the first data comes.
        errors: where a row cannot be scored, `"raise"` raises `RowsFailed`, and `"return"` gives `ScoredRows`: the
            rows that could, and the errors.
        options: `columns`, `keep`, `set`, `prepare`, `finish`, `stages`, ...: see `ModelOptions`. `threads` is the
            number of cores unless it is given: with several scorers on one machine give each its part.

    Raises:
        UsageError: an argument is wrong, or model and data cannot be brought together; in the words of the command.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        schema: pa.Schema | None = None,
        sample: Any = None,
        errors: str = "raise",
        **options: Unpack[ModelOptions],
    ) -> None:
        if errors not in ("raise", "return"):
            raise UsageError(f"errors is {errors!r}; it is 'raise' or 'return'")
        self._given = dict(options)
        self._model, self._errors, self._schema = os.fspath(model), errors, schema
        self._sample: pa.Table | None = None if sample is None else rows_of(sample).table.slice(0, 4096)
        if self._schema is None and self._sample is not None:
            self._schema = self._sample.schema
        self._open()
        if self._schema is not None:
            self._planned_for(pa.table({}) if self._sample is None else self._sample)

    def _open(self) -> None:
        self._options = read_options("Scorer", self._model, self._given)
        check_inline(self._options, "a Scorer")
        self._lock = threading.RLock()
        self._plans: dict[tuple[pa.Schema, bool], PlannedSteps] = {}
        self._natural: dict[str, pa.Field] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._varying: set[str] = set()
        self._folder: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What it was made with: who gets it plans anew."""
        model = self._model if "://" in self._model else os.path.abspath(self._model)
        kept = {name: self.__dict__[name] for name in ("_given", "_errors", "_schema", "_sample")}
        return {**kept, "_model": model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what another was made with."""
        self.__dict__.update(state)
        self._open()

    def __call__(self, data: Any) -> Any:
        """The `keep` columns and the model's outputs, of each row of the data, in the form that the data has.

        Args:
            data: a pyarrow Table or RecordBatch, a dict of numpy arrays (the rows on the first axis), a pandas
                DataFrame, a list of dicts, or anything with `__arrow_c_stream__`, as a Polars frame, for which a Table
                comes back. Of a model with one input also one array; with one output that comes back as an array.

        Raises:
            RowsFailed: a row cannot be scored, and `errors` is `"raise"`.
            UsageError: the data does not fit the model.
        """
        if isinstance(data, np.ndarray):
            return self._of_array(data)
        if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
            return self._of_dicts(data)
        rows = self._rows(data)
        made, good, errors = self._scored(rows.table)
        predictions = rows.give_back(made, good)
        return predictions if self._errors == "raise" else ScoredRows(predictions, errors)

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines on what was found or changed that may surprise: of all schemas so far."""
        return tuple(dict.fromkeys(note for steps in self._plans.values() for note in steps.notes))

    def output_schema(self) -> pa.Schema:
        """The columns that come out.

        Raises:
            UsageError: nothing was scored yet, and neither schema nor sample was given.
        """
        if not self._plans:
            raise UsageError("what comes out is known when the first data came; or give the Scorer schema= or sample=")
        return next(iter(self._plans.values())).made

    def _of_array(self, data: np.ndarray[Any, Any]) -> Any:
        made = self({sole_input(self._model): data})
        outputs, errors = made if isinstance(made, ScoredRows) else (made, [])
        plain = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        return plain if self._errors == "raise" else ScoredRows(plain, errors)

    def score_columns(self, columns: Mapping[str, Any]) -> tuple[pa.Table, list[RowError]]:
        """(the rows that were scored, the errors) of a dict of numpy arrays.

        Raises:
            RowsFailed: there are errors, and `errors` is `"raise"`.
            UsageError: the data does not fit the model.
        """
        table, _, errors = self._scored(self._rows(columns).table)
        return table, errors

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> tuple[pa.Table, list[RowError]]:
        """(the rows that were scored, the errors) of a list of dicts, one at least.

        Raises:
            RowsFailed: there are errors, and `errors` is `"raise"`.
            UsageError: the data does not fit the model.
        """
        schema = self._schema
        if schema is None:
            with self._lock:
                if self._natural is None:
                    self._natural = natural_fields(self._options.binding)
            schema = schema_of_dicts(self._natural, rows)
        block, wrong = block_of_rows([[row.get(name) for row in rows] for name in schema.names], schema)
        table, _, errors = self._scored(pa.Table.from_batches([block]), wrong, text_source=True)
        return table, errors

    def _of_dicts(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        if not rows:
            return [] if self._errors == "raise" else ScoredRows([], [])
        made, errors = self.score_rows(rows)
        values = [python_values(column.combine_chunks()) for column in made.columns]
        predictions = [dict(zip(made.schema.names, row, strict=True)) for row in zip(*values, strict=True)]
        return predictions if self._errors == "raise" else ScoredRows(predictions, errors)

    def _rows(self, data: Any) -> Rows:
        if isinstance(data, Mapping):
            with self._lock:
                for name, values in data.items():
                    shape = np.shape(values)[1:]
                    # The second shape of a row makes it one that varies: else each would be planned for.
                    if shape and self._shapes.setdefault(name, shape) != shape:
                        self._varying.add(name)
                return rows_of(data, tuple(self._varying))
        return rows_of(data)

    def _scored(
        self, table: pa.Table, wrong: Mapping[int, str] = {}, text_source: bool = False
    ) -> tuple[pa.Table, np.ndarray[Any, Any] | None, list[RowError]]:
        """(what comes out, the positions of its rows or None for all, the errors); `wrong` rows are errors already."""
        steps = self._planned_for(table, text_source)
        errors: list[RowError] = []
        blocks: list[pa.RecordBatch] = []
        good: list[np.ndarray[Any, Any]] = []
        size = PREPARED_BLOCK_ROWS if steps.steps[0][0] == "prepare" else BLOCK_ROWS
        for first in range(0, table.num_rows, size):
            given = as_one_batch(table.slice(first, size))
            unfit = {row - first: reason for row, reason in wrong.items() if first <= row < first + size}
            made, rows, failed = score_block(steps, given, self._options.binding.keep, unfit)
            blocks.append(made)
            good.append(first + rows)
            errors += [error._replace(row=first + error.row) for error in failed]
        if errors and self._errors == "raise":
            raise RowsFailed(errors, table.num_rows)
        result = pa.Table.from_batches(blocks, schema=steps.made)
        return result, np.concatenate(good) if errors else None, errors

    def _planned_for(self, table: pa.Table, text_source: bool = False) -> PlannedSteps:
        schema = (self._schema if self._schema is not None else table.schema).remove_metadata()
        with self._lock:
            steps = self._plans.get((schema, text_source))
            if steps is None:
                sample = self._sample if self._sample is not None else table
                rows = as_one_batch(sample.slice(0, 4096)) if sample.num_rows else None
                if rows is not None:
                    rows = conform(rows, schema)[0]
                place = Place(workers=1, folder=self._own_folder(), text_source=text_source)
                steps = plan_model(self._options, schema, rows, place)
                self._plans[schema, text_source] = steps = replace(steps, steps=without_metrics(steps.steps))
                for old in [*self._plans][:-MOST_SCHEMAS]:
                    del self._plans[old]
            return steps

    def _own_folder(self) -> str:
        """For the files of stages and shards; gone with this scorer."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="beamsplit-scorer-")
            own(self._folder)
            weakref.finalize(self, disown, self._folder)
        return self._folder


def score_block(
    steps: PlannedSteps, block: pa.RecordBatch, names: Sequence[str], unfit: Mapping[int, str] = {}
) -> tuple[pa.RecordBatch, np.ndarray[Any, Any], list[RowError]]:
    """(what comes out of a block, the positions of its rows, the errors, by position).

    Args:
        steps: planned for rows like these.
        block: with the columns of `steps.schema` at least.
        names: columns by which errors tell what row they are of; empty: all.
        unfit: position -> why a row cannot be scored, of those where that is known.

    Raises:
        UsageError: the block is of another schema.
    """
    fitting, wrong = conform(block, steps.schema)
    if unfit:
        fitting = drop_rows(fitting, [row - sum(w < row for w in wrong) for row in sorted(unfit) if row not in wrong])
        wrong = {**wrong, **unfit}
    rows = np.delete(np.arange(block.num_rows), sorted(wrong))
    made, failed = run_steps_on(steps.steps, with_origin(fitting, "", 0))
    errors = [RowError("", row, "read", reason) for row, reason in wrong.items()]
    errors += [error._replace(row=int(rows[error.row])) for error in failed]
    errors = sorted(name_rows(errors, block, names), key=lambda error: error.row)
    if not made.num_rows:
        return empty_block(steps.made), rows[:0], errors
    good = np.delete(np.arange(block.num_rows), [error.row for error in errors])
    return made.select(data_columns(made.schema)), good, errors
