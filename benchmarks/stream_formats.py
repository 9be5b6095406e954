"""What formats of messages cost, beside `--format tensor`: processor seconds of whole streams on Prism.

Each format has two topics, of few and of many messages of 784 floats; what the second takes more than the first is what
its messages cost, without the start. Formats are run in turn. Processor seconds depend little on what else is at work.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from beamsplit.runners.local import KafkaBroker, SchemaRegistry
from beamsplit.transforms.kafka.registry.kinds import KINDS
from benchmarks.measure import ROOT, ProgramFailed
from benchmarks.stream_messages import fnn, payloads

FORMATS = ("tensor", *KINDS, "json")
BESIDE = FORMATS[0]
PARTITIONS, ROWS = 4, 1_024
FEW, MANY, MANY_TEXTS = 4_000, 204_000, 44_000
"""Messages of the two topics; those of text are five times as large, and take longer."""
GOALS: Mapping[str, float] = {"avro": 0.4, "protobuf": 0.4}
"""Rows a second, as a share of those of tensors."""

RUN_SECONDS = 600


@dataclass
class FormatResult:
    """What one format did."""

    format: str
    cpu_us: list[float] = field(default_factory=list)
    """Processor microseconds a message, of each run."""

    @property
    def rows_per_cpu_second(self) -> float:
        """By the median."""
        return 1e6 / statistics.median(self.cpu_us)


def measure(folder: Path, data: Path, runs: int) -> list[FormatResult]:
    """All formats on one broker and one registry."""
    data.mkdir(parents=True, exist_ok=True)
    model = fnn(data)
    rows = np.load(payloads(data, model, ROWS))
    results = [FormatResult(format) for format in FORMATS]
    with KafkaBroker(folder / "kafka", memory="1g") as broker, SchemaRegistry(folder / "registry") as registry:
        topics = {}
        for format in FORMATS:
            values = values_of(format, rows, registry)
            topics[format] = [_topic(broker, format, values, count) for count in (FEW, many(format))]
        for _ in range(runs):
            for result in results:
                took = [_cpu_seconds(broker, registry, model, result.format, name) for name in topics[result.format]]
                result.cpu_us.append(1e6 * (took[1] - took[0]) / (many(result.format) - FEW))
                print(f"  {result.format}: {result.cpu_us[-1]:.1f} us of a processor a message", flush=True)
    return results


def values_of(format: str, rows: np.ndarray, registry: SchemaRegistry) -> list[bytes]:
    """Each row as a message of the format; the schema of one is registered for the topics of `_topic`."""
    if format == "tensor":
        return [row.tobytes() for row in rows]
    if format == "json":
        return [json.dumps({"x": row.tolist()}).encode() for row in rows]
    from confluent_kafka.schema_registry import Schema as Theirs
    from confluent_kafka.schema_registry import SchemaRegistryClient

    from beamsplit.transforms.kafka.registry.client import Schema
    from beamsplit.transforms.kafka.registry.write import WriteRegistered

    block = pa.record_batch({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(rows)})
    kind = KINDS[format]
    text = _SCHEMAS.get(format) or kind.module.derived(block.schema, "Row")
    client = SchemaRegistryClient({"url": registry.url})
    ids = {client.register_schema(f"{name}-value", Theirs(text, kind.type)) for name in _names(format)}
    schema = Schema(ids.pop(), kind.type, text)
    return WriteRegistered(format, schema, kind.module.writer(schema, None, block.schema)).encode(block)


_SCHEMAS = {
    "avro": '{"type": "record", "name": "Row", "fields": [{"name": "x", "type": {"type": "array", "items": "float"}}]}',
}
"""As a producer would write them; others are derived."""


def _names(format: str) -> list[str]:
    return [f"{format}-{count}" for count in (FEW, many(format))]


def many(format: str) -> int:
    """Messages of the larger topic."""
    return MANY_TEXTS if format in ("json", "jsonschema") else MANY


def _topic(broker: KafkaBroker, format: str, values: Sequence[bytes], count: int) -> str:
    import confluent_kafka

    name = broker.create_topic(f"{format}-{count}", PARTITIONS)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address, "queue.buffering.max.kbytes": 262_144})
    for number in range(count):
        while True:
            try:
                producer.produce(name, values[number % len(values)], partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(RUN_SECONDS):
        raise ProgramFailed(f"messages of {format} were not delivered")
    return name


def _cpu_seconds(broker: KafkaBroker, registry: SchemaRegistry, model: Path, format: str, topic: str) -> float:
    """Of a stream from the topic to its end, and all its processes."""
    output = broker.create_topic(f"out-{uuid.uuid4().hex[:8]}", PARTITIONS)
    uri = f"kafka://{broker.address}"
    command = [sys.executable, "-m", "pipelines.score", "--model", str(model), "--input", f"{uri}/{topic}"]
    command += ["--output", f"{uri}/{output}", "--output_format", "tensor", "--format", format]
    command += ["--until_end", "--quiet"]
    command += ["--schema_registry", registry.url] if format in KINDS else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--group", uuid.uuid4().hex, "--batch_size", "2048", "--threads", "1"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    if done.returncode:
        raise ProgramFailed(f"{format}: {done.stderr[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(results: Sequence[FormatResult]) -> tuple[list[str], list[list[str]]]:
    """(header, a line a format).

    >>> table([FormatResult("tensor", [10.0]), FormatResult("avro", [20.0])])[1]
    [['tensor', '10.0', '100,000', '1.00'], ['avro', '20.0', '50,000', '0.50']]
    """
    first = results[0].rows_per_cpu_second
    return ["format", "CPU us a message", "messages a CPU second", f"x {results[0].format}"], [
        [
            result.format,
            f"{1e6 / result.rows_per_cpu_second:.1f}",
            f"{result.rows_per_cpu_second:,.0f}",
            f"{result.rows_per_cpu_second / first:.2f}",
        ]
        for result in results
    ]


def verdicts(results: Sequence[FormatResult]) -> list[str]:
    """Each goal with what was reached.

    >>> verdicts([FormatResult("tensor", [10.0]), FormatResult("avro", [20.0])])
    ['avro: 0.50x the rows of tensors, goal 0.4x: met']
    """
    first, told = results[0].rows_per_cpu_second, []
    for result in results:
        if result.format in GOALS:
            goal, ratio = GOALS[result.format], result.rows_per_cpu_second / first
            reached = "met" if ratio >= goal else "NOT met"
            told.append(f"{result.format}: {ratio:.2f}x the rows of tensors, goal {goal:g}x: {reached}")
    return told
