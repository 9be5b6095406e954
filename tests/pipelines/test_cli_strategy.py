"""`plan --strategy` and `score --strategy`: what they show, write, choose and refuse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from beamsplit.models.cost.cluster import parse_bytes
from beamsplit.models.errors import UsageError
from beamsplit.models.strategy.candidate import Candidate, Pod
from beamsplit.models.strategy.choose import Strategy
from beamsplit.models.strategy.cost import ReplicaTeam, Stage
from beamsplit.models.strategy.planner import from_json
from beamsplit.pipelines.__main__ import main
from beamsplit.pipelines.execution import strategy as strategy_job
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.strategy import as_many_as_pods, settle_strategy
from beamsplit.pipelines.execution.ways import plan_execution
from beamsplit.pipelines.job import model as model_job
from beamsplit.pipelines.options.score import score_options
from beamsplit.pipelines.planning.strategy import table
from beamsplit.pipelines.sources.files import Files
from tests import onnx_models
from tests.command import Command, write_table

WIDTH = 128


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Of a model of four equal layers of 64 kB."""
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    made = Command(tmp_path, capsys)
    rng = np.random.default_rng(0)
    nodes, weights = [], {}
    for i in range(4):
        weights[f"w{i}"] = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 8
        nodes.append(helper.make_node("MatMul", ["x" if i == 0 else f"r{i - 1}", f"w{i}"], [f"h{i}"], name=f"l{i}"))
        nodes.append(helper.make_node("Relu", [f"h{i}"], ["y" if i == 3 else f"r{i}"], name=f"a{i}"))
    x, y = ([(name, TensorProto.FLOAT, ["n", WIDTH])] for name in "xy")
    made.model = onnx_models.save(onnx_models.build(nodes, x, y, weights), tmp_path / "four.onnx")
    made.data = write_table(
        tmp_path / "rows.parquet", id=range(40), x=list(rng.standard_normal((40, WIDTH), np.float32))
    )
    return made


def plan(command: Command, *arguments: object) -> tuple[int, str, str]:
    code = main(["plan", "--model", command.model, "--micro_batch", "8", *map(str, arguments)])
    shown = command.capsys.readouterr()
    return code, shown.out, shown.err


def test_the_table_and_the_json(command: Command, tmp_path: Path):
    code, out, err = plan(
        command, "--strategy", "auto", "--workers", 4, "--stage_memory", "200KB", "--bandwidth", "10Gbit",
        "--output", tmp_path / "strategy.json",
    )  # fmt: skip
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["way", "workers"] and lines[0].split()[-2:] == ["simulated", "measured"]
    assert any(line.startswith("replicas") and "does not fit" in line for line in lines)
    strategy = from_json((tmp_path / "strategy.json").read_text())
    assert strategy.chosen.worker_bytes <= 200e3 and strategy.workers == 4
    assert lines[1].startswith(strategy.chosen.name)
    ran = next(line for line in lines if line.startswith("to run"))
    assert (
        ran.endswith("--placement distributed") and f"--stages {strategy.chosen.stages}" in ran
    ) or "--shards" in ran
    assert "no worker holds the whole model" in out


def test_what_fits_nowhere_is_told(command: Command):
    code, _, err = plan(command, "--strategy", "auto", "--workers", 2, "--stage_memory", "10KB")
    assert code == 2 and err.count("\n") == 1
    assert "no way to run this model fits workers of 10 kB: the least is" in err


def test_a_strategy_is_for_no_single_split(command: Command):
    for given in (("--shards", 2), ("--stages", 2), ("--save_stages", "there"), ("--report", "there.html")):
        code, _, err = plan(command, "--strategy", "auto", *given)
        assert code == 2 and f"and {given[0]} is for one split" in err


@pytest.mark.parametrize(
    ("strategy", "said"), [("replicas", "replica"), ("stages", "2 stages"), ("shards", "2 shards")]
)
def test_score_follows_it(command: Command, strategy: str, said: str):
    assert command.run("--keep", "id", columns=None)[0] == 0
    whole = command.rows()
    code, _, err = command.run("--keep", "id", "--workers", 2, "--strategy", strategy, columns=None)
    assert code == 0, err
    assert f"note: --strategy {strategy}: " in err and said in err
    found, wanted = (np.array(table["y"].to_pylist()) for table in (command.rows(), whole))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--stages", 2), "--strategy chooses how to split, and --stages says how; leave one of them out"),
        (("--shards", 2), "--strategy chooses how to split, and --shards says how; leave one of them out"),
        (("--stage_memory", "1KB"), "no way to run this model fits workers of 1 kB: the least is"),
    ],
)
def test_score_refuses(command: Command, given: tuple[object, ...], message: str):
    assert command.error("--strategy", "auto", *given, columns=None).startswith(message)


def test_what_is_left_out_for_want_of_time_is_told(command: Command):
    out = shown_plan(command, "--workers", 2, "--plan_seconds", 0.0001)
    assert "the ways are predicted: to run them takes longer than planning may (--plan_seconds 60" in out


def test_workers_elsewhere_are_for_the_plan_command():
    options = score_options(model="m.onnx", strategy="auto", runner="DataflowRunner")
    with pytest.raises(UsageError, match=r"--strategy measures this machine.*pipelines.plan --strategy"):
        settle_strategy(options, Files((), "csv"), local=False)


