"""What reads one type of Avro from many messages at once: single values, records and unions.

Each node gives Arrow's `wire` type of `formats.avro_schema.AvroType`: whole numbers for times, bytes for texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from beamsplit.transforms.kafka.registry.cursors import Cursors, Fault, zigzag

Read = tuple[pa.Array, np.ndarray]
"""(the values; where each message is read on)."""


class Node(Protocol):
    """Reads a type."""

    least: int
    """Bytes that a value has at least."""

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """The next value of each message.

        Raises:
            Fault: some messages have none.
        """

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Where the values end.

        Raises:
            Fault: some messages have none.
        """


class Null:
    """Nothing."""

    least = 0

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """Nulls."""
        return pa.nulls(len(at)), at

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """They have no bytes."""
        return at


@dataclass
class Number:
    """`int` and `long`."""

    bits: int
    least: int = 1

    @property
    def wire(self) -> pa.DataType:
        """As Arrow has it."""
        return pa.int32() if self.bits == 32 else pa.int64()

    def array(self, values: np.ndarray, who: np.ndarray) -> pa.Array:
        """The numbers, which are those of these messages.

        Raises:
            Fault: some do not fit.
        """
        signed = zigzag(values)
        if self.bits == 32:
            wrong = signed != signed.astype(np.int32)
            if wrong.any():
                raise Fault(np.unique(who[wrong]), "a number in it is larger than an int of Avro")
            signed = signed.astype(np.int32)
        return pa.array(signed)

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """A number each."""
        values, after = cursors.varints(at, who)
        return self.array(values, who), after

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Past it."""
        return cursors.varints(at, who)[1]


@dataclass
class Wide:
    """`float`, `double`, `boolean` and `fixed`: values of one width, as they lie in memory."""

    least: int
    wire: pa.DataType

    def array(self, data: np.ndarray, who: np.ndarray) -> pa.Array:
        """Values behind one another, which are those of these messages.

        Raises:
            Fault: some are none.
        """
        if pa.types.is_boolean(self.wire):
            if (data > 1).any():
                raise Fault(np.unique(who[data > 1]), "a boolean in it is neither 0 nor 1")
            return pa.array(data.view(np.bool_))
        if pa.types.is_floating(self.wire):
            return pa.array(np.ascontiguousarray(data).view("<f4" if self.least == 4 else "<f8"))
        count = len(data) // self.least if self.least else len(who)
        buffer = pa.py_buffer(np.ascontiguousarray(data))
        fixed = pa.Array.from_buffers(pa.binary(self.least), count, [None, buffer])
        return fixed if fixed.type == self.wire else fixed.cast(self.wire)

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """A value each."""
        cursors.need(at, who, self.least)
        if self.least <= 8:
            data = cursors.bytes_at(at, self.least).reshape(-1)
        else:
            data = cursors.joined(at, np.full(len(at), self.least))
        return self.array(data, who), at + self.least

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Past it."""
        cursors.need(at, who, self.least)
        return at + self.least


@dataclass
class Characters:
    """`bytes` and `string`: a length, and so many bytes."""

    least: int = 1

    def _lengths(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, after = cursors.varints(at, who)
        lengths = zigzag(values)
        cursors.need(after, who, lengths)
        return after, lengths

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """Bytes; whether a text is one is looked at later, for whole columns."""
        begin, lengths = self._lengths(cursors, at, who)
        return cursors.pieces(begin, lengths), begin + lengths

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Past it."""
        begin, lengths = self._lengths(cursors, at, who)
        return begin + lengths


@dataclass
class Enum:
    """`enum`: the number of a symbol."""

    symbols: pa.Array
    least: int = 1

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """Symbols."""
        values, after = cursors.varints(at, who)
        return self.array(values, who), after

    def array(self, values: np.ndarray, who: np.ndarray) -> pa.Array:
        """The symbols, which are those of these messages.

        Raises:
            Fault: some numbers have none.
        """
        numbers = zigzag(values)
        wrong = (numbers < 0) | (numbers >= len(self.symbols))
        if wrong.any():
            raise Fault(np.unique(who[wrong]), "a number of a symbol in it is that of none")
        return self.symbols.take(pa.array(numbers))

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Past it."""
        return cursors.varints(at, who)[1]


@dataclass
class Record:
    """`record`: its fields one after the other; only some may be wanted."""

    fields: list[tuple[str, Node]] = field(default_factory=list)
    """Filled once all is known that it is made of: it may be part of itself."""

    least: int = 0

    def columns(
        self, cursors: Cursors, at: np.ndarray, who: np.ndarray, wanted: frozenset[str]
    ) -> tuple[dict[str, pa.Array], np.ndarray]:
        """(the fields that are wanted; where each message is read on)."""
        found = {}
        for name, node in self.fields:
            if name in wanted:
                found[name], at = node.read(cursors, at, who)
            else:
                at = node.skip(cursors, at, who)
        return found, at

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """A struct each."""
        found, after = self.columns(cursors, at, who, frozenset(name for name, _ in self.fields))
        if not found:
            return pa.array([{}] * len(at), pa.struct([])), after
        return pa.StructArray.from_arrays(list(found.values()), names=list(found)), after

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Past its fields."""
        for _, node in self.fields if len(at) else ():
            at = node.skip(cursors, at, who)
        return at


@dataclass
class Union:
    """A union: the number of a branch, and its value."""

    branches: list[Node]
    wire: pa.DataType | None
    """Of all branches; None where there is no such type, and values can only be passed over."""

    least: int = 1

    def _numbers(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, after = cursors.varints(at, who)
        numbers = zigzag(values)
        wrong = (numbers < 0) | (numbers >= len(self.branches))
        if wrong.any():
            raise Fault(who[wrong], "a number of a union's branch in it is that of none")
        return numbers, after

    def read(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> Read:
        """The values of all branches in one column."""
        numbers, at = self._numbers(cursors, at, who)
        parts: list[Any] = []
        places, after, count = np.zeros(len(at), np.int64), at.copy(), 0
        nothing = np.zeros(len(at), bool)
        for number, branch in enumerate(self.branches):
            some = np.flatnonzero(numbers == number)
            if not len(some):
                continue
            if isinstance(branch, Null):
                nothing[some] = True
                continue
            if len(some) == len(at):
                values, after = branch.read(cursors, at, who)
                return (values if values.type == self.wire else values.cast(self.wire)), after
            values, after[some] = branch.read(cursors, at[some], who[some])
            parts.append(values if values.type == self.wire else values.cast(self.wire))
            places[some] = count + np.arange(len(some))
            count += len(some)
        if not parts:
            return pa.nulls(len(at), self.wire), after
        together = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        return together.take(pa.array(places, mask=nothing)), after

    def skip(self, cursors: Cursors, at: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Past the value of each branch."""
        if not len(at):
            return at
        numbers, at = self._numbers(cursors, at, who)
        after = at.copy()
        for number, branch in enumerate(self.branches):
            some = np.flatnonzero(numbers == number)
            if len(some):
                after[some] = branch.skip(cursors, at[some], who[some])
        return after
