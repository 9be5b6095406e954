"""Models whose batch is fixed at N: made dynamic beside the original, else run in blocks of N, else refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fitted_batch import choose_batch_size
from beamsplit.models.fitting.fixed_batch_ways import Way
from beamsplit.models.scoring.scorer import Scorer
from tests.models.binding.binding_cases import bound
from tests.pipelines.job.declared import Array, as_arrays, floats, scored, tensors, written

DYNAMIC, BLOCKS = "it was made dynamic", "rows run in blocks of 4"

W3 = floats(3, 5)
CONSTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("y = MatMul(x, w)", {"w": W3}),
    "Reshape": ("a = Reshape(x, s) b = Relu(a) y = Reshape(b, t)", {"s": [4, 1, 3], "t": [4, 3]}),
    "Reshape that folds": ("a = Reshape(x, s) b = Relu(a) y = Reshape(b, t)", {"s": [12, 1], "t": [4, 3]}),
    "Reshape with -1": ("a = Reshape(x, s) b = Neg(a) y = Reshape(b, t)", {"s": [4, -1], "t": [4, 3, 1]}),
    "Reshape to a target of parts": ("t = Concat<axis=0>(b, r) y = Reshape(x, t)", {"b": [4], "r": [1, 3]}),
    "Reshape to a target that is worked out": ("t = Mul(b, r) y = Reshape(x, t)", {"b": [2, 3], "r": [2, 1]}),
    "Expand": ("a = Unsqueeze(x, one) y = Expand(a, s)", {"one": [1], "s": [4, 2, 3]}),
    "Slice": ("a = Slice(x, b, e, z) y = Relu(a)", {"b": [0], "e": [4], "z": [0]}),
    "Slice over all axes": ("a = Slice(x, b, e) y = Relu(a)", {"b": [0, 1], "e": [4, 3]}),
    "a token a row": (
        "a = Unsqueeze(x, one) y = Concat<axis=1>(t, a)",
        {"one": [1], "t": np.tile(W3[:1, :3], (4, 1, 1))},
    ),
    "a token expanded": (
        "a = Unsqueeze(x, one) t = Expand(c, s) y = Concat<axis=1>(t, a)",
        {"one": [1], "c": W3[:1, :3].reshape(1, 1, 3), "s": [4, 1, 3]},
    ),
    "equal rows added": ("y = Add(x, c)", {"c": np.tile(W3[:1, :3], (4, 1))}),
    "zeros of a shape": ("c = ConstantOfShape(s) y = Concat<axis=1>(x, c)", {"s": [4, 2]}),
    "Resize to sizes": (
        'a = Unsqueeze(x, one) b = Resize<mode="nearest">(a, "", "", s) y = Relu(b)',
        {"one": [1], "s": [4, 1, 6]},
    ),
    "Squeeze without axes": ("a = Unsqueeze(x, one) y = Squeeze(a)", {"one": [1]}),
    "Squeeze of nothing": ("a = Relu(x) y = Squeeze(a)", {}),
    "a target of the number of values": (
        "n = Size(x) r = Div(n, three) f = Reshape(r, one) t = Concat<axis=0>(f, three1) y = Reshape(x, t)",
        {"three": 3, "one": [1], "three1": [3]},
    ),
    "Constant of ints": ("c = Constant<value_ints=[4, 1, 3]>() y = Reshape(x, c)", {}),
    "Constant of a tensor": ("c = Constant<value=int64[2] {4, 3}>() a = Neg(x) y = Reshape(a, c)", {}),
    "Constant of an int": (
        "c = Constant<value_int=4>() u = Reshape(c, one) t = Concat<axis=0>(u, three1) a = Neg(x) y = Reshape(a, t)",
        {"one": [1], "three1": [3]},
    ),
    "Constant of a float": ("c = Constant<value_float=2.0>() a = Mul(x, c) y = Reshape(a, t)", {"t": [4, 3]}),
    "Constant of floats": (
        "c = Constant<value_floats=[2.0, 2.0, 3.0]>() a = Mul(x, c) y = Reshape(a, t)",
        {"t": [4, 3]},
    ),
    "a Loop's last and each": (
        "h, e = Loop<body = b (int64 i, bool k, float[4, 3] c) => (bool k2, float[4, 3] d, float[4, 3] f) "
        "{ k2 = Identity(k) d = Add(c, c) g = Relu(d) f = Reshape(g, t) }>(two, on, x) "
        "a = ReduceSum<keepdims=0>(e, zero) r = Reshape(a, t) y = Add(r, h)",
        {"two": 2, "on": np.array(True), "t": [4, 3], "zero": [0]},
    ),
    "the rows as features": ("a = Reshape(x, s) y = Transpose<perm=[0, 2, 1]>(a)", {"s": [4, 3, 1]}),
}  # fmt: skip


def model(path: Path, body: str, weights: dict[str, Any], shape: str = "4,3", **given: Any) -> str:
    return written(path, f"g (float[{shape}] x) => (float y) {{ {body} }}", _arrays(weights), **given)


def _arrays(weights: dict[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(value) for name, value in weights.items()}


def copied(path: str, **columns: Array) -> list[Array]:
    """What the model gives for each row in a batch of its copies."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = len(next(iter(columns.values())))
    given = {i.name: i.shape for i in session.get_inputs()}
    found = []
    for row in range(rows):
        feeds = {name: np.repeat(a[row : row + 1], given[name][0], 0) for name, a in columns.items()}
        found.append(session.run(None, feeds)[0][0])
    return found


