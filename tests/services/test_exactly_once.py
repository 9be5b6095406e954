"""Each input once, also where the model is in parts or changes, and the process is killed in mid-stream."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from models.model_copy import model_version
from runners.local import KafkaBroker
from tests import onnx_models
from tests.onnx_models import save
from tests.services.streams import Stream, origins, rows, wait_until
from tests.services.test_stream import prism_program as prism_program

pytest.importorskip("confluent_kafka")

ONCE = ("--batch_size", "50", "--quiet", "--group", "g1", "--delivery", "exactly_once")


@pytest.fixture
def stream(broker: KafkaBroker, prism_program: None, tmp_path: Path) -> Iterator[Stream]:
    made = Stream(broker, tmp_path)
    yield made
    made.close()


def kill_before_the_end(stream: Stream, pid: int, first: int) -> int:
    """Kill a stream that has not done all; gives how many messages more were sent for that."""
    # However quick the machine: what comes now cannot be through before the kill.
    os.kill(pid, signal.SIGSTOP)
    children = psutil.Process(pid).children()
    for child in children:
        child.suspend()
    sent = stream.send(rows(2_000, first=first))
    for child in children:
        child.kill()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(child.is_running() for child in children), 20)
    return sent


def test_a_model_in_stages_scores_each_input_once(stream: Stream):
    sent = stream.send(rows(5_000))
    process = stream.start(*ONCE, "--stages", "2")
    wait_until(lambda: len(stream.read(stream.output)) > 500)
    sent += kill_before_the_end(stream, process.pid, sent)
    process.communicate()
    assert stream.committed("g1") < sent
    code, _, err = stream.run("--until_end", *ONCE, "--stages", "2")
    assert code == 0, err
    found = Counter(origins(stream.read(stream.output)))
    assert len(found) == sent and set(found.values()) == {1}


def test_a_model_that_changes_scores_each_input_once(stream: Stream, tmp_path: Path):
    folder = tmp_path / "models"
    folder.mkdir()
    second = save(onnx_models.mlp(4, outputs=2, seed=1), tmp_path / "second.onnx")
    options = (*ONCE, "--model_updates", str(folder), "--model_version", "header")
    sent = stream.send(rows(1_000))
    process = stream.start(*options)
    versions: Counter[str] = Counter()

    def look() -> Counter[str]:
        versions.clear()
        versions.update(dict(one.headers())["model.version"].decode() for one in stream.read(stream.output))
        return versions

    wait_until(lambda: look()[model_version(str(stream.model))] > 0)
    shutil.copy(second, folder / ".new")
    (folder / ".new").rename(folder / "second.onnx")

    def swapped() -> bool:
        nonlocal sent
        sent += stream.send(rows(100, first=sent))
        return look()[model_version(second)] > 0

    wait_until(swapped)
    sent += kill_before_the_end(stream, process.pid, sent)
    process.communicate()
    code, _, err = stream.run("--until_end", *options)
    assert code == 0, err
    found = Counter(origins(stream.read(stream.output)))
    assert len(found) == sent and set(found.values()) == {1}
    assert set(look()) == {model_version(str(stream.model)), model_version(second)}
