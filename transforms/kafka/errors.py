"""Messages that could not be scored: to a topic, to a file that grows, or shown.

Each is a JSON object:
{"topic": "in", "partition": 3, "offset": 17, "stage": "read", "code": "unreadable", "reason": "..."}
Of messages that are gone it tells the first and the last: {..., "offset": 100, "stage": "gap", ..., "last_offset": 149}
"""

from __future__ import annotations

import json
import os
import sys

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beamsplit.transforms.failures.codes import code_of
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.blocks import parse_origin
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.ending import JobEndsError, ending
from beamsplit.transforms.kafka.gaps import STAGE, gap_range
from beamsplit.transforms.kafka.limits import KnownLimits, batch_bytes, known_limits
from beamsplit.transforms.kafka.outgoing import Headers, Messages, Refusal
from beamsplit.transforms.kafka.sink import IN_OFFSET, IN_PARTITION, IN_TOPIC, SendDoFn

SHOWN = 5
"""Errors that a worker shows where they go nowhere else."""

CUT = "..."
"""Ends a reason that was shortened."""

LENGTHS = 8
"""Bytes by which the lengths of a message's parts may grow with it."""

SHORT_REASON = 100
"""Bytes of a reason where the broker refuses the whole of it and does not say how much it takes."""


def error_json(error: RowError) -> bytes:
    """The error as a JSON object.

    >>> error_json(RowError("in/3", 17, "read", "no JSON"))
    b'{"topic": "in", "partition": 3, "offset": 17, "stage": "read", "code": "unreadable", "reason": "no JSON"}'
    """
    topic, partition = parse_origin(error.file)
    told = {
        "topic": topic,
        "partition": partition,
        "offset": error.row,
        "stage": error.stage,
        "code": code_of(error.stage, error.reason),
        "reason": error.reason,
    }
    if error.stage == STAGE and (gone := gap_range(error.reason)) is not None:
        told["last_offset"] = gone[1]
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "backslashreplace")


def error_line(error: RowError) -> bytes:
    """The same as a line of a file."""
    return error_json(error) + b"\n"


def error_headers(error: RowError) -> Headers:
    """Headers of an error's message: where its input is."""
    topic, partition = parse_origin(error.file)
    places = {IN_TOPIC: topic, IN_PARTITION: str(partition), IN_OFFSET: str(error.row)}
    return [(name, value.encode()) for name, value in places.items()]


def shorter(line: bytes, most: int) -> bytes:
    """An error's JSON object with as much of its reason as fits into so many bytes, but for the rest of it.

    >>> shorter(b'{"stage": "read", "reason": "no JSON object"}', 40)
    b'{"stage": "read", "reason": "no JS..."}'
    """
    told = json.loads(line)
    while len(line) > most and told["reason"]:
        # A character is a byte or more.
        kept = max(0, len(told["reason"]) - max(1, len(line) - most) - len(CUT))
        told["reason"] = told["reason"][:kept] + CUT if kept else ""
        line = json.dumps(told, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return line


def error_messages(line: bytes, headers: Headers, topic: Topic, limits: KnownLimits) -> Messages:
    """The message of an error, shortened where the topic takes no more.

    Raises:
        JobEndsError: the topic will not take it.
    """
    most = limits.now().bytes
    if most is not None and batch_bytes(line, None, headers) > most:
        line = shorter(line, most - batch_bytes(b"", None, headers) - LENGTHS)
    made = Messages([line], [None], [headers], [-1], topic=topic)
    refused = limits.refused(made, compressed=False)
    if refused:
        raise not_even_an_error(topic, refused[0])
    return made


def shorten(one: Refusal, topic: Topic) -> Messages:
    """An error's message with less of its reason, as the broker refused it and does not tell how much it takes.

    Raises:
        JobEndsError: that was done before.
    """
    line = one.messages.values[one.row]
    short = shorter(line, len(line) - len(json.loads(line)["reason"].encode("utf-8", "replace")) + SHORT_REASON)
    if short == line:
        raise not_even_an_error(topic, one.reason)
    return one.messages.take([one.row])._replace(values=[short])


def not_even_an_error(topic: Topic, reason: str) -> JobEndsError:
    """What ends the job: an error that cannot be delivered."""
    alter = (
        f"kafka-configs.sh --alter --bootstrap-server {topic.servers} --topic {topic.name} --add-config SETTING=VALUE"
    )
    return JobEndsError(
        f"--errors {topic}: the error of a message that failed cannot be delivered there either: {reason}; change that "
        f"(e.g. {alter}), or name another topic or a file"
    )


class SendErrorsDoFn(SendDoFn):
    """Sends errors to a topic; one that the topic will not take ends the job."""

    option = "--errors"

    def message_of(self, error: RowError) -> tuple[bytes, Headers]:
        """Value and headers of an error's message."""
        return error_json(error), error_headers(error)

    def process(self, error: RowError) -> None:
        """Send an error."""
        assert self._deliveries is not None
        with ending(self._job_dir):
            limits = known_limits(self._config, self._topic)
            self._send(error_messages(*self.message_of(error), self._topic, limits))

    def finish_bundle(self) -> None:
        """The bundle succeeds only with every error delivered."""
        while refused := self.deliver():
            with ending(self._job_dir):
                for one in refused:
                    self._send(shorten(one, self._topic))

    def _send(self, messages: Messages) -> None:
        assert self._deliveries is not None
        for one in self._deliveries.send(messages):
            self._send(shorten(one, self._topic))


class SendErrors(beam.PTransform):
    """PCollection[RowError] -> nothing more: each a message of the errors topic, at least once."""

    def __init__(self, config: ClientConfig, topic: Topic, job_dir: str | None = None):
        super().__init__()
        self._dofn = SendErrorsDoFn(config, topic, job_dir)

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
        if error.stage == STAGE:
            return  # told by whoever found it
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
