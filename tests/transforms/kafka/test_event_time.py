from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.utils.timestamp import Timestamp

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.event_time import EventTime, check_event_time, times_of
from beamsplit.transforms.kafka.reader import KafkaReader
from beamsplit.transforms.kafka.schema import message_schema, parse_schema
from beamsplit.transforms.kafka.source import KafkaSource
from tests.transforms.kafka.fake_message import FakeMessage

SENT = 9_000
"""The timestamp of every message."""


def block(*values: bytes | None) -> pa.RecordBatch:
    return block_of([FakeMessage(value, 0, at, None, None, SENT) for at, value in enumerate(values)], "in")


def json_of(*values: Any) -> pa.RecordBatch:
    return block(*(json.dumps({"x": [1.5], "ts": value}).encode() for value in values))


IN_JSON = EventTime("ts", "json", pa.schema([]))


@pytest.mark.parametrize(
    ("values", "times", "missing"),
    [
        ([5, 7, 6], [5, 7, 6], 0),
        (["1970-01-01T00:00:01Z", "1970-01-01 00:00:02.5+00:00"], [1000, 2500], 0),
        (["1970-01-02", "1970-01-01T00:00:03", "1970-01-01T01:00+01"], [86_400_000, 3000, 0], 0),
        ([5, "1970-01-01T00:00:01Z", None, 6], [5, 1000, SENT, 6], 1),
        (["soon", "1970-13-01", "1970-01-01T00:00:01Z", ""], [SENT, SENT, 1000, SENT], 3),
        ([1.5, True, [1], -3, 10**17], [SENT] * 5, 5),
    ],
)
def test_times_in_json(values: list[Any], times: list[int], missing: int):
    found, bad = IN_JSON.of(json_of(*values))
    assert found.tolist() == times and bad == missing


def test_messages_that_cannot_be_read_have_the_timestamp_of_the_message():
    found, bad = IN_JSON.of(block(b"oops", None, b'{"ts": 5}', b"{}", b"[1]"))
    assert found.tolist() == [SENT, SENT, 5, SENT, SENT] and bad == 4


def arrow(column: pa.Array) -> bytes:
    batch = pa.record_batch({"ts": column, "x": pa.nulls(len(column), pa.float32())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([4000, 3000]),
        pa.array([4_000_000, 3_000_000], pa.timestamp("us")),
        pa.array([4, 3], pa.timestamp("s", "Europe/Paris")),
        pa.array(["1970-01-01T00:00:04Z", "1970-01-01T00:00:03Z"]),
    ],
)
def test_times_in_arrow_the_earliest_of_the_rows_of_a_message(column: pa.Array):
    values = (
        arrow(column),
        b"oops",
        arrow(column.slice(0, 1)),
        arrow(column.slice(0, 0)),
        arrow(pa.nulls(1, column.type)),
    )
    found, bad = EventTime("ts", "arrow", pa.schema([])).of(block(*values))
    assert found.tolist() == [3000, SENT, 4000, SENT, SENT] and bad == 3
    assert EventTime("other", "arrow", pa.schema([])).of(block(*values))[1] == 5


def test_times_in_tensors():
    fields = parse_schema("x:float32[2],ts:int64")
    event_time = check_event_time("ts", "tensor", fields, message_schema("tensor", fields))
    value = np.float32([1, 2]).tobytes() + np.int64(77).tobytes()
    found, bad = event_time.of(block(value, b"short"))
    assert found.tolist() == [77, SENT] and bad == 1


def test_a_column_that_is_no_time_has_none():
    assert times_of(pa.array([1.5, 2.5])).tolist() == [-1, -1]
    assert times_of(pa.array([2**63 + 5], pa.uint64())).tolist()[0] < 0


@pytest.mark.parametrize(
    ("format", "schema", "said"),
    [
        ("raw", "bytes:bytes", "messages of --format raw have none"),
        ("tensor", "x:float32[2]", "declare it, --schema x:float32[2],ts:int64"),
        ("tensor", "x:float32[2],ts:float32", "the field is ts: float32[], and a time is int64;"),
        ("json", "x:float32[2],ts:int64[3]", "the field is ts: int64[3], and a time is int64 or string"),
    ],
)
def test_what_is_no_time_is_told(format: str, schema: str, said: str):
    fields = parse_schema(schema)
    with pytest.raises(UsageError) as told:
        check_event_time("ts", format, fields, message_schema(format, fields))
    assert said in str(told.value)


def test_a_field_that_is_not_declared_may_be_there_all_the_same():
    fields = parse_schema("x:float32[2]")
    assert check_event_time("ts", "json", fields, message_schema("json", fields)).column == "ts"


def test_the_watermark_follows_the_times_of_the_slowest_partition():
    source = KafkaSource(ClientConfig("here:1"), Topic("here:1", "in"), "g", part=0, event_time=IN_JSON)
    reader = KafkaReader(source, {})
    for partition, times in ((0, [5000, 6000]), (1, [3000, 4000, None])):
        values = [json.dumps({"ts": one}).encode() for one in times]
        messages = [FakeMessage(value, partition, at, None, None, 100) for at, value in enumerate(values)]
        reader._block = block_of(messages, "in")
        reader._note(messages, reader._block, time.monotonic())
        assert reader.get_current_timestamp() == Timestamp(micros=1000 * min(one or 100 for one in times))
    assert reader.get_watermark() == Timestamp(seconds=4)
    assert reader._block.column("_time").to_pylist() == [100] * 3
