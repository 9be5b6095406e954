"""`plan --shards` in this process: the table, what is written, what is refused, and that `score` runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from beamsplit.models.shard.plan import KeptWhole, read_plan
from beamsplit.models.split.saved_files import shards_with_hashes
from beamsplit.pipelines.__main__ import main
from beamsplit.pipelines.execution import shard_count as shard_auto
from beamsplit.pipelines.report.html import render_shards
from beamsplit.pipelines.report.shard_table import table, whole
from tests import onnx_models
from tests.command import Command
from tests.pipelines.close import close
from tests.pipelines.report.drawings import drawings


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    made = Command(tmp_path, capsys)
    made.model = onnx_models.save(onnx_models.mlp(4, 64, 2, layers=4), tmp_path / "wide.onnx")
    return made


def plan(command: Command, *options: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    code = main(["plan", "--model", str(command.model), *map(str, options)])
    return code, *command.capsys.readouterr()


def sampled(command: Command) -> tuple[object, ...]:
    return ("--sample", command.data, "--columns", "x=a,b,c,d")


def test_the_table(command: Command):
    code, out, err = plan(command, *sampled(command), "--shards", 2)
    assert code == 0, err
    assert [line.split("  ")[0] for line in out.splitlines()[:4]] == ["layer", "Gemm", "Gemm_1", "Gemm_2"]
    # Where a layer has no name it is called after its operator.
    assert re.search(r"Gemm +Gemm +1.02 kB +0 +columns \(axis 1: 32 \+ 32\) +slices of it", out)
    assert re.search(r"Gemm_1 +Gemm +16.4 kB +0 +rows \(axis 0: 32 \+ 32\) +terms of it", out)
    assert re.search(r"memory +shard 0: 17.\d kB of weights\n +shard 1: 17.\d kB of weights\n +whole: ", out)
    assert "after step 0: h1 summed" in out


def test_everything_is_written_and_runs(command: Command):
    out = command.folder / "plans"
    code, shown, err = plan(
        command, *sampled(command), "--shards", 3, "--save_shards", out / "shards", "--output", out / "plan.json",
        "--write_model", out / "annotated.onnx", "--report", out / "plan.html",
    )  # fmt: skip
    assert code == 0, err
    assert "over 3 shards" in shown and "check: y: largest difference" in err
    stored = read_plan(str(out / "shards" / "plan.json"))
    files = [file for stage in stored.steps for file in stage.files]
    assert {path.name for path in (out / "shards").iterdir()} == {*files, "plan.json"}
    for file in files:
        ort.InferenceSession(out / "shards" / file)
    assert read_plan(str(out / "plan.json")).steps[0].files[0] == f"shards/{stored.steps[0].files[0]}"
    assert onnx.load(out / "annotated.onnx").configuration[0].num_devices == 3
    assert "wide.onnx over 3 shards" in (out / "plan.html").read_text()

    given = ["--keep", "id", "--num_shards", 1]
    assert command.run(*given)[0] == 0
    rows = command.rows()
    for options, model in (
        (["--plan", out / "shards" / "plan.json"], command.model),
        (["--plan", out / "plan.json"], command.model),
        ([], out / "annotated.onnx"),
    ):
        code, _, err = command.run(*given, *options, model=model)
        assert code == 0, err
        close(command.rows(), rows, "y")
    assert "annotations ('beamsplit') divide it over 3 shards" in err


def test_a_plan_is_shown_and_saved_again(command: Command):
    first = command.folder / "first.json"
    assert plan(command, *sampled(command), "--shards", 2, "--output", first)[0] == 0
    code, out, err = plan(command, *sampled(command), "--plan", first, "--save_shards", command.folder / "again")
    assert code == 0, err
    assert "over 2 shards" in out
    again = read_plan(str(command.folder / "again" / "plan.json"))
    assert again.bare_steps == read_plan(str(first)).bare_steps
    assert shards_with_hashes(again, str(command.folder / "again")) == again != read_plan(str(first))


def test_rows_are_made_up_without_a_sample(command: Command):
    code, out, err = plan(command, "--shards", 2)
    assert code == 0 and "over 2 shards" in out and "rows were made up" in err


def rates(monkeypatch: pytest.MonkeyPatch, *found: float) -> None:
    """What is measured: of the whole model first, then of 2 and 4 shards."""
    left = iter(found)
    monkeypatch.setattr(shard_auto, "_rate", lambda *_: next(left))
    monkeypatch.setattr(shard_auto, "cores", lambda: 2)


@pytest.mark.parametrize(("measured", "chosen"), [((1.0, 3.0, 2.0), 2), ((1.0, 2.0, 3.0), 4)])
def test_auto_writes_the_shards_that_were_measured_to_be_fastest(
    command: Command, monkeypatch: pytest.MonkeyPatch, measured: tuple[float, ...], chosen: int
):
    rates(monkeypatch, *measured)
    out = command.folder / "plans"
    code, shown, err = plan(
        command, *sampled(command), "--shards", "auto", "--micro_batch", 50, "--save_shards", out / "shards",
        "--output", out / "plan.json", "--write_model", out / "annotated.onnx", "--report", out / "plan.html",
    )  # fmt: skip
    assert code == 0, err
    assert f"verdict  --shards auto: {chosen} shards, 3 rows/s measured here; the whole model 1 rows/s; " in shown
    assert "to run" not in shown and "check: y: largest difference" in err
    stored = read_plan(str(out / "shards" / "plan.json"))
    assert stored.shards == chosen
    assert {path.name for path in (out / "shards").iterdir()} == {
        *(file for stage in stored.steps for file in stage.files), "plan.json"
    }  # fmt: skip
    assert read_plan(str(out / "plan.json")).steps[0].files[0] == f"shards/{stored.steps[0].files[0]}"
    assert onnx.load(out / "annotated.onnx").configuration[0].num_devices == chosen
    assert f"wide.onnx over {chosen} shards" in (out / "plan.html").read_text()


def test_auto_measures_and_writes_no_shards_of_a_model_that_is_fastest_whole(
    command: Command, monkeypatch: pytest.MonkeyPatch
):
    rates(monkeypatch, 3.0, 1.0, 2.0)
    code, out, err = plan(command, *sampled(command), "--shards", "auto")
    assert (code, err) == (0, "note: rows are independent: proven\n")
    line = "--shards auto: the whole model, 3 rows/s measured here; 2 shards 1 rows/s; 4 shards 2 rows/s; "
    assert out == f"{line}nothing is divided, run score without --shards\n"
    for option in ("--save_shards", "--output", "--write_model", "--report"):
        rates(monkeypatch, 3.0, 1.0, 2.0)
        path = command.folder / "new" / "file.onnx"
        code, out, err = plan(command, *sampled(command), "--shards", "auto", option, path)
        assert (code, out) == (2, "") and err.count("\n") == 1, err
        assert f"the whole model, 3 rows/s measured here; 2 shards 1 rows/s; 4 shards 2 rows/s; so {option} has" in err
        assert "or give --shards N" in err and not path.parent.exists()


def test_auto_divides_until_a_worker_has_the_memory(command: Command):
    code, out, err = plan(
        command, "--shards", "auto", "--stage_memory", "20KB", "--threads", 1, "--save_shards", command.folder / "out"
    )
    assert code == 0, err
    assert "and at most 20 kB of weights a worker" in out and "--placement distributed" in out
    made = read_plan(str(command.folder / "out" / "plan.json"))
    assert all(made.shard_bytes(shard) <= 20_000 for shard in range(made.shards)) and made.weight_bytes > 20_000
    code, _, err = command.run("--plan", command.folder / "out" / "plan.json", "--placement", "distributed")
    assert code == 0, err


def test_auto_of_a_model_that_cannot_be_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = Command(tmp_path, capsys)
    command.model = onnx_models.save(onnx_models.picky(1), tmp_path / "one.onnx")
    code, out, err = plan(command, "--shards", "auto", "--stage_memory", "1GB")
    assert code == 0, err
    assert "the whole model, because it has no layer that can be divided over 2 shards" in out


def test_refusals_of_auto(command: Command, tmp_path: Path):
    first = tmp_path / "first.json"
    assert plan(command, "--shards", 2, "--output", first)[0] == 0
    for options, said in (
        (["--stages", 2], "--shards auto looks at the whole model, and --stages cuts it; give a number of shards"),
        (["--plan", first], "has 2 shards and --shards says auto; leave --shards out"),
        (["--workers", 2], "--workers is for a model split by depth, and --shards divides it by width"),
        (["--stage_memory", "20"], "--stage_memory 20 has no unit: write 20GB or 20MB, or 20B if you mean bytes"),
        (["--stage_memory", "much"], "--stage_memory much is no number of bytes"),
        (["--stage_memory", "100B"], "--stage_memory is 100 bytes, but of "),
        (["--save_stages", "x"], "--save_stages is for a model split by depth"),
    ):
        code, out, err = plan(command, "--shards", "auto", *options)
        assert (code, out) == (2, "") and said in err and err.count("\n") == 1, (options, err)
    _, _, err = plan(command, "--shards", 2, "--stage_memory", "1MB")
    assert "--stage_memory is for a model split by depth or for --shards auto, and --shards is 2; leave one" in err


def test_refusals(command: Command, tmp_path: Path):
    first = tmp_path / "first.json"
    assert plan(command, "--shards", 2, "--output", first)[0] == 0
    stages = tmp_path / "stages.json"
    stages.write_text(json.dumps({"version": 1, "stages": []}))
    for options, said in (
        (["--shards", 1], "--shards 1 divides nothing"),
        (["--shards", 65], "has no layer that can be divided over 65 shards"),
        (["--shards", 2, "--stages", 2], "together divide saved stages; add --save_stages DIR"),
        (["--shards", 2, "--save_stages", "x"], "--save_stages is for a model split by depth"),
        (["--save_shards", "x"], "--save_shards is for a model divided by width; add --shards N"),
        (["--plan", first, "--shards", 3], "has 2 shards and --shards says 3; leave --shards out"),
        (["--plan", stages, "--shards", 3], "is no plan of that; leave one out"),
        (["--shards", 2, "--write_model", command.model], "is a file that the command reads"),
    ):
        code, out, err = plan(command, *options)
        assert (code, out) == (2, "") and said in err and err.count("\n") == 1, (options, err)
    command.model = onnx_models.save(onnx_models.mlp(4, 32, 2), tmp_path / "other.onnx")
    assert "is of wide.onnx with the hash" in plan(command, "--plan", first)[2]


def test_what_stays_whole_is_told_with_its_reason(command: Command):
    code, _, err = plan(command, "--shards", 2, "--output", command.folder / "plan.json")
    assert code == 0, err
    made = read_plan(str(command.folder / "plan.json"))
    kept = tuple(KeptWhole(f"layer<{k}>", 1000 - k, "it is too <narrow>") for k in range(30))
    made = type(made)(**{**made.__dict__, "kept_whole": kept})
    lines = whole(made)
    assert lines[0] == "layer<0> (1.00 kB): it is too <narrow>" and lines[-1] == "10 smaller layers (9.76 kB)"
    assert any("layer<3> (997 B): it is too <narrow>" in line for line in table(made).plain_lines())
    page = render_shards(made)
    assert "layer&lt;29&gt;" in page and "it is too &lt;narrow&gt;" in page and "<narrow>" not in page
    assert not re.search(r"(src|href)=|https?://|<script|@import", page) and len(drawings(page)) == 1
