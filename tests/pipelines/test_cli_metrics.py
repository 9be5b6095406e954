"""`--metrics` of the command: what a job of files shows while it runs."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest

from beamsplit.transforms.telemetry import recorder
from tests.command import Command


def look(block: pa.RecordBatch) -> pa.RecordBatch:
    """A step that reads the metrics of its own process, as Prometheus would while the job runs."""
    import os

    folder = Path(os.environ["TARGETS"])
    for file in folder.glob("*.json"):
        address = json.loads(file.read_text())[0]["targets"][0]
        for path in ("metrics", "ready"):
            with urllib.request.urlopen(f"http://{address}/{path}", timeout=60) as answer:
                (folder.parent / f"{path}.txt").write_bytes(answer.read())
    return block


@pytest.fixture(autouse=True)
def _from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process counts on over all of its jobs."""
    monkeypatch.setattr(recorder, "_RECORDER", [])


def samples(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


@pytest.mark.parametrize("parts", [(), ("--stages", "2"), ("--stages", "2", "--placement", "distributed")])
def test_numbers_of_a_job_while_it_runs(command: Command, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...]):
    targets = command.folder / "targets"
    monkeypatch.setenv("TARGETS", str(targets))
    step = f"{__name__}:look"
    given = ("--metrics", "0", "--metrics_targets", str(targets), "--finish", step, "--worker_type", "thread")
    code, _, err = command.run(*given, "--workers", "1", "--job_name", "seen", *parts)
    assert code == 0, err
    found = samples((command.folder / "metrics.txt").read_text())
    stage = "stage 0" if "distributed" in parts else "infer"
    through = sum(n for name, n in found.items() if name.startswith("beamsplit_rows_total") and stage in name)
    assert through == found["beamsplit_rows_read_total"] > 0
    assert found[f'beamsplit_run_seconds_count{{stage="{stage}"}}'] >= 1
    assert sum(n for name, n in found.items() if name.startswith("beamsplit_model_loads_total")) >= 1
    if parts:
        assert found['beamsplit_stage_busy_seconds_total{stage="stage 1"}'] > 0
    assert (command.folder / "ready.txt").read_text() == "ready\n"
    assert list(targets.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--metrics", "70000"), "'70000' is no port; type e.g. 9400, or 0"),
        (("--metrics", "-1"), "is no port"),
        (("--metrics_targets", "t"), "--metrics_targets is for --metrics, which is not given; add --metrics 9400"),
        (("--metrics_host", "0.0.0.0"), "--metrics_host is for --metrics"),
        (("--metrics", "0", "--metrics_host", "192.0.2.1"), "--metrics_host 192.0.2.1 is no address of this machine"),
        (("--metrics", "0", "--metrics_host", "no such host"), "is no address of this machine"),
        (("--metrics", "0", "--resume"), "--metrics does not go with --resume"),
        (("--metrics", "0", "--metrics_targets", __file__), "is a file, and a folder is wanted"),
    ],
)
def test_what_cannot_work_is_told_before_the_job(command: Command, options: tuple[str, ...], told: str):
    code, _, err = command.run(*options)
    assert code == 2
    assert told in err
    assert err.count("\n") <= 2
