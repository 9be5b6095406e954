"""Streams on Flink whose workers all have something to do, after a restart too."""

from __future__ import annotations

import os
import signal

import pytest

from tests.services.busy import rows_by_process, wait_until_all_work
from tests.services.streams import Stream, rows
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
