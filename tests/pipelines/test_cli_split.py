"""`score --stages` and `--plan`: both placements beside the whole model, refusals, the closing summary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.split.annotations import PLAN_KEY, annotate
from beamsplit.models.split.cuts import split_graph
from beamsplit.models.split.plan import Plan, read_plan, to_json
from beamsplit.models.split.saved_files import with_hashes
from beamsplit.models.split.stage import assign
from beamsplit.transforms.worker import read_counts, read_steps
from tests import onnx_models
from tests.command import Command, lines, write_table
from tests.models.split import chains
from tests.pipelines.close import close
from tests.pipelines.processes import start

PLACEMENTS = ("inline", "distributed")


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command with a plan of its model beside it, cut by hand into 3 stages."""
    made = Command(tmp_path, capsys)
    model, stage_of = chains.by_rows()
    chains.cut_by_hand(model, stage_of, tmp_path / "stages", micro_batch=16)
    made.model = str(tmp_path / "stages" / "model.onnx")
    return made


def planned(command: Command) -> Path:
    return command.folder / "stages" / "plan.json"


def unsaved_plan(model: str, stages: int, path: Path) -> Path:
    """A plan as the planner makes it, without files: equal numbers of units a stage."""
    graph = split_graph(load_graph(ModelFile(model)))
    stage_of = [unit * stages // len(graph.units) for unit in range(len(graph.units))]
    made = Plan(Path(model).name, model_hash(model), 16, assign(graph, stage_of), period=1.0)
    path.write_text(to_json(made))
    return path


@pytest.mark.parametrize("worker_type", ["thread", "process"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_planned_split_equals_the_whole_model(command: Command, placement: str, worker_type: str):
    assert command.run("--keep", "id", "--num_shards", 1)[0] == 0
    whole = command.rows()
    code, out, err = command.run(
        *("--keep", "id", "--num_shards", 1, "--plan", planned(command), "--placement", placement),
        *("--worker_type", worker_type, "--summary", command.folder / "summary.json"),
    )
    assert code == 0, err
    close(command.rows(), whole, "y")
    assert "stage 2  " in out and "bubbles  " in out
    told = json.loads((command.folder / "summary.json").read_text())["split"]
    assert [stage["runs"] for stage in told["stages"]] == [42] * 3  # six blocks of 100 rows, 16 a micro-batch
    assert all(0 < stage["busy_share"] <= 1 for stage in told["stages"])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_as_a_process_of_its_own(command: Command, placement: str):
    given = ["--model", command.model, "--input", command.data, "--columns", "x=a,b,c,d", "--keep", "id"]
    whole, split = command.folder / "whole.parquet", command.folder / "split.parquet"
    assert start(*given, "--output", whole, "--num_shards", 1).returncode == 0
    split_by = ("--plan", planned(command), "--placement", placement)
    done = start(*given, "--output", split, "--num_shards", 1, "--quiet", *split_by)
    assert (done.returncode, done.stderr) == (0, "")
    close(pq.read_table(split).sort_by("id"), pq.read_table(whole).sort_by("id"), "y")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_row_that_fails_in_a_later_stage_is_reported_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], placement: str
):
    model, stage_of = chains.picky(10)
    chains.cut_by_hand(model, stage_of, tmp_path / "stages", micro_batch=4)
    command = Command(tmp_path, capsys)
    values = np.arange(60) % 5
    values[[17, 41]] = 99, 7
    data = write_table(tmp_path / "i.parquet", id=np.arange(60), i=values)
    code, _, err = command.run(
        *("--keep", "id", "--plan", tmp_path / "stages" / "plan.json", "--placement", placement),
        *("--worker_type", "thread", "--errors", tmp_path / "errors.jsonl"),
        model=tmp_path / "stages" / "model.onnx",
        input=data,
        columns=None,
    )
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == [k for k in range(60) if k not in (17, 41)]
    failed = lines(tmp_path / "errors.jsonl")
    assert [(one["file"], one["row"], one["stage"]) for one in failed] == [
        (str(data), 17, "infer: stage 1"),
        (str(data), 41, "infer: stage 2"),
    ]
    assert all(one["reason"].startswith("the model failed: Gather node.") for one in failed)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_rows_of_unlike_lengths_with_steps_before_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], placement: str
):
    model = onnx_models.save(onnx_models.encoder(), tmp_path / "encoder.onnx")
    ids = [[k % 7 + 1] * (k % 3 + 1) for k in range(50)]
    columns = {"id": [str(k) for k in range(50)], "ids": ids, "mask": [[1] * len(row) for row in ids]}
    data = write_table(tmp_path / "ids.parquet", **columns, scaled=np.arange(50.0))
    command = Command(tmp_path, capsys)
    options = ["--keep", "id,scaled", "--prepare", "scale:column=scaled,mean=1,std=2", "--finish", "softmax:mean"]
    given = {"model": model, "input": data, "columns": None}
    assert command.run(*options, "--num_shards", 1, **given)[0] == 0
    whole = command.rows()
    plan = unsaved_plan(model, 2, tmp_path / "plan.json")
    code, _, err = command.run(
        *options, *("--num_shards", 1, "--plan", plan, "--placement", placement, "--micro_batch", 4), **given
    )
    assert code == 0, err
    close(command.rows(), whole, "mean")
    assert command.rows()["tokens"].to_pylist() == whole["tokens"].to_pylist()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_augmented_copies_are_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str], placement: str):
    model = onnx_models.save(onnx_models.image_cnn(height=8, width=8), tmp_path / "cnn.onnx")
    images = np.random.default_rng(5).standard_normal((10, 3, 8, 8)).astype(np.float32)
    data = write_table(
        tmp_path / "images.parquet", id=np.arange(10), image=pa.FixedShapeTensorArray.from_numpy_ndarray(images)
    )
    command = Command(tmp_path, capsys)
    given = {"model": model, "input": data, "columns": None}
    options = ["--keep", "id", "--prepare", "augment:column=image,flip", "--num_shards", 1]
    assert command.run(*options, **given)[0] == 0
    whole = command.rows()
    plan = unsaved_plan(model, 2, tmp_path / "plan.json")
    split = ["--plan", plan, "--placement", placement, "--micro_batch", 3, "--worker_type", "thread"]
    code, _, err = command.run(*options, *split, **given)
    assert code == 0, err
    close(command.rows(), whole, "scores")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_model_that_is_run_row_by_row(tmp_path: Path, capsys: pytest.CaptureFixture[str], placement: str):
    model = onnx_models.save(onnx_models.mixes_rows(), tmp_path / "mixes.onnx")
    x = np.random.default_rng(6).standard_normal((20, 3)).astype(np.float32)
    data = write_table(tmp_path / "x.parquet", id=np.arange(20), x=pa.FixedShapeTensorArray.from_numpy_ndarray(x))
    command = Command(tmp_path, capsys)
    given = {"model": model, "input": data, "columns": None}
    assert command.run("--keep", "id", **given)[0] == 0
    whole = command.rows()
    plan = unsaved_plan(model, 2, tmp_path / "plan.json")
    code, _, err = command.run(
        *("--keep", "id", "--plan", plan, "--placement", placement, "--worker_type", "thread"), **given
    )
    assert code == 0, err
    close(command.rows(), whole, "y")


