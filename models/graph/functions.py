"""A model's own functions: ONNX Runtime inlines them, which takes for ever or crashes for some."""

from __future__ import annotations

import mmap
from collections import Counter

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.protobuf import Bytes, fields
from beamsplit.models.graph.skeleton import has_field

MOST_NODES = 1_000_000
MOST_DEPTH = 1_000
"""Nodes of all functions when inlined, and functions that call one another in a chain.

ONNX Runtime 1.31 takes a minute for 2,000 in a chain, and crashes at 20,000.
"""

_FUNCTIONS = 25
_Key = tuple[bytes, bytes, bytes]
"""Domain, name and overload."""


def check_functions(path: str) -> None:
    """Raise for functions that call themselves, or that make too many nodes; of no other model anything is read.

    Raises:
        UsageError: so it is.
    """
    if not has_field(path, _FUNCTIONS):
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            calls = dict(_function(data, value[0], value[1]) for number, wire, value in fields(data, 0, len(data))
                         if number == _FUNCTIONS and wire == 2)  # fmt: skip
            graph = Counter[_Key]()
            for number, wire, value in fields(data, 0, len(data)):
                if number == 7 and wire == 2:
                    _add_calls(data, value[0], value[1], graph)
        except (ValueError, IndexError, RecursionError):
            return  # ONNX Runtime says what is wrong
    _check(path, calls, graph)


def _check(path: str, calls: dict[_Key, Counter[_Key]], graph: Counter[_Key]) -> None:
    sizes: dict[_Key, int] = {}
    depths: dict[_Key, int] = {}
    for first in [*calls]:
        # Depth first without recursion: chains may be long.
        way, open_ones = [(first, iter(calls[first]))], {first}
        while way:
            at, rest = way[-1]
            called = next((one for one in rest if one in calls and one not in sizes), None)
            if called is None:
                way.pop()
                open_ones.discard(at)
                mine = calls[at]
                sizes[at] = sum(times * sizes.get(one, 1) for one, times in mine.items())
                depths[at] = 1 + max((depths.get(one, 0) for one in mine), default=0)
            elif called in open_ones:
                raise UsageError(
                    f"--model {path}: its function {_show(called)} calls itself, which nothing can inline: export the "
                    "model without it"
                )
            else:
                open_ones.add(called)
                way.append((called, iter(calls[called])))
    total = sum(times * sizes.get(one, 1) for one, times in graph.items())
    deepest = max(depths.values(), default=0)
    if total > MOST_NODES or deepest > MOST_DEPTH:
        what = f"{deepest:,} functions call one another in a chain"
        if total > MOST_NODES:
            what = (
                f"its functions make {total:,} nodes" if total < 10**15 else "its functions make more than 10^15 nodes"
            )
        raise UsageError(
            f"--model {path}: {what} when they are inlined, and at most {MOST_NODES:,} nodes and chains of "
            f"{MOST_DEPTH:,} can be: export the model without functions"
        )


def _show(key: _Key) -> str:
    return b".".join(key[:2]).decode("utf-8", "replace")


def _function(data: Bytes, begin: int, end: int) -> tuple[_Key, Counter[_Key]]:
    """A FunctionProto: what it is called, and what its nodes are, each with how often."""
    names: dict[int, bytes] = {}
    calls = Counter[_Key]()
    for number, wire, value in fields(data, begin, end):
        if wire != 2:
            continue
        if number in (1, 10, 13):
            names[number] = data[slice(*value)]
        elif number == 7:
            _add_node(data, value[0], value[1], calls)
    return (names.get(10, b""), names.get(1, b""), names.get(13, b"")), calls


def _add_calls(data: Bytes, begin: int, end: int, calls: Counter[_Key]) -> None:
    """Those of a GraphProto."""
    for number, wire, value in fields(data, begin, end):
        if number == 1 and wire == 2:
            _add_node(data, value[0], value[1], calls)


def _add_node(data: Bytes, begin: int, end: int, calls: Counter[_Key]) -> None:
    """A NodeProto, and those of graphs in its attributes."""
    names: dict[int, bytes] = {}
    for number, wire, value in fields(data, begin, end):
        if wire != 2:
            continue
        if number in (4, 7, 8):
            names[number] = data[slice(*value)]
        elif number == 5:
            for part, kind, graph in fields(data, value[0], value[1]):
                if part in (6, 11) and kind == 2:
                    _add_calls(data, graph[0], graph[1], calls)
    calls[names.get(7, b""), names.get(4, b""), names.get(8, b"")] += 1
