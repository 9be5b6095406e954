"""Which columns dicts of Python's own values have: what is read of them, what goes through as it is, what they lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.element_schema import schema_of_dicts
from beamsplit.pipelines.job.columns import check_keep
from beamsplit.pipelines.options.values import BindingOptions
from beamsplit.transforms.elements.values import python_values
from beamsplit.transforms.failures.row_error import RowError


class DictsScored(NamedTuple):
    """What came of a list of dicts."""

    columns: Mapping[str, Sequence[Any] | pa.Array]
    """By name: `keep` columns that the model does not read, as the dicts have them; others and outputs as Arrow."""

    rows: int
    errors: list[RowError]

    def python_values(self) -> dict[str, Sequence[Any]]:
        """A value a row of Python's own types, by column."""
        return {
            name: python_values(column) if isinstance(column, (pa.Array, pa.ChunkedArray)) else column
            for name, column in self.columns.items()
        }


class DictColumns(NamedTuple):
    """The columns of some dicts."""

    schema: pa.Schema
    """Those that are read."""

    keep: tuple[str, ...]
    """Those that come out before the model's outputs; `*` where all of `schema` do."""

    own: tuple[str, ...] = ()
    """Of `keep` those that are not read, and stay what they are."""

    certain: bool = True
    """Whether the model's inputs have these names; else they are bound to what the rows happen to have."""


def dict_columns(
    binding: BindingOptions, natural: Mapping[str, pa.Field], rows: Sequence[Mapping[str, Any]], strict: bool
) -> DictColumns:
    """The columns of dicts whose schema is not told.

    Args:
        binding: with the columns that are named.
        natural: from `natural_fields`.
        rows: one at least.
        strict: whether a column that none of the rows has is an error of whoever gives them; else of the rows.

    Raises:
        UsageError: `strict`, and `keep` names a column that no row has; or values are of unlike types.
    """
    keep = binding.keep
    lacking = [name for name in natural if all(name not in row for row in rows)]
    named = {name for names in binding.columns.values() for name in names}
    certain = bool(natural) and not lacking
    if not certain and (strict or not natural or not named.issuperset(lacking)):
        return DictColumns(schema_of_dicts(natural, rows, keep), keep, certain=False)
    if keep == ("*",):
        keep = tuple(dict.fromkeys(name for name in chain(*rows) if isinstance(name, str)))
    own = tuple(name for name in keep if name not in natural)
    missing = [name for name in own if all(name not in row for row in rows)]
    if missing and strict:
        check_keep(missing, pa.schema([(name, pa.null()) for name in dict.fromkeys(map(str, chain(*rows)))]))
    return DictColumns(pa.schema(list(natural.values())), keep, own)


def told_lacking(errors: Sequence[RowError], rows: Sequence[Mapping[str, Any]], read: Sequence[str]) -> list[RowError]:
    """Errors of rows that lack a column say so: that it was read as null tells less.

    >>> told_lacking([RowError("{}", 0, "infer", "null in column 'a'")], [{"b": 1}], ["a"])[0].reason
    "the row has no column 'a'; it has b"
    """
    told = []
    for error in errors:
        row = rows[error.row]
        lacks = next((name for name in read if name not in row), None)
        if lacks is not None and error.stage == "infer" and f"null in column {lacks!r}" in error.reason:
            error = error._replace(stage="read", reason=f"the row has no column {lacks!r}; it has {_listed(row)}")
        told.append(error)
    return told


def clashing(rows: Sequence[Mapping[str, Any]], own: Sequence[str], outputs: Sequence[str]) -> dict[int, str]:
    """Position -> why a row cannot be kept whole: a column is called as an output.

    >>> clashing([{"y": 1}, {"z": 1}], ["y", "z"], ["y"])
    {0: "the row has a column 'y', as the model has an output; rename it, or name the columns to keep"}
    """
    twice = [name for name in own if name in outputs]
    found = {at: name for name in twice for at, row in enumerate(rows) if name in row}
    why = "as the model has an output; rename it, or name the columns to keep"
    return {at: f"the row has a column {name!r}, {why}" for at, name in found.items()}


def all_wrong(error: UsageError, rows: Sequence[Mapping[str, Any]]) -> list[RowError]:
    """An error for each of some rows, none of which has what the model wants."""
    return [RowError("", at, "read", str(error)) for at in range(len(rows))]


def _listed(row: Mapping[str, Any]) -> str:
    names = [name for name in row if isinstance(name, str)]
    return f"{', '.join(names[:20])}{', ...' if len(names) > 20 else ''}" or "none"
