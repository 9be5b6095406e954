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
from beamsplit.pipelines.api.arguments import SAMPLE_ROWS, sample_given, schema_given
from beamsplit.pipelines.api.dict_columns import (
    DictColumns,
    DictsScored,
    all_wrong,
    clashing,
    dict_columns,
    told_lacking,
)
from beamsplit.pipelines.api.element_schema import (
    natural_fields,
    schema_of_dicts,
    signature_of_model,
    sole_input,
)
from beamsplit.pipelines.api.model_options import read_options
from beamsplit.pipelines.api.paths import path_given, shown
from beamsplit.pipelines.api.planned_steps import Place, PlannedSteps, check_inline, plan_model, without_metrics
from beamsplit.pipelines.api.score_block import block_rows, score_block
from beamsplit.pipelines.job.columns import check_outputs
from beamsplit.transforms.elements.conform import conform
from beamsplit.transforms.elements.described import describe_values
from beamsplit.transforms.elements.tables import TableRows, as_array, as_one_batch, rows_of
from beamsplit.transforms.elements.values import block_of_rows
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.fetch.model_schemes import is_elsewhere

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from beamsplit.pipelines.api.model_options import ModelOptions

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
        schema: pa.Schema | str | None = None,
        sample: Any = None,
        errors: str = "raise",
        **options: Unpack[ModelOptions],
    ) -> None:
        if errors not in ("raise", "return"):
            raise UsageError(f"errors is {errors!r}; it is 'raise' or 'return'")
        self._given = dict(options)
        self._model, self._errors, self._schema = path_given("model", model), errors, schema_given(schema)
        self._sample = sample_given(sample, self._schema)
        if self._schema is None and self._sample is not None:
            self._schema = self._sample.schema
        self._open()
        if self._schema is not None:
            # Numbers of Python's own, as in a list of dicts, have no declared width.
            self._planned_for(self._schema, text_source=isinstance(sample, Sequence))

    def _open(self) -> None:
        self._options = read_options("Scorer", self._model, self._given)
        check_inline(self._options, "a Scorer")
        self._lock = threading.RLock()
        self._plans: dict[tuple[pa.Schema, bool, tuple[str, ...]], PlannedSteps] = {}
        self._loads = False
        self._made: pa.Schema | None = None
        self._natural: dict[str, pa.Field] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._varying: set[str] = set()
        self._folder: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What it was made with: who gets it plans anew."""
        model = self._model if is_elsewhere(self._model) else os.path.abspath(self._model)
        kept = {name: self.__dict__[name] for name in ("_given", "_errors", "_schema", "_sample")}
        return {**kept, "_model": model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what another was made with."""
        self.__dict__.update(state)
        self._open()

    def __repr__(self) -> str:
        """E.g. `Scorer('m.onnx', keep='id')`."""
        given = "".join(f", {name}={shown(value)}" for name, value in self._given.items() if value is not None)
        return f"Scorer({self._model!r}{given})"

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
        if isinstance(data, (list, tuple)) and all(isinstance(row, Mapping) for row in data):
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
        if self._made is None:
            raise UsageError("what comes out is known when the first data came; or give the Scorer schema= or sample=")
        return self._made

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

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> DictsScored:
        """What comes of a list of dicts, one at least.

        Raises:
            RowsFailed: there are errors, and `errors` is `"raise"`.
            UsageError: the data does not fit the model.
        """
        strict = self._errors == "raise"
        columns = self._columns_of(rows, strict)
        try:
            return self._dicts_scored(rows, columns)
        except UsageError as error:
            if strict or columns.certain:
                raise
            self._check_loads()
            return DictsScored({}, 0, self._described(all_wrong(error, rows), rows))

    def _dicts_scored(self, rows: Sequence[Mapping[str, Any]], columns: DictColumns) -> DictsScored:
        schema, keep, own = columns.schema, columns.keep, columns.own
        block, wrong = block_of_rows([[row.get(name) for row in rows] for name in schema.names], schema)
        is_first = self._made is None
        read = tuple(name for name in keep if name not in own)
        # A block without columns has no rows: the plan tells which columns are wanted.
        given = pa.Table.from_batches([block])
        outputs = self._planned_for(schema, given, text_source=True, keep=read).made.names
        if self._options.binding.keep == ("*",) and self._errors == "return":
            # Which columns there are is the rows' own.
            wrong = {**wrong, **clashing(rows, own, outputs)}
            own = tuple(name for name in own if name not in outputs)
        check_outputs(own, outputs)
        table, good, errors = self._run(given, wrong, text_source=True, keep=read)
        if is_first and own:
            kinds = schema_of_dicts({}, [_part(row, own) for row in rows[:SAMPLE_ROWS]])
            found = {name: kinds.field(name).type if name in kinds.names else pa.null() for name in own}
            self._made = in_order(pa.schema([*found.items(), *table.schema]), keep)
        errors = told_lacking(self._described(errors, rows), rows, schema.names)
        self._check(errors, len(rows))
        kept = rows if good is None else [rows[position] for position in good.tolist()]
        made: dict[str, Sequence[Any] | pa.Array] = {name: [row.get(name) for row in kept] for name in own}
        block = as_one_batch(table)
        made |= dict(zip(block.schema.names, block.columns, strict=True))
        names = dict.fromkeys([*(name for name in keep if name in made), *made])
        return DictsScored({name: made[name] for name in names}, len(kept), errors)

    def _described(self, errors: Sequence[RowError], rows: Sequence[Mapping[str, Any]]) -> list[RowError]:
        told = self._options.binding.keep
        return [error._replace(file=describe_values(_part(rows[error.row], told))) for error in errors]

    def _check_loads(self) -> None:
        """That rows do not fit may have one reason that is none of theirs: the model.

        Raises:
            UsageError: it cannot be loaded.
        """
        with self._lock:
            if not self._loads:
                signature_of_model(self._model, frozenset(self._options.binding.set))
                self._loads = True

    def _columns_of(self, rows: Sequence[Mapping[str, Any]], strict: bool) -> DictColumns:
        binding = self._options.binding
        if self._schema is not None:
            return DictColumns(self._schema, binding.keep)
        with self._lock:
            if self._natural is None:
                self._natural = natural_fields(binding)
        return dict_columns(binding, self._natural, rows, strict)

    def _of_dicts(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        if not rows:
            return [] if self._errors == "raise" else ScoredRows([], [])
        made = self.score_rows(rows)
        values = made.python_values()
        predictions = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        return predictions if self._errors == "raise" else ScoredRows(predictions, made.errors)

    def _rows(self, data: Any) -> TableRows:
        if isinstance(data, Mapping):
            with self._lock:
                data = {name: as_array(name, values) for name, values in data.items()}
                for name, values in data.items():
                    shape = values.shape[1:] if isinstance(values, np.ndarray) else ()
                    # The second shape of a row makes it one that varies: else each would be planned for.
                    if shape and self._shapes.setdefault(name, shape) != shape:
                        self._varying.add(name)
                return rows_of(data, tuple(self._varying))
        return rows_of(data)

    def _scored(self, table: pa.Table) -> tuple[pa.Table, np.ndarray[Any, Any] | None, list[RowError]]:
        """(what comes out, the positions of its rows or None for all, the errors)."""
        made, good, errors = self._run(table)
        self._check(errors, table.num_rows)
        return made, good, errors

    def _check(self, errors: list[RowError], rows: int) -> None:
        if errors and self._errors == "raise":
            raise RowsFailed(errors, rows)

    def _run(
        self,
        table: pa.Table,
        wrong: Mapping[int, str] = {},
        text_source: bool = False,
        keep: tuple[str, ...] | None = None,
    ) -> tuple[pa.Table, np.ndarray[Any, Any] | None, list[RowError]]:
        """As `_scored`; `wrong` rows are errors already, and `keep` is what is copied where it is not the option's."""
        schema = (self._schema if self._schema is not None else table.schema).remove_metadata()
        steps = self._planned_for(schema, table, text_source, keep)
        errors: list[RowError] = []
        blocks: list[pa.RecordBatch] = []
        good: list[np.ndarray[Any, Any]] = []
        size = block_rows(steps)
        for first in range(0, table.num_rows, size):
            given = as_one_batch(table.slice(first, size))
            unfit = {row - first: reason for row, reason in wrong.items() if first <= row < first + size}
            made, rows, failed = score_block(steps, given, self._options.binding.keep, unfit)
            blocks.append(made)
            good.append(first + rows)
            errors += [error._replace(row=first + error.row) for error in failed]
        result = pa.Table.from_batches(blocks, schema=steps.made)
        return result, np.concatenate(good) if errors else None, errors

    def _planned_for(
        self,
        schema: pa.Schema,
        table: pa.Table | None = None,
        text_source: bool = False,
        keep: tuple[str, ...] | None = None,
    ) -> PlannedSteps:
        with self._lock:
            keep = self._options.binding.keep if keep is None else keep
            key = (schema, text_source, keep)
            steps = self._plans.get(key)
            if steps is None:
                rows = self._sample
                if rows is None and table is not None and table.num_rows:
                    rows = conform(as_one_batch(table.slice(0, SAMPLE_ROWS)), schema)[0]
                place = Place(workers=1, folder=self._own_folder(), text_source=text_source)
                asked = replace(self._options, binding=replace(self._options.binding, keep=keep))
                steps = plan_model(asked, schema, rows, place)
                self._plans[key] = steps = replace(steps, steps=without_metrics(steps.steps))
                if self._made is None:
                    self._made = steps.made
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


def in_order(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The schema with the fields of these names first."""
    first = [name for name in names if name in schema.names]
    return pa.schema([schema.field(name) for name in dict.fromkeys([*first, *schema.names])])


def _part(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Of a row what errors tell it by: the columns of these names that are there, or else all."""
    return {name: row.get(name) for name in [one for one in names if one != "*"] or map(str, row)}
