"""What scores elements of a collection: what each kind of element needs of whoever plans. No Beam.

A row is an element; so is a batch, a pyarrow RecordBatch or Table of many. Rows are kept until there are enough:

    process   r r r r r r r | r r r ...          each with its window and timestamp
    flush     [block of all] -> steps -> rows, each with its own window and timestamp again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from beamsplit.transforms.elements.described import describe_values
from beamsplit.transforms.failures.row_error import RowError


class ScoredElements(NamedTuple):
    """What came of some rows."""

    made: list[Any]
    """What was scored, in the order given."""

    positions: Sequence[int]
    """Which of the rows given each is of."""

    errors: list[RowError]
    """The others; `row` is the position."""


class Scoring(Protocol):
    """Scores elements; picklable, and ready after `setup`."""

    def setup(self) -> None:
        """Load the model."""

    def score_rows(self, rows: Sequence[Any]) -> ScoredElements:
        """Score rows, one at least."""

    def score_batch(self, batch: pa.RecordBatch | pa.Table) -> tuple[pa.RecordBatch | pa.Table, list[RowError]]:
        """(what came of the batch, of its type; the errors, `row` the position in it)."""


def is_batch(element: Any) -> bool:
    """Whether an element is many rows."""
    return isinstance(element, (pa.RecordBatch, pa.Table))


ROWS = "a dict, beam.Row, NamedTuple, pyarrow RecordBatch or Table"


def is_row(element: Any) -> bool:
    """Whether an element is a row: a dict, or what names its values (`beam.Row`, NamedTuple, dataclass, plain objects).

    >>> is_row({"a": 1}), is_row(None), is_row(("key", {"a": 1}))
    (True, False, False)
    """
    if isinstance(element, Mapping) or hasattr(element, "_asdict") or is_dataclass(element):
        return not isinstance(element, type)
    names = [] if callable(element) else list(getattr(element, "__dict__", ()))
    # A pandas.DataFrame has attributes too, none of which is a column.
    return bool(names) and not any(name.startswith("_") for name in names)


def split_rows(elements: Sequence[Any]) -> tuple[list[int], list[RowError]]:
    """(positions of the elements that are rows, errors of the others by their position).

    >>> split_rows([{"a": 1}, None])[1][0].reason
    'the element is None, and a row is wanted: a dict, beam.Row, NamedTuple, pyarrow RecordBatch or Table'
    """
    seen = {type(element): element for element in elements}
    wrong = {kind for kind, element in seen.items() if not is_row(element)}
    if not wrong:
        return list(range(len(elements))), []
    errors = []
    for position, element in enumerate(elements):
        if type(element) in wrong:
            what = "None" if element is None else f"a {type(element).__name__}"
            reason = f"the element is {what}, and a row is wanted: {ROWS}"
            errors.append(RowError(describe_values({"element": element}), position, "read", reason))
    failed = {error.row for error in errors}
    return [position for position in range(len(elements)) if position not in failed], errors


def value_of(row: Any, name: str) -> Any:
    """A row's value, whatever it is: a dict, or what has its columns as attributes. None where there is none.

    >>> value_of({"a": 1}, "a"), value_of({"a": 1}, "b")
    (1, None)
    """
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def names_of(row: Any) -> list[str]:
    """The names of a row's columns.

    >>> names_of(RowError("", 0, "read", "no"))
    ['file', 'row', 'stage', 'reason']
    """
    if isinstance(row, Mapping):
        return [name for name in row if isinstance(name, str)]
    if hasattr(row, "_fields"):
        return list(row._fields)
    return list(getattr(row, "__dict__", ()))


def columns_of(rows: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    """The values of each column of rows of one kind."""
    if all(isinstance(row, Mapping) for row in rows):
        return [[row.get(name) for row in rows] for name in names]
    return [[value_of(row, name) for row in rows] for name in names]
