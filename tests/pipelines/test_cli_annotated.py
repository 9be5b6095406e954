"""`score` with a division that is there already: a model's annotations, or a plan of shards that was saved."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.shard.plan import read_plan, to_json
from beamsplit.models.shard.planner import divide
from beamsplit.pipelines.job.plan import plan_job
from beamsplit.pipelines.options.score import parse
from tests import onnx_models
from tests.command import Command
from tests.models.shard.annotated import configured, say
from tests.pipelines.close import close


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    made = Command(tmp_path, capsys)
    made.model = onnx_models.save(onnx_models.mlp(4, 64, 2, layers=3), tmp_path / "wide.onnx")
    return made


def annotate(command: Command, axis: int = 1) -> str:
    proto = onnx.load(command.model)
    configured(proto, names=["left", "right"])
    say(proto, "h0", {"w0": axis})
    say(proto, "h1", {"w1": 0})
    return onnx_models.save(proto, command.folder / "annotated.onnx")


@pytest.mark.parametrize("placement", [(), ("--placement", "distributed", "--worker_type", "thread")])
def test_an_annotated_model_runs_as_annotated(command: Command, placement: tuple[str, ...]):
    given = ["--keep", "id", "--num_shards", 1]
    assert command.run(*given)[0] == 0
    whole = command.rows()
    annotated = annotate(command)
    code, _, err = command.run(*given, *placement, model=annotated)
    assert code == 0, err
    assert "note: the model's annotations ('mesh') divide it over 2 shards" in err
    close(command.rows(), whole, "y")


def test_what_is_annotated_is_shown_and_can_be_left_aside(command: Command):
    annotated = annotate(command)
    code, out, err = command.run("--dry_run_plan", model=annotated)
    assert code == 0, err
    assert "as annotated ('mesh': left, right)" in out and "with 1 joins: 1 tensors summed" in out
    code, out, err = command.run("--dry_run_plan", "--shards", 3, model=annotated)
    assert code == 0 and "over 3 shards" in out and "as annotated" not in out + err
    for options in (["--shards", 1], ["--stages", 2]):
        code, out, err = command.run("--dry_run_plan", *options, model=annotated)
        assert code == 0 and "over 2 shards" not in out + err


def test_annotations_that_cannot_be_right(command: Command):
    annotated = annotate(command, axis=7)
    assert "divides axis 7 of w0, which has 2 axes ([4, 64]): annotate the model again, or type --shards 1" in (
        command.error(model=annotated)
    )
    assert command.run("--shards", 1, model=annotated)[0] == 0


def saved(command: Command, shards: int = 2) -> Path:
    folder = command.folder / "shards"
    divide(ModelFile(command.model), {"x": np.ones((3, 4), np.float32)}, shards, str(folder))
    return folder / "plan.json"


def test_a_saved_plan_runs_with_its_files_or_without(command: Command):
    given = ["--keep", "id", "--num_shards", 1]
    assert command.run(*given)[0] == 0
    whole = command.rows()
    plan = saved(command)
    for options in (["--plan", plan], ["--plan", plan, "--shards", 2]):
        code, _, err = command.run(*given, *options)
        assert code == 0, err
        close(command.rows(), whole, "y")
    alone = command.folder / "alone.json"
    shutil.copy(plan, alone)
    code, _, err = command.run(*given, "--plan", alone, "--placement", "distributed", "--worker_type", "thread")
    assert code == 0, err
    close(command.rows(), whole, "y")


def test_plans_of_other_models(command: Command):
    plan = saved(command)
    assert "has 2 shards and --shards says 3; leave --shards out" in command.error("--plan", plan, "--shards", 3)
    other = onnx_models.save(onnx_models.mlp(4, 32, 2, layers=3), command.folder / "other.onnx")
    said = command.error("--plan", plan, model=other)
    assert "is of wide.onnx with the hash" in said and "make it again with python -m pipelines.plan --shards" in said
    changed = json.loads(to_json(read_plan(str(plan))))
    changed["shards"] = 3
    alone = command.folder / "alone.json"
    alone.write_text(json.dumps(changed))
    assert "does not come out again from --model" in command.error("--plan", alone)
    alone.write_text(json.dumps({**changed, "extra": 1}))
    assert "is no plan: unknown field 'extra'" in command.error("--plan", alone)


@pytest.mark.parametrize("placement", ["inline", "distributed"])
@pytest.mark.parametrize("worker_type", ["thread", "process"])
def test_the_summary_tells_of_each_shard(command: Command, placement: str, worker_type: str):
    summary = command.folder / "summary.json"
    code, out, err = command.run(
        *("--placement", placement, "--worker_type", worker_type, "--workers", 1, "--micro_batch", 100),
        *("--summary", summary),
        model=annotate(command),
    )
    assert code == 0, err
    told = json.loads(summary.read_text())["shards"]
    assert [one["shard"] for one in told["shards"]] == [0, 1]
    assert [one["device"] for one in told["shards"]] == ["left", "right"]
    assert [one["rows"] for one in told["shards"]] == [600, 600]
    assert all(one["busy_seconds"] > 0 and one["weight_bytes"] > 8000 for one in told["shards"])
    # Six micro-batches of a hundred rows, w0 and w1 joined once; blocks may be cut into more.
    assert told["joins"]["a_block"] == 1 and told["joins"]["done"] >= 6
    assert told["whole"]["busy_seconds"] > 0 and told["kept_whole"][0]["why"] == "it is not annotated"
    assert re.search(r"^shard 1  600 rows, busy [\d.]+ \S+, [\d.]+ kB of weights \(right\)$", out, re.MULTILINE)
    assert re.search(r"^joins    \d+, 1 a block; whole steps busy ", out, re.MULTILINE)
    assert re.search(r"^whole    \S+ \(\d+ B\): it is not annotated$", out, re.MULTILINE)
    assert told["lines"] == [line for line in out.splitlines() if line.startswith(("shard ", "joins ", "whole "))]


def test_workers_elsewhere_run_an_annotated_model_whole(command: Command):
    options, _ = parse(
        [
            "--model",
            annotate(command),
            "--input",
            str(command.data),
            "--output",
            "out.parquet",
            "--columns",
            "x=a,b,c,d",
        ]
    )
    assert options.parallelism.shards == 2
    job = plan_job(options, None, local=False)
    assert not job.execution.in_parts
    assert any("shards run on this machine only so far: it runs whole" in note for note in job.notes)


def test_an_annotated_model_without_rows_runs_whole(command: Command):
    pq.write_table(command.table.slice(0, 0), command.data)
    code, out, err = command.run(model=annotate(command))
    assert code == 0 and "rows     0 in, 0 scored" in out, err
    assert "the input has no rows: the model is not divided, and the outputs are empty" in err


def test_the_summary_tells_of_shards_of_stages(command: Command):
    summary = command.folder / "summary.json"
    code, out, err = command.run(
        *("--stages", 2, "--shards", 2, "--placement", "distributed", "--worker_type", "thread"),
        *("--micro_batch", 100, "--summary", summary),
    )
    assert code == 0, err
    told = json.loads(summary.read_text())["shards"]
    assert [one["rows"] for one in told["shards"]] == [600, 600]
    assert all(len(one["stage_bytes"]) == 2 for one in told["shards"])
    assert all(sum(one["stage_bytes"]) == one["weight_bytes"] > 0 for one in told["shards"])
    assert re.search(r"^shard 0  600 rows, busy [\d.]+ \S+, [\d.]+ \S+ \+ [\d.]+ \S+ of weights$", out, re.MULTILINE)
