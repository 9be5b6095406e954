from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.transforms.apply import apply_step
from beamsplit.transforms.kafka.arrow_messages import arrow_messages
from beamsplit.transforms.kafka.blocks import RAW_SCHEMA, VALUE, block_of
from beamsplit.transforms.kafka.messages import ParseMessages, parse_values
from beamsplit.transforms.kafka.tensor_bytes import tensor_bytes
from tests.transforms.kafka.fake_message import FakeMessage

LIST = pa.schema([pa.field("x", pa.list_(pa.float32())), pa.field("id", pa.int64())])
TENSOR = pa.schema([pa.field("x", pa.fixed_shape_tensor(pa.float32(), (2,))), pa.field("id", pa.int16())])


def binary(*values: bytes | None) -> pa.Array:
    return pa.array(values, pa.binary())


def test_a_block_keeps_what_messages_carry():
    block = block_of([FakeMessage(b"a", 3, 7, b"k", [("h", b"1"), ("h", None)], 5), FakeMessage(None, 1, 9)], "in")
    assert block.schema == RAW_SCHEMA
    assert block.to_pylist() == [
        {
            "_value": b"a",
            "_origin_file": "in/3",
            "_origin_row": 7,
            "_key": b"k",
            "_headers": [{"name": "h", "value": b"1"}, {"name": "h", "value": None}],
            "_time": 5,
        },
        {"_value": None, "_origin_file": "in/1", "_origin_row": 9, "_key": None, "_headers": None, "_time": -1},
    ]


def test_json_messages_are_rows_and_bad_ones_are_told():
    rows = parse_values(
        "json",
        binary(b'{"x": [1, 2],\n "id": 1}', b"oops", b"", None, b'{"x": "y"}', b'{"id": 2}\n', b'{}{"id": 3}', b"\xff"),
        LIST,
    )
    assert rows.batch.to_pylist() == [{"x": [1.0, 2.0], "id": 1}, {"x": None, "id": 2}]
    assert rows.sources is not None and rows.sources.tolist() == [0, 5]
    assert sorted(rows.bad) == [1, 2, 3, 4, 6, 7] and all(rows.bad.values())


@pytest.mark.parametrize(
    "values",
    [
        [b'{"id": 2}{"id": 3}', b'{"a": [{"b": 1},', b'{"b": 2}], "id": 1}'],
        [b'{"a": [{"b": 1},', b'{"b": 2}], "id": 1}', b'{"id": 2}{"id": 3}'],
        [b"", b'{"id": 2}{"id": 3}'],
        [b'{"id": 2}\n{"id": 3}', None],
        [b" \n", b'{"id": 2}\n{"id": 3}'],
    ],
)
def test_messages_that_hold_as_many_objects_together_are_bad_where_each_does_not_hold_one(values):
    rows = parse_values("json", binary(*values, b'{"id": 9}'), pa.schema([("id", pa.int64())]))
    assert rows.batch.to_pylist() == [{"id": 9}] and rows.sources is not None and rows.sources.tolist() == [len(values)]
    assert sorted(rows.bad) == list(range(len(values)))


def test_a_line_feed_is_a_blank_between_values_and_none_in_a_text():
    schema = pa.schema([("s", pa.string()), ("j", pa.json_())])
    given = binary(b'{"s": "a\nb"}', b'{"s":\r\n"a\\nb",\n"j": [1,\n {"k":\n2}]}\n', b'{"j": "c\nd"}')
    rows = parse_values("json", given, schema)
    assert rows.batch.to_pylist() == [{"s": "a\nb", "j": '[1,  {"k": 2}]'}]
    assert sorted(rows.bad) == [0, 2] and rows.sources is not None and rows.sources.tolist() == [1]


def test_a_value_of_another_kind_is_told_with_its_field():
    schema = pa.schema([("x", pa.list_(pa.float32())), ("id", pa.string())])
    rows = parse_values("json", binary(b'{"id": 7}', b'{"x": [1, "a"]}', b'{"x": 1}'), schema)
    assert rows.bad == {
        0: "no such JSON object: field 'id' holds a value of kind number, and is of kind string",
        1: "no such JSON object: field 'x' holds a value of kind string, and is of kind number",
        2: "no such JSON object: field 'x' holds a value of kind number, and is of kind array",
    }


