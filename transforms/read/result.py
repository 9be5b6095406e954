"""What a reader is asked for and what it gives: blocks with their origin, and the rows that could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import with_origin, with_origin_schema
from beamsplit.transforms.read.damage import without_damage
from beamsplit.transforms.read.plain_types import plain_array

if TYPE_CHECKING:
    from beamsplit.transforms.read.json_depth import Depths
    from beamsplit.transforms.read.wide_numbers import Fed
    from beamsplit.transforms.split import Split
    from beamsplit.transforms.where.nodes import Node


class ReadFailure(NamedTuple):
    """A row that could not be read."""

    file: str
    """As `Split.origin_file` says it; for format `files`, the file itself."""

    row: int
    """Its number among the rows of the file (or from the byte that `file` names), from 0. Bad rows count too."""

    reason: str
    """One line, e.g. `"column 'age': 'abc' is no int64"`."""


class ReadResult(NamedTuple):
    """A block and the rows beside it that could not be read."""

    block: pa.RecordBatch | None
    """Rows in file order, of `ReadOptions.block_schema`; None where only failures are told."""

    failures: list[ReadFailure]
    """In file order; none of them is in `block`."""

    left_out: int = 0
    """Rows beside these that `ReadOptions.where` leaves out."""


@dataclass(frozen=True)
class Derived:
    """Columns that are none of the files' own, as `transforms.read.derived` finds them."""

    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(name, way): a field of a struct, and the column and fields that lead to it: `("a.b", ("a", "b"))`."""

    partitions: tuple[str, ...] = ()
    """Columns that the names of folders tell: `date=2026-11-01/`."""

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return frozenset({*dict(self.fields), *self.partitions})

    def of_files(self, names: Iterable[str]) -> tuple[str, ...]:
        """The columns of the files that these columns are made of."""
        fields = dict(self.fields)
        own = (fields[name][0] if name in fields else name for name in names if name not in self.partitions)
        return tuple(dict.fromkeys(own))


NO_DERIVED = Derived()
"""All columns are the files' own."""


@dataclass(frozen=True)
class ReadOptions:
    """What the blocks should look like."""

    schema: pa.Schema
    """Names and types of the data columns, e.g. what `input_schema` gave. Another type than the file's is cast."""

    columns: tuple[str, ...] | None = None
    """The columns of `schema` to read, in this order; None reads all."""

    block_rows: int = 131_072
    """No block has more rows."""

    block_bytes: int = 64 << 20
    """No block of several rows has many more bytes, as far as it can be told before reading them."""

    verbatim: tuple[str, ...] = ()
    """Columns of text that only pass through: of CSV they have every byte of their cells, an empty cell is null, and
    an empty text in quotes is one."""

    derived: Derived = NO_DERIVED
    """Columns of `schema` that are made while reading."""

    declared: tuple[str, ...] = ()
    """Columns whose types the user has declared: of JSON Lines, values of other kinds are made of these types."""

    depths: tuple[tuple[str, Depths], ...] = ()
    """Fields of JSON Lines whose values may be in more or fewer lists than their columns' are."""

    fed: tuple[tuple[str, Fed], ...] = ()
    """Columns of text that are read as float64 and fed as a narrower float, which is not to round whole numbers."""

    where: Node | None = None
    """The condition, bound, that rows are kept by; its columns are in `schema`. A reader may leave out rows of which
    none can be kept, and tells how many (`ReadResult.left_out`)."""

    @cached_property
    def data_schema(self) -> pa.Schema:
        """The columns to read, without the origin columns."""
        names = self.schema.names if self.columns is None else self.columns
        return pa.schema([pa.field(name, self.schema.field(name).type) for name in names])

    @cached_property
    def block_schema(self) -> pa.Schema:
        """The schema of every block that is read."""
        return with_origin_schema(self.data_schema)

    def rows_at_once(self, row_bytes: float) -> int:
        """How many rows of about `row_bytes` bytes a block may have."""
        return max(1, min(self.block_rows, int(self.block_bytes / max(row_bytes, 1.0))))


@dataclass
class RowWindow:
    """The rows of a split that are wanted (`row_start` to `row_stop`), with the place where the reader stands."""

    start: int
    stop: int | None
    first_row: int
    """Number in its file (or from its first byte) of the split's row 0."""

    at: int = 0
    """Rows of the split already passed."""

    @property
    def done(self) -> bool:
        """Whether every wanted row was passed."""
        return self.stop is not None and self.at >= self.stop

    def next(self, rows: int) -> tuple[int, int, int]:
        """Pass `rows` rows. Which of them are wanted, as (from, to), and the number of the first of them passed."""
        begin = min(max(self.start - self.at, 0), rows)
        end = rows if self.stop is None else min(max(self.stop - self.at, begin), rows)
        number = self.first_row + self.at
        self.at += rows
        return begin, end, number


