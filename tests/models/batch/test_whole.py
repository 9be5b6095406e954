"""An axis for the rows put before a model that has none."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

from beamsplit.models.batch.whole import put_axis_before

PLAIN = "(float[3] x, float[2] s) => (float[3] y) { a = Add(x, x) y = Neg(a) }"
BODY = """(float[3] x, bool[1] on) => (float[3] y) {
    c = Squeeze(on)
    y = If(c) <then_branch = t () => (float[3] p) { p = Add(x, x) }, else_branch = e () => (float[3] q) { q = Neg(x) }>
}"""
LOOP = """(float[3] x) => (float[3] y) <int64 n = {2}, bool on = {1}> {
    y = Loop(n, on, x) <body = b (int64 i, bool k, float[3] v) => (bool k2, float[3] o) {
        k2 = Identity(k) o = Add(v, x)
    }>
}"""


def run(model: onnx.ModelProto, **feeds: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


@pytest.mark.parametrize(("opset", "ir"), [(11, 3), (11, 8), (13, 3), (17, 8)])
@pytest.mark.parametrize("body", [PLAIN, LOOP])
def test_outputs_get_an_axis_where_all_inputs_do(body: str, opset: int, ir: int):
    model = parser.parse_model(f'<ir_version: {ir}, opset_import: ["": {opset}]> g {body}')
    feeds = {"x": np.array([1, -2, 3], np.float32), "s": np.zeros(2, np.float32)}
    given = {value.name: feeds[value.name] for value in model.graph.input}
    alone = run(model, **given) if ir > 3 or body == PLAIN else None
    put_axis_before(model, list(given))
    assert model.ir_version == max(ir, 4)
    made = run(model, **{name: one[None] for name, one in given.items()})
    assert made.shape == (1, 3) and (alone is None or np.array_equal(made[0], alone))
    shapes = [[dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in model.graph.output]
    assert shapes == [[1, 3]]


def test_outputs_stay_where_an_input_has_rows_of_its_own():
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {PLAIN}')
    put_axis_before(model, ["x"])
    x = np.array([1, -2, 3], np.float32)
    assert run(model, x=x[None], s=np.zeros(2, np.float32)).tolist() == [-2.0, 4.0, -6.0]


def test_bodies_read_the_input_by_its_new_name():
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {BODY}')
    put_axis_before(model, ["x"])
    x = np.array([1, -2, 3], np.float32)
    for on, expected in ((True, 2 * x), (False, -x)):
        assert run(model, x=x[None], on=np.array([on])).tolist() == expected.tolist()


def test_a_model_without_an_opset_gets_one():
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {PLAIN}')
    del model.opset_import[:]
    put_axis_before(model, ["x", "s"])
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
