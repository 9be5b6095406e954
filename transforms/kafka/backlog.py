"""Messages that wait behind the end of the partitions: told by each reader, added up by the submitter.

A gauge of Beam keeps the newest value alone, whoever told it, so each reader has one of its own name; readers on the
submitter's machine leave the number in a file of the job's folder too, there to be read while the job runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

GAUGE = "backlog_messages"
"""Of the first reader; the others have their number behind it: `backlog_messages_1`."""


def gauge_name(part: int | None) -> str:
    """The gauge of a reader.

    >>> gauge_name(None), gauge_name(0), gauge_name(2)
    ('backlog_messages', 'backlog_messages', 'backlog_messages_2')
    """
    return f"{GAUGE}_{part}" if part else GAUGE


def backlog_of(gauges: Mapping[str, int]) -> int | None:
    """All readers' together, by their gauges; None where none told."""
    told = [value for name, value in gauges.items() if name.startswith(GAUGE)]
    return sum(told) if told else None


def write_backlog(folder: str, part: int | None, messages: int) -> None:
    """Leave a reader's number in the job's folder, if that is there (not on another machine)."""
    path = Path(folder) / f"backlog-{part or 0}"
    try:
        path.with_suffix(".new").write_text(str(messages))
        os.replace(path.with_suffix(".new"), path)
    except FileNotFoundError:
        return


def read_backlog(folder: str) -> int | None:
    """All readers' together; None where none has told."""
    told = [path.read_text() for path in Path(folder).glob("backlog-*") if path.suffix != ".new"]
    return sum(map(int, told)) if told else None
