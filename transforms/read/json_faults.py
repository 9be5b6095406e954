"""What is wrong with one line of JSON, so that those beside it can be parsed together; looked for in Python."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa

from beamsplit.transforms.read.json_depth import Depths, plain_value

DOUBTFUL = ""
"""Perhaps nothing is wrong: whoever parses it alone knows."""

_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
"""As Arrow's reader names them."""

_NUMBERS = frozenset({int, float, type(None)})


class Faults:
    """Looks for what is wrong with lines that should be objects of a schema.

    Args:
        schema: names and types.
        declared: fields that may hold texts or numbers.
        depths: fields whose values may be in more or fewer lists than the columns' are.
    """

    def __init__(self, schema: pa.Schema, declared: Collection[str] = (), depths: Mapping[str, Depths] | None = None):
        self._keys = [json.dumps(name).encode() for name in schema.names]
        self._fields = [(f.name, f.type, (depths or {}).get(f.name)) for f in schema if f.name not in declared]

    def of(self, line: bytes) -> str | None:
        """Why a line is no object of the schema: in words, `DOUBTFUL`, or None where nothing is seen.

        >>> faults = Faults(pa.schema([("a", pa.int8()), ("b", pa.bool_())]))
        >>> faults.of(b'{"a": 1, "b": "x"}')
        "field 'b' holds a value of kind string, and is of kind boolean"
        >>> faults.of(b'{"a": 1.5}'), faults.of(b'{"a": 1}')
        ("field 'a' holds 1.5, which is no int8", None)
        """
        try:
            row = json.loads(line.decode())
            if b"\\ud" in line or b"\\uD" in line:
                json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            return DOUBTFUL
        if not isinstance(row, dict) or any(line.count(key) > 1 for key in self._keys):
            return DOUBTFUL
        for name, kind, depths in self._fields:
            value = row.get(name)
            if depths is not None:
                value = plain_value(value, depths)
            if (why := _fault(value, kind, depths is not None and depths.whole)) is not None:
                return f"field {name!r} {_several(value, depths) or why}" if why else why
        return None


def _several(value: Any, depths: Depths | None) -> str | None:
    if depths is None or depths.column or not isinstance(value, list):
        return None
    what = "an array in an array" if len(value) == 1 else f"an array of {len(value)}" if value else "an empty array"
    return f"holds {what}, and takes one value"


def _fault(value: Any, kind: pa.DataType, whole: bool = False) -> str | None:
    types = pa.types
    if isinstance(kind, pa.JsonType) or value is None:
        return None
    if isinstance(kind, pa.BaseExtensionType):
        return _fault(value, kind.storage_type, whole)
    if types.is_dictionary(kind):
        return _fault(value, kind.value_type, whole)
    if types.is_floating(kind) or types.is_integer(kind):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return _other(value, "number")
        if _is_infinite(value) or (types.is_integer(kind) and value != value):
            return DOUBTFUL
        return _no_integer(value, kind, whole) if types.is_integer(kind) else None
    if types.is_string(kind) or types.is_large_string(kind):
        return None if isinstance(value, str) else _other(value, "string")
    if types.is_boolean(kind):
        return None if isinstance(value, bool) else _other(value, "boolean")
    if types.is_struct(kind):
        if not isinstance(value, dict):
            return _other(value, "object")
        return _first(_fault(value.get(one.name), one.type) for one in kind)
    if types.is_map(kind) or not types.is_nested(kind):
        return None
    if not isinstance(value, list):
        return _other(value, "array")
    inner = kind.value_type
    if types.is_floating(inner) and _NUMBERS.issuperset(map(type, value)):
        return DOUBTFUL if any(map(_is_infinite, value)) else None
    return _first(_fault(one, inner, whole) for one in value)


def _is_infinite(value: Any) -> bool:
    """A number of JSON that Python takes for infinite: too large, or written as no JSON has it."""
    return isinstance(value, float) and math.isinf(value)


def _first(faults: Any) -> str | None:
    return next((why for why in faults if why is not None), None)


def _other(value: Any, wanted: str) -> str:
    return f"holds a value of kind {_KINDS[type(value)]}, and is of kind {wanted}"


def _no_integer(value: float, kind: pa.DataType, whole: bool) -> str | None:
    bits = kind.bit_width
    low, high = (0, 2**bits) if pa.types.is_unsigned_integer(kind) else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    if (isinstance(value, int) or (whole and value.is_integer())) and low <= value < high:
        return None
    text = str(value)
    return f"holds {text if len(text) <= 40 else f'{text[:20]}... ({len(text)} digits)'}, which is no {kind}"
