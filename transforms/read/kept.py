"""The rows of a split that a condition is true for (`--where`), and how many are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.read.result import ReadOptions, ReadResult
from beamsplit.transforms.split import Split
from beamsplit.transforms.where.evaluate import keep_mask
from beamsplit.transforms.where.nodes import Node, columns_of

Read = Callable[[Split, ReadOptions], Iterator[ReadResult]]


def kept_rows(split: Split, options: ReadOptions, read: Read) -> Iterator[ReadResult]:
    """Blocks of `options.block_schema` with the rows for which `options.where` is true.

    Args:
        split: to read.
        options: with a condition, whose columns need not be among those that are wanted.
        read: reads splits, all of whose rows it gives but for those that it counts.
    """
    where = options.where
    assert where is not None
    with closing(read(split, with_columns_of(where, options))) as results:  # type: ignore[type-var]
        for result in results:
            yield result if result.block is None else _kept(result, result.block, where, options.block_schema)


def with_columns_of(where: Node, options: ReadOptions) -> ReadOptions:
    """The options with the condition's columns among those that are read."""
    if options.columns is None:
        return options
    return replace(options, columns=tuple(dict.fromkeys((*options.columns, *columns_of(where)))))


def _kept(result: ReadResult, block: pa.RecordBatch, where: Node, schema: pa.Schema) -> ReadResult:
    mask = keep_mask(where, block)
    kept = pc.sum(mask).as_py() or 0
    left_out = result.left_out + block.num_rows - kept
    if not kept:
        return ReadResult(None, result.failures, left_out)
    if len(schema) < len(block.schema):
        block = block.select(schema.names)
    return ReadResult(block if kept == block.num_rows else block.filter(mask), result.failures, left_out)
