"""Beam as it is, without what runners/beam_patches changes: a test fails where Beam no longer needs it.

The file that it is about can go then, once the lowest Beam that setup.py allows does without it too.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import zipfile
from functools import cache

import pytest
from apache_beam.io import unbounded_source
from apache_beam.io.iobase import RestrictionProgress
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability import local_job_service, portable_runner
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers
from apache_beam.runners.portability.prism_runner import PrismJobServer
from apache_beam.runners.worker import sdk_worker, sdk_worker_main
from apache_beam.runners.worker.bundle_processor import DataInputOperation, SynchronousBagRuntimeState
from apache_beam.transforms.userstate import RuntimeTimer

from beamsplit.runners.beam_patches.bundle_ends import SAMPLING_MS
from beamsplit.runners.beam_patches.closing_workers import exit_code_told
from beamsplit.runners.beam_patches.lean_import import LEFT_OUT
from beamsplit.runners.beam_patches.loopback import EVERYWHERE
from beamsplit.runners.beam_patches.quiet_worker import MESSAGES
from beamsplit.runners.beam_patches.reading_progress import with_completed_of_beam
from beamsplit.runners.beam_patches.state_commits import commit_of_beam
from beamsplit.runners.beam_patches.unbounded_reading import MOST_RECORDS, reading_dofn
from beamsplit.runners.flink_job_server import ARTIFACTS
from beamsplit.runners.maven import cached_jars

PLAIN = """
import json, sys
import apache_beam as beam
print(json.dumps(sorted(sys.modules)))

def tell(_):
    from apache_beam.runners.worker import statesampler
    print(statesampler.get_current_tracker().sampling_period_ms)

with beam.Pipeline("FnApiRunner") as pipeline:
    pipeline | beam.Create([1]) | beam.Map(tell)
"""


@cache
def plain_beam() -> tuple[set[str], int]:
    """What Beam imports in a process that asks for it alone, and how long its sampling thread sleeps, milliseconds."""
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    modules, period = done.stdout.splitlines()
    return set(json.loads(modules)), int(period)


def test_bundle_ends():
    assert plain_beam()[1] > SAMPLING_MS


def test_lean_import():
    loaded, _ = plain_beam()
    # Some are no more than asked for: a Beam without them, or with few of them, needs no stand-ins.
    assert len(loaded & set(LEFT_OUT)) > 5
    assert "apache_beam.io.gcp.bigquery" in loaded


def test_loopback():
    assert EVERYWHERE in inspect.getsource(worker_handlers.GrpcServer)
    assert EVERYWHERE in inspect.getsource(local_job_service.SubprocessSdkWorker)


def test_quick_options():
    options = PipelineOptions([])
    assert options.view_as(DirectOptions) is not options.view_as(DirectOptions)


def test_quiet_worker():
    assert "print(traceback_string" in inspect.getsource(sdk_worker.SdkHarness)
    assert "logging.log(" in inspect.getsource(portable_runner.PipelineResult)
    assert portable_runner.__name__.endswith(f".{MESSAGES}")


def test_closing_workers():
    source = inspect.getsource(fn_runner.FnApiRunner.run_stages)
    assert "finally:\n      worker_handler_manager.close_all()" in source
    assert list(inspect.signature(worker_handlers.WorkerHandlerManager.close_all).parameters) == ["self"]
    (told,) = (
        line.strip().split(" % ")[0].strip("'")
        for line in inspect.getsource(local_job_service.SubprocessSdkWorker).splitlines()
        if "exited with" in line
    )
    assert exit_code_told(RuntimeError(told % -9)) == -9


def test_connected_worker():
    # It is made by the name that is replaced, and tells nobody.
    assert "SdkHarness(" in inspect.getsource(sdk_worker_main)
    assert not [name for name in inspect.signature(sdk_worker.SdkHarness).parameters if "connect" in name]


def test_prism_download():
    public = [name for name in vars(PrismJobServer) if not name.startswith("_")]
    assert not [name for name in public if "executable" in name or "download_to" in name]


def test_reading_progress():
    progress = with_completed_of_beam(RestrictionProgress(completed=0.0, remaining=1.0), float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        DataInputOperation._compute_split(0, progress.fraction_completed, float("inf"), 0.5, 1)


def test_unbounded_reading():
    assert not [name for name in vars(unbounded_source) if name.lower().startswith("readall")]
    first = next(iter(inspect.signature(unbounded_source.ReadFromUnboundedSource).parameters))
    assert first == "source"
    assert reading_dofn(2.0)._max_records_per_bundle == MOST_RECORDS


def test_parts_apart():
    # A stage has the next worker, whatever stage it is: one count for all.
    jars = cached_jars(*ARTIFACTS)
    if jars is None:
        pytest.skip("Beam's Flink runner is not in the cache")
    (jar,) = jars.glob("beam-runners-java-fn-execution-*.jar")
    with zipfile.ZipFile(jar) as classes:
        dealing = classes.read("org/apache/beam/runners/fnexecution/control/DefaultJobBundleFactory.class")
    assert b"stageBundleFactoryCount" in dealing


def test_thread_worker():
    assert not [name for name in vars(sdk_worker.SdkHarness) if name in ("stop", "close", "shutdown")]


def test_state_commits():
    """Beam writes one state after the other, each with its answer."""
    assert "state.commit()" in inspect.getsource(commit_of_beam)
    assert "to_await.get()" in inspect.getsource(SynchronousBagRuntimeState.commit)


def test_timer_hold():
    assert list(inspect.signature(RuntimeTimer.set).parameters) == ["self", "timestamp", "dynamic_timer_tag"]