def read_runs(
    runs: Iterable[bytes],
    split: Split,
    options: ReadOptions,
    count: Callable[[bytes], int],
    parse: Callable[[bytes, Split, ReadOptions], Parsed],
) -> Iterator[ReadResult]:
    """The wanted rows of a split of text.

    Args:
        runs: the text, whole rows each.
        split: whose text it is.
        options: of the job.
        count: rows of a run, which takes less than reading them.
        parse: reads all rows of a run.
    """
    window = RowWindow(split.row_start, split.row_stop, split.first_row or 0)
    for run in runs:
        if window.done:
            return
        if window.at < window.start:
            rows = count(run)
            if window.at + rows <= window.start:
                window.next(rows)
                continue
        parsed = parse(run, split, options)
        begin, end, number = window.next(parsed.rows)
        yield from parsed.window(begin, end).results(split.origin_file(), number + begin, options)


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> Parsed:
    """The columns of `schema` out of `batch`, cast where it has another type.

    Rows with a value that the other type cannot hold are bad; all rows are where a column is missing, or of a type that
    cannot be cast, and so is what is not valid, see `without_damage`.
    """
    sound, damaged = without_damage(batch, schema.names)
    if damaged:
        rest = conform(sound, schema)
        positions = Parsed(sound, batch.num_rows, damaged).positions()
        bad = {int(positions[at]): why for at, why in rest.bad.items()}
        return Parsed(rest.batch, batch.num_rows, {**damaged, **bad})
    columns = []
    bad = {}
    for wanted in schema:
        index = batch.schema.get_field_index(wanted.name)
        if index < 0:
            return no_rows(batch.num_rows, schema, lacks(wanted, batch.schema.names))
        column = batch.column(index)
        if column.type != wanted.type:
            from beamsplit.transforms.read.cast import CannotCast, cast_exactly

            column = plain_array(column)
            try:
                cast, wrong = cast_exactly(column, wanted.type)
            except CannotCast:
                why = f"column {wanted.name!r} is {column.type} in this file, and {wanted.type} in the job"
                return no_rows(batch.num_rows, schema, f"{why}: one cannot be made of the other")
            for at in wrong.tolist():
                value = str(column[at].as_py())[:80]
                bad.setdefault(at, f"column {wanted.name!r} ({column.type} in this file): {value} is no {wanted.type}")
            column = cast
        columns.append(column)
    if not columns:
        return Parsed(batch.select([]), batch.num_rows)
    made = pa.RecordBatch.from_arrays(columns, schema=schema)
    if bad:
        keep = np.ones(batch.num_rows, dtype=bool)
        keep[list(bad)] = False
        made = made.filter(pa.array(keep))
    return Parsed(made, batch.num_rows, bad)


def no_rows(rows: int, schema: pa.Schema, reason: str) -> Parsed:
    """Rows of which none can be read."""
    return Parsed(pa.RecordBatch.from_pylist([], schema=schema), rows, dict.fromkeys(range(rows), reason))


def lacks(wanted: pa.Field, names: list[str]) -> str:
    """Why the rows of a file without a column cannot be read."""
    return f"no column {wanted.name!r} ({wanted.type}) in this file, it has {', '.join(names) or 'none'}"


def blocks_of(batch: pa.RecordBatch, file: str, first_row: int, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    """Cut consecutive rows into blocks of the size asked for, without copying, and tell their origin."""
    step = options.rows_at_once(batch.nbytes / max(batch.num_rows, 1))
    for begin in range(0, batch.num_rows, step):
        yield with_origin(batch.slice(begin, step), file, first_row + begin)


def blocks_of_numbered(
    batch: pa.RecordBatch, file: str, numbers: np.ndarray, options: ReadOptions
) -> Iterator[pa.RecordBatch]:
    """The same for rows with gaps between them: `numbers` (int64) holds each row's number."""
    step = options.rows_at_once(batch.nbytes / max(batch.num_rows, 1))
    for begin in range(0, batch.num_rows, step):
        part = batch.slice(begin, step)
        block = with_origin(part, file, 0)
        rows = pa.array(numbers[begin : begin + part.num_rows])
        yield pa.RecordBatch.from_arrays([*block.columns[:-1], rows], schema=block.schema)


@dataclass
class Parsed:
    """A run of lines made into columns: the good rows, where they stood in the run, and the bad ones."""

    batch: pa.RecordBatch
    """The rows that could be read."""

    rows: int
    """How many rows the run has, bad ones too."""

    bad: dict[int, str] = field(default_factory=dict)
    """Position in the run -> reason."""

    def without(self, rows: dict[int, str]) -> Parsed:
        """Without more rows, by their positions in the run, and why."""
        where = self.positions()
        good = ~np.isin(where, list(rows))
        return Parsed(self.batch.filter(pa.array(good)), self.rows, {**rows, **self.bad})

    def window(self, begin: int, end: int) -> Parsed:
        """Only the rows at positions begin to end of the run."""
        if (begin, end) == (0, self.rows):
            return self
        if not self.bad:
            return Parsed(self.batch.slice(begin, end - begin), end - begin)
        good = self.positions()
        low, high = np.searchsorted(good, [begin, end])
        bad = {at - begin: why for at, why in self.bad.items() if begin <= at < end}
        return Parsed(self.batch.slice(low, high - low), end - begin, bad)

    def positions(self) -> np.ndarray:
        """Position in the run of each row of `batch`."""
        keep = np.ones(self.rows, dtype=bool)
        keep[list(self.bad)] = False
        return np.flatnonzero(keep).astype(np.int64)

    def results(self, file: str, first_row: int, options: ReadOptions) -> Iterator[ReadResult]:
        """Blocks of the good rows, after the failures between them."""
        failures = [ReadFailure(file, first_row + at, why) for at, why in sorted(self.bad.items())]
        if not failures:
            for block in blocks_of(self.batch, file, first_row, options):
                yield ReadResult(block, [])
            return
        yield ReadResult(None, failures)
        for block in blocks_of_numbered(self.batch, file, self.positions() + first_row, options):
            yield ReadResult(block, [])
