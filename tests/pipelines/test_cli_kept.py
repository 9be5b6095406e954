"""Kept columns come out as they went in, from the command line."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto

from beamsplit.pipelines.score import main
from tests import onnx_models
from tests.command import lines
from tests.onnx_models import save

CELLS = ["1.10", "0x1F", "9007199254740993.0", "TRUE", "12:00", "2024-01-02 10:00", "007", " x ", "+1", "1e3", "", "NA"]


@pytest.fixture
def score(tmp_path):
    """Runs `score` on a model x: [rows, 2] -> y: [rows, 1]; gives the path of the one file written."""
    model = save(onnx_models.mlp(2, outputs=1), tmp_path / "m.onnx")

    def run(name, text, *options, output="out.csv", code=0, columns="x=a,b"):
        path, out = tmp_path / name, tmp_path / output
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        argv = ["--model", model, "--input", path, "--columns", columns, "--output", out, "--num_shards", 1]
        argv += ["--quiet", "--workers", 1, "--errors", tmp_path / "errors.jsonl", *options]
        assert main([str(part) for part in [*argv, "--overwrite"]]) == code
        return out

    run.errors = tmp_path / "errors.jsonl"
    return run


def table(cells: list[str]) -> str:
    return "a,code,b\n" + "".join(f"1,{cell},2.5\n" for cell in cells)


@pytest.mark.parametrize("cells", [CELLS, *[[cell, cell] for cell in CELLS]], ids=repr)
def test_cells_of_csv_that_nothing_reads_are_the_same_in_csv(score, cells):
    with open(score("in.csv", table(cells), "--keep", "code"), newline="") as file:
        assert [row["code"] for row in csv.DictReader(file)] == cells


def test_they_are_strings_elsewhere(score):
    wanted = [cell or None for cell in CELLS]
    out = score("in.csv", table(CELLS), "--keep", "code", output="out.jsonl")
    assert [row["code"] for row in lines(out)] == wanted
    out = score("in.csv", table(CELLS), "--keep", "code", output="out.parquet")
    assert pq.read_table(out)["code"].to_pylist() == wanted


def test_they_are_text_beside_steps_that_do_not_read_them(score):
    prepare = ["--prepare", "scale:column=a,factor=1"]
    out = score("in.csv", table(["1.10", "x"]), "--keep", "code", *prepare, output="out.jsonl")
    assert [row["code"] for row in lines(out)] == ["1.10", "x"]


def test_a_step_that_finds_its_column_by_itself_asks_for_its_name_beside_kept_text(score, capsys):
    given = ["--keep", "code", "--prepare", "onehot:values=red/green"]
    score("in.csv", "color,code\nred,1.10\n", *given, columns="x=color", code=2)
    assert "there are 2: color, code; type onehot:...,column=color" in capsys.readouterr().err
    out = score("in.csv", "color,code\nred,1.10\n", *given[:-1], given[-1] + ",column=color", columns="x=color")
    assert '"1.10"' in out.read_text()


def test_a_column_that_is_kept_and_read_is_as_it_is_read(score):
    out = score("in.csv", table(["x"]), "--keep", "b", output="out.jsonl")
    assert [row["b"] for row in lines(out)] == [2.5]


def test_a_cell_that_is_not_utf8_fails_its_row(score):
    text = b"a,b,city\n1,2,Bonn\n3,4,m\xfcnchen\n"
    out = score("in.csv", text, "--keep", "city", output="out.jsonl")
    assert [row["city"] for row in lines(out)] == ["Bonn"]
    [error] = lines(score.errors)
    assert (error["row"], error["reason"]) == (1, "column 'city': 'm\\xfcnchen' is not UTF-8 (see --encoding)")


def objects(*texts: str) -> str:
    """Lines of JSON with the inputs a and b, and more."""
    return "".join(f'{{"a": 1, "b": 2.5, {text}}}\n' for text in texts)


VALUES = [
    ["17293822569102704641", "9007199254740993", "1.5"],
    ["9007199254740993", "1.10", "1e5"],
    ["18446744073709551617", "-9223372036854775809"],
    ["1", "-9223372036854775808", "null"],
    ["0.1234567890123456789", "1e-400", "9" * 400],
    ['{"p": 1}', '{"p": null}', "{}", '{"q": [1, {"r": 1.10}]}', "null"],
    ["[1, 2]", "[9007199254740993, null]", "[]"],
    ["[1.5, 9007199254740993]", "[[1], []]"],
    ['[1, "x", {"y": null}]', '"text"', "7", "true"],
    ['"2024-01-02"', '"2024-01-02T10:00:00.000Z"'],
    ['"\\u00e9\\ud83d\\ude00 \\"q\\" \\\\ \\/ \\n\\u0000"', '""', '"NaN"', "null"],
    ["true", "false", "null"],
    ["null", "null"],
]


@pytest.mark.parametrize("values", VALUES, ids=lambda values: values[0][:20])
def test_values_of_json_that_nothing_reads_are_the_same_in_json(score, values):
    out = score("in.jsonl", objects(*(f'"v": {value}' for value in values)), "--keep", "v", output="out.jsonl")
    exact = {"parse_float": str, "parse_int": str}
    written = [json.loads(line, **exact)["v"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert written == [json.loads(value, **exact) for value in values]


def test_keys_that_come_late_are_kept_and_missing_ones_are_not_made_up(score):
    rows = ['"meta": {"p": 1}'] * 40_000 + ['"meta": {"p": 2, "q": "late"}', '"meta": {}']
    out = score("in.jsonl", objects(*rows), "--keep", "meta", output="out.jsonl")
    assert [row["meta"] for row in lines(out)][-3:] == [{"p": 1}, {"p": 2, "q": "late"}, {}]


def test_json_values_in_parquet_and_csv(score):
    rows = ['"v": 1.10, "m": {"p": 1}, "id": 9007199254740993', '"v": 2, "m": {"q": 2}, "id": 18446744073709551617']
    given = ["--keep", "v,m,id"]
    table = pq.read_table(score("in.jsonl", objects(*rows), *given, output="out.parquet"))
    assert table["v"].to_pylist() == [1.1, 2.0]
    assert table["m"].to_pylist() == ['{"p": 1}', '{"q": 2}']
    assert table["id"].to_pylist() == ["9007199254740993", "18446744073709551617"]
    with open(score("in.jsonl", objects(*rows), *given), newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["v"], first["m"], first["id"]) == ("1.10", '{"p": 1}', "9007199254740993")


def test_nan_in_kept_json_is_dealt_with_as_any_other(score):
    rows = ['"v": NaN, "m": {"p": [1, -Infinity]}', '"v": 1.5, "m": {"s": "NaN"}']
    out = score("in.jsonl", objects(*rows), "--keep", "v,m", output="out.jsonl")
    assert [row["v"] for row in lines(out)] == [1.5] and len(lines(score.errors)) == 1
    given = ["--keep", "v,m", "--json_nan"]
    out = score("in.jsonl", objects(*rows), *given, "null", output="out.jsonl")
    assert [(row["v"], row["m"]) for row in lines(out)] == [(None, {"p": [1, None]}), (1.5, {"s": "NaN"})]
    out = score("in.jsonl", objects(*rows), *given, "string", output="out.jsonl")
    assert next((row["v"], row["m"]) for row in lines(out)) == ("NaN", {"p": [1, "-Infinity"]})


WIDE = ["1.5", "9007199254740993", "9" * 400, "1e400", "9007199254740992", "1e300", "2"]


@pytest.mark.parametrize("dtype", ["int64", "float64", "float32"])
@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_numbers_that_would_become_others_fail_their_rows(score, tmp_path, name, dtype):
    kind = {"int64": TensorProto.INT64, "float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}[dtype]
    model = onnx_models.identity(kind, ("rows",))
    out = tmp_path / "out.csv"
    text = "x\n" + "\n".join(WIDE) if name == "in.csv" else "\n".join(f'{{"x": {value}}}' for value in WIDE)
    (tmp_path / name).write_text(text + "\n")
    argv = ["--model", save(model, tmp_path / "i.onnx"), "--input", tmp_path / name, "--output", out, "--num_shards", 1]
    assert (
        main([str(part) for part in [*argv, "--quiet", "--workers", 1, "--errors", score.errors, "--overwrite"]]) == 0
    )
    failed = {WIDE[error["row"]] for error in lines(score.errors)}
    wrong = {"9" * 400, "1e400", "9007199254740993"}
    wrong |= {"int64": {"1.5", "1e300"}, "float64": set(), "float32": {"1e300"}}[dtype]
    assert failed == wrong
    assert len(out.read_text().splitlines()) - 1 == len(WIDE) - len(wrong)


@pytest.mark.parametrize("values", [["[9007199254740993, 1.5]", "[1, 2.5]"], ["[[1.5], [1e400]]", "[[1], [2]]"]])
def test_numbers_in_lists_that_would_become_others_fail_their_rows(score, tmp_path, values):
    model = onnx_models.identity(TensorProto.DOUBLE, ("rows", 2) if values[1][1] != "[" else ("rows", 2, 1))
    (tmp_path / "in.jsonl").write_text("".join(f'{{"x": {value}}}\n' for value in values))
    out = tmp_path / "out.jsonl"
    argv = ["--model", save(model, tmp_path / "i.onnx"), "--input", tmp_path / "in.jsonl", "--output", out]
    argv += ["--num_shards", 1, "--quiet", "--workers", 1, "--errors", score.errors]
    assert main([str(part) for part in [*argv, "--overwrite"]]) == 0
    assert [error["row"] for error in lines(score.errors)] == [0]
    assert [row["y"] for row in lines(out)] == [json.loads(values[1])]


def test_numbers_in_objects_that_would_become_others_fail_their_rows(score):
    rows = ['{"f": {"a": 9007199254740993, "k": 1}, "b": 1}', '{"f": {"a": 1.5, "k": 9007199254740993}, "b": 2}']
    out = score("in.jsonl", "\n".join(rows) + "\n", "--keep", "f", columns="x=f.a,b", output="out.jsonl")
    assert [row["f"] for row in lines(out)] == [{"a": 1.5, "k": 9007199254740993}]
    assert [error["row"] for error in lines(score.errors)] == [0]
    assert "9007199254740993 is a whole number that no double holds" in lines(score.errors)[0]["reason"]


def test_lists_with_wide_numbers_that_nothing_reads_are_json_text_in_parquet(score):
    rows = ['{"a": 1, "b": 2, "v": [9007199254740993, 1.5]}', '{"a": 1, "b": 2, "v": [1]}']
    out = score("in.jsonl", "\n".join(rows) + "\n", "--keep", "v", output="out.parquet")
    assert pq.read_table(out)["v"].to_pylist() == ["[9007199254740993, 1.5]", "[1]"]


def test_tensors_that_are_null_fail_their_rows_in_parquet(score, tmp_path):
    kind = pa.fixed_shape_tensor(pa.float32(), [2])
    tensors = pa.ExtensionArray.from_storage(kind, pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32(), 2)))
    table = pa.table({"t": tensors, "a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    data = sink.getvalue().to_pybytes()
    out = score("in.arrow", data, "--keep", "t", "--narrow", output="out.parquet")
    assert pq.read_table(out)["t"].to_pylist() == [[1, 2], [3, 4]]
    assert [(error["row"], error["reason"][:32]) for error in lines(score.errors)] == [
        (1, "a null tensor in column 't', whi")
    ]
    out = score("in.arrow", data, "--keep", "t", "--narrow", output="out.jsonl")
    assert [row["t"] for row in lines(out)] == [[1, 2], None, [3, 4]]


def test_values_of_json_that_are_declared_texts_are_as_they_are_written(score):
    values = ["1.50", '"2\\u00e4"', '[1, "a"]', "true", "null", "9007199254740993", '{"a": 1}']
    rows = "".join(f'{{"a": 1, "b": 2, "v": {value}}}\n' for value in values)
    out = score("in.jsonl", rows, "--keep", "v", "--types", "v:string", output="out.parquet")
    assert pq.read_table(out)["v"].to_pylist() == ["1.50", "2ä", *values[2:4], None, *values[5:]]
