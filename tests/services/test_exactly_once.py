"""Each input once, also where the model is in parts or changes, and the process is killed in mid-stream."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from beamsplit.models.graph.model_copy import model_version
from tests import onnx_models
from tests.onnx_models import save
from tests.services.streams import Stream, origins, rows
from tests.waiting import wait_until

pytest.importorskip("confluent_kafka")

ONCE = ("--batch_size", "50", "--quiet", "--group", "g1", "--delivery", "exactly_once")


def test_a_model_in_stages_scores_each_input_once(stream: Stream):
    sent = stream.send(rows(5_000))
    process = stream.start(*ONCE, "--stages", "2")
    wait_until(lambda: len(stream.read(stream.output)) > 500)
    sent += stream.kill_before_the_end(process, sent, 2_000)
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
    sent += stream.kill_before_the_end(process, sent, 2_000)
    code, _, err = stream.run("--until_end", *options)
    assert code == 0, err
    found = Counter(origins(stream.read(stream.output)))
    assert len(found) == sent and set(found.values()) == {1}
    assert set(look()) == {model_version(str(stream.model)), model_version(second)}
