"""How fast are streams, beside what people would use instead?  python -m benchmarks.stream --help

Every program is a process of its own on the same broker and the same messages, in turn (A B C A B C ...). Saturation is
a backlog, measured by the broker's clock; latency is from sending to reading by one measuring consumer, at half of what
the plain loop keeps up with while sender and consumer run beside it. A program whose predictions differ is void.
With --ways the programs are one model on Flink whole, in stages and in shards, all under the load of the slowest; with
--formats it is looked at what formats of messages cost (`stream_formats.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from beamsplit.runners.local import KafkaBroker
from benchmarks import stream_formats
from benchmarks.measure import ProgramFailed
from benchmarks.report import leave, show
from benchmarks.stream_cases import (
    CASES,
    CHECKPOINT_SECONDS,
    P99_MS,
    P99_RATIO,
    PEERS,
    PLAIN,
    PRISM,
    PROGRAMS,
    TUNED,
    TUNED_SHARE,
    WAYS,
    WAYS_CASES,
    StreamCase,
    make_cases,
    missing_programs,
)
from benchmarks.stream_chart import draw
from benchmarks.stream_run import Bench, Steady

SAME = 0.75
"""A program that does this share of the reference's rows a second is given the same load."""

LATE_SECONDS = 5.0
"""An output that takes longer is told as late."""

TOLERANCE = 1e-3
"""Largest difference from the right predictions, relative to their largest value."""


