"""Topics of a registry's schemas by the command, against librdkafka's broker for tests and a registry in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from beamsplit.transforms.kafka.registry import read
from beamsplit.transforms.kafka.registry.framing import frame
from tests.command import Command, lines
from tests.pipelines.job.declared import written
from tests.transforms.kafka.registry.avro_samples import messages
from tests.transforms.kafka.registry.registries import Registered, answering
from tests.transforms.kafka.topic_command import Broker

kafka = pytest.importorskip("confluent_kafka")
pytest.importorskip("confluent_kafka.schema_registry")

ONE = {
    "type": "record",
    "name": "a.Row",
    "fields": [{"name": "x", "type": {"type": "array", "items": "float"}}, {"name": "id", "type": ["null", "string"]}],
}
TWO = {**ONE, "fields": [*ONE["fields"], {"name": "at", "type": ["long", "null"], "default": 5}]}
OUT = {
    "type": "record",
    "name": "a.Out",
    "fields": [
        {"name": "note", "type": "string", "default": "-"},
        {"name": "y", "type": {"type": "array", "items": "double"}},
        {"name": "id", "type": "string"},
    ],
}


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def registered() -> Registered:
    return Registered()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def score(command: Command, broker: Broker, registered: Registered, tmp_path: Path) -> Run:
    """`score` with a model x: [rows, 2] -> y = 2x over the topic `in`, of Avro."""
    model = written(tmp_path / "twice.onnx", "g (float[n,2] x) => (float[n,2] y) { y = Add(x, x) }")

    def run(*options: object, output: object = tmp_path / "o.jsonl", **changed: object) -> tuple[int, str, str]:
        few = ("--until_end", "--workers", "1", "--quiet", "--schema_registry", registered.url)
        few += () if str(output).startswith("kafka:") else ("--num_shards", "1")
        given = {"model": model, "input": broker.uri(), "output": output, "columns": None, **changed}
        few += () if "--format" in options else ("--format", "avro")
        return command.run(*few, *options, **given)

    return run


def framed(schema: Any, id: int, *rows: Any) -> list[bytes]:
    return [frame(id) + body for body in messages(schema, rows)]


def read_topic(broker: Broker, topic: str, count: int) -> list[bytes]:
    consumer = kafka.Consumer({"bootstrap.servers": broker.uri().split("/")[2], "group.id": "g"})
    consumer.assign([kafka.TopicPartition(topic, at, kafka.OFFSET_BEGINNING) for at in range(4)])
    found: list[bytes] = []
    while len(found) < count:
        new = consumer.consume(count, 60)
        assert new and not any(one.error() for one in new)
        found += [one.value() for one in new]
    consumer.close()
    return found


def test_versions_in_one_topic_are_read_by_the_latest_and_bad_messages_told(
    broker: Broker, registered: Registered, score: Run, tmp_path: Path
):
    one, two = registered.add("in-value", ONE), registered.add("in-value", TWO)
    other = registered.add("else", {"type": "record", "name": "a.Else", "fields": [{"name": "z", "type": "int"}]})
    proto = registered.add("proto", "syntax = 'proto3';", "PROTOBUF")
    broker.send(
        *framed(ONE, one, {"x": [1, 2], "id": "a"}),
        *framed(TWO, two, {"x": [3, 4], "id": None, "at": 9}),
        *framed(ONE, one, {"x": [5, 6], "id": "c"}),
        b"no frame",
        frame(99) + b"?",
        frame(other) + b"\2",
        frame(one) + b"\4",
        frame(proto) + b"",
        *framed(ONE, one, {"x": [5], "id": "d"}),
    )
    more = ("--keep", "id,at", "--errors", tmp_path / "e.jsonl", "--max_failed", "6")
    code, _, err = score(*more)
    assert code == 0, err
    assert [(row["id"], row["at"], row["y"]) for row in lines(tmp_path / "o.jsonl")] == [
        ("a", 5, [2, 4]),
        (None, 9, [6, 8]),
        ("c", 5, [10, 12]),
    ]
    reasons = {error["offset"]: (error["stage"], error["reason"]) for error in lines(tmp_path / "e.jsonl")}
    assert {at: stage for at, (stage, _) in reasons.items()} == {**dict.fromkeys(range(3, 8), "read"), 8: "infer"}
    told = ("does not begin with", "no schema of the id 99", "no field 'x'", "cut short", "PROTOBUF")
    for at, why in enumerate(told, 3):
        assert why in reasons[at][1]


def test_a_registry_that_goes_away_ends_the_job_with_one_line(
    broker: Broker, score: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(read, "AWAY_SECONDS", 0.2)
    latest = {"subject": "in-value", "version": 1, "id": 7, "schema": json.dumps(ONE)}
    broker.send(*framed(ONE, 7, {"x": [1, 2], "id": "a"}), frame(8) + b"?")
    with answering((200, latest), (503, {"message": "gone"})) as (url, _):
        code, _, err = score("--schema_registry", url, "--errors", tmp_path / "e.jsonl")
    assert code == 1 and f"--schema_registry {url} does not answer (HTTP 503: gone); start it" in err, err
    assert "Traceback" not in err and not (tmp_path / "o.jsonl").exists()


def test_texts_that_are_none_are_told(broker: Broker, registered: Registered, score: Run, tmp_path: Path):
    id = registered.add("in-value", ONE)
    (good,) = framed(ONE, id, {"x": [1, 2], "id": "ab"})
    broker.send(good, good.replace(b"ab", b"\xff\xfe"), good)
    code, _, err = score("--keep", "id", "--errors", tmp_path / "e.jsonl")
    assert code == 0, err
    assert [row["id"] for row in lines(tmp_path / "o.jsonl")] == ["ab", "ab"]
    (error,) = lines(tmp_path / "e.jsonl")
    assert error["offset"] == 1 and "column 'id'" in error["reason"] and "UTF-8" in error["reason"]


def test_protobuf_goes_in_and_out(broker: Broker, registered: Registered, score: Run, tmp_path: Path, command: Command):
    pytest.importorskip("grpc_tools")
    broker.send(b"", topic="out")
    args = ("--output_format", "protobuf", "--keep", "id", "--quiet", "--workers", "1")
    args = (*args, "--schema_registry", registered.url, "--register_schema", "--output_record", "a.Out")
    code, _, err = command.run(*args, output=broker.uri("out"))
    assert code == 0, err
    latest = registered.latest("out-value").schema.schema_str
    assert "package a;" in latest and "repeated float y = 2;" in latest
    args = ("--format", "protobuf", "--columns", "x=y", "--keep", "id", "--max_failed", "1")
    code, _, err = score(*args, "--errors", tmp_path / "e.jsonl", input=broker.uri("out"))
    assert code == 0, err
    assert sorted(row["id"] for row in lines(tmp_path / "o.jsonl")) == list(range(600))


def test_json_of_a_schema_goes_in_and_out(broker: Broker, registered: Registered, score: Run, tmp_path: Path):
    pytest.importorskip("jsonschema_rs")
    numbers = {"type": "array", "items": {"type": "number"}}
    id = registered.add("in-value", {"type": "object", "properties": {"x": numbers, "id": {"maxLength": 2}}}, "JSON")
    broker.send(*(frame(id) + json.dumps({"x": [0.1, at], "id": "i" * at}).encode() for at in range(4)))
    args = ("--format", "jsonschema", "--keep", "id", "--errors", tmp_path / "e.jsonl")
    code, _, err = score(*args)
    assert code == 0, err
    assert [row["id"] for row in lines(tmp_path / "o.jsonl")] == ["", "i", "ii"]
    (error,) = lines(tmp_path / "e.jsonl")
    assert error["offset"] == 3 and "in id: " in error["reason"]
    broker.send(b"", topic="out")
    args = (*args, "--output_format", "jsonschema", "--register_schema", "--dry_run_plan")
    code, out, err = score(*args, output=broker.uri("out"))
    assert code == 0 and "jsonschema of out-value" in out, err


def test_files_go_to_a_topic_of_the_subjects_schema(
    broker: Broker, registered: Registered, score: Run, command: Command
):
    broker.send(b"", topic="out")
    numbered = [*OUT["fields"][:2], {"name": "id", "type": "long"}]
    id = registered.add("out-value", {**OUT, "fields": numbered})
    ends = {"model": command.model, "input": command.data, "output": broker.uri("out"), "columns": "x=a,b,c,d"}
    args = ("--output_format", "avro", "--keep", "id", "--quiet", "--workers", "1", "--schema_registry", registered.url)
    code, _, err = command.run(*args, **ends)
    assert code == 0, err
    found = [value for value in read_topic(broker, "out", 601) if value]
    assert {value[:5] for value in found} == {frame(id)}
    parsed = fastavro.parse_schema(json.loads(registered.latest("out-value").schema.schema_str))
    rows: Any = [fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None) for value in found]
    assert sorted(row["id"] for row in rows) == list(range(600))
    assert {row["note"] for row in rows} == {"-"} and {len(row["y"]) for row in rows} == {2}


def test_a_schema_is_registered_when_asked_for_and_not_by_a_dry_run(
    broker: Broker, registered: Registered, command: Command
):
    broker.send(b"", topic="out")
    args = ("--output_format", "avro", "--keep", "id", "--quiet", "--workers", "1", "--schema_registry", registered.url)
    assert "has no subject 'out-value' for --output out" in command.error(*args, output=broker.uri("out"))
    code, out, err = command.run(*args, "--register_schema", "--dry_run_plan", output=broker.uri("out"))
    assert code == 0 and "avro of out-value" in out, err
    assert registered.subjects() == []
    args = (*args, "--register_schema", "--output_record", "a.Out", "--subject_strategy", "topic_record")
    for _ in range(2):
        code, _, err = command.run(*args, output=broker.uri("out"))
        assert code == 0, err
    latest = registered.latest("out-a.Out")
    assert latest.version == 1 and json.loads(latest.schema.schema_str)["name"] == "a.Out"


def test_rows_that_the_schema_does_not_take_are_told(
    broker: Broker, registered: Registered, score: Run, tmp_path: Path, command: Command
):
    """Files with a null in a column whose field takes none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    broker.send(b"", topic="out")
    registered.add("out-value", OUT)
    pq.write_table(pa.table({"id": ["a", None, "c"], **{name: [1.0] * 3 for name in "abcd"}}), tmp_path / "d.parquet")
    args = ("--output_format", "avro", "--keep", "id", "--quiet", "--workers", "1", "--schema_registry", registered.url)
    args = (*args, "--errors", str(tmp_path / "e.jsonl"), "--narrow")
    code, _, err = command.run(*args, input=tmp_path / "d.parquet", output=broker.uri("out"))
    assert code == 0, err
    (error,) = lines(tmp_path / "e.jsonl")
    assert (error["row"], error["stage"]) == (1, "finish")
    assert error["reason"] == "column 'id' holds a null that the schema of the output does not take"
    assert len(read_topic(broker, "out", 3)) == 3


