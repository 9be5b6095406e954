"""DoFns that workers of the service tests import."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader, UnboundedSource
from apache_beam.utils.timestamp import Timestamp


class Stamp(beam.DoFn):
    """A list of process ids -> the same with this process's appended."""

    def process(self, pids: list[int]) -> Iterator[list[int]]:
        yield [*pids, os.getpid()]


class Write(beam.DoFn):
    """Adds each element to a file, as a line."""

    def __init__(self, path: str):
        self.path = path

    def process(self, element: object) -> None:
        with open(self.path, "a") as file:
            file.write(f"{element}\n")


class Hang(beam.DoFn):
    """Tells its process id in a file, and never ends."""

    def __init__(self, path: str):
        self.path = path

    def process(self, element: object) -> None:
        Path(self.path).write_text(str(os.getpid()))
        while True:
            time.sleep(1)


@dataclass
class CountMark(CheckpointMark):
    """How far a `Count` has come; tells it in a file when the runner has it for good."""

    next: int
    path: str

    def finalize_checkpoint(self) -> None:
        Path(self.path).write_text(str(self.next))


class CountReader(UnboundedReader):
    def __init__(self, source: Count, next: int):
        self._source, self._next = source, next

    def start(self) -> bool:
        return self.advance()

    def advance(self) -> bool:
        time.sleep(0.002)
        self._next += 1
        return True

    def get_current(self) -> int:
        return self._next - 1

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp(self._next)

    def get_watermark(self) -> Timestamp:
        return Timestamp(self._next)

    def get_checkpoint_mark(self) -> CountMark:
        return CountMark(self._next, self._source.path)


class Count(UnboundedSource):
    """The numbers from 0 on, about 500 a second, without an end."""

    def __init__(self, path: str):
        self.path = path

    def split(self, desired_num_splits: int, options: object = None) -> list[Count]:
        return [self]

    def create_reader(self, options: object, checkpoint_mark: CountMark | None) -> CountReader:
        return CountReader(self, checkpoint_mark.next if checkpoint_mark else 0)

    def get_checkpoint_mark_coder(self) -> beam.coders.Coder:
        return beam.coders.PickleCoder()


def as_input(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A model's outputs y as inputs x: two of them, twice."""
    y = batch.column(batch.schema.get_field_index("y")).flatten().to_numpy().reshape(-1, 2)
    x = pa.FixedSizeListArray.from_arrays(pa.array(np.hstack([y, y]).ravel()), 4)
    return batch.append_column("x", x)
