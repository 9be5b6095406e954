"""What the processes of a pipeline with `bs.Score(metrics=...)` show while it runs."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

import beamsplit as bs
from beamsplit.transforms.telemetry import endpoint, recorder
from tests.api.collecting import RUNNER, keep
from tests.api.conftest import Mlp


@pytest.fixture(autouse=True)
def _from_zero(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A process counts on over all of its pipelines, and shows it until it ends."""
    monkeypatch.setattr(recorder, "_RECORDER", [])
    yield
    for one in list(endpoint._SERVERS):
        endpoint.stop_serving(one)


@pytest.mark.parametrize(
    "options",
    [{}, {"schema": "a:float32,b:float32,c:float32,d:float32,id:int64"}, {"stages": 2, "placement": "distributed"}],
)
def test_numbers_while_a_pipeline_runs(mlp: Mlp, tmp_path: Path, options: dict[str, Any]):
    targets = tmp_path / "targets"

    def look(_: Any) -> str:
        (file,) = targets.glob("*.json")
        (told,) = json.loads(file.read_text())
        with urllib.request.urlopen(f"http://{told['targets'][0]}/metrics", timeout=60) as answer:
            return f"{told['labels']['job_name']}\n{answer.read().decode()}"

    metrics = bs.MetricsEndpoint(0, targets=str(targets), job_name="mine")
    with beam.Pipeline(RUNNER) as pipeline:
        created = pipeline | beam.Create(mlp.rows()) | beam.Map(dict).with_output_types(dict[str, Any])
        if "placement" in options:
            options = {**options, "sample": mlp.table}
        scored = created | bs.Score(mlp.path, **mlp.options, metrics=metrics, **options)
        seen = keep(scored.predictions | beam.Map(look))
    last = seen.found[-1]
    assert last.startswith("mine\n")
    assert "\nbeamsplit_rows_read_total 20.0\n" in last
    rows = [line for line in last.splitlines() if line.startswith("beamsplit_rows_total")]
    assert rows and all(line.endswith(" 20.0") for line in rows)
    (version,) = {line.split('model_version="')[1].split('"')[0] for line in rows}
    assert len(version) == 12


@pytest.mark.parametrize("metrics", [-1, 70_000, "9400", True, bs.MetricsEndpoint(99_999)])
def test_what_is_no_port(mlp: Mlp, metrics: Any):
    with pytest.raises(bs.UsageError, match="give a port such as 9400, 0 for any, or a MetricsEndpoint"):
        bs.Score(mlp.path, **mlp.options, metrics=metrics)
