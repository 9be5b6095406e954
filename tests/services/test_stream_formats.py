"""Messages of each format through a real broker: those that cannot be read go to the errors topic, the others on."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from beamsplit.transforms.kafka.arrow_messages import arrow_messages
from tests import onnx_models
from tests.onnx_models import save
from tests.services.streams import Stream, origins

pytest.importorskip("confluent_kafka")


def arrow(values: list[float], name: str = "x") -> bytes:
    return arrow_messages(pa.record_batch({name: pa.array([values], pa.list_(pa.float32(), len(values)))}))[0]


ROW = [1.0, 2.0, 3.0, 4.0]
TENSOR = np.array(ROW, "<f4").tobytes()
POISON = {
    "arrow": (arrow(ROW), [b"oops", arrow(ROW)[:-20], arrow(ROW, "z"), None, arrow(ROW[:3])], {"read": 4, "infer": 1}),
    "tensor": (TENSOR, [TENSOR[:-1], TENSOR + TENSOR, b"", None], {"read": 4}),
    "raw": (b"red", [b"\xff\xfe", None], {"read": 2}),
}
"""Format -> a message, some that are none of the model's, and the stages at which those fail."""


@pytest.mark.parametrize(
    ("format", "delivery"), [("arrow", "exactly_once"), ("tensor", "at_least_once"), ("raw", "exactly_once")]
)
def test_poison_of_each_format_is_told_and_the_stream_goes_on(stream: Stream, format: str, delivery: str):
    good, poison, stages = POISON[format]
    if format == "raw":
        stream.model = save(onnx_models.string_input(), stream.folder / "text.onnx")
    errors = stream.broker.create_topic(f"errors-{stream.input}")
    sent = stream.send([*[good] * 20, *poison, *[good] * 20])
    bad = {f"k{20 + i}".encode() for i in range(len(poison))}
    code, out, err = stream.run(
        "--until_end", "--format", format, "--delivery", delivery, "--errors", stream.uri(errors)
    )
    assert code == 0, err
    assert f"{sent} in, 40 scored, {len(poison)} failed" in out
    outputs = stream.read(stream.output)
    assert len(outputs) == len(set(origins(outputs))) == 40 and bad.isdisjoint(one.key() for one in outputs)
    told = [json.loads(one.value()) for one in stream.read(errors)]
    assert Counter(one["stage"] for one in told) == stages and all(one["reason"] for one in told)
    places = {(one.partition(), one.offset()) for one in stream.read(stream.input) if one.key() in bad}
    assert {(one["partition"], one["offset"]) for one in told} == places


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_natural_json_feeds_inputs_of_one_value_and_is_kept_as_it_came(stream: Stream, delivery: str):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in ("age", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["age"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    stream.model = save(helper.make_model(graph, opset_imports=opset, ir_version=9), stream.folder / "one.onnx")
    errors = stream.broker.create_topic(f"errors-{stream.input}")
    messages = [b'{"age": 54, "id": 9007199254740993}', b'{"id": {"a": [1.10]}, "age": [5.50]}', b'{"age": [1, 2]}']
    stream.send([*messages, b'{"age": "x"}'])
    options = ("--until_end", "--keep", "age,id", "--schema", "age:float32,id:json", "--delivery", delivery)
    code, _, err = stream.run(*options, "--errors", stream.uri(errors))
    assert code == 0, err
    assert sorted(one.value() for one in stream.read(stream.output)) == [
        b'{"age":54,"id":9007199254740993,"y":[54]}',
        b'{"age":[5.50],"id":{"a": [1.10]},"y":[5.5]}',
    ]
    told = sorted(json.loads(one.value())["reason"] for one in stream.read(errors))
    assert "holds a value of kind string" in told[0] and "holds an array of 2, and takes one value" in told[1]
