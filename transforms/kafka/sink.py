"""Writes predictions to a topic: each with the key, headers and time of the message it was made of.

Element:   a block of predictions with the columns of `block.MESSAGE_FIELDS`
Delivery:  at least once: a bundle is done when the brokers have all of its messages (acks=all, idempotent), else it
           fails and is done again; a message that the topic will not take is a row that failed
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindows

from beamsplit.transforms.apply import FAILED, Failures
from beamsplit.transforms.block import HEADERS, KEY, MODEL_VERSION, ORIGIN_FILE, ORIGIN_ROW, TIME, data_columns
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.infer.model_version import HEADER as VERSION_HEADER
from beamsplit.transforms.kafka.blocks import parse_origin
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.delivered import Sent, tell_delivered
from beamsplit.transforms.kafka.deliveries import Deliveries
from beamsplit.transforms.kafka.ending import ending
from beamsplit.transforms.kafka.outgoing import Headers, Messages, Refusal
from beamsplit.transforms.kafka.registry.write import WriteRegistered
from beamsplit.transforms.telemetry.recorder import recording
from beamsplit.transforms.worker import this_worker

OUTPUT_FORMATS = ("json", "arrow", "tensor")

IN_TOPIC, IN_PARTITION, IN_OFFSET = "input.topic", "input.partition", "input.offset"
"""Headers that tell which message an output was made of."""


MessageFormat = str | WriteRegistered
"""One of `OUTPUT_FORMATS`, or what makes messages of a registry's schema."""


def encode_rows(format: MessageFormat, block: pa.RecordBatch) -> list[bytes]:
    """The user's columns of each row as the value of a message."""
    data = block.select(data_columns(block.schema))
    if isinstance(format, WriteRegistered):
        return format.encode(data)
    return _ENCODERS[format](data)


def _json(data: pa.RecordBatch) -> list[bytes]:
    from beamsplit.transforms.write.json_text import json_objects

    values: list[bytes] = json_objects(data).cast(pa.binary()).to_pylist()
    return values


def _arrow(data: pa.RecordBatch) -> list[bytes]:
    from beamsplit.transforms.kafka.arrow_messages import arrow_messages

    return arrow_messages(data)


def _tensor(data: pa.RecordBatch) -> list[bytes]:
    from beamsplit.transforms.kafka.tensor_bytes import tensor_bytes

    return tensor_bytes(data)


_ENCODERS: dict[str, Callable[[pa.RecordBatch], list[bytes]]] = {"json": _json, "arrow": _arrow, "tensor": _tensor}


def headers_of(block: pa.RecordBatch) -> list[Headers]:
    """The headers of each row's output: those of its input, then where that is."""
    origins = block.column(ORIGIN_FILE)
    places = [parse_origin(origin) for origin in origins.dictionary.to_pylist()]
    began = [((IN_TOPIC, topic.encode()), (IN_PARTITION, str(number).encode())) for topic, number in places]
    which = origins.indices.to_pylist()
    offsets = block.column(ORIGIN_ROW).cast(pa.string()).cast(pa.binary()).to_pylist()
    made: list[Headers] = [[*began[at], (IN_OFFSET, offset)] for at, offset in zip(which, offsets, strict=True)]
    if MODEL_VERSION in block.schema.names:
        versions = block.column(MODEL_VERSION).cast(pa.binary()).to_pylist()
        made = [[*own, (VERSION_HEADER, version)] for own, version in zip(made, versions, strict=True)]
    headers = block.column(HEADERS)
    if headers.null_count == len(headers):
        return made
    ours = {IN_TOPIC, IN_PARTITION, IN_OFFSET, VERSION_HEADER}
    return [
        [*((pair["name"], pair["value"]) for pair in given or [] if pair["name"] not in ours), *own]
        for given, own in zip(headers.to_pylist(), made, strict=True)
    ]


class SendDoFn(beam.DoFn):
    """What sends to a topic has in common: one producer an instance, dropped with what it holds if a bundle fails."""

    option = "--output"
    """What names the topic, for errors."""

    def __init__(self, config: ClientConfig, topic: Topic, job_dir: str | None = None):
        self._config, self._topic, self._job_dir = config, topic, job_dir
        self._deliveries: Deliveries | None = None
        self._open = False

    def start_bundle(self) -> None:
        """Open the producer, or one anew after a failure."""
        if self._open:
            # The bundle before failed somewhere: its messages will be made again.
            self.teardown()
        if self._deliveries is None:
            self._deliveries = Deliveries(self._config, self._topic, option=self.option)
        self._open = True

    def deliver(self) -> list[Refusal]:
        """Wait until every message is delivered, but for those that the broker will not take: those."""
        assert self._deliveries is not None
        with ending(self._job_dir):
            refused = self._deliveries.check()
        self._open = False
        return refused

    def teardown(self) -> None:
        """Let go of the producer."""
        if self._deliveries is not None:
            self._deliveries.abandon()
            self._deliveries, self._open = None, False


