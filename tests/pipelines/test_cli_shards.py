"""`score --shards`: beside the whole model, as threads and processes; what is shown; failed rows; refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution import shard_count as shard_auto
from beamsplit.pipelines.execution.shards import check_local
from tests import onnx_models
from tests.command import Command, lines, write_table
from tests.models.shard.tables import table
from tests.pipelines.close import close

PLACEMENTS = ("inline", "distributed")


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    made = Command(tmp_path, capsys)
    made.model = onnx_models.save(onnx_models.mlp(4, 64, 2, layers=3), tmp_path / "wide.onnx")
    return made


@pytest.mark.parametrize("worker_type", ["thread", "process"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_shards_equal_the_whole_model(command: Command, placement: str, worker_type: str):
    given = ["--keep", "id", "--num_shards", 1]
    assert command.run(*given)[0] == 0
    whole = command.rows()
    code, out, err = command.run(
        *given, *("--shards", 3, "--placement", placement, "--worker_type", worker_type, "--micro_batch", 16)
    )
    assert code == 0, err
    assert "600 rows" in out
    close(command.rows(), whole, "y")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_row_that_fails_in_a_shard_is_reported_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], placement: str
):
    command = Command(tmp_path, capsys)
    model = onnx_models.save(table(10, 3), tmp_path / "table.onnx")
    ids = [[k % 10, 3] for k in range(60)]
    ids[17], ids[41] = [99, 1], [2, -11]
    data = write_table(tmp_path / "i.parquet", id=np.arange(60), i=ids)
    code, _, err = command.run(
        *("--keep", "id", "--shards", 2, "--placement", placement, "--micro_batch", 8, "--worker_type", "thread"),
        *("--errors", tmp_path / "errors.jsonl"),
        model=model,
        input=data,
        columns=None,
    )
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == [k for k in range(60) if k not in (17, 41)]
    failed = lines(tmp_path / "errors.jsonl")
    assert [(one["file"], one["row"]) for one in failed] == [(str(data), 17), (str(data), 41)]
    assert all("out of data bounds" in one["reason"] for one in failed)


def test_the_division_is_shown_without_running(command: Command):
    code, out, err = command.run("--shards", 2, "--dry_run_plan")
    assert code == 0 and not command.output.parent.exists(), err
    assert "MB of weights over 2 shards: " in out and "with 2 joins: 1 tensors summed" in out
    assert "inline: every worker runs all 2 shards" in out
    assert "shards beside the whole model: y: largest difference " in out


def test_refusals(command: Command):
    assert "--shards 1 divides nothing" in command.error("--shards", 1)
    assert "--plan plan.json cannot be read" in command.error("--shards", 2, "--plan", "plan.json")
    assert "--replan is for a model split by depth" in command.error("--shards", 2, "--replan", "better.json")
    with pytest.raises(UsageError, match="on this machine only so far"):
        check_local(False, None)
    assert "can be divided over 65 shards" in command.error("--shards", 65)


@pytest.mark.parametrize(("rates", "chosen"), [((3.0, 1.0, 2.0), 1), ((1.0, 3.0, 2.0), 2), ((1.0, 2.0, 3.0), 4)])
def test_auto_takes_what_was_measured_to_be_fastest(
    command: Command, monkeypatch: pytest.MonkeyPatch, rates: tuple[float, ...], chosen: int
):
    given = ["--keep", "id", "--num_shards", 1]
    assert command.run(*given)[0] == 0
    whole = command.rows()
    # The whole model first, then 2 and 4 shards.
    found = iter(rates)
    monkeypatch.setattr(shard_auto, "_rate", lambda *_: next(found))
    monkeypatch.setattr(shard_auto, "cores", lambda: 2)
    code, _, err = command.run(*given, "--shards", "auto")
    assert code == 0, err
    name = {1: "the whole model", 2: "2 shards", 4: "4 shards"}[chosen]
    assert f"note: --shards auto: {name}, 3 rows/s measured here; " in err
    close(command.rows(), whole, "y")


def test_auto_measures(command: Command):
    code, out, err = command.run("--shards", "auto", "--dry_run_plan", "--micro_batch", 50)
    assert code == 0, err
    assert "--shards auto: " in out and "rows/s measured here; " in out


def test_auto_divides_until_a_worker_has_the_memory(command: Command):
    code, out, err = command.run(
        *("--shards", "auto", "--stage_memory", "6KB", "--placement", "distributed", "--dry_run_plan")
    )
    assert code == 0, err
    assert "at most 6 kB of weights a worker" in out and "MB of weights over 4 shards" in out


def test_refusals_of_auto(command: Command, tmp_path: Path):
    assert "add --placement distributed" in command.error("--shards", "auto", "--stage_memory", "6KB")
    few = command.error("--shards", "auto", "--stage_memory", "100B", "--placement", "distributed")
    assert "--stage_memory is 100 bytes, but of " in few
    assert "--stage_memory is for --shards auto, and --shards is 2" in command.error(
        "--shards", 2, "--stage_memory", "6KB"
    )


def test_auto_leaves_a_model_whole_that_cannot_be_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = Command(tmp_path, capsys)
    model = onnx_models.save(onnx_models.picky(1), tmp_path / "one.onnx")
    data = write_table(tmp_path / "i.parquet", i=np.zeros(40, np.int64))
    code, _, err = command.run("--shards", "auto", model=model, input=data, columns=None)
    assert code == 0, err
    assert "note: --shards auto: the whole model, because " in err and "no layer that can be divided" in err
