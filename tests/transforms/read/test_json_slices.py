from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.read.json_slices import value_texts

KEYS = ["id", "i", "idd", "", "é", 'm"x', "\\", "a:b,{}"]
texts = st.text(alphabet='ab"\\{}[]:,\n\u00e9\U0001f600 ', max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
rows_of_json = st.lists(st.dictionaries(st.sampled_from(KEYS), values), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(rows_of_json, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
def test_values_are_found_as_they_stand(rows, ascii, separators):
    def dump(value):
        return json.dumps(value, ensure_ascii=ascii, separators=separators)

    text = "\n \n".join(map(dump, rows)).encode()
    found = value_texts(text, len(rows), [*KEYS, "none"])
    for name, column in found.items():
        column.validate(full=True)
        assert column.to_pylist() == [None if row.get(name) is None else dump(row[name]) for row in rows]


def test_deep_values_and_long_ones():
    deep = "[" * 40_000 + "]" * 40_000
    text = f'{{"a":1,"b":{deep}}}\n{{"b":"{"x" * 100_000}","a":2}}'.encode()
    found = value_texts(text, 2, ["a", "b"])
    assert found["a"].to_pylist() == ["1", "2"]
    assert found["b"].to_pylist() == [deep, f'"{"x" * 100_000}"']


def test_a_key_that_is_there_twice():
    with pytest.raises(pa.ArrowInvalid, match="key 'a' is there twice"):
        value_texts(b'{"a":1}\n{"a":1,"b":2,"a":3}', 2, ["a"])