def check(path: str, note: str, block: pa.RecordBatch, expected: list[Array], **facts: Any) -> Any:
    made, found = scored(path, block, **facts)
    assert not found.failures, found.failures
    assert any(note in one for one in made.notes), made.notes
    for one, right in zip(as_arrays(found.columns[0]), expected, strict=True):
        np.testing.assert_allclose(one, right, rtol=1e-4, atol=1e-5)
    return made


@pytest.mark.parametrize("rows", [1, 4, 11])
@pytest.mark.parametrize("name", CONSTANTS)
def test_a_batch_hidden_in_constants_is_made_dynamic(tmp_path: Path, name: str, rows: int) -> None:
    path, x = model(tmp_path / "m.onnx", *CONSTANTS[name]), floats(rows, 3)
    check(path, f"fixed at 4; {DYNAMIC}", tensors(x=x), copied(path, x=x))


@pytest.mark.parametrize("opset", [6, 9, 11])
def test_older_opsets(tmp_path: Path, opset: int) -> None:
    body = "a = Slice<starts=[0], ends=[4], axes=[0]>(x) y = Relu(a)" if opset < 10 else "y = Softmax<axis=1>(x)"
    path, x = model(tmp_path / "m.onnx", body, {}, opset=opset, ir=4), floats(9, 3)
    check(path, DYNAMIC, tensors(x=x), copied(path, x=x))


@pytest.mark.parametrize("target", ["4, 1, 3", "4, -1, 1", "12, 1"])
def test_targets_that_are_attributes_of_old_opsets(tmp_path: Path, target: str) -> None:
    body = f"a = Reshape<shape=[{target}]>(x) b = Identity(a) y = Reshape<shape=[4, 3]>(b)"
    path, x = model(tmp_path / "m.onnx", body, {}, opset=4, ir=3), floats(9, 3)
    check(path, DYNAMIC, tensors(x=x), copied(path, x=x))


def test_a_batch_as_large_as_a_row(tmp_path: Path) -> None:
    body = "a = Reshape(x, s) b = MatMul(a, w) y = Reshape(b, t)"
    weights = {"s": [4, 1, 4], "w": floats(4, 4), "t": [4, 4]}
    path, x = model(tmp_path / "m.onnx", body, weights, "4,4"), floats(9, 4)
    check(path, DYNAMIC, tensors(x=x), copied(path, x=x))


IF = """c = Constant<value_int=1>() d = Cast<to=9>(c)
    y = If(d) <then_branch = t () => (float[4,3] p) { s = Constant<value_ints=[4,1,3]>() q = Reshape(x, s)
        u = Constant<value_ints=[4,3]>() r = Reshape(q, u) p = Relu(r) },
      else_branch = e () => (float[4,3] n) { n = Neg(x) }>"""
