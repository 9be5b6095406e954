"""Models that draw random numbers: found, batched, and divided as any other, checked by their still twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.graph.random_draws import drawn_by
from beamsplit.models.running.session import Session, SessionOptions, get_session
from beamsplit.models.running.still_session import still
from tests.command import Command, write_table

CPU = SessionOptions(threads=1)
BODIES = {
    "RandomNormalLike": "r = RandomNormalLike(a) b = Add(a, r)",
    "RandomUniformLike": "r = RandomUniformLike<low=-1.0, high=3.0>(a) b = Add(a, r)",
    "RandomNormal": "r = RandomNormal<shape=[16], mean=2.0>() b = Add(a, r)",
    "RandomUniform": "r = RandomUniform<shape=[16], seed=1.0>() b = Mul(a, r)",
    "Bernoulli": "p = Sigmoid(a) r = Bernoulli(p) b = Add(a, r)",
    "Multinomial": "r = Multinomial<sample_size=16>(a) q = Cast<to=1>(r) b = Add(a, q)",
    "Dropout": "b = Dropout(a, ratio, train)",
}


def save(body: str, folder: Path, train: bool = True, opset: int = 17) -> str:
    text = "g (float[n, 16] x) => (float[n, 16] y) { a = MatMul(x, w) " + body + " c = Relu(b) y = MatMul(c, v) }"
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["": {opset}]> {text}')
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((16, 16), np.float32) for name in "wv"}
    weights |= {"ratio": np.array(0.5, np.float32), "train": np.array(train)}
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(one, name) for name, one in weights.items() if name in read)
    onnx.save(model, folder / "random.onnx")
    return str(folder / "random.onnx")


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("opset", [14, 17])
def test_the_still_twin(name: str, opset: int, tmp_path: Path):
    if name == "Bernoulli" and opset < 15:
        pytest.skip("there is no Bernoulli in opset 14")
    path = save(BODIES[name], tmp_path, opset=opset)
    assert drawn_by(path) == (name,)
    twin = still(get_session(ModelFile(path), CPU))
    feeds = {"x": np.random.default_rng(1).standard_normal((5, 16), np.float32)}
    assert np.array_equal(twin.run(feeds)[0], twin.run(feeds)[0])
    assert twin.run(feeds)[0].shape == Session(ModelFile(path), CPU).run(feeds)[0].shape
    assert still(twin) is twin


def test_what_is_told_not_to_draw(tmp_path: Path):
    session = Session(ModelFile(save(BODIES["Dropout"], tmp_path, train=False)), CPU)
    assert drawn_by(session.model.path) == () and still(session) is session


def test_in_a_body(tmp_path: Path):
    body = """t = Constant<value_int=1>() o = Cast<to=9>(t)
        b = If(o) <then_branch=g1 () => (float[n, 16] p) { q = RandomNormalLike(a) p = Add(a, q) },
                   else_branch=g2 () => (float[n, 16] s) { s = Identity(a) }>"""
    path = save(body, tmp_path)
    assert drawn_by(path) == ("RandomNormalLike",)
    twin = still(get_session(ModelFile(path), CPU))
    feeds = {"x": np.ones((2, 16), np.float32)}
    assert np.array_equal(twin.run(feeds)[0], twin.run(feeds)[0])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("RandomNormalLike", ()),
        ("RandomUniform", ("--stages", 2)),
        ("RandomNormalLike", ("--shards", 2)),
        ("Bernoulli", ("--stages", 2, "--shards", 2)),
        ("RandomNormalLike", ("--strategy", "auto")),
        ("Dropout", ("--shards", "auto")),
        ("RandomNormalLike", ("--shards", 2, "--placement", "distributed")),
    ],
)
def test_scored_as_any_other(
    name: str, how: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    command = Command(tmp_path, capsys)
    command.model = save(BODIES[name], tmp_path)
    rows = np.random.default_rng(2).standard_normal((40, 16), np.float32)
    command.data = write_table(tmp_path / "rows.parquet", id=range(40), x=list(rows))
    code, _, err = command.run("--workers", 1, "--quiet", "--keep", "id", *how, columns=None)
    assert code == 0, err
    assert len(command.rows()) == 40
    code, out, err = command.run("--workers", 1, "--keep", "id", "--dry_run_plan", *how, columns=None)
    assert f"the model draws random numbers ({name}): each run of it gives others" in out, out
    assert "run one by one" not in out


def test_plan_and_score_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    from beamsplit.pipelines.__main__ import main

    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    command = Command(tmp_path, capsys)
    command.model = save(BODIES["RandomNormalLike"], tmp_path)
    rows = np.random.default_rng(2).standard_normal((40, 16), np.float32)
    command.data = write_table(tmp_path / "rows.parquet", id=range(40), x=list(rows))
    folder = tmp_path / "stages"
    code = main(["plan", "--model", str(command.model), "--stages", "2", "--save_stages", str(folder)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    code, _, err = command.run("--workers", 1, "--quiet", "--plan", folder / "plan.json", columns=None)
    assert code == 0, err
