"""What the user sees: progress while the job runs, the closing summary, the first errors."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from beamsplit.models.fitting.fit import Fit
    from beamsplit.transforms.kafka.gaps import Gap

from beamsplit.pipelines.report.notebook import draw_in_notebook, in_notebook
from beamsplit.transforms.failures.kinds import FailureKind, FailureKinds

SHOWN_REASONS = 5
"""Reasons of failed rows in the summary."""

LINE_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""


@dataclass
class Summary:
    """What a job did. Stage seconds are added up over the workers."""

    rows_in: int = 0
    """Rows read, those that failed included."""

    rows_scored: int = 0
    rows_failed: int = 0
    rows_left_out: int = 0
    """Rows read, or known by what is told of them, that `--where` leaves out; they are in `rows_in` too."""

    seconds: float = 0.0
    """Wall time of the whole command."""

    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds in `read`, `prepare`, `infer`, `finish` and `write`, all workers together."""

    rows_per_second: float = 0.0
    """Rows read a second of wall time, start-up included; without those that an earlier run has read."""

    worker_rows: list[int] = field(default_factory=list)
    """Rows of each worker, by its number."""

    files: list[str] = field(default_factory=list)
    """Files written."""

    errors: str | None = None
    """The errors file, if one was asked for."""

    failed_by_stage: dict[str, int] = field(default_factory=dict)
    """Rows that failed in each stage, most first."""

    failed_by_reason: list[FailureKind] = field(default_factory=list)
    """The same by reason; of reasons that differ in numbers or quoted values only, their kind."""

    rows_with_null_for_nan: int = 0
    """Rows with a NaN or infinity that was written as null, by `--json_nan null`."""

    messages_lost: int = 0
    """Messages of a topic that were gone (retention) before they were read, at most."""

    gaps: list[str] = field(default_factory=list)
    """Where they were, and topics that were made anew, a line each."""

    backlog: int | None = None
    """Of a stream: messages behind the end of its partitions when it ended, as far as is known."""

    model_updates: int = 0
    """Of a stream: models that took over while it ran, added up over its worker processes."""

    model_updates_refused: int = 0
    """Models that did not, because something was wrong with them."""

    rows_audited: int = 0
    """Rows that were scored once more, each alone."""

    rows_audited_differing: int = 0
    """Those of them that came out otherwise."""

    resumed: dict[str, int] = field(default_factory=dict)
    """With `--resume`: `splits` that earlier runs had finished, `of_splits` in all, their `rows`, and how many others
    had been begun and were `scored_again`."""

    plan: dict[str, Any] = field(default_factory=dict)
    """What was run: model, batch size, workers, threads, providers."""

    metrics: dict[str, Any] = field(default_factory=dict)
    """Beam's inference metrics by name."""

    parts: dict[str, dict[str, Any]] = field(default_factory=lambda: {"split": {}, "shards": {}})
    """What the parts of the model did, by the kind of part, with that in words (`lines`).

    `split`: of a model split by depth, what each stage did beside what was planned. `shards`: of one divided by width,
    what each shard did and holds, and the joins.
    """

    def to_json(self) -> str:
        """One JSON object."""
        told = asdict(self) | {"failed_by_reason": [kind._asdict() for kind in self.failed_by_reason]}
        parts = told.pop("parts")
        return json.dumps({**told, **parts}, indent=2)

    def tell_failures(self, kinds: FailureKinds) -> None:
        """Take in how many rows failed, and why."""
        self.failed_by_stage = kinds.by_stage()
        self.failed_by_reason = kinds.listed()

    def tell_gaps(self, gaps: Sequence[Gap]) -> None:
        """Take in what was gone of a topic."""
        from beamsplit.transforms.kafka.gaps import lost_messages

        self.messages_lost = lost_messages(gaps) if gaps else self.messages_lost
        self.gaps = [gap.line for gap in gaps]

    @property
    def told_gaps(self) -> bool:
        """Whether anything was gone."""
        return bool(self.messages_lost or self.gaps)

    def last_line(self) -> str | None:
        """What must not be overlooked at the end: that no row at all was scored. None otherwise."""
        if self.rows_scored or not self.rows_failed:
            return None
        why = f"; most often, {self.failed_by_reason[0]}" if self.failed_by_reason else ""
        return f"NOTHING WAS SCORED: all {self.rows_failed:,} rows failed{why}"

    def _resumed(self) -> str:
        told = self.resumed
        again = f"; {told['scored_again']:,} begun before scored again" if told.get("scored_again") else ""
        return f"{told['splits']:,} of {told['of_splits']:,} splits, {told['rows']:,} rows{again}"

    def lines(self) -> list[str]:
        """The summary as text, a line a fact."""
        kinds = self.failed_by_reason
        failed = [str(kind) for kind in kinds[:SHOWN_REASONS]]
        if len(kinds) > SHOWN_REASONS:
            rest = sum(kind.rows for kind in kinds[SHOWN_REASONS:])
            failed.append(f"{rest:,} for {len(kinds) - SHOWN_REASONS:,} other reasons")
        elif not kinds:
            failed = [f"{rows:,} in {stage}" for stage, rows in self.failed_by_stage.items()]
        stages = [f"{name} {seconds:.2f} s" for name, seconds in self.stage_seconds.items()]
        lines = [
            f"rows     {self.rows_in:,} in, {self.rows_scored:,} scored, {self.rows_failed:,} failed"
            + (f", {self.rows_left_out:,} left out by --where" if self.rows_left_out else ""),
            *(f"failed   {line}" for line in failed),
            *([f"lost     {self.messages_lost:,} messages at most"] if self.messages_lost else []),
            *(f"gap      {line}" for line in self.gaps[:SHOWN_REASONS]),
            *([f"resumed  {self._resumed()}"] if self.resumed.get("splits") else []),
            f"time     {self.seconds:.2f} s, {self.rows_per_second:,.0f} rows/s",
        ]
        if self.rows_with_null_for_nan:
            lines.append(f"NaN      {self.rows_with_null_for_nan:,} rows with NaN or infinity, written as null")
        if stages:
            lines.append(f"stages   {', '.join(stages)} (all workers together)")
        lines += [line for part in self.parts.values() for line in part.get("lines", [])]
        if self.rows_audited:
            told = f"{self.rows_audited_differing:,} came out otherwise" if self.rows_audited_differing else "all alike"
            lines.append(f"audit    {self.rows_audited:,} rows scored again, each alone: {told}")
        if self.backlog is not None:
            lines.append(f"backlog  {self.backlog:,} messages")
        if self.model_updates or self.model_updates_refused:
            lines.append(f"models   {self.model_updates} took over, {self.model_updates_refused} refused")
        if self.worker_rows:
            shown = ", ".join(f"{k}: {rows:,}" for k, rows in enumerate(self.worker_rows[:16]))
            more = f", and {len(self.worker_rows) - 16} more" if len(self.worker_rows) > 16 else ""
            lines.append(f"workers  {shown}{more} rows")
        if self.files:
            more = f" and {len(self.files) - 3} more" if len(self.files) > 3 else ""
            lines.append(f"written  {', '.join(self.files[:3])}{more}")
        if self.errors:
            lines.append(f"errors   {self.errors}")
        return lines


