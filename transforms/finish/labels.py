"""Class numbers to names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.classes import ClassNames, Names
from beamsplit.models.plain import parse_json
from beamsplit.models.values.tensors import TensorColumn
from beamsplit.transforms.columns import (
    drop_rows,
    replace_columns,
    replace_fields,
    survivors,
    tensor_field,
    tensor_rows,
)
from beamsplit.transforms.files import read_file
from beamsplit.transforms.finish.outputs import ARGMAX, TOP_K, is_class, is_scores
from beamsplit.transforms.finish.scores import Scores, find_values, to_column
from beamsplit.transforms.spec import SpecStep, option, text
from beamsplit.transforms.step import RowFailure, StepResult

_WANTED = "class numbers (integers)"


@dataclass(frozen=True)
class Labels(SpecStep):
    """Column of class numbers (an integer output, or what argmax and top_k make) -> their names, in place.

    Axes of size 1 are dropped.
    """

    NAME: ClassVar[str] = "labels"
    SUMMARY: ClassVar[str] = "names of classes: the model's own, or of a text file (one a line), a JSON list or object"
    EXAMPLE: ClassVar[str] = "labels:labels.txt"

    file: str = option(text, None, positional=True)
    """Text with one label a line, a JSON list, or a JSON object from number to label (or with such an `id2label`); by
    default the names that the model tells."""

    column: str = option(text, None)
    """The column of class numbers, which it replaces; by default the only one."""

    outputs: tuple[str, ...] | None = None
    """The model's output columns; None for any."""

    classes: ClassNames | None = None
    """What the model tells of its classes."""

    names: tuple[str | None, ...] | Names = field(default=(), init=False)
    """The labels, by class number."""

    def __post_init__(self) -> None:
        """Read the file, so that the labels travel with the step."""
        if self.file is not None:
            object.__setattr__(self, "names", load_labels(self.file))
        elif self.classes is not None:
            object.__setattr__(self, "names", self.classes.listed)

    def _plan(self, schema: pa.Schema) -> tuple[Scores, pa.Field]:
        among = None
        self._check_unnamed(schema)
        if self.outputs is not None:
            among = [name + end for name in self.outputs for end in ("", ARGMAX, TOP_K)]
        if self.column is None:
            names = [name for name in schema.names if among is None or name in among]
            scores = [name for name in names if is_scores(schema.field(name).type)]
            if scores and not any(is_class(schema.field(name).type) for name in names):
                raise UsageError(
                    f"labels wants {_WANTED}, and there are only scores ({', '.join(scores)}); "
                    f"type --finish argmax:{scores[0]} or --finish top_k:5,column={scores[0]} before it"
                )
        elif self.column in schema.names and is_scores(schema.field(self.column).type):
            raise UsageError(
                f"labels wants {_WANTED} in column {self.column!r}, which holds scores "
                f"({schema.field(self.column).type}); type --finish argmax:{self.column} before it"
            )
        found = find_values(self.NAME, schema, self.column, among, is_class, _WANTED)
        if not self.names:
            raise UsageError(
                f"labels wants the names of the classes of column {found.name!r}, and the model tells none; "
                "type labels:FILE with a file that holds them"
            )
        return found, tensor_field(found.name, dtype_of(self.names), found.shape)

    def _check_unnamed(self, schema: pa.Schema) -> None:
        """Raise where the classes have their names already, as argmax and top_k give those that the model tells."""
        made = [name + end for name in self.outputs or () for end in (ARGMAX, TOP_K)]
        names = [name for name in schema.names if name in (made if self.column is None else [self.column])]
        if names and not any(is_class(schema.field(name).type) or is_scores(schema.field(name).type) for name in names):
            raise UsageError(
                f"labels wants {_WANTED}, and column {names[0]!r} is of type {schema.field(names[0]).type}: "
                "leave labels out where it holds names already"
            )

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Names in place of the integers, in the same shape but for axes of size 1.

        Raises:
            UsageError: the column is missing or holds no integers.
        """
        found, made = self._plan(schema)
        return replace_fields(self.NAME, schema, found.name, [made], False)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Look up the whole column at once; rows with nulls and numbers without a label fail."""
        found, made = self._plan(block.schema)
        name = found.name
        rows, column, failures = tensor_rows(block, name)
        missing = np.flatnonzero(unlabelled(column.values, self.names))
        if missing.size:
            kept = survivors(block.num_rows, failures)
            owners, first = np.unique(_owners(column, missing), return_index=True)
            numbers = column.values.reshape(-1)[missing[first]].tolist()
            source = self.file or "the model"
            failures += [
                RowFailure(int(kept[row]), f"class {number} in column {name!r} has no label in {source}")
                for row, number in zip(owners.tolist(), numbers, strict=True)
            ]
            failures.sort()
            rows, column, _ = tensor_rows(drop_rows(rows, owners.tolist()), name)
        array = to_column(found.apply(column, lambda classes: to_labels(classes, self.names), back=True), made)
        return StepResult(replace_columns(self.NAME, rows, name, [made], [array], False), failures)


def _owners(column: TensorColumn, places: np.ndarray) -> np.ndarray:
    """The row that each place among all values belongs to."""
    if column.offsets is not None:
        return np.searchsorted(column.offsets, places, side="right") - 1
    return places // max(column.values[:1].size, 1)


def unlabelled(classes: np.ndarray, names: Sequence[str | None] | Names) -> np.ndarray:
    """bool of the same shape: which class numbers have no name."""
    holes = [number for number, name in enumerate(names) if name is None]
    return (classes < 0) | (classes >= len(names)) | np.isin(classes, holes)


def to_labels(classes: np.ndarray, names: Sequence[str | None] | Names) -> np.ndarray:
    """The names of class numbers, in the same shape: objects, or int64 where classes are called by numbers."""
    return np.array(names, dtype=np.int64 if dtype_of(names) == "int64" else object)[classes]


def dtype_of(names: Sequence[str | None] | Names | None) -> str:
    """Of a column with these names; without any it holds places."""
    return "int64" if not names or isinstance(names[0], int) else "string"


def load_labels(path: str) -> tuple[str | None, ...]:
    """The labels in a file, by class number; None where a JSON object skips a number.

    Raises:
        UsageError: no such file, or none of the forms that `Labels.file` names.
    """
    try:
        content = read_file(path).decode("utf-8-sig")
        if path.lower().endswith(".json") or content.lstrip()[:1] in ("[", "{"):
            names = _of_json(parse_json(content))
        else:
            names = tuple(line.strip() for line in content.rstrip().split("\n"))
        if not any(names):
            raise ValueError("it is empty")
    except UsageError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path} holds no labels ({error}); give a text file with one a line, a JSON list of strings, "
            'or a JSON object such as {"0": "cat"}'
        ) from error
    return names


def _of_json(found: Any) -> tuple[str | None, ...]:
    if isinstance(found, dict) and "id2label" in found:
        found = found["id2label"]
    if isinstance(found, dict):
        if not all(str(key).isdecimal() for key in found):  # {"cat": 0}
            found = {str(number): name for name, number in found.items()}
        # Keras writes {"0": ["n01440764", "tench"]}.
        by_number = {int(key): name[-1] if isinstance(name, list) else name for key, name in found.items()}
        if by_number and max(by_number) > 10_000_000:
            raise ValueError(f"{max(by_number)} is too great for a class number")
        found = [by_number.get(number) for number in range(max(by_number, default=-1) + 1)]
        if not all(name is None or isinstance(name, str) for name in found):
            raise ValueError("its labels are not all strings")
        return tuple(found)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError("it is no list of strings")
    return tuple(found)
