"""What a topic takes: how large a message may be, of what time, and whether it must have a key.

The settings of the topic tell before a message is sent, which spares a transaction that would be made again. Where a
client may not read them, nothing is known, and what the broker refuses is found out one by one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import HEADERS
from beamsplit.transforms.kafka.clients import make_admin, require_client
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.outgoing import Messages

ANSWER_SECONDS = 5.0
"""How long the broker may take to tell the settings of a topic."""

AGAIN_SECONDS = 10.0
"""Before a message is refused settings older than this are read again: they may have been mended."""

CLOCK_MS = 60_000
"""By how much this machine's clock and the broker's may differ: closer to the edge the broker is asked."""

BATCH_BYTES, RECORD_BYTES = 61, 23
"""Of a batch's head; the most of a record's own lengths, without its headers'."""

HEADER_BYTES, OWN_HEADERS_BYTES = 10, 1024
"""The most of a header's lengths; more than the headers take that an output is given beside those of its input."""

CLIENTS_MOST = 1_000_000
"""Bytes of a message that librdkafka takes unless `message.max.bytes` says otherwise."""


@dataclass(frozen=True)
class TopicLimits:
    """What the settings of a topic say; None and False where they say nothing or cannot be read."""

    bytes: int | None = None
    """Of a batch of messages, one at least, after compression (`max.message.bytes`)."""

    before_ms: int | None = None
    """A message's time may lie so far behind the broker's clock (`message.timestamp.before.max.ms`)."""

    after_ms: int | None = None
    """A message's time may lie so far ahead of the broker's clock (`message.timestamp.after.max.ms`)."""

    keyed: bool = False
    """A message must have a key (`cleanup.policy=compact`)."""

    def refused(
        self, messages: Messages, name: str, compressed: bool, now_ms: int, slack_ms: int = CLOCK_MS
    ) -> dict[int, str]:
        """Position of each message that the topic will not take, and why.

        Args:
            messages: for the topic.
            name: of the topic.
            compressed: whether the client compresses: then only the broker knows how large a message is.
            now_ms: milliseconds since 1970.
            slack_ms: times less than this beyond a limit are left to the broker.
        """
        found: dict[int, str] = {}
        if self.keyed and None in messages.keys:
            why = f"topic {name!r} is compacted (cleanup.policy) and wants a key, and the message has none"
            found |= dict.fromkeys((row for row, key in enumerate(messages.keys) if key is None), why)
        if self.bytes is not None and not compressed:
            for row in _candidates(messages, self.bytes):
                size = batch_bytes(*messages.one(row)[:3])
                if size > self.bytes:
                    found[row] = self.too_large(size, name)
        if self._any_time_beyond(messages.times, now_ms):
            ahead = np.asarray(messages.times, np.int64) - now_ms
            for limit, over, side, setting in (
                (self.after_ms, ahead, "ahead of", "message.timestamp.after.max.ms"),
                (self.before_ms, -ahead, "behind", "message.timestamp.before.max.ms"),
            ):
                if limit is None:
                    continue
                for row in np.flatnonzero((over > limit + slack_ms) & (ahead > -now_ms)).tolist():
                    told = f"its time {_time(messages.times[row])} is more than {limit:,} ms {side} the broker's clock"
                    found[row] = f"{told}, which topic {name!r} refuses ({setting})"
        return found

    def _any_time_beyond(self, times: Sequence[int], now_ms: int) -> bool:
        """Whether any of the times may be: asked of all messages, and mostly not so."""
        if not times:
            return False
        late = self.after_ms is not None and max(times) > now_ms + self.after_ms
        return late or (self.before_ms is not None and min(times) < now_ms - self.before_ms)

    def too_large(self, size: int, name: str) -> str:
        """Why a message of so many bytes is refused."""
        return f"the message is {size:,} bytes, and topic {name!r} takes {self.bytes:,} (max.message.bytes)"


def batch_bytes(value: bytes, key: bytes | None, headers: Any) -> int:
    """Bytes of a batch that holds this one message (KIP-98's format, not compressed)."""
    record = 3 + _sized(value) + _sized(key) + _varint(len(headers))
    record += sum(_sized(name.encode()) + _sized(content) for name, content in headers)
    return BATCH_BYTES + _varint(record) + record


def _sized(data: bytes | None) -> int:
    """Bytes of some data behind their length; of none it is -1."""
    return 1 if data is None else _varint(len(data)) + len(data)


