"""A topic up to its end, as what a job reads: ranges of offsets, which stand where splits of files do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from beamsplit.models.errors import UsageError
from beamsplit.models.running.session import SessionOptions
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.options.values import BindingOptions, ScoreOptions, SinkOptions, StreamOptions
from beamsplit.pipelines.sinks.json_output import json_format
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.pipelines.sources.messages import OpenedMessages
from beamsplit.pipelines.sources.registered import open_any
from beamsplit.pipelines.sources.source import Source, SourceRows
from beamsplit.transforms.failures.origins import numbers
from beamsplit.transforms.kafka.clients import check_topic, require_client
from beamsplit.transforms.kafka.config import ClientConfig, Topic, parse_topic, read_properties
from beamsplit.transforms.kafka.gaps import Gap, check_gaps
from beamsplit.transforms.kafka.gone_offsets import gaps_between
from beamsplit.transforms.kafka.offsets import COMMITTER, Group
from beamsplit.transforms.kafka.origin_columns import AddMessageColumns
from beamsplit.transforms.kafka.ranges import OffsetRange, cut_ranges, find_spans
from beamsplit.transforms.kafka.wanted_offsets import wanted_ranges
from beamsplit.transforms.step import Step
from beamsplit.transforms.write.names import files_of, is_single

if TYPE_CHECKING:
    import apache_beam as beam

    from beamsplit.pipelines.job.job import Job

RANGES_A_WORKER = 4
"""So that a slow one does not hold up the end."""


def find(options: ScoreOptions, job_dir: str | None, local: bool) -> TopicRange:
    """The topic of `--input`.

    Raises:
        UsageError: it is not named as it must be, or `--group` would replace the file of the run before.
    """
    group, output = options.stream.group, options.sink.output
    if group and (before := files_of(output, is_single(output, options.sink.num_shards))):
        raise UsageError(
            f"--group {group} goes on where it was, and would replace the file of the run before, {before[0]}; "
            "give --output another name"
        )
    topic = parse_topic(options.source.input[0], "--input")
    return TopicRange(ClientConfig(topic.servers, options.stream.kafka_config), topic, options.stream, job_dir, group)


@dataclass(frozen=True)
class TopicRange(Source):
    """What of a topic a job reads."""

    sampled: ClassVar[bool] = False
    of_messages: ClassVar[bool] = True

    config: ClientConfig
    topic: Topic
    asked: StreamOptions
    job_dir: str | None = None
    """Folder that local workers share."""

    group: str | None = None
    """Goes on where it is, and is moved to the ends; None reads all and leaves no trace."""

    spans: Mapping[int, tuple[int, int]] = None  # type: ignore[assignment]
    """Partition -> offsets at which its reading begins and ends, once the broker was asked."""

    gaps: tuple[Gap, ...] = ()
    """What is gone of what would have been read."""

    messages: OpenedMessages | None = None
    """What messages hold, once the model is bound."""

    ranges: tuple[OffsetRange, ...] = ()

    wanted: Mapping[int, bytes] | None = None
    """Partition -> offsets, int64 and ascending, of the messages that are read again (`--replay`); None for all."""

    notes: tuple[str, ...] = ()

    @property
    def start(self) -> str | int:
        """Where partitions begin that the group has no offset for: see `offsets.first_offsets`."""
        return self.asked.start or "committed"

    @property
    def on_gap(self) -> str:
        """What to do where messages go while the job runs: one of `gaps.POLICIES`."""
        return self.asked.on_gap or "continue"

    @property
    def total_rows(self) -> int:
        """Offsets that will be read; some of them may hold no message."""
        if self.wanted is not None:
            return sum(len(numbers(offsets)) for offsets in self.wanted.values())
        return sum(end - begin for begin, end in self.spans.values())

    def opened(self) -> TopicRange:
        """With the offsets that there are.

        Raises:
            UsageError: the broker does not tell.
            GapFoundError: messages are gone, and `--on_gap` is fail.
        """
        if self.asked.kafka_config:
            read_properties(self.asked.kafka_config)
        partitions = check_topic(self.config, self.topic, "--input")
        try:
            start = "earliest" if self.wanted is not None else self.start
            spans, gaps = find_spans(self.config, self.topic, partitions, self.group, start)
        except require_client().KafkaException as error:
            raise UsageError(
                f"--input {self.topic}: the broker does not tell what there is ({error.args[0].str()})"
            ) from error
        if self.wanted is not None:
            return self._opened_again(spans)
        check_gaps(gaps, self.on_gap)
        return replace(self, spans=spans, gaps=tuple(gaps))

    def _opened_again(self, logs: Mapping[int, tuple[int, int]]) -> TopicRange:
        """With the messages that are read again, as far as they are still there.

        Raises:
            UsageError: the topic is another than the one whose messages failed.
            GapFoundError: some are gone, and `--on_gap` is fail.
        """
        assert self.wanted is not None
        left, gaps = {}, []
        for partition, offsets in sorted(self.wanted.items()):
            low, high = logs.get(partition, (0, 0))
            found = numbers(offsets)
            if found[-1] >= high:
                raise UsageError(
                    f"--replay names offset {found[-1]} of {self.topic.name}/{partition}, which ends at {high}: the "
                    "topic was made anew, or --input is on another broker; type the one whose messages failed"
                )
            gaps += gaps_between(self.topic.name, partition, found[found < low], high)
            if (found >= low).any():
                left[partition] = found[found >= low].tobytes()
        check_gaps(gaps, self.on_gap)
        spans = {partition: (int(numbers(rows)[0]), int(numbers(rows)[-1]) + 1) for partition, rows in left.items()}
        return replace(self, spans=spans, wanted=left, gaps=tuple(gaps))

    def bind(self, binding: BindingOptions, sink: SinkOptions, session: SessionOptions, few_runs: bool) -> Bound:
        """Find out what messages hold; none is read."""
        place = self.topic.name, self.job_dir
        return open_any(binding, self.asked, place, session, few_runs, json_format(sink) == "json")

    def ready(self, binding: BindingOptions, bound: Bound, request: Request, execution: Execution) -> TopicRange:
        """With a few ranges a worker."""
        assert isinstance(bound, OpenedMessages)
        if self.wanted is None:
            ranges = tuple(cut_ranges(self.spans, request.workers.count * RANGES_A_WORKER))
        else:
            ranges = tuple(wanted_ranges(self.wanted))
        return replace(self, messages=bound, ranges=ranges)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What reads messages."""
        assert self.messages is not None
        return (self.messages.parse,)

    @property
    def behind(self) -> tuple[Step, ...]:
        """What tells of each row which message it was."""
        return (AddMessageColumns(),)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The topic, what messages hold, what is gone of them, the group."""
        assert self.messages is not None
        failed = "" if self.wanted is None else " that failed"
        return {
            "input": f"{self.topic}, {self.total_rows:,} messages{failed} of {len(self.spans)} partitions",
            "messages": self.messages.fact,
            **({"gaps": [gap.line for gap in self.gaps]} if self.gaps else {}),
            "group": f"{self.group}, from {self.start} where it has no offset" if self.group else "none",
        }

    def read(self, pipeline: beam.Pipeline, job: Job, hints: Mapping[str, str]) -> SourceRows:
        """Wire the ranges, dealt to the workers; what is gone already is told first."""
        import apache_beam as beam
        import pyarrow as pa

        from beamsplit.transforms.kafka.gap_errors import GAPS, TakeGaps
        from beamsplit.transforms.kafka.gaps import no_messages, with_gaps
        from beamsplit.transforms.kafka.ranges import ReadRanges

        read = ReadRanges(self.config, self.topic, self.ranges, job.workers, self.on_gap)
        blocks, gaps = pipeline | "Read" >> read | "Gaps" >> TakeGaps(job.job_dir)
        if not self.gaps:
            return SourceRows(blocks, gaps=[gaps])
        told = beam.Create([with_gaps(no_messages(), self.gaps)]).with_output_types(pa.RecordBatch)
        before = pipeline | "Gone" >> told | "Gone before" >> TakeGaps(job.job_dir)
        return SourceRows(blocks, gaps=[gaps, before[GAPS]])

    def is_current(self) -> bool:
        """Whether the group is still where it was when this was planned."""
        spans, _ = find_spans(self.config, self.topic, list(self.spans), self.group, self.start)
        begins = {partition: begin for partition, (begin, _) in self.spans.items()}
        return {partition: begin for partition, (begin, _) in spans.items()} == begins

    def commit(self) -> None:
        """Note that all is done; call it when the files are in place."""
        if self.group is not None:
            ends = {partition: end for partition, (_, end) in self.spans.items()}
            COMMITTER.commit(Group(self.config, self.topic.name, self.group), ends)
