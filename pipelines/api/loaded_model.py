"""An ONNX model in a worker of RunInference: the inference of each example, whatever kinds of examples there are."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import TensorSpec
from beamsplit.pipelines.api.element_schema import signature_of_model
from beamsplit.pipelines.api.paths import shown
from beamsplit.pipelines.api.scorer import Scorer
from beamsplit.transforms.elements.described import describe_values
from beamsplit.transforms.elements.tables import as_one_batch
from beamsplit.transforms.elements.values import array_of_column
from beamsplit.transforms.failures.row_error import RowError


class LoadedModel:
    """A model in a worker, whichever process that is; `predict` is all that is asked of it."""

    def __init__(self, model: str, how: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self._model, self._how, self._options = model, how, options
        self._lock = threading.Lock()
        self._scorers: dict[str, Scorer] = {"": Scorer(model, **how, **options)}
        signature = signature_of_model(model, frozenset(options.get("set") or ()))
        inputs = [spec for spec in signature.inputs if spec.name not in (options.get("set") or ())]
        self._input = inputs[0].name if len(inputs) == 1 else None
        self._inputs = [spec.name for spec in inputs]
        self._only = inputs[0] if len(inputs) == 1 else None
        shape = inputs[0].shape if inputs else None
        self._dims = None if shape is None else len(shape)

    def predict(self, batch: Sequence[Any], inference_args: Mapping[str, Any] | None = None) -> list[Any]:
        """The inference of each example.

        Raises:
            RowsFailed: a row cannot be scored, and errors are raised.
            UsageError: the examples do not fit the model.
        """
        if not len(batch):
            return []
        scorer = self._scorer(inference_args)
        if self._how["errors"] == "return":
            wrong = self._wrong(batch)
            if wrong:
                good = [example for at, example in enumerate(batch) if at not in wrong]
                return _dealt(len(batch), self._predicted(scorer, good), list(wrong.items()))
        return self._predicted(scorer, batch)

    def _predicted(self, scorer: Scorer, batch: Sequence[Any]) -> list[Any]:
        """The inference of each example, whatever kinds of examples there are."""
        kinds = list(map(_kind, batch)) if len(set(map(type, batch))) > 1 else []
        if len(set(kinds)) < 2:
            return self._of_a_kind(scorer, batch) if len(batch) else []
        made: list[Any] = [None] * len(batch)
        for kind in dict.fromkeys(kinds):
            places = [at for at, one in enumerate(kinds) if one == kind]
            for at, one in zip(places, self._of_a_kind(scorer, [batch[at] for at in places]), strict=True):
                made[at] = one
        return made

    def _wrong(self, batch: Sequence[Any]) -> dict[int, RowError]:
        """Examples that are no rows of the only input, by their position."""
        if isinstance(batch, np.ndarray) or self._only is None or self._input is None:
            return {}
        found = {}
        why: dict[Any, str | None] = {}
        for at, example in enumerate(batch):
            if type(example) is np.ndarray:
                key: Any = (example.dtype, example.shape)
                if key not in why:
                    why[key] = _misfit(example, self._only)
                reason = why[key]
            else:
                reason = _misfit(np.asarray(example), self._only) if _kind(example) == "array" else None
            if reason is not None:
                found[at] = RowError(describe_values({self._input: example}), at, "read", reason)
        return found

    def _of_a_kind(self, scorer: Scorer, batch: Sequence[Any]) -> list[Any]:
        first = batch[0]
        kind = _kind(first)
        if kind == "table":
            return [_predictions(scorer(example)) for example in batch]
        if kind == "row":
            return self._rows(
                scorer, [example if isinstance(example, Mapping) else _named(example) for example in batch]
            )
        return self._arrays(scorer, batch)

    def _scorer(self, inference_args: Mapping[str, Any] | None) -> Scorer:
        if not inference_args:
            return self._scorers[""]
        key = repr(sorted((name, np.asarray(value).tolist()) for name, value in inference_args.items()))
        with self._lock:
            if key not in self._scorers:
                sets = {**(self._options.get("set") or {}), **inference_args}
                self._scorers[key] = Scorer(self._model, **self._how, **{**self._options, "set": sets})
            return self._scorers[key]

    def _rows(self, scorer: Scorer, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        made = scorer.score_rows(rows)
        return _dealt(len(rows), _by_row(made.columns), [(error.row, error) for error in made.errors])

    def _arrays(self, scorer: Scorer, batch: Sequence[Any]) -> list[Any]:
        if self._input is None:
            raise UsageError(
                f"an example is a {type(batch[0]).__name__}, and the model has the inputs {', '.join(self._inputs)}; "
                "give dicts with a value for each of them"
            )
        if isinstance(batch, np.ndarray):
            return self._stacked(scorer, batch)
        arrays = list(map(np.asarray, batch))
        self._check_pairs(batch, arrays)
        shapes = {array.shape for array in arrays}
        if self._dims is not None and all(len(shape) == self._dims for shape in shapes):
            return [self._block(scorer, array) for array in arrays]
        if self._dims is not None and any(len(shape) == self._dims for shape in shapes):
            single = iter(self._arrays(scorer, [array for array in arrays if array.ndim != self._dims]))
            return [self._block(scorer, array) if array.ndim == self._dims else next(single) for array in arrays]
        if len(shapes) == 1 and len({array.dtype for array in arrays}) == 1:
            (shape,) = shapes
            # Half of what numpy.stack takes, which makes a view of each row first.
            rows = np.concatenate(arrays).reshape(len(arrays), *shape) if shape else np.stack(arrays)
            return self._stacked(scorer, rows)
        ragged = np.empty(len(arrays), dtype=object)
        ragged[:] = arrays
        return self._stacked(scorer, ragged)

    def _check_pairs(self, batch: Sequence[Any], arrays: Sequence[np.ndarray[Any, Any]]) -> None:
        """A tuple is a row, never many rows: that would take a key for one.

        Raises:
            UsageError: an example is a tuple that is no row.
        """
        dims = self._dims
        for example, array in zip(batch, arrays, strict=True) if tuple in set(map(type, batch)) else ():
            if type(example) is tuple and (array.dtype == object or (dims is not None and array.ndim != dims - 1)):
                raise UsageError(
                    f"an example is the tuple {shown(example)}, which is no row of {self._only}; pairs of a key and an "
                    "example want KeyedModelHandler, and many rows an array"
                )

    def _stacked(self, scorer: Scorer, values: np.ndarray[Any, Any]) -> list[Any]:
        table, errors = scorer.score_columns({str(self._input): values})
        return _dealt(len(values), _by_row(_columns(table)), [(error.row, error) for error in errors])

    def _block(self, scorer: Scorer, values: np.ndarray[Any, Any]) -> Any:
        table, errors = scorer.score_columns({str(self._input): values})
        if errors:
            return errors
        outputs = _outputs(_columns(table))
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _kind(example: Any) -> str:
    """What an example is: `table`, `row` (its columns have names) or `array`."""
    from apache_beam.pvalue import Row

    pandas = sys.modules.get("pandas")
    if isinstance(example, (pa.RecordBatch, pa.Table)) or (pandas and isinstance(example, pandas.DataFrame)):
        return "table"
    return "row" if isinstance(example, (Mapping, Row)) or hasattr(example, "_fields") else "array"


def _named(example: Any) -> dict[str, Any]:
    """A row's values by name."""
    return {name: getattr(example, name) for name in getattr(example, "_fields", None) or example.__dict__}


