"""What a bundle does with transactions: outputs wait while those before are committed, and are committed together.

    blocks      1 2 3 4         5 6           7 8 9
    sent        1 2 3 4 |       5 6 when it is done, then 7 8 ...
    commits             [ 1..4 ]

Outputs are sent when no commit is at work, so a transaction holds those of the offsets that it is committed with and no
others; what is made early is only kept. A bundle ends when its last commit has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows

from beamsplit.transforms.apply import FAILED
from beamsplit.transforms.block import KEY, ORIGIN_FILE, ORIGIN_ROW, TIME
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.blocks import parse_origin
from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.ending import ending
from beamsplit.transforms.kafka.errors import error_headers, error_json, error_messages
from beamsplit.transforms.kafka.errors_file import ErrorsFile
from beamsplit.transforms.kafka.gap_errors import GapTeller
from beamsplit.transforms.kafka.gaps import Gap
from beamsplit.transforms.kafka.limits import known_limits
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.open_transactions import OPEN
from beamsplit.transforms.kafka.outgoing import Messages
from beamsplit.transforms.kafka.sink import MessageFormat, Undelivered, encode_rows, headers_of, split_refused
from beamsplit.transforms.kafka.transactions import AT_ONCE, Transactions

WAITING_BLOCKS = 4
"""Blocks that are scored while transactions are committed; then the next ones wait too."""


def not_done(block: pa.RecordBatch, first: Mapping[int, int]) -> pa.RecordBatch:
    """The rows at or above the first offset that is not done of their partition."""
    origins = block.column(ORIGIN_FILE)
    partitions = [parse_origin(origin)[1] for origin in origins.dictionary.to_pylist()]
    firsts = np.array([first[partition] for partition in partitions], np.int64)
    fresh = block.column(ORIGIN_ROW).to_numpy() >= firsts[origins.indices.to_numpy()]
    return block if fresh.all() else block.filter(pa.array(fresh))


def by_partition(block: pa.RecordBatch) -> dict[int, pa.RecordBatch]:
    """The rows of each partition, in their order."""
    origins = block.column(ORIGIN_FILE)
    which = origins.indices.to_numpy()
    found: dict[int, pa.RecordBatch] = {}
    for index, origin in enumerate(origins.dictionary.to_pylist()):
        rows = np.flatnonzero(which == index)
        if len(rows):
            found[parse_origin(origin)[1]] = block if len(rows) == len(which) else block.take(pa.array(rows))
    return found


@dataclass(frozen=True)
class Transacted:
    """What a transaction holds, and how long one lasts."""

    group: Group
    """Of the source; keeps how far each partition is done."""

    output: Topic
    """Where predictions go."""

    format: MessageFormat = "json"
    """One of `OUTPUT_FORMATS`, or what writes a registry's schema."""

    errors: Topic | ErrorsFile | None = None
    """Where messages go that could not be scored: a topic, in the same transaction, or a file of the worker's machine,
    once that is committed; None gives them out."""

    seconds: float = 0.2
    """How long one may last while its bundle does; the bundle's end commits too."""


@dataclass
class _Outputs:
    """What came of a block, before it is in transactions."""

    ends: dict[int, int]
    """Partition -> end of its offsets, of those with any that were not done."""

    messages: list[tuple[int, Messages]] = field(default_factory=list)
    """Partition, and what to send for it."""

    errors: list[RowError] = field(default_factory=list)
    """For a file, to be there once their partition's transaction is committed."""