LOOP = """m = Constant<value_int=3>() c = Constant<value_int=1>() d = Cast<to=9>(c)
    y = Loop(m, d, x) <body = b (int64 i, bool k, float[4,3] v) => (bool j, float[4,3] o) {
        j = Identity(k) s = Constant<value_ints=[4,1,3]>() q = Reshape(v, s) u = Constant<value_ints=[4,3]>()
        r = Reshape(q, u) o = Add(r, x) }>"""


@pytest.mark.parametrize("body", [IF, LOOP], ids=["If", "Loop"])
def test_a_batch_hidden_in_bodies(tmp_path: Path, body: str) -> None:
    path, x = model(tmp_path / "m.onnx", body, {}), floats(9, 3)
    check(path, DYNAMIC, tensors(x=x), copied(path, x=x))


def test_states_of_a_recurrent_layer(tmp_path: Path) -> None:
    text = """g (float[4,6,3] x) => (float y) { a = Transpose<perm=[1,0,2]>(x) h = ConstantOfShape(s)
        q, l = GRU<hidden_size=5>(a, w, r, , , h) y = Squeeze(l, z) }"""
    weights = {"w": floats(1, 15, 3), "r": floats(1, 15, 5, seed=1), "s": np.array([1, 4, 5]), "z": np.array([0])}
    path, x = written(tmp_path / "m.onnx", text, weights), floats(9, 6, 3)
    check(path, DYNAMIC, tensors(x=x), copied(path, x=x))


def test_a_state_given_with_set_has_as_many_rows_as_the_data(tmp_path: Path) -> None:
    text = """g (float[4,6,3] x, float[1,4,5] h) => (float y) { a = Transpose<perm=[1,0,2]>(x)
        q, l = GRU<hidden_size=5>(a, w, r, , , h) y = Squeeze(l, z) }"""
    weights = {"w": floats(1, 15, 3), "r": floats(1, 15, 5, seed=1), "z": np.array([0])}
    path, x = written(tmp_path / "m.onnx", text, weights), floats(9, 6, 3)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    h = np.ones((1, 4, 5), np.float32)
    expected = [session.run(None, {"x": np.repeat(x[i : i + 1], 4, 0), "h": h})[0][0] for i in range(9)]
    check(path, DYNAMIC, tensors(x=x), expected, sets={"h": "ones"})


TO_BLOCKS = {
    "rows by their number": ("a = Gather(x, i) y = Relu(a)", {"i": [0, 1, 2, 3]}),
    "split and joined": ("a, b, c, d = Split<axis=0>(x, s) y = Concat<axis=0>(a, b, c, d)", {"s": [1, 1, 1, 1]}),
}


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
@pytest.mark.parametrize("rows", [1, 4, 11])
@pytest.mark.parametrize("name", TO_BLOCKS)
def test_what_cannot_be_dynamic_runs_in_blocks(tmp_path: Path, name: str, rows: int, batch_size: int) -> None:
    path, x = model(tmp_path / "m.onnx", *TO_BLOCKS[name]), floats(rows, 3)
    made = check(path, BLOCKS, tensors(x=x), copied(path, x=x))
    found = Scorer(replace(made.plan, batch_size=batch_size), made.session).score(tensors(x=x))
    np.testing.assert_allclose(as_arrays(found.columns[0]), copied(path, x=x), rtol=1e-6)
    choice = choose_batch_size(made, 1 << 20)
    assert choice is not None and choice.batch_size == 4


def test_a_row_that_fails_in_a_block_fails_alone(tmp_path: Path) -> None:
    text = "g (int64[4,2] x) => (float y) { a = Gather(x, i) y = Gather(t, a) }"
    path = written(tmp_path / "m.onnx", text, {"i": np.arange(4), "t": floats(10, 3)})
    x = np.arange(22).reshape(11, 2) % 10
    x[[3, 9]] = 77
    made, _ = scored(path, tensors(x=x))
    found = Scorer(replace(made.plan, batch_size=8), made.session).score(tensors(x=x))
    assert [row for row, _ in found.failures] == [3, 9] and "idx=77" in found.failures[0][1]
    good = np.delete(x, [3, 9], 0)
    np.testing.assert_array_equal(as_arrays(found.columns[0]), copied(path, x=good))


