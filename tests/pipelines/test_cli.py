"""The command on whole jobs, in this process: what comes out, and what is left when it fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto

from tests import onnx_models
from tests.command import ROWS, Command, lines, write_table
from tests.onnx_models import save


def expected(command: Command) -> np.ndarray:
    """y of all rows by ONNX Runtime called directly."""
    x = np.stack([command.table[name].to_numpy() for name in "abcd"], axis=1)
    return onnxruntime.InferenceSession(command.model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def check(command: Command, name: str = "preds*.parquet") -> None:
    """All rows are there once, with the right predictions."""
    table = command.rows(name)
    assert table["id"].to_pylist() == list(range(ROWS))
    found = table["y"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_allclose(found, expected(command), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--partition", "random"],
        ["--partition", "random", "--seed", "7"],
        ["--partition", "contiguous"],
        ["--partition", "proportional"],
        ["--partition", "proportional", "--capacities", "measured"],
    ],
    ids=" ".join,
)
def test_every_partition_gives_the_same_rows(command: Command, options: list[str], workers: int):
    summary = command.folder / "summary.json"
    code, _, err = command.run(*options, "--workers", workers, "--keep", "id", "--summary", summary, "--batch_size", 64)
    assert code == 0, err
    check(command)
    told = json.loads(summary.read_text())
    assert (told["rows_in"], told["rows_scored"], told["rows_failed"]) == (ROWS, ROWS, 0)
    assert sum(told["worker_rows"]) == ROWS and len(told["worker_rows"]) <= workers


def test_proportional_shares_are_those_asked_for(command: Command):
    summary = command.folder / "summary.json"
    options = ["--partition", "proportional", "--capacities", "1,2,3", "--summary", summary, "--keep", "id"]
    assert command.run(*options)[0] == 0
    assert json.loads(summary.read_text())["worker_rows"] == [100, 200, 300]
    check(command)


def test_worker_processes_give_the_same_rows_as_threads(command: Command):
    code, out, err = command.run("--worker_type", "process", "--workers", 2, "--keep", "id")
    assert (code, err) == (0, "") and f"{ROWS} scored" in out
    check(command)


def test_one_shard_has_the_name_that_was_asked_for(command: Command):
    assert command.run("--num_shards", 1, "--keep", "id", "--workers", 3)[0] == 0
    assert command.written() == ["preds.parquet"]
    check(command)


def test_a_number_of_shards(command: Command):
    assert command.run("--num_shards", 3, "--keep", "id")[0] == 0
    assert command.written() == [f"preds-{k:05d}-of-00003.parquet" for k in range(3)]
    check(command)


def test_a_second_run_leaves_no_shard_of_the_first(command: Command):
    assert command.run("--num_shards", 3, "--keep", "id")[0] == 0
    (command.output.parent / "preds_of_mine.parquet").write_text("stays")
    assert command.run("--num_shards", 2, "--keep", "id")[0] == 0
    names = ["preds-00000-of-00002.parquet", "preds-00001-of-00002.parquet", "preds_of_mine.parquet"]
    assert command.written() == names
    check(command, "preds-*.parquet")


def test_a_dry_run_writes_nothing_and_says_what_would_run(command: Command):
    code, out, err = command.run("--dry_run_plan", "--keep", "id", "--workers", 3, "--partition", "contiguous")
    assert (code, err) == (0, "")
    assert not command.output.parent.exists()
    assert "x: float32[rows, 4] <- 4 columns a, b, c, d (float32)" in out
    for word in ("model", "outputs", "batch size", "3 threads", "contiguous", "CPUExecutionProvider"):
        assert word in out


def test_quiet_prints_nothing(command: Command):
    assert command.run("--quiet") == (0, "", "")


def test_beam_options_pass_through(command: Command):
    assert command.run("--job_name", "mine", "--keep", "id", "--quiet") == (0, "", "")
    check(command)


def test_summary(command: Command):
    path = command.folder / "new" / "summary.json"
    code, out, _ = command.run("--keep", "id", "--summary", path, "--finish", "softmax")
    assert code == 0
    told = json.loads(path.read_text())
    assert told["rows_in"] == told["rows_scored"] == ROWS
    assert set(told["stage_seconds"]) == {"read", "infer", "finish", "write"}
    assert told["seconds"] > 0 and told["rows_per_second"] == pytest.approx(ROWS / told["seconds"])
    assert told["files"] == [str(path) for path in sorted(command.output.parent.iterdir())]
    assert told["plan"]["model"] == command.model and told["errors"] is None
    metrics = told["metrics"]
    assert metrics["num_inferences"] == metrics["inference_request_batch_size"]["sum"] == ROWS
    assert metrics["inference_batch_latency_micro_secs"]["count"] == metrics["inference_request_batch_size"]["count"]
    assert metrics["model_byte_size"]["max"] == os.path.getsize(command.model)
    assert metrics["load_model_latency_milli_secs"]["count"] >= 1
    for name in ("rows", "time", "stages", "workers", "written"):
        assert f"\n{name} " in f"\n{out}"


# Bad rows.


@pytest.fixture
def picky(command: Command) -> Command:
    """Rows 2 (null) and 13, 14 (no such row in the model's table) of 20 are bad."""
    command.model = save(onnx_models.picky(10), command.folder / "picky.onnx")
    values = [k % 10 for k in range(20)]
    values[2], values[13], values[14] = None, 77, -99
    command.data = write_table(command.folder / "some.parquet", id=range(20), i=pa.array(values, pa.int64()))
    return command


def test_bad_rows_go_to_the_errors_file_and_those_beside_them_are_scored(picky: Command):
    errors, summary = picky.folder / "new" / "errors.jsonl", picky.folder / "summary.json"
    options = ["--keep", "id", "--errors", errors, "--summary", summary]
    assert picky.run(*options, columns=None)[0] == 0
    found = sorted(lines(errors), key=lambda line: line["row"])
    assert [line["row"] for line in found] == [2, 13, 14]
    assert {(line["file"], line["stage"]) for line in found} == {(str(picky.data), "infer")}
    assert found[0]["reason"] == "null in column 'i'; --nulls i=VALUE would fill it"
    assert all(line["reason"].startswith("the model failed: ") and "indices" in line["reason"] for line in found[1:])
    good = [k for k in range(20) if k not in (2, 13, 14)]
    assert picky.rows()["id"].to_pylist() == good
    y = picky.rows()["y"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(y, [[2 * (k % 10), 2 * (k % 10) + 1] for k in good])
    told = json.loads(summary.read_text())
    assert (told["rows_in"], told["rows_scored"], told["rows_failed"]) == (20, 17, 3)
    assert told["errors"] == str(errors)


def test_bad_rows_without_an_errors_file_are_counted_and_shown(picky: Command):
    summary = picky.folder / "summary.json"
    code, _, err = picky.run("--keep", "id", "--summary", summary, columns=None)
    assert code == 3
    assert "3 rows failed; give --errors FILE.jsonl to keep them all. The first:" in err
    assert (
        f"{picky.data} row 2: infer: null in column 'i'; --nulls i=VALUE would fill it" in err
        and "row 13: infer: the model failed" in err
    )
    assert len(picky.rows()) == 17
    told = json.loads(summary.read_text())
    assert (told["rows_failed"], told["failed_by_stage"]) == (3, {"infer": 3})


def test_an_errors_file_without_errors_is_empty(command: Command):
    errors = command.folder / "errors.jsonl"
    errors.write_text("of an earlier run\n")
    assert command.run("--errors", errors)[0] == 0
    assert errors.read_bytes() == b""


def test_when_every_row_is_bad(picky: Command):
    data = write_table(picky.folder / "bad.parquet", id=range(5), i=pa.array([99] * 5, pa.int64()))
    errors = picky.folder / "errors.jsonl"
    code, out, err = picky.run("--keep", "id", "--errors", errors, "--num_shards", 1, columns=None, input=data)
    assert code == 0 and "5 in, 0 scored, 5 failed" in out and "none of the sample rows could be scored" in err
    assert len(lines(errors)) == 5
    assert pq.read_schema(picky.output).names == ["id", "y"] and len(picky.rows()) == 0


def test_rows_of_text_that_cannot_be_read(command: Command):
    path = command.folder / "rows.jsonl"
    rows = [
        '{"id":0,"x":[1,2,3,4]}',
        '{"id":1,"x":[1,2,3]}',
        "no json",
        "",
        '{"id":3,"x":null}',
        '{"id":4,"x":[0,0,0,0]}',
    ]
    path.write_text("\n".join(rows))
    errors = command.folder / "errors.jsonl"
    assert command.run("--keep", "id", "--errors", errors, "--quiet", input=path, columns=None)[0] == 0
    found = {(line["row"], line["stage"]) for line in lines(errors)}
    assert found == {(1, "infer"), (2, "read"), (3, "infer")}
    assert command.rows()["id"].to_pylist() == [0, 4]


# Failing jobs.


@pytest.fixture
def failing(command: Command, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of a step that raises after the first 256 rows, which are tried before the job starts."""
    (command.folder / "steps_that_fail.py").write_text(
        "import pyarrow.compute as pc\n"
        "def late(batch):\n"
        "    if batch.num_rows and pc.max(batch.column(0)).as_py() > 500:\n"
        "        raise RuntimeError('the step broke\\nand says more')\n"
        "    return batch\n"
        "def fewer(batch):\n"
        "    return batch.slice(1) if batch.num_rows > 1 else batch\n"
    )
    monkeypatch.syspath_prepend(str(command.folder))
    # Worker processes look where they are told to.
    monkeypatch.setenv("PYTHONPATH", str(command.folder), prepend=os.pathsep)
    return ["--prepare", "steps_that_fail:late", "--keep", "id", "--errors", str(command.folder / "errors.jsonl")]


@pytest.mark.parametrize("workers", [["--workers", "2"], ["--workers", "2", "--worker_type", "process"]], ids=" ".join)
def test_a_job_that_fails_leaves_all_as_it_was(
    command: Command, failing: list[str], workers: list[str], tmp_path_factory, monkeypatch: pytest.MonkeyPatch
):
    temp = tmp_path_factory.mktemp("temp")
    monkeypatch.setattr("tempfile.tempdir", str(temp))
    assert command.run("--keep", "id", "--quiet")[0] == 0
    (command.folder / "errors.jsonl").write_text("earlier\n")
    before = {path: path.read_bytes() for path in command.output.parent.iterdir()}
    code, out, err = command.run(*failing, *workers, "--num_shards", "1")
    assert (code, out) == (1, "")
    assert err == "error: the job failed, nothing was written: the step broke (--debug shows all)\n"
    assert {path: path.read_bytes() for path in command.output.parent.iterdir()} == before
    assert (command.folder / "errors.jsonl").read_text() == "earlier\n"
    assert not [path for path in command.folder.iterdir() if path.name.startswith(".")]
    assert not [path for path in temp.iterdir() if path.name.startswith("beamsplit-job")]


def test_a_failed_first_job_writes_no_file(command: Command, failing: list[str]):
    assert command.run(*failing)[0] == 1
    assert not command.output.parent.exists() or command.written() == []


def test_debug_shows_the_traceback_of_a_failed_job(command: Command, failing: list[str]):
    code, _, err = command.run(*failing, "--debug")
    assert code == 1 and "Traceback (most recent call last)" in err and "steps_that_fail.py" in err
    assert "error: the job failed, nothing was written: the step broke" in err


def test_a_step_that_drops_rows_is_found_before_the_job_starts(command: Command, failing: list[str]):
    code, _, err = command.run("--prepare", "steps_that_fail:fewer")
    assert code == 2 and "was given 256 rows and returned 255: it must keep all" in err and err.count("\n") == 1


def test_a_damaged_input_file_is_named(command: Command):
    content = bytearray(command.data.read_bytes())
    content[200 : len(content) // 2] = bytes(len(content) // 2 - 200)
    command.data.write_bytes(content)
    code, out, err = command.run()
    assert (code, out) == (1, "") and f"{command.data} cannot be read as parquet" in err and err.count("\n") == 1


# Odd inputs and outputs.


@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
def test_outputs_of_many_dimensions_round_trip(command: Command, extension: str):
    model = save(onnx_models.identity(shape=("batch", 2, 3)), command.folder / "nd.onnx")
    x = np.random.default_rng(3).standard_normal((5, 2, 3)).astype(np.float32)
    data = write_table(command.folder / "nd.parquet", id=range(5), x=pa.FixedShapeTensorArray.from_numpy_ndarray(x))
    output = command.output.with_suffix(f".{extension}")
    options = ["--keep", "id", "--num_shards", 1, "--quiet", "--workers", 1]
    assert command.run(*options, model=model, input=data, columns=None, output=output)[0] == 0
    if extension == "parquet":
        y = pq.read_table(output)["y"].combine_chunks().to_numpy_ndarray()
    elif extension == "jsonl":
        y = np.array([line["y"] for line in lines(output)], np.float32)
    else:
        y = np.array([json.loads(cell) for cell in pyarrow.csv.read_csv(output)["y"].to_pylist()], np.float32)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("extension", ["parquet", "csv", "jsonl"])
def test_an_input_without_rows_gives_a_result_without_rows(command: Command, extension: str):
    pq.write_table(command.table.slice(0, 0), command.data)
    output = command.output.with_suffix(f".{extension}")
    code, out, _ = command.run("--keep", "id", "--num_shards", 1, output=output)
    assert code == 0 and "0 in, 0 scored, 0 failed" in out
    assert output.exists()
    if extension == "parquet":
        assert pq.read_schema(output).names == ["id", "y"]


def test_nan_and_infinity_and_the_largest_numbers(command: Command):
    extreme = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45], np.float32)
    model = save(onnx_models.identity(TensorProto.FLOAT, ("batch", 1)), command.folder / "i.onnx")
    data = write_table(command.folder / "e.parquet", id=range(6), x=extreme)
    assert command.run("--keep", "id", "--quiet", model=model, input=data, columns=None)[0] == 0
    np.testing.assert_array_equal(command.rows()["y"].combine_chunks().to_numpy_ndarray()[:, 0], extreme)


def test_set_gives_inputs_that_are_no_columns(command: Command):
    model = save(onnx_models.constant_input(), command.folder / "set.onnx")
    assert command.run("--set", "sr=3", "--keep", "id", "--quiet", model=model)[0] == 0
    x = np.stack([command.table[name].to_numpy() for name in "abcd"], axis=1)
    np.testing.assert_allclose(command.rows()["y"].combine_chunks().to_numpy_ndarray(), 3 * x, rtol=1e-6)


def test_odd_names_and_relative_paths(command: Command, monkeypatch: pytest.MonkeyPatch):
    folder = command.folder / "pfäd mit leer 猫"
    folder.mkdir()
    pq.write_table(command.table.rename_columns(["ид", "a é", "b", "c=1", "猫"]), folder / "donnée 1.parquet")
    os.rename(command.model, folder / "modèle.onnx")
    monkeypatch.chdir(folder)
    command.model, command.output = "modèle.onnx", Path("aus gabe/vor sage.parquet")
    assert command.run("--keep", "ид", "--quiet", input="donn*.parquet", columns="x=a é,b,c=1,猫")[0] == 0
    table = pa.concat_tables(pq.read_table(path) for path in sorted(Path("aus gabe").iterdir())).sort_by("ид")
    assert table.column_names == ["ид", "y"] and table["ид"].to_pylist() == list(range(ROWS))
    np.testing.assert_allclose(table["y"].combine_chunks().to_numpy_ndarray(), expected(command), rtol=1e-5, atol=1e-6)


def test_an_output_without_a_folder(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(command.folder)
    assert command.run("--quiet", "--num_shards", 1, "--errors", "errors.jsonl", output="p.csv")[0] == 0
    assert Path("p.csv").read_text().count("\n") == ROWS + 1 and os.path.getsize("errors.jsonl") == 0


def test_files_in_csv_and_json_and_arrow_give_the_same_rows(command: Command):
    pyarrow.csv.write_csv(command.table, command.folder / "t.csv")
    with open(command.folder / "t.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in command.table.to_pylist())
    with pa.ipc.new_file(command.folder / "t.arrow", command.table.schema) as writer:
        writer.write_table(command.table)
    for name in ("t.csv", "t.jsonl", "t.arrow"):
        assert command.run("--keep", "id", "--quiet", input=command.folder / name)[0] == 0
        check(command)


def test_several_inputs_and_folders(command: Command):
    folder = command.folder / "parts"
    folder.mkdir()
    for k in range(3):
        pq.write_table(command.table.slice(200 * k, 200), folder / f"{k}.parquet")
    assert command.run("--keep", "id", "--quiet", input=folder)[0] == 0
    check(command)
    assert (
        command.run("--keep", "id", "--quiet", "--input", folder / "2.parquet", input=folder / "[01].parquet")[0] == 0
    )
    check(command)
    assert pc.sum(command.rows()["id"]).as_py() == sum(range(ROWS))


def test_predictions_get_their_names_only_when_the_errors_are_in_place(
    command: Command, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("beamsplit.transforms.failures.error_file.merge_errors", full)
    code, _, err = command.run("--errors", command.folder / "out" / "errors.jsonl", "--worker_type", "thread")
    assert (code, err) == (1, "error: the job failed, nothing was written: no space left (--debug shows all)\n")
    assert command.written() == []


def test_a_report_that_cannot_be_written_does_not_deny_the_predictions(command: Command):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    code, _, err = command.run("--summary", "/dev/full", "--quiet", "--keep", "id")
    assert code == 1 and err.count("\n") == 1 and "No space left" in err
    assert err.startswith("error: the job is done and its output is written, but not its report: ")
    assert command.rows().num_rows == 600


def test_an_input_that_changes_while_it_is_read_fails_the_job(command: Command, monkeypatch: pytest.MonkeyPatch):
    data = command.folder / "data.csv"
    pyarrow.csv.write_csv(command.table, data)
    cut = f"if batch.num_rows > 500:\n        os.truncate({str(data)!r}, 5000)"
    (command.folder / "steps_that_cut.py").write_text(f"import os\ndef cut(batch):\n    {cut}\n    return batch\n")
    monkeypatch.syspath_prepend(str(command.folder))
    before = data.stat().st_size
    code, _, err = command.run("--prepare", "steps_that_cut:cut", "--workers", "1", input=data)
    changed = f"{data} changed while it was read (it had {before:,} bytes, now 5,000): run the job again"
    assert code == 1 and err.startswith(f"error: the job failed, nothing was written: {changed}")
    assert command.written() == []


def test_beams_own_words_for_workers(command: Command):
    words = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
    code, out, err = command.run("--dry_run_plan", *words)
    assert (code, err) == (0, "") and "2 processes" in out


def test_what_tools_leave_beside_data_is_not_read_and_told(command: Command):
    folder = command.folder / "sp"
    (folder / "_temporary" / "0").mkdir(parents=True)
    for name, first in (("a", 0), ("_temporary/0/b", 100)):
        pq.write_table(command.table.slice(first, 100), folder / f"{name}.parquet")
    (folder / "_SUCCESS").touch()
    code, _, err = command.run("--keep", "id", input=folder)
    assert code == 0 and command.rows()["id"].to_pylist() == list(range(100))
    assert err == (
        "note: not read, since a name that begins with _ or . is no data: "
        f"{folder}/_SUCCESS, {folder}/_temporary/ (give the path itself to read it)\n"
    )
    assert command.run("--keep", "id", input=f"{folder}/_temporary")[::2] == (0, "")
    assert command.rows()["id"].to_pylist() == list(range(100, 200))


@pytest.mark.parametrize(
    "field", ['"s": "\\ud83d"', '"\\ud83d": 1', '"s": {"\\ud83d": 1}', '"s": ' + "[" * 50_000 + "]" * 50_000]
)
@pytest.mark.parametrize("row", [0, 2])
def test_an_odd_json_object_decides_nothing(command: Command, field: str, row: int):
    texts = [f'{{"id": {at}, "a": 1, "b": 2, "c": 3, "d": 4, "s": "x"}}' for at in range(4)]
    texts[row] = texts[row].replace('"s": "x"', field)
    path = command.folder / "data.jsonl"
    path.write_text("\n".join(texts))
    errors = command.folder / "e.jsonl"
    code, _, err = command.run("--keep", "id,s", "--quiet", "--errors", errors, input=path)
    assert (code, err) == (0, "")
    assert [error["row"] for error in lines(errors)] == [row]
    assert command.rows()["id"].to_pylist() == [at for at in range(4) if at != row]
