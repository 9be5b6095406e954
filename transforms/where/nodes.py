"""What a condition is made of. Values are literals as they are typed, and of the columns' types once it is bound.

A condition is true, false or, where it asks for a null, neither (SQL's three values): rows are kept where it is true.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

NEGATED = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
"""Operator -> the one that is true where it is false."""

FLIPPED = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
"""Operator -> the one for the same with its sides exchanged."""


@dataclass(frozen=True)
class Value:
    """A literal as it is typed."""

    kind: Literal["number", "text", "date", "timestamp", "bool"]
    value: Fraction | str | bool
    typed: str
    """For errors."""


@dataclass(frozen=True)
class Compare:
    """A column beside a value; null where the column is."""

    column: str
    op: str
    """One of `NEGATED`."""

    value: Any
    """A `Value`; bound, a `pa.Scalar`."""


@dataclass(frozen=True)
class In:
    """Whether a column has one of some values; null where the column is."""

    column: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Constant:
    """The same of every value: what a column's type rules out, or all that it holds; null where the column is."""

    column: str
    value: bool


@dataclass(frozen=True)
class IsNull:
    """Whether there is no value; never null."""

    column: str


@dataclass(frozen=True)
class IsNan:
    """Whether a float is NaN; null where the column is."""

    column: str


@dataclass(frozen=True)
class Like:
    """Whether a text is like a pattern, in which `%` stands for any characters and `_` for one."""

    column: str
    pattern: str
    ignore_case: bool


@dataclass(frozen=True)
class Flag:
    """A column of bools as it is."""

    column: str


@dataclass(frozen=True)
class Not:
    """The opposite; null stays."""

    part: Node


@dataclass(frozen=True)
class All:
    """Whether all parts are true."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Some:
    """Whether a part is true."""

    parts: tuple[Node, ...]


Node = Compare | In | Constant | IsNull | IsNan | Like | Flag | Not | All | Some


def columns_of(node: Node) -> tuple[str, ...]:
    """The columns that a condition asks for, each once.

    >>> columns_of(All((Flag("b"), Not(IsNull("a")), IsNan("b"))))
    ('b', 'a')
    """
    if isinstance(node, Not):
        return columns_of(node.part)
    if isinstance(node, (All, Some)):
        return tuple(dict.fromkeys(name for part in node.parts for name in columns_of(part)))
    return (node.column,)
