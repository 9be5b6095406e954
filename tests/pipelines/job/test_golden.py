from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import beamsplit as bs
from beamsplit.pipelines.api.model_options import read_options
from beamsplit.pipelines.api.planned_steps import Place, plan_model
from beamsplit.transforms.infer.updating import UpdatingInferStep
from tests import onnx_models
from tests.onnx_models import save

ROWS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
SCHEMA = pa.schema([("x", pa.list_(pa.float32())), ("id", pa.int64())])


def plan(tmp_path: Path, **options: Any) -> UpdatingInferStep:
    path = save(onnx_models.mlp(4, outputs=2), tmp_path / "m.onnx")
    (tmp_path / "models").mkdir(exist_ok=True)
    given = {"model_updates": str(tmp_path / "models"), "keep": "id", "model_check_tolerance": 0.1, **options}
    planned = plan_model(read_options("Score", path, given), SCHEMA, None, Place(1))
    (step,) = (step for _, step in planned.steps if isinstance(step, UpdatingInferStep))
    return step


def golden(tmp_path: Path, columns: dict[str, Any], name: str = "golden.parquet") -> str:
    pq.write_table(pa.table(columns), tmp_path / name)
    return str(tmp_path / name)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_rows_are_read_as_messages_are(tmp_path: Path, kind: pa.DataType):
    """A field that nothing reads may be missing, others may be there; floats are rounded as those of JSON are."""
    path = golden(tmp_path, {"more": list("abcdef"), "x": pa.array(ROWS.tolist(), pa.list_(kind, 4))})
    check = plan(tmp_path, model_check=path).updates.check
    assert check is not None and check.rows.schema.names == ["x"]
    np.testing.assert_array_equal(np.array(check.rows["x"].to_pylist(), np.float32), ROWS)


def test_of_json_lines(tmp_path: Path):
    (tmp_path / "golden.jsonl").write_text('{"x": [1, 2, 3, 0.1]}\n')
    check = plan(tmp_path, model_check=str(tmp_path / "golden.jsonl")).updates.check
    assert check is not None and check.rows["x"].to_pylist() == [[1, 2, 3, float(np.float32(0.1))]]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"y": [1.0]}, "has no column 'x', only y; give it the fields of messages: x: list<item: float>"),
        ({"x": pa.array([], pa.list_(pa.float32()))}, "has no rows"),
        ({"x": [["a"]]}, "the column 'x' is list<.*string>, and messages hold list<item: float>, which row 0 is not"),
        ({"x": [[1.0] * 4, [1.0] * 3]}, r"--model cannot score 1 of 2 rows, the first 1: .*; leave them out"),
        ({"x": [[1.0] * 4, None]}, "--model cannot score 1 of 2 rows, the first 1: .*null"),
        ({"x": [[1.0] * 4] * 10_001}, "has more than 10,000 rows"),
    ],
)
def test_rows_that_will_not_do(tmp_path: Path, columns: dict[str, Any], told: str):
    with pytest.raises(bs.UsageError, match=told):
        plan(tmp_path, model_check=golden(tmp_path, columns))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model_check_tolerance": None}, "needs to know by how much"),
        ({"model_check": None}, "add --model_check GOLDEN"),
        ({"model_updates": None}, "add --model_updates FOLDER"),
        ({"model_check": "nowhere.parquet"}, r"nowhere\.parquet"),
        ({"model_check_tolerance": {"": 0.1, "z": "1%"}}, "names the output 'z', and the model has y"),
        ({"model_check_tolerance": "-1"}, "neither a number from 0 nor a share"),
        ({"model_check_tolerance": "nan"}, "neither a number from 0 nor a share"),
        ({"model_check_tolerance": "1,2"}, "says two things of all outputs"),
        ({"model_check_tolerance": "y=1,y=2"}, "says two things of output 'y'"),
        ({"model_check_tolerance": "y="}, "neither a number from 0 nor a share"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: dict[str, Any], told: str):
    path = golden(tmp_path, {"x": ROWS.tolist()})
    with pytest.raises(bs.UsageError, match=told):
        plan(tmp_path, **{"model_check": path, **options})
