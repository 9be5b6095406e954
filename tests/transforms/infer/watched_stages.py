"""Stages that write down which process runs them, and what that holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
from apache_beam.metrics import Metrics

from beamsplit.models.running import session
from beamsplit.transforms.infer.model_steps import ModelSteps
from beamsplit.transforms.infer.whole_step import StepFailure, WholeStep


class WatchedStep(WholeStep):
    """Tells which process runs the stage and which models that has loaded."""

    def run(self, block: pa.RecordBatch) -> Iterator[pa.RecordBatch | StepFailure]:
        yield from super().run(block)
        Metrics.counter("test", f"pid/{self.number}/{os.getpid()}").inc()
        for path in session.loaded_models():
            Metrics.counter("test", f"loaded/{self.number}/{Path(path).name}").inc()


def as_kind(kind: type[WholeStep], steps: ModelSteps) -> ModelSteps:
    made = (kind(**{field.name: getattr(step, field.name) for field in fields(step)}) for step in steps.steps)
    return replace(steps, steps=tuple(made))


def pids_and_models(counters: dict[str, int]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What `WatchedStep` told: (stage, process id) and (stage, file of a loaded model)."""
    told = sorted(name.split("/") for name in counters if name.startswith(("pid/", "loaded/")))
    return [(a, b) for kind, a, b in told if kind == "pid"], [(a, b) for kind, a, b in told if kind == "loaded"]
