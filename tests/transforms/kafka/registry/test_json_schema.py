from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from beamsplit.transforms.kafka.registry import json_schema
from beamsplit.transforms.kafka.registry.avro_decode import Decoded
from beamsplit.transforms.kafka.registry.client import Schema
from beamsplit.transforms.kafka.registry.kinds import How
from tests.transforms.kafka.registry.avro_samples import laid_out

pytest.importorskip("jsonschema_rs")
pytest.importorskip("orjson")


def of(properties: Any, id: int = 1, **more: Any) -> Schema:
    return Schema(id, "JSON", json.dumps({"type": "object", "properties": properties, **more}))


def decoded(schema: Schema, bodies: list[bytes], reader: Schema | None = None, fed: Any = ()) -> Decoded:
    wanted = pa.schema(list(json_schema.fields(reader or schema, None).items()))
    return json_schema.read(schema, reader or schema, How(None, fed), wanted, laid_out(bodies))


def test_properties_are_columns():
    properties = {
        "n": {"type": "number"},
        "i": {"type": ["integer", "null"]},
        "s": {"oneOf": [{"type": "null"}, {"type": "string"}]},
        "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "o": {"type": "object", "properties": {"a": {"$ref": "#/definitions/text"}}},
        "any": {},
        "both": {"type": ["string", "number"]},
        "me": {"$ref": "#"},
        "size": {"type": ["integer", "number"]},
    }
    schema = of(properties, definitions={"text": {"type": "string"}})
    assert dict(json_schema.fields(schema, None)) == {
        "n": pa.float64(),
        "i": pa.int64(),
        "s": pa.string(),
        "b": pa.bool_(),
        "l": pa.list_(pa.list_(pa.float64())),
        "o": pa.struct([("a", pa.string())]),
        "any": pa.json_(),
        "both": pa.json_(),
        "me": pa.json_(),
        "size": pa.float64(),
    }
    row = {"n": 1.5, "i": None, "s": "é", "b": True, "l": [[1], [2.5]], "o": {"a": "x"}, "size": 3}
    (found,) = decoded(schema, [json.dumps(row, indent=1).encode()]).batch.to_pylist()
    assert {name: found[name] for name in row} == row and found["both"] is None


def test_messages_of_which_the_schema_does_not_hold_are_told():
    schema = of({"x": {"type": "number", "minimum": 0}}, required=["x"])
    bodies = [b'{"x": 1}', b'{"x": -1}', b"{}", b"no JSON", b'{"x": "a"}', b"", b'{"x": NaN}', b'{"x": 2, "more": []}']
    found = decoded(schema, bodies)
    assert found.rows.tolist() == [0, 7] and found.batch.to_pylist() == [{"x": 1.0}, {"x": 2.0}]
    assert set(found.bad) == {1, 2, 3, 4, 5, 6}
    assert found.bad[1] == "in x: -1 is less than the minimum of 0" and '"x" is a required' in found.bad[2]
    assert "no JSON" in found.bad[3] and found.bad[4] == 'in x: "a" is not of type "number"'


def test_whole_numbers_that_a_narrower_float_would_round_are_told():
    found = decoded(of({"x": {"type": "number"}}), [b'{"x": 9007199254740993}', b'{"x": 0.1}'], fed=(("x", "float32"),))
    assert found.rows.tolist() == [1] and "9007199254740993" in found.bad[0]


def test_versions_and_schemas_that_refer_to_others():
    one, two = of({"x": {"type": "number"}}, 1), of({"x": {"type": "number"}, "y": {"type": "integer"}}, 2)
    assert decoded(one, [b'{"x": 1}'], two).batch.to_pylist() == [{"x": 1.0, "y": None}]
    other = json.dumps({"definitions": {"small": {"maximum": 5}}})
    text = json.dumps({"type": "object", "properties": {"x": {"$ref": "o.json#/definitions/small"}}})
    assert set(decoded(Schema(1, "JSON", text, (("o.json", other),)), [b'{"x": 6}', b'{"x": 5}']).bad) == {0}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "cannot be read"),
        ('{"type": "array"}', "none of objects"),
        ('{"properties": {"x": ' + '{"items": ' * 5000 + "{}" + "}" * 5002, "nested too deep"),
        ('{"type": "object", "properties": {"x": {"type": "nothing"}}}', "cannot be read"),
        ('{"properties": {"x": {"$ref": "http://127.0.0.1:1/x.json"}}}', "is not among its references"),
    ],
)
def test_schemas_that_are_none(text: str, why: str):
    with pytest.raises(ValueError, match=why):
        json_schema.writer(Schema(1, "JSON", text), None, pa.schema([]))


@pytest.mark.parametrize(
    ("schema", "column", "why"),
    [
        (of({"y": {"type": "string"}}), pa.float32(), "column 'y' is float, and its property is string"),
        (of({"y": {"type": "integer"}}), pa.float32(), "is integer"),
        (of({"y": {"type": "number"}}), pa.list_(pa.float32()), "is number"),
        (
            of({"z": {}}, additionalProperties=False),
            pa.float32(),
            "no property for the column 'y', and takes no",
        ),
        (of({"y": {}, "z": {}}, required=["z"]), pa.float32(), "its property 'z' is required"),
    ],
)
def test_columns_that_do_not_fit(schema: Schema, column: pa.DataType, why: str):
    with pytest.raises(ValueError, match=why):
        json_schema.writer(schema, None, pa.schema([("y", column)]))


def test_rows_of_which_the_schema_does_not_hold():
    rows = pa.record_batch({"y": pa.array([1, None, 200]), "id": ["a", "b", "c"]})
    schema = of({"y": {"type": "number", "maximum": 100}})
    writer = json_schema.writer(schema, None, rows.schema)
    faults = writer.faults(rows)
    assert set(faults) == {1, 2} and "does not hold of it: in y: 200 is greater than" in faults[2]
    assert json.loads(writer.bodies(rows)[0].as_py()) == {"y": 1, "id": "a"}


def test_a_schema_of_columns_takes_them():
    import numpy as np

    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 2, 2), "f4"))
    rows = pa.record_batch({"id": pa.array(["a", None]), "y": tensor, "n": [1, 2], "b": [True, None]})
    schema = Schema(1, "JSON", json_schema.derived(rows.schema, "a.Out"))
    writer = json_schema.writer(schema, "a.Out", rows.schema)
    assert writer.faults(rows) == {}
    assert decoded(schema, writer.bodies(rows).to_pylist()).batch.column("y").to_pylist() == [[[0, 0], [0, 0]]] * 2
