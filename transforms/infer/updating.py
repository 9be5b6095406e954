"""The model as a step of a stream that takes new models as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamsplit.transforms.infer.live_model import LiveModel, ModelUpdates, live_model
from beamsplit.transforms.infer.model_version import version_schema, with_version
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.step import StepResult
from beamsplit.transforms.telemetry.recorder import loading_model, recording


@dataclass(frozen=True)
class UpdatingInferStep:
    """Scores each block with the model that is in use when the block comes."""

    infer: InferStep
    """How; its model is the first."""

    updates: ModelUpdates
    version_column: str | None = None
    """Column for the version of the model that made a prediction; None for none."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """That of the model, with the version."""
        made = self.infer.output_schema(schema)
        return made if self.version_column is None else version_schema(made, self.version_column)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Score the block; a row that the model or the binding refuses is a failure."""
        live = self._live()
        current = live.current
        if (recorder := recording()) is not None:
            recorder.model_version = current.version
        result = self.infer.score_with(current.scorer, block)
        live.saw(block)
        counts = live.take_counts()
        if any(counts):
            _tell(*counts)
        if self.version_column is None:
            return result
        return StepResult(
            with_version(result.block, self.version_column, current.version), result.failures, result.parts
        )

    def setup(self) -> None:
        """Load the model, or the newest there is, before the first block."""
        with loading_model():
            self._live()

    def _live(self) -> LiveModel:
        live = self.__dict__.get("_made")
        if live is None:
            infer = self.infer
            source = infer.source or infer.plan.model.path
            live = live_model(infer.plan, source, infer.session_options(), self.updates, infer.job_dir)
            self.__dict__["_made"] = live
        return live

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the model."""
        return {name: value for name, value in self.__dict__.items() if name != "_made"}


def _tell(taken: int, refused: int) -> None:
    from apache_beam.metrics import Metrics

    for name, count in (("model_updates", taken), ("model_updates_refused", refused)):
        if count:
            Metrics.counter("beamsplit", name).inc(count)
    if refused and (recorder := recording()) is not None:
        recorder.count("beamsplit_model_refusals", refused)
