from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.workers import count_workers
from beamsplit.pipelines.options.score import parse
from beamsplit.pipelines.options.values import ScoreOptions, WorkerOptions
from beamsplit.pipelines.sinks.json_output import json_format
from beamsplit.pipelines.sources.messages import OpenedMessages, open_messages
from beamsplit.transforms.apply import apply_step
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.blocks import block_of
from beamsplit.transforms.kafka.sink import encode_rows
from tests.onnx_models import save
from tests.transforms.kafka.fake_message import FakeMessage

WORKERS = count_workers(WorkerOptions(1, threads=1, providers="cpu"), True)


@pytest.fixture
def model(tmp_path: Path):
    def make(inputs: dict[str, list], kind: int = TensorProto.FLOAT) -> str:
        """A model that gives back its inputs."""
        ends = [
            [helper.make_tensor_value_info(name + suffix, kind, ["N", *shape]) for name, shape in inputs.items()]
            for suffix in ("", "_out")
        ]
        nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
        graph = helper.make_graph(nodes, "g", *ends)
        opset = [helper.make_opsetid("", 17)]
        return save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")

    return make


def given(model: str, *options: str) -> ScoreOptions:
    ends = ["--input", "kafka://h:1/in", "--output", "kafka://h:1/out"]
    return parse(["--model", model, *ends, *options])[0]


def opened(model: str, *options: str) -> OpenedMessages:
    asked = given(model, *options)
    to_json = json_format(asked.sink) == "json"
    return open_messages(asked.binding, asked.stream, "in", WORKERS.session, few_runs=False, to_json=to_json)


def scored(messages: OpenedMessages, *values: object) -> tuple[list[bytes], list[RowError]]:
    """What comes out of messages, as JSON; and what went wrong."""
    texts = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    block = block_of([FakeMessage(text, 0, at) for at, text in enumerate(texts)], "in")
    block, errors = apply_step(messages.parse, "read", block)
    for step in messages.prepare:
        block, more = apply_step(step, "prepare", block)
        errors += more
    bound = messages.fit.plan.binding.open(block)
    bad = dict(bound.bad_rows())
    errors += [RowError("in/0", block["_origin_row"][at].as_py(), "infer", why) for at, why in bad.items()]
    for step in messages.give_as_came:
        assert chain_schema([step], block.schema) == step.output_schema(block.schema)
        block = step(block).block
    good = block.filter(pa.array([at not in bad for at in range(block.num_rows)]))
    return encode_rows("json", good), errors


KINDS = [
    (TensorProto.FLOAT, 54),
    (TensorProto.DOUBLE, 0.1),
    (TensorProto.FLOAT16, 2.5),
    (TensorProto.INT64, 54),
    (TensorProto.INT8, -5),
    (TensorProto.UINT32, 5),
    (TensorProto.BOOL, True),
    (TensorProto.STRING, "a"),
]


@pytest.mark.parametrize(("kind", "value"), KINDS)
@pytest.mark.parametrize("shape", [[1], [], [1, 1], ["K"]])
def test_a_value_or_a_list_of_one_feeds_an_input_of_one_value(model, kind: int, value, shape):
    path = model({"age": shape}, kind)
    odd = {"age": {"a": value}}
    for options in ((), ("--columns", "age=age"), ("--keep", "age")):
        out, errors = scored(opened(path, *options), {"age": value}, {"age": [value]}, odd, {"age": None}, {})
        assert len(out) == 2 and [error.row for error in errors] == [2, 3, 4]
        assert "field 'age' holds a value of kind object" in errors[0].reason
        assert "null in column 'age'" in errors[1].reason
        if options == ("--keep", "age"):
            assert [json.loads(one) for one in out] == [{"age": value}, {"age": [value]}]


def test_several_columns_side_by_side_too(model):
    path = model({"x": [2]})
    out, errors = scored(
        opened(path, "--columns", "x=a,b"), {"a": 1, "b": [2]}, {"a": [1], "b": 2}, {"a": [1, 2], "b": 3}
    )
    assert len(out) == 2 and "field 'a' holds an array of 2, and takes one value" in errors[0].reason


@pytest.mark.parametrize("declared", ["age:float32", "age:float32[1]", "age:float32[?]", "age:float64,other:json"])
def test_declared_fields_too(model, declared: str):
    path = model({"age": [1]})
    rows = {"age": 54}, {"age": [54]}, {"age": "54"}
    out, errors = scored(opened(path, "--schema", declared), *rows)
    assert len(out) == 2 and [error.row for error in errors] == [2] and "of kind string" in errors[0].reason


def test_nulls_that_are_filled(model):
    path = model({"age": [1]})
    out, errors = scored(opened(path, "--nulls", "0"), {"age": None}, {}, {"age": 54}, {"age": [54]}, {"age": [None]})
    assert len(out) == 5 and not errors


def test_lists_without_their_leading_axes_of_size_one(model):
    path = model({"x": [1, 2, 2]})
    out, errors = scored(opened(path), {"x": [[1, 2], [3, 4]]}, {"x": [[[1, 2], [3, 4]]]}, {"x": [1, 2, 3, 4]})
    assert len(out) == 2 and [error.row for error in errors] == [2]


