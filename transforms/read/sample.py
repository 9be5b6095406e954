"""The first rows of the input, read without reading the rest: to check and to measure before a job starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from transforms.block import with_origin
from transforms.read.inputs import InputFile
from transforms.read.result import ReadOptions, conform
from transforms.read.splits import read_split, split_file
from transforms.read.streams import open_arrow
from transforms.split import Split

SAMPLE_BYTES = 1 << 20
"""Of a text file, so many bytes are looked at."""

FILES_TRIED = 8
"""Files looked at for a row that can be read."""


def read_sample(inputs: Sequence[InputFile], format: str, options: ReadOptions, rows: int) -> pa.RecordBatch | None:
    """Up to `rows` rows of `options.block_schema` from the first file that has any; None if none has."""
    tried = [file for file in inputs if file.size or format == "files"][: max(FILES_TRIED, rows)]
    if format == "files":
        splits = (split for number, file in enumerate(tried) for split in split_file(file, number, format, 1))
        return _gather(splits, options, rows)
    for number, file in enumerate(tried[:FILES_TRIED]):
        if format == "parquet":
            sample = _first_of_parquet(file.path, options, rows)
        else:
            splits = iter(split_file(file, number, format, SAMPLE_BYTES)[:1])
            sample = _gather(splits, options, rows)
        if sample is not None and sample.num_rows:
            return sample
    return None


def _first_of_parquet(path: str, options: ReadOptions, rows: int) -> pa.RecordBatch | None:
    import pyarrow.parquet as pq

    wanted = options.data_schema
    with closing(pq.ParquetFile(open_arrow(path))) as file:
        for batch in file.iter_batches(rows, columns=wanted.names, use_threads=False):
            return with_origin(conform(batch, wanted, path), path, 0)
    return None


def _gather(splits: Iterator[Split], options: ReadOptions, rows: int) -> pa.RecordBatch | None:
    blocks: list[pa.RecordBatch] = []
    have = 0
    for split in splits:
        with closing(read_split(split, replace(options, block_rows=rows))) as results:  # type: ignore[type-var]
            for result in results:
                if result.block is not None and result.block.num_rows:
                    blocks.append(result.block.slice(0, rows - have))
                    have += blocks[-1].num_rows
                if have >= rows:
                    break
        if have >= rows:
            break
    if not blocks:
        return None
    return pa.Table.from_batches(blocks).unify_dictionaries().combine_chunks().to_batches()[0]


def estimated_rows(splits: Sequence[Split], sample: pa.RecordBatch | None) -> int | None:
    """Rows in the splits: counted, or estimated from the sample's bytes a row; None where nothing tells."""
    if all(split.rows is not None for split in splits):
        return sum(split.rows or 0 for split in splits)
    if sample is None or not sample.num_rows:
        return None
    # Text takes about as many bytes as its columns do in memory: within a factor of two, enough for a progress bar.
    return round(sum(split.weight for split in splits) * sample.num_rows / max(1, sample.nbytes))
