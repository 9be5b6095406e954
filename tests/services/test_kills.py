"""A stream on a Flink cluster of two TaskManagers whose parts are killed in mid-stream, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beamsplit.runners.local import FlinkCluster, KafkaBroker

pytest.importorskip("confluent_kafka")

from benchmarks.soak import SETTINGS, run_soak
from benchmarks.soak_job import PARALLELISM, Soak
from tests.services.busy import wait_until_all_work

KILLS = {
    # What comes back by itself, or with the service, is the same for both; the rest of the soak is run by hand.
    "at_least_once": ("worker", "broker"),
    "exactly_once": ("broker", "worker", "task_manager", "job_manager"),
}


@pytest.fixture(scope="module")
def two_managers(services: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    folder = tmp_path_factory.mktemp("flink-2")
    with FlinkCluster(folder, task_managers=2, slots=2, settings=SETTINGS) as cluster:
        yield cluster


@pytest.mark.parametrize("delivery", KILLS)
def test_kills_lose_nothing_and_double_nothing_where_that_is_promised(
    broker: KafkaBroker, two_managers: FlinkCluster, tmp_path: Path, delivery: str
):
    soak = Soak(broker, two_managers.start(), tmp_path, delivery, rate=300, checkpoint="3s")

    def check_workers(hit: str) -> None:
        """One for each of the tasks, which are on two TaskManagers, and whatever was begun again: none is idle."""
        print(hit, wait_until_all_work(soak.pid, PARALLELISM))

    outcome = run_soak(soak, 1500, KILLS[delivery], check_workers)
    assert outcome.sent >= 1500 and outcome.good, outcome


def test_kills_lose_and_double_nothing_of_shards_with_workers_of_their_own(
    broker: KafkaBroker, two_managers: FlinkCluster, tmp_path: Path
):
    more = ("--shards", "2", "--placement", "distributed", "--batch_size", "16")
    soak = Soak(broker, two_managers.start(), tmp_path, "exactly_once", rate=100, checkpoint="3s", more=more)
    outcome = run_soak(soak, 300, ("worker", "job_manager"), print)
    assert outcome.sent >= 300 and outcome.good, outcome