def test_the_plan_is_shown_without_running(command: Command):
    code, out, _ = command.run("--plan", planned(command), "--dry_run_plan")
    assert code == 0 and not command.output.parent.exists()
    assert "batch size  16 (a micro-batch)" in out
    assert "0: 1 nodes, " in out and "passes on x (rows), h (rows)" in out
    assert "note: stages beside the whole model: y: largest difference " in out


def test_what_was_measured_gives_a_plan(command: Command):
    written = command.folder / "better.json"
    assert command.run("--plan", planned(command), "--replan", written)[0] == 0
    better = read_plan(str(written))
    assert len(better.stages) == 3 and better.micro_batch == 16
    assert all(0 < stage.seconds < 60 for stage in better.stages)
    assert 0 < better.lower_bound <= better.period < 60


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_stages_are_planned_by_the_job_itself(tmp_path: Path, capsys, monkeypatch, placement: str):
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    command = Command(tmp_path, capsys)
    assert command.run("--keep", "id", "--num_shards", 1)[0] == 0
    whole = command.rows()
    code, out, err = command.run(
        *("--keep", "id", "--num_shards", 1, "--stages", 2, "--placement", placement, "--worker_type", "thread"),
        *("--replan", tmp_path / "plan.json"),
    )
    assert code == 0, err
    close(command.rows(), whole, "y")
    again = read_plan(str(tmp_path / "plan.json"))
    assert len(again.stages) == 2 and again.period > 0 and "rows/s predicted" in out
    assert command.run("--keep", "id", "--num_shards", 1, "--plan", tmp_path / "plan.json")[0] == 0
    close(command.rows(), whole, "y")


