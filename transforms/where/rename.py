"""A condition on columns under other names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from beamsplit.transforms.where.nodes import All, Node, Not, Some


def rename_columns(node: Node, name_of: Callable[[str], str]) -> Node:
    """The same condition, each of its columns under the name that `name_of` gives it.

    >>> from beamsplit.transforms.where.nodes import Flag
    >>> rename_columns(Not(Flag("a")), str.upper)
    Not(part=Flag(column='A'))
    """
    if isinstance(node, Not):
        return Not(rename_columns(node.part, name_of))
    if isinstance(node, (All, Some)):
        return type(node)(tuple(rename_columns(part, name_of) for part in node.parts))
    return replace(node, column=name_of(node.column))
