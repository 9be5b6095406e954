"""The model as a step: a block of inputs becomes a block of kept columns and predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from apache_beam.metrics import Metrics

from models.scoring import Scorer, ScoringPlan
from models.session import SessionOptions, get_session
from transforms.block import INTERNAL_COLUMNS
from transforms.model_file import localize
from transforms.step import RowFailure, StepResult
from transforms.worker import device_in_turn

NAMESPACE = "BeamML_OnnxRuntime"


@dataclass(frozen=True)
class InferStep:
    """Scores blocks with one model."""

    plan: ScoringPlan
    """Model, binding, outputs and batch size."""

    session: SessionOptions
    """Providers and threads of each worker's session."""

    source: str | None = None
    """Where workers get the model; None takes the plan's local path."""

    keep: tuple[str, ...] = ()
    """Columns of the input that stand before the predictions in the output."""

    devices: int = 0
    """GPUs in a machine: workers take them in turn. 0 leaves the session's own device."""

    job_dir: str | None = None
    """Folder that the job's local workers share, in which they count themselves; None on a cluster."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """`--keep` columns, then a column an output, then the origin."""
        internal = [field for field in schema if field.name in INTERNAL_COLUMNS]
        return pa.schema([*(schema.field(name) for name in self.keep), *self.plan.fields, *internal])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Score the block; a row that the model or the binding refuses is a failure."""
        scored = self._scorer().score(block, _observe)
        self._tell_of_loading()
        carried = [*self.keep, *(name for name in block.schema.names if name in INTERNAL_COLUMNS)]
        kept = block.select(carried)
        if scored.good is not None:
            _metrics().failed_batches.inc()
            kept = kept.take(pa.array(scored.good))
        columns = [*kept.columns[: len(self.keep)], *scored.columns, *kept.columns[len(self.keep) :]]
        result = pa.RecordBatch.from_arrays(columns, schema=self.output_schema(block.schema))
        return StepResult(result, [RowFailure(row, reason) for row, reason in scored.failures])

    def setup(self) -> None:
        """Load the model before the first block."""
        self._scorer()

    def _scorer(self) -> Scorer:
        # One a DoFn instance, so one a worker: a GPU is chosen once. Not a field, so it does not travel.
        scorer = self.__dict__.get("_made")
        if scorer is None:
            options = self.session
            if self.devices:
                options = SessionOptions(options.providers, options.threads, device_in_turn(self.job_dir, self.devices))
            model = replace(self.plan.model, path=localize(self.source)) if self.source else self.plan.model
            session = get_session(model, options)
            scorer = self.__dict__["_made"] = Scorer(self.plan, session)
        return scorer

    def _tell_of_loading(self) -> None:
        # Beam drops what is told to a metric in setup: only a bundle has metrics.
        if "_told" not in self.__dict__:
            self.__dict__["_told"] = True
            session = self._scorer().session
            _metrics().load_latency.update(round(session.load_seconds * 1000))
            _metrics().model_bytes.update(session.model_bytes)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the session."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_made", "_told")}


class _InferenceMetrics:
    """The names that Beam's RunInference gives the same numbers."""

    def __init__(self) -> None:
        self.num_inferences = Metrics.counter(NAMESPACE, "num_inferences")
        self.batch_size = Metrics.distribution(NAMESPACE, "inference_request_batch_size")
        self.latency = Metrics.distribution(NAMESPACE, "inference_batch_latency_micro_secs")
        self.load_latency = Metrics.distribution(NAMESPACE, "load_model_latency_milli_secs")
        self.model_bytes = Metrics.distribution(NAMESPACE, "model_byte_size")
        self.failed_batches = Metrics.counter(NAMESPACE, "failed_batches_counter")


_METRICS: list[_InferenceMetrics] = []


def _metrics() -> _InferenceMetrics:
    if not _METRICS:
        _METRICS.append(_InferenceMetrics())
    return _METRICS[0]


def _observe(rows: int, seconds: float) -> None:
    metrics = _metrics()
    metrics.num_inferences.inc(rows)
    metrics.batch_size.update(rows)
    metrics.latency.update(round(seconds * 1e6))
