"""Wrong uses of the command: one clear line that names both sides and the fix, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from tests import onnx_models
from tests.command import Command, write_table
from tests.onnx_models import save


def test_missing_model(command: Command):
    missing = command.folder / "no.onnx"
    assert command.error(model=missing) == f"--model {missing} does not exist: give the path of an ONNX file"


@pytest.mark.parametrize("content", [b"", b"hello" * 100, b"PK\x03\x04" * 50])
def test_model_that_is_no_onnx(command: Command, content: bytes):
    path = command.folder / "wrong.onnx"
    path.write_bytes(content)
    assert "is not an ONNX file" in command.error(model=path)


def test_model_that_is_a_folder(command: Command):
    assert "is a folder, but an ONNX file is wanted" in command.error(model=command.folder)


def test_model_with_an_unknown_operator(command: Command):
    path = save(onnx_models.unknown_operator(), command.folder / "moon.onnx")
    assert "FlyToTheMoon" in command.error(model=path)


def test_input_that_matches_nothing(command: Command):
    pattern = command.folder / "none*.parquet"
    assert command.error(input=pattern).startswith(f"--input '{pattern}' matches no file: check the path")


def test_columns_do_not_match(command: Command):
    message = command.error(columns=None)
    assert "takes 4 numeric columns" in message, "what the model wants"
    assert "the data has: 5 numeric columns (id, a, b, c, d)" in message, "what the data has"
    assert "--columns x=COLUMN1,COLUMN2" in message, "what to type"


def test_too_few_columns(command: Command):
    message = command.error(columns="x=a,b")
    assert "'x: float32[batch, 4]' takes rows of shape [4]" in message and "2 columns (a, b)" in message
    assert "name 4 columns with --columns x=" in message


def test_a_column_that_is_not_there(command: Command):
    message = command.error(columns="x=a,b,c,dd")
    assert message == "--columns x=…: the data has no column 'dd', it has id, a, b, c, d; did you mean 'd'?"


def test_an_input_that_is_not_there(command: Command):
    assert command.error(columns="X=a,b,c,d") == "--columns X=…: the model has no input 'X', it has x"


def test_narrowing(command: Command):
    table = command.table.set_column(4, "d", pa.array(np.zeros(command.table.num_rows)))
    pq.write_table(table, command.data)
    message = command.error()
    assert message.startswith("column 'd' is float64, the model's input 'x: float32[batch, 4]' takes float32")
    assert message.endswith("add --narrow to convert it")
    assert command.run("--narrow", "--quiet")[0] == 0


def test_strings_for_numbers(command: Command):
    table = command.table.set_column(4, "d", pa.array(["x"] * command.table.num_rows))
    pq.write_table(table, command.data)
    assert "column 'd' is string" in command.error()


@pytest.mark.parametrize("name", ["tensorrt", "cdua"])
def test_a_provider_that_is_not_there_lists_those_present(command: Command, name: str):
    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers() and name == "tensorrt":
        assert "--providers tensorrt" in command.error("--providers", name)
        return
    message = command.error("--providers", name)
    assert message.startswith(f"--providers {name}:") and "present are" in message and "cpu" in message


@pytest.mark.parametrize(
    ("option", "meant"), [("--partitoin", "--partition"), ("--colums=x=a", "--columns"), ("--job_nam=x", "--job_name")]
)
def test_an_unknown_option_with_a_suggestion(command: Command, option: str, meant: str):
    assert command.error(option) == f"{option!r} is no option of score or of Beam; did you mean {meant}?"


def test_an_unknown_option(command: Command):
    assert "is no option of score or of Beam; see --help" in command.error("--qqqqqqq")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "sr"], "--set 'sr' is not of the form INPUT=VALUE, e.g. --set x=zeros"),
        (["--set", "sr=16"], "--set sr=…: the model has no input 'sr', it has x"),
        (["--columns", "x"], "--columns 'x' is not of the form INPUT=VALUE, e.g. --columns x=a,b"),
        (["--columns", "x=a"], "--columns names the input 'x' twice; give it once, e.g. --columns x=a,b"),
        (["--capacities", "1,x", "--partition", "proportional"], "'1,x' is neither 'measured' nor numbers above 0"),
        (["--capacities", "1,1"], "--capacities is for --partition proportional; add that"),
        (
            ["--capacities", "1,1", "--workers", "3", "--partition", "proportional"],
            "--capacities names 2 workers and --workers says 3; type --workers 2",
        ),
        (["--keep", "id,id"], "--keep names the column 'id' twice; name it once"),
        (
            ["--direct_running_mode=multi_processing", "--worker_type", "thread"],
            "--direct_running_mode multi_processing means --worker_type process, and --worker_type is thread",
        ),
        (["--direct_num_workers", "two"], "argument --direct_num_workers: invalid int value: 'two'"),
        (["--keep", "id,nope"], "--keep names nope, and the data has the columns id, a, b, c, d"),
        (["--batch_size", "0"], "'0' is not a whole number above 0"),
        (["--workers", "2000"], "--workers 2,000: at most 1,024 are begun on one machine"),
        (["--workers", "two"], "'two' is not a whole number above 0"),
        (["--partition", "even"], "invalid choice: 'even'"),
        (["--prepare", "imgae:size=3"], "there is no step 'imgae', did you mean 'image'?"),
        (["--prepare", "image:size=x"], "size=x is not a whole number of at least 1; for example: --prepare image:"),
        (["--prepare", "image"], "bytes"),
        (["--finish", "topk:3"], "there is no step 'topk', did you mean 'top_k'?"),
        (["--finish", "top_k:0"], "k=0 is not a whole number of at least 1"),
        (["--finish", "top_k:3"], "3"),
        (["--finish", "labels:/no/labels.txt"], "/no/labels.txt"),
        (["--finish", "no_such_module:function"], "module 'no_such_module' does not import"),
        (
            ["--runner", "NoRunner"],
            "--runner NoRunner: Beam has no such runner; type one of DirectRunner, FlinkRunner, ",
        ),
        (["--runner", "FlinkRuner"], "--runner FlinkRuner: Beam has no such runner; did you mean FlinkRunner?"),
        (["--runner", "DataflowRunner"], "DataflowRunner needs --project, --region, --temp_location; type"),
        (["--input_format", "xml"], "invalid choice: 'xml'"),
        (["--input_format", "arrow"], "cannot be read as arrow"),
        (["--input_format", "files"], "the data has no column 'a', it has path, bytes"),
    ],
)
def test_wrong_option(command: Command, options: list[str], message: str):
    assert message in command.error(*options)


@pytest.mark.parametrize("name", ["preds.txt", "preds", "preds.parquet.gz"])
def test_output_extension(command: Command, name: str):
    message = command.error(output=command.output.parent / name)
    assert "names no format that can be written; end the name in one of .parquet, .csv, .jsonl" in message


def test_output_is_the_input(command: Command):
    before = command.data.read_bytes()
    assert "would overwrite or remove the input file" in command.error(output=command.data)
    assert command.data.read_bytes() == before


@pytest.mark.parametrize("option", ["--errors", "--summary"])
def test_what_is_written_beside_the_output_overwrites_nothing(command: Command, option: str):
    before = command.data.read_bytes()
    assert "is a file that the job reads or writes otherwise" in command.error(option, command.data)
    assert "is a file that the job reads or writes otherwise" in command.error(option, command.model)
    assert "is a name that --output" in command.error(option, command.output)
    assert "is a name that --output" in command.error(option, str(command.output).replace(".p", "-00000-of-00001.p"))
    assert "is a folder" in command.error(option, command.folder)
    assert "is a file, not a folder" in command.error(option, command.data / "x.jsonl")
    assert command.data.read_bytes() == before


def test_errors_and_summary_of_one_name(command: Command):
    path = command.folder / "same.json"
    assert "--summary" in command.error("--errors", path, "--summary", path)


def test_kept_column_with_the_name_of_an_output(command: Command):
    pq.write_table(command.table.append_column("y", command.table["a"]), command.data)
    assert "--keep and the model's outputs both name y" in command.error("--keep", "y")


def test_inputs_of_several_formats(command: Command):
    (command.folder / "more.csv").write_text("id,a,b,c,d\n1,1,2,3,4\n")
    assert "the inputs are of several formats (csv: " in command.error("--input", command.folder / "more.csv")


def test_parquet_files_of_unlike_schema(command: Command):
    pq.write_table(command.table.drop_columns(["d"]), command.folder / "more.parquet")
    message = command.error("--input", command.folder / "more.parquet")
    assert "column 'd' of" in message and "is missing in" in message and "read files of one schema together" in message


def test_csv_files_of_unlike_schema(command: Command):
    first, second = command.folder / "1.csv", command.folder / "2.csv"
    first.write_text("id,a,b,c,d\n1,1,2,3,4\n")
    second.write_text("id,a,b,c\n1,1,2,3\n")
    message = command.error("--input", second, input=first)
    assert message.startswith(f"column 'd' of {first} is missing in {second} (it has id, a, b, c)")
    assert message.endswith("read files of one schema together")


def test_inputs_that_are_all_empty(command: Command):
    path = command.folder / "empty.csv"
    path.write_text("")
    assert "all empty, so their columns are not known" in command.error(input=path)


def test_set_values(command: Command):
    model = save(onnx_models.constant_input(), command.folder / "set.onnx")
    assert "takes int64 values; give a number of that type" in command.error("--set", "sr=abc", model=model)
    assert "not a readable .npy file" in command.error("--set", "sr=/no/x.npy", model=model)
    assert "the model's input 'sr: int64[]' carries no rows" in command.error(model=model, columns="x=a,b,c,d")
    assert "input 'x' is in both --columns and --set" in command.error("--set", "x=zeros", "sr=1", model=model)


def test_a_sequence_output(command: Command):
    model = save(onnx_models.sequence_output(), command.folder / "sequence.onnx")
    data = write_table(command.folder / "x.parquet", x=[[1.0, 2.0, 3.0]])
    assert "beamsplit handles tensors only" in command.error("--narrow", model=model, input=data, columns=None)


def test_debug_shows_the_traceback_and_the_line(command: Command):
    code, _, err = command.run("--debug", "--keep", "nope")
    assert code == 2 and "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("error: --keep names nope")


@pytest.mark.parametrize("extension", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", ["numbers", "tensors"])
def test_files_of_unlike_types(command: Command, extension: str, kind: str):
    for name, dtype in (("1", np.float32), ("2", np.float64)):
        values = np.zeros((3, 4), dtype)
        tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
        table = pa.table({"x": tensors} if kind == "tensors" else {c: values[:, 0] for c in "abcd"})
        with pa.ipc.new_file(command.folder / f"{name}.arrow", table.schema) as file:
            file.write_table(table)
        pq.write_table(table, command.folder / f"{name}.parquet")
    columns = None if kind == "tensors" else "x=a,b,c,d"
    message = command.error(input=command.folder / f"[12].{extension}", columns=columns)
    assert f"in {command.folder}/1.{extension}, but " in message and "double" in message
    assert message.endswith(f"in {command.folder}/2.{extension}") and "add --narrow" in message


def test_a_model_without_inputs(command: Command):
    weights = {"w": np.ones((2, 2), np.float32)}
    node = helper.make_node("Identity", ["w"], ["y"])
    model = onnx_models.build([node], [], [("y", TensorProto.FLOAT, [2, 2])], weights)
    path = save(model, command.folder / "constant.onnx")
    assert command.error(model=path, columns=None).startswith("the model has no inputs, so there is no data to score")


def test_a_model_cut_short(command: Command):
    path = command.folder / "cut.onnx"
    path.write_bytes(Path(command.model).read_bytes()[:-100])
    assert "it is damaged or cut short, copy or export it again" in command.error(model=path)


@pytest.mark.parametrize(
    ("encoding", "delimiter", "message"),
    [
        ("utf-16", ",", "data.csv is text in UTF-16, and UTF-8 is read: add --encoding utf-16, or save it as UTF-8"),
        (
            "utf-8",
            ";",
            "data.csv has one column, 'id;a;b;c;d', in its first line, with cells apart by ';': write it with",
        ),
        (
            "utf-8",
            "\t",
            "in its first line, with cells apart by '\\t': write it with commas, or with tabs and the ending",
        ),
    ],
)
def test_text_that_is_no_csv_of_ours(command: Command, encoding: str, delimiter: str, message: str):
    path = command.folder / "data.csv"
    path.write_text("id,a,b,c,d\n1,2,3,4,5\n".replace(",", delimiter), encoding=encoding)
    assert message in command.error(input=path)