MIXING = {
    "the largest row": ("m = ReduceMax<axes=[0], keepdims=1>(x) y = Div(x, m)", {}),
    "a sum over rows": ("m = ReduceSum(x, z) y = Add(x, m)", {"z": [0]}),
    "the row before": ("a = Slice(x, b, e, z) c = Slice(x, e, f, z) y = Concat<axis=0>(c, a)",
                       {"b": [0], "e": [1], "f": [4], "z": [0]}),
    "a number of its own": ("y = Add(x, c)", {"c": [[0], [1], [2], [3]]}),
    "rows as features": ("a = Transpose<perm=[1,0]>(x) y = MatMul(x, a)", {}),
    "two of four": ("y = Slice(x, b, e, z)", {"b": [0], "e": [2], "z": [0]}),
}  # fmt: skip


@pytest.mark.parametrize("alike", [False, True], ids=["unlike rows", "equal rows"])
@pytest.mark.parametrize("name", MIXING)
def test_rows_of_a_fixed_batch_that_influence_one_another_are_refused(tmp_path: Path, name: str, alike: bool) -> None:
    body, weights = MIXING[name]
    path = model(
        tmp_path / "m.onnx", body, {k: np.asarray(v, np.float32 if k == "c" else None) for k, v in weights.items()}
    )
    x = np.ones((9, 3), np.float32) if alike else floats(9, 3)
    with pytest.raises(UsageError, match=r"takes exactly 4 rows a run, and .*export it with a dynamic first dimension"):
        scored(path, tensors(x=x))


def test_one_input_has_1_where_another_has_the_batch(tmp_path: Path) -> None:
    text = "g (float[4,3] x, float[1,3] e) => (float y) { y = Mul(x, e) }"
    path, x, e = written(tmp_path / "m.onnx", text), floats(9, 3), floats(9, 3, seed=1)
    check(path, DYNAMIC, tensors(x=x, e=e), list(x * e))


def test_one_input_of_1_that_cannot_be_dynamic(tmp_path: Path) -> None:
    text = "g (float[4,3] x, float[1,3] e) => (float y) { a = Gather(x, i) b = Gather(e, j) y = Mul(a, b) }"
    path = written(tmp_path / "m.onnx", text, {"i": np.arange(4), "j": np.zeros(4, np.int64)})
    x, e = floats(9, 3), floats(9, 3, seed=1)
    check(path, "rows run one by one, each with copies of itself", tensors(x=x, e=e), list(x * e))


def test_an_input_without_the_batch_is_given_whole_by_each_row(tmp_path: Path) -> None:
    text = "g (float[4,3] x, float[3] b) => (float y) { y = Add(x, b) }"
    path, x, b = written(tmp_path / "m.onnx", text), floats(9, 3), floats(9, 3, seed=1)
    check(path, "rows run one by one", tensors(x=x, b=b), list(x + b))


def test_an_input_without_the_batch_given_with_set(tmp_path: Path) -> None:
    text = "g (float[4,3] x, float[3] b) => (float y) { y = Add(x, b) }"
    path, x = written(tmp_path / "m.onnx", text), floats(9, 3)
    np.save(tmp_path / "b.npy", floats(3, seed=1))
    check(path, DYNAMIC, tensors(x=x), list(x + floats(3, seed=1)), sets={"b": str(tmp_path / "b.npy")})


