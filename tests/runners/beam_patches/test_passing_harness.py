"""A worker that is a thread of ours ends with its runner, without a word, and leaves no thread and no connection."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from apache_beam.utils import thread_pool_executor

from beamsplit.runners.beam_patches.thread_worker import PARTS
from beamsplit.runners.worker_pool import WorkerPool
from tests.waiting import DEADLINE, wait_until

RUNNER = """
import pathlib, sys, time
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.transforms import environments

address, folder, parts = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]

def held(number, folder=folder):
    import time
    (folder / "reached").touch()
    while (folder / "hold").exists():
        time.sleep(0.01)
    return number

external = environments.ExternalEnvironment(address, params={parts: "1"})
with beam.Pipeline(fn_runner.FnApiRunner(external)) as pipeline:
    made = pipeline | beam.Create([1, 2, 3]) | beam.Map(held) | beam.Reshuffle() | beam.Map(str)
    made | beam.Map((folder / "made").write_text)
"""


class Runner:
    """Beam's own runner in a process, whose workers are threads of a pool in this one."""

    def __init__(self, pool: WorkerPool, folder: Path):
        self.folder = folder
        command = [sys.executable, "-c", RUNNER, pool.address, str(folder), PARTS]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def reached(self) -> bool:
        return (self.folder / "reached").exists() or self.process.poll() is not None


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    (tmp_path / "pool").mkdir()
    with WorkerPool(tmp_path / "pool", command=["false"]) as pool:
        yield pool


def workers() -> set[threading.Thread]:
    """Threads of workers, of Beam's, and of gRPC's; not the pool's, nor those that all of Beam's workers share."""
    ours = (one for one in threading.enumerate() if not isinstance(one, thread_pool_executor._Worker))
    return {one for one in ours if not one.name.startswith("worker-pool") and "_serve" not in one.name}


def connections() -> list[str]:
    """Addresses that this process has called."""
    mine = psutil.Process().net_connections("tcp")
    listening = {one.laddr.port for one in mine if one.status == psutil.CONN_LISTEN}
    return [f"{one.raddr} {one.status}" for one in mine if one.raddr and one.laddr.port not in listening]


@pytest.mark.parametrize("how", ["in order", "killed in a bundle", "pool first"])
def test_nothing_stays(pool: WorkerPool, tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str):
    before, called = workers(), connections()
    (tmp_path / "hold").touch()
    runner = Runner(pool, tmp_path)
    wait_until(runner.reached, "a bundle is processed")
    assert runner.process.poll() is None, runner.process.communicate()
    if how == "killed in a bundle":
        runner.process.kill()
    if how == "pool first":
        pool.__exit__()
    (tmp_path / "hold").unlink()
    _, err = runner.process.communicate(timeout=DEADLINE)
    if how == "in order":
        assert runner.process.returncode == 0 and (tmp_path / "made").read_text() in ("1", "2", "3"), err
    wait_until(lambda: not workers() - before, "all threads end")
    wait_until(lambda: set(connections()) <= set(called), "all connections are closed")
    assert capfd.readouterr() == ("", "")
