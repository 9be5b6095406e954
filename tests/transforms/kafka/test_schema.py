from __future__ import annotations

import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.transforms.kafka.schema import message_schema, parse_schema, sample_of, wanted_fields

MODEL = Signature(
    (TensorSpec("x", "float32", ("N", 3, "w")), TensorSpec("h", "float32", ("N", 2)), TensorSpec("s", "int64", ("N",))),
    (),
)


def test_fields_are_the_models_inputs_without_the_rows_axis():
    fields = wanted_fields(MODEL, {"h": ("a", "b")}, {"s": "1"})
    assert {name: str(spec) for name, spec in fields.items()} == {
        "x": "x: float32[3, ?]",
        "a": "a: float32[]",
        "b": "b: float32[]",
    }
    assert message_schema("json", fields) == pa.schema(
        [("x", pa.list_(pa.list_(pa.float32()))), ("a", pa.float32()), ("b", pa.float32())]
    )


def test_a_declared_schema():
    fields = parse_schema("x:float32[3,?], id:int64,img:bytes,y:uint8[4]")
    assert [str(spec) for spec in fields.values()] == ["x: float32[3, ?]", "id: int64[]", "img: bytes[]", "y: uint8[4]"]
    assert message_schema("tensor", parse_schema("y:uint8[4]")).field("y").type == pa.fixed_shape_tensor(
        pa.uint8(), (4,)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; write"),
        ("x", "'x' is no field; write NAME:TYPE"),
        ("x:float32[a]", "sizes of x are whole numbers"),
        ("x:float31", "float31 cannot be read"),
        ("x:float32,id:json,x:int8", "declares x twice"),
    ],
)
def test_a_wrong_schema_says_how_to_write_it(text: str, said: str):
    with pytest.raises(UsageError, match=said):
        parse_schema(text)


@pytest.mark.parametrize(
    ("format", "text", "said"),
    [
        ("tensor", "x:float32[3,?]", "declare it, e.g. --schema x:float32"),
        ("tensor", "x:string", "holds numbers"),
        ("raw", "x:float32", "use --format tensor"),
        ("json", "x:bytes[3]", "write x:uint8"),
    ],
)
def test_a_format_that_cannot_hold_the_fields_says_so(format: str, text: str, said: str):
    with pytest.raises(UsageError, match=said):
        message_schema(format, parse_schema(text))


@pytest.mark.parametrize("format", ["json", "tensor", "arrow"])
def test_sample_rows_are_of_the_schema(format: str):
    fields = parse_schema("x:float32[3,2],f:float16,b:bool[2],n:int64")
    schema = message_schema(format, fields)
    assert sample_of(schema, fields).schema == schema and sample_of(schema, fields).num_rows >= 4
