"""Commands that are killed with -9 and started again: the output is that of one that was not, byte for byte."""

from __future__ import annotations

import pytest

from tests.pipelines.resume.contents import content
from tests.resumable import FILES, ROWS, Resumable

FAILED = len(range(0, FILES * ROWS, 37))


@pytest.mark.parametrize(
    ("output", "options", "done"),
    [
        ("p.parquet", (), 5),
        ("p.csv", ("--partition", "contiguous"), 1),
        ("p.jsonl", ("--partition", "proportional", "--capacities", "1,2"), 9),
        ("p.avro", ("--worker_type", "process"), 3),
        ("p.orc", ("--workers", "1", "--num_shards", "3"), 7),
        ("p-*.csv", ("--stages", "2"), 4),
        ("p-*.parquet", ("--shards", "2"), 6),
        ("p.parquet", ("--partition", "random", "--seed", "7"), 9),
    ],
)
def test_what_was_killed_goes_on_where_it_was(job: Resumable, output: str, options: tuple[str, ...], done: int):
    given = (*options, "--errors", "errors.jsonl", "--overwrite")
    undisturbed, _ = job.run(f"out-whole/{output}", *given)
    errors = (job.folder / "errors.jsonl").read_bytes()
    job.kill(done, f"out/{output}", *given)
    (hidden,) = (job.folder / "out").iterdir()
    kept = len(list(hidden.glob("done-*")))
    summary, _ = job.run(f"out/{output}", *given)
    assert content(job.folder / "out") == content(job.folder / "out-whole")
    assert (job.folder / "errors.jsonl").read_bytes() == errors and len(errors.splitlines()) == FAILED
    resumed = summary["resumed"]
    assert kept >= done and resumed["splits"] == kept and 1 <= resumed["scored_again"] <= 2
    for name in ("rows_in", "rows_scored", "rows_failed", "failed_by_stage", "failed_by_reason"):
        assert summary[name] == undisturbed[name], name
    assert summary["rows_in"] == FILES * ROWS
    # A worker counts what it has scored: no row of what was done before.
    assert sum(summary["worker_rows"]) <= FILES * ROWS - resumed["rows"]


def test_a_worker_that_was_killed_fails_the_job_which_goes_on(job: Resumable):
    given = ("--worker_type", "process", "--errors", "errors.jsonl", "--overwrite")
    job.run("out-whole/p.csv", *given)
    err = job.kill_worker(4, "out/p.csv", *given)
    (line,) = (line for line in err.splitlines() if line.startswith("error"))
    assert "what is finished is kept, and the same command goes on there" in line and "killed" in line
    summary, _ = job.run("out/p.csv", *given)
    assert content(job.folder / "out") == content(job.folder / "out-whole")
    resumed = summary["resumed"]
    assert resumed["splits"] >= 4 and 1 <= resumed["scored_again"] <= 2
