"""A topic as what a job reads, for as long as it lasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from beamsplit.models.errors import UsageError
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.stream_split import check_placement
from beamsplit.pipelines.execution.workers import Replicas, count_workers
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.values import (
    BindingOptions,
    RunnerOptions,
    ScoreOptions,
    SinkOptions,
    StreamOptions,
    WorkerOptions,
)
from beamsplit.pipelines.sinks.json_output import json_format
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.pipelines.sources.messages import OpenedMessages
from beamsplit.pipelines.sources.registered import open_any
from beamsplit.pipelines.sources.source import Source, SourceRows
from beamsplit.runners.flink import is_flink
from beamsplit.runners.prism import is_prism
from beamsplit.transforms.kafka.clients import check_topic
from beamsplit.transforms.kafka.config import ClientConfig, Topic, default_group, is_kafka, parse_topic, read_properties
from beamsplit.transforms.kafka.gaps import check_gaps
from beamsplit.transforms.kafka.offsets import committed_gaps
from beamsplit.transforms.kafka.source import (
    BUNDLE_SECONDS,
    IDLE_WAIT_SECONDS,
    LONG_BUNDLE_SECONDS,
    PARTED_BUNDLE_SECONDS,
    KafkaSource,
)
from beamsplit.transforms.step import Step

if TYPE_CHECKING:
    import apache_beam as beam

    from beamsplit.pipelines.job.job import Job

MAX_LATENCY_MS = 20
"""Longest wait for more messages before a block is emitted (linger), unless said otherwise."""

TRANSACTION_MS = 200
"""How long a transaction lasts, unless said otherwise: longer ones cost less, and outputs are read later."""


def find(options: ScoreOptions, job_dir: str | None, local: bool) -> Stream:
    """The topic of `--input`.

    Raises:
        UsageError: it is not named as it must be, or the delivery cannot be had.
    """
    transaction_ms = check_delivery(options.stream, options.runner)
    names = options.source.input
    if len(names) != 1:
        raise UsageError(f"--input names {len(names)} inputs, and a stream reads one topic; type one")
    topic = parse_topic(names[0], "--input")
    config = ClientConfig(topic.servers, options.stream.kafka_config)
    output = options.sink.output
    group = options.stream.group
    if group is None and is_kafka(output):
        group = default_group(topic.name, parse_topic(output, "--output").name)
    return Stream(config, topic, options.stream, transaction_ms, is_prism(options.runner.name), job_dir, group)


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


@dataclass(frozen=True)
class Stream(Source):
    """A topic, read by one reader a worker."""

    bounded: ClassVar[bool] = False
    sampled: ClassVar[bool] = False
    of_messages: ClassVar[bool] = True

    config: ClientConfig
    topic: Topic
    asked: StreamOptions
    transaction_ms: int | None
    """How long a transaction lasts; None delivers at least once."""

    on_prism: bool
    """Whether it runs on this machine, in one process."""

    job_dir: str | None
    """A file `stop` in it ends the stream."""

    group: str | None = None
    """Its offsets say how far all is done."""

    messages: OpenedMessages | None = None
    """What messages hold, once the model is bound."""

    kafka: KafkaSource = None  # type: ignore[assignment]
    """How it is read, once the job is planned."""

    def opened(self) -> Stream:
        """The same, where the topic is there."""
        if self.asked.kafka_config:
            read_properties(self.asked.kafka_config)
        check_topic(self.config, self.topic, "--input")
        return self

    def workers(self, asked: WorkerOptions, parallelism: Parallelism, local: bool) -> Replicas:
        """One reader a worker.

        Prism gives the readers of one worker turns that last a bundle each, so there it is one over all partitions.
        With a limit, be it infinite, it is known how long a run is under way (`drain_limit`).
        """
        count = asked.count or (1 if self.on_prism else None)
        limit = asked.run_timeout or (inf if self.on_prism else None)
        return count_workers(replace(asked, count=count, run_timeout=limit), self.on_prism)

    def bind(self, binding: BindingOptions, sink: SinkOptions, session: SessionOptions, few_runs: bool) -> Bound:
        """Find out what messages hold; none is read."""
        place = self.topic.name, self.job_dir
        return open_any(binding, self.asked, place, session, few_runs, json_format(sink) == "json")

    def check_parallelism(self, parallelism: Parallelism) -> None:
        """Raise for a division that a stream cannot have."""
        if parallelism.by_depth or parallelism.shards is not None:
            check_placement(parallelism, self.asked.delivery, self.on_prism)

    def rows_at_once(self, scoring: ScoringPlan, workers: int) -> int | None:
        """A block has few rows: where it is one run of the whole model, its micro-batches still overlap."""
        return scoring.batch_size

    def ready(self, binding: BindingOptions, bound: Bound, request: Request, execution: Execution) -> Stream:
        """With its readers.

        Raises:
            GapFoundError: messages are gone, and `--on_gap` is fail.
        """
        assert isinstance(bound, OpenedMessages)
        asked, batch_size = self.asked, request.asked.batch_size
        kafka = KafkaSource(
            self.config,
            self.topic,
            str(self.group),
            start=asked.start or "committed",
            readers=request.workers.count,
            latency_seconds=self.latency_ms / 1000,
            block_rows=batch_size if isinstance(batch_size, int) else None,
            transactional=self.transaction_ms is not None,
            distributed=execution.is_distributed,
            idle_seconds=min(IDLE_WAIT_SECONDS, (self.transaction_ms or 1000) / 1000),
            bundle_seconds=self._bundle_seconds(execution),
            until_end=asked.until_end,
            stop_after_idle=asked.stop_after_idle,
            stop_file=f"{self.job_dir}/stop" if self.job_dir else None,
            on_gap=asked.on_gap or "continue",
            event_time=(bound.event_time(asked.event_time) if asked.event_time else None),
        )
        if kafka.on_gap == "fail":
            check_gaps(committed_gaps(kafka.consumer_group), kafka.on_gap)
        return replace(self, messages=bound, kafka=kafka)

    def _bundle_seconds(self, execution: Execution) -> float:
        if execution.is_distributed:
            return PARTED_BUNDLE_SECONDS
        return LONG_BUNDLE_SECONDS if self.on_prism else BUNDLE_SECONDS

    @property
    def latency_ms(self) -> int:
        """Longest wait for more messages."""
        return self.asked.max_latency_ms or MAX_LATENCY_MS

    @property
    def in_transactions(self) -> bool:  # type: ignore[override]
        """Whether they are delivered exactly once."""
        return self.transaction_ms is not None

    @property
    def transaction_seconds(self) -> float | None:
        """How long a transaction lasts; None delivers at least once."""
        return None if self.transaction_ms is None else self.transaction_ms / 1000

    @property
    def steps(self) -> tuple[Step, ...]:
        """What reads messages."""
        assert self.messages is not None
        return (self.messages.parse,)

    @property
    def behind(self) -> tuple[Step, ...]:
        """What gives out fields as they came."""
        assert self.messages is not None
        return self.messages.give_as_came

    @property
    def facts(self) -> Mapping[str, Any]:
        """The topic, what messages hold, the group."""
        assert self.messages is not None
        return {
            "input": str(self.topic),
            "messages": self.messages.fact,
            "group": f"{self.kafka.group}, from {self.kafka.start} where it has no offset",
        }

    @property
    def pace(self) -> Mapping[str, Any]:
        """Which time messages have, and how long blocks wait."""
        return {
            **({"event time": self.asked.event_time} if self.asked.event_time else {}),
            "latency": f"a block waits {self.latency_ms} ms at most for more messages",
        }

    @property
    def delivery(self) -> Mapping[str, Any]:
        """How often an output may be there."""
        once = f"exactly_once, transactions of {self.transaction_ms} ms"
        return {"delivery": once if self.transaction_ms is not None else "at_least_once"}

    def worker_name(self, worker_type: str) -> str:
        """Readers."""
        return "readers"

    @property
    def done_files(self) -> list[str]:
        """Where the readers leave word that they ended and all is committed; empty where workers are elsewhere."""
        parts = (replace(self.kafka, part=part).done_file for part in range(self.kafka.readers))
        return [path for path in parts if path is not None]

    def read(self, pipeline: beam.Pipeline, job: Job, hints: Mapping[str, str]) -> SourceRows:
        """Wire the readers, in the workers of the model's first step."""
        from beamsplit.transforms.kafka.gap_errors import TakeGaps
        from beamsplit.transforms.kafka.source import ReadMessages

        blocks = pipeline | "Read" >> ReadMessages(self.kafka).with_resource_hints(**hints)
        if self.in_transactions:
            return SourceRows(blocks)
        blocks, gaps = blocks | "Gaps" >> TakeGaps(job.job_dir).with_resource_hints(**hints)
        return SourceRows(blocks, gaps=[gaps])
