"""`bs.score` and pipelines of one's own in one process, whichever comes first: each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.conftest import Mlp

ROOT = Path(__file__).parents[2]

SCORE = """
import beamsplit as bs
result = bs.score({table!r}, {model!r}, columns={{"x": list("abcd")}}, workers=2)
assert result.rows == 20, result
"""

BEAM = """
import apache_beam as beam
with beam.Pipeline("FnApiRunner") as pipeline:
    (
        pipeline
        | beam.io.ReadFromCsv({csv!r})
        | bs.Score({model!r}, columns={{"x": list("abcd")}}, keep="id")
    ).predictions | beam.Map(lambda row: print("row", row.id))
assert beam.io.ReadFromBigQuery and beam.io.WriteToBigQuery and beam.io.ReadFromPubSub
"""


@pytest.mark.parametrize("first", ["ours", "beam's"])
def test_all_of_beam_is_there_whichever_comes_first(mlp: Mlp, tmp_path: Path, first: str):
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.csv.write_csv(mlp.table, tmp_path / "t.csv")
    pyarrow.parquet.write_table(mlp.table, tmp_path / "t.parquet")
    names = {"table": str(tmp_path / "t.parquet"), "csv": str(tmp_path / "t.csv"), "model": mlp.path}
    parts = [SCORE.format(**names), BEAM.format(**names)]
    code = "\n".join(["import beamsplit as bs", *(parts if first == "ours" else reversed(parts))])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == sorted(["", *(f"row {at}" for at in range(20))])
    # Workers that are threads are what is wanted: Beam's doubts are no news to the user.
    assert "direct_num_workers" not in done.stderr
