"""A topic that is read up to its end with `--group`: one job at a time, which begins where the one before has ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, cast

from beamsplit.transforms.kafka.config import ClientConfig, Topic

if TYPE_CHECKING:
    from beamsplit.pipelines.job.job import Job


class GroupSource(Protocol):
    """A source whose group is moved when its job is done."""

    config: ClientConfig
    topic: Topic
    group: str | None
    """None for none, as other sources have."""

    def is_current(self) -> bool:
        """Whether the group is still where it was when the job was planned."""

    def commit(self) -> None:
        """Note that all is done."""


@contextlib.contextmanager
def holding_group(job: Job, plan: Callable[[], Job]) -> Iterator[Job]:
    """Hold the job's group, if it has one, while the block inside runs; commits what was read when that has succeeded.

    Gives the job, planned anew where another one has moved the group since.

    Args:
        job: as it is planned.
        plan: plans it.

    Raises:
        UsageError: another job holds the group.
        OffsetsNotCommittedError: the job is done, and its offsets could not be committed.
    """
    source = cast("GroupSource", job.source)
    if source.group is None:
        yield job
        return
    from beamsplit.transforms.kafka.group_hold import GroupHold

    lost: list[str] = []
    with GroupHold(source.config, source.topic.name, source.group, False, lost.append):
        if not source.is_current():
            job = plan()
        yield job
        try:
            if lost:
                raise RuntimeError(lost[0])
            cast("GroupSource", job.source).commit()
        except Exception as error:  # of the client; the files are there all the same
            raise OffsetsNotCommittedError(str(error)) from error


class OffsetsNotCommittedError(Exception):
    """The files are written, and the group does not know."""
