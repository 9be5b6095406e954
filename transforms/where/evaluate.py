"""Which rows of a block a condition is true for, column by column."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.where.nodes import All, Compare, Constant, Flag, In, IsNan, IsNull, Like, Node, Not, Some

_OPERATORS = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def keep_mask(node: Node, block: pa.RecordBatch) -> pa.BooleanArray:
    """True for the rows that are kept; false and null for others.

    Args:
        node: as `bind_where` gave it, for columns of these types.
        block: has the columns.
    """
    if isinstance(node, All):
        return reduce(pc.and_kleene, (keep_mask(part, block) for part in node.parts))
    if isinstance(node, Some):
        return reduce(pc.or_kleene, (keep_mask(part, block) for part in node.parts))
    if isinstance(node, Not):
        return pc.invert(keep_mask(node.part, block))
    column = block.column(node.column)
    if isinstance(node, IsNull):
        return pc.is_null(column)
    if isinstance(node, Constant):
        return pc.if_else(pc.is_valid(column), node.value, pa.scalar(None, pa.bool_()))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(node, Flag):
        return column
    if isinstance(node, IsNan):
        return pc.is_nan(column)
    if isinstance(node, Like):
        return pc.match_like(_like(column, pa.string()), node.pattern, ignore_case=node.ignore_case)
    return _compared(node, column)


def _compared(node: Compare | In, column: Any) -> pa.BooleanArray:
    values = node.values if isinstance(node, In) else (node.value,)
    column = _like(column, values[0].type)
    if isinstance(node, Compare):
        return _OPERATORS[node.op](column, node.value)
    found = pc.is_in(column, value_set=pa.array(values, values[0].type))
    return pc.if_else(pc.is_valid(column), found, pa.scalar(None, pa.bool_()))


def _like(column: Any, kind: pa.DataType) -> Any:
    """The column as the type that it is compared in: float64 of all floats, string of all texts."""
    if column.type == kind:
        return column
    return column.cast(kind)
