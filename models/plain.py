"""Dataclasses as JSON text, and back: plans are data, and what is read is checked against their annotations."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from models.errors import UsageError

T = TypeVar("T")


def to_json(value: Any, version: int) -> str:
    """A dataclass as JSON text, which `from_json` reads back to an equal value."""
    return json.dumps({"version": version, **dataclasses.asdict(value)}, indent=1)


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
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}): {again}") from None
    if not isinstance(values, dict) or values.pop("version", None) != version:
        raise UsageError(f"{path} is no plan of version {version}: {again}")
    try:
        made: T = from_plain(kind, values)
    except (TypeError, KeyError) as error:
        raise UsageError(f"{path} is no plan: {error}; {again}") from None
    return made


def has_fields(text: str, names: Sequence[str]) -> bool:
    """Whether a text is a JSON object with fields of these names."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
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
        if not any(isinstance(value, option) for option in options):
            raise TypeError(f"{value!r} is not {kind}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        return tuple(from_plain(typing.get_args(kind)[0], one) for one in value)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is not an object")
        hints = typing.get_type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise TypeError(f"unknown field {sorted(unknown)[0]!r}")
        return kind(**{name: from_plain(hints[name], one) for name, one in value.items()})  # type: ignore[operator]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value
