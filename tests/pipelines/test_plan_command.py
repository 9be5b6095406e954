"""The plan command in this process: what it writes, shows and refuses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.split.plan import read_plan
from beamsplit.pipelines import examples
from beamsplit.pipelines.__main__ import main
from tests.pipelines.job.declared import floats, written


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    examples.write_tables(folder)
    examples.write_models(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))


def plan(made: Path, *arguments: str | Path, model: str = "mlp") -> int:
    return main(["plan", "--model", f"{made}/{model}.onnx", "--micro_batch", "16", *map(str, arguments)])


def sampled(made: Path) -> Sequence[str]:
    return ("--sample", f"{made}/table.parquet", "--columns", "x=age,height,weight")


def test_everything_is_written(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    code = plan(
        made, *sampled(made), "--stages", 2, "--output", out / "plan.json", "--save_stages", out / "stages",
        "--write_model", out / "annotated.onnx", "--report", out / "plan.html",
    )  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.out.splitlines()[0].split() == [
        "stage", "nodes", "weights", "time", "in", "out", "replicas", "worker",
    ]  # fmt: skip
    assert "verdict" in shown.out
    assert "check: logits: largest difference" in shown.err
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {"plan.json", "plan.html", "annotated.onnx"} | {
        f"stages/{name}" for name in ("plan.json", "stage-0.onnx", "stage-1.onnx")
    }
    stored = read_plan(str(out / "plan.json"))
    assert [stage.file for stage in stored.stages] == ["stages/stage-0.onnx", "stages/stage-1.onnx"]
    assert stored.micro_batch == 16
    assert "mlp.onnx in 2 stages" in (out / "plan.html").read_text()


def test_stages_on_disk_give_what_the_model_gives(made: Path, tmp_path: Path):
    assert plan(made, *sampled(made), "--stages", 2, "--save_stages", tmp_path / "stages") == 0
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    whole = ort.InferenceSession(f"{made}/mlp.onnx").run(None, {"x": rows})[0]
    value = rows
    for stage in read_plan(str(tmp_path / "stages" / "plan.json")).stages:
        session = ort.InferenceSession(tmp_path / "stages" / str(stage.file))
        value = session.run(None, {session.get_inputs()[0].name: value})[0]
    np.testing.assert_allclose(value, whole, rtol=1e-5, atol=1e-6)


def test_rows_are_made_up_without_a_sample(made: Path, capsys: pytest.CaptureFixture[str]):
    assert plan(made, "--stages", 2, model="encoder") == 0
    assert "rows were made up from the model's input types" in capsys.readouterr().out


def test_a_given_plan_is_shown_with_what_was_measured(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stored, summary = tmp_path / "plan.json", tmp_path / "summary.json"
    assert plan(made, *sampled(made), "--stages", 2, "--output", stored) == 0
    scored = main(
        ["score", "--model", f"{made}/mlp.onnx", "--input", f"{made}/table.parquet", "--columns", "x=age,height,weight",
         "--output", f"{tmp_path}/preds.parquet", "--plan", f"{stored}", "--summary", f"{summary}", "--workers", "1"]
    )  # fmt: skip
    assert scored == 0
    before = stored.read_text()
    report = tmp_path / "plan.html"
    capsys.readouterr()
    code = main(
        ["plan", "--model", f"{made}/mlp.onnx", *sampled(made), "--plan", f"{stored}", "--measured", f"{summary}",
         "--report", f"{report}"]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    assert "Measured seconds per micro-batch" in report.read_text()
    shown = capsys.readouterr().out
    assert "\nmeasured  stage 0: " in shown and "\n          the job: " in shown
    assert "\nverdict   Run, 2 stages gave " in shown
    assert stored.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "9"], "use --stages 3"),
        (["--stages", "0"], "'0' is neither 'auto' nor a whole number above 0"),
        (["--workers", "none.json"], "--workers none.json is neither a number nor a file"),
        (["--workers", "1", "--stages", "2"], "there are only 1 workers"),
        (["--stages", "2", "--stage_memory", "2 apples"], "--stage_memory 2 apples is no number of bytes"),
        (["--bandwidth", "fast"], "--bandwidth fast is no bandwidth"),
        (["--providers", "tpu"], "--providers"),
        (["--columns", "x=a"], "--columns is for sample rows; give them with --sample FILE"),
        (["--sample", "none.parquet"], "--sample 'none.parquet' matches no file"),
        (["--workers", "1001"], "--workers 1,001: at most 1,000 are planned for"),
        (["--plan", "other.onnx"], "--plan other.onnx is a model, and a plan.json is wanted"),
        (["--measured", "s.json"], "--measured is of a run of a plan; give that plan with --plan plan.json"),
        (["--plan", "none.json"], "--plan none.json cannot be read"),
        (["--plan", "p.json", "--threads", "2"], "--threads is for making a plan"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate; see --help"),
        (["--strategi", "auto"], "--strategi auto; there is no --strategi, did you mean --strategy?"),
    ],
)
def test_refusals(arguments: list[str], message: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                  monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    size = [] if "--plan" in arguments else ["--micro_batch", "16"]
    assert main(["plan", "--model", f"{made}/mlp.onnx", *size, *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ") and message in lines[0]
    assert [path for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts] == []


def test_a_file_is_not_written_over_what_is_read(made: Path, capsys: pytest.CaptureFixture[str]):
    assert plan(made, "--write_model", f"{made}/mlp.onnx") == 2
    assert "is a file that the command reads" in capsys.readouterr().err
    assert plan(made, "--output", f"{made}/x", "--report", f"{made}/x") == 2
    assert "is a file that --output writes" in capsys.readouterr().err


def test_another_models_plan_is_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stored = tmp_path / "plan.json"
    assert plan(made, "--stages", 2, "--output", stored) == 0
    capsys.readouterr()
    assert main(["plan", "--model", f"{made}/encoder.onnx", "--plan", f"{stored}"]) == 2
    assert "leave --plan out to plan this model" in capsys.readouterr().err


def test_stages_that_differ_are_not_left(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from beamsplit.models.errors import UsageError
    from beamsplit.models.split import chain

    def differ(*_: object) -> None:
        raise UsageError("the stages do not give what the whole model gives")

    monkeypatch.setattr(chain, "check_chain", differ)
    target = tmp_path / "stages"
    assert plan(made, "--stages", 2, "--save_stages", target, "--output", tmp_path / "plan.json") == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts]


def test_a_half_written_file_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from beamsplit.pipelines.planning import write as plan_write

    def fail(*_: str) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(plan_write, "rename", fail)
    with pytest.raises(OSError, match="no space left"):
        plan_write.write_text(str(tmp_path / "plan.json"), "{}")
    assert os.listdir(tmp_path) == []


def test_a_batch_of_one_is_made_dynamic(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [weights],
    )
    path = tmp_path / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    assert main(["plan", "--model", f"{path}", "--stages", "2", "--micro_batch", "4"]) == 0
    shown = capsys.readouterr().out
    assert "it was made dynamic" in shown and "micro-batches of 4 rows" in shown


def test_micro_batch_is_measured(made: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "--model", f"{made}/mlp.onnx", *sampled(made), "--stages", "1"]) == 0
    assert "micro-batches of" in capsys.readouterr().out


@pytest.mark.parametrize("of", ["made up", "a sample"])
@pytest.mark.parametrize("way", [["--stages", "2"], ["--strategy", "auto", "--workers", "2"]])
def test_more_rows_at_once_than_memory_holds_are_told(
    made: Path, capsys: pytest.CaptureFixture[str], way: list[str], of: str
):
    rows = sampled(made) if of == "a sample" else ()
    assert main(["plan", "--model", f"{made}/mlp.onnx", "--micro_batch", str(10**12), *way, *rows]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1, shown.err
    assert shown.err.startswith("error: 1,000,000,000,000 rows ") and "GB are free: give " in shown.err


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["plan", "--help"])
    assert end.value.code == 0
    assert "exit codes" in capsys.readouterr().out


def test_table_of_bad_rows_only(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pq.write_table(pa.table({"age": pa.array([], pa.float32())}), tmp_path / "empty.parquet")
    code = plan(made, "--sample", tmp_path / "empty.parquet", "--columns", "x=age,age,age")
    assert code == 2
    assert "holds no rows that the model takes" in capsys.readouterr().err


def test_model_file_is_named_by_itself(made: Path, tmp_path: Path):
    stored = tmp_path / "plan.json"
    assert plan(made, "--stages", 2, "--output", stored) == 0
    found = read_plan(str(stored))
    assert found.model == "mlp.onnx"
    assert ModelFile(f"{made}/mlp.onnx").rewrites == found.rewrites


def test_a_model_too_large_to_be_run_is_estimated(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from beamsplit.models.split import profiled
    from beamsplit.pipelines.planning import rows as plan_feeds

    monkeypatch.setattr(plan_feeds, "free_memory", lambda: 100.0)
    monkeypatch.setattr(profiled, "free_memory", lambda: 100.0)
    monkeypatch.setattr(plan_feeds, "get_session", None)
    target = tmp_path / "stages"
    code = main(["plan", "--model", f"{made}/mlp.onnx", "--stages", "2", "--save_stages", f"{target}"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "estimated, not measured" in shown.out
    assert "nothing was run" in shown.out
    assert "check: left out" in shown.err
    assert (target / "stage-1.onnx").exists()
    assert plan(made, *sampled(made)) == 2
    assert "leave --sample out to plan by an estimate" in capsys.readouterr().err


def test_stages_divided_over_shards(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    both, given = tmp_path / "both", (*sampled(made), "--stages", 2, "--shards", 2)
    assert plan(made, *given, "--save_stages", both, "--output", tmp_path / "plan.json") == 0
    assert "check: shards: logits: largest difference" in capsys.readouterr().err
    # Once more into the same folder, whose files are replaced: the times are measured anew, and the cuts may differ.
    assert plan(made, *given, "--save_stages", both, "--output", tmp_path / "plan.json") == 0
    stored = read_plan(str(both / "plan.json"))
    files = [file for stage in stored.stages if stage.shards for step in stage.shards.steps for file in step.files]
    assert files and all((both / file).is_file() for file in files)
    score = ["score", "--model", f"{made}/mlp.onnx", "--input", f"{made}/table.parquet", "--columns"]
    score += [
        "x=age,height,weight",
        "--output",
        f"{tmp_path}/preds.parquet",
        "--micro_batch",
        "64",
        "--overwrite",
        "--plan",
    ]
    assert main([*score, f"{tmp_path}/plan.json"]) == 0
    next(both.glob("stage-*-shards/*shard-1.onnx")).unlink()
    capsys.readouterr()
    assert main([*score, f"{both}/plan.json"]) == 2
    assert "make it again with python -m pipelines.plan --stages 2 --shards 2 --save_stages" in capsys.readouterr().err
    assert plan(made, *given) == 2
    assert "add --save_stages DIR" in capsys.readouterr().err
    assert plan(made, *given, "--save_stages", both, "--report", tmp_path / "plan.html") == 2
    assert "--report is for a model split by depth or by width" in capsys.readouterr().err


def test_inputs_given_with_set_and_a_fixed_batch_need_no_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "g (float[4,3] x, float[3] b) => (float y) { a = MatMul(x, w) c = Add(a, b) d = Reshape(c, s) y = Relu(d) }"
    path = written(tmp_path / "m.onnx", text, {"w": floats(3, 3), "s": np.array([4, 1, 3])})
    assert main(["plan", "--model", path, "--set", "b=1,2,3", "--stages", "2"]) == 0
    said = capsys.readouterr().out
    assert "the model's batch is fixed at 4; it was made dynamic" in said and "rows were made up" in said


def test_a_batch_that_stays_fixed_is_cut_in_blocks_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "g (float[4,3] x) => (float y) { a = Gather(x, i) y = Relu(a) }"
    path = written(tmp_path / "m.onnx", text, {"i": np.arange(4)})
    assert main(["plan", "--model", path, "--stages", "2"]) == 0
    assert "rows run in blocks of 4" in capsys.readouterr().out


def test_what_each_more_worker_brings(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("jinja2")
    written = ("--output", tmp_path / "plan.json", "--report", tmp_path / "plan.html")
    assert plan(made, "--workers", "1..3", "--bandwidth", "1Gbit", "--threads", "1", *written) == 0
    out = capsys.readouterr().out
    assert "\nworkers  1: 1 replica of the whole model, " in out
    assert [one.workers for one in read_plan(str(tmp_path / "plan.json")).frontier if one.stages == 1] == [1, 2, 3]
    page = (tmp_path / "plan.html").read_text(encoding="utf-8")
    assert page.count('<polyline class="rim0"') == 2
    assert "What more workers bring" in page


@pytest.mark.parametrize("more", [("--stages", "2"), ("--shards", "2"), ("--strategy", "auto"), ("--simulate",)])
def test_a_range_of_workers_is_for_splits_by_depth(made: Path, more, capsys: pytest.CaptureFixture[str]):
    assert plan(made, "--workers", "1..3", *more) == 2
    assert (
        f"--workers 1..3 compares splits by depth over each number of workers, and {more[0]} is"
        in capsys.readouterr().err
    )