def test_what_a_simulation_of_each_gives(command: Command):
    code, out, err = plan(command, "--simulate", "--workers", 4, "--bandwidth", "1Gbit")
    assert code == 0, err
    (first,) = (line for line in out.splitlines() if line.startswith("simulated"))
    assert "a micro-batch every" in first and "stages busy 100%" in first
    assert "2 stages x 2 shards: a micro-batch every" in out


def shown_plan(command: Command, *arguments: object) -> str:
    code, out, err = command.run(
        "--keep", "id", "--strategy", "auto", "--dry_run_plan", "--micro_batch", 8, *arguments, columns=None
    )
    assert code == 0, err
    return out


def test_a_cluster_is_described_in_a_file(command: Command, tmp_path: Path):
    cluster = tmp_path / "cluster.json"
    # A process takes 140 MB, which leaves one layer and half of another.
    cluster.write_text('[{"count": 4, "memory": "140.1MB", "bandwidth": "10Gbit"}]')
    out = shown_plan(command, "--workers", cluster)
    assert "no worker holds the whole model" in out
    assert "distributed" in out
    cluster.write_text('[{"count": 3, "memory": "8GB", "bandwidth": "1Mbit"}]')
    out = shown_plan(command, "--workers", cluster)
    assert "note: --strategy auto: 3 replicas of the whole model" in out
    assert "3 threads" in out or "3 processes" in out
    cluster.write_text("{}")
    assert "a list of one object or more is wanted" in command.error(
        "--strategy", "auto", "--workers", cluster, columns=None
    )


def test_stages_of_shards_where_neither_alone_fits(command: Command):
    out = shown_plan(command, "--workers", 8, "--stage_memory", "55KB")
    assert "4 stages x 2 shards" in out
    assert "4 stages" in out and "2 shards" in out


def test_a_cluster_is_for_a_strategy(command: Command):
    message = command.error("--workers", "cluster.json", columns=None)
    assert message == "--workers cluster.json describes a cluster to choose for; add --strategy auto, or say N"


def test_what_was_measured_in_another_moment_is_told():
    pod = Pod(2, (Stage((ReplicaTeam(),), 1.0),))
    ran = Candidate(1, 1, (pod,), 20.0, 1e6, 2, measured=20.5)
    strategy = Strategy("m.onnx", 10, 2, ran, (ran,), 20.0, "2 replicas.")
    note = "more was measured than the bound"
    assert note not in str(table(strategy).facts)
    faster = replace(ran, measured=60.0)
    assert note in str(table(replace(strategy, chosen=faster, candidates=(faster,))).facts)


def test_workers_of_their_own_are_as_many_as_were_planned_for(command: Command):
    """Two shards on two workers are two processes of the model, not two for each shard; nothing was measured inline."""
    out = shown_plan(command, "--workers", 4, "--stage_memory", "160KB")
    assert "distributed" in out and "rows/s predicted" in out and "measured, at most" not in out
    assert "from process to process, measured here" in out
    options = score_options(model="m.onnx", runner="FlinkRunner", workers=8, parallelism=8)
    options = as_many_as_pods(options, 2)
    assert (options.workers.count, options.runner.parallelism) == (2, 2)


def test_a_model_larger_than_a_worker_runs_in_parts(command: Command):
    """In caps of a third, half and more of the model; each result is that of the whole model."""
    assert command.run("--keep", "id", columns=None)[0] == 0
    whole = command.rows()
    for at, memory in enumerate(("110KB", "150KB")):
        command.output = command.folder / f"part-{at}" / "preds.parquet"
        code, _, err = command.run(
            *("--keep", "id", "--workers", 4, "--micro_batch", 8, "--strategy", "auto", "--stage_memory", memory),
            *("--worker_type", "thread"),
            columns=None,
        )
        assert code == 0, err
        assert "no worker holds the whole model" in err
        found, wanted = (np.array(table["y"].to_pylist()) for table in (command.rows(), whole))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_least_memory_that_is_told_is_enough_and_a_little_less_is_not(command: Command):
    given = ("--strategy", "auto", "--workers", 4)
    _, _, err = plan(command, *given, "--stage_memory", "1KB")
    least = parse_bytes(re.search(r"the least is ([\d.]+ .?B) in each", err)[1].replace(" ", ""))
    # It is told in three digits.
    assert plan(command, *given, "--stage_memory", f"{round(least * 1.005)}B")[0] == 0
    assert plan(command, *given, "--stage_memory", f"{round(least * 0.98)}B")[0] == 2


def test_a_way_that_fails_is_left_out(command: Command, monkeypatch: pytest.MonkeyPatch):
    def stages_first(ways: Sequence[Candidate]) -> list[Candidate]:
        found = {(one.stages, one.shards): one for one in reversed(ways)}
        return sorted(found.values(), key=lambda one: -one.stages)

    def fails(request: Request) -> Execution:
        if request.parallelism.stages is not None:
            raise ValueError("not enough values to unpack")
        return plan_execution(request)

    monkeypatch.setattr(strategy_job, "_unlike", stages_first)
    monkeypatch.setattr(model_job, "plan_execution", fails)
    code, out, err = command.run("--strategy", "auto", "--workers", 2, "--quiet", "--keep", "id", columns=None)
    assert code == 0, err
    assert command.rows().num_rows == 40
    code, out, err = command.run("--strategy", "auto", "--workers", 2, "--dry_run_plan", "--keep", "id", columns=None)
    assert "2 stages left out: ValueError: not enough values to unpack" in out, out + err
