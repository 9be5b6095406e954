from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.fitting.fitted_batch import choose_batch_size
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import Scorer
from tests import onnx_models
from tests.onnx_models import save

CPU = SessionOptions(threads=1)


def fitted(tmp_path, model, block, batch_size=None, **facts):
    path = save(model, tmp_path / "m.onnx")
    made = fit(path, CPU, block.schema, block.slice(0, 8), DataFacts(**facts))
    plan = made.plan
    if batch_size is not None and not plan.row_by_row:
        from dataclasses import replace

        plan = replace(plan, batch_size=batch_size)
    return made, Scorer(plan, made.session)


def direct(made, **feeds):
    """ONNX Runtime called without us."""
    import onnxruntime as ort

    session = ort.InferenceSession(made.plan.model.path, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def as_numpy(column):
    return column.to_numpy_ndarray() if isinstance(column, pa.FixedShapeTensorArray) else column.to_numpy()


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_equals_onnxruntime_whatever_the_batch_size(tmp_path, batch_size):
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    block = pa.record_batch({f"c{i}": x[:, i] for i in range(4)})
    made, scorer = fitted(tmp_path, onnx_models.mlp(4, outputs=2), block, batch_size)
    scored = scorer.score(block)
    assert scored.failures == [] and scored.good is None
    np.testing.assert_allclose(as_numpy(scored.columns[0]), direct(made, x=x)[0], rtol=1e-5, atol=1e-6)


def test_a_row_that_makes_the_model_fail_is_found_and_the_rest_is_scored(tmp_path):
    good = pa.record_batch({"i": np.array([1, 2, 3, 4, 5, 6])})
    made, scorer = fitted(tmp_path, onnx_models.picky(limit=10), good, 4)
    block = pa.record_batch({"i": np.array([1, 99, 2, 3, 4, 77, 5])})
    scored = scorer.score(block)
    assert [row for row, _ in scored.failures] == [1, 5]
    assert all(reason.startswith("the model failed: ") for _, reason in scored.failures)
    assert scored.good.tolist() == [0, 2, 3, 4, 6]
    np.testing.assert_array_equal(as_numpy(scored.columns[0]), direct(made, i=np.array([1, 2, 3, 4, 5]))[0])


def test_null_rows_are_failures_and_never_fed(tmp_path):
    block = pa.record_batch({"i": pa.array([1, None, 3, 99], pa.int64())})
    _, scorer = fitted(tmp_path, onnx_models.picky(limit=10), pa.record_batch({"i": np.array([1, 2, 3])}), 2)
    scored = scorer.score(block)
    assert [row for row, _ in scored.failures] == [1, 3]
    assert "null" in scored.failures[0][1]
    assert len(scored.columns[0]) == 2


def test_a_block_in_which_every_row_fails(tmp_path):
    _, scorer = fitted(tmp_path, onnx_models.picky(limit=10), pa.record_batch({"i": np.array([1, 2, 3])}), 4)
    scored = scorer.score(pa.record_batch({"i": np.array([50, 60])}))
    assert len(scored.failures) == 2 and len(scored.columns[0]) == 0
    assert scored.columns[0].type == scorer.plan.outputs[0].field.type


def test_an_empty_block(tmp_path):
    block = pa.record_batch({"i": np.array([1, 2, 3])})
    _, scorer = fitted(tmp_path, onnx_models.picky(), block)
    scored = scorer.score(block.slice(0, 0))
    assert len(scored.columns[0]) == 0 and scored.failures == []


def test_rows_on_another_axis_come_back_as_rows(tmp_path):
    rng = np.random.default_rng(1)
    rows, time, features, hidden = 7, 4, 3, 5
    x = rng.normal(size=(rows, time, features)).astype(np.float32)
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(x)
    block = pa.record_batch({"x": tensor})
    made, scorer = fitted(tmp_path, onnx_models.rnn(features, hidden), block, 3, sets={"state": "zeros"})
    y, state = (as_numpy(column) for column in scorer.score(block).columns)
    expected = direct(made, x=x.transpose(1, 0, 2).copy(), state=np.zeros((2, rows, hidden), np.float32))
    np.testing.assert_allclose(y, np.moveaxis(expected[0], 1, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state, np.moveaxis(expected[1], 1, 0), rtol=1e-5, atol=1e-6)


def test_rows_of_unlike_lengths_run_in_groups_and_come_out_in_their_own_shape(tmp_path):
    ids = [[1, 2, 3], [4], [5, 6, 7], [8, 9], [10]]
    block = pa.record_batch({"ids": ids, "mask": [[1] * len(row) for row in ids]})
    made, scorer = fitted(tmp_path, onnx_models.encoder(), block, 2)
    tokens, mean = scorer.score(block).columns
    for row, sequence in enumerate(ids):
        one = np.array([sequence]), np.ones((1, len(sequence)), np.int64)
        expected = direct(made, ids=one[0], mask=one[1])
        np.testing.assert_allclose(np.array(tokens[row].as_py()), expected[0][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(as_numpy(mean)[row], expected[1][0], rtol=1e-5, atol=1e-6)


def test_a_fixed_batch_of_one_is_made_dynamic(tmp_path):
    x = np.random.default_rng(2).normal(size=(5, 3, 4, 4)).astype(np.float32)
    block = pa.record_batch({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(x)})
    made, scorer = fitted(tmp_path, onnx_models.fixed_batch(), block, 5)
    assert not made.plan.row_by_row and any("made dynamic" in note for note in made.notes)
    expected = np.concatenate([direct(made, image=x[i : i + 1])[0] for i in range(5)])
    np.testing.assert_allclose(as_numpy(scorer.score(block).columns[0]), expected, rtol=1e-5, atol=1e-6)


def test_a_fixed_batch_that_cannot_be_dynamic_runs_row_by_row_with_a_note(tmp_path):
    x = np.random.default_rng(3).uniform(1, 2, size=(5, 3)).astype(np.float32)
    block = pa.record_batch({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x)})
    made, scorer = fitted(tmp_path, onnx_models.fixed_batch_only(), block)
    assert made.plan.row_by_row and any("rows run one by one" in note for note in made.notes)
    expected = np.concatenate([direct(made, x=x[i : i + 1])[0] for i in range(5)])
    np.testing.assert_allclose(as_numpy(scorer.score(block).columns[0]), expected, rtol=1e-6)


def test_rows_that_influence_one_another_run_one_by_one(tmp_path):
    x = np.random.default_rng(4).normal(size=(6, 3)).astype(np.float32)
    block = pa.record_batch({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x)})
    made, scorer = fitted(tmp_path, onnx_models.mixes_rows(), block)
    assert made.plan.row_by_row and any("influence one another" in note for note in made.notes)
    expected = np.concatenate([direct(made, x=x[i : i + 1])[0] for i in range(6)])
    np.testing.assert_allclose(as_numpy(scorer.score(block).columns[0]), expected, atol=1e-6)


def test_an_output_without_rows_gives_each_row_its_own(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    block = pa.record_batch({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x)})
    made, scorer = fitted(tmp_path, onnx_models.scalar_output(), block)
    assert made.plan.row_by_row
    y, total = scorer.score(block).columns
    np.testing.assert_array_equal(as_numpy(y), x)
    np.testing.assert_allclose(as_numpy(total), x.sum(axis=1))


def test_strings_in_and_out(tmp_path):
    block = pa.record_batch({"word": ["red", "green", "other"]})
    _, scorer = fitted(tmp_path, onnx_models.string_input(), block)
    assert scorer.score(block).columns[0].to_pylist() == [1, 2, -1]
    codes = pa.record_batch({"code": np.array([3, 1, 9])})
    _, scorer = fitted(tmp_path, onnx_models.string_output(), codes)
    assert scorer.score(codes).columns[0].to_pylist() == ["blue", "red", "?"]


def test_zipmap_gives_plain_probabilities(tmp_path):
    x = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)
    block = pa.record_batch({"X": pa.FixedShapeTensorArray.from_numpy_ndarray(x)})
    made, scorer = fitted(tmp_path, onnx_models.zipmap(), block)
    assert any("ZipMap" in note for note in made.notes)
    labels, probabilities = scorer.score(block).columns
    raw = direct(made, X=x)
    assert labels.to_pylist() == raw[0].tolist()
    np.testing.assert_allclose(as_numpy(probabilities), [list(row.values()) for row in raw[1]], rtol=1e-6)


def test_without_sample_rows_the_shapes_come_from_the_signature(tmp_path):
    path = save(onnx_models.mlp(4, outputs=2), tmp_path / "m.onnx")
    schema = pa.schema([(f"c{i}", pa.float32()) for i in range(4)])
    made = fit(path, CPU, schema, None, DataFacts())
    assert made.sample is None and made.plan.outputs[0].row_shape == (2,)
    assert choose_batch_size(made, 1 << 20) is None


def test_observes_each_run(tmp_path):
    block = pa.record_batch({"i": np.arange(9)})
    _, scorer = fitted(tmp_path, onnx_models.picky(), block, 4)
    runs = []
    scorer.score(block, lambda rows, seconds: runs.append((rows, seconds > 0)))
    assert runs == [(4, True), (4, True), (1, True)]
