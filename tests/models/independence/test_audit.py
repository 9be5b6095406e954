"""`--audit`: rows that are scored once more, each alone."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.scoring.audit import Audit, audit_rows, draw
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.pipelines.options.texts import read_audit
from beamsplit.pipelines.score import main
from tests import onnx_models
from tests.models.independence.judged import COUNTS, DETECTIONS, above_half, block, fitted, save

FAR = 5_000
"""A row behind those that are looked at before a job."""

HIDDEN = """g (float[N,3] x) => (float[N,3] y) { z = Constant<value_float=123.0>() g = Equal(x, z) f = Cast<to=1>(g)
    m = ReduceMax<keepdims=0>(f) y = Add(x, m) }"""
"""Rows that have nothing to do with one another, but where one is 123: no probe finds that."""


@pytest.mark.parametrize(("text", "found"), [("7", (7, False)), ("warn", (100, True)), ("7:warn", (7, True))])
def test_how_many_and_what_then(text: str, found: tuple[int, bool]) -> None:
    assert read_audit(text) == found


@pytest.mark.parametrize("text", ["0", "-1", "x", "7:", "7:fail", "warn:7", ""])
def test_what_is_no_audit(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is none of N, warn and N:warn"):
        read_audit(text)


@pytest.mark.parametrize(("share", "rows", "least", "most"), [(1.0, 9, 9, 9), (0.5, 1000, 500, 500), (1e-9, 5, 1, 1)])
def test_rows_are_drawn_by_their_share_and_one_at_least(share: float, rows: int, least: int, most: int) -> None:
    drawn = draw(Audit(share), rows, np.random.default_rng(0), first=True)
    assert least <= len(drawn) <= most
    assert (np.diff(drawn) > 0).all() and drawn.max() < rows


def test_what_a_share_leaves_over_a_whole_row_is_drawn_as_often() -> None:
    rng = np.random.default_rng(0)
    counts = [len(draw(Audit(0.25), 10, rng, first=False)) for _ in range(400)]
    assert set(counts) == {2, 3}
    assert abs(np.mean(counts) - 2.5) < 0.1


def test_rows_of_a_mixing_model_differ_and_others_do_not(tmp_path: Path) -> None:
    path = save("g (float[N,3] x) => (float[N,3] y) { m = ReduceMax<axes=[0]>(x) y = Div(x, m) }", tmp_path)
    values = np.array([[1, 1, 1], [4, 4, 4], [2, 2, 2]], np.float32)
    made, rows = fitted(path, values)
    forced = Scorer(replace(made.plan, row_by_row=False, batch_size=3), made.session)
    found = audit_rows(forced, rows, forced.score(rows), [0, 1, 2])
    assert [row for row, _ in found.differing] == [0, 2]
    assert "output y is off by 0.75" in found.differing[0][1]
    right = Scorer(made.plan, made.session)
    assert audit_rows(right, rows, right.score(rows), [0, 1, 2]).differing == ()


def test_positions_are_those_of_the_block_where_rows_failed(tmp_path: Path) -> None:
    path = save("g (float[N,3] x) => (float[N,3] y) { m = ReduceMax<axes=[0]>(x) y = Div(x, m) }", tmp_path)
    values = np.array([[1, 1, 1], [4, 4, 4], [2, 2, 2]], np.float32)
    made, rows = fitted(path, values)
    kind = rows.column(0).type
    holes = pa.ExtensionArray.from_storage(kind, pa.array([None, *values[1:].tolist()], kind.storage_type))
    rows = pa.record_batch({"x": holes})
    forced = Scorer(replace(made.plan, row_by_row=False, batch_size=3), made.session)
    scored = forced.score(rows)
    assert [row for row, _ in audit_rows(forced, rows, scored, [0, 1]).differing] == [2]


def test_lists_are_compared(tmp_path: Path) -> None:
    path = save(f"g (float[N,4] x) => (float[d] y) {DETECTIONS}", tmp_path)
    made, rows = fitted(path, above_half(COUNTS))
    scorer = Scorer(made.plan, made.session)
    scored = scorer.score(rows)
    assert audit_rows(scorer, rows, scored, range(len(COUNTS))).differing == ()
    other = replace(scored, columns=[pa.concat_arrays([scored.columns[0][1:], scored.columns[0][:1]])])
    assert len(audit_rows(scorer, rows, other, range(len(COUNTS))).differing) == len(COUNTS)


def files(tmp_path: Path) -> list[str]:
    values = np.random.default_rng(0).standard_normal((FAR + 100, 3), dtype=np.float32)
    values[FAR] = 123
    path = save(HIDDEN, tmp_path)
    table = pa.Table.from_batches([block(values)])
    pq.write_table(table, tmp_path / "x.parquet")
    return ["--model", path, "--input", str(tmp_path / "x.parquet"), "--output", str(tmp_path / "y.parquet")]


def test_a_job_that_mixes_rows_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*files(tmp_path), "--workers", "1", "--batch_size", "64", "--audit", "100000"]
    assert main(given) == 1
    error = capsys.readouterr().err
    assert "audited rows come out otherwise than each alone, the first row" in error
    assert "--audit warn only tells" in error and "Traceback" not in error


def test_a_job_that_mixes_rows_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = tmp_path / "s.json"
    given = [*files(tmp_path), "--workers", "1", "--batch_size", "64", "--audit", "100000:warn"]
    assert main([*given, "--summary", str(summary)]) == 0
    told = json.loads(summary.read_text())
    assert told["rows_audited"] == FAR + 100 and 0 < told["rows_audited_differing"] < 64
    assert "audit    5,100 rows scored again, each alone: " in capsys.readouterr().out


def test_a_job_of_independent_rows_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_models.save(onnx_models.mlp(features=3), tmp_path / "m.onnx")
    values = np.random.default_rng(0).standard_normal((500, 3), dtype=np.float32)
    pq.write_table(pa.Table.from_batches([block(values)]), tmp_path / "x.parquet")
    given = ["--model", path, "--input", str(tmp_path / "x.parquet"), "--output", str(tmp_path / "y.parquet")]
    assert main([*given, "--workers", "1", "--audit", "20"]) == 0
    assert "audit    20 rows scored again, each alone: all alike" in capsys.readouterr().out


def test_random_numbers_cannot_be_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save("g (float[N,3] x) => (float[N,3] y) { r = RandomNormalLike(x) y = Add(x, r) }", tmp_path)
    pq.write_table(pa.Table.from_batches([block(np.ones((5, 3), np.float32))]), tmp_path / "x.parquet")
    given = ["--model", path, "--input", str(tmp_path / "x.parquet"), "--output", str(tmp_path / "y.parquet")]
    assert main([*given, "--audit"]) == 2
    assert "draws random numbers (RandomNormalLike)" in capsys.readouterr().err
