from __future__ import annotations

import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.type_names import parse_types, type_of


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string()),
        *(pa.binary(), pa.date32(), pa.date64(), pa.timestamp("us"), pa.timestamp("ms", "UTC"), pa.time32("s")),
        *(pa.timestamp("ns", "Europe/Berlin"), pa.time64("ns"), pa.duration("ms"), pa.decimal128(12, 2)),
        *(pa.decimal256(50, 3), pa.list_(pa.float32()), pa.list_(pa.int8(), 3), pa.large_list(pa.list_(pa.int64()))),
    ],
)
def test_the_names_that_arrow_writes_are_read(kind):
    assert type_of(str(kind)) == kind
    assert parse_types(f" a : {kind} , b:int8") == {"a": kind, "b": pa.int8()}


def test_names_as_people_type_them():
    assert parse_types('id:String,"last, first":utf8,"a:b":DECIMAL(5, 1)') == {
        "id": pa.string(),
        "last, first": pa.string(),
        "a:b": pa.decimal128(5, 1),
    }
    assert type_of("list<float32>[3]") == pa.list_(pa.float32(), 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--types is given the empty text ''; give it a value, or leave it out"),
        ("id", "'id' is not of the form COLUMN:TYPE"),
        ("id:string,", "'' is not of the form COLUMN:TYPE"),
        ("id:strng", "--types id:strng: 'strng' is no type; the types are bool"),
        ("id:decimal128(99,2)", "is no type"),
        ("id:decimal128(3,5)", "is no type"),
        ("t:timestamp", "is no type"),
        ("t:timestamp[h]", "is no type"),
        ("t:timestamp[s, Nowhere/City]", "is no type"),
        ("t:time32[us]", "is no type"),
        ("t:list<nothing>", "is no type"),
        ("id:int8,id:int16", "names the column 'id' twice"),
    ],
)
def test_wrong_types(text, message):
    with pytest.raises(UsageError) as error:
        parse_types(text)
    assert message in str(error.value) and "\n" not in str(error.value)