AS_THEY_CAME = [
    b'{"age": 54, "id": 9007199254740993}',
    b'{"age": [54], "id": 1.5}',
    b'{"age": 54.10, "id": 18446744073709551616}',
    b'{"age": [ 0.1234567890123456789 ], "id": {"a": [1.10, null], "b": "\\u00e9"}}',
    b'{"age": 5.4e1, "id": null}',
    b'{"age": 1}',
]
RIGHT = [
    b'{"age":54,"id":9007199254740993}',
    b'{"age":[54],"id":1.5}',
    b'{"age":54.10,"id":18446744073709551616}',
    b'{"age":[ 0.1234567890123456789 ],"id":{"a": [1.10, null], "b": "\\u00e9"}}',
    b'{"age":5.4e1,"id":null}',
    b'{"age":1,"id":null}',
]


@pytest.mark.parametrize("age", ["float32", "float64", "float32[1]"])
def test_kept_fields_come_out_as_they_came(model, age: str):
    messages = opened(model({"age": [1]}), "--keep", "age,id", "--schema", f"age:{age},id:json")
    out, errors = scored(messages, *AS_THEY_CAME)
    data = [re.sub(rb', *"age_out.*', b"}", one) for one in out]
    assert data == RIGHT and not errors


@pytest.mark.parametrize(
    ("options", "came"),
    [
        ([], ("age",)),
        (["--output_format", "json"], ("age",)),
        (["--output_format", "arrow"], ()),
        (["--format", "arrow"], ()),
        (["--format", "arrow", "--output_format", "arrow"], ()),
    ],
)
def test_fields_come_out_as_they_came_from_json_to_json_alone(model, options: list[str], came: tuple[str, ...]):
    assert opened(model({"age": [1]}), "--keep", "age", *options).as_came == came


@pytest.mark.parametrize("keep", ["id", "id,meta", "age,id,meta"])
@pytest.mark.parametrize("format", ["json", "arrow"])
def test_the_schema_that_an_error_suggests_works_when_it_is_pasted(model, keep: str, format: str):
    path = model({"age": [1], "img": [3, "w"]})
    options = ["--keep", keep, "--format", format]
    with pytest.raises(UsageError) as told:
        opened(path, *options)
    declared = re.search(r"--schema (\S+)$", str(told.value))[1]
    assert set(re.findall(r"(\w+):", declared)) == {"age", "img", *keep.split(",")}
    messages = opened(path, *options, "--schema", declared)
    if format == "json":
        out, errors = scored(
            messages,
            {"age": 1, "img": [[1], [2], [3]], "id": "k1", "meta": {"a": 2**70}},
            {"age": [1], "img": [[1], [2], [3]], "id": 7},
        )
        assert not errors
        kept = [{name: json.loads(one)[name] for name in keep.split(",")} for one in out]
        rows = {"age": 1, "id": "k1", "meta": {"a": 2**70}}, {"age": [1], "id": 7, "meta": None}
        assert kept == [{name: row[name] for name in keep.split(",")} for row in rows]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--schema", "age:float32,m:json[3]"], "m:json is any value of JSON and has no sizes; leave them out"),
        (
            ["--schema", "age:float32,m:json", "--format", "arrow"],
            "m:json is a value of JSON, and --format arrow has none",
        ),
        (["--schema", "age:json"], "which is no tensor"),
    ],
)
def test_what_json_cannot_be_is_told(model, options, said: str):
    with pytest.raises(UsageError, match=re.escape(said)):
        opened(model({"age": [1]}), *options)


@pytest.mark.parametrize(("kind", "value"), KINDS)
@pytest.mark.parametrize("shape", [[1], [], [1, 1], ["K"]])
def test_arrow_messages_too(model, kind: int, value, shape):
    messages = opened(model({"age": shape}, kind), "--format", "arrow")
    arrow = messages.schema.field("age").type
    while pa.types.is_list(arrow):
        arrow = arrow.value_type
    columns = [
        pa.array([value, value], arrow),
        pa.array([[value], None, [value]], pa.list_(arrow)),
        pa.array([[value]], pa.list_(arrow, 1)),
        pa.array([None], arrow),
        pa.array([[value, value]], pa.list_(arrow)),
    ]
    texts = []
    for column in columns:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([("age", column.type)])) as writer:
            writer.write_batch(pa.record_batch([column], ["age"]))
        texts.append(sink.getvalue().to_pybytes())
    out, errors = scored(messages, *texts)
    several = 2 if shape == ["K"] else 0  # of which a row may have any number
    assert len(out) == 2 + 2 + 1 + several // 2
    assert sorted(error.row for error in errors) == ([1, 3] if several else [1, 3, 4])


def test_fields_that_prepare_leaves_alone_are_plain_or_lists_too(model):
    path = model({"age": [1], "x": [2]})
    options = ("--schema", "age:float32,word:string", "--prepare", "tests.transforms.kafka.test_json_messages:with_x")
    out, errors = scored(opened(path, *options), {"age": 1, "word": "a"}, {"age": [2], "word": "b"}, {"age": "q"})
    assert len(out) == 2 and [error.row for error in errors] == [2]


def with_x(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A user's function that makes the other input."""
    x = pa.array([[1.0, 2.0]] * batch.num_rows, pa.list_(pa.float32(), 2))
    return batch.append_column("x", x)
