from __future__ import annotations

from beamsplit.runners.local import FlinkCluster


def slots(cluster: FlinkCluster) -> int:
    return sum(each["slotsNumber"] for each in cluster.get("/taskmanagers")["taskmanagers"])


def test_processes_that_were_killed_come_back(cluster: FlinkCluster):
    assert slots(cluster) == 2
    manager = cluster.task_managers[0]
    before = manager.pid
    manager.kill()
    assert manager.pid is None
    cluster.start()
    assert manager.pid not in (None, before)
    cluster.job_manager.kill()
    assert cluster.job_manager.pid is None
    cluster.start()
    assert cluster.jobs() == {}
