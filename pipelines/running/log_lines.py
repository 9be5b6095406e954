"""`--log_format json`: what a command says as JSON, an object a line, all with the same fields.

    note: 2 files are left out            {"time": ..., "level": "info", "job": "beamsplit-preds", "event": "note", ...}

Lines are told apart by how they begin, where they are written: whoever says something need not know of it.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from beamsplit.pipelines.options.values import ScoreOptions
    from beamsplit.pipelines.report.summary import Summary

FORMATS = ("text", "json")

EVENTS: dict[str, tuple[str, str]] = {
    "error: ": ("error", "error"),
    "warning: ": ("warning", "warning"),
    "note: ": ("note", "info"),
    "interrupted: ": ("interrupted", "warning"),
    "draining: ": ("draining", "info"),
    "failed: ": ("row_failed", "warning"),
    "stream: ": ("stream_started", "info"),
    "NOTHING WAS SCORED: ": ("nothing_scored", "error"),
}
"""What a line begins with -> (event, level)."""

_PROGRESS = re.compile(r"(step \d+ of \d+: )?[\d,]+ (of [\d,]+ )?rows, ")
_LOGGED = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL):([\w.]*):(.*)", re.DOTALL)


def told(line: str, job: str) -> dict[str, str]:
    """A line for people as an object for programs.

    >>> {name: value for name, value in told("note: 2 files", "beamsplit-a").items() if name != "time"}
    {'level': 'info', 'job': 'beamsplit-a', 'event': 'note', 'message': '2 files'}
    """
    event, level, message = "message", "info", line
    for begin, (name, how) in EVENTS.items():
        if line.startswith(begin):
            event, level, message = name, how, line.removeprefix(begin)
            break
    else:
        logged = _LOGGED.fullmatch(line)
        if logged is not None:
            event, level, message = "log", logged[1].lower(), f"{logged[2]}: {logged[3]}"
        elif _PROGRESS.match(line):
            event = "progress"
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return {"time": now, "level": level, "job": job, "event": event, "message": message}


class JsonLines(io.TextIOBase):
    """A stream that writes each line that it is given to another as JSON; of several threads, lines stay whole."""

    def __init__(self, stream: TextIO, job: str = "") -> None:
        super().__init__()
        self.job = job
        self._stream = stream
        self._begun = threading.local()
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Take text; what has no end yet waits for it."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        for line in lines:
            # Where a line would be drawn over another, only the last is meant.
            line = line.rstrip("\r").rsplit("\r", 1)[-1]
            if line.strip():
                self.put(told(line, self.job))
        return len(text)

    def put(self, one: dict[str, Any]) -> None:
        """Write an object."""
        with self._lock:
            self._stream.write(f"{json.dumps(one)}\n")
            self._stream.flush()

    def end(self) -> None:
        """Write what this thread has begun."""
        if getattr(self._begun, "text", ""):
            self.write("\n")

    def flush(self) -> None:
        """Pass on what is whole."""
        self._stream.flush()

    def fileno(self) -> int:
        """Of the stream behind."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Never: nothing is drawn over."""
        return False


@contextlib.contextmanager
def log_lines(argv: Sequence[str]) -> Iterator[None]:
    """Within, what goes to the standard error is as `--log_format` in these arguments says, wrong use too."""
    if _asked(argv) != "json" or isinstance(sys.stderr, JsonLines):
        yield
        return
    before = sys.stderr
    lines = JsonLines(before)
    sys.stderr = lines
    try:
        yield
    finally:
        lines.end()
        sys.stderr = before


def _asked(argv: Sequence[str]) -> str:
    found = "text"
    for at, word in enumerate(argv):
        if word.startswith("--log_format="):
            found = word.partition("=")[2]
        elif word == "--log_format" and at + 1 < len(argv):
            found = argv[at + 1]
    return found


def name_job(options: ScoreOptions) -> None:
    """Say from now on whose the lines are.

    Raises:
        UsageError: the job's name will not do.
    """
    if isinstance(sys.stderr, JsonLines):
        from beamsplit.pipelines.running.job_name import job_name

        sys.stderr.job = job_name(options)


def tell_summary(summary: Summary) -> None:
    """The closing summary: lines on the standard output, or an object beside the others."""
    if isinstance(sys.stderr, JsonLines):
        counts = f"{summary.rows_in:,} in, {summary.rows_scored:,} scored, {summary.rows_failed:,} failed"
        sys.stderr.put(told(counts, sys.stderr.job) | {"event": "summary"} | {"summary": json.loads(summary.to_json())})
        return
    from beamsplit.pipelines.report.summary import say

    say(summary.lines())
