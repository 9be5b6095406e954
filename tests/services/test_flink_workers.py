"""Streams on Flink whose workers all have something to do, after a restart too."""

from __future__ import annotations

import os
import signal
from collections import defaultdict

import pytest

from tests.services.busy import rows_by_process, wait_until_all_work
from tests.services.streams import Stream, origins, rows
from tests.waiting import DEADLINE, wait_until

pytest.importorskip("confluent_kafka")

FLINK = ("--runner", "FlinkRunner", "--parallelism", "2", "--checkpoint", "1s")


def send_to_both(stream: Stream) -> None:
    for partition in range(2):
        stream.send(rows(10), partition=partition)


def test_each_worker_reads_a_partition_after_a_restart_too(stream: Stream):
    process = stream.start("--quiet", *FLINK)
    send_to_both(stream)
    before = wait_until_all_work(process.pid, 2)
    assert set(before.values()) == {10}
    os.kill(min(before), signal.SIGKILL)

    def both_anew() -> bool:
        send_to_both(stream)
        found = rows_by_process(process.pid)
        return found.keys().isdisjoint(before) and len(found) == 2 and all(found.values())

    wait_until(both_anew, "the job has begun again with two workers that read")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


def test_stages_have_a_process_a_task_and_are_written_once_when_one_of_them_is_killed(stream: Stream):
    """Two of each stage; two more write in transactions, without a model."""
    parts = ("--stages", "2", "--placement", "distributed", "--delivery", "exactly_once", "--batch_size", "16")
    process = stream.start("--quiet", "--group", "g1", *FLINK, *parts)
    before: set[int] = set()

    def all_work() -> bool:
        send_to_both(stream)
        found = rows_by_process(process.pid)
        at_work = {pid for pid, done in found.items() if done} - before
        if len(at_work) < 4 or len(found) > 6:
            return False
        before.clear()
        before.update(found)
        return True

    wait_until(all_work, "two processes of each stage with rows, and no more beside them than write")
    os.kill(min(before), signal.SIGKILL)
    wait_until(all_work, "the job has begun again with two processes of each stage")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    outputs = stream.read(stream.output)
    ways_through: dict[tuple[int, int], list[int]] = defaultdict(list)
    for message, (_, partition, offset) in zip(outputs, origins(outputs), strict=True):
        ways_through[partition, message.partition()].append(offset)
    assert all(each == sorted(each) for each in ways_through.values())
    done = {(partition, at) for partition, end in stream.positions("g1").items() for at in range(end)}
    assert len(outputs) == len(done) > 0
    assert done == {(partition, at) for (partition, _), offsets in ways_through.items() for at in offsets}
