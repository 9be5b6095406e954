"""What became of new models: lines in a file of the job's folder, which workers on the submitter's machine share."""

from __future__ import annotations

import os
from pathlib import Path

FILE = "model-news"

TAKEN, REFUSED = "note: ", "warning: "
"""What a line begins with: a model took over, or was refused."""


def write_news(job_dir: str, kind: str, text: str) -> bool:
    """Add a line; False where the folder is not there.

    Args:
        job_dir: the job's folder.
        kind: `TAKEN` or `REFUSED`.
        text: one line.
    """
    try:
        file = os.open(Path(job_dir) / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return False
    try:
        # One call: O_APPEND makes it whole beside other writers.
        os.write(file, f"{kind}{' '.join(text.split())}\n".encode("utf-8", "backslashreplace"))
    finally:
        os.close(file)
    return True


def read_news(job_dir: str) -> list[str]:
    """All lines so far."""
    try:
        text = (Path(job_dir) / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return text.split("\n")[:-1]


def count_news(lines: list[str]) -> tuple[int, int]:
    """(models that took over, models that were refused), in every worker process.

    >>> count_news(["note: a", "warning: b", "note: c"])
    (2, 1)
    """
    return sum(line.startswith(TAKEN) for line in lines), sum(line.startswith(REFUSED) for line in lines)