def test_auto_says_whether_to_split(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    code, out, err = Command(tmp_path, capsys).run("--stages", "auto", "--dry_run_plan")
    assert code == 0, err
    assert "\nverdict  " in out and "\nstages  " in out


def test_more_stages_than_there_can_be_are_refused(command: Command):
    assert "--stages" in command.error("--stages", 40)


def test_stages_that_differ_from_the_model_are_refused(command: Command):
    path = command.folder / "stages" / "stage-1.onnx"
    stage = onnx.load(path)
    stage.graph.node[0].op_type = "Abs"
    onnx.save(stage, path)
    assert "stage-1.onnx is not what the plan saved" in command.error("--plan", planned(command))
    plan = with_hashes(read_plan(str(planned(command))), str(path.parent))
    planned(command).write_text(to_json(plan))
    assert "the stages do not give what the whole model gives: y: " in command.error("--plan", planned(command))


def test_refusals(command: Command):
    plan = planned(command)
    other = onnx_models.save(onnx_models.mlp(4, outputs=2), command.folder / "other.onnx")
    error = command.error("--plan", plan, model=other)
    assert "is of model.onnx with the hash " in error and "make it again with python -m pipelines.plan" in error
    assert "has 3 stages and --stages says 2; leave --stages out" in command.error("--plan", plan, "--stages", 2)
    assert "--plan nowhere.json cannot be read" in command.error("--plan", "nowhere.json")
    assert "add --stages N, or --plan" in command.error("--placement", "inline")
    assert "add --stages N, or --plan" in command.error("--micro_batch", 4)
    assert "leave one of them out" in command.error("--plan", plan, "--stage_memory", "2GB")
    error = command.error("--plan", plan, "--stage_providers", "cpu,cpu")
    assert "names 2 stages and the plan has 3" in error and "--stage_providers cpu,cpu,cpu" in error
    error = command.error(
        *("--plan", plan, "--placement", "distributed", "--workers", 2, "--partition", "proportional"),
        *("--capacities", "measured"),
    )
    assert "runs the whole model on each worker" in error
    assert "is no number of bytes" in command.error("--stages", 2, "--stage_memory", "much")
    assert "--stage_memory 20 has no unit: write 20GB" in command.error("--stages", 2, "--stage_memory", "20")
    rewritten = command.folder / "rewritten.json"
    rewritten.write_text(to_json(replace(read_plan(str(plan)), rewrites=("dynamic_rows",))))
    assert "was made of the model rewritten (dynamic_rows)" in command.error("--plan", rewritten)


def test_each_stage_may_have_a_provider_of_its_own(command: Command):
    code, out, err = command.run("--plan", planned(command), "--stage_providers", "cpu,cpu,cpu", "--dry_run_plan")
    assert code == 0, err
    assert out.count("on CPUExecutionProvider") == 3


def with_plan_inside(command: Command, embedded: bool) -> str:
    """A copy of the model that names its three stages: with the whole plan in it, or with `pipeline_stage` only."""
    graph = load_graph(ModelFile(command.model))
    made = annotate(graph, read_plan(str(unsaved_plan(command.model, 3, command.folder / "plan.json"))))
    if not embedded:
        del made.metadata_props[PLAN_KEY]
    path = str(command.folder / "annotated.onnx")
    ir.save(made, path)
    return path


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("embedded", [True, False])
def test_stages_that_the_model_names_are_followed(command: Command, embedded: bool, placement: str):
    assert command.run("--keep", "id", "--num_shards", 1)[0] == 0
    whole = command.rows()
    model = with_plan_inside(command, embedded)
    options = ("--keep", "id", "--num_shards", 1, "--plan", model, "--placement", placement)
    code, out, err = command.run(*options, model=model)
    assert code == 0, err
    assert sum(line.startswith("stage ") for line in out.splitlines()) == 3, out
    close(command.rows(), whole, whole.schema.names[-1])


def test_a_model_as_a_plan_is_its_own(command: Command):
    assert "the model names no stages" in command.error("--plan", command.model)
    other = with_plan_inside(command, True)
    assert f"type --model {other}" in command.error("--plan", other)
    assert "names 3 stages and --stages says 2" in command.error("--plan", other, "--stages", 2, model=other)


def test_stages_with_workers_of_their_own_count_their_rows(command: Command, monkeypatch: pytest.MonkeyPatch):
    seen: list[list[int]] = []

    def counts(job_dir: str) -> list[tuple[int, int]]:
        seen.append(read_steps(job_dir))
        return read_counts(job_dir)

    monkeypatch.setattr("beamsplit.pipelines.running.bounded.read_counts", counts)
    distributed = ("--stages", 2, "--placement", "distributed", "--worker_type", "thread")
    code, _, err = command.run("--keep", "id", "--num_shards", 1, *distributed)
    assert code == 0, err
    rows = len(command.rows())
    assert seen[-1][:3] == [rows, rows, 0]