def _misfit(example: np.ndarray[Any, Any], wanted: TensorSpec) -> str | None:
    """Why an array is no row, and no rows, of the input; None where it may be."""
    texts = example.dtype.kind in "USO" and all(isinstance(one, (str, bytes)) for one in example.reshape(-1).tolist())
    if texts != (wanted.dtype == "string") or (not texts and example.dtype.kind not in "biuf"):
        return f"the example is {_shown(example)}, and the model's input {wanted.name!r} takes {wanted.dtype}"
    if wanted.shape is None:
        return None
    for shape in (wanted.shape[1:], wanted.shape):
        if len(shape) == example.ndim and all(
            one == size or not isinstance(size, int) for one, size in zip(example.shape, shape, strict=True)
        ):
            return None
    return f"the example has the shape {list(example.shape)}, and the model's input is {wanted}"


def _shown(example: np.ndarray[Any, Any]) -> str:
    if not example.ndim and example.dtype.kind == "O":
        return "None" if example.item() is None else f"a {type(example.item()).__name__}"
    return "text" if example.dtype.kind in "US" else f"an array of {example.dtype}"


def _predictions(made: Any) -> Any:
    """Of tables: what was scored, and nothing else where all was."""
    errors = getattr(made, "errors", None)
    return made if errors else getattr(made, "predictions", made)


def _columns(table: pa.Table) -> dict[str, pa.Array]:
    block = as_one_batch(table)
    return dict(zip(block.schema.names, block.columns, strict=True))


def _outputs(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: array_of_column(column) if isinstance(column, pa.Array) else column for name, column in columns.items()
    }


def _by_row(columns: Mapping[str, Any]) -> list[Any]:
    """The inference of each row: the only column's value, or a dict."""
    outputs = _outputs(columns)
    if len(outputs) == 1:
        return list(next(iter(outputs.values())))
    names = list(outputs)
    return [dict(zip(names, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def _dealt(count: int, made: list[Any], errors: list[tuple[int, Any]]) -> list[Any]:
    if not errors:
        return made
    failed = dict(errors)
    good = iter(made)
    return [failed[row] if row in failed else next(good) for row in range(count)]
