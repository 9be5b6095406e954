"""Topics and files by the command, against the broker that librdkafka has for tests: no Java, all in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.command import Command, lines
from tests.pipelines.job.declared import written
from tests.transforms.kafka.topic_command import Broker, kafka


@pytest.fixture
def broker() -> Broker:
    return Broker()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def log(command: Command, broker: Broker, tmp_path: Path) -> Run:
    """`score` with a model x: [rows, 1] -> y = log(x) over the topic `in`, which is -inf of 0 and NaN of -1."""
    model = written(tmp_path / "log.onnx", "g (float[n,1] x) => (float[n,1] y) { y = Log(x) }")

    def run(output: Path, *options: object) -> tuple[int, str, str]:
        few = ("--until_end", "--num_shards", "1", "--workers", "1", "--quiet")
        return command.run(*few, *options, model=model, input=broker.uri(), output=output, columns=None)

    return run


def test_messages_are_scored_and_say_where_they_were(broker: Broker, log: Run, tmp_path: Path):
    broker.send({"x": 1, "id": "a"}, {"x": [1.0], "id": "b"}, b"no JSON", {"id": "c"})
    broker.send({"x": 1, "id": "d"}, partition=2)
    more = ("--keep", "id", "--schema", "x:float32,id:string", "--errors", tmp_path / "e.jsonl", "--max_failed", "2")
    code, _, err = log(tmp_path / "o.jsonl", *more)
    assert code == 0, err
    found = lines(tmp_path / "o.jsonl")
    assert {(row["id"], row["input_partition"], row["input_offset"]) for row in found} == {
        ("a", 0, 0),
        ("b", 0, 1),
        ("d", 2, 0),
    }
    assert all(row["y"] in (0, [0], 0.0, [0.0]) for row in found)
    failed = {(error["partition"], error["offset"]): error["reason"] for error in lines(tmp_path / "e.jsonl")}
    assert failed.keys() == {(0, 2), (0, 3)} and failed[0, 3].startswith("null in column 'x'")


@pytest.mark.parametrize(
    ("options", "expected", "failed"),
    [([], [0.0], 2), (["--json_nan", "null"], [0.0, None, None], 0)],
)
def test_numbers_that_json_has_not(
    broker: Broker, log: Run, tmp_path: Path, options: list[str], expected: list[Any], failed: int
):
    broker.send({"x": 1}, {"x": 0}, {"x": -1})
    code, _, err = log(tmp_path / "o.jsonl", *options, "--errors", tmp_path / "e.jsonl", "--max_failed", "3")
    assert code == 0, err
    found = [json.loads(line)["y"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [one[0] if isinstance(one, list) else one for one in found] == expected
    assert len(lines(tmp_path / "e.jsonl")) == failed


def test_parquet_has_them_all(broker: Broker, log: Run, tmp_path: Path):
    broker.send({"x": 1}, {"x": 0}, {"x": -1})
    assert log(tmp_path / "o.parquet")[0] == 0
    first, second, third = pq.read_table(tmp_path / "o.parquet")["y"].to_numpy()
    assert (first, second) == (0.0, -float("inf")) and third != third
    code, out, err = log(tmp_path / "p.parquet", "--json_nan", "null")
    assert (code, out) == (2, "") and "--json_nan null is for JSON, and --output" in err
    assert not (tmp_path / "p.parquet").exists()


@pytest.mark.parametrize("formats", [(), ("--format", "arrow", "--output_format", "tensor")])
def test_a_stream_is_planned(broker: Broker, command: Command, formats: tuple[str, ...]):
    broker.send(b"", topic="out")
    broker.send(b"")
    ends = {"input": broker.uri(), "output": broker.uri("out"), "columns": "x=x"}
    code, out, err = command.run("--dry_run_plan", "--workers", "1", "--batch_size", "8", *formats, **ends)
    assert code == 0, err
    plan = dict(line.split(maxsplit=1) for line in out.splitlines() if len(line.split(maxsplit=1)) == 2)
    assert plan["input"].startswith(broker.uri()) and plan["inputs"].startswith("x: float32[")
    assert plan["output"] == f"{broker.uri('out')}, {'tensor' if formats else 'json'}"


def test_files_go_to_a_topic_and_come_back(broker: Broker, command: Command, tmp_path: Path):
    broker.send(b"{}")
    broker.send(b"{}", topic="out")
    code, _, err = command.run("--keep", "id", "--workers", "1", "--quiet", output=broker.uri("out"))
    assert code == 0, err
    consumer = kafka.Consumer({"bootstrap.servers": broker.uri().split("/")[2], "group.id": "g"})
    consumer.assign([kafka.TopicPartition("out", at, kafka.OFFSET_BEGINNING) for at in range(4)])
    rows: list[Any] = []
    while len(rows) < 601:
        found = consumer.consume(601, 60)
        assert found and not any(one.error() for one in found)
        rows += [json.loads(one.value()) for one in found]
    consumer.close()
    assert sorted(row["id"] for row in rows if row) == list(range(600))
