"""Avro's arrays and maps, read from many messages at once.

    blocks    3 | a b c | 2 | d e | 0        or, with the bytes of the block:    -3 | 12 | a b c | 0

Items of one width, and numbers, are read all at once; others item by item, the first of all messages, then the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.kafka.registry.avro_nodes import Enum, Node, Null, Number, Read, Union, Wide
from beamsplit.transforms.kafka.registry.cursors import CUT, Cursors, Fault, zigzag

MOST_NOTHINGS = 1 << 20
"""Items without bytes that a message may have: their number alone would fill the memory."""

FEW = 32
"""Items that are read in one go on the average; with fewer, and many goes, Python reads a message at a time quicker."""

MANY_GOES = 16


class Unsuited(Exception):
    """These messages are read quicker one by one."""


class Part(NamedTuple):
    """Items of some messages."""

    who: np.ndarray
    """int64: positions among the lists, ascending."""

    counts: np.ndarray
    """Items of each."""

    values: Any
    """The items, list by list: an array, or several (keys and values)."""


@dataclass
class Items:
    """What `array` and `map` have in common; `nodes` are read one after the other for each item."""

    nodes: tuple[Node, ...]
    least: int = 1
    together: bool = False
    """Whether they are read side by side however few there are."""

    def _blocks(
        self, cursors: Cursors, at: np.ndarray, who: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(which lists, items, where these begin) of the first blocks, the second, ...; `at` is moved by the caller."""
        left = np.arange(len(at))
        smallest = sum(node.least for node in self.nodes)
        while len(left):
            values, after = cursors.varints(at[left], who[left])
            counts = zigzag(values)
            sized = np.flatnonzero(counts < 0)
            if len(sized):
                counts[sized] = -counts[sized]
                _, after[sized] = cursors.varints(after[sized], who[left][sized])
            at[left] = after
            going = counts != 0
            left, counts, after = left[going], counts[going], after[going]
            rest = cursors.ends[who[left]] - after
            wrong = counts > (rest // smallest if smallest else MOST_NOTHINGS)
            wrong |= counts < 0
            if wrong.any():
                raise Fault(who[left][wrong], CUT)
            if len(left):
                yield left, counts, after

    def parts(self, cursors: Cursors, at: np.ndarray, who: np.ndarray, skipped: bool) -> list[Part]:
        """The items; moves `at` to where the lists end."""
        found = []
        for which, counts, begin in self._blocks(cursors, at, who):
            if len(self.nodes) == 1:
                quick = _at_once(self.nodes[0], cursors, begin, who[which], counts)
                if quick is not None:
                    values, at[which] = quick
                    found.append(Part(which, counts, [values]))
                    continue
            at[which] = begin
            most = int(counts.max())
            if most > MANY_GOES and counts.sum() < FEW * most and not self.together:
                raise Unsuited
            for item in range(most):
                some = which[counts > item]
                values = []
                for node in self.nodes:
                    if skipped:
                        at[some] = node.skip(cursors, at[some], who[some])
                    else:
                        array, at[some] = node.read(cursors, at[some], who[some])
                        values.append(array)
                found.append(Part(some, np.ones(len(some), np.int64), values))
        return found

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Past all blocks."""
        after = at.copy()
        if len(at):
            self.parts(cursors, after, who, skipped=True)
        return after

    def lists(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> tuple[pa.Array, list[pa.Array], np.ndarray]:
        """(offsets of the lists; the items, an array a node; where each message is read on)."""
        after = at.copy()
        parts = self.parts(cursors, after, who, skipped=False)
        lengths = np.zeros(len(at) + 1, np.int64)
        for part in parts:
            lengths[part.who + 1] += part.counts
        if len(parts) == 1:  # To join one would copy it.
            return pa.array(np.cumsum(lengths).astype(np.int32)), parts[0].values, after
        columns = [pa.concat_arrays([part.values[column] for part in parts]) for column in range(len(self.nodes))]
        order = np.argsort(np.concatenate([np.repeat(part.who, part.counts) for part in parts]), kind="stable")
        columns = [column.take(pa.array(order)) for column in columns]
        return pa.array(np.cumsum(lengths).astype(np.int32)), columns, after


@dataclass
class Array(Items):
    """`array`."""

    wire: pa.DataType | None = None
    """Of the items; None where they can only be passed over."""

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """A list each."""
        offsets, columns, after = (
            self.lists(cursors, at, who) if _any_items(self, cursors, at, who) else _no_lists(self, cursors, at, who)
        )
        return pa.ListArray.from_arrays(offsets, columns[0]), after


@dataclass
class Map(Items):
    """`map`: texts and values."""

    wire: pa.DataType | None = None
    """Of the values."""

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """A map each."""
        offsets, columns, after = (
            self.lists(cursors, at, who) if _any_items(self, cursors, at, who) else _no_lists(self, cursors, at, who)
        )
        try:
            keys = columns[0].cast(pa.string())
        except pa.ArrowInvalid as error:
            raise Unsuited from error  # Which one it is shows when each is read alone.
        return pa.MapArray.from_arrays(offsets, keys, columns[1]), after


def _any_items(node: Items, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> bool:
    """Whether some list is not empty: an empty one is a 0."""
    cursors.need(at, who, 1)
    return bool((cursors.data[at] != 0).any())


def _no_lists(
    node: Array | Map, cursors: Cursors, at: np.ndarray, who: np.ndarray
) -> tuple[pa.Array, list[pa.Array], np.ndarray]:
    kinds = [node.wire] if isinstance(node, Array) else [pa.binary(), node.wire]
    return pa.array(np.zeros(len(at) + 1, np.int32)), [pa.array([], kind) for kind in kinds], at + 1


def _at_once(node: Node, cursors: Cursors, at: np.ndarray, who: np.ndarray, counts: np.ndarray) -> Read | None:
    """All items of a block in each message; None where they have to be read one by one."""
    if isinstance(node, Number | Enum):
        values, after, _ = cursors.many_varints(at, who, counts)
        return node.array(values, np.repeat(who, counts)), after
    if isinstance(node, Wide) and node.least:
        lengths = counts * node.least
        cursors.need(at, who, lengths)
        owners = np.repeat(who, counts) if pa.types.is_boolean(node.wire) else who
        return node.array(cursors.joined(at, lengths), owners), at + lengths
    if isinstance(node, Union):
        return _all_there(node, cursors, at, who, counts)
    if isinstance(node, Null):
        return pa.nulls(int(counts.sum())), at
    return None


def _all_there(node: Union, cursors: Cursors, at: np.ndarray, who: np.ndarray, counts: np.ndarray) -> Read | None:
    """Items of a union of null and a type of one width, where none is null: they have one width too."""
    there = [number for number, branch in enumerate(node.branches) if not isinstance(branch, Null)]
    value = node.branches[there[0]] if len(there) == 1 else None
    if not isinstance(value, Wide) or not value.least or there[0] > 1:
        return None
    lengths = counts * (value.least + 1)
    if (cursors.ends[who] - at < lengths).any():
        return None
    rows = cursors.joined(at, lengths).reshape(-1, value.least + 1)
    if (rows[:, 0] != 2 * there[0]).any():
        return None
    return value.array(np.ascontiguousarray(rows[:, 1:]).reshape(-1), np.repeat(who, counts)), at + lengths
