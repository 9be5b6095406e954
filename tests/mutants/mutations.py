"""Small faults that a source file could have: each replaces one piece of its text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
COMPUTED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*"}
TOLD = (ast.Raise, ast.Assert, ast.JoinedStr)
"""What says what went wrong: words, of which no result depends."""


@dataclass(frozen=True)
class Mutation:
    """One fault.

    Attributes:
        kind: e.g. "comparison".
        line: where it is, from 1.
        begin: first byte of what is replaced, of the file.
        end: the byte after.
        after: what stands there instead.
    """

    kind: str
    line: int
    begin: int
    end: int
    after: str

    def applied(self, source: bytes) -> bytes:
        """The file with the fault."""
        return source[: self.begin] + self.after.encode() + source[self.end :]

    def told(self, source: bytes) -> str:
        """The fault in a line."""
        before = " ".join(source[self.begin : self.end].decode().split())
        return f"{self.line}: {self.kind}: {before}  ->  {self.after}"


def mutations(source: bytes) -> list[Mutation]:
    """All faults that we know to make of a file, in its order."""
    return sorted(_Finder(source).found(), key=lambda one: (one.begin, one.end, one.kind))


class _Finder:
    def __init__(self, source: bytes):
        self.source, self._tree = source, ast.parse(source)
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def found(self) -> Iterator[Mutation]:
        yield from self._below(self._tree)

    def _below(self, node: ast.AST) -> Iterator[Mutation]:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(node, TOLD):
                continue
            if isinstance(node, ast.keyword) and node.arg == "strict":
                continue  # of zip: as an assertion, it only tells of a mistake
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._of(child)
                    yield from self._below(child)

    def _of(self, node: ast.AST) -> Iterator[Mutation]:
        match node:
            case ast.Compare(left, [operator], [right]):
                yield self._between("comparison", left, right, COMPARED[type(operator)])
            case ast.BinOp(left, operator, right) if type(operator) in COMPUTED and not (_text(left) or _text(right)):
                yield self._between("arithmetic", left, right, COMPUTED[type(operator)])
            case ast.BoolOp(operator, [*values]):
                other = "or" if isinstance(operator, ast.And) else "and"
                # The whole in brackets: `and` binds more tightly than `or`.
                text = f" {other} ".join(f"({self._text(value)})" for value in values)
                yield self._instead("boolean", node, f"({text})")
            case ast.UnaryOp(ast.Not(), operand):
                yield self._instead("boolean", node, f"({self._text(operand)})")
            case ast.Constant(bool() as value):
                yield self._instead("constant", node, str(not value))
            case ast.Constant(int() as value):
                yield self._instead("constant", node, f"({value + 1})")
            case ast.If(test) | ast.IfExp(test) if not isinstance(test, (ast.Name, ast.Compare, ast.UnaryOp)):
                yield self._instead("boolean", test, f"(not ({self._text(test)}))")
            case ast.Expr(ast.Call()) | ast.AugAssign():
                yield self._instead("dropped statement", node, "pass")

    def _place(self, line: int, column: int) -> int:
        return self._lines[line - 1] + column

    def _span(self, node: ast.AST) -> tuple[int, int]:
        return self._place(node.lineno, node.col_offset), self._place(node.end_lineno, node.end_col_offset)

    def _text(self, node: ast.AST) -> str:
        begin, end = self._span(node)
        return self.source[begin:end].decode()

    def _instead(self, kind: str, node: ast.AST, after: str) -> Mutation:
        return Mutation(kind, node.lineno, *self._span(node), after)

    def _between(self, kind: str, left: ast.AST, right: ast.AST, after: str) -> Mutation:
        """The operator between two operands, with the brackets that may stand around it."""
        begin, end = self._span(left)[1], self._span(right)[0]
        between = self.source[begin:end].decode()
        closing = between[: len(between) - len(between.lstrip(") \t\n"))]
        opening = between[len(between.rstrip("( \t\n")) :]
        skipped = len(closing.encode()), len(opening.encode())
        return Mutation(kind, left.end_lineno, begin + skipped[0], end - skipped[1], after)


def _text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)))
