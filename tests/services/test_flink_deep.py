"""A model split by depth and by width at once on a real Flink: the rows and the errors of the whole model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from beamsplit.pipelines.__main__ import main
from tests import onnx_models
from tests.command import Command, lines, write_table
from tests.models.split import chains
from tests.pipelines.close import close

BOTH = ("--stages", 2, "--shards", 2, "--placement", "distributed")


@pytest.mark.parametrize("of", ["stages", "plan"])
def test_the_rows_of_the_whole_model(services: None, command: Command, of: str, request: pytest.FixtureRequest):
    """As many rows as the whole model's, each within a tolerance; divided in the job, or by a saved plan."""
    model = onnx_models.save(onnx_models.mlp(4, 64, 2, layers=4), command.folder / "wide.onnx")
    given = ("--keep", "id", "--num_shards", 1)
    assert command.run(*given, model=model)[0] == 0
    whole = command.rows()
    divided: tuple[object, ...] = (*BOTH, "--micro_batch", 64)
    where: tuple[object, ...] = ()
    if of == "stages":
        where = ("--flink_master", request.getfixturevalue("cluster").address)
    else:
        saved = command.folder / "both"
        asked = ("plan", "--model", model, "--stages", 2, "--shards", 2, "--micro_batch", 64, "--save_stages", saved)
        assert main([*map(str, asked)]) == 0, command.capsys.readouterr().err
        command.capsys.readouterr()
        divided = ("--plan", saved / "plan.json", "--placement", "distributed")
    summary = command.folder / "summary.json"
    command.output = command.folder / "flink" / "preds.parquet"
    code, out, err = command.run(
        *(*given, *divided, "--summary", summary),
        *("--runner", "FlinkRunner", "--parallelism", 2, *where),
        model=model,
        output=command.output,
    )
    assert code == 0, err
    assert "600 scored" in out
    close(command.rows(), whole, "y")
    shards = json.loads(summary.read_text())["shards"]
    assert len(shards["shards"]) == 2


def test_rows_that_fail_leave_alone(services: None, command: Command):
    model, stage_of = chains.picky(12)
    chains.cut_by_hand(model, stage_of, command.folder / "stages", micro_batch=8)
    ids = np.arange(60) % 6
    ids[17], ids[41] = 12, 9
    data = write_table(command.folder / "i.parquet", id=np.arange(60), i=ids)
    errors = command.folder / "errors.jsonl"
    code, _, err = command.run(
        *("--keep", "id", "--plan", command.folder / "stages" / "plan.json", "--shards", 2),
        *("--placement", "distributed", "--errors", errors),
        *("--runner", "FlinkRunner", "--parallelism", 2),
        model=command.folder / "stages" / "model.onnx",
        input=data,
        columns=None,
    )
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == [k for k in range(60) if k not in (17, 41)]
    failed = sorted(lines(errors), key=lambda one: one["row"])
    assert [one["row"] for one in failed] == [17, 41]
    assert [one["stage"][:14] for one in failed] == ["infer: stage 1", "infer: stage 2"]
