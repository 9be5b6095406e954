"""Jobs with `--resume` that write to a store, killed with -9 and gone on with, while requests fail."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.score import main
from tests.killed_job import kill_at

GROUPS, ROWS = 6, 4000


@pytest.fixture
def large(command):
    """Six row groups that are a split each; every 997th row fails."""
    rows = GROUPS * ROWS
    rng = np.random.default_rng(1)
    columns = {name: rng.standard_normal(rows).astype(np.float32) for name in "abcd"}
    ids = np.arange(rows)
    columns["d"] = pa.array(columns["d"], mask=ids % 997 == 0)
    pq.write_table(pa.table({"id": ids, **columns}), command.data, row_group_size=ROWS)
    return command


def argv(command, output: str, errors: str) -> list[str]:
    given = ["--model", str(command.model), "--input", str(command.data), "--output", output, "--columns", "x=a,b,c,d"]
    given += ["--keep", "id", "--errors", errors, "--workers", "2", "--worker_type", "thread", "--resume", "--quiet"]
    return [*given, "--batch_size", "256", "--summary", str(command.folder / "s.json"), "--overwrite"]


FAULTS = {5: "503", 17: "cut", 29: "lost"}
"""Of forty requests one fails at the server, one on its way, and of one the answer is lost."""


@pytest.mark.parametrize(
    ("scheme", "output", "moment", "count"),
    [
        ("s3", "preds.csv", "written", 3),
        ("s3", "preds-*.jsonl", "named", 0),
        ("s3", "preds.parquet", "over", 0),
        ("gs", "preds-*.csv", "written", 5),
        ("gs", "preds.parquet", "all done", 0),
    ],
)
def test_what_was_killed_goes_on_at_a_store(stores, large, scheme: str, output: str, moment: str, count: int):
    store = stores(scheme)
    store.clear()
    whole, out = (f"{store.root}/{name}/{output}" for name in ("whole", "out"))
    assert main(argv(large, whole, f"{store.root}/whole/e.jsonl")) == 0
    given = argv(large, out, f"{store.root}/out/e.jsonl")
    store.proxy.fault = lambda request: FAULTS.get(request.number % 40)
    kill_at(moment, count, large.folder, given, **store.environment)
    assert not any(name.startswith("out/preds") for name in store.names("out")) or moment == "over"
    assert main(given) == 0
    store.proxy.reset()
    told = json.loads((large.folder / "s.json").read_text())
    assert told["resumed"]["splits"] >= (3 if moment == "written" else GROUPS)
    assert told["rows_in"] == GROUPS * ROWS and told["resumed"]["scored_again"] <= 2
    names = store.names("out")
    assert [name.replace("out/", "whole/") for name in names] == store.names("whole")
    for name in names:
        assert store.get(name) == store.get(name.replace("out/", "whole/")), name
    if store.scheme == "s3":
        assert not store.fs.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads")


def test_what_another_job_left_is_dropped(s3, large):
    out = f"{s3.root}/out/preds.csv"
    kill_at("written", 3, large.folder, argv(large, out, f"{s3.root}/out/e.jsonl"), **s3.environment)
    code, _, err = large.run("--resume", "--keep", "id,a", output=out)
    assert code == 3 and "--keep was id, now id a" in err and "3 splits that had been finished are dropped" in err
    assert s3.names("out") == ["out/preds.csv"]
