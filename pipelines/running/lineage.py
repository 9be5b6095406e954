"""Tells a lineage server (OpenLineage) of a job's start, while it runs, and of its end, where `OPENLINEAGE_URL` is set.

Events are sent by a thread: a server that is slow, or away, or refuses them, never holds a job for long or fails it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Summary, root_cause
from beamsplit.pipelines.running.interrupt import Interruptible
from beamsplit.transforms.worker import read_counts

if TYPE_CHECKING:
    from beamsplit.pipelines.running.lineage_events import JobEvents

URL = "OPENLINEAGE_URL"

RUNNING_SECONDS = 60.0
"""How often a job that goes on is told of."""

LAST_SECONDS = 5.0
"""How long a job's end waits for what is still to be sent."""

FAILED = 1

CANCELLED = ("in state CANCELLED", "JobCancellationException: Job was cancelled")
"""What Beam, and Flink through it, say of a job that somebody cancelled where it runs."""

Told = Callable[[int, Summary | None], None]
"""Takes a job's exit code, and how it went."""


@contextlib.contextmanager
def telling_lineage(options: ScoreOptions, job: Job, signals: Interruptible) -> Iterator[Told]:
    """Tell of the start of a job, and of its end: how it went, as the block says, or why it did not come to it.

    Args:
        options: as they were asked for.
        job: as it is planned.
        signals: which may end the process, whatever the block does.
    """
    sender = _sender(options, job)
    if sender is None:
        yield lambda code, summary: None
        return
    sender.tell("START")
    signals.last_words = sender.ended_within
    ended: list[tuple[str, Summary | None, str | None]] = []

    def told(code: int, summary: Summary | None) -> None:
        failed = code == FAILED
        ended.append(("FAIL" if failed else "COMPLETE", summary, "it ended with exit code 1" if failed else None))

    try:
        yield told
    except KeyboardInterrupt:
        ended.append(("ABORT", None, None))
        raise
    except BaseException as error:
        cause = root_cause(error)
        ended.append(("ABORT" if any(said in cause for said in CANCELLED) else "FAIL", None, cause))
        raise
    finally:
        signals.last_words = None
        for state, summary, why in ended[-1:]:
            sender.tell(state, summary, why)
        sender.close()


def _sender(options: ScoreOptions, job: Job) -> _Sender | None:
    if not os.environ.get(URL) or os.environ.get("OPENLINEAGE_DISABLED", "").lower() in ("true", "1"):
        return None
    try:
        from beamsplit.pipelines.running.lineage_events import JobEvents
    except ImportError as error:
        told = f"{URL} is set, and {error.name or error} is not installed, so nobody is told of the job"
        print(f"warning: {told}: pip install 'beamsplit[openlineage]'", file=sys.stderr)
        return None
    return _Sender(JobEvents(options, job), job.job_dir)


class _Sender:
    """Sends events one after another, and that the job goes on where there are none for a while.

    Args:
        events: makes them.
        job_dir: where workers of this machine count rows; None where they are elsewhere.
    """

    def __init__(self, events: JobEvents, job_dir: str | None) -> None:
        self._events, self._job_dir = events, job_dir
        self._queue: queue.Queue[Any] = queue.Queue()
        self._problem: str | None = None
        # What the client logs of its tries would stand among the job's own lines.
        logging.getLogger("openlineage").setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=self._send, name="lineage", daemon=True)
        self._thread.start()

    def tell(self, state: str, summary: Summary | None = None, error: str | None = None) -> None:
        """Send an event as soon as those before it are sent."""
        try:
            self._queue.put((state, self._events.event(state, summary, error)))
        except Exception as why:  # of whatever kind: a job does not fail for it
            self._problem = self._problem or f"{state} cannot be told: {root_cause(why)}"

    def ended_within(self, interrupted: bool, why: str) -> None:
        """Tell of the end of a process that ends at once, and wait for that, not for long."""
        self.tell("ABORT" if interrupted else "FAIL", None, why)
        self.close()

    def close(self) -> None:
        """Wait for what is still to be sent, not for long, and warn of what was not."""
        self._queue.put(None)
        self._thread.join(LAST_SECONDS)
        if self._thread.is_alive():
            self._problem = self._problem or f"no answer within {LAST_SECONDS:g} s"
        if self._problem is not None:
            print(f"warning: the lineage server {_host()} was not told of all: {self._problem}", file=sys.stderr)

    def _send(self) -> None:
        from openlineage.client import OpenLineageClient

        client: Any = None
        while True:
            try:
                one = self._queue.get(timeout=RUNNING_SECONDS)
                if one is None:
                    return
                state, event = one
            except queue.Empty:
                state, event = "RUNNING", None
            try:
                client = client or OpenLineageClient()
                client.emit(event or self._events.event(state, rows=self._rows()))
            except Exception as why:  # the client raises what it finds
                self._problem = self._problem or f"{state}: {type(why).__name__}, {_without_secrets(str(why))}"

    def _rows(self) -> tuple[int, int] | None:
        """(scored, failed) so far, where workers count on this machine."""
        counts = read_counts(self._job_dir) if self._job_dir is not None else []
        return (sum(done for done, _ in counts), sum(failed for _, failed in counts)) if counts else None


def _host() -> str:
    parts = urlsplit(os.environ.get(URL, ""))
    return f"{parts.hostname or '?'}{f':{parts.port}' if parts.port else ''}"


def _without_secrets(text: str) -> str:
    """One line of what the client says, without what came with the URL."""
    parts = urlsplit(os.environ.get(URL, ""))
    for secret in (os.environ.get(URL), parts.password, os.environ.get("OPENLINEAGE_API_KEY")):
        if secret:
            text = text.replace(secret, "...")
    return " ".join(text.split())[:200]
