"""The PTransforms: files to splits, splits to blocks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput

from beamsplit.transforms import block_coder as _block_coder  # registers the coder of blocks  # noqa: F401
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.result import ReadFailure, ReadOptions
from beamsplit.transforms.read.splits import read_split, split_file, splits_at_once, target_bytes, target_splits
from beamsplit.transforms.split import Split

BLOCKS = "blocks"
"""Tag of the blocks."""

FAILURES = "failures"
"""Tag of the rows that could not be read, as `ReadFailure`."""


class SplitFileDoFn(beam.DoFn):
    """(number of the file, file) -> its splits."""

    def __init__(self, format: str, split_bytes: int) -> None:
        self.format = format
        self.split_bytes = split_bytes

    def process(self, element: tuple[int, InputFile]) -> Iterable[Split]:
        """Split one file."""
        number, file = element
        return split_file(file, number, self.format, self.split_bytes)


class ReadSplitDoFn(beam.DoFn):
    """A split -> its blocks; failures go to the output `FAILURES`."""

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.rows = Metrics.counter("beamsplit", "rows_read")
        self.failed = Metrics.counter("beamsplit", "rows_unreadable")
        self.left_out = Metrics.counter("beamsplit", "rows_left_out")
        self.usec = Metrics.counter("beamsplit", "read_usec")
        self.bytes = Metrics.counter("beamsplit", "bytes_read")

    def process(self, split: Split) -> Iterator[pa.RecordBatch | TaggedOutput]:
        """Read one split. `read_usec` counts the time in the reader, not that of the steps behind it."""
        results = read_split(split, self.options)
        try:
            while True:
                started = time.perf_counter()
                result = next(results, None)
                self.usec.inc(int((time.perf_counter() - started) * 1e6))
                if result is None:
                    break
                for failure in result.failures:
                    yield TaggedOutput(FAILURES, failure)
                if result.failures:
                    self.failed.inc(len(result.failures))
                if result.left_out:
                    self.left_out.inc(result.left_out)
                if result.block is not None:
                    self.rows.inc(result.block.num_rows)
                    yield result.block
        finally:
            close = getattr(results, "close", None)
            if close is not None:
                close()
        self.bytes.inc(split.weight)


class MakeSplits(beam.PTransform):
    """PBegin -> the splits of the files, spread over the workers.

    Few local files are split at construction; of many large, or of remote ones, each is split by a worker.
    """

    def __init__(
        self,
        inputs: Sequence[InputFile],
        format: str,
        workers: int,
        local: bool = False,
        splits: Sequence[Split] | None = None,
        whole: bool = True,
    ) -> None:
        """Enough splits of `inputs`, which are of `format`, for so many workers; or `splits` that were made of them.

        They may be those of several small files where they stay `whole`.

        `local` says that the runner deals what is grouped to its workers in turn, as Beam's in-process one does: a
        reshuffle, which has three times as many steps to build and translate, does the same there.
        """
        super().__init__()
        self.inputs = list(inputs)
        self.format = format
        self.local = local
        self.target_splits = target_splits(workers)
        self.splits = splits_at_once(self.inputs, format, workers, whole) if splits is None else list(splits)

    def expand(self, pbegin: PBegin) -> PCollection[Split]:
        """Give the splits."""
        if self.splits is not None and self.local:
            dealt = pbegin | beam.Impulse() | beam.FlatMap(_numbered, self.splits).with_output_types(tuple[int, Split])
            return dealt | beam.GroupByKey() | beam.FlatMap(_ungrouped).with_output_types(Split)
        if self.splits is not None:
            return pbegin | beam.Create(self.splits, reshuffle=True).with_output_types(Split)
        return (
            pbegin
            | beam.Create(list(enumerate(self.inputs)), reshuffle=True)
            | beam.ParDo(SplitFileDoFn(self.format, target_bytes(self.inputs, self.target_splits))).with_output_types(
                Split
            )
            | beam.Reshuffle()
        )


def _numbered(_: bytes, splits: Sequence[Split]) -> Iterable[tuple[int, Split]]:
    return enumerate(splits)


def _ungrouped(element: tuple[int, Iterable[Split]]) -> Iterable[Split]:
    return element[1]


class ReadSplits(beam.PTransform):
    """Splits -> (blocks of `options.block_schema`, rows that could not be read as `ReadFailure`)."""

    def __init__(self, options: ReadOptions) -> None:
        """The blocks are as `options` say."""
        super().__init__()
        self.options = options

    def expand(self, splits: PCollection[Split]) -> tuple[PCollection[pa.RecordBatch], PCollection[ReadFailure]]:
        """Read every split."""
        outputs = splits | beam.ParDo(ReadSplitDoFn(self.options)).with_output_types(pa.RecordBatch).with_outputs(
            FAILURES, main=BLOCKS
        )
        failures = outputs[FAILURES]
        failures.element_type = ReadFailure
        return outputs[BLOCKS], failures


class ReadBlocks(beam.PTransform):
    """PBegin -> (blocks, rows that could not be read) of files of one format."""

    def __init__(self, inputs: Sequence[InputFile], format: str, options: ReadOptions, workers: int = 1) -> None:
        """Read `inputs` in enough splits for so many workers."""
        super().__init__()
        self.make = MakeSplits(inputs, format, workers)
        self.read = ReadSplits(options)

    def expand(self, pbegin: PBegin) -> tuple[PCollection[pa.RecordBatch], PCollection[ReadFailure]]:
        """Split and read."""
        return pbegin | self.make | self.read
