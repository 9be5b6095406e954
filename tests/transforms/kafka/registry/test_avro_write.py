from __future__ import annotations

import decimal
import io
import json
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from beamsplit.transforms.kafka.registry import avro
from beamsplit.transforms.kafka.registry.avro_decode import decode
from beamsplit.transforms.kafka.registry.avro_plan import avro_schema_of
from beamsplit.transforms.kafka.registry.client import Schema
from tests.transforms.kafka.registry.avro_samples import Samples, laid_out, messages, plain


def writer(schema: Any, rows: pa.Schema) -> Any:
    return avro.writer(Schema(1, "AVRO", json.dumps(schema)), None, rows)


def read_back(schema: Any, bodies: pa.Array) -> list[Any]:
    parsed, found = fastavro.parse_schema(schema), []
    for body in bodies.to_pylist():
        stream = io.BytesIO(body)
        found.append(fastavro.schemaless_reader(stream, parsed, None))
        assert not stream.read()
    return found


@pytest.mark.parametrize("seed", range(40))
def test_rows_come_back_as_fastavro_reads_them(seed: int):
    samples = Samples(seed)
    schema = samples.record(4)
    rows = [samples.value(schema) for _ in range(30)]
    parsed = avro_schema_of(json.dumps(schema))
    batch = decode(parsed, laid_out(messages(schema, rows)), list(parsed.types)).batch
    made = writer(schema, batch.schema)
    assert made.faults(batch) == {}
    assert [plain(row) for row in read_back(schema, made.bodies(batch))] == [plain(row) for row in rows]
    assert made.bodies(batch.slice(3, 5)).equals(made.bodies(batch).slice(3, 5))


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}


def of(kind: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": "y", "type": kind, **more}]}


def test_fields_without_a_column_have_their_defaults_and_others_any_order():
    fields = [
        {"name": "note", "type": "string", "default": "-"},
        {"name": "n", "type": ["null", "int"], "default": None},
    ]
    schema = {"type": "record", "name": "R", "fields": [*fields, {"name": "y", "type": "double"}]}
    rows = pa.record_batch({"y": pa.array([1.5, 2.5], pa.float32())})
    made = writer(schema, rows.schema)
    assert read_back(schema, made.bodies(rows)) == [{"note": "-", "n": None, "y": y} for y in (1.5, 2.5)]


@pytest.mark.parametrize(
    ("kind", "column", "why"),
    [
        ("int", pa.int64(), "column 'y' is int64, and its field is int"),
        ("float", pa.float64(), "is float"),
        ("double", pa.int64(), "is double"),
        ("string", pa.int64(), "is string"),
        (["null", "string"], pa.list_(pa.int64()), "is string"),
        ({"type": "array", "items": "string"}, pa.list_(pa.float32()), "is string"),
        ({"type": "long", "logicalType": "timestamp-millis"}, pa.timestamp("us", "UTC"), "is timestamp-millis"),
        ({"type": "long", "logicalType": "timestamp-millis"}, pa.int64(), "is timestamp-millis"),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
            pa.decimal128(9, 2),
            r"decimal\(5, 2\)",
        ),
        (
            {"type": "record", "name": "S", "fields": [{"name": "a", "type": "int"}]},
            pa.struct([("b", pa.int32())]),
            "no field for the field 'b'",
        ),
        ("int", pa.uint64(), "which Avro has not|is int"),
    ],
)
def test_columns_that_do_not_fit(kind: Any, column: pa.DataType, why: str):
    with pytest.raises(ValueError, match=why):
        writer(of(kind), pa.schema([("y", column)]))


def test_missing_and_unknown_fields():
    with pytest.raises(ValueError, match="it has no field for the column 'z'; it has y"):
        writer(of("int"), pa.schema([("y", pa.int32()), ("z", pa.int32())]))
    with pytest.raises(ValueError, match="its field 'y' has no default, and there is no column of that name"):
        writer(of("int"), pa.schema([]))


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}


@pytest.mark.parametrize(
    ("kind", "values", "bad"),
    [
        ("string", pa.array(["a", None]), {1}),
        (["null", "string"], pa.array(["a", None]), set()),
        (ENUM, pa.array(["A", "C", None, "B"]), {1, 2}),
        (["null", ENUM], pa.array([None, "C", "A"]), {1}),
        ({"type": "array", "items": "float"}, pa.array([[1.0], [None], [], None], pa.list_(pa.float32())), {1, 3}),
        ({"type": "array", "items": ENUM}, pa.array([["A"], ["A", "x"]]), {1}),
        (
            ["null", {"type": "map", "values": "int"}],
            pa.array([None, [("a", None)], [("a", 1)]], pa.map_(pa.string(), pa.int32())),
            {1},
        ),
    ],
)
def test_rows_that_no_message_can_be_made_of(kind: Any, values: pa.Array, bad: set[int]):
    rows = pa.record_batch({"y": values})
    made = writer(of(kind), rows.schema)
    assert set(made.faults(rows)) == bad
    good = rows.filter(pa.array([at not in bad for at in range(len(values))]))
    assert [plain(row["y"]) for row in read_back(of(kind), made.bodies(good))] == [
        plain(row["y"]) for row in good.to_pylist()
    ]


def test_a_schema_of_columns_takes_them():
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(8, dtype="f4").reshape(2, 2, 2))
    rows = pa.record_batch({"id": pa.array(["a", None]), "y": tensor})
    text = avro.derived(rows.schema, "a.Out")
    made = writer(json.loads(text), rows.schema)
    assert made.faults(rows) == {}
    found = read_back(json.loads(text), made.bodies(rows))
    assert found == [{"id": "a", "y": [[0, 1], [2, 3]]}, {"id": None, "y": [[4, 5], [6, 7]]}]


@pytest.mark.parametrize("size", [3, 15, 16, 17, 20])
def test_decimals_fill_fields_of_any_width(size: int):
    """Narrower than a column's 16 bytes, as wide, and wider: those begin with bytes of the sign."""
    kind = {"type": "fixed", "name": "F", "size": size, "logicalType": "decimal", "precision": 5, "scale": 2}
    values = [decimal.Decimal(one) for one in ("0.00", "-0.01", "999.99", "-999.99", "327.68", "-1.28", "2.55")]
    rows = pa.record_batch({"y": pa.array(values, pa.decimal128(5, 2))})
    made = writer(of(kind), rows.schema)
    assert made.faults(rows) == {}
    assert {len(body) for body in made.bodies(rows).to_pylist()} == {size}
    assert [row["y"] for row in read_back(of(kind), made.bodies(rows))] == values
    assert [row["y"] for row in read_back(of(kind), made.bodies(rows.slice(2, 3)))] == values[2:5]
