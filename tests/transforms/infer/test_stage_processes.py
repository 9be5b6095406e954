"""Stages in processes of their own, as Beam's in-process runner starts them; few, since each start takes seconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beamsplit.runners.direct import direct_flags, direct_runner
from beamsplit.transforms.infer.model_steps import ModelSteps
from beamsplit.transforms.infer.run_steps import RunSteps
from beamsplit.transforms.infer.whole_step import StepFailure, WholeStep
from tests.models.split import chains
from tests.transforms.infer.in_stages import block, split
from tests.transforms.infer.watched_stages import WatchedStep, as_kind, pids_and_models


class DyingStep(WholeStep):
    """The process that runs stage 1 dies on its first block."""

    def run(self, block: pa.RecordBatch) -> Iterator[pa.RecordBatch | StepFailure]:
        if self.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().run(block)


def run(steps: ModelSteps, blocks: list[pa.RecordBatch], out: Path) -> dict[str, int]:
    """The counters, after the rows that came out were counted into files of `out`."""
    pipeline = beam.Pipeline(direct_runner(1, "process", distributed=True), PipelineOptions(direct_flags(1)))
    made, _ = pipeline | beam.Create(blocks).with_output_types(pa.RecordBatch) | RunSteps(steps)
    made | beam.Map(keep, str(out))
    result = pipeline.run()
    result.wait_until_finish()
    return {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}


def keep(made: pa.RecordBatch, out: str) -> None:
    for row in made["_origin_row"].to_pylist():
        Path(out, str(row)).touch()


def test_each_stage_has_a_process_that_loads_only_its_model(tmp_path: Path):
    given = block(np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32))
    steps, _ = split(chains.by_rows(), tmp_path, given)
    out = tmp_path / "out"
    out.mkdir()
    counters = run(as_kind(WatchedStep, steps), [given], out)
    pids, loaded = pids_and_models(counters)
    assert [stage for stage, _ in pids] == ["0", "1", "2"]
    assert len({pid for _, pid in pids} | {str(os.getpid())}) == 4
    assert loaded == [(str(k), f"stage-{k}.onnx") for k in range(3)]
    assert sorted(int(path.name) for path in out.iterdir()) == list(range(10, 18))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_stage_whose_process_is_killed_fails_the_job(tmp_path: Path):
    given = block(np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32))
    steps, _ = split(chains.by_rows(), tmp_path, given)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RuntimeError):
        run(as_kind(DyingStep, steps), [given], out)
    assert list(out.iterdir()) == []