@pytest.mark.parametrize("shape", ["4,3", "5", "2,3,4", "k,3", "k"])
def test_a_row_that_is_the_whole_of_an_input(tmp_path: Path, shape: str) -> None:
    sizes = [2 if size == "k" else int(size) for size in shape.split(",")]
    text = f"g (float[{shape}] x) => (float y) {{ m = ReduceMax<keepdims=1>(x) y = Div(x, m) }}"
    path, x = written(tmp_path / "m.onnx", text), floats(7, *sizes)
    column = x if len(sizes) > 1 else pa.array(x.tolist(), pa.list_(pa.float32()))
    block = pa.record_batch([column], names=["x"]) if isinstance(column, pa.Array) else tensors(x=column)
    made = check(path, "each row is all of x", block, [row / row.max() for row in x])
    assert made.plan.row_by_row


def test_a_batch_of_one_whose_other_sizes_are_open(tmp_path: Path) -> None:
    text = "g (float[1,samples] x) => (float[1,1] y) { y = ReduceMean<axes=[1]>(x) }"
    path, x = written(tmp_path / "m.onnx", text), floats(9, 50)
    check(path, f"fixed at 1; {DYNAMIC}", tensors(x=x), [row.mean(keepdims=True) for row in x])


def test_a_batch_of_one_on_the_second_axis(tmp_path: Path) -> None:
    text = "g (float[6,1,3] x) => (float y) { q, l = GRU<hidden_size=5>(x, w, r) y = Squeeze(l, z) }"
    weights = {"w": floats(1, 15, 3), "r": floats(1, 15, 5, seed=1), "z": np.array([0])}
    path, x = written(tmp_path / "m.onnx", text, weights), floats(9, 6, 3)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    check(path, DYNAMIC, tensors(x=x), [session.run(None, {"x": row[:, None]})[0][0] for row in x])


def test_columns_that_are_too_many_are_no_whole_input(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", "g (float[n,3] x) => (float[n,3] y) { y = Relu(x) }")
    block = pa.record_batch({name: floats(9, seed=i) for i, name in enumerate("abcdef")})
    with pytest.raises(UsageError, match="takes 3 numeric columns"):
        scored(path, block)


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_equal_rows_of_one_input_hide_no_mixing(tmp_path: Path, dtype: str) -> None:
    text = f"""g (float[4,3] x, {dtype}[4,1] f) => (float y) {{
        a = Cast<to=1>(f) m = ReduceSum(a, z) y = Add(x, m) }}"""
    path = written(tmp_path / "m.onnx", text, {"z": np.array([0])})
    with pytest.raises(UsageError, match=r"takes exactly 4 rows a run, and .*export it with a dynamic first dimension"):
        scored(path, tensors(x=floats(9, 3), f=np.ones((9, 1), dtype)))


@pytest.mark.parametrize(
    ("kind", "values"),
    [("string", list("abcdef")), ("bool", [True, False, True, True, False]), ("float16", [0.5, 2.0, 3.0])],
)
def test_other_types(tmp_path: Path, kind: str, values: list[Any]) -> None:
    path = written(tmp_path / "m.onnx", f"g ({kind}[4] x) => ({kind}[4] y) {{ y = Identity(x) }}")
    column = pa.array(np.array(values, np.float16)) if kind == "float16" else pa.array(values)
    _, found = scored(path, pa.record_batch([column], names=["x"]))
    assert not found.failures and found.columns[0].to_pylist() == values


@pytest.mark.parametrize(
    ("shape", "size", "fits"),
    [
        (("n", 3), 3, True),
        (("n", 1), 1, True),
        (("n", 1, 1), 1, True),
        (("n", 1, 3), 3, False),
        (("n", None, 2), 6, False),
    ],
)
def test_a_bold_guess_of_the_rows_wants_the_very_axes_of_the_model(
    shape: tuple[str | int | None, ...], size: int, fits: bool
) -> None:
    inputs = bound([("x", "float32", shape)], pa.schema({"x": pa.list_(pa.float32(), size)})).inputs
    assert Way({"x": 0}).fits(inputs) == fits and Way({"x": 0}, exact=False).fits(inputs)


def test_no_rows_at_all(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", "g (float[4,3] x) => (float[4,3] y) { y = Relu(x) }")
    made, found = scored(path, tensors(x=floats(1, 3)).slice(0, 0))
    assert made.plan.outputs[0].row_shape == (3,) and len(found.columns[0]) == 0
