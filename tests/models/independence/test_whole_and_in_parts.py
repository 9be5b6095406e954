"""Rows that mix come out as each row alone however the job is run: whole, in stages, in shards, from a schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.graph.signature import TensorSpec
from beamsplit.pipelines.plan import main as plan
from beamsplit.pipelines.score import main as score
from beamsplit.transforms.kafka.schema import message_schema, sample_of
from tests.models.independence.judged import ALIKE, OPTIONS, alone, block, save

MIXED = "{ a = Relu(x) b = MatMul(a, w) m = ReduceMax<axes=[0]>(b) c = Div(b, m) d = MatMul(c, w) y = Relu(d) }"


def job(folder: Path, rows: str) -> tuple[str, list[str]]:
    path = save(f"g (float[{rows},3] x) => (float[{rows},3] y) {MIXED}", folder, w=np.eye(3, dtype=np.float32))
    pq.write_table(pa.Table.from_batches([block(ALIKE)]), folder / "x.parquet")
    return path, ["--model", path, "--input", str(folder / "x.parquet"), "--output", str(folder / "y.parquet")]


@pytest.mark.parametrize("rows", ["N", "1"])
@pytest.mark.parametrize(
    "parts",
    [
        [],
        ["--stages", "2"],
        ["--stages", "3", "--placement", "distributed", "--worker_type", "thread"],
        ["--shards", "2", "--worker_type", "thread"],
        ["--coupled_rows", "accept"],
    ],
    ids=" ".join,
)
def test_each_row_as_alone(tmp_path: Path, rows: str, parts: list[str]) -> None:
    path, given = job(tmp_path, rows)
    assert score([*given, "--num_shards", "1", "--workers", "1", "--quiet", *parts]) == 0
    got = pq.read_table(tmp_path / "y.parquet")["y"].to_pylist()
    wanted = sorted(np.concatenate(alone(path, ALIKE)).tolist())
    np.testing.assert_allclose(sorted(got), wanted, rtol=1e-6)


def test_the_plan_names_where_the_proof_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, given = job(tmp_path, "N")
    assert score([*given, "--dry_run_plan"]) == 0
    out = capsys.readouterr().out
    assert "rows are not proven to be independent (at ReduceMax 'm': it works along the axis of the rows)" in out
    assert plan(["--model", path, "--stages", "2", "--output", str(tmp_path / "p.json")]) == 0
    assert "at ReduceMax 'm'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "way",
    [["--shards", "2"], ["--shards", "auto", "--micro_batch", "4"], ["--strategy", "auto", "--workers", "2"]],
    ids=" ".join,
)
def test_every_plan_names_where_the_proof_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], way: list[str]
) -> None:
    path, _ = job(tmp_path, "N")
    assert plan(["--model", path, "--sample", str(tmp_path / "x.parquet"), *way]) == 0
    assert "note: rows are not proven to be independent (at ReduceMax 'm'" in capsys.readouterr().err


def test_a_job_says_that_its_rows_are_only_probed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save("g (float[N,2,2] x) => (float[N] y) { y = Det(x) }", tmp_path)
    rows = block(np.random.default_rng(0).standard_normal((9, 2, 2), dtype=np.float32))
    pq.write_table(pa.Table.from_batches([rows]), tmp_path / "x.parquet")
    given = ["--model", path, "--input", str(tmp_path / "x.parquet"), "--output", str(tmp_path / "y.parquet")]
    assert score([*given, "--workers", "1", "--num_shards", "1"]) == 0
    told = capsys.readouterr()
    assert "rows are probed, not proven, to be independent (at Det 'y'" in told.err + told.out


def test_the_plan_says_that_rows_are_proven_to_be_independent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, given = job(tmp_path, "N")
    save("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }", tmp_path)
    assert score([*given, "--dry_run_plan"]) == 0
    assert "rows are independent: proven" in capsys.readouterr().out


def test_rows_made_up_from_a_schema_are_held_to_the_same(tmp_path: Path) -> None:
    path, _ = job(tmp_path, "N")
    fields: dict[str, Any] = {"x": TensorSpec("x", "float32", (3,))}
    schema = message_schema("json", fields)
    made = fit(path, OPTIONS, schema, sample_of(schema, fields), DataFacts(text_source=True))
    assert made.plan.row_by_row
