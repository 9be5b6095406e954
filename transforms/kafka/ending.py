"""What ends a job at once: trying again, as runners do with a bundle that failed, would fail the same way for ever."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

ENDS = "ends-with"
"""File in the job's folder with why it ends."""

# What Beam adds to it: the step, or the next failure's text.
_RAISED = re.compile(
    r"^(?:\w+\.)*JobEndsError: (.+?)(?: \[while running '[^']*'\]| Traceback \(most recent call last\):)*$",
    re.MULTILINE,
)


class JobEndsError(RuntimeError):
    """A job cannot go on; the message is one line with what to mend."""


@contextlib.contextmanager
def ending(job_dir: str | None) -> Iterator[None]:
    """Leave word in the job's folder of a `JobEndsError` that passes here, for who waits for the job.

    Args:
        job_dir: folder that local workers share; None where they are elsewhere, whose runner tries again.
    """
    try:
        yield
    except JobEndsError as error:
        if job_dir is not None and os.path.isdir(job_dir):
            written = Path(job_dir) / f".{ENDS}-{uuid.uuid4().hex}"
            written.write_text(str(error), encoding="utf-8")
            os.replace(written, Path(job_dir) / ENDS)
        raise


def why_it_ends(job_dir: str | None) -> str | None:
    """Why a worker has ended the job; None if none has."""
    if job_dir is None:
        return None
    try:
        return (Path(job_dir) / ENDS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def told_by(failures: str) -> str | None:
    """Why a worker elsewhere ends the job, of what its runner tells of failures; None if none does.

    >>> told_by("Traceback:\\n  File x\\na.b.JobEndsError: topic gone [while running 'Read']\\n\\n\\tat org.x")
    'topic gone'
    >>> told_by("RuntimeError: no broker")
    """
    found = _RAISED.search(failures)
    return None if found is None else found[1].strip()
