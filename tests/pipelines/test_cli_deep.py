"""`score --stages K --shards N`: both placements beside the whole model, what is shown, failed rows, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beamsplit.models.split.plan import read_plan, to_json
from beamsplit.models.split.saved_files import with_hashes
from beamsplit.pipelines.execution import divided_stages as deep_job
from tests import onnx_models
from tests.command import Command, lines, write_table
from tests.models.split import chains
from tests.pipelines.close import close

BOTH = ("--stages", 2, "--shards", 2)


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    made = Command(tmp_path, capsys)
    made.model = onnx_models.save(onnx_models.mlp(4, 64, 2, layers=4), tmp_path / "wide.onnx")
    return made


@pytest.mark.parametrize(
    ("placement", "worker_type"), [("inline", "thread"), ("distributed", "thread"), ("distributed", "process")]
)
def test_equals_the_whole_model(command: Command, placement: str, worker_type: str):
    given = ["--keep", "id", "--num_shards", 1]
    assert command.run(*given)[0] == 0
    whole = command.rows()
    code, out, err = command.run(
        *(*given, *BOTH, "--placement", placement, "--worker_type", worker_type, "--micro_batch", 32)
    )
    assert code == 0, err
    assert "600 scored" in out and ("stage 1  " in out) == (placement == "inline")
    close(command.rows(), whole, "y")


def test_what_is_shown(command: Command):
    code, out, err = command.run(*BOTH, "--dry_run_plan")
    assert code == 0, err
    assert "0: " in out and "MB of weights over 2 shards" in out and "stages beside the whole model: y: " in out


def test_a_plan_carries_both(command: Command, monkeypatch: pytest.MonkeyPatch):
    """The plan that one job made, with its files, is run by another."""
    kept = command.folder / "kept"
    divide = deep_job.divide_stages

    def keep(plan, folder, tensors, shards, _):
        made, lines = divide(plan, folder, tensors, shards)
        Path(folder).rename(kept)
        Path(folder).symlink_to(kept)
        (kept / "plan.json").write_text(to_json(with_hashes(made, str(kept))))
        return made, lines

    monkeypatch.setattr(deep_job, "divide_stages", keep)
    given = ["--keep", "id", "--num_shards", 1, "--micro_batch", 16]
    assert command.run(*given, *BOTH)[0] == 0
    first = command.rows()
    plan = read_plan(str(kept / "plan.json"))
    assert [stage.shards.shards for stage in plan.stages if stage.shards] == [2, 2]
    monkeypatch.setattr(deep_job, "divide_stages", None)
    code, _, err = command.run(*given, "--plan", kept / "plan.json")
    assert code == 0, err
    assert command.rows().equals(first)
    code, _, err = command.run(*given, "--plan", kept / "plan.json", "--shards", 3)
    assert code == 2 and "divides its stages over 2 shards and --shards says 3; leave --shards out" in err


@pytest.mark.parametrize("placement", ["inline", "distributed"])
def test_rows_that_fail_leave_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], placement: str):
    command = Command(tmp_path, capsys)
    model, stage_of = chains.picky(12)
    chains.cut_by_hand(model, stage_of, tmp_path / "stages", micro_batch=8)
    ids = np.arange(60) % 6
    ids[17], ids[41] = 12, 9
    data = write_table(tmp_path / "i.parquet", id=np.arange(60), i=ids)
    code, _, err = command.run(
        *("--keep", "id", "--plan", tmp_path / "stages" / "plan.json", "--shards", 2, "--placement", placement),
        *("--errors", tmp_path / "errors.jsonl", "--worker_type", "thread"),
        model=tmp_path / "stages" / "model.onnx",
        input=data,
        columns=None,
    )
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == [k for k in range(60) if k not in (17, 41)]
    failed = sorted(lines(tmp_path / "errors.jsonl"), key=lambda one: one["row"])
    assert [one["row"] for one in failed] == [17, 41]
    assert [one["stage"][:14] for one in failed] == ["infer: stage 1", "infer: stage 2"]


def test_refusals(command: Command):
    assert "--shards auto looks at the whole model, and --stages cuts it" in command.error(
        "--stages", 2, "--shards", "auto"
    )
    assert "no stage can be divided over 65 shards (stage 0 stays whole: " in command.error(
        "--stages", 2, "--shards", 65
    )
    assert "--replan is for a model split by depth" in command.error(*BOTH, "--replan", "plan.json")
