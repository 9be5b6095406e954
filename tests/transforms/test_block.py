from __future__ import annotations

import numpy as np
import pyarrow as pa
from apache_beam import coders
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.block import data_columns, origin_of, with_origin, with_origin_schema
from beamsplit.transforms.block_coder import BlockCoder

CODER = BlockCoder()
COLUMNS = {
    "f": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "s": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]))),
    "y": (pa.binary(), st.binary()),
    "l": (pa.list_(pa.float64()), st.lists(st.floats(allow_nan=False), max_size=4)),
    "b": (pa.bool_(), st.booleans()),
}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_what_is_encoded_comes_back(data: st.DataObject):
    rows = data.draw(st.integers(0, 6))
    names = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True))
    arrays = [
        pa.array(data.draw(st.lists(st.none() | COLUMNS[name][1], min_size=rows, max_size=rows)), COLUMNS[name][0])
        for name in names
    ]
    block = with_origin(pa.RecordBatch.from_arrays([*arrays, pa.array(range(rows))], [*names, "n"]), "a.csv", 3)
    begin = data.draw(st.integers(0, rows))
    part = block.slice(begin, data.draw(st.integers(0, rows - begin)))
    assert CODER.decode(CODER.encode(part)).equals(part)


def test_tensors_come_back_as_tensors():
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(24, dtype=np.float32).reshape(4, 2, 3))
    block = pa.record_batch({"x": tensors})
    decoded = CODER.decode(CODER.encode(block.slice(1, 2)))
    assert decoded.schema == block.schema and decoded.equals(block.slice(1, 2))


def test_a_slice_is_encoded_without_its_parent():
    block = with_origin(pa.record_batch({"x": np.arange(1_000_000, dtype=np.float32)}), "a.parquet", 0)
    assert len(CODER.encode(block.slice(500_000, 10))) < 2000


def test_decoding_copies_nothing():
    encoded = CODER.encode(pa.record_batch({"x": np.arange(1000, dtype=np.float32)}))
    start = pa.py_buffer(encoded).address
    values = CODER.decode(encoded).column("x").buffers()[1]
    assert start <= values.address < start + len(encoded)


def test_beam_uses_the_coder():
    assert isinstance(coders.registry.get_coder(pa.RecordBatch), BlockCoder)
    assert not CODER.is_deterministic() and CODER.to_type_hint() is pa.RecordBatch
    block = pa.record_batch({"x": np.zeros(1000, np.float32)})
    assert CODER.estimate_size(block.slice(0, 10)) == 40


def test_origin():
    data = pa.record_batch({"x": [1, 2, 3]})
    block = with_origin(data, "a.csv", 10)
    assert block.schema == with_origin_schema(data.schema) and data_columns(block.schema) == ["x"]
    assert origin_of(block, 2) == ("a.csv", 12) and origin_of(block.slice(1), 0) == ("a.csv", 11)
