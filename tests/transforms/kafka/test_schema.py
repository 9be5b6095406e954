from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.transforms.kafka.schema import message_schema, parse_schema, rows_to_draw, sample_of, wanted_fields

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
        ("x:float31", "--schema x:float31: 'float31' is no type; the types are bool, int8, .*, bytes, json$"),
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


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ({"x": ()}, 256),
        ({"x": (8192,)}, 256),
        ({"x": (8193,)}, 255),
        ({"x": (4096,), "h": (2, 2048)}, 256),
        ({"x": (1 << 19,)}, 4),
        ({"x": (1 << 21,)}, 4),
        ({"x": (0,)}, 256),
    ],
)
def test_rows_are_made_up_as_16_mib_hold(sizes: dict[str, tuple[int, ...]], rows: int):
    assert rows_to_draw(sizes) == rows


def test_made_up_values_of_each_type():
    text = "x:float16,h:float32[2,?],i:int8[3],u:uint64,b:bool,s:string,raw:bytes,any:json"
    fields = parse_schema(text)
    schema = message_schema("json", fields)
    rows = sample_of(schema, fields)
    assert rows.schema == schema and rows.num_rows == 256
    made = {name: [str(one) for one in rows.column(name).to_pylist()] for name in fields}
    assert {name: set(made[name]) for name in ("u", "b", "s", "any")} == {
        "u": {"0", "1"}, "b": {"True", "False"}, "s": {"a", "b"}, "any": {"{}"},
    }  # fmt: skip
    assert {value for one in rows.column("i").to_pylist() for value in one} == {0, 1}
    assert {len(one) for one in rows.column("i").to_pylist()} == {3}
    assert {len(one) for one in rows.column("raw").to_pylist()} == {16} and len(set(made["raw"])) > 200
    assert {(len(one), *map(len, one)) for one in rows.column("h").to_pylist()} == {(2, 8, 8)}
    for values in (rows.column("x").to_pylist(), [v for one in rows.column("h").to_pylist() for v in one[0]]):
        assert abs(np.mean(values)) < 0.3 and 0.7 < np.std(values) < 1.3
    assert sample_of(schema, fields).equals(rows) and not sample_of(schema, fields, 1).equals(rows)


def test_what_a_tensor_message_cannot_hold_says_what_to_declare():
    with pytest.raises(UsageError, match=r"--schema x:float32\[8,3\],y:int8$"):
        message_schema("tensor", parse_schema("x:float32[?,3],y:int8"))
    with pytest.raises(UsageError, match=r"--schema x:bool\[8\]$"):
        message_schema("tensor", parse_schema("x:bool[?]"))
    with pytest.raises(UsageError, match="--format tensor holds numbers, x: string"):
        message_schema("tensor", parse_schema("x:string"))
