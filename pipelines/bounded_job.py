"""A topic up to its end, to files: planned as a stream is, run as a job of files."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from models.errors import UsageError
from models.fit import DataFacts, fit
from pipelines.columns import check_keep, check_names, check_outputs
from pipelines.job import Job, check_written, finish_steps, user_fields, with_batch_size
from pipelines.sample import prepare_sample
from pipelines.stream_job import as_read, message_fields
from pipelines.topic_ends import find_topics
from pipelines.versions import check_version, version_steps
from pipelines.workers import count_workers
from transforms.block import INTERNAL_COLUMNS, MESSAGE_FIELDS
from transforms.chain import chain_schema
from transforms.infer import InferStep
from transforms.kafka.clients import check_topic, require_client
from transforms.kafka.config import ClientConfig, Topic, parse_topic, read_properties
from transforms.kafka.messages import ParseMessages
from transforms.kafka.offsets import COMMITTER, Group
from transforms.kafka.origin_columns import AddMessageColumns
from transforms.kafka.ranges import OffsetRange, cut_ranges, find_spans
from transforms.kafka.schema import message_schema, sample_of
from transforms.model_file import localize
from transforms.step import Step
from transforms.write.finalize import files_of

if TYPE_CHECKING:
    from pipelines.shard_job import Shards
    from pipelines.split_job import Split

RANGES_A_WORKER = 4
"""So that a slow one does not hold up the end."""


@dataclass(frozen=True)
class Messages:
    """What of a topic a job reads."""

    config: ClientConfig
    topic: Topic
    ranges: tuple[OffsetRange, ...]
    ends: dict[int, int]
    """Partition -> offset at which its reading ends."""

    parse: ParseMessages
    group: str | None
    """Goes on where it is, and is moved to the ends; None reads all and leaves no trace."""

    def commit(self) -> None:
        """Note that all is done; call it when the files are in place."""
        if self.group is not None:
            COMMITTER.commit(Group(self.config, self.topic.name, self.group), self.ends)


def plan_bounded(options: argparse.Namespace, job_dir: str | None, local: bool) -> Job:
    """Check everything and decide what is left open.

    Args:
        options: what `pipelines.options.parse` gave, with a topic as its input and a file as its output.
        job_dir: folder that local workers share.
        local: whether workers run on this machine.

    Raises:
        UsageError: something cannot work; one line with the fix.
    """
    check_version(options)
    check_written(options, [options.model])
    if options.group and (before := files_of(options.output)):
        raise UsageError(
            f"--group {options.group} goes on where it was, and would replace the file of the run before, {before[0]}; "
            "give --output another name"
        )
    topic = parse_topic(options.input[0], "--input")
    topics = find_topics(options, local, read=(topic,))
    config = ClientConfig(topic.servers, options.kafka_config)
    if options.kafka_config:
        read_properties(options.kafka_config)
    partitions = check_topic(config, topic, "--input")
    start = options.start or "committed"
    try:
        spans = find_spans(config, topic, partitions, options.group, start)
    except require_client().KafkaException as error:
        raise UsageError(f"--input {topic}: the broker does not tell what there is ({error.args[0].str()})") from error

    format = options.format or "json"
    prepare: tuple[Step, ...] = ()
    if options.prepare:
        from transforms.prepare import parse_prepare

        prepare = tuple(parse_prepare(spec, options.keep) for spec in options.prepare)
    workers = count_workers(_default_workers(options), options.threads, options.providers, local)
    path = localize(options.model)
    fields = message_fields(options, format, bool(prepare), path, workers)
    schema = message_schema(format, fields)
    check_names(schema)
    prepared = chain_schema(prepare, pa.schema([*schema, *MESSAGE_FIELDS]))
    check_keep(options.keep, prepared)
    sample = prepare_sample(as_read(sample_of(schema, fields), topic.name), prepare, options.prepare)
    facts = DataFacts(
        columns=options.columns,
        sets=options.set,
        narrow=options.narrow,
        text_source=format == "json",
        ignore=frozenset({*INTERNAL_COLUMNS, *options.keep}),
    )
    made = fit(path, workers.session, prepared, sample, facts)
    check_outputs(options.keep, [column.name for column in made.plan.outputs])
    plan, batch_fact = with_batch_size(made, options.batch_size)
    split: Split | None = None
    shards: Shards | None = None
    if options.stages is not None or options.plan is not None:
        from pipelines.split_job import plan_split

        split = plan_split(options, made, plan, workers, prepared, job_dir, local, at_once=None)
        plan = split.scoring
    elif options.shards is not None:
        from pipelines.shard_job import check_local, plan_shards

        shards = plan_shards(options, made, plan, workers, prepared, check_local(local, job_dir))
        plan = shards.scoring
    infer = InferStep(
        plan, workers.session, options.model, options.keep, workers.gpus, job_dir,
        staged=split.model if split is not None and not split.apart else None,
        sharded=shards.model if shards is not None and shards.steps is None else None,
    )  # fmt: skip
    after_infer = infer.output_schema(prepared)
    finish = finish_steps(options, after_infer, made)
    finish += version_steps(options, path, chain_schema(finish, after_infer))
    finish += (AddMessageColumns(),)
    after_finish = chain_schema(finish, after_infer)
    apart = bool(split and split.apart) or bool(shards and shards.steps)
    total = sum(end - begin for begin, end in spans.values())
    return Job(
        files=(),
        format=format,
        total_rows=total,
        read=None,
        messages=Messages(
            config,
            topic,
            tuple(cut_ranges(spans, workers.count * RANGES_A_WORKER)),
            {partition: end for partition, (_, end) in spans.items()},
            ParseMessages(format, schema),
            options.group,
        ),
        prepare=prepare,
        infer=infer,
        finish=finish,
        schemas={"prepare": prepared, "infer": after_infer, "finish": after_finish},
        output=options.output,
        errors=options.errors,
        num_shards=options.num_shards,
        workers=workers.count,
        worker_type=options.worker_type or ("process" if apart else "thread"),
        partition=None,
        capacities=None,
        seed=options.seed,
        sample=None,
        topics=topics,
        runner=options.runner,
        split=split,
        shards=shards,
        notes=(*made.notes, *(split.notes if split else ()), *(shards.notes if shards else ())),
        facts={
            "model": options.model,
            "input": f"{topic}, {total:,} messages of {len(spans)} partitions",
            "messages": f"{format}: {', '.join(f'{column.name}: {column.type}' for column in schema)}",
            "group": f"{options.group}, from {start} where it has no offset" if options.group else "none",
            "inputs": plan.binding.describe(),
            "outputs": [f"{column.name}: {column.type}" for column in user_fields(after_finish)],
            "batch size": batch_fact if split is None else f"{plan.batch_size} (a micro-batch)",
            "workers": f"{workers.count}, {workers.session.threads} threads a session",
            "providers": ", ".join(workers.session.providers),
            **(split.facts if split is not None else {}),
            **(shards.facts if shards is not None else {}),
            "output": options.output,
        },
    )


def _default_workers(options: argparse.Namespace) -> int | None:
    if options.stages is not None or options.plan is not None:
        from pipelines.split_job import default_workers

        return default_workers(options)
    if options.shards is not None:
        from pipelines.shard_job import default_workers as workers_of_shards

        return workers_of_shards(options)
    return int(options.workers) if options.workers is not None else None
