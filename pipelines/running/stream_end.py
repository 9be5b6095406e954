"""How a stream comes to its end: by itself, by a signal, or since it cannot go on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from beamsplit.transforms.kafka.ending import JobEndsError, why_it_ends
from beamsplit.transforms.kafka.stopping import Ending, end_stream, why_ended

LOOK_SECONDS = 0.2

GRACE_SECONDS = 15.0
"""How long what was read of a topic that is gone may take to be written."""


class StreamEnd:
    """Ends a stream that cannot go on, and knows why it ended.

    Args:
        stop_file: lets readers on this machine end; None where they are elsewhere.
    """

    def __init__(self, stop_file: str | None):
        self._stop_file = stop_file
        self._told: str | None = None
        self._since = 0.0

    def end(self, reason: str) -> None:
        """End it without a commit: what the group's offsets mean is no longer sure."""
        if self._told is None:
            self._told, self._since = reason, time.monotonic()
            if self._stop_file is not None:
                end_stream(self._stop_file, Ending(reason, commit=False))

    @property
    def reason(self) -> str | None:
        """Why it could not go on, by whoever told first; None where it ends as it should."""
        ending = why_ended(self._stop_file)
        return ending.reason if ending is not None else self._told

    @property
    def overdue(self) -> bool:
        """Whether it should have ended by now."""
        waits = GRACE_SECONDS if self._stop_file is not None else 0.0
        return self._told is not None and time.monotonic() - self._since > waits


def wait_for_end(result: Any, done_files: Sequence[str], end: StreamEnd, job_dir: str | None = None) -> None:
    """Wait until the stream is over. Where it would go on without a source, as on Flink, it is cancelled then.

    Args:
        result: of the pipeline.
        done_files: where the readers leave word that they are done; empty where the runner ends by itself.
        end: whether it must end.
        job_dir: where a worker leaves word why the job cannot go on.

    Raises:
        JobEndsError: it cannot go on; its runner would try for ever.
    """
    cancelled = threading.Event()
    over = threading.Event()

    def cancel_when_done() -> None:
        while not over.wait(LOOK_SECONDS):
            done = bool(done_files) and all(map(os.path.exists, done_files))
            if done or end.overdue or why_it_ends(job_dir) is not None:
                cancelled.set()
                result.cancel()
                return

    threading.Thread(target=cancel_when_done, name="stream-end", daemon=True).start()
    try:
        result.wait_until_finish()
    except Exception:
        if not cancelled.is_set() and end.reason is None and why_it_ends(job_dir) is None:
            raise
    finally:
        over.set()
    if (why := why_it_ends(job_dir)) is not None:
        raise JobEndsError(why)
