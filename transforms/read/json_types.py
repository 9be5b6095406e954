"""The types of JSON fields of which not all values are alike: what most of them are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_NO_TYPE = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)

_KINDS = ("string", "number", "bool", "list", "object")
"""Where two are as common, the first of them."""


def usual_types(rows: Sequence[dict[str, Any]]) -> pa.Schema:
    """A field for each key, of the type that most of its values have; other values then fail their rows.

    A field whose usual values have no type of Arrow in common (a list of numbers and texts) is left out.

    >>> usual_types([{"v": 1}, {"v": "n/a"}, {"v": 2.5}])
    v: double
    """
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    fields = []
    for name, column in values.items():
        kind = _type_of(column)
        if kind is not None:
            fields.append(pa.field(name, kind))
    return pa.schema(fields)


def mixed_fields(rows: Sequence[dict[str, Any]]) -> set[str]:
    """The keys whose values are of several kinds.

    >>> mixed_fields([{"v": 1, "w": None}, {"v": "n/a", "w": 2.5}])
    {'v'}
    """
    kinds: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                kinds.setdefault(name, set()).add(_kind(value))
    return {name for name, some in kinds.items() if len(some) > 1}


def as_texts(text: bytes, names: Sequence[str]) -> dict[str, pa.Array]:
    """The values of some fields as texts, all but texts as they are written; null where there is none.

    >>> as_texts(b'{"a": 1.10}\\n{"a": "x"}\\n{"b": 1}', ["a"])["a"].to_pylist()
    ['1.10', 'x', None]
    """
    from beamsplit.transforms.read.json_slices import value_texts

    found = value_texts(text, sum(1 for line in text.split(b"\n") if line.strip()), names)
    return {name: pa.array([_text(cell) for cell in cells.to_pylist()], pa.string()) for name, cells in found.items()}


def _text(cell: str | None) -> str | None:
    return json.loads(cell) if cell is not None and cell.startswith('"') else cell


def _type_of(values: list[Any]) -> pa.DataType | None:
    """The type of most values; None where they have none."""
    counts = Counter(_kind(value) for value in values if value is not None)
    if not counts:
        return pa.string()
    most = max(_KINDS, key=lambda kind: (counts[kind], -_KINDS.index(kind)))
    usual = [value for value in values if value is not None and _kind(value) == most]
    if most == "object":
        fields = usual_types(usual)
        # Without one of its fields it would be another object.
        return pa.struct(list(fields)) if {name for value in usual for name in value} == set(fields.names) else None
    if most == "list":
        if len({_kind(item) for value in usual for item in value if item is not None}) > 1:
            usual = _of_one_kind(usual)
        inner = _type_of([item for value in usual for item in value]) if usual else None
        return None if inner is None else pa.list_(inner)
    if most != "number":
        return pa.string() if most == "string" else pa.bool_()
    try:
        return pa.array(usual).type
    except _NO_TYPE:  # Whole numbers that are too large.
        return pa.float64()


def _of_one_kind(lists: list[list[Any]]) -> list[list[Any]]:
    """The lists that hold values of one kind each, if they are most."""
    alike = [one for one in lists if len({_kind(item) for item in one if item is not None}) <= 1]
    return alike if 2 * len(alike) > len(lists) else []


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    names: dict[type, str] = {str: "string", list: "list", dict: "object"}
    return names[type(value)]
