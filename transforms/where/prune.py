"""Whether rows of a file, or of a piece of it, can be among those kept, by the least and the most of their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamsplit.transforms.where.nodes import NEGATED, All, Compare, Constant, Flag, In, IsNull, Node, Not, Some


@dataclass(frozen=True)
class Bounds:
    """What is known of a column's values. Least and most may lie further apart than the values do."""

    least: Any = None
    """A `pa.Scalar`; None where it is not known."""

    most: Any = None
    nulls: int | None = None
    """How many are null; None where that is not known."""

    rows: int | None = None
    """How many there are, nulls too."""

    exact: bool = False
    """Whether least and most are values that there are."""

    @property
    def only_nulls(self) -> bool:
        """Whether it is known that there is no value."""
        return self.rows is not None and self.nulls == self.rows


Find = Callable[[str], "Bounds | None"]


def may_match(node: Node, bounds: Find) -> bool:
    """Whether there can be a row for which a bound condition is true.

    Args:
        node: the condition.
        bounds: of a column, by its name; None where nothing is known.
    """
    return _can_be(node, True, bounds)


def _can_be(node: Node, wanted: bool, bounds: Find) -> bool:
    if isinstance(node, Not):
        return _can_be(node.part, not wanted, bounds)
    if isinstance(node, (All, Some)):
        each = (_can_be(part, wanted, bounds) for part in node.parts)
        return all(each) if isinstance(node, All) == wanted else any(each)
    known = bounds(node.column)
    if known is None:
        return not isinstance(node, Constant) or node.value == wanted
    if isinstance(node, IsNull):
        return known.nulls is None or (known.nulls > 0 if wanted else not known.only_nulls)
    if known.only_nulls:
        return False
    if isinstance(node, Constant):
        return node.value == wanted
    if known.least is None or known.most is None:
        return True
    if isinstance(node, Flag):
        return bool(known.most.as_py() if wanted else not known.least.as_py())
    if isinstance(node, Compare):
        return _compare(node.op if wanted else NEGATED[node.op], node.value, known, exact=wanted)
    if isinstance(node, In):
        if wanted:
            return any(_compare("=", value, known, True) for value in node.values)
        return not any(_compare("!=", value, known, False) is False for value in node.values)
    return True


def _compare(op: str, value: Any, known: Bounds, exact: bool) -> bool:
    """Whether a value can be so beside another. Without `exact` the operator was negated, and NaN is there too."""
    kind = value.type
    if known.least.type != kind or known.most.type != kind:
        return True
    if pa.types.is_floating(kind) and (not exact or op == "!="):
        return True
    low, high, at = key(known.least), key(known.most), key(value)
    if op == "!=":
        # Texts of statistics may be cut short.
        return (pa.types.is_string(kind) and not known.exact) or not low == at == high
    return {"=": low <= at <= high, "<": low < at, "<=": low <= at, ">": high > at, ">=": high >= at}[op]


def key(scalar: Any) -> Any:
    """What values of one type are ordered by."""
    kind = scalar.type
    if pa.types.is_temporal(kind):
        return scalar.value
    value = scalar.as_py()
    return value.encode() if isinstance(value, str) else value
