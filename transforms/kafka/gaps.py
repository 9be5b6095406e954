"""What a topic no longer has where reading goes on: told, counted, and let by or not. No Beam.

    log              |150 ........ 400|        messages below 150 are gone (retention, or deleted records)
    group    100 ->  gap [100, 150)            lost: at most 50 messages

    log   |0 .. 20|                            the topic was made anew, or its end was cut off
    group            100 ->  read from 0 on

Only the beginning and the end of a log tell of a gap. Offsets without a message between them are none: messages were
compacted away, belonged to a transaction that was aborted, or mark where one ended.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from beamsplit.transforms.kafka.blocks import RAW_SCHEMA

STAGE = "gap"
"""Of the error that tells of a gap: its row is the first offset."""

POLICIES = ("continue", "fail")
"""Of `--on_gap`: tell, count and go on behind the gap (the default), or end there."""

FIX = "to go on all the same, type --on_gap continue"

_GAPS = b"gaps"
"""Metadata of a block's schema: JSON of gaps that were found before its messages."""

_RANGE = re.compile(r"offsets (\d+) to (\d+) ")


class GapFoundError(Exception):
    """A gap where `--on_gap` is fail."""


class Gap(NamedTuple):
    """Offsets of one partition that cannot be read any more."""

    topic: str
    partition: int

    begin: int
    """Where reading was."""

    next: int
    """Where it goes on: the log's first offset; below `begin` where the topic was made anew."""

    end: int
    """The log's end when the gap was found."""

    @property
    def lost(self) -> int:
        """How many messages there were at most; 0 where the topic was made anew, as nobody knows."""
        return max(0, self.next - self.begin)

    @property
    def anew(self) -> bool:
        """Whether the log is another one: it ends below where reading was."""
        return self.next < self.begin

    @property
    def reason(self) -> str:
        """What happened, for the errors output."""
        if self.anew:
            return (
                f"the topic ends at offset {self.end}, below {self.begin}, where reading was: it was made anew, or its "
                f"end was cut off; messages from {self.begin} on may be lost, and it is read from {self.next} on"
            )
        many = f"{self.lost:,} message{'s' * (self.lost != 1)} at most"
        return (
            f"offsets {self.begin} to {self.next - 1} are gone, deleted before they were read "
            f"(retention, or deleted records): {many}"
        )

    @property
    def line(self) -> str:
        """The gap in one line, with its place."""
        return f"{self.topic}/{self.partition}: {self.reason}"


def find_gap(topic: str, partition: int, begin: int, log: tuple[int, int]) -> Gap | None:
    """The gap between where reading is and a log's (first offset, end); None where it can go on.

    >>> find_gap("in", 0, 100, (150, 400)).lost, find_gap("in", 0, 100, (0, 20)).next
    (50, 0)
    >>> find_gap("in", 0, 150, (150, 150)) is None
    True
    """
    low, high = log
    return None if low <= begin <= high else Gap(topic, partition, begin, low, high)


def check_gaps(gaps: Sequence[Gap], on_gap: str) -> None:
    """Raise for gaps that are not to be let by.

    Raises:
        GapFoundError: with the first of them, and the fix.
    """
    if gaps and on_gap == "fail":
        raise GapFoundError(told_to_fail(gaps))


def told_to_fail(gaps: Sequence[Gap]) -> str:
    """Why a job ends at gaps, and what to type.

    >>> told_to_fail([Gap("in", 0, 100, 150, 400)])
    '--on_gap fail: in/0: offsets 100 to 149 are gone, deleted before they were read (retention, or deleted records): \
50 messages at most; to go on all the same, type --on_gap continue'
    """
    more = f", and {len(gaps) - 1} more partitions have gaps" if len(gaps) > 1 else ""
    return f"--on_gap fail: {gaps[0].line}{more}; {FIX}"


def reason_to_end(gap: Gap, on_gap: str, transactional: bool) -> str | None:
    """Why a stream ends at a gap; None where it goes on behind it.

    Args:
        gap: in one of its partitions.
        on_gap: one of `POLICIES`.
        transactional: whether outputs of offsets that were read before are dropped, as those of another log would be.
    """
    if on_gap == "fail":
        return told_to_fail([gap])
    return f"{gap.line}; start it again, which begins there" if gap.anew and transactional else None


def gap_range(reason: str) -> tuple[int, int] | None:
    """The first and last offset that a gap's reason names; None where it names none."""
    found = _RANGE.match(reason)
    return None if found is None else (int(found[1]), int(found[2]))


def no_messages() -> pa.RecordBatch:
    """A block without messages, to tell of gaps where none follow."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, one.type) for one in RAW_SCHEMA], schema=RAW_SCHEMA)


def with_gaps(block: pa.RecordBatch, gaps: Sequence[Gap]) -> pa.RecordBatch:
    """The block, telling of gaps before its messages."""
    told = {**(block.schema.metadata or {}), _GAPS: json.dumps(gaps).encode()}
    return block.replace_schema_metadata(told)


def gaps_of(block: pa.RecordBatch) -> list[Gap]:
    """What `with_gaps` told."""
    told = (block.schema.metadata or {}).get(_GAPS)
    return [] if told is None else [Gap(*one) for one in json.loads(told)]


def write_gaps(job_dir: str, gaps: Iterable[Gap]) -> None:
    """Leave word of gaps in the job's folder, if that is there (not on another machine)."""
    try:
        file = os.open(Path(job_dir) / f"gaps-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return
    try:
        os.write(file, "".join(f"{json.dumps(gap)}\n" for gap in gaps).encode())
    finally:
        os.close(file)


def read_gaps(job_dir: str) -> list[Gap]:
    """The gaps that a job's workers on this machine told of, each once: a bundle that failed tells of its own again."""
    lines = [line for path in Path(job_dir).glob("gaps-*") for line in path.read_text().split("\n")[:-1]]
    return sorted({Gap(*json.loads(line)) for line in lines})


def lost_messages(gaps: Iterable[Gap]) -> int:
    """How many messages were lost at most: offsets that several gaps have, found again after a failure, count once.

    >>> lost_messages([Gap("in", 0, 100, 150, 400), Gap("in", 0, 100, 160, 400), Gap("in", 1, 0, 5, 9)])
    65
    """
    lost = 0
    reached: dict[tuple[str, int], int] = {}
    for gap in sorted(gaps):
        place = (gap.topic, gap.partition)
        begin = max(gap.begin, reached.get(place, gap.begin))
        lost += max(0, gap.next - begin)
        reached[place] = max(gap.next, begin)
    return lost
