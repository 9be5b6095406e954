"""Which way a model is run, and what every job pays for the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from beamsplit.pipelines.execution import sharded_stages, shards, stages, whole
from beamsplit.pipelines.execution.ways import WAYS, default_workers, way_of
from beamsplit.pipelines.options.values import Parallelism

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("asked", "way"),
    [
        (Parallelism(), whole),
        (Parallelism(stages=2), stages),
        (Parallelism(stages="auto"), stages),
        (Parallelism(plan="plan.json"), stages),
        (Parallelism(shards=2), shards),
        (Parallelism(shards="auto"), shards),
        (Parallelism(stages=2, shards=2), sharded_stages),
        (Parallelism(plan="plan.json", shards=2), sharded_stages),
    ],
)
def test_the_way_that_is_asked_for(asked: Parallelism, way: object):
    assert way_of(asked) is way
    assert default_workers(asked, 7) == 7


def test_any_job_has_a_way():
    assert WAYS[-1] is whole and whole.wanted(Parallelism(stages=2))


def test_a_model_that_is_whole_pays_for_no_other_way():
    code = """
import sys, beamsplit.pipelines.job.job
rooms = ("beamsplit.models.shard.", "beamsplit.models.split.", "beamsplit.models.strategy.", "onnx_ir")
print(sorted(name for name in sys.modules if name.startswith(rooms)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    # What a saved plan and annotations look like: no graph is taken apart for that.
    few = {"shard.annotation", "shard.plan", "split.plan", "split.saved_files"}
    found = {name.strip("[]' ") for name in done.stdout.strip().split(",")}
    assert found <= {f"beamsplit.models.{name}" for name in few}, found
