"""What PostgreSQL's types are read as."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from beamsplit.transforms.sql.names import quoted
from beamsplit.transforms.sql.query import SqlColumn

PLAIN = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bytea": pa.binary(),
    "time": pa.time64("us"),
}
"""Type -> Arrow's, of those that are read, and compared, as they are."""

TIMES = {"date": pa.date32(), "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC")}
"""The same, but for infinity, which Arrow has not."""

VECTORS = ("vector", "halfvec")
"""Types of pgvector."""

_ITEMS = {name: kind for name, kind in PLAIN.items() if name not in ("bytea", "time")}


def column_of(field: pa.Field, unknown: Mapping[str, str]) -> SqlColumn:
    """A column as it is asked for.

    Args:
        field: as the driver tells it, with PostgreSQL's type.
        unknown: names of types that the driver only numbers.
    """
    metadata = field.metadata or {}
    kind = metadata.get(b"POSTGRESQL:type", b"text").decode()
    kind, name, sql = unknown.get(kind, kind), field.name, quoted(field.name)
    if kind in PLAIN:
        return SqlColumn(name, sql, PLAIN[kind], plain=kind not in ("bytea", "time"))
    if kind in TIMES:
        return SqlColumn(name, sql, TIMES[kind], f"NOT isfinite({sql})", "is infinity, which no time is here", True)
    if kind == "numeric":
        precision, scale = _numeric(int(metadata.get(b"POSTGRESQL:typmod", b"-1")))
        if 0 < precision <= 38 and 0 <= scale <= precision:
            kind_read = pa.decimal128(precision, scale)
            return SqlColumn(name, sql, kind_read, f"{sql} = 'NaN'", "is NaN, which no decimal is", True)
        why = f"note:the column {name!r} is numeric without a precision, and is read as float64 (the nearest one)"
        return SqlColumn(name, f"{sql}::float8", pa.float64(), why=why)
    if kind in VECTORS:
        return SqlColumn(name, f"{sql}::real[]", pa.list_(pa.float32()))
    if kind.startswith("_"):
        flat = f"array_ndims({sql}) > 1", "is an array of several dimensions; only lists are read"
        if kind[1:] in _ITEMS:
            return SqlColumn(name, sql, pa.list_(_ITEMS[kind[1:]]), *flat)
        if kind == "_numeric":
            return SqlColumn(name, f"{sql}::float8[]", pa.list_(pa.float64()), *flat)
        return SqlColumn(name, f"{sql}::text[]", pa.list_(pa.string()), *flat)
    if kind == "oid":
        return SqlColumn(name, f"{sql}::int8", pa.int64())
    if kind == "bpchar":
        # As a text it would lose its spaces.
        return SqlColumn(name, sql, pa.string())
    return SqlColumn(name, f"{sql}::text", pa.string())


def _numeric(typmod: int) -> tuple[int, int]:
    """(digits, those behind the point) of numeric(p, s); (0, 0) where it says none.

    >>> _numeric(655366)
    (10, 2)
    """
    if typmod < 4:
        return 0, 0
    scale = (typmod - 4) & 0x7FF
    return ((typmod - 4) >> 16) & 0xFFFF, scale - 2048 if scale >= 1024 else scale