class SendBlocksDoFn(SendDoFn):
    """Sends the rows of blocks; gives out, as `FAILED`, those that the topic will not take."""

    def __init__(self, config: ClientConfig, topic: Topic, format: MessageFormat, job_dir: str | None = None):
        super().__init__(config, topic, job_dir)
        self._format = format
        self._undelivered = Undelivered(job_dir)
        self._on_their_way: list[Sent] = []

    def start_bundle(self) -> None:
        """As of all, and nothing is on its way."""
        super().start_bundle()
        self._on_their_way = []

    def messages_of(self, block: pa.RecordBatch) -> Messages:
        """The messages of a block's rows."""
        keys, times = block.column(KEY).to_pylist(), block.column(TIME).to_pylist()
        return Messages(encode_rows(self._format, block), keys, headers_of(block), times, block=block)

    def process(self, block: pa.RecordBatch) -> Iterator[Any]:
        """Send a block."""
        assert self._deliveries is not None
        messages, errors = split_refused(self.messages_of(block), self._deliveries.refused)
        with ending(self._job_dir):
            refused = self._deliveries.send(messages)
        errors += [one.messages.error(one.row, one.reason) for one in refused]
        self._tell_of_delivered(messages, refused)
        self._undelivered.count(errors)
        for error in errors:
            yield beam.pvalue.TaggedOutput(FAILED, error)

    def _tell_of_delivered(self, messages: Messages, refused: list[Refusal]) -> None:
        """Of the blocks before, once none of their messages is with the client any more; at the latest at the end."""
        assert self._deliveries is not None
        if recording() is None:
            return
        # The block itself was just handed to the client: what is left of it there hides those before for a while only.
        if not self._deliveries.any_refused and len(self._deliveries.producer) <= len(messages.values) - len(refused):
            tell_delivered(self._on_their_way)
            self._on_their_way = []
        self._on_their_way.append((messages, _rows_of(messages, refused)))

    def finish_bundle(self) -> list[Any]:
        """The bundle succeeds only with every message delivered that the topic takes."""
        refused = self.deliver()
        errors = [one.messages.error(one.row, one.reason) for one in refused]
        given = [(messages, {*left, *_rows_of(messages, refused)}) for messages, left in self._on_their_way]
        tell_delivered(given)
        self._on_their_way = []
        self._undelivered.count(errors)
        return [beam.pvalue.TaggedOutput(FAILED, GlobalWindows.windowed_value_at_end_of_window(one)) for one in errors]


def _rows_of(messages: Messages, refused: Sequence[Refusal]) -> set[int]:
    return {one.row for one in refused if one.messages is messages}


def split_refused(messages: Messages, refused: Callable[[Messages], dict[int, str]]) -> tuple[Messages, list[RowError]]:
    """(messages that the topic may take, errors of those that it will not)."""
    why = refused(messages)
    if not why:
        return messages, []
    return messages.without(set(why)), [messages.error(row, reason) for row, reason in why.items()]


class Undelivered:
    """Counts rows that were scored and could not be delivered: they are failed, and not scored."""

    def __init__(self, job_dir: str | None):
        self._job_dir, self._failures = job_dir, Failures(job_dir)
        self._scored = Metrics.counter("beamsplit", "rows_scored")

    def count(self, errors: Sequence[RowError]) -> None:
        """Take in some more."""
        if not errors:
            return
        self._failures.count(errors)
        self._scored.dec(len(errors))
        if self._job_dir and os.path.isdir(self._job_dir):
            this_worker(self._job_dir).add(-len(errors), 0)


class WriteMessages(beam.PTransform):
    """PCollection of blocks -> PCollection of RowError: each row a message of the topic, or one that it will not take.

    Args:
        config: how to get in.
        topic: to write to.
        format: one of `OUTPUT_FORMATS`, or what writes a registry's schema.
        job_dir: folder that local workers share, for counts.
    """

    def __init__(self, config: ClientConfig, topic: Topic, format: MessageFormat = "json", job_dir: str | None = None):
        super().__init__()
        self._dofn = SendBlocksDoFn(config, topic, format, job_dir)

    def expand(self, blocks: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return undelivered(blocks, self._dofn)


def undelivered(blocks: PCollection, dofn: SendBlocksDoFn) -> PCollection:
    """Send blocks; the rows that the topic will not take."""
    made = blocks | beam.ParDo(dofn).with_output_types(bytes).with_outputs(FAILED, main="none")
    made[FAILED].element_type = RowError
    return made[FAILED]
