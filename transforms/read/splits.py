"""The same operations for every format: split, read, count, and cut a split."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TypeVar, cast

import pyarrow as pa

from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.formats.interfaces import CountingReader, EarlyReader, TextReader
from beamsplit.transforms.read import files
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.derived import derive_all, of_files
from beamsplit.transforms.read.infer_schema import sampled
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.only import only_wanted
from beamsplit.transforms.read.result import NO_DERIVED, ReadOptions, ReadResult
from beamsplit.transforms.read.started import taken
from beamsplit.transforms.read.streams import is_local, read_ahead
from beamsplit.transforms.read.together import grouped, joined, may_wait, read_texts, unsplit
from beamsplit.transforms.split import Split

T = TypeVar("T")

LEAST_BYTES = 1 << 20
"""Splits are not made smaller only to get more of them."""

SPLITS_PER_WORKER = 4
"""So that workers that are done early find more to do."""

MOST_BYTES = 256 << 20
"""Splits are made no larger where the file can be cut, so that progress can be seen and work shared."""

LEAST_OF_EACH = 16
"""Rows of a file, where rows of all files are wanted."""

SEARCHED_ROWS = 262_144
SEARCHED_FILES = 64
"""Where a condition says which rows are wanted: rows of a file that a sample is looked for in, and files."""

SAMPLED_FILES = 64
"""Files that a sample is of, at most, once a row is found."""

MOST_SAMPLE_BYTES = 256 << 20
"""A sample is no larger, but for its last block: a few rows of large cells are enough."""

FILES_SPLIT_AT_ONCE = 1_000
"""Up to so many local files are split while the pipeline is built, which saves it a step."""

FILES_COUNTED = 100
"""In how many files `total_rows` looks; the others are judged by these."""


def target_splits(workers: int) -> int:
    """How many splits to make for so many workers."""
    return 1 if workers == 1 else workers * SPLITS_PER_WORKER


def target_bytes(inputs: Sequence[InputFile], target_splits: int, least: int = LEAST_BYTES) -> int:
    """The size that gives about `target_splits` splits, within `least` and `MOST_BYTES`."""
    total = sum(file.size for file in inputs)
    return max(least, 1, min(total // max(target_splits, 1), MOST_BYTES))


def make_splits(inputs: Sequence[InputFile], format: str, target_splits: int) -> list[Split]:
    """About `target_splits` splits of all the files (more where they are large), in input order."""
    size = target_bytes(inputs, target_splits)
    if FORMATS[format].files:
        each = -(-len(inputs) // max(target_splits, 1))
        least = target_bytes(inputs, target_splits, least=1)
        return files.split_list(inputs, 0, max(least, 1), each)
    return [split for at, file in enumerate(inputs) for split in split_file(file, at, format, size)]


def splits_at_once(inputs: Sequence[InputFile], format: str, workers: int, whole: bool = True) -> list[Split] | None:
    """The splits as they are dealt to the workers; None for many or remote files, which workers split themselves.

    Where splits are dealt `whole`, those of small files are dealt together, and many small files are split when they
    are read.
    """
    kind, wanted = FORMATS[format], target_splits(workers)
    if kind.files:
        return deal_in_order(make_splits(inputs, format, wanted), workers)
    if not all(is_local(file.path) for file in inputs):
        return None
    together = whole and not kind.by_scheme
    opened = [file for file in inputs if not (together and may_wait(file))]
    if len(inputs) <= FILES_SPLIT_AT_ONCE:
        splits = make_splits(inputs, format, wanted)
    elif len(opened) <= FILES_SPLIT_AT_ONCE:
        size = target_bytes(inputs, wanted)
        splits = [
            split
            for at, file in enumerate(inputs)
            for split in (unsplit(file, at, format) if may_wait(file) else split_file(file, at, format, size))
        ]
    else:
        return None
    if together:
        splits = grouped(splits, target_bytes(inputs, wanted, least=1), -(-len(inputs) // wanted))
    return deal_in_order(splits, workers)


def contiguous_bounds(rows: int, workers: int) -> list[int]:
    """Equal ranges: worker k gets rows `bounds[k]` to `bounds[k + 1]`; lengths differ by one at most."""
    return [rows * k // workers for k in range(workers + 1)]


def assign_splits(splits: Iterable[Split], bounds: Sequence[int]) -> Iterator[tuple[int, Split]]:
    """Deal ranges of rows to workers: a split that crosses a bound is cut there.

    `splits` carry their numbers of rows; the rows are numbered through in the splits' order, and worker k gets
    those from `bounds[k]` to `bounds[k + 1]`.
    """
    first = 0
    for split in sorted(splits, key=lambda split: (split.order, split.row_start)):
        rows = count_rows(split)
        for worker, (start, stop) in enumerate(itertools.pairwise(bounds)):
            low, high = max(start, first), min(stop, first + rows)
            if low < high:
                yield worker, slice_split(split, low - first, high - first)
        first += rows


def deal_in_order(splits: Sequence[Split], workers: int) -> list[Split]:
    """Order splits so that workers who are dealt them in turn each get one range of the input, all of equal size.

        2 workers, splits 0 to 4      ranges 0 1 2a | 2b 3 4      dealt in turn 0 2b 1 3 2a 4

    What one worker writes is then in input order, and so are the workers' files. Splits are cut only where that
    costs little and their rows are counted; others are dealt whole.
    """
    if workers < 2 or not splits:
        return list(splits)
    if all(FORMATS[split.format].cuttable and split.rows is not None and not split.parts for split in splits):
        rows = sum(count_rows(split) for split in splits)
        ranges: list[list[Split]] = [[] for _ in range(workers)]
        for worker, split in assign_splits(splits, contiguous_bounds(rows, workers)):
            ranges[worker].append(split)
        most = max(len(dealt) for dealt in ranges)
        for dealt in ranges:
            _cut_into(dealt, most)
        # Few rows may leave a worker with less: those who have more are dealt first.
        ranges.sort(key=len, reverse=True)
    else:
        return deal_whole(splits, workers)
    turns = itertools.zip_longest(*ranges)
    return [split for turn in turns for split in turn if split is not None]


def deal_whole(splits: Sequence[Split], workers: int) -> list[Split]:
    """The same of splits that stay as they are."""
    ends = [-(-len(splits) * k // workers) for k in range(workers + 1)]
    ranges = [splits[start:stop] for start, stop in itertools.pairwise(ends)]
    return [split for turn in itertools.zip_longest(*ranges) for split in turn if split is not None]


def _cut_into(splits: list[Split], count: int) -> None:
    """Halve the largest splits until there are so many."""
    while splits and len(splits) < count:
        at = max(range(len(splits)), key=lambda k: count_rows(splits[k]))
        rows = count_rows(splits[at])
        if rows < 2:
            return
        whole = splits[at]
        splits[at : at + 1] = [slice_split(whole, 0, rows // 2), slice_split(whole, rows // 2, rows)]


def split_file(file: InputFile, number: int, format: str, split_bytes: int) -> list[Split]:
    """Splits of about `split_bytes` bytes of one file, the `number`-th of the input. An empty file has none."""
    kind = FORMATS[format]
    if not file.size and not kind.files:
        return []
    if file.table is not None:
        splits = [replace(split, table=file.table) for split in kind.reader.split(file, number, split_bytes)]
        return splits if file.most_rows is None else list(_first_rows(splits, file.most_rows, counted=True))
    if file.most_rows is None:
        return kind.reader.split(file, number, split_bytes)
    # Of text a few rows are one split: others are found by reading the whole file.
    few = kind.text and file.most_rows < (_rows_about(file, format) or float("inf")) / 2
    splits = kind.reader.split(file, number, file.size + 1 if few else split_bytes)
    return list(_first_rows(splits, file.most_rows, counted=not few))


def _first_rows(splits: Iterable[Split], most: int, counted: bool) -> Iterator[Split]:
    """The first rows of some splits; where they are not counted, of one."""
    for split in splits:
        if most <= 0:
            return
        rows = count_rows(split) if counted else most
        yield split if rows < most else slice_split(split, 0, most)
        most -= rows


def read_split(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of a split as blocks of `options.block_schema`, in file order, and the rows that cannot be read.

    Of a file that is not local, a thread reads one block ahead. Close the iterator to end early.

    Raises:
        UsageError: the file lacks a column or has one of a type that cannot be cast; names file, column and types.
        OSError: the file is damaged; names it.
    """
    begun = taken(split, options)
    return read_anew(split, options) if begun is None else begun


