from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.transforms.kafka.blocks import RAW_SCHEMA, origins
from beamsplit.transforms.kafka.gaps import GapFoundError, gaps_of
from beamsplit.transforms.kafka.ranges import OffsetRange, only_wanted
from beamsplit.transforms.kafka.wanted_offsets import wanted_ranges


def block(offsets: list[int]) -> pa.RecordBatch:
    count = len(offsets)
    columns = [pa.nulls(count, one.type) for one in RAW_SCHEMA]
    columns[1], columns[2] = origins("in", np.zeros(count, np.int32)), pa.array(offsets)
    columns[-1] = pa.array(np.zeros(count, np.int64))
    return pa.RecordBatch.from_arrays(columns, schema=RAW_SCHEMA)


def test_messages_between_are_left_out_and_those_that_are_missing_told():
    part = OffsetRange(0, 3, 21, np.array([3, 5, 9, 10, 20]).tobytes())
    *found, last = only_wanted([block([3, 4, 5]), block([6, 7]), block([11, 20])], "in", part)
    assert [one["_origin_row"].to_pylist() for one in found] == [[3, 5], [20]]
    assert last.num_rows == 0 and [(gap.begin, gap.next) for gap in gaps_of(last)] == [(9, 11)]
    with pytest.raises(GapFoundError, match="offsets 9 to 10 are gone"):
        list(only_wanted([block([3, 5, 20])], "in", part, "fail"))


def test_far_offsets_are_ranges_of_their_own():
    offsets = np.concatenate([np.arange(0, 25_000), [900_000]])
    found = list(wanted_ranges({1: offsets.tobytes(), 0: np.array([7]).tobytes()}))
    spans = [(one.partition, one.begin, one.end) for one in found]
    assert spans == [(0, 7, 8), (1, 0, 10_000), (1, 10_000, 20_000), (1, 20_000, 25_000), (1, 900_000, 900_001)]
    assert np.array_equal(np.concatenate([np.frombuffer(one.only, np.int64) for one in found[1:]]), offsets)
