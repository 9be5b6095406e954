from __future__ import annotations

import io
import logging
import os
import pickle
import re
import shutil
import socket
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from onnx import numpy_helper

from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.fitting.model_check import ModelCheck
from beamsplit.models.fitting.tolerance import Tolerance
from beamsplit.models.graph.model_copy import model_version
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.values.packed_rows import pack_rows
from beamsplit.models.values.tensors import to_numpy
from beamsplit.pipelines.options.model_check import read_tolerance
from beamsplit.pipelines.running.stream_news import ShowNews
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin
from beamsplit.transforms.infer import live_model as module
from beamsplit.transforms.infer.live_model import LiveModel, ModelUpdates, live_model
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
        newest = max((os.lstat(self.folder / name).st_mtime_ns for name in os.listdir(self.folder)), default=0)
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
    updates = ModelUpdates(str(folder), pack_rows(ROWS, 256))
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
    assert watched.live.current is first and "a.onnx cannot be taken: No space left on device" in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert watched.look_twice() == first.version  # a large model is not copied every second
    watched.live.waits = lambda: float("inf")
    assert watched.look_twice() == version


def make_odd(place: Path, kind: str) -> None:
    """What is no model, by a model's name."""
    if kind == "folder":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(place))
    elif kind == "broken link":
        place.symlink_to("nowhere.onnx")
    elif kind == "link to itself":
        place.symlink_to(place.name)
    elif kind == "link to a folder":
        place.symlink_to(place.parent)
    else:
        place.write_bytes(b"" if kind == "empty" else b"no model")
        if kind == "unreadable":
            place.chmod(0)


@pytest.mark.parametrize(
    "kind",
    ["folder", "fifo", "socket", "broken link", "link to itself", "link to a folder", "empty", "unreadable", "text"],
)
def test_what_is_no_model_disturbs_nothing(watched: Watched, kind: str, monkeypatch: pytest.MonkeyPatch):
    if kind == "unreadable" and os.geteuid() == 0:
        real = module.take_copy

        def unless_closed(path: str, folder: str) -> object:
            if not os.stat(path).st_mode & 0o777:
                raise PermissionError(13, "Permission denied", path)
            return real(path, folder)

        monkeypatch.setattr(module, "take_copy", unless_closed)
    good = watched.write("a.onnx", 1)
    assert watched.look_twice() == good
    monkeypatch.chdir(watched.folder)
    make_odd(watched.folder / "z.onnx", kind)
    if not kind.startswith(("broken", "link")):
        os.utime(watched.folder / "z.onnx", ns=(4 * 10**18, 4 * 10**18))  # newer than all
    assert watched.look_twice() == good
    newer = watched.write("b.onnx", 2)
    os.utime(watched.folder / "b.onnx", ns=(3 * 10**18, 3 * 10**18))
    assert watched.look_twice() == newer


def test_data_that_is_no_file_is_not_waited_for(watched: Watched):
    watched.write("z.onnx", 1, external="z.bin")
    (watched.folder / "z.bin").unlink()
    os.mkfifo(watched.folder / "z.bin")
    good = watched.write("a.onnx", 2)
    os.utime(watched.folder / "a.onnx", ns=(1, 1))
    watched.look_twice()
    assert watched.look_twice() == good


def test_while_one_is_written_another_may_take_over(watched: Watched):
    """A file that grows for an hour does not keep others waiting; the one in use may be written itself."""
    (watched.folder / "z.onnx").write_bytes(b"")
    good = watched.write("a.onnx", 1)

    def looked(path: str) -> str:
        for at in range(3):
            with open(path, "ab") as file:
                file.write(b"more")
            os.utime(path, ns=(4 * 10**18, 4 * 10**18 + at))
            watched.live.look()
        return watched.live.current.version

    assert looked(str(watched.folder / "z.onnx")) == good
    (watched.folder / "z.onnx").unlink()
    watched.write("0.onnx", 3)
    os.utime(watched.folder / "0.onnx", ns=(1, 1))
    assert watched.look_twice() == good
    assert looked(str(watched.folder / "a.onnx")) == good


def golden(tolerance: Tolerance) -> ModelCheck:
    return ModelCheck("golden.parquet", pack_rows(ROWS, 256) or b"", tolerance)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10", ""),
        ("500%", ""),
        ("y=10", ""),
        ("0.001", r"its output 'y' differs by [\d.]+ from the one before, 0.001 allowed, in row \d"),
        ("1%", r"1% \([\d.e-]+\) allowed"),
        ("10,y=0", "its output 'y' differs"),
    ],
)
def test_a_model_that_differs_by_more_than_stated_is_refused(
    watched: Watched, text: str, told: str, caplog: pytest.LogCaptureFixture
):
    watched.live.updates = replace(watched.live.updates, check=golden(read_tolerance(text)))
    first = watched.live.current.version
    version = watched.write("a.onnx", 1)
    assert watched.look_twice() == (first if told else version)
    assert watched.look_twice() == (first if told else version)
    assert watched.live.take_counts() == ((0, 1) if told else (1, 0))
    assert len(re.findall(told, caplog.text)) == 1 if told else "refused" not in caplog.text


def test_the_same_model_in_another_file_passes_without_any_tolerance(watched: Watched):
    watched.live.updates = replace(watched.live.updates, check=golden(read_tolerance("0")))
    model = onnx_models.mlp(4, outputs=2)
    model.doc_string = "again"
    version = watched.date(save(model, watched.folder / "a.onnx"))
    assert watched.look_twice() == version


def test_a_model_that_gives_nan_is_refused(watched: Watched, caplog: pytest.LogCaptureFixture):
    model = onnx_models.mlp(4, outputs=2)
    weights = model.graph.initializer[-1]
    values = numpy_helper.to_array(weights).copy()
    values[0] = np.nan
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    first = watched.live.current.version
    watched.date(save(model, watched.folder / "a.onnx"))
    assert watched.look_twice() == first
    assert "its output 'y' is NaN on 6 of 6 rows on which that of the one before is not" in caplog.text


def test_a_step_begins_with_the_newest_and_tells_the_version(step: InferStep, tmp_path: Path):
    first = model_version(step.plan.model.path)
    folder, job = tmp_path / "models", tmp_path / "job"
    folder.mkdir()
    job.mkdir()
    second = model_version(save(onnx_models.mlp(4, outputs=2, seed=1), folder / "m.onnx"))
    infer = replace(step, job_dir=str(job), counted=False)
    live, threads = set(module._LIVE), set(threading.enumerate())
    made = UpdatingInferStep(infer, ModelUpdates(str(folder), pack_rows(ROWS, 256)), "model_version")
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
