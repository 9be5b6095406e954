"""A topic that is read up to its end with `--group`: one job at a time, which begins where the one before has ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beamsplit.pipelines.job.job import Job


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
    messages = job.messages
    if messages is None or messages.group is None:
        yield job
        return
    from beamsplit.transforms.kafka.group_hold import GroupHold

    lost: list[str] = []
    with GroupHold(messages.config, messages.topic.name, messages.group, False, lost.append):
        if not messages.is_current():
            job = plan()
        yield job
        try:
            if lost:
                raise RuntimeError(lost[0])
            assert job.messages is not None
            job.messages.commit()
        except Exception as error:  # of the client; the files are there all the same
            raise OffsetsNotCommittedError(str(error)) from error


class OffsetsNotCommittedError(Exception):
    """The files are written, and the group does not know."""