def summarise(counters: Mapping[str, int], **known: Any) -> Summary:
    """A summary of the job's counters (metric name to value) and of what the caller knows."""
    stage_seconds = {
        stage: counters[f"{stage}_usec"] / 1e6
        for stage in ("read", "prepare", "infer", "finish", "write")
        if f"{stage}_usec" in counters
    }
    numbered = sorted(
        (int(name.rsplit("_", 1)[1]), rows) for name, rows in counters.items() if name.startswith("rows_of_worker_")
    )
    summary = Summary(
        rows_in=sum(counters.get(name, 0) for name in ("rows_read", "rows_unreadable", "rows_left_out")),
        rows_scored=counters.get("rows_scored", 0),
        rows_failed=counters.get("rows_failed", 0) + counters.get("rows_unreadable", 0),
        stage_seconds=stage_seconds,
        rows_left_out=counters.get("rows_left_out", 0),
        rows_with_null_for_nan=counters.get("rows_json_null", 0),
        messages_lost=counters.get("messages_lost", 0),
        rows_audited=counters.get("rows_audited", 0),
        rows_audited_differing=counters.get("rows_audited_differing", 0),
        model_updates=counters.get("model_updates", 0),
        model_updates_refused=counters.get("model_updates_refused", 0),
    )
    begins = "rows_failed_in:"
    stages = {name.removeprefix(begins): rows for name, rows in counters.items() if name.startswith(begins)}
    summary.failed_by_stage = dict(sorted(stages.items(), key=lambda found: -found[1]))
    for name, value in known.items():
        setattr(summary, name, value)
    if numbered:
        rows_of = dict(numbered)
        count = max(len(summary.worker_rows), numbered[-1][0] + 1)
        summary.worker_rows = [rows_of.get(k, 0) for k in range(count)]
    read_now = summary.rows_in - summary.resumed.get("rows", 0)
    summary.rows_per_second = read_now / summary.seconds if summary.seconds else 0.0
    return summary


_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*: (?=\S)")
_STEP = re.compile(r" \[while running '[^']*'\]")


