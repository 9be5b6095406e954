"""`--nulls` through the command: formats, workers, parts of a model, steps before it."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines import plan
from tests import onnx_models
from tests.command import Command, lines
from tests.onnx_models import save


@pytest.fixture
def holes(command: Command) -> Command:
    """Row 1 has a null in a, row 2 in b."""
    command.table = pa.table(
        {
            "id": [0, 1, 2],
            "a": pa.array([1, None, 3], pa.float32()),
            "b": pa.array([1, 2, None], pa.float32()),
            "c": pa.array([1, 2, 3], pa.float32()),
            "d": pa.array([1, 2, 3], pa.float32()),
        }
    )
    pq.write_table(command.table, command.data)
    return command


def written(command: Command, name: str) -> object:
    path = command.folder / name
    if name.endswith(".parquet"):
        pq.write_table(command.table, path)
    elif name.endswith(".arrow"):
        pyarrow.feather.write_feather(command.table, path)
    elif name.endswith(".csv"):
        path.write_text("id,a,b,c,d\n0,1,1,1,1\n1,,2,2,2\n2,3,NA,3,3\n")
    else:
        rows = [{k: v for k, v in row.items() if (row["id"], k) != (2, "b")} for row in command.table.to_pylist()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def expected(command: Command) -> list[list[float]]:
    """The outputs of the same rows with the values written in."""
    full = command.table.set_column(1, "a", pa.array([1, 5, 3], pa.float32()))
    path = command.folder / "full.parquet"
    pq.write_table(full.set_column(2, "b", pa.array([1, 2, 0.5], pa.float32())), path)
    assert command.run("--keep", "id", "--quiet", input=path)[0] == 0
    return command.rows()["y"].to_pylist()


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.csv", "x.jsonl"])
def test_values_stand_for_nulls_in_every_format(holes: Command, name):
    wanted = expected(holes)
    code, _, err = holes.run("--keep", "id,a", "--nulls", "0.5", "a=5", "--quiet", input=written(holes, name))
    assert (code, err) == (0, "")
    assert holes.rows()["y"].to_pylist() == wanted
    kept = holes.rows()["a"].cast(pa.float64(), safe=False) if name != "x.csv" else None
    assert kept is None or kept.to_pylist() == [1, None, 3]


@pytest.mark.parametrize("more", [["--stages", "2"], ["--shards", "2"], ["--partition", "contiguous"]])
def test_parts_of_a_model_fill_nulls_too(holes: Command, more):
    wanted = expected(holes)
    code, _, err = holes.run("--keep", "id", "--nulls", "0.5", "a=5", "--workers", "2", "--quiet", *more)
    assert code == 0, err
    np.testing.assert_allclose(holes.rows()["y"].to_pylist(), wanted, rtol=1e-6)


def test_nan_stands_for_nulls(holes: Command):
    code, _, err = holes.run("--keep", "id", "--nulls", "nan", "--quiet")
    assert (code, err) == (0, "")
    y = np.array(holes.rows()["y"].to_pylist())
    assert np.isnan(y).all(axis=1).tolist() == [False, True, True]


def test_without_the_option_the_row_fails_and_names_it(holes: Command):
    assert holes.run("--errors", holes.folder / "e.jsonl", "--quiet")[0] == 0
    assert [error["reason"] for error in lines(holes.folder / "e.jsonl")] == [
        f"null in column '{name}'; --nulls {name}=VALUE would fill it" for name in "ab"
    ]


def test_nan_for_whole_numbers_is_refused_before_the_job(command: Command):
    command.model = save(onnx_models.picky(10), command.folder / "picky.onnx")
    pq.write_table(pa.table({"id": [0, 1], "i": pa.array([1, None])}), command.data)
    error = command.error("--nulls", "nan", columns=None)
    assert "--nulls nan: nan is a floating-point number, and column 'i' fills the model's input 'i: int64" in error
    assert "i=error" in error
    code, _, err = command.run("--keep", "id", "--nulls", "i=3", "--quiet", columns=None)
    assert (code, err) == (0, "")
    assert command.rows()["y"].to_pylist() == [[2, 3], [6, 7]]


def test_a_wrong_name_is_refused(holes: Command):
    assert "'aa' is not in the data" in holes.error("--nulls", "aa=0")
    assert "'id' feeds no input" in holes.error("--nulls", "id=0", "--keep", "id")


def test_plan_takes_it_too(holes: Command, capsys):
    given = ["--model", holes.model, "--columns", "x=a,b,c,d", "--stages", "1"]
    assert plan.main([*given, "--sample", str(holes.data), "--nulls", "0.5"]) == 0
    assert plan.main([*given, "--nulls", "0.5"]) == 2
    assert "--columns is for sample rows" in capsys.readouterr().err
    assert plan.main(["--model", holes.model, "--nulls", "0.5"]) == 2
    assert "--nulls is for sample rows" in capsys.readouterr().err


def test_names_with_commas(command: Command):
    names = ["id", "last, first", 'a "b"', "c", "d"]
    pq.write_table(command.table.rename_columns(names), command.data)
    columns = 'x="last, first","a ""b""",c,d'
    code, _, err = command.run("--keep", 'id,"last, first"', "--num_shards", "1", "--quiet", columns=columns)
    assert (code, err) == (0, "")
    assert command.rows().column_names == ["id", "last, first", "y"]
