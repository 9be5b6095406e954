"""What cannot be, typed to `plan` and `score`: one line that names the fix, exit code 2, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.__main__ import main
from tests import onnx_models

PLAN = ("plan", "--model", "m.onnx")
SCORE = (
    *("score", "--model", "m.onnx", "--input", "d.parquet", "--columns", "x=a,b,c,d"),
    *("--output", "out/p.parquet", "--worker_type", "thread"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, data, and what plan wrote of them."""
    folder = tmp_path_factory.mktemp("wrong")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("BEAMSPLIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        onnx_models.save(onnx_models.mlp(4, 64, 2, layers=3), folder / "m.onnx")
        onnx_models.save(onnx_models.mlp(4, 32, 2, layers=3), folder / "other.onnx")
        rng = np.random.default_rng(0)
        columns = {name: rng.standard_normal(60).astype(np.float32) for name in "abcd"}
        pq.write_table(pa.table(columns), folder / "d.parquet")
        (folder / "text.onnx").write_text("hello")
        (folder / "folder").mkdir()
        (folder / "folder" / "stage-0.onnx").write_bytes((folder / "m.onnx").read_bytes())
        (folder / "deep.json").write_text("[" * 100_000)
        (folder / "fast.json").write_text(json.dumps([{"speed": 1e300}, {"speed": 1e300}]))
        (folder / "small.json").write_text(json.dumps([{"memory": "1MB", "count": 4}]))
        given = ("--micro_batch", "8")
        assert main([*PLAN, *given, "--stages", "2", "--output", "stages.json"]) == 0
        assert main([*PLAN, "--shards", "2", "--output", "shards.json"]) == 0
        assert main([*PLAN, *given, "--strategy", "auto", "--workers", "2", "--output", "strategy.json"]) == 0
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))


def listing(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*PLAN, "--strategy", "auto", "--workers", ""], "--workers is given the empty text ''; give it a value, or"),
        ([*SCORE, "--finish", ""], "--finish is given the empty text ''; for example: --finish softmax:column=logits"),
        ([*SCORE, "--strategy", "auto", "--stage_memory", ""], "--stage_memory is given the empty text ''"),
        ([*PLAN, "--strategy", "auto", "--workers", "deep.json"], "--workers deep.json is not JSON"),
        (
            [*SCORE, "--strategy", "auto", "--workers", "fast.json"],
            "speed is 1e+300, but a number above 0, 1,000,000",
        ),
        ([*PLAN, "--strategy", "auto", "--workers", "small.json"], "workers of 0 bytes beside the 140 MB of their"),
        ([*PLAN, "--strategy", "shards", "--workers", "1"], "on 1 worker: use --strategy auto, or more --workers"),
        ([*PLAN, "--stages", "99999999999999999999"], "more than 1,000, the most that are planned for"),
        ([*SCORE, "--shards", "1001"], "1001 is more than 1,000, the most that are planned for"),
        ([*SCORE, "--shards", "few"], "'few' is neither 'auto' nor a whole number above 0"),
        ([*PLAN, "--plan", "deep.json"], "--plan deep.json is not JSON"),
        ([*SCORE, "--plan", "deep.json"], "--plan deep.json is not JSON"),
        (
            [*PLAN, "--plan", "strategy.json"],
            "strategy.json is what plan --strategy wrote, and a plan of stages",
        ),
        ([*SCORE, "--plan", "strategy.json"], "or type --strategy in its place"),
        ([*SCORE, "--plan", "shards.json", "--stages", "3"], "leave one of them out, or type --stages 3 --shards 2"),
        (["plan", "--model", "folder", "--plan", "stages.json"], "--model folder is a folder, but an ONNX file is"),
        (["plan", "--model", "none.onnx", "--plan", "stages.json"], "--model none.onnx does not exist"),
        (["plan", "--model", "text.onnx", "--plan", "shards.json"], "--model text.onnx is not an ONNX file"),
        (["plan", "--model", "other.onnx", "--plan", "shards.json"], "is of m.onnx with the hash"),
        ([*PLAN, "--shards", "2", "--write_model", "./m.onnx"], "./m.onnx is a file that the command reads"),
        (
            [*PLAN, "--sample", ".", "--shards", "2", "--output", "d.parquet"],
            "d.parquet is a file that the command reads",
        ),
        (
            ["plan", "--model", "folder/stage-0.onnx", "--shards", "2", "--save_shards", "folder/"],
            "--save_shards folder may write ",
        ),
        ([*SCORE, "--stages", "2", "--model", "none.onnx"], "--model none.onnx does not exist"),
        ([*SCORE, "--strategy", "auto", "--model", "folder"], "--model folder is a folder, but an ONNX file is wanted"),
        ([*PLAN, "--stages", "2", "--save_stages", "m.onnx"], "is a file, not a folder; give a path in a folder"),
    ],
)
def test_one_line_and_nothing_written(
    argv: list[str], message: str, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(made)
    capsys.readouterr()
    before = listing(made)
    code = main(list(argv))
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err, err
    assert listing(made) == before


def test_the_memory_that_is_told_is_enough(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Rounded to the nearest it is too little half of the time."""
    monkeypatch.chdir(made)
    given = [*PLAN, "--stages", "2", "--micro_batch", "8", "--stage_memory"]
    assert main([*given, "1B"]) == 2
    typed = capsys.readouterr().err.split("use --stage_memory ")[1].split(",")[0]
    assert main([*given, typed]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "step"), [("a.jpg", "image:size=224 decodes images"), ("a.bin", "bytes:begin=512 makes")]
)
def test_files_that_no_step_makes_an_input_of(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, step: str
):
    (tmp_path / name).write_bytes(b"whatever")
    files = ["--input", str(tmp_path / name), "--output", str(tmp_path / "p.parquet")]
    assert main(["score", "--model", str(made / "m.onnx"), *files]) == 2
    assert f"each file is a row of path and bytes: --prepare {step}" in capsys.readouterr().err
