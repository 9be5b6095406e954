"""What the messages of a topic hold, and the model that they are brought together with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import DYNAMIC_ROWS, ModelFile, check_model_file, needed_rewrites
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.running.mapped import for_few_runs
from beamsplit.models.running.session import SessionOptions, get_session
from beamsplit.pipelines.options.values import BindingOptions, StreamOptions
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.pipelines.sources.bring_together import check_fit, fit_rows, prepared_columns
from beamsplit.pipelines.sources.depths import input_depths, narrower_floats
from beamsplit.pipelines.sources.kept import read_by_name
from beamsplit.pipelines.sources.sample import facts_of, prepare_sample, prepare_steps
from beamsplit.transforms.block import AS_CAME, MESSAGE_FIELDS
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.kafka.as_came import GiveAsCame, as_came_field
from beamsplit.transforms.kafka.blocks import origins
from beamsplit.transforms.kafka.event_time import EventTime, check_event_time
from beamsplit.transforms.kafka.messages import ParseMessages
from beamsplit.transforms.kafka.schema import (
    JSON,
    RAW_COLUMN,
    declared,
    message_schema,
    parse_schema,
    sample_of,
    wanted_fields,
)
from beamsplit.transforms.read.json_parse import Rules
from beamsplit.transforms.step import Step


@dataclass(frozen=True, kw_only=True)
class OpenedMessages(Bound):
    """Messages, and the model that takes them. Nothing is read: rows made up from the schema are the sample."""

    format: str
    """One of json, arrow, tensor and raw."""

    fields: Mapping[str, TensorSpec]
    """What a message holds, by name; the schema is the same as columns."""

    rules: Rules
    """What values of JSON may be beside what their columns are."""

    as_came: tuple[str, ...] = ()
    """Fields of JSON that feed inputs and are kept: their texts are."""

    @property
    def parse(self) -> Step:
        """The step that reads them."""
        return ParseMessages(self.format, self.schema, self.rules, self.as_came)

    @property
    def give_as_came(self) -> tuple[GiveAsCame, ...]:
        """The step that gives out fields as they came."""
        return (GiveAsCame(self.as_came),) if self.as_came else ()

    def event_time(self, column: str) -> EventTime:
        """What `--event_time` asks for.

        Raises:
            UsageError: messages have no such field, or it is no time.
        """
        return check_event_time(column, self.format, self.fields, self.schema)

    @property
    def fact(self) -> str:
        """In words, for --dry_run_plan and the summary."""
        return f"{self.format}: {', '.join(f'{column.name}: {column.type}' for column in self.schema)}"


def open_messages(
    binding: BindingOptions, stream: StreamOptions, topic: str, session: SessionOptions, few_runs: bool, to_json: bool
) -> OpenedMessages:
    """Find out what messages hold, and bring that together with the model.

    Args:
        binding: the model, and what feeds it.
        stream: with `format` and `schema`.
        topic: name of the topic.
        session: to try the model with.
        few_runs: whether that session only plans and checks, and what scores rows is another: weights of a large model
            then stay in their file.
        to_json: whether the output is messages of JSON.

    Raises:
        UsageError: the fields must be declared, or the model does not take them.
    """
    format = stream.format or "json"
    steps = prepare_steps(binding)
    path = localize(binding.model)
    session = for_few_runs(session, path) if few_runs else session
    fields = _fields(binding, stream.schema, format, bool(steps), path, session)
    schema = message_schema(format, fields)
    came: tuple[str, ...] = ()
    if format == "json" and to_json and binding.keep and not steps:
        came = _kept_inputs(binding, fields, path, session)
    messages = pa.schema([*schema, *MESSAGE_FIELDS, *([as_came_field(came)] if came else [])])
    columns = prepared_columns(binding, steps, schema, messages)
    prepare, prepared = columns
    sample = prepare_sample(as_read(sample_of(schema, fields), topic, messages), prepare, binding.prepare)
    made = fit_rows(path, session, columns, sample, facts_of(binding, format == "json"))
    check_fit(binding, columns, made)
    rules = Rules(narrow=binding.narrow)
    if format in ("json", "arrow"):
        # What is kept is as it was declared, unless its text comes out.
        leave = {name for name in binding.keep if stream.schema and name not in came}
        leave |= {f.name for f in schema if f.name not in prepared.names or prepared.field(f.name).type != f.type}
        bound = made.plan.binding
        fed = dict(narrower_floats(bound, schema)) if not steps else {}
        rules = replace(rules, depths=dict(input_depths(bound, schema, leave)), fed=fed)
    return OpenedMessages(
        schema=schema,
        prepare=prepare,
        prepared=prepared,
        fit=made,
        format=format,
        fields=fields,
        rules=rules,
        as_came=came,
    )


def _kept_inputs(
    binding: BindingOptions, fields: Mapping[str, TensorSpec], path: str, session: SessionOptions
) -> tuple[str, ...]:
    """The fields that inputs take by name and that are kept."""
    check_model_file(path)
    read = read_by_name(signature_of(path, session, frozenset(binding.set)), binding.columns, binding.set)
    return tuple(name for name in binding.keep if name in read and name in fields and fields[name].dtype != JSON)


def _fields(
    binding: BindingOptions, declaration: str | None, format: str, prepared: bool, path: str, session: SessionOptions
) -> Mapping[str, TensorSpec]:
    """What a message holds: `--schema`, else what the model's inputs want.

    Raises:
        UsageError: it must be declared.
    """
    if declaration:
        return parse_schema(declaration)
    raw = {RAW_COLUMN: TensorSpec(RAW_COLUMN, "bytes", ())}
    if prepared:
        if format == "raw":
            return raw
        raise UsageError("--prepare makes the model's inputs of what messages hold; say what with --schema NAME:TYPE")
    check_model_file(path)
    signature = signature_of(path, session, frozenset(binding.set))
    fields = wanted_fields(signature, binding.columns, binding.set)
    missing = [name for name in binding.keep if name not in fields]
    if missing:
        # What JSON holds comes out as it came, whatever it is; in other formats it may be anything.
        others = [f"{name}:{'json' if format == 'json' else 'int64'}" for name in missing]
        why = "which are no inputs of the model, so their types are"
        if len(missing) == 1:
            why = "which is no input of the model, so its type is"
        raise UsageError(
            f"--keep names {', '.join(missing)}, {why} not known; declare all fields with "
            f"--schema {','.join([*map(declared, fields.values()), *others])}"
        )
    if format == "raw" and [spec.dtype for spec in fields.values()] != ["string"]:
        return raw
    if format == "json":
        return {name: _natural(spec, name in binding.keep) for name, spec in fields.items()}
    return fields


def _natural(spec: TensorSpec, kept: bool) -> TensorSpec:
    """A field as JSON mostly has it: one value a row is no list, and a float that is kept has all its digits."""
    dtype = "float64" if kept and spec.dtype.startswith("float") else spec.dtype
    one = all(size == 1 for size in spec.shape or ())
    return TensorSpec(spec.name, dtype, () if one and spec.shape is not None else spec.shape)


def signature_of(path: str, session: SessionOptions, constants: frozenset[str]) -> Signature:
    """Inputs and outputs of the model as it is run: with its ZipMap left out."""
    loaded = get_session(ModelFile(path), session)
    lasting = tuple(name for name in needed_rewrites(loaded.raw, constants) if name != DYNAMIC_ROWS)
    return (get_session(ModelFile(path, lasting), session) if lasting else loaded).signature


def as_read(rows: pa.RecordBatch, topic: str, schema: pa.Schema) -> pa.RecordBatch:
    """Sample rows with the columns that rows of a topic carry along, as the schema has them."""
    count = rows.num_rows
    carried = [
        origins(topic, np.zeros(count, np.int32)),
        pa.array(np.arange(count)),
        *(pa.nulls(count, field.type) for field in MESSAGE_FIELDS[2:-1]),
        pa.array(np.zeros(count, np.int64)),
    ]
    if AS_CAME in schema.names:
        kind = schema.field(AS_CAME).type
        carried.append(pa.array([dict.fromkeys((field.name for field in kind), "0")] * count, kind))
    return pa.RecordBatch.from_arrays([*rows.columns, *carried], schema=schema)
