"""Columns that are checked beside a schema without their JSON: as a validator judges their JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.kafka.registry import json_schema
from beamsplit.transforms.kafka.registry.client import Schema
from beamsplit.transforms.kafka.registry.json_columns import doubtful
from beamsplit.transforms.kafka.registry.json_plain import plain_schema
from tests.transforms.kafka.registry.json_schemas import ANY_SCHEMA

pytest.importorskip("jsonschema_rs")
pytest.importorskip("orjson")

FLOATS = st.sampled_from([None, 0.1, 0.0, -0.0, float("nan"), float("inf"), 3.0, 2.9999999, -2.0, 1e30, 5e-324])
COLUMNS = st.one_of(
    st.sampled_from(["f2", "f4", "f8"]).flatmap(lambda kind: st.tuples(st.just(pa.from_numpy_dtype(kind)), FLOATS)),
    st.tuples(st.sampled_from([pa.int8(), pa.int64()]), st.sampled_from([None, -3, -2, 0, 3, 4])),
    st.tuples(st.just(pa.int64()), st.sampled_from([2**53, -(2**60), 7])),
    st.tuples(
        st.sampled_from([pa.string(), pa.dictionary(pa.int8(), pa.string())]), st.sampled_from([None, "a", "", "b"])
    ),
    st.tuples(st.just(pa.bool_()), st.sampled_from([None, True, False])),
    st.tuples(
        st.sampled_from([pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)]),
        st.lists(FLOATS, min_size=2, max_size=2) | st.none(),
    ),
    st.tuples(st.just(pa.list_(pa.int32())), st.lists(st.integers(-3, 4), max_size=5)),
)


def column(kind: pa.DataType, value: Any, other: Any) -> pa.Array:
    return pa.array([value, other, value], kind)


@settings(deadline=None, max_examples=60)
@given(ANY_SCHEMA, st.data())
def test_what_is_not_in_doubt_is_right(schema: dict[str, Any], data: st.DataObject):
    made = {}
    for name in data.draw(st.lists(st.sampled_from("xinm"), unique=True, min_size=1)):
        kind, value = data.draw(COLUMNS)
        made[name] = column(kind, value, data.draw(st.sampled_from([None, value])))
    rows, text = pa.record_batch(made).slice(1), json.dumps(schema)
    plain = plain_schema(text)
    if plain is None:
        return
    writer = json_schema.JsonWriter(text, ())
    validator = json_schema._validator(text, ())
    wrong = [bool(json_schema._invalid(body, validator)) for body in writer.bodies(rows).to_pylist()]
    assert not (np.array(wrong) & ~doubtful(plain, rows)).any()
    assert sorted(writer.faults(rows)) == np.flatnonzero(wrong).tolist()


def test_predictions_are_not_in_doubt():
    rows = pa.record_batch(
        {
            "y": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((3, 4), "f4")),
            "id": pa.array([2**60, None, 1]),
            "label": pa.array(["a", "b", None]).dictionary_encode(),
            "score": pa.array([0.5, None, 1.0], pa.float32()),
        }
    )
    plain = plain_schema(json_schema.derived(rows.schema, "Out"))
    assert plain is not None and not doubtful(plain, rows).any()


def test_a_number_whose_text_is_beyond_a_limit_is_told():
    limit = 0.100000001
    schema = Schema(
        1, "JSON", json.dumps({"type": "object", "properties": {"y": {"type": "number", "minimum": limit}}})
    )
    rows = pa.record_batch({"y": pa.array([0.1, 0.5], pa.float32())})
    assert float(np.float32(0.1)) > limit  # as its text 0.1 is not
    assert set(json_schema.writer(schema, None, rows.schema).faults(rows)) == {0}
