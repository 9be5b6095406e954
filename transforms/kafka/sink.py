"""Writes predictions to a topic: each with the key, headers and time of the message it was made of.

Element:   a block of predictions with the columns of `block.MESSAGE_FIELDS`
Delivery:  at least once: a bundle is done when the brokers have all of its messages (acks=all, idempotent), else it
           fails and is done again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from transforms.block import HEADERS, KEY, MODEL_VERSION, ORIGIN_FILE, ORIGIN_ROW, TIME, data_columns
from transforms.kafka.blocks import parse_origin
from transforms.kafka.clients import ANSWER_MS, ClientErrors, make_producer
from transforms.kafka.config import ClientConfig, Topic
from transforms.model_version import HEADER as VERSION_HEADER

OUTPUT_FORMATS = ("json", "arrow", "tensor")

IN_TOPIC, IN_PARTITION, IN_OFFSET = "input.topic", "input.partition", "input.offset"
"""Headers that tell which message an output was made of."""

FLUSH_SECONDS = 150.0
"""How long a bundle waits for its messages: longer than `delivery.timeout.ms`, so that each has its report."""

DELIVERY_MS = 120_000
"""After this the producer gives a message up: a broker may be away so long."""

TRANSACTION_MS = 180_000
"""After this the broker aborts a transaction that was left open: longer than `DELIVERY_MS`, and shorter than the 15
minutes that brokers allow unless told otherwise."""

IDLE_MS = 5_000
"""After this a transactional producer closes a connection that nobody uses.

Where a broker goes away and comes back, librdkafka may wait without end in `send_offsets_to_transaction`, whatever time
it is given: it looks again only when some connection opens or closes (its issues 5456 and 5511). This makes one close.
"""

Headers = Sequence["tuple[str, bytes | None]"]


def encode_rows(format: str, block: pa.RecordBatch) -> list[bytes]:
    """The user's columns of each row as the value of a message, in one of `OUTPUT_FORMATS`."""
    data = block.select(data_columns(block.schema))
    return _ENCODERS[format](data)


def _json(data: pa.RecordBatch) -> list[bytes]:
    from transforms.write.json_text import json_objects

    values: list[bytes] = json_objects(data).cast(pa.binary()).to_pylist()
    return values


def _arrow(data: pa.RecordBatch) -> list[bytes]:
    from transforms.kafka.arrow_messages import arrow_messages

    return arrow_messages(data)


def _tensor(data: pa.RecordBatch) -> list[bytes]:
    from transforms.kafka.tensor_bytes import tensor_bytes

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


@dataclass
class Deliveries:
    """Messages on their way to a topic."""

    config: ClientConfig
    topic: Topic
    transactional_id: str | None = None
    """Of a producer whose messages count when their transaction is committed; None has no transactions."""

    option: str = "--output"
    """What names the topic."""

    def __post_init__(self) -> None:
        self.errors = ClientErrors()
        """What the client was told."""
        self._failed: list[tuple[str, str]] = []  # topic, reason
        self._errors_topic: Topic | None = None
        transactions = {
            "transactional_id": self.transactional_id,
            "transaction_timeout_ms": TRANSACTION_MS,
            "connections_max_idle_ms": IDLE_MS,
            "socket_timeout_ms": ANSWER_MS,
        }
        self.producer = make_producer(
            self.config,
            self.errors,
            partitioner="murmur2_random",
            delivery_timeout_ms=DELIVERY_MS,
            # Python is called for failures only: a call a message would cost as much as the rest.
            delivery_report_only_error=True,
            on_delivery=self._report,
            queue_buffering_max_messages=1_000_000,
            **(transactions if self.transactional_id else {}),
        )
        """The client itself."""

    def send(
        self,
        values: Sequence[bytes],
        keys: Sequence[bytes | None],
        headers: Sequence[Headers],
        times: Sequence[int],
        topic: Topic | None = None,
    ) -> None:
        """Hand messages to the producer, for its topic or for one of errors; waits where its queue is full."""
        self._errors_topic = topic or self._errors_topic
        produce, name = self.producer.produce, (topic or self.topic).name
        for value, key, header, time in zip(values, keys, headers, times, strict=True):
            while True:
                try:
                    # By position: named arguments cost half as much again. -1 is any partition.
                    produce(name, value, key, -1, None, None, max(time, 0), header)
                    break
                except BufferError:
                    self.producer.poll(0.1)
        self.producer.poll(0)

    def check(self) -> None:
        """Wait until all messages are with the brokers.

        Raises:
            RuntimeError: some are not.
        """
        left = self.producer.flush(FLUSH_SECONDS)
        if left or self._failed or self.errors.fatal:
            reason = self.errors.fatal or (self._failed[0][1] if self._failed else self.errors.reason())
            count = left + len(self._failed)
            raise RuntimeError(f"{self._where()}: {count} messages were not delivered: {reason}")

    def _where(self) -> str:
        """The topics whose messages failed, by their options; all where the client told of none."""
        known = {self.topic.name: f"{self.option} {self.topic}"}
        if self._errors_topic is not None:
            known[self._errors_topic.name] = f"--errors {self._errors_topic}"
        failed = dict.fromkeys(name for name, _ in self._failed)
        return ", ".join(known[name] for name in failed or known)

    def abandon(self) -> None:
        """Drop what waits."""
        self.producer.purge()
        self.producer.flush(1)

    def _report(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append((message.topic(), error.str()))


class SendDoFn(beam.DoFn):
    """What sends to a topic has in common: one producer an instance, dropped with what it holds if a bundle fails."""

    option = "--output"
    """What names the topic, for errors."""

    def __init__(self, config: ClientConfig, topic: Topic):
        self._config, self._topic = config, topic
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

    def finish_bundle(self) -> None:
        """The bundle succeeds only with every message delivered."""
        assert self._deliveries is not None
        self._deliveries.check()
        self._open = False

    def teardown(self) -> None:
        """Let go of the producer."""
        if self._deliveries is not None:
            self._deliveries.abandon()
            self._deliveries, self._open = None, False


class _BlocksDoFn(SendDoFn):
    def __init__(self, config: ClientConfig, topic: Topic, format: str):
        super().__init__(config, topic)
        self._format = format

    def process(self, block: pa.RecordBatch) -> None:
        assert self._deliveries is not None
        keys = block.column(KEY).to_pylist()
        times = block.column(TIME).to_pylist()
        self._deliveries.send(encode_rows(self._format, block), keys, headers_of(block), times)


class WriteMessages(beam.PTransform):
    """PCollection of blocks -> nothing more: each row a message of the topic."""

    def __init__(self, config: ClientConfig, topic: Topic, format: str = "json"):
        super().__init__()
        self._dofn = _BlocksDoFn(config, topic, format)

    def expand(self, blocks: PCollection) -> PCollection:
        """Wire: one ParDo."""
        return blocks | beam.ParDo(self._dofn).with_output_types(bytes)
