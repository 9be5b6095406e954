"""A topic up to its end, to files: planned as a stream is, run as a job of files."""

from __future__ import annotations

from dataclasses import dataclass, replace

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.ways import default_workers, plan_execution
from beamsplit.pipelines.execution.workers import count_workers
from beamsplit.pipelines.job.audit import audit_fact, with_audit
from beamsplit.pipelines.job.finishing import finish_steps, list_cells
from beamsplit.pipelines.job.job import Job, check_written, user_fields, with_batch_size
from beamsplit.pipelines.job.json_output import json_format, steps_for_format
from beamsplit.pipelines.job.messages import open_messages
from beamsplit.pipelines.job.topic_ends import check_columns_written, find_topics
from beamsplit.pipelines.job.versions import check_version, version_steps
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import rows_fact
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.kafka.clients import check_topic, require_client
from beamsplit.transforms.kafka.config import ClientConfig, Topic, parse_topic, read_properties
from beamsplit.transforms.kafka.gaps import Gap, check_gaps
from beamsplit.transforms.kafka.messages import ParseMessages
from beamsplit.transforms.kafka.offsets import COMMITTER, Group
from beamsplit.transforms.kafka.origin_columns import AddMessageColumns
from beamsplit.transforms.kafka.ranges import OffsetRange, cut_ranges, find_spans
from beamsplit.transforms.write.names import files_of, is_single

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

    begins: dict[int, int]
    """Partition -> offset at which it begins."""

    start: str | int
    """Where partitions begin that the group has no offset for: see `offsets.first_offsets`."""

    parse: ParseMessages
    gaps: tuple[Gap, ...]
    """What is gone of what would have been read."""

    on_gap: str
    """What to do where more goes while the job runs: one of `gaps.POLICIES`."""

    group: str | None
    """Goes on where it is, and is moved to the ends; None reads all and leaves no trace."""

    def is_current(self) -> bool:
        """Whether the group is still where it was when this was planned."""
        spans, _ = find_spans(self.config, self.topic, list(self.begins), self.group, self.start)
        return {partition: begin for partition, (begin, _) in spans.items()} == self.begins

    def commit(self) -> None:
        """Note that all is done; call it when the files are in place."""
        if self.group is not None:
            COMMITTER.commit(Group(self.config, self.topic.name, self.group), self.ends)


def plan_bounded(options: ScoreOptions, job_dir: str | None, local: bool) -> Job:
    """Check everything and decide what is left open.

    Args:
        options: what `pipelines.options.score.parse` gave, with a topic as its input and a file as its output.
        job_dir: folder that local workers share.
        local: whether workers run on this machine.

    Raises:
        UsageError: something cannot work; one line with the fix.
        GapFoundError: messages are gone, and `--on_gap` is fail.
    """
    binding, asked, stream, sink = options.binding, options.workers, options.stream, options.sink
    parallelism = options.parallelism
    check_version(binding.model_version, sink.output)
    if stream.group and (before := files_of(sink.output, is_single(sink.output, sink.num_shards))):
        raise UsageError(
            f"--group {stream.group} goes on where it was, and would replace the file of the run before, {before[0]}; "
            "give --output another name"
        )
    check_written(options, [binding.model])
    topic = parse_topic(options.source.input[0], "--input")
    topics = find_topics(sink, stream.kafka_config, local, read=(topic,))
    config = ClientConfig(topic.servers, stream.kafka_config)
    if stream.kafka_config:
        read_properties(stream.kafka_config)
    partitions = check_topic(config, topic, "--input")
    start = stream.start or "committed"
    try:
        spans, gaps = find_spans(config, topic, partitions, stream.group, start)
    except require_client().KafkaException as error:
        raise UsageError(f"--input {topic}: the broker does not tell what there is ({error.args[0].str()})") from error
    on_gap = stream.on_gap or "continue"
    check_gaps(gaps, on_gap)

    workers = count_workers(replace(asked, count=default_workers(parallelism, asked.count)), local)
    to_json = json_format(sink) == "json"
    messages = open_messages(binding, stream, topic.name, workers.session, parallelism.in_parts, to_json)
    prepared, made = messages.prepared, messages.made
    plan, batch_fact = with_batch_size(made, asked.batch_size)
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
        parallelism=parallelism,
        asked=asked,
        compare=options.watching.dry_run_plan,
    )
    divided = plan_execution(request)
    total = sum(end - begin for begin, end in spans.values())
    infer = with_audit(asked.audit, divided.infer_step(request), made, divided.is_distributed, total)
    after_infer = infer.output_schema(prepared)
    finish = finish_steps(binding, after_infer, made)
    finish += version_steps(binding.model_version, made.plan.model.path, chain_schema(finish, after_infer))
    finish += (AddMessageColumns(),)
    finish += steps_for_format(sink, chain_schema(finish, after_infer), binding.keep)
    after_finish = chain_schema(finish, after_infer)
    check_columns_written(sink, after_finish)
    return Job(
        files=(),
        format=messages.format,
        total_rows=total,
        read=None,
        messages=Messages(
            config,
            topic,
            tuple(cut_ranges(spans, workers.count * RANGES_A_WORKER)),
            {partition: end for partition, (_, end) in spans.items()},
            {partition: begin for partition, (begin, _) in spans.items()},
            start,
            messages.parse,
            tuple(gaps),
            on_gap,
            stream.group,
        ),
        prepare=messages.prepare,
        infer=infer,
        divided=divided,
        finish=finish,
        schemas={"prepare": prepared, "infer": after_infer, "finish": after_finish},
        output=sink.output,
        errors=sink.errors,
        max_failed=sink.max_failed,
        num_shards=sink.num_shards,
        overwrite=sink.overwrite,
        workers=workers.count,
        worker_type=asked.worker_type or ("process" if divided.is_distributed else "thread"),
        partition=None,
        capacities=None,
        seed=asked.seed,
        sample=None,
        topics=topics,
        runner=options.runner,
        notes=(*made.notes, *divided.notes, *list_cells(sink.output, after_finish, made)),
        facts={
            "model": binding.model,
            "input": f"{topic}, {total:,} messages of {len(spans)} partitions",
            "messages": messages.fact,
            **({"gaps": [gap.line for gap in gaps]} if gaps else {}),
            "group": f"{stream.group}, from {start} where it has no offset" if stream.group else "none",
            "inputs": divided.scoring.binding.describe(),
            "outputs": [f"{column.name}: {column.type}" for column in user_fields(after_finish)],
            **rows_fact(made),
            **audit_fact(asked.audit, total),
            "batch size": divided.batch_size,
            "workers": f"{workers.count}, {workers.session.threads} threads a session",
            "providers": ", ".join(workers.session.providers),
            **divided.facts,
            "output": sink.output,
        },
    )
