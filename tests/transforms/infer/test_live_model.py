from __future__ import annotations

import io
import logging
import os
import pickle
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.graph.model_copy import model_version
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.values.tensors import to_numpy
from beamsplit.pipelines.running.stream_news import ShowNews
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin
from beamsplit.transforms.infer import live_model as module
from beamsplit.transforms.infer.live_model import LiveModel, ModelUpdates, live_model, pack_rows
from beamsplit.transforms.infer.model_news import REFUSED, TAKEN, count_news, read_news, write_news
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.infer.updating import UpdatingInferStep
from tests import onnx_models
from tests.onnx_models import save
from tests.waiting import wait_until

CPU = SessionOptions(threads=1)
X = pa.array(np.random.default_rng(0).standard_normal((6, 4)).tolist(), pa.list_(pa.float32()))
ROWS = with_origin(pa.record_batch({"x": X}), "a.csv", 0)


@dataclass
class Watched:
    """A folder that is watched, without the thread: the test looks."""

    folder: Path
    live: LiveModel

    def write(self, name: str, seed: int, external: str | None = None) -> str:
        """A good model in the folder, newer than all before it; its version."""
        path = save(onnx_models.mlp(4, outputs=2, seed=seed), self.folder / name, external=external)
        return self.date(path)

    def put(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return self.date(str(self.folder / name))

    def date(self, path: str) -> str:
        newest = max((os.stat(self.folder / name).st_mtime_ns for name in os.listdir(self.folder)), default=0)
        os.utime(path, ns=(newest + 1000, newest + 1000))
        return model_version(path)

    def look_twice(self) -> str:
        self.live.look()
        self.live.look()
        return self.live.current.version


@pytest.fixture
def step(tmp_path: Path) -> InferStep:
    path = save(onnx_models.mlp(4, outputs=2), tmp_path / "first.onnx")
    made = fit(path, CPU, ROWS.schema, ROWS, DataFacts(ignore=INTERNAL_COLUMNS))
    return InferStep(replace(made.plan, batch_size=4), CPU)


@pytest.fixture
def watched(step: InferStep, tmp_path: Path) -> Watched:
    folder = tmp_path / "models"
    folder.mkdir()
    updates = ModelUpdates(str(folder), pack_rows(ROWS))
    return Watched(folder, module._begin(step.plan, step.plan.model.path, CPU, updates, None))


def scores(scorer: Scorer) -> np.ndarray:
    return to_numpy(scorer.score(ROWS).columns[0])


def test_the_newest_model_takes_over_when_it_no_longer_changes(watched: Watched):
    first = watched.live.current
    version = watched.write("a.onnx", 1)
    watched.live.look()
    assert watched.live.current is first
    watched.live.look()
    assert watched.live.current.version == version != first.version
    assert not np.allclose(scores(watched.live.current.scorer), scores(first.scorer))
    second = watched.write("b.onnx", 2)
    assert watched.look_twice() == second
    assert watched.live.take_counts() == (2, 0)
    assert watched.live.take_counts() == (0, 0)


def test_a_bad_model_is_refused_once_and_the_one_before_goes_on(watched: Watched, caplog: pytest.LogCaptureFixture):
    good = watched.write("a.onnx", 1)
    watched.look_twice()
    content = (watched.folder / "a.onnx").read_bytes()
    bad = watched.put("b.onnx", content[:-50])
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            assert watched.look_twice() == good
        watched.date(str(watched.folder / "b.onnx"))
        assert watched.look_twice() == good
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]
    assert f"model {bad} ({watched.folder}/b.onnx) is refused, {good} goes on: ONNX Runtime cannot" in caplog.text
    assert watched.live.take_counts() == (1, 1)
    whole = watched.write("b.onnx", 3)
    assert watched.look_twice() == whole


def test_a_file_can_be_watched_and_comes_back_to_what_it_was(watched: Watched, tmp_path: Path):
    file = tmp_path / "one.onnx"
    watched.live.updates = ModelUpdates(str(file))
    first = watched.live.current.version
    assert watched.look_twice() == first
    one = watched.write("../one.onnx", 1)
    assert watched.look_twice() == one
    file.unlink()
    assert watched.look_twice() == one
    shutil.copy(tmp_path / "first.onnx", file)
    assert watched.look_twice() == first


