"""Writes what came of files to topics: predictions, and rows that failed, each with its file and row in headers.

Delivery:  at least once: a job that failed and is run again sends again what it had sent
"""

from __future__ import annotations

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beamsplit.transforms.block import MODEL_VERSION, ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.failures.error_file import row_bases, to_line
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.infer.model_version import HEADER as VERSION_HEADER
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.errors import SendErrorsDoFn
from beamsplit.transforms.kafka.outgoing import Headers, Messages
from beamsplit.transforms.kafka.sink import MessageFormat, SendBlocksDoFn, encode_rows, undelivered
from beamsplit.transforms.split import parse_origin_file

IN_FILE, IN_ROW = "input.file", "input.row"
"""Headers that tell which row of which file an output was made of."""


class RowBases:
    """From which row of its file the readers counted: what is known is not counted again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], int] = {}

    def of(self, origin_file: str) -> tuple[str, int]:
        """(path, number of the row that counts as row 0) of what an origin column holds."""
        path, byte = parse_origin_file(origin_file)
        if byte is None:
            return path, 0
        if (path, byte) not in self._known:
            self._known |= row_bases([(path, byte)], self._known)
        return path, self._known[path, byte]


def row_headers(block: pa.RecordBatch, bases: RowBases) -> list[Headers]:
    """The headers of each row's output: its file, and its row there, from 0."""
    origins = block.column(ORIGIN_FILE)
    which = origins.indices.to_numpy()
    used = np.unique(which).tolist()
    names, begun = [b""] * len(origins.dictionary), np.zeros(len(origins.dictionary), np.int64)
    for at in used:
        path, begun[at] = bases.of(origins.dictionary[at].as_py())
        names[at] = _bytes(path)
    numbers = pa.array(block.column(ORIGIN_ROW).to_numpy() + begun[which]).cast(pa.string()).cast(pa.binary())
    files = [(IN_FILE, name) for name in names]
    made: list[Headers] = [
        [files[at], (IN_ROW, number)] for at, number in zip(which.tolist(), numbers.to_pylist(), strict=True)
    ]
    if MODEL_VERSION in block.schema.names:
        versions = block.column(MODEL_VERSION).cast(pa.binary()).to_pylist()
        made = [[*own, (VERSION_HEADER, version)] for own, version in zip(made, versions, strict=True)]
    return made


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


class _RowsDoFn(SendBlocksDoFn):
    def __init__(self, config: ClientConfig, topic: Topic, format: MessageFormat, job_dir: str | None):
        super().__init__(config, topic, format, job_dir)
        self._bases = RowBases()

    def messages_of(self, block: pa.RecordBatch) -> Messages:
        rows = block.num_rows
        headers = row_headers(block, self._bases)
        return Messages(encode_rows(self._format, block), [None] * rows, headers, [-1] * rows, block=block)


class SendRows(beam.PTransform):
    """PCollection of blocks that were read from files -> PCollection of RowError.

    Each row is a message of the topic, without a key, or an error, where the topic will not take it.

    Args:
        config: how to get in.
        topic: to write to.
        format: one of `sink.OUTPUT_FORMATS`, or what writes a registry's schema.
        job_dir: folder that local workers share, for counts.
    """

    def __init__(self, config: ClientConfig, topic: Topic, format: MessageFormat = "json", job_dir: str | None = None):
        super().__init__()
        self._dofn = _RowsDoFn(config, topic, format, job_dir)

    def expand(self, blocks: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return undelivered(blocks, self._dofn)


class _RowErrorsDoFn(SendErrorsDoFn):
    def __init__(self, config: ClientConfig, topic: Topic, job_dir: str | None):
        super().__init__(config, topic, job_dir)
        self._bases = RowBases()

    def message_of(self, error: RowError) -> tuple[bytes, Headers]:
        path, first = self._bases.of(error.file)
        told = error._replace(file=path, row=error.row + first)
        return to_line(told).rstrip(b"\n"), [(IN_FILE, _bytes(path)), (IN_ROW, str(told.row).encode())]


class SendRowErrors(beam.PTransform):
    """PCollection[RowError] of rows of files -> nothing more: each a JSON message of the errors topic."""

    def __init__(self, config: ClientConfig, topic: Topic, job_dir: str | None = None):
        super().__init__()
        self._dofn = _RowErrorsDoFn(config, topic, job_dir)

    def expand(self, errors: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return errors | beam.ParDo(self._dofn).with_output_types(bytes)
