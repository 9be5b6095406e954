"""What does splitting a model by width cost and give, on one machine?  python -m benchmarks.width --help

Each model is divided over 2 and 4 shards, compared with the whole, and run inline on the same cores as the whole model,
in turn (1 2 4 1 2 4 ...); medians are taken. What is measured stands beside what was predicted from the steps of the
divided model, each timed by itself, and beside what the planner expects of the whole model's profile. Private memory is
looked at in worker processes of their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from benchmarks.batch import Result
from benchmarks.chart import draw
from benchmarks.report import leave, show
from benchmarks.width_measure import WHOLE, WidthResult, measure_case
from benchmarks.width_models import NAMES, QUICK_NAMES, make_cases

COUNTS = (1, 2, 4)

CLOSE = 0.05
"""Share by which the choice may be slower than the best."""

GOAL = 0.15
"""Share by which what was measured may differ from what was predicted."""

HEADER = [
    "model", "shards", "rows/s", "planned", "off", "predicted", "off", "block ms", "predicted", "off", "joins",
    "MB inline", "MB a shard", "predicted", "off", "MB whole steps", "difference",
]  # fmt: skip


def table_rows(result: WidthResult) -> list[list[str]]:
    """The cells of one model under `HEADER`, a line a number of shards."""
    lines = []
    for n in sorted(result.rows_per_second):
        rate, block = result.rate(n), result.latency(n)
        planned = result.planned_rows.get(n)
        line = [result.model, str(n), f"{rate:,.1f}"]
        line += ["", ""] if planned is None else [f"{planned:,.1f}", _off(rate, planned)]
        line += [f"{result.predicted_rows[n]:,.1f}"]
        line += [_off(rate, result.predicted_rows[n]), f"{block * 1e3:,.4g}", f"{result.predicted_block[n] * 1e3:,.4g}"]
        line += [_off(block, result.predicted_block[n]), str(result.meetings.get(n, 0))]
        if n == 1:
            line += [f"{result.memory[WHOLE] / 1e6:,.0f}", "", "", "", "", ""]
        else:
            inline, shard, steps = (result.memory[f"{n} {part}"] for part in ("inline", "shard", "steps"))
            told = result.predicted_memory[f"{n} shard"]
            line += [f"{inline / 1e6:,.0f}", f"{shard / 1e6:,.0f}", f"{told / 1e6:,.0f}", _off(shard, told)]
            line += [f"{steps / 1e6:,.0f}", f"{result.differences[n]:.0e}"]
        lines.append(line)
    return lines


def _off(measured: float, predicted: float) -> str:
    return f"{measured / predicted - 1:+.0%}"


Key = TypeVar("Key", int, str)


def _apart(measured: Mapping[Key, float], predicted: Mapping[Key, float]) -> list[float]:
    """By what share each is above what was predicted of it."""
    return [measured[key] / predicted[key] - 1 for key in predicted]


def goals(result: WidthResult) -> list[str]:
    """Each goal with what was reached."""
    reached = []
    rates = {n: result.rate(n) for n in result.rows_per_second}
    for name, off in (
        ("rows/s planned", _apart(rates, result.planned_rows)),
        ("rows/s", _apart(rates, result.predicted_rows)),
        ("seconds of a block", _apart({n: result.latency(n) for n in result.block_seconds}, result.predicted_block)),
        ("memory a worker", _apart(result.memory, result.predicted_memory)),
    ):
        worst = max(off, key=abs)
        reached.append((f"{name} at most {worst:+.0%} off, goal 15 %", abs(worst) <= GOAL))
    chosen, fastest = result.chosen, result.fastest
    share = result.rate(chosen) / result.rate(fastest)
    told = f"choice {_shards(chosen)}, fastest {_shards(fastest)}, {share:.2f} of its rows/s, goal {1 - CLOSE:.2f}"
    reached.append((told, share >= 1 - CLOSE))
    return [f"{result.model}: {text}: {'met' if met else 'NOT met'}" for text, met in reached]


def choices(results: list[WidthResult]) -> str:
    """How often the choice is as good as the best of those measured, give or take `CLOSE`."""
    right = sum(result.rate(result.chosen) >= (1 - CLOSE) * result.rate(result.fastest) for result in results)
    return f"the choice is within {CLOSE:.0%} of the best of those measured for {right} of {len(results)} models"


def _shards(count: int) -> str:
    return "1 shard (the whole model)" if count == 1 else f"{count} shards"


def as_runs(result: WidthResult) -> list[Result]:
    """The same for the chart: a program a number of shards."""
    return [
        Result(result.model, _shards(n), result.rows, [result.rows / rate for rate in rates], 0.0, None)
        for n, rates in sorted(result.rows_per_second.items())
    ]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write JSON and a chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.width", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=NAMES, metavar="MODEL", help=", ".join(NAMES))
    parser.add_argument("--runs", type=int, help="of each number of shards (default: 3, quick: 1)")
    parser.add_argument("--quick", action="store_true", help="few models, small ones, short measurements")
    parser.add_argument("--data", type=Path, default=Path("benchmarks/data"), help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"), help="folder of the results")
    options = parser.parse_args(argv)
    names = options.models or list(QUICK_NAMES if options.quick else NAMES)
    runs = options.runs or (1 if options.quick else 3)
    options.out.mkdir(parents=True, exist_ok=True)
    results, reached = [], []
    for case in make_cases(names, options.data, options.quick):
        result = measure_case(case, COUNTS, runs, 0.1 if options.quick else 0.5)
        print(f"{case.name}: measured", flush=True)
        results.append(result)
        reached += goals(result)
    reached.append(choices(results))
    print()
    show(HEADER, [line for result in results for line in table_rows(result)])
    runs = [one for result in results for one in as_runs(result)]
    leave(options.out, "width", results, reached, lambda path, machine: draw(runs, path, machine))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