def read_anew(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The same, whether or not it was begun before (`started`)."""
    if split.only is not None:
        return only_wanted(split, _read(split, options))
    if options.where is not None:
        from beamsplit.transforms.read.kept import kept_rows

        return kept_rows(split, options, _read)
    return _read(split, options)


def _read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    asked = of_files(options)
    alone = not split.parts and split.unsplit is None
    results = _own(split, asked) if alone else _together(split.parts or [split], asked)
    if not is_local(split.paths[0]):
        results = read_ahead(results)
    return results if options.derived == NO_DERIVED else derive_all(results, options)


def _together(parts: Sequence[Split], options: ReadOptions) -> Iterator[ReadResult]:
    files = (split for part in parts for split in _splits_of(part))
    if FORMATS[parts[0].format].text:
        reader = cast(TextReader, FORMATS[parts[0].format].reader)
        runs = ((split, _named(split, reader.text_of(split))) for split in files)
        return read_texts(runs, reader, options, _own)
    return joined((result for split in files for result in _own(split, options)), options)


def _splits_of(part: Split) -> Sequence[Split]:
    if part.unsplit is None:
        return [part]
    return split_file(part.unsplit, part.order[0], part.format, part.unsplit.size + 1)


def _own(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of a file with the columns that are its own."""
    if split.table is None:
        return _named(split, FORMATS[split.format].reader.read(split, options))
    from beamsplit.transforms.tables.table_file import read_table_file

    return _named(split, read_table_file(split, options))


def _named(split: Split, results: Iterator[T]) -> Iterator[T]:
    """The results, and errors of a damaged file with its name: what Arrow raises has none."""
    try:
        yield from results
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, DamagedFile) or (isinstance(error, OSError) and error.filename):
            raise
        raise OSError(f"{split.paths[0]} cannot be read as {split.format}: {' '.join(str(error).split())}") from error