def root_cause(error: BaseException) -> str:
    """The first line of what went wrong, without Beam's wrapping.

    A worker that is a process sends its traceback as text: the line behind the last frame says what was raised.
    """
    lines = [_STEP.sub("", line.rstrip()) for line in str(error).splitlines()]
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    if frames:
        raised = [line for line in lines[frames[-1] :] if _RAISED.match(line)]
        lines = [_RAISED.sub("", raised[0], count=1)] if raised else lines
    return next((line.strip() for line in lines if line.strip()), type(error).__name__)


def say(lines: list[str]) -> None:
    """Print lines on the standard output; whoever reads it may stop reading (`| head`), which is no failure."""
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        # What is printed later, at the interpreter's end too, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plan_lines(facts: Mapping[str, Any], notes: Iterable[str]) -> list[str]:
    """What was found out before a job, as text: a name, its value or values below one another, then the notes."""
    width = max(len(name) for name in facts)
    lines = []
    for name, value in facts.items():
        values = value if isinstance(value, list) else [value]
        lines += [f"{name if i == 0 else '':<{width}}  {one}" for i, one in enumerate(values)]
    return [*lines, *(f"note: {note}" for note in notes)]


def rows_fact(fit: Fit) -> dict[str, str]:
    """Whether rows influence one another, as a fact of the plan."""
    return {"rows": f"rows are {fit.independence}"} if fit.independence else {}


class Progress:
    """Shows rows done, rows/s, time left and errors while the block of code inside it runs.

    A bar where `stream` is a terminal, else a plain line every `LINE_SECONDS`. Its thread ends with the block.
    """

    def __init__(
        self,
        counts: Callable[[], tuple[int, int]],
        total: int | None,
        stream: TextIO | None = None,
        line_seconds: float = LINE_SECONDS,
        backlog: Callable[[], int | None] = lambda: None,
        steps: Callable[[], Sequence[int]] = lambda: (),
    ):
        self._counts = counts
        self._total = total
        self._stream = stream if stream is not None else sys.stderr
        self._line_seconds = line_seconds
        self._backlog = backlog
        self._steps = steps
        self._before = 0
        """Rows that an earlier run of the job has done."""
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._started, self._before = time.monotonic(), sum(self._counts())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._stream.isatty():
            self._draw()
            return
        if in_notebook():
            draw_in_notebook(self.line, self._share, self._stop.wait)
            return
        while not self._stop.wait(self._line_seconds):
            print(self.line(), file=self._stream, flush=True)

    def line(self) -> str:
        """E.g. `12,000 of 100,000 rows, 3,400 rows/s, 26 s left, 2 failed`; of a stream also `, 500 behind`."""
        done, failed = self._counts()
        through, shown, step = self._through(done, failed)
        rate = (through - self._before) / max(time.monotonic() - self._started, 1e-9)
        of_total = f" of {self._total:,}" if self._total else ""
        left = ""
        if self._total and rate:
            left = f", {max(0.0, self._total - through) / rate:.0f} s left"
        return f"{step}{shown:,}{of_total} rows, {rate:,.0f} rows/s{left}, {failed:,} failed{self._behind(', ')}"

    def _through(self, done: int, failed: int) -> tuple[float, int, str]:
        """(rows that the work done so far is worth, rows to show, the step that they are through, in words).

        Where steps have workers of their own, files go through one after another: before the last has begun, none is
        done.
        """
        steps = self._steps()
        if len(steps) < 2:
            return done + failed, done, ""
        through = (sum(steps[:-1]) + done) / len(steps) + failed
        at = max((at for at, rows in enumerate(steps) if rows), default=0)
        if done or at == len(steps) - 1:
            return through, done, ""
        return through, steps[at], f"step {at + 1} of {len(steps)}: "

    def _share(self) -> float | None:
        return sum(self._counts()) / self._total if self._total else None

    def _behind(self, gap: str) -> str:
        backlog = self._backlog()
        return "" if backlog is None else f"{gap}{backlog:,} behind"

    def _draw(self) -> None:
        # A job shorter than this needs no bar, and need not wait for the import of rich.
        if self._stop.wait(0.5):
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("scoring"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=Console(file=self._stream), transient=True) as bar:
            task = bar.add_task("scoring", total=self._total, text="")
            while True:
                stopped = self._stop.wait(0.2)
                done, failed = self._counts()
                through, shown, step = self._through(done, failed)
                rate = (through - self._before) / max(time.monotonic() - self._started, 1e-9)
                of_total = f"/{self._total:,}" if self._total else ""
                text = f"{step}{shown:,}{of_total} rows  {rate:,.0f} rows/s  {failed:,} failed{self._behind('  ')}"
                bar.update(task, completed=through, text=text)
                if stopped:
                    return
