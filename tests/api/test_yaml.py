"""Beam YAML: a provider file, `type: beamsplit.Score`, and a model handler for `type: RunInference`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.api.conftest import Mlp

ROOT = Path(__file__).parents[2]

PIPELINE = """
pipeline:
  transforms:
    - type: Create
      name: Rows
      config:
        elements: {rows}
    - type: beamsplit.Score
      name: Score
      input: Rows
      config:
        model: {model}
        columns: {{x: [a, b, c, d]}}
        keep: [id]
        finish: [argmax]
        error_handling: {{output: failed}}
    - type: WriteToJson
      name: Written
      input: Score
      config: {{path: {out}/good}}
    - type: WriteToJson
      name: Failed
      input: Score.failed
      config: {{path: {out}/failed}}
    - type: RunInference
      name: Infer
      input: Rows
      config:
        inference_tag: told
        model_handler:
          type: BeamsplitOnnx
          config: {{model: {model}, columns: {{x: [a, b, c, d]}}, errors: return}}
    - type: MapToFields
      name: Told
      input: Infer
      config:
        language: python
        fields:
          id: id
          y: {{callable: "lambda row: str(type(row.told.inference).__name__)", output_type: string}}
    - type: WriteToJson
      name: Inferred
      input: Told
      config: {{path: {out}/inferred}}
providers:
  - include: {provider}
"""


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for path in folder.glob(f"{name}*") for line in path.read_text().splitlines()]


def test_a_pipeline_of_yaml(mlp: Mlp, tmp_path: Path):
    rows = [{**row, **({"a": None} if row["id"] == 3 else {})} for row in mlp.rows()]
    text = PIPELINE.format(
        rows=json.dumps(rows), model=mlp.path, out=tmp_path, provider=ROOT / "beamsplit" / "providers.yaml"
    )
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", "apache_beam.yaml.main", f"--yaml_pipeline_file={file}", "--runner=FnApiRunner"]
    command.append("--yaml_experimental_features=ML")  # what Beam wants for RunInference
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    good = sorted(lines(tmp_path, "good"), key=lambda row: row["id"])
    assert [row["id"] for row in good] == [at for at in range(20) if at != 3]
    assert [row["y_argmax"] for row in good] == np.delete(mlp.y.argmax(axis=1), 3).tolist()
    (failed,) = lines(tmp_path, "failed")
    assert failed["file"] == '{"id": 3}' and "null in column 'a'" in failed["reason"]
    told = {row["id"]: row["y"] for row in lines(tmp_path, "inferred")}
    assert told == {at: "RowError" if at == 3 else "ndarray" for at in range(20)}


def test_wrong_use(mlp: Mlp):
    from beamsplit.models.errors import UsageError
    from beamsplit.pipelines.api.yaml_score import score

    with pytest.raises(UsageError, match=r"write error_handling: \{output: errors\}"):
        score(mlp.path, error_handling={"to": "x"})
    with pytest.raises(UsageError, match="Score has no argument 'colums'"):
        score(mlp.path, colums={})
