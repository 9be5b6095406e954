"""Types of Beam's schemas as Arrow's, and back."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any, Optional, get_args, get_origin

import numpy as np
import pyarrow as pa
from apache_beam.typehints import typehints
from apache_beam.typehints.row_type import RowTypeConstraint  # of the example  # noqa: F401
from apache_beam.typehints.schemas import named_fields_from_element_type

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
