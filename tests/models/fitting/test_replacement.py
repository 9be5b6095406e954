from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.fitting.replacement import load_replacement, signature_difference
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.values.tensors import to_numpy
from tests import onnx_models
from tests.onnx_models import build, save

CPU = SessionOptions(threads=1)
ROWS = pa.record_batch(
    {"x": pa.array(np.random.default_rng(0).standard_normal((5, 4)).tolist(), pa.list_(pa.float32()))}
)


@pytest.fixture
def old(tmp_path: Path) -> Scorer:
    made = fit(save(onnx_models.mlp(4, outputs=2), tmp_path / "old.onnx"), CPU, ROWS.schema, ROWS, DataFacts())
    return Scorer(made.plan, made.session)


def test_the_new_model_scores_as_it_does_alone(old: Scorer, tmp_path: Path):
    path = save(onnx_models.mlp(4, 16, outputs=2, seed=1), tmp_path / "new.onnx")
    new = load_replacement(old, path, CPU, ROWS)
    alone = fit(path, CPU, ROWS.schema, ROWS, DataFacts())
    found = to_numpy(new.score(ROWS).columns[0])
    np.testing.assert_array_equal(found, to_numpy(Scorer(alone.plan, alone.session).score(ROWS).columns[0]))
    assert not np.allclose(found, to_numpy(old.score(ROWS).columns[0]))


def mixing() -> onnx.ModelProto:
    """y = x[:, :2] less its mean over the rows."""
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axes"], ["part"]),
        helper.make_node("ReduceMean", ["part"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["part", "mean"], ["y"]),
    ]
    weights = {"from": np.array([0]), "to": np.array([2]), "axes": np.array([1])}
    tensors = [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 2])]
    return build(nodes, *tensors, weights)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (onnx_models.mlp(5, outputs=2), "its input 'x: float32[batch, 5]' is 'x: float32[batch, 4]' before"),
        (onnx_models.mlp(4, outputs=3), "its output 'y: float32[batch, 3]' is 'y: float32[batch, 2]' before"),
        (onnx_models.float16_mlp(4), "its input 'x: float16[batch, 4]' is 'x: float32[batch, 4]' before"),
        (
            onnx_models.mlp(4, outputs=2, batch=1),
            "as the one before does: the model fails on 3 rows",
        ),
        (mixing(), "it does not take rows together"),
    ],
)
def test_a_model_that_cannot_take_the_place_is_told(old: Scorer, tmp_path: Path, model: onnx.ModelProto, said: str):
    with pytest.raises(UsageError) as told:
        load_replacement(old, save(model, tmp_path / "new.onnx"), CPU, ROWS)
    assert said in str(told.value)


def test_a_file_that_is_cut_short_is_told(old: Scorer, tmp_path: Path):
    path = Path(save(onnx_models.mlp(4, outputs=2, seed=1), tmp_path / "new.onnx"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match="ONNX Runtime cannot load it"):
        load_replacement(old, str(path), CPU, ROWS)


def test_rows_that_the_old_model_refuses_too_do_not_count(old: Scorer, tmp_path: Path):
    rows = pa.record_batch({"x": pa.array([[1, 2, 3, 4], None, [1, 2], [4, 3, 2, 1]], pa.list_(pa.float32()))})
    path = save(onnx_models.mlp(4, outputs=2, seed=1), tmp_path / "new.onnx")
    assert len(load_replacement(old, path, CPU, rows).score(rows).failures) == 2


def test_names_of_sizes_may_differ_but_not_names_of_tensors():
    def of(*outputs: TensorSpec) -> Signature:
        return Signature((TensorSpec("x", "float32", ("n", 4)),), outputs)

    y, z = TensorSpec("y", "float32", ("n", 2)), TensorSpec("z", "float32", ("n",))
    assert signature_difference(of(y), of(TensorSpec("y", "float32", ("batch", None)))) is None
    assert signature_difference(of(y), of(TensorSpec("y", "float32", None))) is None
    assert signature_difference(of(y, z), of(z, y)) is None
    assert "has no output 'z: float32[n]', only 'y: float32[n, 2]'" in str(signature_difference(of(y, z), of(y)))
    assert "has the output 'z: float32[n]', which is not there" in str(signature_difference(of(y), of(y, z)))
    assert signature_difference(of(y), of(TensorSpec("y", "float32", ("n", 2, 1)))) is not None


def test_a_model_of_other_classes_takes_no_place(tmp_path: Path):
    rows = pa.record_batch({"X": pa.array([[0.0] * 4, [1.0] * 4], pa.list_(pa.float32(), 4))})
    made = fit(save(onnx_models.zipmap(labels="string"), tmp_path / "a.onnx"), CPU, rows.schema, rows, DataFacts())
    other = onnx_models.zipmap(labels="string")
    for node in other.graph.node:
        for attribute in node.attribute:
            if attribute.name == "classlabels_strings":
                attribute.strings[0] = b"top"
    with pytest.raises(UsageError, match="for the classes top, low, mid, and for high, low, mid before"):
        load_replacement(Scorer(made.plan, made.session), save(other, tmp_path / "b.onnx"), CPU, rows)
