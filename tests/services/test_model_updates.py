from __future__ import annotations

import json
import shutil
import signal
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from beamsplit.models.graph.model_copy import model_version
from tests import onnx_models
from tests.onnx_models import save
from tests.services.streams import Stream, origins, rows
from tests.waiting import DEADLINE, wait_until

pytest.importorskip("confluent_kafka")


def header(message: Any) -> str:
    return dict(message.headers())["model.version"].decode()


def test_a_model_is_swapped_under_load_and_a_bad_one_is_not(stream: Stream, tmp_path: Path):
    folder = tmp_path / "models"
    folder.mkdir()
    second = save(onnx_models.mlp(4, outputs=2, seed=1), tmp_path / "second.onnx")
    process = stream.start("--model_updates", str(folder), "--model_version", "header", "--batch_size", "200")
    told: list[str] = []
    assert process.stderr is not None
    listener = threading.Thread(target=told.extend, args=(process.stderr,))
    listener.start()
    stop, sent = threading.Event(), [0]

    def produce() -> None:
        while not stop.wait(0.05):
            # No more than the machine keeps up with: else its backlog only grows.
            if sent[0] < stream.written() + 5000:
                sent[0] += stream.send(rows(500, first=sent[0]))

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        wait_until(lambda: stream.written() > 2000)
        # Each is there at once: half of one would be refused too, and counted.
        (folder / ".bad").write_bytes(Path(second).read_bytes()[:-40])
        (folder / ".bad").rename(folder / "bad.onnx")
        wait_until(lambda: "bad.onnx) is refused" in "".join(told))
        Path(save(onnx_models.mlp(4, outputs=3, seed=2), tmp_path / "other.onnx")).rename(folder / "other.onnx")
        wait_until(lambda: "other.onnx) is refused" in "".join(told))
        shutil.copy(second, folder / ".whole")
        (folder / ".whole").rename(folder / "whole.onnx")
        wait_until(lambda: any(header(one) == model_version(second) for one in stream.read(stream.output)))
        begun = sent[0]
        wait_until(lambda: sent[0] > begun + 2000)
    finally:
        stop.set()
        producer.join()
    wait_until(lambda: stream.written() == sent[0])
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    out = process.stdout.read()
    listener.join(DEADLINE)
    err = "".join(told)
    assert process.wait(DEADLINE) == 0, err
    assert "models   1 took over, 2 refused" in out, out + err
    assert err.count("is refused") == 2 and err.count("takes over from") == 1

    outputs = stream.read(stream.output)
    assert len(set(origins(outputs))) == len(outputs) == sent[0]
    models = {model_version(path): ort.InferenceSession(path) for path in (str(stream.model), second)}
    assert {header(one) for one in outputs} == set(models)
    inputs = {(one.partition(), one.offset()): json.loads(one.value())["x"] for one in stream.read(stream.input)}
    by_partition: dict[int, list[tuple[int, str]]] = defaultdict(list)
    by_version: dict[str, list[Any]] = defaultdict(list)
    for one, (_, partition, offset) in zip(outputs, origins(outputs), strict=True):
        by_partition[partition].append((offset, header(one)))
        by_version[header(one)].append((inputs[partition, offset], json.loads(one.value())["y"]))
    for found in by_partition.values():
        versions = [version == model_version(second) for _, version in sorted(found)]
        assert versions == sorted(versions)
    for version, pairs in by_version.items():
        expected = models[version].run(None, {"x": np.array([x for x, _ in pairs], np.float32)})[0]
        np.testing.assert_allclose([y for _, y in pairs], expected, rtol=1e-4, atol=1e-4)
