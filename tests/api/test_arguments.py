"""Wrong use of the public names: one line that says what is wanted, and never an error from inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import beamsplit as bs
from tests.api.conftest import Mlp

TAKES_A_MODEL = [bs.Score, bs.Scorer, bs.OnnxModelHandler]


@pytest.mark.parametrize("kind", TAKES_A_MODEL)
@pytest.mark.parametrize("model", [None, 5, b"m.onnx", ""])
def test_a_model_is_a_path(kind: Callable[..., Any], model: Any):
    with pytest.raises(bs.UsageError, match=r"model is .*; give the path of a file, as a text or a Path"):
        kind(model)


@pytest.mark.parametrize("kind", TAKES_A_MODEL)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schema": {"a": "int64"}}, r"schema is \{'a': 'int64'\}; give a pyarrow.Schema, or text such as"),
        ({"schema": "a;b"}, "is no field; write NAME:TYPE"),
        ({"sample": 3}, "sample: the data is a int, which is no table"),
        ({"sample": []}, "sample: the data is an empty list"),
        ({"schema": "q:int64", "sample": [{"a": 1}]}, "sample: the rows have no column 'q'"),
        ({"columns": {"x": None}}, "--columns is given None; give the name of a column, or a list of names"),
        ({"columns": {"x": [["a"]]}}, "--columns is given .*; give the name of a column"),
        ({"keep": 3}, "--keep is given 3; give the name of a column"),
        ({"keep": {"a"}}, "--keep is given"),
        ({"keep": (name for name in "ab")}, "--keep is given <generator"),
        ({"finish": lambda block: block}, "which workers cannot import; define it in a module, give it as module:fun"),
        ({"narrow": "yes"}, "--narrow is on or off"),
    ],
)
def test_arguments_that_several_names_have(mlp: Mlp, kind: Callable[..., Any], given: dict, message: str):
    with pytest.raises(bs.UsageError, match=message) as told:
        kind(mlp.path, **given)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_batch_size": 0}, "min_batch_size is 0; give a whole number above 0"),
        ({"max_batch_size": "many"}, "max_batch_size is 'many'"),
        ({"min_batch_size": 9, "max_batch_size": 3}, "min_batch_size is 9 and max_batch_size 3"),
        ({"max_batch_duration_secs": -1}, "max_batch_duration_secs is -1; give seconds above 0"),
        ({"model_copies": True}, "model_copies is True"),
        ({"env_vars": 3}, "env_vars is 3; give a dict"),
    ],
)
def test_arguments_on_batching(mlp: Mlp, given: dict, message: str):
    with pytest.raises(bs.UsageError, match=message):
        bs.OnnxModelHandler(mlp.path, **given)


@pytest.mark.parametrize(
    ("input", "given", "message"),
    [
        (None, {}, "input is None; give the path of a file, a pattern"),
        ([], {}, r"input is \[\]; give the path of a file"),
        (pa.table({"a": [1]}), {}, "input is pyarrow.Table .*; give the path .* bs.Scorer scores tables in memory"),
        ("in.csv", {"output": 3}, "output is 3; give where to write"),
        ("in.csv", {"errors": 3}, "errors is 3; give where to write"),
        ("in.csv", {"beam_args": "--streaming"}, "beam_args is '--streaming'; give a list of options"),
        ("in.csv", {"dry_run_plan": True}, "dry_run_plan runs nothing, so that there is no result"),
    ],
)
def test_jobs(mlp: Mlp, input: Any, given: dict, message: str):
    with pytest.raises(bs.UsageError, match=message):
        bs.score(input, mlp.path, **given)
    with pytest.raises(bs.UsageError, match="model is None; give the ONNX file"):
        bs.score("in.csv", None)  # type: ignore[arg-type]


def test_plans(mlp: Mlp, tmp_path: Path):
    with pytest.raises(bs.UsageError, match="model is None"):
        bs.plan(None)  # type: ignore[arg-type]
    with pytest.raises(bs.UsageError, match=r"sample is pyarrow.Table"):
        bs.plan(mlp.path, sample=mlp.table)  # type: ignore[arg-type]
    made = bs.plan(mlp.path, stages=2)
    for write in (made.save, made.report):
        with pytest.raises(bs.UsageError, match="path is None; give where to write"):
            write(None)  # type: ignore[arg-type]


def test_rows_of_numbers_of_pythons_own_as_a_sample(mlp: Mlp):
    scorer = mlp.scorer(sample=mlp.rows())
    assert scorer.output_schema().names == ["id", "y"]
    assert [row["id"] for row in scorer(mlp.rows())] == list(range(20))


def test_tables_that_are_none(mlp: Mlp):
    scorer = mlp.scorer()
    batch = pa.RecordBatch.from_arrays([pa.array([1.0], pa.float32())] * 6, [*"aabcd", "id"])
    with pytest.raises(bs.UsageError, match="the rows have 2 columns 'a'; rename all but one of them"):
        scorer(batch)
    with pytest.raises(bs.UsageError, match="'a' has rows of unlike numbers of axes"):
        scorer({"a": [np.zeros(2), np.zeros((2, 2))]})
    with pytest.raises(bs.UsageError, match="--keep names id, and the data has the columns a, b, c, d"):
        scorer([{name: 1.0 for name in "abcd"}])


def test_rows_keep_what_the_model_does_not_read_as_it_is(mlp: Mlp):
    odd = [object(), {"any": "thing"}, 3]
    rows = [{**row, "id": odd[at % 3], 7: "no column", "more": odd[at % 3]} for at, row in enumerate(mlp.rows())]
    scorer = mlp.scorer(errors="return")
    rows[2]["a"] = None
    scored = scorer(rows)
    assert [row["id"] for row in scored.predictions] == [odd[at % 3] for at in range(20) if at != 2]
    assert [list(row) for row in scored.predictions] == [["id", "y"]] * 19
    np.testing.assert_allclose([row["y"] for row in scored.predictions], np.delete(mlp.y, 2, 0), rtol=1e-5, atol=1e-6)
    assert [(error.file, error.row) for error in scored.errors] == [('{"id": 3}', 2)]
    assert scorer.output_schema().names == ["id", "y"]


def test_all_columns_are_kept(mlp: Mlp):
    scorer = bs.Scorer(mlp.path, columns=mlp.options["columns"], keep="*")
    assert scorer(mlp.table).schema.names == ["id", *"abcd", "y"]
    assert list(scorer(mlp.rows())[0]) == ["id", *"abcd", "y"]
