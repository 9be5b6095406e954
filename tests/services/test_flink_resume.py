"""Jobs that resume on a real Flink: the command is killed, or a worker; the next goes on beside the output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beamsplit.runners.flink_rest import OVER
from beamsplit.runners.local import FlinkCluster
from tests.pipelines.resume.contents import content
from tests.resumable import FILES, ROWS, Resumable

FLINK = ("--runner", "FlinkRunner", "--parallelism", "2", "--errors", "errors.jsonl", "--overwrite")


@pytest.fixture
def job(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Resumable:
    """A job, in the folder of which the test runs; its step can be imported by workers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Resumable(tmp_path, capsys, monkeypatch, ())


def test_a_command_that_was_killed_goes_on_and_its_job_ends(cluster: FlinkCluster, job: Resumable):
    options = (*FLINK, "--flink_master", cluster.address)
    undisturbed, _ = job.run("out-whole/p.parquet", *FLINK[4:], "--workers", "1")
    errors = (job.folder / "errors.jsonl").read_bytes()
    job.kill(4, "out/p.parquet", *options)
    summary, _ = job.run("out/p.parquet", *options)
    assert content(job.folder / "out") == content(job.folder / "out-whole")
    assert (job.folder / "errors.jsonl").read_bytes() == errors
    resumed = summary["resumed"]
    assert 4 <= resumed["splits"] < FILES and resumed["scored_again"] <= 2
    assert [summary[name] for name in ("rows_in", "rows_failed")] == [FILES * ROWS, undisturbed["rows_failed"]]
    assert not set(cluster.jobs().values()) - set(OVER)


def test_what_a_worker_of_flink_has_lost_goes_on_without_flink(services: None, job: Resumable):
    job.run("out-whole/p.csv", *FLINK[4:], "--workers", "1")
    err = job.kill_worker(3, "out/p.csv", *FLINK)
    assert "what is finished is kept, and the same command goes on there" in err
    summary, _ = job.run("out/p.csv", *FLINK[4:], "--workers", "3")
    assert content(job.folder / "out") == content(job.folder / "out-whole")
    assert 3 <= summary["resumed"]["splits"] < FILES and summary["resumed"]["scored_again"] <= 2
