"""Where does a message's time go on its way through a stream?  python -m benchmarks.stream_trace --help

A steady load, as in `benchmarks.stream`, while the workers note what they do (`tracing/sitecustomize.py`):

    sent --> waits in the topic --> taken --> scored, encoded, handed to the producer --> delivered, read --> now
             while its reader ...

What its reader did while a message waited is told apart: it scored others, it waited for a flush, it was between two
bundles. Messages slower than nearly all others are told beside all of them, with what Flink said of its checkpoints.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import numpy as np

from beamsplit.runners.local import KafkaBroker
from benchmarks.measure import ROOT
from benchmarks.report import show
from benchmarks.stream_cases import FLINK, FLINK_ONCE, PLAIN, PRISM, PRISM_ONCE, make_cases
from benchmarks.stream_run import PARTITIONS, Bench, Steady

SLOW = 99.0
"""Percent of the messages that are quicker than those that are looked at."""

BETWEEN = "between bundles"
OTHER = "in a bundle, else"
WAITING = "wait for messages"
CHECKPOINT = re.compile(r"(\d+) \[.*?((?:Triggering|Completed) checkpoint \d+.*)")
"""A line of Flink's log, with its milliseconds since the process started."""

SINCE_1970 = re.compile(r"Triggering checkpoint .* @ (\d{13})")


@dataclass
class Spans:
    """What one reader's process did, in order: each moment is given to the innermost thing that was under way."""

    bounds: np.ndarray
    """Where something else begins, seconds since 1970; [n + 1]"""

    what: list[str]
    """[n]"""

    def within(self, begin: np.ndarray, end: np.ndarray) -> dict[str, np.ndarray]:
        """What was done between two moments each: seconds, by kind.

        >>> spans = Spans(np.array([0.0, 2.0, 3.0, 7.0]), ["step", "flush", "step"])
        >>> {what: seconds.tolist() for what, seconds in spans.within(np.array([1.0]), np.array([5.0])).items()}
        {'flush': [1.0], 'step': [3.0]}
        """
        found = {}
        for kind in sorted(set(self.what)):
            lasted = np.where(np.array(self.what) == kind, np.diff(self.bounds), 0.0)
            until = np.concatenate([[0.0], np.cumsum(lasted)])
            found[kind] = np.interp(end, self.bounds, until) - np.interp(begin, self.bounds, until)
        return found


@dataclass
class Trace:
    """What a reader noted."""

    spans: Spans
    taken: list[tuple[float, dict[int, int]]] = field(default_factory=list)
    """When blocks were taken, with the offset of each partition's next message."""

    sent: np.ndarray = field(default_factory=lambda: np.empty(0))
    """When blocks had been handed to the producer."""

    finalized: np.ndarray = field(default_factory=lambda: np.empty(0))
    """When bundles were told to be kept."""


Line = tuple[float, float, str, str]
"""Begin, end, what, more."""


def innermost(lines: Iterable[Line], outside: str = BETWEEN) -> Spans:
    """The spans of things within each other; `outside` is what lies between them.

    >>> innermost([(1.0, 9.0, "bundle", ""), (2.0, 4.0, "step", "")]).what
    ['bundle', 'step', 'bundle']
    """
    bounds: list[float] = []
    what: list[str] = []
    open_: list[tuple[float, str]] = []
    for begin, end, kind, _ in [*sorted(lines, key=lambda line: (line[0], -line[1])), (np.inf, np.inf, "", "")]:
        while open_ and open_[-1][0] <= begin:
            ended, _ = open_.pop()
            bounds.append(ended)
            what.append(open_[-1][1] if open_ else outside)
        bounds.append(begin)
        what.append(kind)
        open_.append((end, kind))
    return Spans(np.array(bounds[:-1]), what[: len(bounds) - 2])


