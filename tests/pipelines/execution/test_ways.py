"""Which way a model is run, and what every job pays for the others."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.running.runs import Fetch, Runs
from beamsplit.models.running.whole_model import WholeModel
from beamsplit.pipelines.execution import sharded_stages, shards, stages, ways, whole
from beamsplit.pipelines.execution.execution import Execution, Overlap
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.ways import default_workers, way_of
from beamsplit.pipelines.options import modes
from beamsplit.pipelines.options.division import WAYS, Parallelism
from tests.command import Command

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("asked", "way"),
    [
        (Parallelism(), whole),
        (Parallelism(stages=2), stages),
        (Parallelism(stages="auto"), stages),
        (Parallelism(plan="plan.json"), stages),
        (Parallelism(shards=2), shards),
        (Parallelism(shards="auto"), shards),
        (Parallelism(stages=2, shards=2), sharded_stages),
        (Parallelism(plan="plan.json", shards=2), sharded_stages),
    ],
)
def test_the_way_that_is_asked_for(asked: Parallelism, way: object):
    assert way_of(asked) is way
    assert default_workers(asked, 7) == 7


def test_any_job_has_a_way():
    assert WAYS[-1] == "whole" and whole.wanted(Parallelism(stages=2))


def test_a_model_that_is_whole_pays_for_no_other_way():
    code = """
import sys, beamsplit.pipelines.job.plan
rooms = ("beamsplit.models.shard.", "beamsplit.models.split.", "beamsplit.models.strategy.", "onnx_ir")
rooms = (*rooms, "pyarrow.compute")
print(sorted(name for name in sys.modules if name.startswith(rooms)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    # What a saved plan and annotations look like: no graph is taken apart for that.
    few = {"shard.annotation", "shard.plan", "split.plan", "split.saved_files"}
    found = {name.strip("[]' ") for name in done.stdout.strip().split(",")}
    assert found <= {f"beamsplit.models.{name}" for name in few}, found


@dataclass(frozen=True)
class Twin:
    """A runnable model of our own: the whole one."""

    model: WholeModel

    def fetched(self, fetch: Fetch) -> Twin:
        return replace(self, model=self.model.fetched(fetch))

    def open(self, device: int | None = None) -> Runs:
        return self.model.open(device)


@dataclass(frozen=True)
class Asked(Parallelism):
    twins: int | None = None


def test_another_way_goes_with_what_its_row_says(monkeypatch: pytest.MonkeyPatch):
    marks = ["yes", "yes", "yes", "way", "-", "-", "yes", "yes", "-"]
    monkeypatch.setattr(modes, "GOES_WITH", {**modes.GOES_WITH, "twins": dict(zip(modes.COLUMNS, marks, strict=True))})
    monkeypatch.setattr(modes, "OF_PARTS", (*modes.OF_PARTS, "twins"))
    for asked in (Asked(twins=2), Asked(twins=2, micro_batch=4), Asked(twins=2, shards=2)):
        modes.check_parallelism(asked, of_topic=False)
    with pytest.raises(UsageError, match="--twins and --stages divide the model each in its way; leave one"):
        modes.check_parallelism(Asked(twins=2, stages=2), of_topic=False)
    with pytest.raises(UsageError, match="--micro_batch is for a model split by depth; add --stages N"):
        modes.check_parallelism(Asked(micro_batch=4), of_topic=False)


def test_another_way_is_a_module_and_its_name(command: Command, monkeypatch: pytest.MonkeyPatch):
    assert command.run("--keep", "id", "--num_shards", 1)[0] == 0
    expected = command.rows()

    def plan(request: Request) -> Execution:
        scoring = replace(request.scoring, batch_size=7)
        return Execution(
            scoring,
            "7, by twins",
            Twin(WholeModel(scoring.model, request.workers.session)),
            overlap=Overlap(2, 0.0),
            facts={"twins": "two"},
            notes=("twins are alike",),
            summary=lambda counters, rows, replan: {"twins": {"rows": rows, "lines": [f"twins    {rows} rows"]}},
        )

    way = SimpleNamespace(wanted=lambda asked: True, default_workers=lambda asked: 1, plan=plan)
    monkeypatch.setitem(sys.modules, f"{ways.__package__}.twins", way)
    monkeypatch.setattr(ways, "WAYS", ("twins", *WAYS))
    code, out, _ = command.run("--dry_run_plan")
    assert code == 0 and "7, by twins" in out and "twins are alike" in out
    summary = command.folder / "summary.json"
    code, out, err = command.run("--keep", "id", "--num_shards", 1, "--summary", summary, output=command.output)
    assert code == 0, err
    assert command.rows().equals(expected) and "twins    600 rows" in out
    assert json.loads(summary.read_text())["twins"]["rows"] == 600