@given(st.lists(st.one_of(st.integers(0, 9), st.none()), max_size=20))
def test_json_good_and_bad_messages_keep_their_places(ids):
    texts = [b"bad" if one is None else json.dumps({"id": one}).encode() for one in ids]
    rows = parse_values("json", binary(*texts), pa.schema([pa.field("id", pa.int64())]))
    places = list(range(len(ids))) if rows.sources is None else rows.sources.tolist()
    assert dict(zip(places, rows.batch.column("id").to_pylist(), strict=True)) == {
        at: one for at, one in enumerate(ids) if one is not None
    }
    assert set(rows.bad) == {at for at, one in enumerate(ids) if one is None}


def test_tensor_messages_are_the_bytes_of_their_columns():
    values = [np.array([1, 2], "<f4").tobytes() + np.array(7, "<i2").tobytes(), b"\0" * 9, None, b"\0" * 10]
    rows = parse_values("tensor", binary(*values), TENSOR)
    assert rows.batch.column("id").to_pylist() == [7, 0]
    assert rows.batch.column("x").to_numpy_ndarray().tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert rows.sources is not None and rows.sources.tolist() == [0, 3]
    assert "has 9 bytes, and a row of x: float32[2], id: int16 has 10" in rows.bad[1] and "no value" in rows.bad[2]


def test_tensor_bytes_are_read_back():
    values = [np.array([i, 2], "<f4").tobytes() + np.array(7, "<i2").tobytes() for i in range(4)]
    rows = parse_values("tensor", binary(*values).slice(1), TENSOR)
    assert tensor_bytes(rows.batch) == values[1:]


def test_any_byte_but_0_is_true_in_tensor_bytes():
    schema = pa.schema([pa.field("ok", pa.bool_()), pa.field("f", pa.fixed_shape_tensor(pa.bool_(), (2,)))])
    rows = parse_values("tensor", binary(b"\0\1\0", b"\1\0\2", b"\xff\x80\1"), schema)
    assert rows.batch["ok"].to_pylist() == [False, True, True]
    flags = rows.batch["f"].storage.to_pylist()
    assert flags == [[True, False], [False, True], [True, True]]


def test_a_list_of_any_length_is_tensor_bytes_too():
    schema = pa.schema([pa.field("x", pa.list_(pa.int32()))])
    rows = parse_values("tensor", binary(np.array([1, 2, 3], "<i4").tobytes(), b"", b"123"), schema)
    assert rows.batch.column("x").to_pylist() == [[1, 2, 3], []] and list(rows.bad) == [2]


def test_arrow_messages_of_one_row_and_of_several():
    batch = pa.RecordBatch.from_pylist([{"x": [1.0], "id": 1}, {"x": [2.0], "id": 2}], schema=LIST)
    ones = arrow_messages(batch)
    assert parse_values("arrow", binary(*ones), LIST).batch.equals(batch)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, LIST) as writer:
        writer.write_batch(batch)
    rows = parse_values("arrow", binary(sink.getvalue().to_pybytes(), b"oops", ones[0], None, ones[0][:-20]), LIST)
    assert rows.sources is not None and rows.sources.tolist() == [0, 0, 2] and sorted(rows.bad) == [1, 3, 4]
    assert rows.batch.column("id").to_pylist() == [1, 2, 1]


def test_arrow_messages_without_a_column_are_bad():
    other = arrow_messages(pa.RecordBatch.from_pylist([{"id": 1}]))
    assert "no column 'x'" in parse_values("arrow", binary(*other), LIST).bad[0]


def test_raw_messages_are_bytes_or_text():
    raw = parse_values("raw", binary(b"\xff", None), pa.schema([pa.field("bytes", pa.binary())]))
    assert raw.batch.to_pylist() == [{"bytes": b"\xff"}] and list(raw.bad) == [1]
    text = parse_values("raw", binary(b"\xff", b"a"), pa.schema([pa.field("text", pa.string())]))
    assert text.batch.to_pylist() == [{"text": "a"}] and "UTF-8" in text.bad[0]


@pytest.mark.parametrize("format", ["json", "tensor", "arrow", "raw"])
def test_failures_name_topic_partition_and_offset(format: str):
    step = ParseMessages(format, pa.schema([pa.field("bytes", pa.binary())]) if format == "raw" else TENSOR)
    if format in ("json", "arrow"):
        step = ParseMessages(format, LIST)
    block = block_of([FakeMessage(None, 3, 17, b"k", None, 1)], "in")
    result, errors = apply_step(step, "read", block)
    assert result.num_rows == 0 and result.schema == step.output_schema(block.schema)
    assert [(error.file, error.row, error.stage) for error in errors] == [("in/3", 17, "read")]
    assert VALUE not in result.schema.names
