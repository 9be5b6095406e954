"""How far parts may be from the whole: by the arithmetic, with a floor, and by how much numbers jump."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.split.chain import ChainCheck, check_same
from beamsplit.models.split.leeway import EIGHT_BITS, arithmetic

CPU = SessionOptions(threads=1)
RNG = np.random.default_rng(0)
W = RNG.standard_normal((64, 64), np.float32) / 8
X = {"x": RNG.standard_normal((64, 64), np.float32)}


def save(folder: Path, body: str, out: str, given: str = "float[n, 64] x", opset: int = 17) -> str:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["": {opset}]> g ({given}) => ({out}) {{ {body} }}')
    weights = {"w": W, "half": W.astype(np.float16), "low": np.array(-16, np.float32), "k": np.array([3])}
    weights |= {"scale": np.array(0.02, np.float32), "zero": np.array(0, np.int8), "t": np.array(0.1, np.float32)}
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(one, name) for name, one in weights.items() if name in read)
    path = str(folder / f"{len(list(folder.iterdir()))}.onnx")
    onnx.save(model, path)
    return path


class Moved:
    """A model whose first output is what another gives, changed."""

    def __init__(self, session: Session, change):
        self.session, self.change = session, change

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [self.change(np.array(one)) for one in self.session.run(feeds)]


def check(path: str, change, feeds: dict[str, np.ndarray] | None = None) -> ChainCheck:
    session = Session(ModelFile(path), CPU)
    return check_same(session, Moved(session, change), feeds or X, of="the parts do", fix="none")


@pytest.mark.parametrize(
    ("body", "out", "tolerance", "jumps"),
    [
        ("a = MatMul(x, w) y = Cast<to=11>(a)", "double[n, m] y", 1e-4, False),
        ("a = Cast<to=10>(x) b = MatMul(a, half) y = Cast<to=1>(b)", "float[n, m] y", 2e-2, False),
        ("a = Cast<to=16>(x) b = Cast<to=1>(a) y = MatMul(b, w)", "float[n, m] y", 2e-2, False),
        ("y = MatMul(x, w)", "float[n, m] y", 1e-4, False),
        ("a = MatMul(x, w) y = Cast<to=7>(a)", "int64[n, m] y", 1e-4, True),
        ("a = MatMul(x, w) b = Round(a) y = Cast<to=11>(b)", "double[n, m] y", 1e-4, True),
        ("a = MatMul(x, w) y = ArgMax<axis=1>(a)", "int64[n, m] y", 1e-4, True),
        ("a = MatMul(x, w) v, y = TopK(a, k)", "int64[n, m] y", 1e-4, True),
        ("a = MatMul(x, w) y = Greater(a, t)", "bool[n, m] y", 1e-4, True),
        (
            "a = MatMul(x, w) b = QuantizeLinear(a, scale, zero) y = DequantizeLinear(b, scale, zero)",
            "float[n, m] y",
            EIGHT_BITS,
            True,
        ),
        ("y = Cast<to=7>(x)", "int64[n, m] y", 0.0, False),
        ("y = Shape(x)", "int64[m] y", 0.0, False),
    ],
)
def test_what_an_output_is_made_by(body: str, out: str, tolerance: float, jumps: bool, tmp_path: Path):
    (found,) = arithmetic(load_graph(ModelFile(save(tmp_path, body, out)))).values()
    assert (found.tolerance, found.jumps) == (tolerance, jumps)


def test_doubles_made_of_floats_may_differ_as_floats(tmp_path: Path):
    path = save(tmp_path, "a = MatMul(x, w) y = Cast<to=11>(a)", "double[n, m] y")
    check(path, lambda y: y * (1 + 1e-6))
    with pytest.raises(UsageError, match=r"the parts do not give what the whole model gives: y: largest.*: none"):
        check(path, lambda y: y * 1.01)


def test_real_doubles_may_not(tmp_path: Path):
    path = save(tmp_path, "y = Mul(x, x)", "double[n, 64] y", "double[n, 64] x")
    feeds = {"x": X["x"].astype(np.float64)}
    check(path, lambda y: y * (1 + 1e-12), feeds)
    with pytest.raises(UsageError, match="not give what the whole model gives"):
        check(path, lambda y: y * (1 + 1e-7), feeds)


def test_tiny_outputs_have_a_floor(tmp_path: Path):
    path = save(tmp_path, "a = MatMul(x, w) b = Add(a, low) y = Sigmoid(b)", "float[n, m] y")
    assert Session(ModelFile(path), CPU).run(X)[0].max() < 1e-4
    check(path, lambda y: y + np.float32(1e-7))
    with pytest.raises(UsageError):
        check(path, lambda y: y + np.float32(1e-5))


def test_small_numbers_that_are_exact_have_none(tmp_path: Path):
    path = save(tmp_path, "a = MatMul(x, w) b = Mul(a, t) c = Mul(b, t) y = Mul(c, c)", "float[n, m] y")
    with pytest.raises(UsageError):
        check(path, lambda y: y + np.abs(y).max() * np.float32(0.01))


def test_differences_of_near_numbers_have_one(tmp_path: Path):
    path = save(tmp_path, "a = MatMul(x, w) b = Add(a, low) c = Sub(b, low) y = Sub(c, a)", "float[n, m] y")
    check(path, lambda y: y + np.float32(1e-7))
    with pytest.raises(UsageError):
        check(path, lambda y: y + np.float32(1e-3))


@pytest.mark.parametrize(
    ("body", "out"),
    [
        ("a = MatMul(x, w) y = Cast<to=7>(a)", "int64[n, m] y"),
        ("a = MatMul(x, w) y = Round(a)", "float[n, m] y"),
        ("a = MatMul(x, w) b = Greater(a, t) y = Cast<to=1>(b)", "float[n, m] y"),
    ],
)
def test_a_few_numbers_may_jump(body: str, out: str, tmp_path: Path):
    path = save(tmp_path, body, out)

    def jump(share: float):
        def change(y: np.ndarray) -> np.ndarray:
            flat = y.reshape(-1)
            flat[: int(share * flat.size)] += 1
            return y

        return change

    check(path, jump(0.005))
    with pytest.raises(UsageError, match="of its elements jump"):
        check(path, jump(0.05))


def test_integers_made_of_integers_must_be_equal(tmp_path: Path):
    path = save(tmp_path, "y = Cast<to=7>(x)", "int64[n, 64] y", "int32[n, 64] x")
    feeds = {"x": np.arange(640, dtype=np.int32).reshape(10, 64)}

    def change(y: np.ndarray) -> np.ndarray:
        y[0, 0] += 1
        return y

    with pytest.raises(UsageError, match="must be equal"):
        check(path, change, feeds)
