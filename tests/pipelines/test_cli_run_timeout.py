"""`--run_timeout`: rows on which the model does not return fail, those beside them are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.pipelines.score import main
from tests import onnx_models
from tests.command import lines, write_table
from tests.onnx_models import build, helper, save
from tests.pipelines.interrupted import start
from tests.waiting import DEADLINE, running

LATE = "it did not return within 2 s (--run_timeout)"


def refined(path: Path) -> str:
    """x: [rows, 4] -> y = w x, less 1 until no value is above 1: of 1e30 for ever. Rows keep apart."""
    body = helper.make_graph(
        [
            helper.make_node("Greater", ["value", "one"], ["above"]),
            helper.make_node("Where", ["above", "one", "zero"], ["step"]),
            helper.make_node("Sub", ["value", "step"], ["next"]),
            helper.make_node("Greater", ["next", "one"], ["still"]),
            helper.make_node("Cast", ["still"], ["counted"], to=1),
            helper.make_node("ReduceMax", ["counted"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["go_on"], to=9),
        ],
        "body",
        [helper.make_tensor_value_info(*spec) for spec in (("at", 7, []), ("go", 9, []), ("value", 1, None))],
        [helper.make_tensor_value_info(*spec) for spec in (("go_on", 9, []), ("next", 1, None))],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Loop", ["times", "yes", "h"], ["z"], body=body),
        helper.make_node("MatMul", ["z", "v"], ["y"]),
    ]
    weights = {"w": np.eye(4, dtype=np.float32), "v": np.eye(4, dtype=np.float32), "times": np.array(2**62)}
    weights |= {"yes": np.array(True), "one": np.float32(1), "zero": np.float32(0)}
    return save(build(nodes, [("x", 1, ["rows", 4])], [("y", 1, ["rows", 4])], weights), path)


@pytest.mark.parametrize(
    ("options", "stage"),
    [
        (("--workers", "2"), "infer"),
        (("--stages", "2", "--workers", "1"), "infer: stage "),
        (("--stages", "2", "--workers", "1", "--placement", "distributed"), "infer: stage "),
        (("--shards", "2", "--workers", "1"), "infer"),
        (("--shards", "2", "--workers", "1", "--placement", "distributed"), "infer: step "),
    ],
    ids=["threads", "stages", "stages-distributed", "shards", "shards-distributed"],
)
def test_rows_that_do_not_return_fail_and_others_are_scored(tmp_path: Path, options: tuple[str, ...], stage: str):
    # Behind the rows that planning looks at, except whole.
    first = 4_800 if "--shards" in options or "--stages" in options else 0
    count, late = first + 60, [first + 7, first + 30]
    x = np.arange(count * 4, dtype=np.float32).reshape(count, 4) % 240 / 100
    x[late] = 1e30
    write_table(tmp_path / "in.parquet", id=np.arange(count), x=pa.FixedShapeTensorArray.from_numpy_ndarray(x))
    code = main([
        "--model", refined(tmp_path / "m.onnx"), "--input", str(tmp_path / "in.parquet"), "--keep", "id",
        "--output", str(tmp_path / "out.jsonl"), "--errors", str(tmp_path / "errors.jsonl"), "--num_shards", "1",
        "--run_timeout", "2s", "--quiet", *options,
    ])  # fmt: skip
    assert code == 0
    failed = lines(tmp_path / "errors.jsonl")
    assert [error["row"] for error in failed] == late
    assert all(error["stage"].startswith(stage) and error["reason"].endswith(LATE) for error in failed)
    scored = {row["id"]: row["y"] for row in lines(tmp_path / "out.jsonl")}
    assert sorted(scored) == [row for row in range(count) if row not in late]
    assert scored[count - 1] == pytest.approx([0.36, 0.37, 0.38, 0.39], abs=1e-5)


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_run_that_heeds_nothing_ends_the_job_in_one_line(tmp_path: Path, kind: str):
    save(onnx_models.unheeding(), tmp_path / "m.onnx")
    x = np.full(20_000, 3, np.float32)
    x[13_000] = 6000
    write_table(tmp_path / "in.parquet", x=x)
    (tmp_path / "tmp").mkdir()
    process = start(
        tmp_path, "pipelines.score", "--model", "m.onnx", "--input", "in.parquet", "--output", "out/p.parquet",
        "--run_timeout", "1s", "--workers", "2", "--worker_type", kind, "--quiet",
    )  # fmt: skip
    err = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == 1
    assert err.startswith(
        "error: the job failed, nothing was written: the model did not return within 1 s (--run_timeout) and does not "
        "heed being stopped, with "
    )
    assert "in.parquet" in err and err.count("\n") == 1
    assert [*(tmp_path / "out").glob("*"), *(tmp_path / "tmp").iterdir()] == []
    assert not running(process.pid)


@pytest.mark.parametrize("given", ["60", "0s", "-1s", "soon", "1 s"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str):
    code = main(["--model", "m", "--input", "a.parquet", "--output", "b.parquet", f"--run_timeout={given}"])
    assert code == 2 and "is no time such as 500ms, 60s or 2m" in capsys.readouterr().err
