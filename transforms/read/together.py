"""Many small files read as one: a block of their rows in place of a block a file.

    a.csv  1 row  --+
    b.csv  1 row  --+--> parsed together --> a block of 3 rows, each with its own file and number
    c.csv  1 row  --+

What a file costs beside its rows (to set up a parser, run the model, write a bundle) is paid once. Where a row is bad,
files are parsed by halves until the one at fault is alone, so that its rows and errors are those of that file read by
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import origin_columns, with_origin_schema
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.lines import RUN_BYTES
from beamsplit.transforms.read.result import Parsed, ReadOptions, ReadResult
from beamsplit.transforms.split import Split

if TYPE_CHECKING:
    from beamsplit.transforms.formats.interfaces import TextReader

SMALL_BYTES = 256 << 10
"""Splits of fewer bytes are read with others."""

MOST_FILES = 2_000
"""Read together at most."""


def grouped(splits: Sequence[Split], most_bytes: int, most_files: int) -> list[Split]:
    """The splits, small ones that follow one another as one split with `parts`.

    Args:
        splits: of files, in order; those of which only some rows are wanted stay as they are.
        most_bytes: of a group of several.
        most_files: in a group.
    """
    groups: list[list[Split]] = []
    weight = 0
    for split in splits:
        small = split.weight <= SMALL_BYTES and split.row_start == 0 and split.row_stop is None
        last = groups[-1] if groups else []
        fits = bool(last) and weight + split.weight <= most_bytes and len(last) < min(most_files, MOST_FILES)
        if small and fits and last[-1].weight <= SMALL_BYTES and last[-1].row_stop is None:
            last.append(split)
            weight += split.weight
        else:
            groups.append([split])
            weight = split.weight
    return [_one(group) for group in groups]


def may_wait(file: InputFile) -> bool:
    """Whether a file is split when it is read: it would be one small split."""
    return file.size <= SMALL_BYTES and file.most_rows is None


def unsplit(file: InputFile, number: int, format: str) -> list[Split]:
    """What stands for the splits of the `number`-th file until it is read; nothing for an empty one."""
    told = Split(format, (file.path,), (number, 0), 0, file.size, None, None, file.size, unsplit=file)
    return [told] if file.size else []


def _one(group: Sequence[Split]) -> Split:
    if len(group) == 1:
        return group[0]
    first, weight = group[0], sum(split.weight for split in group)
    return replace(first, rows=None, weight=weight, table=None, unsplit=None, parts=tuple(group))


class Text(NamedTuple):
    """All rows of a small file."""

    split: Split
    text: bytes

    rows: int
    """Bad ones too."""

    kind: Hashable
    """Texts of the same kind may be parsed together; None: only by itself."""


def read_texts(
    files: Iterable[tuple[Split, Iterator[bytes]]],
    reader: TextReader,
    options: ReadOptions,
    alone: Callable[[Split, ReadOptions], Iterator[ReadResult]],
) -> Iterator[ReadResult]:
    """The rows of small files of text, and those that cannot be read, as each file gives them by itself.

    Args:
        files: each with its text in runs.
        reader: of their format.
        options: what the blocks should look like.
        alone: reads a file by itself: one that is not small once it is decompressed.
    """
    waiting: list[Text] = []
    size = 0
    for split, runs in files:
        text = _small(runs)
        told = None if text is None else reader.whole_text(split, text)
        if waiting and not (told is not None and _fits(told, waiting[0], size)):
            yield from _parsed(waiting, reader, options)
            waiting, size = [], 0
        if told is None:
            yield from alone(split, options)
        else:
            waiting.append(told)
            size += len(told.text)
    if waiting:
        yield from _parsed(waiting, reader, options)


def _fits(text: Text, first: Text, size: int) -> bool:
    return text.kind is not None and text.kind == first.kind and size + len(text.text) <= RUN_BYTES


def _small(runs: Iterator[bytes]) -> bytes | None:
    """All of a text; None if it is large."""
    text = b""
    with closing(runs):  # type: ignore[type-var]
        for run in runs:
            text += run
            if len(text) > RUN_BYTES:
                return None
    return text


def _parsed(texts: Sequence[Text], reader: TextReader, options: ReadOptions) -> Iterator[ReadResult]:
    split = texts[0].split
    if len(texts) == 1:
        parsed = reader.parse_text(texts[0].text, split, options)
        yield from parsed.results(split.origin_file(), split.first_row or 0, options)
        return
    whole = b"".join(one.text if one.text.endswith(b"\n") else one.text + b"\n" for one in texts)
    parsed = reader.parse_text(whole, split, options)
    if parsed.bad or parsed.rows != sum(one.rows for one in texts):
        half = len(texts) // 2
        yield from _parsed(texts[:half], reader, options)
        yield from _parsed(texts[half:], reader, options)
        return
    yield from _of_files(parsed, texts, options)


def _of_files(parsed: Parsed, texts: Sequence[Text], options: ReadOptions) -> Iterator[ReadResult]:
    batch, rows = parsed.batch, np.array([one.rows for one in texts])
    ends = np.cumsum(rows)
    of = np.repeat(np.arange(len(texts)), rows)
    numbers = np.arange(batch.num_rows) - (ends - rows)[of] + np.array([one.split.first_row or 0 for one in texts])[of]
    names = [one.split.origin_file() for one in texts]
    step = options.rows_at_once(batch.nbytes / max(batch.num_rows, 1))
    for begin in range(0, batch.num_rows, step):
        part = batch.slice(begin, step)
        mine = slice(begin, begin + part.num_rows)
        first, last = of[mine][0], of[mine][-1]
        origin = origin_columns(of[mine] - first, names[first : last + 1], numbers[mine])
        yield ReadResult(
            pa.RecordBatch.from_arrays([*part.columns, *origin], schema=with_origin_schema(part.schema)), []
        )


def joined(results: Iterable[ReadResult], options: ReadOptions) -> Iterator[ReadResult]:
    """The same rows in fewer blocks, each as large as the options allow."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for result in results:
        if result.failures or result.left_out:
            yield ReadResult(None, result.failures, result.left_out)
        block = result.block
        if block is None:
            continue
        if waiting and (rows + block.num_rows > options.block_rows or size + block.nbytes > options.block_bytes):
            yield ReadResult(_concatenated(waiting), [])
            waiting, rows, size = [], 0, 0
        waiting.append(block)
        rows, size = rows + block.num_rows, size + block.nbytes
    if waiting:
        yield ReadResult(_concatenated(waiting), [])


def _concatenated(blocks: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(blocks) == 1:
        return blocks[0]
    return pa.Table.from_batches(blocks).unify_dictionaries().combine_chunks().to_batches()[0]
