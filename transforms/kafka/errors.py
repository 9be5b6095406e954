"""Messages that could not be scored: to a topic, to a file that grows, or shown.

Each is a JSON object: {"topic": "in", "partition": 3, "offset": 17, "stage": "read", "reason": "..."}
"""

from __future__ import annotations

import json
import os
import sys

import apache_beam as beam
from apache_beam.pvalue import PCollection

from transforms.errors import RowError
from transforms.kafka.blocks import parse_origin
from transforms.kafka.config import ClientConfig, Topic
from transforms.kafka.sink import IN_OFFSET, IN_PARTITION, IN_TOPIC, Headers, SendDoFn

SHOWN = 5
"""Errors that a worker shows where they go nowhere else."""


def error_json(error: RowError) -> bytes:
    """The error as a JSON object.

    >>> error_json(RowError("in/3", 17, "read", "no JSON"))
    b'{"topic": "in", "partition": 3, "offset": 17, "stage": "read", "reason": "no JSON"}'
    """
    topic, partition = parse_origin(error.file)
    told = {"topic": topic, "partition": partition, "offset": error.row, "stage": error.stage, "reason": error.reason}
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "backslashreplace")


def error_line(error: RowError) -> bytes:
    """The same as a line of a file."""
    return error_json(error) + b"\n"


def error_headers(error: RowError) -> Headers:
    """Headers of an error's message: where its input is."""
    topic, partition = parse_origin(error.file)
    places = {IN_TOPIC: topic, IN_PARTITION: str(partition), IN_OFFSET: str(error.row)}
    return [(name, value.encode()) for name, value in places.items()]


class _ErrorsDoFn(SendDoFn):
    option = "--errors"

    def process(self, error: RowError) -> None:
        assert self._deliveries is not None
        self._deliveries.send([error_json(error)], [None], [error_headers(error)], [-1])


class SendErrors(beam.PTransform):
    """PCollection[RowError] -> nothing more: each a message of the errors topic, at least once."""

    def __init__(self, config: ClientConfig, topic: Topic):
        super().__init__()
        self._dofn = _ErrorsDoFn(config, topic)

    def expand(self, errors: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return errors | beam.ParDo(self._dofn).with_output_types(bytes)


class _Append(beam.DoFn):
    def __init__(self, path: str):
        self._path = path
        self._lines: list[bytes] = []

    def start_bundle(self) -> None:
        self._lines = []

    def process(self, error: RowError) -> None:
        self._lines.append(error_line(error))

    def finish_bundle(self) -> None:
        if self._lines:
            append_lines(self._path, self._lines)


def append_lines(path: str, lines: list[bytes]) -> None:
    """Add lines to a file, on the disk when this returns; writers side by side do not mix theirs."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        # One call: O_APPEND makes it whole beside other writers.
        left = memoryview(b"".join(lines))
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


class AppendErrors(beam.PTransform):
    """PCollection[RowError] -> nothing more: a JSON line an error at the end of a worker's local file."""

    def __init__(self, path: str):
        super().__init__()
        self._dofn = _Append(path)

    def expand(self, errors: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return errors | beam.ParDo(self._dofn).with_output_types(bytes)


class _Show(beam.DoFn):
    def __init__(self) -> None:
        self._shown = 0

    def process(self, error: RowError) -> None:
        if self._shown < SHOWN:
            self._shown += 1
            print(f"failed: {error_json(error).decode(errors='replace')}", file=sys.stderr, flush=True)
            if self._shown == SHOWN:
                print("more that fail are counted; --errors kafka://... or FILE.jsonl keeps all", file=sys.stderr)


class ShowErrors(beam.PTransform):
    """PCollection[RowError] -> nothing more: the first go to the worker's standard error."""

    def expand(self, errors: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return errors | beam.ParDo(_Show()).with_output_types(bytes)
