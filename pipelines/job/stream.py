"""Everything that is found out before a stream starts: topics, what messages hold, how they are bound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.shard_source import drop_unsupported_annotations
from beamsplit.pipelines.execution.stream_split import check_placement
from beamsplit.pipelines.execution.ways import plan_execution
from beamsplit.pipelines.execution.workers import count_workers
from beamsplit.pipelines.job.audit import audit_fact, with_audit
from beamsplit.pipelines.job.finishing import finish_steps
from beamsplit.pipelines.job.job import user_fields, with_batch_size
from beamsplit.pipelines.job.json_output import json_format, steps_for_format
from beamsplit.pipelines.job.messages import open_messages
from beamsplit.pipelines.job.topic_ends import check_columns_written
from beamsplit.pipelines.job.versions import updating_step, version_steps
from beamsplit.pipelines.options.values import RunnerOptions, ScoreOptions, SinkOptions, SourceOptions, StreamOptions
from beamsplit.pipelines.report.summary import plan_lines, rows_fact
from beamsplit.runners.flink import is_flink
from beamsplit.runners.prism import is_prism
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.failures.formats import errors_format
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.infer.updating import UpdatingInferStep
from beamsplit.transforms.kafka.clients import check_topic
from beamsplit.transforms.kafka.config import ClientConfig, Topic, default_group, is_kafka, parse_topic, read_properties
from beamsplit.transforms.kafka.event_time import check_event_time
from beamsplit.transforms.kafka.gaps import check_gaps
from beamsplit.transforms.kafka.messages import ParseMessages
from beamsplit.transforms.kafka.offsets import committed_gaps
from beamsplit.transforms.kafka.source import (
    BUNDLE_SECONDS,
    IDLE_WAIT_SECONDS,
    LONG_BUNDLE_SECONDS,
    PARTED_BUNDLE_SECONDS,
    KafkaSource,
)
from beamsplit.transforms.step import Step

MAX_LATENCY_MS = 20
"""Longest wait for more messages before a block is emitted (linger), unless said otherwise."""

TRANSACTION_MS = 200
"""How long a transaction lasts, unless said otherwise: longer ones cost less, and outputs are read later."""


@dataclass(frozen=True)
class StreamJob:
    """A stream that can run: topics, names, types and shapes have been checked."""

    source: KafkaSource
    parse: ParseMessages
    prepare: tuple[Step, ...]
    infer: InferStep
    divided: Execution
    """How the model is run."""

    finish: tuple[Step, ...]
    config: ClientConfig
    output: Topic
    output_format: str
    errors: Topic | str | None
    """A topic, a local file, or None."""

    updating: UpdatingInferStep | None = None
    """In place of `infer` where new models are watched for."""

    transaction_seconds: float | None = None
    """How long a transaction lasts; None delivers at least once."""

    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """The plan in words, for --dry_run_plan and the summary."""

    def lines(self) -> list[str]:
        """The plan as text."""
        return plan_lines(self.facts, self.notes)

    @property
    def done_files(self) -> list[str]:
        """Where the readers leave word that they ended and all is committed; empty where workers are elsewhere."""
        parts = (replace(self.source, part=part).done_file for part in range(self.source.readers))
        return [path for path in parts if path is not None]


def plan_stream(options: ScoreOptions, job_dir: str | None, on_prism: bool) -> StreamJob:
    """Check everything and decide what is left open.

    Args:
        options: what `pipelines.options.score.parse` gave, with a topic as its input.
        job_dir: folder that local workers share; a file `stop` in it ends the stream.
        on_prism: whether it runs on this machine, in one process.

    Raises:
        UsageError: something cannot work; one line with the fix.
        GapFoundError: messages are gone, and `--on_gap` is fail.
    """
    binding, asked, stream, parallelism = options.binding, options.workers, options.stream, options.parallelism
    transaction_ms = check_delivery(stream, options.runner)
    topic, output, errors, config = _topics(options.source, options.sink, stream.kafka_config)
    # Prism gives the readers of one worker turns that last a bundle each, so there it is one over all partitions.
    count = asked.count or (1 if on_prism else None)
    # With a limit, be it infinite, it is known how long a run is under way (`drain_limit`).
    limit = asked.run_timeout or (inf if on_prism else None)
    workers = count_workers(replace(asked, count=count, run_timeout=limit), on_prism)
    to_json = json_format(options.sink) == "json"
    messages = open_messages(binding, stream, topic.name, workers.session, parallelism.in_parts, to_json)
    prepared, made = messages.prepared, messages.made
    plan, batch_fact = with_batch_size(made, asked.batch_size)
    local = job_dir is not None
    parallelism, unfollowed = drop_unsupported_annotations(parallelism, local, made.sample is not None)
    if parallelism.by_depth or parallelism.shards is not None:
        check_placement(parallelism, stream.delivery, on_prism)
    request = Request(
        binding.model,
        made,
        plan,
        batch_fact,
        workers,
        prepared,
        binding.keep,
        job_dir,
        local,
        # A block has few rows: where it is one run of the whole model, its micro-batches still overlap.
        rows_at_once=plan.batch_size,
        parallelism=parallelism,
        asked=asked,
        compare=options.watching.dry_run_plan,
    )
    divided = plan_execution(request)
    infer = with_audit(asked.audit, divided.infer_step(request), made, divided.is_distributed, None)
    updating = None
    if stream.model_updates:
        updating = updating_step(stream.model_updates, binding.model_version, infer, prepared, made.sample)
    after_infer = (updating or infer).output_schema(prepared)
    finish = finish_steps(binding, after_infer, made)
    if updating is None:
        finish += version_steps(binding.model_version, made.plan.model.path, chain_schema(finish, after_infer))
    finish += messages.give_as_came
    finish += steps_for_format(options.sink, chain_schema(finish, after_infer), binding.keep)
    after_finish = chain_schema(finish, after_infer)
    output_format = options.sink.output_format or "json"
    check_columns_written(options.sink, after_finish)

    latency_ms = stream.max_latency_ms or MAX_LATENCY_MS
    source = KafkaSource(
        config,
        topic,
        stream.group or default_group(topic.name, output.name),
        start=stream.start or "committed",
        readers=workers.count,
        latency_seconds=latency_ms / 1000,
        block_rows=asked.batch_size if isinstance(asked.batch_size, int) else None,
        transactional=transaction_ms is not None,
        parted=divided.is_distributed,
        idle_seconds=min(IDLE_WAIT_SECONDS, (transaction_ms or 1000) / 1000),
        bundle_seconds=(
            PARTED_BUNDLE_SECONDS if divided.is_distributed else LONG_BUNDLE_SECONDS if on_prism else BUNDLE_SECONDS
        ),
        until_end=stream.until_end,
        stop_after_idle=stream.stop_after_idle,
        stop_file=f"{job_dir}/stop" if job_dir else None,
        on_gap=stream.on_gap or "continue",
        event_time=(
            check_event_time(stream.event_time, messages.format, messages.fields, messages.schema)
            if stream.event_time
            else None
        ),
    )
    if source.on_gap == "fail":
        check_gaps(committed_gaps(source.consumer_group), source.on_gap)
    return StreamJob(
        source=source,
        parse=messages.parse,
        prepare=messages.prepare,
        infer=infer,
        divided=divided,
        finish=finish,
        config=config,
        output=output,
        output_format=output_format,
        errors=errors,
        updating=updating,
        notes=(*made.notes, *unfollowed, *divided.notes),
        transaction_seconds=None if transaction_ms is None else transaction_ms / 1000,
        facts={
            "model": binding.model,
            **({"updates": stream.model_updates} if updating else {}),
            "input": str(topic),
            "messages": messages.fact,
            "group": f"{source.group}, from {source.start} where it has no offset",
            "inputs": divided.scoring.binding.describe(),
            "outputs": [f"{column.name}: {column.type}" for column in user_fields(after_finish)],
            **rows_fact(made),
            **audit_fact(asked.audit, None),
            "batch size": divided.batch_size,
            **divided.facts,
            **({"event time": stream.event_time} if stream.event_time else {}),
            "latency": f"a block waits {latency_ms} ms at most for more messages",
            "workers": f"{workers.count} readers, {workers.session.threads} threads a session",
            "providers": ", ".join(workers.session.providers),
            "output": f"{output}, {output_format}",
            "delivery": f"exactly_once, transactions of {transaction_ms} ms" if transaction_ms else "at_least_once",
        },
    )


def check_delivery(stream: StreamOptions, runner: RunnerOptions) -> int | None:
    """Milliseconds of a transaction; None where outputs are delivered at least once.

    Raises:
        UsageError: the runner has not been shown to deliver exactly once, or there are no transactions.
    """
    if stream.delivery != "exactly_once":
        if stream.transaction_ms:
            raise UsageError("--transaction_ms is for --delivery exactly_once; add it, or leave --transaction_ms out")
        return None
    if not is_prism(runner.name) and not is_flink(runner.name):
        raise UsageError(
            f"--delivery exactly_once wants messages read, scored and written in one step, and --runner "
            f"{runner.name} is not known to keep them together; use FlinkRunner or DirectRunner"
        )
    if is_flink(runner.name) and runner.checkpoint is None:
        raise UsageError(
            "--delivery exactly_once on Flink wants checkpoints, without which a failed job is not started again, and "
            "--checkpoint is off; type --checkpoint 10s, or --delivery at_least_once"
        )
    return stream.transaction_ms or TRANSACTION_MS


def _topics(
    source: SourceOptions, sink: SinkOptions, kafka_config: str | None
) -> tuple[Topic, Topic, Topic | str | None, ClientConfig]:
    """(input, output, errors, how to get in), all of which answer."""
    if len(source.input) != 1:
        raise UsageError(f"--input names {len(source.input)} inputs, and a stream reads one topic; type one")
    if not is_kafka(sink.output):
        raise UsageError(
            f"--input {source.input[0]} is a stream and --output {sink.output} a file; "
            "type --output kafka://HOST:PORT/TOPIC, or --until_end to read what is there now into files"
        )
    topic, output = parse_topic(source.input[0], "--input"), parse_topic(sink.output, "--output")
    errors: Topic | str | None = sink.errors
    if sink.errors and is_kafka(sink.errors):
        errors = parse_topic(sink.errors, "--errors")
    elif sink.errors and "://" in sink.errors:
        raise UsageError(f"--errors {sink.errors}: a stream's errors go to a topic or a local file; type one")
    elif sink.errors:
        errors_format(sink.errors, growing=True)
    written = [("--output", output), *([("--errors", errors)] if isinstance(errors, Topic) else [])]
    for option, other in written:
        if other.name == topic.name:
            raise UsageError(f"{option} {other} is the topic that --input reads; name another")
        if other.servers != topic.servers:
            raise UsageError(
                f"{option} is on {other.servers} and --input on {topic.servers}; a stream stays on one cluster"
            )
    if isinstance(errors, Topic) and errors.name == output.name:
        raise UsageError(f"--errors and --output are both the topic {output.name}; name another")
    config = ClientConfig(topic.servers, kafka_config)
    if kafka_config:
        read_properties(kafka_config)
    for option, each in [("--input", topic), *written]:
        check_topic(config, each, option)
    return topic, output, errors, config
