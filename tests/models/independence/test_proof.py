# ruff: noqa: E501 (a model a line)
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from beamsplit.models.graph.model_file import DYNAMIC_ROWS, ModelFile
from beamsplit.models.independence.proof import Proof, prove
from beamsplit.models.independence.replaced import bases
from beamsplit.models.independence.rows_axis import input_axes_candidates
from beamsplit.models.independence.walk import DEEPEST
from beamsplit.models.running.session import Session, SessionOptions
from tests import onnx_models

HEADER = '<ir_version: 9, opset_import: ["" : {}, "ai.onnx.ml" : 3, "com.microsoft" : 1]> '


def model_of(text: str, opset: int = 17, weights: dict[str, Any] | None = None) -> onnx.ModelProto:
    """`g (inputs) => (outputs) { nodes }` with weights by name."""
    model = parser.parse_model(HEADER.format(opset) + text)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items())
    return model


def proof_of(model: onnx.ModelProto, folder: Path, *rewrites: str) -> tuple[Proof, Session]:
    path = onnx_models.save(model, folder / "model.onnx")
    session = Session(ModelFile(path, rewrites), SessionOptions(threads=1))
    axes = input_axes_candidates(session.signature)[0]
    return prove(session.model, session.signature, axes), session


def w(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


I64 = np.int64
X, XS = "g (float[N,4] x) => (float y) ", "g (float[N,S,4] x) => (float y) "
PROVEN: dict[str, tuple[str, int, dict[str, Any]]] = {
    "gemm": (X + "{ h = Gemm(x, w, b) y = Relu(h) }", 17, {"w": w(4, 3), "b": w(3)}),
    "gemm with rows on the right": (X + "{ t = Transpose<perm=[1,0]>(x) h = Gemm<transA=1>(t, w) y = Identity(h) }", 17,
                                    {"w": w(4, 3)}),
    "a constant cast like the rows": (X + """{ c = CastLike(k, x) i = Constant<value_ints=[0]>() u = Unsqueeze(c, i)
               a = Add(x, u) y = MatMul(a, w) }""", 17, {"k": np.array(1.5), "w": w(4, 3)}),
    "softmax over another axis": (X + "{ y = Softmax<axis=-1>(x) }", 17, {}),
    "softmax of opset 12": (XS + "{ y = Softmax<axis=1>(x) }", 12, {}),
    "reduce another axis": (X + "{ y = ReduceMean<axes=[1]>(x) }", 17, {}),
    "fold rows and steps": (XS + "{ a = Reshape(x, t) b = MatMul(a, w) s = Shape(x) y = Reshape(b, s) }", 17,
                            {"t": np.array([-1, 4]), "w": w(4, 4)}),
    "heads": (XS + """{ s = Shape(x) i = Constant<value_ints=[0]>() n = Gather(s, i) j = Constant<value_ints=[1]>()
               l = Gather(s, j) h = Constant<value_ints=[2]>() d = Constant<value_ints=[-1]>() t = Concat<axis=0>(n, l, h, d)
               a = Reshape(x, t) q = Transpose<perm=[0,2,1,3]>(a) k = Transpose<perm=[0,2,3,1]>(a) c = MatMul(q, k)
               p = Softmax(c) o = MatMul(p, q) b = Transpose<perm=[0,2,1,3]>(o) y = Reshape(b, s) }""", 17, {}),
    "expand a constant to the rows": (X + """{ s = Shape(x) i = Constant<value_ints=[0]>() n = Gather(s, i)
               f = Constant<value_ints=[4]>() t = Concat<axis=0>(n, f) e = Expand(c, t) y = Concat<axis=1>(x, e) }""", 17,
                                      {"c": w(1, 4)}),
    "positions of the other axis": (XS + """{ s = Shape(x) i = Constant<value_int=1>() l = Gather(s, i)
               a = Constant<value_int=0>() b = Constant<value_int=1>() r = Range(a, l, b) f = Cast<to=1>(r)
               k = Constant<value_ints=[1]>() u = Unsqueeze(f, k) y = Add(x, u) }""", 17, {}),
    "rows picked by their own number": ("""g (float[N,S,4] x, int64[N,1] at) => (float y) { s = Shape(x)
               i = Constant<value_int=0>() n = Gather(s, i) a = Constant<value_int=0>() b = Constant<value_int=1>()
               r = Range(a, n, b) k = Constant<value_ints=[1]>() u = Unsqueeze(r, k) t = Concat<axis=1>(u, at)
               y = GatherND(x, t) }""", 17, {}),
    "torch's expand of -1": ("""g (float[N,1,4] x) => (float y) { s = Constant<value_ints=[-1,3,4]>() l = Shape(s)
               o = ConstantOfShape<value: tensor = int64[1] {1}>(l) m = Constant<value_int=-1>() f = Mul(o, m)
               e = Equal(s, f) t = Where(e, o, s) y = Expand(x, t) }""", 17, {}),
    "convolution and flatten": ("""g (float[N,1,8,8] x) => (float y) { c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, k)
               p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c) f = Reshape(p, t) y = Gemm(f, w) }""", 17,
                                {"k": w(2, 1, 3, 3), "t": np.array([-1, 32]), "w": w(32, 3)}),
    "norm after training": ("g (float[N,3,4] x) => (float y) { y = BatchNormalization(x, a, a, a, a) }", 17,
                            {"a": np.ones(3, np.float32)}),
    "tables of trees": (X + "{ y = ai.onnx.ml.Normalizer<norm: string = \"L2\">(x) }", 17, {}),
    "one condition for all": ("""g (float[N,4] x) => (float y) { c = Constant<value: tensor = bool {1}>() y = If(c) <
               then_branch = a () => (float p) { p = Relu(x) }, else_branch = b () => (float q) { q = Neg(x) }> }""", 17, {}),
    "einsum": (XS + '{ y = Einsum<equation: string = "nsd,de->nse">(x, w) }', 17, {"w": w(4, 2)}),
    "slices of other axes": (X + "{ y = Slice(x, a, b, c) }", 17, {"a": np.array([1]), "b": np.array([3]), "c": np.array([1])}),
    "all rows sliced": (X + "{ y = Slice(x, a, b, c) }", 17,
                        {"a": np.array([0]), "b": np.array([2**63 - 1]), "c": np.array([0])}),
    "constant scales": ("g (float[N,4] x) => (float y) { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }", 17,
                        {"s": np.float32(0.1), "z": np.uint8(128)}),
    "quantising what is no row's": (X + """{ q, s, z = DynamicQuantizeLinear(w) d = DequantizeLinear(q, s, z)
               y = MatMul(x, d) }""", 17, {"w": w(4, 2)}),
}  # fmt: skip

MEET: dict[str, tuple[str, int, dict[str, Any], str]] = {
    "numbers of rows in a type too small for them": (X + """{ s = Shape<start=0,end=1>(x) q = Squeeze(s)
               a = Constant<value_int=0>() o = Constant<value_int=1>() r = Range(a, q, o) f = Cast<to=2>(r) i = Cast<to=7>(f)
               k = Constant<value_ints=[1]>() u = Unsqueeze(i, k) y = GatherND(x, u) }""", 17, {}, "Cast 'f'"),
    "a maximum of all rows": (X + "{ m = ReduceMax<axes=[0], keepdims=1>(x) y = Div(x, m) }", 17, {}, "ReduceMax 'm'"),
    "a sum of everything": (X + "{ m = ReduceSum<keepdims=0>(x) y = Div(x, m) }", 17, {}, "ReduceSum 'm'"),
    "running sums": (X + "{ y = CumSum(x, a) }", 17, {"a": np.array(0)}, "CumSum 'y'"),
    "softmax over the rows": (X + "{ y = Softmax<axis=0>(x) }", 17, {}, "Softmax 'y'"),
    "softmax of opset 12 from axis 0": (X + "{ y = Softmax<axis=0>(x) }", 12, {}, "Softmax 'y'"),
    "a norm over the rows": (X + "{ y = LpNormalization<axis=0>(x) }", 17, {}, "LpNormalization 'y'"),
    "a norm over rows by default": ("g (float[N,3,4,4] x) => (float y) { y = MeanVarianceNormalization(x) }", 17, {},
                                    "MeanVarianceNormalization"),
    "a norm in training": ("""g (float[N,3,4] x) => (float y) {
               y, m, v = BatchNormalization<training_mode=1>(x, a, a, a, a) }""", 17, {"a": np.ones(3, np.float32)},
                           "training mode"),
    "each row with each": (X + "{ t = Transpose<perm=[1,0]>(x) y = MatMul(x, t) }", 17, {}, "MatMul 'y'"),
    "a weight as long as the rows": (X + "{ y = Mul(x, w) }", 17, {"w": w(4, 1)}, "Mul 'y'"),
    "a weight beside the rows": ("g (float[N] x) => (float y) { y = Add(x, w) }", 17, {"w": w(4)}, "Add 'y'"),
    "rows beside features": (X + "{ m = ReduceMax<axes=[1], keepdims=0>(x) y = Add(x, m) }", 17, {}, "Add 'y'"),
    "rows put in pairs": (X + "{ a = Reshape(x, t) y = Softmax(a) }", 17, {"t": np.array([-1, 8])}, "Reshape 'a'"),
    "rows and features exchanged": (X + "{ a = Reshape(x, t) y = Softmax(a) }", 17, {"t": np.array([4, -1])}, "Reshape 'a'"),
    "a fixed number of rows": (X + "{ a = Reshape(x, t) y = Softmax(a) }", 17, {"t": np.array([2, 4])}, "Reshape 'a'"),
    "the number of rows": (X + """{ s = Shape(x) i = Constant<value_int=0>() n = Gather(s, i) f = Cast<to=1>(n)
               y = Div(x, f) }""", 17, {}, "Div 'y'"),
    "a size as the number of rows": (X + "{ n = Size(x) f = Cast<to=1>(n) y = Mul(x, f) }", 17, {}, "Mul 'y'"),
    "a row's number": (X + """{ s = Shape(x) i = Constant<value_int=0>() n = Gather(s, i) a = Constant<value_int=0>()
               b = Constant<value_int=1>() r = Range(a, n, b) f = Cast<to=1>(r) k = Constant<value_ints=[1]>()
               u = Unsqueeze(f, k) y = Add(x, u) }""", 17, {}, "Range 'r'"),
    "rows in reverse": (X + "{ y = Slice(x, a, b, c, d) }", 17,
                        {"a": np.array([-1]), "b": np.array([-(2**62)]), "c": np.array([0]), "d": np.array([-1])}, "Slice 'y'"),
    "the first row": (X + "{ f = Gather<axis=0>(x, i) y = Sub(x, f) }", 17, {"i": np.array([0])}, "Gather 'f'"),
    "the best rows": (X + "{ y, i = TopK<axis=0>(x, k) }", 17, {"k": np.array([1])}, "TopK"),
    "a condition of the rows": ("""g (float[N,4] x) => (float y) { m = ReduceMax<keepdims=0>(x) z = Constant<value_float=1.0>()
               c = Greater(m, z) y = If(c) < then_branch = a () => (float p) { p = Relu(x) },
               else_branch = b () => (float q) { q = Neg(x) }> }""", 17, {}, "ReduceMax 'm'"),
    "rows put behind rows": (X + "{ y = Concat<axis=0>(x, x) }", 17, {}, "Concat 'y'"),
    "what nobody knows": (X + "{ y = Det(x) }", 17, {}, "Det 'y'"),
    "einsum over the rows": (X + '{ y = Einsum<equation: string = "nd,ne->de">(x, x) }', 17, {}, "Einsum 'y'"),
    "detections": (X + """{ h = Constant<value_float=0.5>() g = Greater(x, h) k = Constant<value_ints=[-1]>()
               f = Reshape(g, k) v = Reshape(x, k) y = Compress(v, f) }""", 17, {}, "Compress 'y'"),
    "one row's norm of a list": ("g (float[N] x) => (float y) { y = ai.onnx.ml.Normalizer<norm: string = \"L2\">(x) }", 17, {},
                                 "Normalizer"),
    "maxima's places": ("g (float[N,1,4] x) => (int64 y) { m, y = MaxPool<kernel_shape=[2]>(x) }", 17, {}, "MaxPool 'm'"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVEN)
def test_rows_that_are_kept_apart_are_proven_to_be(tmp_path: Path, name: str) -> None:
    text, opset, weights = PROVEN[name]
    proof, session = proof_of(model_of(text, opset, weights), tmp_path)
    assert proof.holds, proof.line
    assert proof.line == "independent: proven"
    # What is said is what ONNX Runtime does: each row comes out as it does alone.
    rng = np.random.default_rng(1)
    feeds = {}
    for spec in session.signature.inputs:
        assert spec.shape is not None
        shape = tuple(3 if dim == "N" else 5 if isinstance(dim, str) else dim or 1 for dim in spec.shape)
        whole = spec.dtype == "int64"
        feeds[spec.name] = rng.integers(0, 5, shape) if whole else rng.standard_normal(shape, dtype=np.float32)
    together = session.run(feeds)[0]
    axis = proof.outputs["y"]
    for row in range(3):
        alone = session.run({name: values[row : row + 1] for name, values in feeds.items()})[0]
        np.testing.assert_allclose(np.take(together, [row], axis), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MEET)
def test_the_proof_ends_where_rows_meet(tmp_path: Path, name: str) -> None:
    text, opset, weights, node = MEET[name]
    proof, _ = proof_of(model_of(text, opset, weights), tmp_path)
    assert not proof.holds
    assert proof.ends is not None
    assert node in proof.line


def test_scales_set_at_run_are_told_apart_from_rows_that_meet(tmp_path: Path) -> None:
    proof, _ = proof_of(onnx_models.dynamic_quantised(), tmp_path)
    assert not proof.holds and proof.ends is None
    assert proof.scales == ("DynamicQuantizeLinear 'q'",)
    assert "scales that DynamicQuantizeLinear 'q'" in proof.line


def test_outputs_as_long_as_the_data_make_them_are_told(tmp_path: Path) -> None:
    text, opset, weights, _ = MEET["detections"]
    proof, _ = proof_of(model_of(text, opset, weights), tmp_path)
    assert proof.counts == {"y"}


def test_random_numbers_are_told(tmp_path: Path) -> None:
    proof, _ = proof_of(model_of(X + "{ r = RandomNormalLike(x) y = Add(x, r) }"), tmp_path)
    assert proof.holds
    assert proof.random == ("RandomNormalLike 'r'",)


def test_rows_on_axis_1(tmp_path: Path) -> None:
    proof, _ = proof_of(onnx_models.rnn(), tmp_path)
    assert proof.holds
    assert proof.outputs == {"y": 1, "new_state": 1}


def test_a_batch_of_one_made_dynamic_is_proven_as_it_is_then(tmp_path: Path) -> None:
    assert proof_of(onnx_models.fixed_batch(reshape=(1, 32)), tmp_path, DYNAMIC_ROWS)[0].holds
    mixed = model_of("g (float[1,3] x) => (float[1,3] y) { m = ReduceMax<axes=[0]>(x) y = Div(x, m) }")
    assert "ReduceMax 'm'" in proof_of(mixed, tmp_path, DYNAMIC_ROWS)[0].line


BRANCHES = """<then_branch = a () => (float p) { p = Relu(x) },
    else_branch = b () => (float q) { m = ReduceMax<axes=[0]>(x) q = Sub(x, m) }> }"""
"""Rows meet where the condition does not hold."""


@pytest.mark.parametrize(
    ("condition", "proven"),
    [
        ("c = Constant<value: tensor = bool {1}>()", True),
        ("c = Constant<value: tensor = bool {0}>()", False),
        # Of a weight, whose values are not read: it holds for all rows, or for none.
        ("m2 = ReduceMax<keepdims=0>(w) z = Constant<value_float=1.0>() c = Greater(m2, z)", False),
    ],
)
def test_the_branch_that_may_be_taken_counts(tmp_path: Path, condition: str, proven: bool) -> None:
    text = X + "{ " + condition + " y = If(c) " + BRANCHES
    assert proof_of(model_of(text, weights={"w": w(9, 9)}), tmp_path)[0].holds == proven
    both = text.replace("m = ReduceMax<axes=[0]>(x) q = Sub(x, m)", "q = Neg(x)")
    assert proof_of(model_of(both, weights={"w": w(9, 9)}), tmp_path)[0].holds


def test_functions_are_followed(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17, "own" : 1]> g (float[N,4] x) => (float[N,4] y)
        { a = own.peak <axes=[1]>(x) y = own.peak <axes=[0]>(a) }
        <domain: "own", opset_import: ["" : 17]> peak <axes> (v) => (r)
        { m = ReduceMax <keepdims=1, axes: ints = @axes>(v) r = Div(v, m) }"""
    )
    ends = proof_of(model, tmp_path)[0].ends
    assert ends is not None and ends.startswith("at ReduceMax 'm': ")
    del model.graph.node[1]
    model.graph.node[0].output[0] = "y"
    assert proof_of(model, tmp_path)[0].holds


@pytest.mark.parametrize(("deep", "proven"), [(DEEPEST + 1, True), (DEEPEST + 2, False)])
def test_functions_in_one_another_are_followed_so_far(tmp_path: Path, deep: int, proven: bool) -> None:
    inner = [f"r = own.f{at + 1}(v)" if at + 1 < deep else "r = Relu(v)" for at in range(deep)]
    parts = [
        f'<domain: "own", opset_import: ["" : 17, "own" : 1]> f{at} (v) => (r) {{ {one} }}'
        for at, one in enumerate(inner)
    ]
    head = '<ir_version: 9, opset_import: ["" : 17, "own" : 1]> g (float[N,4] x) => (float[N,4] y) { y = own.f0(x) }'
    proof = proof_of(onnx.parser.parse_model(" ".join([head, *parts])), tmp_path)[0]
    assert proof.holds == proven
    assert proven or "functions lie too deep in one another" in str(proof.ends)


@pytest.mark.parametrize(("scanned", "proven"), [(1, True), (0, False)])
def test_scan_along_and_beside_the_rows(tmp_path: Path, scanned: int, proven: bool) -> None:
    first = "g (float[N,3,4] x, float[N,4] s) " if scanned else "g (float[N,3,4] x, float[3,4] s) "
    text = first + (
        f"=> (float last, float all) {{ last, all = Scan<num_scan_inputs=1, scan_input_axes=[{scanned}], "
        "body = b (float[R,4] a, float[R,4] p) => (float[R,4] c, float[R,4] d) { c = Add(a, p) d = Identity(c) }>(s, x) }"
    )
    model = model_of(text)
    proof, _ = proof_of(model, tmp_path)
    assert proof.holds == proven
    if proven:
        assert proof.outputs == {"last": 0, "all": 1}


@pytest.mark.parametrize(
    ("body", "proven"), [("c = Add(a, x)", True), ("m = ReduceMax<axes=[0]>(a) c = Sub(a, m)", False)]
)
def test_loops_that_keep_rows_apart(tmp_path: Path, body: str, proven: bool) -> None:
    model = model_of(
        "g (float[N,4] x) => (float y) { t = Constant<value_int=3>() y = Loop(t, , x) "
        f"<body = b (int64 i, bool on, float[M,4] a) => (bool go, float[M,4] c) {{ go = Identity(on) {body} }}> }}"
    )
    assert proof_of(model, tmp_path)[0].holds == proven


def test_a_file_that_is_no_model_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    session = Session(ModelFile(onnx_models.save(onnx_models.mlp(), path)), SessionOptions(threads=1))
    path.write_bytes(path.read_bytes()[:60])
    proof = prove(session.model, session.signature, {"x": 0})
    assert not proof.holds and proof.ends is not None and "cannot be followed" in proof.ends


@pytest.mark.parametrize(
    ("outputs", "ends", "axes"),
    [
        ("a", None, {"a": 0}),
        ("b", "output b tells the number of rows", {}),
        ("c", "output c has other things beside the rows on their axis", {}),
        ("a b c", "output b tells the number of rows", {"a": 0}),
        ("c b", "output c has other things beside the rows on their axis", {}),
        ("d c", None, {}),
        ("w b", "output b tells the number of rows", {}),
    ],
)
def test_outputs_that_end_a_proof(tmp_path: Path, outputs: str, ends: str | None, axes: dict[str, int]):
    kinds = {"a": "float[N,4]", "b": "int64[2]", "c": "float[M]", "d": "float[1,4]", "w": "float[1]"}
    named = ", ".join(f"{kinds[name]} {name}" for name in outputs.split())
    text = f"g (float[N,4] x) => ({named}) {{ a = Relu(x) b = Shape(x) c = Reshape(x, t) d = ReduceMean<axes=[0]>(x) w = Neg(k) }}"
    model = model_of(text, weights={"t": np.array([-1]), "k": w(1)})
    proof, _ = proof_of(model, tmp_path)
    if outputs == "d c":
        assert proof.ends is not None and proof.ends.startswith("at ")
    else:
        assert (proof.ends, proof.outputs) == (ends, axes)


def test_bases_have_rows_that_are_unlike():
    feeds = {
        "x": np.zeros((3, 2), np.float32), "i": np.ones((2, 3), np.int64), "b": np.ones(3, bool),
        "c": np.array([1, 2, 2]), "same": np.zeros(2, np.float32), "none": np.zeros((0,), np.int8),
    }  # fmt: skip
    axes = {"x": 0, "i": 1, "b": 0, "c": 0, "same": None, "none": 0}
    first, second, third = bases(feeds, axes)
    assert all(first[name] is feeds[name] for name in feeds)
    assert [name for name in feeds if second[name] is not feeds[name]] == ["x"]
    assert second["x"].dtype == np.float32 and len({*second["x"].reshape(-1).tolist()}) == 6
    assert [name for name in feeds if third[name] is not second[name]] == ["i", "b"]
    assert third["i"].tolist() == [[1, 2, 3], [1, 2, 3]] and third["b"].tolist() == [True, False, True]
    assert (third["i"].dtype, third["b"].dtype) == (np.int64, bool)
    assert [len(list(bases({name: feeds[name]}, {name: axes[name]}))) for name in ("c", "same")] == [1, 1]