class TransactDoFn(beam.DoFn):
    """Keeps what is made of the elements of a bundle, sends and commits it; who inherits makes it, in `work`."""

    def __init__(self, transacted: Transacted, job_dir: str | None):
        self._job_dir, self._undelivered = job_dir, Undelivered(job_dir)
        self._tell_gaps = GapTeller(job_dir)
        self._group = transacted.group
        self._output, self._format = transacted.output, transacted.format
        self._errors, self._seconds = transacted.errors, transacted.seconds
        self._bundle = object()
        self._reset()
        self._replayed = Metrics.counter("beamsplit", "rows_replayed")
        self._commits = Metrics.counter("beamsplit", "transactions")

    def _reset(self) -> None:
        self._held: dict[int, Transactions] = {}
        self._waiting: list[_Outputs] = []
        self._committing: list[Future[None]] = []
        self._sent: dict[int, int] = {}  # partition -> end of what is in its open transaction
        self._since: float | None = None

    def setup(self) -> None:
        """Threads for the brokers' answers."""
        self._pool = ThreadPoolExecutor(AT_ONCE, "transactions")

    def start_bundle(self) -> None:
        """Nothing is held yet; what a bundle that failed has left is given up."""
        self._give_up()
        self._bundle = object()

    def work(self, make: Callable[[], list[RowError]]) -> Iterator[Any]:
        """Have outputs made (see `keep`), and send and commit what it is time for; gives out failures that no topic and
        no file gets."""
        try:
            with ending(self._job_dir):
                failures = make()
                if len(self._waiting) >= WAITING_BLOCKS or all(commit.done() for commit in self._committing):
                    self._send()
                    if self._since is not None and time.monotonic() - self._since >= self._seconds:
                        self._commit()
        except BaseException:
            self._give_up()
            raise
        failures += self._take_failed()
        if self._errors is None:
            for failure in failures:
                yield beam.pvalue.TaggedOutput(FAILED, failure)

    def finish_bundle(self) -> list[Any]:
        """Commit all."""
        try:
            with ending(self._job_dir):
                self._send()
                self._commit()
                self._settle()
        except BaseException:
            self._give_up()
            raise
        failures = self._take_failed()
        self._reset()
        if self._errors is not None:
            return []
        return [beam.pvalue.TaggedOutput(FAILED, GlobalWindows.windowed_value_at_end_of_window(f)) for f in failures]

    def teardown(self) -> None:
        """Give up what is not committed."""
        self._give_up()
        self._pool.shutdown()

    def hold(self, begins: Mapping[int, int]) -> None:
        """Have the transactions of partitions at hand.

        Args:
            begins: of those that are not held yet, the first offset.
        """
        takes = [
            self._pool.submit(OPEN.take, self._group, partition, self._output, begin, self._bundle, self._errors)
            for partition, begin in begins.items()
        ]
        wait(takes)
        for partition, taken in zip(begins, takes, strict=True):
            self._held[partition] = taken.result()

    def is_new(self, gap: Gap, firsts: Mapping[int, int]) -> bool:
        """Whether a gap is not told yet; where a topic was made anew, its offsets say nothing."""
        return gap.anew or gap.begin >= firsts[gap.partition]

    def keep(
        self, ends: dict[int, int], rows: Sequence[tuple[int, pa.RecordBatch]], failures: list[RowError]
    ) -> list[RowError]:
        """Let outputs and errors wait for their transactions; the failures, with those that the topic will not take.

        Args:
            ends: partition -> end of the offsets that these are all of.
            rows: partition, and rows with predictions in the order in which they are to be there.
            failures: rows of the same offsets that have no predictions, and gaps.
        """
        made = _Outputs(ends)
        for partition, block in rows:
            keys, times = block.column(KEY).to_pylist(), block.column(TIME).to_pylist()
            messages = Messages(encode_rows(self._format, block), keys, headers_of(block), times, block=block)
            messages, errors = split_refused(messages, self._held[partition].refused)
            self._undelivered.count(errors)
            failures += errors
            made.messages.append((partition, messages))
        if isinstance(self._errors, ErrorsFile):
            made.errors += failures
        elif self._errors is not None:
            limits = known_limits(self._group.config, self._errors)
            for failure in failures:
                told = error_messages(error_json(failure), error_headers(failure), self._errors, limits)
                made.messages.append((parse_origin(failure.file)[1], told))
        self._waiting.append(made)
        return failures

    def _take_failed(self) -> list[RowError]:
        """Errors of messages that were scored before, and that the broker has refused."""
        if any(not commit.done() for commit in self._committing):
            return []  # a commit at work may still find some
        failures = [error for held in self._held.values() for error in held.take_failed()]
        self._undelivered.count(failures)
        return failures

    def _send(self) -> None:
        """Put what waits into transactions, once those before are committed."""
        self._settle()
        for outputs in self._waiting:
            for partition, end in outputs.ends.items():
                self._held[partition].open(self._bundle)
                self._sent[partition] = end
            for partition, messages in outputs.messages:
                self._held[partition].send(messages)
            for error in outputs.errors:
                self._held[parse_origin(error.file)[1]].add_errors([error])
            if outputs.ends and self._since is None:
                self._since = time.monotonic()
        self._waiting = []

    def _commit(self) -> None:
        """Begin to commit what was sent."""
        self._committing = [self._pool.submit(self._held[p].commit, end) for p, end in self._sent.items()]
        self._sent, self._since = {}, None

    def _settle(self) -> None:
        """Wait until the commits that are at work are done."""
        commits, self._committing = self._committing, []
        wait(commits)  # a failure is told when none of the others is still at work
        for done in commits:
            done.result()
        self._commits.inc(len(commits))

    def _give_up(self) -> None:
        wait(self._committing)
        if self._held:
            wait([self._pool.submit(OPEN.drop, held) for held in self._held.values()])
        self._reset()