def test_a_model_that_is_taken_away_leaves_its_place_to_the_newest_that_is_there(watched: Watched):
    older = watched.write("a.onnx", 1)
    newer = watched.write("b.onnx", 2)
    assert watched.look_twice() == newer
    (watched.folder / "b.onnx").unlink()
    assert watched.look_twice() == older


def test_external_data_is_waited_for_and_may_be_overwritten_in_use(watched: Watched):
    version = watched.write("a.onnx", 1, external="a.bin")
    data = watched.folder / "a.bin"
    weights = data.read_bytes()
    watched.live.look()
    watched.live.look()
    assert watched.live.current.version != version  # Only now it is known which data it has.
    watched.live.look()
    assert watched.live.current.version == version
    before = scores(watched.live.current.scorer)
    data.write_bytes(weights[:10])
    np.testing.assert_array_equal(scores(watched.live.current.scorer), before)
    assert watched.look_twice() == version
    assert watched.live.take_counts() == (1, 1)


def test_without_rows_to_try_it_on_a_model_waits_for_a_block(watched: Watched):
    watched.live.rows = None
    first = watched.live.current.version
    version = watched.write("a.onnx", 1)
    assert watched.look_twice() == first
    watched.live.saw(ROWS)
    assert watched.look_twice() == version


def test_the_models_of_a_folder_that_goes_away_stay(watched: Watched, caplog: pytest.LogCaptureFixture):
    version = watched.write("a.onnx", 1)
    watched.look_twice()
    shutil.rmtree(watched.folder)
    assert watched.look_twice() == version


def test_a_look_that_fails_is_told_once_and_the_model_stays(
    watched: Watched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    first = watched.live.current
    version = watched.write("a.onnx", 1)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "take_copy", full)
        watched.look_twice()
        watched.look_twice()
    assert watched.live.current is first and watched.live.trouble == "No space left on device"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert watched.look_twice() == version and not watched.live.trouble


def test_a_step_begins_with_the_newest_and_tells_the_version(step: InferStep, tmp_path: Path):
    first = model_version(step.plan.model.path)
    folder, job = tmp_path / "models", tmp_path / "job"
    folder.mkdir()
    job.mkdir()
    second = model_version(save(onnx_models.mlp(4, outputs=2, seed=1), folder / "m.onnx"))
    infer = replace(step, job_dir=str(job), counted=False)
    live, threads = set(module._LIVE), set(threading.enumerate())
    made = UpdatingInferStep(infer, ModelUpdates(str(folder), pack_rows(ROWS)), "model_version")
    done = made(ROWS)
    assert done.block.schema == made.output_schema(ROWS.schema)
    assert done.block.schema.names == ["y", "model_version", "_origin_file", "_origin_row"]
    assert set(done.block["model_version"].to_pylist()) == {second} != {first}
    other = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert other(ROWS).block.equals(done.block)
    assert other._live() is made._live()
    told = [f"note: model {second} ({folder}/m.onnx) takes over from {first}"]
    assert read_news(str(job)) == told and count_news(told) == (1, 0)
    shutil.rmtree(job)
    wait_until(lambda: not set(module._LIVE) - live, "nothing is watched any more")
    wait_until(lambda: not set(threading.enumerate()) - threads, "the thread ends")


def test_one_thread_a_process(step: InferStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started: list[str] = []
    monkeypatch.setattr(module.threading.Thread, "start", lambda self: started.append(self.name))
    monkeypatch.setattr(module, "_LIVE", {})
    updates = ModelUpdates(str(tmp_path))
    path = step.plan.model.path
    first = live_model(step.plan, path, CPU, updates, None)
    assert live_model(step.plan, path, CPU, updates, None) is first and started == ["model-updates"]


@pytest.mark.parametrize(
    ("quiet", "shown"), [(False, "note: model a\nwarning: model b\n"), (True, "warning: model b\n")]
)
def test_news_of_several_workers_are_shown_once(tmp_path: Path, quiet: bool, shown: str):
    stream = io.StringIO()
    with ShowNews(str(tmp_path), quiet, stream):
        for _ in range(2):
            assert write_news(str(tmp_path), TAKEN, "model a")
            assert write_news(str(tmp_path), REFUSED, "model\nb")
    assert stream.getvalue() == ("" if quiet else "note: model a\n") + "warning: model b\n"
    assert not write_news(str(tmp_path / "gone"), TAKEN, "model a")
