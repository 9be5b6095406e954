"""Topics of a registry's schemas, on a real broker and a real registry with Confluent's API."""

from __future__ import annotations

import io
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from beamsplit.runners.local import FlinkCluster, SchemaRegistry
from beamsplit.transforms.kafka.registry.framing import frame
from tests.services.examples import run
from tests.services.streams import ROOT, Stream
from tests.waiting import DEADLINE, wait_until

pytest.importorskip("confluent_kafka.schema_registry")
fastavro = pytest.importorskip("fastavro")

ONE = {
    "type": "record",
    "name": "a.Row",
    "fields": [{"name": "x", "type": {"type": "array", "items": "float"}}, {"name": "id", "type": "long"}],
}
TWO = {**ONE, "fields": [{"name": "more", "type": ["null", "string"], "default": None}, *ONE["fields"]]}


def client(registry: SchemaRegistry) -> Any:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    return SchemaRegistryClient({"url": registry.url})


def register(registry: SchemaRegistry, subject: str, schema: Any, kind: str = "AVRO") -> int:
    from confluent_kafka.schema_registry import Schema

    text = schema if isinstance(schema, str) else json.dumps(schema)
    return int(client(registry).register_schema(subject, Schema(text, kind)))


def avro(schema: Any, id: int, rows: list[Any]) -> list[bytes]:
    made, parsed = [], fastavro.parse_schema(schema)
    for row in rows:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, row)
        made.append(frame(id) + out.getvalue())
    return made


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"x": [first + at, 1, 2, 3], "id": first + at} for at in range(count)]


def test_the_page_of_the_registry(stream: Stream, schema_registry: SchemaRegistry, tmp_path: Path):
    """Its commands as they stand, on topics and services of the tests; Confluent's own reads what was written."""
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    page = (ROOT / "docs/how_to/schema_registry.md").read_text(encoding="utf-8").partition("## Try it")[2]
    blocks = [block for _, block in re.findall(r"^```(\w*)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)]
    given = {"http://localhost:8085/apis/ccompat/v7": schema_registry.url, "localhost:9092/in": f"{{}}/{stream.input}"}
    given |= {"localhost:9092/out": f"{{}}/{stream.output}", "localhost:9092": "{}", 'TOPIC = "': 'TOPIC = "'}
    for old, new in given.items():
        blocks = [block.replace(old, new.replace("{}", stream.broker.address)) for block in blocks]
    (tmp_path / "send.py").write_text(blocks[1].replace(', "in"', f', "{stream.input}"'))
    out = run(f"python send.py\n{blocks[2]}", tmp_path)
    assert "20 in, 20 scored" in out
    read = AvroDeserializer(client(schema_registry))
    found = {
        one.key(): read(one.value(), SerializationContext(stream.output, MessageField.VALUE))
        for one in stream.read(stream.output)
    }
    assert {key.decode() for key in found} == {row["id"] for row in found.values()} == {f"row {at}" for at in range(20)}
    assert {len(row["y"]) for row in found.values()} == {2}


def test_a_version_that_arrives_in_mid_stream(stream: Stream, schema_registry: SchemaRegistry, tmp_path: Path):
    one = register(schema_registry, f"{stream.input}-value", ONE)
    stream.send(avro(ONE, one, rows(20)))
    errors = stream.broker.create_topic(f"errors-{stream.input}")
    args = ("--format", "avro", "--schema_registry", schema_registry.url, "--delivery", "exactly_once")
    args = (*args, "--output_format", "protobuf", "--register_schema", "--errors", stream.uri(errors))
    process = stream.start(*args, "--keep", "id")

    def scored(count: int) -> bool:
        assert process.poll() is None, process.communicate()[1]
        return len(stream.read(stream.output)) >= count

    wait_until(lambda: scored(20), "the first messages are scored")
    two = register(schema_registry, f"{stream.input}-value", TWO)
    stream.send([*avro(TWO, two, [{"more": "é", **row} for row in rows(20, 20)]), frame(999_999) + b"?"])
    wait_until(lambda: scored(40), "those of the new version too")
    wait_until(lambda: len(stream.read(errors)) == 1, "the other is told")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert "no schema of the id 999999" in json.loads(stream.read(errors)[0].value())["reason"]
    outputs = stream.read(stream.output)
    assert len(outputs) == 40 and {one.value()[5] for one in outputs} == {0}

    # What the registry calls incompatible is told before anything is written: here the fields have other numbers.
    client(schema_registry).set_compatibility(f"{stream.output}-value", "FULL")
    code, _, err = stream.run(*args, "--group", "another", "--until_end")
    assert code == 2 and "the registry does not take the schema" in err and err.count("\n") == 1, err


def test_on_flink(stream: Stream, schema_registry: SchemaRegistry, cluster: FlinkCluster):
    proto = 'syntax = "proto3"; message M { repeated float x = 1; int64 id = 2; }'
    id = register(schema_registry, f"{stream.input}-value", proto, "PROTOBUF")
    body = b"\0\x0a\x10" + b"\0\0\x80\x3f" * 4 + b"\x10"
    stream.send([*(frame(id) + body + bytes([at]) for at in range(30)), frame(id) + body])
    args = ("--format", "protobuf", "--output_format", "jsonschema", "--schema_registry", schema_registry.url)
    args = (*args, "--register_schema", "--keep", "id", "--until_end", "--runner", "FlinkRunner", "--flink_master")
    code, out, err = stream.run(*args, cluster.address, "--checkpoint", "1s", "--max_failed", "1")
    assert code == 3 and "31 in, 30 scored, 1 failed" in out, err
    latest = client(schema_registry).get_latest_version(f"{stream.output}-value")
    found = stream.read(stream.output)
    assert {one.value()[:5] for one in found} == {frame(latest.schema_id)}
    assert sorted(json.loads(one.value()[5:])["id"] for one in found) == list(range(30))
