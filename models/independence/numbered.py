"""Numbers of rows, as newer exporters make them: each row picks its own part of a tensor by its number.

Range(0, rows) [rows] -> Expand [rows, 1, 1, 1] -+
                                                 +-> Concat [rows, 1, s, 2] -> GatherND of mask [rows, s]
Range(0, s)           -> Expand [rows, 1, s, 1] -+
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from beamsplit.models.independence.dims import ONE, ROWS, size
from beamsplit.models.independence.lies import Ends, Given, Lie, Met, Numbered, Rows, Same, at, rows_on
from beamsplit.models.independence.reading import Node
from beamsplit.models.independence.rules import RULES
from beamsplit.models.independence.rules.elementwise import WIDE

_PLACED = ("Cast", "Expand", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""Move numbers or repeat them."""


def numbered(node: Node, given: Sequence[Lie | None]) -> Lie | None:
    """What a node makes of the numbers of rows; None where its rule says it, as for any other tensor."""
    if node.domain:
        return _unfollowed(node)
    try:
        if node.op == "Range":
            return _range(node, given)
        if node.op in ("Shape", "Size"):
            return RULES["", node.op](node, [_rows(given[0])])[0]
        if node.op == "GatherND":
            return _picked(node, given)
        if node.op == "Concat":
            return _side_by_side(node, given)
        if node.op == "Cast" and node.whole("to") not in WIDE:
            # Of a type that does not hold every number several rows get one: each row would pick that one's part.
            return _unfollowed(node)
        if node.op in _PLACED and isinstance(given[0], Numbered):
            made = RULES["", node.op](node, [_rows(given[0]), *map(_rows, given[1:])])[0]
            if isinstance(made, Rows):
                # Only a number that is all there is stays where it was for certain.
                return Numbered(made, given[0].node, -1 if given[0].column == -1 else None)
        elif node.op in ("Max", "Min", "Add", "Mul", "Sub", "Where", "Equal", "GreaterOrEqual", "LessOrEqual"):
            made = RULES["", node.op](node, list(map(_rows, given)))[0]
            if isinstance(made, Rows):
                return Numbered(made, _origin(given))
    except (Ends, IndexError, AssertionError):
        pass
    return _unfollowed(node)


def _unfollowed(node: Node) -> Met:
    return Met(str(node), "it works with the numbers of the rows")


def _origin(given: Sequence[Lie | None]) -> str:
    return next(one.node for one in given if isinstance(one, Numbered))


def _rows(lie: Lie | None) -> Given | None:
    if isinstance(lie, Numbered):
        return lie.rows
    return None if isinstance(lie, Met) else lie


def _range(node: Node, given: Sequence[Lie | None]) -> Lie | None:
    contents = [one.content if isinstance(one, Same) else None for one in given]
    if contents == [(size(0),), (ROWS,), (ONE,)]:
        return Numbered(rows_on(0, (ROWS,)), str(node), -1)
    return None


def _side_by_side(node: Node, given: Sequence[Lie | None]) -> Lie | None:
    made = RULES["", "Concat"](node, list(map(_rows, given)))[0]
    if not isinstance(made, Rows):
        return None
    last = len(made.shape) - 1
    first = given[0]
    leads = isinstance(first, Numbered) and first.column == -1 and first.rows.shape[-1] == ONE
    others = any(isinstance(one, Numbered) for one in given[1:])
    if leads and not others and at(node.whole("axis"), len(made.shape)) == last != made.axis:
        return Numbered(made, _origin(given), 0)
    return Numbered(made, _origin(given))


def _picked(node: Node, given: Sequence[Lie | None]) -> Lie | None:
    data, indices = given[0], given[1]
    own = (isinstance(indices, Numbered) and indices.column == 0) or _alone(indices)
    if not own or not isinstance(indices, Numbered) or not isinstance(data, Rows) or node.whole("batch_dims"):
        return _unfollowed(node)
    depth = indices.rows.shape[-1].known
    if data.axis or not data.plain or not indices.rows.plain or not depth:
        return _unfollowed(node)
    return replace(indices.rows, shape=(*indices.rows.shape[:-1], *data.shape[depth:]))


def _alone(indices: Lie | None) -> bool:
    """Whether the indices are the numbers of the rows and nothing else: [rows, 1]."""
    return isinstance(indices, Numbered) and indices.column == -1 and indices.rows.shape[-1] == ONE
