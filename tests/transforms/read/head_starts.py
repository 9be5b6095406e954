"""The thread that reads ahead while a job is set up."""

from __future__ import annotations

import threading

from tests.waiting import DEADLINE


def wait_for_the_thread() -> None:
    """Until it has read all that it reads."""
    for thread in threading.enumerate():
        if thread.name == "head-start":
            thread.join(DEADLINE)
            assert not thread.is_alive()
