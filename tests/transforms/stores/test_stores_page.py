"""The examples of the page on stores, run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beamsplit.pipelines import examples, score

PAGE = Path(__file__).parents[3] / "docs/how_to/stores.md"


def test_the_examples(s3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples.main(["examples"])
    s3.put("models/mlp.onnx", (tmp_path / "examples/mlp.onnx").read_bytes())
    s3.put("in/table.parquet", (tmp_path / "examples/table.parquet").read_bytes())
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        words = shlex.split(block.replace("\\\n", " "))
        assert words[:3] == ["python", "-m", "pipelines.score"]
        assert score.main([*words[3:], "--quiet"]) == 0
    assert s3.names("out") == ["out/errors.jsonl", "out/preds.parquet", "out/summary.json"]
    assert pq.read_table(pa.BufferReader(s3.get("out/preds.parquet"))).num_rows > 0
