"""A condition brought together with the columns: each literal becomes a value of its column's type, exactly.

A value that the type does not hold is no error: `x > 2.5` of whole numbers is `x >= 3`, and `x < 300` of int8 is true.
"""

from __future__ import annotations

import datetime
import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.where.nodes import (
    All,
    Compare,
    Constant,
    Flag,
    In,
    IsNan,
    Like,
    Node,
    Not,
    Some,
    Value,
)

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Nanoseconds."""

DAY = 86_400 * 10**9
UTC = {"utc", "etc/utc", "gmt", "z", "+00:00", "zulu", "etc/gmt"}


def bind_where(node: Node, schema: pa.Schema, option: str = "--where") -> Node:
    """The condition with values of the columns' types.

    Args:
        node: as it is parsed.
        schema: of the blocks that it will be asked of.
        option: that it is given by, for errors.

    Raises:
        UsageError: there is no such column, or it cannot be compared with what is said; names both.
    """
    return _Binder(schema, option).bind(node)


class _Binder:
    def __init__(self, schema: pa.Schema, option: str) -> None:
        self.schema = schema
        self.option = option

    def bind(self, node: Node) -> Node:
        if isinstance(node, Not):
            return Not(self.bind(node.part))
        if isinstance(node, All):
            return All(tuple(map(self.bind, node.parts)))
        if isinstance(node, Some):
            return Some(tuple(map(self.bind, node.parts)))
        kind = self._type(node.column)
        if isinstance(node, Compare):
            return self._compare(node.column, node.op, node.value, kind)
        if isinstance(node, In):
            parts = [self._compare(node.column, "=", value, kind) for value in node.values]
            values = tuple(part.value for part in parts if isinstance(part, Compare))
            return In(node.column, values) if values else Constant(node.column, False)
        if isinstance(node, Like) and not is_text(kind):
            self._refuse(node.column, "like", "is for texts")
        if isinstance(node, Flag) and not pa.types.is_boolean(kind):
            self._refuse(node.column, node.column, "alone is no condition: compare it with a value")
        if isinstance(node, IsNan) and not pa.types.is_floating(kind):
            self._refuse(node.column, "isnan", "is for floats")
        return node

    def _type(self, name: str) -> pa.DataType:
        if name not in self.schema.names:
            names = [one for one in self.schema.names if not one.startswith("_origin_")]
            more = ", ..." if len(names) > 20 else ""
            raise UsageError(
                f"{self.option} names the column {name!r}, and the data has the columns {', '.join(names[:20])}{more}; "
                "name one of them (texts go in single quotes)"
            )
        kind = self.schema.field(name).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    def _refuse(self, name: str, what: str, why: str) -> Any:
        kind = self.schema.field(name).type
        raise UsageError(f"{self.option}: the column {name!r} is {kind}, and {what} {why}")

    def _compare(self, name: str, op: str, value: Value, kind: pa.DataType) -> Node:
        types = pa.types
        if types.is_null(kind):
            return Constant(name, False)
        if is_text(kind):
            if value.kind != "text":
                self._refuse(name, value.typed, f"is no text: type {_as_text(value)}")
            return Compare(name, op, pa.scalar(str(value.value), pa.string()))
        if types.is_boolean(kind):
            if value.kind != "bool":
                self._refuse(name, value.typed, "is neither true nor false")
            return self._of_bools(name, op, bool(value.value))
        if types.is_floating(kind):
            return Compare(name, op, pa.scalar(self._float(name, self._number(name, value)), pa.float64()))
        if types.is_integer(kind) or types.is_decimal(kind):
            scale = 10**kind.scale if types.is_decimal(kind) else 1
            return _on_grid(name, op, self._number(name, value) * scale, kind)
        if types.is_date(kind) or types.is_timestamp(kind):
            unit = DAY if types.is_date(kind) else UNITS[kind.unit]
            return _on_grid(name, op, Fraction(self._moment(name, value, kind), unit), kind)
        if types.is_time(kind):
            return _on_grid(name, op, Fraction(self._time(name, value), UNITS[kind.unit]), kind)
        return self._refuse(name, value.typed, "is a single value: only 'is null' and 'is not null' are asked of it")

    def _of_bools(self, name: str, op: str, value: bool) -> Node:
        if op not in ("=", "!="):
            self._refuse(name, op, "is for what has an order")
        return Flag(name) if value == (op == "=") else Not(Flag(name))

    def _number(self, name: str, value: Value) -> Fraction:
        if not isinstance(value.value, Fraction):
            fix = "" if not re.fullmatch(r"\s*-?[0-9]*\.?[0-9]+\s*", str(value.value)) else ": leave the quotes out"
            self._refuse(name, value.typed, f"is no number{fix}")
        assert isinstance(value.value, Fraction)
        return value.value

    def _float(self, name: str, value: Fraction) -> float:
        try:
            number = float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
        if value.denominator == 1 and Fraction(number) != value:
            self._refuse(name, str(value.numerator), "is a whole number that no float64 holds")
        return number

    def _moment(self, name: str, value: Value, kind: pa.DataType) -> int:
        """Nanoseconds since 1970, in UTC where the column tells moments."""
        text = str(value.value).strip()
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        if value.kind not in ("text", "date", "timestamp"):
            self._refuse(name, value.typed, "is no date or time: type it as '2026-11-01' or '2026-11-01 12:30:00'")
        zoned = bool(re.search(r":\d\d(\.\d+)?\s*(Z|[-+]\d\d(:?\d\d)?)$", text, re.IGNORECASE))
        if zone is None and zoned:
            self._refuse(name, value.typed, "has a time zone, which the column has not: leave it out")
        if zone is not None and not zoned and zone.lower() not in UTC:
            self._refuse(name, value.typed, "says no time zone: type e.g. '2026-11-01 00:00:00+00:00'")
        if value.kind == "date" and len(text) != 10:
            self._refuse(name, value.typed, "is no date: type e.g. date '2026-11-01'")
        for unit, size in (("ns", 1), ("us", 10**3), ("s", 10**9)):
            try:
                return int(pa.scalar(text).cast(pa.timestamp(unit, "UTC" if zoned else None)).value) * size
            except pa.ArrowInvalid:
                continue
        return self._refuse(name, value.typed, "is no date or time such as '2026-11-01' or '2026-11-01 12:30:00'")

    def _time(self, name: str, value: Value) -> int:
        try:
            at = datetime.time.fromisoformat(str(value.value)) if value.kind == "text" else None
        except ValueError:
            at = None
        if at is None or at.tzinfo is not None:
            return int(self._refuse(name, value.typed, "is no time of day such as '12:30:00'"))
        return ((at.hour * 60 + at.minute) * 60 + at.second) * 10**9 + at.microsecond * 1000


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts, with 32 or 64 bits of offset, or views."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _as_text(value: Value) -> str:
    inner = value.typed if value.kind in ("number", "bool") else str(value.value)
    return "'" + inner.replace("'", "''") + "'"


def limits(kind: pa.DataType) -> tuple[int, int]:
    """The least and the most that a type of steps holds, in its steps.

    >>> limits(pa.int8()), limits(pa.decimal128(3, 1))
    ((-128, 127), (-999, 999))
    """
    if pa.types.is_decimal(kind):
        most = 10**kind.precision - 1
        return -most, most
    bits = 32 if pa.types.is_date(kind) else kind.bit_width
    return (0, 2**bits - 1) if pa.types.is_unsigned_integer(kind) else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def step_scalar(step: int, kind: pa.DataType) -> pa.Scalar:
    """The value of a type of steps that is so many of them."""
    if pa.types.is_decimal(kind):
        sign, digits = int(step < 0), tuple(map(int, str(abs(step))))
        return pa.scalar(Decimal((sign, digits, -kind.scale)), kind)
    if pa.types.is_date64(kind):
        return pa.scalar(step * 86_400_000, pa.int64()).cast(kind)
    plain = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.scalar(step, kind) if pa.types.is_integer(kind) else pa.scalar(step, plain).cast(kind)


def _on_grid(name: str, op: str, value: Fraction, kind: pa.DataType) -> Node:
    """The comparison with a value between two steps, or beyond all, as one with a step, or what it always is."""
    least, most = limits(kind)
    if value.denominator != 1:
        if op in ("=", "!="):
            return Constant(name, op == "!=")
        up = op in (">", ">=")
        op, value = (">=" if up else "<="), Fraction(math.ceil(value) if up else math.floor(value))
    if value > most:
        return Constant(name, op in ("<", "<=", "!="))
    if value < least:
        return Constant(name, op in (">", ">=", "!="))
    return Compare(name, op, step_scalar(int(value), kind))
