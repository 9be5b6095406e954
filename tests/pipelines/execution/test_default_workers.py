"""How many workers a job has where nobody says, by way of the job's plan."""

from __future__ import annotations

import re

import pytest

from beamsplit.pipelines.execution import shards as shard_job
from beamsplit.pipelines.execution import stages as split_job
from beamsplit.pipelines.execution.ways import default_workers
from beamsplit.pipelines.options.division import Parallelism
from tests.command import Command

APART = ("--placement", "distributed")

CASES = {
    # Of the command's options, and by cores: how many workers.
    "whole": ((), {1: 1, 3: 3, 8: 8}),
    # One worker's block is in the stages while another reads and writes.
    "stages": (("--stages", "2"), {1: 2, 8: 2}),
    "stages apart": (("--stages", "2", *APART), {1: 1, 8: 1}),
    "shards": (("--shards", "2"), {1: 1, 3: 1, 8: 4}),
    "shards apart": (("--shards", "2", *APART), {8: 1}),
    "both": (("--stages", "2", "--shards", "2"), {8: 2}),
    "given": (("--workers", "3"), {8: 3}),
    "stages, given": (("--stages", "2", "--workers", "3"), {8: 3}),
    "shards, given": (("--shards", "2", "--workers", "3"), {8: 3}),
}


@pytest.mark.parametrize("case", CASES)
def test_workers_by_cores(command: Command, monkeypatch: pytest.MonkeyPatch, case: str):
    options, wanted = CASES[case]
    batch = "--micro_batch" if "--stages" in options or "--shards" in options else "--batch_size"
    for cores, count in wanted.items():
        for module in ("execution.workers", "job.plan", "execution.stages", "execution.shards"):
            monkeypatch.setattr(f"beamsplit.pipelines.{module}.cores", lambda cores=cores: cores)
        code, out, err = command.run("--dry_run_plan", "--worker_type", "thread", batch, 16, *options)
        assert code == 0, err
        found = re.findall(r"^workers +(\d+)", out, re.MULTILINE)
        assert found == [str(count)], out


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, None),
        ({"workers": 5}, 5),
        ({"stages": 2}, 2),
        ({"stages": 2, "placement": "distributed"}, 1),
        ({"stages": 2, "workers": 5}, 5),
        ({"plan": "plan.json"}, 2),
        ({"shards": 2}, 3),
        ({"shards": 4}, 1),
        ({"shards": 9}, 1),
        ({"shards": "auto"}, 6),
        ({"shards": "auto", "workers": 5}, 5),
        ({"shards": 2, "placement": "distributed"}, 1),
        ({"shards": 2, "workers": 5}, 5),
        ({"stages": 2, "shards": 3}, 2),
    ],
)
def test_workers_of_streams_and_of_other_machines(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], count: int | None
):
    monkeypatch.setattr(split_job, "cores", lambda: 6)
    monkeypatch.setattr(shard_job, "cores", lambda: 6)
    given = {"placement": "inline"} | {name: value for name, value in options.items() if name != "workers"}
    assert default_workers(Parallelism(**given), options.get("workers")) == count
    if count == 2:
        monkeypatch.setattr(split_job, "cores", lambda: 1)
        assert default_workers(Parallelism(**given), None) == 1
