"""What the messages of a topic hold whose schemas are in a registry, brought together with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import check_model_file
from beamsplit.models.running.mapped import for_few_runs
from beamsplit.models.running.session import SessionOptions
from beamsplit.pipelines.job.columns import needed_columns
from beamsplit.pipelines.job.made_up_columns import made_up
from beamsplit.pipelines.options.values import BindingOptions, StreamOptions
from beamsplit.pipelines.sources.bring_together import check_fit, fit_rows, prepared_columns
from beamsplit.pipelines.sources.depths import narrower_floats
from beamsplit.pipelines.sources.messages import OpenedMessages, as_read, open_messages, signature_of
from beamsplit.pipelines.sources.sample import facts_of, prepare_sample, prepare_steps
from beamsplit.transforms.block import MESSAGE_FIELDS
from beamsplit.transforms.formats.avro_schema import Unreadable
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.kafka.event_time import EventTime
from beamsplit.transforms.kafka.messages import EXACT
from beamsplit.transforms.kafka.registry.client import NotThere, Registry, RegistryAway, Schema, Unusable, latest_schema
from beamsplit.transforms.kafka.registry.kinds import KINDS, How, is_registered, subject_of
from beamsplit.transforms.kafka.registry.read import ReadRegistered
from beamsplit.transforms.kafka.schema import wanted_fields
from beamsplit.transforms.step import Step

Place = tuple[str, str | None]
"""(name of the topic; folder that local workers share, None on a cluster)."""


@dataclass(frozen=True, kw_only=True)
class OpenedRegistered(OpenedMessages):
    """Messages of a registry's schemas, and the model that takes them."""

    reading: ReadRegistered

    @property
    def parse(self) -> Step:
        """The step that reads them."""
        return self.reading

    def event_time(self, column: str) -> EventTime:
        """What `--event_time` asks for: a field of whole numbers, texts or timestamps."""
        kind, types = self.schema.field(column).type, pa.types
        if not (types.is_integer(kind) or types.is_timestamp(kind) or types.is_string(kind)):
            raise UsageError(
                f"--event_time {column}: the field is {kind}, and a time is a number of milliseconds, a timestamp or a "
                "text in ISO 8601; name another"
            )
        return EventTime(column, self.format, self.schema, self.reading)

    @property
    def fact(self) -> str:
        """In words, for --dry_run_plan and the summary."""
        fields = ", ".join(f"{column.name}: {column.type}" for column in self.schema)
        return f"{self.format} of {self.reading.reader}: {fields}"


def open_any(
    binding: BindingOptions, stream: StreamOptions, place: Place, session: SessionOptions, few_runs: bool, to_json: bool
) -> OpenedMessages:
    """Find out what messages hold, of whatever format, and bring that together with the model.

    Args:
        binding: the model, and what feeds it.
        stream: with the format.
        place: of the topic.
        session: to try the model with.
        few_runs: whether that session only plans and checks.
        to_json: whether the output is messages of JSON.

    Raises:
        UsageError: that cannot be told, or the model does not take it.
    """
    if is_registered(stream.format):
        return open_registered(binding, stream, place, session, few_runs)
    return open_messages(binding, stream, place[0], session, few_runs, to_json)


def open_registered(
    binding: BindingOptions, stream: StreamOptions, place: Place, session: SessionOptions, few_runs: bool
) -> OpenedRegistered:
    """The same for messages of a registry's schemas: the latest version of their subject tells what they hold."""
    registry = Registry(str(stream.schema_registry), stream.kafka_config)
    reader = find_reader(registry, stream, place[0])
    steps = prepare_steps(binding)
    path = localize(binding.model)
    check_model_file(path)
    session = for_few_runs(session, path) if few_runs else session
    wanted = wanted_fields(signature_of(path, session, frozenset(binding.set)), binding.columns, binding.set)
    kind = KINDS[str(stream.format)]
    try:
        found = kind.module.fields(reader, stream.input_record)
    except ValueError as error:
        raise UsageError(f"--input {place[0]}, subject {reader}: {error}") from error
    also = [stream.event_time] if stream.event_time else []
    needed = also if steps else [*wanted, *binding.keep, *also]
    schema = _columns(found, reader, needed, everything=bool(steps))
    sizes = {
        name: tuple(size for size in spec.shape if isinstance(size, int))
        for name, spec in wanted.items()
        if spec.shape is not None and all(isinstance(size, int) for size in spec.shape)
    }
    messages = pa.schema([*schema, *MESSAGE_FIELDS])
    columns = prepared_columns(binding, steps, schema, messages)
    sample = prepare_sample(as_read(made_up(schema, sizes), place[0], messages), columns.steps, binding.prepare)
    made = fit_rows(path, session, columns, sample, facts_of(binding, kind.text))
    if steps:
        names = {*needed_columns(schema, columns.steps, [*made.plan.binding.columns, *binding.keep]), *also}
        schema = pa.schema([field for field in schema if field.name in names])
        columns = prepared_columns(binding, steps, schema, pa.schema([*schema, *MESSAGE_FIELDS]))
    fed = narrower_floats(made.plan.binding, schema) if kind.text and not steps and not binding.narrow else ()
    check_fit(binding, columns, made)
    return OpenedRegistered(
        schema=schema,
        prepare=columns.steps,
        prepared=columns.schema,
        fit=made,
        format=kind.name,
        fields={},
        rules=EXACT,
        reading=ReadRegistered(registry, kind.name, reader, How(stream.input_record, fed), schema, place[1]),
    )


def find_reader(registry: Registry, stream: StreamOptions, topic: str) -> Schema:
    """The latest version of the subject of a topic's messages.

    Raises:
        UsageError: the registry does not answer, has none, or it is of another kind.
    """
    subject = subject_of(stream.subject_strategy or "topic", topic, stream.input_record)
    try:
        reader = latest_schema(registry, subject)
    except RegistryAway as error:
        raise UsageError(str(error)) from error
    except Unusable as error:
        raise UsageError(f"--input {topic}, subject {subject}: {error}") from error
    except NotThere:
        raise UsageError(
            f"--schema_registry {registry.url} has no subject {subject!r} for --input {topic}; register its schema, or "
            "name another subject with --subject_strategy and --input_record"
        ) from None
    kind = KINDS[str(stream.format)]
    if reader.kind != kind.type:
        fits = next((one.name for one in KINDS.values() if one.type == reader.kind), None)
        raise UsageError(
            f"--format {kind.name}, and the schema of {reader} is of the kind {reader.kind}"
            + (f"; type --format {fits}" if fits else "")
        )
    return reader


def _columns(
    found: Mapping[str, pa.DataType | Unreadable], reader: Schema, needed: list[str], everything: bool
) -> pa.Schema:
    """The fields that are needed, or all that can be read, in the order of the schema.

    Raises:
        UsageError: one is missing, or cannot be read.
    """
    for name in needed:
        if name not in found:
            raise UsageError(
                f"the messages have no field {name!r}: the schema of {reader} has {', '.join(found) or 'none'}; name "
                "fields of it with --columns INPUT=FIELD"
            )
        if isinstance(found[name], Unreadable):
            raise UsageError(f"field {name!r} of {reader} is {found[name]}; it cannot be read")
    names = list(found) if everything else [name for name in found if name in needed]
    return pa.schema([pa.field(name, found[name]) for name in names if isinstance(found[name], pa.DataType)])