@dataclass
class Result:
    """What one program did in one case."""

    case: str
    program: str
    saturation: list[float] = field(default_factory=list)
    """Rows a second of each run on a backlog."""

    offered: float = 0.0
    """Messages a second of the steady load."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0
    late: int = 0
    """Messages of the steady load whose output took longer than `LATE_SECONDS`."""

    lost: int = 0
    """Messages of the steady load that had no output `LOST_SECONDS` after the last of them was sent."""

    largest_difference: float = 0.0
    """From the right predictions."""

    failure: str = ""
    """Why it was given up; empty where all went well."""

    @property
    def rows_per_second(self) -> float:
        """By the median."""
        return statistics.median(self.saturation)


def run_case(bench: Bench, case: StreamCase, programs: list[str], runs: int, alike: bool = False) -> list[Result]:
    """Saturation of the programs in turn, then the steady load of each; `alike` gives all the load of the slowest."""
    expected = case.expected()
    results = {program: Result(case.name, program) for program in programs}
    backlog = bench.backlog(case)
    for _ in range(runs):
        for result in _going(results):
            with _given_up(result):
                outputs = bench.saturate(case, result.program, backlog)
                _check(result, outputs.difference(expected), expected)
                result.saturation.append(outputs.rows_per_second())
                print(f"  {case.name}: {result.program} {result.saturation[-1]:,.1f} rows/s", flush=True)
    bench.drop(backlog)
    going = _going(results)
    if not going:
        return list(results.values())
    reference = min(going, key=lambda result: result.rows_per_second) if alike else _first(going, PLAIN)
    live = bench.live_rate(case, reference.program, reference.rows_per_second)
    for result in _going(results):
        # A slower program is given half of its own rate: with more than it can do it would only fall behind.
        share = result.rows_per_second / reference.rows_per_second
        share = 1.0 if share >= SAME else share
        with _given_up(result):
            steady = bench.steady(case, result.program, _round(live * share / 2))
            _check(result, steady.outputs.difference(expected), expected)
            _take(result, steady)
            told = f"p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms{_missed(result)}"
            print(f"  {case.name}: {result.program} at {result.offered:,g}/s: {told}", flush=True)
    return list(results.values())


def _first(going: list[Result], program: str) -> Result:
    """That of a program, or the first."""
    return next((result for result in going if result.program == program), going[0])


def _going(results: dict[str, Result]) -> list[Result]:
    return [result for result in results.values() if not result.failure]


@contextlib.contextmanager
def _given_up(result: Result) -> Iterator[None]:
    """A program that fails is told of and left out of the rest: the others are measured all the same."""
    try:
        yield
    except ProgramFailed as error:
        result.failure = str(error)
        print(f"  {result.case}: {result.program} FAILED: {error}", flush=True)


def _check(result: Result, difference: float, expected: np.ndarray) -> None:
    # Turned round, so that NaN is void too.
    if not difference <= TOLERANCE * np.abs(expected).max():
        raise ProgramFailed(f"{result.program} differs from the right predictions by {difference} in {result.case}")
    result.largest_difference = max(result.largest_difference, difference)


def _take(result: Result, steady: Steady) -> None:
    latencies = steady.outputs.latencies_ms(steady.first)
    if not len(latencies):
        raise ProgramFailed(f"no output of {result.program} came while its load lasted")
    result.offered, result.lost = steady.rate, steady.messages - steady.first - len(latencies)
    result.late = int((latencies > 1000 * LATE_SECONDS).sum())
    result.p50_ms, result.p99_ms, result.worst_ms = (float(np.percentile(latencies, share)) for share in (50, 99, 100))


def _missed(result: Result) -> str:
    """What did not come, or came late, with how late; empty where all came in time.

    >>> _missed(Result("fnn", PLAIN, late=2, worst_ms=7_400.0, lost=1))
    ' (1 lost; 2 late, by 7.4 s at most)'
    """
    told = [f"{result.lost} lost"] if result.lost else []
    told += [f"{result.late} late, by {result.worst_ms / 1000:.1f} s at most"] if result.late else []
    return f" ({'; '.join(told)})" if told else ""


def _round(rate: float) -> float:
    """To two digits.

    >>> _round(12_345.0), _round(7.77)
    (12000.0, 7.8)
    """
    return float(f"{rate:.2g}")


BESIDE = {PLAIN: "plain", TUNED: "tuned"}
"""Programs that the others are set in ratio to, and what they are called in the table."""

BESIDE_WAYS = {next(iter(WAYS)): "whole"}


def header(beside: Mapping[str, str] = BESIDE) -> list[str]:
    """Of the table, with ratios to these programs; that of latencies is to the first.

    >>> header({"whole": "whole"})[2:4]
    ['rows/s', 'x whole']
    """
    names = list(beside.values())
    begin = ["case", "program", "rows/s", *(f"x {name}" for name in names), "offered/s", "p50 ms", "p99 ms"]
    return [*begin, f"p99 x {names[0]}", "difference"]


def rows_of_table(results: list[Result], beside: Mapping[str, str] = BESIDE) -> list[list[str]]:
    """A line a program of one case; ratios of latencies only where the same load was offered."""
    by_program = {result.program: result for result in results if not result.failure}
    first = by_program.get(next(iter(beside)))
    lines = []
    for result in results:
        if result.failure:
            lines.append([result.case, result.program, "failed", *[""] * (len(header(beside)) - 3)])
            continue
        same = first is not None and first.offered == result.offered and not result.lost
        lines.append(
            [
                result.case,
                result.program,
                f"{result.rows_per_second:,.0f}" if result.rows_per_second > 100 else f"{result.rows_per_second:.1f}",
                *(
                    f"{result.rows_per_second / by_program[other].rows_per_second:.2f}" if other in by_program else ""
                    for other in beside
                ),
                f"{result.offered:,g}",
                f"{result.p50_ms:.1f}",
                f"{result.p99_ms:.1f}{_missed(result)}",
                f"{result.p99_ms / first.p99_ms:.2f}" if first and same else "",
                f"{result.largest_difference:.1g}",
            ]
        )
    return lines


def costs(results: list[Result]) -> list[str]:
    """What each way with workers of its own costs beside the same parts in one worker."""
    by_program = {result.program: result for result in results if not result.failure}
    lines = []
    for program, apart in by_program.items():
        inline = by_program.get(program.replace("distributed", "inline"))
        if inline is None or inline is apart:
            continue
        p50, p99 = apart.p50_ms - inline.p50_ms, apart.p99_ms - inline.p99_ms
        ratio = apart.rows_per_second / inline.rows_per_second
        told = f"{p50:+,.0f} ms at p50, {p99:+,.0f} ms at p99, {ratio:.2f}x the rows/s"
        lines.append(f"{apart.case}: {program} beside {inline.program}: {told}")
    return lines


def verdicts(case: StreamCase, results: list[Result]) -> list[str]:
    """Each goal of the case with what was reached."""
    failed = [f"{case.name}: {result.program} failed: {result.failure}" for result in results if result.failure]
    by_program = {result.program: result for result in results if not result.failure}
    ours, plain = by_program.get(PRISM), by_program.get(PLAIN)
    if ours is None:
        return failed
    reached = []
    for other, result in by_program.items():
        if other in (PLAIN, TUNED, *PEERS):
            goal = {PLAIN: case.goal, TUNED: TUNED_SHARE}.get(other, 1.0)
            ratio = ours.rows_per_second / result.rows_per_second
            reached.append((f"{ratio:.2f}x {other} at saturation, goal {goal:g}x", ratio >= goal))
    whole = not ours.lost
    reached.append((f"p99 {ours.p99_ms:.0f} ms, goal under {P99_MS:g} ms", whole and ours.p99_ms < P99_MS))
    if plain and plain.offered == ours.offered:
        ratio = ours.p99_ms / plain.p99_ms
        reached.append(
            (f"p99 {ratio:.2f}x the plain loop's, goal at most {P99_RATIO:g}x", whole and ratio <= P99_RATIO)
        )
    return [*(f"{case.name}: {PRISM} {what}: {'met' if met else 'NOT met'}" for what, met in reached), *failed]


def _formats(options: argparse.Namespace) -> int:
    """What formats of messages cost."""
    with tempfile.TemporaryDirectory(prefix="stream-", dir=options.out) as folder:
        results = stream_formats.measure(Path(folder), options.data.absolute(), 1 if options.quick else options.runs)
    show(*stream_formats.table(results))
    print("\n" + "\n".join(stream_formats.verdicts(results)))
    told = options.out / "stream_formats.json"
    told.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    print(f"\n{told}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write JSON and a chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", metavar="CASE", help=", ".join((*CASES, *WAYS_CASES)))
    known = (*PROGRAMS, *WAYS)
    parser.add_argument("--programs", nargs="+", choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--ways", action="store_true", help="one model whole, in stages and in shards, on Flink")
    parser.add_argument("--formats", action="store_true", help="formats of messages, by processor seconds, on Prism")
    parser.add_argument("--runs", type=int, default=2, help="of each program at saturation (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages, one run")
    parser.add_argument("--data", type=Path, default=Path("benchmarks/data"), help="folder of the inputs")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"), help="folder of the results")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.formats:
        return _formats(options)
    beside = BESIDE_WAYS if options.ways else BESIDE
    asked = options.programs or list(WAYS if options.ways else PROGRAMS)
    names = options.cases or list(WAYS_CASES if options.ways else CASES)
    missing = missing_programs(asked)
    programs = [program for program in asked if program not in missing]
    absent = [f"{program}: left out, {why}" for program, why in missing.items()]
    print(*absent, sep="\n", end="\n" * bool(absent), flush=True)
    everything: list[Result] = []
    lines: list[list[str]] = []
    reached: list[str] = []
    with tempfile.TemporaryDirectory(prefix="stream-", dir=options.out) as folder:
        settings = {"log.segment.delete.delay.ms": "1000"}
        with KafkaBroker(Path(folder) / "kafka", settings=settings, memory="1g", java_options=()) as broker:
            for case in make_cases(names, options.data.absolute(), options.quick):
                bench = Bench(broker, Path(folder) / case.name)
                results = run_case(bench, case, programs, 1 if options.quick else options.runs, options.ways)
                everything += results
                lines += rows_of_table(results, beside)
                reached += [*verdicts(case, results), *costs(results)]
    show(header(beside), lines)
    leave(
        options.out,
        "stream_ways" if options.ways else "stream",
        everything,
        reached,
        lambda path, machine: draw(everything, path, machine),
        said=absent,
        flink_checkpoint_seconds=CHECKPOINT_SECONDS,
        **{"left out": absent},
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
