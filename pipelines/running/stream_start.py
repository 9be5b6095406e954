"""The first line of a stream: what it reads and where that begins, which job it is on the runner, and how it ends."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from beamsplit.pipelines.options.values import RunnerOptions
from beamsplit.pipelines.running.poller import Poller
from beamsplit.runners.prism import is_prism
from beamsplit.transforms.kafka.begins import describe_begins, find_begins
from beamsplit.transforms.kafka.source import KafkaSource

LOOK_SECONDS = 0.2

ID_SECONDS = 30.0
"""How long the id of the job on its cluster is waited for."""


def where_it_begins(source: KafkaSource) -> str:
    """The group, and the offsets that it begins at, in words; to be asked before the stream runs."""
    begins = find_begins(source.consumer_group, source.start)
    return f"group {source.group} of {source.topic} begins at {describe_begins(begins, source.start)}"


def how_it_ends(source: KafkaSource) -> str:
    """What ends the stream, in words."""
    ends = []
    if source.until_end:
        ends.append("ends where the topic ended now")
    if source.stop_after_idle is not None:
        ends.append(f"ends when nothing came for {source.stop_after_idle:g} s")
    if source.stop_file is not None:
        ends.append("Ctrl-C drains, commits and ends it")
    else:
        ends.append("Ctrl-C cancels it, and what is not committed will be read again")
    return ", ".join(ends)


def which_job(asked: RunnerOptions, runner: Any) -> str | None:
    """The job as its runner knows it, in words; None where a cluster has not told its id yet."""
    if is_prism(asked.name):
        return f"job {asked.job_name} on Prism"
    cluster_job = getattr(runner, "cluster_job", None)
    if cluster_job is not None:
        found = cluster_job.find()
        return None if found is None else f"job {asked.job_name} ({found}) on Flink, {cluster_job.page}"
    if asked.flink_master is not None:
        return None
    where = "Flink on this machine, which has no page" if "flink" in asked.name.lower() else asked.name
    return f"job {asked.job_name} on {where}"


class TellStart(Poller):
    """While it is entered, prints the line once, as soon as the job's id is known.

    Args:
        source: what is read.
        begins: from `where_it_begins`; None prints nothing.
        asked: which runner it is given to, and under which name.
        runner: the runner itself.
    """

    def __init__(
        self, source: KafkaSource, begins: str | None, asked: RunnerOptions, runner: Any, stream: TextIO | None = None
    ):
        self._line = f"stream: {begins}; {{}}; {how_it_ends(source)}"
        self._asked, self._runner = asked, runner
        self._stream = stream if stream is not None else sys.stderr
        self._until = time.monotonic() + ID_SECONDS
        super().__init__("stream-start", LOOK_SECONDS, self._tell if begins is not None else None, at_end=True)

    def __enter__(self) -> Poller:
        # Nothing comes before it where all is known.
        self._found = self._look is not None and self._look()
        return super().__enter__()

    def _tell(self) -> bool:
        told = which_job(self._asked, self._runner)
        if told is None and time.monotonic() < self._until and not self._over.is_set():
            return False
        told = told or f"job {self._asked.job_name} on Flink, http://{self._asked.flink_master}"
        print(self._line.format(told), file=self._stream, flush=True)
        return True
