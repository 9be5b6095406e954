"""The text of a condition as nodes: sqlglot reads it, and what is no condition on single columns is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.transforms.where.nodes import (
    FLIPPED,
    All,
    Compare,
    Flag,
    In,
    IsNan,
    IsNull,
    Like,
    Node,
    Not,
    Some,
    Value,
)

EXAMPLE = "date >= '2026-11-01' and country in ('de', 'fr')"

DEEPEST = 100
"""Parentheses and `not` in one another."""


class _NotTaken(Exception):
    """A piece of SQL that is no condition on columns."""


def parse_where(text: str, option: str = "--where") -> Node:
    """The condition that a text says.

    >>> parse_where("not (a like 'x%' or b is null)")
    Not(part=Some(parts=(Like(column='a', pattern='x%', ignore_case=False), IsNull(column='b'))))

    Args:
        text: as it is typed, e.g. `"date >= '2026-11-01' and country in ('de', 'fr')"`.
        option: that it is given by, for errors.

    Raises:
        UsageError: it is no condition, asks for what is not offered, or sqlglot is not installed.
    """
    try:
        import sqlglot
        from sqlglot.errors import SqlglotError
    except ImportError:
        raise UsageError(f"{option} wants sqlglot, which is not installed: pip install 'beamsplit[where]'") from None
    try:
        parsed = sqlglot.parse(text)
        if len(parsed) != 1 or parsed[0] is None:
            raise _NotTaken("it is not one condition")
        return _node(parsed[0], 0)
    except SqlglotError as error:
        described = (getattr(error, "errors", None) or [{}])[0]
        why = described.get("description") or str(error)
        at = f" at character {described['col']}" if described.get("col") else ""
        # Without colours, and without the names of classes.
        plain = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", re.sub(chr(27) + r".[0-9;]*m", "", why))
        reason = f"{' '.join(plain.split())[:200]}{at}"
    except _NotTaken as error:
        reason = str(error)
    except RecursionError:
        reason = "it has too many conditions in one another"
    raise UsageError(f'{option} {text!r} is not understood: {reason}; type a condition such as "{EXAMPLE}"')


def _only(node: Any, *known: str) -> None:
    """Raise where a piece says more than what is read of it."""
    more = [name for name, value in node.args.items() if value and name not in known]
    if more:
        raise _NotTaken(f"{_shown(node)!r} is not offered")


def _shown(node: Any) -> str:
    return " ".join(str(node).split())[:80]


def _node(node: Any, depth: int) -> Node:
    from sqlglot import exp

    if depth > DEEPEST:
        raise _NotTaken("it has too many conditions in one another")
    if isinstance(node, (exp.And, exp.Or)):
        kind: Any = exp.And if isinstance(node, exp.And) else exp.Or
        parts = tuple(_node(part, depth + 1) for part in _chain(node, kind))
        return All(parts) if kind is exp.And else Some(parts)
    if isinstance(node, exp.Paren):
        _only(node, "this")
        return _node(node.this, depth + 1)
    if isinstance(node, exp.Not):
        _only(node, "this")
        return Not(_node(node.this, depth + 1))
    if isinstance(node, exp.Column):
        return Flag(_column(node))
    for kind, read in _READ.items():
        if type(node) is getattr(exp, kind, None):
            return read(node)
    raise _NotTaken(f"{_shown(node)!r} is no condition on a column")


def _chain(node: Any, kind: Any) -> list[Any]:
    """The parts of `a and b and c`, however many."""
    parts: list[Any] = []
    left = node
    while isinstance(left, kind):
        _only(left, "this", "expression")
        parts.append(left.expression)
        left = left.this
    return [left, *reversed(parts)]


def _column(node: Any) -> str:
    """The name of a column; `a.b` is a field of a struct, or has that name."""
    from sqlglot import exp

    if isinstance(node, exp.Paren):
        return _column(node.this)
    if not isinstance(node, exp.Column) or not all(isinstance(part, exp.Identifier) for part in node.parts):
        raise _NotTaken(f"{_shown(node)!r} stands where a column is wanted")
    return ".".join(part.name for part in node.parts)


def _is_column(node: Any) -> bool:
    from sqlglot import exp

    return isinstance(node.unnest() if isinstance(node, exp.Paren) else node, exp.Column)


def _value(node: Any) -> Value:
    from sqlglot import exp

    typed = _shown(node)
    if isinstance(node, exp.Paren):
        return _value(node.this)
    if isinstance(node, exp.Neg):
        value = _value(node.this)
        if value.kind == "number":
            assert isinstance(value.value, Fraction)
            return Value("number", -value.value, f"-{value.typed}")
    if isinstance(node, exp.Boolean):
        return Value("bool", bool(node.this), typed)
    if isinstance(node, exp.Literal):
        return Value("text", node.this, typed) if node.is_string else Value("number", _number(node.this), typed)
    if type(node) is exp.Cast and isinstance(node.this, exp.Literal) and node.this.is_string:
        kind = str(node.to).upper().replace("TIMESTAMPTZ", "TIMESTAMP").replace("DATETIME", "TIMESTAMP")
        if kind in ("DATE", "TIMESTAMP"):
            return Value("date" if kind == "DATE" else "timestamp", node.this.this, typed)
    if isinstance(node, exp.Null):
        raise _NotTaken("nothing is equal to null: type 'is null' or 'is not null'")
    if isinstance(node, exp.Column):
        raise _NotTaken(
            f"{typed!r} is a column where a value is wanted: a text goes in single quotes, and columns are not "
            "compared with one another"
        )
    raise _NotTaken(f"{typed!r} stands where a value is wanted")


def _number(text: str) -> Fraction:
    if not re.fullmatch(r"[0-9]*\.?[0-9]*([eE][-+]?[0-9]{1,4})?", text) or not re.search("[0-9]", text):
        raise _NotTaken(f"{text!r} is no number")
    return Fraction(text)


def _compare(op: str) -> Callable[[Any], Node]:
    def read(node: Any) -> Node:
        _only(node, "this", "expression")
        left, right = node.this, node.expression
        if _is_column(left):
            return Compare(_column(left), op, _value(right))
        if _is_column(right):
            return Compare(_column(right), FLIPPED[op], _value(left))
        raise _NotTaken(f"{_shown(node)!r} compares no column with a value")

    return read


def _in(node: Any) -> Node:
    _only(node, "this", "expressions")
    if not node.expressions:
        raise _NotTaken(f"{_shown(node)!r} names no values")
    return In(_column(node.this), tuple(map(_value, node.expressions)))


def _between(node: Any) -> Node:
    _only(node, "this", "low", "high")
    column = _column(node.this)
    return All((Compare(column, ">=", _value(node.args["low"])), Compare(column, "<=", _value(node.args["high"]))))


def _is(node: Any) -> Node:
    from sqlglot import exp

    _only(node, "this", "expression")
    column, asked = _column(node.this), node.expression
    if isinstance(asked, exp.Null):
        return IsNull(column)
    if isinstance(asked, exp.Boolean):
        # Never null, unlike `=`.
        return All((Not(IsNull(column)), Flag(column) if asked.this else Not(Flag(column))))
    raise _NotTaken(f"{_shown(node)!r}: behind 'is' stands null, not null, true or false")


def _like(ignore_case: bool) -> Callable[[Any], Node]:
    def read(node: Any) -> Node:
        _only(node, "this", "expression", "negate")
        pattern = _value(node.expression)
        if pattern.kind != "text":
            raise _NotTaken(f"{_shown(node)!r}: a pattern is a text in single quotes")
        like = Like(_column(node.this), str(pattern.value), ignore_case)
        return Not(like) if node.args.get("negate") else like

    return read


def _nan(node: Any) -> Node:
    _only(node, "this")
    return IsNan(_column(node.this))


_READ: dict[str, Callable[[Any], Node]] = {
    **{
        name: _compare(op)
        for name, op in zip(("EQ", "NEQ", "LT", "LTE", "GT", "GTE"), ("=", "!=", "<", "<=", ">", ">="), strict=True)
    },
    "In": _in,
    "Between": _between,
    "Is": _is,
    "Like": _like(False),
    "ILike": _like(True),
    "IsNan": _nan,
}
"""What is a condition, by its name in sqlglot."""