def read_traces(folder: Path) -> dict[int, Trace]:
    """Part of the source -> what its reader did; of several processes that read it the last."""
    found: dict[int, Trace] = {}
    for path in sorted(folder.glob("*.trace"), key=os.path.getmtime):
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        lines = [(float(row[0]), float(row[1]), row[3], row[4]) for row in rows if len(row) == 5]
        by_kind: dict[str, list[Line]] = {}
        for line in lines:
            by_kind.setdefault(line[2], []).append(line)
        if not by_kind.get("taken"):
            continue
        # What is done beside, on other threads, is no part of the reader's time.
        beside = ("commit", "finalize", "taken", "transaction", "open")
        spans = innermost([line for line in lines if line[2] not in beside])
        trace = Trace(spans)
        for _, end, _, more in by_kind["taken"]:
            part, _, offsets = more.partition(" ")
            trace.taken.append((end, {int(p): int(o) for p, o in (each.split(":") for each in offsets.split(","))}))
        trace.sent = np.array([line[1] for line in by_kind.get("send", [])])
        trace.finalized = np.array([line[0] for line in by_kind.get("finalize", [])])
        found[int(part)] = trace
    return found


def explain(steady: Steady, traces: Mapping[int, Trace]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(milliseconds that each message took; what of them went where)."""
    keys, at = np.unique(steady.outputs.keys["number"], return_index=True)
    keep = keys >= steady.first
    keys, at = keys[keep], at[keep]
    sent, read = steady.outputs.keys["sent_us"][at] / 1e6, steady.outputs.read_us[at] / 1e6
    parts: dict[str, np.ndarray] = {}
    for part, trace in traces.items():
        for partition in range(part, PARTITIONS, len(traces)):
            mine = keys % PARTITIONS == partition
            ends = np.array([offsets[partition] for _, offsets in trace.taken])
            # The load is what the partition's messages end with.
            offset = keys[mine] // PARTITIONS + ends[-1] - len(range(partition, steady.messages, PARTITIONS))
            taken = np.array([when for when, _ in trace.taken])[np.searchsorted(ends, offset, "right")]
            out = taken
            if len(trace.sent):
                out = trace.sent[np.minimum(np.searchsorted(trace.sent, taken), len(trace.sent) - 1)]
            for what, seconds in trace.spans.within(sent[mine], np.maximum(taken, sent[mine])).items():
                parts.setdefault(f"waits, its reader: {what}", np.zeros(len(keys)))[mine] = seconds
            parts.setdefault("taken, until handed to the producer", np.zeros(len(keys)))[mine] = out - taken
            parts.setdefault("handed over, until read", np.zeros(len(keys)))[mine] = read[mine] - out
    return (read - sent) * 1e3, {what: seconds * 1e3 for what, seconds in parts.items()}


def table(latencies: np.ndarray, parts: Mapping[str, np.ndarray]) -> Iterator[list[str]]:
    """A line a part: mean milliseconds of all messages, and of the slowest."""
    slow = latencies >= np.percentile(latencies, SLOW)
    yield ["all of it", f"{latencies.mean():.1f}", f"{latencies[slow].mean():.1f}"]
    for what, lasted in sorted(parts.items(), key=lambda each: -each[1][slow].mean()):
        yield [what, f"{lasted.mean():.1f}", f"{lasted[slow].mean():.1f}"]


def stalls(traces: Mapping[int, Trace], begin: float, end: float) -> Iterator[list[str]]:
    """A line a kind of time in which a reader takes nothing: how often, how long at the median and at most, ms."""
    for part, trace in sorted(traces.items()):
        lasted = np.diff(trace.spans.bounds) * 1e3
        inside = (trace.spans.bounds[:-1] >= begin) & (trace.spans.bounds[1:] <= end)
        kinds = np.array(trace.spans.what)
        for kind in sorted(set(trace.spans.what) - {WAITING}):
            of_kind = lasted[inside & (kinds == kind)]
            if len(of_kind):
                told = [f"{value:.1f}" for value in (np.median(of_kind), of_kind.max(), of_kind.sum())]
                yield [str(part), kind, str(len(of_kind)), *told]


def checkpoints_in(log: str) -> Iterator[tuple[float, str]]:
    """When, seconds since 1970, a log says something of checkpoints, and what.

    >>> log = "100 [T] INFO C - Triggering checkpoint 1 (x) @ 1796061437476\\n350 [T] INFO C - Completed checkpoint 1"
    >>> [f"{when:.3f} {what.split()[0]}" for when, what in checkpoints_in(log)]
    ['1796061437.476 Triggering', '1796061437.726 Completed']
    """
    began = None
    for line in log.splitlines():
        if not (match := CHECKPOINT.match(line)):
            continue
        since, what = int(match[1]), match[2]
        # Lines tell the time since the process started; those of triggers the time of day too.
        if began is None and (known := SINCE_1970.match(what)):
            began = int(known[1]) - since
        if began is not None:
            yield (began + since) / 1e3, what


class FlinkLog:
    """What the job server says of checkpoints, while it runs: its log goes with it."""

    def __init__(self, folder: Path):
        self._folder, self._over = folder, threading.Event()
        self._logs: dict[Path, TextIO] = {}
        self._told: list[str] = []

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Read along."""
        thread = threading.Thread(target=self._follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            for log in self._logs.values():
                with log:
                    self._told.append(log.read())

    def checkpoints(self) -> list[tuple[float, str]]:
        """When, seconds since 1970, something was said of a checkpoint, and what."""
        return [each for told in self._told for each in checkpoints_in(told)]

    def _follow(self) -> None:
        while not self._over.wait(0.2):
            for path in self._folder.glob("**/job-server.log"):
                if path not in self._logs:
                    with suppress(OSError):
                        # What is open can be read when its name is gone.
                        self._logs[path] = path.open(errors="replace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and tell where the time went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream_trace", description=__doc__.splitlines()[0])
    ours = (FLINK, FLINK_ONCE, PRISM, PRISM_ONCE, PLAIN)
    parser.add_argument("--program", choices=ours, default=FLINK, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=10_000, help="messages a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="of the load (default: %(default)s)")
    parser.add_argument("--checkpoint", default="10s", help="of Flink (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path("benchmarks/data"), help="folder of the inputs")
    parser.add_argument("--more", nargs="*", default=[], help="other options of score")
    parser.add_argument("--broker", type=Path, help="folder of a broker that runs already")
    options = parser.parse_args(argv)
    (case,) = make_cases(["fnn"], options.data.absolute(), False)
    case = replace(case, steady_seconds=options.seconds, checkpoint=options.checkpoint, more=tuple(options.more))
    with tempfile.TemporaryDirectory(prefix="stream-trace-") as name:
        folder = Path(name)
        settings = {"log.segment.delete.delay.ms": "1000"}
        broker = KafkaBroker(options.broker or folder / "kafka", settings=settings, memory="1g", java_options=())
        log = FlinkLog(folder)
        broker.start()
        try:
            bench = Bench(broker, folder / "logs")
            path = os.pathsep.join([str(Path(__file__).parent / "tracing"), str(ROOT)])
            bench.environment |= {"PYTHONPATH": path, "BEAMSPLIT_TRACE": str(folder), "TMPDIR": str(folder)}
            with log.followed():
                steady = bench.steady(case, options.program, options.rate)
            traces = read_traces(folder)
        finally:
            if options.broker is None:
                broker.stop()
    latencies = steady.outputs.latencies_ms(steady.first)
    shares = (50, 90, 99, 99.9, 100)
    told = ", ".join(f"p{share:g} {np.percentile(latencies, share):.0f}" for share in shares)
    lost = steady.messages - steady.first - len(latencies)
    print(f"{options.program} at {options.rate:,g}/s, checkpoints {options.checkpoint}: {told} ms, {lost} lost\n")
    if not traces:
        return 0
    begin, end = steady.outputs.keys["sent_us"].min() / 1e6, steady.outputs.keys["sent_us"].max() / 1e6
    show(["a message's time, ms", "mean", f"of the slowest {100 - SLOW:g} %"], list(table(*explain(steady, traces))))
    print()
    show(["reader", "what it does", "times", "median ms", "longest ms", "all ms"], list(stalls(traces, begin, end)))
    print()
    for when, line in log.checkpoints():
        if begin <= when <= end + 1:
            print(f"{when - begin:7.3f} s  {line[:110]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
