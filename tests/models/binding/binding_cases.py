"""Short ways to write signatures, bindings and blocks in tests."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import settings

from beamsplit.models.binding.binding import bind
from beamsplit.models.binding.data_facts import DataFacts
from beamsplit.models.graph.signature import Signature, TensorSpec

NUMBERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NUMBERS += ["float16", "float32", "float64"]
FEW = settings(max_examples=50, deadline=None)


def signature(*inputs):
    """Inputs as (name, dtype, shape)."""
    return Signature(tuple(TensorSpec(*each) for each in inputs), ())


def bound(inputs, schema, axes=None, **options):
    axes = {name: 0 for name, _, _ in inputs} | (axes or {})
    return bind(signature(*inputs), axes, schema, DataFacts(**options))


def batch(**columns):
    return pa.RecordBatch.from_pydict(columns)


def lists(array):
    return {name: values.tolist() for name, values in array.items()}


X4 = ("x", "float32", ("batch", 4))
F4 = {f"f{i}": pa.float32() for i in range(4)}
IDS = ("ids", "int64", ("batch", "seq"))
MASK = ("mask", "int64", ("batch", "seq"))
TOKENS = pa.list_(pa.int64())
