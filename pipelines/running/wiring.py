"""A job as a pipeline: source, steps one behind the other, sinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from beamsplit.pipelines.sinks.outputs import write_outputs
from beamsplit.pipelines.sinks.sink import FoundErrors, Written

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.execution.execution import Execution
    from beamsplit.pipelines.job.job import Job
    from beamsplit.transforms.kafka.config import Topic
    from beamsplit.transforms.kafka.transact import Transacted
    from beamsplit.transforms.step import Step
    from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint


@dataclass(frozen=True)
class SideWorkers:
    """Workers of what stands before the model and behind it, as resource hints; empty leaves them to the runner."""

    before: Mapping[str, str] = field(default_factory=dict)
    behind: Mapping[str, str] = field(default_factory=dict)


def build(pipeline: beam.Pipeline, job: Job, first_errors: str | None) -> Written:
    """Wire the job into an empty pipeline; gives (path, job id) of each output, whose temporary files can be removed.

        source -> [read] -> prepare -> infer -> finish -> sink
           |        |          |         |        |
           +--------+----------+----+----+--------+-----> errors

    With transactions all behind the first arrow is one step, unless the model's parts have workers of their own; with
    `--resume` it is too.

    Args:
        pipeline: an empty pipeline.
        job: what `plan_job` made.
        first_errors: where to leave the first few errors if the job has no errors file.
    """
    if job.resumed is not None:
        from beamsplit.pipelines.resume.wiring import build_resumed

        return build_resumed(pipeline, job)
    ends = SideWorkers() if job.source.bounded else side_workers(job.execution)
    rows = job.source.read(pipeline, job, ends.before)
    read = rows.blocks
    if job.metrics is not None:
        from beamsplit.transforms.telemetry.serve_metrics import ServeMetrics

        read = read | "Metrics" >> ServeMetrics(job.metrics, counted=True).with_resource_hints(**ends.before)
    if job.source.in_transactions:
        _score_in_transactions(read, job, ends)
        return []
    blocks, failed = run_steps(read, job.steps, job.execution, job.job_dir, ends, job.metrics)
    unread = [FoundErrors(one, ends.before) for one in rows.failed]
    gaps = [FoundErrors(one, ends.before) for one in rows.gaps]
    return write_outputs(blocks, (*unread, *failed), gaps, job, first_errors, ends.behind)


def _score_in_transactions(blocks: PCollection, job: Job, ends: SideWorkers) -> None:
    """Outputs, errors and offsets of a range are committed together: by one step with all others, or in order again."""
    from beamsplit.pipelines.sinks.files import ErrorFile
    from beamsplit.pipelines.sinks.topics import ErrorTopic, TopicSink
    from beamsplit.pipelines.sources.topic import Stream
    from beamsplit.transforms.apply import CountedStep
    from beamsplit.transforms.kafka.errors_file import ErrorsFile
    from beamsplit.transforms.kafka.exactly_once import ScoreInTransactions
    from beamsplit.transforms.kafka.transact import Transacted

    source, predictions, errors = job.source, job.sinks.predictions, job.sinks.errors
    assert isinstance(source, Stream) and isinstance(predictions, TopicSink) and source.transaction_seconds is not None
    goes_to: Topic | ErrorsFile | None = None
    if isinstance(errors, ErrorTopic):
        goes_to = errors.topic
    elif isinstance(errors, ErrorFile):
        goes_to = ErrorsFile(errors.name)
    transacted = Transacted(
        source.kafka.consumer_group,
        predictions.topic,
        predictions.format,
        goes_to,
        source.transaction_seconds,
    )
    hints: Mapping[str, str] = {}
    if job.execution.distributed is not None:
        from beamsplit.transforms.infer.run_steps import writer_memory

        hints = {"min_ram": writer_memory(job.execution.distributed)}
        left = _score_elsewhere(blocks, job, ends, transacted, hints)
    else:
        counted = [CountedStep(step, stage, job.job_dir, step is job.steps[-1][1]) for stage, step in job.steps]
        left = blocks | "Score" >> ScoreInTransactions(counted, transacted, job.job_dir)
    if goes_to is None:
        errors.write(left, job, None, hints)


def _score_elsewhere(
    blocks: PCollection, job: Job, ends: SideWorkers, transacted: Transacted, hints: Mapping[str, str]
) -> PCollection:
    """What steps with workers of their own make meets by partition, in others that write (`hints`): in those of a step,
    which then had two stages of a task, it would hang on Beam's turns which processes read."""
    import apache_beam as beam

    from beamsplit.transforms.kafka.ordered_transactions import (
        RANGES,
        ErrorsByPartition,
        RowsByPartition,
        TellRanges,
        TransactInOrder,
    )

    told = blocks | "Ranges" >> TellRanges().with_resource_hints(**ends.before)
    scored, failed = run_steps(told.blocks, job.steps, job.execution, job.job_dir, ends, job.metrics)
    pieces = [told[RANGES], scored | "Outputs" >> RowsByPartition().with_resource_hints(**ends.behind)]
    for number, (found, found_by) in enumerate(failed):
        pieces.append(found | f"Errors {number}" >> ErrorsByPartition().with_resource_hints(**found_by))
    write = TransactInOrder(transacted, job.job_dir).with_resource_hints(**hints)
    left = tuple(pieces) | "Pieces" >> beam.Flatten() | "Transactions" >> write
    if job.metrics is None:
        return left
    from beamsplit.transforms.telemetry.serve_metrics import ServeMetrics

    return left | "Metrics of the writers" >> ServeMetrics(job.metrics).with_resource_hints(**hints)