def _varint(number: int) -> int:
    """Bytes of a length, which is written with its sign (zigzag) in 7 bits a byte."""
    return max(1, -(-(2 * number).bit_length() // 7))


def _candidates(messages: Messages, limit: int) -> list[int]:
    """Positions of messages that may be larger, by an upper bound."""
    if not messages.values:
        return []
    room = limit - BATCH_BYTES - RECORD_BYTES - OWN_HEADERS_BYTES
    longest = max(map(len, messages.values)) + max(map(len, filter(None, messages.keys)), default=0)
    if messages.block is None:
        own = (sum(len(name) + len(content or b"") + HEADER_BYTES for name, content in one) for one in messages.headers)
        headers = np.fromiter(own, np.int64, len(messages.values))
    elif _has_headers(messages.block):
        headers = header_bytes(messages.block.column(HEADERS))
    else:
        headers = np.zeros(len(messages.values), np.int64)
    if longest + headers.max() <= room:
        return []
    lengths = (len(value) + len(key or b"") for value, key in zip(messages.values, messages.keys, strict=True))
    sizes = np.fromiter(lengths, np.int64, len(messages.values)) + headers
    return np.flatnonzero(sizes > room).tolist()


def _has_headers(block: pa.RecordBatch) -> bool:
    return HEADERS in block.schema.names and block.column(HEADERS).null_count < block.num_rows


def header_bytes(column: pa.ListArray) -> np.ndarray:
    """At most so many bytes are the headers of each row, [rows]."""
    begins = column.offsets.to_numpy()
    found: np.ndarray = HEADER_BYTES * np.diff(begins).astype(np.int64)
    for part in (column.values.field("name"), column.values.field("value")):
        if len(part):
            ends = np.frombuffer(part.buffers()[1], np.int32, len(part) + 1, 4 * part.offset)
            found += np.diff(ends[begins])
    return found


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        return f"{ms} ms"


def limits_of(settings: Mapping[str, str | None]) -> TopicLimits:
    """What the settings of a topic, by name, come to.

    >>> limits_of({"max.message.bytes": "1000", "cleanup.policy": "compact,delete"})
    TopicLimits(bytes=1000, before_ms=None, after_ms=None, keyed=True)
    """

    def number(name: str) -> int | None:
        text = settings.get(name) or ""
        found = int(text) if text.isdigit() else None
        return None if found is None or found >= 2**62 else found

    before = after = None
    if settings.get("message.timestamp.type") != "LogAppendTime":
        # Before Kafka 3.6 one setting was for both.
        both = number("message.timestamp.difference.max.ms")
        before = number("message.timestamp.before.max.ms") if "message.timestamp.before.max.ms" in settings else both
        after = number("message.timestamp.after.max.ms") if "message.timestamp.after.max.ms" in settings else both
    keyed = "compact" in (settings.get("cleanup.policy") or "").split(",")
    return TopicLimits(number("max.message.bytes"), before, after, keyed)


def read_limits(config: ClientConfig, topic: str) -> TopicLimits | None:
    """What a topic takes, by its settings; None where they cannot be read."""
    kafka = require_client()
    from confluent_kafka.admin import ConfigResource, ResourceType

    asked = ConfigResource(ResourceType.TOPIC, topic)
    try:
        client = make_admin(config)
        answer = client.describe_configs([asked], request_timeout=ANSWER_SECONDS)[asked]
        return limits_of({name: entry.value for name, entry in answer.result(2 * ANSWER_SECONDS).items()})
    except (kafka.KafkaException, TimeoutError):  # away, or not ours to read
        return None


class KnownLimits:
    """What a topic takes, read on a thread of its own to begin with, and again when something is refused."""

    def __init__(self, config: ClientConfig, topic: Topic):
        self._config, self._topic = config, topic
        self._lock = threading.Lock()
        self._read_at = 0.0
        self._found = TopicLimits()
        self._first = threading.Thread(target=self.refresh, name="topic-settings", daemon=True)
        self._first.start()

    def now(self) -> TopicLimits:
        """What is known."""
        self._first.join()
        return self._found

    def refresh(self, older: float = 0.0) -> TopicLimits:
        """Read the settings again if what is known is older than so many seconds."""
        with self._lock:
            if not self._read_at or time.monotonic() - self._read_at >= older:
                found = read_limits(self._config, self._topic.name)
                self._found = self._found if found is None else found
                self._read_at = time.monotonic()
            return self._found

    def refused(self, messages: Messages, compressed: bool) -> dict[int, str]:
        """See `TopicLimits.refused`; what is refused is so by settings that were just read."""
        now_ms = int(time.time() * 1000)
        found = self.now().refused(messages, self._topic.name, compressed, now_ms)
        if found:
            found = self.refresh(AGAIN_SECONDS).refused(messages, self._topic.name, compressed, now_ms)
        return found


_KNOWN: dict[tuple[ClientConfig, Topic], KnownLimits] = {}
_LOCK = threading.Lock()


def known_limits(config: ClientConfig, topic: Topic) -> KnownLimits:
    """Those of a topic, read once in this process."""
    with _LOCK:
        if (config, topic) not in _KNOWN:
            _KNOWN[config, topic] = KnownLimits(config, topic)
        return _KNOWN[config, topic]
