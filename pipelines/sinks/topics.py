"""Topics as what a job writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.modes import mode_of
from beamsplit.pipelines.options.schemes import Mode
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sinks.registered import RegisteredOutput
from beamsplit.pipelines.sinks.sink import ErrorSink, Sink, TopicSinks, Written
from beamsplit.transforms.kafka.clients import check_topic
from beamsplit.transforms.kafka.config import ClientConfig, Topic, is_kafka, parse_topic, read_properties
from beamsplit.transforms.kafka.registry.kinds import is_registered

if TYPE_CHECKING:
    import pyarrow as pa
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job
    from beamsplit.transforms.kafka.registry.write import WriteRegistered
    from beamsplit.transforms.step import Step


def find_topics(options: ScoreOptions, local: bool) -> TopicSinks:
    """The topics that `--output` and `--errors` name.

    Args:
        options: of the job.
        local: whether the workers run on this machine.

    Raises:
        UsageError: they do not go together, or with what is read.
    """
    sink, source, stream = options.sink, options.source.input, mode_of(options) is Mode.STREAM
    output = parse_topic(sink.output, "--output") if is_kafka(sink.output) else None
    errors = parse_topic(sink.errors, "--errors") if sink.errors and is_kafka(sink.errors) else None
    read = [("--input", parse_topic(source[0], "--input"))] if is_kafka(source[0]) else []
    given = [(option, topic) for option, topic in (("--output", output), ("--errors", errors)) if topic is not None]
    (_check_stream if stream else _check_bounded)(given, read)
    if not stream and output is not None and not sink.errors and not local:
        raise UsageError(
            "workers elsewhere have no place to leave rows that fail; add --errors kafka://HOST:PORT/TOPIC or a file"
        )
    config = ClientConfig(given[0][1].servers, options.stream.kafka_config)
    return TopicSinks(
        None if output is None else _topic_sink(config, output, options),
        None if errors is None else ErrorTopic(config, errors),
    )


def _topic_sink(config: ClientConfig, output: Topic, options: ScoreOptions) -> TopicSink:
    format = options.sink.output_format or "json"
    if not is_registered(format):
        return TopicSink(config, output, format)
    registered = RegisteredOutput(format, output.name, options.stream, options.watching.dry_run_plan)
    return TopicSink(config, output, format, registered)


Named = list["tuple[str, Topic]"]


def _check_bounded(given: Named, read: Named) -> None:
    option, first = given[0]
    for other_option, other in [*read, *given[1:]]:
        if other.servers != first.servers:
            raise UsageError(f"{option} is on {first.servers} and {other_option} on {other.servers}; name one cluster")
        if other.name == first.name:
            raise UsageError(f"{option} and {other_option} are both the topic {other.name}; name another")


def _check_stream(given: Named, read: Named) -> None:
    _, topic = read[0]
    for option, other in given:
        if other.name == topic.name:
            raise UsageError(f"{option} {other} is the topic that --input reads; name another")
        if other.servers != topic.servers:
            raise UsageError(
                f"{option} is on {other.servers} and --input on {topic.servers}; a stream stays on one cluster"
            )
    names = [other.name for _, other in given]
    if len(names) != len(set(names)):
        raise UsageError(f"--errors and --output are both the topic {names[0]}; name another")


def _check_there(config: ClientConfig, topic: Topic, option: str) -> None:
    if config.properties:
        read_properties(config.properties)
    check_topic(config, topic, option)


@dataclass(frozen=True)
class TopicSink(Sink):
    """Predictions as messages, which are out as soon as they are sent."""

    config: ClientConfig
    topic: Topic
    format: str | WriteRegistered
    """Of the messages."""

    registered: RegisteredOutput | None = None
    """Where their schema is in a registry."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """The topic with its brokers."""
        return str(self.topic)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The topic, and what its messages hold."""
        return {"output": f"{self.topic}, {self.format}"}

    def opened(self) -> None:
        """Ask whether the topic is there."""
        _check_there(self.config, self.topic, "--output")

    def ready(self, schema: pa.Schema) -> tuple[Sink, tuple[Step, ...]]:
        """With the registry's schema, and the step that fails rows that it does not take."""
        if self.registered is None:
            return self, ()
        format, fitting = self.registered.opened().format(schema)
        return replace(self, format=format), (fitting,)

    def send(self, blocks: PCollection, job: Job, hints: Mapping[str, str]) -> PCollection:
        """Wire the sending; rows that the topic does not take."""
        if job.source.bounded:
            from beamsplit.transforms.kafka.rows import SendRows

            return blocks | "Write" >> SendRows(self.config, self.topic, self.format, job.job_dir)
        from beamsplit.transforms.kafka.sink import WriteMessages

        write = WriteMessages(self.config, self.topic, self.format, job.job_dir)
        return blocks | "Write" >> write.with_resource_hints(**hints)


@dataclass(frozen=True)
class ErrorTopic(ErrorSink):
    """Errors as messages."""

    config: ClientConfig
    topic: Topic

    @property
    def name(self) -> str:  # type: ignore[override]
        """The topic with its brokers."""
        return str(self.topic)

    def opened(self) -> None:
        """Ask whether the topic is there."""
        _check_there(self.config, self.topic, "--errors")

    def write(
        self, errors: PCollection, job: Job, after: PCollection | None, hints: Mapping[str, str]
    ) -> tuple[PCollection | None, Written]:
        """Wire the sending."""
        from beamsplit.transforms.kafka.errors import SendErrors
        from beamsplit.transforms.kafka.rows import SendRowErrors

        send = (SendErrors if job.source.of_messages else SendRowErrors)(self.config, self.topic, job.job_dir)
        errors | "Write errors" >> send.with_resource_hints(**hints)
        return None, []
