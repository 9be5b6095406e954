"""Everything that is found out before a stream starts: topics, what messages hold, how they are bound."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.divided import Divided
from beamsplit.pipelines.execution.stream_split import divide_stream
from beamsplit.pipelines.execution.workers import count_workers
from beamsplit.pipelines.job.audit import audit_fact, with_audit
from beamsplit.pipelines.job.finishing import finish_steps
from beamsplit.pipelines.job.job import user_fields, with_batch_size
from beamsplit.pipelines.job.json_output import steps_for_format
from beamsplit.pipelines.job.messages import open_messages
from beamsplit.pipelines.job.topic_ends import check_columns_written
from beamsplit.pipelines.job.versions import updating_step, version_steps
from beamsplit.pipelines.report.summary import plan_lines, rows_fact
from beamsplit.runners.flink import is_flink
from beamsplit.runners.prism import is_prism
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.failures.formats import errors_format
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.infer.updating import UpdatingInferStep
from beamsplit.transforms.kafka.clients import check_topic
from beamsplit.transforms.kafka.config import ClientConfig, Topic, is_kafka, parse_topic, read_properties
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
"""How long a block waits for company, unless said otherwise."""

TRANSACTION_MS = 200
"""How long a transaction lasts, unless said otherwise: longer ones cost less, and outputs are read later."""


@dataclass(frozen=True)
class StreamJob:
    """A stream that can run: topics, names, types and shapes have been checked."""

    source: KafkaSource
    parse: ParseMessages
    prepare: tuple[Step, ...]
    infer: InferStep
    divided: Divided
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


def plan_stream(options: argparse.Namespace, job_dir: str | None, on_prism: bool) -> StreamJob:
    """Check everything and decide what is left open.

    Args:
        options: what `pipelines.options.score.parse` gave, with a topic as its input.
        job_dir: folder that local workers share; a file `stop` in it ends the stream.
        on_prism: whether it runs on this machine, in one process.

    Raises:
        UsageError: something cannot work; one line with the fix.
        GapFoundError: messages are gone, and `--on_gap` is fail.
    """
    transaction_ms = check_delivery(options)
    topic, output, errors, config = _topics(options)
    # Prism gives the readers of one worker turns that last a bundle each, so there it is one over all partitions.
    count = options.workers or (1 if on_prism else None)
    # With a limit, be it infinite, it is known how long a run is under way (`drain_limit`).
    limit = options.run_timeout or (inf if on_prism else None)
    workers = count_workers(count, options.threads, options.providers, on_prism, limit)
    messages = open_messages(options, topic.name, workers)
    prepared, made = messages.prepared, messages.made
    plan, batch_fact = with_batch_size(made, options.batch_size)
    divided, aside = divide_stream(options, made, plan, batch_fact, workers, prepared, job_dir, on_prism)
    infer = with_audit(options, divided.infer_step(options, workers, job_dir), made, divided.apart, None)
    updating = updating_step(options, infer, prepared, made.sample) if options.model_updates else None
    after_infer = (updating or infer).output_schema(prepared)
    finish = finish_steps(options, after_infer, made)
    if updating is None:
        finish += version_steps(options, made.plan.model.path, chain_schema(finish, after_infer))
    finish += messages.give_as_came
    finish += steps_for_format(options, chain_schema(finish, after_infer))
    after_finish = chain_schema(finish, after_infer)
    output_format = options.output_format or "json"
    check_columns_written(options, after_finish)

    latency_ms = options.max_latency_ms or MAX_LATENCY_MS
    source = KafkaSource(
        config,
        topic,
        options.group or f"beamsplit-{topic.name}-{output.name}",
        start=options.start or "committed",
        readers=workers.count,
        latency_seconds=latency_ms / 1000,
        block_rows=options.batch_size if isinstance(options.batch_size, int) else None,
        transactional=transaction_ms is not None,
        parted=divided.apart,
        idle_seconds=min(IDLE_WAIT_SECONDS, (transaction_ms or 1000) / 1000),
        bundle_seconds=(
            PARTED_BUNDLE_SECONDS if divided.apart else LONG_BUNDLE_SECONDS if on_prism else BUNDLE_SECONDS
        ),
        until_end=options.until_end,
        stop_after_idle=options.stop_after_idle,
        stop_file=f"{job_dir}/stop" if job_dir else None,
        on_gap=options.on_gap or "continue",
        event_time=(
            check_event_time(options.event_time, messages.format, messages.fields, messages.schema)
            if options.event_time
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
        notes=(*made.notes, *aside, *divided.notes),
        transaction_seconds=None if transaction_ms is None else transaction_ms / 1000,
        facts={
            "model": options.model,
            **({"updates": options.model_updates} if updating else {}),
            "input": str(topic),
            "messages": messages.fact,
            "group": f"{source.group}, from {source.start} where it has no offset",
            "inputs": divided.scoring.binding.describe(),
            "outputs": [f"{column.name}: {column.type}" for column in user_fields(after_finish)],
            **rows_fact(made),
            **audit_fact(options, None),
            "batch size": divided.batch_size,
            **divided.facts,
            **({"event time": options.event_time} if options.event_time else {}),
            "latency": f"a block waits {latency_ms} ms for company",
            "workers": f"{workers.count} readers, {workers.session.threads} threads a session",
            "providers": ", ".join(workers.session.providers),
            "output": f"{output}, {output_format}",
            "delivery": f"exactly_once, transactions of {transaction_ms} ms" if transaction_ms else "at_least_once",
        },
    )


def check_delivery(options: argparse.Namespace) -> int | None:
    """Milliseconds of a transaction; None where outputs are delivered at least once.

    Raises:
        UsageError: the runner has not been shown to deliver exactly once, or there are no transactions.
    """
    if options.delivery != "exactly_once":
        if options.transaction_ms:
            raise UsageError("--transaction_ms is for --delivery exactly_once; add it, or leave --transaction_ms out")
        return None
    if not is_prism(options.runner) and not is_flink(options.runner):
        raise UsageError(
            f"--delivery exactly_once wants messages read, scored and written in one step, and --runner "
            f"{options.runner} is not known to keep them together; use FlinkRunner or DirectRunner"
        )
    if is_flink(options.runner) and options.checkpoint is None:
        raise UsageError(
            "--delivery exactly_once on Flink wants checkpoints, without which a failed job is not started again, and "
            "--checkpoint is off; type --checkpoint 10s, or --delivery at_least_once"
        )
    return options.transaction_ms or TRANSACTION_MS


def _topics(options: argparse.Namespace) -> tuple[Topic, Topic, Topic | str | None, ClientConfig]:
    """(input, output, errors, how to get in), all of which answer."""
    if len(options.input) != 1:
        raise UsageError(f"--input names {len(options.input)} inputs, and a stream reads one topic; type one")
    if not is_kafka(options.output):
        raise UsageError(
            f"--input {options.input[0]} is a stream and --output {options.output} a file; "
            "type --output kafka://HOST:PORT/TOPIC, or --until_end to read what is there now into files"
        )
    topic, output = parse_topic(options.input[0], "--input"), parse_topic(options.output, "--output")
    errors: Topic | str | None = options.errors
    if options.errors and is_kafka(options.errors):
        errors = parse_topic(options.errors, "--errors")
    elif options.errors and "://" in options.errors:
        raise UsageError(f"--errors {options.errors}: a stream's errors go to a topic or a local file; type one")
    elif options.errors:
        errors_format(options.errors, growing=True)
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
    config = ClientConfig(topic.servers, options.kafka_config)
    if options.kafka_config:
        read_properties(options.kafka_config)
    for option, each in [("--input", topic), *written]:
        check_topic(config, each, option)
    return topic, output, errors, config
