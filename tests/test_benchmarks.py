from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("psutil")
pytest.importorskip("matplotlib")

from benchmarks import batch
from benchmarks.cases import OURS, PLAIN, TUNED, Case, make_cases
from benchmarks.measure import ProgramFailed, peak_private_bytes


def test_a_small_table_through_three_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    data = str(tmp_path / "data")
    options = ["--cases", "tabular_1m", "--scale", "0.002", "--runs", "1", "--data", data, "--out", str(out)]
    assert batch.main([*options, "--programs", OURS, PLAIN, TUNED]) == 0
    report = json.loads((out / "batch.json").read_text())
    by_program = {result["program"]: result for result in report["results"]}
    assert set(by_program) == {OURS, PLAIN, TUNED}
    for result in by_program.values():
        assert result["rows"] == 2_000
        assert len(result["seconds"]) == 1
        assert result["seconds"][0] > 0
        assert result["peak_private_mb"] > 1
    assert by_program[PLAIN]["largest_difference"] is None
    for program in (OURS, TUNED):
        assert 0 <= by_program[program]["largest_difference"] < 1e-4
    assert len(report["goals"]) == 1 and "plain loop, goal 0.75x" in report["goals"][0]
    assert (out / "batch.png").read_bytes().startswith(b"\x89PNG")
    assert "| tabular_1m | tuned loop" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["batch.json", "batch.png"]


@pytest.fixture
def two_programs(monkeypatch: pytest.MonkeyPatch):
    """Runs a case of four rows in which ours gives the values asked for and the plain loop 1, 2, 3, 4."""

    def run(ours: list[float], folder: Path) -> list[batch.Result]:
        def command(self: Case, program: str, output: Path) -> list[str]:
            values = ours if program == OURS else [1.0, 2.0, 3.0, 4.0]
            pq.write_table(pa.table({"y": np.asarray(values, np.float32)}), output)
            return []

        monkeypatch.setattr(Case, "command", command)
        monkeypatch.setattr(batch, "run_seconds", lambda command: 1.0)
        monkeypatch.setattr(batch, "peak_private_bytes", lambda command: 1)
        case = Case("four", "table", 4, Path("rows"), Path("model"), (OURS, PLAIN))
        return batch.run_case(case, [OURS, PLAIN], 1, folder)

    return run


def test_equal_predictions_count(two_programs, tmp_path: Path) -> None:
    assert [result.largest_difference for result in two_programs([1, 2, 3, 4], tmp_path)] == [0.0, None]


@pytest.mark.parametrize(
    ("ours", "why"),
    [([1, 2, 3, 9], "differs from the plain loop"), ([1, 2, 3], "3 rows of 4"), ([np.nan] * 4, "differs")],
    ids=["other value", "missing row", "nan"],
)
def test_other_predictions_are_void(two_programs, tmp_path: Path, ours: list[float], why: str) -> None:
    with pytest.raises(ProgramFailed, match=why):
        two_programs(ours, tmp_path)


def test_memory_of_a_failed_program_is_no_result() -> None:
    import sys

    with pytest.raises(ProgramFailed, match="broken"):
        peak_private_bytes([sys.executable, "-c", "raise SystemExit('broken')"])


@pytest.mark.parametrize("case", ["delta_10m", "s3_1m"])
def test_tables_and_stores_are_read_and_written(tmp_path: Path, case: str) -> None:
    pytest.importorskip("moto.server")
    out = tmp_path / "out"
    options = ["--cases", case, "--scale", "0.001", "--runs", "1", "--data", str(tmp_path / "data"), "--out", str(out)]
    assert batch.main([*options, "--programs", OURS, PLAIN]) == 0
    by_program = {one["program"]: one for one in json.loads((out / "batch.json").read_text())["results"]}
    assert set(by_program) == {OURS, PLAIN} and by_program[OURS]["largest_difference"] < 1e-4


@pytest.mark.parametrize(("name", "kind", "width"), [("embeddings_1m", "table", 384), ("images_tar_10k", "small", 10)])
def test_the_loops_agree(tmp_path: Path, name: str, kind: str, width: int) -> None:
    from benchmarks.alternatives import common, plain_loop, tuned_loop

    (case,) = make_cases([name], tmp_path, 0.0)
    found = []
    for loop in (plain_loop, tuned_loop):
        output = tmp_path / f"{loop.__name__}.parquet"
        getattr(loop, kind)(common.Job(case.kind, case.source, case.model, output))
        found.append(batch.predictions(output))
    assert found[0].shape == (case.rows, width)
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
