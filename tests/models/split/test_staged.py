from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.split.staged import StagedSession, get_staged
from tests.models.split import chains


def block_for(kind: str, rows: int) -> pa.RecordBatch:
    shape = [4] if kind not in ("folded", "second axis") else [3, 4]
    x = np.random.default_rng(1).standard_normal((rows, *shape)).astype(np.float32)
    return pa.record_batch({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x)})


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", chains.LAYOUTS)
def test_a_block_scored_with_overlap_equals_the_whole_model(kind: str, workers: int, tmp_path):
    model, stage_of = chains.LAYOUTS[kind]()
    session = StagedSession(chains.staged(model, stage_of, tmp_path, workers))
    block = block_for(kind, 23)
    made = fit(str(tmp_path / "model.onnx"), chains.CPU, block.schema, block, DataFacts())
    plan = replace(made.plan, batch_size=4)
    whole = Scorer(plan, made.session).score(block)
    split = Scorer(plan, session).score(block)
    assert split.failures == [] and split.good is None
    for a, b in zip(whole.columns, split.columns, strict=True):
        np.testing.assert_allclose(a.to_numpy_ndarray(), b.to_numpy_ndarray(), rtol=1e-5, atol=1e-6)


def test_columns_side_by_side_are_not_written_over_while_they_wait(tmp_path):
    model, stage_of = chains.by_rows()
    session = StagedSession(chains.staged(model, stage_of, tmp_path))
    x = np.random.default_rng(2).standard_normal((64, 4)).astype(np.float32)
    block = pa.record_batch({f"c{k}": x[:, k] for k in range(4)})
    made = fit(str(tmp_path / "model.onnx"), chains.CPU, block.schema, block, DataFacts())
    split = Scorer(replace(made.plan, batch_size=2), session).score(block)
    np.testing.assert_allclose(split.columns[0].to_numpy_ndarray(), made.session.run({"x": x})[0], rtol=1e-5, atol=1e-6)


def test_rows_that_fail_in_a_later_stage_are_found_with_it(tmp_path):
    model, stage_of = chains.picky(10)
    session = StagedSession(chains.staged(model, stage_of, tmp_path))
    sample = pa.record_batch({"i": np.array([1, 2, 3])})
    made = fit(str(tmp_path / "model.onnx"), chains.CPU, sample.schema, sample, DataFacts())
    block = pa.record_batch({"i": pa.array([1, 99, 2, None, 7, 3, 4, 0], pa.int64())})
    scored = Scorer(replace(made.plan, batch_size=4), session).score(block)
    assert [row for row, _ in scored.failures] == [1, 3, 4]
    assert scored.failed_stages == {1: 1, 4: 2}
    assert scored.failures[0][1].startswith("the model failed: Gather node.")
    expected = made.session.run({"i": np.array([1, 2, 3, 4, 0])})[0]
    np.testing.assert_array_equal(scored.columns[0].to_numpy_ndarray(), expected)


def test_it_stands_for_a_session(tmp_path):
    model, stage_of = chains.picky(10)
    staged = chains.staged(model, stage_of, tmp_path)
    session = get_staged(staged)
    assert get_staged(staged) is session
    assert [str(spec) for spec in (*session.signature.inputs, *session.signature.outputs)] == [
        "i: int64[batch]",
        "y: float32[batch, 2]",
    ]
    assert session.model_bytes == sum((tmp_path / f"stage-{k}.onnx").stat().st_size for k in range(3))
    assert session.load_seconds > 0
    with pytest.raises(ModelRunError) as raised:
        session.run({"i": np.array([77])})
    assert raised.value.stage == 1
    before = [stage.runs for stage in session.take_stats().stages]
    assert before == [1, 1, 0] and [stage.runs for stage in session.take_stats().stages] == [0, 0, 0]


def test_several_threads_score_at_once(tmp_path):
    model, stage_of = chains.by_rows()
    session = StagedSession(chains.staged(model, stage_of, tmp_path))
    block = block_for("rows", 200)
    made = fit(str(tmp_path / "model.onnx"), chains.CPU, block.schema, block, DataFacts())
    plan = replace(made.plan, batch_size=8)
    results: dict[int, np.ndarray] = {}

    def score(number: int) -> None:
        results[number] = Scorer(plan, session).score(block).columns[0].to_numpy_ndarray()

    threads = [threading.Thread(target=score, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = Scorer(plan, made.session).score(block).columns[0].to_numpy_ndarray()
    assert sorted(results) == [0, 1, 2, 3]
    for found in results.values():
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stage-")]


def test_refusals(tmp_path):
    model, stage_of = chains.by_rows()
    staged = chains.staged(model, stage_of, tmp_path)
    with pytest.raises(UsageError, match="no stage of the plan makes the model's output 'z'"):
        StagedSession(replace(staged, outputs=("z",)))
    swapped = [
        replace(stage, file=other.file, sha256=other.sha256)
        for stage, other in zip(staged.plan.stages, staged.plan.stages[::-1], strict=True)
    ]
    with pytest.raises(
        UsageError, match=r"stage-2\.onnx makes y of m, x, but stage 0 of the plan makes h of x: save the"
    ):
        StagedSession(replace(staged, plan=replace(staged.plan, stages=tuple(swapped))))
    unsaved = replace(staged.plan, stages=tuple(replace(stage, file=None) for stage in staged.plan.stages))
    with pytest.raises(UsageError, match="no file for stage 0: save the stages with"):
        StagedSession(replace(staged, plan=unsaved))


def test_weights_stay_in_their_files_for_a_few_runs(tmp_path):
    whole = chains.staged(*chains.by_rows(), tmp_path)
    divided = replace(whole, shards=(None,) * len(whole.plan.stages))
    assert [options.mapped for options in whole.sessions] == [False] * len(whole.sessions)
    assert [options.mapped for options in divided.mapped.sessions] == [True] * len(whole.sessions)
    assert (divided.mapped.shards, divided.mapped.plan) == (divided.shards, whole.plan)


@pytest.mark.parametrize("cut", [True, False])
def test_stages_that_lie_elsewhere_are_fetched_by_their_hashes(cut: bool, tmp_path):
    """Each into a folder of its own, as a cache of files by their hashes has it; a stage there is, or several."""
    model, stage_of = chains.by_rows()
    there = chains.staged(model, stage_of if cut else [0] * len(stage_of), tmp_path / "there")
    asked = []

    def fetch(address: str, sha256: str | None = None) -> str:
        asked.append((address, sha256))
        name = address.rsplit("/", 1)[1]
        (tmp_path / str(len(asked))).mkdir()
        shutil.copy(tmp_path / "there" / name, tmp_path / str(len(asked)) / name)
        return str(tmp_path / str(len(asked)) / name)

    here = replace(there, folder="s3://bucket/stages").fetched(fetch)
    assert asked == [(f"s3://bucket/stages/{stage.file}", stage.sha256) for stage in there.plan.stages]
    assert there.fetched(fetch) is there
    shutil.rmtree(tmp_path / "there")
    x = np.random.default_rng(2).standard_normal((8, 4)).astype(np.float32)
    whole = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    session = StagedSession(here)
    np.testing.assert_allclose(session.run({"x": x})[0], whole, rtol=1e-5, atol=1e-6)
