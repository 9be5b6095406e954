"""DoFns that workers of the service tests import."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader, UnboundedSource
from apache_beam.utils.timestamp import Timestamp

from beamsplit.transforms.block import with_origin


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
        time.sleep(self._source.pause)
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
    """The numbers from 0 on, one after each pause in seconds, without an end."""

    def __init__(self, path: str, pause: float = 0.002):
        self.path, self.pause = path, pause

    def split(self, desired_num_splits: int, options: object = None) -> list[Count]:
        return [self]

    def create_reader(self, options: object, checkpoint_mark: CountMark | None) -> CountReader:
        return CountReader(self, checkpoint_mark.next if checkpoint_mark else 0)

    def get_checkpoint_mark_coder(self) -> beam.coders.Coder:
        return beam.coders.PickleCoder()


ROWS = 4
"""Of a block that a number becomes."""


class AsBlock(beam.DoFn):
    """A number -> its block."""

    def process(self, number: int) -> Iterator[pa.RecordBatch]:
        yield numbered(number)


def numbered(number: int) -> pa.RecordBatch:
    """Rows for a model x: [N, 6], with a column id; the number says where they come from."""
    x = np.random.default_rng(number).standard_normal((ROWS, 6)).astype(np.float32)
    ids = [f"{number}, row {row}" for row in range(ROWS)]
    block = pa.record_batch({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x), "id": ids})
    return with_origin(block, "numbers/0", ROWS * number)


def as_line(block: pa.RecordBatch) -> str:
    """The predictions y of a block as a line of JSON: [id, numbers] of each row."""
    y = block.column("y").to_numpy_ndarray().tolist()
    return json.dumps(list(zip(block.column("id").to_pylist(), y, strict=True)))


def as_input(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A model's outputs y as inputs x: two of them, twice."""
    y = batch.column(batch.schema.get_field_index("y")).flatten().to_numpy().reshape(-1, 2)
    x = pa.FixedSizeListArray.from_arrays(pa.array(np.hstack([y, y]).ravel()), 4)
    return batch.append_column("x", x)


def stuck(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A step that never ends in a worker's thread; tells so in the file that the environment names."""
    if threading.current_thread() is not threading.main_thread():
        Path(os.environ["STUCK"]).touch()
        threading.Event().wait()
    return batch
