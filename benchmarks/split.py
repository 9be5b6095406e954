"""What does splitting a model by depth cost and give, beside the same model whole?  python -m benchmarks.split --help

Each model is planned, saved as stages, compared with the whole, and run inline on the same cores as the whole model
with all cores and as one single-thread replica a core, in turn (A B C A B C ...); medians are taken. Private memory is
looked at in worker processes of their own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from beamsplit.models.split.schedule import fill_bubbles
from benchmarks.batch import Result
from benchmarks.chart import draw
from benchmarks.report import leave, show
from benchmarks.split_measure import REPLICAS, STAGES, WHOLE, SplitResult, measure_case
from benchmarks.split_models import NAMES, QUICK_NAMES, make_cases

EVEN = 1.03
"""Ratios below this are no difference."""

HEADER = [
    "model", "ms planned", "ms measured", "rows/s stages", "whole", "replicas", "bubbles", "formula", "solver s",
    "gap", "x weight bytes", "x node count", "MB base", "MB whole", "MB stages",
]  # fmt: skip


def table_row(result: SplitResult) -> list[str]:
    """The cells of one model, under `HEADER`."""
    return [
        result.model,
        f"{result.predicted_period * 1e3:.3g}",
        f"{result.measured_period * 1e3:.3g}",
        *(f"{result.rows_per_second(way):,.1f}" for way in (STAGES, WHOLE, REPLICAS)),
        f"{result.bubble_share:.1%}",
        f"{fill_bubbles(result.stages, result.micro_batches):.1%}",
        f"{result.solver_seconds:.3f}",
        f"{result.gap:.1%}",
        *("" if ratio is None else f"{ratio:.2f}" for ratio in (result.weight_bytes_ratio, result.node_count_ratio)),
        f"{result.base_bytes / 1e6:,.0f}",
        f"{result.whole_bytes / 1e6:,.0f}",
        ", ".join(f"{nbytes / 1e6:,.0f}" for nbytes in result.stage_bytes),
    ]


def goals(result: SplitResult) -> list[str]:
    """Each goal with what was reached."""
    error = result.measured_period / result.predicted_period - 1
    against = result.rows_per_second(STAGES) / result.rows_per_second(WHOLE)
    most = fill_bubbles(result.stages, result.micro_batches) + 0.05
    share = max(one - result.base_bytes for one in result.stage_bytes) / result.whole_bytes
    fastest, told = result.fastest, result.foretold
    right = result.rows_per_second(fastest) <= EVEN * result.rows_per_second(told)
    reached = [
        (f"period measured {error:+.0%} of predicted, goal within 15 %", abs(error) <= 0.15),
        (f"{result.stages} stages inline {against:.2f}x the whole model, goal 0.95x", against >= 0.95),
        (
            f"largest stage {share:.2f} of the whole model's memory beside the base, goal {1.2 / result.stages:.2f}",
            share <= 1.2 / result.stages,
        ),
        (f"bubbles {result.bubble_share:.1%}, goal {most:.1%}", result.bubble_share <= most),
        (f"verdict for {told}, fastest {fastest}", right),
    ]
    return [f"{result.model}: {text}: {'met' if met else 'NOT met'}" for text, met in reached]


def as_runs(result: SplitResult) -> list[Result]:
    """The same for the chart: a program a way."""
    rows = result.rows * result.micro_batches
    return [Result(result.model, way, rows, seconds, 0.0, None) for way, seconds in result.seconds.items()]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write JSON and a chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.split", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=NAMES, metavar="MODEL", help=", ".join(NAMES))
    parser.add_argument("--stages", type=int, default=2, help="of each model (default: %(default)s)")
    parser.add_argument("--micro_batches", type=int, help="in a run (default: 24, quick: 6)")
    parser.add_argument("--runs", type=int, help="of each way (default: 5, quick: 1)")
    parser.add_argument("--quick", action="store_true", help="small micro-batches, few models, a large model of 159 MB")
    parser.add_argument("--data", type=Path, default=Path("benchmarks/data"), help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"), help="folder of the results")
    options = parser.parse_args(argv)
    names = options.models or list(QUICK_NAMES if options.quick else NAMES)
    micro_batches = options.micro_batches or (6 if options.quick else 24)
    runs = options.runs or (1 if options.quick else 5)
    options.out.mkdir(parents=True, exist_ok=True)
    results, reached = [], []
    for case in make_cases(names, options.data, options.quick):
        result = measure_case(case, options.stages, micro_batches, runs)
        print(f"{case.name}: {result.verdict}", flush=True)
        results.append(result)
        reached += goals(result)
    print()
    show(HEADER, [table_row(result) for result in results])
    runs = [one for result in results for one in as_runs(result)]
    leave(options.out, "split", results, reached, lambda path, machine: draw(runs, path, machine))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
