"""Dataclasses as JSON text, and back: plans are data, and what is read is checked against their annotations."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Sequence
from reprlib import repr
from typing import Any, TypeVar

from beamsplit.models.errors import UsageError

T = TypeVar("T")


def to_json(value: Any, version: int) -> str:
    """A dataclass as JSON text, which `from_json` reads back to an equal value."""
    return json.dumps({"version": version, **_to_plain(value)}, indent=1)


def in_files(key: str) -> dict[str, str]:
    """Metadata of a field that has another name in files: files are read for longer than names last."""
    return {"key": key}


def _key(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get("key", field.name))


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {_key(one): _to_plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_to_plain(one) for one in value]
    return {key: _to_plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def from_json(kind: type[T], version: int, text: str, path: str, again: str) -> T:
    """Read what `to_json` wrote.

    Args:
        kind: the dataclass.
        version: the only one that is read.
        text: JSON.
        path: where it is from, for messages.
        again: how to make it anew, for messages.

    Raises:
        UsageError: the text is no such plan of this version.
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}): {again}") from None
    found = values.pop("version", None) if isinstance(values, dict) else None
    if found != version or isinstance(found, bool):
        raise UsageError(f"{path} is no plan of version {version}: {again}")
    try:
        made: T = from_plain(kind, values)
    except (TypeError, KeyError) as error:
        raise UsageError(f"{path} is no plan: {error}; {again}") from None
    return made


def parse_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: it is not JSON, or nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def has_fields(text: str, names: Sequence[str]) -> bool:
    """Whether a text is a JSON object with fields of these names."""
    try:
        values = parse_json(text)
    except ValueError:
        return False
    return isinstance(values, dict) and all(name in values for name in names)


def from_plain(kind: Any, value: Any) -> Any:
    """`value` as the annotated type: dataclasses from dicts, tuples from lists, numbers checked.

    >>> from_plain(tuple[float, ...], [1, 2.5])
    (1.0, 2.5)

    Raises:
        TypeError: it is of another type.
    """
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        if len(options) == 1:
            return from_plain(options[0], value)
        if isinstance(value, bool) or not any(isinstance(value, option) for option in options):
            raise TypeError(f"{repr(value)} is not {kind}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{repr(value)} is not a list")
        return tuple(from_plain(typing.get_args(kind)[0], one) for one in value)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"{repr(value)} is not an object")
        hints, names = typing.get_type_hints(kind), {_key(one): one.name for one in dataclasses.fields(kind)}
        unknown = set(value) - set(names)
        if unknown:
            raise TypeError(f"unknown field {sorted(unknown)[0]!r}")
        given = {names[key]: from_plain(hints[names[key]], one) for key, one in value.items()}
        return kind(**given)  # type: ignore[operator]
    return _from_scalar(kind, value)


_MOST_INT = 1 << 62
"""No number of bytes, rows or nodes is larger: what is computed of two of them may be."""


def _from_scalar(kind: Any, value: Any) -> Any:
    if kind in (int, float) and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > _MOST_INT:
            raise TypeError(f"{repr(value)} is too large")
        return kind(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{repr(value)} is not {kind.__name__}")
    if kind is float and not math.isfinite(value):
        raise TypeError(f"{value} is no number")
    return value
