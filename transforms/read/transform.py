"""The PTransforms: files to splits, splits to blocks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput

from transforms import block as _block  # registers the coder of blocks  # noqa: F401
from transforms.read.inputs import InputFile
from transforms.read.result import ReadFailure, ReadOptions
from transforms.read.splits import deal_in_order, make_splits, read_split, split_file, target_bytes, target_splits
from transforms.read.streams import is_local
from transforms.split import Split

BLOCKS = "blocks"
"""Tag of the blocks."""

FAILURES = "failures"
"""Tag of the rows that could not be read, as `ReadFailure`."""

FILES_SPLIT_AT_ONCE = 1_000
"""Up to so many local files are split while the pipeline is built, which saves it a step."""


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

    Few local files are split at construction; of many, or of remote ones, each is split by a worker.
    """

    def __init__(self, inputs: Sequence[InputFile], format: str, workers: int) -> None:
        """Enough splits of `inputs`, which are of `format`, for so many workers."""
        super().__init__()
        self.inputs = list(inputs)
        self.format = format
        self.target_splits = target_splits(workers)
        self.splits: list[Split] | None = None
        if format == "files" or (len(self.inputs) <= FILES_SPLIT_AT_ONCE and all(is_local(f.path) for f in inputs)):
            self.splits = deal_in_order(make_splits(self.inputs, format, self.target_splits), workers)

    def expand(self, pbegin: PBegin) -> PCollection[Split]:
        """Give the splits."""
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
