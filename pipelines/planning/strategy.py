"""`plan --strategy`: which of replicas, stages, shards or several of them is best on the workers, as a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beamsplit.pipelines.report.table import Table
from beamsplit.pipelines.report.units import show_bytes, show_rate, show_seconds
from beamsplit.pipelines.typed import typed

if TYPE_CHECKING:
    from beamsplit.models.strategy.candidate import Candidate
    from beamsplit.models.strategy.choose import Strategy
    from beamsplit.models.strategy.simulate import Simulated
    from beamsplit.pipelines.options.values import PlanOptions

HEADER = ("way", "workers", "memory a worker", "rows/s predicted", "simulated", "measured")

UNEVEN = 1.1
"""Times the bound from which what was measured cannot be of the same conditions."""

MOST_SHOWN = 12
"""Candidates in the table; all are in the JSON."""


def run_strategy(options: PlanOptions) -> Strategy:
    """Choose, show, write.

    Raises:
        UsageError: nothing fits the workers, or the model cannot be cut or run.
    """
    from beamsplit.models.strategy.planner import to_json
    from beamsplit.pipelines.planning.write import write_text

    strategy, notes = choose_strategy(options)
    if options.written.output:
        write_text(options.written.output, to_json(strategy))
    table(strategy, options.split.simulate).show(strong="verdict")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return strategy


def choose_strategy(options: PlanOptions) -> tuple[Strategy, Sequence[str]]:
    """(the choice, notes on the rows that it was measured with).

    Raises:
        UsageError: nothing fits the workers, or the model cannot be cut or run.
    """
    from beamsplit.models.cost.cluster import read_cluster
    from beamsplit.models.cost.sample_run import SampleRun
    from beamsplit.models.running.session import SessionOptions, drop_session, resolve_providers
    from beamsplit.models.strategy.planner import Limits, plan_strategy
    from beamsplit.pipelines.execution.workers import cores
    from beamsplit.pipelines.planning.rows import choose_micro_batch, rows_for

    limits = {} if options.split.bandwidth is None else {"bandwidth": options.split.bandwidth}
    workers = read_cluster(options.split.workers or str(cores()), **limits)
    session = SessionOptions(resolve_providers(options.split.providers), options.split.threads or 0)
    rows = rows_for(options, session)
    micro_batch = choose_micro_batch(rows, options.split.micro_batch, 2)
    run, graph, notes = SampleRun(rows.model, rows.take(micro_batch), session, micro_batch), rows.graph, rows.told
    if rows.session is not None:
        drop_session(rows.session)
    # What profiles the model loads it again: who has memory for one has not always for two.
    del rows
    kind, bounds = str(options.split.strategy), Limits(options.split.stage_memory)
    return plan_strategy(run, graph, workers, kind=kind, limits=bounds), notes


def table(strategy: Strategy, told: bool = False) -> Table:
    """The candidates, each simulated, and what follows from them.

    Args:
        strategy: the choice.
        told: whether to say all that the simulation of each gave.
    """
    from beamsplit.models.strategy.simulate import simulate

    shown = strategy.candidates[:MOST_SHOWN]
    simulated = [simulate(one, strategy.micro_batch, cores=strategy.cores) if one.fits else None for one in shown]
    own = strategy.process_bytes
    rows = [_row(one, run, own) for one, run in zip(shown, simulated, strict=True)]
    first = simulated[0]
    source = "" if strategy.source == "measured" else ", by an estimate"
    facts = [
        (
            "model",
            f"{strategy.model}, micro-batches of {strategy.micro_batch} rows, {strategy.workers:,} workers{source}",
        ),
        ("bound", f"{show_rate(strategy.bound)} rows/s: all workers busy, nothing sent (gap {strategy.gap:.1%})"),
    ]
    if told:
        runs = [(one, run) for one, run in zip(shown, simulated, strict=True) if run is not None]
        lines = [f"{one.name}: {simulated_line(run, strategy.micro_batch)}" for one, run in runs]
        facts += [("" if at else "simulated", line) for at, line in enumerate(lines)]
    elif first is not None:
        facts.append(("latency", f"{show_seconds(first.latency)} of a micro-batch when full, simulated"))
    if strategy.exchange:
        facts.append(("exchange", strategy.exchange))
    left = len(strategy.candidates) - len(shown)
    if left:
        facts.append(("others", f"{left} slower ways, or ways that do not fit; --output writes all"))
    facts.append(("verdict", strategy.verdict))
    facts.append(("to run", f"{typed('score')} ... {command(strategy.chosen)}"))
    facts += [("note", note) for note in strategy.notes]
    if (strategy.chosen.measured or 0.0) > UNEVEN * strategy.bound:
        facts.append(("note", "more was measured than the bound: the machine did other work while the model was timed"))
    facts.append(("note", f"memory counts {show_bytes(strategy.process_bytes)} for a worker's process itself"))
    return Table(HEADER, rows, facts)


def simulated_line(run: Simulated, rows: int) -> str:
    """What a simulation gave, in words."""
    busy = ", ".join(f"{share:.0%}" for share in run.stage_busy[:8]) + (", ..." if len(run.stage_busy) > 8 else "")
    return (
        f"a micro-batch every {show_seconds(rows / run.rows_per_second)}, {show_seconds(run.latency)} from start to "
        f"end when full, {show_seconds(max(run.fill_seconds, 0.0))} to fill; stages busy {busy} "
        f"({run.micro_batches:,} micro-batches)"
    )


def _row(one: Candidate, simulated: Simulated | None, process_bytes: float) -> tuple[str, ...]:
    if simulated is None:
        needs = f"needs {show_bytes(one.needs_bytes)}" if one.needs_bytes else "cannot be"
        return (one.name, "", needs, "does not fit", "", "")
    measured = "" if one.measured is None else show_rate(one.measured)
    return (
        one.name,
        f"{one.workers:,}",
        show_bytes(one.worker_bytes + process_bytes),
        show_rate(one.rows_per_second),
        show_rate(simulated.rows_per_second),
        measured,
    )


def command(one: Candidate) -> str:
    """The options of `score` that run it."""
    if one.kind == "replicas":
        return f"--workers {one.workers}"
    parts = [f"--stages {one.stages}" * (one.stages > 1), f"--shards {one.shards}" * (one.shards > 1)]
    placement = "distributed" if one.measured is None else "inline"
    return " ".join([*filter(None, parts), f"--placement {placement}"])
