"""The examples of docs/api.md, run one behind the other as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import onnx_models
from tests.onnx_models import save

PAGE = Path(__file__).parents[2] / "docs/api.md"


def test_each_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    save(onnx_models.mlp(2, outputs=2), tmp_path / "m.onnx")
    ages, heights = np.random.default_rng(0).random((2, 30), np.float32)
    ids = np.arange(30)
    table = pa.table({"id": ids, "age": ages, "height": heights})
    (tmp_path / "in").mkdir()
    for path in ("in.parquet", "in/part.parquet"):
        pq.write_table(table, path)
    names: dict[str, Any] = {"ids": ids, "ages": ages, "heights": heights, "table": table, "frame": table.to_pandas()}
    names["array"] = np.stack([ages, heights], axis=1)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    for block in blocks:
        # What rows are differs: a collection of rows, of arrays for a handler whose model has one input.
        rows = list(names["array"]) if "RunInference" in block else [beam.Row(**row) for row in table.to_pylist()]
        with beam.Pipeline("FnApiRunner") as pipeline:
            names["rows"] = pipeline | beam.Create(rows)
            exec(block, names)
    assert names["result"].rows == 30
    assert {path.name for path in tmp_path.iterdir()} >= {"out.parquet", "plan.html", "plan.json"}
