"""The model as a step: a block of inputs becomes a block of kept columns and predictions."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.running.runs import Counts, RunnableModel, Runs
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.running.whole_model import WholeModel
from beamsplit.models.scoring.audit import Audit, AuditFailed, audit_rows, draw
from beamsplit.models.scoring.scorer import Scored, Scorer, ScoringPlan
from beamsplit.models.values.packed_rows import unpack_rows
from beamsplit.transforms.block import INTERNAL_COLUMNS, origin_of
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.infer.running_rows import running
from beamsplit.transforms.step import RowFailure, StepResult
from beamsplit.transforms.telemetry.recorder import loading_model, recording
from beamsplit.transforms.worker import device_in_turn

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

    counted: bool = True
    """Whether Beam's metrics are told of each run: not of those that plan the job."""

    model: RunnableModel | None = None
    """How this worker runs it: in stages that overlap, in shards side by side, or both; None runs it whole."""

    audit: Audit | None = None
    """Rows that are scored once more, each alone, and compared; None for none."""

    warm: bytes | None = None
    """Rows (`pack_rows`) that a worker scores before its first block, so that it is ready when it says so; None for
    none."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """`--keep` columns, then a column an output, then the origin."""
        internal = [field for field in schema if field.name in INTERNAL_COLUMNS]
        return pa.schema([*(schema.field(name) for name in self.keep), *self.plan.fields, *internal])

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Score the block; a row that the model or the binding refuses is a failure."""
        return self.score_with(self._scorer(), block)

    def score_with(self, scorer: Scorer, block: pa.RecordBatch) -> StepResult:
        """Score the block with a scorer of this step's plan, or of one with another model in its place."""
        running(block, self.job_dir, self.session)
        if self.counted:
            scored = scorer.score(block, _observe)
            if self.audit is not None:
                self._compare(self.audit, scorer, block, scored)
            self._tell_of_loading(scorer.session)
            _tell_of_parts(scorer.session)
        else:
            scored = scorer.score(block)
        carried = [*self.keep, *(name for name in block.schema.names if name in INTERNAL_COLUMNS)]
        kept = block.select(carried)
        if scored.good is not None:
            if self.counted:
                _metrics().failed_batches.inc()
            kept = kept.take(pa.array(scored.good))
        columns = [*kept.columns[: len(self.keep)], *scored.columns, *kept.columns[len(self.keep) :]]
        result = pa.RecordBatch.from_arrays(columns, schema=self.output_schema(block.schema))
        stages = {row: f"stage {stage}" for row, stage in scored.failed_stages.items()}
        return StepResult(result, [RowFailure(row, reason) for row, reason in scored.failures], stages)

    def setup(self) -> None:
        """Load the model before the first block, and warm it."""
        with loading_model():
            scorer = self._scorer()
            if self.warm is not None:
                scorer.score(unpack_rows(self.warm))

    def _scorer(self) -> Scorer:
        # One a DoFn instance, so one a worker: a GPU is chosen once. Not a field, so it does not travel.
        scorer = self.__dict__.get("_made")
        if scorer is None:
            scorer = self.__dict__["_made"] = Scorer(self.plan, self._session())
        return scorer

    def _session(self) -> Runs:
        model = self.model
        if model is None:
            file = replace(self.plan.model, path=self.source) if self.source else self.plan.model
            model = WholeModel(file, self.session_options())
        return model.fetched(localize).open()

    def session_options(self) -> SessionOptions:
        """Those of this worker: with the GPU that falls to it."""
        options = self.session
        if self.devices:
            options = replace(options, device=device_in_turn(self.job_dir, self.devices))
        return options

    def _compare(self, audit: Audit, scorer: Scorer, block: pa.RecordBatch, scored: Scored) -> None:
        """Score a few rows alone.

        Raises:
            AuditFailed: one comes out otherwise, unless that is only to be told.
        """
        from apache_beam.metrics import Metrics

        rng = self.__dict__.get("_draws")
        first = rng is None
        if rng is None:
            rng = self.__dict__["_draws"] = np.random.default_rng()
        count = block.num_rows if scored.good is None else len(scored.good)
        found = audit_rows(scorer, block, scored, draw(audit, count, rng, first).tolist())
        Metrics.counter("beamsplit", "rows_audited").inc(found.rows)
        if not found.differing:
            return
        Metrics.counter("beamsplit", "rows_audited_differing").inc(len(found.differing))
        row, reason = found.differing[0]
        file, number = origin_of(block, row)
        line = (
            f"{len(found.differing)} of {found.rows} audited rows come out otherwise than each alone, "
            f"the first row {number} of {file}: {reason}"
        )
        if not audit.warn:
            raise AuditFailed(f"{line}; --audit warn only tells")
        logging.getLogger(__name__).warning("%s", line)

    def _tell_of_loading(self, session: Runs) -> None:
        # Beam drops what is told to a metric in setup: only a bundle has metrics.
        if self.__dict__.get("_told") is not session:
            self.__dict__["_told"] = session
            _metrics().load_latency.update(round(session.load_seconds * 1000))
            _metrics().model_bytes.update(session.model_bytes)
            if (recorder := recording()) is not None:
                recorder.tell_of_model(session.load_seconds, session.model_bytes)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the session."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_made", "_told", "_draws")}


class _InferenceMetrics:
    """The names that Beam's RunInference gives the same numbers."""

    def __init__(self) -> None:
        # Imported by a worker: a job is planned before Beam is.
        from apache_beam.metrics import Metrics

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
    if (recorder := recording()) is not None:
        recorder.observe("beamsplit_batch_rows", rows, "infer")
        recorder.observe("beamsplit_run_seconds", seconds, "infer")


def _tell_of_parts(session: Runs) -> None:
    """What the parts of a model did since any thread of this process told of it."""
    take = getattr(session, "take_stats", None)
    if take is None:
        return
    from apache_beam.metrics import Metrics

    counts: Counts = take()
    for name, value in counts.counts.items():
        Metrics.counter("beamsplit", name).inc(value)
    if (recorder := recording()) is not None:
        recorder.add_parts(counts.counts)