def side_workers(execution: Execution) -> SideWorkers:
    """The workers of the model's first and last step: what they have need not be handed over, which on a stream takes a
    bundle's end. Empty where every worker has the whole model."""
    if execution.distributed is None:
        return SideWorkers()
    from beamsplit.transforms.infer.run_steps import worker_memory

    memory, stages = worker_memory(execution.distributed), execution.distributed.stages
    first, last = memory[stages[0], None], memory[stages[-1], None]
    return SideWorkers({"min_ram": first}, {"min_ram": last})


def run_steps(
    blocks: PCollection,
    steps: Sequence[tuple[str, Step]],
    execution: Execution,
    job_dir: str | None,
    ends: SideWorkers = SideWorkers(),
    metrics: MetricsEndpoint | None = None,
) -> tuple[PCollection, list[FoundErrors]]:
    """(blocks that went through all steps, rows that failed in each).

    Args:
        blocks: as they are read.
        steps: (stage, step), the stage one of `read`, `prepare`, `infer` and `finish`.
        execution: where the parts of its model have workers of their own, they stand in the place of `infer`.
        job_dir: folder that local workers share.
        ends: workers of the steps before and behind the model.
        metrics: where workers of the model's parts show theirs.
    """
    from beamsplit.transforms.apply import FAILED, ApplyStep

    failed: list[FoundErrors] = []
    hints = ends.before
    for number, (stage, step) in enumerate(steps):
        last = number == len(steps) - 1
        if stage == "infer" and execution.distributed is not None:
            from beamsplit.transforms.infer.run_steps import RunSteps, failing_workers

            hints = ends.behind
            run = RunSteps(execution.distributed, last, failed_by_step=True, metrics=metrics)
            blocks, *unscored = blocks | f"{number}: model" >> run
            found_by = [{"min_ram": memory} for memory in failing_workers(execution.distributed)]
            failed += [FoundErrors(*each) for each in zip(unscored, found_by, strict=True)]
        else:
            applied = blocks | f"{number}: {stage}" >> ApplyStep(step, stage, job_dir, last).with_resource_hints(
                **hints
            )
            blocks = applied.blocks
            failed.append(FoundErrors(applied[FAILED], hints))
    return blocks, failed
