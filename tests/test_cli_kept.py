"""Kept columns come out as they went in, from the command line."""

from __future__ import annotations

import csv

import pyarrow.parquet as pq
import pytest

from pipelines.score import main
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
        assert main([str(part) for part in argv]) == code
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
    assert (error["row"], error["reason"]) == (1, "column 'city': 'm\\xfcnchen' is not UTF-8")
