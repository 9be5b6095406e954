"""Files to a topic, and a topic up to its end to files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.runners.local import KafkaBroker
from tests.services.streams import Stream, rows

pytest.importorskip("confluent_kafka")


@pytest.fixture
def stream(broker: KafkaBroker, tmp_path: Path) -> Iterator[Stream]:
    made = Stream(broker, tmp_path)
    yield made
    made.close()


def whole(stream: Stream, x: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(str(stream.model)).run(None, {"x": x})[0]


def test_rows_of_files_become_messages_that_tell_their_row(stream: Stream, tmp_path: Path):
    x = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    lists = [None if i == 7 else row for i, row in enumerate(x.tolist())]
    pq.write_table(pa.table({"x": lists, "id": range(500)}), tmp_path / "in.parquet", row_group_size=100)
    errors = stream.broker.create_topic(f"errors-{stream.input}")
    code, out, err = stream.run(
        "--errors", stream.uri(errors), "--keep", "id", "--workers", "2", "--model_version", "header", "--narrow",
        input=str(tmp_path / "in.parquet"),
    )  # fmt: skip
    assert code == 0, err
    assert "500 in, 499 scored, 1 failed" in out and stream.uri(stream.output) in out
    made = {}
    for message in stream.read(stream.output):
        headers = dict(message.headers())
        value = json.loads(message.value())
        assert headers["input.file"].decode() == str(tmp_path / "in.parquet") and len(headers["model.version"]) == 12
        assert int(headers["input.row"]) == value["id"]
        made[value["id"]] = value["y"]
    assert sorted(made) == [i for i in range(500) if i != 7]
    np.testing.assert_allclose([made[i] for i in sorted(made)], whole(stream, np.delete(x, 7, 0)), rtol=1e-4, atol=1e-5)
    (failed,) = stream.read(errors)
    told = json.loads(failed.value())
    assert (told["file"], told["row"]) == (str(tmp_path / "in.parquet"), 7)
    assert dict(failed.headers()) == {"input.file": str(tmp_path / "in.parquet").encode(), "input.row": b"7"}


@pytest.mark.parametrize("option", ["output", "errors"])
def test_a_topic_to_write_to_that_is_not_there(stream: Stream, tmp_path: Path, option: str):
    (tmp_path / "in.jsonl").write_text('{"x": [1, 2, 3, 4]}\n')
    files = {"input": str(tmp_path / "in.jsonl"), "output": str(tmp_path / "out.jsonl")}
    code, out, err = stream.run(**{**files, option: stream.uri("nowhere")})
    assert (code, out) == (2, "") and f"error: --{option} " in err and "has no topic 'nowhere'; create it" in err
    assert err.count("\n") == 1 and not list(tmp_path.glob("out*"))


def test_a_topic_up_to_its_end_becomes_files(stream: Stream, tmp_path: Path):
    sent = stream.send([*rows(300), b"oops"])
    errors = tmp_path / "errors.jsonl"
    options = ("--until_end", "--group", "g1", "--workers", "2", "--errors", str(errors))
    code, out, err = stream.run(*options, output=str(tmp_path / "a.parquet"))
    assert code == 0, err
    assert "301 in, 300 scored, 1 failed" in out and stream.committed("g1") == sent
    made = pa.concat_tables(pq.read_table(path) for path in tmp_path.glob("a*.parquet"))
    assert sorted(made["input_key"].to_pylist()) == sorted(f"k{i}" for i in range(300))
    ids = np.array([int(key[1:]) for key in made["input_key"].to_pylist()])
    x = np.stack([ids, *([np.full(300, n) for n in (1, 2, 3)])], axis=1).astype(np.float32)
    np.testing.assert_allclose(made["y"].to_pylist(), whole(stream, x), rtol=1e-4, atol=1e-5)
    (poison,) = (m for m in stream.read(stream.input) if m.key() == b"k300")
    told = json.loads(errors.read_text())
    assert (told["topic"], told["partition"], told["offset"]) == (stream.input, poison.partition(), poison.offset())
    places = zip(made["input_partition"].to_pylist(), made["input_offset"].to_pylist(), strict=True)
    assert len({*places, (poison.partition(), poison.offset())}) == sent

    code, _, err = stream.run(*options, output=str(tmp_path / "a.parquet"))
    assert code == 2 and "would replace the file of the run before" in err and "give --output another name" in err
    stream.send(rows(5, first=1000))
    code, out, err = stream.run("--until_end", "--group", "g1", output=str(tmp_path / "b.jsonl"))
    assert code == 0 and "5 in, 5 scored" in out, err
    code, out, err = stream.run("--until_end", "--quiet", "--num_shards", "1", output=str(tmp_path / "all.csv"))
    assert code == 3 and len((tmp_path / "all.csv").read_text().splitlines()) == 1 + 305, err


def test_a_topic_up_to_its_end_in_parts(stream: Stream, tmp_path: Path):
    stream.send(rows(50))
    code, _, err = stream.run("--until_end", "--stages", "2", output=str(tmp_path / "a.parquet"))
    assert code == 0, err
    assert sum(pq.read_metadata(path).num_rows for path in tmp_path.glob("a*.parquet")) == 50


@pytest.mark.parametrize(
    "runner", [("--runner", "FlinkRunner", "--parallelism", "2"), ("--worker_type", "process", "--workers", "2")]
)
def test_there_and_back_with_workers_that_are_processes(stream: Stream, tmp_path: Path, runner: tuple[str, ...]):
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([*rows(100), b"oops"]) + b"\n")
    errors = str(tmp_path / "errors.jsonl")
    code, out, err = stream.run("--errors", errors, "--keep", "x", *runner, input=str(tmp_path / "in.jsonl"))
    assert code == 0 and "100 scored, 1 failed" in out, err
    options = ("--until_end", "--errors", errors, "--overwrite", *runner)
    code, out, err = stream.run(*options, input=stream.uri(stream.output), output=str(tmp_path / "out.parquet"))
    assert code == 0 and "100 in, 100 scored, 0 failed" in out, err
    made = pq.read_table(tmp_path / "out.parquet")
    x = np.array([[i, 1, 2, 3] for i in range(100)], np.float32)
    np.testing.assert_allclose(sorted(made["y"].to_pylist()), sorted(whole(stream, x).tolist()), rtol=1e-4, atol=1e-5)
    assert Path(errors).read_text() == ""
