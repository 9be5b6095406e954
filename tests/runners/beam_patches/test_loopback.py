from __future__ import annotations

import os
from pathlib import Path

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PipelineOptions

from beamsplit.runners.direct import direct_flags, direct_runner


def tell_listeners(pid: int, out: str) -> None:
    """Where the process listens, told by a worker."""
    assert os.getpid() != pid
    found = {
        one.laddr.ip.removeprefix("::ffff:")
        for one in psutil.Process(pid).net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    Path(out).write_text(" ".join(sorted(found)))


def test_worker_processes_are_served_on_the_loopback_interface_only(tmp_path: Path):
    out = tmp_path / "listeners"
    with beam.Pipeline(direct_runner(1, "process", distributed=True), PipelineOptions(direct_flags(1))) as pipeline:
        pipeline | beam.Create([os.getpid()]) | beam.Map(tell_listeners, str(out))
    assert out.read_text() == "127.0.0.1"