def test_a_stream_is_planned(broker: Broker, registered: Registered, command: Command, score: Run):
    broker.send(b"")
    broker.send(b"", topic="out")
    registered.add("in-value", TWO)
    registered.add("out-value", {**OUT, "fields": [*OUT["fields"], {"name": "at", "type": ["null", "long"]}]})
    args = ("--output_format", "avro", "--keep", "id,at", "--event_time", "at", "--dry_run_plan")
    code, out, err = score(*args, output=broker.uri("out"))
    assert code == 0, err
    assert "avro of in-value, version 1: x: list<item: float>, id: string, at: int64" in out
    assert f"{broker.uri('out')}, avro of out-value, version 1" in out
    assert registered.url.split("//")[1] not in out


@pytest.mark.parametrize(
    ("options", "subjects", "why"),
    [
        ((), {}, "has no subject 'in-value' for --input in; register its schema, or"),
        ((), {"in-value": '"int"'}, "subject in-value, version 1: its schema is that of int"),
        (("--keep", "z"), {"in-value": ONE}, "no field 'z': the schema of in-value, version 1 has x, id"),
        (("--columns", "x=id"), {"in-value": ONE}, "column 'id' is string, the model's input 'x"),
        (("--subject_strategy", "record"), {}, "names subjects by their record; add --input_record NAME"),
        (("--subject_strategy", "record", "--input_record", "a.B"), {}, "has no subject 'a.B'"),
        (("--input_record", "a.B"), {"in-value": ONE}, "it is a record a.Row, and a.B is asked for"),
        (("--schema", "x:int64"), {}, "leave --schema out"),
        (("--event_time", "x"), {"in-value": ONE}, "--event_time x: the field is list<item: float>"),
    ],
)
def test_inputs_that_cannot_be_read(
    broker: Broker, registered: Registered, score: Run, options: tuple[str, ...], subjects: dict[str, Any], why: str
):
    broker.send(b"")
    broker.send(b"", topic="out")
    for subject, schema in subjects.items():
        registered.add(subject, schema)
    code, out, err = score(*options, output=broker.uri("out"))
    assert (code, out) == (2, "") and why in err and err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            "--output_format avro",
            "--output_format avro is for messages whose schemas are in a registry; add",
        ),
        (
            "--schema_registry http://h:1",
            "--schema_registry is for --format or --output_format avro or",
        ),
        ("--output_format avro --schema_registry h:1", "is no address; type --schema_registry http://HOST:PORT"),
        ("--output_format avro --schema_registry http://u:pw@h:1", "//h:1 holds a user"),
        ("--output_record a.B", "--output_record is for --output_format avro or protobuf or jsonschema"),
        ("--register_schema", "--register_schema is for --output_format avro or protobuf or jsonschema"),
        ("--input_record a.B", "--input_record is for a stream"),
        ("--output_format avro --schema_registry http://h:1 --subject_strategy record", "add --output_record NAME"),
    ],
)
def test_options_that_do_not_go_together(command: Command, options: str, why: str):
    told = command.error(*options.split(), output="kafka://h:1/out")
    assert why in told and "pw" not in told
