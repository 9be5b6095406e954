"""The commands of the documentation that read a topic, run as they stand on a broker of the tests."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from beamsplit.models.graph.model_copy import model_version
from tests import onnx_models
from tests.onnx_models import save
from tests.services.examples import run
from tests.services.streams import ROOT, Stream

pytest.importorskip("confluent_kafka")


def command_in(page: str, stream: Stream, part: str) -> str:
    """The command with this in it, on the test's topics, which ends where they end."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [
        one
        for one in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if "kafka://localhost:9092/in" in one
    ]
    block = next(one for one in found if part in one)
    for end, topic in (("in", stream.input), ("out", stream.output)):
        block = re.sub(rf"kafka://localhost:9092/{end}\b", stream.uri(topic), block)
    return block[block.index("python -m") :].rstrip() + " --until_end"


def test_the_stream_of_the_readme(stream: Stream, tmp_path: Path):
    shutil.copy(stream.model, tmp_path / "mlp.onnx")
    sent = stream.send([*(json.dumps({"x": [i, 1, 2, 3]}).encode() for i in range(50)), b"oops"])
    out = run(command_in("README.md", stream, "--errors errors.jsonl"), tmp_path)
    assert "51 in, 50 scored, 1 failed" in out and "backlog  0 messages" in out
    assert len(stream.read(stream.output)) == sent - 1
    assert json.loads((tmp_path / "errors.jsonl").read_text())["stage"] == "read"


def test_the_stream_of_the_streaming_page(stream: Stream, tmp_path: Path):
    shutil.copy(stream.model, tmp_path / "mlp.onnx")
    (tmp_path / "models").mkdir()
    newer = save(onnx_models.mlp(4, outputs=2, seed=1), tmp_path / "models" / "newer.onnx")
    times = [1_700_000_000_000, "2023-11-14T22:13:21Z", "soon"]
    stream.send(json.dumps({"x": [1, 2, 3, 4], "ts": time}).encode() for time in times)
    out = run(command_in("docs/how_to/stream_models.md", stream, "--model_updates models"), tmp_path)
    assert "3 in, 3 scored, 0 failed" in out and "models   1 took over, 0 refused" in out
    headers = [dict(message.headers()) for message in stream.read(stream.output)]
    assert {one["model.version"].decode() for one in headers} == {model_version(newer)}
