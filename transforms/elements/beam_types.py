"""Types of Beam's schemas as Arrow's, and back."""

from __future__ import annotations

import functools
import keyword
import re
import typing
from collections.abc import Iterable, Sequence
from typing import Any, Optional, get_args, get_origin

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.typehints import typehints
from apache_beam.typehints.row_type import RowTypeConstraint  # of the example  # noqa: F401
from apache_beam.typehints.schemas import named_fields_from_element_type

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type
from beamsplit.transforms.elements.values import array_of_column

_ARROW: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    **{np.dtype(name).type: pa.from_numpy_dtype(name) for name in ("int8", "int16", "int32", "int64")},
    **{np.dtype(name).type: pa.from_numpy_dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    **{np.dtype(name).type: pa.from_numpy_dtype(name) for name in ("float16", "float32", "float64")},
}

_BEAM: dict[pa.DataType, Any] = {
    pa.bool_(): bool,
    pa.int8(): np.int8,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.uint8(): np.int16,
    pa.uint16(): np.int32,
    pa.uint32(): np.int64,
    pa.uint64(): np.int64,
    pa.float16(): np.float32,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
    pa.string(): str,
    pa.large_string(): str,
    pa.binary(): bytes,
    pa.large_binary(): bytes,
}
"""Beam's schemas have no unsigned numbers: those are of the next wider type."""

LARGEST = np.uint64(2**63 - 1)
"""The largest whole number of Beam's schemas."""


@functools.lru_cache(maxsize=64)
def field_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of columns as fields of Beam's rows may have them: identifiers of Python without an underscore before.

    >>> field_names(("id", "Identity:0", "/head/Add_output_0", "12", "class"))
    ('id', 'Identity_0', 'head_Add_output_0', 'output_12', 'class_')

    Raises:
        UsageError: two would have the same name.
    """
    made: dict[str, str] = {}
    for name in names:
        field = re.sub(r"\W", "_", name).lstrip("_")
        if not field.isidentifier():
            field = f"output_{field}" if f"output_{field}".isidentifier() else "output"
        if keyword.iskeyword(field):
            field = f"{field}_"
        if field in made:
            raise UsageError(
                f"{made[field]!r} and {name!r} would both be the field {field!r} of Beam's rows, whose names are "
                "identifiers; rename one, or give dicts"
            )
        made[field] = name
    return tuple(made)


def row_of(names: Sequence[str], values: Iterable[Any]) -> beam.Row:
    """A row of Beam's, with `field_names`."""
    return beam.Row(**dict(zip(field_names(tuple(names)), values, strict=True)))


def too_large(column: pa.Array) -> list[int]:
    """The positions of rows with a whole number that Beam's schemas have no type for: from 2**63 on.

    >>> too_large(pa.array([1, 2**63], pa.uint64()))
    [1]
    """
    kind = column_type(column.type)
    if kind is None or kind.dtype != "uint64":
        return []
    values = array_of_column(column)
    if values.dtype != object:
        return np.flatnonzero((values > LARGEST).reshape(len(values), -1).any(axis=1)).tolist()
    rows = enumerate(values)
    return [row for row, value in rows if value is not None and bool(np.any(np.asarray(value, np.uint64) > LARGEST))]


def row_fields(element_type: Any) -> list[tuple[str, Any]] | None:
    """(name, type) of the fields of rows of this type: a `beam.Row`, NamedTuple or dataclass; None of others.

    >>> row_fields(RowTypeConstraint.from_fields([("a", str)]))
    [('a', <class 'str'>)]
    """
    try:
        fields = [(name, kind) for name, kind in named_fields_from_element_type(element_type)]
    except TypeError:
        return None
    if not any(kind is Any for _, kind in fields):
        return fields
    user_type = getattr(element_type, "user_type", element_type)
    try:
        # Beam does not look what annotations that are texts, by `from __future__ import annotations`, mean.
        hints = typing.get_type_hints(user_type)
    except (TypeError, NameError):
        return fields
    return [(name, hints.get(name, kind) if kind is Any else kind) for name, kind in fields]


def arrow_type(hint: Any) -> pa.DataType | None:
    """The Arrow type of values of a type of Python's; None where it is not known.

    >>> arrow_type(Sequence[np.float32])
    ListType(list<item: float>)
    """
    if hint in _ARROW:
        return _ARROW[hint]
    inner = _of_optional(hint)
    if inner is not None:
        return arrow_type(inner)
    item = _item(hint)
    if item is not None:
        kind = arrow_type(item)
        return None if kind is None else pa.list_(kind)
    return None


def beam_type(field: pa.Field, nullable: bool = False) -> Any:
    """The type of a column's values as `python_values` gives them, as Beam's schemas have it; Any where they do not.

    >>> beam_type(pa.field("y", pa.list_(pa.float32())))
    typing.Sequence[numpy.float32]
    """
    found = _beam(field.type)
    return Optional[found] if nullable and found is not Any else found  # noqa: UP045


def _beam(kind: pa.DataType) -> Any:
    if kind in _BEAM:
        return _BEAM[kind]
    if isinstance(kind, pa.FixedShapeTensorType):
        found = _beam(kind.value_type)
        for _ in kind.shape:
            found = _list_of(found)
        return found
    if isinstance(kind, pa.DictionaryType):
        return _beam(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _list_of(_beam(kind.value_type))
    return Any


def _list_of(item: Any) -> Any:
    sequence: Any = typing.Sequence  # Beam does not know the one of collections.abc everywhere.
    return sequence[item]


def _of_optional(hint: Any) -> Any:
    """What an Optional is of; None of others."""
    if isinstance(hint, typehints.UnionConstraint):
        kinds = list(hint.union_types)
    else:
        kinds = list(get_args(hint)) if type(None) in get_args(hint) else []
    rest = [kind for kind in kinds if kind is not type(None)]
    return rest[0] if len(rest) == 1 and len(rest) < len(kinds) else None


def _item(hint: Any) -> Any:
    """What a list is of; None of others."""
    if isinstance(hint, (typehints.SequenceTypeConstraint, typehints.ListConstraint)):
        return hint.inner_type
    origin = get_origin(hint)
    if origin in (list, Sequence):
        return get_args(hint)[0]
    return None
