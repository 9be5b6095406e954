"""A condition (`--where`) as SQL that is true of at least the rows that it keeps; Arrow tells which just those are.

So what a database compares otherwise (texts by a language's order, NaN) may be left out, or asked for more widely.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pyarrow as pa

from beamsplit.transforms.where.bind import is_text
from beamsplit.transforms.where.nodes import NEGATED, All, Compare, Constant, Flag, In, IsNan, IsNull, Node, Not, Some

ColumnSql = Callable[[str], "tuple[str, bool] | None"]
"""Column -> (its SQL, whether it is compared there as here); None where it is not asked for."""


class Given(Protocol):
    """Values of a statement."""

    def scalar(self, value: pa.Scalar) -> str | None:
        """Take a value, and give what stands for it in SQL; None where it has no counterpart."""

    def __len__(self) -> int:
        """How many were taken."""

    def forget(self, count: int) -> None:
        """Have taken only the first of them: a statement is given no value that it does not name."""


class Wider:
    """Makes the SQL.

    Args:
        column: what SQL has for a column.
        given: takes the values.
        binary: what makes texts compared byte by byte, behind a column: `COLLATE "C"`.
        nan: what NaN is in SQL, which is greater than all numbers; None of a database that has none.
    """

    def __init__(self, column: ColumnSql, given: Given, binary: str, nan: str | None) -> None:
        self._column, self._given = column, given
        self._binary, self._nan = binary, nan

    def __call__(self, node: Node, true: bool = True) -> str | None:
        """SQL for the rows of which the condition is true (or false); None where that would be for all."""
        before = len(self._given)
        made = self._made(node, true)
        if made is None:
            self._given.forget(before)
        return made

    def _made(self, node: Node, true: bool) -> str | None:
        if isinstance(node, Not):
            return self(node.part, not true)
        if isinstance(node, (All, Some)):
            parts = [self(part, true) for part in node.parts]
            if isinstance(node, All) == true:
                known = [part for part in parts if part is not None]
                return " AND ".join(f"({part})" for part in known) or None
            return None if None in parts else " OR ".join(f"({part})" for part in parts)
        found = self._column(node.column)
        if found is None:
            return None
        sql, alike = found
        if isinstance(node, IsNull):
            return f"{sql} IS NULL" if true else f"{sql} IS NOT NULL"
        if isinstance(node, Constant):
            return f"{sql} IS NOT NULL" if node.value == true else "1 = 0"
        if not alike:
            return None
        if isinstance(node, Flag):
            return sql if true else f"NOT {sql}"
        if isinstance(node, IsNan):
            return None if self._nan is None else f"{sql} {'=' if true else '<>'} {self._nan}"
        if isinstance(node, Compare):
            return self._compared(sql, node.op if true else NEGATED[node.op], node.value, true)
        if isinstance(node, In):
            return self._among(sql, node, true)
        return None

    def _compared(self, sql: str, op: str, value: Any, true: bool) -> str | None:
        given = self._given.scalar(value)
        if given is None:
            return None
        if is_text(value.type) and op != "=":
            sql = f"{sql} {self._binary}"
        told = f"{sql} {'<>' if op == '!=' else op} {given}"
        if not pa.types.is_floating(value.type) or self._nan is None:
            return told
        # NaN is greater than all there, and no comparison with it but != is true here.
        return told if op in (">", ">=", "!=") or (op == "=" and true) else f"{told} OR {sql} = {self._nan}"

    def _among(self, sql: str, node: In, true: bool) -> str | None:
        given = [self._given.scalar(value) for value in node.values]
        if None in given:
            return None
        if not true and is_text(node.values[0].type):
            sql = f"{sql} {self._binary}"
        return f"{sql} {'IN' if true else 'NOT IN'} ({', '.join(str(one) for one in given)})"
