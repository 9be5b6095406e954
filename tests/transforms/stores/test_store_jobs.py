"""Jobs whose files all lie at a store."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines import plan as plan_command
from tests import onnx_models
from tests.onnx_models import save


def put_files(store, folder: Path, *names: str) -> None:
    for name in names:
        store.put(name, (folder / name).read_bytes())


def table(store, name: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(store.get(name)))


@pytest.fixture
def expected(command) -> pa.Table:
    """What the same job gives on this machine."""
    assert command.run("--quiet", "--keep", "id")[0] == 0
    return pq.read_table(command.output)


def test_a_job_from_a_store_to_a_store(store, command, expected):
    put_files(store, command.folder, "m.onnx", "data.parquet")
    output = f"{store.root}/out/preds.parquet"
    code, _, err = command.run(
        *("--quiet", "--keep", "id", "--errors", f"{store.root}/out/errors.jsonl"),
        *("--summary", f"{store.root}/out/summary.json"),
        model=f"{store.root}/m.onnx",
        input=f"{store.root}/data.parquet",
        output=output,
    )
    assert (code, err) == (0, "")
    assert table(store, "out/preds.parquet").equals(expected)
    assert store.names("out") == ["out/errors.jsonl", "out/preds.parquet", "out/summary.json"]
    summary = json.loads(store.get("out/summary.json"))
    assert (summary["rows_in"], summary["files"]) == (600, [output])
    assert "very-secret-key" not in json.dumps(summary)


def test_row_groups_are_read_by_ranges(store, command):
    rows, groups = 400_000, 4
    columns = {name: pa.array([float(i % 97) for i in range(rows)], pa.float32()) for name in "abcd"}
    wide = pa.array([f"{i:x}" * 20 for i in range(rows)])
    pq.write_table(
        pa.table({"id": range(rows), **columns, "unused": wide}),
        command.data,
        row_group_size=rows // groups,
        compression="none",
    )
    put_files(store, command.folder, "data.parquet")
    store.proxy.reset()
    code, _, _ = command.run("--quiet", "--workers", "1", input=f"{store.root}/data.parquet")
    assert code == 0
    size = command.data.stat().st_size
    assert store.proxy.sent < size * 0.6  # the column that nobody wants is most of the file


@pytest.mark.parametrize("format", ["csv.gz", "jsonl"])
def test_text_is_read_and_written(store, command, expected, format):
    if format == "csv.gz":
        sink = pa.BufferOutputStream()
        pc.write_csv(command.table, sink)
        store.put("in/data.csv.gz", gzip.compress(sink.getvalue().to_pybytes()))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in command.table.to_pylist())
        store.put("in/data.jsonl", lines.encode())
    code, _, err = command.run(
        *("--quiet", "--keep", "id", "--workers", "1"), input=f"{store.root}/in/*", output=f"{store.root}/p.csv"
    )
    assert (code, err) == (0, "")
    ids = [line.split(",")[0].strip('"') for line in store.get("p.csv").decode().split()[1:]]
    assert ids == [str(row) for row in expected["id"].to_pylist()]


def test_what_is_there_is_found_before_the_job(store, command):
    store.put("p.parquet", b"old")
    store.put("q-00000-of-00002.parquet", b"old")
    store.put("e.jsonl", b"old")
    command.overwrite = False
    assert "p.parquet is there already; add --overwrite" in command.error(output=f"{store.root}/p.parquet")
    assert "q-00000-of-00002.parquet is there; add" in command.error(output=f"{store.root}/q-*.parquet")
    new = f"{store.root}/n.parquet"
    assert "e.jsonl is there already; add" in command.error("--errors", f"{store.root}/e.jsonl", output=new)
    assert store.names() == ["e.jsonl", "p.parquet", "q-00000-of-00002.parquet"]
    command.overwrite = True
    store.put("q-00001-of-00002.parquet", b"old")
    assert command.run("--quiet", "--num_shards", "1", output=f"{store.root}/q-*.parquet")[0] == 0
    assert store.names() == ["e.jsonl", "p.parquet", "q-00000-of-00001.parquet"]


def test_many_small_files(s3, command):
    for at in range(300):
        s3.put(f"in/{at:04d}.bin", np.full(4, at, np.float32).tobytes())
    s3.proxy.reset()
    code, _, err = command.run(
        *("--quiet", "--prepare", "bytes:begin=4,dtype=float32,output=x", "--workers", "1"),
        *("--input_format", "files", "--keep", "path"),
        columns=None,
        input=f"{s3.root}/in/",
    )
    assert (code, err) == (0, "")
    assert pq.read_table(command.output)["path"].to_pylist()[299] == f"{s3.root}/in/0299.bin"
    gets = [one for one in s3.proxy.requests if one.method == "GET" and "/in/" in one.path]
    listings = [one for one in s3.proxy.requests if "list-type" in one.path]
    assert len(listings) <= 3
    assert len(gets) <= 300 + 30  # a few for the sample


def test_small_files_are_asked_for_once(store, command):
    for at in range(40):
        pq.write_table(command.table.slice(at, 1), command.folder / f"{at:02}.parquet")
        store.put(f"in/{at:02}.parquet", (command.folder / f"{at:02}.parquet").read_bytes())
    store.proxy.reset()
    assert command.run("--quiet", "--workers", "1", "--keep", "id", input=f"{store.root}/in/")[0] == 0
    assert command.rows()["id"].to_pylist() == list(range(40))
    assert sum("parquet" in one.path and one.method in ("GET", "HEAD") for one in store.proxy.requests) <= 50
    # What took a file's place is read by the next job of the process.
    store.put("in/07.parquet", (command.folder / "39.parquet").read_bytes())
    assert command.run("--quiet", "--workers", "1", "--keep", "id", input=f"{store.root}/in/")[0] == 0
    assert sorted(command.rows()["id"].to_pylist()) == sorted([*range(7), *range(8, 40), 39])


def test_a_model_with_external_data_and_its_stages(store, command):
    save(onnx_models.mlp(4, outputs=2), command.folder / "big.onnx", external="big.onnx.data")
    put_files(store, command.folder, "big.onnx", "big.onnx.data", "data.parquet")
    model = f"{store.root}/big.onnx"
    argv = ["--model", model, "--stages", "2", "--save_stages", f"{store.root}/stages"]
    assert plan_command.main([*argv, "--output", f"{store.root}/plan.json"]) == 0
    assert "stages/plan.json" in store.names()
    code, _, err = command.run(
        *("--quiet", "--plan", f"{store.root}/stages/plan.json"), model=model, input=f"{store.root}/data.parquet"
    )
    assert code == 0, err


def test_a_password_in_a_name_is_refused_and_not_shown(command):
    for option in ("input", "output", "model"):
        error = command.error(**{option: "s3://me:geheim@bucket/x.parquet"})
        assert f"--{option} has a user or password in front of the bucket: leave them out" in error
        assert "geheim" not in error
    error = command.error("--errors", "gs://me:geheim@bucket/e.jsonl")
    assert "--errors has a user or password" in error and "geheim" not in error


def test_a_bucket_that_is_not_there(store, command):
    error = command.error(output=f"{store.scheme}://no-such-bucket/p.parquet")
    assert "--output" in error and "there is no bucket no-such-bucket at" in error