def count_rows(split: Split) -> int:
    """The rows of the split, `row_start` and `row_stop` applied; reads the text where nothing has counted them."""
    if split.parts or split.unsplit is not None:
        return sum(count_rows(one) for part in split.parts or [split] for one in _splits_of(part))
    rows = split.rows if split.rows is not None else cast(CountingReader, FORMATS[split.format].reader).count(split)
    stop = rows if split.row_stop is None else min(split.row_stop, rows)
    return max(0, stop - split.row_start)


def slice_split(split: Split, start: int, stop: int) -> Split:
    """Rows start to stop of the split, counted from its first wanted row (its `row_start`)."""
    begin = split.row_start + start
    end = split.row_start + stop
    if split.row_stop is not None:
        end = min(end, split.row_stop)
    last = split.rows if split.row_stop is None else split.row_stop
    weight = split.weight
    if last is not None and last > split.row_start:
        weight = weight * max(0, min(end, last) - begin) // (last - split.row_start)
    return replace(split, row_start=begin, row_stop=end, weight=weight)


def read_all(splits: Sequence[Split], options: ReadOptions) -> Iterator[ReadResult]:
    """The splits one after the other."""
    for split in splits:
        with closing(read_split(split, options)) as results:  # type: ignore[type-var]
            yield from results


def read_sample(inputs: Sequence[InputFile], format: str, options: ReadOptions, rows: int) -> pa.RecordBatch | None:
    """The first rows that can be read, at most `rows` of them, of few files, in one block; None where there is none."""
    blocks: list[pa.RecordBatch] = []
    small = replace(options, block_rows=min(rows, options.block_rows))
    left, size = rows, 0
    all_wanted = options.where is None
    for at, file in enumerate(inputs if all_wanted else inputs[:SEARCHED_FILES]):
        # A split larger than the file: cutting a CSV file would read all of it.
        for split in split_file(file, at, format, file.size + 1):
            searched = slice_split(split, 0, left if all_wanted else SEARCHED_ROWS)
            with closing(read_split(searched, small)) as results:  # type: ignore[type-var]
                for result in results:
                    if result.block is not None:
                        blocks.append(result.block.slice(0, left))
                        left -= result.block.num_rows
                        size += result.block.nbytes
                        if size > MOST_SAMPLE_BYTES or left <= 0:
                            left = 0
                            break
        # Opening ten thousand files for a row of each would take longer than to score them.
        if left <= 0 or (blocks and at + 1 >= SAMPLED_FILES):
            break
    if FORMATS[format].begun_early:
        cast(EarlyReader, FORMATS[format].reader).forget_decoders()
    if not blocks:
        return None
    return pa.concat_batches(_one_dictionary(blocks))


def read_spread(inputs: Sequence[InputFile], format: str, options: ReadOptions, rows: int) -> pa.RecordBatch | None:
    """About `rows` rows from the beginnings of as many files as are looked at for types; None where there is none."""
    seen = sampled(inputs, format)
    each = max(LEAST_OF_EACH, rows // max(1, len(seen)))
    blocks = [block for file in seen if (block := read_sample([file], format, options, each)) is not None]
    return pa.concat_batches(_one_dictionary(blocks)) if blocks else None


def _one_dictionary(blocks: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if len(blocks) == 1:
        return list(blocks)
    return pa.Table.from_batches(blocks).unify_dictionaries().combine_chunks().to_batches()


def has_rows(inputs: Sequence[InputFile], format: str) -> bool:
    """Whether there is a row in any file, be it bad; reads on until it is found."""
    for at, file in enumerate(inputs):
        for split in split_file(file, at, format, max(1, file.size)):
            if split.rows or (split.rows is None and count_rows(replace(split, row_stop=1))):
                return True
    return False


def total_rows(inputs: Sequence[InputFile], format: str) -> int | None:
    """The rows of all the files; for text, and for many or remote files, judged by the first ones; None if unknown."""
    if FORMATS[format].files:
        return len(inputs)
    full = [file for file in inputs if file.size]
    told = [file.table.rows for file in full if file.table is not None and file.most_rows is None]
    if full and len(told) == len(full) and None not in told:
        return sum(rows for rows in told if rows is not None)
    looked_at = [file for file in full if is_local(file.path)][:FILES_COUNTED] or full[:1]
    counted: float = 0
    for file in looked_at:
        rows = _rows_about(file, format)
        if rows is None:
            return None
        counted += rows if file.most_rows is None else min(rows, file.most_rows)
    size = sum(file.size for file in looked_at)
    return round(counted * sum(file.size for file in full) / size) if size else 0


def _rows_about(file: InputFile, format: str) -> float | None:
    kind = FORMATS[format]
    if kind.text:
        return cast(TextReader, kind.reader).rows_about(file)
    splits = kind.reader.split(file, 0, file.size)
    if any(split.rows is None for split in splits):
        return None
    return float(sum(count_rows(split) for split in splits))
