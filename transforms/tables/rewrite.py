"""Rows of a table that go while others of their files stay: what stays is written anew.

file a: no row goes    -> stays as it is
file b: all rows go    -> goes
file c: some rows go   -> goes; the others become a new file, in the same commit
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import data_columns
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.read import ReadOptions, read_split, split_file
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.step import RowFailure, StepResult
from beamsplit.transforms.where import Node, columns_of
from beamsplit.transforms.write.partitioned import PartitionWriters


class Goes(Protocol):
    """Which rows go."""

    @property
    def columns(self) -> tuple[str, ...]:
        """By which that is told."""

    def __call__(self, block: pa.RecordBatch) -> np.ndarray:
        """True for each row that does."""


class ReadWrong(RuntimeError):
    """A row of the table cannot be read, so that it could not be written again."""


@dataclass(frozen=True)
class Where:
    """Rows that a condition is true for."""

    node: Node
    """Bound to the table's columns."""

    typed: str
    """For errors."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that are asked about."""
        return columns_of(self.node)

    def __call__(self, block: pa.RecordBatch) -> np.ndarray:
        """True where it is true."""
        from beamsplit.transforms.where.evaluate import keep_mask

        return np.asarray(keep_mask(self.node, block).fill_null(False))


@dataclass(frozen=True)
class OnlyWhere:
    """A step that fails rows which a condition is not true for: they would not be replaced by the next such job."""

    where: Where

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """As it was."""
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Ask of all rows at once."""
        bad = np.flatnonzero(~self.where(block)).tolist()
        why = f"is none of the rows that --overwrite_where replaces: {self.where.typed}"
        return StepResult(drop_rows(block, bad) if bad else block, [RowFailure(row, why) for row in bad])


class Keys:
    """Rows whose key is among those that are written."""

    def __init__(self, keys: pa.Table) -> None:
        self._keys = keys

    @property
    def columns(self) -> tuple[str, ...]:
        """The key's."""
        return tuple(self._keys.column_names)

    def __call__(self, block: pa.RecordBatch) -> np.ndarray:
        """True where it is; a key with a null in it is like none."""
        numbered = pa.table([block.column(name) for name in self.columns], list(self.columns))
        numbered = numbered.append_column("\0row", pa.array(np.arange(block.num_rows)))
        found = numbered.join(self._keys, list(self.columns), join_type="left semi")["\0row"]
        goes = np.zeros(block.num_rows, bool)
        goes[found.to_numpy()] = True
        return goes


def rewritten(files: Sequence[InputFile], goes: Goes, schema: pa.Schema, kept: PartitionWriters) -> list[InputFile]:
    """Write those rows of files that stay, where others go; gives the files that go.

    Args:
        files: of the table.
        goes: which rows do.
        schema: the table's columns.
        kept: takes what stays.

    Raises:
        ReadWrong: a row cannot be read.
    """
    gone = []
    for file in files:
        if not file.size:
            continue
        counts = [(block.num_rows, int(goes(block).sum())) for block in _blocks(file, schema, goes.columns)]
        rows, going = (sum(count[at] for count in counts) for at in (0, 1))
        if not going and rows:
            continue
        gone.append(file)
        if going < rows:
            for block in _blocks(file, schema, None):
                stays = ~goes(block)
                if stays.any():
                    kept.write(block.filter(pa.array(stays)).select(data_columns(block.schema)))
    return gone


def kept_name(begin: str) -> str:
    """A new name for a file of rows that stay."""
    return f"{begin}-kept-{uuid.uuid4().hex}.parquet"


def _blocks(file: InputFile, schema: pa.Schema, columns: tuple[str, ...] | None) -> Iterator[pa.RecordBatch]:
    options = ReadOptions(schema, columns)
    for split in split_file(file, 0, "parquet", 1 << 62):
        for result in read_split(split, options):
            if result.failures:
                raise ReadWrong(f"{file.path}: {result.failures[0].reason}")
            if result.block is not None:
                yield result.block
