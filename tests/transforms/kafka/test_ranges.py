from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import MESSAGE_FIELDS
from beamsplit.transforms.kafka.blocks import origins
from beamsplit.transforms.kafka.origin_columns import AddMessageColumns
from beamsplit.transforms.kafka.ranges import LEAST_MESSAGES, cut_ranges, deal

SPANS = st.dictionaries(
    st.integers(0, 50), st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)).map(sorted).map(tuple), max_size=20
)


@pytest.mark.parametrize("partitions", [[], [0], [3, 3, 3], [2, 0, 2, 5], [7, 1]])
def test_origins_name_the_partition_of_each_and_no_others(partitions: list[int]):
    made = origins("in", np.array(partitions, np.int32))
    assert made.to_pylist() == [f"in/{one}" for one in partitions]
    assert made.dictionary.to_pylist() == [f"in/{one}" for one in sorted(set(partitions))]
    assert made.type == pa.dictionary(pa.int32(), pa.string())


@given(SPANS, st.integers(1, 32), st.integers(1, 8))
def test_ranges_cover_each_partition_once_and_all_are_dealt(spans, pieces: int, workers: int):
    ranges = cut_ranges(spans, pieces)
    for partition, (begin, end) in spans.items():
        own = [(one.begin, one.end) for one in ranges if one.partition == partition]
        assert [low for low, _ in own] == [begin, *(high for _, high in own)][: len(own)]
        assert all(low < high for low, high in own)
        assert (own[-1][1] == end) if begin < end else not own
    total = sum(end - begin for begin, end in spans.values())
    assert all(one.end - one.begin <= max(LEAST_MESSAGES, -(-total // pieces)) for one in ranges)
    assert sorted(deal(ranges, workers), key=lambda one: (one.partition, one.begin)) == ranges


@pytest.mark.parametrize(("key", "shown"), [(b"a1", "a1"), (None, None), (b"\xff1", "\\xff1")])
def test_files_tell_the_message_of_each_row(key: bytes | None, shown: str | None):
    columns = [
        pa.array([1.0, 2.0]),
        origins("in", np.array([3, 3], np.int32)),
        pa.array([7, 8]),
        pa.array([b"k", key], pa.binary()),
        pa.nulls(2, MESSAGE_FIELDS[3].type),
        pa.array([-1, -1]),
    ]
    schema = pa.schema([pa.field("y", pa.float64()), *MESSAGE_FIELDS])
    block = pa.RecordBatch.from_arrays(columns, schema=schema)
    made = AddMessageColumns()(block).block
    assert made.schema == AddMessageColumns().output_schema(block.schema)
    assert made.schema.names[:4] == ["y", "input_partition", "input_offset", "input_key"]
    assert made.select([1, 2, 3]).to_pylist()[1] == {"input_partition": 3, "input_offset": 8, "input_key": shown}


def test_a_column_of_that_name_is_refused():
    with pytest.raises(UsageError, match="get a column 'input_key', and there is one already; leave it out of --keep"):
        AddMessageColumns().output_schema(pa.schema([("input_key", pa.string())]))
