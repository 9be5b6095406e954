"""Runs one program of the stream benchmark between two topics of a broker: on a backlog, and at a steady load."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beamsplit.runners.local import KafkaBroker
from beamsplit.runners.process import Process
from benchmarks.measure import ROOT, ProgramFailed
from benchmarks.stream_cases import StreamCase
from benchmarks.stream_messages import KEY
from benchmarks.stream_outputs import MeasuringConsumer, Outputs, rate_of
from benchmarks.stream_values import encode

PARTITIONS = 4
START_SECONDS = 180.0
"""How long a program may take to its first output."""

READ_SECONDS = 60.0
"""How long reading all outputs may take."""

END_SECONDS = 10.0
"""How long a program may take to end before it is killed."""

LOST_SECONDS = 60.0
"""How long after the last message outputs are waited for: what is not there by then is lost."""

WARM_SECONDS = 2.0
"""Of a steady load, before latencies count."""

LIVE_SECONDS = 6.0
"""How long the rate is looked for that can be kept up with."""


@dataclass
class Steady:
    """Outputs of a steady load."""

    outputs: Outputs
    rate: float
    """Messages a second, offered."""

    messages: int
    first: int
    """Number of the first message that counts."""


class Bench:
    """Programs on one broker.

    Args:
        broker: runs already.
        folder: of the programs' logs.
    """

    def __init__(self, broker: KafkaBroker, folder: Path):
        from confluent_kafka.admin import AdminClient

        self._broker, self._folder = broker, folder
        self.environment = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        """Variables of the programs, beside those of this process."""

        self._admin = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})

    def backlog(self, case: StreamCase) -> str:
        """A topic with all of the case's messages."""
        topic = self._topic("backlog")
        self._send(case, topic, case.messages).wait()
        return topic

    def drop(self, *topics: str) -> None:
        """Delete topics: their messages would fill the memory that the next program's need."""
        for deleted in self._admin.delete_topics(list(topics), operation_timeout=30).values():
            deleted.result(60)

    def saturate(self, case: StreamCase, program: str, backlog: str) -> Outputs:
        """What a program makes of the backlog, until all is done or the case's seconds are over."""
        output = self._topic("out", {"message.timestamp.type": "LogAppendTime"})
        measure = MeasuringConsumer(self._broker.address, output, case.format)
        with self._running(case, program, (backlog, output)) as process:
            _wait(process, lambda: measure.written() > 0, START_SECONDS)
            deadline = time.monotonic() + case.seconds
            while measure.written() < case.messages and time.monotonic() < deadline:
                _alive(process)
                time.sleep(0.2)
        ends, deadline = measure.ends(), time.monotonic() + READ_SECONDS
        while not measure.has_read(ends):
            measure.read(0.1)
            if time.monotonic() > deadline:
                raise ProgramFailed(f"{measure.count} outputs of {program} were read of {sum(ends.values())}")
        measure.close()
        self.drop(output)
        return measure.outputs()

    def live_rate(self, case: StreamCase, program: str, rate: float) -> float:
        """Outputs a second while sender and measuring consumer run beside the program, which is offered `rate`."""
        steady = self._steadily(case, program, rate, LIVE_SECONDS, lag=0.0)
        kept = steady.outputs.keys["number"] >= 0
        return rate_of(steady.outputs.read_us[kept] / 1e6)

    def steady(self, case: StreamCase, program: str, rate: float) -> Steady:
        """What a program makes of a steady load."""
        return self._steadily(case, program, rate, WARM_SECONDS + case.steady_seconds, LOST_SECONDS)

    def _steadily(self, case: StreamCase, program: str, rate: float, seconds: float, lag: float) -> Steady:
        topics = self._topic("in"), self._topic("out")
        messages = max(2, round(rate * seconds))
        measure = MeasuringConsumer(self._broker.address, topics[1], case.format)
        with self._running(case, program, topics) as process:
            self._warm(case, process, topics[0], measure)
            sender = self._send(case, topics[0], messages, rate)
            deadline = None
            while measure.load.count < messages and (deadline is None or time.monotonic() < deadline):
                measure.read(0.002)
                if deadline is None and sender.ended():
                    deadline = time.monotonic() + lag
                _alive(process)
            sender.wait()
        outputs = measure.outputs()
        measure.close()
        self.drop(*topics)
        return Steady(outputs, rate, messages, min(messages - 1, round(rate * WARM_SECONDS)))

    def _warm(self, case: StreamCase, process: Process, topic: str, measure: MeasuringConsumer) -> None:
        """Send a message to each partition, again and again until one of each has come out; then wait for all of them.

        A large model takes long for those that were sent while its program started, and they are no part of the load.
        """
        import confluent_kafka

        inputs = np.load(case.payloads, mmap_mode="r")
        (value,) = encode(case.format, inputs[:1])
        producer = confluent_kafka.Producer({"bootstrap.servers": self._broker.address})
        # Below zero, and by the number of payloads too this value's.
        numbers = [-len(inputs) * (1 + partition) for partition in range(PARTITIONS)]
        rounds, sent, deadline = 0, 0.0, time.monotonic() + START_SECONDS
        started = False
        while not started or measure.count < rounds * PARTITIONS:
            if time.monotonic() > deadline:
                count = f"{measure.count} of {rounds * PARTITIONS} outputs of the warm-up"
                raise ProgramFailed(f"{count} within {START_SECONDS:.0f} s: {process.tail()}")
            _alive(process)
            if not started and time.monotonic() - sent >= 1.0:
                rounds, sent = rounds + 1, time.monotonic()
                for partition, number in enumerate(numbers):
                    producer.produce(topic, value, np.array((number, 0), KEY).tobytes(), partition)
                producer.flush()
            measure.read(0.1)
            started = started or set(numbers) <= set(measure.outputs().keys["number"].tolist())

    @contextmanager
    def _running(self, case: StreamCase, program: str, topics: tuple[str, str]) -> Iterator[Process]:
        name = f"{program.replace(' ', '-')}-{uuid.uuid4().hex[:6]}"
        command = case.command(program, self._broker.address, topics, f"group-{name}")
        process = Process(name, self._folder / name, command, self.environment)
        process.start()
        try:
            yield process
        finally:
            process.stop(END_SECONDS)

    def _topic(self, name: str, settings: dict[str, str] | None = None) -> str:
        topic = self._broker.create_topic(f"{name}-{uuid.uuid4().hex[:8]}", PARTITIONS, settings)
        # It is made before the broker tells clients of it.
        deadline = time.monotonic() + START_SECONDS
        while len(self._admin.list_topics(topic, timeout=30).topics[topic].partitions) < PARTITIONS:
            if time.monotonic() > deadline:
                raise ProgramFailed(f"the broker does not tell of the topic {topic}")
            time.sleep(0.02)
        return topic

    def _send(self, case: StreamCase, topic: str, messages: int, rate: float | None = None) -> _Sender:
        given = [str(case.payloads), case.format, str(messages), *([str(rate)] if rate else [])]
        arguments = [self._broker.address, topic, *given]
        return _Sender([sys.executable, "-m", "benchmarks.stream_send", *arguments])


class _Sender:
    """The process that sends."""

    def __init__(self, command: list[str]):
        self._process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ended(self) -> bool:
        """Whether all is sent."""
        return self._process.poll() is not None

    def wait(self) -> float:
        """Seconds that it took to send all."""
        out, err = self._process.communicate()
        if self._process.returncode:
            raise ProgramFailed(f"the sender: {err.strip()[-800:]}")
        return float(out)


def _alive(process: Process) -> None:
    if process.pid is None:
        raise ProgramFailed(f"{process.name} ended by itself: {process.tail()}")


def _wait(process: Process, ready: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        _alive(process)
        if time.monotonic() > deadline:
            raise ProgramFailed(f"no outputs within {seconds:.0f} s: {process.tail()}")
        time.sleep(0.05)
