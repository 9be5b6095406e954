"""One planner for all that a job can read: files, a topic up to its end, a stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.running import mapped
from beamsplit.pipelines.execution import batch_size
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.job.plan import plan_job
from beamsplit.pipelines.options.score import score_options
from beamsplit.pipelines.running.runner import settle_runner
from beamsplit.transforms.kafka.gaps import Gap
from tests import onnx_models
from tests.models.shard.annotated import configured, say

ENDS = {
    "files": {"input": "rows.parquet", "output": "out/preds.parquet"},
    "range": {"input": "kafka://h:1/in", "output": "out/preds.parquet", "until_end": True},
    "stream": {"input": "kafka://h:1/in", "output": "kafka://h:1/out"},
}
READ = pytest.mark.parametrize("read", ENDS)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with rows, and a broker that has a topic of two partitions."""
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"x": list(np.ones((40, 4), np.float32))}), "rows.parquet")

    def spans(*_: object) -> tuple[dict[int, tuple[int, int]], list[Gap]]:
        return {0: (5, 25), 1: (0, 20)}, []

    for module in ("sources.topic_range", "sources.topic", "sinks.topics"):
        monkeypatch.setattr(f"beamsplit.pipelines.{module}.check_topic", lambda *_: [0, 1])
    monkeypatch.setattr("beamsplit.pipelines.sources.topic_range.find_spans", spans)


def planned(read: str, folder: Path, local: bool = True, **options: Any) -> Job:
    if local:
        (folder / "job").mkdir()
    if read == "stream" and local:
        options = {"runner": "PrismRunner", **options}
    return plan_job(score_options(**ENDS[read], **options), str(folder / "job") if local else None, local)


@READ
def test_an_annotated_model_runs_whole_on_workers_elsewhere(tmp_path: Path, read: str):
    proto = onnx_models.mlp(4, 64, 2, layers=3)
    configured(proto, names=["left", "right"])
    say(proto, "h0", {"w0": 1})
    say(proto, "h1", {"w1": 0})
    model = onnx_models.save(proto, tmp_path / "m.onnx")
    job = planned(read, tmp_path, local=False, model=model, runner="DataflowRunner", batch_size=8, workers=2)
    assert not job.execution.in_parts
    assert any("shards run on this machine only so far: it runs whole" in note for note in job.notes)


@READ
def test_a_large_model_in_parts_is_not_loaded_to_measure_what_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
):
    def never(*_: object) -> None:
        raise AssertionError("measured")

    proto = onnx_models.mlp(4, 64, 2, layers=3)
    model = str(tmp_path / "m.onnx")
    onnx.save_model(proto, model, save_as_external_data=True, location="m.bin", size_threshold=0)
    monkeypatch.setattr(mapped, "LEAST_BYTES", 1)
    monkeypatch.setattr(batch_size, "choose_batch_size", never)
    job = planned(read, tmp_path, model=model, stages=2, micro_batch=8, workers=1, worker_type="thread")
    assert job.facts["batch size"] == "8 (a micro-batch)"


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ("files", "2 threads, 1 thread a session"),
        ("range", "2 threads, 1 thread a session"),
        ("stream", "2 readers, 1 thread a session"),
    ],
)
def test_workers_are_told_alike(tmp_path: Path, read: str, said: str):
    model = onnx_models.save(onnx_models.mlp(4), tmp_path / "m.onnx")
    job = planned(read, tmp_path, model=model, workers=2, threads=1, batch_size=8, worker_type="thread")
    assert job.facts["workers"] == said


def test_what_is_planned_of_each(tmp_path: Path):
    model = onnx_models.save(onnx_models.mlp(4), tmp_path / "m.onnx")
    given = {"model": model, "workers": 2, "threads": 1, "batch_size": 8, "worker_type": "thread"}
    found = {}
    for read in ENDS:
        (tmp_path / read).mkdir()
        found[read] = planned(read, tmp_path / read, **given)
    assert {read: job.source.total_rows for read, job in found.items()} == {"files": 40, "range": 40, "stream": None}
    assert {read: job.source.bounded for read, job in found.items()} == {"files": True, "range": True, "stream": False}
    stages = {read: [stage for stage, _ in job.steps] for read, job in found.items()}
    assert stages == {"files": ["infer"], "range": ["read", "infer", "finish"], "stream": ["read", "infer", "finish"]}
    for job in found.values():
        assert set(job.facts) >= {"model", "input", "inputs", "outputs", "batch size", "workers", "providers", "output"}


def test_a_runner_changes_no_option(tmp_path: Path):
    given = score_options(model="m.onnx", input="a.csv", output="o.csv", workers=3)
    settled = settle_runner(given, ["--direct_running_mode=multi_processing", "--job_name=x"])
    assert (settled.options.workers.worker_type, settled.beam_args, settled.local) == (
        "process",
        ["--job_name=x"],
        True,
    )
    assert given.workers.worker_type is None
