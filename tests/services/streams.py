"""Streams as processes, and what is in topics: what the tests of streams share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from beamsplit.runners.local import KafkaBroker
from tests import onnx_models
from tests.onnx_models import save
from tests.waiting import DEADLINE, running, wait_until

ROOT = Path(__file__).parent.parent.parent


NO_COORDINATOR_YET = (14, 15, 16)
"""Kafka's errors of a group, where a broker has just started: it is loading what groups have done."""


@dataclass
class Stream:
    """`score` from a topic of 2 partitions to another, on Prism, with a model x: [N, 4] -> y: [N, 2]."""

    broker: KafkaBroker
    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    tls: str = ""
    """`kafka://host:port` of a listener with TLS, where the broker has one."""

    def __post_init__(self) -> None:
        name = uuid.uuid4().hex[:8]
        # Messages with an old timestamp would be deleted as soon as the broker looks.
        self.input = self.broker.create_topic(f"in-{name}", partitions=2, settings={"retention.ms": "-1"})
        self.output = self.broker.create_topic(f"out-{name}", partitions=2)
        self.model = save(onnx_models.mlp(4, outputs=2), self.folder / "m.onnx")

    def start(self, *options: str, **changed: str) -> subprocess.Popen[str]:
        """A process of the command; `changed` replaces --input or --output."""
        given = {"input": self.uri(self.input), "output": self.uri(self.output), **changed}
        argv = [sys.executable, "-m", "pipelines.score", "--model", str(self.model)]
        argv += [part for name, value in given.items() for part in (f"--{name}", value)]
        process = subprocess.Popen(
            [*argv, *options],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.processes.append(process)
        return process

    def run(self, *options: str, **changed: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of the command."""
        process = self.start(*options, **changed)
        out, err = process.communicate(timeout=DEADLINE)
        return process.returncode, out, err

    @staticmethod
    def after_start(err: str) -> str:
        """What a stream writes to stderr, without its first line, which says what begins."""
        return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("stream: group "))

    def uri(self, topic: str) -> str:
        return f"kafka://{self.broker.address}/{topic}"

    def send(self, values: Iterable[bytes], topic: str | None = None, **options: Any) -> int:
        """Put messages into the input, keys k0, k1, ...; gives how many."""
        import confluent_kafka

        producer = confluent_kafka.Producer({"bootstrap.servers": self.broker.address})
        count = 0
        for count, value in enumerate(values, 1):
            producer.produce(topic or self.input, value, key=f"k{count - 1}".encode(), **options)
        assert producer.flush(DEADLINE) == 0
        return count

    def read(self, topic: str) -> list[Any]:
        """All messages of a topic, those of transactions once they are committed."""
        return read_topic(self.broker, topic)

    def written(self) -> int:
        """Messages in the output as the broker counts them, the marks of transactions too."""
        import confluent_kafka as kafka

        consumer = kafka.Consumer({"bootstrap.servers": self.broker.address, "group.id": uuid.uuid4().hex})
        parts = [kafka.TopicPartition(self.output, part) for part in range(2)]
        ends = [consumer.get_watermark_offsets(part, timeout=120)[1] for part in parts]
        consumer.close()
        return sum(ends)

    def topics(self) -> set[str]:
        """Names of all topics."""
        from confluent_kafka.admin import AdminClient

        return set(AdminClient({"bootstrap.servers": self.broker.address}).list_topics(timeout=120).topics)

    def committed(self, group: str) -> int:
        """Messages that a group has done."""
        return sum(self.positions(group).values())

    def positions(self, group: str) -> dict[int, int]:
        """Partition -> how far a group has done it."""
        import confluent_kafka as kafka

        consumer = kafka.Consumer({"bootstrap.servers": self.broker.address, "group.id": group})
        parts, found = [kafka.TopicPartition(self.input, part) for part in range(2)], []

        def answered() -> bool:
            try:
                found[:] = consumer.committed(parts, timeout=120)
            except kafka.KafkaException as error:
                if error.args[0].code() not in NO_COORDINATOR_YET:
                    raise
            return bool(found)

        wait_until(answered, "the group has a coordinator")
        consumer.close()
        return {position.partition: max(0, position.offset) for position in found}

    def kill_before_the_end(self, process: subprocess.Popen[str], first: int, count: int) -> int:
        """Kill a stream, and its runner, that has not done all; gives how many messages more were sent for that.

        Args:
            process: of `start`.
            first: number of the next message.
            count: messages to send.
        """
        # However quick the machine: what is sent while all stand still cannot be through before the kill.
        os.kill(process.pid, signal.SIGSTOP)
        children = psutil.Process(process.pid).children(recursive=True)
        for child in children:
            child.suspend()
        sent = self.send(rows(count, first=first))
        process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):  # some end with their parent
                child.kill()
        process.communicate()
        wait_until(lambda: not any(running(child.pid) for child in children), "the runner is gone")
        return sent

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


def read_topic(broker: KafkaBroker, topic: str) -> list[Any]:
    """All messages of a topic, those of transactions once they are committed."""
    import confluent_kafka as kafka

    config = {
        "bootstrap.servers": broker.address,
        "group.id": uuid.uuid4().hex,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    consumer = kafka.Consumer(config)
    parts = sorted(consumer.list_topics(topic, timeout=120).topics[topic].partitions)
    consumer.assign([kafka.TopicPartition(topic, part, 0) for part in parts])
    messages, ends, deadline = [], 0, time.monotonic() + DEADLINE
    while ends < len(parts):
        assert time.monotonic() < deadline
        for message in consumer.consume(1000, 1.0):
            if message.error() is None:
                messages.append(message)
            else:
                assert message.error().code() == kafka.KafkaError._PARTITION_EOF, message.error()
                ends += 1
    consumer.close()
    return messages


def is_worker(process: psutil.Process) -> bool:
    """Also of one that ends meanwhile; the shell that waits for our end beside each is none."""
    with contextlib.suppress(psutil.Error):
        return process.name() != "sh" and "beamsplit.runners.pool_worker" in process.cmdline()
    return False


def origins(messages: Iterable[Any]) -> list[tuple[str, int, int]]:
    """Topic, partition and offset of the input of each output."""
    found = [dict(message.headers()) for message in messages]
    return [(h["input.topic"].decode(), int(h["input.partition"]), int(h["input.offset"])) for h in found]


def rows(count: int, first: int = 0) -> list[bytes]:
    """JSON messages for the model."""
    return [json.dumps({"x": [first + i, 1, 2, 3]}).encode() for i in range(count)]
