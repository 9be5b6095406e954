"""The topics that a job of files, or of a topic up to its end, writes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type
from beamsplit.pipelines.options.values import SinkOptions
from beamsplit.transforms.block import data_columns
from beamsplit.transforms.kafka.clients import check_topic
from beamsplit.transforms.kafka.config import ClientConfig, Topic, is_kafka, parse_topic, read_properties
from beamsplit.transforms.write.names import output_format
from beamsplit.transforms.write.written_types import check_written_types


@dataclass(frozen=True)
class TopicEnds:
    """Topics at the end of a job, which are there and let us in."""

    config: ClientConfig
    output: Topic | None
    """None writes files."""

    output_format: str
    """Of the output's messages."""

    errors: Topic | None
    """None writes errors to a file, or shows the first."""

    @property
    def output_fact(self) -> str | None:
        """The output in words."""
        return None if self.output is None else f"{self.output}, {self.output_format}"


def find_topics(
    sink: SinkOptions, kafka_config: str | None, local: bool, read: Sequence[Topic] = ()
) -> TopicEnds | None:
    """The topics that `--output` and `--errors` name; None where they name none.

    Args:
        sink: where predictions and errors go.
        kafka_config: properties of the client.
        local: whether the workers run on this machine.
        read: topics that the job reads.

    Raises:
        UsageError: they cannot be written to; one line with the fix.
    """
    output = parse_topic(sink.output, "--output") if is_kafka(sink.output) else None
    errors = parse_topic(sink.errors, "--errors") if sink.errors and is_kafka(sink.errors) else None
    given = [(option, topic) for option, topic in (("--output", output), ("--errors", errors)) if topic is not None]
    if not given:
        return None
    first = given[0][1]
    others = [*(("--input", topic) for topic in read), *given[1:]]
    for option, other in others:
        if other.servers != first.servers:
            raise UsageError(f"{given[0][0]} is on {first.servers} and {option} on {other.servers}; name one cluster")
        if other.name == first.name:
            raise UsageError(f"{given[0][0]} and {option} are both the topic {other.name}; name another")
    if output is not None and not errors and not sink.errors and not local:
        raise UsageError(
            "workers elsewhere have no place to leave rows that fail; add --errors kafka://HOST:PORT/TOPIC or a file"
        )
    config = ClientConfig(first.servers, kafka_config)
    if kafka_config:
        read_properties(kafka_config)
    for option, topic in given:
        check_topic(config, topic, option)
    return TopicEnds(config, output, sink.output_format or "json", errors)


def check_columns_written(sink: SinkOptions, schema: pa.Schema) -> None:
    """Raise for columns that the output cannot hold.

    Args:
        sink: where predictions go.
        schema: of the blocks that are written.

    Raises:
        UsageError: there is one.
    """
    if not is_kafka(sink.output):
        check_written_types(schema, output_format(sink.output), f"--output {sink.output}")
    elif sink.output_format == "tensor":
        check_tensors(schema)
    elif sink.output_format in (None, "json"):
        check_written_types(schema, "jsonl", f"--output {sink.output}")


def check_tensors(schema: pa.Schema) -> None:
    """Raise for columns that no message of tensor bytes can hold.

    Raises:
        UsageError: a column is no number, or of no fixed shape.
    """
    for name in data_columns(schema):
        kind = column_type(schema.field(name).type)
        if kind is None or None in kind.shape or kind.dtype == "string":
            raise UsageError(
                f"--output_format tensor holds numbers of fixed shape, {name} is {schema.field(name).type}; use json"
            )
