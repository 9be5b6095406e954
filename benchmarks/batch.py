"""How fast is batch scoring, beside what people would use instead?  python -m benchmarks.batch --help

Every program is run as a whole process on the same files, start-up counted, in turn (A B C A B C ...), and the median
is taken. A program whose predictions differ from the plain loop's is void.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cases import ARRAYS, CASES, HANDLER_GOAL, OURS, PLAIN, PROGRAMS, RUN_INFERENCE, TUNED, Case, make_cases
from benchmarks.chart import draw
from benchmarks.lakes import BUCKET, s3_server
from benchmarks.measure import ProgramFailed, peak_private_bytes, run_seconds
from benchmarks.report import leave, show

TOLERANCE = 1e-3
"""Largest difference between two programs' predictions, relative to their largest value."""


@dataclass
class Result:
    """What one program did in one case."""

    case: str
    program: str
    rows: int
    seconds: list[float]
    peak_private_mb: float
    largest_difference: float | None
    """From the plain loop's predictions; None for the plain loop itself and where the rows are not the same."""

    @property
    def rows_per_second(self) -> float:
        """By the median."""
        return self.rows / statistics.median(self.seconds)


def predictions(output: Path) -> np.ndarray:
    """The predictions of an output (a file, shards of it, or a folder), [rows, values], in an order of their own."""
    if output.is_dir():
        files = sorted(output.rglob("*.parquet"))
    else:
        files = [output] if output.exists() else sorted(output.parent.glob(f"{output.stem}-*-of-*.parquet"))
    table = pa.concat_tables([pq.read_table(file) for file in files])
    column = table.column(table.num_columns - 1).combine_chunks()
    if isinstance(column, pa.FixedShapeTensorArray):
        values = column.to_numpy_ndarray()
    elif pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
        values = column.flatten().to_numpy().reshape(len(column), -1)
    else:
        values = column.to_numpy()
    values = values.reshape(table.num_rows, -1).astype(np.float64)
    if table.num_columns > 1:
        return values[np.argsort(np.array(table.column(0).to_pylist()))]
    return np.sort(values, axis=0)


def run_case(case: Case, programs: list[str], runs: int, folder: Path) -> list[Result]:
    """Run the programs of a case in turn, then each once more for its memory."""
    with s3_server() if case.lake == "s3" else contextlib.nullcontext() as store:
        if store is not None:
            store.put_file(str(case.source), f"{BUCKET}/{case.source.name}")
        return _run_case(case, programs, runs, folder, store)


def _run_case(case: Case, programs: list[str], runs: int, folder: Path, store: Any) -> list[Result]:
    wanted = [program for program in case.programs if program in programs]
    seconds: dict[str, list[float]] = {program: [] for program in wanted}
    outputs = {}
    for number in range(runs):
        for program in wanted:
            output = folder / f"{case.name}-{program.replace(' ', '-')}-{number}" / "out.parquet"
            output.parent.mkdir(parents=True)
            seconds[program].append(run_seconds(case.command(program, output)))
            if store is not None and program != PLAIN:
                store.get(f"{BUCKET}/{output.parent.name}", str(output), recursive=True)
            if number:
                shutil.rmtree(output.parent)
            else:
                outputs[program] = output
            print(f"  {case.name}: {program} {seconds[program][-1]:.2f} s", flush=True)
    reference = predictions(outputs[PLAIN]) if PLAIN in outputs else None
    results = []
    for program in wanted:
        found = predictions(outputs[program])
        if len(found) != case.rows:
            raise ProgramFailed(f"{program} gave {len(found)} rows of {case.rows} in {case.name}")
        difference = None
        if reference is not None and program != PLAIN and len(found) == len(reference):
            difference = float(np.abs(found - reference).max())
            # Turned round, so that NaN is void too.
            if not difference <= TOLERANCE * np.abs(reference).max():
                raise ProgramFailed(f"{program} differs from the plain loop by {difference} in {case.name}")
        again = folder / f"{case.name}-{program.replace(' ', '-')}-memory" / "out.parquet"
        again.parent.mkdir(parents=True)
        peak = peak_private_bytes(case.command(program, again))
        shutil.rmtree(again.parent)
        shutil.rmtree(outputs[program].parent)
        results.append(Result(case.name, program, case.rows, seconds[program], peak / 2**20, difference))
    return results


def rows_of_table(results: list[Result], case: Case) -> list[list[str]]:
    """Case, program, seconds, rows/s, ratios, memory, difference."""
    by_program = {result.program: result for result in results}
    lines = []
    for result in results:
        ratios = [
            f"{result.rows_per_second / by_program[other].rows_per_second:.2f}" if other in by_program else ""
            for other in (PLAIN, TUNED)
        ]
        spread = f"{min(result.seconds):.2f} to {max(result.seconds):.2f}"
        difference = "" if result.largest_difference is None else f"{result.largest_difference:.1g}"
        lines.append(
            [
                case.name,
                result.program,
                f"{statistics.median(result.seconds):.2f}",
                spread,
                f"{result.rows_per_second:,.0f}",
                *ratios,
                f"{result.peak_private_mb:,.0f}",
                difference,
            ]
        )
    return lines


def verdicts(results: list[Result], case: Case) -> list[str]:
    """Each goal of the case with what was reached."""
    by_program = {result.program: result for result in results}
    lines = []
    for ours, other, goal in [*((OURS, *one) for one in case.goals.items()), (ARRAYS, RUN_INFERENCE, HANDLER_GOAL)]:
        if other in by_program and ours in by_program:
            ratio = by_program[ours].rows_per_second / by_program[other].rows_per_second
            verdict = "met" if ratio >= goal else "NOT met"
            of = "" if ours == OURS else f"{ours}: "
            lines.append(f"{case.name}: {of}{ratio:.2f}x {other}, goal {goal:g}x: {verdict}")
    return lines


HEADER = ["case", "program", "median s", "from to", "rows/s", "x plain", "x tuned", "private MB", "difference"]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write JSON and a chart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument(
        "--programs", nargs="+", default=list(PROGRAMS), choices=PROGRAMS, metavar="NAME", help=", ".join(PROGRAMS)
    )
    parser.add_argument("--runs", type=int, default=5, help="of each program (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows, for a quick look")
    parser.add_argument("--data", type=Path, default=Path("benchmarks/data"), help="folder of the inputs")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"), help="folder of the results")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    everything: list[Result] = []
    lines: list[list[str]] = []
    reached: list[str] = []
    for case in make_cases(options.cases, options.data, options.scale):
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.out) as folder:
            results = run_case(case, options.programs, options.runs, Path(folder))
        everything += results
        lines += rows_of_table(results, case)
        reached += verdicts(results, case)
    show(HEADER, lines)
    leave(options.out, "batch", everything, reached, lambda path, machine: draw(everything, path, machine))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
