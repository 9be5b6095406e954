"""What a topic takes, by its settings; that sizes are the broker's own is shown in tests/services."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.transforms.block import HEADERS
from beamsplit.transforms.kafka import limits
from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.limits import KnownLimits, TopicLimits, batch_bytes, header_bytes, limits_of
from beamsplit.transforms.kafka.outgoing import Messages
from tests.transforms.kafka.fake_message import FakeMessage

NOW = 1_700_000_000_000
HOUR = 3_600_000


def messages(
    values: list[bytes],
    keys: list[bytes | None] | None = None,
    headers: list[list[tuple[str, bytes | None]]] | None = None,
    times: list[int] | None = None,
) -> Messages:
    rows = len(values)
    headers = headers or [[]] * rows
    block = block_of([FakeMessage(b"", 0, i, None, headers[i] or None, 1) for i in range(rows)], "in")
    return Messages(values, keys or [None] * rows, headers, times or [NOW] * rows, block=block)


HEADER = st.tuples(st.text("ab", max_size=3), st.none() | st.binary(max_size=70))


@given(
    st.lists(
        st.tuples(st.binary(max_size=70), st.none() | st.binary(max_size=70), st.lists(HEADER, max_size=3)),
        min_size=1,
        max_size=8,
    ),
    st.integers(60, 400),
)
def test_those_and_only_those_are_refused_that_are_larger(rows, most: int):
    values, keys, headers = (list(column) for column in zip(*rows, strict=True))
    found = TopicLimits(bytes=most).refused(messages(values, keys, headers), "out", False, NOW)
    sizes = [batch_bytes(*row) for row in rows]
    assert sorted(found) == [at for at, size in enumerate(sizes) if size > most]
    assert all(f"the message is {sizes[at]:,} bytes, and topic 'out' takes {most}" in why for at, why in found.items())
    assert TopicLimits(bytes=most).refused(messages(values, keys, headers), "out", True, NOW) == {}, "compressed"
    without_rows = messages(values, keys, headers)._replace(block=None)
    assert TopicLimits(bytes=most).refused(without_rows, "out", False, NOW) == found


@pytest.mark.parametrize("length", [0, 1, 62, 63, 64, 8190, 8191, 8192, 2**20])
def test_lengths_are_written_in_seven_bits_a_byte(length: int):
    # 61 of the batch, the record's length, 3 fixed bytes, no key, the value with its length, no headers.
    zigzag = lambda number: (max(1, (2 * number).bit_length()) + 6) // 7  # noqa: E731
    record = 3 + 1 + zigzag(length) + length + 1
    assert batch_bytes(b"v" * length, None, []) == 61 + zigzag(record) + record


def test_the_bytes_of_headers_are_each_rows_own():
    block = block_of(
        [
            FakeMessage(b"", 0, 0, None, [("a", b"12"), ("bc", None)], 1),
            FakeMessage(b"", 0, 1, None, None, 1),
            FakeMessage(b"", 0, 2, None, [("d", b"")], 1),
        ],
        "in",
    )
    column = block.column(HEADERS)
    assert header_bytes(column).tolist() == [5 + 20, 0, 1 + 10]
    assert header_bytes(column.slice(1)).tolist() == [0, 11]
    assert header_bytes(pa.nulls(2, column.type)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("topic", "ahead", "refused"),
    [
        (TopicLimits(after_ms=HOUR), [0, HOUR, HOUR + 120_000], [2]),
        (TopicLimits(after_ms=HOUR), [HOUR + 30_000], []),  # the broker's clock may be another
        (TopicLimits(before_ms=HOUR), [0, -HOUR, -HOUR - 120_000], [2]),
        (TopicLimits(before_ms=HOUR, after_ms=HOUR), [2 * HOUR, -2 * HOUR, 0], [0, 1]),
        (TopicLimits(before_ms=HOUR), [-NOW, -NOW - 1], []),  # none: sent with the time of sending
        (TopicLimits(), [10**14, -NOW], []),
    ],
)
def test_times_beyond_the_limits_are_refused(topic: TopicLimits, ahead: list[int], refused: list[int]):
    found = topic.refused(messages([b"v"] * len(ahead), times=[NOW + ms for ms in ahead]), "out", False, NOW)
    assert sorted(found) == refused
    assert all("message.timestamp." in why and "topic 'out'" in why for why in found.values())


def test_a_compacted_topic_wants_keys():
    found = TopicLimits(keyed=True).refused(messages([b"a", b"b", b"c"], [b"k", None, b""]), "out", False, NOW)
    assert list(found) == [1] and "wants a key" in found[1]


TIMES = "message.timestamp."


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"max.message.bytes": "1048588", "cleanup.policy": "delete"}, TopicLimits(bytes=1_048_588)),
        ({"cleanup.policy": "compact"}, TopicLimits(keyed=True)),
        ({f"{TIMES}before.max.ms": str(2**63 - 1), f"{TIMES}after.max.ms": "5"}, TopicLimits(after_ms=5)),
        ({f"{TIMES}difference.max.ms": "7"}, TopicLimits(before_ms=7, after_ms=7)),
        (
            {f"{TIMES}difference.max.ms": "7", f"{TIMES}before.max.ms": "8", f"{TIMES}after.max.ms": "9"},
            TopicLimits(before_ms=8, after_ms=9),
        ),
        ({f"{TIMES}type": "LogAppendTime", f"{TIMES}after.max.ms": "5"}, TopicLimits()),
        ({"max.message.bytes": None}, TopicLimits()),
    ],
)
def test_settings_of_all_versions_of_brokers(settings: dict[str, str | None], found: TopicLimits):
    assert limits_of(settings) == found


def test_before_a_message_is_refused_settings_are_read_again(monkeypatch: pytest.MonkeyPatch):
    now = [TopicLimits(bytes=70)]
    reads = []
    monkeypatch.setattr(limits, "read_limits", lambda *_: reads.append(1) or now[0])
    monkeypatch.setattr(limits, "AGAIN_SECONDS", 0.0)
    known = KnownLimits(ClientConfig("h:1"), Topic("h:1", "out"))
    small, large = messages([b"v"]), messages([b"v" * 50])
    assert known.refused(small, False) == {} and len(reads) == 1
    assert list(known.refused(large, False)) == [0] and len(reads) == 2
    now[0] = TopicLimits(bytes=1000)
    assert known.refused(large, False) == {}
    now[0] = None  # type: ignore[assignment]
    assert known.refresh() == TopicLimits(bytes=1000), "the broker is away: what is known stays"


def test_many_rows_are_looked_at_by_column():
    rows = messages([b"v" * 10] * 50_000)
    assert TopicLimits(bytes=2000, after_ms=HOUR).refused(rows, "out", False, NOW) == {}
    assert np.all(header_bytes(rows.block.column(HEADERS)) == 0)
