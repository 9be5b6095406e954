"""A model, sample rows and workers in; the strategy out.

graph -> profile -> widths -> candidates -> the best of each kind run here, where that can be -> choice
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from beamsplit.models import plain
from beamsplit.models.cost.cluster import ClusterWorker, format_bytes, limit_memory
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.graph.load import file_name
from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget
from beamsplit.models.split.alternatives import core_count
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.profiled import profile_model, quick_profile, threads_of_worker
from beamsplit.models.strategy.choose import Strategy, choose
from beamsplit.models.strategy.exchange import ASSUMED, Exchange, measure_exchange
from beamsplit.models.strategy.local_timings import time_locally
from beamsplit.models.strategy.measure import BUDGET_SECONDS, Machine
from beamsplit.models.strategy.teams import INLINE, apart, shard_counts
from beamsplit.models.strategy.width import make_widths

HERE_SECONDS = 1.5
"""For timing the whole model on the cores of this machine."""

VERSION = 1
"""Of the JSON form."""

MORE_TIME = "(--plan_seconds 60 gives it more time)"


@dataclass(frozen=True)
class Limits:
    """What a choice of a strategy is held to."""

    stage_memory: float | None = None
    """Bytes of weights and activations that a worker may hold; None is what each has."""

    cores: int | None = None
    """Of this machine, which all workers share; None where each has its own."""

    planning: PlanningBudget = UNLIMITED
    """For timing the ways, beside the profile, which is kept for other jobs."""

    row_seconds: float | None = None
    """That the model takes for a row, where the budget is for no more runs of it: then nothing is timed."""


NO_LIMITS = Limits()

TIMED_SHARE = 0.75
"""Of the time, for the ways; what is left is for the whole model on the cores side by side."""


def plan_strategy(
    run: SampleRun,
    graph: SplitGraph,
    workers: Sequence[ClusterWorker],
    *,
    kind: str = "auto",
    limits: Limits = NO_LIMITS,
) -> Strategy:
    """Choose among replicas, stages, shards and their combinations.

    Args:
        run: the model on a micro-batch; `threads` 0 is this machine's cores over the workers that are its own.
        graph: its units.
        workers: of `read_cluster`. Memory that they name is all that they have, of which their process takes a part.
            Where they are this machine's, the best of each kind are run on it.
        kind: one of `kinds.KINDS`.
        limits: memory, cores and time.

    Raises:
        UsageError: nothing fits the workers; the line says the least memory that there is a way for.
    """
    stage_memory, quick = limits.stage_memory, limits.row_seconds is not None
    workers = limit_memory(workers, stage_memory)
    options = dataclasses.replace(run.options, threads=run.options.threads or threads_of_worker(workers))
    run = dataclasses.replace(run, options=options)
    profile = quick_profile(graph, run, run.rows * (limits.row_seconds or 0)) if quick else profile_model(graph, run)
    seconds = 0.0 if quick else limits.planning.limit(profile.total_seconds / run.rows)
    machine = Machine(run, workers, graph, profile, TIMED_SHARE * seconds)
    inline = (machine.has_cores if quick else machine.is_here) and stage_memory is None
    links, seen, exchanged = INLINE, profile, ""
    if not inline:
        exchange = measure_exchange() if len(workers) > 1 else ASSUMED
        links, exchanged = apart(exchange), exchange_line(exchange, workers)
        workers = [dataclasses.replace(one, bandwidth=exchange.bandwidth(one.bandwidth)) for one in workers]
    elif core_count() > 1 and not quick:
        here = time_locally(run.model_file, run.feeds, options, min(HERE_SECONDS, (1 - TIMED_SHARE) * seconds))
        links, seen = here.links, here.profile(profile)
    counts = shard_counts(len(workers)) if kind != "replicas" else ()
    widths, notes = make_widths(run.model_file, run.feeds, graph, seen, counts)
    measure = machine.measure_all if inline and not quick else None
    found = choose(widths, workers, kind=kind, measure=measure, links=links, cores=limits.cores)
    left_out = _left_out(found, None if quick else seconds) if inline or quick else ()
    told = (*profile.notes, *notes, *found.notes, *left_out)
    return dataclasses.replace(found, model=file_name(run.model_file), exchange=exchanged, notes=told)


def _left_out(found: Strategy, seconds: float | None) -> tuple[str, ...]:
    """What timing was left out for want of time, in words; None: all."""
    if seconds is None:
        return (f"the ways are predicted: to run them takes longer than planning may {MORE_TIME}",)
    timed = sum(one.measured is not None for one in found.candidates)
    each = TIMED_SHARE * seconds / max(timed, 1)
    if each >= BUDGET_SECONDS:
        return ()
    return (f"{each:.2g} s for timing each way, in place of {BUDGET_SECONDS:g} s {MORE_TIME}",)


def exchange_line(exchange: Exchange, workers: Sequence[ClusterWorker]) -> str:
    """What a block costs from worker to worker, in words: what of it was measured, given or assumed."""
    links = [one.bandwidth for one in workers if math.isfinite(one.bandwidth)]
    given = f"a link of {format_bytes(min(links))}/s as given" if links else "no link to wait for (--bandwidth)"
    if not exchange.measured:
        return f"{exchange.block_seconds * 1e6:.0f} µs a block assumed, {given}"
    return (
        f"{exchange.block_seconds * 1e6:.3g} µs a block and {exchange.byte_seconds * 1e9:.2g} ns a byte "
        f"from process to process, measured here, and {given}; what a runner adds is not counted"
    )


def to_json(strategy: Strategy) -> str:
    """The strategy as JSON text, which `from_json` reads back to an equal one."""
    return plain.to_json(_finite(strategy), VERSION)


def from_json(text: str, path: str = "the strategy") -> Strategy:
    """Read a strategy.

    Raises:
        UsageError: the text is no strategy of a version that this program reads.
    """
    return plain.from_json(Strategy, VERSION, text, path, "make it again with python -m pipelines.plan --strategy auto")


def _finite(strategy: Strategy) -> Strategy:
    """JSON has no infinity: a bound that is none is left out."""
    return strategy if math.isfinite(strategy.bound) else dataclasses.replace(strategy, bound=0.0)
