"""Tells a lineage server (OpenLineage) of a job's start and end, where `OPENLINEAGE_URL` names one.

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

if TYPE_CHECKING:
    from beamsplit.pipelines.running.lineage_events import JobEvents

URL = "OPENLINEAGE_URL"

LAST_SECONDS = 5.0
"""How long a job's end waits for what is still to be sent."""

FAILED = 1

Told = Callable[[int, Summary | None], None]
"""Takes a job's exit code, and how it went."""


@contextlib.contextmanager
def telling_lineage(options: ScoreOptions, job: Job) -> Iterator[Told]:
    """Tell of the start of a job, and of its end: how it went, as the block says, or why it did not come to it.

    Args:
        options: as they were asked for.
        job: as it is planned.
    """
    sender = _sender(options, job)
    if sender is None:
        yield lambda code, summary: None
        return
    sender.tell("START")
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
        ended.append(("FAIL", None, root_cause(error)))
        raise
    finally:
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
    return _Sender(JobEvents(options, job))


class _Sender:
    """Sends events one after another."""

    def __init__(self, events: JobEvents) -> None:
        self._events = events
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
        while (one := self._queue.get()) is not None:
            state, event = one
            try:
                client = client or OpenLineageClient()
                client.emit(event)
            except Exception as why:  # the client raises what it finds
                self._problem = self._problem or f"{state}: {type(why).__name__}, {_without_secrets(str(why))}"


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
